//! Decisions about single nodes from outside, without a screen: the real binary against its own simulated cluster.

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A simulated cluster with a home and a state folder of its own; both are gone when it is dropped.
struct Lab {
    dir: TempDir,
    sim: Child,
}

fn command(dir: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sonoba"));
    command.current_dir(dir.path()).env_clear().env("HOME", dir.path()).env("USER", "tester");
    command
}

impl Lab {
    /// Twenty workers in four racks; `fault` goes wrong, and spends the budget at once.
    fn start(fault: &str) -> Lab {
        let dir = tempfile::tempdir().unwrap();
        let scenario = format!("[rollout]\nfailed_swaps = 1\nsoak_s = 20.0\n[[fault]]\n{fault}\n");
        std::fs::write(dir.path().join("scenario.toml"), scenario).unwrap();
        let mut sim = command(&dir)
            .args(["sim", "--until-stdin-closes", "--profile-out", "profile.toml", "--scenario", "scenario.toml"])
            .args(["--nodes", "20", "--racks", "4", "--speed", "20"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(sim.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("ready: "), "{line}");
        let lab = Lab { dir, sim };
        lab.done(&["plan", "--release", "1.36.2", "-o", "plan.json"]);
        lab
    }

    fn sonoba(&self, args: &[&str]) -> Output {
        let output = command(&self.dir)
            .args(["--profile", "profile.toml", "--state-dir", "state"])
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        eprintln!("$ sonoba {}\n{}", args.join(" "), String::from_utf8_lossy(&output.stderr));
        output
    }

    fn done(&self, args: &[&str]) -> String {
        let output = self.sonoba(args);
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "sonoba {args:?}: {out}");
        out
    }

    /// Runs a command that must fail so; returns its standard error.
    fn fails(&self, code: i32, args: &[&str]) -> String {
        let output = self.sonoba(args);
        assert_eq!(output.status.code(), Some(code), "sonoba {args:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn report(&self) -> Value {
        serde_json::from_str(&self.done(&["report", "--format", "json"])).unwrap()
    }

    fn wait(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + Duration::from_secs(120);
        loop {
            let report = self.report();
            if holds(&report) {
                return report;
            }
            assert!(Instant::now() < until, "never {what}: {report:#}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.sim.stdin.take());
        let _ = self.sim.wait();
    }
}

const BAD: &str = "node = \"rack2-cs1\"\ncomponent = \"kubelet\"\nkind = \"never-healthy\"";

#[test]
fn a_bad_node_is_skipped_with_a_reason_and_the_run_completes_without_it() {
    let lab = Lab::start(BAD);
    let told = lab.fails(4, &["apply", "plan.json", "--yes"]);
    assert!(told.contains("sonoba skip") && told.contains("sonoba retry"), "{told}");

    // What is not meant so, or cannot be, is refused before anything changes.
    assert!(lab.fails(2, &["skip", "--nodes", "rack2-cs1"]).contains("--reason"));
    assert!(lab.fails(2, &["skip", "--nodes", "rack9-*", "--reason", "x"]).contains("rack9-*"));
    assert!(lab.fails(1, &["skip", "--nodes", "rack2-cs1", "--reason", " "]).contains("reason"));
    assert!(lab.fails(1, &["override", "--gate", "soak", "--reason", "x"]).contains("does not wait"));
    assert_eq!(lab.report()["decisions"], serde_json::json!([]));

    let told = lab.done(&["skip", "latest", "--nodes", "rack2-cs[1]", "--reason", "broken disk, OPS-1"]);
    assert!(told.contains("rack2-cs1 stays as it is") && told.contains("sonoba resume"), "{told}");
    assert_eq!(lab.report()["outcome"], "paused");
    lab.done(&["resume"]);
    let report = lab.wait("completed", |r| r["outcome"] == "completed");
    assert!(report["why"].as_str().unwrap().contains("rack2-cs1"), "{report:#}");
    assert_eq!(report["swaps"]["skipped"], 1);
    assert_eq!(report["nodes"]["new"], 22);
    assert_eq!(report["pods"]["disturbed"], 0);
    let decision = &report["decisions"][0];
    assert_eq!((&decision["what"], &decision["of"]), (&"skip".into(), &"rack2-cs1".into()));
    assert_eq!(decision["why"], "broken disk, OPS-1");
    assert!(decision["by"].as_str().unwrap().contains("tester"), "{decision}");
    assert!(lab.done(&["report", "--format", "md"]).contains("## Decisions"));
    assert!(lab.done(&["report"]).contains("1 skipped"));
    assert!(lab.fails(1, &["retry"]).contains("has ended"));
}

#[test]
fn a_fault_that_heals_is_retried_and_the_run_completes() {
    let lab = Lab::start(&format!("{BAD}\ntimes = 1"));
    lab.fails(4, &["apply", "plan.json", "--yes"]);
    assert!(lab.fails(2, &["retry", "--nodes", "nobody"]).contains("nobody"));
    let told = lab.done(&["retry", "--nodes", "rack2-*"]);
    assert!(told.contains("rack2-cs1") && told.contains("sonoba resume"), "{told}");
    lab.done(&["resume"]);
    let report = lab.wait("completed", |r| r["outcome"] == "completed");
    assert_eq!(report["nodes"]["new"], 23, "{report:#}");
    assert_eq!(report["pauses"].as_array().unwrap().len(), 1);
    assert_eq!(report["pods"]["disturbed"], 0);
}
