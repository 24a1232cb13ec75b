//! What the engine's tasks share.

use super::Ports;
use super::log::Log;
use super::undo;
use super::world::World;
use crate::fleet::{Node, NodeName, RunId};
use crate::journal::{Event, JournalError, PauseReason, Run, RunState, Verb};
use crate::plan::Plan;
use crate::{fleet::clean, journal::Outcome};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
    /// Doors that are knocked at now.
    pub(super) doors: Arc<AtomicUsize>,
    /// Why the engine cannot go on by itself, where there is such a thing (the run lock was lost).
    trouble: Mutex<Option<String>>,
    /// The gate that did not hold in its time, in words; until an operator resumes.
    stalled: Mutex<Option<String>>,
    /// Who paused last.
    pauser: Mutex<String>,
    /// One command at a time.
    commands: tokio::sync::Mutex<()>,
    /// The walk is through: no command is taken any more.
    closed: AtomicBool,
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
            doors: Arc::default(),
            trouble: Mutex::new(None),
            stalled: Mutex::new(None),
            pauser: Mutex::new(String::new()),
            commands: tokio::sync::Mutex::new(()),
            closed: AtomicBool::new(false),
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

    /// Takes an operator's command: on disk first, then in effect. Repeating one does no harm. What was done, in words.
    ///
    /// # Errors
    /// In words, when it cannot be followed.
    pub(super) async fn command(&self, verb: Verb, by: &str) -> Result<String, String> {
        let by: String = clean(by).chars().take(120).collect();
        let verb = verb.checked()?;
        let _one = self.commands.lock().await;
        if self.wish() == Wish::Leave {
            return Err("the engine is about to end; `sonoba resume` starts another".into());
        }
        if self.closed.load(Ordering::Relaxed) {
            return Err("the run has come to its end; `sonoba report` says how".into());
        }
        let event = Event::Command { verb: verb.clone(), by: by.clone() };
        let written =
            self.log.write_if(event, |run| judge(run, &verb)).await.map_err(|e: JournalError| e.to_string())?;
        let answer = match written {
            Ok(answer) => answer,
            Err(Not::Needed(answer)) => return Ok(answer.to_owned()),
            Err(Not::Possible(why)) => return Err(why),
        };
        let wish = match verb {
            Verb::Pause => {
                *self.pauser.lock().unwrap_or_else(PoisonError::into_inner) = by;
                Some(Wish::Pause)
            }
            Verb::Resume => {
                *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
                *self.stalled.lock().unwrap_or_else(PoisonError::into_inner) = None;
                Some(Wish::Run)
            }
            Verb::Abort => Some(Wish::Abort),
            _ => None,
        };
        // The others change no wish; whoever waits looks at the run again.
        self.wish.send_modify(|now| match wish {
            Some(wish) if *now != Wish::Leave => *now = wish,
            _ => {}
        });
        Ok(answer)
    }

    /// Takes no command any more, if there is nothing left to do: whoever was told that his command was taken must not find
    /// the run ended without it.
    pub(super) async fn close(&self) -> bool {
        let _one = self.commands.lock().await;
        let through = self.log.with(|run, _| (0..self.plan.phases.len()).all(|p| run.phases_done.contains(&p)));
        let close = through && self.wish() == Wish::Run && self.must_pause().is_none() && !undo::pending(self);
        if close {
            self.closed.store(true, Ordering::Relaxed);
        }
        close
    }
}

/// Why a command is not taken.
enum Not {
    /// It is so already.
    Needed(&'static str),
    /// It cannot be; why.
    Possible(String),
}

impl From<String> for Not {
    fn from(why: String) -> Not {
        Not::Possible(why)
    }
}

/// Whether the run, as it is now, can take the command; the answer then.
fn judge(run: &Run, verb: &Verb) -> Result<String, Not> {
    let stands = matches!(run.state, RunState::Pausing | RunState::Paused(_));
    let then = if stands { "; the run is paused: `sonoba resume` goes on" } else { "" };
    Ok(match (verb, run.state) {
        (Verb::Abort, RunState::Ended(Outcome::Aborted)) => return Err(Not::Needed("the run is aborted")),
        (_, RunState::Ended(_)) => return Err(Not::Possible("the run has ended".into())),
        (Verb::Abort, RunState::Aborting) => return Err(Not::Needed("the run is being aborted already")),
        (_, RunState::Aborting) => {
            return Err(Not::Possible("the run is being aborted; that cannot be taken back".into()));
        }
        (Verb::Pause, RunState::Paused(_)) => return Err(Not::Needed("the run is paused already")),
        (Verb::Pause, RunState::Pausing) => return Err(Not::Needed("the run is pausing already")),
        (Verb::Resume, RunState::Running | RunState::Starting) => return Err(Not::Needed("the run is not paused")),
        (Verb::Pause, _) => "pausing: what is in flight finishes, nothing new starts".into(),
        (Verb::Resume, _) => "resumed".into(),
        (Verb::Abort, _) => "aborting: what is not committed rolls back".into(),
        (Verb::Retry { nodes }, _) => match run.to_retry(nodes)?.as_slice() {
            [] => format!("the gate is asked again{then}"),
            found => format!("{} will be tried again{then}", run.names(found)),
        },
        (Verb::Skip { nodes, .. }, _) => format!("{} stays as it is{then}", run.names(&run.to_skip(nodes)?)),
        (Verb::RollBack { nodes }, _) => {
            format!("{} goes back to the old version", run.names(&run.to_roll_back(nodes)?))
        }
        (Verb::Override { gate, .. }, _) => {
            run.to_override(gate)?;
            format!("gate {} is passed over{then}", clean(gate))
        }
    })
}
