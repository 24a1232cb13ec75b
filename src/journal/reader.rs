//! A journal read from its file.

use super::chain::Links;
use super::file::open_file;
use super::head::{Head, Held};
use super::{Chain, JournalError, Record, Run, Witness};
use crate::plan::Plan;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

/// No line of ours is longer; a file with one is not a journal. Bytes.
pub(super) const LONGEST: u64 = 1 << 26;

/// A whole journal.
#[derive(Debug, Clone)]
pub struct Journal {
    /// Its records; lines that cannot be read are left out.
    pub records: Vec<Record>,
    /// Whether the lines are those that were written.
    pub chain: Chain,
    /// Whether the last line is not whole: the writer died within it. It is left out.
    pub torn: bool,
}

/// Reads a journal. The first line may name any plan; see [`read_for`].
///
/// # Errors
/// When the file cannot be opened or read, or is not what its sealed head says. A broken chain is no error: it is in the answer.
pub fn read(path: &Path) -> Result<Journal, JournalError> {
    read_all(path, None)
}

/// Reads a journal, of which the first line must name the plan with this hash ([`super::sha256_hex`] of its file).
///
/// # Errors
/// As [`read`].
pub fn read_for(path: &Path, plan_sha256: &str) -> Result<Journal, JournalError> {
    read_all(path, Some(plan_sha256.to_owned()))
}

fn read_all(path: &Path, first: Option<String>) -> Result<Journal, JournalError> {
    let mut records = Vec::new();
    // First the head: the engine goes on meanwhile.
    let held = Held::against(Head::of(path)?);
    let scan = scan(path, open(path)?, first, held, |record| records.push(record))?;
    Ok(Journal { records, chain: scan.chain, torn: scan.torn })
}

/// Whether a journal still holds a record that it once did, as somebody else remembers it.
///
/// # Errors
/// When it does not, or as [`read`].
pub fn holds(path: &Path, head: Head, witness: Witness) -> Result<(), JournalError> {
    scan(path, open(path)?, None, Held::against_told(head, witness), drop).map(drop)
}

/// Folds a journal's text; for fuzzers.
pub(crate) fn fold_lines(text: &[u8], plan: Plan) -> (Run, Chain) {
    let mut run = Run::new(Arc::new(plan));
    let (mut links, mut chain) = (Links::new(None), Chain::Ok);
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let (record, follows) = links.take(line);
        if chain == Chain::Ok {
            chain = follows;
        }
        if let Ok(record) = record {
            run.apply(&record);
        }
    }
    (run, chain)
}

/// Opens a journal for reading.
pub(super) fn open(path: &Path) -> Result<File, JournalError> {
    open_file(path, OpenOptions::new().read(true)).map_err(JournalError::io(path, "open it"))
}

/// What a scan found besides records.
pub(super) struct Scan {
    pub(super) links: Links,
    pub(super) chain: Chain,
    pub(super) torn: bool,
    /// Where the last whole line ends. Bytes.
    pub(super) end: u64,
}

/// The error about a line beyond [`LONGEST`].
pub(super) fn too_long(path: &Path) -> JournalError {
    JournalError::io(path, "read it: a line is longer than any that sonoba writes")(io::ErrorKind::InvalidData.into())
}

/// Reads every whole line, hands each record to `each`, and holds them against the journal's head.
pub(super) fn scan(
    path: &Path,
    file: impl Read,
    first: Option<String>,
    mut held: Held,
    mut each: impl FnMut(Record),
) -> Result<Scan, JournalError> {
    let mut found = Scan { links: Links::new(first), chain: Chain::Ok, torn: false, end: 0 };
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = reader.by_ref().take(LONGEST);
        let read = limited.read_until(b'\n', &mut line).map_err(JournalError::io(path, "read it"))?;
        if read == 0 {
            break;
        }
        if read as u64 == LONGEST && line.last() != Some(&b'\n') {
            return Err(too_long(path));
        }
        if line.pop() != Some(b'\n') {
            found.torn = true;
            break;
        }
        found.end += read as u64;
        let (record, follows) = found.links.take(&line);
        if found.chain == Chain::Ok {
            found.chain = follows;
        }
        // In a journal that was changed numbers mean nothing: that it was is in the answer.
        if let (Ok(record), Chain::Ok) = (&record, found.chain) {
            held.take(path, record.seq, &found.links.prev())?;
        }
        if let Ok(record) = record {
            each(record);
        }
    }
    if found.chain == Chain::Ok {
        held.end(path, found.links.last_seq())?;
    }
    Ok(found)
}
