//! What the engine's tasks share.

use super::Ports;
use super::log::Log;
use super::world::World;
use crate::fleet::{Node, NodeName, RunId};
use crate::journal::{Event, JournalError, PauseReason, RunState, Verb};
use crate::plan::Plan;
use crate::{fleet::clean, journal::Outcome};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// What the engine has been told to do; the conductor and the swaps in flight look at it between their steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// Go on.
    Run,
    /// Start nothing new.
    Pause,
    /// Start nothing new, and end the process once nothing is in flight (SIGTERM).
    Leave,
    /// Start nothing new, roll back what is not committed, end the run.
    Abort,
}

/// The engine's tasks' common ground.
pub(super) struct Shared {
    pub(super) plan: Arc<Plan>,
    pub(super) run: RunId,
    /// The run's folder.
    pub(super) folder: PathBuf,
    pub(super) ports: Ports,
    pub(super) log: Log,
    pub(super) wish: watch::Sender<Wish>,
    pub(super) world: watch::Sender<World>,
    /// Why the engine cannot go on by itself, where there is such a thing (the run lock was lost).
    trouble: Mutex<Option<String>>,
    /// The gate that did not hold in its time, in words; until an operator resumes.
    stalled: Mutex<Option<String>>,
    /// Who paused last.
    pauser: Mutex<String>,
    /// One command at a time.
    commands: tokio::sync::Mutex<()>,
}

impl Shared {
    pub(super) fn new(plan: Arc<Plan>, (run, folder): (RunId, PathBuf), ports: Ports, log: Log, wish: Wish) -> Shared {
        Shared {
            plan,
            run,
            folder,
            ports,
            log,
            wish: watch::Sender::new(wish),
            world: watch::Sender::new(World::default()),
            trouble: Mutex::new(None),
            stalled: Mutex::new(None),
            pauser: Mutex::new(String::new()),
            commands: tokio::sync::Mutex::new(()),
        }
    }

    pub(super) fn wish(&self) -> Wish {
        *self.wish.borrow()
    }

    /// The node as the plan knows it.
    pub(super) fn node(&self, name: &NodeName) -> Option<&Node> {
        self.plan.cluster.nodes.get(name)
    }

    /// Starts nothing new until an operator resumes; an abort or a leave stands.
    pub(super) fn hold(&self) {
        self.wish.send_if_modified(|wish| {
            let hold = *wish == Wish::Run;
            if hold {
                *wish = Wish::Pause;
            }
            hold
        });
    }

    /// Starts nothing new, and ends the process once nothing is in flight; an abort stands.
    pub(super) fn leave(&self) {
        self.wish.send_if_modified(|wish| {
            let leave = !matches!(*wish, Wish::Abort | Wish::Leave);
            if leave {
                *wish = Wish::Leave;
            }
            leave
        });
    }

    /// Notes trouble that must pause the run.
    pub(super) fn trouble(&self, why: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = why;
        // Wakes whoever waits, so that the pause is seen.
        self.wish.send_modify(|_| ());
    }

    /// How long one of the cluster's own gates may be closed before the run pauses.
    pub(super) fn gate_timeout(&self) -> Duration {
        Duration::from_millis(self.plan.limits.gate_timeout_ms)
    }

    /// A gate did not hold in its time: the run pauses at its next checkpoint.
    pub(super) fn stall(&self, why: String) {
        *self.stalled.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    /// Why the run must pause by itself; `None` while it need not.
    pub(super) fn must_pause(&self) -> Option<(PauseReason, String)> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(why) = trouble {
            return Some((PauseReason::Trouble, why));
        }
        if let Some(why) = self.log.with(|_, ledger| ledger.over(&self.plan.budget)) {
            return Some((PauseReason::Budget, why));
        }
        let why = self.stalled.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        Some((PauseReason::Gate, why))
    }

    pub(super) fn paused_by(&self) -> String {
        let by = self.pauser.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if by.is_empty() { "an operator paused it".into() } else { format!("{by} paused it") }
    }

    /// Takes an operator's command: on disk first, then in effect. Repeating one does no harm.
    ///
    /// # Errors
    /// In words, when it cannot be followed.
    pub(super) async fn command(&self, verb: Verb, by: &str) -> Result<&'static str, String> {
        let by: String = clean(by).chars().take(120).collect();
        let _one = self.commands.lock().await;
        if self.wish() == Wish::Leave {
            return Err("the engine is about to end; `sonoba resume` starts another".into());
        }
        let state = self.log.with(|run, _| run.state);
        let (wish, answer) = match (verb, state) {
            (_, RunState::Ended(Outcome::Aborted)) if verb == Verb::Abort => return Ok("the run is aborted"),
            (_, RunState::Ended(_)) => return Err("the run has ended".into()),
            (Verb::Abort, RunState::Aborting) => return Ok("the run is being aborted already"),
            (_, RunState::Aborting) => return Err("the run is being aborted; that cannot be taken back".into()),
            (Verb::Pause, RunState::Paused(_)) => return Ok("the run is paused already"),
            (Verb::Pause, RunState::Pausing) => return Ok("the run is pausing already"),
            (Verb::Resume, RunState::Running | RunState::Starting) => return Ok("the run is not paused"),
            (Verb::Pause, _) => (Wish::Pause, "pausing: what is in flight finishes, nothing new starts"),
            (Verb::Resume, _) => (Wish::Run, "resumed"),
            (Verb::Abort, _) => (Wish::Abort, "aborting: what is not committed rolls back"),
        };
        let written = self.log.write(Event::Command { verb, by: by.clone() }).await;
        written.map_err(|e: JournalError| e.to_string())?;
        match verb {
            Verb::Pause => *self.pauser.lock().unwrap_or_else(PoisonError::into_inner) = by,
            Verb::Resume => {
                *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
                *self.stalled.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
            Verb::Abort => {}
        }
        self.wish.send_if_modified(|now| {
            let changes = *now != Wish::Leave;
            if changes {
                *now = wish;
            }
            changes
        });
        Ok(answer)
    }
}
