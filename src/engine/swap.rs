//! One node's swap, from the first look to the result in the journal.

use super::finish::{fail, finish, serve_again};
use super::follow::{Followed, Refused, begin, follow};
use super::leave::{Left, lead_away};
use super::patience::patiently;
use super::prefetch::pull;
use super::probe::Probes;
use super::relook;
use super::resume::{Reclaimed, reclaim, to_do};
use super::shared::{Shared, Wish};
use super::undo;
use super::visit::{End, PATIENCE, Visit, containers};
use crate::fleet::{Component, Node};
use crate::journal::{Event, JournalError, Kept, Run};
use crate::k8s::ClusterError;
use crate::plan::Swap;
use crate::remote::{Look, NodePort, TxId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::time::Instant;

/// What the first look at a node came to.
pub(super) enum Before {
    /// As planned: the old ones run.
    Old,
    /// The new ones run and nothing is left over: there is nothing to do.
    New,
    /// Neither; why it must not be touched.
    Other(String),
}

/// Takes one node from old to new. An error means that the journal cannot be written; everything else is a result.
pub(super) async fn run(shared: Arc<Shared>, mut swap: Swap) -> Result<End, JournalError> {
    let (id, name) = (swap.id.clone(), swap.node.clone());
    match reclaim(&shared, &swap).await? {
        Reclaimed::Nothing => {}
        Reclaimed::Away(why) => return fail(&shared, &id, &name, why, false).await,
        Reclaimed::Ended(end) => return Ok(end),
    }
    if shared.fenced() {
        return Ok(End::NotBegun);
    }
    let event = Event::SwapPreparing { swap: id.clone(), node: name.clone() };
    let wanted = |run: &Run| match run.swap(&id) {
        Some(view) if view.undo.is_none() && to_do(run, &swap) => Ok(()),
        _ => Err(()),
    };
    if shared.log.write_if(event, wanted).await?.is_err() {
        // A command came before this one's turn: to leave the node as it is, or to take it back.
        if let Some(why) = undo::commanded(&shared, &swap) {
            return undo::settle(&shared, &swap, &why).await;
        }
        return Ok(End::NotBegun);
    }
    let (Some(node), Some(port)) = (shared.node(&name).cloned(), shared.ports.fleet.node(&name)) else {
        return fail(&shared, &id, &name, "the inventory does not know this node".into(), true).await;
    };
    if shared.log.kepts(|kepts| kepts.ever(&id)) {
        // The plan's old containers are gone: committed over once, or made anew by something else. An operator wants it done again.
        swap.changes.iter_mut().for_each(|change| change.from_id.clear());
    }
    let images = match prepare(&shared, &mut swap, port.as_ref()).await? {
        Ok(Ready::Old(images)) => images,
        Ok(Ready::New(kept)) => {
            let event = Event::ComponentsKept { swap: id.clone(), node: name.clone(), kept };
            shared.log.write(event).await?;
            let event = Event::SwapCommitted { swap: id, node: name, pods_checked: 0, pods_undisturbed: 0, ms: 0 };
            shared.log.write(event).await?;
            return Ok(End::Committed);
        }
        // It was left for want of the run lock: it stays open, and is done from the start once the lock is held.
        Err(_) if shared.fence.check().is_err() => return Ok(left_open(&shared)),
        Err(why) => return fail(&shared, &id, &name, why, true).await,
    };
    if shared.wish() == Wish::Abort {
        return call_off(&shared, &swap, port.as_ref(), ABORTED).await;
    }
    if let Some(why) = undo::commanded(&shared, &swap) {
        return call_off(&shared, &swap, port.as_ref(), &why).await;
    }
    match intend(&shared, swap, node, port, images).await? {
        Ok(mut visit) => carry_out(&mut visit).await,
        Err(end) => Ok(end),
    }
}

/// A node as it is before its swap.
enum Ready {
    /// The new containers are created; their images' ids.
    Old(BTreeMap<Component, String>),
    /// It is all new already; what runs there.
    New(BTreeMap<Component, Kept>),
}

/// Looks, fetches the images and creates the new containers.
async fn prepare(shared: &Shared, swap: &mut Swap, port: &dyn NodePort) -> Result<Result<Ready, String>, JournalError> {
    let names = containers(swap);
    let seen = match patiently(PATIENCE, || port.look(&names)).await {
        Ok(seen) => seen,
        Err(error) => return Ok(Err(error.to_string())),
    };
    match compare(swap, &seen) {
        Before::Old => name_the_old(swap, &seen),
        Before::New => return Ok(Ok(Ready::New(relook::keep(swap, &seen.running, &BTreeMap::new())))),
        Before::Other(why) => return Ok(Err(why)),
    }
    let mut images = BTreeMap::new();
    for change in &swap.changes {
        let id = match patiently(PATIENCE, || port.image_id(&change.to)).await {
            Ok(Some(id)) => id,
            Ok(None) => match pull(shared, &swap.node, port, &change.to).await? {
                Ok(id) => id,
                Err(why) => return Ok(Err(format!("image {} could not be pulled: {why}", change.to))),
            },
            Err(error) => return Ok(Err(error.to_string())),
        };
        images.insert(change.component, id);
    }
    if let Err(error) = patiently(PATIENCE, || port.prepare(&swap.changes)).await {
        // Some may have been created, this answer's among them if it was lost.
        discard(swap, port).await;
        return Ok(Err(error.to_string()));
    }
    Ok(Ok(Ready::Old(images)))
}

pub(super) fn compare(swap: &Swap, seen: &Look) -> Before {
    let mut new = 0;
    for change in &swap.changes {
        let name = &change.container;
        if let Some(left) = seen.leftovers.iter().find(|l| l.as_str() == name.prev()) {
            return Before::Other(format!("{left} is left over from a swap that did not end; look at the node"));
        }
        let Some(running) = seen.running.iter().find(|r| r.container == *name) else {
            return Before::Other(format!("container {name} is not there"));
        };
        if !running.running {
            return Before::Other(format!("container {name} does not run"));
        }
        if running.image == change.to && change.to != change.from {
            new += 1;
        } else if running.image != change.from {
            let (is, was) = (&running.image, &change.from);
            return Before::Other(format!("container {name} runs {is}, the plan says {was}; make a new plan"));
        } else if !change.from_id.is_empty() && running.id != change.from_id {
            return Before::Other(format!(
                "container {name} was made anew since the plan was; does something else (CKE) look after it?"
            ));
        }
    }
    if new == swap.changes.len() {
        let next = swap.changes.iter().map(|c| c.container.next());
        return match next.into_iter().find(|n| seen.leftovers.iter().any(|l| l.as_str() == *n)) {
            Some(left) => Before::Other(format!("the new ones run, but {left} is left over; look at the node")),
            None => Before::New,
        };
    }
    if new > 0 {
        return Before::Other(
            "some of its containers run the new image already, others do not; make a new plan".into(),
        );
    }
    Before::Old
}

/// Old containers that an earlier swap of this plan made have no name in the plan: they get that of what runs.
fn name_the_old(swap: &mut Swap, seen: &Look) {
    for change in swap.changes.iter_mut().filter(|c| c.from_id.is_empty()) {
        if let Some(running) = seen.running.iter().find(|r| r.container == change.container) {
            change.from_id.clone_from(&running.id);
        }
    }
}

/// Why a swap is called off when an abort came before its node was touched.
pub(super) const ABORTED: &str = "the run was aborted before the node was touched";

/// A command came before the node was touched.
pub(super) async fn call_off(
    shared: &Shared,
    swap: &Swap,
    port: &dyn NodePort,
    why: &str,
) -> Result<End, JournalError> {
    discard(swap, port).await;
    shared
        .log
        .write(Event::SwapRolledBack {
            swap: swap.id.clone(),
            node: swap.node.clone(),
            why: why.to_owned(),
            pods_checked: 0,
            pods_undisturbed: 0,
            ms: 0,
        })
        .await?;
    Ok(End::RolledBack)
}

/// Remembers the pods and writes the intent down. From here on the node may be in between.
async fn intend(
    shared: &Arc<Shared>,
    swap: Swap,
    node: Node,
    port: Arc<dyn NodePort>,
    images: BTreeMap<Component, String>,
) -> Result<Result<Visit, End>, JournalError> {
    let cluster = &shared.ports.cluster;
    let before = match patiently(PATIENCE, || cluster.pods(&node.name)).await {
        Ok(pods) => pods,
        Err(ClusterError::Credentials(why)) => {
            // The next one would fare no better: the run pauses, and this one is done from the start when it goes on.
            discard(&swap, port.as_ref()).await;
            shared.trouble(why);
            return Ok(Err(End::NotBegun));
        }
        Err(error) => {
            discard(&swap, port.as_ref()).await;
            let why = format!("its pods cannot be listed, so nothing could be proved: {error}");
            return fail(shared, &swap.id, &node.name, why, true).await.map(Err);
        }
    };
    if shared.fence.check().is_err() {
        return Ok(Err(left_open(shared)));
    }
    let attempt = shared.log.with(|run, _| run.swap(&swap.id).map_or(1, |s| s.attempts));
    let tx = TxId::new(&shared.run, &node.name, &swap.id, attempt);
    shared
        .log
        .write(Event::SwapIntended {
            swap: swap.id.clone(),
            node: node.name.clone(),
            tx: tx.to_string(),
            deadline_ms: swap.deadline_ms,
            olds: swap.changes.iter().map(|c| (c.component, c.from_id.clone())).collect(),
            pods: before,
        })
        .await?;
    Ok(Ok(Visit {
        shared: Arc::clone(shared),
        swap,
        node,
        port,
        tx,
        images,
        intended: Instant::now(),
        steps_told: 0,
        blind: false,
        kept: String::new(),
        announced: BTreeSet::new(),
        decided: None,
        missing: String::new(),
        probes: Probes::default(),
    }))
}

async fn carry_out(visit: &mut Visit) -> Result<End, JournalError> {
    let not_led = match lead_away(visit).await? {
        Left::But(not_led) => not_led,
        Left::CalledOff(why) => {
            serve_again(&visit.shared, &visit.node, &visit.swap).await?;
            return call_off(&visit.shared, &visit.swap, visit.port.as_ref(), &why).await;
        }
        Left::Not(_) if visit.shared.fence.check().is_err() => return Ok(left_open(&visit.shared)),
        Left::Not(why) => {
            discard(&visit.swap, visit.port.as_ref()).await;
            return fail(&visit.shared, &visit.swap.id, &visit.node.name, why, true).await;
        }
    };
    let stop_timeout = visit.swap.changes.iter().filter_map(|c| {
        let led_away = !not_led.contains(&c.component);
        visit.settings(c.component).map(|s| s.stop_timeout(led_away))
    });
    let stop_timeout_s = stop_timeout.max().unwrap_or(10);
    visit.probes = Probes::start(&visit.shared, &visit.port, visit.doors()).await;
    match begin(visit, stop_timeout_s).await {
        Ok(()) => {}
        Err(Refused::Fenced) => return Ok(left_open(&visit.shared)),
        Err(Refused::Node { error, unsure }) => {
            if !unsure {
                discard(&visit.swap, visit.port.as_ref()).await;
                serve_again(&visit.shared, &visit.node, &visit.swap).await?;
            }
            let why = format!("the swap did not begin: {error}");
            return fail(&visit.shared, &visit.swap.id, &visit.node.name, why, !unsure).await;
        }
    }
    match follow(visit, None).await? {
        Followed::Left => Ok(left_open(&visit.shared)),
        Followed::Gone => {
            // It was there when it began. Nobody but a person removes a transaction's folder.
            let why = format!("transaction {} is gone from the node; look at its containers", visit.tx);
            fail(&visit.shared, &visit.swap.id, &visit.node.name, why, false).await
        }
        followed => finish(visit, followed).await,
    }
}

/// The swap stays as it is for want of the run lock: it is open in the journal, and settled once the lock is held.
pub(super) fn left_open(shared: &Shared) -> End {
    shared.leave_open();
    End::NotBegun
}

/// Prepared containers that will not be used. A failure leaves one behind, which the next try removes.
pub(super) async fn discard(swap: &Swap, port: &dyn NodePort) {
    let names = containers(swap);
    if let Err(error) = patiently(PATIENCE, || port.discard(&names)).await {
        tracing::warn!("{}: prepared containers are left over: {error}", swap.node);
    }
}
