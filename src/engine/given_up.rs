//! A run that was given up before it began: no engine begins it any more.

use super::error::EngineError;
use super::run_dir::RunDir;
use crate::fleet::clean_short;
use crate::journal::open_file;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// Characters of a reason that are shown.
const SHOWN: usize = 500;

impl RunDir {
    /// Why the run was given up before it began; none where it was not.
    pub fn given_up(&self) -> Option<String> {
        let file = match open_file(&self.given_up_mark(), OpenOptions::new().read(true)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => return Some(format!("why cannot be read: {error}")),
        };
        let mut why = Vec::new();
        // The mark says it by being there; its words are for people.
        let _ = file.take(4 * SHOWN as u64).read_to_end(&mut why);
        Some(clean_short(String::from_utf8_lossy(&why).trim(), SHOWN))
    }

    /// Gives the run up: from here on no engine begins it. A run that has begun is none to give up.
    pub(super) fn give_up(&self, why: &str) -> Result<(), EngineError> {
        if self.begun() {
            return Ok(());
        }
        let mark = self.given_up_mark();
        let made = open_file(&mark, OpenOptions::new().write(true).create(true).truncate(true).mode(0o600));
        let written = made.and_then(|mut file| {
            writeln!(file, "{why}")?;
            file.sync_all()
        });
        written.map_err(EngineError::io(mark, "write it"))
    }

    /// Refuses a run that was given up.
    pub(super) fn may_begin(&self) -> Result<(), EngineError> {
        match self.given_up() {
            None => Ok(()),
            Some(why) => Err(EngineError::Refused(format!(
                "run {} was given up before it began, and begins no more: {why}; nothing was done; look at the cluster, and \
                 apply the plan anew",
                self.id()
            ))),
        }
    }

    fn given_up_mark(&self) -> PathBuf {
        self.path().join("given-up")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_given_up_once_and_one_that_has_begun_never() {
        let dir = tempfile::tempdir().unwrap();
        let plan: crate::plan::Plan = serde_json::from_str(include_str!("../fuzzing/plan.json")).unwrap();
        let run = RunDir::make(dir.path(), &plan, "").unwrap();
        assert!(run.given_up().is_none() && run.may_begin().is_ok());
        run.give_up("it took\u{1b}[2J too long").unwrap();
        assert_eq!(run.given_up().as_deref(), Some("it took[2J too long"));
        assert!(run.may_begin().unwrap_err().to_string().contains("begins no more"));
        let run = RunDir::make(dir.path(), &plan, "").unwrap();
        run.mark_begun().unwrap();
        run.give_up("too late").unwrap();
        assert!(run.given_up().is_none());
    }
}
