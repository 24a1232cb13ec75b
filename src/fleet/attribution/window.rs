//! When a swap did what, and how a moment in a pod's record stands to that.

use crate::fleet::{Component, clean_short};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;

/// What is known of a swap when the pods of its node are judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SwapWindow {
    /// The components that it restarts: each can disturb pods in ways of its own.
    pub components: BTreeSet<Component>,
    /// When the pods were looked at before, by the engine's clock.
    pub before: Timestamp,
    /// When the first old container was told to stop; none where nothing was stopped yet.
    pub stopping: Option<Timestamp>,
    /// When the last new container had started; none where none has yet.
    pub started: Option<Timestamp>,
    /// When the pods were looked at again.
    pub after: Timestamp,
    /// Whether Kubernetes called the node NotReady in between.
    pub node_lost: bool,
    /// Whether the swap has its result and its pods were proved: nothing that it does to a pod is still to come.
    pub over: bool,
    /// How many calm pods restarted by themselves within the last minutes on nodes that no swap touches.
    pub restarts_elsewhere: usize,
}

/// A pod's times have a resolution of 1 s and come from the node's clock, a swap's from the engine's: so far apart they may be.
const SKEW: SignedDuration = SignedDuration::from_secs(3);
/// A container that ends within this time of a kubelet's start, and its grace period, may have been ended by its first sync. A kubelet
/// looks at every pod once when it starts, and again each minute (`syncFrequency`): this is one such round, and half of another for
/// a node that is slow.
///
/// This is not the plan's `first_sync` (20 s, `plan::FIRST_SYNC_MS`). That one is how long a run waits before it counts pods as
/// proved: as short as kubelets were seen to be. This one is how long afterwards a restart can be held against the swap: it only
/// errs towards blaming the swap, so it is longer. A restart that comes between the two is found by the looks after the proof (after
/// the wave's soak, and before the run ends), and is still judged by this one.
const SYNCED: SignedDuration = SignedDuration::from_secs(90);
/// Within this time of its start, a kubelet has written every pod's Ready condition anew.
const TOLD: SignedDuration = SignedDuration::from_secs(60);

/// So many calm pods that restart on nodes that no swap touches make a restart usual.
const USUAL: usize = 2;

impl SwapWindow {
    /// The first moment at which the swap could have disturbed a pod; none where it has done nothing yet.
    pub(super) fn stop(&self) -> Option<Timestamp> {
        self.stopping.or(self.started)
    }

    /// Whether `at` is surely before the swap could have disturbed a pod.
    pub(super) fn is_before(&self, at: Timestamp) -> bool {
        self.stop().is_none_or(|stop| stop.duration_since(at) > SKEW)
    }

    /// Whether `at` is later than the look before: a deletion that is not is that of another pod of the same name.
    pub(super) fn is_since_look(&self, at: Timestamp) -> bool {
        self.before.duration_since(at) <= SKEW
    }

    /// Whether `at` is before the swap could have disturbed a pod, by no more than `most`.
    pub(super) fn shortly_before(&self, at: Timestamp, most: SignedDuration) -> bool {
        self.is_before(at) && self.stop().is_some_and(|stop| stop.duration_since(at) <= most)
    }

    /// Whether a new kubelet that restarts containers with a grace period of `grace_s` seconds would have done so by `at`.
    pub(super) fn is_of_first_sync(&self, at: Timestamp, grace_s: u32) -> bool {
        let longest = SYNCED + SKEW + SignedDuration::from_secs(i64::from(grace_s));
        !self.is_before(at) && self.started.is_none_or(|started| at.duration_since(started) <= longest)
    }

    /// Whether containers restart by themselves in this cluster all the time: a single one that does so is nothing special.
    pub(super) fn restarts_are_usual(&self) -> bool {
        self.restarts_elsewhere >= USUAL
    }

    /// Whether a kubelet that has just started could have written a Ready condition anew at `at`.
    pub(super) fn is_of_first_status(&self, at: Timestamp) -> bool {
        !self.is_before(at) && self.started.is_none_or(|started| at.duration_since(started) <= TOLD)
    }

    /// `at`, and how it stands to the swap's steps: `12:03:07, 2 s after the new kubelet started`.
    pub(super) fn place(&self, at: Timestamp) -> String {
        let time = clock(at);
        match (self.stop(), self.started) {
            (None, _) => format!("{time}, before anything was stopped"),
            (Some(_), _) if self.is_before(at) => format!("{time}, before the swap's first stop"),
            (Some(stop), _) if at < stop => format!("{time}, as the swap began"),
            (_, Some(started)) if at >= started => match at.duration_since(started).as_secs() {
                0 => format!("{time}, as the new {} started", self.what()),
                s => format!("{time}, {s} s after the new {} started", self.what()),
            },
            _ => format!("{time}, while the swap was under way"),
        }
    }

    /// What is swapped, in words: `kubelet and kube-proxy`.
    pub(super) fn what(&self) -> String {
        let names: Vec<&str> = self.components.iter().map(|c| c.as_str()).collect();
        match names.as_slice() {
            [] => "component".to_owned(),
            [head @ .., last] if !head.is_empty() => format!("{} and {last}", head.join(", ")),
            [one, ..] => (*one).to_owned(),
        }
    }
}

/// A time of day (UTC), as reports write it.
pub(super) fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%S").to_string()
}

/// A name or a reason from outside, fit for a sentence.
pub(super) fn word(text: &str) -> String {
    clean_short(text, 80)
}
