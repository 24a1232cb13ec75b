//! One message to the next state. Pure: no I/O, no clock; what must be done comes back as effects.

use super::app::{App, ConfirmView, Over, Question, Screen};
use super::command::Command;
use super::decide;
use super::flow;
use super::keymap::Mode;
use super::msg::{Back, Effect, Msg};
use super::{copy, events, history, map, mouse, outline, palette, replay, stage};
use crate::fleet::clean;
use crate::journal::{LONGEST_REASON, Tone, Verb};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Characters of a cluster's name that can be typed; names are at most 63 long.
const TYPED: usize = 80;

/// Lines that a page key moves.
const PAGE: isize = 10;

/// Takes one message; returns what must be done.
pub fn update(app: &mut App, msg: Msg) -> Vec<Effect> {
    let mut effects = take(app, msg);
    effects.extend(stage::draft(app));
    effects
}

fn take(app: &mut App, msg: Msg) -> Vec<Effect> {
    match msg {
        Msg::Key(key) => press(app, key),
        Msg::Mouse(event) => mouse::take(app, event),
        Msg::Resize(columns, rows) => {
            app.size = (columns, rows);
            app.touch();
            Vec::new()
        }
        other => flow::take(app, other),
    }
}

fn press(app: &mut App, key: KeyEvent) -> Vec<Effect> {
    let mode = app.mode();
    match app.keymap.find(mode, key) {
        Some(command) => run(app, command),
        None => {
            if let KeyCode::Char(c) = key.code {
                type_in(app, c, key.modifiers);
            }
            Vec::new()
        }
    }
}

fn type_in(app: &mut App, c: char, modifiers: KeyModifiers) {
    if modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) || c.is_control() {
        return;
    }
    match app.mode() {
        Mode::Confirm if app.confirm.typed.len() < TYPED && !app.confirm.starting => {
            app.confirm.typed.push(c);
            app.confirm.wrong = None;
        }
        Mode::Palette => palette::type_in(app, c),
        Mode::Filter => map::type_in(app, c),
        Mode::Edit => stage::type_in(app, c),
        Mode::Find => events::type_in(app, c),
        Mode::Reason if app.ask.typed.chars().count() < LONGEST_REASON => {
            app.ask.typed.push(c);
            app.ask.wrong = None;
        }
        _ => return,
    }
    app.touch();
}

