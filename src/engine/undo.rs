//! Swaps that an operator commanded back to the old version. One that is followed gives its rollback itself; the others,
//! whose node was lost or needed a person, are looked for again here.

use super::finish::{fail, serve_again};
use super::patience::patiently;
use super::resume::{BACK, Reclaimed, adopt, reclaim};
use super::shared::Shared;
use super::swap::{Before, compare, discard};
use super::visit::{End, containers};
use crate::journal::{Event, JournalError, SwapState};
use crate::plan::Swap;
use crate::remote::NodePort;
use futures::future::try_join_all;
use std::sync::Arc;

/// Why the swap is to go back, where that was commanded and has no result yet.
pub(super) fn commanded(shared: &Shared, swap: &Swap) -> Option<String> {
    shared.log.with(|run, _| run.swap(&swap.id).and_then(|s| s.undo.clone()))
}

/// Whether a swap that nobody follows was commanded back.
pub(super) fn pending(shared: &Shared) -> bool {
    shared.log.with(|run, _| run.swaps.iter().any(|s| s.undo.is_some() && s.state == SwapState::Failed))
}

/// Takes back what was commanded back. Nothing is in flight: masters go one by one.
pub(super) async fn carry_out(shared: &Arc<Shared>) -> Result<(), JournalError> {
    let all: Vec<(Swap, String)> = shared.log.with(|run, _| {
        let standing = run.swaps.iter().filter_map(|s| Some((s, s.undo.clone()?)));
        standing.map(|(s, why)| (run.planned(s).clone(), why)).collect()
    });
    let master = |swap: &Swap| shared.node(&swap.node).is_none_or(|n| n.master);
    let (masters, workers): (Vec<_>, Vec<_>) = all.into_iter().partition(|(swap, _)| master(swap));
    for (swap, why) in &masters {
        settle(shared, swap, why).await?;
    }
    try_join_all(workers.iter().map(|(swap, why)| settle(shared, swap, why))).await.map(drop)
}

/// Brings one swap that nobody follows to a result: by its node's transaction, where there is one still, else by looking.
pub(super) async fn settle(shared: &Arc<Shared>, swap: &Swap, why: &str) -> Result<End, JournalError> {
    let (id, node) = (&swap.id, &swap.node);
    // An engine that died may have left it open, with its transaction or without.
    if let Some(intent) = shared.log.intent(id).filter(|i| !i.lost) {
        let end = adopt(Arc::clone(shared), swap.clone(), Some(intent)).await?;
        if end != End::NotBegun {
            return Ok(end);
        }
    }
    match reclaim(shared, swap).await? {
        Reclaimed::Ended(end) if end != End::NotBegun => return Ok(end),
        Reclaimed::Away(away) => return fail(shared, id, node, format!("{why}, but {away}"), false).await,
        _ => {}
    }
    match shared.ports.fleet.node(node) {
        Some(port) => tell_the_truth(shared, swap, port.as_ref(), why).await,
        None => fail(shared, id, node, "the inventory does not know this node any more".into(), false).await,
    }
}

/// The node has no transaction of the swap: what runs on it is the result.
pub(super) async fn tell_the_truth(
    shared: &Shared,
    swap: &Swap,
    port: &dyn NodePort,
    why: &str,
) -> Result<End, JournalError> {
    let (id, node) = (swap.id.clone(), swap.node.clone());
    let names = containers(swap);
    let seen = match patiently(BACK, || port.look(&names)).await {
        Ok(seen) => compare(swap, &seen),
        Err(error) => Before::Other(error.to_string()),
    };
    if let Some(planned) = shared.node(&node).filter(|_| !matches!(seen, Before::Other(_))) {
        serve_again(shared, planned, swap).await?;
    }
    match seen {
        Before::Old => {
            discard(swap, port).await;
            let why = why.to_owned();
            let event = Event::SwapRolledBack { swap: id, node, why, pods_checked: 0, pods_undisturbed: 0, ms: 0 };
            shared.log.write(event).await?;
            Ok(End::RolledBack)
        }
        Before::New => {
            let text = format!("{node}: {why}, but it is all new, and its transaction is over");
            shared.log.write(Event::Note { text }).await?;
            let event = Event::SwapCommitted { swap: id, node, pods_checked: 0, pods_undisturbed: 0, ms: 0 };
            shared.log.write(event).await?;
            Ok(End::Committed)
        }
        Before::Other(other) => fail(shared, &id, &node, format!("{why}, but {other}"), false).await,
    }
}
