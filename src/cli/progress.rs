//! A run's progress as lines for people: what is worth a line at once, the rest as one summary now and then.

use crate::journal::{Event, LogLine, Record, Run, SwapState, Tone};
use crate::plan::Plan;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;

/// Between two summaries, by the records' own clock.
const EVERY: SignedDuration = SignedDuration::from_secs(2);

/// Folds records and says what to print of them.
pub(super) struct Progress {
    run: Run,
    told: Option<Timestamp>,
    last: String,
}

impl Progress {
    pub fn new(plan: Arc<Plan>) -> Progress {
        Progress { run: Run::new(plan), told: None, last: String::new() }
    }

    /// The run so far.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Folds a record; the lines are for people to read.
    pub fn take(&mut self, record: &Record) -> Vec<String> {
        self.run.apply(record);
        let news = std::mem::take(&mut self.run.log);
        // A node that does what was planned is counted, not told: thousands of them would hide the one that does not.
        let mut lines: Vec<String> =
            news.iter().filter(|l| l.tone != Tone::Calm || l.node.is_none()).map(line).collect();
        let stage_ends = matches!(record.event, Event::WaveEnded { .. } | Event::PhaseEnded { .. });
        if stage_ends || self.told.is_none_or(|at| record.at.duration_since(at) >= EVERY) {
            let summary = self.summary();
            if !summary.is_empty() && summary != self.last {
                lines.push(format!("{}    {summary}", clock(record.at)));
                self.last = summary;
            }
            self.told = Some(record.at);
        }
        lines
    }

    fn summary(&self) -> String {
        let run = &self.run;
        let committed = run.count(|s| s == SwapState::Committed);
        let (pulled, failed, pulls) = run.pull_progress();
        if committed == 0 && run.in_flight().next().is_none() {
            return match (pulled, failed) {
                (0, 0) => String::new(),
                (_, 0) => format!("images: {pulled} of {pulls}"),
                _ => format!("images: {pulled} of {pulls}, {failed} failed"),
            };
        }
        let mut text = format!("swaps: {committed} of {} committed", run.swaps.len());
        let bad = run.count(|s| matches!(s, SwapState::RolledBack | SwapState::Failed));
        if bad > 0 {
            text += &format!(", {bad} rolled back or failed");
        }
        let drifted = run.count(|s| s == SwapState::Drifted);
        if drifted > 0 {
            text += &format!(", {drifted} drifted");
        }
        let skipped = run.count(|s| s == SwapState::Skipped);
        if skipped > 0 {
            text += &format!(", {skipped} skipped");
        }
        let flying = run.in_flight().count();
        if flying > 0 {
            text += &format!(", {flying} in flight");
        }
        text + &format!("; pods: {} of {} undisturbed", run.pods.undisturbed, run.pods.checked)
    }
}

fn line(news: &LogLine) -> String {
    let mark = match news.tone {
        Tone::Calm => ' ',
        Tone::Notice => '*',
        Tone::Alarm => '!',
    };
    let node = news.node.as_ref().map(|n| format!("{n}: ")).unwrap_or_default();
    format!("{}  {mark} {node}{}", clock(news.at), news.text)
}

/// The time of day, UTC: the journal's and the report's zone.
fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples::{plan, record};
    use crate::journal::{PauseReason, Verdict};

    fn told(events: Vec<(i64, Event)>) -> Vec<String> {
        let mut progress = Progress::new(Arc::new(plan()));
        events.into_iter().flat_map(|(second, event)| progress.take(&record(second, event))).collect()
    }

    fn committed(swap: &str, node: &str) -> Event {
        let (swap, node) = (swap.parse().unwrap(), node.parse().unwrap());
        Event::SwapCommitted { swap, node, pods_checked: 30, pods_undisturbed: 30, ms: 900 }
    }

    #[test]
    fn nodes_that_do_as_planned_are_counted_and_others_are_told() {
        let rolled = Event::SwapVerdict {
            swap: "s0002".parse().unwrap(),
            node: "w2".parse().unwrap(),
            verdict: Verdict::Rollback,
            why: "kubelet says no".into(),
        };
        let lines = told(vec![(0, committed("s0001", "w1")), (1, rolled)]);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("swaps: 1 of 2 committed; pods: 30 of 30 undisturbed"), "{lines:?}");
        assert_eq!(lines[1], "00:00:01  ! w2: rolling back: kubelet says no");
    }

    #[test]
    fn summaries_come_now_and_then_and_when_a_wave_ends() {
        let pause = Event::Paused { reason: PauseReason::Operator, why: "by ann".into() };
        let end = Event::WaveEnded { phase: 0, wave: 0 };
        let lines = told(vec![(0, pause), (1, committed("s0001", "w1")), (1, end), (1, committed("s0002", "w2"))]);
        assert_eq!(
            lines,
            ["00:00:00  * paused: by ann", "00:00:01    swaps: 1 of 2 committed; pods: 30 of 30 undisturbed"]
        );
    }
}
