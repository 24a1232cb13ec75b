//! Staging: which release, and how far and how fast.

use super::super::app::App;
use super::super::layer::Looks;
use super::super::lens;
use super::super::text::{self, count, pad, span};
use super::super::widgets::{heading, paint, rack_map};
use crate::fleet::{Cluster, Component, Image, fold_names};
use crate::plan::{Release, Scope, unfit};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};

/// Limits that can be changed here.
pub const FIELDS: usize = 5;

/// Lines from which the map of what is old and new is worth its place.
const MAP: u16 = 8;

/// Paints the stage: releases, what the chosen one bumps, limits, and the nodes where there is room.
pub fn draw(app: &App, frame: &mut Frame<'_>, area: Rect) {
    if area.width >= 150 {
        let [left, _, right] =
            Layout::horizontal([Constraint::Length(70), Constraint::Length(2), Constraint::Min(0)]).areas(area);
        let limits = limit_lines(app, left.width);
        let room = usize::from(left.height).saturating_sub(limits.len() + 1);
        let mut lines = release_lines(app, left.width, room);
        lines.push(Line::default());
        lines.extend(limits);
        paint(frame, left, lines, "");
        let mut lines = change_lines(app, right.width);
        lines.push(Line::default());
        let below = below(right, lines.len());
        paint(frame, right, lines, "");
        draw_map(app, frame, below);
        return;
    }
    // The limits and three releases keep their places; the changes take what is left, the map what they leave.
    let limits = limit_lines(app, area.width);
    let height = usize::from(area.height).saturating_sub(limits.len());
    let changes = change_lines(app, area.width);
    let releases = height.saturating_sub(changes.len()).max(4).min(app.releases.len() + 1);
    let mut lines = release_lines(app, area.width, releases);
    let room = height.saturating_sub(lines.len());
    lines.extend(text::fit_lines(changes, room, "components; the plan has them all"));
    lines.extend(limits);
    let below = below(area, lines.len());
    paint(frame, area, lines, "");
    draw_map(app, frame, below);
}

/// What is left of an area below so many lines.
fn below(area: Rect, lines: usize) -> Rect {
    let used = u16::try_from(lines).unwrap_or(u16::MAX).min(area.height);
    Rect { y: area.y + used, height: area.height - used, ..area }
}

/// The workers, old and new as the chosen release sees them; nothing where there is no room.
fn draw_map(app: &App, frame: &mut Frame<'_>, area: Rect) {
    match &app.sight.cluster {
        Some(cluster) if area.height >= MAP => {
            rack_map::draw(app, cluster, &Looks::of(app, cluster), frame, area);
        }
        _ => {}
    }
}

fn release_lines(app: &App, width: u16, height: usize) -> Vec<Line<'static>> {
    let t = &app.theme;
    let mut lines = vec![heading(t, "RELEASES", "of the profile", width)];
    // A count takes a line of its own.
    let room = height.saturating_sub(1);
    let shown = if app.releases.len() <= room { room } else { room.saturating_sub(1).max(1) };
    let top = text::window(app.stage.release, app.releases.len(), shown);
    for (i, release) in app.releases.iter().enumerate().skip(top).take(shown) {
        let sign = if i == app.stage.release { "◉" } else { "○" };
        let behind = app.sight.cluster.as_ref().map_or(0, |c| behind(c, release));
        let note = match behind {
            0 => "every node runs it".to_owned(),
            n => format!("{} to change", count(n, "node", "nodes")),
        };
        let style = if app.stage.cursor == i { t.selected } else { t.text };
        lines.push(Line::from(vec![
            Span::styled(format!("{sign} {}", pad(&release.name, 16)), style),
            Span::styled(format!("  {note}"), if behind == 0 { t.good } else { t.dim }),
        ]));
    }
    let hidden = app.releases.len().saturating_sub(shown);
    if hidden > 0 {
        lines.push(Line::styled(format!("… {} more, use the arrows", hidden), t.dim));
    }
    lines
}

/// Nodes on which something is not as the release says.
fn behind(cluster: &Cluster, release: &Release) -> usize {
    let differs = |c: &Component, i: &Image| release.images.get(c).is_some_and(|to| to != i);
    cluster.nodes.values().filter(|n| n.components.iter().any(|(c, r)| differs(c, &r.image))).count()
}

