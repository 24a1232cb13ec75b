//! Two engines at once: the second is refused, and told who has the cluster, since when, and how to watch.

use crate::cluster_lease;
use crate::common::Lab;
use crate::common::process::{kill, until};
use std::process::{Command, Output};
use std::time::Duration;

/// What a refusal must say, for a run that `tester` began here.
fn tells_who_has_it(refusal: &str, run: &str) {
    for word in [run, "tester", " since 20", &format!("`sonoba watch {run}`")] {
        assert!(refusal.contains(word), "{word:?} is missing: {refusal}");
    }
}

fn error(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_second_engine_is_refused_here_and_elsewhere_until_the_first_ones_lease_has_run_out() {
    let lab = Lab::start(&["--nodes", "8", "--racks", "2", "--speed", "20"]);
    let (run_dir, engine) = lab.begin();
    let run = run_dir.file_name().unwrap().to_str().unwrap();
    lab.done(&["pause"]);
    lab.wait("paused", |r| r["outcome"] == "paused");
    // What is left to do, for others to begin.
    lab.done(&["plan", "--release", "1.36.2", "-o", "rest.json"]);

    // Here: by the lock files.
    tells_who_has_it(&lab.fails(1, &["apply", "rest.json", "--yes"]), run);
    let same = lab.command("state", &["engine", run_dir.to_str().unwrap()]).output().unwrap();
    tells_who_has_it(&error(&same), run);
    assert_eq!(lab.report()["run"], run, "a run that was refused is not the latest");

    // On another bastion: by the Lease.
    let elsewhere = |args: &[&str]| lab.sonoba_in("elsewhere", args);
    let refusal = error(&elsewhere(&["apply", "rest.json", "--yes"]));
    assert!(refusal.contains("Lease kube-system/sonoba"), "{refusal}");
    tells_who_has_it(&refusal, run);
    let none = error(&elsewhere(&["report"]));
    assert!(none.contains("no run"), "a run that was refused has not begun: {none}");

    // A holder that died has it until its time is over.
    kill(engine);
    tells_who_has_it(&error(&elsewhere(&["apply", "rest.json", "--yes"])), run);
    cluster_lease::shorten(&lab, 4);
    let mut tries = 0;
    until("the dead engine's lock is free", Duration::from_secs(60), || {
        tries += 1;
        elsewhere(&["apply", "rest.json", "--yes", "--detach"]).status.success()
    });

    // Now it is the other way round.
    let host = Command::new("uname").arg("-n").output().unwrap();
    let host = String::from_utf8(host.stdout).unwrap();
    let late = lab.fails(1, &["resume"]);
    assert!(late.contains("Lease kube-system/sonoba") && late.contains(&format!("on {}", host.trim())), "{late}");
    until("the other run ends", Duration::from_secs(600), || {
        String::from_utf8_lossy(&elsewhere(&["report"]).stdout).contains("completed")
    });
    // It gave the lock back; the first run finds everything done.
    lab.done(&["resume"]);
    let report = lab.wait("completed", |r| r["outcome"] == "completed");
    assert_eq!((&report["run"], &report["nodes"]["new"]), (&run.into(), &11.into()), "{report:#}");
}
