//! The tail of the run's story.

use super::super::app::RunView;
use super::super::text::{fit, pad};
use super::super::theme::Theme;
use crate::journal::{LogLine, Tone};
use ratatui::text::{Line, Span};

/// The last lines that fit `height`, `view.back` lines from the end.
pub fn lines(theme: &Theme, view: &RunView, width: usize, height: usize) -> Vec<Line<'static>> {
    tail(view, height).map(|l| line(theme, l, width)).collect()
}

/// The lines themselves.
pub fn tail(view: &RunView, height: usize) -> impl Iterator<Item = &LogLine> {
    let log = &view.run.log;
    let back = view.back.min(log.len().saturating_sub(height));
    let end = log.len() - back;
    log.range(end.saturating_sub(height)..end)
}

/// One line of the log.
pub fn line(theme: &Theme, line: &LogLine, width: usize) -> Line<'static> {
    let (glyph, style) = match line.tone {
        Tone::Calm => (" ", theme.text),
        Tone::Notice => ("!", theme.notice),
        Tone::Alarm => ("✗", theme.alarm),
    };
    // The journal's own zone: two people who look at it say the same time.
    let at = line.at.strftime("%H:%M:%S").to_string();
    let mut spans = vec![Span::styled(at, theme.dim), Span::styled(format!(" {glyph} "), style)];
    let mut room = width.saturating_sub(11);
    if let Some(node) = &line.node {
        let name = fit(node.as_str(), (room / 3).max(8));
        let name = pad(&name, super::super::text::width(&name) + 1);
        room = room.saturating_sub(super::super::text::width(&name));
        spans.push(Span::styled(name, theme.head));
    }
    spans.push(Span::styled(fit(&line.text, room), style));
    Line::from(spans)
}
