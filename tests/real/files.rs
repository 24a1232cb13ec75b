//! What may happen to a run's files: a torn line, a changed byte, a journal that is taken away, a disk that is full or can only
//! be read.

use crate::cluster_lease;
use crate::common::Lab;
use crate::common::process::{kill, lives, until};
use serde_json::Value;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A small cluster whose nodes help themselves after 6 s, and whose run is not stopped by a few that did.
const SMALL: &str = "nodes = 12\nracks = 3\nspeed = 20\n[timings]\npatience_s = 6\n[rollout]\nfailed_swaps = 90\n";

/// Begins a run, and returns once nodes are being swapped: the run's folder and its engine.
fn midway(lab: &Lab) -> (PathBuf, u32) {
    let (run_dir, engine) = lab.begin();
    let in_flight =
        |r: &Value| r["swaps"]["committed"].as_u64() > Some(4) && r["swaps"]["in_flight"].as_u64() > Some(0);
    lab.wait("midway", in_flight);
    (run_dir, engine)
}

fn ends(engine: u32) {
    until("the engine ends by itself", Duration::from_secs(600), || !lives(engine));
}

/// Old containers that stand aside. New ones that are only prepared do no harm: the next swap clears them away.
fn set_aside(node: &Value) -> Vec<&Value> {
    let all = node["leftovers"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().filter(|left| !left.as_str().unwrap().ends_with(".sonoba-next")).collect()
}

/// Waits until every node is all old or all new, as the nodes themselves say.
fn all_are_whole(lab: &Lab) {
    until("every node is old or new", Duration::from_secs(60), || {
        let seen = lab.sonoba_in("elsewhere", &["plan", "--release", "1.36.2", "--json"]);
        let seen: Value = serde_json::from_slice(&seen.stdout).unwrap();
        seen["cluster"]["nodes"].as_object().unwrap().values().all(|node| {
            let components = node["components"].as_object().unwrap();
            let one_visit: Vec<bool> = ["rivers", "kubelet", "kube-proxy"]
                .iter()
                .map(|c| components[*c]["image"].as_str().unwrap())
                .map(|image| image.ends_with(":1.36.0") || image.ends_with(":1.36.2.1"))
                .collect();
            // On a master these three are not one swap.
            let whole = node["master"] == true || one_visit.iter().all(|new| *new == one_visit[0]);
            whole && components.values().all(|c| c["running"] == true) && set_aside(node).is_empty()
        })
    });
}

/// What is left is done by a new plan, and then all is new.
fn a_new_plan_finishes(lab: &Lab) {
    lab.done(&["plan", "--release", "1.36.2", "-o", "again.json"]);
    lab.done(&["apply", "again.json", "--yes"]);
    let rest: Value = serde_json::from_str(&lab.done(&["plan", "--release", "1.36.2", "--json"])).unwrap();
    assert!(rest["phases"].as_array().unwrap().iter().all(|p| p["waves"].as_array().is_none_or(Vec::is_empty)));
}

#[test]
fn a_torn_last_line_is_cut_off_and_noted_and_a_changed_byte_is_refused_with_its_line() {
    let lab = Lab::of_scenario(SMALL);
    let (run_dir, engine) = midway(&lab);
    kill(engine);
    let journal = run_dir.join("journal.jsonl");
    OpenOptions::new().append(true).open(&journal).unwrap().write_all(b"{\"seq\":77,\"at\":\"20").unwrap();

    // Another second in a line's time: that does not show in the line itself but in the next, which names its hash.
    let whole = std::fs::read(&journal).unwrap();
    let mut changed = whole.clone();
    let line = 5;
    let begin = whole.iter().enumerate().filter(|(_, b)| **b == b'\n').nth(line - 2).unwrap().0 + 1;
    let at = begin + whole[begin..].windows(5).position(|w| w == b"\"at\":").unwrap() + 24;
    changed[at] ^= 1;
    std::fs::write(&journal, &changed).unwrap();
    let refusal = lab.fails(1, &["resume"]);
    assert!(refusal.contains(&format!("line {}", line + 1)), "{refusal}");
    assert!(refusal.contains("changed after it was written"), "{refusal}");
    assert_eq!(lab.report()["journal"]["chain"], "broken");
    assert_eq!(std::fs::read(&journal).unwrap(), changed, "a journal that is refused is left as it is");

    std::fs::write(&journal, &whole).unwrap();
    lab.done(&["resume"]);
    let report = lab.wait("an end", |r| r["outcome"] == "completed");
    assert_eq!(report["journal"]["chain"], "ok", "{report:#}");
    assert!(std::fs::read_to_string(&journal).unwrap().contains("torn last line was cut off"));
}

#[test]
fn a_journal_that_is_deleted_under_the_engine_stops_the_run_which_is_never_begun_anew() {
    let lab = Lab::of_scenario(SMALL);
    let (run_dir, engine) = midway(&lab);
    std::fs::remove_file(run_dir.join("journal.jsonl")).unwrap();
    ends(engine);
    let log = std::fs::read_to_string(run_dir.join("engine.log")).unwrap();
    assert!(log.contains("deleted") && log.contains("nothing new starts"), "{log}");
    all_are_whole(&lab);
    for verb in ["resume", "report"] {
        let refusal = lab.fails(1, &[verb]);
        assert!(refusal.contains("journal is gone") && refusal.contains("new plan"), "{verb}: {refusal}");
    }
    assert!(!run_dir.join("journal.jsonl").exists(), "no second journal in the place of the first");
    // The engine could not end its run in order: others wait until its lock has run out.
    let runs_out = cluster_lease::shorten(&lab, 2);
    until("its lock has run out", Duration::from_secs(60), || jiff::Timestamp::now() > runs_out);
    a_new_plan_finishes(&lab);
}

#[test]
fn a_journal_that_is_replaced_under_the_engine_stops_the_run_and_whoever_follows_is_told() {
    let lab = Lab::of_scenario(SMALL);
    lab.done(&["plan", "--release", "1.36.2", "-o", "plan.json"]);
    let mut follower = lab.command("state", &["apply", "plan.json", "--yes"]);
    let follower = follower.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = || std::fs::read_dir(lab.path("state/runs")).into_iter().flatten().flatten().next();
    until("a run begins", Duration::from_secs(60), || {
        begun().is_some_and(|run| run.path().join("journal.jsonl").metadata().is_ok_and(|journal| journal.len() > 0))
    });
    let run_dir = begun().unwrap().path();
    let committed = |n| move |r: &Value| r["swaps"]["committed"].as_u64() > Some(n);
    lab.wait("some swaps", committed(2));
    let (journal, copy, kept) = (run_dir.join("journal.jsonl"), run_dir.join("copy"), run_dir.join("kept"));
    std::fs::copy(&journal, &copy).unwrap();
    lab.wait("midway", committed(4));
    std::fs::hard_link(&journal, &kept).unwrap();
    std::fs::rename(&copy, &journal).unwrap();
    let output = follower.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("deleted, replaced or cut") && told.contains("engine.log"), "{told}");
    let log = || std::fs::read_to_string(run_dir.join("engine.log")).unwrap();
    until("the engine says so", Duration::from_secs(60), || log().contains("another file was put in its place"));
    all_are_whole(&lab);
    // The copy is a journal too, but a shorter one: what it lacks may be what the nodes are in the middle of.
    let refusal = lab.fails(1, &["resume"]);
    assert!(refusal.contains("its last lines are gone") && refusal.contains("put the whole journal back"), "{refusal}");
    std::fs::rename(&kept, &journal).unwrap();
    until("the run is taken up", Duration::from_secs(60), || lab.sonoba(&["resume"]).status.success());
    let report = lab.wait("an end", |r| ["completed", "failed"].contains(&r["outcome"].as_str().unwrap()));
    assert_eq!(report["journal"]["chain"], "ok", "{report:#}");
    a_new_plan_finishes(&lab);
}

