//! Whether a run's folder can be written to, found out before an engine is started: on a full disk it could not even leave
//! its last words.

use super::error::EngineError;
use super::run_dir::RunDir;
use std::io::Write;

/// What an engine writes at once. Bytes.
const SOME: usize = 4096;

impl RunDir {
    /// Writes a little file into the folder, and takes it away again.
    ///
    /// # Errors
    /// When that does not work: the disk is full, broken, or can only be read.
    pub fn writable(&self) -> Result<(), EngineError> {
        let written = tempfile::Builder::new().prefix(".room-").tempfile_in(self.path()).and_then(|mut file| {
            file.write_all(&[0; SOME])?;
            file.as_file().sync_all()
        });
        written.map_err(EngineError::io(self.path(), "write to the run's folder"))
    }
}
