//! What comes back from outside: observations, plans, the journal.

use super::app::{App, PlanView, RunView, Screen};
use super::msg::{Begun, Effect, Msg};
use super::{decide, outline, replay};
use crate::fleet::{Cluster, RunId, clean};
use crate::journal::{Event, Outcome, PauseReason, Record, Run, RunState, Tone};
use crate::plan::{Plan, Severity};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What happened before this is no news.
const FRESH: SignedDuration = SignedDuration::from_secs(30);

/// Takes a message that is not a key's.
pub fn take(app: &mut App, msg: Msg) -> Vec<Effect> {
    match msg {
        Msg::Key(_) | Msg::Mouse(_) | Msg::Resize(..) => {}
        Msg::Tick(now) => tick(app, now),
        Msg::Observed(result) => {
            app.sight.looking = false;
            match result {
                Ok(cluster) => seen(app, Arc::from(cluster)),
                Err(why) => app.sight.error = Some(clean(&why)),
            }
            app.touch();
        }
        Msg::Drafted(stage, draft) => {
            app.stage.drafting = false;
            app.stage.draft = Some((*stage, draft));
            app.touch();
        }
        Msg::Planned(plan) => {
            app.stage.planning = false;
            show(app, plan);
        }
        Msg::WayBack(result) => {
            app.stage.planning = false;
            app.sight.looking = false;
            match result {
                Ok(plan) => {
                    seen(app, Arc::new(plan.cluster.clone()));
                    show(app, plan);
                }
                Err(why) => app.say(Tone::Alarm, format!("the way back was not planned: {}", clean(&why))),
            }
        }
        Msg::Attached(None) => {
            if app.options.read_only {
                app.say(Tone::Notice, "no run is under way; this is the cluster as it is");
            }
        }
        Msg::Attached(Some(begun)) => attach(app, begun),
        Msg::Started(Ok(begun)) => {
            app.confirm.starting = false;
            // It is the run's now: applying it a second time would be refused.
            app.plan = None;
            attach(app, begun);
        }
        Msg::Started(Err(why)) => {
            app.confirm.starting = false;
            app.confirm.wrong = Some(format!("not started: {}", clean(&why)));
            app.touch();
        }
        Msg::Records(id, records) => return fold(app, &id, &records),
        Msg::RecordsEnded(id) => {
            if let Some(view) = app.run.as_mut().filter(|v| v.id == id && v.run.ended().is_none()) {
                view.lost = true;
                app.touch();
            }
        }
        Msg::Engine(id, lives) => {
            if let Some(view) = app.run.as_mut().filter(|v| v.id == id && v.orphaned == lives) {
                view.orphaned = !lives;
                app.touch();
            }
        }
        Msg::Near(node, near) => {
            if let Some(view) = app.map.near.as_mut().filter(|view| view.node == node) {
                view.near = Some(near.map_err(|why| clean(&why)));
                app.touch();
            }
        }
        Msg::Past(runs) => {
            app.history.runs = Some(runs.map_err(|why| clean(&why)));
            app.touch();
        }
        Msg::Trace(log) => {
            app.trace = Some(log);
            app.touch();
        }
        Msg::Remembered(Ok(())) => {}
        Msg::Remembered(Err(why)) => app.say(Tone::Alarm, format!("not kept for the next time: {}", clean(&why))),
        Msg::Commanded(verb, result) => {
            if let Err(why) = result {
                if let Some(view) = &mut app.run {
                    view.sent = None;
                }
                app.say(Tone::Alarm, format!("{} not delivered: {}", verb.word(), clean(&why)));
            }
        }
    }
    Vec::new()
}

/// The cluster, as it was just observed.
fn seen(app: &mut App, cluster: Arc<Cluster>) {
    app.sight.error = None;
    app.sight.at = Some(app.now);
    if !app.selected.as_ref().is_some_and(|n| cluster.nodes.contains_key(n)) {
        app.selected = cluster.masters().chain(cluster.workers()).next().map(|n| n.name.clone());
    }
    app.stage.forget_draft();
    app.sight.cluster = Some(cluster);
    if let Some(view) = &mut app.run {
        // A watcher does not see what runs on nodes: its journal stays what it knows.
        view.past = view.run.ended().is_some() && !app.options.read_only;
    }
}

/// Puts a plan on the table.
fn show(app: &mut App, plan: Arc<Plan>) {
    app.plan = Some(unfolded(plan, super::screens::plan::tree_height(app.size.1)));
    app.screen = Screen::Plan;
    app.touch();
}

