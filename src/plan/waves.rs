//! The waves of the workers: a canary that is spread over racks and roles, then rack by rack.
//!
//! One rule for what follows a wave: its nodes must be Ready, the operator's own gates must hold, and every wave but the last is watched for the whole soak time
//! before the next begins. The soak guards what comes next, so nothing is gained by it at the end.

use super::findings::Findings;
use super::order::{Ids, visit};
use super::select::{Chosen, broken};
use super::{Gate, Limits, Phase, PhaseKind, Settings, Severity, Swap, Wave, WaveKind};
use crate::fleet::{Cluster, Component, RackName, RoleName, natural};
use std::collections::BTreeMap;

/// What one visit to a worker takes, in this order: the ways to the masters first, the kubelet, which has least time, last.
const VISIT: [Component; 4] = [Component::Rivers, Component::EtcdRivers, Component::KubeProxy, Component::Kubelet];

/// The phase of the workers; none when no worker moves.
pub(super) fn workers(
    cluster: &Cluster,
    chosen: &[Chosen<'_>],
    limits: &Limits,
    settings: &Settings,
    findings: &mut Findings,
    ids: &mut Ids,
) -> Option<Phase> {
    let mut racks = with_room(cluster, chosen, limits, findings);
    let canaries = take_canaries(&mut racks, limits.canary);
    let mut visits = |chosen: Vec<&Chosen<'_>>| -> Vec<Swap> {
        chosen.into_iter().filter_map(|c| visit(c, &VISIT, settings, ids)).collect()
    };
    let mut waves = Vec::new();
    if !canaries.is_empty() {
        // In one rack there may be more canaries than may be down together.
        let mut in_rack: BTreeMap<&RackName, usize> = BTreeMap::new();
        for canary in &canaries {
            *in_rack.entry(&canary.node.rack).or_default() += 1;
        }
        let room = |rack: &RackName| racks.iter().find(|r| r.rack == rack).map_or(1, |r| r.room);
        let tight = in_rack.iter().filter(|(rack, n)| **n > room(rack)).map(|(rack, _)| room(rack)).min();
        let max_parallel = canaries.len().min(limits.max_parallel).min(tight.unwrap_or(usize::MAX));
        let swaps = visits(canaries);
        waves.push(Wave { kind: WaveKind::Canary, title: "canary".into(), max_parallel, swaps, gates: Vec::new() });
    }
    for rack in racks.into_iter().filter(|r| !r.workers.is_empty()) {
        let max_parallel = rack.room.min(limits.max_parallel);
        let (title, swaps) = (rack.rack.to_string(), visits(rack.workers));
        waves.push(Wave { kind: WaveKind::Rack, title, max_parallel, swaps, gates: Vec::new() });
    }
    let last = waves.len().checked_sub(1)?;
    for (i, wave) in waves.iter_mut().enumerate() {
        wave.gates.push(Gate::NodesReady);
        wave.gates.extend(settings.own_gates(wave.kind));
        if i < last && limits.soak_ms > 0 {
            wave.gates.push(Gate::Soak { ms: limits.soak_ms });
        }
    }
    Some(Phase { kind: PhaseKind::Workers, hop: None, pulls: Vec::new(), snapshot: None, waves })
}

/// A rack's workers that move, and how many of them may be down at once.
struct Rack<'a, 'c> {
    rack: &'a RackName,
    room: usize,
    workers: Vec<&'c Chosen<'a>>,
}

/// The racks in natural order. A rack in which as many nodes are down as may be is left out: not one more may follow.
fn with_room<'a, 'c>(
    cluster: &'a Cluster,
    chosen: &'c [Chosen<'a>],
    limits: &Limits,
    findings: &mut Findings,
) -> Vec<Rack<'a, 'c>> {
    let mut down: BTreeMap<&RackName, usize> = BTreeMap::new();
    for node in cluster.nodes.values().filter(|n| broken(n)) {
        *down.entry(&node.rack).or_default() += 1;
    }
    let mut racks: BTreeMap<&RackName, Vec<&Chosen<'_>>> = BTreeMap::new();
    for worker in chosen.iter().filter(|c| !c.node.master) {
        racks.entry(&worker.node.rack).or_default().push(worker);
    }
    let mut found = Vec::new();
    for (rack, mut workers) in racks {
        let down = down.get(rack).copied().unwrap_or(0);
        match limits.max_unavailable.saturating_sub(down) {
            0 => {
                for worker in workers {
                    let text = format!("{rack} has {down} nodes down already, so its other nodes are left out");
                    let mend = "bring nodes back, or raise max_unavailable, then plan again";
                    findings.on(&worker.node.name, Severity::Warning, "rack-full", text, mend);
                }
            }
            room => {
                workers.sort_by_cached_key(|c| natural(c.node.name.as_str()));
                found.push(Rack { rack, room, workers });
            }
        }
    }
    found.sort_by_cached_key(|r| natural(r.rack.as_str()));
    found
}

/// Takes up to `wanted` canaries out of the racks: each time from the racks that have fewest, of the roles that have fewest;
/// rarer roles first, so that a small canary meets them too.
fn take_canaries<'a, 'c>(racks: &mut [Rack<'a, 'c>], wanted: usize) -> Vec<&'c Chosen<'a>> {
    let mut of_role: BTreeMap<Option<&RoleName>, usize> = BTreeMap::new();
    for worker in racks.iter().flat_map(|r| &r.workers) {
        *of_role.entry(worker.node.role.as_ref()).or_default() += 1;
    }
    let mut in_rack = vec![0_usize; racks.len()];
    let mut in_role: BTreeMap<Option<&RoleName>, usize> = BTreeMap::new();
    let mut canaries = Vec::new();
    while canaries.len() < wanted {
        let key = |r: usize, w: usize| {
            let role = racks[r].workers[w].node.role.as_ref();
            (in_rack[r], in_role.get(&role).copied().unwrap_or(0), of_role.get(&role).copied().unwrap_or(0), r, w)
        };
        let all = racks.iter().enumerate().flat_map(|(r, rack)| (0..rack.workers.len()).map(move |w| (r, w)));
        let Some((_, _, _, r, w)) = all.map(|(r, w)| key(r, w)).min() else { break };
        let canary = racks[r].workers.remove(w);
        in_rack[r] += 1;
        *in_role.entry(canary.node.role.as_ref()).or_default() += 1;
        canaries.push(canary);
    }
    canaries
}
