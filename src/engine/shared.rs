//! What the engine's tasks share.

use super::Ports;
use super::elsewhere::Elsewhere;
use super::fence::RunFence;
use super::log::Log;
use super::relook::Memory;
use super::steer::Steer;
pub(super) use super::steer::Wish;
use super::undo;
use super::world::World;
use crate::fleet::{Node, NodeName, PodEvent, RunId};
use crate::journal::{Event, JournalError, PauseReason, Run, RunState, Verb};
use crate::k8s::ClusterError;
use crate::plan::Plan;
use crate::{fleet::clean, journal::Outcome};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// The engine's tasks' common ground.
pub(super) struct Shared {
    pub(super) plan: Arc<Plan>,
    pub(super) run: RunId,
    /// The run's folder.
    pub(super) folder: PathBuf,
    /// The ways out, guarded by the run lock.
    pub(super) ports: Ports,
    /// How sure it is that the run lock is held.
    pub(super) fence: Arc<RunFence>,
    pub(super) log: Log,
    pub(super) wish: watch::Sender<Wish>,
    pub(super) world: watch::Sender<World>,
    /// What looking again at committed components has to remember.
    pub(super) memory: Memory,
    /// What pods do on nodes that no swap touches.
    pub(super) elsewhere: Elsewhere,
    /// Doors that are knocked at now.
    pub(super) doors: Arc<AtomicUsize>,
    /// What the log steers by what is written in it.
    steer: Arc<Steer>,
    /// One command at a time.
    commands: tokio::sync::Mutex<()>,
    /// The walk is through: no command is taken any more.
    closed: AtomicBool,
    /// The API does not let us read pods' events; said once.
    events_refused: AtomicBool,
    /// Something was left open for want of the run lock: it is settled before anything else is done.
    left_open: AtomicBool,
}

