//! The cockpit from outside: the real binary in a terminal, against its own simulated cluster.

mod common;

use common::Lab;
use common::terminal::Terminal;
use std::path::Path;

const SIM: [&str; 6] = ["--nodes", "6", "--racks", "2", "--speed", "20"];

fn open(lab: &Lab, size: (u16, u16), args: &[&str]) -> Terminal {
    let args = [&["--profile", "profile.toml", "--state-dir", "state"], args].concat();
    Terminal::open(&lab.path("."), size, &args)
}

#[test]
fn from_the_map_to_the_way_back_by_keys() {
    let lab = Lab::start(&SIM);
    let mut screen = open(&lab, (120, 36), &[]);
    screen.until("9/9 Ready");
    screen.press("s");
    screen.until("1.36.2");
    screen.press("\r");
    screen.until("7. workers");
    screen.press("a");
    screen.until("Type the cluster's name");
    screen.press("demo\r");
    screen.until("RUNNING");
    screen.press("p");
    screen.until("PAUSED");
    // A small terminal, a tiny one, and back: the run goes on, and so does the screen.
    screen.resize((80, 24));
    screen.until("PAUSED");
    screen.resize((40, 10));
    screen.until("80 columns");
    screen.resize((200, 60));
    screen.until("PAUSED");
    // The palette knows what the keys know.
    screen.press(":resum\r");
    screen.until("RUNNING");
    screen.until("committed");
    screen.press("A");
    screen.until("Abort the run?");
    screen.press("y");
    screen.until("ABORTED");
    screen.press("\r");
    screen.until("DOWNTIME");
    screen.press("U");
    screen.until("rollback of");
    screen.press("a");
    screen.until("Type the cluster's name");
    screen.press("demo\r");
    screen.until("ROLLED BACK");
    screen.press("q");
    assert_eq!(screen.ended(), 0);
    assert_eq!(lab.report()["outcome"], "rolled-back");
}

#[test]
fn a_watcher_is_there_before_the_run_and_after_it_and_can_command_nothing() {
    let lab = Lab::start(&SIM);
    let mut screen = open(&lab, (120, 36), &["watch"]);
    screen.until("9/9 Ready");
    screen.until("READ-ONLY");
    screen.until("no run");
    lab.begin();
    screen.until("RUNNING");
    screen.press("pAR:pause\r\x1b");
    screen.until("COMPLETED");
    // Escape has left the run's screen for the map.
    screen.press("\t\r");
    screen.until("DOWNTIME");
    let report = lab.wait("ended", |r| r["outcome"] == "completed");
    assert_eq!(report["pauses"].as_array().unwrap().len(), 0, "{report:#}");
    // The next run is shown as well.
    lab.done(&["plan", "--bump", "kube-proxy=1.36.3.1", "--nodes", "rack0-cs1", "-o", "next.json"]);
    lab.done(&["apply", "next.json", "--yes", "--detach"]);
    screen.until_it("the next run", |text| text.contains("of 1") || text.contains("/1 "));
    screen.until("COMPLETED");
    screen.press("q");
    assert_eq!(screen.ended(), 0);
}

#[test]
fn a_recording_is_played_and_sought() {
    let folder = tempfile::tempdir().unwrap();
    let tape = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/canary-fails.sonoba");
    let mut screen = Terminal::open(folder.path(), (120, 36), &["replay", tape.to_str().unwrap(), "--speed", "50"]);
    screen.until("REPLAY");
    screen.until("playing ×50");
    screen.until("PAUSED");
    screen.until("stopped");
    screen.press("0");
    screen.until_it("the beginning", |text| text.contains("0 ms of"));
    screen.press("x");
    screen.until("3 disturbed");
    screen.press("<<");
    screen.until("×10");
    screen.press("\t");
    screen.until("WORKERS");
    screen.press("$");
    screen.until("PAUSED");
    screen.press("q");
    assert_eq!(screen.ended(), 0);
}
