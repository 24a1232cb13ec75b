//! Where each worker's cell stands on the map: racks side by side, as much of each node as the room allows. Geometry only.

use super::index::{Index, Rack};
use crate::fleet::{Cluster, Node, RackName};

/// How much a cell tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    /// Sign, name in so many columns, and version.
    Version(usize),
    /// Sign and name, the name in so many columns.
    Name(usize),
    /// The sign with a space.
    Wide,
    /// The sign alone.
    Sign,
}

impl Cell {
    /// Columns of a cell.
    pub fn width(self) -> usize {
        match self {
            Cell::Version(name) => 2 + name + 1 + 9 + 2,
            Cell::Name(name) => 2 + name + 2,
            Cell::Wide => 2,
            Cell::Sign => 1,
        }
    }

    /// Whether it has no name, so that roles are told apart by gaps.
    pub fn small(self) -> bool {
        matches!(self, Cell::Wide | Cell::Sign)
    }
}

/// A rack on the map.
#[derive(Debug)]
pub struct Block<'a> {
    /// The rack.
    pub rack: &'a RackName,
    /// Its cells in reading order, as places among the cluster's nodes; none is a gap between two roles.
    pub cells: Vec<Option<usize>>,
    /// Its workers.
    pub nodes: usize,
}

/// The map's geometry. Lines and columns count from its upper left corner.
#[derive(Debug)]
pub struct Atlas<'a> {
    /// How much a cell tells.
    pub cell: Cell,
    /// Columns of a rack's name.
    pub label: usize,
    /// Cells on a line of a rack.
    pub each: usize,
    /// Columns of a rack's counts.
    pub tail: usize,
    /// Whether that is room for two numbers only.
    pub narrow_tail: bool,
    /// Racks side by side.
    pub across: usize,
    /// An empty line after each rack.
    pub airy: bool,
    /// The racks, in natural order.
    pub blocks: Vec<Block<'a>>,
}

/// Between two racks side by side.
const GUTTER: usize = 2;

/// Columns of counts beside a rack that has the line for itself.
const WIDE_TAIL: usize = 20;

impl<'a> Atlas<'a> {
    /// The map that shows most in `width` columns and `room` lines; where even signs are too many, it is longer than `room`.
    pub fn fit(index: &'a Index, nodes: &[&Node], width: usize, room: usize) -> Atlas<'a> {
        let racks = &index.racks;
        let label = racks.iter().map(|rack| rack.name.as_str().len()).max().unwrap_or(4).clamp(4, 16);
        let name = index.longest_name.min(28);
        let most = racks.iter().map(|rack| rack.nodes.len()).max().unwrap_or(0).max(1);
        let short = 2 * most.to_string().len() + 2;
        let shape = |cell: Cell, beside: bool| {
            let longest = racks.iter().map(|rack| cells(rack, cell)).max().unwrap_or(0).max(1);
            let block = label + 1 + longest * cell.width() + short;
            let across = ((width + GUTTER) / (block + GUTTER)).min(racks.len());
            let (each, tail, across) = match beside && across > 1 {
                true => (longest, short, across),
                false => {
                    let tail = if beside { short } else { WIDE_TAIL };
                    let each = width.saturating_sub(label + 1 + tail) / cell.width();
                    (each.clamp(1, longest), tail, 1)
                }
            };
            let narrow_tail = tail != WIDE_TAIL;
            Atlas { cell, label, each, tail, narrow_tail, across, airy: false, blocks: Vec::new() }
        };
        let lines = |atlas: &Atlas<'_>| -> usize {
            let of = |rack: &Rack| cells(rack, atlas.cell).div_ceil(atlas.each).max(1);
            racks.chunks(atlas.across.max(1)).map(|band| band.iter().map(of).max().unwrap_or(1)).sum()
        };
        let alone = [Cell::Version(name), Cell::Name(name), Cell::Wide].map(|cell| shape(cell, false));
        let beside = [Cell::Wide, Cell::Sign].map(|cell| shape(cell, true));
        let all = alone.into_iter().chain(beside);
        let mut best = all.into_iter().find(|atlas| lines(atlas) <= room).unwrap_or_else(|| shape(Cell::Sign, true));
        best.airy = !best.cell.small() && lines(&best) + racks.len() <= room;
        best.blocks = racks.iter().map(|rack| block(rack, nodes, best.cell)).collect();
        best
    }

