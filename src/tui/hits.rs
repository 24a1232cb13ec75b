//! What stands where on the last picture, so that a click finds it.

use super::command::Command;
use crate::fleet::NodeName;
use ratatui::layout::{Position, Rect};
use std::cell::RefCell;

/// Something that can be clicked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hit {
    /// A node: a click puts the cursor on it.
    Node(NodeName),
    /// A line of the list that the screen shows, from 0.
    Row(usize),
    /// A key of the footer: a click does what it does.
    Key(Command),
    /// The tape of a replay; a click seeks.
    Tape,
}

/// Written while painting, read by the next click.
#[derive(Debug, Default)]
pub struct Hits(RefCell<Vec<(Rect, Hit)>>);

impl Hits {
    /// A new picture begins.
    pub fn clear(&self) {
        self.0.borrow_mut().clear();
    }

    /// Something stands here.
    pub fn put(&self, area: Rect, hit: Hit) {
        self.0.borrow_mut().push((area, hit));
    }

    /// The area of something that stands on the picture.
    pub fn find(&self, hit: &Hit) -> Option<Rect> {
        self.0.borrow().iter().find(|(_, other)| other == hit).map(|(area, _)| *area)
    }

    /// What lies over all else now: what was put so far cannot be clicked.
    pub fn cover(&self) {
        self.clear();
    }

    /// What stands at a place, and the area that it takes; of several, what was painted last.
    pub fn at(&self, column: u16, row: u16) -> Option<(Rect, Hit)> {
        let hits = self.0.borrow();
        hits.iter().rev().find(|(area, _)| area.contains(Position::new(column, row))).cloned()
    }
}
