//! From the moment a node has its transaction to the transaction's end: follow its steps, find the verdict, give it.

use super::fence::Standing;
use super::shared::Wish;
use super::undo;
use super::verify::{Finding, Verifier};
use super::visit::Visit;
use crate::journal::{Event, JournalError, Run, RunState, Step, Verdict};
use crate::remote::{Fence, NodeError, TxState};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Between two questions to the node.
const POLL: Duration = Duration::from_millis(150);
/// A node that is silent for its deadline and this long has either rolled itself back or cannot be helped from here.
const SILENCE: Duration = Duration::from_secs(120);
/// Between two wishes that the node take over a transaction whose runner is gone.
const RECOVER_EVERY: Duration = Duration::from_secs(2);
/// So long the run lock is waited for where a node did not believe in it.
const ASK_ANEW: Duration = Duration::from_secs(10);
/// Wishes that the node was asked and that left it without an end. A runner that dies so often will not come through.
const RECOVERIES: u32 = 5;

/// How following a transaction came to its end.
pub(super) enum Followed {
    /// The node says how the transaction ended.
    Ended(TxState),
    /// The node has no such transaction.
    Gone,
    /// The node answers, but its runner dies again and again; why.
    Stuck(String),
    /// The node does not answer any more.
    Lost(String),
    /// The run lock is not held, and without it nothing can be done for the node: its own switch decides.
    Left,
}

/// Follows the visit's transaction to its end. `standing` is a rollback that was decided before.
pub(super) async fn follow(visit: &mut Visit, standing: Option<String>) -> Result<Followed, JournalError> {
    let mut verifier = Verifier::default();
    let mut rollback = standing;
    let mut heard = Instant::now();
    // The node must have come to an end this long after its first stop, whatever goes on there.
    let mut from = heard;
    let mut stopping = false;
    let mut recovered: Option<Instant> = None;
    let mut recoveries = 0;
    let mut refusal = String::new();
    loop {
        let state = match visit.port.tx_state(&visit.tx).await {
            Ok(state) => state,
            Err(error) => {
                // Whatever the error is, the node goes on by itself and only the node knows how it ends.
                if heard.elapsed() > visit.deadline() + SILENCE {
                    return Ok(Followed::Lost(error.to_string()));
                }
                sleep(POLL * 3).await;
                continue;
            }
        };
        heard = Instant::now();
        let told = Told { uptime_ms: state.uptime_ms, at: visit.shared.fence.now() };
        if !state.found {
            return Ok(Followed::Gone);
        }
        tell_steps(visit, &state)?;
        if state.end.is_some() {
            return Ok(Followed::Ended(state));
        }
        if !stopping && state.steps.iter().any(|s| s.step == Step::Stopping) {
            (stopping, from) = (true, heard);
        }
        if from.elapsed() > visit.deadline() + SILENCE {
            if visit.shared.fence.check().is_err() {
                return Ok(Followed::Left);
            }
            return Ok(Followed::Stuck(overdue(visit, &state)));
        }
        if !state.alive && matches!(visit.shared.fence.standing(), Standing::Lapsed(_) | Standing::Lost(_)) {
            return Ok(Followed::Left);
        }
        if !state.alive {
            if recovered.is_none_or(|at| at.elapsed() > RECOVER_EVERY) {
                if recoveries == RECOVERIES {
                    return Ok(Followed::Stuck(stuck(visit, &state, &refusal)));
                }
                recovered = Some(Instant::now());
                let asked = match told.right(visit) {
                    Ok(fence) => visit.port.recover(&visit.tx, &fence).await,
                    Err(error) => Err(error),
                };
                match asked {
                    Ok(()) => recoveries += 1,
                    // It is asked again once the lock is held.
                    Err(error @ NodeError::Fenced { .. }) => visit.shared.fence.refused(&error),
                    Err(error) => {
                        tracing::warn!("{}: {error}", visit.node.name);
                        // A wish that was lost on the way is not the node's failure.
                        recoveries += u32::from(!error.transient());
                        refusal = error.to_string();
                    }
                }
            }
        } else if state.verdict.is_none() {
            if rollback.is_none() && *visit.shared.wish.borrow() == Wish::Abort {
                rollback = Some("the run was aborted".into());
            }
            if rollback.is_none() {
                rollback = undo::commanded(&visit.shared, &visit.swap);
            }
            if let Some(why) = &rollback {
                decide(visit, Verdict::Rollback, why.clone(), told).await?;
            } else if state.steps.iter().any(|s| s.step == Step::Waiting) {
                match verifier.look(visit, &state).await? {
                    Finding::Healthy => decide(visit, Verdict::Commit, visit.kept.clone(), told).await?,
                    Finding::Broken(why) => rollback = Some(why),
                    Finding::NotYet(why) => {
                        tracing::debug!("{}: {why}", visit.node.name);
                        visit.missing = why;
                    }
                }
            }
        }
        sleep(POLL).await;
    }
}

/// What a person must know of a node that works on and does not come to an end.
fn overdue(visit: &Visit, state: &TxState) -> String {
    let limit = (visit.deadline() + SILENCE).as_secs();
    let mut why = format!("transaction {} did not come to an end within {limit} s; the node still tries", visit.tx);
    if let Some(last) = state.steps.last() {
        let of = if last.container.is_empty() { String::new() } else { format!(" of {}", last.container) };
        why = format!("{why}; its last step: {}{of}", last.step.word());
    }
    if state.why.is_empty() { why } else { format!("{why}: {}", state.why) }
}

