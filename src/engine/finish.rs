//! A transaction has ended: what the node says is checked, put right where the cluster must know, and written down.

use super::follow::Followed;
use super::gates::Waiting;
use super::patience::{MayPass, patiently};
use super::probe::Probes;
use super::shared::{Shared, Wish};
use super::verify::{healthy, node_is_ready};
use super::visit::{End, PATIENCE, Visit, containers};
use crate::fleet::{Component, NodeName, SwapId};
use crate::journal::{Event, JournalError, SwapState, SwapView};
use crate::plan::Swap;
use crate::remote::{TxEnd, TxState};
use futures::future::join_all;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Between two looks at an old component that was put back.
const LOOK: Duration = Duration::from_millis(500);

/// Writes down how the swap ended. `why` is the reason for a rollback that the engine decided.
pub(super) async fn finish(visit: &mut Visit, followed: Followed) -> Result<End, JournalError> {
    // Nothing is measured any more.
    visit.probes = Probes::default();
    let state = match followed {
        Followed::Ended(state) => state,
        Followed::Gone => return Ok(End::NotBegun),
        Followed::Lost(error) => {
            let limit = visit.deadline().as_secs();
            let why = format!(
                "the node does not answer: {error}; by itself it is back on the old version {limit} s after its first stop, \
                 unless it was committed before"
            );
            return failed(visit, why).await;
        }
    };
    match state.end {
        Some(TxEnd::Committed) => committed(visit).await,
        _ => rolled_back(visit, &state).await,
    }
}

async fn committed(visit: &mut Visit) -> Result<End, JournalError> {
    serve_again(visit).await?;
    compare(visit).await?;
    let (pods_checked, pods_undisturbed) = visit.pod_counts();
    let (swap, node) = visit.ids();
    let ms = visit.elapsed_ms();
    visit.shared.log.write(Event::SwapCommitted { swap, node, pods_checked, pods_undisturbed, ms }).await?;
    forget(visit).await;
    Ok(End::Committed)
}

async fn rolled_back(visit: &mut Visit, state: &TxState) -> Result<End, JournalError> {
    let mut why = visit.shared.log.with(|run, _| run.swap(&visit.swap.id).map(|s| s.why.clone())).unwrap_or_default();
    if why.is_empty() {
        why = if state.why.is_empty() { "the node rolled itself back".into() } else { state.why.clone() };
        if !visit.missing.is_empty() {
            why = format!("{why}; the last look: {}", visit.missing);
        }
    }
    let limit = Instant::now() + visit.deadline().max(PATIENCE);
    let ill = loop {
        match old_serves(visit).await {
            Ok(()) => break None,
            Err(ill) if Instant::now() > limit => break Some(ill),
            Err(_) => sleep(LOOK).await,
        }
    };
    if let Some(ill) = ill {
        return failed(visit, format!("{why}; it was rolled back, but the old one does not serve again: {ill}")).await;
    }
    serve_again(visit).await?;
    compare(visit).await?;
    let (pods_checked, pods_undisturbed) = visit.pod_counts();
    let (swap, node) = visit.ids();
    let ms = visit.elapsed_ms();
    let event = Event::SwapRolledBack { swap, node, why, pods_checked, pods_undisturbed, ms };
    visit.shared.log.write(event).await?;
    forget(visit).await;
    Ok(End::RolledBack)
}

/// The old containers run, none is left over, and they are well.
async fn old_serves(visit: &Visit) -> Result<(), String> {
    let seen = visit.port.look(&containers(&visit.swap)).await.map_err(|e| e.to_string())?;
    for change in &visit.swap.changes {
        let name = &change.container;
        let running = seen.running.iter().find(|r| r.container == *name);
        let running = running.ok_or_else(|| format!("container {name} is not there"))?;
        if running.id != change.from_id || !running.running {
            return Err(format!("container {name} is not the old one, or does not run"));
        }
        if let Some(left) = seen.leftovers.iter().find(|l| l.as_str() == name.prev()) {
            return Err(format!("{left} is left over"));
        }
        if let Some(settings) = visit.settings(change.component) {
            healthy(visit.port.as_ref(), change.component, &settings.health).await?;
        }
        if change.component == Component::Kubelet {
            node_is_ready(visit, None).await?;
        }
    }
    Ok(())
}

