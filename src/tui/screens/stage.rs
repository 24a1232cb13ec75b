//! Staging: which bumps, how far, how fast; and what the planner says of it.

use super::super::app::App;
use super::super::hits::Hit;
use super::super::layer::Looks;
use super::super::lens;
use super::super::stage::{self, Row};
use super::super::text::{self, count, fit, pad, span};
use super::super::widgets::{heading, paint, rack_map};
use crate::fleet::{Cluster, Component, Image, fold_names};
use crate::plan::{Release, Scope, unfit};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

/// Columns from which two halves of the form stand side by side.
const BESIDE: u16 = 110;

/// Lines from which the map of what is old and new is worth its place.
const MAP: u16 = 8;

/// Lines of the planner's word.
const VERDICT: u16 = 4;

/// Lines of the form, each with the form's row where it is one.
type Lines = Vec<(Option<Row>, Line<'static>)>;

/// Paints the form, the planner's word, and the nodes where there is room.
pub fn draw(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let [form, verdict] = Layout::vertical([Constraint::Min(0), Constraint::Length(VERDICT)]).areas(area);
    if area.width < BESIDE {
        let mut lines = what(app, form.width);
        lines.extend(how(app, form.width));
        let used = column(app, frame, form, lines);
        draw_map(app, frame, below(form, used));
    } else {
        let half = (form.width / 2).max(59);
        let [left, _, right] =
            Layout::horizontal([Constraint::Length(half), Constraint::Length(1), Constraint::Min(0)]).areas(form);
        let (what, how) = (what(app, left.width), how(app, right.width));
        let used = column(app, frame, left, what).max(column(app, frame, right, how));
        draw_map(app, frame, below(form, used + 1));
    }
    paint(frame, verdict, verdict_lines(app, verdict.width), "");
}

/// Paints lines with the cursor's in sight; returns how many there are to see.
fn column(app: &App, frame: &mut Frame<'_>, area: Rect, lines: Lines) -> usize {
    let here = stage::here(app);
    let height = usize::from(area.height);
    let focus = lines.iter().position(|(row, _)| row.is_some() && *row == here).unwrap_or(0);
    let top = if lines.len() <= height { 0 } else { text::window(focus, lines.len(), height) };
    let rows = stage::rows(app);
    for ((row, _), y) in lines.iter().skip(top).take(height).zip(area.y..) {
        if let Some(at) = row.and_then(|row| rows.iter().position(|r| *r == row)) {
            app.hits.put(Rect { y, height: 1, ..area }, Hit::Row(at));
        }
    }
    let lines: Vec<Line<'static>> = lines.into_iter().map(|(_, line)| line).collect();
    let shown = text::excerpt(lines, focus, height, app.theme.dim);
    let used = shown.len();
    paint(frame, area, shown, "");
    used
}

/// What is left of an area below so many lines.
fn below(area: Rect, lines: usize) -> Rect {
    let used = u16::try_from(lines).unwrap_or(u16::MAX).min(area.height);
    Rect { y: area.y + used, height: area.height - used, ..area }
}

/// The workers, old and new as what is staged sees them; nothing where there is no room.
fn draw_map(app: &App, frame: &mut Frame<'_>, area: Rect) {
    if let Some(cluster) = app.sight.cluster.as_ref().filter(|_| area.height >= MAP) {
        let focus = rack_map::Focus { chosen: app.selected.as_ref(), ..Default::default() };
        rack_map::draw(app, cluster, &Looks::of(app, cluster), focus, frame, area);
    }
}

/// Releases, and each component's bump.
fn what(app: &App, width: u16) -> Lines {
    let t = &app.theme;
    let mut lines = vec![(None, heading(t, "RELEASES", "of the profile; space stages one", width))];
    for (i, release) in app.releases.iter().enumerate() {
        let staged = app.stage.staged.release == Some(i);
        let changed = staged && app.stage.staged.bumps != release.images;
        let behind = app.sight.cluster.as_ref().map_or(0, |c| behind(c, release));
        let note = match behind {
            _ if changed => "staged, with changes below".to_owned(),
            0 => "every node runs it".to_owned(),
            n => format!("{} to change", count(n, "node", "nodes")),
        };
        let style = if behind == 0 { t.good } else { t.dim };
        let sign = if staged { "◉" } else { "○" };
        let name = Span::styled(format!("{sign} {}", pad(&release.name, 16)), row_style(app, Row::Release(i)));
        lines.push((Some(Row::Release(i)), Line::from(vec![name, Span::styled(format!("  {note}"), style)])));
    }
    let staged = app.stage.staged.bumps.len();
    lines.push((None, heading(t, "BUMPS", &format!("{staged} staged; e types a version, x unstages"), width)));
    lines.extend(Component::ALL.into_iter().map(|c| (Some(Row::Bump(c)), bump_line(app, c, width.into()))));
    lines
}

fn bump_line(app: &App, component: Component, width: usize) -> Line<'static> {
    let t = &app.theme;
    let row = Row::Bump(component);
    let to = app.stage.staged.bumps.get(&component);
    let census = app.sight.cluster.as_ref().map(|c| lens::census(c, component)).unwrap_or_default();
    let runs: Vec<String> = census
        .iter()
        .filter(|(image, _)| Some(*image) != to)
        .map(|(image, n)| format!("{} on {n}", to.map_or(image.short().to_owned(), |to| image_name(image, to))))
        .collect();
    let there: usize = census.iter().filter(|(image, _)| Some(*image) == to).map(|(_, n)| n).sum();
    let there = if there > 0 { format!("; {there} there already") } else { String::new() };
    let name = pad(component.as_str(), 24);
    let (sign, look) = match to {
        Some(_) if !runs.is_empty() => ("~ ", t.busy),
        Some(_) => ("✓ ", t.good),
        None => ("  ", t.dim),
    };
    let mut spans = vec![Span::styled(sign, look), Span::styled(name, row_style(app, row))];
    if let Some(edit) = field(app, row) {
        spans.extend(edit);
        return Line::from(spans);
    }
    let used = 26;
    let words = match to {
        None if runs.is_empty() => "runs nowhere".into(),
        None => format!("stays: {}", runs.join(", ")),
        Some(to) => {
            spans.push(Span::styled(format!(" → {}", pad(to.short(), 10)), t.good));
            match runs.is_empty() {
                true => format!("every node has it{there}").replace("it; ", "it: "),
                false => format!(" from {}{there}", runs.join(", ")),
            }
        }
    };
    let used = used + if to.is_some() { 13 } else { 0 };
    spans.push(Span::styled(fit(&format!(" {}", words.trim()), width.saturating_sub(used)), t.dim));
    Line::from(spans)
}

