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
    screen.until("8. workers");
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

/// Where a text stands on the screen: column and row, from 1.
fn find(screen: &Terminal, text: &str) -> (u16, u16) {
    let shown = screen.text();
    let (row, line) = shown.lines().enumerate().find(|(_, line)| line.contains(text)).expect(text);
    let column = line.find(text).map_or(0, |at| line[..at].chars().count());
    (u16::try_from(column + 1).unwrap(), u16::try_from(row + 1).unwrap())
}

#[test]
fn the_shell_gets_the_terminal_at_ctrl_z_and_the_cockpit_at_fg() {
    let folder = tempfile::tempdir().unwrap();
    let tape = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/canary-fails.sonoba");
    let mut screen = Terminal::open_in_a_shell(folder.path(), (100, 30), &["replay", tape.to_str().unwrap()]);
    screen.until("REPLAY");
    screen.press(" ");
    screen.until("stopped");
    screen.press("\x1a");
    screen.until("the shell is back");
    assert!(screen.is_the_shells());
    screen.press("\r");
    screen.until("REPLAY");
    // It goes on where it was, and takes keys and clicks again.
    screen.until("stopped");
    screen.press("0");
    screen.until(" 0 ms of");
    // The tape begins at its head, which stands at the beginning now.
    let head = find(&screen, "●");
    screen.click((head.0 + 20, head.1));
    screen.until_it("another place", |text| text.contains("stopped") && !text.contains(" 0 ms of"));
    screen.press("q");
    screen.ended();
}

#[test]
fn the_mouse_the_clipboard_the_theme_and_the_story_of_a_run() {
    let lab = Lab::start(&SIM);
    let mut screen = open(&lab, (120, 36), &["--theme", "dark"]);
    screen.until("9/9 Ready");
    screen.click(find(&screen, "rack1-cs2"));
    screen.until("rack1-cs2 worker in rack1");
    screen.press("y");
    screen.until("copied: rack1-cs2");
    // "rack1-cs2" on the clipboard, by OSC 52.
    screen.until_sent(b"\x1b]52;c;cmFjazEtY3My\x07");
    // Only this node is staged. Its kubelet would be newer than the API servers, which the planner says at once; rivers may.
    screen.press(" s");
    screen.until("1 node marked");
    screen.until("would be newer");
    screen.press("xje1.36.0\r");
    screen.until("1 swap, 1 restart");
    screen.press("\r");
    screen.until("No problem found");
    screen.press("ademo\r");
    screen.until("RUNNING");
    screen.press("p");
    screen.until("PAUSED");
    // Whoever looks elsewhere is called: OSC 9.
    screen.until_sent(b"\x1b]9;sonoba: run ");
    screen.press("c");
    screen.until("COMPLETED");
    screen.press("e/rack1-cs2\r\r");
    screen.until("IN THIS RUN");
    screen.until("CONDITIONS none is bad");
    screen.until("PODS");
    screen.press("\x1b");
    screen.until("EVENTS");
    // The filter goes first, then the screen. Two escapes at once would be one key to a terminal.
    screen.until("/rack1-cs2");
    screen.press("\x1b");
    screen.until("words that a line must have");
    screen.press("\x1b");
    screen.until("LOG");
    screen.press("H");
    screen.until("PAST RUNS");
    screen.press("\r");
    screen.until("Downtime of components");
    screen.press("T");
    screen.until("Themes");
    screen.press("j\r");
    screen.press("q");
    assert_eq!(screen.ended(), 0);
    let kept = std::fs::read_to_string(lab.path(".config/sonoba/config.toml")).unwrap();
    assert_eq!(kept, "theme = \"light\"\n");
}
