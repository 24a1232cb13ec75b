//! The command line from outside: exit codes and messages, with the real binary.

use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

/// A home of its own: no test sees the configuration or the runs of who runs it.
struct Home(TempDir);

impl Home {
    fn new() -> Home {
        Home(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn sonoba(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_sonoba"))
            .args(args)
            .env_clear()
            .env("HOME", self.path())
            .env("USER", "tester")
            .current_dir(self.path())
            .output()
            .unwrap()
    }

    /// Runs it and expects this exit code; returns standard error.
    fn fails(&self, code: i32, args: &[&str]) -> String {
        let output = self.sonoba(args);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "sonoba {args:?}: {error}");
        assert!(!error.is_empty(), "sonoba {args:?} says why");
        error
    }
}

const PROFILE: &str = r#"name = "tokyo0"
kubeconfig = "kubeconfig"
[[inventory.node]]
name = "m1"
address = "127.0.0.1"
rack = "rack0"
master = true
"#;

#[test]
fn wrong_usage_is_exit_2() {
    let home = Home::new();
    home.fails(2, &["frobnicate"]);
    home.fails(2, &["plan"]);
    home.fails(2, &["apply"]);
    home.fails(2, &["report", "--format", "xml"]);
    home.fails(2, &["plan", "--release", "1.36.2", "--profile", "a", "--cluster", "b"]);
    home.fails(2, &["sim", "--profile-out", "p.toml", "--scenario", "none-of-that-name"]);
    home.fails(2, &["--cluster", "../etc/passwd", "runs"]);
}

#[test]
fn help_and_version_are_exit_0() {
    let home = Home::new();
    for args in [&["--help"][..], &["--version"], &["plan", "--help"], &["completions", "bash"]] {
        let output = home.sonoba(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(!output.stdout.is_empty(), "{args:?}");
    }
    let help = String::from_utf8(home.sonoba(&["--help"]).stdout).unwrap();
    assert!(help.contains("Exit codes: 0 done"), "{help}");
    assert!(!help.contains("  engine"), "the engine is started by sonoba itself: {help}");
}

#[test]
fn without_a_terminal_the_cockpit_says_what_to_use() {
    let home = Home::new();
    let profile = home.write("p.toml", PROFILE);
    let error = home.fails(2, &["--profile", &profile]);
    assert!(error.contains("sonoba plan"), "{error}");
}

#[test]
fn a_cluster_is_found_by_its_name_or_as_the_only_one() {
    let home = Home::new();
    let error = home.fails(2, &["plan", "--release", "1.36.2"]);
    assert!(error.contains("sonoba demo"), "{error}");
    home.write(".config/sonoba/clusters/tokyo0.toml", "name = 7\n");
    assert!(home.fails(1, &["plan", "--release", "1.36.2"]).contains("tokyo0.toml"));
    home.write(".config/sonoba/clusters/osaka1.toml", "");
    assert!(home.fails(2, &["plan", "--release", "1.36.2"]).contains("osaka1, tokyo0"));
    assert!(home.fails(2, &["--cluster", "nara2", "plan", "--release", "1.36.2"]).contains("known: osaka1, tokyo0"));
}

#[test]
fn a_bad_profile_is_named_with_field_and_line() {
    let home = Home::new();
    let missing = home.fails(1, &["--profile", "none.toml", "plan", "--release", "1"]);
    assert!(missing.contains("none.toml"), "{missing}");
    let profile = home.write("p.toml", &PROFILE.replace("[[inv", "colour = \"red\"\n[[inv"));
    let error = home.fails(1, &["--profile", &profile, "plan", "--release", "1"]);
    assert!(error.contains("colour") && error.contains('3'), "field and line: {error}");
}

#[test]
fn a_missing_or_foreign_plan_is_refused_before_anything_is_asked() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    let profile = home.write("p.toml", PROFILE);
    let missing = home.fails(1, &["--profile", &profile, "apply", "none.json", "--yes"]);
    assert!(missing.contains("none.json") && missing.contains("sonoba plan"), "{missing}");
    let plan = home.write("plan.json", "{\"format\": 4000000000}");
    assert!(home.fails(1, &["--profile", &profile, "apply", &plan, "--yes"]).contains("format 4000000000"));
    std::fs::set_permissions(&plan, std::fs::Permissions::from_mode(0o666)).unwrap();
    assert!(home.fails(1, &["--profile", &profile, "apply", &plan, "--yes"]).contains("chmod go-w"));
}

#[test]
fn an_unknown_run_is_named() {
    let home = Home::new();
    for verb in ["pause", "resume", "abort", "rollback", "report", "watch"] {
        let error = home.fails(1, &[verb, "no-such-run"]);
        assert!(error.contains("no-such-run"), "{verb}: {error}");
        home.fails(1, &[verb]);
    }
    let output = home.sonoba(&["runs", "--json"]);
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "[]");
}

