//! Where each worker's cell stands on the map: racks side by side, as much of each node as the room allows. Geometry only.

use crate::fleet::{Cluster, Node, NodeName, RackName};

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
    /// Its cells in reading order; none is a gap between two roles.
    pub cells: Vec<Option<&'a Node>>,
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
    pub fn fit(cluster: &'a Cluster, width: usize, room: usize) -> Atlas<'a> {
        let racks = racks(cluster);
        let label = racks.iter().map(|(r, _)| r.as_str().len()).max().unwrap_or(4).clamp(4, 16);
        let name = cluster.workers().map(|n| n.name.as_str().len()).max().unwrap_or(0).min(28);
        let most = racks.iter().map(|(_, nodes)| nodes.len()).max().unwrap_or(0).max(1);
        let mut best = None;
        let alone = [Cell::Version(name), Cell::Name(name), Cell::Wide].map(|cell| (cell, false));
        for (cell, beside) in alone.into_iter().chain([(Cell::Wide, true), (Cell::Sign, true)]) {
            let blocks: Vec<Block<'a>> = racks.iter().map(|(rack, nodes)| block(rack, nodes, cell)).collect();
            let longest = blocks.iter().map(|b| b.cells.len()).max().unwrap_or(0).max(1);
            let short = 2 * most.to_string().len() + 2;
            let room_across = label + 1 + longest * cell.width() + short;
            let across = ((width + GUTTER) / (room_across + GUTTER)).min(blocks.len());
            let (each, tail, across) = match beside && across > 1 {
                true => (longest, short, across),
                false => {
                    let tail = if beside { short } else { WIDE_TAIL };
                    let each = width.saturating_sub(label + 1 + tail) / cell.width();
                    (each.clamp(1, longest), tail, 1)
                }
            };
            let narrow_tail = tail != WIDE_TAIL;
            let atlas = Atlas { cell, label, each, tail, narrow_tail, across, airy: false, blocks };
            let fits = atlas.lines() <= room;
            best = Some(atlas);
            if fits {
                break;
            }
        }
        let mut best = best.unwrap_or(Atlas {
            cell: Cell::Sign,
            label,
            each: 1,
            tail: 0,
            narrow_tail: true,
            across: 1,
            airy: false,
            blocks: Vec::new(),
        });
        best.airy = !best.cell.small() && best.lines() + best.blocks.len() <= room;
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

    /// Every node with its column and line.
    pub fn places(&self) -> impl Iterator<Item = (&'a NodeName, usize, usize)> {
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
                    cell.map(|node| (&node.name, x, y))
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

fn block<'a>(rack: &'a RackName, nodes: &[&'a Node], cell: Cell) -> Block<'a> {
    let mut cells = Vec::with_capacity(nodes.len() + 2);
    for (i, node) in nodes.iter().enumerate() {
        if cell.small() && i > 0 && nodes[i - 1].role != node.role {
            cells.push(None);
        }
        cells.push(Some(*node));
    }
    Block { rack, cells, nodes: nodes.len() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixtures;

    #[test]
    fn no_two_cells_share_a_place_and_each_node_has_one() {
        let cluster = fixtures::cluster();
        for width in [40, 78, 118, 198, 398] {
            for room in [1, 5, 12, 30, 90] {
                let atlas = Atlas::fit(&cluster, width, room);
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
        let cluster = fixtures::cluster();
        let shape = |width, room| {
            let atlas = Atlas::fit(&cluster, width, room);
            (atlas.cell, atlas.across, atlas.lines())
        };
        assert_eq!(shape(198, 40), (Cell::Version(10), 1, 18));
        assert!(matches!(shape(118, 14), (Cell::Name(_), 1, 12)));
        assert_eq!(shape(118, 8), (Cell::Wide, 1, 6));
        assert_eq!(shape(118, 3), (Cell::Wide, 3, 2));
        assert_eq!(shape(78, 2), (Cell::Sign, 3, 2));
    }
}