/// A small file system of its own for the state folder.
struct Mount(PathBuf);

impl Mount {
    /// `None` where this machine does not let us; said aloud.
    fn on(path: &Path) -> Option<Mount> {
        std::fs::create_dir(path).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=6m,mode=700", "tmpfs"]).arg(path).output();
        let why = match mount {
            Ok(done) if done.status.success() => return Some(Mount(path.to_owned())),
            Ok(done) => String::from_utf8_lossy(&done.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        assert!(std::env::var_os("SONOBA_LAB").is_none_or(|v| v != "require"), "no file system can be mounted: {why}");
        // Not `eprintln!`: a passing test's output is captured, and a skip must be seen.
        let _ = writeln!(std::io::stderr(), "\nSKIPPED: no file system can be mounted here: {why}");
        None
    }

    fn again(&self, options: &str) {
        // The files of a killed engine are closed a moment after it has gone; the mount is busy until then.
        until(options, Duration::from_secs(60), || {
            Command::new("mount").args(["-o", options]).arg(&self.0).output().unwrap().status.success()
        });
    }

    /// Takes up all that is free; the file that does.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("ballast");
        let mut file = std::fs::File::create(&path).unwrap();
        // In pieces of a page, so that none is left.
        let full = loop {
            if let Err(error) = file.write_all(&[0; 4096]) {
                break error;
            }
        };
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull, "{full}");
        path
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
fn a_disk_that_is_full_or_can_only_be_read_stops_the_run_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = Mount::on(&dir.path().join("disk")) else { return };
    let state = disk.0.to_str().unwrap().to_owned();
    let lab = Lab::of_scenario(SMALL).with_state(&state);
    let (run_dir, engine) = midway(&lab);

    // Only to be read: what is there can be looked at, and no engine starts.
    kill(engine);
    disk.again("remount,ro");
    let refusal = lab.fails(1, &["resume"]);
    assert!(refusal.contains("Read-only file system"), "{refusal}");
    let report = lab.sonoba(&["report"]);
    let note = String::from_utf8_lossy(&report.stderr).into_owned();
    assert!(report.status.success() && note.contains("no engine is at work") && note.contains("Read-only"), "{note}");
    disk.again("remount,rw");

    // Full, under an engine at work.
    let before = lab.report()["swaps"]["committed"].as_u64();
    lab.done(&["resume"]);
    lab.wait("going on", |r| r["swaps"]["committed"].as_u64() > before);
    let engine: u32 = {
        let journal = std::fs::read_to_string(run_dir.join("journal.jsonl")).unwrap();
        let started = journal.lines().rev().find(|line| line.contains("\"engine-started\"")).unwrap();
        let started: Value = serde_json::from_str(started).unwrap();
        started["pid"].as_u64().unwrap().try_into().unwrap()
    };
    let ballast = disk.fill();
    ends(engine);
    all_are_whole(&lab);
    let refusal = lab.fails(1, &["resume"]);
    assert!(refusal.contains("No space left on device"), "{refusal}");
    let report = lab.sonoba(&["report"]);
    let note = String::from_utf8_lossy(&report.stderr).into_owned();
    assert!(report.status.success() && note.contains("No space left on device"), "{note}");

    std::fs::remove_file(ballast).unwrap();
    lab.done(&["resume"]);
    let report = lab.wait("an end", |r| ["completed", "failed"].contains(&r["outcome"].as_str().unwrap()));
    assert_eq!((&report["journal"]["chain"], &report["pods"]["disturbed"]), (&"ok".into(), &0.into()), "{report:#}");
    a_new_plan_finishes(&lab);
}
