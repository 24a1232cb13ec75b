//! Pods that a restart of the kubelet touches more than others.

use super::{changes, first_of};
use crate::fleet::{Cluster, Component, NodeName, RackName};
use crate::plan::findings::{Findings, Told};
use crate::plan::hazards::KEEPS_READY;
use crate::plan::{Facts, Phase, Severity};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check(cluster: &Cluster, facts: &Facts, phases: &[Phase], findings: &mut Findings) {
    let Some(api) = &facts.api else { return };
    let kubelets = || changes(phases).filter(|(_, c)| c.component == Component::Kubelet);
    if kubelets().next().is_none() {
        return;
    }
    if kubelets().any(|(_, c)| c.to.version().is_some_and(|v| v.minor_of() < KEEPS_READY)) {
        probes(&api.probed_pods, &api.singletons, findings);
    }
    let devices: usize = api.device_pods.values().sum();
    if devices > 0 {
        let text = format!(
            "{devices} pods use device plugins ({}): a kubelet that starts before its plugins may refuse them",
            by_namespace(&api.device_pods)
        );
        let told = Told::new(Severity::Warning, "device-pods", text)
            .mend("see that the plugins register again after the canary before you go on")
            .link("https://github.com/kubernetes/kubernetes/issues/118559");
        findings.tell(told, None);
    }
    stateful_sets(cluster, facts, &kubelets().map(|(node, _)| node).collect(), findings);
}

fn probes(probed: &BTreeMap<String, usize>, singletons: &[String], findings: &mut Findings) {
    let all: usize = probed.values().sum();
    if all == 0 {
        return;
    }
    let mut text = String::new();
    if !singletons.is_empty() {
        let names: Vec<&str> = singletons.iter().map(String::as_str).collect();
        let s = if singletons.len() == 1 { " is" } else { "s are" };
        text = format!("{} pod{s} alone in serving ({}); ", singletons.len(), first_of(&names));
    }
    let text = format!(
        "{text}{all} pods with readiness or startup probes are shown NotReady for a moment when their kubelet restarts: {}",
        by_namespace(probed)
    );
    let told = Told::new(Severity::Warning, "probes-flap", text)
        .mend("expect it to count as disturbed pods; set budget.disturbed_pods if it is acceptable")
        .link("https://kep.k8s.io/4781");
    findings.tell(told, None);
}

/// The namespaces with the most first.
fn by_namespace(counts: &BTreeMap<String, usize>) -> String {
    const SHOWN: usize = 6;
    let mut counts: Vec<(&String, usize)> = counts.iter().map(|(name, n)| (name, *n)).collect();
    counts.sort_by_key(|(name, n)| (std::cmp::Reverse(*n), name.as_str()));
    let shown: Vec<String> = counts.iter().take(SHOWN).map(|(name, n)| format!("{name} {n}")).collect();
    let rest: usize = counts.iter().skip(SHOWN).map(|(_, n)| n).sum();
    if rest > 0 { format!("{}, others {rest}", shown.join(", ")) } else { shown.join(", ") }
}

/// Replicas in one rack are away together when that rack's wave goes wrong.
fn stateful_sets(cluster: &Cluster, facts: &Facts, moved: &BTreeSet<&NodeName>, findings: &mut Findings) {
    let racks: BTreeSet<&RackName> = cluster.nodes.values().filter(|n| !n.master).map(|n| &n.rack).collect();
    if racks.len() < 2 {
        return;
    }
    let mut in_rack: BTreeMap<&RackName, Vec<&str>> = BTreeMap::new();
    for set in facts.api.iter().flat_map(|api| &api.stateful_sets) {
        let racks: BTreeSet<&RackName> =
            set.nodes.iter().filter_map(|n| cluster.nodes.get(n)).map(|n| &n.rack).collect();
        if let (1, Some(rack), true) = (racks.len(), racks.first(), set.nodes.len() > 1)
            && set.nodes.iter().any(|n| moved.contains(n))
        {
            in_rack.entry(rack).or_default().push(&set.name);
        }
    }
    for (rack, sets) in in_rack {
        let text = format!("all replicas stand in {rack} of {} StatefulSets: {}", sets.len(), first_of(&sets));
        let text = if sets.len() == 1 { format!("all replicas of {} stand in {rack}", sets[0]) } else { text };
        let mend = "lower max_unavailable, or spread them over racks (topologySpreadConstraints)";
        findings.add(Severity::Warning, "stateful-set-in-one-rack", text, mend);
    }
}
