//! Watchers never harm: many of them, most of them slow or stopped, and a run that does not notice.

use crate::common::Lab;
use crate::common::process::{signal, until};
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use rustix::process::Signal;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const WATCHERS: usize = 20;
/// Of these, stopped by SIGSTOP.
const STOPPED: usize = 10;
/// Of these, such whose terminal is read: the others come to a halt at a full terminal.
const READ: usize = 3;
/// Peers on the control socket that ask nothing and stay.
const SILENT: usize = 12;

/// A `sonoba watch` in a terminal of its own.
struct Watcher {
    child: Box<dyn Child + Send + Sync>,
    terminal: Box<dyn MasterPty + Send>,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Watcher {
    fn start(lab: &Lab, run: &str) -> Watcher {
        let pty =
            native_pty_system().openpty(PtySize { rows: 36, cols: 120, pixel_width: 0, pixel_height: 0 }).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_sonoba"));
        command.args(["--profile", "profile.toml", "--state-dir", "state", "watch", run]);
        command.env_clear();
        for (name, value) in [("HOME", lab.path(".").to_str().unwrap()), ("TERM", "xterm-256color")] {
            command.env(name, value);
        }
        command.cwd(lab.path("."));
        let child = pty.slave.spawn_command(command).unwrap();
        Watcher { child, terminal: pty.master, seen: Arc::default() }
    }

    fn pid(&self) -> u32 {
        self.child.process_id().unwrap()
    }

    /// Reads its terminal from here on.
    fn read(&self) {
        let (mut reader, seen) = (self.terminal.try_clone_reader().unwrap(), Arc::clone(&self.seen));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                seen.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        });
    }

    fn shows(&self, word: &str) -> bool {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).contains(word)
    }

    fn reads(&self, journal: &Path) -> bool {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).into_iter().flatten().flatten();
        open.filter_map(|fd| std::fs::read_link(fd.path()).ok()).any(|file| file == journal)
    }

    fn stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // SIGKILL reaches a stopped process too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_run_is_not_held_up_by_twenty_watchers_of_whom_most_are_stopped_or_slow() {
    let lab = Lab::start(&["--nodes", "20", "--racks", "4", "--speed", "20"]);
    let (run_dir, _) = lab.begin();
    let run = run_dir.file_name().unwrap().to_str().unwrap();
    // Stands still until all of them watch.
    lab.done(&["pause"]);
    lab.wait("paused", |r| r["outcome"] == "paused");
    let watchers: Vec<Watcher> = (0..WATCHERS).map(|_| Watcher::start(&lab, run)).collect();
    let (stopped, running) = watchers.split_at(STOPPED);
    running.iter().take(READ).for_each(Watcher::read);
    let journal = std::fs::canonicalize(run_dir.join("journal.jsonl")).unwrap();
    until("all of them read the journal", Duration::from_secs(600), || watchers.iter().all(|w| w.reads(&journal)));
    stopped.iter().for_each(|w| signal(w.pid(), Signal::STOP));
    until("they are stopped", Duration::from_secs(10), || stopped.iter().all(Watcher::stopped));
    let silent: Vec<UnixStream> =
        (0..SILENT).map(|_| UnixStream::connect(run_dir.join("control.sock")).unwrap()).collect();

    lab.done(&["resume"]);
    lab.wait("going on", |r| r["swaps"]["committed"].as_u64() > Some(3));
    // Commands are still heard.
    lab.done(&["pause"]);
    lab.wait("paused", |r| r["outcome"] == "paused");
    lab.done(&["resume"]);
    let report = lab.wait("completed", |r| r["outcome"] == "completed");
    assert_eq!(report["nodes"]["new"], 23, "{report:#}");
    assert_eq!(report["swaps"]["rolled_back"], 0, "{report:#}");
    assert_eq!(report["journal"]["chain"], "ok");
    assert!(stopped.iter().all(Watcher::stopped), "they were stopped all the time");
    drop(silent);

    // Whoever comes late sees the same.
    running
        .iter()
        .take(READ)
        .for_each(|w| until("a watcher sees the end", Duration::from_secs(60), || w.shows("COMPLETED")));
    stopped.iter().for_each(|w| {
        signal(w.pid(), Signal::CONT);
        w.read();
    });
    stopped.iter().for_each(|w| until("a late one sees the end", Duration::from_secs(60), || w.shows("COMPLETED")));
}
