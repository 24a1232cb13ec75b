//! The tape of a replay: how far it is, how fast it goes, what is marked on it.

use super::super::app::App;
use super::super::hits::Hit;
use super::super::player::{MarkKind, Player};
use super::super::replay::place;
use super::super::theme::Theme;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

/// Paints the tape: one line.
pub fn draw(app: &App, player: &Player, frame: &mut Frame<'_>, area: Rect) {
    let (line, track) = line(&app.theme, player, area.width.into());
    let at = |n: usize| u16::try_from(n).unwrap_or(0);
    app.hits.put(Rect { x: area.x + at(track.0), width: at(track.1), ..area }, Hit::Tape);
    super::paint(frame, area, vec![line], "");
}

/// The line, and where the track begins in it and how long it is.
fn line(t: &Theme, player: &Player, width: usize) -> (Line<'static>, (usize, usize)) {
    let (glyph, word) = if player.playing() { ("▶", "playing") } else { ("‖", "stopped, speed") };
    let left = format!(" {glyph} {word} ×{} ", player.speed());
    let (played, all) = (player.played(), player.records().len());
    let right = format!(" {}  event {played}/{all} ", place(player));
    let room = width.saturating_sub(left.chars().count() + right.chars().count());
    let begin = left.chars().count();
    let mut spans = vec![Span::styled(left, if player.playing() { t.busy } else { t.notice })];
    spans.extend(track(t, player, room));
    spans.push(Span::raw(right));
    (Line::from(spans), (begin, room))
}

/// The track itself: the worst mark of each column, and where we are.
fn track(t: &Theme, player: &Player, width: usize) -> Vec<Span<'static>> {
    if width < 3 {
        return Vec::new();
    }
    let column = |share: f64| ((share * (width - 1) as f64).round() as usize).min(width - 1);
    let mut marks: Vec<Option<MarkKind>> = vec![None; width];
    for mark in player.marks() {
        let place = &mut marks[column(player.share(mark.record))];
        *place = (*place).max(Some(mark.kind));
    }
    let here = column(player.share_of(player.at()));
    let look = |i: usize| -> (&'static str, Style) {
        match (i == here, marks[i]) {
            (true, _) => ("●", t.key),
            (_, Some(MarkKind::Failure)) => ("✗", t.alarm),
            (_, Some(MarkKind::Pause)) => ("‖", t.notice),
            (_, Some(MarkKind::Wave)) => ("│", t.dim),
            (_, None) if i < here => ("━", t.good),
            (_, None) => ("─", t.dim),
        }
    };
    (0..width).map(look).map(|(glyph, style)| Span::styled(glyph, style)).collect()
}
