//! A transaction has ended: what the node says is checked, put right where the cluster must know, and written down.

use super::follow::Followed;
use super::patience::{MayPass, patiently};
use super::probe::Probes;
use super::relook;
use super::resume::{Reclaimed, reclaim};
use super::shared::{Shared, Wish};
use super::swap::left_open;
use super::undo;
use super::verify::{healthy, node_is_ready};
use super::visit::{End, PATIENCE, Visit, containers, endpoint};
use super::waiting::Waiting;
use crate::fleet::{Component, ContainerName, Node, NodeName, SwapId};
use crate::journal::{API, Event, JournalError, SwapState, SwapView};
use crate::k8s::ClusterError;
use crate::plan::Swap;
use crate::remote::{TxEnd, TxState};
use futures::future::try_join_all;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a node is asked once more after its transaction has ended.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// How long an abort waits for the API to take an API server back into the Endpoints, and for the run lock.
pub(super) const ABORT_WAITS: Duration = Duration::from_secs(300);
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
            put_back(visit).await?;
            return failed(visit, why).await;
        }
        Followed::Left => return Ok(left_open(&visit.shared)),
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
        Some(TxEnd::Foreign) => foreign(visit, &state).await,
        Some(TxEnd::RolledBack) | None => rolled_back(visit, &state).await,
    }
}

async fn committed(visit: &mut Visit) -> Result<End, JournalError> {
    put_back(visit).await?;
    compare(visit).await?;
    keep(visit).await?;
    visit.leave_proof_pending().await?;
    let (pods_checked, pods_undisturbed) = visit.pod_counts();
    let (swap, node) = visit.ids();
    let ms = visit.elapsed_ms();
    visit.shared.log.write(Event::SwapCommitted { swap, node, pods_checked, pods_undisturbed, ms }).await?;
    forget(visit).await;
    Ok(End::Committed)
}

/// What runs now is what later looks are compared with. A node that cannot be looked at is looked at later: by its images alone.
async fn keep(visit: &Visit) -> Result<(), JournalError> {
    let names = containers(&visit.swap);
    match patiently(LOOK_AGAIN, || visit.port.look(&names)).await {
        Ok(seen) => {
            let kept = relook::keep(&visit.swap, &seen.running, &visit.images);
            let (swap, node) = visit.ids();
            visit.shared.log.write(Event::ComponentsKept { swap, node, kept }).await
        }
        Err(error) => {
            tracing::warn!("{}: it could not be looked at after its commit: {error}", visit.node.name);
            Ok(())
        }
    }
}

/// Something else made a container anew under the swap. The node gave up; what runs there is looked at, and said.
async fn foreign(visit: &mut Visit, state: &TxState) -> Result<End, JournalError> {
    serve_if_well(visit).await?;
    compare(visit).await?;
    let names = containers(&visit.swap);
    let seen = match patiently(LOOK_AGAIN, || visit.port.look(&names)).await {
        Ok(look) => relook::words(&visit.swap, &look),
        Err(error) => format!("it could not be looked at: {error}"),
    };
    let why = format!("{}; as seen at {}: {seen}", state.why, relook::clock(visit.shared.log.now()));
    let (swap, node) = visit.ids();
    visit.shared.log.write(Event::ForeignHand { swap, node, why: why.clone() }).await?;
    let end = failed(visit, why).await?;
    // It holds nothing back any more: once a person has looked at it, it can be tried again.
    forget(visit).await;
    Ok(end)
}

/// The API server goes back into the Endpoints where it answers: clients are not to be led to one that does not, and whatever
/// made it anew may look after its address itself.
async fn serve_if_well(visit: &Visit) -> Result<(), JournalError> {
    let Some(address) = endpoint(&visit.node, &visit.swap) else { return Ok(()) };
    let Some(settings) = visit.settings(Component::KubeApiserver) else { return put_back(visit).await };
    let until = Instant::now() + visit.deadline().max(PATIENCE);
    loop {
        let Err(why) = healthy(visit.port.as_ref(), Component::KubeApiserver, &settings.health).await else {
            return put_back(visit).await;
        };
        if Instant::now() > until {
            let text = format!(
                "{}: {address} stays out of the default/kubernetes Endpoints: {why}; put it back yourself once it answers",
                visit.node.name
            );
            return visit.shared.log.write(Event::Note { text }).await;
        }
        sleep(LOOK).await;
    }
}

