//! The last question before anything moves, answered by typing the cluster's name.

use super::super::app::App;
use super::super::text::{self, span};
use super::super::widgets::{heading, paint};
use super::plan::{limits, severity, summary};
use crate::plan::Severity;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};

/// Paints the question.
pub fn draw(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let t = &app.theme;
    let Some(plan) = app.plan.as_ref().map(|v| &v.plan) else { return };
    let width = usize::from(area.width);
    let question = question_lines(app, plan.cluster.name.as_str(), area.width);
    let below = u16::try_from(question.len()).unwrap_or(6);
    let mut lines = summary(app, plan);
    let l = &plan.limits;
    lines.push(Line::styled(
        format!("{}, {} at once, {} of a rack, soak {}", l.waves(), l.max_parallel, l.max_unavailable, span(l.soak_ms)),
        t.dim,
    ));
    lines.push(limits(app, plan));
    let mut found: Vec<_> = plan.findings.iter().filter(|f| f.severity != Severity::Info).collect();
    found.sort_by_key(|f| f.severity);
    let turns: Vec<_> = plan.swaps().filter_map(|(_, _, s)| s.no_return.as_ref().map(|why| (s, why))).collect();
    if !found.is_empty() || !turns.is_empty() {
        lines.push(Line::default());
        lines.push(heading(t, "READ THIS FIRST", "", area.width));
    }
    for f in found {
        let (glyph, style) = severity(t, f.severity);
        let words = if f.mend.is_empty() { f.text.clone() } else { format!("{} ({})", f.text, f.mend) };
        for (i, part) in text::wrap(&words, width.saturating_sub(2)).into_iter().enumerate() {
            lines.push(Line::styled(format!("{} {part}", if i == 0 { glyph } else { " " }), style));
        }
    }
    for (swap, why) in turns {
        for (i, part) in text::wrap(&format!("no way back after {}: {why}", swap.node), width.saturating_sub(2))
            .into_iter()
            .enumerate()
        {
            lines.push(Line::styled(format!("{} {part}", if i == 0 { "⚑" } else { " " }), t.notice));
        }
    }
    // The question follows its warnings; at the foot where they are many.
    let used = u16::try_from(lines.len() + 1).unwrap_or(u16::MAX).min(area.height.saturating_sub(below));
    let [above, ask] = Layout::vertical([Constraint::Length(used), Constraint::Length(below)]).areas(area);
    paint(frame, above, lines, "lines: esc, and read them in the plan");
    paint(frame, ask, question, "");
}

fn question_lines(app: &App, name: &str, width: u16) -> Vec<Line<'static>> {
    let t = &app.theme;
    let mut lines = vec![
        heading(t, "APPLY", "", width),
        Line::from(vec![
            "This restarts components of ".into(),
            Span::styled(name.to_owned(), t.head),
            " in place.".into(),
        ]),
        Line::from("It can be paused or aborted at any time; closing this screen does not stop it."),
        Line::default(),
        Line::from(vec![
            Span::raw("Type the cluster's name: "),
            Span::styled(text::fit(&app.confirm.typed, 64), t.head),
            Span::styled(if app.confirm.starting { "" } else { "▏" }, t.key),
        ]),
    ];
    match (&app.confirm.wrong, app.confirm.starting) {
        (_, true) => lines.push(Line::styled("starting the engine…", t.busy)),
        (Some(why), _) => {
            let parts = text::wrap(why, usize::from(width).saturating_sub(2));
            lines.extend(parts.into_iter().map(|p| Line::styled(format!("✗ {p}"), t.alarm)));
        }
        (None, _) => lines.push(Line::styled("then enter; esc goes back, nothing has been touched", t.dim)),
    }
    lines
}
