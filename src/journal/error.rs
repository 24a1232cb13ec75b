//! What can go wrong with a journal's file.

use std::fmt::{self, Display};
use std::{io, path::PathBuf};

/// What knows how far a journal was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Witness {
    /// The sealed head in the run's folder.
    SealedHead,
    /// The run lock in the cluster's API, out of reach of whoever changes the run's folder.
    RunLock,
}

impl Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Witness::SealedHead => "the sealed head beside it",
            Witness::RunLock => "the run lock (Lease kube-system/sonoba)",
        })
    }
}

/// A journal that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file could not be opened, read or written.
    #[error("journal {}: cannot {what}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A line does not follow from the line before it: the file was changed by something else than sonoba.
    #[error(
        "journal {}: line {line} does not follow from the line before it, so the file was changed after it was written; \
         sonoba does not go on with it: look at the nodes yourself, then make a new plan",
        path.display()
    )]
    Broken {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// Its last lines are missing: a later record than its last one was on disk.
    #[error(
        "journal {}: its last lines are gone: it ends with record {last}, and record {sealed} was on disk, as {witness} says; \
         what is missing may be what the nodes are in the middle of, so sonoba does not go on with it: put the whole journal back, or \
         look at the nodes yourself, then make a new plan",
        path.display()
    )]
    Cut {
        /// The file.
        path: PathBuf,
        /// The number of its last record; 0 where it has none.
        last: u64,
        /// The number of the record that was on disk.
        sealed: u64,
        /// Who says so.
        witness: Witness,
    },
    /// Another record stands where one was sealed.
    #[error(
        "journal {}: record {seq} is another one than was written, as {witness} says, so the file was changed; sonoba does not go \
         on with it: look at the nodes yourself, then make a new plan",
        path.display()
    )]
    Exchanged {
        /// The file.
        path: PathBuf,
        /// The number of the record.
        seq: u64,
        /// Who says so.
        witness: Witness,
    },
    /// An earlier write failed; nothing more is written, so that the file stays readable up to there.
    #[error("journal {}: nothing is written any more since an earlier write failed: {why}", path.display())]
    Closed {
        /// The file.
        path: PathBuf,
        /// Why it failed.
        why: String,
    },
    /// An event could not be put into a line.
    #[error("journal {}: an event could not be written as JSON: {why}", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl JournalError {
    pub(super) fn io(path: &std::path::Path, what: &'static str) -> impl FnOnce(io::Error) -> JournalError {
        let path = path.to_owned();
        move |source| JournalError::Io { path, what, source }
    }
}
