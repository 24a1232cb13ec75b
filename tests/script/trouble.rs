//! What befalls a node: disks fill up, folders go, daemons hang, and not everybody on it means well.

use super::node::{FAR, NAMES, Node, begin, error, ok};
use super::{steps, waits};
use sonoba::journal::Verdict;
use sonoba::remote::TxEnd;
use sonoba::remote::script::Request;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A tiny disk; unmounted when it is dropped.
struct Disk(PathBuf);

impl Disk {
    /// `None`, said aloud, where we may not mount.
    fn mount(at: &Path) -> Option<Disk> {
        fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        let out = mount.args(["-t", "tmpfs", "-o", "size=64k,mode=0700", "sonoba-test"]).arg(at).output();
        match out {
            Ok(out) if out.status.success() => Some(Disk(at.to_owned())),
            out => {
                eprintln!("SKIPPED: a small disk cannot be mounted here: {out:?}");
                None
            }
        }
    }

    fn fill(&self) {
        let full = fs::write(self.0.join("filler"), vec![0; 1 << 20]).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    }

    fn free(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn on_a_small_disk(shell: &str) -> Option<(Disk, Node)> {
    let node = Node::new(shell)?;
    Some((Disk::mount(&node.path("home/.sonoba/tx"))?, node))
}

pub fn a_full_disk_begins_nothing(shell: &str) {
    let Some((disk, node)) = on_a_small_disk(shell) else { return };
    disk.fill();
    let before = node.containers();
    let out = node.begin(FAR);
    assert_eq!(out.status.code(), Some(1), "{}", error(&out));
    assert!(error(&out).contains("disk full"), "{}", error(&out));
    assert_eq!(node.containers(), before, "{}", node.story());
    assert!(!node.state().found);
    disk.free();
    ok(node.begin(FAR));
    node.until("waiting", waits);
    assert_eq!(node.verdict(Verdict::Commit), Some(Verdict::Commit));
    assert_eq!(node.end().end, Some(TxEnd::Committed));
    node.assert_all('n');
}

/// The disk fills up once everything runs: a verdict, and the deadline, are still carried out, and the end is written down
/// as soon as there is room for it.
pub fn a_disk_that_fills_up_keeps_nobody_from_the_end(shell: &str) {
    for verdict in [Some(Verdict::Commit), Some(Verdict::Rollback), None] {
        let Some((disk, node)) = on_a_small_disk(shell) else { return };
        ok(node.begin(if verdict.is_some() { FAR } else { 1_500 }));
        node.until("waiting", waits);
        disk.fill();
        if let Some(verdict) = verdict {
            assert_eq!(node.verdict(verdict), Some(verdict));
        }
        let (want, which) =
            if verdict == Some(Verdict::Commit) { (TxEnd::Committed, 'n') } else { (TxEnd::RolledBack, 'o') };
        node.until_containers(which);
        disk.free();
        assert_eq!(node.end().end, Some(want), "{verdict:?}");
        node.assert_all(which);
    }
}

/// The disk fills up before the first stop: then nothing is stopped.
pub fn a_disk_that_fills_up_early_stops_nothing(shell: &str) {
    let Some((disk, node)) = on_a_small_disk(shell) else { return };
    // The runner is held at its first question to docker.
    fs::write(node.path("fake/hold"), "").unwrap();
    let mut begun = node.shell(&begin("t1", FAR, &NAMES).command()).spawn().unwrap();
    node.until_file("fake/held");
    disk.fill();
    fs::remove_file(node.path("fake/hold")).unwrap();
    begun.wait().unwrap();
    node.until_containers('o');
    disk.free();
    let state = node.end();
    assert_eq!(state.end, Some(TxEnd::RolledBack), "{state:?}");
    assert!(!steps(&state).contains("stopping"), "{}", steps(&state));
    node.assert_all('o');
}

/// Somebody removes the folder under a runner: no verdict can come any more, so the node goes back at once and the runner ends.
pub fn a_folder_that_is_removed_ends_it(shell: &str) {
    for what in ["home/.sonoba/tx/t1", "home/.sonoba"] {
        let Some(node) = Node::new(shell) else { return };
        ok(node.begin(FAR));
        node.until("waiting", waits);
        let runner = node.runner();
        fs::remove_dir_all(node.path(what)).unwrap();
        node.until_containers('o');
        node.until_gone(runner);
        node.assert_all('o');
    }
}

/// The same while an old one is being stopped.
pub fn a_folder_that_is_removed_in_the_middle_goes_back(shell: &str) {
    let Some(node) = Node::new(shell) else { return };
    fs::write(node.path("fake/slow.stop"), "0.8").unwrap();
    ok(node.begin(FAR));
    node.until("a stop", |s| steps(s).contains("stopping"));
    let runner = node.runner();
    fs::remove_dir_all(node.path("home/.sonoba")).unwrap();
    node.until_gone(runner);
    node.assert_all('o');
}

pub fn a_daemon_that_is_away_is_waited_for(shell: &str) {
    for (verdict, which) in [(Verdict::Commit, 'n'), (Verdict::Rollback, 'o')] {
        let Some(node) = Node::new(shell) else { return };
        ok(node.begin(FAR));
        node.until("waiting", waits);
        fs::write(node.path("fake/down"), "").unwrap();
        assert_eq!(node.verdict(verdict), Some(verdict));
        let refused =
            || fs::read_to_string(node.tx("log")).unwrap_or_default().contains("trying again: Cannot connect");
        node.wait_for("a try that is refused", refused);
        assert!(node.state().alive && node.state().end.is_none());
        fs::remove_file(node.path("fake/down")).unwrap();
        node.end();
        node.assert_all(which);
    }
}

pub fn a_slow_daemon_is_only_slow(shell: &str) {
    let Some(node) = Node::new(shell) else { return };
    fs::write(node.path("fake/slow"), "0.15").unwrap();
    ok(node.begin(FAR));
    node.until("waiting", waits);
    assert_eq!(node.verdict(Verdict::Commit), Some(Verdict::Commit));
    assert_eq!(node.end().end, Some(TxEnd::Committed));
    node.assert_all('n');
}

/// The daemon takes a start and never answers: the deadline holds all the same.
pub fn a_daemon_that_hangs_does_not_hold_up_the_deadline(shell: &str) {
    let Some(node) = Node::new(shell) else { return };
    fs::write(node.path("fake/hang.start"), "nkubelet").unwrap();
    ok(node.begin(1_500));
    let state = node.end();
    assert_eq!(state.end, Some(TxEnd::RolledBack));
    node.assert_all('o');
    let first = state.steps.iter().find(|s| s.container == "rivers").unwrap().uptime_ms;
    let back = state.steps.last().unwrap().uptime_ms;
    assert!(back - first < 20_000, "it took {} ms", back - first);
}

/// Nothing asks what time it is: the wall clock may jump, the uptime does not.
pub fn the_wall_clock_is_never_asked(shell: &str) {
    let Some(node) = Node::new(shell) else { return };
    let date = node.path("bin/date");
    fs::write(&date, "#!/bin/sh\n: >\"$FAKE/asked\"\n").unwrap();
    fs::set_permissions(&date, fs::Permissions::from_mode(0o755)).unwrap();
    ok(node.begin(600));
    assert_eq!(node.end().end, Some(TxEnd::RolledBack));
    assert!(!node.path("fake/asked").exists());
    let script = sonoba::remote::script::SCRIPT;
    for clock in ["$(date", "`date", "EPOCH", "%(", "SECONDS", "-newer", "-mmin"] {
        assert!(!script.contains(clock), "{clock}");
    }
}

/// `/tmp` is full, in a mount namespace of its own: nothing of the script is put there.
pub fn a_full_tmp_is_none_of_its_business(shell: &str) {
    let Some(node) = Node::new_in(shell, Path::new(env!("CARGO_TARGET_TMPDIR"))) else { return };
    let inner = begin("t1", FAR, &NAMES).command();
    let script = "mount -t tmpfs -o size=4k sonoba-test /tmp && ! head -c 9000 /dev/zero >/tmp/filler 2>/dev/null && exec sh -c \"$1\"";
    let shell = node.shell(&inner);
    let mut apart = Command::new("unshare");
    apart.args(["-m", "--"]).arg(shell.get_program()).args(["-c", script, "sh", &inner]).env_clear();
    apart.envs(shell.get_envs().filter_map(|(k, v)| v.map(|v| (k, v))));
    let out = apart.output().unwrap();
    if !out.status.success() && (error(&out).contains("unshare") || error(&out).contains("mount")) {
        eprintln!("SKIPPED: no mount namespace can be had here: {}", error(&out));
        return;
    }
    ok(out);
    node.until("waiting", waits);
    assert_eq!(node.verdict(Verdict::Rollback), Some(Verdict::Rollback));
    assert_eq!(node.end().end, Some(TxEnd::RolledBack));
    node.assert_all('o');
}

/// Whoever made the folder could have put a script of his own where ours is asked for.
pub fn a_folder_of_somebody_elses_is_refused(shell: &str) {
    let home = |node: &Node| node.path("home");
    type Trick = fn(&Path);
    let tricks: [(&str, Trick); 5] = [
        ("made by another", |home| chown(home.join(".sonoba"), Some(12_345), Some(12_345)).unwrap()),
        ("a link to one's own", |home| {
            fs::rename(home.join(".sonoba"), home.join("elsewhere")).unwrap();
            symlink(home.join("elsewhere"), home.join(".sonoba")).unwrap();
        }),
        ("a link to nowhere", |home| {
            fs::remove_dir_all(home.join(".sonoba")).unwrap();
            symlink(home.join("nowhere"), home.join(".sonoba")).unwrap();
        }),
        ("for all to write to", |home| {
            fs::set_permissions(home.join(".sonoba"), PermissionsExt::from_mode(0o777)).unwrap()
        }),
        ("for a group to write to", |home| {
            fs::set_permissions(home.join(".sonoba"), PermissionsExt::from_mode(0o770)).unwrap();
        }),
    ];
    for (name, trick) in tricks {
        let Some(node) = Node::new(shell) else { return };
        let root = fs::metadata(node.path("home")).unwrap().uid() == 0;
        if name == "made by another" && !root {
            eprintln!("SKIPPED: only root can make a folder that is another's");
            continue;
        }
        trick(&home(&node));
        // A script that must never run.
        for entry in fs::read_dir(home(&node).join(".sonoba")).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|e| e == "sh") {
                fs::write(entry.path(), "echo owned >\"$FAKE/owned\"\n").unwrap();
            }
        }
        for request in [begin("t1", FAR, &NAMES), Request::State("t1".parse().unwrap()), Request::Install] {
            let out = node.ask(&request);
            assert_eq!(out.status.code(), Some(3), "{name}: {request:?}: {}", error(&out));
            assert!(
                error(&out).starts_with("sonoba swap: ") && error(&out).contains("this user alone"),
                "{}",
                error(&out)
            );
        }
        assert!(!node.path("fake/owned").exists(), "{name}: a script of somebody else's ran");
        assert!(!home(&node).join("nowhere").exists(), "{name}: something was made through the link");
        assert!(!node.path("fake/calls").exists(), "{name}: docker was asked");
    }
}

