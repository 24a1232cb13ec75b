//! A run followed from a command line, without a screen, until it ends or stands.

use super::command::tell;
use super::failure::Failure;
use super::gone::last_words;
use super::progress::Progress;
use super::report::summary;
use super::{runs, say};
use crate::engine::{self, RunDir};
use crate::journal::{
    self, EngineSeen, Follower, LockView, Outcome, PauseReason, Record, Report, Run, RunState, SwapState, Verb,
};
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// How a run is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Manner {
    /// Records as JSON lines instead of lines for people.
    pub json: bool,
    /// Whether Ctrl-C commands a pause; a watcher's only ends the watching.
    pub commands: bool,
}

/// How often the engine is asked whether it lives.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// A run that waits for its own run lock goes on by itself once it can be renewed. So long that is followed.
const LOCK: Duration = Duration::from_secs(60);

/// Prints a run's progress until it ends or stands paused.
///
/// # Errors
/// Exit 1 when it failed or its engine died; exit 4 when it ended aborted or stands paused.
pub(super) async fn follow(run: &RunDir, manner: Manner) -> Result<(), Failure> {
    let (plan, _) = run.plan().map_err(Failure::failed)?;
    let mut progress = Progress::new(Arc::new(plan));
    let mut follower = Follower::open(&run.journal());
    let mut out = Printer { json: manner.json, gone: false };
    let mut pause_sent = false;
    let mut silent = 0;
    let mut waits_told = false;
    let mut unsure_since: Option<Instant> = None;
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    let heard = |e| Failure::failed(format!("Ctrl-C cannot be heard: {e}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(heard)?;
    loop {
        tokio::select! {
            record = follower.next() => match record {
                Some(record) => {
                    silent = 0;
                    // All that is there already is history: a pause in it may be long over.
                    let mut next = Some(record);
                    while let Some(record) = next {
                        out.print(&record, progress.take(&record));
                        next = follower.try_next();
                    }
                    unsure_since = unsure_since.filter(|_| waits_for_the_lock(progress.run()));
                    if waits_for_the_lock(progress.run()) {
                        unsure_since.get_or_insert_with(Instant::now);
                    } else if let Some(end) = stands(progress.run(), pause_sent) {
                        return finish(run, progress.run(), &follower, manner, end);
                    }
                }
                None => return finish(run, progress.run(), &follower, manner, End::Lost),
            },
            _ = interrupt.recv() => {
                if !manner.commands {
                    return Ok(());
                }
                if pause_sent {
                    say::err(format!("detached; watch it with: sonoba watch {}", run.id()));
                    return Err(Failure::stopped(format!("run {} was told to pause and is left to its engine", run.id())));
                }
                match tell(run, Verb::Pause).await {
                    Ok(_) => {
                        pause_sent = true;
                        say::err("pausing after what is in flight; Ctrl-C once more detaches");
                    }
                    Err(error) => say::err(format!("the pause could not be commanded: {error}")),
                }
            }
            _ = heartbeat.tick() => {
                if unsure_since.is_some_and(|since| since.elapsed() > LOCK) {
                    return finish(run, progress.run(), &follower, manner, End::Paused);
                }
                // Three times in a row: what an engine wrote last may not have been read yet.
                if progress.run().events == 0 && !waits_told && let Some(why) = engine::waits(run).await {
                    waits_told = true;
                    say::err(format!("run {0} has not begun: it {why}; give it up with: sonoba abort {0}", run.id()));
                }
                silent = if engine::attended(run).await == Some(EngineSeen::Gone) { silent + 1 } else { 0 };
                if silent >= 3 && progress.run().ended().is_none() {
                    return finish(run, progress.run(), &follower, manner, End::Dead);
                }
            }
        }
    }
}

/// Whether it is paused only because its run lock could not be renewed: once it is, the run goes on by itself.
fn waits_for_the_lock(run: &Run) -> bool {
    run.lock == LockView::Unsure && run.state == RunState::Paused(PauseReason::Trouble)
}

/// Why there is nothing more to follow.
enum End {
    Ended(Outcome),
    Paused,
    Dead,
    Lost,
}

/// Whether the run stands in a way that nobody but an operator can change. A pause by somebody at another terminal is
/// waited out: he will resume it there.
fn stands(run: &Run, ours: bool) -> Option<End> {
    match run.state {
        RunState::Ended(outcome) => Some(End::Ended(outcome)),
        RunState::Paused(PauseReason::Operator) if !ours => None,
        RunState::Paused(_) => Some(End::Paused),
        _ => None,
    }
}

fn finish(run: &RunDir, folded: &Run, follower: &Follower, manner: Manner, end: End) -> Result<(), Failure> {
    let id = run.id();
    let chain = follower.chain();
    let engine = matches!(end, End::Dead).then_some(EngineSeen::Gone);
    let report = Report { engine, ..journal::report(folded, chain) };
    // Of a journal that was deleted, replaced or cut nothing is known for sure.
    if !manner.json && !matches!(end, End::Lost) {
        let _ = write!(std::io::stdout(), "{}", summary(&report));
    }
    let missing: String = report.endpoints_missing().iter().map(|text| format!("\nWARNING: {text}")).collect();
    let why = if folded.why.is_empty() { String::new() } else { format!(": {}", folded.why) };
    let undone = folded.count(|s| matches!(s, SwapState::RolledBack | SwapState::Failed | SwapState::Drifted)) > 0;
    let before = match undone {
        true => format!(
            "\nbefore that, try again what failed: sonoba retry {id}\nor leave it as it is: sonoba skip {id} --nodes NODES --reason WHY"
        ),
        false => String::new(),
    };
    match end {
        End::Ended(Outcome::Completed | Outcome::RolledBack) => runs::refuse_broken(&format!("run {id}"), chain),
        End::Ended(Outcome::Aborted) => {
            let next = next_words(folded);
            Err(Failure::stopped(format!(
                "run {id} was aborted{why}\nwhich node is which: sonoba report {id}{next}{missing}"
            )))
        }
        End::Ended(Outcome::Paused) | End::Paused => Err(Failure::stopped(format!(
            "run {id} stands paused{why}\ngo on with: sonoba resume {id}{before}\nor end it with: sonoba abort {id}"
        ))),
        End::Ended(Outcome::Failed) => {
            let next = next_words(folded);
            Err(Failure::failed(format!(
                "run {id} failed{why}\nwhich node is which: sonoba report {id}{next}{missing}"
            )))
        }
        End::Dead => Err(Failure::failed(format!(
            "the engine of run {id} is gone{}; nodes that it left in between go back to the old by themselves\nits log: {}\ngo on with: sonoba resume {id}{missing}",
            last_words(run).map(|why| format!(" ({why})")).unwrap_or_default(),
            run.log().display()
        ))),
        End::Lost => Err(Failure::failed(format!(
            "the journal of run {id} cannot be followed any more: it was deleted, replaced or cut: {}\n\
             an engine that is still at work starts nothing new, and says why in {}",
            follower.failed().unwrap_or_default(),
            run.log().display()
        ))),
    }
}

/// What can be done about what a run left, a line each.
fn next_words(run: &Run) -> String {
    match &run.id {
        Some(id) if run.has_done() => {
            format!("\ntake back what it did: sonoba rollback {id}\nor go on from here with a new plan: sonoba plan")
        }
        _ => String::new(),
    }
}

/// Prints as long as somebody reads; the run does not depend on it.
struct Printer {
    json: bool,
    gone: bool,
}

impl Printer {
    fn print(&mut self, record: &Record, lines: Vec<String>) {
        if self.gone {
            return;
        }
        let mut out = std::io::stdout().lock();
        let written = if self.json {
            serde_json::to_string(record).map_err(std::io::Error::other).and_then(|line| writeln!(out, "{line}"))
        } else {
            lines.iter().try_for_each(|line| writeln!(out, "{line}"))
        };
        self.gone = written.and_then(|()| out.flush()).is_err();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples::{plan, record};
    use crate::journal::Event;

    fn run(events: Vec<Event>) -> Run {
        let mut run = Run::new(Arc::new(plan()));
        for event in events {
            run.apply(&record(1, event));
        }
        run
    }

    #[test]
    fn a_pause_ends_the_following_unless_somebody_else_will_resume() {
        let paused = |reason| run(vec![Event::Paused { reason, why: "x".into() }]);
        assert!(matches!(stands(&paused(PauseReason::Budget), false), Some(End::Paused)));
        assert!(matches!(stands(&paused(PauseReason::Trouble), false), Some(End::Paused)));
        assert!(stands(&paused(PauseReason::Operator), false).is_none());
        assert!(matches!(stands(&paused(PauseReason::Operator), true), Some(End::Paused)));
    }

    #[test]
    fn a_pause_for_want_of_the_lock_is_waited_out_unless_another_has_it() {
        let paused = Event::Paused { reason: PauseReason::Trouble, why: "x".into() };
        let told = |lock: Event| waits_for_the_lock(&run(vec![lock, paused.clone()]));
        assert!(told(Event::LockUnsure { why: "x".into(), lapsed: true }));
        assert!(!told(Event::LockLost { why: "x".into() }));
        assert!(!told(Event::LockHeld { token: crate::fleet::FenceToken::new(1) }));
    }

    #[test]
    fn an_end_ends_it_in_any_case() {
        let ended = run(vec![Event::RunEnded { outcome: Outcome::Aborted, why: String::new() }]);
        assert!(matches!(stands(&ended, false), Some(End::Ended(Outcome::Aborted))));
        assert!(stands(&run(vec![Event::Resumed]), true).is_none());
    }
}
