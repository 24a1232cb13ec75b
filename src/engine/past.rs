//! How fast a cluster's past runs were, from their journals.

use super::RunDir;
use crate::fleet::ClusterName;
use crate::journal::{self, Chain, Paces};
use crate::plan::Pace;
use std::path::Path;

/// Runs that are looked at, the newest first.
const RUNS: usize = 10;
/// Journals are read until so much was read. Bytes.
const BYTES: u64 = 64 << 20;

/// The pace of the newest runs of a cluster in this state folder; none when there are none that tell anything. Journals that
/// cannot be read, or whose chain is broken, tell nothing. Reads files: not for an async task.
pub fn pace(state_dir: &Path, cluster: &ClusterName) -> Option<Pace> {
    let runs = RunDir::list(state_dir).inspect_err(|error| tracing::debug!("no past runs: {error}")).ok()?;
    let mut paces = Paces::default();
    let mut left = BYTES;
    for run in runs.iter().filter(|run| run.about().cluster == *cluster).take(RUNS) {
        let path = run.journal();
        let Ok(size) = std::fs::metadata(&path).map(|meta| meta.len()) else { continue };
        let Some(rest) = left.checked_sub(size) else { break };
        left = rest;
        match journal::read(&path) {
            Ok(journal) if journal.chain == Chain::Ok => paces.add(&journal.records),
            Ok(_) => tracing::debug!("{}: its chain is broken", path.display()),
            Err(error) => tracing::debug!("{}: {error}", path.display()),
        }
    }
    paces.pace()
}
