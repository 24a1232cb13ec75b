//! Conditions that must hold before the next wave, and before a master's swap about the *other* masters.

use super::conductor::{Halt, checkpoint, reopened};
use super::shared::Shared;
use super::verify::{gauge, healthy};
use super::world;
use crate::fleet::{Component, Node, NodeName, fold_names};
use crate::journal::{Event, JournalError};
use crate::plan::{Gate, Swap};
use futures::future::join_all;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Between two looks at a gate.
const LOOK: Duration = Duration::from_secs(1);

/// A gate's name in the journal.
fn title(gate: &Gate) -> &'static str {
    match gate {
        Gate::NodesReady => "nodes ready",
        Gate::EtcdHealthy => "etcd healthy",
        Gate::ApiserversReady => "API servers ready",
        Gate::Soak { .. } => "soak",
    }
}

/// Writes down what the run waits for: once for every change of the text.
#[derive(Debug, Default)]
pub(super) struct Waiting(Option<(String, String)>);

impl Waiting {
    pub(super) fn on(&mut self, shared: &Shared, gate: &str, why: &str, ms: Option<u64>) -> Result<(), JournalError> {
        let now = Some((gate.to_owned(), why.to_owned()));
        if self.0 == now {
            return Ok(());
        }
        self.0 = now;
        shared.log.tell(Event::GateWaiting { gate: gate.to_owned(), why: why.to_owned(), ms })
    }

    /// The wait is over, if there was one.
    pub(super) fn over(&mut self, shared: &Shared) -> Result<(), JournalError> {
        match self.0.take() {
            Some((gate, _)) => shared.log.tell(Event::GatePassed { gate }),
            None => Ok(()),
        }
    }
}

/// Waits until every gate holds; a soak runs while all the others hold, and from its start again when one did not.
pub(super) async fn pass(shared: &Arc<Shared>, gates: &[Gate]) -> Result<(), Halt> {
    let mut waiting = Waiting::default();
    let mut since: Option<Instant> = None;
    loop {
        checkpoint(shared).await?;
        if reopened(shared) {
            return Ok(waiting.over(shared)?);
        }
        match first_closed(shared, gates).await? {
            Some((gate, why)) => {
                since = None;
                waiting.on(shared, gate, &why, None)?;
            }
            None => {
                let soaks = gates.iter().filter(|g| !overridden(shared, g));
                let soak: u64 = soaks.filter_map(|g| if let Gate::Soak { ms } = g { Some(*ms) } else { None }).sum();
                let begun = *since.get_or_insert_with(Instant::now);
                let left = Duration::from_millis(soak).saturating_sub(begun.elapsed());
                if left.is_zero() {
                    waiting.over(shared)?;
                    return Ok(());
                }
                waiting.on(shared, "soak", "everything is watched for a while before going on", Some(soak))?;
            }
        }
        pause_or(shared, LOOK).await;
    }
}

/// Sleeps, but not past a command.
async fn pause_or(shared: &Shared, time: Duration) {
    let mut wishes = shared.wish.subscribe();
    tokio::select! {
        biased;
        () = sleep(time) => {}
        _ = wishes.changed() => {}
    }
}

/// Whether an operator decided to pass this gate of the present wave.
fn overridden(shared: &Shared, gate: &Gate) -> bool {
    shared.log.with(|run, _| run.overridden(title(gate)))
}

async fn first_closed(shared: &Shared, gates: &[Gate]) -> Result<Option<(&'static str, String)>, JournalError> {
    for gate in gates.iter().filter(|g| !overridden(shared, g)) {
        let closed = match gate {
            Gate::NodesReady => nodes_ready(shared).await?,
            Gate::EtcdHealthy => members(shared, Component::Etcd, None).await,
            Gate::ApiserversReady => members(shared, Component::KubeApiserver, None).await,
            Gate::Soak { .. } => Ok(()),
        };
        if let Err(why) = closed {
            return Ok(Some((title(gate), why)));
        }
    }
    Ok(None)
}

async fn nodes_ready(shared: &Shared) -> Result<Result<(), String>, JournalError> {
    let world = world::look(shared).await?;
    Ok(if world.api != Some(true) {
        Err("the cluster's API does not answer".into())
    } else if world.lost.is_empty() {
        Ok(())
    } else {
        Err(format!("NotReady: {}", fold_names(world.lost.iter().map(NodeName::as_str))))
    })
}

/// What must hold about the other masters before this one's swap: none is NotReady, and every other member of what the
/// plan moves on masters is well, so that a quorum stands while this one is away.
pub(super) async fn others(shared: &Shared, swap: &Swap) -> Result<Result<(), String>, JournalError> {
    let world = world::look(shared).await?;
    if world.api != Some(true) {
        return Ok(Err("the cluster's API does not answer".into()));
    }
    let away = shared.plan.cluster.masters().map(|n| &n.name).filter(|n| **n != swap.node);
    let away: Vec<&str> = away.filter(|n| world.not_ready.contains(*n)).map(NodeName::as_str).collect();
    if !away.is_empty() {
        return Ok(Err(format!("other masters are NotReady: {}", fold_names(away))));
    }
    for component in [Component::Etcd, Component::KubeApiserver] {
        if let Err(why) = members(shared, component, Some(&swap.node)).await {
            return Ok(Err(why));
        }
    }
    Ok(Ok(()))
}

/// Every member is well; for etcd: and has a leader.
async fn members(shared: &Shared, component: Component, except: Option<&NodeName>) -> Result<(), String> {
    let Some(settings) = shared.plan.components.get(&component) else { return Ok(()) };
    // A master that did not answer when the plan was made may be a member too: nothing moves while that is not known.
    let unknown = |n: &Node| n.reachable == Some(false);
    let members = shared.plan.cluster.masters().filter(|n| n.components.contains_key(&component) || unknown(n));
    let asked = members.filter(|n| Some(&n.name) != except).map(|node| async {
        let name = &node.name;
        let ill = |why: String| format!("{name}: {why}");
        let port = shared.ports.fleet.node(name).ok_or_else(|| ill("the inventory does not know it".into()))?;
        healthy(port.as_ref(), component, &settings.health).await.map_err(ill)?;
        if component == Component::Etcd
            && let Some(check) = &settings.version
        {
            let answer = port.ask(check).await.map_err(|e| ill(e.to_string()))?;
            // A gauge that is not there says nothing; one that is zero says that there is no leader.
            if gauge(&answer, "etcd_server_has_leader") == Some(0.0) {
                return Err(ill("this etcd member sees no leader".into()));
            }
        }
        Ok(())
    });
    join_all(asked).await.into_iter().collect()
}

/// The node of etcd's leader, asked afresh; `None` when none says that it leads.
pub(super) async fn etcd_leader(shared: &Shared) -> Option<NodeName> {
    let check = shared.plan.components.get(&Component::Etcd)?.version.as_ref()?;
    let members = shared.plan.cluster.masters().filter(|n| n.components.contains_key(&Component::Etcd));
    let asked = members.map(|node| async {
        let answer = shared.ports.fleet.node(&node.name)?.ask(check).await.ok()?;
        (gauge(&answer, "etcd_server_is_leader") == Some(1.0)).then(|| node.name.clone())
    });
    join_all(asked).await.into_iter().flatten().next()
}
