//! Conditions that must hold before the next wave, and before a master's swap about the *other* masters.

use super::conductor::{Halt, checkpoint, reopened};
use super::members::members;
use super::proving::{PODS, PROVED, ProofGate, compare_wave};
use super::relook::{COMPONENTS, Scope, look};
use super::shared::Shared;
use super::waiting::Waiting;
use super::world;
use crate::fleet::{Component, ContainerName, GateName, NodeName, fold_names};
use crate::journal::JournalError;
use crate::plan::{Gate, OwnGate, Swap};
use futures::future::join_all;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Between two looks at a gate.
const LOOK: Duration = Duration::from_secs(1);

/// A gate's name in the journal.
fn title(gate: &Gate) -> &str {
    match gate {
        Gate::NodesReady => "nodes ready",
        Gate::EtcdHealthy => "etcd healthy",
        Gate::ApiserversReady => "API servers ready",
        Gate::Soak { .. } => "soak",
        Gate::PodsProved { .. } => PROVED,
        Gate::Own(own) => own.name.as_str(),
    }
}

/// How long a gate may be closed before the run pauses.
fn limit(shared: &Shared, gate: &Gate) -> Duration {
    match gate {
        Gate::Own(own) => Duration::from_millis(own.timeout_ms),
        _ => shared.gate_timeout(),
    }
}

/// Waits until every gate holds; a soak runs while all the others hold, and from its start again when one did not. Pods are proved
/// meanwhile; what of that takes longer is waited for after the soak. Then the pods of the wave's nodes are compared once more.
pub(super) async fn pass(shared: &Arc<Shared>, gates: &[Gate]) -> Result<(), Halt> {
    let mut waiting = Waiting::default();
    let mut answers = Answers::default();
    let mut since: Option<Instant> = None;
    let mut all_seen = false;
    let mut proof = ProofGate::default();
    let mut asked_again = shared.log.with(|run, _| run.asked_again);
    loop {
        checkpoint(shared).await?;
        if reopened(shared) {
            return Ok(waiting.over(shared)?);
        }
        let again = shared.log.with(|run, _| run.asked_again);
        if std::mem::replace(&mut asked_again, again) != again {
            answers = Answers::default();
        }
        // What an operator decided to pass over is not asked.
        let gates: Vec<&Gate> = gates.iter().filter(|g| !overridden(shared, title(g))).collect();
        let soak = gates.iter().map(|g| if let Gate::Soak { ms } = g { *ms } else { 0 }).sum();
        let soak = Duration::from_millis(soak);
        // What an operator's gate said before the soak says nothing about its end.
        let own =
            gates.iter().filter_map(|g| if let Gate::PodsProved { own, .. } = g { Some(*own) } else { None }).max();
        let unproved = |own| super::proving::unproved(shared, own).is_some();
        let last = since.is_some_and(|begun| begun.elapsed() >= soak) && !own.is_some_and(unproved);
        match first_closed(shared, &gates, &mut answers, &mut waiting, (since.is_some(), last)).await? {
            Look::Interrupted => continue,
            Look::Closed(gate, why) => {
                since = None;
                waiting.closed(shared, title(gate), &why, limit(shared, gate))?;
            }
            Look::Open => {
                // Before the soak and after it everything that was committed, in between the wave's own nodes.
                let scope = if all_seen && !last { Scope::Wave } else { Scope::All };
                let looked = if overridden(shared, COMPONENTS) { Ok(()) } else { look(shared, scope).await? };
                if let Err(why) = looked {
                    (since, all_seen) = (None, false);
                    waiting.closed(shared, COMPONENTS, &why, shared.gate_timeout())?;
                    pause_or(shared, LOOK).await;
                    continue;
                }
                all_seen = true;
                waiting.held(COMPONENTS);
                if shared.must_pause() {
                    continue;
                }
                let now = Instant::now();
                let left = soak.saturating_sub(now - *since.get_or_insert(now));
                if !left.is_zero() {
                    let ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
                    waiting.on(shared, "soak", "everything is watched for a while before going on", Some(ms))?;
                } else if let Some(own) = own
                    && !proof.holds(shared, &mut waiting, own)?
                {
                    // The proof goes on by itself.
                } else if (soak.is_zero() && own.is_none()) || overridden(shared, PODS) {
                    waiting.over(shared)?;
                    return Ok(());
                } else {
                    match compare_wave(shared).await? {
                        // What was disturbed is in the journal, and for the budget to judge.
                        Ok(()) => {
                            waiting.over(shared)?;
                            return Ok(());
                        }
                        Err(why) => waiting.closed(shared, PODS, &why, shared.gate_timeout())?,
                    }
                }
            }
        }
        pause_or(shared, LOOK).await;
    }
}

/// Sleeps, but not past a command.
pub(super) async fn pause_or(shared: &Shared, time: Duration) {
    let mut wishes = shared.wish.subscribe();
    tokio::select! {
        biased;
        () = sleep(time) => {}
        _ = wishes.changed() => {}
    }
}

