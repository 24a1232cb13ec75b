//! Whether a run's folder can be written to, found out before an engine is started: on a full disk it could not even leave
//! its last words.

use super::error::EngineError;
use super::run_dir::RunDir;
use crate::journal::open_file;
use std::fs::{OpenOptions, remove_file};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

/// As much as an engine writes at once. Bytes.
const SOME: usize = 4096;

impl RunDir {
    /// Writes a little file into the folder, and takes it away again.
    ///
    /// # Errors
    /// When that does not work: the disk is full, broken, or can only be read.
    pub fn writable(&self) -> Result<(), EngineError> {
        let path = self.path().join("room");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let written = open_file(&path, &mut options).and_then(|mut file| {
            file.write_all(&[0; SOME])?;
            file.sync_all()
        });
        // Where it cannot be removed it could not be made, or somebody else has just done the same.
        let _ = remove_file(&path);
        written.map_err(EngineError::io(self.path(), "write to the run's folder"))
    }
}
