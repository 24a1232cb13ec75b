//! Workers by rack: racks side by side, a cell a node; as much of each node as the room allows.

use super::super::app::App;
use super::super::atlas::{Atlas, Block, Cell};
use super::super::hits::Hit;
use super::super::layer::{Layer, Looks};
use super::super::lens::{self, Mark, Target};
use super::super::text::{self, count, pad, right};
use crate::fleet::{Cluster, NodeName};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};

/// Where a map looks.
#[derive(Clone, Copy, Default)]
pub struct Focus<'a> {
    /// The node under the cursor.
    pub chosen: Option<&'a NodeName>,
    /// A node that must be in sight when none is chosen.
    pub seen: Option<&'a NodeName>,
    /// Whether the masters stand beside it, with their stars.
    pub masters: bool,
}

/// Paints heading, racks and legend, with the node in focus in sight; what is painted can be clicked.
pub fn draw(app: &App, cluster: &Cluster, looks: &Looks<'_>, focus: Focus<'_>, frame: &mut Frame<'_>, area: Rect) {
    let t = &app.theme;
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let legend = legend(app, cluster, looks, focus.masters, width);
    let room = room(height, legend.len());
    let atlas = Atlas::fit(&looks.index, &looks.nodes, width, room);
    let place = |name: Option<&NodeName>| name.and_then(|n| cluster.nodes.get(n)).map(|node| looks.place(node));
    let chosen = place(focus.chosen);
    let total = atlas.lines();
    let sought = chosen.or_else(|| place(focus.seen));
    let line = || atlas.places().find(|(at, ..)| Some(*at) == sought).map_or(0, |(_, _, y)| y);
    let top = if total <= room { 0 } else { text::window(line(), total, room) };
    let shown = Shown { app, looks, atlas: &atlas, chosen };
    let workers = atlas.blocks.iter().map(|b| b.nodes).sum::<usize>();
    let note = format!("{} in {}", count(workers, "node", "nodes"), count(atlas.blocks.len(), "rack", "racks"));
    let mut lines = vec![super::heading(t, "WORKERS", &note, area.width)];
    let mut rows = shown.rows(top..(top + room).min(total));
    // A count takes the place of a line, which it counts too.
    if let Some(first) = rows.first_mut().filter(|_| top > 0) {
        *first = Line::styled(format!("… {} above", top + 1), t.dim);
    }
    if let Some(last) = rows.last_mut().filter(|_| top + room < total) {
        *last = Line::styled(format!("… {} below", total - top - room + 1), t.dim);
    }
    lines.extend(rows);
    for (at, x, y) in atlas.places() {
        let Some(line) = y.checked_sub(top).filter(|line| *line < room) else { continue };
        let n = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        let place = Rect {
            x: area.x.saturating_add(n(x)),
            y: area.y.saturating_add(n(line + 1)),
            width: n(atlas.cell.width()),
            height: 1,
        };
        if let Some(node) = looks.nodes.get(at) {
            app.hits.put(place, Hit::Node(node.name.clone()));
        }
    }
    lines.extend(legend);
    super::paint(frame, area, lines, "");
}

/// Lines for the racks where heading and legend take theirs.
pub fn room(height: usize, legend: usize) -> usize {
    height.saturating_sub(1 + legend)
}

struct Shown<'a> {
    app: &'a App,
    looks: &'a Looks<'a>,
    atlas: &'a Atlas<'a>,
    chosen: Option<usize>,
}

