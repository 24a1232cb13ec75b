//! A question over the screen.

use super::super::app::{App, Question};
use super::super::decide;
use super::super::text;
use super::super::widgets::{paint, popup};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

/// Paints the question.
pub fn draw(app: &App, frame: &mut Frame<'_>, area: Rect, question: Question) {
    let t = &app.theme;
    let (title, words, yes, no) = match question {
        Question::Abort => {
            let words = app.run.as_ref().map(|v| super::run::abort_words(&v.run)).unwrap_or_default();
            ("Abort the run?", words, "abort", "go on as before")
        }
        Question::Detach => {
            let id = app.run.as_ref().map(|v| v.id.to_string()).unwrap_or_default();
            let words = format!(
                "Run {id} goes on without this screen. Come back with `sonoba`, watch it with `sonoba watch {id}`, \
                 pause it with `sonoba pause {id}`."
            );
            ("Detach from the run?", words, "detach", "stay")
        }
        Question::EndDemo => {
            let words = "The simulated cluster, and a run on it, end with the demo.".to_owned();
            ("End the demo?", words, "end it", "stay")
        }
        Question::Retry => ("Try again?", decide::words(app, question), "try again", "leave it so"),
        Question::Skip => ("Skip the node?", decide::words(app, question), "skip it", "leave it in the run"),
        Question::RollBack => ("Roll the node back?", decide::words(app, question), "roll back", "go on as before"),
        Question::Override => ("Override the gate?", decide::words(app, question), "pass it over", "wait on"),
    };
    let width = 64.min(area.width);
    let wrapped = text::wrap(&words, usize::from(width).saturating_sub(4));
    let typed =
        if question.takes_a_reason() { reason_lines(app, usize::from(width).saturating_sub(4)) } else { vec![] };
    // The answer has its place however much there is to say.
    let room = usize::from(area.height).saturating_sub(typed.len() + 5);
    let wrapped = text::fit_lines(wrapped.into_iter().map(Line::from).collect(), room, "lines");
    let height = u16::try_from(wrapped.len() + typed.len() + 5).unwrap_or(10);
    let inner = popup(t, frame, area, title, width, height);
    let mut lines = vec![Line::default()];
    lines.extend(wrapped);
    lines.push(Line::default());
    lines.extend(typed);
    let (y, n) = if question.takes_a_reason() { ("enter", "esc") } else { ("y", "n") };
    lines.push(Line::from(vec![
        Span::styled(y, t.key),
        Span::raw(format!(" {yes}    ")),
        Span::styled(n, t.key),
        Span::raw(format!(" {no}")),
    ]));
    paint(frame, inner, lines, "");
}

/// The reason as far as it is typed: its end, where it is long.
fn reason_lines(app: &App, width: usize) -> Vec<Line<'static>> {
    let t = &app.theme;
    let room = width.saturating_sub(6);
    let mut shown = app.ask.typed.clone();
    while text::width(&shown) > room {
        shown = format!("…{}", shown.chars().skip(2).collect::<String>());
    }
    let mut lines = vec![Line::from(vec!["Why: ".into(), Span::styled(shown, t.head), Span::styled("▏", t.key)])];
    let note = match &app.ask.wrong {
        Some(why) => Line::styled(text::fit(&format!("✗ {why}"), width), t.alarm),
        None => Line::styled("it is kept in the journal and stands in the report", t.dim),
    };
    lines.extend([note, Line::default()]);
    lines
}