/// Does a command, or says why it cannot be done.
pub fn run(app: &mut App, command: Command) -> Vec<Effect> {
    if let Some(why) = app.hindrance(command) {
        app.say(Tone::Notice, why);
        return Vec::new();
    }
    app.touch();
    if replay::command(app, command) {
        return Vec::new();
    }
    if let Some(effects) = map::command(app, command).or_else(|| stage::command(app, command)) {
        return effects;
    }
    if let Some(effects) = events::command(app, command).or_else(|| history::command(app, command)) {
        return effects;
    }
    match command {
        Command::Help => {
            app.over = Some(Over::Help(0));
        }
        Command::CloseHelp => app.over = None,
        Command::Palette => palette::open(app),
        Command::Quit => return quit(app),
        Command::Repaint => return vec![Effect::Repaint],
        Command::Suspend => return vec![Effect::Suspend],
        Command::Log => {
            (app.over, app.trace) = (Some(Over::Trace(0)), None);
            return vec![Effect::Trace];
        }
        Command::ChooseTheme => {
            let kept = app.options.looks.theme.clone();
            let at = app.options.looks.themes().iter().position(|name| Some(name) == kept.as_ref());
            app.over = Some(Over::Themes(at.unwrap_or(0)));
        }
        Command::Clusters => {
            let here = app.options.clusters.iter().position(|name| *name == app.options.title);
            app.over = Some(Over::Clusters(here.unwrap_or(0)));
        }
        Command::Copy => return take_along(app, copy::thing(app)),
        Command::CopyLine => return take_along(app, copy::command_line(app)),
        Command::Back => back(app),
        Command::Up => return step(app, -1),
        Command::Down => return step(app, 1),
        Command::PageUp => return step(app, -PAGE),
        Command::PageDown => return step(app, PAGE),
        Command::First => return step(app, isize::MIN),
        Command::Last => return step(app, isize::MAX),
        Command::Left => return sideways(app, -1),
        Command::Right => return sideways(app, 1),
        Command::Observe => {
            app.sight.looking = true;
            return vec![Effect::Observe];
        }
        Command::OpenStage => app.screen = Screen::Stage,
        Command::OpenMap => app.screen = Screen::Topology,
        Command::OpenRun => app.screen = Screen::Run,
        Command::Fold => fold(app),
        Command::FoldAll => fold_all(app),
        Command::OpenConfirm => {
            app.confirm = ConfirmView::default();
            app.screen = Screen::Confirm;
        }
        Command::Apply => return apply(app),
        Command::Erase | Command::EraseAll if app.over == Some(Over::Palette) => {
            palette::erase(app, command == Command::EraseAll);
        }
        Command::Erase | Command::EraseAll if app.mode() == Mode::Find => {
            events::erase(app, command == Command::EraseAll);
        }
        Command::Erase | Command::EraseAll if app.mode() == Mode::Edit => {
            stage::erase(app, command == Command::EraseAll);
        }
        Command::Erase | Command::EraseAll if app.mode() == Mode::Filter => {
            map::erase(app, command == Command::EraseAll);
        }
        Command::Erase | Command::EraseAll if app.mode() == Mode::Reason => {
            if command == Command::EraseAll {
                app.ask.typed.clear();
            }
            app.ask.typed.pop();
            app.ask.wrong = None;
        }
        Command::Erase => {
            app.confirm.typed.pop();
            app.confirm.wrong = None;
        }
        Command::EraseAll => app.confirm = ConfirmView { starting: app.confirm.starting, ..ConfirmView::default() },
        Command::Pause => return tell(app, Verb::Pause),
        Command::Resume => return tell(app, Verb::Resume),
        Command::Abort => app.over = Some(Over::Ask(Question::Abort)),
        Command::Rollback => return roll_back(app),
        Command::Retry | Command::Skip | Command::RollBack | Command::Override => decide::open(app, command),
        Command::OpenReport => {
            app.report_top = 0;
            app.notice = None;
            app.screen = Screen::Report;
        }
        Command::Yes if app.over == Some(Over::Palette) => return palette::choose(app),
        Command::Yes if matches!(app.over, Some(Over::Clusters(_))) => return switch(app),
        Command::Yes if matches!(app.over, Some(Over::Themes(_))) => return keep_theme(app),
        Command::No if matches!(app.over, Some(Over::Themes(_))) => {
            app.theme = app.options.looks.the_theme().unwrap_or(app.theme);
            app.over = None;
        }
        Command::Yes => return yes(app),
        Command::No => app.over = None,
        // The map's are done above; without a tape there is nothing for the player's to move.
        _ => {}
    }
    Vec::new()
}

/// Puts a text on the operator's clipboard, and says which.
fn take_along(app: &mut App, text: Option<String>) -> Vec<Effect> {
    let Some(text) = text else {
        app.say(Tone::Notice, "there is nothing to copy under the cursor");
        return Vec::new();
    };
    let first = text.lines().next().unwrap_or_default();
    let more = if text.lines().nth(1).is_some() { " …" } else { "" };
    app.say(Tone::Calm, format!("copied: {first}{more}"));
    vec![Effect::Copy(text)]
}

/// Keeps the theme under the cursor, now and for the next time.
fn keep_theme(app: &mut App) -> Vec<Effect> {
    let Some(Over::Themes(at)) = app.over.take() else { return Vec::new() };
    let Some(name) = app.options.looks.themes().get(at).cloned() else { return Vec::new() };
    app.options.looks.theme = Some(name.clone());
    preview(app, at);
    vec![Effect::Remember("theme", name)]
}

/// Shows a theme; one that cannot be read says why, and what was shown stays.
fn preview(app: &mut App, at: usize) {
    let Some(name) = app.options.looks.themes().get(at).cloned() else { return };
    match app.options.looks.clone().with_theme(&name).the_theme() {
        Ok(theme) => app.theme = theme,
        Err(why) => app.say(Tone::Alarm, why),
    }
}

/// Leaves for another cluster; the same one only closes the list.
fn switch(app: &mut App) -> Vec<Effect> {
    let Some(Over::Clusters(at)) = app.over.take() else { return Vec::new() };
    match app.options.clusters.get(at) {
        _ if app.confirm.starting => {
            app.say(Tone::Notice, "the engine is being started: a moment");
            Vec::new()
        }
        Some(name) if *name != app.options.title => vec![Effect::Switch(name.clone())],
        _ => Vec::new(),
    }
}

