//! The keys of the screen below, made from the key table itself.

use super::super::app::App;
use super::super::keymap::Binding;
use super::super::lens::Mark;
use super::super::text::pad;
use super::super::widgets::{heading, paint, popup};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

const WIDTH: u16 = 76;

/// Paints the help from its line `top` on.
pub fn draw(app: &App, frame: &mut Frame<'_>, area: Rect, top: usize) {
    let lines = lines(app);
    let height = u16::try_from(lines.len() + 2).unwrap_or(u16::MAX).min(area.height);
    let title = format!("Keys on the {} screen", app.screen.mode().title());
    let inner = popup(&app.theme, frame, area, &title, WIDTH, height);
    let top = top.min(lines.len().saturating_sub(inner.height.into()));
    paint(frame, inner, lines.into_iter().skip(top).collect(), "lines: down");
}

/// How many lines it can be scrolled by.
pub fn len(app: &App) -> usize {
    lines(app).len().saturating_sub(usize::from(app.size.1).saturating_sub(7))
}

/// All its text.
#[cfg(test)]
pub fn words(app: &App) -> String {
    lines(app).iter().map(|l| l.to_string() + "\n").collect()
}

/// As many of its keys as there is room for.
fn keys(app: &App, binding: &Binding) -> String {
    let mode = app.screen.mode();
    let keys: Vec<String> = app.keymap.keys_of(mode, binding).map(ToString::to_string).collect();
    (1..=keys.len()).rev().map(|n| keys[..n].join(" ")).find(|k| k.len() <= 10).unwrap_or_default()
}

fn lines(app: &App) -> Vec<Line<'static>> {
    let t = &app.theme;
    let mode = app.screen.mode();
    let mut lines = Vec::new();
    let mut last = None;
    for binding in app.keymap.lines(mode) {
        if last != Some(binding.mode) {
            lines.push(heading(t, binding.mode.title(), "", WIDTH - 4));
            last = Some(binding.mode);
        }
        let keys = keys(app, binding);
        if keys.is_empty() {
            continue;
        }
        lines.push(Line::from(vec![
            Span::styled(pad(&keys, 11), t.key),
            Span::styled(pad(binding.command.name(), 14), t.dim),
            Span::raw(binding.command.about()),
        ]));
    }
    lines.push(heading(t, "marks", "", WIDTH - 4));
    for three in Mark::ALL.chunks(4) {
        let spans = three.iter().map(|m| Span::styled(pad(&format!("{} {}", m.glyph(), m.word()), 17), m.style(t)));
        lines.push(Line::from(spans.collect::<Vec<_>>()));
    }
    lines
}
