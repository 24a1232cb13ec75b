//! The engine's body: locks, journal, control socket, the walk, the end.

use super::budget::Ledger;
use super::churn;
use super::conductor::{Halt, outcome, walk};
use super::control;
use super::endpoints::put_back_first;
use super::error::EngineError;
use super::fence::RunFence;
use super::finish::{ABORT_WAITS, tidy};
use super::lease;
use super::lock;
use super::log::Log;
use super::ports::Ports;
use super::process;
use super::proof::Proofs;
use super::proving;
use super::relook::{Kepts, what_runs};
use super::resume::{Intents, call_off_the_rest, settle};
use super::run_dir::{RunDir, host};
use super::shared::{Shared, Wish};
use super::sound::sound;
use super::steady::{self, Steady};
use super::steer::Steer;
pub use super::turn::Start;
use super::turn::Turn;
use super::world;
use crate::journal::{Disk, Event, FileSystem, JournalError, Outcome, PauseReason, Run, RunState, Writer};
use jiff::Timestamp;
use std::future::Future;
use std::sync::Arc;

/// Tells the time for records.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The body of the engine's process: leaves the session of whoever started it, follows signals, and carries the run out.
/// Returns [`Outcome::Paused`] when it was told to end (SIGTERM) before the run had ended.
///
/// # Errors
/// When the run is locked or has ended, or the engine cannot go on.
pub async fn serve(run: RunDir, ports: Ports, start: Start) -> Result<Outcome, EngineError> {
    process::detach();
    process::log_panics();
    let clocks = (Arc::new(Timestamp::now) as Clock, steady::of_machine());
    carry(run, ports, clocks, Arc::new(FileSystem), start, process::signals).await
}

/// Carries a run out within this process, without its signals. Dropping it is what a crash is: the run can be carried on.
///
/// # Errors
/// As [`serve`].
pub async fn carry_out(run: RunDir, ports: Ports, clock: Clock) -> Result<Outcome, EngineError> {
    carry_out_on(run, ports, clock, Arc::new(FileSystem)).await
}

/// [`carry_out`] with its journal on a disk of the caller's: for tests.
///
/// # Errors
/// As [`serve`].
pub async fn carry_out_on(
    run: RunDir,
    ports: Ports,
    clock: Clock,
    disk: Arc<dyn Disk>,
) -> Result<Outcome, EngineError> {
    let start = Start { profile: None, leashed: false };
    carry(run, ports, (clock, steady::of_tokio()), disk, start, |_| std::future::pending()).await
}

async fn carry<S>(
    run: RunDir,
    ports: Ports,
    (clock, steady): (Clock, Steady),
    disk: Arc<dyn Disk>,
    start: Start,
    signals: impl FnOnce(Arc<Shared>) -> S,
) -> Result<Outcome, EngineError>
where
    S: Future<Output = Result<(), JournalError>>,
{
    let about = run.about();
    let (id, pid, now) = (run.id(), std::process::id(), clock());
    // Whoever comes second reads it: who is at work, since when, and how to watch.
    let line = format!(
        "run {id}, process {pid} on {} since {now:.0}, by {}; watch it with `sonoba watch {id}`",
        host(),
        about.operator
    );
    run.may_begin()?;
    let _run_lock = lock::take(&run.lock_path(), "an engine has this run", &line)?;
    let cluster = format!("the cluster {} is being worked on", about.cluster);
    let _cluster_lock = lock::take(&run.cluster_lock_path()?, &cluster, &line)?;

    let opened = open(&run, &clock, disk)?;
    let (resumed, cut) = (opened.resumed, opened.cut);
    let holder = lease::holder(&about.operator, &about.host, id);
    let fence = Arc::new(RunFence::new(steady, id.clone()));
    let door = control::open(&run)?;
    let turn = Turn { run: &run, plan: &opened.plan, ports: &ports, fence: &fence, holder: &holder, resumed };
    let compared = match turn.wait(&door, &start).await {
        Ok(compared) => compared,
        Err(error) => {
            // Only ours is given back; one that was never had is left alone.
            if let Err(error) = ports.cluster.unlock(&holder).await {
                tracing::warn!("the run lock is left to run out by itself: {error}");
            }
            return Err(error);
        }
    };
    run.mark_begun()?;

    let shared = Arc::new(Shared::new(opened.plan, (id.clone(), run.path().to_owned()), ports, fence, opened.log));
    if !resumed {
        let (operator, host) = (about.operator.clone(), about.host.clone());
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let cluster = about.cluster.clone();
        shared.log.write(Event::RunStarted { run: id.clone(), cluster, operator, host, version }).await?;
    }
    shared.log.write(Event::EngineStarted { pid, host: host(), resumed }).await?;
    if cut {
        let text = "the engine before died while it wrote: the journal's torn last line was cut off".into();
        shared.log.tell(Event::Note { text })?;
    }

    // The helpers never end by themselves but in an error of the journal's; the walk sees that too at its next record. They
    // are there until the run's end is on disk: what has to be looked at before takes a minute where a node is dead, and until
    // then the run has its Lease and an answer for everybody who asks.
    let peers = control::Peers::default();
    let outcome = {
        let helpers = async {
            tokio::try_join!(
                control::answer(Arc::clone(&shared), door, &peers),
                world::keep_looking(Arc::clone(&shared)),
                proving::keep_proving(Arc::clone(&shared)),
                churn::keep_sampling(Arc::clone(&shared)),
                lease::keep(Arc::clone(&shared), holder.clone(), run.journal(), compared),
                signals(Arc::clone(&shared)),
                shared.log.broke(),
            )
        };
        let work = async {
            let walked = async {
                put_back_first(&shared).await?;
                settle(&shared).await?;
                walk(&shared).await
            };
            end(&shared, walked.await).await
        };
        let work = std::pin::pin!(work);
        let helpers = std::pin::pin!(helpers);
        match futures::future::select(work, helpers).await {
            futures::future::Either::Left((result, _)) => result,
            futures::future::Either::Right((Err(error), work)) => {
                // What is in flight still comes to its verdict, where it can; a pause could not be left any more.
                shared.leave();
                tracing::error!("{error}");
                let _ = work.await;
                Err(error.into())
            }
            futures::future::Either::Right((Ok(_), work)) => work.await,
        }
    };
    peers.answered().await;
    let outcome = outcome?;
    if let Err(error) = shared.ports.cluster.unlock(&holder).await {
        tracing::warn!("the run lock is left to run out by itself: {error}");
    }
    Ok(outcome)
}