/// The plan with as much unfolded as fits `height` lines; lists of pulls stay folded.
fn unfolded(plan: Arc<Plan>, height: usize) -> PlanView {
    let (made, acknowledged) = (plan.clone(), BTreeSet::new());
    let mut view = PlanView { plan: plan.clone(), made, acknowledged, open: BTreeSet::new(), cursor: 0 };
    // The workers' phase is the last, and the one that is read most.
    for (p, _) in plan.phases.iter().enumerate().rev().filter(|(_, phase)| phase.pulls.is_empty()) {
        view.open.insert((p, None));
        if outline::rows(&view).len() > height {
            view.open.remove(&(p, None));
            break;
        }
    }
    // What must be read first, or else where the work begins.
    let grave = |s| outline::findings(&view.plan, s) > 0;
    if !grave(Severity::Error) && !grave(Severity::Warning) {
        let rows = outline::rows(&view);
        view.cursor = rows.iter().position(|row| matches!(row, outline::Row::Phase(_))).unwrap_or(0);
    }
    view
}

fn tick(app: &mut App, now: Timestamp) {
    app.wall = now;
    match app.player {
        Some(_) => replay::tick(app, now),
        None => app.now = now,
    }
    if app.notice.as_ref().is_some_and(|n| n.until <= now) {
        app.notice = None;
        app.touch();
    }
    if app.player.is_none() && app.moving() {
        app.touch();
    }
}

fn attach(app: &mut App, begun: Begun) {
    let grace_ms = crate::plan::node_monitor_grace_ms(&begun.plan.cluster);
    let run = Run::new(begun.plan);
    app.report_top = 0;
    app.run = Some(RunView {
        id: begun.id,
        run,
        sent: None,
        lost: false,
        orphaned: false,
        back: 0,
        cursor: None,
        grace_ms,
        past: false,
    });
    app.over = None;
    app.screen = Screen::Run;
    app.touch();
}

/// Folds records; those of a run that is no longer on the screen are passed over.
fn fold(app: &mut App, id: &RunId, records: &[Record]) -> Vec<Effect> {
    let Some(view) = app.run.as_mut().filter(|v| v.id == *id) else { return Vec::new() };
    let (was, lines) = (view.run.state, view.run.log.len());
    for record in records {
        view.run.apply(record);
        // Whoever wrote that lives.
        view.orphaned &= !matches!(record.event, Event::EngineStarted { .. });
    }
    if view.back > 0 {
        // Who reads the past keeps the place while the log grows.
        view.back += view.run.log.len().saturating_sub(lines);
    }
    let state = view.run.state;
    let taken = |r: &Record| matches!(&r.event, Event::Command { verb, .. } if Some(verb) == view.sent.as_ref());
    if state != was || records.iter().any(taken) {
        view.sent = None;
    }
    app.touch();
    match (was, state) {
        (RunState::Ended(_), _) => {}
        (_, RunState::Ended(outcome)) => {
            let calm = matches!(outcome, Outcome::Completed | Outcome::RolledBack);
            let tone = if calm { Tone::Calm } else { Tone::Alarm };
            // What lay over the screen asked about a run that is over now.
            app.over = app.over.filter(|o| !matches!(o, super::app::Over::Ask(_)));
            app.say(tone, format!("the run has ended: {}; its report says more", outcome.word()));
            app.sight.looking = true;
            // Who only watches sees the next run too, when one begins.
            let mut effects = vec![Effect::Observe];
            effects.extend(call(app, records, outcome.word()));
            effects.extend(app.options.read_only.then_some(Effect::Attach));
            return effects;
        }
        (_, RunState::Paused(reason)) if was != state => {
            // What can be decided now is about a node in trouble: the first, unless another is looked at.
            if reason == PauseReason::Budget && app.run.as_ref().is_some_and(|view| view.cursor.is_none()) {
                decide::walk(app, 1);
                let node = app.run.as_ref().and_then(|view| view.cursor.clone());
                app.selected = node.filter(|_| app.screen == Screen::Run).or(app.selected.take());
            }
            let why = app.run.as_ref().map(|v| v.run.why.clone()).unwrap_or_default();
            app.say(Tone::Notice, format!("paused: {why}"));
            return call(app, records, &format!("paused: {why}")).into_iter().collect();
        }
        _ => {}
    }
    Vec::new()
}

/// Calls the operator, unless it happened long ago: whoever attaches to a run reads its past at once.
fn call(app: &App, records: &[Record], what: &str) -> Option<Effect> {
    let fresh = records.last().is_some_and(|r| app.now.duration_since(r.at) < FRESH);
    let id = app.run.as_ref().map(|view| view.id.to_string()).unwrap_or_default();
    fresh.then(|| Effect::Notify(format!("sonoba: run {id} {what}")))
}
