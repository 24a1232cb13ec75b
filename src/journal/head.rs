//! The journal's sealed head: number and hash of a record that is known to be on disk, in a file beside the journal. A chain of
//! hashes proves what is there; that the last lines are missing it cannot tell.
//!
//! The engine writes the head each time it has put records on disk that bind it (intents, verdicts, results, decisions), and before it
//! acts on them. So:
//!
//! - the head never names a record that is not on disk: a journal that is shorter than its head was cut;
//! - whatever the engine has acted on, the head names it or a later record. An engine that dies between the journal's sync and
//!   the head leaves a head that is behind, and the run can be resumed;
//! - records that only tell of progress may be cut off behind the head, as a crash may lose them;
//! - the head itself is not synced, which would double what each record costs: when the machine loses its power, it may be an older
//!   one. It is written into two slots by turns, so that a half-written one leaves the one before.
//!
//! Whoever can write to the run's folder can change both files; the engine's folder is its own user's.

use super::chain::sha256_hex;
use super::file::open_file;
use super::{JournalError, Witness};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A slot is a disk's sector: one is written as a whole. Bytes.
const SLOT: usize = 512;

/// Number and hash of a record that is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The record's number.
    pub seq: u64,
    /// SHA-256 of its line, without the line feed.
    pub hash: String,
}

/// A slot's text.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Slot {
    seq: u64,
    hash: String,
    /// Says whether the slot is whole.
    check: String,
}

fn check(seq: u64, hash: &str) -> String {
    sha256_hex(format!("{seq} {hash}").as_bytes()).chars().take(16).collect()
}

/// The head's file, beside the journal.
fn path_of(journal: &Path) -> PathBuf {
    journal.with_extension("head")
}

impl Head {
    /// The head of a journal; none where there is no head yet. To be read before the journal is: the engine goes on meanwhile.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn of(journal: &Path) -> Result<Option<Head>, JournalError> {
        let path = path_of(journal);
        let mut text = Vec::new();
        let read = open_file(&path, OpenOptions::new().read(true))
            .and_then(|file| file.take(2 * SLOT as u64).read_to_end(&mut text));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(JournalError::io(&path, "read the sealed head")(error)),
        }
        let slots = text.chunks(SLOT).filter_map(|slot| {
            let Slot { seq, hash, check: found } = serde_json::from_slice(slot).ok()?;
            (check(seq, &hash) == found).then_some(Head { seq, hash })
        });
        Ok(slots.max_by_key(|head| head.seq))
    }
}

/// Holds a journal, as it is read, against its head.
#[derive(Debug)]
pub(super) struct Held {
    head: Option<Head>,
    witness: Witness,
}

impl Held {
    /// Against the head beside it.
    pub(super) fn against(head: Option<Head>) -> Held {
        Held { head, witness: Witness::SealedHead }
    }

    /// Against one that was told from elsewhere.
    pub(super) fn against_told(head: Head, witness: Witness) -> Held {
        Held { head: Some(head), witness }
    }

    /// A record of the journal, and the hash of its line.
    ///
    /// # Errors
    /// When the head names another one in its place.
    pub(super) fn take(&mut self, path: &Path, seq: u64, hash: &str) -> Result<(), JournalError> {
        let Some(head) = self.head.take_if(|head| head.seq == seq) else { return Ok(()) };
        if head.hash == hash {
            Ok(())
        } else {
            Err(JournalError::Exchanged { path: path.to_owned(), seq, witness: self.witness })
        }
    }

    /// The journal ends with this record.
    ///
    /// # Errors
    /// When the record that the head names did not come.
    pub(super) fn end(&self, path: &Path, last: u64) -> Result<(), JournalError> {
        match &self.head {
            Some(head) if head.seq > last => {
                Err(JournalError::Cut { path: path.to_owned(), last, sealed: head.seq, witness: self.witness })
            }
            _ => Ok(()),
        }
    }
}