impl Shown<'_> {
    /// These lines of the map.
    fn rows(&self, range: std::ops::Range<usize>) -> Vec<Line<'static>> {
        let mut rows = Vec::with_capacity(range.len());
        let mut y = 0;
        for (band, height) in self.atlas.bands() {
            for line in 0..height {
                y += 1;
                if !range.contains(&(y - 1)) {
                    continue;
                }
                let mut spans: Vec<Span<'static>> = Vec::new();
                let mut used = 0;
                for (b, block) in band.iter().enumerate() {
                    let left = self.atlas.left(b);
                    spans.push(Span::raw(" ".repeat(left.saturating_sub(used))));
                    used = left + self.block_line(block, line, &mut spans);
                }
                rows.push(Line::from(spans));
            }
        }
        rows
    }

    /// One line of a rack; returns the columns that it took.
    fn block_line(&self, block: &Block<'_>, line: usize, spans: &mut Vec<Span<'static>>) -> usize {
        let (t, atlas) = (&self.app.theme, self.atlas);
        let Some(cells) = block.cells.chunks(atlas.each).nth(line) else { return 0 };
        let label = if line == 0 { block.rack.as_str() } else { "" };
        spans.push(Span::styled(pad(label, atlas.label) + " ", t.text));
        for cell in cells {
            match cell {
                Some(at) => self.cell(*at, spans),
                None => spans.push(Span::raw(" ".repeat(atlas.cell.width()))),
            }
        }
        let used = atlas.label + 1 + cells.len() * atlas.cell.width();
        if line > 0 {
            return used;
        }
        let room = (atlas.each - cells.len()) * atlas.cell.width();
        spans.push(Span::raw(" ".repeat(room)));
        let before = spans.len();
        self.counts(block, spans);
        used + room + spans[before..].iter().map(Span::width).sum::<usize>()
    }

    /// How many of the rack are new, and how many are in trouble.
    fn counts(&self, block: &Block<'_>, spans: &mut Vec<Span<'static>>) {
        let t = &self.app.theme;
        let nodes = || block.cells.iter().flatten();
        let marks: Vec<Mark> = nodes().map(|at| self.looks.mark(*at)).collect();
        let new = marks.iter().filter(|m| **m == Mark::New).count();
        let bad = marks.iter().filter(|m| **m >= Mark::RolledBack).count();
        // What only went back needs nobody at once.
        let back = marks.iter().filter(|m| **m == Mark::RolledBack).count() == bad;
        let (sign, alarm) = if back { ('↶', t.notice) } else { ('!', t.alarm) };
        let filter = !self.app.map.filter.is_empty();
        let style = if new == block.nodes { t.good } else { t.dim };
        match self.atlas.narrow_tail {
            true if bad > 0 => spans.push(Span::styled(right(&format!("{sign}{bad}"), self.atlas.tail), alarm)),
            true => spans.push(Span::styled(right(&format!("{new}/{}", block.nodes), self.atlas.tail), style)),
            false if filter => {
                let found = nodes().filter(|at| self.looks.takes(**at)).count();
                spans.push(Span::styled(format!(" {found}/{} match", block.nodes), t.dim));
            }
            false => {
                spans.push(Span::styled(format!(" {new}/{} new", block.nodes), style));
                if bad > 0 {
                    spans.push(Span::styled(format!(" {sign} {bad}"), alarm));
                }
            }
        }
    }

    fn cell(&self, at: usize, spans: &mut Vec<Span<'static>>) {
        let t = &self.app.theme;
        let Some(node) = self.looks.nodes.get(at) else { return };
        let chosen = self.chosen == Some(at);
        let marked = self.app.map.marked.contains(&node.name);
        let (mut glyph, mut style) = self.looks.sign(at);
        let mut name = t.text;
        if !self.app.map.filter.is_empty() && !self.looks.takes(at) {
            (glyph, style, name) = ('·', t.dim, t.dim);
        }
        if marked {
            style = style.add_modifier(Modifier::UNDERLINED);
            name = name.add_modifier(Modifier::UNDERLINED);
        }
        let sign = if chosen { style.patch(t.selected) } else { style };
        let name = if chosen { t.selected } else { name };
        let star = if marked { "*" } else { " " };
        match self.atlas.cell {
            Cell::Sign => spans.push(Span::styled(glyph.to_string(), sign)),
            Cell::Wide => spans.extend([Span::styled(glyph.to_string(), sign), Span::styled(star, t.key)]),
            Cell::Name(w) => spans.extend([
                Span::styled(glyph.to_string(), style),
                Span::styled(star, t.key),
                Span::styled(pad(node.name.as_str(), w), name),
                "  ".into(),
            ]),
            Cell::Version(w) => {
                let (run, target) = (self.app.run.as_ref(), Target::default());
                let version = lens::component_mark(node, crate::fleet::Component::Kubelet, run, &target)
                    .map_or("-".to_owned(), |(_, image)| lens::short_version(image, 9));
                spans.extend([
                    Span::styled(glyph.to_string(), style),
                    Span::styled(star, t.key),
                    Span::styled(pad(node.name.as_str(), w), name),
                    Span::styled(format!(" {}", pad(&version, 9)), t.dim),
                    "  ".into(),
                ]);
            }
        }
    }
}

/// The signs that are on the map, with how many nodes wear each, and what else can stand in a cell.
pub fn legend(app: &App, cluster: &Cluster, looks: &Looks<'_>, masters: bool, width: usize) -> Vec<Line<'static>> {
    let t = &app.theme;
    // Old and new are so against something.
    let to = Target::name(app).filter(|_| masters && app.map.layer == Layer::State);
    let to = to.map(|name| format!(" for release {}", text::fit(name, 16))).unwrap_or_default();
    let mut lines = vec![Line::from(Span::styled(format!("{}{to}: ", app.map.layer.word()), t.dim))];
    let mut add = |words: String, style| {
        if lines.last().is_some_and(|l| l.width() + text::width(&words) > width) {
            lines.push(Line::default());
        }
        if let Some(line) = lines.last_mut() {
            line.spans.push(Span::styled(words, style));
        }
    };
    for sign in looks.legend() {
        // Where no masters are shown, none are counted.
        let shown = if masters { sign.nodes } else { sign.nodes.saturating_sub(sign.masters) };
        if shown > 0 {
            add(format!("{} {} ×{shown}   ", sign.glyph, sign.word), sign.style);
        }
    }
    if masters && app.map.layer == Layer::State && cluster.leaders != Default::default() {
        add("★ leader   ".into(), t.dim);
    }
    if !app.map.filter.is_empty() {
        add("· no match   ".into(), t.dim);
    }
    if !app.map.marked.is_empty() {
        add(format!("* marked ×{}   ", app.map.marked.len()), t.key);
    }
    lines
}
