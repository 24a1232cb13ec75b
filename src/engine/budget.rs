//! How much went wrong, and whether it is enough to stop. Pure: folded from the journal, so that an engine that takes a
//! run up again counts the same.

use crate::fleet::{Component, Disturbance, DisturbanceKind, NodeName, SwapId, clean, count, fold_names};
use crate::journal::{Event, MANY_RESTARTED, Record, Verb};
use crate::plan::{Budget, Plan, Swap};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What went wrong so far. Whatever the operator resumed over, retried or skipped is acknowledged: it stays counted, and only
/// more of it pauses again.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    plan: Arc<Plan>,
    failed: Vec<Failure>,
    /// Each disturbed pod by node and name, and whether that is acknowledged.
    disturbed: BTreeMap<(NodeName, String), bool>,
    /// Swaps whose kubelet restarts containers.
    harm: BTreeMap<SwapId, Harm>,
    lost: BTreeSet<NodeName>,
    lost_known: BTreeSet<NodeName>,
    unpulled: BTreeMap<NodeName, String>,
    unpulled_known: BTreeSet<NodeName>,
    /// Swaps that others rest upon, and that did not commit.
    stuck: BTreeMap<SwapId, (NodeName, String)>,
    /// Nodes that need a person.
    broken: BTreeSet<NodeName>,
    /// Nodes that an operator commanded back: that they do go back is no failure.
    commanded: BTreeSet<NodeName>,
}

/// A kubelet that restarts containers: every other node's would do the same.
#[derive(Debug, Clone, Default)]
struct Harm {
    node: Option<NodeName>,
    /// The pods whose containers it restarts.
    pods: BTreeSet<String>,
    /// The first of them, in words.
    first: String,
    /// It was told by what the kubelet itself said: it computes definitions anew.
    signed: bool,
    /// The swap was rolled back all the same.
    back: bool,
    /// An operator resumed over it, or decided about this node.
    known: bool,
}

impl Harm {
    fn add(&mut self, node: &NodeName, pods: &[Disturbance]) {
        self.node = Some(node.clone());
        for pod in pods {
            let signed = matches!(pod.kind, DisturbanceKind::Redefined(_));
            if !signed && !matches!(pod.kind, DisturbanceKind::Restarted(_)) {
                continue;
            }
            if self.pods.is_empty() {
                self.first = pod.cleaned().to_string();
            }
            self.signed |= signed;
            self.pods.insert(pod.pod.clone());
        }
    }

    /// Why the run pauses at once; none while it need not.
    fn why(&self) -> Option<String> {
        let node = self.node.as_ref().filter(|_| !self.known && (self.signed || self.pods.len() >= MANY_RESTARTED))?;
        let pods = count(self.pods.len(), "pod", "pods");
        let then = match self.back {
            true => "It was rolled back since it did not get healthy, which may restart them once more",
            false => "The swap is kept: rolling it back would restart every container once more",
        };
        Some(format!(
            "{node}: the kubelet restarts containers ({pods} so far; {}). {then}. The run pauses before another node is touched: abort \
             it, or resume if the other nodes' containers may be restarted too",
            clean(&self.first)
        ))
    }
}

/// A swap that rolled back or failed.
#[derive(Debug, Clone)]
struct Failure {
    node: NodeName,
    why: String,
    /// An operator resumed over it, or decided about this node.
    known: bool,
}

impl Ledger {
    pub(super) fn new(plan: Arc<Plan>) -> Ledger {
        let broken =
            plan.cluster.nodes.values().filter(|n| n.reachable == Some(false)).map(|n| n.name.clone()).collect();
        Ledger {
            plan,
            failed: Vec::new(),
            disturbed: BTreeMap::new(),
            harm: BTreeMap::new(),
            lost: BTreeSet::new(),
            lost_known: BTreeSet::new(),
            unpulled: BTreeMap::new(),
            unpulled_known: BTreeSet::new(),
            stuck: BTreeMap::new(),
            broken,
            commanded: BTreeSet::new(),
        }
    }

    pub(super) fn apply(&mut self, record: &Record) {
        match &record.event {
            Event::Command { verb, .. } => self.command(verb),
            Event::SwapPreparing { node, .. } => {
                self.commanded.remove(node);
            }
            Event::SwapRolledBack { swap, node, why, .. } => {
                if !self.commanded.remove(node) {
                    self.failed.push(Failure { node: node.clone(), why: why.clone(), known: false });
                }
                self.stop_at(swap, node, why);
                if let Some(harm) = self.harm.get_mut(swap) {
                    harm.back = true;
                }
                // It was looked at, and is all old.
                self.broken.remove(node);
            }
            Event::SwapFailed { swap, node, why, untouched } => {
                // A node that is commanded back and still does not answer was counted when it was lost.
                let counted = self.failed.iter().any(|f| f.node == *node);
                if !(self.commanded.remove(node) && counted) {
                    self.failed.push(Failure { node: node.clone(), why: why.clone(), known: false });
                }
                self.stop_at(swap, node, why);
                if !untouched {
                    self.broken.insert(node.clone());
                }
            }
            Event::SwapCommitted { swap, node, .. } => {
                self.commanded.remove(node);
                self.stuck.remove(swap);
                self.broken.remove(node);
            }
            Event::PodsDisturbed { swap, node, pods } => {
                for pod in pods {
                    self.disturbed.entry((node.clone(), pod.pod.clone())).or_insert(false);
                }
                if self.planned(swap).is_some_and(|s| s.restarts(Component::Kubelet)) {
                    self.harm.entry(swap.clone()).or_default().add(node, pods);
                }
            }
            Event::ClusterSeen { lost, .. } => {
                self.lost = lost.iter().cloned().collect();
                // A node that came back and is lost again is a new loss.
                self.lost_known.retain(|n| self.lost.contains(n));
            }
            Event::PullFailed { node, why, .. } => {
                self.unpulled.insert(node.clone(), why.clone());
            }
            Event::Pulled { node, .. } => {
                self.unpulled.remove(node);
            }
            Event::Resumed => {
                self.acknowledge(|_| true);
                self.lost_known = self.lost.clone();
                self.unpulled_known = self.unpulled.keys().cloned().collect();
                self.stuck.clear();
            }
            _ => {}
        }
    }

