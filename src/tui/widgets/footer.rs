//! The footer: what was said last, and what can be pressed now.

use super::super::app::App;
use super::super::command::Command;
use super::super::text::{fit, width};
use super::paint;
use crate::journal::Tone;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

/// Paints the footer: a line for notices, a line of keys.
pub fn draw(app: &App, frame: &mut Frame<'_>, area: Rect) {
    paint(frame, area, vec![notice(app, area.width.into()), keys(app, area.width.into())], "");
}

fn notice(app: &App, columns: usize) -> Line<'static> {
    let t = &app.theme;
    let Some(notice) = &app.notice else {
        return Line::styled("─".repeat(columns), t.dim);
    };
    let (glyph, style) = match notice.tone {
        Tone::Calm => ("›", t.text),
        Tone::Notice => ("!", t.notice),
        Tone::Alarm => ("✗", t.alarm),
    };
    Line::styled(fit(&format!(" {glyph} {}", notice.text), columns), style)
}

/// The keys of this mode that do something now, made from the key table.
fn keys(app: &App, columns: usize) -> Line<'static> {
    let t = &app.theme;
    let mut spans: Vec<Span<'static>> = vec![" ".into()];
    let mut used = 1;
    let mode = app.mode();
    let mut hidden = false;
    // `?` always has its place: it leads to all the others.
    let tail = "…";
    for binding in app.keymap.lines(mode) {
        let (Some(key), hint) = (binding.keys.first(), binding.command.hint()) else { continue };
        if hint.is_empty() || app.hindrance(binding.command).is_some() || at_home(app, binding.command) {
            continue;
        }
        let room = width(key) + 1 + width(hint) + 2;
        if used + room + width(tail) > columns {
            hidden = true;
            continue;
        }
        used += room;
        spans.push(Span::styled((*key).to_owned(), t.key));
        spans.push(Span::raw(format!(" {hint}  ")));
    }
    if hidden {
        spans.push(Span::styled(tail, t.dim));
    }
    Line::from(spans)
}

/// There is nothing behind the home screen.
fn at_home(app: &App, command: Command) -> bool {
    command == Command::Back && app.over.is_none() && app.screen == super::super::app::Screen::Topology
}
