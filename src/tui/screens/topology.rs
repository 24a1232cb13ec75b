//! The cluster: its map, one rack, or one node. With a run, its swaps live.

use super::super::app::App;
use super::super::draw::body;
use super::super::hits::Hit;
use super::super::layer::Looks;
use super::super::map::Zoom;
use super::super::safety;
use super::super::text;
use super::super::widgets::{dossier, filter_line, masters, node, paint, rack, rack_map, run_strip};
use crate::fleet::Cluster;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use std::sync::Arc;

/// Columns from which the node's details stand beside the map.
const BESIDE: u16 = 150;

/// Lines from which all that is known of the node stands beside the map.
const LONG: u16 = 30;

/// Nodes from which the map takes lines from the node's details.
const CROWDED: usize = 300;

/// Where the parts of the screen stand.
struct Places {
    /// What must be said first, and the run in a line.
    head: Rect,
    /// The masters.
    masters: Rect,
    /// The map or the rack.
    map: Rect,
    /// The node under the cursor.
    side: Rect,
    /// The filter.
    filter: Rect,
}

/// Paints the screen.
pub fn draw(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let Some(cluster) = &app.sight.cluster else {
        return paint(frame, area, unseen(app, area.width), "");
    };
    if app.map.zoom == Zoom::Node {
        return paint(frame, area, dossier_lines(app, cluster, area), "lines: down");
    }
    let places = places(app, cluster, area);
    paint(frame, places.head, head_lines(app, cluster, places.head.width), "");
    let looks = Looks::of(app, cluster);
    masters::draw(app, cluster, &looks, frame, places.masters);
    match app.map.zoom {
        Zoom::Fleet => {
            let focus = rack_map::Focus { chosen: app.selected.as_ref(), masters: true, ..Default::default() };
            rack_map::draw(app, cluster, &looks, focus, frame, places.map);
        }
        _ => rack::draw(app, cluster, &looks, frame, places.map),
    }
    let width = usize::from(places.side.width);
    match places.side.height {
        LONG.. => paint(frame, places.side, dossier::lines(app, cluster, width), "lines: enter zooms in"),
        _ => paint(frame, places.side, node::lines(app, cluster, width), ""),
    }
    if places.filter.height > 0 {
        paint(frame, places.filter, vec![filter_line::line(app, cluster, &looks, places.filter.width.into())], "");
    }
    if app.map.typing {
        app.hits.put(places.filter, Hit::Key(super::super::command::Command::Filter));
    }
}

fn unseen(app: &App, width: u16) -> Vec<Line<'static>> {
    let t = &app.theme;
    let mut lines = vec![Line::default()];
    match &app.sight.error {
        None => {
            lines.push(Line::styled("Looking at the cluster's API and at every node over SSH…", t.busy));
            lines.push(Line::styled("Nothing is changed by looking.", t.dim));
        }
        Some(why) => {
            lines.push(Line::styled("✗ The cluster could not be observed:", t.alarm));
            lines.extend(text::wrap(why, width.into()).into_iter().map(Line::from));
            lines.push(Line::default());
            lines.push(Line::from("Press r to try again; `sonoba doctor` looks for the cause."));
        }
    }
    lines
}

/// Lines of a terminal from which the cluster's state is written out.
const TALL: u16 = 30;

fn head_lines(app: &App, cluster: &Cluster, width: u16) -> Vec<Line<'static>> {
    let t = &app.theme;
    let mut lines = Vec::new();
    if let Some(why) = &app.sight.error {
        let words = format!("✗ the last observation failed, this is the one before: {why}");
        lines.push(Line::styled(words, t.alarm));
    }
    if let Some(view) = &app.run {
        lines.push(run_strip(t, app, view, width));
        lines.extend(app.live().map(|view| safety::line(app, view, width)));
    }
    if app.live().is_none() && app.size.1 >= TALL {
        lines.push(safety::cluster_line(t, cluster));
    }
    lines
}

fn places(app: &App, cluster: &Cluster, area: Rect) -> Places {
    let filter = u16::from(app.map.typing || !app.map.typed.is_empty());
    let [area, filter] = Layout::vertical([Constraint::Min(0), Constraint::Length(filter)]).areas(area);
    let (map, side) = if area.width >= BESIDE {
        let side = (area.width / 3).min(64);
        let [map, _, side] =
            Layout::horizontal([Constraint::Min(0), Constraint::Length(2), Constraint::Length(side)]).areas(area);
        (map, side)
    } else {
        // Where there are many nodes, the map needs the lines more.
        let below = match area.height {
            _ if app.map.zoom == Zoom::Fleet && cluster.nodes.len() > CROWDED => 3,
            26.. => 8,
            _ => 6,
        };
        let [map, side] = Layout::vertical([Constraint::Min(0), Constraint::Length(below)]).areas(area);
        (map, side)
    };
    let head = [app.sight.error.is_some(), app.run.is_some(), app.live().is_some() || app.size.1 >= TALL];
    let head = head.into_iter().map(u16::from).sum();
    // From near, the rack has its own masters on it.
    let masters = match app.map.zoom {
        Zoom::Fleet => u16::try_from(cluster.masters().count() + 1).unwrap_or(u16::MAX),
        _ => 0,
    };
    let parts = [Constraint::Length(head), Constraint::Length(masters), Constraint::Min(0)];
    let [head, masters, map] = Layout::vertical(parts).areas(map);
    Places { head, masters, map, side, filter }
}

/// Columns and lines that the racks have on the map.
pub fn map_room(app: &App, cluster: &Arc<Cluster>) -> (usize, usize) {
    let places = places(app, cluster, body(app));
    let width = usize::from(places.map.width);
    let legend = rack_map::legend(app, cluster, &Looks::of(app, cluster), true, width).len();
    (width, rack_map::room(places.map.height.into(), legend))
}

/// All that is known of the node, from the line that it is scrolled to on.
fn dossier_lines(app: &App, cluster: &Cluster, area: Rect) -> Vec<Line<'static>> {
    let lines = dossier::lines(app, cluster, area.width.into());
    let top = app.map.top.min(lines.len().saturating_sub(area.height.into()));
    lines.into_iter().skip(top).collect()
}

/// How many lines the node can be scrolled by.
pub fn node_scroll(app: &App) -> usize {
    let area = body(app);
    let all = app.sight.cluster.as_ref().map_or(0, |c| dossier::lines(app, c, area.width.into()).len());
    all.saturating_sub(area.height.into())
}
