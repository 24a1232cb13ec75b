//! A journal read while it is being written. Reads one file and nothing else: it has no way to a node or an engine.

use super::chain::Links;
use super::head::{Head, Held};
use super::{Chain, Event, JournalError, Record, grip, reader};
use std::collections::VecDeque;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the file is looked at.
const POLL: Duration = Duration::from_millis(50);
/// Read at once. A longer line is read whole, up to [`reader::LONGEST`].
const CHUNK: u64 = 1 << 20;

/// Follows a journal from its first record on.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    file: Option<std::fs::File>,
    /// Where the last whole line that was read ends. Bytes. A line that is not whole is read again: a resumed engine
    /// cuts a torn one off and writes another in its place.
    at: u64,
    links: Links,
    chain: Chain,
    /// The head as it was when the file was opened.
    held: Held,
    ready: VecDeque<Record>,
    ended: bool,
    /// Why it cannot be followed any more.
    failed: Option<String>,
}

impl Follower {
    /// Follows this file, which need not exist yet.
    pub fn open(path: &Path) -> Follower {
        Follower {
            path: path.to_owned(),
            file: None,
            at: 0,
            links: Links::new(None),
            chain: Chain::Ok,
            held: Held::against(None),
            ready: VecDeque::new(),
            ended: false,
            failed: None,
        }
    }

    /// The next record, waited for. `None` once the run has ended, or when the file cannot be read any more.
    /// May be dropped while it waits: no record is lost.
    pub async fn next(&mut self) -> Option<Record> {
        loop {
            if let Some(record) = self.try_next() {
                return Some(record);
            }
            if self.ended {
                return None;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The next record that is in the file already.
    pub fn try_next(&mut self) -> Option<Record> {
        if self.ready.is_empty()
            && !self.ended
            && let Err(error) = self.fill()
        {
            tracing::debug!("{error}");
            self.ended = true;
            self.failed = Some(error.to_string());
        }
        let record = self.ready.pop_front()?;
        self.ended |= matches!(record.event, Event::RunEnded { .. });
        Some(record)
    }

    /// Whether the lines so far are those that were written.
    pub fn chain(&self) -> Chain {
        self.chain
    }

    /// Why the journal cannot be followed any more.
    pub fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    fn fill(&mut self) -> Result<(), JournalError> {
        if self.file.is_none() {
            // First the head: the engine goes on meanwhile.
            let head = Head::of(&self.path)?;
            match reader::open(&self.path) {
                Ok(file) => (self.file, self.held) = (Some(file), Held::against(head)),
                Err(JournalError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut want = CHUNK;
        loop {
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(self.at)).map_err(JournalError::io(&self.path, "read it"))?;
            file.take(want).read_to_end(&mut bytes).map_err(JournalError::io(&self.path, "read it"))?;
            let Some(last) = bytes.iter().rposition(|b| *b == b'\n') else {
                if (bytes.len() as u64) < want {
                    // Nothing more yet, or never: nobody writes here any more where the name leads elsewhere.
                    let held = grip::length_of(file, &self.path).and_then(|length| match length < self.at {
                        true => Err(io::Error::other("the file was cut")),
                        false => Ok(()),
                    });
                    held.map_err(JournalError::io(&self.path, "follow it"))?;
                    return match self.chain {
                        Chain::Ok => self.held.end(&self.path, self.links.last_seq()),
                        Chain::Broken { .. } => Ok(()),
                    };
                }
                if want >= reader::LONGEST {
                    return Err(reader::too_long(&self.path));
                }
                want *= 4;
                continue;
            };
            self.at += last as u64 + 1;
            for line in bytes[..last].split(|b| *b == b'\n') {
                let (record, follows) = self.links.take(line);
                if self.chain == Chain::Ok {
                    self.chain = follows;
                }
                if let (Ok(record), Chain::Ok) = (&record, self.chain) {
                    self.held.take(&self.path, record.seq, &self.links.prev())?;
                }
                match record {
                    Ok(record) => self.ready.push_back(record),
                    Err(why) => tracing::warn!("journal {}: a line cannot be read: {why}", self.path.display()),
                }
            }
            return Ok(());
        }
    }
}
