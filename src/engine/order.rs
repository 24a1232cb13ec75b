//! Which swap may start now. The plan has an order of its own; what is checked here holds even if a plan were odd.

use super::shared::Shared;
use crate::fleet::{Component, NodeName, RackName, fold_names};
use crate::plan::{Swap, Wave};
use std::collections::BTreeSet;

/// Whether this swap needs every other master to be whole: it touches a master, so no two of its kind run at once.
pub(super) fn alone(shared: &Shared, swap: &Swap) -> bool {
    shared.node(&swap.node).is_none_or(|n| n.master) || swap.changes.iter().any(|c| c.component.master_only())
}

/// Whether this swap moves etcd.
pub(super) fn moves_etcd(swap: &Swap) -> bool {
    swap.changes.iter().any(|c| c.component == Component::Etcd)
}

/// Whether one more swap may start beside those in flight, by numbers alone.
///
/// # Errors
/// In words, when it must wait.
pub(super) fn room(shared: &Shared, wave: &Wave, swap: &Swap, flying: &[Swap]) -> Result<(), String> {
    if flying.iter().any(|f| f.node == swap.node) {
        return Err(format!("{} is being swapped", swap.node));
    }
    let most = wave.max_parallel.min(shared.plan.limits.max_parallel);
    if flying.len() >= most {
        return Err(format!("{} swaps are in flight, the most at once", flying.len()));
    }
    if alone(shared, swap) {
        return match flying.iter().find(|f| alone(shared, f)) {
            Some(other) => Err(format!("master {} is being swapped", other.node)),
            None => Ok(()),
        };
    }
    let Some(rack) = shared.node(&swap.node).map(|n| &n.rack) else {
        return Err(format!("{} is in no rack", swap.node));
    };
    let away = unavailable(shared, rack, flying);
    // The node itself does not count twice when it is one of the broken.
    let others = away.iter().filter(|n| **n != swap.node).count();
    let limit = shared.plan.limits.max_unavailable;
    if others + 1 > limit {
        let names = fold_names(away.iter().map(NodeName::as_str));
        return Err(format!("in {rack} {others} of at most {limit} nodes are unavailable: {names}"));
    }
    Ok(())
}

/// The workers of a rack that are being swapped, NotReady, or known not to answer.
fn unavailable(shared: &Shared, rack: &RackName, flying: &[Swap]) -> BTreeSet<NodeName> {
    let world = shared.world.borrow();
    let broken = shared.log.with(|run, ledger| {
        let drifted = run.drifts.values().map(|drift| &drift.node);
        ledger.broken().iter().chain(drifted).cloned().collect::<BTreeSet<NodeName>>()
    });
    let workers = shared.plan.cluster.workers().filter(|n| n.rack == *rack).map(|n| &n.name);
    workers
        .filter(|n| world.not_ready.contains(*n) || broken.contains(*n) || flying.iter().any(|f| f.node == **n))
        .cloned()
        .collect()
}
