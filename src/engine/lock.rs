//! Locks on this machine: one engine a run, one run a cluster. The kernel lets go of them when a process dies.

use super::error::EngineError;
use crate::journal::open_file;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Takes the lock, and leaves a line for whoever comes second.
///
/// # Errors
/// When somebody else has it; the error says who, in the words that they left.
pub(super) fn take(path: &Path, what: &str, line: &str) -> Result<Lock, EngineError> {
    let mut options = OpenOptions::new();
    let file = open_file(path, options.read(true).write(true).create(true).truncate(false).mode(0o600));
    let mut file = file.map_err(EngineError::io(path, "open the lock"))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut who = String::new();
            // Only words for the error: what cannot be read is left out.
            let _ = file.take(500).read_to_string(&mut who);
            let who = crate::fleet::clean(who.trim());
            return Err(EngineError::Locked(format!("{what} already: {who}")));
        }
        Err(error) => return Err(EngineError::io(path, "lock it")(error.into())),
    }
    file.set_len(0).map_err(EngineError::io(path, "write the lock"))?;
    writeln!(file, "{line}").map_err(EngineError::io(path, "write the lock"))?;
    Ok(Lock { _file: file })
}