/// Scope and strategy.
fn how(app: &App, width: u16) -> Lines {
    let t = &app.theme;
    let l = &app.stage.staged.limits;
    let mut lines = vec![(None, heading(t, "SCOPE", "every node, unless narrowed", width))];
    if !app.map.marked.is_empty() {
        let names = fold_names(app.map.marked.iter().map(|n| n.as_str()));
        let words = format!("* {} marked on the map: {names}", count(app.map.marked.len(), "node", "nodes"));
        lines.push((None, Line::styled(fit(&words, width.into()), t.notice)));
    }
    let down = app.sight.cluster.as_ref().map_or(0, |c| unfit(c, &Scope::default()).len());
    let yes = if app.stage.staged.leave_out { "yes" } else { "no" };
    let texts = [
        (Row::Nodes, "e.g. rack0-cs1,rack3-ss[1-4]"),
        (Row::Racks, "e.g. rack[0-3]; their workers"),
        (Row::Roles, "e.g. cs; their workers"),
        (Row::Labels, "e.g. disk=ssd; their workers"),
        (Row::Exclude, "never these nodes"),
    ];
    lines.extend(texts.map(|(row, about)| (Some(row), text_line(app, row, app.stage.text(row), about))));
    let about = format!("what is down now: {}", count(down, "node", "nodes"));
    lines.push((Some(Row::LeaveOut), number_line(app, Row::LeaveOut, yes, &about)));
    let note = "numbers: + and -; x: the profile's";
    lines.push((None, heading(t, "STRATEGY", note, width)));
    lines.push((
        Some(Row::Waves),
        match &l.ramp {
            Some(ramp) => text_line(app, Row::Waves, &ramp.to_string(), ""),
            None => number_line(app, Row::Waves, &l.canary.to_string(), "or waves: 1,1/rack,5%,100%"),
        },
    ));
    let numbers = [
        (Row::MaxParallel, l.max_parallel.to_string(), "swaps in flight at once"),
        (Row::MaxUnavailable, l.max_unavailable.to_string(), "of a rack, broken ones too"),
        (Row::Soak, span(l.soak_ms), "to watch after each wave"),
    ];
    lines.extend(numbers.map(|(row, value, about)| (Some(row), number_line(app, row, &value, about))));
    let pins = [(Row::First, "workers to move before others"), (Row::Last, "workers to move after others")];
    lines.extend(pins.map(|(row, about)| (Some(row), text_line(app, row, app.stage.text(row), about))));
    lines
}

