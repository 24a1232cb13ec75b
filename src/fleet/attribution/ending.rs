//! A pod that has ended: phase Succeeded or Failed.

use super::judge::{Case, Weighed};
use super::restart::{ended_how, is_signalled};
use super::testimony::{Told, is_rejection};
use super::window::word;
use crate::fleet::{ContainerExit, ContainerRole, PodProof};
use jiff::Timestamp;

impl Case<'_> {
    /// It ended, and the API still lists it.
    pub(super) fn ended(&self, new: &PodProof) -> Weighed {
        if let Some(weighed) = self.rejected(Some(new)) {
            return weighed;
        }
        if !new.reason.is_empty() {
            return self.ended_because(&new.reason);
        }
        let exits: Vec<&ContainerExit> = new
            .containers
            .iter()
            .filter(|c| c.role == ContainerRole::Main)
            .filter_map(|c| c.last_exit.as_ref())
            .collect();
        let at = exits.iter().filter_map(|e| e.finished_at).max();
        let when = at.map(|at| format!(" at {}", self.window.place(at))).unwrap_or_default();
        let completed = match &self.old.owner {
            Some(owner) if owner.kind == "Job" => format!("its Job {} completed{when}", word(&owner.name)),
            _ => format!("completed{when}: every container ended with exit code 0"),
        };
        let worst = exits.iter().find(|e| e.code != 0);
        let how = worst.map_or(completed, |e| format!("it ended by itself{when}: {}", ended_how(e)));
        if at.is_some_and(|at| self.window.is_before(at)) {
            return Weighed::others(how);
        }
        let first_sync = |at: &Timestamp| self.window.is_of_first_sync(*at, self.old.grace_s);
        let stopping = |c: &crate::fleet::ContainerProof| {
            let told = self.seen.told_within(self.window, &c.name, Told::Stopping);
            told.filter(|at| self.reach.ends && first_sync(at))
        };
        if let Some(at) = self.old.containers.iter().find_map(stopping) {
            return Weighed::unknown(format!("its kubelet told it to end at {}", self.window.place(at)));
        }
        if let Some(weighed) = worst.and_then(|_| self.liveness()) {
            return weighed;
        }
        let crowd = self.together.many_out_of_memory();
        match worst {
            None if exits.is_empty() => self.open("it ended, and the API does not say how".to_owned()),
            None => Weighed::others(how),
            Some(e) if e.reason == "OOMKilled" && !(crowd && at.as_ref().is_some_and(first_sync)) => {
                Weighed::others(how)
            }
            Some(e) if is_signalled(e.code) || self.reach.exits => {
                self.open(format!("it ended{when}: {}", ended_how(e)))
            }
            Some(_) => Weighed::others(how),
        }
    }

    /// Its kubelet does not let it run any more: as a kubelet decides at its start.
    pub(super) fn rejected(&self, new: Option<&PodProof>) -> Option<Weighed> {
        let stated = new.map(|new| new.reason.as_str()).filter(|reason| is_rejection(reason));
        let seen = self.seen.rejected(self.window);
        let because = match (seen, stated) {
            (Some((reason, at)), _) => {
                format!("rejected by its kubelet: {} at {}", word(reason), self.window.place(at))
            }
            (None, Some(reason)) => format!("rejected by its kubelet: {}", word(reason)),
            (None, None) => return None,
        };
        Some(if self.reach.ends {
            Weighed::swap(because)
        } else {
            Weighed::others(format!("{because}; a swap of {} does not restart the kubelet", self.window.what()))
        })
    }

    /// By the reason that its status states.
    fn ended_because(&self, reason: &str) -> Weighed {
        let window = self.window;
        match reason {
            // Its own `activeDeadlineSeconds`.
            "DeadlineExceeded" => Weighed::others("its active deadline was exceeded".to_owned()),
            "NodeLost" if self.reach.node => Weighed::swap("its node was lost (NodeLost)".to_owned()),
            "Evicted" => match self.seen.at("Evicted") {
                Some(at) if window.is_before(at) => {
                    Weighed::others(format!("evicted by its kubelet at {}", window.place(at)))
                }
                Some(at) => self.by_kubelet(format!("evicted by its kubelet at {}", window.place(at))),
                None => self.by_kubelet("evicted by its kubelet".to_owned()),
            },
            // `Terminated`, `NodeShutdown`: the machine is being shut down.
            reason => self.by_kubelet(format!("its status says {}", word(reason))),
        }
    }

    /// A kubelet did it: the new one, if this swap has one.
    fn by_kubelet(&self, because: String) -> Weighed {
        match self.reach.ends {
            true => Weighed::unknown(because),
            false => Weighed::others(format!("{because}; a swap of {} does not touch the kubelet", self.window.what())),
        }
    }
}
