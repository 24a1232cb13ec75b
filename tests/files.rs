//! Files that sonoba writes and reads, with the real binary on a simulated cluster: devices stay devices, a journal that lost its last
//! lines is no shorter one, and who comes second leaves nothing behind.

mod common;

use common::Lab;
use common::process::{kill, until};
use serde_json::Value;
use std::os::unix::fs::FileTypeExt;
use std::process::Stdio;
use std::time::Duration;

#[test]
fn outputs_go_where_they_lead_and_devices_stay_devices() {
    let lab = Lab::start(&["--nodes", "8", "--racks", "2", "--speed", "50"]);
    let plan = ["plan", "--release", "1.36.2", "-o"];
    let with = |to: &str| lab.sonoba(&[&plan[..], &[to]].concat());

    assert!(with("/dev/null").status.success());
    assert!(std::fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    for printed in ["-", "/dev/stdout", "/dev/fd/1"] {
        let output = with(printed);
        assert!(output.status.success(), "{output:?}");
        let read: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{printed}: {e}: {output:?}"));
        assert_eq!(read["release"], "1.36.2");
        let preview = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(preview.contains("workers"), "the preview is for who looks: {preview}");
    }
    // Standard output that is a file goes on where it stands.
    let file = std::fs::File::create(lab.path("out.json")).unwrap();
    let mut child = lab.command("state", &[&plan[..], &["/dev/stdout"]].concat());
    assert!(child.stdout(file).stderr(Stdio::null()).status().unwrap().success());
    serde_json::from_slice::<Value>(&std::fs::read(lab.path("out.json")).unwrap()).unwrap();
    // A link stays one.
    std::os::unix::fs::symlink("real.json", lab.path("link.json")).unwrap();
    assert!(with("link.json").status.success());
    assert!(std::fs::symlink_metadata(lab.path("link.json")).unwrap().is_symlink());
    assert!(lab.fails(1, &[&plan[..], &["."]].concat()).contains("is a folder"));
    // No plan without a canary.
    assert!(lab.fails(2, &["plan", "--release", "1.36.2", "--canary", "0"]).contains("--canary must be at least 1"));

    lab.done(&["apply", "real.json", "--yes"]);
    for (flag, begin) in [("--recording", &[0x1f, 0x8b][..]), ("--cast", b"{")] {
        for to in ["-", "/dev/stdout"] {
            let output = lab.sonoba(&["export", "latest", flag, to]);
            assert!(output.status.success() && output.stdout.starts_with(begin), "{flag} {to}: {:?}", output.stderr);
        }
        assert!(lab.sonoba(&["export", "latest", flag, "/dev/null"]).status.success());
    }
    assert!(std::fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    // What was printed plays.
    let printed = lab.sonoba(&["export", "latest", "--recording", "-"]).stdout;
    std::fs::write(lab.path("printed.sonoba"), printed).unwrap();
    lab.done(&["export", "printed.sonoba", "--cast", "printed.cast"]);
}

#[test]
fn who_comes_second_leaves_no_folder() {
    let lab = Lab::start(&["--nodes", "12", "--racks", "3", "--speed", "10"]);
    lab.done(&["plan", "--release", "1.36.2", "-o", "plan.json"]);
    let start = || {
        let mut command = lab.command("state", &["apply", "plan.json", "--yes", "--detach", "--json"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let outputs: Vec<_> =
        (0..4).map(|_| start()).collect::<Vec<_>>().into_iter().map(|c| c.wait_with_output().unwrap()).collect();
    let won: Vec<_> = outputs.iter().filter(|o| o.status.success()).collect();
    assert_eq!(won.len(), 1, "{outputs:?}");
    for lost in outputs.iter().filter(|o| !o.status.success()) {
        let said = String::from_utf8_lossy(&lost.stderr).into_owned();
        // Late ones may find that the cluster has moved on already.
        let told = ["being worked on", "works on the cluster", "no longer as plan"];
        assert!(told.iter().any(|words| said.contains(words)), "{said}");
    }
    assert_eq!(std::fs::read_dir(lab.path("state/runs")).unwrap().count(), 1);
    let listed: Value = serde_json::from_str(&lab.done(&["runs", "--json"])).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed:#}");
    lab.done(&["abort"]);
    lab.wait("an end", |r| r["outcome"] == "aborted");
}

#[test]
fn a_journal_that_lost_its_last_lines_is_refused_by_every_command() {
    let lab = Lab::start(&["--nodes", "12", "--racks", "3", "--speed", "20"]);
    let (run_dir, engine) = lab.begin();
    lab.wait("midway", |r| r["swaps"]["committed"].as_u64() > Some(3));
    kill(engine);
    let journal = run_dir.join("journal.jsonl");
    let whole = std::fs::read_to_string(&journal).unwrap();
    // The engine's last words need not be sealed; those that it acted on are.
    let binding = whole.lines().enumerate().filter(|(_, l)| l.contains("\"swap-committed\"")).last().unwrap().0;
    let id = run_dir.file_name().unwrap().to_str().unwrap().to_owned();
    for kept in [0, 1, binding - 1] {
        let cut: String = whole.split_inclusive('\n').take(kept).collect();
        std::fs::write(&journal, &cut).unwrap();
        for command in
            [&["resume"][..], &["report"], &["watch"], &["rollback"], &["export", &id, "--recording", "x.sonoba"]]
        {
            let refusal = lab.fails(1, command);
            assert!(refusal.contains(&format!("it ends with record {kept}")), "{command:?}: {refusal}");
            assert!(refusal.contains("journal.jsonl") && refusal.contains("make a new plan"), "{refusal}");
        }
        let told = lab.sonoba(&["watch"]);
        assert!(!String::from_utf8_lossy(&told.stdout).contains("chain ok"), "{told:?}");
        assert!(!String::from_utf8_lossy(&told.stderr).contains("WARN"), "{told:?}");
        // Nobody reads what it logs and says: it fails all the same, and does not break down.
        let mut unread = lab.command("state", &["watch"]);
        let piped = unread.env("SONOBA_LOG", "sonoba=trace").stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        assert_eq!(child.wait().unwrap().code(), Some(1));
        assert!(lab.done(&["runs"]).contains("its last lines are gone"));
        assert_eq!(std::fs::read_to_string(&journal).unwrap(), cut, "what is refused is left as it is");
    }
    assert!(!lab.path("x.sonoba").exists());
    std::fs::write(&journal, &whole).unwrap();
    lab.done(&["resume"]);
    let report = lab.wait("an end", |r| r["outcome"] == "completed");
    assert_eq!(report["journal"]["chain"], "ok");
    until("its head is sealed", Duration::from_secs(10), || run_dir.join("journal.head").exists());
    let cut = whole.len();
    let ended = std::fs::read(&journal).unwrap();
    std::fs::write(&journal, &ended[..cut]).unwrap();
    assert!(lab.fails(1, &["report"]).contains("its last lines are gone"), "an ended run that was cut has not ended");
}
