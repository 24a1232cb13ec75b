//! Starts the engine's process.

use super::control::greet;
use super::error::EngineError;
use super::run_dir::RunDir;
use crate::fleet::clean;
use crate::journal::open_file;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The engine answers within this time, or something is wrong that it could not say.
const LIMIT: Duration = Duration::from_secs(60);
/// One that says that its run waits is waited for so long: a lock is watched for two minutes at most, then the nodes are looked at.
const WAIT: Duration = Duration::from_secs(600);
/// A process that was killed is gone within this time, unless the kernel holds it.
const ENDS: Duration = Duration::from_secs(10);
/// Between two questions.
const ASK: Duration = Duration::from_millis(30);
/// Of what a dying engine said, this much is shown. Characters.
const SHOWN: usize = 2_000;

/// Starts the first engine of a run that was just made, as [`start`] does. Where it ends before it has begun (another run has the
/// cluster), nothing of the run is left: its last words are in the error. A run that was given up stays, and says so.
///
/// # Errors
/// As [`start`].
pub async fn begin(run: &RunDir, told: impl Fn(&str)) -> Result<u32, EngineError> {
    let started = start(run, told).await;
    if let Err(EngineError::Died { ended: true, .. }) = &started
        && run.given_up().is_none()
    {
        run.abandon();
    }
    started
}

/// Starts an engine for a run, and waits until the run has begun, or goes on. Its process id. The engine leaves this process's
/// session by itself ([`super::detach`]) before it answers, so that nothing that ends here ends it. `told` hears what the run waits for,
/// where it has to.
///
/// A start that fails, or that is not waited for any more, is one that never was: its engine is ended, and the run never begins.
///
/// # Errors
/// When it cannot be started, dies before it answers (with its own words), or does not answer in time.
pub async fn start(run: &RunDir, told: impl Fn(&str)) -> Result<u32, EngineError> {
    run.writable()?;
    run.may_begin()?;
    let program = std::env::current_exe().map_err(EngineError::io("/proc/self/exe", "find this program"))?;
    let errors = run.errors();
    let mut options = OpenOptions::new();
    let output = open_file(&errors, options.write(true).create(true).truncate(true).mode(0o600));
    let output = output.map_err(EngineError::io(&errors, "open it"))?;
    let second = output.try_clone().map_err(EngineError::io(&errors, "open it"))?;
    let mut command = Command::new(&program);
    command.arg("engine").arg("--leashed").arg(run.path());
    // Where this process stands may go away, the engine stays.
    command.current_dir(run.path()).stdin(Stdio::piped()).stdout(output).stderr(second);
    let child = command.spawn().map_err(EngineError::io(&program, "start it"))?;
    let mut newborn = Newborn { run, child: Some(child) };
    newborn.until_it_begins(told).await
}

/// An engine whose run has not begun yet. Where nobody waits for it any more, it is ended.
struct Newborn<'a> {
    run: &'a RunDir,
    child: Option<Child>,
}

impl Newborn<'_> {
    async fn until_it_begins(&mut self, told: impl Fn(&str)) -> Result<u32, EngineError> {
        let (run, Some(child)) = (self.run, self.child.as_mut()) else { return Err(self.died("it is gone".into())) };
        let pid = child.id();
        let begun = Instant::now();
        // When it answered last, and what it waits for.
        let (mut heard, mut waits) = (begun, None);
        loop {
            match greet(run).await {
                Ok((answers, None)) if answers == pid => break,
                Ok((answers, Some(why))) if answers == pid => {
                    heard = Instant::now();
                    if waits.replace(why.clone()).as_ref() != Some(&why) {
                        told(&why);
                    }
                }
                // Another engine has the run: ours finds that out by itself, and says so.
                _ => {}
            }
            if let Some(status) = child.try_wait().map_err(EngineError::io("/proc", "wait for the engine"))? {
                self.child = None;
                let said = last_words(run);
                // What it did not say may stand in its log.
                let ended = !said.is_empty();
                let why = if ended { said } else { format!("{status}; see {}", run.log().display()) };
                return Err(EngineError::Died { run: run.id().to_string(), why, ended });
            }
            if heard.elapsed() > LIMIT || begun.elapsed() > WAIT {
                let why = format!("process {pid} did not answer within {} s", LIMIT.as_secs());
                return Err(self.give_up(why).await);
            }
            sleep(ASK).await;
        }
        // The engine may end before this process does: it is waited for, so that it leaves no zombie behind.
        if let Some(mut child) = self.child.take() {
            // Its run has begun: from here on it goes on by itself.
            drop(child.stdin.take());
            drop(std::thread::Builder::new().name("engine waiter".into()).spawn(move || child.wait()));
        }
        Ok(pid)
    }

    fn died(&self, why: String) -> EngineError {
        EngineError::Died { run: self.run.id().to_string(), why, ended: false }
    }

    /// Ends it for certain, and writes down that the run is not to begin any more.
    async fn give_up(&mut self, why: String) -> EngineError {
        let Some(mut child) = self.child.take() else { return self.died(why) };
        let pid = child.id();
        if let Err(error) = child.kill() {
            tracing::warn!("process {pid} cannot be killed: {error}");
        }
        let until = Instant::now() + ENDS;
        let ended = loop {
            match child.try_wait() {
                Ok(Some(_)) => break true,
                _ if Instant::now() > until => break false,
                _ => sleep(ASK).await,
            }
        };
        let log = self.run.log();
        let ended = if ended {
            "it was ended".to_owned()
        } else {
            format!("it was killed, and the kernel still holds it: see that it is gone (ps {pid})")
        };
        if self.run.begun() {
            let id = self.run.id();
            return self.died(format!(
                "{why}, and {ended}; the run has begun: go on with `sonoba resume {id}`; see {}",
                log.display()
            ));
        }
        if let Err(error) = self.run.give_up(&why) {
            return self.died(format!("{why}, and {ended}; that it is given up could not be written down: {error}"));
        }
        self.died(format!("{why}, and {ended}; the run is given up, nothing was done; see {}", log.display()))
    }
}

impl Drop for Newborn<'_> {
    fn drop(&mut self) {
        // The start itself was given up: so is the run. Letting go of its standard input says the same, but later.
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
            let _ = self.run.give_up("its start was given up");
        }
    }
}

/// What an engine said that died.
fn last_words(run: &RunDir) -> String {
    let said = fs::read_to_string(run.errors()).unwrap_or_default();
    let said: Vec<char> = clean(said.trim().trim_start_matches("error: ")).chars().collect();
    said.iter().skip(said.len().saturating_sub(SHOWN)).collect()
}
