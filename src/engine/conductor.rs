//! Walks the plan: phases, waves, gates. Everything that it knows of the past it reads from the folded journal, so that it
//! does not matter which engine wrote it.

use super::endpoints::put_back_first;
use super::error::EngineError;
use super::fence::Standing;
use super::finish::fail;
use super::gates;
use super::members::etcd_leader;
use super::order::{alone, moves_etcd, room};
use super::prefetch::prefetch;
use super::proving::LastLook;
use super::relook::{COMPONENTS, Scope, look};
use super::resume::{settle, to_do};
use super::shared::{Shared, Wish};
use super::snapshot;
use super::swap;
use super::undo;
use super::visit::End;
use super::waiting::Waiting;
use crate::fleet::{NodeName, fold_names};
use crate::journal::{Event, JournalError, Outcome, PauseReason, ROOM, Run, RunState, SwapState, SwapView};
use crate::plan::{PhaseKind, Swap};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::sleep;

/// How often a swap that must wait is looked at again, when nothing else happens.
const LOOK: Duration = Duration::from_secs(1);

/// Why the walk ends before its end.
#[derive(Debug)]
pub(super) enum Halt {
    /// The run was aborted.
    Abort,
    /// The process is to end.
    Leave,
    /// The engine cannot go on.
    Engine(EngineError),
}

impl From<JournalError> for Halt {
    fn from(error: JournalError) -> Halt {
        Halt::Engine(error.into())
    }
}

impl Halt {
    /// A task that panicked: a fault of ours.
    pub(super) fn broke_down(error: &JoinError) -> Halt {
        Halt::Engine(EngineError::Refused(format!("sonoba itself broke down: {error}; engine.log says where")))
    }
}

/// Walks what is left of the plan: the first wave that is not through, again and again. A retry makes one of them be not
/// through any more, wherever the walk stands.
pub(super) async fn walk(shared: &Arc<Shared>) -> Result<(), Halt> {
    let mut waiting = Waiting::default();
    let mut last_look = LastLook::default();
    loop {
        checkpoint(shared).await?;
        let next = shared.log.with(|run, _| (0..shared.plan.phases.len()).find(|p| !run.phases_done.contains(p)));
        let Some((p, phase)) = next.and_then(|p| Some((p, shared.plan.phases.get(p)?))) else {
            if !last_look.over(shared).await? {
                gates::pause_or(shared, LOOK).await;
                continue;
            }
            // Whatever the last wave brought is still to be answered for, and so is a command that came just now.
            match look(shared, Scope::All).await? {
                Ok(()) => waiting.over(shared)?,
                Err(why) => {
                    waiting.on(shared, COMPONENTS, &why, None)?;
                    sleep(LOOK).await;
                    continue;
                }
            }
            if shared.close().await {
                return Ok(());
            }
            continue;
        };
        // A retry came: what it does is looked at again.
        last_look = LastLook::default();
        if shared.log.with(|run, _| run.phase) != Some(p) {
            shared.log.write(Event::PhaseBegun { phase: p }).await?;
        }
        prefetch(shared, &phase.pulls).await?;
        let left: Vec<usize> = shared.log.with(|run, _| undone(run, p, phase.waves.len()).collect());
        if left.is_empty() {
            let through = |run: &Run| undone(run, p, phase.waves.len()).next().map_or(Ok(()), |_| Err(()));
            // Where a retry came just now, its wave is next.
            let _ = shared.log.write_if(Event::PhaseEnded { phase: p }, through).await?;
            continue;
        }
        if let Some(missing) = snapshot::missing(shared, phase) {
            snapshot::take(shared, missing).await?;
            continue;
        }
        let next = if phase.kind == PhaseKind::Etcd { leader_last(shared, p, &left).await } else { 0 };
        if let Some(w) = left.get(next) {
            wave(shared, p, *w).await?;
        }
    }
}

/// The waves of a phase that are not through.
fn undone(run: &Run, p: usize, waves: usize) -> impl Iterator<Item = usize> {
    (0..waves).filter(move |w| !run.waves_done.contains_key(&(p, *w)))
}

/// Whether a wave before this one is to be done first: one that was through, and is no longer.
fn turned_back(shared: &Shared, run: &Run, p: usize, w: usize) -> bool {
    // etcd's waves are taken as its leader allows, not as they are written.
    let in_order = shared.plan.phases.get(p).is_some_and(|phase| phase.kind != PhaseKind::Etcd);
    (0..p).any(|q| !run.phases_done.contains(&q)) || (in_order && undone(run, p, w).next().is_some())
}

