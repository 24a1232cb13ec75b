//! The whole of sonoba from outside, without a screen: the real binary against its own simulated cluster, over real SSH,
//! the Docker Engine API and the Kubernetes API on loopback.

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A simulated cluster with a home and a state folder of its own; both are gone when it is dropped.
struct Lab {
    dir: TempDir,
    sim: Child,
}

impl Lab {
    fn start(flags: &[&str]) -> Lab {
        let dir = tempfile::tempdir().unwrap();
        let mut sim = command(&dir)
            .args(["sim", "--until-stdin-closes", "--profile-out", "profile.toml"])
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(sim.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("ready: "), "{line}");
        Lab { dir, sim }
    }

    /// Runs a command on the cluster.
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

    /// Runs a command that must be done; returns its standard output.
    fn done(&self, args: &[&str]) -> String {
        let output = self.sonoba(args);
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "sonoba {args:?}: {out}{}", self.engine_log());
        out
    }

    fn report(&self) -> Value {
        serde_json::from_str(&self.done(&["report", "--format", "json"])).unwrap()
    }

    /// Asks for the report until it says so.
    fn wait(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + Duration::from_secs(120);
        loop {
            let report = self.report();
            if holds(&report) {
                return report;
            }
            assert!(Instant::now() < until, "never {what}: {report:#}{}", self.engine_log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The engines' logs, for a test that failed.
    fn engine_log(&self) -> String {
        let runs = std::fs::read_dir(self.path("state/runs")).into_iter().flatten().flatten();
        runs.filter_map(|run| std::fs::read_to_string(run.path().join("engine.log")).ok()).collect()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
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
    command.current_dir(dir.path()).env_clear().env("HOME", dir.path()).env("USER", "tester");
    command
}

const SMALL: [&str; 6] = ["--nodes", "20", "--racks", "4", "--speed", "20"];

#[test]
fn a_release_goes_through_the_whole_cluster_and_no_pod_notices() {
    let lab = Lab::start(&SMALL);
    let preview = lab.done(&["plan", "--release", "1.36.2", "-o", "plan.json"]);
    assert!(preview.contains("1.36.2.1"), "{preview}");
    let lines = lab.done(&["apply", "plan.json", "--yes"]);
    assert!(lines.contains("completed"), "{lines}");
    let report = lab.report();
    assert_eq!(report["outcome"], "completed", "{report:#}");
    assert_eq!(report["nodes"]["total"], 23);
    assert_eq!(report["nodes"]["new"], 23);
    assert_eq!(report["pods"]["disturbed"], 0);
    assert!(report["pods"]["checked"].as_u64().unwrap() >= 20 * 30, "{report:#}");
    assert_eq!(report["pods"]["checked"], report["pods"]["undisturbed"]);
    assert_eq!(report["journal"]["chain"], "ok");
    assert!(report["downtime_ms"]["kubelet"]["max"].as_u64().is_some());

    // The cluster is no longer as the plan has it: it is refused, and says what moved.
    let again = lab.sonoba(&["apply", "plan.json", "--yes"]);
    assert_eq!(again.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&again.stderr).contains("no longer as plan"));

    // All is new: there is nothing to do, which is no error.
    let none: Value =
        serde_json::from_str(&lab.done(&["plan", "--release", "1.36.2", "--json", "-o", "none.json"])).unwrap();
    assert!(
        none["phases"].as_array().unwrap().iter().all(|p| p["waves"].as_array().is_none_or(Vec::is_empty)),
        "{none:#}"
    );
    assert!(lab.done(&["apply", "none.json", "--yes"]).contains("nothing to do"));

    // One flipped byte is found.
    let run = std::fs::read_dir(lab.path("state/runs")).unwrap().next().unwrap().unwrap().path().join("journal.jsonl");
    let journal = std::fs::read_to_string(&run).unwrap();
    std::fs::write(&run, journal.replacen("rack0", "rack9", 1)).unwrap();
    assert_eq!(lab.report()["journal"]["chain"], "broken");
}

#[test]
fn a_kubelet_that_never_becomes_healthy_rolls_back_and_a_spent_budget_pauses() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = dir.path().join("one-bad.toml");
    std::fs::write(
        &scenario,
        "[rollout]\nfailed_swaps = 1\n[[fault]]\nnode = \"rack2-cs1\"\ncomponent = \"kubelet\"\nkind = \"never-healthy\"\n",
    )
    .unwrap();
    let lab = Lab::start(&[&SMALL[..], &["--scenario", scenario.to_str().unwrap()]].concat());
    lab.done(&["plan", "--release", "1.36.2", "-o", "plan.json"]);
    let applied = lab.sonoba(&["apply", "plan.json", "--yes"]);
    let error = String::from_utf8_lossy(&applied.stderr).into_owned();
    assert_eq!(applied.status.code(), Some(4), "{error}{}", lab.engine_log());
    assert!(error.contains("paused") && error.contains("rack2-cs1") && error.contains("sonoba resume"), "{error}");
    let report = lab.report();
    assert_eq!(report["outcome"], "paused", "{report:#}");
    assert_eq!(report["swaps"]["rolled_back"], 1);
    assert_eq!(report["pods"]["disturbed"], 0);
    assert!(report["pauses"][0]["why"].as_str().unwrap().contains("rack2-cs1"), "{report:#}");

    // The node serves on the old version; the others of its wave are new.
    let now: Value = serde_json::from_str(&lab.done(&["plan", "--release", "1.36.2", "--json"])).unwrap();
    let bad = &now["cluster"]["nodes"]["rack2-cs1"];
    assert_eq!(bad["ready"], true, "{bad:#}");
    assert!(bad["components"]["kubelet"]["image"].as_str().unwrap().ends_with("1.35.6.1"), "{bad:#}");
    assert_eq!(bad["components"]["kubelet"]["running"], true);

    lab.done(&["abort"]);
    let report = lab.wait("aborted", |r| r["outcome"] == "aborted");
    assert_eq!(report["swaps"]["in_flight"], 0);
}

#[test]
fn a_detached_run_pauses_goes_on_and_outlives_its_engine() {
    let lab = Lab::start(&SMALL);
    lab.done(&["plan", "--release", "1.36.2", "-o", "plan.json"]);
    let told: Value = serde_json::from_str(&lab.done(&["apply", "plan.json", "--yes", "--detach", "--json"])).unwrap();
    let engine = told["engine"].as_u64().unwrap();
    let run = told["run"].as_str().unwrap();

    // A second run on the same cluster is told who is at work.
    let second = lab.sonoba(&["apply", "plan.json", "--yes", "--detach"]);
    assert_ne!(second.status.code(), Some(0));

    lab.done(&["pause", run]);
    lab.wait("paused", |r| r["outcome"] == "paused");
    lab.done(&["resume", run]);
    lab.wait("going on", |r| r["swaps"]["committed"].as_u64() > Some(3));

    // The engine is killed; resume goes on from what the journal and the nodes say.
    let killed = Command::new("kill").args(["-9", &engine.to_string()]).status().unwrap();
    assert!(killed.success());
    let until = Instant::now() + Duration::from_secs(60);
    while lab.sonoba(&["pause", run]).status.success() {
        assert!(Instant::now() < until, "the engine is dead");
        std::thread::sleep(Duration::from_millis(20));
    }
    lab.done(&["resume", run]);
    let report = lab.wait("completed", |r| r["outcome"] == "completed");
    assert_eq!(report["run"], run);
    assert_eq!(report["nodes"]["new"], 23, "{report:#}");
    assert_eq!(report["pods"]["disturbed"], 0, "{report:#}");
    assert_eq!(report["journal"]["chain"], "ok");
    let runs: Value = serde_json::from_str(&lab.done(&["runs", "--json"])).unwrap();
    assert!(runs.as_array().unwrap().iter().any(|r| r["run"] == run && r["outcome"] == "completed"));
}

#[test]
fn the_doctor_finds_a_simulated_cluster_well() {
    let lab = Lab::start(&["--nodes", "4", "--racks", "2"]);
    let told = lab.done(&["doctor"]);
    assert!(told.contains("nodes over SSH: 7 of 7 answer"), "{told}");
    assert!(!told.contains("BAD"), "{told}");
}

const BREAKS: &str = r#"
[[container]]
node = "masters"
component = "kube-apiserver"
args = ["--runtime-config=autoscaling/v2beta1=true,autoscaling/v2=true"]
[[container]]
node = "rack0"
component = "kubelet"
args = ["--feature-gates", "CSIMigrationPortworx=true,NodeSwap=true"]
[[container]]
node = "masters"
component = "kube-scheduler"
args = ["--feature-gates=VolumeAttributesClass=false"]
[[container]]
node = "masters"
component = "kube-controller-manager"
args = ["--feature-gates=HonorPVReclaimPolicy=true,VolumeAttributesClass=true"]
[[container]]
node = "worker:0%"
component = "kube-proxy"
args = ["--feature_gates=DisableNodeKubeProxyVersion=false"]
"#;

#[test]
fn what_breaks_in_place_is_found_before_and_mended_when_the_operator_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = dir.path().join("breaks.toml");
    std::fs::write(&scenario, BREAKS).unwrap();
    let lab = Lab::start(&[&SMALL[..], &["--scenario", scenario.to_str().unwrap()]].concat());
    let seeded = [
        "gate-csi-migration-portworx",
        "gate-disable-node-kube-proxy-version-locked",
        "gate-honor-pv-reclaim-policy",
        "gate-volume-attributes-class-locked",
        "kube-apiserver-runtime-config-autoscaling-v2beta1",
    ];
    let found = |args: &[&str], severity: &str| -> (Option<i32>, Vec<String>) {
        let output = lab.sonoba(&[&["plan", "--release", "1.36.2", "--json"], args].concat());
        let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
        let known: Vec<&str> =
            sonoba::plan::catalogue::built_in().unwrap().iter().map(|entry| entry.id.as_str()).collect();
        let all = plan["findings"].as_array().unwrap().iter();
        let mut codes: Vec<String> = all
            .filter(|f| known.contains(&f["code"].as_str().unwrap()))
            .map(|f| {
                assert_eq!(f["severity"], severity, "{f:#}");
                f["code"].as_str().unwrap().to_owned()
            })
            .collect();
        codes.sort();
        (output.status.code(), codes)
    };
    let seeded: Vec<String> = seeded.map(str::to_owned).to_vec();
    assert_eq!(found(&[], "error"), (Some(3), seeded.clone()));
    assert_eq!(found(&["--accept", "all"], "info"), (Some(0), seeded.clone()));
    assert_eq!(found(&["--acknowledge", &seeded.join(",")], "warning"), (Some(0), seeded));

    let preview = lab.done(&["plan", "--release", "1.36.2", "--accept", "all", "-o", "plan.json"]);
    let difference =
        "      - --feature-gates CSIMigrationPortworx=true,NodeSwap=true\n      + --feature-gates NodeSwap=true\n";
    assert!(preview.contains(difference), "{preview}");
    lab.done(&["apply", "plan.json", "--yes"]);
    let plan: Value = serde_json::from_str(&lab.done(&["plan", "--release", "1.36.2", "--json"])).unwrap();
    let args = |node: &str, component: &str| -> String {
        let args = plan["cluster"]["nodes"][node]["components"][component]["args"].as_array().unwrap().iter();
        args.map(|a| a.as_str().unwrap()).collect::<Vec<_>>().join(" ")
    };
    assert!(
        args("rack0-cs1", "kubelet").ends_with(" --feature-gates NodeSwap=true"),
        "{}",
        args("rack0-cs1", "kubelet")
    );
    assert!(!args("rack1-cs1", "kubelet").contains("--feature-gates"));
    assert!(!args("rack0-cs1", "kube-proxy").contains("feature"), "{}", args("rack0-cs1", "kube-proxy"));
    assert!(args("rack0-m1", "kube-apiserver").ends_with(" --runtime-config=autoscaling/v2=true"));
    assert!(!args("rack0-m1", "kube-scheduler").contains("feature"));
    assert!(args("rack0-m1", "kube-controller-manager").ends_with(" --feature-gates=VolumeAttributesClass=true"));
    assert_eq!(plan["findings"].as_array().unwrap().iter().filter(|f| f["severity"] == "error").count(), 0);
}
