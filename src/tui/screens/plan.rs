//! The plan: what will happen, in order, before anything moves.

use super::super::acknowledge;
use super::super::app::{App, PlanView};
use super::super::command::Command;
use super::super::hits::Hit;
use super::super::lens::short_version;
use super::super::outline::{self, Row};
use super::super::text::{self, count, fit, pad, span};
use super::super::theme::Theme;
use super::super::widgets::{heading, paint};
use crate::fleet::{Component, Image};
use crate::plan::{ArgsWalk, Gate, Phase, Plan, Severity, Swap, Wave};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use std::collections::BTreeMap;

/// Paints the plan.
pub fn draw(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let Some(view) = &app.plan else {
        return paint(frame, area, vec![Line::from("There is no plan: go back and stage a release.")], "");
    };
    let below = detail_height(area.height);
    let head = summary_height(area.height);
    let [head, tree, detail] =
        Layout::vertical([Constraint::Length(head), Constraint::Min(0), Constraint::Length(below)]).areas(area);
    let mut lines = summary(app, &view.plan);
    lines.push(limits(app, &view.plan));
    lines.truncate(head.height.into());
    paint(frame, head, lines, "");
    paint(frame, tree, tree_lines(app, view, tree), "");
    paint(frame, detail, detail_lines(app, view, detail.width), "lines");
}

/// What the plan will not do.
const PROMISE: &str = ", no pod evicted";

/// Columns from which there is room for whole tags.
const ROOMY: usize = 96;

/// Lines from which nothing needs to be left out.
const TALL: u16 = 24;

fn detail_height(height: u16) -> u16 {
    if height > TALL { 7 } else { 5 }
}

fn summary_height(height: u16) -> u16 {
    if height > TALL { 4 } else { 3 }
}

/// Lines of the tree that a terminal of so many rows shows at once.
pub fn tree_height(rows: u16) -> usize {
    // Header and footer, the summary and the tree's heading take their lines.
    let body = rows.saturating_sub(5);
    usize::from(body.saturating_sub(summary_height(body) + detail_height(body) + 1))
}

/// What it comes to: three lines.
pub fn summary(app: &App, plan: &Plan) -> Vec<Line<'static>> {
    let t = &app.theme;
    let nodes: std::collections::BTreeSet<_> = plan.swaps().map(|(_, _, s)| &s.node).collect();
    let swaps = plan.swaps().count();
    let changes: usize = plan.swaps().map(|(_, _, s)| s.changes.len()).sum();
    let e = &plan.estimate;
    // A run's id takes the promise's place.
    let back = plan.rollback_of.is_some();
    let name = match (&plan.rollback_of, plan.release.as_deref()) {
        (Some(run), _) => format!("rollback of {}", text::fit(run.as_str(), 24)),
        (None, Some(release)) => format!("release {}", text::fit(release, 24)),
        (None, None) => "bumps".into(),
    };
    let total = format!(
        "{name}: {} in {} on {}{}",
        count(changes, "container restart", "container restarts"),
        count(swaps, "swap", "swaps"),
        count(nodes.len(), "node", "nodes"),
        if back { "" } else { PROMISE },
    );
    let time = format!(
        "about {} (pulls {}, swaps {}, soak {}){}",
        span(e.total_ms()),
        span(e.prefetch_ms),
        span(e.work_ms),
        span(e.soak_ms),
        if back { PROMISE } else { "" },
    );
    let number = |s| outline::findings(plan, s);
    let (errors, warnings) = (number(Severity::Error), number(Severity::Warning));
    let verdict = match (errors, warnings, swaps) {
        (0, _, 0) => Line::styled("Nothing to do: the cluster is as this plan wants it.", t.good),
        (0, 0, _) => Line::styled("✓ No problem found. Nothing is touched before it is applied.", t.good),
        (0, w, _) => Line::styled(format!("! {} to read before you apply.", count(w, "warning", "warnings")), t.notice),
        (e, _, _) if acknowledge::is_enough(plan) => {
            let errors = count(e, "error", "errors");
            let words =
                format!("✗ This plan waits for you: {errors} to acknowledge ({} on each) or to fix.", key_of(app));
            Line::styled(words, t.alarm)
        }
        (e, _, _) => {
            let words = format!("✗ This plan cannot be applied: {} must be fixed.", count(e, "error", "errors"));
            Line::styled(words, t.alarm)
        }
    };
    vec![Line::from(total), Line::styled(time, t.dim), verdict]
}

/// When the run would stop by itself.
pub fn limits(app: &App, plan: &Plan) -> Line<'static> {
    let [swaps, nodes, pods] = plan.budget.words();
    let words = match usize::from(app.size.0) < ROOMY {
        true => format!("pauses at {swaps}, {nodes} or {pods}"),
        false => format!("a node that fails goes back by itself; the run pauses at {swaps}, {nodes} or {pods}"),
    };
    Line::styled(words, app.theme.dim)
}