/// Whether the present wave's gates can wait: it has swaps to do again, or a wave before it has.
pub(super) fn reopened(shared: &Shared) -> bool {
    shared.log.with(|run, _| {
        let Some((p, w)) = run.phase.zip(run.wave) else { return false };
        let wave = shared.plan.phases.get(p).and_then(|phase| phase.waves.get(w));
        turned_back(shared, run, p, w) || wave.is_some_and(|wave| wave.swaps.iter().any(|s| to_do(run, s)))
    })
}

/// The place in `left` of the wave to take next: the first without the present leader of etcd, whose turn comes last even
/// if the plan knew another.
async fn leader_last(shared: &Shared, p: usize, left: &[usize]) -> usize {
    if left.len() < 2 {
        return 0;
    }
    // An engine before this one may have taken one up already: two are never open at once.
    let open = shared.log.with(|run, _| {
        let opened = |w: usize| run.swaps.iter().any(|s| (s.phase, s.wave) == (p, w) && s.state.open());
        left.iter().position(|w| opened(*w))
    });
    if let Some(open) = open {
        return open;
    }
    let Some(leader) = etcd_leader(shared).await else { return 0 };
    let leads = |w: usize| {
        let wave = shared.plan.phases.get(p).and_then(|phase| phase.waves.get(w));
        wave.is_some_and(|wave| wave.swaps.iter().any(|s| s.node == leader && to_be_done(shared, s)))
    };
    left.iter().position(|w| !leads(*w)).unwrap_or(0)
}

fn to_be_done(shared: &Shared, swap: &Swap) -> bool {
    shared.log.with(|run, _| to_do(run, swap))
}

/// Swaps in flight.
#[derive(Default)]
struct Flight {
    tasks: JoinSet<Result<End, JournalError>>,
    swaps: HashMap<Id, Swap>,
}

impl Flight {
    fn start(&mut self, shared: &Arc<Shared>, swap: &Swap) {
        let id = self.tasks.spawn(swap::run(Arc::clone(shared), swap.clone())).id();
        self.swaps.insert(id, swap.clone());
    }

    fn list(&self) -> Vec<Swap> {
        self.swaps.values().cloned().collect()
    }

    /// The next swap that is through.
    async fn next(&mut self, shared: &Shared) -> Result<(), JournalError> {
        match self.tasks.join_next_with_id().await {
            Some(Ok((id, result))) => {
                self.swaps.remove(&id);
                result.map(drop)
            }
            Some(Err(error)) => {
                let Some(swap) = self.swaps.remove(&error.id()) else { return Ok(()) };
                let why =
                    format!("sonoba itself broke down at this swap: {error}; without a verdict the node rolls back");
                fail(shared, &swap.id, &swap.node, why, false).await.map(drop)
            }
            None => Ok(()),
        }
    }
}

/// Runs one wave and passes its gates.
async fn wave(shared: &Arc<Shared>, p: usize, w: usize) -> Result<(), Halt> {
    let Some(wave) = shared.plan.phases.get(p).and_then(|phase| phase.waves.get(w)) else { return Ok(()) };
    checkpoint(shared).await?;
    if shared.log.with(|run, _| (run.phase, run.wave)) != (Some(p), Some(w)) {
        shared.log.write(Event::WaveBegun { phase: p, wave: w }).await?;
    }
    let mut flight = Flight::default();
    let mut waiting = Waiting::default();
    let mut wishes = shared.wish.subscribe();
    loop {
        let wish = *wishes.borrow_and_update();
        let held = wish != Wish::Run || shared.must_pause() || shared.fenced() || undo::pending(shared);
        if held && flight.swaps.is_empty() {
            checkpoint(shared).await?;
            continue;
        }
        let away = shared.log.with(|run, _| turned_back(shared, run, p, w));
        if away && flight.swaps.is_empty() {
            // The walk comes back to what is left here.
            return Ok(waiting.over(shared)?);
        }
        let mut todo: Vec<&Swap> = wave.swaps.iter().filter(|s| to_be_done(shared, s)).collect();
        todo.retain(|s| flight.swaps.values().all(|f| f.id != s.id));
        if todo.is_empty() && flight.swaps.is_empty() {
            break;
        }
        if !held && !away {
            if todo.len() > 1 && todo.iter().any(|s| moves_etcd(s)) {
                let leader = etcd_leader(shared).await;
                let open = |s: &Swap| shared.log.with(|run, _| run.swap(&s.id).is_some_and(|s| s.state.open()));
                todo.sort_by_key(|s| (!open(s), moves_etcd(s) && Some(&s.node) == leader.as_ref()));
            }
            let blocked = match start_some(shared, p, w, &todo, &mut flight).await {
                Ok(blocked) => blocked,
                Err(error) => return Err(land(shared, flight, error).await),
            };
            match blocked {
                Some(why) if flight.swaps.is_empty() => {
                    waiting.closed(shared, ROOM, &why, shared.gate_timeout())?;
                }
                _ => waiting.over(shared)?,
            }
        }
        let idle = flight.swaps.is_empty();
        tokio::select! {
            biased;
            result = flight.next(shared), if !idle => {
                if let Err(error) = result {
                    return Err(land(shared, flight, error).await);
                }
            }
            _ = wishes.changed() => {}
            () = sleep(LOOK) => {}
        }
    }
    waiting.over(shared)?;
    gates::pass(shared, &wave.gates).await?;
    if !reopened(shared) {
        let through = |run: &Run| if wave.swaps.iter().any(|s| to_do(run, s)) { Err(()) } else { Ok(()) };
        // Where a retry came just now, the walk takes this wave up again.
        let _ = shared.log.write_if(Event::WaveEnded { phase: p, wave: w }, through).await?;
    }
    Ok(())
}