/// The swap needs a person: nothing more is tried.
async fn failed(visit: &Visit, why: String) -> Result<End, JournalError> {
    fail(&visit.shared, &visit.swap.id, &visit.node.name, why, false).await
}

/// Writes down a swap that could not be done.
pub(super) async fn fail(
    shared: &Shared,
    swap: &SwapId,
    node: &NodeName,
    why: String,
    untouched: bool,
) -> Result<End, JournalError> {
    let event = Event::SwapFailed { swap: swap.clone(), node: node.clone(), why, untouched };
    shared.log.write(event).await?;
    Ok(End::Failed)
}

/// Compares the pods once more. Without an answer there is no proof, and the counts say so.
async fn compare(visit: &mut Visit) -> Result<(), JournalError> {
    let (cluster, name) = (visit.shared.ports.cluster.clone(), visit.node.name.clone());
    match patiently(PATIENCE, || cluster.pods(&name)).await {
        Ok(after) => visit.judge_pods(&after).await.map(drop),
        Err(error) => {
            visit.before.clear();
            let text = format!("{name}: its pods could not be compared after the swap: {error}");
            visit.shared.log.tell(Event::Note { text })
        }
    }
}

/// Before a run ends: what was prepared on nodes that were away when it should have been cleared away is looked for once
/// more. Nothing is in flight.
pub(super) async fn tidy(shared: &Shared) -> Result<(), JournalError> {
    let left: Vec<Swap> = shared.log.with(|run, ledger| {
        let untouched = |s: &&SwapView| s.state == SwapState::Failed && !ledger.broken().contains(&s.node);
        run.swaps.iter().filter(untouched).map(|s| run.planned(s).clone()).collect()
    });
    let tried = left.iter().map(async |swap| {
        let Some(port) = shared.ports.fleet.node(&swap.node) else { return None };
        let names = containers(swap);
        patiently(LOOK, || port.discard(&names)).await.err().map(|error| (&swap.node, error))
    });
    for (node, error) in join_all(tried).await.into_iter().flatten() {
        let text =
            format!("{node}: prepared containers (*.sonoba-next) may be left over: {error}; the next swap clears them");
        shared.log.write(Event::Note { text }).await?;
    }
    Ok(())
}

/// The API server is back in the `kubernetes` Endpoints, where somebody has to put it there.
pub(super) async fn serve_again(visit: &Visit) -> Result<(), JournalError> {
    let Some(address) = visit.endpoint() else { return Ok(()) };
    let (cluster, name) = (&visit.shared.ports.cluster, &visit.node.name);
    let mut waiting = Waiting::default();
    loop {
        let Err(error) = patiently(PATIENCE, || cluster.endpoint(&address, true)).await else {
            return waiting.over(&visit.shared);
        };
        // Nothing else may move without the API either, and the next master must not leave before this one is back: so
        // an API that is away is waited for; an engine that was told to end has waited long enough.
        if error.may_pass() && !matches!(visit.shared.wish(), Wish::Leave) {
            let why = format!("{name}: {address} is to be put back into the default/kubernetes Endpoints: {error}");
            waiting.on(&visit.shared, "the cluster's API", &why, None)?;
            continue;
        }
        let text = format!(
            "{name}: {address} could not be put back into the default/kubernetes Endpoints: {error}; put it back yourself"
        );
        return visit.shared.log.write(Event::Note { text }).await;
    }
}

/// The result is on disk: the node may forget. If it does not, its folder stays, which does no harm.
async fn forget(visit: &Visit) {
    if let Err(error) = visit.port.forget(&visit.tx).await {
        tracing::warn!("{}: transaction {} is not forgotten: {error}", visit.node.name, visit.tx);
    }
}
