//! A transaction has ended: what the node says is checked, put right where the cluster must know, and written down.

use super::follow::Followed;
use super::patience::patiently;
use super::probe::Probes;
use super::shared::Shared;
use super::verify::{healthy, node_is_ready};
use super::visit::{End, PATIENCE, Visit, containers};
use crate::fleet::{Component, NodeName, SwapId};
use crate::journal::{Event, JournalError};
use crate::remote::{TxEnd, TxState};
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
        Followed::Stuck(why) => {
            serve_again(visit).await?;
            return failed(visit, why).await;
        }
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
        Some(TxEnd::Broken) => broken(visit, &state).await,
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

/// An old container is gone: nothing can be tried any more, the node only says why.
async fn broken(visit: &mut Visit, state: &TxState) -> Result<End, JournalError> {
    serve_again(visit).await?;
    compare(visit).await?;
    let end = failed(visit, format!("{}; look at the node", state.why)).await?;
    // It holds nothing back any more: once a person has mended the node, it can be planned anew.
    forget(visit).await;
    Ok(end)
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

/// The API server is back in the `kubernetes` Endpoints, where somebody has to put it there.
pub(super) async fn serve_again(visit: &Visit) -> Result<(), JournalError> {
    let Some(address) = visit.endpoint() else { return Ok(()) };
    let cluster = &visit.shared.ports.cluster;
    if let Err(error) = patiently(PATIENCE, || cluster.endpoint(&address, true)).await {
        let text = format!(
            "{}: {address} could not be put back into the default/kubernetes Endpoints: {error}; put it back yourself",
            visit.node.name
        );
        visit.shared.log.write(Event::Note { text }).await?;
    }
    Ok(())
}

/// The result is on disk: the node may forget. If it does not, its folder stays, which does no harm.
async fn forget(visit: &Visit) {
    if let Err(error) = visit.port.forget(&visit.tx).await {
        tracing::warn!("{}: transaction {} is not forgotten: {error}", visit.node.name, visit.tx);
    }
}
