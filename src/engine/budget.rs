//! How much went wrong, and whether it is enough to stop. Pure: folded from the journal, so that an engine that takes a
//! run up again counts the same.

use crate::fleet::{Component, NodeName, SwapId, count, fold_names};
use crate::journal::{Event, Record, Verb};
use crate::plan::{Budget, Plan};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What went wrong so far. Whatever the operator resumed over, retried or skipped is acknowledged: it stays counted, and only
/// more of it pauses again.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    plan: Arc<Plan>,
    failed: Vec<Failure>,
    /// The node of each disturbed pod, and whether that is acknowledged.
    disturbed: Vec<(NodeName, bool)>,
    lost: BTreeSet<NodeName>,
    lost_known: BTreeSet<NodeName>,
    unpulled: BTreeMap<NodeName, String>,
    unpulled_known: BTreeSet<NodeName>,
    /// Swaps that others rest upon, and that did not commit.
    stuck: BTreeMap<SwapId, (NodeName, String)>,
    /// Components that are not what was committed any more.
    drifted: BTreeMap<(SwapId, Component), Failure>,
    /// Swaps under which something else made a container anew.
    foreign: Vec<Failure>,
    /// Nodes that need a person.
    broken: BTreeSet<NodeName>,
    /// Nodes that an operator commanded back: that they do go back is no failure.
    commanded: BTreeSet<NodeName>,
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
            disturbed: Vec::new(),
            lost: BTreeSet::new(),
            lost_known: BTreeSet::new(),
            unpulled: BTreeMap::new(),
            unpulled_known: BTreeSet::new(),
            stuck: BTreeMap::new(),
            drifted: BTreeMap::new(),
            foreign: Vec::new(),
            broken,
            commanded: BTreeSet::new(),
        }
    }

    pub(super) fn apply(&mut self, record: &Record) {
        match &record.event {
            Event::Command { verb, .. } => self.command(verb),
            Event::SwapPreparing { swap, node } => {
                self.commanded.remove(node);
                self.drifted.retain(|(of, _), _| of != swap);
            }
            Event::SwapRolledBack { swap, node, why, .. } => {
                if !self.commanded.remove(node) {
                    self.failed.push(Failure { node: node.clone(), why: why.clone(), known: false });
                }
                self.stop_at(swap, node, why);
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
            Event::ComponentDrifted { swap, node, component, why } => {
                let drift = Failure { node: node.clone(), why: why.clone(), known: false };
                self.drifted.insert((swap.clone(), *component), drift);
            }
            Event::DriftEnded { swap, component, .. } => {
                self.drifted.remove(&(swap.clone(), *component));
            }
            Event::ForeignHand { node, why, .. } => {
                self.foreign.push(Failure { node: node.clone(), why: why.clone(), known: false });
            }
            Event::PodsDisturbed { node, pods, .. } => {
                self.disturbed.extend(pods.iter().map(|_| (node.clone(), false)));
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
        let failed = self.failed.iter_mut().chain(&mut self.foreign).chain(self.drifted.values_mut());
        failed.filter(|f| of(&f.node)).for_each(|f| f.known = true);
        self.disturbed.iter_mut().filter(|(node, _)| of(node)).for_each(|(_, known)| *known = true);
    }

    /// Nothing later may begin before this one is new, where it bears others.
    fn stop_at(&mut self, swap: &SwapId, node: &NodeName, why: &str) {
        let planned = self.plan.swaps().map(|(_, _, s)| s).find(|s| s.id == *swap);
        if planned.is_some_and(|s| s.bears_others()) {
            self.stuck.insert(swap.clone(), (node.clone(), why.to_owned()));
        }
    }

    /// Nodes that a swap left in need of a person, or that did not answer when the plan was made.
    pub(super) fn broken(&self) -> &BTreeSet<NodeName> {
        &self.broken
    }

    /// Nodes on which something is not what was committed any more.
    pub(super) fn adrift(&self) -> impl Iterator<Item = &NodeName> {
        self.drifted.values().map(|drift| &drift.node)
    }

    /// What drifted, in words, where that is not acknowledged: the run pauses at the first, whatever the budget.
    pub(super) fn drift(&self) -> Option<String> {
        let fresh: Vec<&Failure> = self.drifted.values().filter(|d| !d.known).collect();
        let first = fresh.first()?;
        let rest = match fresh.len() {
            1 => String::new(),
            n => format!("; {n} components in all, on {}", fold_names(fresh.iter().map(|d| d.node.as_str()))),
        };
        Some(format!("{}: {}{rest}; it was committed before", first.node, first.why))
    }

    /// Why the run must pause by itself, in words; `None` while it need not.
    pub(super) fn over(&self, budget: &Budget) -> Option<String> {
        if let Some((node, why)) = self.stuck.values().next() {
            return Some(format!(
                "{node}: {why}; what comes later rests upon this node's control plane. `resume` tries it again"
            ));
        }
        if let Some(hand) = self.foreign.iter().find(|f| !f.known) {
            return Some(format!("something else works on {} during its swap: {}", hand.node, hand.why));
        }
        // "When the count reaches the number"; none tolerated and the first one stops are the same.
        let reached = |count: usize, limit: usize, fresh: bool| count >= limit.max(1) && fresh;
        if reached(self.disturbed.len(), budget.disturbed_pods, self.disturbed.iter().any(|(_, known)| !known)) {
            let nodes = fold_names(self.disturbed.iter().map(|(n, _)| n.as_str()));
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
