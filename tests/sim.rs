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

/// What every node of the cluster runs, as `NODE/COMPONENT` to image.
fn images(lab: &Lab) -> std::collections::BTreeMap<String, String> {
    let plan: Value = serde_json::from_str(&lab.done(&["plan", "--release", "1.36.2", "--json"])).unwrap();
    let nodes = plan["cluster"]["nodes"].as_object().unwrap();
    let running = |(node, seen): (&String, &Value)| {
        let components = seen["components"].as_object().unwrap().clone();
        components.into_iter().map(|(c, r)| (format!("{node}/{c}"), r["image"].as_str().unwrap().to_owned())).collect()
    };
    nodes.iter().flat_map(|node| -> Vec<(String, String)> { running(node) }).collect()
}

#[test]
fn what_an_aborted_run_did_is_taken_back_and_no_pod_notices() {
    let lab = Lab::start(&SMALL);
    let before = images(&lab);
    lab.done(&["plan", "--release", "1.36.2", "-o", "plan.json"]);
    let told: Value = serde_json::from_str(&lab.done(&["apply", "plan.json", "--yes", "--detach", "--json"])).unwrap();
    let run = told["run"].as_str().unwrap();
    // In the middle of the workers: all masters are new.
    lab.wait("in the middle", |r| r["nodes"]["new"].as_u64() > Some(6));
    let live = lab.sonoba(&["rollback", run, "--yes"]);
    assert_eq!(live.status.code(), Some(1));
    let said = String::from_utf8_lossy(&live.stderr).into_owned();
    assert!(said.contains("has not ended: abort it first (sonoba abort"), "{said}");
    assert!(lab.done(&["abort", run]).contains(&format!("sonoba rollback {run}")));
    let report = lab.wait("aborted", |r| r["outcome"] == "aborted");
    let of = |list: &str| report["which"][list].as_array().unwrap().len();
    assert_eq!(of("new") + of("partly") + of("old") + of("failed"), 23, "{report:#}");
    assert!(of("new") > 6 && of("old") > 0, "{report:#}");
    let mixed = images(&lab);
    assert_ne!(mixed, before);
    for node in report["which"]["old"].as_array().unwrap() {
        let of_node = |(place, image): (&String, &String)| {
            !place.starts_with(&format!("{}/", node.as_str().unwrap())) || before[place] == *image
        };
        assert!(mixed.iter().all(of_node), "{node} is old: {mixed:#?}");
    }

    let taken = lab.sonoba(&["rollback", run, "--yes"]);
    let said = String::from_utf8_lossy(&taken.stderr).into_owned();
    assert_eq!(taken.status.code(), Some(0), "{said}{}", lab.engine_log());
    assert!(said.contains(&format!("rollback of run {run}")), "the preview: {said}");
    let report = lab.report();
    assert_eq!((&report["outcome"], &report["rollback_of"]), (&"rolled-back".into(), &run.into()), "{report:#}");
    assert_eq!(report["pods"]["disturbed"], 0, "{report:#}");
    assert_eq!(report["journal"]["chain"], "ok");
    assert_eq!(images(&lab), before);
    assert!(lab.done(&["runs"]).contains(&format!("rollback of {run}")));

    // Said once more by habit, it would go up again.
    let again = lab.sonoba(&["rollback", "--yes"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(lab.done(&["rollback", run, "--yes"]).contains("nothing to do"));
}

#[test]
fn an_etcd_minor_that_all_members_have_taken_has_no_way_back() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = dir.path().join("etcd.toml");
    let release = |name: &str, kubernetes: &str, etcd: &str, rivers: &str| {
        format!(
            "[[release]]\nname = \"{name}\"\nkubernetes = \"ghcr.io/cybozu/kubernetes:{kubernetes}\"\n\
             etcd = \"ghcr.io/cybozu/etcd:{etcd}\"\nrivers = \"ghcr.io/cybozu-go/cke-tools:{rivers}\"\n"
        )
    };
    let text =
        release("1.35.6", "1.35.6.1", "3.5.33.1", "1.35.0") + &release("1.36.2", "1.36.2.1", "3.6.11.1", "1.36.0");
    std::fs::write(&scenario, text).unwrap();
    let size = ["--nodes", "4", "--racks", "2", "--speed", "20", "--scenario", scenario.to_str().unwrap()];
    let lab = Lab::start(&size);
    let before = images(&lab);
    let preview = lab.done(&["plan", "--release", "1.36.2", "-o", "plan.json"]);
    assert!(preview.contains("! point of no return after") && preview.contains("1 point of no return"), "{preview}");
    lab.done(&["apply", "plan.json", "--yes"]);

    let one = lab.done(&["rollback", "--nodes", "rack0-cs1", "-o", "one.json"]);
    assert!(one.contains("Plan: 1 node, 1 swap"), "{one}");
    let preview = lab.done(&["rollback", "-o", "back.json"]);
    assert!(preview.contains("no-return: etcd stays on 3.6.11.1"), "{preview}");
    assert!(preview.contains("apiserver-back"), "{preview}");
    assert!(!preview.contains("~ etcd "), "{preview}");
    lab.done(&["apply", "back.json", "--yes"]);
    let report = lab.report();
    assert_eq!(report["outcome"], "rolled-back", "{report:#}");
    assert_eq!(report["pods"]["disturbed"], 0, "{report:#}");
    for (place, image) in images(&lab) {
        let stays = place.ends_with("/etcd");
        let was = if stays { "ghcr.io/cybozu/etcd:3.6.11.1" } else { before[&place].as_str() };
        assert_eq!(image, was, "{place}");
    }
}

#[test]
fn a_node_that_is_down_is_left_out_by_decision_only() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = dir.path().join("down.toml");
    std::fs::write(&scenario, "[[fault]]\nnode = \"rack1-cs1\"\nkind = \"not-ready\"\n").unwrap();
    let lab = Lab::start(&["--nodes", "4", "--racks", "2", "--scenario", scenario.to_str().unwrap()]);
    let until = Instant::now() + Duration::from_secs(60);
    let refused = loop {
        let plan = lab.sonoba(&["plan", "--release", "1.36.2"]);
        if plan.status.code() == Some(3) {
            break String::from_utf8_lossy(&plan.stdout).into_owned();
        }
        assert!(Instant::now() < until, "the node never becomes NotReady");
    };
    assert!(refused.contains("node-not-ready") && refused.contains("--exclude rack1-cs1"), "{refused}");
    let plan: Value =
        serde_json::from_str(&lab.done(&["plan", "--release", "1.36.2", "--exclude", "rack1-cs1", "--json"])).unwrap();
    assert_eq!(plan["excluded"], serde_json::json!(["rack1-cs1"]));
    let text = lab.done(&["plan", "--release", "1.36.2", "--exclude-unreachable"]);
    assert!(text.contains("excluded: left out by decision") && text.contains("1 node: rack1-cs1"), "{text}");
    assert_eq!(lab.sonoba(&["plan", "--release", "1.36.2", "--exclude", "rack9-cs1"]).status.code(), Some(2));
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

/// What only the nodes, the API and the registry can tell, seeded.
const STANDS_IN_THE_WAY: &str = r#"
deprecated_apis = ["flowcontrol.apiserver.k8s.io/v1beta3/flowschemas@1.36", "policy/v1beta1/poddisruptionbudgets@1.40"]
[[fault]]
kind = "clock-off"
node = "rack1-cs1"
[[fault]]
kind = "low-disk"
node = "rack0-cs1"
[[fault]]
kind = "no-space"
node = "rack0-m1"
[[fault]]
kind = "no-image"
[[fault]]
kind = "certificate-expires"
node = "rack1-m1"
[[container]]
component = "kubelet"
node = "rack0-cs2"
args = ["--max-pods=99"]
restart = "always"
"#;

#[test]
fn what_the_nodes_and_the_api_tell_is_found_and_a_calm_cluster_has_nothing_to_tell() {
    let told = |lab: &Lab| -> (Option<i32>, Vec<String>) {
        let output = lab.sonoba(&["plan", "--release", "1.36.2", "--json"]);
        let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
        let all = plan["findings"].as_array().unwrap().iter();
        let nodes = |f: &Value| {
            let nodes = f["nodes"].as_array().into_iter().flatten().filter_map(Value::as_str);
            sonoba::fleet::fold_names(nodes)
        };
        let codes = all.map(|f| format!("{} {} {}", f["severity"], f["code"], nodes(f)).replace('"', ""));
        let mut codes: Vec<String> = codes.collect();
        codes.dedup();
        (output.status.code(), codes)
    };
    let lab = Lab::start(&SMALL);
    assert_eq!(told(&lab), (Some(0), Vec::new()));
    let dir = tempfile::tempdir().unwrap();
    let scenario = dir.path().join("stands.toml");
    std::fs::write(&scenario, STANDS_IN_THE_WAY).unwrap();
    let lab = Lab::start(&[&SMALL[..], &["--scenario", scenario.to_str().unwrap()]].concat());
    let (code, found) = told(&lab);
    assert_eq!(code, Some(3));
    let images = found.iter().filter(|f| f.starts_with("error image-missing")).count();
    assert_eq!(images, 3, "rivers, etcd and Kubernetes: {found:#?}");
    let found: Vec<&str> = found.iter().map(String::as_str).filter(|f| !f.contains("image-missing")).collect();
    assert_eq!(
        found,
        [
            "error deprecated-api ",
            "error disk-space rack0-cs1",
            "error etcd-alarm rack0-m1 rack1-m1 rack2-m1",
            "warning argument-drift rack0-cs2",
            "warning certificate-expires rack1-m1",
            "warning clock-skew rack1-cs1",
            "warning restart-policy rack0-cs2",
        ]
    );
}

#[test]
fn three_minors_go_one_by_one_and_each_kubelet_restarts_once() {
    let lab = Lab::start(&["--scenario", "three-minors", "--nodes", "6", "--racks", "2", "--speed", "40"]);
    let preview = lab.done(&["plan", "--release", "1.36.2", "--waves", "1,100%", "-o", "plan.json"]);
    let preview = preview.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(preview.contains("9 kubelets restart 9 times in all, not 27"), "{preview}");
    assert!(preview.contains("from defaults"), "{preview}");

    // Whoever changes the plan's picture of the cluster has not seen what the planner would have said of it.
    let plan = std::fs::read_to_string(lab.path("plan.json")).unwrap();
    let edited = plan.replacen("\"rack\": \"rack1\"", "\"rack\": \"rack0\"", 1);
    assert_ne!(plan, edited);
    std::fs::write(lab.path("edited.json"), edited).unwrap();
    assert!(lab.fails(3, &["apply", "edited.json", "--yes"]).contains("was changed after it was made"));

    lab.done(&["apply", "plan.json", "--yes"]);
    let report = lab.report();
    assert_eq!((&report["outcome"], &report["nodes"]["new"]), (&"completed".into(), &9.into()), "{report:#}");
    assert_eq!(report["pods"]["disturbed"], 0);
    let run = std::fs::read_dir(lab.path("state/runs")).unwrap().next().unwrap().unwrap().path().join("journal.jsonl");
    let journal = std::fs::read_to_string(run).unwrap();
    let healthy = |component: &str| {
        let event: Vec<Value> = journal.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        event.iter().filter(|e| e["event"] == "swap-healthy" && e["component"] == component).count()
    };
    let restarts = ["kubelet", "kube-proxy", "kube-apiserver", "kube-scheduler", "etcd"].map(healthy);
    assert_eq!(restarts, [9, 9, 9, 9, 3], "workers and masters once, the control plane at every minor, etcd once");

    // The next plan knows how long things take here.
    let next: Value = serde_json::from_str(&lab.done(&["plan", "--bump", "kubelet=1.36.3.1", "--json"])).unwrap();
    assert_eq!(next["estimate"]["runs"], 1, "{}", next["estimate"]);

    // The run as one file, which needs neither the state folder nor the cluster.
    lab.done(&["export", "--recording", "run.sonoba"]);
    let recording = sonoba::journal::read_recording(&lab.path("run.sonoba")).unwrap();
    assert_eq!(recording.records.len(), journal.lines().count());
    assert_eq!(recording.chain, sonoba::journal::Chain::Ok);
    let film = lab.sonoba_in("empty", &["export", "run.sonoba", "--cast", "run.cast", "--speed", "50"]);
    assert!(film.status.success(), "{}", String::from_utf8_lossy(&film.stderr));
    let film = std::fs::read_to_string(lab.path("run.cast")).unwrap();
    assert!(film.starts_with("{\"") && film.lines().count() > 5, "{film:.200}");
    let blind = lab.fails(1, &["replay", "run.sonoba"]);
    assert!(blind.contains("needs a terminal"), "{blind}");
    std::fs::write(lab.path("none.sonoba"), "hello").unwrap();
    assert!(lab.fails(1, &["replay", "none.sonoba"]).contains("is no recording"));
}
