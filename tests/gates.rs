//! A gate of the operator's own, from outside: the real binary, its simulated cluster, and a real command.

use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

struct Lab {
    dir: TempDir,
    sim: Child,
}

impl Lab {
    fn start() -> Lab {
        let dir = tempfile::tempdir().unwrap();
        let mut sim = command(&dir)
            .args(["sim", "--until-stdin-closes", "--profile-out", "profile.toml"])
            .args(["--nodes", "8", "--racks", "2", "--speed", "20"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(sim.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("ready: "), "{line}");
        Lab { dir, sim }
    }

    fn write(&self, name: &str, text: &str) {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.append(true).create(true).mode(0o700).open(self.dir.path().join(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn sonoba(&self, args: &[&str]) -> Output {
        let mut command = command(&self.dir);
        command.args(["--profile", "profile.toml", "--state-dir", "state"]).args(args);
        command.stdin(Stdio::null()).output().unwrap()
    }

    fn done(&self, args: &[&str]) -> String {
        let output = self.sonoba(args);
        let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
        assert_eq!(output.status.code(), Some(0), "sonoba {args:?}: {out}{err}");
        out
    }

    /// Asks for the report until it says so.
    fn wait(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + Duration::from_secs(600);
        loop {
            let asked = Instant::now();
            let report = serde_json::from_str(&self.done(&["report", "--format", "json"])).unwrap();
            if holds(&report) {
                return report;
            }
            assert!(Instant::now() < until, "never {what}: {report:#}");
            // Whoever waits must not take the processors from what he waits for.
            std::thread::sleep(Duration::from_millis(50).max(asked.elapsed() * 4));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.sim.stdin.take());
        let _ = self.sim.wait();
    }
}

fn command(dir: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sonoba"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.current_dir(dir.path()).env_clear().env("HOME", dir.path()).env("USER", "tester").env("PATH", path);
    command
}

#[test]
fn a_run_waits_for_ceph_pauses_by_itself_and_goes_on_once_it_is_well() {
    let lab = Lab::start();
    lab.write(
        "ceph-health",
        "#!/bin/sh\ntest -e \"$HOME/well\" && exit 0\necho asked >> asked\necho HEALTH_WARN >&2\nexit 1\n",
    );
    lab.write(
        "profile.toml",
        "\n[[gate]]\nname = \"ceph\"\ncommand = [\"./ceph-health\"]\ntimeout = \"3s\"\ninterval = \"1s\"\n",
    );
    let told = lab.done(&["doctor"]);
    assert!(told.contains("gate ceph does not hold: exit 1: HEALTH_WARN"), "{told}");
    let preview = lab.done(&["plan", "--release", "1.36.2", "-o", "plan.json"]);
    assert!(preview.contains("gate ceph holds") && preview.contains("/ceph-health`"), "{preview}");

    let applied = lab.sonoba(&["apply", "plan.json", "--yes"]);
    let [out, error] = [&applied.stdout, &applied.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert_eq!(applied.status.code(), Some(4), "{out}{error}");
    let why = "gate ceph did not hold within 3s: exit 1: HEALTH_WARN";
    assert!(error.contains(why), "{error}");
    let report = lab.wait("paused", |r| r["outcome"] == "paused");
    assert_eq!(report["pauses"][0]["why"], why, "{report:#}");
    // The control plane and the canary are through, and nobody else.
    assert!((1..=3 + 3).contains(&report["nodes"]["new"].as_u64().unwrap()), "{report:#}");
    let run = lab.dir.path().join("state/runs").join(report["run"].as_str().unwrap());
    let asked = std::fs::read_to_string(run.join("asked")).expect("it is run in the run's folder");
    assert!((2..=4).contains(&asked.lines().count()), "{asked}");

    lab.write("well", "");
    lab.done(&["resume"]);
    let report = lab.wait("completed", |r| r["outcome"] == "completed");
    assert_eq!(report["nodes"]["new"], 11, "{report:#}");
    assert_eq!(report["pods"]["disturbed"], 0, "{report:#}");
}
