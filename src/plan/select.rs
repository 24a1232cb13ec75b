//! Who takes part: nodes in scope that differ from what is staged and are fit to be touched. Whoever is left out is left out
//! by decision, with a finding.

use super::findings::Findings;
use super::{Change, Scope, Severity};
use crate::fleet::{Cluster, Component, Image, Node, NodeName, Running, fold_names};
use std::collections::{BTreeMap, BTreeSet};

/// A node that takes part, and what changes on it.
#[derive(Debug)]
pub(super) struct Chosen<'a> {
    pub(super) node: &'a Node,
    pub(super) changes: BTreeMap<Component, Change>,
}

impl Chosen<'_> {
    /// The changes of these components, in the order in which they are named.
    pub(super) fn changes_of(&self, components: &[Component]) -> Vec<Change> {
        components.iter().filter_map(|c| self.changes.get(c)).cloned().collect()
    }
}

/// Whether a node is down: it counts against `max_unavailable` and is not touched.
pub(super) fn broken(node: &Node) -> bool {
    !node.ready || unreachable(node)
}

/// A node that nobody looked at is as good as one that did not answer: nothing is known of it.
fn unreachable(node: &Node) -> bool {
    match node.reachable {
        Some(answered) => !answered,
        None => node.components.is_empty(),
    }
}

/// The nodes that take part in taking `targets` to where `scope` reaches, as far as `moves` lets them.
pub(super) fn select<'a>(
    cluster: &'a Cluster,
    targets: &BTreeMap<Component, &Image>,
    scope: &Scope,
    moves: &dyn Fn(&Node, Component, &Running) -> bool,
    findings: &mut Findings,
) -> Vec<Chosen<'a>> {
    check_scope(cluster, scope, findings);
    moved_tags(cluster, targets, findings);
    let absent = absent_everywhere(cluster, targets, findings);
    let mut chosen = Vec::new();
    for node in fit(cluster.nodes.values().filter(|n| scope.takes(n)), findings) {
        let mut changes = BTreeMap::new();
        for (&component, &to) in targets {
            if (component.master_only() && !node.master) || absent.contains(&component) {
                continue;
            }
            match node.components.get(&component) {
                Some(running) if running.image == *to || !moves(node, component, running) => {}
                Some(running) if running.running => {
                    same_version(component, node, running, to, findings);
                    let (container, from_id) = (running.container.clone(), running.id.clone());
                    let change = Change {
                        component,
                        container,
                        from: running.image.clone(),
                        from_id,
                        to: to.clone(),
                        args: Vec::new(),
                    };
                    changes.insert(component, change);
                }
                Some(_) => findings.on(
                    &node.name,
                    Severity::Warning,
                    "container-not-running",
                    format!("the container of {component} does not run; it is left as it is"),
                    "start it, or find out why it stopped, then plan again",
                ),
                None => findings.on(
                    &node.name,
                    Severity::Warning,
                    "container-missing",
                    format!("there is no container of {component}; there is nothing to swap"),
                    "deploy it, or name its container in the profile's [component] table, then plan again",
                ),
            }
        }
        if !changes.is_empty() {
            chosen.push(Chosen { node, changes });
        }
    }
    chosen
}

/// The nodes of `scope` that no plan may touch as they are: down, or with an unfinished swap. A plan is refused until each of
/// them is mended or excluded by name, so that nobody leaves a node behind without having said so.
pub fn unfit(cluster: &Cluster, scope: &Scope) -> Vec<NodeName> {
    let nodes = cluster.nodes.values().filter(|n| scope.takes(n) && trouble(n).is_some());
    nodes.map(|n| n.name.clone()).collect()
}

/// Those of `nodes` that are fit to be touched; each of the others is an error that has its mend with it.
pub(super) fn fit<'a>(nodes: impl Iterator<Item = &'a Node>, findings: &mut Findings) -> Vec<&'a Node> {
    let (fit, unfit): (Vec<&Node>, Vec<&Node>) = nodes.partition(|n| trouble(n).is_none());
    let names = fold_names(unfit.iter().map(|n| n.name.as_str())).replace(' ', ",");
    // A shell would take the brackets for its own.
    let quote = if names.contains('[') { "'" } else { "" };
    for node in unfit {
        let Some((code, text, mend)) = trouble(node) else { continue };
        let mend = format!(
            "{mend}, then plan again; or leave out what is down: --exclude {quote}{names}{quote} (--exclude-unreachable \
             does it for all; in the cockpit: the last field of the stage)"
        );
        findings.on(&node.name, Severity::Error, code, text, &mend);
    }
    for node in fit.iter().filter(|n| !n.leftovers.is_empty()) {
        let text = "an earlier run left a prepared *.sonoba-next container; the swap replaces it";
        let mend = "nothing to do, unless another run is under way";
        findings.on(&node.name, Severity::Warning, "left-over", text, mend);
    }
    fit
}

