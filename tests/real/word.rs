//! What commands say of runs is so: whose engine is gone, which run is meant, and which API server is missing.

use crate::common::Lab;
use crate::common::process::kill;
use serde_json::Value;
use sonoba::inventory::Profile;
use sonoba::k8s::{ClusterPort, KubeCluster};
use std::process::Output;

const SIZE: [&str; 6] = ["--nodes", "6", "--racks", "2", "--speed", "20"];

/// Another name for a simulated cluster, so that two of them can be worked on from one state folder.
fn rename(lab: &Lab, name: &str) {
    let path = lab.path("profile.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let named = |line: &str| if line.starts_with("name = ") { format!("name = {name:?}") } else { line.to_owned() };
    // The first such line is the cluster's; tables come later.
    let (head, rest) = text.split_once('[').unwrap();
    let head: Vec<String> = head.lines().map(named).collect();
    std::fs::write(&path, format!("{}\n[{rest}", head.join("\n"))).unwrap();
}

/// Begins a run that stands paused; its id and its engine.
fn paused(lab: &Lab) -> (String, u32) {
    let (dir, engine) = lab.begin();
    lab.done(&["pause"]);
    lab.wait("paused", |r| r["outcome"] == "paused");
    (dir.file_name().unwrap().to_str().unwrap().to_owned(), engine)
}

fn told(output: &Output, code: i32) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

fn runs(lab: &Lab, args: &[&str]) -> Vec<Value> {
    let output = lab.without_profile(&[&["runs", "--json"][..], args].concat());
    serde_json::from_str(&String::from_utf8_lossy(&output.stdout)).unwrap()
}

#[test]
fn a_command_without_a_run_takes_none_where_several_could_be_meant() {
    let tokyo = Lab::start(&SIZE);
    rename(&tokyo, "tokyo0");
    let osaka = Lab::start(&SIZE).with_state(tokyo.path("state").to_str().unwrap());
    rename(&osaka, "osaka1");
    let (first, _) = paused(&tokyo);
    let (second, engine) = paused(&osaka);

    let acting: [&[&str]; 8] = [
        &["pause"],
        &["resume"],
        &["abort"],
        &["abort", "latest"],
        &["retry"],
        &["skip", "--nodes", "rack0-cs1", "--reason", "x"],
        &["override", "--gate", "soak", "--reason", "x"],
        &["rollback", "--nodes", "rack0-cs1"],
    ];
    for args in acting {
        let refusal = told(&tokyo.without_profile(args), 2);
        for word in [first.as_str(), &second, "tokyo0", "osaka1", "paused"] {
            assert!(refusal.contains(word), "{args:?}: {word} is missing: {refusal}");
        }
    }
    // One that reads takes the latest; one that names a run or a cluster is clear.
    assert!(told(&tokyo.without_profile(&["report"]), 0).contains(&second));
    assert!(told(&tokyo.without_profile(&["pause", &first]), 0).contains("paused already"));
    assert!(tokyo.done(&["pause"]).contains(&first), "--profile says which cluster");

    // Only the cluster's runs.
    let ids = |args: &[&str]| runs(&tokyo, args).iter().map(|r| r["run"].to_string()).collect::<Vec<_>>();
    assert_eq!(ids(&[]), [format!("{second:?}"), format!("{first:?}")]);
    assert_eq!(ids(&["--cluster", "tokyo0"]), [format!("{first:?}")]);
    assert_eq!(ids(&["--cluster", "nara2"]), [""; 0]);
    assert!(!tokyo.done(&["runs"]).contains(&second), "--profile filters too");

    // A run whose engine is gone is said to be so, and takes no command but a resume.
    kill(engine);
    let engines: Vec<Value> = runs(&tokyo, &[]).iter().map(|r| r["engine"].clone()).collect();
    assert_eq!(engines, ["gone", "alive"]);
    let list = told(&tokyo.without_profile(&["runs"]), 0);
    let row = list.lines().find(|line| line.starts_with(&second)).unwrap();
    assert!(row.contains("no engine") && row.contains(&format!("sonoba resume {second}")), "{list}");
    let report = told(&tokyo.without_profile(&["report"]), 0);
    assert!(report.contains("paused, but no engine is at work on it"), "{report}");
    assert!(told(&tokyo.without_profile(&["pause"]), 0).contains(&first));
    assert!(told(&tokyo.without_profile(&["resume"]), 2).contains("no engine"));
    // It goes on; then neither is left to be meant.
    osaka.done(&["resume", &second]);
    told(&tokyo.without_profile(&["abort", &first]), 0);
    tokyo.wait("an end", |r| r["outcome"] == "aborted");
    osaka.done(&["abort"]);
    osaka.wait("an end", |r| r["outcome"] != "paused" && r["outcome"] != "running");
    assert!(told(&tokyo.without_profile(&["pause"]), 1).contains("has ended"));
}

#[test]
fn the_doctor_finds_an_api_server_that_answers_and_is_out_of_the_endpoints() {
    let lab = Lab::start(&SIZE);
    assert!(!told(&lab.sonoba(&["doctor"]), 0).contains("BAD"));
    let profile = Profile::load(&lab.path("profile.toml")).unwrap();
    let master = profile.entries().unwrap().into_iter().find(|entry| entry.master).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let serve = |serve| {
        runtime.block_on(async {
            let cluster = KubeCluster::connect(&profile.kubeconfig, profile.context.as_deref()).await.unwrap();
            assert_eq!(cluster.endpoint(&master.address, serve).await, Ok(true));
            assert_eq!(cluster.endpoints().await.unwrap().serves(&master.address), serve);
        });
    };
    serve(false);
    let found = told(&lab.sonoba(&["doctor"]), 1);
    let bad: Vec<&str> = found.lines().filter(|line| line.starts_with("BAD")).collect();
    let [line] = bad.as_slice() else { panic!("{found}") };
    assert!(line.contains(master.name.as_str()) && line.contains(&master.address), "{found}");
    assert!(line.contains("sonoba resume"), "{found}");
    serve(true);
    assert!(told(&lab.sonoba(&["doctor"]), 0).contains("API servers that sonoba has to keep there are there"));
}
