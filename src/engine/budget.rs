//! How much went wrong, and whether it is enough to stop. Pure: folded from the journal, so that an engine that takes a
//! run up again counts the same.

use crate::fleet::{NodeName, SwapId, fold_names};
use crate::journal::{Event, Record};
use crate::plan::{Budget, Plan, Swap};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What went wrong so far. Whatever the operator resumed over is acknowledged: only more of it pauses again.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    plan: Arc<Plan>,
    failed: Vec<(NodeName, String)>,
    failed_known: usize,
    disturbed: Vec<NodeName>,
    disturbed_known: usize,
    lost: BTreeSet<NodeName>,
    lost_known: BTreeSet<NodeName>,
    unpulled: BTreeMap<NodeName, String>,
    unpulled_known: BTreeSet<NodeName>,
    /// Swaps that others rest upon, and that did not commit.
    stuck: BTreeMap<SwapId, (NodeName, String)>,
    /// Nodes that need a person.
    broken: BTreeSet<NodeName>,
}

/// Whether later swaps rest upon this one: the control plane proper. A kubelet must not become newer than an API server
/// that stayed behind, so such a swap is tried again and never passed over.
pub(super) fn bears_others(swap: &Swap) -> bool {
    swap.changes.iter().any(|c| c.component.master_only())
}

impl Ledger {
    pub(super) fn new(plan: Arc<Plan>) -> Ledger {
        let broken =
            plan.cluster.nodes.values().filter(|n| n.reachable == Some(false)).map(|n| n.name.clone()).collect();
        Ledger {
            plan,
            failed: Vec::new(),
            failed_known: 0,
            disturbed: Vec::new(),
            disturbed_known: 0,
            lost: BTreeSet::new(),
            lost_known: BTreeSet::new(),
            unpulled: BTreeMap::new(),
            unpulled_known: BTreeSet::new(),
            stuck: BTreeMap::new(),
            broken,
        }
    }

    pub(super) fn apply(&mut self, record: &Record) {
        match &record.event {
            Event::SwapRolledBack { swap, node, why, .. } => {
                self.fail(swap, node, why);
                // It was looked at, and is all old.
                self.broken.remove(node);
            }
            Event::SwapFailed { swap, node, why, untouched } => {
                self.fail(swap, node, why);
                if !untouched {
                    self.broken.insert(node.clone());
                }
            }
            Event::SwapCommitted { swap, node, .. } => {
                self.stuck.remove(swap);
                self.broken.remove(node);
            }
            Event::PodsDisturbed { node, pods, .. } => {
                self.disturbed.extend(pods.iter().map(|_| node.clone()));
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
                self.failed_known = self.failed.len();
                self.disturbed_known = self.disturbed.len();
                self.lost_known = self.lost.clone();
                self.unpulled_known = self.unpulled.keys().cloned().collect();
                self.stuck.clear();
            }
            _ => {}
        }
    }

    fn fail(&mut self, swap: &SwapId, node: &NodeName, why: &str) {
        self.failed.push((node.clone(), why.to_owned()));
        let planned = self.plan.swaps().map(|(_, _, s)| s).find(|s| s.id == *swap);
        if planned.is_some_and(bears_others) {
            self.stuck.insert(swap.clone(), (node.clone(), why.to_owned()));
        }
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
        let reached = |count: usize, limit: usize, known: usize| count >= limit.max(1) && count > known;
        if reached(self.disturbed.len(), budget.disturbed_pods, self.disturbed_known) {
            let nodes = fold_names(self.disturbed.iter().map(NodeName::as_str));
            let (count, limit) = (self.disturbed.len(), budget.disturbed_pods);
            return Some(format!("{count} disturbed pods (budget {limit}) on {nodes}"));
        }
        if reached(self.failed.len(), budget.failed_swaps, self.failed_known) {
            let limit = budget.failed_swaps;
            return Some(match self.failed.as_slice() {
                [(node, why)] => format!("1 swap rolled back or failed (budget {limit}): {node}: {why}"),
                failed => {
                    let nodes = fold_names(failed.iter().map(|(n, _)| n.as_str()));
                    let last = failed.last().map(|(n, why)| format!("; the last: {n}: {why}")).unwrap_or_default();
                    format!("{} swaps rolled back or failed (budget {limit}): {nodes}{last}", failed.len())
                }
            });
        }
        let fresh = |now: &BTreeSet<NodeName>, known: &BTreeSet<NodeName>| now.iter().any(|n| !known.contains(n));
        if self.lost.len() >= budget.not_ready_nodes.max(1) && fresh(&self.lost, &self.lost_known) {
            let nodes = fold_names(self.lost.iter().map(NodeName::as_str));
            let (count, limit) = (self.lost.len(), budget.not_ready_nodes);
            return Some(format!("{count} nodes are NotReady that were Ready before (budget {limit}): {nodes}"));
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
