//! From the moment a node has its transaction to the transaction's end: follow its steps, find the verdict, give it.

use super::shared::Wish;
use super::undo;
use super::verify::{Finding, Verifier};
use super::visit::Visit;
use crate::journal::{Event, JournalError, Run, RunState, Step, Verdict};
use crate::remote::{NodeError, TxState};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Between two questions to the node.
const POLL: Duration = Duration::from_millis(150);
/// A node that is silent for its deadline and this long has either rolled itself back or cannot be helped from here.
const SILENCE: Duration = Duration::from_secs(120);
/// Between two wishes that the node take over a transaction whose runner is gone.
const RECOVER_EVERY: Duration = Duration::from_secs(2);
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
            return Ok(Followed::Stuck(overdue(visit, &state)));
        }
        if !state.alive {
            if recovered.is_none_or(|at| at.elapsed() > RECOVER_EVERY) {
                if recoveries == RECOVERIES {
                    return Ok(Followed::Stuck(stuck(visit, &state, &refusal)));
                }
                recovered = Some(Instant::now());
                match visit.port.recover(&visit.tx).await {
                    Ok(()) => recoveries += 1,
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
                decide(visit, Verdict::Rollback, why.clone()).await?;
            } else if state.steps.iter().any(|s| s.step == Step::Waiting) {
                match verifier.look(visit, &state).await? {
                    Finding::Healthy => decide(visit, Verdict::Commit, visit.kept.clone()).await?,
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

/// Writes the verdict down, then gives it; the node says which one stands, and `follow` sees that.
async fn decide(visit: &mut Visit, verdict: Verdict, why: String) -> Result<(), JournalError> {
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
                let _ = visit.port.give_verdict(&visit.tx, Verdict::Rollback).await;
                return Err(error);
            }
        }
    }
    match visit.port.give_verdict(&visit.tx, verdict).await {
        Ok(stands) if stands != verdict => {
            tracing::info!("{}: the verdict came too late: {} stands", visit.node.name, stands.word());
        }
        Ok(_) => {}
        // The next look at the transaction tells whether it arrived; if it did not, it is given again.
        Err(error) => tracing::warn!("{}: {error}", visit.node.name),
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

/// Starts the node's critical section. A begin whose answer was lost is asked for again: a transaction that exists is
/// left alone by the node.
///
/// # Errors
/// When the node says that it cannot, or stays away; `true` when it cannot be known whether it began.
pub(super) async fn begin(visit: &Visit, stop_timeout_s: u32) -> Result<(), (NodeError, bool)> {
    let until = Instant::now() + visit.deadline() + SILENCE;
    loop {
        let error = match visit.port.begin(&visit.tx, &visit.swap, stop_timeout_s).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        match visit.port.tx_state(&visit.tx).await {
            Ok(state) if state.found => return Ok(()),
            // It is certain that nothing began, and why.
            Ok(_) if !error.transient() => return Err((error, false)),
            _ => {}
        }
        if Instant::now() > until {
            return Err((error, true));
        }
        sleep(POLL * 3).await;
    }
}
