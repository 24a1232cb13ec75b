//! Runs over kubelets and pods with real ones' manners: kubelets that restart containers only after their grace period, and pods
//! that come and go by themselves. From outside, with the real binary.
//!
//! They need what looks for the late truth about pods, and for who changed them. Run them with `--ignored`.

mod common;

use common::Lab;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Workers whose kubelet is the new one.
fn touched(lab: &Lab) -> usize {
    let plan: Value = serde_json::from_str(&lab.done(&["plan", "--release", "1.36.2", "--json"])).unwrap();
    let nodes = plan["cluster"]["nodes"].as_object().unwrap();
    let new = |node: &Value| node["components"]["kubelet"]["image"].as_str().unwrap().ends_with("1.36.2.1");
    nodes.iter().filter(|(name, node)| !name.contains("-m") && new(node)).count()
}

#[test]
#[ignore = "needs the late proof of pods"]
fn a_kubelet_that_restarts_every_container_is_noticed_at_the_canary_and_nothing_more_is_touched() {
    for grace_s in [0, 30, 300] {
        let scenario = format!(
            "nodes = 12\nracks = 4\npods_per_node = 8\nspeed = 20\n\
             [pods]\ngrace_s = {grace_s}\nvariety = false\nreadiness = false\n\
             [rollout]\ncanary = 2\nsoak_s = 20.0\n\
             [[fault]]\nnode = \"workers\"\ncomponent = \"kubelet\"\nkind = \"redefines-containers\"\n"
        );
        let lab = Lab::of_scenario(&scenario);
        lab.done(&["plan", "--release", "1.36.2", "-o", "plan.json"]);
        let said = lab.fails(4, &["apply", "plan.json", "--yes"]);
        assert!(said.contains("paused"), "grace {grace_s}: {said}");
        let report = lab.report();
        assert_eq!(report["outcome"], "paused", "grace {grace_s}: {report:#}");
        let disturbed = report["pods"]["disturbed"].as_u64().unwrap();
        assert!((1..=2 * 8).contains(&disturbed), "grace {grace_s}: {report:#}");
        assert!((1..=2).contains(&touched(&lab)), "grace {grace_s}: only the canary, and it is kept: {report:#}");
        assert_eq!(report["swaps"]["rolled_back"], 0, "a rollback would restart them all again: {report:#}");
    }
}

#[test]
#[ignore = "needs the attribution of changed pods; takes minutes"]
fn five_hundred_nodes_whose_pods_come_and_go_are_upgraded_without_a_false_alarm() {
    let lab = Lab::start(&["--scenario", "churn", "--nodes", "500", "--racks", "20", "--speed", "10"]);
    lab.done(&["plan", "--release", "1.36.2", "-o", "plan.json"]);
    lab.done(&["apply", "plan.json", "--yes"]);
    let report = lab.report();
    assert_eq!((&report["outcome"], &report["nodes"]["new"]), (&"completed".into(), &503.into()), "{report:#}");
    assert_eq!((&report["pods"]["disturbed"], &report["pods"]["unknown"]), (&0.into(), &0.into()), "{report:#}");
    assert!(report["pods"]["changed_by_others"].as_u64() > Some(20), "there was churn: {report:#}");
}

#[test]
#[ignore = "needs the attribution of changed pods; takes minutes"]
fn three_true_disturbances_among_pods_that_come_and_go_are_all_found() {
    let seeded = ["rack1-cs3", "rack7-cs5", "rack15-ss2"];
    let mut scenario =
        "nodes = 500\nracks = 20\nspeed = 10\n[churn]\npercent_per_minute = 2.0\ncrash_loops_percent = 0.2\n\
                        [rollout]\ndisturbed_pods = 1000\n"
            .to_owned();
    for node in seeded {
        scenario += &format!(
            "[[fault]]\nnode = \"{node}\"\ncomponent = \"kubelet\"\nkind = \"disturbs-pods\"\ntimes = 1\npods = 2\n"
        );
    }
    let lab = Lab::of_scenario(&scenario);
    lab.done(&["plan", "--release", "1.36.2", "-o", "plan.json"]);
    lab.sonoba(&["apply", "plan.json", "--yes"]);
    // Each of them pauses the run.
    let until = Instant::now() + Duration::from_secs(1_800);
    let pauses = |report: &Value| report["pauses"].as_array().unwrap().len();
    let mut report = lab.report();
    while report["outcome"] != "completed" {
        assert_eq!(report["outcome"], "paused", "{report:#}");
        let before = pauses(&report);
        lab.done(&["resume"]);
        while report["outcome"] != "completed" && pauses(&report) == before {
            assert!(Instant::now() < until, "it never ends: {report:#}");
            std::thread::sleep(Duration::from_millis(200));
            report = lab.report();
        }
    }
    let mut found: Vec<&str> =
        report["pods"]["list"].as_array().unwrap().iter().map(|entry| entry[0].as_str().unwrap()).collect();
    found.sort_unstable();
    found.dedup();
    let mut all = seeded;
    all.sort_unstable();
    assert_eq!(found, all, "{report:#}");
}

#[test]
fn the_scenarios_with_manners_start_and_have_their_pods() {
    for scenario in ["churn", "restarting-kubelet"] {
        let lab = Lab::start(&["--scenario", scenario, "--nodes", "6", "--racks", "2", "--speed", "20"]);
        let told = lab.done(&["doctor"]);
        assert!(told.contains("nodes over SSH: 9 of 9 answer"), "{told}");
    }
}
