//! The order of the control plane: one master at a time, leaders last, neighbours in time from different racks.

use super::select::Chosen;
use super::skew::beside;
use super::{Change, Gate, Phase, PhaseKind, Swap, Wave, WaveKind};
use crate::fleet::{Cluster, Component, Node, NodeName, RackName, SwapId, natural};
use crate::plan::Settings;
use std::collections::BTreeMap;

/// Gives out swap ids: `s0001`, `s0002` and so on, in the plan's order.
#[derive(Debug, Default)]
pub(super) struct Ids(usize);

impl Ids {
    pub(super) fn next(&mut self) -> SwapId {
        self.0 += 1;
        // A letter and digits always make an id.
        format!("s{:04}", self.0).parse().unwrap_or_else(|_| unreachable!("s and digits are an id"))
    }
}

/// One visit to a node for some of its changes; `None` when none of these components changes there.
pub(super) fn visit(chosen: &Chosen<'_>, components: &[Component], settings: &Settings, ids: &mut Ids) -> Option<Swap> {
    let mut changes = chosen.changes_of(components);
    kubelet_first(&mut changes);
    let deadline_ms = changes.iter().map(|c| settings.of(c.component).deadline_ms).min()?;
    Some(Swap { id: ids.next(), node: chosen.node.name.clone(), changes, deadline_ms, no_return: None })
}

/// The kubelet comes last in a visit, since it has least time; but a kube-proxy must not run ahead of one that was left far
/// behind.
fn kubelet_first(changes: &mut [Change]) {
    let at = |component| changes.iter().position(|c: &Change| c.component == component);
    let (Some(proxy), Some(kubelet)) = (at(Component::KubeProxy), at(Component::Kubelet)) else { return };
    let (Some(ahead), Some(behind)) = (changes[proxy].to.version(), changes[kubelet].from.version()) else { return };
    if proxy < kubelet && beside(ahead, behind).is_some() {
        changes.swap(proxy, kubelet);
    }
}

/// A phase of the control plane, as the table in [`control_plane`] writes it.
struct Step<'a> {
    kind: PhaseKind,
    components: &'a [Component],
    gates: &'a [Gate],
    last: Vec<&'a NodeName>,
}

/// The phases of the masters, in order; phases without a swap are left out.
pub(super) fn control_plane(
    cluster: &Cluster,
    chosen: &[Chosen<'_>],
    settings: &Settings,
    ids: &mut Ids,
) -> Vec<Phase> {
    use Component::*;
    let leaders = &cluster.leaders;
    let steps = [
        Step {
            kind: PhaseKind::Rivers,
            components: &[Rivers, EtcdRivers],
            // An apiserver is ready only while it reaches etcd, and it does so through these.
            gates: &[Gate::ApiserversReady, Gate::NodesReady],
            last: Vec::new(),
        },
        Step {
            kind: PhaseKind::Etcd,
            components: &[Etcd],
            gates: &[Gate::EtcdHealthy, Gate::ApiserversReady],
            last: leaders.etcd.iter().collect(),
        },
        Step {
            kind: PhaseKind::KubeApiserver,
            components: &[KubeApiserver],
            gates: &[Gate::ApiserversReady],
            last: Vec::new(),
        },
        Step {
            kind: PhaseKind::Controllers,
            components: &[KubeControllerManager, KubeScheduler],
            gates: &[Gate::ApiserversReady],
            last: leaders.scheduler.iter().chain(&leaders.controller_manager).collect(),
        },
        Step {
            kind: PhaseKind::Masters,
            components: &[KubeProxy, Kubelet],
            gates: &[Gate::NodesReady, Gate::ApiserversReady],
            last: Vec::new(),
        },
    ];
    let masters: Vec<&Chosen<'_>> = chosen.iter().filter(|c| c.node.master).collect();
    let mut phases = Vec::new();
    for step in steps {
        let moving = |c: &&&Chosen<'_>| step.components.iter().any(|k| c.changes.contains_key(k));
        let nodes: Vec<&Node> = masters.iter().filter(moving).map(|c| c.node).collect();
        let mut waves = Vec::new();
        for node in in_turn(nodes, &step.last) {
            let swap = masters
                .iter()
                .find(|c| c.node.name == node.name)
                .and_then(|c| visit(c, step.components, settings, ids));
            let title = node.name.to_string();
            waves.extend(swap.map(|swap| Wave {
                kind: WaveKind::ControlPlane,
                title,
                max_parallel: 1,
                swaps: vec![swap],
                gates: step.gates.iter().cloned().chain(settings.own_gates(WaveKind::ControlPlane)).collect(),
            }));
        }
        if !waves.is_empty() {
            phases.push(Phase { kind: step.kind, hop: None, pulls: Vec::new(), snapshot: None, etcdctl: None, waves });
        }
    }
    phases
}

/// `nodes` one after the other: those of `last` at the end, in that order; before them, no two in a row share a rack if it
/// can be helped.
///
/// Built backwards from the end that is given: always taking from the fullest rack but the last one finds such an order
/// wherever there is one.
fn in_turn<'a>(nodes: Vec<&'a Node>, last: &[&NodeName]) -> Vec<&'a Node> {
    let mut racks: BTreeMap<&RackName, Vec<&Node>> = BTreeMap::new();
    let mut turn: Vec<&Node> = Vec::new();
    for &name in last.iter().rev() {
        let new = |n: &&&Node| n.name == *name && !turn.iter().any(|t| t.name == *name);
        if let Some(&node) = nodes.iter().find(new) {
            turn.push(node);
        }
    }
    for node in nodes {
        if !last.contains(&&node.name) {
            racks.entry(&node.rack).or_default().push(node);
        }
    }
    for nodes in racks.values_mut() {
        nodes.sort_by_cached_key(|n| natural(n.name.as_str()));
    }
    while let Some(rack) = racks
        .iter()
        .filter(|(_, nodes)| !nodes.is_empty())
        .max_by_key(|(rack, nodes)| {
            let other = turn.last().is_none_or(|t| t.rack != ***rack);
            (other, nodes.len(), natural(rack.as_str()))
        })
        .map(|(rack, _)| *rack)
    {
        turn.extend(racks.get_mut(rack).and_then(Vec::pop));
    }
    turn.reverse();
    turn
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::samples::node;

    fn turn(racks: &[&str], last: &[usize]) -> Vec<String> {
        let nodes: Vec<Node> = racks.iter().enumerate().map(|(i, r)| node(&format!("m{i}"), r, true)).collect();
        let last: Vec<&NodeName> = last.iter().map(|&i| &nodes[i].name).collect();
        in_turn(nodes.iter().collect(), &last).iter().map(|n| n.name.to_string()).collect()
    }

    #[test]
    fn the_leader_is_last_and_racks_alternate() {
        assert_eq!(turn(&["r0", "r1", "r2"], &[]), ["m0", "m1", "m2"]);
        assert_eq!(turn(&["r0", "r1", "r2"], &[0]), ["m1", "m2", "m0"]);
        assert_eq!(turn(&["r0", "r0", "r1"], &[]), ["m0", "m2", "m1"]);
        assert_eq!(turn(&["r0", "r0", "r0", "r1", "r1"], &[]), ["m0", "m3", "m1", "m4", "m2"]);
        assert_eq!(turn(&["r0", "r1", "r2"], &[1, 1, 0]), ["m2", "m1", "m0"]);
    }
}