/// Whether an operator decided to pass this gate of the present wave.
fn overridden(shared: &Shared, gate: &str) -> bool {
    shared.log.with(|run, _| run.overridden(gate))
}

/// What a look at all gates came to.
enum Look<'a> {
    /// Every one holds.
    Open,
    /// The first that does not, and why.
    Closed(&'a Gate, String),
    /// A command came first.
    Interrupted,
}

/// Looks at the gates in their order; those of the operator's own come after the cluster's. With `soaking` it is not news
/// that one is asked again; with `last` every one is.
async fn first_closed<'a>(
    shared: &Shared,
    gates: &[&'a Gate],
    answers: &mut Answers,
    waiting: &mut Waiting,
    (soaking, last): (bool, bool),
) -> Result<Look<'a>, JournalError> {
    for gate in gates {
        let closed = match gate {
            Gate::NodesReady => nodes_ready(shared).await?,
            Gate::EtcdHealthy => members(shared, Component::Etcd, None).await,
            Gate::ApiserversReady => members(shared, Component::KubeApiserver, None).await,
            Gate::Soak { .. } | Gate::PodsProved { .. } | Gate::Own(_) => continue,
        };
        match closed {
            Ok(()) => waiting.held(title(gate)),
            Err(why) => return Ok(Look::Closed(gate, why)),
        }
    }
    if !answers.ask(shared, gates, waiting, (soaking, last)).await? {
        return Ok(Look::Interrupted);
    }
    for gate in gates {
        let Gate::Own(own) = gate else { continue };
        match answers.of(own) {
            Ok(()) => waiting.held(title(gate)),
            Err(why) => return Ok(Look::Closed(gate, why)),
        }
    }
    Ok(Look::Open)
}

/// What the operator's gates answered last, and when.
#[derive(Default)]
struct Answers(HashMap<GateName, (Instant, Result<(), String>)>);

impl Answers {
    fn due(&self, gate: &OwnGate, last: bool) -> bool {
        let interval = if last { LOOK } else { Duration::from_millis(gate.interval_ms) };
        self.0.get(&gate.name).is_none_or(|(at, _)| at.elapsed() >= interval)
    }

    fn of(&self, gate: &OwnGate) -> Result<(), String> {
        self.0.get(&gate.name).map_or(Err("it was not asked yet".into()), |(_, answer)| answer.clone())
    }

    /// Asks those whose time it is, all at once. False when a command came first: what was asked is given up then.
    async fn ask(
        &mut self,
        shared: &Shared,
        gates: &[&Gate],
        waiting: &mut Waiting,
        (soaking, last): (bool, bool),
    ) -> Result<bool, JournalError> {
        let own = gates.iter().filter_map(|g| if let Gate::Own(own) = g { Some(own.as_ref()) } else { None });
        let due: Vec<&OwnGate> = own.filter(|gate| self.due(gate, last)).collect();
        let Some(first) = due.first() else { return Ok(true) };
        let mut wishes = shared.wish.subscribe();
        let asked = join_all(due.iter().map(|gate| async {
            let answer = shared.ports.asker.ask(gate, &shared.folder).await;
            (gate.name.clone(), (Instant::now(), answer))
        }));
        let mut asked = std::pin::pin!(asked);
        loop {
            let silent = !soaking && !due.iter().any(|gate| waiting.tells_of(gate.name.as_str()));
            tokio::select! {
                biased;
                answers = &mut asked => {
                    self.0.extend(answers);
                    return Ok(true);
                }
                _ = wishes.changed() => return Ok(false),
                () = sleep(LOOK), if silent => {
                    let why = format!("it is asked for the first time: {}", first.question.words());
                    waiting.closed(shared, first.name.as_str(), &why, Duration::from_millis(first.timeout_ms))?;
                }
            }
        }
    }
}

async fn nodes_ready(shared: &Shared) -> Result<Result<(), String>, JournalError> {
    let world = world::look(shared).await?;
    Ok(if let Some(why) = world.silent() {
        Err(why)
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
    if let Some(why) = world.silent() {
        return Ok(Err(why));
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
    Ok(set_aside(shared, swap).await)
}

/// Whether no other master is in the middle of a swap: one of another run, whose lock ran out, may be followed by nobody and
/// goes back by itself when its switch says so.
async fn set_aside(shared: &Shared, swap: &Swap) -> Result<(), String> {
    let names: Vec<ContainerName> = shared.plan.components.values().map(|s| s.container.clone()).collect();
    let others = shared.plan.cluster.masters().map(|n| &n.name).filter(|n| **n != swap.node);
    let looks = others.filter_map(|name| Some((name, shared.ports.fleet.node(name)?))).map(|(name, port)| {
        let names = &names;
        async move {
            let seen = port.look(names).await.map_err(|error| error.to_string())?;
            match seen.leftovers.iter().find(|left| left.as_str().ends_with(".sonoba-prev")) {
                Some(left) => Err(format!("{name}: {left} is there, so a swap is under way, or was left unfinished")),
                None => Ok(()),
            }
        }
    });
    join_all(looks).await.into_iter().collect()
}