/// A script that comes cut off, as when the connection breaks, is never put in its place; one that stands there cut off,
/// as after a loss of power, is as good as none.
pub fn only_a_whole_script_runs(shell: &str) {
    let Some(node) = Node::new(shell) else { return };
    let place = || {
        let mut found: Vec<_> = fs::read_dir(node.path("home/.sonoba")).unwrap().map(|e| e.unwrap().path()).collect();
        found.retain(|path| path.is_file());
        found
    };
    let [script] = place().try_into().expect("one script and nothing beside it");
    let whole = fs::read(&script).unwrap();
    let ask = Request::State("t1".parse().unwrap());
    // Ends of lines outside of any function are where a cut does not show as a mistake in the script.
    for length in [0, 1, 700, whole.len() / 2, whole.len() - 2] {
        fs::write(&script, &whole[..length]).unwrap();
        let out = node.ask(&ask);
        assert_eq!((out.status.code(), out.stdout.as_slice()), (Some(127), &b""[..]), "{length}: {}", error(&out));
        assert!(!error(&out).contains("sonoba swap:"), "the client would not install it again: {}", error(&out));

        let out = node.install(&whole[..length]);
        assert!(!out.status.success() && error(&out).contains("cut off"), "{length}: {}", error(&out));
        assert_eq!(fs::read(&script).unwrap().len(), length, "what stood there is left");
        assert_eq!(place().len(), 1, "the cut one is removed");
    }
    assert!(node.install(&whole).status.success());
    assert!(node.ask(&ask).status.success());
}

/// Nor does it work without a home, or in one that cannot be written to; both are said.
pub fn a_home_is_needed(shell: &str) {
    let Some(node) = Node::new(shell) else { return };
    for (home, word) in [(None, "HOME"), (Some("/dev/null"), "/dev/null")] {
        for request in [Request::Install, begin("t1", FAR, &NAMES)] {
            let mut command = node.shell(&request.command());
            match home {
                Some(home) => command.env("HOME", home),
                None => command.env_remove("HOME"),
            };
            let out = command.output().unwrap();
            assert!(!out.status.success() && error(&out).contains(word), "{request:?}: {}", error(&out));
        }
    }
    assert!(!Path::new("/.sonoba").exists());
}
