//! The themes that there are, over the screen; the one under the cursor is shown already.

use super::super::app::App;
use super::super::hits::Hit;
use super::super::text::{self, pad};
use super::super::widgets::{paint, popup};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

/// Paints the list.
pub fn draw(app: &App, frame: &mut Frame<'_>, area: Rect, cursor: usize) {
    let t = &app.theme;
    let names = app.options.looks.themes();
    let height = u16::try_from(names.len() + 4).unwrap_or(u16::MAX);
    let inner = popup(t, frame, area, "Themes", 40, height);
    let room = usize::from(inner.height).saturating_sub(2);
    let top = if names.len() <= room { 0 } else { text::window(cursor, names.len(), room) };
    let mut lines = Vec::new();
    for (i, name) in names.iter().enumerate().skip(top).take(room) {
        let y = inner.y + u16::try_from(i - top).unwrap_or(0);
        app.hits.put(Rect { y, height: 1, ..inner }, Hit::Row(i));
        let kept = app.options.looks.theme.as_deref() == Some(name.as_str());
        let style = if i == cursor { t.selected } else { t.text };
        lines.push(Line::from(vec![
            Span::styled(format!("{} {}", if kept { "◉" } else { "○" }, pad(name, 24)), style),
            Span::styled(if kept { "  kept" } else { "" }, t.dim),
        ]));
    }
    lines.push(Line::default());
    let signs =
        [("✓ good ", t.good), ("▶ busy ", t.busy), ("! notice ", t.notice), ("✗ alarm ", t.alarm), ("dim", t.dim)];
    lines.push(Line::from(signs.map(|(word, style)| Span::styled(word, style)).to_vec()));
    paint(frame, inner, lines, "");
}
