//! The chain of hashes that ties a journal's lines to each other and to the plan.

use super::event::Record;
use crate::fleet::{clean, read_clean};
use sha2::{Digest, Sha256};

/// SHA-256 of `bytes`, in hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Whether a journal's lines are those that were written, in that order.
///
/// A change in the very last line is only found where it no longer reads as a record: no later line vouches for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chain {
    /// Every line follows from the one before.
    Ok,
    /// This line (counted from 1) does not follow from the one before, or cannot be read.
    Broken {
        /// The first such line.
        line: usize,
    },
}

/// Reads a journal's lines one after the other and checks that each follows from the one before.
#[derive(Debug, Clone)]
pub(super) struct Links {
    /// What the next record must name as the hash before it; none when any first hash will do.
    prev: Option<String>,
    /// The number of the next record.
    next: u64,
    lines: usize,
}

impl Links {
    /// Before the first line of a journal; `first` is the plan file's hash, where it is known.
    pub(super) fn new(first: Option<String>) -> Links {
        Links { prev: first, next: 1, lines: 0 }
    }

    /// Reads the next line (its line feed left out). The record, where the line is one; and whether it follows.
    pub(super) fn take(&mut self, line: &[u8]) -> (Result<Record, String>, Chain) {
        self.lines = self.lines.saturating_add(1);
        let broken = Chain::Broken { line: self.lines };
        let record: Record = match read_clean(line) {
            Ok(record) => record,
            Err(error) => {
                self.next = self.next.saturating_add(1);
                self.prev = Some(sha256_hex(line));
                return (Err(clean(&error.to_string())), broken);
            }
        };
        let follows = record.seq == self.next && self.prev.as_ref().is_none_or(|prev| *prev == record.prev);
        self.follow(record.seq, line);
        (Ok(record), if follows { Chain::Ok } else { broken })
    }

    /// Goes on after a line that is known to be good.
    pub(super) fn follow(&mut self, seq: u64, line: &[u8]) {
        self.next = seq.saturating_add(1);
        self.prev = Some(sha256_hex(line));
    }

    /// The number that the next record must have.
    pub(super) fn next_seq(&self) -> u64 {
        self.next
    }

    /// The number of the last record; 0 before the first.
    pub(super) fn last_seq(&self) -> u64 {
        self.next.saturating_sub(1)
    }

    /// The hash that the next record must name: that of the last line.
    pub(super) fn prev(&self) -> String {
        self.prev.clone().unwrap_or_default()
    }
}
