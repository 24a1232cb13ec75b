//! A pod that is being deleted, or is gone. A pod object goes away only because a client of the API deleted it: what matters is
//! which client, and why.

use super::judge::{Case, Weighed};
use super::window::word;
use crate::fleet::{PodEvent, PodOwner, PodProof};

/// Owners that leave a pod alone that its kubelet has rejected or evicted: it stays, as Failed. Others (DaemonSet, StatefulSet)
/// delete it at once to make it anew.
const KEEP_FAILED_PODS: [&str; 3] = ["ReplicaSet", "ReplicationController", "Job"];

impl Case<'_> {
    /// It is being deleted (`new`), or gone.
    pub(super) fn deleted(&self, new: Option<&PodProof>) -> Weighed {
        let (window, reach, seen) = (self.window, self.reach, &self.seen);
        if let Some(weighed) = self.rejected(new).filter(|w| w.cause != crate::fleet::Cause::Others) {
            return weighed;
        }
        let asked = new.and_then(|new| new.deleting);
        if let Some(at) = asked.filter(|at| window.is_before(*at)) {
            return Weighed::others(format!("deleted through the API at {}", window.place(at)));
        }
        let who = new.map(|new| new.disruption.as_str()).unwrap_or_default();
        if who == "DeletionByTaintManager" || seen.tainted().is_some() {
            return self.tainted();
        }
        if let Some(at) = seen.at("Evicted").filter(|at| reach.ends && !window.is_before(*at)) {
            return Weighed::unknown(format!("evicted by its kubelet at {}, then deleted", window.place(at)));
        }
        let when = asked.map(|at| format!(" at {}", window.place(at))).unwrap_or_default();
        match who {
            "EvictionByEvictionAPI" => return Weighed::others(format!("evicted through the API{when}")),
            "PreemptionByScheduler" => return Weighed::others(format!("preempted by kube-scheduler{when}")),
            "TerminationByKubelet" if reach.ends => return Weighed::unknown(format!("ended by its kubelet{when}")),
            "DeletionByPodGC" if window.node_lost && reach.node => {
                return Weighed::unknown(format!("deleted by Kubernetes' clean-up of pods{when}"));
            }
            _ => {}
        }
        if seen.at("Preempted").is_some_and(|at| window.is_since_look(at)) {
            return Weighed::others(format!("preempted by kube-scheduler{when}"));
        }
        if let Some(event) = seen.deleted().filter(|e| window.is_since_look(e.at)) {
            return Weighed::others(self.by_controller(event));
        }
        if window.node_lost && reach.node {
            return Weighed::unknown(format!("deleted{when} after its node was NotReady"));
        }
        match &self.old.owner {
            Some(owner) if owner.kind == "Node" => {
                let because = "its kubelet made the mirror of a static pod anew".to_owned();
                if reach.ends { Weighed::unknown(because) } else { Weighed::others(because) }
            }
            Some(owner) if self.may_hide_a_rejection(owner, new) => Weighed::unknown(format!(
                "{} {} deletes pods that a kubelet rejects, and events could not be asked",
                word(&owner.kind),
                word(&owner.name)
            )),
            Some(owner) => Weighed::others(format!("deleted through the API{when}: {}", guess(owner))),
            None => Weighed::others(format!("deleted through the API{when}; it has no controller")),
        }
    }

    fn may_hide_a_rejection(&self, owner: &PodOwner, new: Option<&PodProof>) -> bool {
        // One that still runs while it is deleted was not rejected.
        let runs = new.is_some_and(|new| !new.ended);
        self.reach.ends && !self.seen.asked && !runs && !KEEP_FAILED_PODS.contains(&owner.kind.as_str())
    }

    /// The taint-eviction controller deletes pods from a node with a NoExecute taint: one that is NotReady, or that an operator
    /// tainted.
    fn tainted(&self) -> Weighed {
        let window = self.window;
        let because = match self.seen.tainted() {
            Some(at) => format!("evicted by the taint-eviction controller at {}", window.place(at)),
            None => "evicted by the taint-eviction controller".to_owned(),
        };
        if self.seen.tainted().is_some_and(|at| window.is_before(at)) {
            return Weighed::others(because);
        }
        match (self.reach.node, window.node_lost) {
            (true, true) => Weighed::swap(format!("{because}: its node was NotReady")),
            (true, false) => Weighed::unknown(because),
            (false, _) => {
                Weighed::others(format!("{because}; a swap of {} cannot make a node NotReady", window.what()))
            }
        }
    }

    fn by_controller(&self, event: &PodEvent) -> String {
        let at = self.window.place(event.at);
        match &self.old.owner {
            Some(owner) if owner.kind == "Job" => format!("its Job {} deleted it at {at}", word(&owner.name)),
            Some(owner) => {
                format!("rollout or scale-down: {} {} deleted it at {at}", word(&owner.kind), word(&owner.name))
            }
            None => format!("{} deleted it at {at}", word(&event.source)),
        }
    }
}

fn guess(owner: &PodOwner) -> String {
    let name = format!("{} {}", word(&owner.kind), word(&owner.name));
    match owner.kind.as_str() {
        "Job" => format!("{name} was deleted or cleaned up"),
        _ => format!("a rollout or scale-down of {name}, or a person"),
    }
}