/// Writes down how it ended.
///
/// An abort ends within a bounded time, whatever the nodes and the API do. One after the other, each at its longest:
///
/// - a swap in flight is followed for its deadline and 120 s (`follow`), then its old components have the longer of its deadline
///   and 60 s to serve again, its pods 60 s to be listed, an API server's address 300 s to be put back (`finish`);
/// - what was left open for want of the run lock waits 300 s for the lock, and is then settled as above (`settle`);
/// - before the end nodes that were lost are asked once more for 10 s, and one that answers is followed as above (`tidy`);
/// - what runs on the nodes is asked of 32 at once, for at most 5 s and one call's own limit each (`relook`).
///
/// With a deadline of 60 s and nodes and API away all the time that is about 20 min; with nodes that answer, seconds.
async fn end(shared: &Arc<Shared>, result: Result<(), Halt>) -> Result<Outcome, EngineError> {
    let aborted = match result {
        Ok(()) => false,
        Err(Halt::Abort) => true,
        Err(Halt::Leave) => {
            if !shared.log.with(|run, _| matches!(run.state, RunState::Paused(_))) {
                let why = "the engine was told to end (SIGTERM); `sonoba resume` goes on".into();
                shared.log.write(Event::Paused { reason: PauseReason::Operator, why }).await?;
            }
            return Ok(Outcome::Paused);
        }
        Err(Halt::Engine(error)) => return Err(error),
    };
    if aborted {
        if shared.left_open() {
            shared.fence.awaited(ABORT_WAITS).await;
            shared.take_left_open();
            put_back_first(shared).await?;
            if let Err(Halt::Engine(error)) = settle(shared).await {
                return Err(error);
            }
        }
        call_off_the_rest(shared).await?;
    }
    tidy(shared).await?;
    let (outcome, why) =
        if aborted { (Outcome::Aborted, what_runs(shared, shared.log.now()).await) } else { outcome(shared) };
    shared.log.write(Event::RunEnded { outcome, why }).await?;
    Ok(outcome)
}

/// A run's journal, opened to write on.
struct Opened {
    plan: Arc<crate::plan::Plan>,
    log: Log,
    resumed: bool,
    cut: bool,
}

fn open(run: &RunDir, clock: &Clock, disk: Arc<dyn Disk>) -> Result<Opened, EngineError> {
    let (plan, hash) = if run.begun() { run.plan()? } else { run.sealed_plan()? };
    sound(&plan, run.id()).map_err(EngineError::Plan)?;
    let plan = Arc::new(plan);
    let mut fold = Run::new(Arc::clone(&plan));
    let mut ledger = Ledger::new(Arc::clone(&plan));
    let mut intents = Intents::default();
    let mut proofs = Proofs::default();
    let mut kepts = Kepts::default();
    let steer = Arc::new(Steer::new());
    let (writer, cut) = match run.begun_journal()? {
        Some(path) => {
            let opened = Writer::open(&path, &hash, |record| {
                fold.apply(&record);
                ledger.apply(&record, &fold);
                intents.apply(&record);
                proofs.apply(&record);
                kepts.apply(&record);
                steer.follow(&record.event);
            })?;
            (opened.writer, opened.cut)
        }
        None => (Writer::create(&run.journal(), &hash)?, false),
    };
    let wish = match fold.state {
        RunState::Ended(_) => return Err(EngineError::Ended(run.id().to_string())),
        RunState::Starting | RunState::Running => Wish::Run,
        RunState::Pausing | RunState::Paused(_) => Wish::Pause,
        RunState::Aborting => Wish::Abort,
    };
    // Who paused is known from the records; what is wished now, from where they lead.
    steer.wish.send_replace(wish);
    // An engine that died before its first record left a file without one.
    let resumed = fold.events > 0;
    let log = Log::new(writer, fold, ledger, (intents, proofs, kepts), steer, Arc::clone(clock), disk)?;
    Ok(Opened { plan, log, resumed, cut })
}
