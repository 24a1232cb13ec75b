//! What stands in a plan's way. `policy` asks it of the plan itself: of the limits, of each step, and of every state on the
//! way. The other files ask it of the [`Facts`] that were gathered just before; each rule there takes an unknown fact for none.

mod api;
mod containers;
mod credentials;
mod drift;
mod images;
mod machines;
mod members;
mod pods;
mod policy;

pub use containers::node_monitor_grace_ms;
pub(super) use credentials::check as check_credentials;
pub(super) use policy::{check_control_plane, check_limits, check_pins, check_skew, check_steps};

use super::findings::Findings;
use super::{Change, Facts, Phase, Settings};
use crate::fleet::{Cluster, NodeName};

/// Adds a finding for every fact that stands in the way of these phases.
pub(super) fn check_facts(
    cluster: &Cluster,
    facts: &Facts,
    settings: &Settings,
    phases: &[Phase],
    findings: &mut Findings,
) {
    if changes(phases).next().is_none() {
        return;
    }
    images::check(cluster, facts, phases, findings);
    machines::check(cluster, facts, phases, findings);
    members::check(cluster, facts, settings, phases, findings);
    drift::check(cluster, phases, findings);
    containers::check(cluster, facts, settings, phases, findings);
    pods::check(cluster, facts, phases, findings);
    api::check(cluster, facts, phases, findings);
}

/// Every change, with its node, in the plan's order.
fn changes(phases: &[Phase]) -> impl Iterator<Item = (&NodeName, &Change)> {
    let swaps = phases.iter().flat_map(|p| &p.waves).flat_map(|w| &w.swaps);
    swaps.flat_map(|s| s.changes.iter().map(|change| (&s.node, change)))
}

/// The first few of many names, and how many more there are.
fn first_of(names: &[&str]) -> String {
    const SHOWN: usize = 3;
    let shown = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests;