/// An old container is gone: nothing can be tried any more, the node only says why.
async fn broken(visit: &mut Visit, state: &TxState) -> Result<End, JournalError> {
    put_back(visit).await?;
    compare(visit).await?;
    let end = failed(visit, format!("{}; look at the node", state.why)).await?;
    // It holds nothing back any more: once a person has fixed the node, it can be planned anew.
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
    let patience = visit.deadline().max(PATIENCE);
    let mut limit = Instant::now() + patience;
    let mut waiting = Waiting::default();
    let ill = loop {
        match old_serves(visit).await {
            Ok(()) => break None,
            // All is well on the node itself, and an API that is away says nothing against it.
            Err(Ill::Blind(why)) => {
                let ends = matches!(visit.shared.wish(), Wish::Leave | Wish::Abort);
                if ends && Instant::now() > limit {
                    break None;
                }
                waiting.on(&visit.shared, API, &why, None)?;
                if !ends {
                    limit = Instant::now() + patience;
                }
            }
            Err(Ill::Ill(why)) if Instant::now() > limit => break Some(why),
            Err(Ill::Ill(_)) => {}
        }
        sleep(LOOK).await;
    };
    waiting.over(&visit.shared)?;
    if let Some(ill) = ill {
        return failed(visit, format!("{why}; it was rolled back, but the old one does not serve again: {ill}")).await;
    }
    put_back(visit).await?;
    compare(visit).await?;
    visit.leave_proof_pending().await?;
    let (pods_checked, pods_undisturbed) = visit.pod_counts();
    let (swap, node) = visit.ids();
    let ms = visit.elapsed_ms();
    let event = Event::SwapRolledBack { swap, node, why, pods_checked, pods_undisturbed, ms };
    visit.shared.log.write(event).await?;
    forget(visit).await;
    Ok(End::RolledBack)
}

/// What is missing before a rollback is proved.
enum Ill {
    /// On the node itself, or in what the API says of it.
    Ill(String),
    /// Nothing on the node; the API cannot be asked.
    Blind(String),
}

impl From<String> for Ill {
    fn from(why: String) -> Ill {
        Ill::Ill(why)
    }
}

/// The old containers run, none is left over, and they are well.
async fn old_serves(visit: &Visit) -> Result<(), Ill> {
    let seen = visit.port.look(&containers(&visit.swap)).await.map_err(|e| e.to_string())?;
    for change in &visit.swap.changes {
        let name = &change.container;
        let running = seen.running.iter().find(|r| r.container == *name);
        let running = running.ok_or_else(|| format!("container {name} is not there"))?;
        if running.id != change.from_id || !running.running {
            return Err(format!("container {name} is not the old one, or does not run").into());
        }
        if let Some(left) = seen.leftovers.iter().find(|l| l.as_str() == name.prev()) {
            return Err(format!("{left} is left over").into());
        }
        if let Some(settings) = visit.settings(change.component) {
            healthy(visit.port.as_ref(), change.component, &settings.health).await?;
        }
    }
    if visit.change_to(Component::Kubelet).is_some() {
        match visit.shared.ports.cluster.node(&visit.node.name).await {
            Err(error) if error.may_pass() => return Err(Ill::Blind(error.to_string())),
            _ => node_is_ready(visit, None).await?,
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
            // Of a kubelet's the proof comes later, when the API may answer again.
            visit.blind = !visit.shared.log.proofs(|p| p.of(&visit.swap.id).is_some_and(|p| p.kubelet_moved()));
            let text = format!("{name}: its pods could not be compared after the swap: {error}");
            visit.shared.log.tell(Event::Note { text })
        }
    }
}

/// Before a run ends: nodes that were away when they were needed are looked for once more. What was lost in the middle of its
/// swap is taken to its end, what was only prepared is cleared away. Nothing is in flight.
pub(super) async fn tidy(shared: &Arc<Shared>) -> Result<(), JournalError> {
    let undone = |s: &&SwapView| match s.state {
        SwapState::Committed | SwapState::Drifted => false,
        // One that was rolled back by its node's own transaction was looked at then.
        SwapState::RolledBack => s.tx.is_none(),
        // Taken up again, and the run ends before its turn came.
        SwapState::Waiting => s.attempts > 0,
        _ => true,
    };
    let left: Vec<Swap> =
        shared.log.with(|run, _| run.swaps.iter().filter(undone).map(|s| run.planned(s).clone()).collect());
    for text in try_join_all(left.iter().map(|swap| tidy_one(shared, swap))).await?.into_iter().flatten() {
        shared.log.write(Event::Note { text }).await?;
    }
    Ok(())
}

