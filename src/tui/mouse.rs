//! The mouse: what is painted can be clicked, lists scroll, a double click leads nearer, the tape is dragged.

use super::app::{App, Over, Screen};
use super::command::Command;
use super::hits::Hit;
use super::msg::Effect;
use super::update::{run, step};
use super::{decide, map};
use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use jiff::{SignedDuration, Timestamp};

/// Lines that a turn of the wheel moves.
const WHEEL: isize = 3;

/// Two clicks on one thing within this time are a double click.
const DOUBLE: SignedDuration = SignedDuration::from_millis(600);

/// What was clicked last, and when.
#[derive(Debug, Default)]
pub struct Clicks {
    last: Option<(Hit, Timestamp)>,
    /// The tape is held.
    dragging: bool,
}

/// Takes an event of the mouse.
pub fn take(app: &mut App, event: MouseEvent) -> Vec<Effect> {
    match event.kind {
        MouseEventKind::Down(MouseButton::Left) => click(app, event.column, event.row),
        MouseEventKind::Drag(MouseButton::Left) if app.clicks.dragging => seek(app, event.column),
        MouseEventKind::Up(_) => {
            app.clicks.dragging = false;
            Vec::new()
        }
        MouseEventKind::ScrollUp => step(app, -WHEEL),
        MouseEventKind::ScrollDown => step(app, WHEEL),
        _ => Vec::new(),
    }
}

fn click(app: &mut App, column: u16, row: u16) -> Vec<Effect> {
    let Some((_, hit)) = app.hits.at(column, row) else { return Vec::new() };
    let before = app.clicks.last.replace((hit.clone(), app.wall));
    let twice = before.is_some_and(|(last, at)| last == hit && app.wall.duration_since(at) < DOUBLE);
    if twice {
        app.clicks.last = None;
    }
    app.touch();
    match hit {
        Hit::Key(command) => run(app, command),
        Hit::Tape => {
            app.clicks.dragging = true;
            seek(app, column)
        }
        Hit::Node(node) => match (app.screen, twice) {
            (Screen::Run, false) => {
                decide::select(app, node);
                Vec::new()
            }
            (Screen::Run, true) => map::open_node(app, node),
            (_, false) => {
                app.selected = Some(node);
                Vec::new()
            }
            (Screen::Topology, true) => run(app, Command::ZoomIn),
            (_, true) => map::open_node(app, node),
        },
        Hit::Row(at) => row_clicked(app, at, twice),
    }
}

fn row_clicked(app: &mut App, at: usize, twice: bool) -> Vec<Effect> {
    match (app.over, app.screen) {
        (Some(Over::Palette), _) => {
            app.palette.cursor = at;
            return if twice { super::palette::choose(app) } else { Vec::new() };
        }
        (Some(Over::Clusters(_)), _) => {
            app.over = Some(Over::Clusters(at));
            return if twice { run(app, Command::Yes) } else { Vec::new() };
        }
        (Some(Over::Themes(_)), _) => {
            app.over = Some(Over::Themes(at));
            step(app, 0);
            return if twice { run(app, Command::Yes) } else { Vec::new() };
        }
        (Some(_), _) => return Vec::new(),
        (None, Screen::Stage) if app.stage.edit.is_none() => app.stage.cursor = at,
        (None, Screen::Plan) => {
            if let Some(view) = &mut app.plan {
                view.cursor = at;
            }
        }
        (None, Screen::Events) => app.events.back = super::events::lines(app).len().saturating_sub(at + 1),
        (None, Screen::History) => app.history.cursor = at,
        _ => return Vec::new(),
    }
    let second = match app.screen {
        Screen::Stage => Command::Choose,
        Screen::Plan => Command::Fold,
        Screen::Events => Command::OpenNode,
        _ => Command::ReadReport,
    };
    if twice { run(app, second) } else { Vec::new() }
}

/// Puts the tape where the mouse is.
fn seek(app: &mut App, column: u16) -> Vec<Effect> {
    let track = app.hits.find(&Hit::Tape);
    if let Some(track) = track {
        let share = f64::from(column.saturating_sub(track.x)) / f64::from(track.width.saturating_sub(1).max(1));
        super::replay::seek(app, share);
    }
    Vec::new()
}
