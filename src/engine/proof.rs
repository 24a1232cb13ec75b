//! What is known of the pods of every swap's node: how they were before it, what the node did when, and what the journal already says
//! became of them. Pure: folded from the journal, so that an engine that takes a run up again goes on with the same proof.

use crate::fleet::{
    Cause, Component, Disturbance, DisturbanceKind, NodeName, PodEvent, PodProof, SwapId, SwapWindow, judge_pods,
};
use crate::journal::{Event, Record, Step};
use crate::plan::Limits;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// The pods of one swap's node.
#[derive(Debug, Clone)]
pub(super) struct Proof {
    pub(super) node: NodeName,
    /// As they were before the swap.
    before: Vec<PodProof>,
    window: SwapWindow,
    /// The node touched its kubelet: a new one started, or the old one again.
    kubelet_moved: bool,
    /// The swap has a result.
    ended: bool,
    /// Until when its pods cannot be proved: since when, and how long from then. Milliseconds.
    pending: Option<(Timestamp, u64)>,
    /// What the journal says of pods already.
    told: BTreeMap<String, Told>,
}

/// How much the journal says of a changed pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    /// Something else changed it.
    Others,
    /// The swap did, or may have done.
    Disturbed,
    /// Its kubelet restarts it because it computes its definition anew.
    Redefined,
}

impl Told {
    fn of(pod: &Disturbance) -> Told {
        match (pod.cause, &pod.kind) {
            (Cause::Others, _) => Told::Others,
            (_, DisturbanceKind::Redefined(_)) => Told::Redefined,
            _ => Told::Disturbed,
        }
    }
}

/// What a look at the pods of a swap's node came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Judged {
    /// All that the swap changed, or may have changed.
    pub(super) disturbed: Vec<Disturbance>,
    /// Of these, what the journal does not say yet.
    fresh: Vec<Disturbance>,
    /// What something else changed, and the journal does not say yet.
    others: Vec<Disturbance>,
}

impl Judged {
    /// What is to be written down.
    pub(super) fn events(&self, swap: &SwapId, node: &NodeName) -> Vec<Event> {
        let (swap, node) = (|| swap.clone(), || node.clone());
        let mut events = Vec::new();
        if !self.fresh.is_empty() {
            events.push(Event::PodsDisturbed { swap: swap(), node: node(), pods: self.fresh.clone() });
        }
        if !self.others.is_empty() {
            events.push(Event::PodsChanged { swap: swap(), node: node(), pods: self.others.clone() });
        }
        events
    }

    /// Whether the journal learns of a disturbed pod.
    pub(super) fn is_news(&self) -> bool {
        !self.fresh.is_empty()
    }
}

impl Proof {
    /// The UIDs of the pods before: what their events are asked by.
    pub(super) fn uids(&self) -> Vec<String> {
        self.before.iter().filter(|p| !p.ended).map(|p| p.uid.clone()).collect()
    }

    /// Whether a kubelet of the swap may still be about to restart containers.
    pub(super) fn kubelet_moved(&self) -> bool {
        self.kubelet_moved
    }

    /// Pods compared, and of these those that nothing has changed so far.
    pub(super) fn counts(&self) -> (usize, usize) {
        let checked = self.before.iter().filter(|p| !p.ended);
        let (checked, left): (usize, usize) =
            checked.fold((0, 0), |(all, left), p| (all + 1, left + usize::from(!self.told.contains_key(&p.pod))));
        (checked, left)
    }

    /// How long after a kubelet's start the pods must be looked at. Milliseconds.
    pub(super) fn wait_ms(&self, limits: &Limits) -> u64 {
        limits.proof_ms(Some(self.before.iter().filter(|p| !p.ended).map(PodProof::longest_end_s).max().unwrap_or(0)))
    }

    /// Unchanged pods that could be proved by now, and those whose grace period is longer than the limit.
    pub(super) fn proved(&self, limits: &Limits) -> (usize, usize) {
        let left = self.before.iter().filter(|p| !p.ended && !self.told.contains_key(&p.pod));
        left.fold((0, 0), |(proved, not), pod| {
            match pod.longest_end_s().saturating_mul(1_000) <= limits.proof_limit_ms {
                true => (proved + 1, not),
                false => (proved, not + 1),
            }
        })
    }

    /// Judges the pods as they are now, beside so many restarts on nodes that no swap touches. `told_since` are pods of which the journal speaks at a later swap of the same node.
    pub(super) fn judge(
        &self,
        after: &[PodProof],
        events: Option<&[PodEvent]>,
        (now, restarts_elsewhere): (Timestamp, usize),
        told_since: &BTreeSet<&str>,
    ) -> Judged {
        let over = self.ended && self.pending.is_none();
        let window = SwapWindow { after: now, over, restarts_elsewhere, ..self.window.clone() };
        let all = judge_pods(&self.before, after, events, &window);
        let news = |d: &&Disturbance| {
            let known = self.told.get(&d.pod).is_some_and(|told| *told >= Told::of(d));
            !known && !told_since.contains(d.pod.as_str())
        };
        let (others, disturbed): (Vec<_>, Vec<_>) = all.into_iter().partition(|d| d.cause == Cause::Others);
        Judged {
            fresh: disturbed.iter().filter(news).cloned().collect(),
            others: others.iter().filter(news).cloned().collect(),
            disturbed,
        }
    }
}

