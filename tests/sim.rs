//! The whole of sonoba from outside, without a screen: the real binary against its own simulated cluster, over real SSH,
//! the Docker Engine API and the Kubernetes API on loopback.

mod common;

use common::Lab;
use serde_json::Value;
use std::process::Command;
use std::time::{Duration, Instant};

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
