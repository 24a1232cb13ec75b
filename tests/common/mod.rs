//! What the tests from outside share: a simulated cluster with the real binary beside it.

// Each test binary uses its own part of it.
#![allow(dead_code)]

pub mod kills;
pub mod process;
pub mod terminal;

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A simulated cluster with a home and a state folder of its own; both are gone when it is dropped.
pub struct Lab {
    dir: TempDir,
    sim: Child,
    state: String,
}

impl Lab {
    /// Starts one with these flags of `sonoba sim`, and returns when it is ready.
    pub fn start(flags: &[&str]) -> Lab {
        let dir = tempfile::tempdir().unwrap();
        let mut sim = command(dir.path())
            .args(["sim", "--until-stdin-closes", "--profile-out", "profile.toml"])
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(sim.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("ready: "), "{line}");
        Lab { dir, sim, state: "state".into() }
    }

    /// Starts one of a scenario's TOML.
    pub fn of_scenario(scenario: &str) -> Lab {
        let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        std::fs::write(file.path(), scenario).unwrap();
        Lab::start(&["--scenario", file.path().to_str().unwrap()])
    }

    /// With its state folder there.
    pub fn with_state(self, state: &str) -> Lab {
        let mut lab = self;
        lab.state = state.to_owned();
        lab
    }

    /// Runs a command on the cluster.
    pub fn sonoba(&self, args: &[&str]) -> Output {
        self.sonoba_in(&self.state, args)
    }

    /// Runs a command on the cluster with another state folder, as on another bastion.
    pub fn sonoba_in(&self, state: &str, args: &[&str]) -> Output {
        told(args, self.command(state, args))
    }

    /// A command on the cluster, to be started.
    pub fn command(&self, state: &str, args: &[&str]) -> Command {
        let mut command = command(self.dir.path());
        command.args(["--profile", "profile.toml", "--state-dir", state]).args(args);
        command
    }

    /// Runs a command with another profile of the cluster, and another state folder.
    pub fn by(&self, profile: &str, state: &str, args: &[&str]) -> Output {
        let mut command = command(self.dir.path());
        command.args(["--profile", profile, "--state-dir", state]).args(args);
        told(args, command)
    }

    /// Runs a command that does not say which cluster it is about.
    pub fn without_profile(&self, args: &[&str]) -> Output {
        let mut command = command(self.dir.path());
        command.args(["--state-dir", &self.state]).args(args);
        told(args, command)
    }

    /// Runs a command that must fail with this code; what it said on standard error.
    pub fn fails(&self, code: i32, args: &[&str]) -> String {
        let output = self.sonoba(args);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "sonoba {args:?}: {error}{}", self.engine_log());
        error
    }

    /// Plans the new release and starts the run; its folder, and its engine's process.
    pub fn begin(&self) -> (PathBuf, u32) {
        self.done(&["plan", "--release", "1.36.2", "-o", "plan.json"]);
        let told = self.done(&["apply", "plan.json", "--yes", "--detach", "--json"]);
        let told: Value = serde_json::from_str(&told).unwrap();
        (told["dir"].as_str().unwrap().into(), told["engine"].as_u64().unwrap().try_into().unwrap())
    }

    /// Runs a command that must be done; returns its standard output.
    pub fn done(&self, args: &[&str]) -> String {
        let output = self.sonoba(args);
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "sonoba {args:?}: {out}{}", self.engine_log());
        out
    }

    /// The latest run's report. It is asked for again and again, so nothing is printed of it.
    pub fn report(&self) -> Value {
        let args = ["report", "--format", "json"];
        let output = self.command(&self.state, &args).stdin(Stdio::null()).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {output:?}{}", self.engine_log()));
        // A journal that was changed is shown, and is a failure.
        let code = i32::from(report["journal"]["chain"] == "broken");
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        report
    }

    /// Asks for the report until it says so.
    pub fn wait(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + Duration::from_secs(600);
        loop {
            let asked = Instant::now();
            let report = self.report();
            if holds(&report) {
                return report;
            }
            assert!(Instant::now() < until, "never {what}: {report:#}{}", self.engine_log());
            process::rest(asked, Duration::from_millis(50));
        }
    }

    /// The engines' logs, for a test that failed.
    pub fn engine_log(&self) -> String {
        let runs = std::fs::read_dir(self.path(&self.state).join("runs")).into_iter().flatten().flatten();
        runs.filter_map(|run| std::fs::read_to_string(run.path().join("engine.log")).ok()).collect()
    }

    /// A place in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.sim.stdin.take());
        let _ = self.sim.wait();
    }
}

/// Runs it, and prints what it said on standard error.
fn told(args: &[&str], mut command: Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap();
    eprintln!("$ sonoba {}\n{}", args.join(" "), String::from_utf8_lossy(&output.stderr));
    output
}

fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sonoba"));
    command.current_dir(dir).env_clear().env("HOME", dir).env("USER", "tester");
    command
}
