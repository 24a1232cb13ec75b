//! From cluster, stage and settings to a plan.

use super::backwards::renumber;
use super::findings::Findings;
use super::order::{Ids, control_plane};
use super::preflight::{
    check_control_plane, check_credentials, check_facts, check_limits, check_pins, check_skew, check_steps,
};
use super::select::select;
use super::way::{Hop, hops};
use super::{
    Asked, Bump, FORMAT, Facts, Fingerprint, Phase, PhaseKind, Plan, Pull, Settings, Severity, Stage, catalogue,
    estimate, hazards, proving, snapshot, waves,
};
use crate::fleet::{Cluster, Component, Image, Label, Node, NodeName, Running};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Makes the plan that takes `cluster` to what is staged.
///
/// Never fails: what stands in the way is a finding, and a plan with errors is [refused](Plan::refused).
pub fn make(cluster: &Cluster, stage: &Stage, settings: &Settings, now: Timestamp) -> Plan {
    make_with(cluster, &Facts::default(), stage, settings, now)
}

/// [`make`], with all that was asked of the cluster beside what runs.
pub fn make_with(cluster: &Cluster, facts: &Facts, stage: &Stage, settings: &Settings, now: Timestamp) -> Plan {
    let mut findings = Findings::acknowledging(&stage.acknowledged);
    for question in &facts.unanswered {
        findings.add(Severity::Info, "not-known", question.clone(), "");
    }
    check_limits(&stage.limits, &mut findings);
    check_pins(cluster, stage, &mut findings);
    let bumps = bumps(stage, &mut findings);
    let targets: BTreeMap<Component, &Image> = bumps.iter().map(|b| (b.component, &b.to)).collect();
    let hops = hops(cluster, &targets, &stage.way, stage.release.as_deref(), &mut findings);
    let mut phases = phases(cluster, stage, settings, &hops, &mut findings);
    renumber(&mut phases);
    proving::prove(&mut phases, &stage.limits, facts);
    mark_no_return(cluster, &mut phases);
    snapshot::before_etcd(cluster, &settings.etcd, &mut phases, &mut findings);
    check_control_plane(cluster, &phases, &mut findings);
    check_skew(cluster, &phases, &mut findings);
    hazards::hazards(&phases, facts.api.is_some(), &mut findings);
    check_facts(cluster, facts, settings, &phases, &mut findings);
    proving::check_graces(&phases, &stage.limits, facts, &mut findings);
    let own = &settings.catalogue;
    let notes = catalogue::check(cluster, facts, own, &stage.accept, &mut phases, &mut findings);
    let coverage = catalogue::coverage(&phases, &mut findings);
    if let Some(prefetch) = prefetch(&phases) {
        phases.insert(0, prefetch);
    } else {
        let text = match (bumps.is_empty(), cluster.nodes.values().any(|n| stage.scope.takes(n))) {
            (true, _) => "nothing is staged",
            (_, false) => "the scope selects no node",
            _ => "every node that can be touched already runs what is staged",
        };
        findings.add(Severity::Info, "nothing-to-do", text, "");
    }

    let limits = stage.limits.clone();
    let estimate = estimate::estimate(cluster, facts, &phases, &limits);
    if !phases.is_empty() {
        check_credentials(facts, &estimate, now, &mut findings);
    }
    Plan {
        format: FORMAT,
        created: now,
        release: stage.release.clone(),
        rollback_of: None,
        excluded: stage.scope.exclude.clone(),
        asked: Some(Asked::of(stage)),
        bumps,
        estimate,
        limits,
        budget: stage.budget.clone(),
        components: settings.complete(),
        findings: findings.finish(),
        notes,
        coverage,
        phases,
        comparison: None,
        fingerprint: Fingerprint::of(cluster),
        cluster: with_labels(cluster, stage, settings),
        seal: None,
    }
}

/// The cluster with the labels that the plan asked for: all others would only make its file long.
fn with_labels(cluster: &Cluster, stage: &Stage, settings: &Settings) -> Cluster {
    let asked = |label: &Label| {
        stage.scope.labels.contains(label) || settings.hardware_labels.iter().any(|key| key == label.key())
    };
    let mut cluster = cluster.clone();
    cluster.nodes.values_mut().for_each(|node| node.labels.retain(asked));
    cluster
}

/// The phases of every hop, one hop after the other. What a hop finds is what the one before left.
fn phases(cluster: &Cluster, stage: &Stage, settings: &Settings, hops: &[Hop], findings: &mut Findings) -> Vec<Phase> {
    let mut ids = Ids::default();
    let mut all: Vec<Phase> = Vec::new();
    let mut state = std::borrow::Cow::Borrowed(cluster);
    for (i, hop) in hops.iter().enumerate() {
        let targets: BTreeMap<Component, &Image> = hop.targets.iter().map(|(c, image)| (*c, image)).collect();
        let moves = |node: &Node, component, running: &Running| hop.moves(node, component, running);
        let chosen = select(&state, &targets, &stage.scope, &moves, findings);
        check_steps(&chosen, findings);
        let masters = control_plane(&state, &chosen, settings, &mut ids);
        let workers = waves::workers(&state, &chosen, stage, settings, findings, &mut ids);
        let mut phases = waves::in_order(masters, workers);
        let named = (hops.len() > 1).then(|| hop.name.clone()).flatten();
        phases.iter_mut().for_each(|phase| phase.hop.clone_from(&named));
        if i + 1 < hops.len() {
            walk(state.to_mut(), &phases);
        }
        all.extend(phases);
    }
    tell_hops(hops, &all, findings);
    all
}

