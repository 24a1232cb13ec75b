//! `sonoba pause`, `resume` and `abort`.

use super::args::{Global, RunArg};
use super::failure::Failure;
use super::setup::operator;
use super::{runs, say};
use crate::engine::{self, EngineError, RunDir};
use crate::journal::Verb;

pub(super) async fn run(global: &Global, arg: &RunArg, verb: Verb) -> Result<(), Failure> {
    let run = runs::find(global, &arg.run)?;
    let (folded, _) = runs::fold(&run)?;
    if folded.ended().is_some() {
        return Err(Failure::failed(format!("run {0} has ended; how: sonoba report {0}", run.id())));
    }
    let started = tell(&run, verb).await.map_err(Failure::failed)?;
    let id = run.id();
    match (verb, started) {
        (Verb::Pause, _) => {
            say::out(format!("{id}: what is in flight finishes, then it stands; go on with: sonoba resume {id}"))
        }
        (Verb::Resume, None) => say::out(format!("{id}: goes on; watch it with: sonoba watch {id}")),
        (Verb::Resume, Some(pid)) => {
            say::out(format!("{id}: its engine was gone; engine {pid} takes it up; watch it with: sonoba watch {id}"));
        }
        (Verb::Abort, _) => {
            say::out(format!(
                "{id}: what is not committed rolls back, then the run ends; which node is which: sonoba report {id}; \
                 what is committed goes back with: sonoba rollback {id}"
            ));
        }
    }
    Ok(())
}

/// Commands a run's engine. A resume of a run whose engine has died starts another one and returns its process id.
pub(super) async fn tell(run: &RunDir, verb: Verb) -> Result<Option<u32>, EngineError> {
    match engine::command(run, verb, &operator()).await {
        Err(EngineError::NoEngine { .. }) if verb == Verb::Resume => {
            let pid = engine::start(run).await?;
            // A run that stood paused still does; one that did not has nothing to resume, and says so.
            match engine::command(run, verb, &operator()).await {
                Ok(()) | Err(EngineError::Refused(_)) => Ok(Some(pid)),
                Err(error) => Err(error),
            }
        }
        done => done.map(|()| None),
    }
}