/// Leaves, asking first where leaving means something. A second quit on the question is a yes.
fn quit(app: &mut App) -> Vec<Effect> {
    match app.over {
        Some(Over::Ask(Question::Detach | Question::EndDemo)) => yes(app),
        _ if app.options.demo => {
            app.over = Some(Over::Ask(Question::EndDemo));
            Vec::new()
        }
        _ if app.confirm.starting => {
            vec![Effect::Leave(Some("an engine was being started; `sonoba runs` tells whether it runs.".into()))]
        }
        _ if app.live().is_some_and(|r| !r.lost) && !app.options.read_only => {
            app.over = Some(Over::Ask(Question::Detach));
            Vec::new()
        }
        _ => vec![Effect::Leave(None)],
    }
}

fn yes(app: &mut App) -> Vec<Effect> {
    match app.over.take() {
        Some(Over::Ask(Question::Abort)) => tell(app, Verb::Abort),
        Some(Over::Ask(question)) if app.run.is_some() && decide::asks(question) => match decide::answer(app, question)
        {
            Ok(verb) => tell(app, verb),
            Err(why) => {
                app.ask.wrong = Some(why);
                app.over = Some(Over::Ask(question));
                Vec::new()
            }
        },
        Some(Over::Ask(Question::EndDemo)) => vec![Effect::Leave(None)],
        Some(Over::Ask(Question::Detach)) => {
            let word = app.live().map(|r| {
                format!(
                    "run {id} goes on without the cockpit. Come back with `sonoba`, watch with `sonoba watch {id}`, \
                     pause with `sonoba pause {id}`.",
                    id = r.id
                )
            });
            vec![Effect::Leave(word)]
        }
        _ => Vec::new(),
    }
}

/// Sends a command. The screen shows its effect when the journal tells of it, not now.
fn tell(app: &mut App, verb: Verb) -> Vec<Effect> {
    let (Some(authority), Some(view)) = (app.authority(), app.run.as_mut()) else { return Vec::new() };
    view.sent = Some(verb.clone());
    app.say(Tone::Calm, format!("{} sent; it shows here when the engine has taken it", verb.word()));
    vec![Effect::Command(authority, verb)]
}

fn back(app: &mut App) {
    let stepped = match app.screen {
        Screen::Topology => map::back(app),
        Screen::Events => events::back(app),
        Screen::History => history::back(app),
        _ => false,
    };
    if stepped {
        return;
    }
    app.screen = match app.screen {
        Screen::Topology | Screen::Stage | Screen::Run | Screen::History => Screen::Topology,
        Screen::Plan if app.plan.as_ref().is_some_and(|v| v.plan.rollback_of.is_some()) => Screen::Run,
        Screen::Plan => Screen::Stage,
        Screen::Confirm if app.confirm.starting => Screen::Confirm,
        Screen::Confirm => Screen::Plan,
        Screen::Report | Screen::Events => Screen::Run,
    };
}

/// Moves what can be moved here: a cursor, or the text.
pub fn step(app: &mut App, by: isize) -> Vec<Effect> {
    app.touch();
    if app.over.is_none() && app.screen == Screen::Topology {
        return map::walk(app, by);
    }
    scroll(app, by);
    Vec::new()
}

