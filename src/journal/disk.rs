//! What the journal is written on. The fault tests put one in its place that is slow, gets full, or loses its power.

use async_trait::async_trait;
use std::fmt::Debug;
use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

/// What the journal is written on.
#[async_trait]
pub trait Disk: Debug + Send + Sync {
    /// Appends one line, which may stay half written when this fails.
    ///
    /// # Errors
    /// When the disk is full or broken.
    fn append(&self, mut file: &File, line: &[u8]) -> io::Result<()> {
        file.write_all(line)
    }

    /// Puts on disk what was appended before; must not hold up the caller's thread.
    ///
    /// # Errors
    /// When what was appended may not be on disk.
    async fn sync(&self, file: Arc<File>) -> io::Result<()>;
}

/// The disk that the file's own file system is on.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileSystem;

#[async_trait]
impl Disk for FileSystem {
    async fn sync(&self, file: Arc<File>) -> io::Result<()> {
        // A task that is gone (the program ends) has not said that it is done.
        tokio::task::spawn_blocking(move || file.sync_data()).await.unwrap_or_else(|gone| Err(io::Error::other(gone)))
    }
}
