//! The node's pods looked at as a group: what happens to many at once has one cause.

use super::SwapWindow;
use super::change::changed_containers;
use super::restart::{new_exit, own_record};
use crate::fleet::{PodOwner, PodProof};
use jiff::Timestamp;
use std::collections::{BTreeSet, HashMap};

/// What several pods of the node did within the swap.
#[derive(Debug, Default)]
pub(super) struct Together {
    /// Pods that are compared.
    pods: usize,
    /// Pods restart all the time in this cluster.
    usual: bool,
    /// Pods that were calm before, of which a container was restarted as a new kubelet would.
    restarted: usize,
    /// Their owners; a pod without one counts for itself.
    owners: usize,
    /// The earliest and the latest of these restarts.
    span: Option<(Timestamp, Timestamp)>,
    /// Pods whose Ready condition changed as a new kubelet would change it.
    flipped: usize,
    /// Pods with a container that ran out of memory when a new kubelet may have been the cause.
    out_of_memory: usize,
}

impl Together {
    pub fn look(before: &[PodProof], after: &HashMap<&str, &PodProof>, window: &SwapWindow) -> Together {
        let mut seen = Together { usual: window.restarts_are_usual(), ..Together::default() };
        let mut owners: BTreeSet<(&str, &str, &str)> = BTreeSet::new();
        for old in before.iter().filter(|old| !old.ended && old.deleting.is_none()) {
            seen.pods += 1;
            let Some(new) = after.get(old.uid.as_str()).filter(|new| new.deleting.is_none()) else { continue };
            let flipped = old.ready && old.ready_since != new.ready_since;
            if flipped && new.ready_since.is_some_and(|at| window.is_of_first_status(at)) {
                seen.flipped += 1;
            }
            if let Some(at) = calm_restart(old, new, window) {
                seen.restarted += 1;
                seen.span = Some(seen.span.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
                let namespace = old.pod.split('/').next().unwrap_or_default();
                owners.insert(match &old.owner {
                    Some(PodOwner { kind, name }) => (namespace, kind, name),
                    None => ("", "", &old.uid),
                });
            }
            let ran_out = |is: &crate::fleet::ContainerProof, was| {
                new_exit(was, is)
                    .filter(|e| e.reason == "OOMKilled")
                    .and_then(|e| e.finished_at)
                    .is_some_and(|at| window.is_of_first_sync(at, old.grace_s))
            };
            if changed_containers(old, new).any(|(was, is)| is.is_some_and(|is| ran_out(is, was))) {
                seen.out_of_memory += 1;
            }
        }
        seen.owners = owners.len();
        seen
    }

    /// The signature of a kubelet that restarts what runs on its node: several pods that have nothing else in common. Where pods
    /// restart all the time, on one node of many two or three do so within the same minute by chance: then it takes more.
    pub fn many_restarted(&self) -> Option<String> {
        let many = match self.usual {
            false => self.restarted >= 3 || (self.restarted >= 2 && self.owners >= 2),
            true => self.restarted >= 4 || (self.restarted >= 3 && self.restarted * 2 >= self.pods),
        };
        if !many {
            return None;
        }
        let (first, last) = self.span?;
        let seconds = last.duration_since(first).as_secs();
        Some(format!("containers of {} pods restarted within {seconds} s of each other", self.restarted))
    }

    /// Whether other pods than the one in question changed their Ready condition as the kubelet started.
    pub fn others_flipped(&self) -> bool {
        self.flipped >= 3
    }

    /// Whether memory ran out for more pods than one: their own limits are not the cause then.
    pub fn many_out_of_memory(&self) -> bool {
        self.out_of_memory >= 3
    }
}

/// When a container of a pod that gave no reason for it by itself was restarted as a new kubelet would have done.
fn calm_restart(old: &PodProof, new: &PodProof, window: &SwapWindow) -> Option<Timestamp> {
    changed_containers(old, new).find_map(|(was, is)| {
        let is = is?;
        let exit = new_exit(was, is);
        let at = exit.and_then(|e| e.finished_at).or(is.started_at)?;
        let calm = exit.is_none_or(|e| e.reason != "OOMKilled") && own_record(was, is, window).is_none();
        (calm && window.is_of_first_sync(at, old.grace_s)).then_some(at)
    })
}
