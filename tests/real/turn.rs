//! A run that has to wait for its turn: it is shown, it can be given up, and what was given up never begins by itself.

use crate::cluster_lease;
use crate::common::Lab;
use crate::common::process::{lives, signal, until};
use rustix::process::Signal;
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

/// Starts to carry the plan out, and does not wait for what comes of it.
fn applying(lab: &Lab) -> Child {
    let mut apply = lab.command("state", &["apply", "plan.json", "--yes", "--detach"]);
    apply.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What it said, and that it failed.
fn failed(apply: Child) -> String {
    let output = apply.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The one run's folder, once it is there.
fn folder(lab: &Lab) -> PathBuf {
    let runs = || std::fs::read_dir(lab.path("state/runs")).into_iter().flatten().flatten().map(|e| e.path());
    until("a run's folder", Duration::from_secs(30), || runs().any(|run| run.join("run.json").exists()));
    runs().next().unwrap()
}

/// The engine of a run, as the kernel lists it.
fn engine_of(run: &std::path::Path) -> Option<u32> {
    let name = run.file_name()?.to_str()?.to_owned();
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let line = String::from_utf8_lossy(&std::fs::read(entry.path().join("cmdline")).ok()?).replace('\0', " ");
        (line.contains(" engine ") && line.contains(&name)).then_some(pid)
    })
}

fn runs(lab: &Lab) -> Vec<Value> {
    let output = lab.sonoba(&["runs", "--json"]);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn until_it_waits(lab: &Lab) -> String {
    until("a run that waits", Duration::from_secs(30), || runs(lab).iter().any(|r| r["outcome"] == "waiting"));
    let shown = lab.done(&["runs"]);
    assert!(shown.contains("waiting") && shown.contains("run lock"), "{shown}");
    runs(lab)[0]["run"].as_str().unwrap().to_owned()
}

/// It did not begin, and nothing is left that could still begin it.
fn never_began(lab: &Lab, run: &std::path::Path) {
    until("its engine is gone", Duration::from_secs(30), || engine_of(run).is_none());
    assert!(!run.join("journal.jsonl").metadata().is_ok_and(|m| m.len() > 0), "it began after all");
    let (listed, id) = (runs(lab), run.file_name().unwrap().to_str().unwrap());
    let of_run: Vec<&Value> = listed.iter().filter(|line| line["run"] == id).collect();
    assert!(matches!(of_run[..], [one] if one["outcome"] == "given up"), "{listed:?}");
    let again = lab.fails(1, &["resume", run.to_str().unwrap()]);
    assert!(again.contains("given up") && again.contains("begins no more"), "{again}");
}

fn lab() -> Lab {
    let lab = Lab::start(&["--nodes", "4", "--racks", "2", "--speed", "20"]);
    lab.done(&["plan", "--release", "1.36.2", "-o", "plan.json"]);
    lab
}

#[test]
fn a_run_that_waits_is_shown_and_can_be_aborted() {
    let lab = lab();
    cluster_lease::put_dead(&lab, 15);
    let apply = applying(&lab);
    let run = until_it_waits(&lab);
    let other = lab.fails(1, &["pause", &run]);
    assert!(other.contains("waits for the run lock"), "{other}");
    // Without a name it is the one that is meant.
    let told = lab.done(&["abort"]);
    assert!(told.contains("given up before it began"), "{told}");
    assert!(failed(apply).contains("gave it up"));
    never_began(&lab, &folder(&lab));
    // The lock was not kept: the next one begins, once the dead one's time is over.
    let told = lab.done(&["apply", "plan.json", "--yes", "--detach"]);
    assert!(told.contains("has begun"), "{told}");
}

#[test]
fn a_run_whose_starter_is_gone_never_begins() {
    let lab = lab();
    cluster_lease::put_dead(&lab, 10);
    let mut apply = applying(&lab);
    until_it_waits(&lab);
    let run = folder(&lab);
    let engine = engine_of(&run).expect("an engine");
    apply.kill().unwrap();
    apply.wait().unwrap();
    until("the engine ends too", Duration::from_secs(20), || !lives(engine));
    never_began(&lab, &run);
}

#[test]
fn a_run_that_had_to_wait_is_refused_when_the_cluster_has_moved_on() {
    let lab = Lab::of_scenario(
        "nodes = 4\nracks = 2\nspeed = 1\n[[fault]]\nnode = \"worker:50%\"\nkind = \"not-ready\"\nfrom_s = 25\n",
    );
    lab.done(&["plan", "--release", "1.36.2", "-o", "plan.json"]);
    cluster_lease::put_dead(&lab, 40);
    let refusal = failed(applying(&lab));
    assert!(refusal.contains("no longer as its plan has it") && refusal.contains("given up"), "{refusal}");
    never_began(&lab, &folder(&lab));
}

#[test]
fn an_engine_that_does_not_answer_is_ended_for_certain() {
    let lab = lab();
    cluster_lease::put_dead(&lab, 60);
    let apply = applying(&lab);
    until_it_waits(&lab);
    let run = folder(&lab);
    let engine = engine_of(&run).expect("an engine");
    // As on a disk that does not answer.
    signal(engine, Signal::STOP);
    let told = failed(apply);
    assert!(told.contains("it was ended") && told.contains("given up"), "{told}");
    assert!(!lives(engine));
    signal(engine, Signal::CONT);
    never_began(&lab, &run);
}
