//! A run is taken up again: every intent without a result is settled with the node itself, before anything new starts.

use super::conductor::Halt;
use super::finish::{fail, finish, serve_again};
use super::follow::{Followed, follow};
use super::patience::patiently;
use super::probe::Probes;
use super::shared::{Shared, Wish};
use super::swap::{ABORTED, call_off, discard};
use super::undo;
use super::visit::{End, PATIENCE, Visit};
use crate::fleet::{Component, SwapId};
use crate::journal::{Event, JournalError, Record, Run, SwapState, Verdict};
use crate::plan::Swap;
use crate::remote::NodePort;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// A node that was lost has this long to answer when it is looked for again.
pub(super) const BACK: Duration = Duration::from_secs(10);

/// What the journal says of an intent, beyond what the fold keeps.
#[derive(Debug, Clone)]
pub(super) struct Intent {
    tx: String,
    olds: BTreeMap<Component, String>,
    steps: usize,
    healthy: BTreeSet<Component>,
    verdict: Option<(Verdict, String)>,
    /// The node was lost in the middle of it: what became of it is not known.
    pub(super) lost: bool,
}

/// The intents that have no result yet, or whose node was lost.
#[derive(Debug, Default)]
pub(super) struct Intents(HashMap<SwapId, Intent>);

impl Intents {
    pub(super) fn apply(&mut self, record: &Record) {
        match &record.event {
            Event::SwapIntended { swap, tx, olds, .. } => {
                let intent = Intent {
                    tx: tx.clone(),
                    olds: olds.clone(),
                    steps: 0,
                    healthy: BTreeSet::new(),
                    verdict: None,
                    lost: false,
                };
                self.0.insert(swap.clone(), intent);
            }
            Event::SwapStep { swap, .. } => self.edit(swap, |i| i.steps += 1),
            Event::SwapHealthy { swap, component, .. } => self.edit(swap, |i| {
                i.healthy.insert(*component);
            }),
            Event::SwapVerdict { swap, verdict, why, .. } => {
                self.edit(swap, |i| i.verdict = Some((*verdict, why.clone())));
            }
            Event::SwapFailed { swap, untouched: false, .. } => self.edit(swap, |i| i.lost = true),
            // A try that did not come to an intent of its own leaves the lost one as it is.
            Event::SwapPreparing { swap, .. } | Event::SwapFailed { swap, .. } => {
                self.0.retain(|id, intent| id != swap || intent.lost);
            }
            Event::SwapCommitted { swap, .. } | Event::SwapRolledBack { swap, .. } => {
                self.0.remove(swap);
            }
            _ => {}
        }
    }

    /// The intent of a swap.
    pub(super) fn of(&self, swap: &SwapId) -> Option<&Intent> {
        self.0.get(swap)
    }

    fn edit(&mut self, swap: &SwapId, edit: impl FnOnce(&mut Intent)) {
        if let Some(intent) = self.0.get_mut(swap) {
            edit(intent);
        }
    }
}

/// Settles every open swap. What the node has no transaction of stays open, and the conductor does it from the start.
pub(super) async fn settle(shared: &Arc<Shared>) -> Result<(), Halt> {
    let open: Vec<Swap> = shared.log.with(|run, _| run.in_flight().map(|s| run.planned(s).clone()).collect());
    let mut tasks = JoinSet::new();
    for swap in open {
        // One that was lost belongs to an earlier try.
        let intent = shared.log.intent(&swap.id).filter(|i| !i.lost);
        tasks.spawn(adopt(Arc::clone(shared), swap, intent));
    }
    let mut result = Ok(());
    while let Some(joined) = tasks.join_next().await {
        match joined {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => result = Err(error.into()),
            // The swap stays open; the next engine asks the node again.
            Err(error) => result = Err(Halt::broke_down(&error)),
        }
    }
    result
}

/// What came of looking for a node that was lost.
pub(super) enum Reclaimed {
    /// It was not lost, or it has nothing of that swap any more.
    Nothing,
    /// It still does not answer; why.
    Away(String),
    /// It was there, and its transaction is through.
    Ended(End),
}

/// A swap whose node was lost in the middle of it: if the node answers again, its transaction is taken to its end. Nobody
/// else would do that where its runner is gone.
pub(super) async fn reclaim(shared: &Arc<Shared>, swap: &Swap) -> Result<Reclaimed, JournalError> {
    let Some(intent) = shared.log.intent(&swap.id).filter(|i| i.lost) else { return Ok(Reclaimed::Nothing) };
    let (Some(port), Ok(tx)) = (shared.ports.fleet.node(&swap.node), intent.tx.parse()) else {
        return Ok(Reclaimed::Nothing);
    };
    match patiently(BACK, || port.tx_state(&tx)).await {
        Ok(state) if !state.found => Ok(Reclaimed::Nothing),
        Ok(_) => adopt(Arc::clone(shared), swap.clone(), Some(intent)).await.map(Reclaimed::Ended),
        Err(error) => Ok(Reclaimed::Away(format!("the node still does not answer: {error}"))),
    }
}

