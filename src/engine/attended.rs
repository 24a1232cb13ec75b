//! Whether an engine is at work on a run, for whoever only looks.

use super::run_dir::RunDir;
use crate::journal::EngineSeen;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// A process that listens takes a connection at once, unless it is stopped and others wait already.
const LIMIT: Duration = Duration::from_secs(2);

/// Whether an engine is at work on the run; `None` when that cannot be told from this machine. It commands nothing: the kernel
/// says whether a process listens on the run's control socket, and it listens from before the first record until the last one
/// is on disk.
pub async fn attended(run: &RunDir) -> Option<EngineSeen> {
    match timeout(LIMIT, UnixStream::connect(run.socket_path())).await {
        // A listener that does not come to take it is stopped, not dead.
        Ok(Ok(_)) | Err(_) => Some(EngineSeen::Alive),
        Ok(Err(_)) => {
            let process = run.engine_process()?;
            Some(if begins(run, process) { EngineSeen::Alive } else { EngineSeen::Gone })
        }
    }
}

/// Whether this process is an engine of the run that does not listen yet: it reads the journal, or takes the Lease. Its number
/// alone does not say so: the kernel gives numbers out again.
fn begins(run: &RunDir, process: i32) -> bool {
    let line = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).contains(run.id().as_str())
}
