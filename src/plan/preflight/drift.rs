//! Nodes that are not like the others: a component that is not of its image's version, or is run with other arguments.

use super::changes;
use crate::fleet::{Cluster, Component, Node};
use crate::plan::findings::Findings;
use crate::plan::{Phase, Severity};
use std::collections::{BTreeMap, BTreeSet};

/// Arguments that belong to one node alone, or that say only how a member first joined.
const OWN: [&str; 6] = [
    "--node-labels=",
    "--register-with-taints=",
    "--initial-cluster=",
    "--initial-cluster-state=",
    "--initial-advertise-peer-urls=",
    "--etcd-servers-overrides=",
];
/// More ways to run one component than this are no drift: somebody means them.
const WAYS: usize = 3;

pub(super) fn check(cluster: &Cluster, phases: &[Phase], findings: &mut Findings) {
    let moved: BTreeSet<Component> = changes(phases).map(|(_, c)| c.component).collect();
    for node in cluster.nodes.values() {
        version(node, findings);
    }
    for component in moved {
        // Of one kind: storage nodes may well be run otherwise than compute nodes.
        let mut kinds: BTreeMap<_, Vec<&Node>> = BTreeMap::new();
        for node in cluster.nodes.values().filter(|n| n.components.contains_key(&component)) {
            kinds.entry((node.master, &node.role)).or_default().push(node);
        }
        for nodes in kinds.into_values() {
            arguments(component, &nodes, findings);
        }
    }
}

/// What the kubelet reports of itself, against what its image says.
fn version(node: &Node, findings: &mut Findings) {
    let image = node.components.get(&Component::Kubelet).and_then(|r| r.image.version());
    if let (Some(image), Some(own)) = (image, &node.kubelet_version)
        && node.ready
        && !image.same_upstream(own)
    {
        let text = format!("the kubelet reports {own}, and its image says {image}");
        let mend = "see what really runs there: docker exec kubelet kubelet --version";
        findings.on(&node.name, Severity::Warning, "version-drift", text, mend);
    }
}

fn arguments(component: Component, nodes: &[&Node], findings: &mut Findings) {
    let mut ways: BTreeMap<Vec<String>, Vec<&Node>> = BTreeMap::new();
    for node in nodes {
        let args = &node.components[&component].args;
        // Of a container that is not there nothing is known.
        if !args.is_empty() {
            ways.entry(common(node, args)).or_default().push(node);
        }
    }
    let Some((usual, most)) = ways.iter().max_by_key(|(_, nodes)| nodes.len()).map(|(args, n)| (args.clone(), n.len()))
    else {
        return;
    };
    if ways.len() > WAYS || most * 2 <= nodes.len() {
        return;
    }
    for (args, nodes) in ways.iter().filter(|(args, _)| **args != usual) {
        let more = args.iter().filter(|a| !usual.contains(a)).map(|a| format!("+ {a}"));
        let less = usual.iter().filter(|a| !args.contains(a)).map(|a| format!("- {a}"));
        let differences: Vec<String> = more.chain(less).collect();
        let shown: Vec<&str> = differences.iter().map(String::as_str).collect();
        let text = format!("{component} is run otherwise here than on the others: {}", super::first_of(&shown));
        let mend = "the swap keeps each node's own arguments; make them alike first if this was not meant";
        for node in nodes {
            findings.on(&node.name, Severity::Warning, "argument-drift", text.clone(), mend);
        }
    }
}

/// The arguments without what makes each node itself, in one order.
fn common(node: &Node, args: &[String]) -> Vec<String> {
    let mut args: Vec<String> = args
        .iter()
        .filter(|arg| !OWN.iter().any(|own| arg.starts_with(own)))
        .map(|arg| arg.replace(node.name.as_str(), "{name}").replace(node.address.as_str(), "{address}"))
        .collect();
    args.sort();
    args
}