impl Shared {
    pub(super) fn new(
        plan: Arc<Plan>,
        (run, folder): (RunId, PathBuf),
        ports: Ports,
        fence: Arc<RunFence>,
        log: Log,
    ) -> Shared {
        let steer = log.steer();
        Shared {
            plan,
            run,
            folder,
            ports: ports.guarded(&fence),
            fence,
            log,
            wish: steer.wish.clone(),
            world: watch::Sender::new(World::default()),
            memory: Memory::default(),
            elsewhere: Elsewhere::default(),
            doors: Arc::default(),
            steer,
            commands: tokio::sync::Mutex::new(()),
            closed: AtomicBool::new(false),
            events_refused: AtomicBool::new(false),
            left_open: AtomicBool::new(false),
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
    pub(super) fn trouble(&self, why: String) {
        self.steer.trouble(why);
    }

    /// Wakes whoever waits for a wish, so that it looks again at what holds the run up.
    pub(super) fn wake(&self) {
        self.wish.send_modify(|_| ());
    }

    /// A swap was left as it is for want of the run lock, or something was not done that has to be.
    pub(super) fn leave_open(&self) {
        self.left_open.store(true, Ordering::Relaxed);
    }

    /// Whether something is left open for want of the run lock.
    pub(super) fn left_open(&self) -> bool {
        self.left_open.load(Ordering::Relaxed)
    }

    /// What was left open is settled from here on.
    pub(super) fn take_left_open(&self) -> bool {
        self.left_open.swap(false, Ordering::Relaxed)
    }

    /// Whether nothing may start now for want of the run lock.
    pub(super) fn fenced(&self) -> bool {
        self.left_open() || self.fence.check().is_err() || self.fence.standing().cause().is_some()
    }

    /// How long one of the cluster's own gates may be closed before the run pauses.
    pub(super) fn gate_timeout(&self) -> Duration {
        Duration::from_millis(self.plan.limits.gate_timeout_ms)
    }

    /// A gate did not hold in its time: the run pauses at its next checkpoint.
    pub(super) fn stall(&self, why: String) {
        self.steer.stall(why);
    }

    /// Whether nothing new may start: the run must pause by itself, or the run lock is not surely held.
    pub(super) fn must_pause(&self) -> bool {
        self.fence.standing().cause().is_some() || self.pause_cause().is_some()
    }

    /// Why the run must pause until an operator resumes it, with the run lock or without; `None` while it need not.
    pub(super) fn pause_cause(&self) -> Option<(PauseReason, String)> {
        let over = || self.log.with(|run, ledger| ledger.over(run, &self.plan.budget));
        let budget = || over().map(|why| (PauseReason::Budget, why));
        let drift = || self.log.with(|run, ledger| ledger.drift(run)).map(|why| (PauseReason::Drift, why));
        self.steer.in_trouble().or_else(drift).or_else(budget).or_else(|| self.steer.stalled())
    }

    /// What the API has recorded about these pods; none where it does not answer, or does not let us ask, which is said once.
    pub(super) async fn pod_events(&self, uids: &[String]) -> Result<Option<Vec<PodEvent>>, JournalError> {
        if self.events_refused.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let uids: Vec<&str> = uids.iter().map(String::as_str).collect();
        match self.ports.cluster.pod_events(&uids).await {
            Ok(events) => Ok(Some(events)),
            Err(ClusterError::Away(why) | ClusterError::Credentials(why) | ClusterError::Fenced(why)) => {
                tracing::debug!("events of pods: {why}");
                Ok(None)
            }
            Err(ClusterError::Refused(why)) => {
                if !self.events_refused.swap(true, Ordering::Relaxed) {
                    let text = format!(
                        "events of pods cannot be read, so that a kubelet that restarts containers is noticed only once it has \
                         replaced them: {why}"
                    );
                    self.log.tell(Event::Note { text })?;
                }
                Ok(None)
            }
        }
    }

    pub(super) fn paused_by(&self) -> String {
        let by = self.steer.pauser();
        if by.is_empty() { "an operator paused it".into() } else { format!("{by} paused it") }
    }

    /// Takes an operator's command: it is in effect once it is in the journal, also when this is dropped before it returns,
    /// and on disk when it returns (whatever acts on it writes its own intent behind it first). Repeating one does no harm.
    /// What was done, in words.
    ///
    /// # Errors
    /// In words, when it cannot be followed.
    pub(super) async fn command(&self, verb: Verb, by: &str) -> Result<String, String> {
        let by: String = clean(by).chars().take(120).collect();
        let verb = verb.checked()?;
        if verb == Verb::Resume {
            if self.log.with(|run, _| matches!(run.state, RunState::Pausing | RunState::Paused(_))) {
                self.let_in().await?;
            }
            // Not by itself after it was lost, and not before it is held again.
            self.fence.ask().await?;
        }
        let _one = self.commands.lock().await;
        if self.wish() == Wish::Leave {
            return Err("the engine is about to end; `sonoba resume` starts another".into());
        }
        if self.closed.load(Ordering::Relaxed) {
            return Err(ENDING.into());
        }
        let event = Event::Command { verb: verb.clone(), by };
        let written =
            self.log.write_if(event, |run| judge(run, &verb)).await.map_err(|e: JournalError| e.to_string())?;
        match written {
            Ok(answer) => Ok(answer),
            Err(Not::Needed(answer)) => Ok(answer.to_owned()),
            Err(Not::Possible(why)) => Err(why),
        }
    }

    /// Reads the credentials anew and asks the API something with them: an operator who resumes has often just renewed them, and a
    /// run that cannot get in does not go on.
    ///
    /// # Errors
    /// In words, when the API refuses them or there are none. One that does not answer is no reason: gates wait for that.
    async fn let_in(&self) -> Result<(), String> {
        /// Less than whoever commands waits for his answer.
        const LIMIT: Duration = Duration::from_secs(25);
        let cluster = &self.ports.cluster;
        let asked = async {
            cluster.renew_credentials().await?;
            match self.plan.cluster.nodes.keys().next() {
                Some(node) => cluster.node(node).await.map(drop),
                None => Ok(()),
            }
        };
        match tokio::time::timeout(LIMIT, asked).await {
            Ok(Err(ClusterError::Credentials(why))) => {
                Err(format!("the run stays paused: the cluster's API: {why}; then: sonoba resume {}", self.run))
            }
            _ => Ok(()),
        }
    }

    /// Takes no command any more, if there is nothing left to do: whoever was told that his command was taken must not find
    /// the run ended without it.
    pub(super) async fn close(&self) -> bool {
        let _one = self.commands.lock().await;
        let through = self.log.with(|run, _| (0..self.plan.phases.len()).all(|p| run.phases_done.contains(&p)));
        let close = through && self.wish() == Wish::Run && !self.must_pause() && !undo::pending(self);
        if close {
            self.closed.store(true, Ordering::Relaxed);
        }
        close
    }
}

/// What is told to whoever commands a run between its last swap and its end.
const ENDING: &str = "the run is ending: everything is decided, and nodes that did not answer are looked for once more (up to \
                      a minute); no command is taken any more, `sonoba report` says how it ends";

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
