//! One rack: a line a node, with its components.

use super::super::app::App;
use super::super::hits::Hit;
use super::super::layer::Looks;
use super::super::lens::{self, Mark};
use super::super::map::rack_of;
use super::super::text::{self, count, fit, pad};
use super::rack_map::legend;
use crate::fleet::{Cluster, Component, Node};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use std::collections::BTreeSet;

/// Columns of a component's cell.
const CELL: usize = 11;

/// Columns that it needs at least.
const NARROW: usize = 8;

/// Paints the rack of the node under the cursor.
pub fn draw(app: &App, cluster: &Cluster, looks: &Looks<'_>, frame: &mut Frame<'_>, area: Rect) {
    let t = &app.theme;
    let Some(node) = app.selected.as_ref().and_then(|n| cluster.nodes.get(n)) else { return };
    let nodes = rack_of(cluster, node);
    let new = nodes.iter().filter(|n| looks.mark(looks.place(n)) == Mark::New).count();
    let racks: BTreeSet<_> = cluster.nodes.values().map(|n| &n.rack).collect();
    let note =
        format!("{}, {new} new; one of {}", count(nodes.len(), "node", "nodes"), count(racks.len(), "rack", "racks"));
    let components: Vec<Component> =
        Component::ALL.into_iter().filter(|c| nodes.iter().any(|n| n.components.contains_key(c))).collect();
    let columns = Columns::fit(&nodes, components, area.width.into());
    let legend = legend(app, cluster, looks, true, area.width.into());
    let room = usize::from(area.height).saturating_sub(2 + legend.len());
    let at = nodes.iter().position(|n| n.name == node.name).unwrap_or(0);
    let rows: Vec<Line<'static>> = nodes.iter().map(|n| columns.line(app, cluster, looks, n)).collect();
    let top = if rows.len() <= room { 0 } else { text::window(at, rows.len(), room) };
    for (node, y) in nodes.iter().skip(top).take(room).zip(area.y + 2..) {
        app.hits.put(Rect { y, height: 1, ..area }, Hit::Node(node.name.clone()));
    }
    let mut lines = vec![super::heading(t, &node.rack.as_str().to_uppercase(), &note, area.width), columns.head(app)];
    lines.extend(text::excerpt(rows, at, room, t.dim));
    lines.extend(legend);
    super::paint(frame, area, lines, "");
}

struct Columns {
    name: usize,
    role: usize,
    components: Vec<Component>,
    cell: usize,
}

impl Columns {
    fn fit(nodes: &[&Node], components: Vec<Component>, width: usize) -> Columns {
        let longest = |of: &dyn Fn(&Node) -> usize| nodes.iter().map(|n| of(n)).max().unwrap_or(0);
        let role = longest(&|n| role(n).len()).clamp(4, 10);
        let name = longest(&|n| n.name.as_str().len()).max(4);
        let fixed = 2 + role + 1 + 12;
        // Names come first. What only masters have stands on the masters' lines of the map too.
        let fits = |n: usize| (width.saturating_sub(fixed + name.min(24)) / n.max(1)).min(CELL);
        let components = match fits(components.len()) >= NARROW {
            true => components,
            false => components.into_iter().filter(|c| !c.master_only()).collect(),
        };
        let cell = fits(components.len()).max(NARROW);
        let name = name.min(width.saturating_sub(fixed + components.len() * cell)).max(8);
        Columns { name, role, components, cell }
    }

    fn head(&self, app: &App) -> Line<'static> {
        let t = &app.theme;
        let mut spans = vec![Span::styled(
            format!("  {} {} {}", pad("node", self.name), pad("role", self.role), pad("health", 10)),
            t.dim,
        )];
        spans.extend(self.components.iter().map(|c| Span::styled(pad(c.short(), self.cell - 1) + " ", t.dim)));
        Line::from(spans)
    }

    fn line(&self, app: &App, cluster: &Cluster, looks: &Looks<'_>, node: &Node) -> Line<'static> {
        let t = &app.theme;
        let chosen = app.selected.as_ref() == Some(&node.name);
        let dull = !app.map.filter.is_empty() && !looks.takes(looks.place(node));
        let (glyph, look) = if dull { ('·', t.dim) } else { looks.sign(looks.place(node)) };
        let text = if dull { t.dim } else { t.text };
        let (health, wrong) = health(node);
        let mut spans = vec![
            Span::styled(glyph.to_string(), look),
            Span::styled(if app.map.marked.contains(&node.name) { "*" } else { " " }, t.key),
            Span::styled(pad(node.name.as_str(), self.name), if chosen { t.selected } else { text }),
            Span::styled(format!(" {} ", pad(role(node), self.role)), text),
            Span::styled(pad(health, 10) + " ", if wrong { t.alarm } else { text }),
        ];
        for component in &self.components {
            let Some((mark, image)) = lens::component_mark(node, *component, app.run.as_ref(), &looks.target) else {
                spans.push(Span::styled(pad("-", self.cell), t.dim));
                continue;
            };
            let leads = lens::leads(cluster, *component, &node.name);
            let rest = matches!(mark, Mark::Old | Mark::New | Mark::Unknown);
            let sign = if leads && rest { '★' } else { mark.glyph() };
            let version = fit(&lens::short_version(image, self.cell - 2), self.cell - 2);
            spans.push(Span::styled(
                pad(&format!("{sign}{version}"), self.cell),
                if dull { t.dim } else { mark.style(t) },
            ));
        }
        Line::from(spans)
    }
}

fn role(node: &Node) -> &str {
    match &node.role {
        _ if node.master => "master",
        Some(role) => role.as_str(),
        None => "-",
    }
}

/// The worst of what is known of the node's health, and whether it is bad.
fn health(node: &Node) -> (&'static str, bool) {
    match node.reachable {
        Some(false) => ("× no SSH", true),
        _ if !node.ready => ("! NotReady", true),
        _ if node.components.values().any(|r| !r.running) => ("✗ down", true),
        _ if !node.leftovers.is_empty() => ("◐ leftover", true),
        _ => ("✓ Ready", false),
    }
}
