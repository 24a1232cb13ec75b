//! One pod, and all that is known of it.

use super::SwapWindow;
use super::change::change;
use super::reach::Reach;
use super::testimony::{Testimony, Witnesses};
use super::together::Together;
use crate::fleet::{Cause, Disturbance, DisturbanceKind, PodEvent, PodProof, clean_short};
use std::collections::HashMap;

/// Characters of evidence that a report bears.
const LONGEST: usize = 300;

/// Compares a node's pods before and after a swap, and says of each change what did it and by what evidence.
///
/// `events` is what the API has recorded about these pods; none where it could not be asked. Only pods of `before` count. A pod
/// of which the kubelet has said that it restarts a container is told at once, although it still looks as it did.
pub fn judge_pods(
    before: &[PodProof],
    after: &[PodProof],
    events: Option<&[PodEvent]>,
    window: &SwapWindow,
) -> Vec<Disturbance> {
    let after: HashMap<&str, &PodProof> = after.iter().map(|p| (p.uid.as_str(), p)).collect();
    let witnesses = Witnesses::new(events);
    let together = Together::look(before, &after, window);
    let reach = Reach::of(&window.components);
    let judged = before.iter().filter(|old| !old.ended).filter_map(|old| {
        let case = Case { old, seen: witnesses.of(&old.uid), window, reach, together: &together };
        let new = after.get(old.uid.as_str()).copied();
        let (kind, weighed) = case.judge(new)?;
        let weighed = case.late(new, weighed);
        let because = clean_short(&weighed.because, LONGEST);
        Some(Disturbance { pod: old.pod.clone(), kind, cause: weighed.cause, because }.cleaned())
    });
    judged.collect()
}

/// What did it, and the evidence in words.
pub(super) struct Weighed {
    pub cause: Cause,
    pub because: String,
}

impl Weighed {
    pub fn swap(because: String) -> Weighed {
        Weighed { cause: Cause::Swap, because }
    }

    pub fn others(because: String) -> Weighed {
        Weighed { cause: Cause::Others, because }
    }

    pub fn unknown(because: String) -> Weighed {
        Weighed { cause: Cause::Unknown, because }
    }
}

/// A pod as it was, with what there is to judge it by.
pub(super) struct Case<'a> {
    pub old: &'a PodProof,
    pub seen: Testimony<'a>,
    pub window: &'a SwapWindow,
    pub reach: Reach,
    pub together: &'a Together,
}

impl Case<'_> {
    fn judge(&self, new: Option<&PodProof>) -> Option<(DisturbanceKind, Weighed)> {
        let changed = change(self.old, new).map(|kind| self.weigh(kind, new));
        let Some((container, at)) = self.seen.redefined(self.window) else { return changed };
        let kind = DisturbanceKind::Redefined(container.to_owned());
        let at = self.window.place(at);
        if self.reach.ends {
            let because = format!("definition changed: Killing event by its kubelet at {at}");
            return Some((kind, Weighed::swap(because)));
        }
        match changed {
            // Nothing is stopped yet, or no kubelet is: the pod was edited.
            None | Some((DisturbanceKind::Restarted(_), Weighed { cause: Cause::Others, .. })) => Some((
                kind,
                Weighed::others(format!("its definition was changed through the API: Killing event at {at}")),
            )),
            changed => changed,
        }
    }

    fn weigh(&self, kind: DisturbanceKind, new: Option<&PodProof>) -> (DisturbanceKind, Weighed) {
        if self.window.stop().is_none() {
            return (kind, Weighed::others("nothing was stopped yet".to_owned()));
        }
        if let Some(at) = self.old.deleting {
            let because = format!("it was being deleted since {}", self.window.place(at));
            return (kind, Weighed::others(because));
        }
        let Some(new) = new else { return (kind, self.deleted(None)) };
        match kind {
            DisturbanceKind::Gone | DisturbanceKind::Deleting => (kind, self.deleted(Some(new))),
            DisturbanceKind::Ended => (kind, self.ended(new)),
            DisturbanceKind::Restarted(_) | DisturbanceKind::Redefined(_) => self.restarted(new),
            DisturbanceKind::NotReady | DisturbanceKind::ReadyFlapped => (kind, self.ready_changed(new)),
        }
    }

    /// Nothing shows what it was: within the reach of the swap it counts as its doing.
    pub(super) fn open(&self, because: String) -> Weighed {
        let reached = self.reach.ends || self.reach.exits || self.reach.probes != super::reach::Probes::Hardly;
        match reached {
            true => Weighed::unknown(because),
            false => Weighed::others(format!("{because}; a swap of {} ends no container", self.window.what())),
        }
    }
}