#[test]
fn the_state_folder_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    let state = home.path().join("state");
    assert!(home.sonoba(&["--state-dir", "state", "runs"]).status.success());
    assert_eq!(std::fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn the_doctor_names_every_trouble_and_fails() {
    let home = Home::new();
    let profile = home.write("p.toml", PROFILE);
    let output = home.sonoba(&["--profile", &profile, "doctor"]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.lines().any(|l| l.starts_with("ok    profile:")), "{told}");
    assert!(told.lines().any(|l| l.starts_with("BAD   known hosts:")), "{told}");
    assert!(told.lines().any(|l| l.starts_with("BAD   ") && l.contains("kubeconfig")), "{told}");
}

#[test]
fn a_reader_that_leaves_is_no_panic() {
    use std::process::Stdio;
    let home = Home::new();
    let mut child = Command::new(env!("CARGO_BIN_EXE_sonoba"))
        .args(["completions", "zsh"])
        .env("HOME", home.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!error.contains("panicked"), "{error}");
}

/// A run's folder without a journal.
fn run_folder(home: &Home, id: &str) -> std::path::PathBuf {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    let dir = home.path().join("state/runs").join(id);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).unwrap();
    let state = home.path().join("state");
    for (name, text) in [
        ("plan.json", include_str!("../src/fuzzing/plan.json").to_owned()),
        ("profile.toml", PROFILE.to_owned()),
        ("journal.begun", String::new()),
        (
            "run.json",
            format!(
                "{{\"id\":\"{id}\",\"cluster\":\"tokyo0\",\"operator\":\"t\",\"host\":\"h\",\"created\":\"2026-11-30T00:00:00Z\",\
                 \"state_dir\":\"{}\"}}",
                state.display()
            ),
        ),
    ] {
        std::fs::write(dir.join(name), text).unwrap();
        std::fs::set_permissions(dir.join(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    dir
}

/// Runs it for 20 s at most: what it says on both outputs, and its exit code.
fn within_20_s(home: &Home, args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new("timeout")
        .args(["20", env!("CARGO_BIN_EXE_sonoba"), "--state-dir", "state"])
        .args(args)
        .env("HOME", home.path())
        .env("USER", "tester")
        .current_dir(home.path())
        .output()
        .unwrap();
    let said = [&output.stdout[..], &output.stderr[..]].map(|text| String::from_utf8_lossy(text).into_owned());
    (output.status.code(), said.concat())
}

#[test]
fn what_stands_in_a_journals_place_holds_nobody_up() {
    let home = Home::new();
    let id = "20261130-000000-0001";
    let dir = run_folder(&home, id);
    let journal = dir.join("journal.jsonl");
    let make = |what: &str| -> Option<std::os::unix::net::UnixListener> {
        match what {
            "a FIFO" => assert!(Command::new("mkfifo").arg(&journal).status().unwrap().success()),
            "a folder" => std::fs::create_dir(&journal).unwrap(),
            "a symbolic link" => std::os::unix::fs::symlink("/dev/zero", &journal).unwrap(),
            _ => return Some(std::os::unix::net::UnixListener::bind(&journal).unwrap()),
        }
        None
    };
    for what in ["a FIFO", "a folder", "a symbolic link", "a socket"] {
        let _held = make(what);
        let profile = dir.join("profile.toml");
        for verb in ["report", "resume", "watch", "replay", "abort"] {
            for run in [id, "latest"] {
                let (code, said) = within_20_s(&home, &["--profile", profile.to_str().unwrap(), verb, run]);
                assert_eq!(code, Some(1), "{verb} {run} with {what}: {said}");
                assert!(said.contains("journal.jsonl") && said.contains(what), "{verb} {run}: {said}");
            }
        }
        let (code, said) = within_20_s(&home, &["export", id, "--recording", "x.sonoba"]);
        assert!(code == Some(1) && said.contains(what), "{said}");
        let (code, said) = within_20_s(&home, &["runs"]);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(id) && said.contains("unreadable") && said.contains(what), "{said}");
        if what == "a folder" {
            std::fs::remove_dir(&journal).unwrap()
        } else {
            std::fs::remove_file(&journal).unwrap()
        }
    }
}

#[test]
fn runs_hides_nothing() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    let names = ["20261130-000000-0001", "20261130-000000-0002", "20261130-000000-0003", "20261130-000000-0004"];
    let [open, empty, gone, never] = names.map(|id| run_folder(&home, id));
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::write(empty.join("journal.jsonl"), "").unwrap();
    std::fs::remove_file(never.join("journal.begun")).unwrap();
    let _ = gone;
    let (code, said) = within_20_s(&home, &["runs"]);
    assert_eq!(code, Some(0), "{said}");
    for (id, why) in names.iter().zip(["chmod go-w", "is empty", "is gone", "nothing was touched"]) {
        assert!(said.lines().any(|line| line.starts_with(id) && line.contains(why)), "{id}: {why}: {said}");
    }
    let (_, said) = within_20_s(&home, &["runs", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&said).unwrap();
    let outcome = |id: &str| listed.as_array().unwrap().iter().find(|r| r["run"] == id).unwrap()["outcome"].clone();
    assert_eq!(names.map(outcome), ["refused", "unreadable", "unreadable", "not begun"]);
}
