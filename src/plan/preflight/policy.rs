//! What the plan itself must obey: asked of the limits, of each step, and of every state on the way.

use crate::fleet::{Cluster, Component, NodeName};
use crate::plan::findings::Findings;
use crate::plan::select::{Chosen, not_whole};
use crate::plan::skew::{BadStep, Rule, State, bad_step};
use crate::plan::{Limits, Phase, PhaseKind, Severity, Stage};
use std::collections::{BTreeSet, HashMap};

/// Limits under which nothing could ever start, or nobody would know first.
pub(in crate::plan) fn check_limits(limits: &Limits, findings: &mut Findings) {
    for (name, value) in [
        ("max_parallel", limits.max_parallel),
        ("max_unavailable", limits.max_unavailable),
        ("max_pulls", limits.max_pulls),
    ] {
        if value == 0 {
            findings.add(
                Severity::Error,
                "limit-zero",
                format!("{name} is 0: nothing could ever start"),
                "set 1 or more",
            );
        }
    }
    if limits.canary == 0 && limits.ramp.is_none() {
        let text = "there is no canary: the first rack is the first to know";
        findings.add(Severity::Warning, "no-canary", text, "set canary to 1 or more");
    }
}

/// Whether the pins name workers that there are, each once.
pub(in crate::plan) fn check_pins(cluster: &Cluster, stage: &Stage, findings: &mut Findings) {
    let mut seen: BTreeSet<&NodeName> = BTreeSet::new();
    for name in stage.first.iter().chain(&stage.last) {
        match cluster.nodes.get(name) {
            None => {
                let text = format!("{name} is pinned, and the cluster does not have it");
                findings.add(Severity::Error, "pin-unknown", text, "correct the name");
            }
            Some(node) if node.master => {
                let text = "only workers can be pinned: masters move one by one, leaders last";
                findings.on(name, Severity::Error, "pin-master", text, "take the pin back");
            }
            Some(_) => {}
        }
        if !seen.insert(name) {
            let text = format!("{name} is pinned twice");
            findings.add(Severity::Error, "pin-twice", text, "pin it first, or last");
        }
    }
}

/// Each change by itself: never down, never over a minor that must not be skipped.
pub(in crate::plan) fn check_steps(chosen: &[Chosen<'_>], findings: &mut Findings) {
    for (node, change) in chosen.iter().flat_map(|c| c.changes.values().map(|change| (&c.node.name, change))) {
        let component = change.component;
        let (Some(from), Some(to)) = (change.from.version(), change.to.version()) else {
            let text = format!(
                "the tags of {component} state no version: whether {} may follow {} is not known",
                change.to, change.from
            );
            findings.on(node, Severity::Warning, "version-unknown", text, "use tags that begin with the version");
            continue;
        };
        let (from_tag, to_tag) = (change.from.short(), change.to.short());
        match bad_step(component, from, to) {
            Some(BadStep::Downgrade) => {
                let text = format!("{component} would go down from {from_tag} to {to_tag}");
                findings.on(node, Severity::Error, "downgrade", text, "stage a version that is not older");
            }
            Some(BadStep::SkipsMinor) => {
                let text = format!("{component} would skip a minor version from {from_tag} to {to_tag}");
                findings.on(
                    node,
                    Severity::Error,
                    "minor-skipped",
                    text,
                    "stage the minor versions one after the other",
                );
            }
            None => {}
        }
    }
}

/// The control plane moves only as a whole: with a member down, the next restart would cost the quorum.
pub(in crate::plan) fn check_control_plane(cluster: &Cluster, phases: &[Phase], findings: &mut Findings) {
    let moves = |kind| phases.iter().any(|p: &Phase| p.kind == kind);
    if phases.iter().all(|p| p.kind.of_workers()) {
        return;
    }
    for component in [Component::Etcd, Component::KubeApiserver] {
        // An etcd that lives elsewhere is not ours to ask for.
        if !cluster.masters().any(|n| n.components.contains_key(&component)) {
            continue;
        }
        for (node, why) in not_whole(cluster, component) {
            let text = format!("{component} must serve on every master before one restarts, but this master {why}");
            findings.on(node, Severity::Error, "control-plane-not-whole", text, "fix the master, then plan again");
        }
    }
    let masters = cluster.masters().count();
    if masters < 3 && (moves(PhaseKind::Etcd) || moves(PhaseKind::KubeApiserver)) {
        let text =
            format!("with {masters} of at least 3 masters, the API is away while a master's part of it restarts");
        findings.add(Severity::Warning, "no-redundancy", text, "pods go on; expect the API to be away for seconds");
    }
    if moves(PhaseKind::Etcd) && cluster.leaders.etcd.is_none() {
        let text = "it is not known which etcd member leads, so the plan's order may not have it last";
        findings.add(Severity::Info, "leader-unknown", text, "");
    }
}

/// Walks through the plan and asks the skew policy after every change. What is broken from the start is a warning, since the
/// plan did not cause it; what is broken anew, or more than before, is an error.
pub(in crate::plan) fn check_skew(cluster: &Cluster, phases: &[Phase], findings: &mut Findings) {
    let mut state = State::of(cluster);
    let mut before: HashMap<(NodeName, Component, Rule), i64> = HashMap::new();
    for (node, breach) in state.breaches() {
        let text = format!("before anything moves: {breach}").replace("would be", "is").replace("would run", "runs");
        findings.on(&node, Severity::Warning, "skew-now", text, "a plan that brings it back into line mends it");
        before.insert((node, breach.component, breach.rule.plain()), breach.minors);
    }
    let bound = |c: Component| c.as_str().starts_with("kube");
    if phases.iter().flat_map(|p| &p.waves).flat_map(|w| &w.swaps).flat_map(|s| &s.changes).any(|c| bound(c.component))
    {
        check_apiservers_known(cluster, &state, findings);
    }
    let mut told: BTreeSet<(NodeName, String)> = BTreeSet::new();
    for swap in phases.iter().flat_map(|p| &p.waves).flat_map(|w| &w.swaps) {
        for change in &swap.changes {
            state.set(change.component, &swap.node, change.to.version());
            for (node, breach) in state.breaches_after(change.component, &swap.node) {
                let known = before
                    .get(&(node.clone(), breach.component, breach.rule.plain()))
                    .is_some_and(|&was| breach.minors <= was);
                let text = breach.to_string();
                if !known && told.insert((node.clone(), text.clone())) {
                    let mend = "stage what keeps them in line, or widen the scope to the nodes named here";
                    findings.on(&node, Severity::Error, "skew", text, mend);
                }
            }
        }
    }
}

/// The policy measures everything by the API servers' versions: without them it would pass anything.
fn check_apiservers_known(cluster: &Cluster, state: &State, findings: &mut Findings) {
    let unknown: Vec<&NodeName> =
        cluster.masters().map(|n| &n.name).filter(|n| state.version(Component::KubeApiserver, n).is_none()).collect();
    let mend = "fix the way to the masters (sonoba doctor), and use tags that begin with the version";
    if unknown.len() == cluster.masters().count() {
        let text = "no kube-apiserver's version is known, so the version-skew policy cannot be checked";
        findings.add(Severity::Error, "apiserver-unknown", text, mend);
        return;
    }
    for node in unknown {
        let text =
            "the version of this master's kube-apiserver is not known; the version-skew policy is checked without it";
        findings.on(node, Severity::Warning, "apiserver-unknown", text, mend);
    }
}
