//! What is to be said of a run whose engine is gone.

use super::failure::Failure;
use crate::engine::RunDir;
use crate::fleet::clean;
use crate::journal::Report;
use std::fs::File;
use std::io::Read;

/// Of an engine's last words, so many bytes are read.
const WORDS: u64 = 2_000;

/// Lines for a run that nobody is at work on although it has not ended, and for what it left undone in the cluster.
pub(super) fn notes(run: &RunDir, report: &Report) -> Vec<String> {
    let mut notes: Vec<String> = report.endpoints_missing().iter().map(|text| format!("WARNING: {text}")).collect();
    if report.orphaned() {
        let id = run.id();
        let why = last_words(run).map(|why| format!(" ({why})")).unwrap_or_default();
        notes.push(format!("note: no engine is at work on run {id}{why}; go on with: sonoba resume {id}"));
    }
    notes
}

/// Why the engine ended, as far as that can be told: what it said, or what it could not write.
pub(super) fn last_words(run: &RunDir) -> Option<String> {
    let mut said = String::new();
    if let Ok(file) = File::open(run.errors()) {
        // Half of a character at the end is no reason to say nothing.
        let mut bytes = Vec::new();
        let _ = file.take(WORDS).read_to_end(&mut bytes);
        said = String::from_utf8_lossy(&bytes).into_owned();
    }
    let said = clean(said.trim());
    let said = said.strip_prefix("error: ").unwrap_or(&said);
    if !said.is_empty() {
        return Some(said.to_owned());
    }
    run.writable().err().map(|error| Failure::failed(error).text)
}