fn change_lines(app: &App, width: u16) -> Vec<Line<'static>> {
    let t = &app.theme;
    let (Some(cluster), Some(release)) = (&app.sight.cluster, app.releases.get(app.stage.release)) else {
        return Vec::new();
    };
    let mut lines = vec![heading(t, "WHAT IT BUMPS", &release.name, width)];
    for (component, to) in &release.images {
        let mut moves = Vec::new();
        let mut there = 0;
        for (image, n) in lens::census(cluster, *component) {
            if image == to {
                there += n;
            } else {
                moves.push(format!("{} on {}", image_name(image, to), count(n, "node", "nodes")));
            }
        }
        let name = pad(component.as_str(), 24);
        if moves.is_empty() {
            let note = if there == 0 { "runs nowhere".into() } else { format!("{} already there", to.short()) };
            lines.push(Line::styled(format!("  {name} {note}"), t.dim));
            continue;
        }
        let there = if there > 0 { format!("; {there} already there") } else { String::new() };
        lines.push(Line::from(vec![
            Span::styled("~ ", t.busy),
            Span::styled(name, t.text),
            Span::styled(format!(" → {}", pad(to.short(), 11)), t.good),
            Span::styled(format!(" from {}{there}", moves.join(", ")), t.dim),
        ]));
    }
    lines
}

/// An image by its tag, or in full where the repository changes too.
fn image_name(image: &Image, to: &Image) -> String {
    if image.name() == to.name() { image.short().to_owned() } else { image.as_str().to_owned() }
}

/// Who would be left out; while nobody says so, these refuse the plan.
fn down_words(app: &App) -> String {
    let down = app.sight.cluster.as_ref().map_or(0, |c| unfit(c, &Scope::default()).len());
    format!("nodes that are down or in between: {down}")
}

fn limit_lines(app: &App, width: u16) -> Vec<Line<'static>> {
    let t = &app.theme;
    let l = &app.stage.limits;
    let first = match &l.ramp {
        Some(ramp) => ("waves", ramp.steps().len().to_string(), format!("waves that grow, the profile's: {ramp}")),
        None => ("canary", l.canary.to_string(), "workers that go first, alone".to_owned()),
    };
    let fields = [
        first,
        ("max parallel", l.max_parallel.to_string(), "swaps in flight at once".to_owned()),
        ("max unavailable", l.max_unavailable.to_string(), "nodes of a rack, broken ones too".to_owned()),
        ("soak", span(l.soak_ms), "to watch after each wave".to_owned()),
        ("leave out", if app.stage.leave_out { "yes" } else { "no" }.to_owned(), down_words(app)),
    ];
    let mut lines = vec![heading(t, "LIMITS", "change with + and -", width)];
    for (i, (name, value, about)) in fields.into_iter().enumerate() {
        let here = app.stage.cursor == app.releases.len() + i;
        let style = if here { t.selected } else { t.text };
        lines.push(Line::from(vec![
            Span::styled(format!("  {} {} ", pad(name, 16), text::right(&value, 8)), style),
            Span::styled(format!(" {about}"), t.dim),
        ]));
    }
    if !app.map.marked.is_empty() {
        let names = fold_names(app.map.marked.iter().map(|n| n.as_str()));
        let words = format!("  scope: {} marked: {names}", count(app.map.marked.len(), "node", "nodes"));
        lines.push(Line::styled(text::fit(&words, width.into()), t.notice));
    }
    let b = &app.budget;
    lines.push(Line::styled(
        format!(
            "  pauses by itself at {}, {} or {}",
            count(b.failed_swaps.max(1), "failed swap", "failed swaps"),
            count(b.not_ready_nodes.max(1), "lost node", "lost nodes"),
            count(b.disturbed_pods.max(1), "disturbed pod", "disturbed pods"),
        ),
        t.dim,
    ));
    if app.stage.planning {
        lines.push(Line::styled("planning…", t.busy));
    } else if app.options.read_only {
        lines.push(Line::styled("enter previews the plan; a read-only cockpit cannot apply it", t.notice));
    } else {
        lines.push(Line::styled("enter makes the plan; nothing is touched", t.notice));
    }
    lines
}
