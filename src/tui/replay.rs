//! A recorded run on the same screens: the same fold, fed from a tape.

use super::app::{App, RunView, Screen};
use super::command::Command;
use super::looks::Looks;
use super::player::{MarkKind, Player};
use super::text::span;
use crate::fleet::RunId;
use crate::journal::{Recording, Run, Tone};
use crate::plan::Plan;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;

/// Seconds that a short and a long jump take the tape on or back.
const JUMPS: (f64, f64) = (10.0, 60.0);

/// A tape to play, and how.
#[derive(Debug)]
pub struct Tape {
    /// The recording.
    pub recording: Recording,
    /// How many times faster than it happened.
    pub speed: f64,
    /// Where to begin.
    pub from: From,
}

/// Where on a tape to begin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum From {
    /// At so much after the beginning; before the end where it is negative.
    Offset(SignedDuration),
    /// At a moment.
    Moment(Timestamp),
}

/// Puts a tape into the cockpit. False when there is nothing on it.
pub fn insert(app: &mut App, tape: Tape) -> bool {
    let Tape { recording, speed, from } = tape;
    let Some(mut player) = Player::new(&recording.plan, recording.records, speed) else { return false };
    player.seek(match from {
        From::Moment(moment) => moment,
        From::Offset(offset) => {
            let edge = if offset.is_negative() { player.end() } else { player.begin() };
            edge.checked_add(offset).unwrap_or(edge)
        }
    });
    let plan = Arc::new(recording.plan);
    app.sight.cluster = Some(Arc::new(plan.cluster.clone()));
    app.selected = plan.cluster.nodes.keys().next().cloned();
    app.run = Some(view(recording.about.run, plan));
    app.screen = Screen::Run;
    app.player = Some(player);
    show(app);
    true
}

/// Plays a recording through, to its end and back, without a screen; for fuzzers.
pub(crate) fn wind(recording: Recording) {
    let tape = Tape { recording, speed: 1.0, from: From::Offset(SignedDuration::ZERO) };
    let Some(mut app) = App::for_tape(Looks::default(), tape, Timestamp::UNIX_EPOCH) else { return };
    use Command::*;
    let keys = [TapeEnd, SeekBack, EventBack, EventOn, NextWave, LastFailure, NextFailure, SeekFarBack, TapeBegin];
    keys.into_iter().for_each(|key| assert!(command(&mut app, key), "a key of the player"));
}

fn view(id: RunId, plan: Arc<Plan>) -> RunView {
    let run = Run::new(plan);
    let grace_ms = crate::plan::node_monitor_grace_ms(&run.plan.cluster);
    RunView { id, run, sent: None, lost: false, orphaned: false, back: 0, cursor: None, grace_ms, past: false }
}

/// The real clock moved on.
pub fn tick(app: &mut App, now: Timestamp) {
    if app.player.as_mut().is_some_and(|player| player.tick(now)) {
        show(app);
    }
}

/// Folds the run up to where the tape is: on from what is folded already, or anew when the tape went back.
fn show(app: &mut App) {
    let (Some(player), Some(view)) = (&mut app.player, &mut app.run) else { return };
    let (played, mut shown) = (player.played(), player.shown);
    if played < shown {
        let plan = view.run.plan.clone();
        (view.run, view.back) = (Run::new(plan), 0);
        shown = 0;
    }
    for record in player.records().get(shown..played).unwrap_or_default() {
        view.run.apply(record);
    }
    player.shown = played;
    app.now = player.at();
    app.touch();
}

/// To a share of the tape: 0 to 1.
pub fn seek(app: &mut App, share: f64) {
    if let Some(player) = app.player.as_mut() {
        player.seek_share(share);
        show(app);
    }
}

/// Does what a key of the player asks; false when it is none of the player's.
pub fn command(app: &mut App, command: Command) -> bool {
    let Some(player) = app.player.as_mut() else { return false };
    let mut missing = None;
    match command {
        Command::PlayPause => player.toggle(),
        Command::Slower => player.shift(-1),
        Command::Faster => player.shift(1),
        Command::SeekBack => player.seek_by(-JUMPS.0 * player.speed().max(1.0)),
        Command::SeekOn => player.seek_by(JUMPS.0 * player.speed().max(1.0)),
        Command::SeekFarBack => player.seek_by(-JUMPS.1 * player.speed().max(1.0)),
        Command::SeekFarOn => player.seek_by(JUMPS.1 * player.speed().max(1.0)),
        Command::EventBack => player.step(false),
        Command::EventOn => player.step(true),
        Command::NextFailure => {
            missing = (!player.jump(MarkKind::Failure, true)).then_some("nothing fails after this");
        }
        Command::LastFailure => {
            missing = (!player.jump(MarkKind::Failure, false)).then_some("nothing failed before this");
        }
        Command::NextWave => missing = (!player.jump(MarkKind::Wave, true)).then_some("this is the last wave"),
        Command::TapeBegin => player.seek_share(0.0),
        Command::TapeEnd => player.seek_share(1.0),
        _ => return false,
    }
    show(app);
    if let Some(why) = missing {
        app.say(Tone::Notice, why);
    }
    true
}

/// How long after the beginning the tape is, and how long it is: `12m 31s of 1h 2m`.
pub fn place(player: &Player) -> String {
    let since = |at: Timestamp| u64::try_from(at.duration_since(player.begin()).as_secs()).unwrap_or(0) * 1_000;
    format!("{} of {}", span(since(player.at())), span(since(player.end())))
}
