//! The program under test, as an operator runs it.

use crate::lab::Lab;
use crate::process::{lives, wait_for};
use color_eyre::eyre::{Result, ensure, eyre};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

/// `sonoba` with a profile and a state folder of its own.
pub struct Sonoba {
    profile: PathBuf,
    state: PathBuf,
}

/// A run that was started with `--detach`.
#[derive(Debug)]
pub struct Started {
    /// Its engine's process.
    pub engine: i32,
    /// Its folder.
    pub dir: PathBuf,
}

impl Sonoba {
    /// For a lab whose profile is at `profile`.
    pub fn new(lab: &Lab, profile: PathBuf) -> Sonoba {
        Sonoba { profile, state: lab.dir.join("state") }
    }

    /// The same on another bastion.
    pub fn on_bastion(lab: &Lab, profile: PathBuf, n: usize) -> Sonoba {
        Sonoba { profile, state: lab.dir.join(format!("state{n}")) }
    }

    /// Runs it to its end. The time limit is beyond what anything here should take.
    pub fn run(&self, args: &[&str]) -> Result<Output> {
        let mut command = Command::new("timeout");
        command.args(["--foreground", "600", env!("CARGO_BIN_EXE_sonoba"), "--profile"]).arg(&self.profile);
        command.arg("--state-dir").arg(&self.state).args(args);
        // Neither the operator's agent nor his configuration may take part.
        command.env_remove("SSH_AUTH_SOCK").env("HOME", &self.state).env("RUST_BACKTRACE", "0");
        fs::create_dir_all(&self.state)?;
        Ok(command.stdin(std::process::Stdio::null()).output()?)
    }

    /// Runs it; its standard output, when it ended with that code.
    pub fn expect(&self, code: i32, args: &[&str]) -> Result<String> {
        let output = self.run(args)?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(
            output.status.code() == Some(code),
            "sonoba {} ended with {}, not {code}\n--- out\n{out}\n--- err\n{err}\n--- engine.log\n{}",
            args.join(" "),
            output.status,
            self.engine_logs()
        );
        Ok(out.into_owned())
    }

    /// Makes a plan and starts it without waiting.
    pub fn start(&self, plan: &str) -> Result<Started> {
        let text = self.expect(0, &["apply", plan, "--yes", "--detach", "--json"])?;
        let told: Value = serde_json::from_str(text.trim())?;
        let engine = told["engine"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        let engine = engine.ok_or_else(|| eyre!("no engine in {told}"))?;
        ensure!(lives(engine), "the engine {engine} does not live");
        let dir = told["dir"].as_str().ok_or_else(|| eyre!("no folder in {told}"))?.into();
        Ok(Started { engine, dir })
    }

    /// The report, once the run has come to one of these outcomes.
    pub fn outcome(&self, wanted: &[&str], limit: Duration) -> Result<Value> {
        wait_for(&format!("the run is {}", wanted.join(" or ")), limit, || {
            let report = self.report()?;
            ensure!(wanted.iter().any(|word| report["outcome"] == *word), "{report}");
            Ok(report)
        })
    }

    /// The report as JSON.
    pub fn report(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.expect(0, &["report", "--format", "json"])?)?)
    }

    /// The end of every engine's log, for a failure's message.
    fn engine_logs(&self) -> String {
        let mut logs = String::new();
        collect(&self.state, 4, &mut logs);
        logs
    }
}

fn collect(dir: &Path, depth: usize, logs: &mut String) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && depth > 0 {
            collect(&path, depth - 1, logs);
        } else if path.ends_with("engine.log") {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            logs.push_str(&lines[lines.len().saturating_sub(40)..].join("\n"));
        }
    }
}
