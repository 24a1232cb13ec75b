//! Masters: a line each, a cell a component.

use super::super::app::App;
use super::super::hits::Hit;
use super::super::layer::Looks;
use super::super::lens::{self, Mark};
use super::super::text::{fit, pad};
use crate::fleet::{Cluster, Component, Node};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

/// Paints the heading line and one line a master, which can be clicked.
pub fn draw(app: &App, cluster: &Cluster, looks: &Looks<'_>, frame: &mut Frame<'_>, area: Rect) {
    let masters = looks.index.masters.iter().filter_map(|at| looks.nodes.get(*at));
    for (node, y) in masters.zip(area.y + 1..area.bottom()) {
        app.hits.put(Rect { y, height: 1, ..area }, Hit::Node(node.name.clone()));
    }
    super::paint(frame, area, lines(app, cluster, looks, area.width.into()), "");
}

fn lines(app: &App, cluster: &Cluster, looks: &Looks<'_>, width: usize) -> Vec<Line<'static>> {
    let t = &app.theme;
    let masters: Vec<&Node> = looks.index.masters.iter().filter_map(|at| looks.nodes.get(*at).copied()).collect();
    let name = masters.iter().map(|n| n.name.as_str().len()).max().unwrap_or(0).max(7);
    // A cell is a mark, a version and a space; names give way first.
    let name = name.min(width.saturating_sub(Component::ALL.len() * 8 + 2)).min(32);
    let cell = (width.saturating_sub(name + 3) / Component::ALL.len()).clamp(8, 14);
    let mut head = vec![Span::styled(pad("MASTERS", name + 3), t.head)];
    head.extend(Component::ALL.iter().map(|c| {
        let long = if cell > c.as_str().len() { c.as_str() } else { narrow(*c, cell - 1) };
        Span::styled(pad(long, cell - 1) + " ", t.dim)
    }));
    let mut lines = vec![Line::from(head)];
    lines.extend(masters.into_iter().map(|n| line(app, cluster, n, looks, name, cell)));
    lines
}

/// A component's head where even its short form is too long.
fn narrow(component: Component, width: usize) -> &'static str {
    match component {
        Component::EtcdRivers if width < 8 => "e-rivrs",
        Component::KubeControllerManager if width < 8 => "c-mgr",
        other => other.short(),
    }
}

fn line(app: &App, cluster: &Cluster, node: &Node, looks: &Looks<'_>, name: usize, cell: usize) -> Line<'static> {
    let t = &app.theme;
    let run = app.run.as_ref();
    let (glyph, look) = looks.sign(looks.place(node));
    let style = if app.selected.as_ref() == Some(&node.name) { t.selected } else { t.text };
    let mut spans = vec![
        Span::styled(glyph.to_string(), look),
        Span::styled(if app.map.marked.contains(&node.name) { "*" } else { " " }, t.key),
        Span::styled(pad(node.name.as_str(), name), style),
        " ".into(),
    ];
    for component in Component::ALL {
        spans.push(match lens::component_mark(node, component, run, &looks.target) {
            None => Span::styled(pad("-", cell), t.dim),
            Some((mark, image)) => {
                // A leader at rest shows its star: the version beside it tells old from new.
                let rest = matches!(mark, Mark::Old | Mark::New | Mark::Unknown);
                let sign = if rest && lens::leads(cluster, component, &node.name) { '★' } else { mark.glyph() };
                let version = fit(&lens::short_version(image, cell - 2), cell - 2);
                Span::styled(pad(&format!("{sign}{version}"), cell), mark.style(t))
            }
        });
    }
    Line::from(spans)
}