/// Why a node must not be touched: a finding's code, what it is, and what mends it.
fn trouble(node: &Node) -> Option<(&'static str, &'static str, &'static str)> {
    // A prepared container that was never started is removed by the next swap. One that was set aside may be the only way
    // back of a swap that is still open, and its name is taken.
    let set_aside = || node.leftovers.iter().any(|name| name.as_str().ends_with(".sonoba-prev"));
    if unreachable(node) {
        let text = "the node does not answer over SSH, or does not let us work";
        Some(("node-unreachable", text, "fix the way in (sonoba doctor says what is wrong)"))
    } else if !node.ready && node.kubelet_version.is_none() {
        // A node that has registered has reported its kubelet's version.
        let text = "Kubernetes knows no node of this name, or has never heard of its kubelet";
        Some((
            "node-not-ready",
            text,
            "correct its name in the inventory to what `kubectl get nodes` has, or fix the node",
        ))
    } else if !node.ready {
        Some(("node-not-ready", "Kubernetes does not call the node Ready", "fix the node"))
    } else if set_aside() {
        let text = "an unfinished swap left a *.sonoba-prev container";
        Some(("left-over", text, "let the earlier run finish (sonoba resume), or see to the container"))
    } else {
        None
    }
}

/// Components that no node runs: one word about them, instead of one a node.
fn absent_everywhere(
    cluster: &Cluster,
    targets: &BTreeMap<Component, &Image>,
    findings: &mut Findings,
) -> BTreeSet<Component> {
    let seen: BTreeSet<Component> = cluster.nodes.values().flat_map(|n| n.components.keys().copied()).collect();
    let looked_at = cluster.nodes.values().any(|n| !unreachable(n));
    let absent: BTreeSet<Component> = targets.keys().copied().filter(|c| looked_at && !seen.contains(c)).collect();
    for component in &absent {
        findings.add(
            Severity::Warning,
            "component-absent",
            format!("no node that answers has a container of {component}; its bump is left out"),
            "name its container in the profile's [component] table, or do not stage it",
        );
    }
    absent
}

fn same_version(component: Component, node: &Node, running: &Running, to: &Image, findings: &mut Findings) {
    if running.image.tag().is_some() && running.image.tag() == to.tag() {
        let from = &running.image;
        let text = format!("{component} keeps its version but changes its image: {from} -> {to}");
        findings.on(&node.name, Severity::Info, "same-version", text, "");
    }
}

/// Nodes that run the target's reference but not the image that most others have under it. They count as done, since the
/// reference is what was staged; that it means two things must not go unnoticed.
fn moved_tags(cluster: &Cluster, targets: &BTreeMap<Component, &Image>, findings: &mut Findings) {
    for (&component, &to) in targets {
        let mut ids: BTreeMap<&str, Vec<&NodeName>> = BTreeMap::new();
        for node in cluster.nodes.values() {
            if let Some(running) = node.components.get(&component).filter(|r| r.image == *to) {
                ids.entry(&running.image_id).or_default().push(&node.name);
            }
        }
        let most = ids.iter().max_by_key(|(_, nodes)| nodes.len()).map(|(id, _)| *id);
        for node in ids.iter().filter(|(id, _)| Some(**id) != most).flat_map(|(_, nodes)| nodes) {
            let text = format!(
                "{component} runs {to}, but other nodes have another image under this name; it is left as it is"
            );
            let mend = "find out who moved the tag; stage the image by its digest to bring all nodes together";
            findings.on(node, Severity::Warning, "tag-moved", text, mend);
        }
    }
}

/// Whether the scope names what there is, and whom it leaves out.
pub(super) fn check_scope(cluster: &Cluster, scope: &Scope, findings: &mut Findings) {
    unknown_in_scope(cluster, scope, findings);
    for name in scope.exclude.iter().filter(|name| cluster.nodes.contains_key(*name)) {
        findings.on(name, Severity::Info, "excluded", "left out by decision: the node stays as it is", "");
    }
}

fn unknown_in_scope(cluster: &Cluster, scope: &Scope, findings: &mut Findings) {
    let mut unknown = |kind: &str, name: &str| {
        let text = format!("the scope names the {kind} {name}, which the cluster does not have");
        findings.add(Severity::Error, "scope-unknown", text, "correct the name");
    };
    for name in scope.nodes.iter().chain(&scope.exclude) {
        if !cluster.nodes.contains_key(name) {
            unknown("node", name.as_str());
        }
    }
    for rack in &scope.racks {
        if !cluster.nodes.values().any(|n| n.rack == *rack) {
            unknown("rack", rack.as_str());
        }
    }
    for label in &scope.labels {
        if !cluster.nodes.values().any(|n| n.labels.contains(label)) {
            unknown("label", &label.to_string());
        }
    }
    for role in &scope.roles {
        if !cluster.nodes.values().any(|n| n.role.as_ref() == Some(role)) {
            unknown("role", role.as_str());
        }
    }
}

/// Masters that keep the control plane from being whole while `component` moves, and why.
pub(super) fn not_whole(cluster: &Cluster, component: Component) -> Vec<(&NodeName, &'static str)> {
    cluster
        .masters()
        .filter_map(|node| {
            let why = match node.components.get(&component) {
                _ if unreachable(node) => "does not answer over SSH",
                _ if !node.ready => "is not Ready",
                None => "has no such container",
                Some(running) if !running.running => "has it stopped",
                Some(_) => return None,
            };
            Some((&node.name, why))
        })
        .collect()
}
