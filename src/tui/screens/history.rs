//! Past runs, and the report of one.

use super::super::app::App;
use super::super::draw::body;
use super::super::history;
use super::super::hits::Hit;
use super::super::text::{self, count, fit, pad, right, span};
use super::super::theme::Theme;
use super::super::widgets::{heading, paint};
use crate::fleet::fold_names;
use crate::journal::Report;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

/// Columns of a run's id, which begins with its year.
const RUN: usize = 20;

/// Columns from which its beginning is said apart, and columns of that.
const WIDE: u16 = 100;
const BEGAN: usize = 17;

/// Paints the list, or the open report.
pub fn draw(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let t = &app.theme;
    if let (Some(top), Some(report)) = (app.history.open, history::here(app)) {
        let all = report_lines(t, report, area.width);
        let top = top.min(all.len().saturating_sub(area.height.into()));
        return paint(frame, area, all.into_iter().skip(top).collect(), "lines: down");
    }
    let runs = match &app.history.runs {
        None => return paint(frame, area, vec![Line::styled("reading the journals of past runs…", t.busy)], ""),
        Some(Err(why)) => {
            let lines = text::wrap(&format!("✗ {why}"), area.width.into());
            return paint(frame, area, lines.into_iter().map(|l| Line::styled(l, t.alarm)).collect(), "");
        }
        Some(Ok(runs)) if runs.is_empty() => {
            let words = "No run has begun here yet: stage a release with s on the map.";
            return paint(frame, area, vec![Line::from(words)], "");
        }
        Some(Ok(runs)) => runs,
    };
    let mut lines = vec![
        heading(t, "PAST RUNS", &format!("{}, newest first", count(runs.len(), "run", "runs")), area.width),
        Line::styled(
            format!(
                "  {}{} {} {} {}  outcome",
                pad("run", RUN),
                if area.width < WIDE { String::new() } else { pad(" began (UTC)", BEGAN) },
                right("took", 7),
                right("new", 9),
                right("pods", 11)
            ),
            t.dim,
        ),
    ];
    let foot = foot_lines(app, area);
    let room = usize::from(area.height).saturating_sub(lines.len() + foot.len());
    let top = if runs.len() <= room { 0 } else { text::window(app.history.cursor, runs.len(), room) };
    for (i, run) in runs.iter().enumerate().skip(top).take(room) {
        let y = area.y + u16::try_from(lines.len()).unwrap_or(0);
        app.hits.put(Rect { y, height: 1, ..area }, Hit::Row(i));
        let mut line = run_line(t, run, area.width.into());
        if i == app.history.cursor {
            line.spans.iter_mut().for_each(|span| span.style = t.selected);
        }
        lines.push(line);
    }
    lines.extend(foot);
    paint(frame, area, lines, "");
}

/// Of the run under the cursor, what needs a hand, and what to do; nothing where nothing does.
fn foot_lines(app: &App, area: Rect) -> Vec<Line<'static>> {
    let said = history::here(app).map(Report::needs_a_hand).unwrap_or_default();
    let width = usize::from(area.width);
    let parts = said.iter().flat_map(|words| text::wrap(&format!("! {words}"), width));
    let parts: Vec<_> = parts.map(|part| Line::styled(part, app.theme.alarm)).collect();
    if parts.is_empty() {
        return parts;
    }
    let parts = text::fit_lines(parts, usize::from(area.height) / 3, "lines in the report: enter");
    let head = heading(&app.theme, "THIS RUN NEEDS YOU", "", area.width);
    std::iter::once(head).chain(parts).collect()
}

/// How many lines the open report can be scrolled by.
pub fn scroll(app: &App) -> usize {
    let area = body(app);
    let all = history::here(app).map_or(0, |report| report_lines(&app.theme, report, area.width).len());
    all.saturating_sub(area.height.into())
}

fn run_line(t: &Theme, run: &Report, width: usize) -> Line<'static> {
    let (glyph, style) = outcome(t, run);
    let began = run.started.map(|at| at.strftime(" %Y-%m-%d %H:%M").to_string()).unwrap_or_default();
    let pods = match run.pods.disturbed {
        0 => format!("{} ✓", run.pods.undisturbed),
        n => format!("✗ {n} of {}", run.pods.checked),
    };
    let took = span((run.seconds.max(0.0) as u64) * 1000);
    let words = words(run);
    let numbers = format!(
        "{} {} {} {}  ",
        if width < WIDE.into() { String::new() } else { pad(&began, BEGAN) },
        right(&took, 7),
        right(&format!("{}/{}", run.nodes.new, run.nodes.total), 9),
        right(&pods, 11)
    );
    let room = width.saturating_sub(RUN + 2 + text::width(&numbers));
    Line::from(vec![
        Span::styled(format!("{glyph} "), style),
        Span::styled(pad(&run.run, RUN), t.text),
        Span::styled(numbers, t.text),
        Span::styled(fit(&words, room), style),
    ])
}

/// How it stands or ended: first whether anything needs a hand, then why.
fn words(run: &Report) -> String {
    let mut stands = run.outcome_word().to_owned();
    if run.orphaned() && stands != "no engine" {
        stands.push_str(", no engine");
    }
    if !run.endpoints_missing().is_empty() {
        let names = fold_names(run.endpoints_out.keys().map(|node| node.as_str()));
        stands.push_str(&format!(", {names} out of the Endpoints"));
    }
    match &run.rollback_of {
        Some(of) => format!("{stands}, took back {of}"),
        None if run.why.is_empty() => stands,
        None => format!("{stands}: {}", run.why),
    }
}

fn outcome(t: &Theme, run: &Report) -> (&'static str, Style) {
    if !run.needs_a_hand().is_empty() {
        return ("!", t.alarm);
    }
    match run.outcome.as_str() {
        "completed" | "rolled-back" => ("✓", t.good),
        "running" => ("▶", t.busy),
        "paused" => ("‖", t.notice),
        _ => ("■", t.alarm),
    }
}

/// The report as it is copied: its Markdown, with headings that are seen as such.
fn report_lines(t: &Theme, report: &Report, width: u16) -> Vec<Line<'static>> {
    let line = |text: &str| match text {
        head if head.starts_with('#') => vec![heading(t, head.trim_start_matches(['#', ' ']), "", width)],
        table if table.starts_with('|') => vec![Line::from(table.to_owned())],
        other => text::wrap(other, width.into()).into_iter().map(Line::from).collect(),
    };
    report.to_markdown().lines().flat_map(line).collect()
}
