//! The clusters that there are profiles of, over the screen.

use super::super::app::App;
use super::super::hits::Hit;
use super::super::text::{self, pad};
use super::super::widgets::{paint, popup};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

/// Paints the list; the line at `cursor` would be opened.
pub fn draw(app: &App, frame: &mut Frame<'_>, area: Rect, cursor: usize) {
    let t = &app.theme;
    let height = u16::try_from(app.options.clusters.len() + 2).unwrap_or(u16::MAX);
    let inner = popup(t, frame, area, "Clusters", 56, height);
    let room = usize::from(inner.height);
    let top =
        if app.options.clusters.len() <= room { 0 } else { text::window(cursor, app.options.clusters.len(), room) };
    let shown = app.options.clusters.iter().enumerate().skip(top).take(room);
    let line = |(i, name): (usize, &String)| {
        let y = inner.y + u16::try_from(i - top).unwrap_or(0);
        app.hits.put(Rect { y, height: 1, ..inner }, Hit::Row(i));
        let here = *name == app.options.title;
        let style = if i == cursor { t.selected } else { t.text };
        Line::from(vec![
            Span::styled(format!("{} {}", if here { "◉" } else { "○" }, pad(name, 40)), style),
            Span::styled(if here { "  open" } else { "" }, t.good),
        ])
    };
    paint(frame, inner, shown.map(line).collect(), "");
}