fn scroll(app: &mut App, by: isize) {
    let moved = |at: usize, total: usize| at.saturating_add_signed(by).min(total.saturating_sub(1));
    if let Some(Over::Help(top)) = app.over {
        app.over = Some(Over::Help(top.saturating_add_signed(by).min(super::screens::help::len(app))));
        return;
    }
    match app.over {
        Some(Over::Palette) => return palette::step(app, by),
        Some(Over::Trace(back)) => {
            let back = back.saturating_add_signed(by.saturating_neg()).min(super::screens::trace::len(app));
            app.over = Some(Over::Trace(back));
            return;
        }
        Some(Over::Clusters(at)) => {
            app.over = Some(Over::Clusters(moved(at, app.options.clusters.len())));
            return;
        }
        Some(Over::Themes(at)) => {
            let to = moved(at, app.options.looks.themes().len());
            app.over = Some(Over::Themes(to));
            return preview(app, to);
        }
        _ => {}
    }
    match app.screen {
        Screen::Topology => {}
        Screen::Events => events::step(app, by),
        Screen::History => history::step(app, by),
        Screen::Stage => app.stage.cursor = moved(app.stage.cursor, stage::rows(app).len()),
        Screen::Plan => {
            if let Some(view) = &mut app.plan {
                view.cursor = moved(view.cursor, outline::rows(view).len());
            }
        }
        Screen::Confirm => {}
        Screen::Run => {
            // One step chooses a node, where there is one to choose; a page goes through the log.
            if by.unsigned_abs() == 1 && decide::walk(app, by) {
                return;
            }
            if let Some(view) = &mut app.run {
                // Up goes into the past.
                view.back = view.back.saturating_add_signed(by.saturating_neg()).min(view.run.log.len());
            }
        }
        Screen::Report => {
            app.report_top = app.report_top.saturating_add_signed(by).min(super::screens::report::len(app));
        }
    }
}

fn sideways(app: &mut App, by: isize) -> Vec<Effect> {
    match app.screen {
        Screen::Topology => return map::sideways(app, by),
        Screen::Stage => {
            let more = if by > 0 { Command::More } else { Command::Less };
            return stage::command(app, more).unwrap_or_default();
        }
        Screen::Plan => {
            let Some(view) = &mut app.plan else { return Vec::new() };
            let key = outline::rows(view).get(view.cursor).and_then(|r| outline::fold_key(*r));
            if key.is_some_and(|key| view.open.contains(&key) != (by > 0)) {
                fold(app);
            }
        }
        _ => {}
    }
    Vec::new()
}

/// Has the way back of the run planned. Nothing is asked here: the plan is read first, and applied as any other.
fn roll_back(app: &mut App) -> Vec<Effect> {
    let (Some(authority), Some(view)) = (app.authority(), app.run.as_ref()) else { return Vec::new() };
    let (run, plan, done) = (view.id.clone(), view.run.plan.clone(), view.run.done());
    let redefined = view.run.pods.redefined_on();
    let back = Back { run, plan, done, redefined, leave_out: app.stage.staged.leave_out };
    app.stage.planning = true;
    app.sight.looking = true;
    vec![Effect::Rollback(authority, Box::new(back))]
}

fn fold(app: &mut App) {
    let Some(view) = &mut app.plan else { return };
    let Some(key) = outline::rows(view).get(view.cursor).and_then(|r| outline::fold_key(*r)) else { return };
    if !view.open.remove(&key) {
        view.open.insert(key);
    }
    // The line that was folded keeps the cursor.
    let holds = |r: &outline::Row| matches!(r, outline::Row::Phase(_) | outline::Row::Wave(..));
    let rows = outline::rows(view);
    let at = rows.iter().position(|r| holds(r) && outline::fold_key(*r) == Some(key));
    view.cursor = at.unwrap_or(view.cursor);
}

fn fold_all(app: &mut App) {
    let Some(view) = &mut app.plan else { return };
    if view.open.is_empty() {
        view.open = (0..view.plan.phases.len()).map(|p| (p, None)).collect();
    } else {
        view.open.clear();
    }
    view.cursor = view.cursor.min(outline::rows(view).len().saturating_sub(1));
}

fn apply(app: &mut App) -> Vec<Effect> {
    let (Some(authority), Some(view)) = (app.authority(), app.plan.as_ref()) else { return Vec::new() };
    // The hindrances of the step before hold here too: a run may have begun, or the plan changed, since.
    if let Some(why) = app.hindrance(Command::OpenConfirm) {
        app.confirm.wrong = Some(why.into_owned());
        return Vec::new();
    }
    let name = view.plan.cluster.name.as_str();
    if app.confirm.typed != name {
        app.confirm.wrong = Some(match app.confirm.typed.is_empty() {
            true => format!("nothing typed: type {name}, or esc to go back"),
            false => format!("{:?} is not {name:?}: nothing was started", clean(&app.confirm.typed)),
        });
        return Vec::new();
    }
    let plan = view.plan.clone();
    app.confirm.wrong = None;
    app.confirm.starting = true;
    vec![Effect::Start(authority, plan)]
}
