//! From cluster, stage and settings to a plan.

use super::findings::Findings;
use super::order::{Ids, control_plane};
use super::preflight::{check_control_plane, check_limits, check_skew, check_steps};
use super::select::select;
use super::{Bump, FORMAT, Phase, PhaseKind, Plan, Pull, Settings, Severity, Stage, estimate, hazards, waves};
use crate::fleet::{Cluster, Component, Image, NodeName};
use jiff::Timestamp;
use std::collections::{BTreeMap, HashMap};

/// Makes the plan that takes `cluster` to what is staged.
///
/// Never fails: what stands in the way is a finding, and a plan with errors is [refused](Plan::refused).
pub fn make(cluster: &Cluster, stage: &Stage, settings: &Settings, now: Timestamp) -> Plan {
    let mut findings = Findings::default();
    check_limits(&stage.limits, &mut findings);
    let bumps = bumps(stage, &mut findings);
    let targets: BTreeMap<Component, &Image> = bumps.iter().map(|b| (b.component, &b.to)).collect();
    let chosen = select(cluster, &targets, &stage.scope, &mut findings);
    check_steps(&chosen, &mut findings);

    let mut ids = Ids::default();
    let mut phases = control_plane(cluster, &chosen, settings, &mut ids);
    phases.extend(waves::workers(cluster, &chosen, &stage.limits, settings, &mut findings, &mut ids));
    mark_no_return(cluster, &mut phases);
    check_control_plane(cluster, &phases, &mut findings);
    check_skew(cluster, &phases, &mut findings);
    hazards::hazards(&phases, &mut findings);
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
    Plan {
        format: FORMAT,
        created: now,
        release: stage.release.clone(),
        rollback_of: None,
        excluded: stage.scope.exclude.clone(),
        bumps,
        estimate: estimate::estimate(&phases, &limits),
        limits,
        budget: stage.budget.clone(),
        components: settings.complete(),
        findings: findings.finish(),
        phases,
        cluster: cluster.clone(),
    }
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
    (!pulls.is_empty()).then_some(Phase { kind: PhaseKind::Prefetch, pulls, waves: Vec::new() })
}

#[cfg(test)]
#[path = "make_tests.rs"]
mod tests;