/// Starts whatever may start now. Why something may not, if there is such a thing.
async fn start_some(
    shared: &Arc<Shared>,
    p: usize,
    w: usize,
    todo: &[&Swap],
    flight: &mut Flight,
) -> Result<Option<String>, JournalError> {
    let Some(wave) = shared.plan.phases.get(p).and_then(|phase| phase.waves.get(w)) else { return Ok(None) };
    let mut blocked = None;
    if let Some(why) = shared.world.borrow().silent() {
        return Ok(Some(why));
    }
    if let Some(why) = shared.log.with(|run, _| adrift_below(run, p)) {
        return Ok(Some(why));
    }
    for swap in todo {
        if let Err(why) = room(shared, wave, swap, &flight.list()) {
            blocked.get_or_insert(why);
            continue;
        }
        if alone(shared, swap) {
            let asked = gates::others(shared, swap).await?;
            // A command may have come while the others were asked.
            if shared.wish() != Wish::Run {
                return Ok(None);
            }
            if let Err(why) = asked {
                // The order of masters is the plan's: the next is not taken in its place.
                blocked.get_or_insert(format!("before {}: {why}", swap.node));
                break;
            }
        }
        flight.start(shared, swap);
    }
    Ok(blocked)
}

/// What a later phase rests upon and is not there any more: a control plane that was committed before this phase and drifted
/// may be older than what would be put on the nodes now.
fn adrift_below(run: &Run, p: usize) -> Option<String> {
    let adrift = |s: &&SwapView| s.state == SwapState::Drifted && s.phase < p && run.planned(s).bears_others();
    let below = run.swaps.iter().find(adrift)?;
    Some(format!("{}: {}; what comes now rests upon it: retry it, or abort", below.node, below.why))
}

/// The journal cannot be written: nothing new starts, what is in flight comes to its verdict where it can.
async fn land(shared: &Shared, mut flight: Flight, error: JournalError) -> Halt {
    tracing::error!("{error}; nothing new starts");
    while !flight.swaps.is_empty() {
        let _ = flight.next(shared).await;
    }
    error.into()
}

/// To be passed whenever nothing is in flight: settles what was left open for want of the run lock, takes back what was
/// commanded back, and stands still while the lock is not held, or the run is paused or must pause by itself.
pub(super) async fn checkpoint(shared: &Arc<Shared>) -> Result<(), Halt> {
    // What the journal calls a pause is one for want of the lock: with the lock it is over, or another's.
    let mut for_the_lock = false;
    loop {
        if shared.fenced() {
            ends(shared.wish())?;
            for_the_lock |= hold_for_the_lock(shared).await?;
            continue;
        }
        undo::carry_out(shared).await?;
        let wish = shared.wish();
        ends(wish)?;
        let paused = shared.log.with(|run, _| matches!(run.state, RunState::Paused(_)));
        let (reason, why) = match shared.pause_cause() {
            Some(cause) => cause,
            None if wish == Wish::Pause => (PauseReason::Operator, shared.paused_by()),
            None => {
                if paused {
                    shared.log.write(Event::Resumed).await?;
                }
                return Ok(());
            }
        };
        shared.hold();
        // An engine that took a paused run up finds it so in the journal already.
        if !paused || std::mem::take(&mut for_the_lock) {
            shared.log.write(Event::Paused { reason, why }).await?;
        }
        let mut wishes = shared.wish.subscribe();
        let moves = |wish: &Wish| *wish != Wish::Pause || undo::pending(shared) || shared.fenced();
        if wishes.wait_for(moves).await.is_err() {
            return Err(Halt::Leave);
        }
        if shared.wish() == Wish::Run && !shared.fenced() {
            shared.log.write(Event::Resumed).await?;
        }
    }
}