    /// What an operator decides about a node, he has seen.
    fn command(&mut self, verb: &Verb) {
        match verb {
            Verb::Retry { nodes } => {
                let named = |node: &NodeName| nodes.is_empty() || nodes.contains(node);
                self.acknowledge(named);
                self.stuck.retain(|_, (node, _)| !named(node));
            }
            Verb::Skip { nodes, .. } => {
                self.acknowledge(|node| nodes.contains(node));
                self.lost_known.extend(nodes.iter().filter(|n| self.lost.contains(*n)).cloned());
            }
            Verb::RollBack { nodes } => self.commanded.extend(nodes.iter().cloned()),
            _ => {}
        }
    }

    fn acknowledge(&mut self, of: impl Fn(&NodeName) -> bool) {
        self.failed.iter_mut().filter(|f| of(&f.node)).for_each(|f| f.known = true);
        self.disturbed.iter_mut().filter(|((node, _), _)| of(node)).for_each(|(_, known)| *known = true);
        self.harm.values_mut().filter(|h| h.node.as_ref().is_some_and(&of)).for_each(|h| h.known = true);
    }

    /// Nothing later may begin before this one is new, where it bears others.
    fn stop_at(&mut self, swap: &SwapId, node: &NodeName, why: &str) {
        if self.planned(swap).is_some_and(|s| s.bears_others()) {
            self.stuck.insert(swap.clone(), (node.clone(), why.to_owned()));
        }
    }

    fn planned(&self, swap: &SwapId) -> Option<&Swap> {
        self.plan.swaps().map(|(_, _, s)| s).find(|s| s.id == *swap)
    }

    /// Nodes that a swap left in need of a person, or that did not answer when the plan was made.
    pub(super) fn broken(&self) -> &BTreeSet<NodeName> {
        &self.broken
    }

    /// Why the run must pause by itself, in words; `None` while it need not.
    pub(super) fn over(&self, budget: &Budget) -> Option<String> {
        if let Some((node, why)) = self.stuck.values().next() {
            return Some(format!(
                "{node}: {why}; what comes later rests upon this node's control plane. `resume` tries it again"
            ));
        }
        // "When the count reaches the number"; none tolerated and the first one stops are the same.
        let reached = |count: usize, limit: usize, fresh: bool| count >= limit.max(1) && fresh;
        if let Some(why) = self.harm.values().find_map(Harm::why) {
            return Some(why);
        }
        if reached(self.disturbed.len(), budget.disturbed_pods, self.disturbed.values().any(|known| !known)) {
            let nodes = fold_names(self.disturbed.keys().map(|(n, _)| n.as_str()));
            let limit = budget.disturbed_pods.max(1);
            return Some(format!(
                "{} on {nodes}; the run pauses at {limit}",
                count(self.disturbed.len(), "disturbed pod", "disturbed pods")
            ));
        }
        if reached(self.failed.len(), budget.failed_swaps, self.failed.iter().any(|f| !f.known)) {
            let limit = budget.failed_swaps.max(1);
            return Some(match self.failed.as_slice() {
                [Failure { node, why, .. }] => {
                    format!("1 swap rolled back or failed, the run pauses at {limit}: {node}: {why}")
                }
                failed => {
                    let nodes = fold_names(failed.iter().map(|f| f.node.as_str()));
                    let last = failed.last().map(|f| format!("; the last: {}: {}", f.node, f.why)).unwrap_or_default();
                    format!("{} swaps rolled back or failed, the run pauses at {limit}: {nodes}{last}", failed.len())
                }
            });
        }
        let fresh = |now: &BTreeSet<NodeName>, known: &BTreeSet<NodeName>| now.iter().any(|n| !known.contains(n));
        if self.lost.len() >= budget.not_ready_nodes.max(1) && fresh(&self.lost, &self.lost_known) {
            let nodes = fold_names(self.lost.iter().map(NodeName::as_str));
            let limit = budget.not_ready_nodes.max(1);
            let lost = count(self.lost.len(), "node", "nodes");
            return Some(format!("{lost} NotReady, Ready before; the run pauses at {limit}: {nodes}"));
        }
        let unpulled: BTreeSet<NodeName> = self.unpulled.keys().cloned().collect();
        if unpulled.len() >= budget.failed_swaps.max(1) && fresh(&unpulled, &self.unpulled_known) {
            let nodes = fold_names(unpulled.iter().map(NodeName::as_str));
            let why = self.unpulled.values().next().cloned().unwrap_or_default();
            return Some(format!("images could not be pulled on {nodes}: {why}"));
        }
        None
    }
}