/// What an operator has to know, if anything.
async fn tidy_one(shared: &Arc<Shared>, swap: &Swap) -> Result<Option<String>, JournalError> {
    let node = &swap.node;
    let state = shared.log.with(|run, _| run.swap(&swap.id).map(|s| s.state));
    match reclaim(shared, swap).await? {
        // Begun in the journal alone, by an engine that died while it looked for the node.
        Reclaimed::Nothing if state.is_some_and(SwapState::open) => {
            undo::settle(shared, swap, "the run ends").await?;
            return Ok(None);
        }
        Reclaimed::Nothing => {}
        Reclaimed::Ended(_) => return Ok(None),
        Reclaimed::Away(why) => {
            if !matches!(state, Some(SwapState::Failed | SwapState::Skipped)) {
                // It was to be tried again; what is true of it is still that it was lost.
                fail(shared, &swap.id, node, why.clone(), false).await?;
            }
            let all = containers(swap);
            let names: Vec<&str> = all.iter().map(ContainerName::as_str).collect();
            let names = names.join(", ");
            return Ok(Some(format!("{node} may stand between old and new ({names}): {why}; look at it")));
        }
    }
    let Some(port) = shared.ports.fleet.node(node) else { return Ok(None) };
    let names = containers(swap);
    let left = patiently(LOOK, || port.discard(&names)).await.err();
    Ok(left.map(|error| {
        format!("{node}: prepared containers (*.sonoba-next) may be left over: {error}; the next swap clears them away")
    }))
}

/// The API server is back in the `kubernetes` Endpoints, where somebody has to put it there.
pub(super) async fn serve_again(shared: &Shared, node: &Node, swap: &Swap) -> Result<(), JournalError> {
    let Some(address) = endpoint(node, swap) else { return Ok(()) };
    let (cluster, name) = (&shared.ports.cluster, &node.name);
    let mut waiting = Waiting::default();
    let mut aborting: Option<Instant> = None;
    loop {
        let Err(error) = patiently(PATIENCE, || cluster.endpoint(&address, true)).await else {
            waiting.over(shared)?;
            if shared.log.with(|run, _| run.endpoints_out.contains_key(name)) {
                shared.log.write(Event::EndpointBack { node: name.clone(), address }).await?;
            }
            return Ok(());
        };
        // Nothing else may move without the API either, and the next master must not leave before this one is back: so
        // an API that is away is waited for; an engine that was told to end has waited long enough, and an abort ends.
        let fenced = matches!(error, ClusterError::Fenced(_));
        let waits = match shared.wish() {
            Wish::Leave => false,
            Wish::Abort => aborting.get_or_insert_with(Instant::now).elapsed() < ABORT_WAITS,
            Wish::Run | Wish::Pause if fenced => {
                // The journal knows that it is out: it is put back before anything else, once the run lock is held.
                shared.leave_open();
                return waiting.over(shared);
            }
            Wish::Run | Wish::Pause => true,
        };
        if (error.may_pass() || fenced) && waits {
            // A lock that is not held is refused at once, and not asked for meanwhile.
            sleep(if fenced { LOOK } else { Duration::ZERO }).await;
            let why = format!("{name}: {address} is to be put back into the default/kubernetes Endpoints: {error}");
            waiting.on(shared, API, &why, None)?;
            continue;
        }
        let text = format!(
            "{name}: {address} could not be put back into the default/kubernetes Endpoints: {error}; put it back yourself"
        );
        return shared.log.write(Event::Note { text }).await;
    }
}

async fn put_back(visit: &Visit) -> Result<(), JournalError> {
    serve_again(&visit.shared, &visit.node, &visit.swap).await
}

/// The result is on disk: the node may forget. If it does not, its folder stays, which does no harm.
async fn forget(visit: &Visit) {
    if let Err(error) = visit.port.forget(&visit.tx).await {
        tracing::warn!("{}: transaction {} is not forgotten: {error}", visit.node.name, visit.tx);
    }
}
