//! What is to be said of a run whose engine is gone.

use super::failure::Failure;
use crate::engine::RunDir;
use crate::fleet::clean;
use crate::journal::{Report, open_file};
use std::fs::OpenOptions;
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
    if let Ok(file) = open_file(&run.errors(), OpenOptions::new().read(true)) {
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

#[cfg(test)]
mod tests {
    use crate::cli::report::summary;
    use crate::cli::samples::{plan, record};
    use crate::journal::{self, Chain, EngineSeen, Event, Outcome, Report, Run};
    use std::sync::Arc;

    /// A run whose engine took an API server out of the Endpoints, and then was as `engine` says.
    fn left(engine: Option<EngineSeen>, end: Option<Outcome>) -> Report {
        let mut run = Run::new(Arc::new(plan()));
        run.id = Some("20261130-020000-0001".parse().unwrap());
        let leaving = Event::EndpointLeaving { node: "m1".parse().unwrap(), address: "10.0.0.1".into() };
        run.apply(&record(1, leaving));
        if let Some(outcome) = end {
            run.apply(&record(2, Event::RunEnded { outcome, why: String::new() }));
        }
        Report { engine, ..journal::report(&run, Chain::Ok) }
    }

    #[test]
    fn an_api_server_that_is_out_is_told_loudly_unless_an_engine_is_at_work() {
        assert!(left(Some(EngineSeen::Alive), None).endpoints_missing().is_empty(), "that is its swap");
        let orphaned = left(Some(EngineSeen::Gone), None);
        let [text] = orphaned.endpoints_missing().try_into().unwrap();
        assert!(text.contains("m1 (10.0.0.1)") && text.contains("sonoba resume 20261130-020000-0001"), "{text}");
        for shown in [summary(&orphaned), orphaned.to_markdown()] {
            assert!(shown.contains("running, but no engine is at work on it"), "{shown}");
            assert!(shown.contains("10.0.0.1") && shown.contains("puts it back first"), "{shown}");
        }
        let [text] = left(None, Some(Outcome::Aborted)).endpoints_missing().try_into().unwrap();
        assert!(text.contains("kubectl") && !text.contains("resume"), "nothing resumes a run that has ended: {text}");
    }
}
