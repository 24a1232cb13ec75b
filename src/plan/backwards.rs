//! What of an order is not simply turned round on the way back: who is first, who is last, and when to watch.

use super::order::Ids;
use super::{Gate, Phase, PhaseKind, Wave, WaveKind};
use crate::fleet::{Leaders, NodeName};

/// Workers before masters in each hop, the canary before all: in a phase of its own where the plan had it so and one of it goes back,
/// else as the first wave of the workers.
pub(super) fn canary_phase_first(mut phases: Vec<Phase>, wanted: usize) -> Vec<Phase> {
    for hop in phases.chunk_by_mut(|a, b| a.hop == b.hop) {
        let first = hop.iter().position(|p| p.kind.of_workers() || p.kind == PhaseKind::Masters);
        match (first, hop.iter().position(|p| p.kind == PhaseKind::Canary)) {
            (Some(first), Some(canary)) => hop[first..=canary].rotate_right(1),
            _ => {
                hop.iter_mut().filter(|p| p.kind == PhaseKind::Workers).for_each(|p| canary_first(&mut p.waves, wanted))
            }
        }
    }
    phases
}

/// The canaries of the plan are canaries again: their owners know. Where none of them goes back, the first of each wave in
/// turn are.
fn canary_first(waves: &mut Vec<Wave>, wanted: usize) {
    if let Some(at) = waves.iter().position(|w| w.kind == WaveKind::Canary) {
        waves[..=at].rotate_right(1);
        return;
    }
    let Some(gates) = waves.first().map(|w| w.gates.clone()) else { return };
    let mut swaps = Vec::new();
    while swaps.len() < wanted && waves.iter().any(|w| !w.swaps.is_empty()) {
        for wave in waves.iter_mut().filter(|w| !w.swaps.is_empty()).take(wanted - swaps.len()) {
            swaps.push(wave.swaps.remove(0));
        }
    }
    waves.retain(|w| !w.swaps.is_empty());
    if !swaps.is_empty() {
        let max_parallel = swaps.len();
        waves.insert(0, Wave { kind: WaveKind::Canary, title: "canary".into(), max_parallel, swaps, gates });
    }
}

/// Whoever leads now is last, whoever led when the plan was made.
pub(super) fn leaders_last(leaders: &Leaders, kind: PhaseKind, waves: &mut [Wave]) {
    let last: Vec<&NodeName> = match kind {
        PhaseKind::Etcd => leaders.etcd.iter().collect(),
        PhaseKind::Controllers => leaders.scheduler.iter().chain(&leaders.controller_manager).collect(),
        _ => return,
    };
    waves.sort_by_key(|w| w.swaps.iter().filter_map(|s| last.iter().rposition(|n| **n == s.node)).max().map(|i| i + 1));
}

/// Workers are watched after each wave, before anything else follows.
pub(super) fn soak(phases: &mut [Phase], ms: u64) {
    for wave in phases.iter_mut().filter(|p| p.kind.of_workers()).flat_map(|p| &mut p.waves) {
        wave.gates.retain(|g| !matches!(g, Gate::Soak { .. }));
        if ms > 0 {
            wave.gates.push(Gate::Soak { ms });
        }
    }
}

/// Ids in the order of this plan.
pub(super) fn renumber(phases: &mut [Phase]) {
    let mut ids = Ids::default();
    for swap in phases.iter_mut().flat_map(|p| &mut p.waves).flat_map(|w| &mut w.swaps) {
        swap.id = ids.next();
    }
}
