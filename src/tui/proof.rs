//! The proof that no pod was disturbed, in words: what is proved, what is not proved yet, what something else changed.

use super::text::count;
use crate::journal::Run;
use jiff::Timestamp;

/// Pods that are not proved yet: how many, and when the last of them can be.
pub fn unproved(run: &Run) -> Option<(usize, Timestamp)> {
    let pending = run.pods.pending.values();
    let pods: usize = pending.clone().map(|p| p.pods).sum();
    let due = pending.map(|p| p.due).max()?;
    (pods > 0).then_some((pods, due))
}

/// How many pods are not proved yet, and until when. Once the run has ended nothing will prove them.
pub fn unproved_words(run: &Run, brief: bool) -> Option<String> {
    let (pods, due) = unproved(run)?;
    Some(match (run.ended(), brief) {
        (Some(_), true) => format!("{pods} unproved"),
        (Some(_), false) => format!("{} were never proved", count(pods, "pod", "pods")),
        (None, true) => format!("{pods} unproved"),
        (None, false) => format!("{pods} not proved until {}", due.strftime("%H:%M:%S")),
    })
}

/// How many pods something else than a swap changed.
pub fn others_words(run: &Run) -> Option<String> {
    match run.pods.changed.len() {
        0 => None,
        n => Some(format!("{n} changed by others")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Event, Record};
    use crate::tui::fixtures::{self, Story};
    use std::sync::Arc;

    fn folded(events: &[Event]) -> Run {
        let mut run = Run::new(Arc::new(fixtures::plan()));
        for (seq, event) in (1..).zip(events) {
            run.apply(&Record { seq, at: fixtures::start(), prev: String::new(), event: event.clone() });
        }
        run
    }

    #[test]
    fn pods_count_as_undisturbed_once_they_are_proved() {
        let Story { plan, .. } = Story::new();
        let swap = plan.phases[6].waves[0].swaps[0].clone();
        let (id, node) = (swap.id.clone(), swap.node.clone());
        let pending = Event::ProofPending { swap: id.clone(), node: node.clone(), pods: 30, ms: 45_000 };
        let committed = Event::SwapCommitted {
            swap: id.clone(),
            node: node.clone(),
            pods_checked: 30,
            pods_undisturbed: 30,
            ms: 1,
        };
        let run = folded(&[pending.clone(), committed.clone()]);
        assert_eq!((run.pods.checked, run.pods.undisturbed), (30, 0));
        assert_eq!(unproved_words(&run, false).as_deref(), Some("30 not proved until 22:00:45"));
        let proved = Event::PodsProved { swap: id, node, undisturbed: 29, unproved: 0 };
        let run = folded(&[pending, committed, proved]);
        assert_eq!((run.pods.checked, run.pods.undisturbed), (30, 29));
        assert_eq!(unproved_words(&run, false), None);
    }
}
