//! Starts the engine's process.

use super::control::ping;
use super::error::EngineError;
use super::run_dir::RunDir;
use crate::fleet::clean;
use crate::journal::open_file;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The engine answers within this time, or something is wrong that it could not say.
const LIMIT: Duration = Duration::from_secs(60);
/// Between two questions.
const ASK: Duration = Duration::from_millis(30);
/// Of what a dying engine said, this much is shown. Characters.
const SHOWN: usize = 2_000;

/// Starts the first engine of a run that was just made. Where it ends before it has begun (another run has the cluster), nothing of
/// the run is left: its last words are in the error.
///
/// # Errors
/// As [`start`].
pub async fn begin(run: &RunDir) -> Result<u32, EngineError> {
    let started = start(run).await;
    if let Err(EngineError::Died { ended: true, .. }) = &started {
        run.abandon();
    }
    started
}

/// Starts an engine for a run, and waits until it answers. Its process id. The engine leaves this process's session by
/// itself ([`super::detach`]) before it answers, so that nothing that ends here ends it.
///
/// # Errors
/// When it cannot be started, or dies before it answers; with its own words.
pub async fn start(run: &RunDir) -> Result<u32, EngineError> {
    run.writable()?;
    let id = run.id().to_string();
    let program = std::env::current_exe().map_err(EngineError::io("/proc/self/exe", "find this program"))?;
    let errors = run.errors();
    let mut options = OpenOptions::new();
    let output = open_file(&errors, options.write(true).create(true).truncate(true).mode(0o600));
    let output = output.map_err(EngineError::io(&errors, "open it"))?;
    let second = output.try_clone().map_err(EngineError::io(&errors, "open it"))?;
    let mut child = Command::new(&program)
        .arg("engine")
        .arg(run.path())
        // Where this process stands may go away, the engine stays.
        .current_dir(run.path())
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(second)
        .spawn()
        .map_err(EngineError::io(&program, "start it"))?;
    let pid = child.id();
    let until = Instant::now() + LIMIT;
    loop {
        match ping(run).await {
            Ok(answers) if answers == pid => break,
            // Another engine has the run: ours finds that out by itself, and says so.
            _ => {}
        }
        if let Some(status) = child.try_wait().map_err(EngineError::io(&program, "wait for it"))? {
            let said = fs::read_to_string(&errors).unwrap_or_default();
            let said: Vec<char> = clean(said.trim().trim_start_matches("error: ")).chars().collect();
            let tail: String = said.iter().skip(said.len().saturating_sub(SHOWN)).collect();
            // What it did not say may stand in its log.
            let ended = !tail.is_empty();
            let why = if ended { tail } else { format!("{status}; see {}", run.log().display()) };
            return Err(EngineError::Died { run: id, why, ended });
        }
        if Instant::now() > until {
            let why = format!("process {pid} does not answer; see {}", run.log().display());
            return Err(EngineError::Died { run: id, why, ended: false });
        }
        sleep(ASK).await;
    }
    // The engine may end before this process does: it is waited for, so that it leaves no zombie behind.
    let waiter = std::thread::Builder::new().name("engine waiter".into()).spawn(move || child.wait());
    drop(waiter);
    Ok(pid)
}