fn number_line(app: &App, row: Row, value: &str, about: &str) -> Line<'static> {
    let t = &app.theme;
    let name = Span::styled(format!("  {} ", pad(stage::title(row), 16)), row_style(app, row));
    let mut spans = vec![name];
    match field(app, row) {
        Some(edit) => spans.extend(edit),
        None => spans.extend([
            Span::styled(text::right(value, 8), row_style(app, row)),
            Span::styled(format!("  {about}"), t.dim),
        ]),
    }
    Line::from(spans)
}

fn text_line(app: &App, row: Row, value: &str, about: &str) -> Line<'static> {
    let t = &app.theme;
    let mut spans = vec![Span::styled(format!("  {} ", pad(stage::title(row), 16)), row_style(app, row))];
    match field(app, row) {
        Some(edit) => spans.extend(edit),
        None if value.is_empty() => spans.push(Span::styled(format!("-  {about}"), t.dim)),
        None => spans.push(Span::styled(value.to_owned(), t.head)),
    }
    Line::from(spans)
}

/// The field while it is typed: its end, where it is long.
fn field(app: &App, row: Row) -> Option<[Span<'static>; 2]> {
    let t = &app.theme;
    let edit = app.stage.edit.as_ref().filter(|edit| edit.row == row)?;
    let mut shown = edit.typed.clone();
    while text::width(&shown) > 44 {
        shown = format!("…{}", shown.chars().skip(2).collect::<String>());
    }
    let style = if edit.wrong.is_some() { t.alarm } else { t.head };
    Some([Span::styled(format!(" {shown}"), style), Span::styled("▏", t.key)])
}

fn row_style(app: &App, row: Row) -> Style {
    if stage::here(app) == Some(row) { app.theme.selected } else { app.theme.text }
}

/// Nodes on which something is not as the release says.
fn behind(cluster: &Cluster, release: &Release) -> usize {
    let differs = |c: &Component, i: &Image| release.images.get(c).is_some_and(|to| to != i);
    cluster.nodes.values().filter(|n| n.components.iter().any(|(c, r)| differs(c, &r.image))).count()
}

/// An image by its tag, or in full where the repository changes too.
fn image_name(image: &Image, to: &Image) -> String {
    if image.name() == to.name() { image.short().to_owned() } else { image.as_str().to_owned() }
}

/// What the planner says, the worst first.
fn verdict_lines(app: &App, width: u16) -> Vec<Line<'static>> {
    let t = &app.theme;
    let [swaps, nodes, pods] = app.budget.words();
    let note = format!("pauses at {swaps}, {nodes} or {pods}");
    let mut lines = vec![heading(t, "PLANNER", &note, width)];
    let wrong = app.stage.edit.as_ref().and_then(|edit| edit.wrong.clone());
    let built = app.sight.cluster.as_ref().map(|cluster| stage::build(app, cluster));
    let wrong = wrong.or(built.and_then(Result::err));
    if let Some(why) = wrong {
        lines.extend(text::wrap(&format!("✗ {why}"), width.into()).into_iter().map(|l| Line::styled(l, t.alarm)));
        return lines;
    }
    if app.stage.planning {
        lines.push(Line::styled("writing the plan out…", t.busy));
        return lines;
    }
    let Some((_, draft)) = &app.stage.draft else {
        lines.push(Line::styled("asking the planner…", t.busy));
        return lines;
    };
    let restarts: Vec<String> = draft.restarts.iter().map(|(c, n)| format!("{} {n}", c.short())).collect();
    let total: usize = draft.restarts.values().sum();
    let (low, high) = draft.takes_ms;
    let size = match draft.swaps {
        0 => Line::styled("Nothing to do: the cluster is as this stage wants it.", t.good),
        swaps => Line::from(vec![
            Span::raw(format!(
                "{}, {}, {}, {} to {}  ",
                count(draft.nodes, "node", "nodes"),
                count(swaps, "swap", "swaps"),
                count(total, "restart", "restarts"),
                span(low / 1000 * 1000),
                span(high.max(low) / 1000 * 1000),
            )),
            Span::styled(restarts.join(", "), t.dim),
        ]),
    };
    lines.push(size);
    let found = draft.errors.iter().map(|e| ("✗", e, t.alarm)).chain(draft.warnings.iter().map(|w| ("!", w, t.notice)));
    let total = draft.errors.len() + draft.warnings.len();
    if total == 0 && draft.swaps > 0 {
        lines
            .push(Line::styled("✓ skew, order and quorum hold; enter writes the plan out, nothing is touched", t.good));
    }
    let room = usize::from(VERDICT) - 2;
    for (i, (glyph, words, style)) in found.enumerate().take(room) {
        let more = if i + 1 == room && total > room { format!(" (and {} more)", total - room) } else { String::new() };
        let words = fit(&format!("{glyph} {words}"), usize::from(width).saturating_sub(more.len()));
        lines.push(Line::styled(format!("{words}{more}"), style));
    }
    lines
}