/// The run is aborted: what is open in the journal alone, with nothing begun on its node, is called off there too.
pub(super) async fn call_off_the_rest(shared: &Shared) -> Result<(), JournalError> {
    let open: Vec<Swap> = shared.log.with(|run, _| run.in_flight().map(|s| run.planned(s).clone()).collect());
    for swap in &open {
        let Some(port) = shared.ports.fleet.node(&swap.node) else {
            let why = "the inventory does not know this node any more".into();
            fail(shared, &swap.id, &swap.node, why, false).await.map(drop)?;
            continue;
        };
        let intent = shared.log.intent(&swap.id).filter(|intent| !intent.lost);
        match left_behind(intent, port.as_ref()).await {
            None => call_off(shared, swap, port.as_ref(), ABORTED).await.map(drop)?,
            Some(why) => fail(shared, &swap.id, &swap.node, why, false).await.map(drop)?,
        }
    }
    Ok(())
}

/// Why a node that was left without the run lock may stand in between; none where its transaction never began there. To ask takes
/// no lock; to take it to its end would.
async fn left_behind(intent: Option<Intent>, port: &dyn NodePort) -> Option<String> {
    let tx = intent?.tx.parse().ok()?;
    let left = "the run was aborted without the run lock, so its node was left to itself";
    match patiently(BACK, || port.tx_state(&tx)).await {
        Ok(state) if !state.found => None,
        Ok(_) => Some(format!("{left}: it goes back by itself, unless it was committed before; look at it")),
        Err(error) => Some(format!("{left}, and it does not answer: {error}; look at it")),
    }
}

pub(super) async fn adopt(shared: Arc<Shared>, mut swap: Swap, intent: Option<Intent>) -> Result<End, JournalError> {
    let (id, name) = (swap.id.clone(), swap.node.clone());
    let (Some(node), Some(port)) = (shared.node(&name).cloned(), shared.ports.fleet.node(&name)) else {
        return fail(&shared, &id, &name, "the inventory does not know this node any more".into(), false).await;
    };
    let Some(intent) = intent else {
        // Only prepared: the node was not touched.
        return not_begun(&shared, &swap, port.as_ref()).await;
    };
    let Ok(tx) = intent.tx.parse() else {
        return fail(&shared, &id, &name, "the journal's transaction id is not valid".into(), false).await;
    };
    for change in &mut swap.changes {
        if let Some(old) = intent.olds.get(&change.component) {
            change.from_id.clone_from(old);
        }
    }
    let mut images = BTreeMap::new();
    for change in &swap.changes {
        // Without an answer the verdict goes by the image's name.
        if let Ok(Some(image)) = patiently(PATIENCE, || port.image_id(&change.to)).await {
            images.insert(change.component, image);
        }
    }
    let began = shared.log.with(|run, _| {
        let begun = run.swap(&id).and_then(|s| s.begun);
        begun.zip(run.now).map(|(from, to)| to.duration_since(from).unsigned_abs())
    });
    let (decided, standing) = match intent.verdict {
        Some((Verdict::Rollback, why)) => (Some(Verdict::Rollback), Some(why)),
        // Whether a commit arrived is the node's to say; if it did not, everything is looked at again.
        Some((Verdict::Commit, _)) => (Some(Verdict::Commit), None),
        None => (None, None),
    };
    let now = Instant::now();
    let mut visit = Visit {
        shared: Arc::clone(&shared),
        swap,
        node,
        port,
        tx,
        images,
        intended: began.and_then(|past| now.checked_sub(past)).unwrap_or(now),
        steps_told: intent.steps,
        blind: false,
        kept: String::new(),
        announced: intent.healthy,
        decided,
        missing: String::new(),
        probes: Probes::default(),
    };
    let followed = follow(&mut visit, standing).await?;
    if matches!(followed, Followed::Gone) {
        serve_again(&shared, &visit.node, &visit.swap).await?;
        return not_begun(&shared, &visit.swap, visit.port.as_ref()).await;
    }
    finish(&mut visit, followed).await
}

/// The node has no transaction. Prepared containers go; the swap is done from the start, unless the run is aborted or the
/// swap was commanded back.
async fn not_begun(shared: &Shared, swap: &Swap, port: &dyn NodePort) -> Result<End, JournalError> {
    if shared.wish() == Wish::Abort {
        return call_off(shared, swap, port, ABORTED).await;
    }
    if let Some(why) = undo::commanded(shared, swap) {
        return undo::tell_the_truth(shared, swap, port, &why).await;
    }
    discard(swap, port).await;
    // Left as it is in the journal: `Preparing` or `InFlight` without a transaction is done again.
    debug_assert!(shared.log.with(|run, _| run.swap(&swap.id).is_some_and(|s| s.state.open())));
    Ok(End::NotBegun)
}

/// Whether a swap is still to be done.
pub(super) fn to_do(run: &Run, swap: &Swap) -> bool {
    run.swap(&swap.id).is_some_and(|view| match view.state {
        // The control plane is never passed over: after a resume it is tried again.
        SwapState::RolledBack | SwapState::Failed => swap.bears_others(),
        state => state == SwapState::Waiting || state.open(),
    })
}
