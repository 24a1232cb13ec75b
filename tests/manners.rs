//! Runs over kubelets and pods with real ones' manners: kubelets that restart containers only after their grace period, and pods
//! that come and go by themselves. From outside, with the real binary.

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
fn a_kubelet_that_restarts_every_container_is_noticed_at_the_canary_and_nothing_more_is_touched() {
    // They wait more than they compute.
    std::thread::scope(|scope| {
        for grace_s in [0, 30, 300] {
            scope.spawn(move || noticed_at_the_canary(grace_s));
        }
    });
}

fn noticed_at_the_canary(grace_s: u32) {
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
    println!("grace {grace_s} s: {disturbed} disturbed, {} nodes touched; {said}", touched(&lab));
}

/// Waves of many nodes soak for 10 s by a clock of twice the speed: what is looked for takes the proof of pods, not the soak.
const QUICK: &str = "[rollout]\nsoak_s = 20.0\n";

/// A cluster on which something happens to 2 % of the pods a minute, by the clock of those who watch.
fn churning(nodes: usize, racks: usize, speed: u32, more: &str) -> String {
    let percent = 2.0 / f64::from(speed);
    // Of the pods that nobody touches, a few are in a crash loop. Without any, a container that exits by itself right after a swap
    // has no like: its cause is unknown, and the run rightly pauses.
    let loops = if nodes < 100 { 1.0 } else { 0.2 };
    format!(
        "nodes = {nodes}\nracks = {racks}\nspeed = {speed}\n\
         [churn]\npercent_per_minute = {percent}\ncrash_loops_percent = {loops}\n{more}"
    )
}

#[test]
#[ignore = "takes half an hour"]
fn five_hundred_nodes_whose_pods_come_and_go_are_upgraded_without_a_false_alarm() {
    let lab = Lab::of_scenario(&churning(500, 20, 2, QUICK));
    lab.done(&["plan", "--release", "1.36.2", "-o", "plan.json"]);
    lab.done(&["apply", "plan.json", "--yes"]);
    let report = lab.report();
    assert_eq!((&report["outcome"], &report["nodes"]["new"]), (&"completed".into(), &503.into()), "{report:#}");
    assert_eq!((&report["pods"]["disturbed"], &report["pods"]["unknown"]), (&0.into(), &0.into()), "{report:#}");
    assert!(report["pods"]["changed_by_others"].as_u64() > Some(20), "there was churn: {report:#}");
}

#[test]
#[ignore = "takes half an hour"]
fn three_true_disturbances_among_the_pods_of_five_hundred_nodes_are_all_found() {
    all_are_found((500, 20, 2), QUICK, ["rack1-cs3", "rack7-cs5", "rack15-ss2"]);
}

#[test]
fn three_true_disturbances_among_pods_that_come_and_go_are_all_found() {
    all_are_found((24, 4, 8), "", ["rack1-cs2", "rack2-cs3", "rack3-cs2"]);
}

/// What was seeded is found, each time by a pause, and nothing else is called disturbed.
fn all_are_found((nodes, racks, speed): (usize, usize, u32), rollout: &str, seeded: [&str; 3]) {
    let faults = seeded.map(|node| {
        format!(
            "[[fault]]\nnode = \"{node}\"\ncomponent = \"kubelet\"\nkind = \"disturbs-pods\"\ntimes = 1\npods = 2\n"
        )
    });
    let lab = Lab::of_scenario(&churning(nodes, racks, speed, &format!("{rollout}{}", faults.concat())));
    lab.done(&["plan", "--release", "1.36.2", "-o", "plan.json"]);
    lab.sonoba(&["apply", "plan.json", "--yes"]);
    // Each of them pauses the run.
    let until = Instant::now() + Duration::from_secs(5_400);
    let pauses = |report: &Value| report["pauses"].as_array().unwrap().len();
    let mut report = lab.report();
    while report["outcome"] != "completed" {
        assert_eq!(report["outcome"], "paused", "{report:#}");
        let before = pauses(&report);
        lab.done(&["resume"]);
        while !["completed", "failed", "aborted"].contains(&report["outcome"].as_str().unwrap())
            && pauses(&report) == before
        {
            assert!(Instant::now() < until, "it never ends: {report:#}");
            let asked = Instant::now();
            report = lab.report();
            common::process::rest(asked, Duration::from_millis(500));
        }
    }
    let mut found: Vec<&str> =
        report["pods"]["list"].as_array().unwrap().iter().map(|entry| entry[0].as_str().unwrap()).collect();
    found.sort_unstable();
    found.dedup();
    let mut all = seeded;
    all.sort_unstable();
    assert_eq!(found, all, "{report:#}");
    println!("{}: found, and {} changed by others", all.join(", "), report["pods"]["changed_by_others"]);
}

#[test]
fn the_scenarios_with_manners_start_and_have_their_pods() {
    for scenario in ["churn", "restarting-kubelet"] {
        let lab = Lab::start(&["--scenario", scenario, "--nodes", "6", "--racks", "2", "--speed", "20"]);
        let told = lab.done(&["doctor"]);
        assert!(told.contains("nodes over SSH: 9 of 9 answer"), "{told}");
    }
}
