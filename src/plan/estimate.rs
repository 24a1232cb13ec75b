//! How long a plan should take, from documented defaults. A rough word beforehand; the run measures.

use super::{Estimate, Gate, Limits, Phase, PhaseKind};

/// One image onto one node. Milliseconds.
const PULL_MS: u64 = 20_000;

/// One round of swaps: stop, start, healthy, verdict. Milliseconds.
fn round_ms(kind: PhaseKind) -> u64 {
    match kind {
        // An apiserver drains its requests, then fills its caches.
        PhaseKind::KubeApiserver => 15_000,
        PhaseKind::Etcd => 10_000,
        _ => 5_000,
    }
}

/// The estimate for these phases.
pub(super) fn estimate(phases: &[Phase], limits: &Limits) -> Estimate {
    let mut estimate = Estimate::default();
    for phase in phases {
        let pulls: usize = phase.pulls.iter().map(|p| p.images.len()).sum();
        estimate.prefetch_ms += rounds(pulls, limits.max_pulls).saturating_mul(PULL_MS);
        for wave in &phase.waves {
            estimate.work_ms += rounds(wave.swaps.len(), wave.max_parallel).saturating_mul(round_ms(phase.kind));
            for gate in &wave.gates {
                if let Gate::Soak { ms } = gate {
                    estimate.soak_ms = estimate.soak_ms.saturating_add(*ms);
                }
            }
        }
    }
    estimate
}

fn rounds(work: usize, at_once: usize) -> u64 {
    work.div_ceil(at_once.max(1)) as u64
}