/// The head's file, as the engine writes it.
#[derive(Debug)]
pub(super) struct Seal {
    path: PathBuf,
    file: Option<File>,
    last: u64,
    /// Which slot is written next.
    second: bool,
}

impl Seal {
    /// Of this journal. Nothing is written before the first head.
    pub(super) fn of(journal: &Path, head: Option<&Head>) -> Seal {
        Seal { path: path_of(journal), file: None, last: head.map_or(0, |head| head.seq), second: false }
    }

    /// Writes the head, unless a later one stands there.
    pub(super) fn write(&mut self, head: &Head) -> Result<(), JournalError> {
        if head.seq <= self.last {
            return Ok(());
        }
        self.put(head).map_err(JournalError::io(&self.path, "write the sealed head"))?;
        self.last = head.seq;
        Ok(())
    }

    fn put(&mut self, head: &Head) -> io::Result<()> {
        let slot = Slot { seq: head.seq, hash: head.hash.clone(), check: check(head.seq, &head.hash) };
        let mut text = serde_json::to_vec(&slot)?;
        text.resize(SLOT - 1, b' ');
        text.push(b'\n');
        let file = match &self.file {
            Some(file) => file,
            None => {
                let mut options = OpenOptions::new();
                let file = open_file(&self.path, options.read(true).write(true).create(true).mode(0o600))?;
                // Both slots have their room from the beginning: a disk that gets full later does not matter to them.
                if file.metadata()?.len() != 2 * SLOT as u64 {
                    file.set_len(0)?;
                    file.write_all_at(&[b' '; 2 * SLOT], 0)?;
                } else {
                    // The slot of the newest head stays until the other one is written.
                    self.second = newest_is_first(&file)?;
                }
                self.file.insert(file)
            }
        };
        file.write_all_at(&text, if self.second { SLOT as u64 } else { 0 })?;
        self.second = !self.second;
        Ok(())
    }
}

fn newest_is_first(file: &File) -> io::Result<bool> {
    let mut text = [0; 2 * SLOT];
    file.read_exact_at(&mut text, 0)?;
    let seq = |slot: &[u8]| serde_json::from_slice::<Slot>(slot).map_or(0, |slot| slot.seq);
    Ok(seq(&text[..SLOT]) > seq(&text[SLOT..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(seq: u64) -> Head {
        Head { seq, hash: sha256_hex(&seq.to_be_bytes()) }
    }

    #[test]
    fn the_newest_whole_slot_counts() {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join("journal.jsonl");
        assert_eq!(Head::of(&journal).unwrap(), None);
        let mut seal = Seal::of(&journal, None);
        for seq in [1, 2, 5] {
            seal.write(&head(seq)).unwrap();
            assert_eq!(Head::of(&journal).unwrap(), Some(head(seq)));
        }
        seal.write(&head(4)).unwrap();
        assert_eq!(Head::of(&journal).unwrap(), Some(head(5)), "never back");
        // Another engine goes on in the other slot, and a half-written one leaves the one before.
        let mut next = Seal::of(&journal, Some(&head(5)));
        next.write(&head(6)).unwrap();
        let file = dir.path().join("journal.head");
        let whole = std::fs::read_to_string(&file).unwrap();
        for at in whole.match_indices("\"seq\":6").map(|(at, _)| at) {
            let torn = [&whole[..at], "\"seq\":7", &whole[at + 7..]].concat();
            std::fs::write(&file, torn).unwrap();
        }
        assert_eq!(Head::of(&journal).unwrap(), Some(head(5)));
        std::fs::write(&file, "nonsense").unwrap();
        assert_eq!(Head::of(&journal).unwrap(), None);
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("journal.head")).unwrap();
        let error = Head::of(&dir.path().join("journal.jsonl")).unwrap_err().to_string();
        assert!(error.contains("journal.head") && error.contains("a folder"), "{error}");
    }
}
