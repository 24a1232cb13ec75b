//! A pod that lost its Ready condition, for a moment or for longer.

use super::judge::{Case, Weighed};
use super::reach::Probes;
use super::window::clock;
use crate::fleet::PodProof;
use jiff::{SignedDuration, Timestamp};

/// Within this time before the swap, a pod must not have flapped to be believed to have been calm.
const FLAP_MEMORY: SignedDuration = SignedDuration::from_hours(1);
/// A pod becomes Ready within this time of its start; later it is Ready *again*.
const BECOMES_READY: SignedDuration = SignedDuration::from_mins(5);

impl Case<'_> {
    /// Its Ready condition changed, and its containers run as they did.
    pub(super) fn ready_changed(&self, new: &PodProof) -> Weighed {
        let (window, reach, seen) = (self.window, self.reach, &self.seen);
        let at = new.ready_since;
        if let Some(at) = at.filter(|at| window.is_before(*at)) {
            return Weighed::others(format!("its Ready condition changed at {}", window.place(at)));
        }
        if window.node_lost && reach.node {
            return Weighed::swap("its node was NotReady".to_owned());
        }
        let flips = reach.ends && at.is_none_or(|at| window.is_of_first_status(at));
        let crowd = flips && self.together.others_flipped();
        let failed = seen.failed_within(window, &["Readiness"]);
        if let Some(because) = self.flapped_before(flips).filter(|_| !crowd) {
            return Weighed::others(because);
        }
        // A container that ends takes the pod's Ready along, and is seen to be replaced only later.
        let told = self.old.containers.iter().find_map(|was| self.told_to_end(new, was));
        if let Some(told) = told.filter(|_| !crowd) {
            return told;
        }
        let changed = match at {
            Some(at) => format!("its Ready condition changed at {}", window.place(at)),
            None => "its Ready condition changed".to_owned(),
        };
        let with_probe = |at: Timestamp| format!("its readiness probe failed at {}", window.place(at));
        // A kubelet, a proxy or rivers that starts shows within that time what it does to probes.
        let late = |at: Timestamp| !window.is_of_first_sync(at, 0);
        match (failed, reach.probes) {
            (Some(at), _) if late(at) => Weighed::others(with_probe(at)),
            (Some(at), Probes::OnNode) => Weighed::swap(with_probe(at)),
            (Some(at), _) => Weighed::unknown(with_probe(at)),
            (None, _) if flips => {
                Weighed::swap(format!("{changed}: before 1.35 a kubelet that starts does that (KEP-4781)"))
            }
            (None, Probes::Hardly) if seen.asked => {
                Weighed::others(format!("{changed}; no probe failed, and a swap of {} reaches none", window.what()))
            }
            (None, _) => Weighed::unknown(changed),
        }
    }

    /// Whether its probe failed now and then before. A kubelet that started lately flips Ready without a failed probe, so where
    /// events can be asked, they must say so; `flips`: this one may have done just that.
    fn flapped_before(&self, flips: bool) -> Option<String> {
        let started = self.old.containers.iter().filter_map(|c| c.started_at).max()?;
        let settled = started.checked_add(BECOMES_READY).ok()?;
        if let Some(at) = self.seen.failed_before(self.window, &["Readiness"], FLAP_MEMORY, Some(settled)) {
            return Some(format!("its readiness probe failed before: at {}", self.window.place(at)));
        }
        let since = self.old.ready_since?;
        let again = since > settled && self.window.shortly_before(since, FLAP_MEMORY);
        (again && !flips)
            .then(|| format!("its Ready condition flapped before: it is Ready again since {}", clock(since)))
    }
}