/// A swap whose pods are not proved yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) swap: SwapId,
    pub(super) node: NodeName,
    /// Since when that is so.
    pub(super) since: Timestamp,
    /// How long from then. Milliseconds.
    pub(super) ms: u64,
}

/// The proofs of a run.
#[derive(Debug, Default)]
pub(super) struct Proofs {
    of: BTreeMap<SwapId, Proof>,
    /// In the order in which they began.
    order: Vec<SwapId>,
}

impl Proofs {
    pub(super) fn apply(&mut self, record: &Record) {
        match &record.event {
            Event::SwapIntended { swap, node, pods, olds, .. } => {
                let components = olds.keys().copied().collect();
                let window = SwapWindow { components, before: record.at, after: record.at, ..SwapWindow::default() };
                let proof = Proof {
                    node: node.clone(),
                    before: pods.clone(),
                    window,
                    kubelet_moved: false,
                    ended: false,
                    pending: None,
                    told: BTreeMap::new(),
                };
                self.order.retain(|s| s != swap);
                self.order.push(swap.clone());
                self.of.insert(swap.clone(), proof);
            }
            Event::SwapStep { swap, component, step, .. } => self.edit(swap, |proof| match step {
                Step::Stopping => drop(proof.window.stopping.get_or_insert(record.at)),
                Step::Started | Step::Restored => {
                    proof.kubelet_moved |= *component == Some(Component::Kubelet);
                    proof.window.started = Some(record.at);
                }
                _ => {}
            }),
            Event::ClusterSeen { lost, .. } => {
                let open = self.of.values_mut().filter(|p| !p.ended || p.pending.is_some());
                open.filter(|p| lost.contains(&p.node)).for_each(|p| p.window.node_lost = true);
            }
            Event::PodsDisturbed { swap, pods, .. } | Event::PodsChanged { swap, pods, .. } => {
                self.edit(swap, |proof| {
                    for pod in pods {
                        let told = proof.told.entry(pod.pod.clone()).or_insert(Told::of(pod));
                        *told = (*told).max(Told::of(pod));
                    }
                });
            }
            Event::ProofPending { swap, ms, .. } => self.edit(swap, |proof| proof.pending = Some((record.at, *ms))),
            Event::PodsProved { swap, .. } => self.edit(swap, |proof| proof.pending = None),
            Event::SwapCommitted { swap, .. } | Event::SwapRolledBack { swap, .. } => {
                self.edit(swap, |proof| proof.ended = true);
            }
            _ => {}
        }
    }

    fn edit(&mut self, swap: &SwapId, edit: impl FnOnce(&mut Proof)) {
        if let Some(proof) = self.of.get_mut(swap) {
            edit(proof);
        }
    }

    pub(super) fn of(&self, swap: &SwapId) -> Option<&Proof> {
        self.of.get(swap)
    }

    /// Those that are not proved yet.
    pub(super) fn pending(&self) -> Vec<Pending> {
        let pending = self.of.iter().filter_map(|(swap, proof)| {
            let (since, ms) = proof.pending.filter(|_| proof.ended)?;
            Some(Pending { swap: swap.clone(), node: proof.node.clone(), since, ms })
        });
        pending.collect()
    }

    /// Swaps that have a result, the last first.
    pub(super) fn ended(&self) -> Vec<(SwapId, NodeName)> {
        let ended = self.order.iter().rev().filter_map(|swap| self.of.get_key_value(swap));
        ended.filter(|(_, proof)| proof.ended).map(|(swap, proof)| (swap.clone(), proof.node.clone())).collect()
    }

    /// Pods of which the journal speaks at later swaps of the same node.
    pub(super) fn told_since(&self, swap: &SwapId) -> BTreeSet<&str> {
        let Some(node) = self.of.get(swap).map(|p| &p.node) else { return BTreeSet::new() };
        let later = self.order.iter().rev().take_while(|s| *s != swap).filter_map(|s| self.of.get(s));
        later.filter(|p| p.node == *node).flat_map(|p| p.told.keys().map(String::as_str)).collect()
    }

    /// Pods on nodes of swaps, and for how long each has been watched since its swap began: pods, pod-milliseconds.
    pub(super) fn watched(&self, now: Timestamp) -> u64 {
        let exposed = self.of.values().filter(|p| p.ended).map(|p| {
            let ms = u64::try_from(now.duration_since(p.window.before).as_millis()).unwrap_or(0);
            ms.saturating_mul(p.counts().0 as u64)
        });
        exposed.fold(0, u64::saturating_add)
    }
}
