//! Whether what went wrong is enough to stop. Pure: folded from the journal, so that an engine that takes a run up again
//! decides the same. What went wrong, and how often, is counted in one place, [`Run`]: a pause cannot name another number than
//! the screens show. Only what an operator has acknowledged is kept here.

use crate::fleet::{NodeName, SwapId, count, fold_names};
use crate::journal::{Event, FailedSwap, Record, Run, Verb};
use crate::plan::{Budget, Plan};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What of all that went wrong is acknowledged: whatever the operator resumed over, retried or skipped. It stays counted, and
/// only more of it pauses again.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    plan: Arc<Plan>,
    /// Failed swaps that are acknowledged, by node.
    failed_known: BTreeMap<NodeName, usize>,
    /// Disturbed pods that are acknowledged, by node.
    disturbed_known: BTreeMap<NodeName, usize>,
    lost_known: BTreeSet<NodeName>,
    unpulled: BTreeMap<NodeName, String>,
    unpulled_known: BTreeSet<NodeName>,
    /// Swaps that others rest upon, and that did not commit.
    stuck: BTreeMap<SwapId, (NodeName, String)>,
    /// Nodes that need a person.
    broken: BTreeSet<NodeName>,
}

impl Ledger {
    pub(super) fn new(plan: Arc<Plan>) -> Ledger {
        let broken =
            plan.cluster.nodes.values().filter(|n| n.reachable == Some(false)).map(|n| n.name.clone()).collect();
        Ledger {
            plan,
            failed_known: BTreeMap::new(),
            disturbed_known: BTreeMap::new(),
            lost_known: BTreeSet::new(),
            unpulled: BTreeMap::new(),
            unpulled_known: BTreeSet::new(),
            stuck: BTreeMap::new(),
            broken,
        }
    }

    /// Folds a record; `run` has folded it already.
    pub(super) fn apply(&mut self, record: &Record, run: &Run) {
        match &record.event {
            Event::Command { verb, .. } => self.command(verb, run),
            Event::SwapRolledBack { swap, node, why, .. } => {
                self.stop_at(swap, node, why);
                // It was looked at, and is all old.
                self.broken.remove(node);
            }
            Event::SwapFailed { swap, node, why, untouched } => {
                self.stop_at(swap, node, why);
                if !untouched {
                    self.broken.insert(node.clone());
                }
            }
            Event::SwapCommitted { swap, node, .. } => {
                self.stuck.remove(swap);
                self.broken.remove(node);
            }
            // A node that came back and is lost again is a new loss.
            Event::ClusterSeen { .. } => self.lost_known.retain(|n| run.lost().contains(n)),
            Event::PullFailed { node, why, .. } => {
                self.unpulled.insert(node.clone(), why.clone());
            }
            Event::Pulled { node, .. } => {
                self.unpulled.remove(node);
            }
            Event::Resumed => {
                self.acknowledge(run, |_| true);
                self.lost_known = run.lost().iter().cloned().collect();
                self.unpulled_known = self.unpulled.keys().cloned().collect();
                self.stuck.clear();
            }
            _ => {}
        }
    }

    /// What an operator decides about a node acknowledges what happened there.
    fn command(&mut self, verb: &Verb, run: &Run) {
        match verb {
            Verb::Retry { nodes } => {
                let named = |node: &NodeName| nodes.is_empty() || nodes.contains(node);
                self.acknowledge(run, named);
                self.stuck.retain(|_, (node, _)| !named(node));
            }
            Verb::Skip { nodes, .. } => {
                self.acknowledge(run, |node| nodes.contains(node));
                self.lost_known.extend(nodes.iter().filter(|n| run.lost().contains(n)).cloned());
            }
            _ => {}
        }
    }

    fn acknowledge(&mut self, run: &Run, of: impl Fn(&NodeName) -> bool) {
        self.failed_known.extend(by_node(failed_nodes(run).filter(|node| of(node))));
        self.disturbed_known.extend(by_node(disturbed_nodes(run).filter(|node| of(node))));
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

    /// Why the run must pause by itself, in words; `None` while it need not. Every number in it is the fold's.
    pub(super) fn over(&self, run: &Run, budget: &Budget) -> Option<String> {
        if let Some((node, why)) = self.stuck.values().next() {
            return Some(format!(
                "{node}: {why}; what comes later rests upon this node's control plane. `resume` tries it again"
            ));
        }
        // "When the count reaches the number"; none tolerated and the first one stops are the same.
        let reached = |count: usize, limit: usize, fresh: bool| count >= limit.max(1) && fresh;
        let disturbed = run.pods.disturbed.len();
        if reached(disturbed, budget.disturbed_pods, more(disturbed_nodes(run), &self.disturbed_known)) {
            let nodes = fold_names(disturbed_nodes(run).map(NodeName::as_str));
            let limit = budget.disturbed_pods.max(1);
            return Some(format!(
                "{} on {nodes}; the run pauses at {limit}",
                count(disturbed, "disturbed pod", "disturbed pods")
            ));
        }
        if reached(run.failures(), budget.failed_swaps, more(failed_nodes(run), &self.failed_known)) {
            let limit = budget.failed_swaps.max(1);
            return Some(match run.failed.as_slice() {
                [FailedSwap { node, why, .. }] => {
                    format!("1 swap rolled back or failed, the run pauses at {limit}: {node}: {why}")
                }
                failed => {
                    let nodes = fold_names(failed.iter().map(|f| f.node.as_str()));
                    let last = failed.last().map(|f| format!("; the last: {}: {}", f.node, f.why)).unwrap_or_default();
                    format!("{} swaps rolled back or failed, the run pauses at {limit}: {nodes}{last}", failed.len())
                }
            });
        }
        let lost = run.lost();
        if reached(lost.len(), budget.not_ready_nodes, lost.iter().any(|n| !self.lost_known.contains(n))) {
            let nodes = fold_names(lost.iter().map(NodeName::as_str));
            let limit = budget.not_ready_nodes.max(1);
            let lost = count(lost.len(), "node", "nodes");
            return Some(format!("{lost} NotReady, Ready before; the run pauses at {limit}: {nodes}"));
        }
        let unpulled = &self.unpulled;
        if reached(unpulled.len(), budget.failed_swaps, unpulled.keys().any(|n| !self.unpulled_known.contains(n))) {
            let nodes = fold_names(unpulled.keys().map(NodeName::as_str));
            let why = self.unpulled.values().next().cloned().unwrap_or_default();
            return Some(format!("images could not be pulled on {nodes}: {why}"));
        }
        None
    }
}

/// The node of every failed swap.
fn failed_nodes(run: &Run) -> impl Iterator<Item = &NodeName> {
    run.failed.iter().map(|failed| &failed.node)
}

/// The node of every disturbed pod.
fn disturbed_nodes(run: &Run) -> impl Iterator<Item = &NodeName> {
    run.pods.disturbed.iter().map(|(node, _)| node)
}

fn by_node<'a>(nodes: impl Iterator<Item = &'a NodeName>) -> BTreeMap<NodeName, usize> {
    let mut counts = BTreeMap::new();
    for node in nodes {
        *counts.entry(node.clone()).or_default() += 1;
    }
    counts
}

/// Whether some node has more of it than is acknowledged there.
fn more<'a>(nodes: impl Iterator<Item = &'a NodeName>, known: &BTreeMap<NodeName, usize>) -> bool {
    by_node(nodes).iter().any(|(node, count)| *count > known.get(node).copied().unwrap_or_default())
}
