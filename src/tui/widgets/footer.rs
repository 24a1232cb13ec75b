//! The footer: what was said last, and what can be pressed now.

use super::super::app::{App, Screen};
use super::super::command::Command;
use super::super::hits::Hit;
use super::super::text::{fit, width};
use super::paint;
use crate::journal::Tone;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

/// Paints the footer: a line for notices, a line of keys.
pub fn draw(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let foot = Rect { y: area.y + 1, height: 1, ..area };
    paint(frame, area, vec![notice(app, area.width.into()), keys(app, foot)], "");
}

fn notice(app: &App, columns: usize) -> Line<'static> {
    let t = &app.theme;
    let Some(notice) = &app.notice else { return tips(app, columns) };
    let (glyph, style) = match notice.tone {
        Tone::Calm => ("›", t.text),
        Tone::Notice => ("!", t.notice),
        Tone::Alarm => ("✗", t.alarm),
    };
    Line::styled(fit(&format!(" {glyph} {}", notice.text), columns), style)
}

/// As many of the tips as fit, then a rule to the edge.
fn tips(app: &App, columns: usize) -> Line<'static> {
    let mut words = String::from("─");
    for phrase in super::super::tips::phrases(app) {
        let gap = if words.contains(' ') { "   " } else { " " };
        if width(&words) + gap.len() + width(&phrase) + 1 > columns {
            continue;
        }
        words.push_str(gap);
        words.push_str(&phrase);
    }
    if words.contains(' ') {
        words.push(' ');
    }
    let rule = "─".repeat(columns.saturating_sub(width(&words)));
    Line::styled(words + &rule, app.theme.dim)
}

/// The keys of this mode that do something now, made from the key table. Each can be clicked.
fn keys(app: &App, area: Rect) -> Line<'static> {
    let t = &app.theme;
    let columns = usize::from(area.width);
    let mut spans: Vec<Span<'static>> = vec![" ".into()];
    let mut used = 1;
    let mut hidden = false;
    let offered: Vec<(String, Command)> = app
        .keymap
        .lines(app.mode())
        .filter(|b| !b.command.hint().is_empty() && app.hindrance(b.command).is_none() && !at_home(app, b.command))
        .filter_map(|b| Some((app.keymap.keys_of(app.mode(), b).next()?.to_string(), b.command)))
        .collect();
    let room = |(key, command): &(String, Command)| width(key) + 1 + width(command.hint()) + 2;
    // The way back and the help always have their places: the help leads to all the others.
    let essential = |command: Command| matches!(command, Command::Help | Command::Back);
    let mut reserved: usize = offered.iter().filter(|(_, command)| essential(*command)).map(room).sum();
    let tail = "…";
    for offer in &offered {
        let (key, command) = offer;
        if essential(*command) {
            reserved -= room(offer);
        }
        if used + room(offer) + reserved + width(tail) > columns || (hidden && !essential(*command)) {
            hidden = true;
            continue;
        }
        let place = Rect { x: area.x + u16::try_from(used).unwrap_or(0), width: 0, height: 1, ..area };
        let place = Rect { width: u16::try_from(room(offer)).unwrap_or(0).saturating_sub(1), ..place };
        app.hits.put(place, Hit::Key(*command));
        used += room(offer);
        spans.push(Span::styled(key.clone(), t.key));
        spans.push(Span::raw(format!(" {}  ", command.hint())));
    }
    if hidden {
        spans.push(Span::styled(tail, t.dim));
    }
    Line::from(spans)
}

/// There is nothing behind the home screen.
fn at_home(app: &App, command: Command) -> bool {
    command == Command::Back && app.over.is_none() && app.screen == Screen::Topology && !app.map.has_way_back()
}