fn tree_lines(app: &App, view: &PlanView, area: Rect) -> Vec<Line<'static>> {
    let t = &app.theme;
    let rows = outline::rows(view);
    let shown = usize::from(area.height).saturating_sub(1);
    let top = text::window(view.cursor, rows.len(), shown);
    let note = match rows.len().saturating_sub(shown) {
        0 => String::new(),
        _ => format!("lines {}-{} of {}", top + 1, (top + shown).min(rows.len()), rows.len()),
    };
    let mut lines = vec![heading(t, "PLAN", &note, area.width)];
    for (i, row) in rows.iter().enumerate().skip(top).take(shown) {
        let y = area.y + u16::try_from(lines.len()).unwrap_or(0);
        app.hits.put(Rect { y, height: 1, ..area }, Hit::Row(i));
        let mut line = row_line(t, view, *row, area.width.into());
        if i == view.cursor {
            line = line.style(t.selected);
            for span in &mut line.spans {
                span.style = t.selected;
            }
        }
        lines.push(line);
    }
    lines
}

fn row_line(t: &Theme, view: &PlanView, row: Row, width: usize) -> Line<'static> {
    let plan = &view.plan;
    match row {
        Row::Finding(i) => plan.findings.get(i).map_or_else(Line::default, |f| {
            let (glyph, style) = severity(t, f.severity);
            Line::styled(format!("{glyph} {}", fit(&f.text, width.saturating_sub(2))), style)
        }),
        Row::Note(i) => plan.notes.get(i).map_or_else(Line::default, |note| {
            Line::styled(format!("i {}", fit(&format!("release note: {}", note.text), width.saturating_sub(2))), t.dim)
        }),
        Row::Coverage => plan.coverage.as_ref().map_or_else(Line::default, |coverage| {
            let style = if coverage.outside.is_empty() { t.dim } else { t.notice };
            Line::styled(format!("i {}", fit(&format!("the catalogue {coverage}"), width.saturating_sub(2))), style)
        }),
        Row::Phase(p) => plan.phases.get(p).map_or_else(Line::default, |phase| phase_line(t, view, p, phase, width)),
        Row::Wave(p, w) => wave(plan, p, w).map_or_else(Line::default, |found| wave_line(t, view, (p, w), found)),
        Row::Swap(p, w, s) => {
            wave(plan, p, w).and_then(|w| w.swaps.get(s)).map_or_else(Line::default, |swap| swap_line(t, swap, width))
        }
        Row::Pull(p, i) => plan.phases.get(p).and_then(|p| p.pulls.get(i)).map_or_else(Line::default, |pull| {
            let images: Vec<String> = pull.images.iter().map(|i| tail(i).to_owned()).collect();
            Line::from(vec![
                Span::raw(format!("    {} ", pad(pull.node.as_str(), 18))),
                Span::styled(fit(&images.join(", "), width.saturating_sub(24)), t.dim),
            ])
        }),
    }
}

fn phase_line(t: &Theme, view: &PlanView, p: usize, phase: &Phase, width: usize) -> Line<'static> {
    let swaps: Vec<&Swap> = phase.waves.iter().flat_map(|w| &w.swaps).collect();
    let images: usize = phase.pulls.iter().map(|p| p.images.len()).sum();
    let size = if swaps.is_empty() {
        format!("{} on {}", count(images, "pull", "pulls"), count(phase.pulls.len(), "node", "nodes"))
    } else {
        format!("{} in {}", count(swaps.len(), "swap", "swaps"), count(phase.waves.len(), "wave", "waves"))
    };
    let mut spans = vec![
        Span::raw(format!("{} {}. ", knob(view.open.contains(&(p, None))), p + 1)),
        Span::styled(pad(&phase.title(), 30), t.head),
        Span::raw(format!(" {size}")),
    ];
    if let Some(snapshot) = &phase.snapshot {
        spans.push(Span::styled(format!("  snapshot on {} first", snapshot.node), t.dim));
    }
    if swaps.iter().any(|s| s.no_return.is_some()) {
        spans.push(Span::styled("  ⚑ point of no return", t.notice));
    }
    let used: usize = spans.iter().map(Span::width).sum();
    if !swaps.is_empty() && width >= ROOMY {
        let moves = moves(swaps.iter().copied(), Names::Tag);
        spans.push(Span::styled(fit(&format!("  {moves}"), width.saturating_sub(used)), t.dim));
    }
    Line::from(spans)
}

