//! Commands, daemons, and what `/proc` says of processes.

use crate::parts;
use color_eyre::eyre::{Result, WrapErr, bail, eyre};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A command for a program of the lab.
pub fn command(program: &str) -> Result<Command> {
    Ok(Command::new(parts::find(program).ok_or_else(|| eyre!("{program} is not installed"))?))
}

/// Runs a command to its end; its standard output, or an error with what it said.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().wrap_err_with(|| format!("starting {command:?}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if !output.status.success() {
        bail!("{command:?}: {}: {} {}", output.status, text(&output.stdout), text(&output.stderr));
    }
    Ok(text(&output.stdout))
}

/// Starts a daemon that logs to a file; [`crate::reap`] ends it.
pub fn daemon(command: &mut Command, log: &Path) -> Result<Child> {
    let log = File::create(log)?;
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .wrap_err_with(|| format!("starting {command:?}"))
}

/// Waits until `done` succeeds, and gives back what it found; an error with what was last in the way once the time is over.
pub fn wait_for<T>(what: &str, limit: Duration, mut done: impl FnMut() -> Result<T>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        let asked = Instant::now();
        match done() {
            Ok(found) => return Ok(found),
            Err(why) if Instant::now() >= end => return Err(why).wrap_err_with(|| format!("{what} within {limit:?}")),
            Err(_) => crate::common::process::rest(asked, Duration::from_millis(25)),
        }
    }
}

/// Every process's number.
pub fn all() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}

/// A process's command line, its words separated by spaces; empty when it is gone.
pub fn command_line(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// Whether a process is there and no zombie.
pub fn lives(pid: i32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != "Z")
}

/// A process's descendants, children first.
pub fn descendants(pid: i32) -> Vec<i32> {
    let parents: Vec<(i32, i32)> = all().into_iter().filter_map(|p| Some((p, stat(p)?.1))).collect();
    let mut found = vec![pid];
    let mut at = 0;
    while at < found.len() {
        let above = found[at];
        found.extend(parents.iter().filter(|(_, parent)| *parent == above).map(|(p, _)| *p));
        at += 1;
    }
    found.split_off(1)
}

/// State and parent. The name, which comes before them in brackets, may hold anything.
fn stat(pid: i32) -> Option<(String, i32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut words = text[text.rfind(')')? + 1..].split_whitespace();
    Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
}

/// Sends a signal; a process that is gone already is no error.
pub fn signal(pid: i32, signal: Signal) -> io::Result<()> {
    match Pid::from_raw(pid).map(|pid| kill_process(pid, signal)) {
        None | Some(Ok(()) | Err(rustix::io::Errno::SRCH)) => Ok(()),
        Some(Err(error)) => Err(error.into()),
    }
}
