//! Workers by rack: a row a rack, a cell a node; as much of each node as the room allows.

use super::super::app::App;
use super::super::lens::{self, Mark, Target};
use super::super::text::{self, count, pad};
use crate::fleet::{Cluster, Node, RackName};
use ratatui::text::{Line, Span};

/// How much a cell tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    /// Mark, name and version.
    Version(usize),
    /// Mark and name, the name in so many columns.
    Name(usize),
    /// The mark with a space.
    Wide,
    /// The mark alone.
    Mark,
}

impl Cell {
    fn width(self) -> usize {
        match self {
            Cell::Version(name) => 2 + name + 1 + 9 + 2,
            Cell::Name(name) => 2 + name + 2,
            Cell::Wide => 2,
            Cell::Mark => 1,
        }
    }
}

/// Heading, racks and a legend in `height` lines, with the selected node in sight.
pub fn lines(app: &App, cluster: &Cluster, width: usize, height: usize) -> Vec<Line<'static>> {
    let t = &app.theme;
    let racks = cluster.racks();
    let target = Target::of(app);
    let legend = legend(app, cluster, &target, width);
    let room = height.saturating_sub(1 + legend.len());
    let label = racks.iter().map(|(r, _)| r.as_str().len()).max().unwrap_or(4).clamp(4, 16);
    let tail = 20;
    let across = width.saturating_sub(label + 1 + tail).max(1);
    let name = cluster.workers().map(|n| n.name.as_str().len()).max().unwrap_or(0).min(28);
    let tall = |cell: Cell| -> usize {
        let each = (across / cell.width()).max(1);
        racks.iter().map(|(_, n)| n.len().div_ceil(each).max(1)).sum()
    };
    let cells = [Cell::Version(name), Cell::Name(name), Cell::Wide, Cell::Mark];
    let cell = cells.into_iter().find(|c| tall(*c) <= room).unwrap_or(Cell::Mark);
    let spaced = tall(cell) + racks.len() <= room && !matches!(cell, Cell::Wide | Cell::Mark);
    // The counts stand beside the longest rack, not at the far edge.
    let longest = racks.iter().map(|(_, n)| n.len()).max().unwrap_or(0);
    let across = across.min(longest.max(1) * cell.width());
    let mut rows: Vec<Line<'static>> = Vec::new();
    let mut focus = 0;
    for (rack, nodes) in &racks {
        if let Some(at) = nodes.iter().position(|n| Some(&n.name) == app.selected.as_ref()) {
            focus = rows.len() + at / (across / cell.width()).max(1);
        }
        rows.extend(rack_lines(app, rack, nodes, &target, cell, label, across));
        if spaced {
            rows.push(Line::default());
        }
    }
    let workers = racks.iter().map(|(_, n)| n.len()).sum::<usize>();
    let note = format!("{} in {}", count(workers, "node", "nodes"), count(racks.len(), "rack", "racks"));
    let mut lines = vec![super::heading(t, "WORKERS", &note, u16::try_from(width).unwrap_or(u16::MAX))];
    if rows.len() <= room {
        lines.extend(rows);
    } else {
        lines.extend(text::excerpt(rows, focus, room, t.dim));
    }
    lines.extend(legend);
    lines
}

fn rack_lines(
    app: &App,
    rack: &RackName,
    nodes: &[&Node],
    target: &Target<'_>,
    cell: Cell,
    label: usize,
    across: usize,
) -> Vec<Line<'static>> {
    let t = &app.theme;
    let run = app.run.as_ref();
    let marks: Vec<Mark> = nodes.iter().map(|n| lens::node_mark(n, run, target)).collect();
    let new = marks.iter().filter(|m| **m == Mark::New).count();
    let bad = marks.iter().filter(|m| **m >= Mark::RolledBack).count();
    let each = (across / cell.width()).max(1);
    let mut lines = Vec::new();
    for (i, chunk) in nodes.chunks(each).enumerate() {
        let mut spans = vec![Span::styled(pad(if i == 0 { rack.as_str() } else { "" }, label) + " ", t.text)];
        for (j, node) in chunk.iter().enumerate() {
            let mark = marks.get(i * each + j).copied().unwrap_or(Mark::Unknown);
            spans.extend(node_cell(app, node, mark, cell));
        }
        if i == 0 {
            let used: usize = spans.iter().map(Span::width).sum();
            spans.push(Span::raw(" ".repeat((label + 1 + across).saturating_sub(used))));
            let style = if new == nodes.len() { t.good } else { t.dim };
            spans.push(Span::styled(format!(" {new}/{} new", nodes.len()), style));
            if bad > 0 {
                spans.push(Span::styled(format!(" ! {bad}"), t.alarm));
            }
        }
        lines.push(Line::from(spans));
    }
    lines
}

fn node_cell(app: &App, node: &Node, mark: Mark, cell: Cell) -> Vec<Span<'static>> {
    let t = &app.theme;
    let chosen = app.selected.as_ref() == Some(&node.name);
    let glyph = if chosen { mark.style(t).patch(t.selected) } else { mark.style(t) };
    let name = if chosen { t.selected } else { t.text };
    match cell {
        Cell::Mark => vec![Span::styled(mark.glyph().to_string(), glyph)],
        Cell::Wide => vec![Span::styled(mark.glyph().to_string(), glyph), " ".into()],
        Cell::Name(w) => vec![
            Span::styled(format!("{} ", mark.glyph()), mark.style(t)),
            Span::styled(pad(node.name.as_str(), w), name),
            "  ".into(),
        ],
        Cell::Version(w) => {
            let run = app.run.as_ref();
            let target = Target::default();
            let version = lens::component_mark(node, crate::fleet::Component::Kubelet, run, &target)
                .map_or("-".to_owned(), |(_, image)| lens::short_version(image, 9));
            vec![
                Span::styled(format!("{} ", mark.glyph()), mark.style(t)),
                Span::styled(pad(node.name.as_str(), w), name),
                Span::styled(format!(" {}", pad(&version, 9)), t.dim),
                "  ".into(),
            ]
        }
    }
}

/// The marks that are on the map, with how many nodes wear each.
fn legend(app: &App, cluster: &Cluster, target: &Target<'_>, width: usize) -> Vec<Line<'static>> {
    let t = &app.theme;
    let run = app.run.as_ref();
    let mut seen = std::collections::BTreeMap::new();
    for node in cluster.nodes.values() {
        *seen.entry(lens::node_mark(node, run, target)).or_insert(0_usize) += 1;
    }
    let mut lines = vec![Line::from(Span::styled("all nodes: ", t.dim))];
    for mark in Mark::ALL {
        let Some(n) = seen.get(&mark) else { continue };
        let words = format!("{} {} ×{n}   ", mark.glyph(), mark.word());
        if lines.last().is_some_and(|l| l.width() + text::width(&words) > width) {
            lines.push(Line::default());
        }
        if let Some(line) = lines.last_mut() {
            line.spans.push(Span::styled(words, mark.style(t)));
        }
    }
    let star = "★ leader";
    if lines.last().is_some_and(|l| l.width() + text::width(star) > width) {
        lines.push(Line::default());
    }
    if let Some(line) = lines.last_mut() {
        line.spans.push(Span::styled(star, t.dim));
    }
    lines
}
