//! Processes that a test started: whether they live, and signals to them.

use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};

/// Whether a process is there and no zombie.
pub fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, which comes before the state in brackets, may hold anything.
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim_start().starts_with('Z'))
}

/// Sends a signal to a process; one that is gone already does not mind.
pub fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    match kill_process(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => panic!("{signal:?} to {pid:?}: {error}"),
    }
}

/// Kills a process at once, and returns when it is dead.
pub fn kill(pid: u32) {
    signal(pid, Signal::KILL);
    until("the killed process is dead", Duration::from_secs(30), || !lives(pid));
}

/// Waits until it is so.
pub fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    loop {
        let asked = Instant::now();
        if holds() {
            return;
        }
        assert!(Instant::now() < end, "never within {limit:?}: {what}");
        rest(asked, Duration::from_millis(20));
    }
}

/// Sleeps until what is waited for may be asked for again. One that takes long to ask for is asked for less often: whoever waits must
/// not take the processors from what he waits for.
pub fn rest(asked: Instant, least: Duration) {
    std::thread::sleep(least.max(asked.elapsed() * 4));
}
