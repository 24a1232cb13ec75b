//! Whether what went wrong is enough to stop. Pure: folded from the journal, so that an engine that takes a run up again
//! decides the same. What went wrong, and how often, is counted in one place, [`Run`]: a pause cannot name another number than
//! the screens show. Only what an operator has acknowledged is kept here.

use crate::fleet::{Component, Disturbance, DisturbanceKind, NodeName, SwapId, clean, count, fold_names};
use crate::journal::{Event, FailedSwap, MANY_RESTARTED, Record, Run, Verb};
use crate::plan::{Budget, Plan, Swap};
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
    /// Swaps whose kubelet restarts containers.
    harm: BTreeMap<SwapId, Harm>,
    lost_known: BTreeSet<NodeName>,
    unpulled: BTreeMap<NodeName, String>,
    unpulled_known: BTreeSet<NodeName>,
    /// Swaps that others rest upon, and that did not commit.
    stuck: BTreeMap<SwapId, (NodeName, String)>,
    /// Drifts that are acknowledged; one that ended and comes again is a new one.
    drift_known: BTreeSet<(SwapId, Component)>,
    /// Swaps under which something else made a container anew.
    foreign: Vec<ForeignSwap>,
    /// Nodes that need a person.
    broken: BTreeSet<NodeName>,
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

/// A swap under which something else made a container anew.
#[derive(Debug, Clone)]
struct ForeignSwap {
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
            failed_known: BTreeMap::new(),
            disturbed_known: BTreeMap::new(),
            harm: BTreeMap::new(),
            lost_known: BTreeSet::new(),
            unpulled: BTreeMap::new(),
            unpulled_known: BTreeSet::new(),
            stuck: BTreeMap::new(),
            drift_known: BTreeSet::new(),
            foreign: Vec::new(),
            broken,
        }
    }

    /// Folds a record; `run` has folded it already.
    pub(super) fn apply(&mut self, record: &Record, run: &Run) {
        match &record.event {
            Event::Command { verb, .. } => self.command(verb, run),
            Event::SwapPreparing { swap, .. } => self.drift_known.retain(|(of, _)| of != swap),
            Event::DriftEnded { swap, component, .. } => {
                self.drift_known.remove(&(swap.clone(), *component));
            }
            Event::ForeignHand { node, why, .. } => {
                self.foreign.push(ForeignSwap { node: node.clone(), why: why.clone(), known: false });
            }
            Event::SwapRolledBack { swap, node, why, .. } => {
                self.stop_at(swap, node, why);
                if let Some(harm) = self.harm.get_mut(swap) {
                    harm.back = true;
                }
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
            Event::PodsDisturbed { swap, node, pods }
                if self.planned(swap).is_some_and(|s| s.restarts(Component::Kubelet)) =>
            {
                self.harm.entry(swap.clone()).or_default().add(node, pods);
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
        let drifted = run.drifts.iter().filter(|(_, drift)| of(&drift.node));
        self.drift_known.extend(drifted.map(|(at, _)| at.clone()));
        self.foreign.iter_mut().filter(|f| of(&f.node)).for_each(|f| f.known = true);
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

    /// What drifted, in words, where that is not acknowledged: the run pauses at the first, whatever the budget.
    pub(super) fn drift(&self, run: &Run) -> Option<String> {
        let fresh = || run.drifts.iter().filter(|(at, _)| !self.drift_known.contains(at)).map(|(_, drift)| drift);
        let first = fresh().next()?;
        let rest = match fresh().count() {
            1 => String::new(),
            n => format!("; {n} components in all, on {}", fold_names(fresh().map(|d| d.node.as_str()))),
        };
        Some(format!("{}: {}{rest}; it was committed before", first.node, first.why))
    }

    /// Why the run must pause by itself, in words; `None` while it need not. Every number in it is the fold's.
    pub(super) fn over(&self, run: &Run, budget: &Budget) -> Option<String> {
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
        if let Some(why) = self.harm.values().find_map(Harm::why) {
            return Some(why);
        }
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