/// The cluster after these phases.
fn walk(cluster: &mut Cluster, phases: &[Phase]) {
    for swap in phases.iter().flat_map(|p| &p.waves).flat_map(|w| &w.swaps) {
        let Some(node) = cluster.nodes.get_mut(&swap.node) else { continue };
        for change in &swap.changes {
            if let Some(running) = node.components.get_mut(&change.component) {
                running.image = change.to.clone();
                running.id = String::new();
                running.image_id = String::new();
            }
        }
    }
}

/// Says what the hops are, and what they spare.
fn tell_hops(hops: &[Hop], phases: &[Phase], findings: &mut Findings) {
    let stops = hops.iter().filter(|h| h.targets.contains_key(&Component::KubeApiserver)).count();
    if stops < 2 {
        return;
    }
    let names: Vec<&str> = hops.iter().filter_map(|h| h.name.as_deref()).collect();
    let restarts = |component| {
        let changes = phases.iter().flat_map(|p| &p.waves).flat_map(|w| &w.swaps).flat_map(|s| &s.changes);
        changes.filter(|c| c.component == component).count()
    };
    let kubelets: BTreeSet<&NodeName> = phases
        .iter()
        .flat_map(|p| &p.waves)
        .flat_map(|w| &w.swaps)
        .filter(|s| s.changes.iter().any(|c| c.component == Component::Kubelet))
        .map(|s| &s.node)
        .collect();
    let (done, most) = (restarts(Component::Kubelet), kubelets.len() * stops);
    let mut text = format!("the control plane goes over {}, minor by minor", names.join(" \u{2192} "));
    if most > done {
        text += &format!("; {} kubelets restart {done} times in all, not {most}", kubelets.len());
    }
    findings.add(Severity::Info, "hops", text, "");
}

/// The staged bumps in order, one a component.
fn bumps(stage: &Stage, findings: &mut Findings) -> Vec<Bump> {
    let mut bumps = stage.bumps.clone();
    bumps.sort_by(|a, b| (a.component, &a.to).cmp(&(b.component, &b.to)));
    bumps.dedup();
    bumps.dedup_by(|second, first| {
        let twice = second.component == first.component;
        if twice {
            let text = format!("{} is staged twice: to {} and to {}", first.component, first.to, second.to);
            findings.add(Severity::Error, "bump-twice", text, "stage each component once");
        }
        twice
    });
    bumps
}

/// Marks the swap after which etcd's cluster version goes up: the data format follows, and old members cannot join again.
fn mark_no_return(cluster: &Cluster, phases: &mut [Phase]) {
    let mut members: BTreeMap<NodeName, Option<(u32, u32)>> = cluster
        .masters()
        .filter_map(|n| {
            let etcd = n.components.get(&Component::Etcd)?;
            Some((n.name.clone(), etcd.image.version().map(|v| v.minor_of())))
        })
        .collect();
    for swap in phases.iter_mut().flat_map(|p| &mut p.waves).flat_map(|w| &mut w.swaps) {
        let Some(change) = swap.changes.iter().find(|c| c.component == Component::Etcd) else { continue };
        let to = change.to.version().map(|v| v.minor_of());
        let from = members.insert(swap.node.clone(), to);
        if let Some((major, minor)) = to
            && from != Some(to)
            && members.values().all(|m| *m == to)
        {
            swap.no_return = Some(format!(
                "with its last member on {major}.{minor}, etcd raises its cluster version; older members cannot join again"
            ));
        }
    }
}

/// What must be on which node before anything restarts, in the order in which it will be needed.
pub(super) fn prefetch(phases: &[Phase]) -> Option<Phase> {
    let mut pulls: Vec<Pull> = Vec::new();
    let mut index: HashMap<&NodeName, usize> = HashMap::new();
    for swap in phases.iter().flat_map(|p| &p.waves).flat_map(|w| &w.swaps) {
        let at = *index.entry(&swap.node).or_insert_with(|| {
            pulls.push(Pull { node: swap.node.clone(), images: Vec::new() });
            pulls.len() - 1
        });
        for change in &swap.changes {
            if let Some(pull) = pulls.get_mut(at)
                && !pull.images.contains(&change.to)
            {
                pull.images.push(change.to.clone());
            }
        }
    }
    (!pulls.is_empty()).then_some(Phase {
        kind: PhaseKind::Prefetch,
        hop: None,
        pulls,
        snapshot: None,
        etcdctl: None,
        waves: Vec::new(),
    })
}

#[cfg(test)]
#[path = "make_tests.rs"]
mod tests;