fn ends(wish: Wish) -> Result<(), Halt> {
    match wish {
        Wish::Abort => Err(Halt::Abort),
        Wish::Leave => Err(Halt::Leave),
        Wish::Run | Wish::Pause => Ok(()),
    }
}

/// The run lock is not held, or was not: waits for the next news of it, or settles what was left open once it is held again.
/// Whether a pause was written down.
async fn hold_for_the_lock(shared: &Arc<Shared>) -> Result<bool, Halt> {
    let standing = shared.fence.standing();
    let Some(why) = standing.cause() else {
        if shared.fence.check().is_err() {
            // Only a moment: the engine was stopped, and asks.
            shared.fence.next_answer(LOOK).await;
            if shared.fence.check().is_err() {
                gates::pause_or(shared, LOOK).await;
            }
        } else if shared.take_left_open() {
            put_back_first(shared).await?;
            settle(shared).await?;
        }
        return Ok(false);
    };
    if !matches!(standing, Standing::Unsure(_)) {
        // Nodes may have gone back by themselves, and addresses may be out.
        shared.leave_open();
    }
    let told = shared.log.with(|run, _| matches!(run.state, RunState::Paused(PauseReason::Trouble)) && run.why == why);
    if !told {
        shared.log.write(Event::Paused { reason: PauseReason::Trouble, why }).await?;
    }
    // Whatever changes about the lock wakes it, and so does a command.
    gates::pause_or(shared, LOOK).await;
    Ok(!told)
}

/// How a run that was walked to its end came out, in a word and in a sentence.
pub(super) fn outcome(shared: &Shared) -> (Outcome, String) {
    shared.log.with(|run, _| {
        let nodes = |pick: &dyn Fn(SwapState) -> bool| -> Vec<&NodeName> {
            run.swaps.iter().filter(|s| pick(s.state)).map(|s| &s.node).collect()
        };
        let skipped = nodes(&|state| state == SwapState::Skipped);
        let drifted = nodes(&|state| state == SwapState::Drifted);
        let left = nodes(&|state| !matches!(state, SwapState::Committed | SwapState::Skipped | SwapState::Drifted));
        let by_decision = match skipped.len() {
            0 => String::new(),
            n => format!("{n} of {} swaps skipped by decision: {}", run.swaps.len(), fold(&skipped)),
        };
        // Nobody may call new and healthy what was not seen so at the end.
        let unseen = shared.memory.unseen();
        let mut wrong = Vec::new();
        if !left.is_empty() {
            wrong.push(format!("{} of {} swaps are not committed: {}", left.len(), run.swaps.len(), fold(&left)));
        }
        if let Some(first) = run.drifts.values().next().filter(|_| !drifted.is_empty()) {
            let more = if drifted.len() > 1 {
                format!(" ({} in all: {})", drifted.len(), fold(&drifted))
            } else {
                String::new()
            };
            wrong.push(format!("not what was committed any more: {}: {}{more}", first.node, first.why));
        }
        if !unseen.is_empty() {
            let unseen: Vec<&NodeName> = unseen.iter().collect();
            wrong.push(format!(
                "{} could not be looked at again at the end, so what runs there is not known",
                fold(&unseen)
            ));
        }
        if wrong.is_empty() {
            let back = run.plan.rollback_of.is_some();
            return (if back { Outcome::RolledBack } else { Outcome::Completed }, by_decision);
        }
        wrong.extend((!by_decision.is_empty()).then_some(by_decision));
        (Outcome::Failed, wrong.join("; "))
    })
}

fn fold(nodes: &[&NodeName]) -> String {
    fold_names(nodes.iter().map(|n| n.as_str()))
}
