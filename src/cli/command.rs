//! `sonoba pause`, `resume` and `abort`; `retry`, `skip` and `override`: what an operator commands a run.

use super::args::{Global, OverrideArgs, RetryArgs, RunArg, SkipArgs};
use super::failure::Failure;
use super::runs::Takes;
use super::setup::operator;
use super::stage::nodes_of;
use super::{runs, say};
use crate::engine::{self, EngineError, RunDir};
use crate::fleet::NodeName;
use crate::journal::Verb;
use crate::plan::Plan;

pub(super) async fn run(global: &Global, arg: &RunArg, verb: Verb) -> Result<(), Failure> {
    let (run, _) = live(global, arg, takes(&verb)).await?;
    command(&run, verb).await
}

async fn command(run: &RunDir, verb: Verb) -> Result<(), Failure> {
    let told = tell(run, verb.clone()).await.map_err(Failure::failed)?;
    let (id, answer) = (run.id(), told.answer);
    // The engine's own answer: a run that is paused already, or was not paused, is not said to do anything new.
    match (verb, told.started) {
        (Verb::Abort, _) if run.given_up().is_some() => say::out(format!("{id}: {answer}")),
        (Verb::Pause, _) => say::out(format!("{id}: {answer}; go on with: sonoba resume {id}")),
        (Verb::Resume, None) => say::out(format!("{id}: {answer}; watch it with: sonoba watch {id}")),
        (Verb::Resume, Some(pid)) => say::out(format!(
            "{id}: its engine was gone; engine {pid} takes it up: {answer}; watch it with: sonoba watch {id}"
        )),
        (Verb::Abort, _) => say::out(format!(
            "{id}: {answer}, then the run ends; which node is which: sonoba report {id}; what is committed goes back with: \
             sonoba rollback {id}"
        )),
        _ => say::out(format!("{id}: {answer}")),
    }
    Ok(())
}

/// A resume starts an engine where there is none; the others need one.
fn takes(verb: &Verb) -> Takes {
    if *verb == Verb::Resume { Takes::Any } else { Takes::Attended }
}

/// `sonoba retry`: without nodes, everything that failed or rolled back.
pub(super) async fn retry(global: &Global, args: &RetryArgs) -> Result<(), Failure> {
    match &args.nodes {
        Some(nodes) => of_nodes(global, &args.run, nodes, |nodes| Verb::Retry { nodes }).await,
        None => run(global, &args.run, Verb::Retry { nodes: Vec::new() }).await,
    }
}

/// `sonoba skip`.
pub(super) async fn skip(global: &Global, args: &SkipArgs) -> Result<(), Failure> {
    let why = args.reason.clone();
    of_nodes(global, &args.run, &args.nodes, |nodes| Verb::Skip { nodes, why }).await
}

/// `sonoba override`.
pub(super) async fn pass_over(global: &Global, args: &OverrideArgs) -> Result<(), Failure> {
    let verb = Verb::Override { gate: args.gate.clone(), why: args.reason.clone() };
    run(global, &args.run, verb).await
}

/// Commands a live run about some of the nodes that its plan touches; `select` is as `sonoba plan --nodes` has it.
///
/// # Errors
/// When the selection selects nothing, or the engine does not follow.
pub(super) async fn of_nodes(
    global: &Global,
    arg: &RunArg,
    select: &str,
    verb: impl FnOnce(Vec<NodeName>) -> Verb,
) -> Result<(), Failure> {
    let (run, plan) = live(global, arg, Takes::Attended).await?;
    command(&run, verb(nodes_of(&plan, select)?)).await
}

/// The run that is meant, which must not have ended.
async fn live(global: &Global, arg: &RunArg, takes: Takes) -> Result<(RunDir, Plan), Failure> {
    let run = runs::find_to_act(global, &arg.run, takes).await?;
    let (folded, _) = runs::fold(&run)?;
    if folded.ended().is_some() {
        return Err(Failure::failed(format!("run {0} has ended; how: sonoba report {0}", run.id())));
    }
    Ok((run, folded.plan.as_ref().clone()))
}

/// What came of a command.
pub(super) struct Told {
    /// The engine that had to be started for it.
    pub started: Option<u32>,
    /// The engine's answer, in words.
    pub answer: String,
}

/// Commands a run's engine. A resume of a run whose engine has died starts another one and returns its process id.
pub(super) async fn tell(run: &RunDir, verb: Verb) -> Result<Told, EngineError> {
    match engine::command(run, verb.clone(), &operator()).await {
        Err(EngineError::NoEngine { .. }) if verb == Verb::Resume => {
            let told = |why: &str| super::say::err(format!("run {} does not go on yet: it {why}", run.id()));
            let started = Some(engine::start(run, told).await?);
            // A run that stood paused still does; one that did not has nothing to resume, and says so.
            match engine::command(run, verb, &operator()).await {
                Ok(answer) | Err(EngineError::Refused(answer)) => Ok(Told { started, answer }),
                Err(error) => Err(error),
            }
        }
        done => done.map(|answer| Told { started: None, answer }),
    }
}
