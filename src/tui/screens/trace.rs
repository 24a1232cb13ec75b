//! What sonoba itself logged, over the screen; it goes to a file, and is never printed beside the cockpit.

use super::super::app::App;
use super::super::text;
use super::super::widgets::{paint, popup};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

/// Paints the tail of the log, scrolled up by `back` lines.
pub fn draw(app: &App, frame: &mut Frame<'_>, area: Rect, back: usize) {
    let t = &app.theme;
    let inner = popup(t, frame, area, "Log of this cockpit", area.width, area.height);
    let lines = lines(app, inner.width.into());
    let height = usize::from(inner.height);
    let back = back.min(lines.len().saturating_sub(height));
    let end = lines.len() - back;
    let shown = lines.into_iter().take(end).skip(end.saturating_sub(height)).collect();
    paint(frame, inner, shown, "");
}

/// How many lines it can be scrolled by.
pub fn len(app: &App) -> usize {
    lines(app, usize::from(app.size.0).saturating_sub(6)).len()
}

fn lines(app: &App, width: usize) -> Vec<Line<'static>> {
    let t = &app.theme;
    match &app.trace {
        None => vec![Line::styled("reading…", t.busy)],
        Some(Err(why)) => {
            text::wrap(&format!("✗ {why}"), width).into_iter().map(|l| Line::styled(l, t.alarm)).collect()
        }
        Some(Ok(log)) if log.trim().is_empty() => vec![Line::styled("nothing was logged yet", t.dim)],
        Some(Ok(log)) => log
            .lines()
            .flat_map(|line| {
                let style = match line {
                    l if l.contains("ERROR") => t.alarm,
                    l if l.contains("WARN") => t.notice,
                    _ => t.text,
                };
                text::wrap(line, width).into_iter().map(move |l| Line::styled(l, style)).collect::<Vec<_>>()
            })
            .collect(),
    }
}