fn wave_line(t: &Theme, view: &PlanView, (p, w): (usize, usize), wave: &Wave) -> Line<'static> {
    let gates: Vec<String> = wave.gates.iter().map(gate).collect();
    let mut spans = vec![
        Span::raw(format!("  {} {}", knob(view.open.contains(&(p, Some(w)))), pad(&wave.title, 18))),
        Span::raw(format!("{}, {} at once", count(wave.swaps.len(), "swap", "swaps"), wave.max_parallel)),
    ];
    if !gates.is_empty() {
        spans.push(Span::styled(format!(", then {}", gates.join(", ")), t.dim));
    }
    Line::from(spans)
}

fn swap_line(t: &Theme, swap: &Swap, width: usize) -> Line<'static> {
    let mut spans = vec![
        Span::styled("    ~ ", t.busy),
        Span::raw(pad(swap.node.as_str(), text::width(swap.node.as_str()).clamp(10, 40))),
    ];
    if swap.no_return.is_some() {
        spans.push(Span::styled(" ⚑", t.notice));
    }
    if swap.changes.iter().any(|c| !c.args.is_empty()) {
        spans.push(Span::styled(" ±", t.notice));
    }
    let used: usize = spans.iter().map(Span::width).sum();
    spans.push(Span::raw(fit(&format!(" {}", changes(swap, Names::fitting(width))), width.saturating_sub(used))));
    Line::from(spans)
}

/// How much of an image's name is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    /// The upstream version.
    Upstream,
    /// The tag.
    Tag,
    /// The whole reference.
    Full,
}

impl Names {
    fn fitting(width: usize) -> Names {
        if width < ROOMY { Names::Upstream } else { Names::Tag }
    }
}

fn changes(swap: &Swap, names: Names) -> String {
    moves(std::iter::once(swap), names)
}

/// `kubelet 1.35.6.1 -> 1.36.2.1`, one of each move.
fn moves<'a>(swaps: impl Iterator<Item = &'a Swap>, names: Names) -> String {
    let mut groups: BTreeMap<(&Image, &Image), Vec<Component>> = BTreeMap::new();
    for change in swaps.flat_map(|swap| &swap.changes) {
        let of = groups.entry((&change.from, &change.to)).or_default();
        if !of.contains(&change.component) {
            of.push(change.component);
        }
    }
    let name = |image: &Image| match names {
        Names::Full => image.as_str().to_owned(),
        Names::Tag => short_version(image, 19),
        Names::Upstream => short_version(image, 0),
    };
    let group = |((from, to), of): ((&Image, &Image), Vec<Component>)| {
        let of: Vec<&str> =
            of.into_iter().map(if names == Names::Full { Component::as_str } else { Component::short }).collect();
        format!("{} {} → {}", of.join("+"), name(from), name(to))
    };
    groups.into_iter().map(group).collect::<Vec<_>>().join(", ")
}

