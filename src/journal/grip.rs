//! Whether a journal's file is still the one that its name leads to. Whoever holds a file open can go on writing and
//! reading after it was deleted or replaced, and would never know.

use std::fs::{File, symlink_metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The length of the open file.
///
/// # Errors
/// When its name leads nowhere any more, or to another file.
pub(super) fn length_of(file: &File, path: &Path) -> io::Result<u64> {
    let held = file.metadata()?;
    let named = match symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(io::Error::other("the file was deleted or moved away"));
        }
        named => named?,
    };
    if (held.dev(), held.ino()) != (named.dev(), named.ino()) {
        return Err(io::Error::other("another file was put in its place"));
    }
    Ok(held.len())
}
