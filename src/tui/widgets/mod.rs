//! Parts of screens.

pub mod dossier;
pub mod downtime;
pub mod filter_line;
pub mod flight;
pub mod footer;
pub mod header;
pub mod log;
pub mod masters;
pub mod node;
pub mod phases;
pub mod progress;
pub mod rack;
pub mod rack_map;
pub mod scrub;

use super::tally::Tally;
use super::text;
use super::theme::Theme;
use crate::journal::{Outcome, PauseReason, Run, RunState};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Clear, Padding, Paragraph};

/// Paints lines; what does not fit is marked with `…` or counted.
pub fn paint(frame: &mut Frame<'_>, area: Rect, lines: Vec<Line<'static>>, more: &str) {
    let lines = text::fit_lines(lines, area.height.into(), more);
    let lines: Vec<Line> = lines.into_iter().map(|l| text::fit_line(l, area.width.into())).collect();
    frame.render_widget(Paragraph::new(lines), area);
}

/// A section's heading: its words, then a rule to the edge.
pub fn heading(theme: &Theme, words: &str, note: &str, width: u16) -> Line<'static> {
    let mut spans = vec![Span::styled(words.to_owned(), theme.head)];
    if !note.is_empty() {
        spans.push(Span::styled(format!(" {note}"), theme.dim));
    }
    let used: usize = spans.iter().map(Span::width).sum();
    let rule = usize::from(width).saturating_sub(used + 1);
    spans.push(Span::styled(format!(" {}", "─".repeat(rule)), theme.dim));
    Line::from(spans)
}

/// A box over the middle of the screen, with its content's area.
pub fn popup(theme: &Theme, frame: &mut Frame<'_>, area: Rect, title: &str, width: u16, height: u16) -> Rect {
    let (width, height) = (width.min(area.width), height.min(area.height));
    let place = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    frame.render_widget(Clear, place);
    frame.buffer_mut().set_style(place, theme.background);
    let block = Block::new()
        .borders(Borders::ALL)
        .border_style(theme.key)
        .padding(Padding::horizontal(1))
        .title(Span::styled(format!(" {title} "), theme.head));
    let inner = block.inner(place);
    frame.render_widget(block, place);
    inner
}

/// The run's state in a word.
pub fn state_word(run: &Run) -> &'static str {
    match run.state {
        RunState::Starting => "starting",
        RunState::Running => "running",
        RunState::Pausing => "pausing",
        RunState::Paused(_) => "paused",
        RunState::Aborting => "aborting",
        RunState::Ended(outcome) => outcome.word(),
    }
}

/// The state of the run that the cockpit is attached to: as [`state_badge`], but for a run that no engine has.
pub fn view_badge(theme: &Theme, view: &super::app::RunView) -> (String, Style) {
    if view.orphaned && view.run.ended().is_none() {
        return ("✗ NO ENGINE".into(), theme.alarm);
    }
    state_badge(theme, &view.run)
}

/// The run's state: glyph, word and colour.
pub fn state_badge(theme: &Theme, run: &Run) -> (String, Style) {
    let (glyph, style) = match run.state {
        RunState::Starting => ("…", theme.busy),
        RunState::Running => ("▶", theme.good),
        RunState::Pausing => ("▶‖", theme.notice),
        RunState::Paused(PauseReason::Operator) => ("‖", theme.notice),
        RunState::Paused(_) => ("‖", theme.alarm),
        RunState::Aborting => ("■", theme.alarm),
        RunState::Ended(Outcome::Completed | Outcome::RolledBack) => ("✓", theme.good),
        RunState::Ended(_) => ("■", theme.alarm),
    };
    (format!("{glyph} {}", state_word(run).to_uppercase()), style)
}

/// The run in one line, for the map.
pub fn run_strip(theme: &Theme, app: &super::app::App, view: &super::app::RunView, width: u16) -> Line<'static> {
    let run = &view.run;
    let (badge, style) = view_badge(theme, view);
    let tally = Tally::of(app, run);
    let done = tally.all.done;
    let mut spans = vec![Span::styled(badge, style), "  ".into()];
    let bar = if matches!(run.state, RunState::Running | RunState::Ended(_)) { theme.good } else { theme.notice };
    spans.extend(progress::bar(theme, done, run.swaps.len(), usize::from(width / 4), bar));
    let flying = tally.flying.len();
    let key = app.key(super::command::Command::OpenRun).unwrap_or_default();
    spans.push(Span::raw(format!(" {done}/{} swaps, {flying} in flight; {key}: the run", run.swaps.len())));
    // Whoever only looks at the map must not have to guess.
    if matches!(run.state, RunState::Paused(_) | RunState::Ended(_)) && !run.why.is_empty() {
        spans.push(Span::styled(format!("   {}", run.why), style));
    }
    Line::from(spans)
}