/// The line under the cursor, in full.
fn detail_lines(app: &App, view: &PlanView, width: u16) -> Vec<Line<'static>> {
    let t = &app.theme;
    let plan = &view.plan;
    let row = outline::rows(view).get(view.cursor).copied();
    let mut parts: Vec<(String, Style)> = Vec::new();
    match row {
        Some(row @ (Row::Finding(i) | Row::Note(i))) => {
            let all = if matches!(row, Row::Note(_)) { &plan.notes } else { &plan.findings };
            if let Some(f) = all.get(i) {
                let style = severity(t, f.severity).1;
                parts.push((format!("{}: {}", f.code, f.text), style));
                if f.offer.is_empty() && f.acknowledgeable && f.severity == Severity::Error {
                    parts.push((format!("{} acknowledges it (--acknowledge {})", key_of(app), f.code), t.key));
                } else if view.acknowledged.contains(&f.code) {
                    parts.push((format!("acknowledged by you; {} takes that back", key_of(app)), t.key));
                }
                if !f.mend.is_empty() {
                    parts.push((format!("mend: {}", f.mend), t.text));
                }
                if !f.offer.is_empty() {
                    parts.push((format!("{} takes its offer: {}", key_of(app), f.offer), t.key));
                }
                if !f.link.is_empty() {
                    parts.push((format!("see {}", f.link), t.dim));
                }
                if !f.nodes.is_empty() {
                    let names = crate::fleet::fold_names(f.nodes.iter().map(|n| n.as_str()));
                    parts.push((format!("nodes: {names}"), t.dim));
                }
            }
        }
        Some(Row::Coverage) => {
            let words = |coverage| (format!("the catalogue {coverage}"), t.text);
            parts.extend(plan.coverage.as_ref().map(words));
            parts.push(("what it knows of these and does not say is not there".into(), t.dim));
        }
        Some(Row::Swap(p, w, s)) => {
            if let Some(swap) = wave(plan, p, w).and_then(|w| w.swaps.get(s)) {
                parts.push((format!("swap {} on {}: {}", swap.id, swap.node, changes(swap, Names::Full)), t.text));
                let back = format!("restores itself {} after the first stop without a verdict", span(swap.deadline_ms));
                parts.push((back, t.dim));
                for (component, lines) in ArgsWalk::of(plan, swap) {
                    parts.push((format!("arguments of {component}: {}", lines.join("  ")), t.notice));
                }
                parts.extend(swap.no_return.iter().map(|why| (format!("⚑ no way back after this: {why}"), t.notice)));
            }
        }
        Some(Row::Wave(p, w)) => {
            if let Some(wave) = wave(plan, p, w) {
                let names = crate::fleet::fold_names(wave.swaps.iter().map(|s| s.node.as_str()));
                parts.push((format!("{}: {names}", wave.title), t.text));
                let gates: Vec<String> = wave.gates.iter().map(gate).collect();
                parts.push((format!("before the next wave: {}", gates.join(", ")), t.dim));
                parts.extend(wave.gates.iter().filter_map(own_gate).map(|words| (words, t.dim)));
            }
        }
        Some(Row::Phase(p)) => {
            let swaps = plan.swaps().filter(|(at, _, _)| *at == p).map(|(_, _, s)| s);
            let flags: Vec<(String, Style)> = swaps
                .filter_map(|s| s.no_return.as_ref().map(|why| format!("⚑ {}: {why}", s.node)))
                .map(|words| (words, t.notice))
                .collect();
            let kind = plan.phases.get(p).map_or(String::new(), |p| p.title());
            parts.push((format!("phase {} of {}: {kind}", p + 1, plan.phases.len()), t.text));
            parts.extend(flags);
            parts.extend(plan.phases.get(p).map(|phase| (work(phase), t.dim)));
        }
        Some(Row::Pull(p, i)) => {
            if let Some(pull) = plan.phases.get(p).and_then(|p| p.pulls.get(i)) {
                let images: Vec<&str> = pull.images.iter().map(Image::as_str).collect();
                parts.push((format!("{} pulls {}", pull.node, images.join(", ")), t.text));
            }
        }
        None => {}
    }
    let mut lines = vec![heading(t, "SELECTED", "", width)];
    for (words, style) in parts {
        lines.extend(text::wrap(&words, width.into()).into_iter().map(|l| Line::styled(l, style)));
    }
    lines
}

/// What a phase does, and on which nodes.
fn work(phase: &Phase) -> String {
    let swaps = || phase.waves.iter().flat_map(|w| &w.swaps);
    let mut images: BTreeMap<&Image, usize> = BTreeMap::new();
    phase.pulls.iter().flat_map(|pull| &pull.images).for_each(|image| *images.entry(image).or_default() += 1);
    if images.is_empty() {
        let names = crate::fleet::fold_names(swaps().map(|s| s.node.as_str()));
        return format!("{}, on {names}", moves(swaps(), Names::Full));
    }
    let images: Vec<String> =
        images.into_iter().map(|(image, n)| format!("{image} on {}", count(n, "node", "nodes"))).collect();
    format!("nothing restarts; pulled: {}", images.join(", "))
}

/// The key that takes a finding, or its command's name where it has none.
fn key_of(app: &App) -> String {
    app.key(Command::Accept).unwrap_or_else(|| format!(":{}", Command::Accept.name()))
}

fn wave(plan: &Plan, p: usize, w: usize) -> Option<&Wave> {
    plan.phases.get(p)?.waves.get(w)
}

fn knob(open: bool) -> char {
    if open { '▾' } else { '▸' }
}

/// The image without its registry and path.
fn tail(image: &Image) -> &str {
    image.as_str().rsplit('/').next().unwrap_or(image.as_str())
}

/// What a gate waits for, in short.
pub fn gate(gate: &Gate) -> String {
    match gate {
        Gate::NodesReady => "nodes ready".into(),
        Gate::EtcdHealthy => "etcd healthy".into(),
        Gate::ApiserversReady => "API servers ready".into(),
        Gate::Soak { ms } => format!("soak {}", span(*ms)),
        Gate::PodsProved { own: true, ms } => format!("pods proved (up to {})", span(*ms)),
        Gate::PodsProved { own: false, .. } => "pods of the waves before proved".into(),
        Gate::Own(own) => own.name.to_string(),
    }
}

/// What a gate of the operator's own asks.
fn own_gate(gate: &Gate) -> Option<String> {
    let Gate::Own(own) = gate else { return None };
    Some(format!("gate {}: {}, else a pause after {}", own.name, own.question.words(), span(own.timeout_ms)))
}

/// A severity's glyph and style.
pub fn severity(t: &Theme, severity: Severity) -> (&'static str, Style) {
    match severity {
        Severity::Error => ("✗", t.alarm),
        Severity::Warning => ("!", t.notice),
        Severity::Info => ("i", t.dim),
    }
}