/// What a person must know of a node that cannot finish its transaction.
fn stuck(visit: &Visit, state: &TxState, refusal: &str) -> String {
    let mut why = format!(
        "transaction {} took a runner {RECOVERIES} times and did not come to its end; look at the node",
        visit.tx
    );
    for said in [state.why.as_str(), refusal] {
        if !said.is_empty() {
            why = format!("{why}: {said}");
        }
    }
    why
}

/// What a node said of its clock, and when that was heard by the engine's.
#[derive(Debug, Clone, Copy)]
struct Told {
    uptime_ms: u64,
    at: Duration,
}

impl Told {
    fn right(self, visit: &Visit) -> Result<Fence, NodeError> {
        visit.shared.fence.right(self.uptime_ms, self.at)
    }
}

/// Writes the verdict down, then gives it; the node says which one stands, and `follow` sees that. Without the run lock there is
/// no verdict: the node's switch gives it.
async fn decide(visit: &mut Visit, verdict: Verdict, why: String, told: Told) -> Result<(), JournalError> {
    if let Err(error) = told.right(visit) {
        tracing::info!("{}: {error}", visit.node.name);
        return Ok(());
    }
    if visit.decided != Some(verdict) {
        let (swap, node) = visit.ids();
        let id = swap.clone();
        // A command that came while we looked comes before the commit.
        let stands = |run: &Run| match run.swap(&id) {
            Some(view) if verdict == Verdict::Commit && view.undo.is_some() => Err(()),
            _ if verdict == Verdict::Commit && run.state == RunState::Aborting => Err(()),
            _ => Ok(()),
        };
        match visit.shared.log.write_if(Event::SwapVerdict { swap, node, verdict, why }, stands).await {
            Ok(Ok(())) => visit.decided = Some(verdict),
            // The next look finds the command.
            Ok(Err(())) => return Ok(()),
            Err(error) => {
                // A commit that is not on disk must not happen; the old one back is always right, and sooner than the
                // deadline.
                if let Ok(fence) = told.right(visit) {
                    let _ = visit.port.give_verdict(&visit.tx, Verdict::Rollback, &fence).await;
                }
                return Err(error);
            }
        }
    }
    // Once more: the disk may have been slow, and the lock lost meanwhile.
    let given = match told.right(visit) {
        Ok(fence) => visit.port.give_verdict(&visit.tx, verdict, &fence).await,
        Err(error) => Err(error),
    };
    match given {
        Ok(stands) if stands != verdict => {
            tracing::info!("{}: the verdict came too late: {} stands", visit.node.name, stands.word());
        }
        Ok(_) => {}
        // The next look at the transaction tells whether it arrived; if it did not, it is given again.
        Err(error) => {
            visit.shared.fence.refused(&error);
            tracing::warn!("{}: {error}", visit.node.name);
        }
    }
    Ok(())
}

fn tell_steps(visit: &mut Visit, state: &TxState) -> Result<(), JournalError> {
    for step in state.steps.iter().skip(visit.steps_told) {
        let (swap, node) = visit.ids();
        let component = visit.change_of(&step.container).map(|c| c.component);
        let event = Event::SwapStep { swap, node, component, step: step.step, uptime_ms: step.uptime_ms };
        visit.shared.log.tell(event)?;
    }
    visit.steps_told = visit.steps_told.max(state.steps.len());
    Ok(())
}

/// Why a critical section did not begin.
pub(super) enum Refused {
    /// The run lock is not held. Nothing began, or the node has it and is asked later.
    Fenced,
    /// The node says that it cannot, or stays away; `unsure` when it cannot be known whether it began.
    Node {
        /// What it said.
        error: NodeError,
        /// Whether it may have begun.
        unsure: bool,
    },
}

/// Starts the node's critical section. Its clock is asked just before, so that it can tell when the engine's right has run out.
/// A begin whose answer was lost is asked for again: a transaction that exists is left alone by the node.
///
/// # Errors
/// When the node says that it cannot, or stays away, or the run lock is not held.
pub(super) async fn begin(visit: &Visit, stop_timeout_s: u32) -> Result<(), Refused> {
    let fence = &visit.shared.fence;
    let until = Instant::now() + visit.deadline() + SILENCE;
    // Whether one was sent that may have arrived; and why the last one was refused for good.
    let (mut sent, mut refusal) = (false, None::<NodeError>);
    loop {
        let error = match visit.port.tx_state(&visit.tx).await {
            Ok(state) if state.found => return Ok(()),
            Ok(state) => {
                if let Some(error) = refusal.take() {
                    // It is certain that nothing began, and why.
                    return Err(Refused::Node { error, unsure: false });
                }
                let told = Told { uptime_ms: state.uptime_ms, at: fence.now() };
                let asked = match told.right(visit) {
                    Ok(right) => {
                        sent = true;
                        visit.port.begin(&visit.tx, &visit.swap, stop_timeout_s, &right).await
                    }
                    Err(error) => Err(error),
                };
                let Err(error) = asked else { return Ok(()) };
                match &error {
                    NodeError::Fenced { why, .. } => {
                        // It was only late, or its token older than another: with the lock it is asked anew.
                        tracing::info!("{}: {why}", visit.node.name);
                        fence.refused(&error);
                        fence.next_answer(ASK_ANEW).await;
                        if fence.check().is_err() {
                            return Err(Refused::Fenced);
                        }
                    }
                    error if !error.transient() => refusal = Some(error.clone()),
                    _ => {}
                }
                error
            }
            Err(error) => error,
        };
        if Instant::now() > until {
            return Err(Refused::Node { error, unsure: sent });
        }
        sleep(POLL * 3).await;
    }
}
