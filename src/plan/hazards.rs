//! What upstream is known to break in an in-place upgrade. Told before, so that nobody learns it from a pager.

use super::findings::Findings;
use super::{Phase, Severity};
use crate::fleet::Component;

/// The kubelet that computes container hashes anew: <https://github.com/kubernetes/kubernetes/issues/129385>.
const NEW_HASHES: (u32, u32) = (1, 31);

/// The first kubelet that keeps pods Ready over its own restart (KEP-4781).
const KEEPS_READY: (u32, u32) = (1, 35);

/// Adds a finding for each known hazard that a planned change meets.
pub(super) fn hazards(phases: &[Phase], findings: &mut Findings) {
    for swap in phases.iter().flat_map(|p| &p.waves).flat_map(|w| &w.swaps) {
        for change in swap.changes.iter().filter(|c| c.component == Component::Kubelet) {
            let (Some(from), Some(to)) = (change.from.version(), change.to.version()) else { continue };
            // Either computes hashes that the other's containers do not carry.
            if (from.minor_of() < NEW_HASHES) != (to.minor_of() < NEW_HASHES) {
                findings.on(
                    &swap.node,
                    Severity::Warning,
                    "restarts-containers",
                    "a kubelet from 1.31 on restarts every container that an older kubelet started, and the other way \
                     round (kubernetes#129385)",
                    "expect the canary to stop the run; upgrade these nodes one by one with their owners' consent",
                );
            }
            if to.minor_of() < KEEPS_READY {
                findings.on(
                    &swap.node,
                    Severity::Warning,
                    "pods-not-ready",
                    "a kubelet before 1.35 shows pods with readiness probes as NotReady for a moment after it starts \
                     (KEP-4781)",
                    "expect it to count as disturbed pods; set budget.disturbed_pods if it is acceptable",
                );
            }
        }
    }
}