    /// All its lines.
    pub fn lines(&self) -> usize {
        self.bands().map(|(_, height)| height).sum()
    }

    /// Columns of a rack with its name and counts.
    pub fn block_width(&self) -> usize {
        self.label + 1 + self.each * self.cell.width() + self.tail
    }

    /// Racks that stand side by side, with the lines that they take.
    pub fn bands(&self) -> impl Iterator<Item = (&[Block<'a>], usize)> {
        self.blocks.chunks(self.across.max(1)).map(|band| {
            let height = band.iter().map(|b| b.cells.len().div_ceil(self.each).max(1)).max().unwrap_or(1);
            (band, height + usize::from(self.airy))
        })
    }

    /// Every node's place, with its column and line.
    pub fn places(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let mut top = 0;
        let bands = self.bands().map(move |(band, height)| {
            let at = top;
            top += height;
            (band, at)
        });
        bands.flat_map(move |(band, top)| {
            band.iter().enumerate().flat_map(move |(b, block)| {
                let left = b * (self.block_width() + GUTTER) + self.label + 1;
                block.cells.iter().enumerate().filter_map(move |(i, cell)| {
                    let (x, y) = (left + i % self.each * self.cell.width(), top + i / self.each);
                    cell.map(|at| (at, x, y))
                })
            })
        })
    }

    /// The column at which a rack of a band begins.
    pub fn left(&self, in_band: usize) -> usize {
        in_band * (self.block_width() + GUTTER)
    }
}

/// The racks with their workers, by role and then as people count.
pub fn racks(cluster: &Cluster) -> Vec<(&RackName, Vec<&Node>)> {
    let mut racks = cluster.racks();
    racks.iter_mut().for_each(|(_, nodes)| nodes.sort_by_key(|n| n.role.as_ref().map(|r| r.as_str())));
    racks
}

/// How many cells a rack takes: small ones have gaps where the role changes.
fn cells(rack: &Rack, cell: Cell) -> usize {
    rack.nodes.len() + if cell.small() { rack.gaps } else { 0 }
}

fn block<'a>(rack: &'a Rack, nodes: &[&Node], cell: Cell) -> Block<'a> {
    let mut cells = Vec::with_capacity(rack.nodes.len() + rack.gaps);
    let mut before = None;
    for at in &rack.nodes {
        let role = nodes.get(*at).map(|node| &node.role);
        if cell.small() && before.is_some() && before != role {
            cells.push(None);
        }
        before = role;
        cells.push(Some(*at));
    }
    Block { rack: &rack.name, cells, nodes: rack.nodes.len() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixtures;

    #[test]
    fn no_two_cells_share_a_place_and_each_node_has_one() {
        let app = fixtures::app((80, 24), Default::default());
        let cluster = app.sight.cluster.clone().unwrap();
        let (index, all) = (Index::of(&app, &cluster), crate::tui::index::nodes(&cluster));
        for width in [40, 78, 118, 198, 398] {
            for room in [1, 5, 12, 30, 90] {
                let atlas = Atlas::fit(&index, &all, width, room);
                let mut taken = std::collections::HashSet::new();
                let mut nodes = 0;
                for (node, x, y) in atlas.places() {
                    nodes += 1;
                    for column in x..x + atlas.cell.width() {
                        assert!(taken.insert((column, y)), "{node} at {column},{y} of {width}x{room}");
                    }
                    assert!(
                        y < atlas.lines() && x + atlas.cell.width() <= width,
                        "{node} at {x},{y} of {width}x{room}"
                    );
                }
                assert_eq!(nodes, 60);
            }
        }
    }

    #[test]
    fn there_is_as_much_of_each_node_as_the_room_allows() {
        let app = fixtures::app((80, 24), Default::default());
        let cluster = app.sight.cluster.clone().unwrap();
        let (index, all) = (Index::of(&app, &cluster), crate::tui::index::nodes(&cluster));
        let shape = |width, room| {
            let atlas = Atlas::fit(&index, &all, width, room);
            (atlas.cell, atlas.across, atlas.lines())
        };
        assert_eq!(shape(198, 40), (Cell::Version(10), 1, 18));
        assert!(matches!(shape(118, 14), (Cell::Name(_), 1, 12)));
        assert_eq!(shape(118, 8), (Cell::Wide, 1, 6));
        assert_eq!(shape(118, 3), (Cell::Wide, 3, 2));
        assert_eq!(shape(78, 2), (Cell::Sign, 3, 2));
    }
}
