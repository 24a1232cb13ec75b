//! Every line of the run's story.

use super::super::app::App;
use super::super::events;
use super::super::hits::Hit;
use super::super::text::{self, count};
use super::super::widgets::{heading, log, paint};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};

/// Paints the lines that the filter takes, the cursor in sight.
pub fn draw(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let t = &app.theme;
    let Some(view) = &app.run else {
        return paint(frame, area, vec![Line::from("There is no run.")], "");
    };
    let [head, list, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)]).areas(area);
    let all = events::lines(app);
    let note = format!("{} of {}; UTC", all.len(), count(view.run.log.len(), "line", "lines"));
    paint(frame, head, vec![heading(t, "EVENTS", &note, head.width)], "");
    let height = usize::from(list.height);
    let at = all.len().saturating_sub(1 + app.events.back);
    let top = if app.events.back == 0 { all.len().saturating_sub(height) } else { text::window(at, all.len(), height) };
    let shown = all.iter().enumerate().skip(top).take(height);
    let lines = shown.map(|(i, line)| {
        let y = list.y + u16::try_from(i - top).unwrap_or(0);
        app.hits.put(Rect { y, height: 1, ..list }, Hit::Row(i));
        let mut line = log::line(t, line, list.width.into());
        if i == at {
            line.spans.iter_mut().for_each(|span| span.style = t.selected);
        }
        line
    });
    let mut lines: Vec<Line<'static>> = lines.collect();
    if lines.is_empty() {
        lines.push(Line::styled("no line has these words; esc takes the filter away", t.notice));
    }
    paint(frame, list, lines, "");
    let mut spans = vec![Span::styled("/", t.key), Span::styled(app.events.typed.clone(), t.head)];
    if app.events.typing {
        spans.push(Span::styled("▏", t.key));
    } else if app.events.typed.is_empty() {
        spans.push(Span::styled("words that a line must have", t.dim));
    }
    if app.events.trouble {
        spans.push(Span::styled("   ! only what is worth a look", t.notice));
    }
    paint(frame, foot, vec![Line::from(spans)], "");
}
