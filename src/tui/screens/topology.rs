//! The cluster's map: masters, workers by rack, the node under the cursor. With a run, its swaps live.

use super::super::app::App;
use super::super::text;
use super::super::widgets::{masters, node, paint, rack_map, run_strip};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;

/// Columns from which the node's details stand beside the map.
const BESIDE: u16 = 150;

/// Paints the map.
pub fn draw(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let t = &app.theme;
    let Some(cluster) = &app.sight.cluster else {
        let mut lines = vec![Line::default()];
        match &app.sight.error {
            None => {
                lines.push(Line::styled("Looking at the cluster's API and at every node over SSH…", t.busy));
                lines.push(Line::styled("Nothing is changed by looking.", t.dim));
            }
            Some(why) => {
                lines.push(Line::styled("✗ The cluster could not be observed:", t.alarm));
                lines.extend(text::wrap(why, area.width.into()).into_iter().map(Line::from));
                lines.push(Line::default());
                lines.push(Line::from("Press r to try again; `sonoba doctor` looks for the cause."));
            }
        }
        return paint(frame, area, lines, "");
    };
    let (map, side) = if area.width >= BESIDE {
        let side = (area.width / 3).min(64);
        let [map, _, side] =
            Layout::horizontal([Constraint::Min(0), Constraint::Length(2), Constraint::Length(side)]).areas(area);
        (map, side)
    } else {
        let below = if area.height >= 26 { 8 } else { 6 };
        let [map, side] = Layout::vertical([Constraint::Min(0), Constraint::Length(below)]).areas(area);
        (map, side)
    };
    let mut lines = Vec::new();
    if let Some(why) = &app.sight.error {
        let words = format!("✗ the last observation failed, this is the one before: {why}");
        lines.push(Line::styled(words, t.alarm));
    }
    lines.extend(app.run.as_ref().map(|view| run_strip(t, app, view, map.width)));
    lines.extend(masters::lines(app, cluster, map.width.into()));
    let used = lines.len();
    lines.extend(rack_map::lines(app, cluster, map.width.into(), usize::from(map.height).saturating_sub(used)));
    paint(frame, map, lines, "");
    paint(frame, side, node::lines(app, cluster, side.width.into()), "");
}
