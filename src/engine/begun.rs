//! Whether a run has ever begun its journal. A run whose journal is gone must not be taken for one that never was: it would
//! begin from the start, over nodes that stand between old and new.

use super::error::EngineError;
use super::run_dir::RunDir;
use crate::journal::open_file;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

impl RunDir {
    /// Whether a journal was begun here; it may be gone.
    pub fn begun(&self) -> bool {
        // One without a line is an engine's that was refused before it began.
        self.journal().metadata().is_ok_and(|journal| journal.len() > 0) || self.marked()
    }

    fn marked(&self) -> bool {
        self.begun_mark().exists() || self.journal().with_extension("head").exists()
    }

    /// The journal's file; `None` when it was never begun.
    ///
    /// # Errors
    /// When it was begun and is gone.
    pub fn begun_journal(&self) -> Result<Option<PathBuf>, EngineError> {
        let path = self.journal();
        if path.exists() {
            return Ok(Some(path));
        }
        if !self.marked() {
            return Ok(None);
        }
        let why = "the run had begun, and its journal is gone, so this run cannot be gone on with; its nodes finish or undo \
                   by themselves what was in flight: look at them, then make a new plan";
        Err(EngineError::BadFile { path, why: why.into() })
    }

    /// To be called before the journal's first line.
    pub(super) fn mark_begun(&self) -> Result<(), EngineError> {
        let mark = self.begun_mark();
        let mut options = OpenOptions::new();
        let made = open_file(&mark, options.write(true).create(true).truncate(false).mode(0o600));
        made.map(drop).map_err(EngineError::io(mark, "make it"))
    }

    fn begun_mark(&self) -> PathBuf {
        self.path().join("journal.begun")
    }
}
