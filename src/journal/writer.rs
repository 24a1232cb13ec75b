//! The journal's file, written line by line. One process writes it: the engine, which holds the run's lock.

use super::chain::Links;
use super::file::open_file;
use super::head::{Head, Held, Seal};
use super::{Chain, Disk, Event, FileSystem, JournalError, Record, grip, reader};
use crate::fleet::write_clean;
use jiff::Timestamp;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Appends records to a journal.
#[derive(Debug)]
pub struct Writer {
    file: File,
    disk: Arc<dyn Disk>,
    path: PathBuf,
    links: Links,
    seal: Seal,
    /// Where the last whole line ends. Bytes.
    end: u64,
    /// Why nothing is written any more.
    closed: Option<String>,
}

/// A journal that was opened to go on with it.
#[derive(Debug)]
pub struct Opened {
    /// Goes on behind the last whole line.
    pub writer: Writer,
    /// Whether a torn last line was cut off.
    pub cut: bool,
}

impl Writer {
    /// Begins a journal. The file must not exist.
    ///
    /// # Errors
    /// When the file exists or cannot be made.
    pub fn create(path: &Path, plan_sha256: &str) -> Result<Writer, JournalError> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(JournalError::io(path, "create it"))?;
        // The file's name must survive a crash as well as its lines do.
        if let Some(folder) = path.parent() {
            let synced = File::open(folder).and_then(|f| f.sync_all());
            synced.map_err(JournalError::io(path, "make its folder durable"))?;
        }
        let links = Links::new(Some(plan_sha256.into()));
        let seal = Seal::of(path, None);
        Ok(Writer { file, disk: Arc::new(FileSystem), path: path.to_owned(), links, seal, end: 0, closed: None })
    }

    /// Opens a journal to go on with it, hands every record to `each`, and cuts a torn last line off. What is found is sealed: this
    /// run builds on it now.
    ///
    /// # Errors
    /// When the file cannot be read or written, when a line does not follow from the one before (the error names it), or when the
    /// journal is not what its sealed head says.
    pub fn open(path: &Path, plan_sha256: &str, each: impl FnMut(Record)) -> Result<Opened, JournalError> {
        let head = Head::of(path)?;
        let seal = Seal::of(path, head.as_ref());
        let found = reader::scan(path, reader::open(path)?, Some(plan_sha256.into()), Held::against(head), each)?;
        if let Chain::Broken { line } = found.chain {
            return Err(JournalError::Broken { path: path.to_owned(), line });
        }
        let file = open_file(path, OpenOptions::new().append(true));
        let file = file.map_err(JournalError::io(path, "open it for writing"))?;
        if found.torn {
            file.set_len(found.end).map_err(JournalError::io(path, "cut its torn last line off"))?;
        }
        // What the writer before did not sync any more is what this run now builds on.
        file.sync_all().map_err(JournalError::io(path, "make it durable"))?;
        let (path, disk) = (path.to_owned(), Arc::new(FileSystem));
        let mut writer = Writer { file, disk, path, links: found.links, seal, end: found.end, closed: None };
        writer.seal(&writer.last())?;
        Ok(Opened { writer, cut: found.torn })
    }

    /// Writes on this disk from here on.
    pub fn on(self, disk: Arc<dyn Disk>) -> Writer {
        Writer { disk, ..self }
    }

    /// Appends an event in one write. With `durable` it is on disk when this returns.
    ///
    /// # Errors
    /// When the disk is full or broken, or the file is not the one any more that its name leads to. From then on every call
    /// fails: a line that may be half written must stay the last.
    pub fn append(&mut self, at: Timestamp, event: Event, durable: bool) -> Result<Record, JournalError> {
        self.open_still()?;
        self.hold()?;
        let record = Record { seq: self.links.next_seq(), at, prev: self.links.prev(), event };
        // People read this file with tools that know nothing of terminals' escapes.
        let (record, mut line) =
            write_clean(record).map_err(|e| JournalError::Encode { path: self.path.clone(), why: e.to_string() })?;
        line.push(b'\n');
        let written = self.disk.append(&self.file, &line);
        if let Err(error) = written {
            self.close(&error);
            // Best effort: without it, the next open cuts the torn line off.
            let _ = self.file.set_len(self.end);
            return Err(JournalError::io(&self.path, "write it")(error));
        }
        self.end += line.len() as u64;
        line.pop();
        self.links.follow(record.seq, &line);
        if durable {
            self.sync()?;
        }
        Ok(record)
    }

    /// The file is as it was left: what is written to one that was deleted, replaced or cut would be read by nobody.
    fn hold(&mut self) -> Result<(), JournalError> {
        let held = grip::length_of(&self.file, &self.path).and_then(|length| match length == self.end {
            true => Ok(()),
            false => Err(io::Error::other("the file was cut, or written to by something else")),
        });
        held.map_err(|error| {
            self.close(&error);
            JournalError::io(&self.path, "go on with it")(error)
        })
    }

    /// Puts everything that was appended on disk, and seals it.
    ///
    /// # Errors
    /// When the disk fails; nothing is written from then on.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        let synced = self.file.sync_data();
        synced.map_err(|error| {
            // After a failed fsync the kernel may have dropped the pages: what is on disk is not known any more.
            self.close(&error);
            JournalError::io(&self.path, "make it durable")(error)
        })?;
        self.seal(&self.last())
    }

    /// The last record that was appended.
    pub fn last(&self) -> Head {
        Head { seq: self.links.last_seq(), hash: self.links.prev() }
    }

    /// Writes down that this record is on disk: from then on a journal without it is refused.
    ///
    /// # Errors
    /// When the disk is full or broken; nothing is written from then on.
    pub fn seal(&mut self, head: &Head) -> Result<(), JournalError> {
        self.seal.write(head).inspect_err(|error| {
            self.closed.get_or_insert_with(|| error.to_string());
        })
    }

    /// A second handle on the file, to sync it while others append.
    ///
    /// # Errors
    /// When no more files can be opened.
    pub fn handle(&self) -> Result<File, JournalError> {
        self.file.try_clone().map_err(JournalError::io(&self.path, "open it twice"))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes nothing any more: for a sync through [`Writer::handle`] that failed.
    pub fn close(&mut self, why: &io::Error) {
        self.closed.get_or_insert_with(|| why.to_string());
    }

    /// Whether it can still be written on.
    ///
    /// # Errors
    /// When an earlier write or sync failed.
    pub fn open_still(&self) -> Result<(), JournalError> {
        match &self.closed {
            Some(why) => Err(JournalError::Closed { path: self.path.clone(), why: why.clone() }),
            None => Ok(()),
        }
    }
}
