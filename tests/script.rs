//! The swap script under every shell that a node may have, against a docker of files (`script/docker`): whatever
//! happens, a node ends all old or all new.

use sonoba::journal::{Step, Verdict};
use sonoba::remote::script::{Request, SCRIPT, read_state, read_verdict};
use sonoba::remote::{TxEnd, TxState};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const NAMES: [&str; 2] = ["rivers", "kubelet"];
const PATIENCE: Duration = Duration::from_secs(20);

/// A node: a home, a shell that is called `sh`, and a docker of files.
struct Node {
    dir: tempfile::TempDir,
}

fn id(container: &str, which: char) -> String {
    format!("{which}{container}")
}

impl Node {
    /// With each container running, and its prepared successor. `None`, said aloud, where the shell is not installed.
    fn new(shell: &str) -> Option<Node> {
        let (program, path) = match shell {
            "busybox" => ("sh", "/usr/bin/busybox"),
            "dash" => ("sh", "/usr/bin/dash"),
            _ => ("sh", "/usr/bin/bash"),
        };
        if !Path::new(path).exists() {
            assert!(std::env::var("SONOBA_LAB").as_deref() != Ok("require"), "{path} is missing");
            eprintln!("SKIPPED: {path} is not installed");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let node = Node { dir };
        for folder in ["home", "bin", "fake/c"] {
            fs::create_dir_all(node.path(folder)).unwrap();
        }
        std::os::unix::fs::symlink(path, node.path("bin").join(program)).unwrap();
        let docker = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/script/docker");
        std::os::unix::fs::symlink(docker, node.path("bin/docker")).unwrap();
        for name in NAMES {
            node.container(&id(name, 'o'), name, "unless-stopped", "running", name);
            node.container(&id(name, 'n'), &format!("{name}.sonoba-next"), "unless-stopped", "created", name);
        }
        let mut install = node.shell(&Request::Install.command()).stdin(Stdio::piped()).spawn().unwrap();
        install.stdin.take().unwrap().write_all(SCRIPT.as_bytes()).unwrap();
        assert!(install.wait().unwrap().success());
        Some(node)
    }

    fn path(&self, under: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(under)
    }

    fn tx(&self, file: &str) -> PathBuf {
        self.path("home/.sonoba/tx/t1").join(file)
    }

    fn container(&self, id: &str, name: &str, policy: &str, state: &str, pair: &str) {
        let folder = self.path("fake/c").join(id);
        fs::create_dir_all(&folder).unwrap();
        for (file, text) in [("name", name), ("policy", policy), ("state", state), ("pair", pair)] {
            fs::write(folder.join(file), format!("{text}\n")).unwrap();
        }
    }

    fn shell(&self, command: &str) -> Command {
        let mut shell = Command::new(self.path("bin/sh"));
        shell
            .args(["-c", command])
            .env_clear()
            .env("HOME", self.path("home"))
            .env("FAKE", self.path("fake"))
            .env("PATH", format!("{}:/usr/bin:/bin", self.path("bin").display()))
            .stdin(Stdio::null());
        shell
    }

    fn ask(&self, request: &Request) -> Output {
        self.shell(&request.command()).output().unwrap()
    }

    fn begin(&self, deadline_ms: u64) -> Output {
        self.ask(&Request::Begin {
            tx: "t1".parse().unwrap(),
            deadline_ms,
            stop_timeout_s: 2,
            containers: NAMES.iter().map(|n| n.parse().unwrap()).collect(),
        })
    }

    fn verdict(&self, verdict: Verdict) -> Option<Verdict> {
        let out = self.ask(&Request::Verdict("t1".parse().unwrap(), verdict));
        out.status.success().then(|| read_verdict(&String::from_utf8(out.stdout).unwrap()).unwrap())
    }

    fn recover(&self) {
        ok(self.ask(&Request::Recover("t1".parse().unwrap())));
    }

    fn state(&self) -> TxState {
        let out = ok(self.ask(&Request::State("t1".parse().unwrap())));
        read_state(&String::from_utf8(out.stdout).unwrap()).unwrap()
    }

    fn until(&self, what: &str, test: impl Fn(&TxState) -> bool) -> TxState {
        let begun = Instant::now();
        loop {
            let state = self.state();
            if test(&state) {
                return state;
            }
            assert!(begun.elapsed() < PATIENCE, "{what} never came: {state:#?}\n{}", self.story());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn end(&self) -> TxState {
        self.until("the end", |s| s.end.is_some())
    }

    fn fail_once(&self, verb: &str, argument: &str) {
        fs::write(self.path(format!("fake/fail.{verb}")), argument).unwrap();
    }

    fn story(&self) -> String {
        let read = |p: PathBuf| fs::read_to_string(p).unwrap_or_default();
        format!("{}\n{}\n{:?}", read(self.path("fake/calls")), read(self.tx("log")), self.containers())
    }

    /// Every container as (id, name, policy, state), in order.
    fn containers(&self) -> Vec<[String; 4]> {
        let mut all: Vec<_> = fs::read_dir(self.path("fake/c"))
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let read = |f| fs::read_to_string(entry.path().join(f)).unwrap_or_default().trim().to_owned();
                [entry.file_name().into_string().unwrap(), read("name"), read("policy"), read("state")]
            })
            .collect();
        all.sort();
        all
    }

    fn assert_all(&self, which: char) {
        let mut want: Vec<[String; 4]> =
            NAMES.iter().map(|n| [&id(n, which), *n, "unless-stopped", "running"].map(str::to_owned)).collect();
        want.sort();
        assert_eq!(self.containers(), want, "{}", self.story());
    }

    /// All old or all new, as its end says.
    fn assert_whole(&self, state: &TxState) {
        self.assert_all(if state.end == Some(TxEnd::Committed) { 'n' } else { 'o' });
    }
}

fn ok(out: Output) -> Output {
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    out
}

fn waits(state: &TxState) -> bool {
    state.steps.iter().any(|s| s.step == Step::Waiting)
}

fn steps(state: &TxState) -> String {
    let words: Vec<String> = state.steps.iter().map(|s| format!("{:?} {}", s.step, s.container)).collect();
    words.join(",").replace(" ,", ",").trim().to_lowercase()
}

fn commits(shell: &str) {
    let Some(node) = Node::new(shell) else { return };
    assert!(!node.state().found);
    ok(node.begin(60_000));
    let state = node.until("waiting", waits);
    assert!(state.found && state.alive && state.verdict.is_none() && state.end.is_none());
    ok(node.begin(60_000)); // begun again: left alone
    let forget = Request::Forget("t1".parse().unwrap());
    assert!(!node.ask(&forget).status.success(), "forgot a transaction under way");
    assert_eq!(node.verdict(Verdict::Commit), Some(Verdict::Commit));
    assert_eq!(node.verdict(Verdict::Rollback), Some(Verdict::Commit), "the first verdict stands");
    let state = node.end();
    assert_eq!(state.end, Some(TxEnd::Committed));
    assert_eq!(
        steps(&state),
        "begun,stopping rivers,stopped rivers,started rivers,stopping kubelet,stopped kubelet,started kubelet,waiting,\
         removed rivers,removed kubelet"
    );
    assert!(state.steps.is_sorted_by_key(|s| s.uptime_ms) && state.uptime_ms >= state.steps[0].uptime_ms);
    node.assert_all('n');
    node.until("the runner's end", |s| !s.alive);
    ok(node.ask(&forget));
    ok(node.ask(&forget));
    assert!(!node.state().found);
}

fn rolls_back_in_reverse(shell: &str) {
    let Some(node) = Node::new(shell) else { return };
    ok(node.begin(60_000));
    node.until("waiting", waits);
    assert_eq!(node.verdict(Verdict::Rollback), Some(Verdict::Rollback));
    assert_eq!(node.verdict(Verdict::Commit), Some(Verdict::Rollback));
    let state = node.end();
    assert_eq!(state.end, Some(TxEnd::RolledBack));
    assert!(
        steps(&state).ends_with("waiting,restoring kubelet,restored kubelet,restoring rivers,restored rivers"),
        "{}",
        steps(&state)
    );
    node.assert_all('o');
}

fn a_deadline_decides(shell: &str) {
    let Some(node) = Node::new(shell) else { return };
    ok(node.begin(700));
    let state = node.end();
    assert_eq!((state.end, state.verdict), (Some(TxEnd::RolledBack), Some(Verdict::Rollback)));
    assert!(state.why.contains("deadline"), "{}", state.why);
    assert_eq!(node.verdict(Verdict::Commit), Some(Verdict::Rollback), "a commit after the deadline loses");
    let at = |step| state.steps.iter().find(|s| s.step == step).unwrap().uptime_ms;
    assert!(at(Step::Restoring) - at(Step::Stopping) >= 700);
    node.assert_all('o');
}

fn a_failed_step_goes_back(shell: &str) {
    for (verb, argument, why) in [
        ("start", "nkubelet", "new kubelet did not start: Error response from daemon: start failed"),
        ("stop", "okubelet", "kubelet did not stop"),
        ("rename", "kubelet.sonoba-prev", "kubelet could not be renamed"),
        ("update", "orivers", "rivers kept its restart policy"),
        ("inspect", "kubelet", "kubelet cannot be swapped"),
        // On the way back: tried again until it is done.
        ("rm", "nrivers", ""),
        ("ps", "id=okubelet", ""),
    ] {
        let Some(node) = Node::new(shell) else { return };
        node.fail_once(verb, argument);
        ok(node.begin(if why.is_empty() { 500 } else { 60_000 }));
        let state = node.end();
        assert_eq!(state.end, Some(TxEnd::RolledBack), "{verb}");
        assert!(state.why.contains(why), "{verb}: {}", state.why);
        node.assert_all('o');
        assert!(!node.path(format!("fake/fail.{verb}")).exists(), "{verb} was never tried");
    }
}

fn a_commit_is_finished_with_patience(shell: &str) {
    let Some(node) = Node::new(shell) else { return };
    ok(node.begin(60_000));
    node.until("waiting", waits);
    node.fail_once("rm", "okubelet");
    assert_eq!(node.verdict(Verdict::Commit), Some(Verdict::Commit));
    assert_eq!(node.end().end, Some(TxEnd::Committed));
    node.assert_all('n');
}

fn a_verdict_waits_for_its_time(shell: &str) {
    let Some(node) = Node::new(shell) else { return };
    fs::write(node.path("fake/slow.stop"), "0.5").unwrap();
    assert_eq!(node.verdict(Verdict::Commit), None, "committed what does not exist");
    ok(node.begin(60_000));
    assert_eq!(node.verdict(Verdict::Commit), None, "committed before the new ones ran");
    assert_eq!(node.verdict(Verdict::Rollback), Some(Verdict::Rollback));
    assert_eq!(node.end().end, Some(TxEnd::RolledBack));
    node.assert_all('o');
}

fn a_container_without_a_way_back_is_left_alone(shell: &str) {
    let Some(node) = Node::new(shell) else { return };
    fs::write(node.path("fake/c/okubelet/rm"), "true\n").unwrap();
    ok(node.begin(60_000));
    let state = node.end();
    assert_eq!(state.end, Some(TxEnd::RolledBack));
    assert!(state.why.contains("--rm"), "{}", state.why);
    assert!(!steps(&state).contains("stopping"));
    node.assert_all('o');
}

/// The session dies at once after `begin`: its whole process group is hung up, its streams are closed.
fn outlives_its_session(shell: &str) {
    let Some(node) = Node::new(shell) else { return };
    fs::write(node.path("fake/slow.stop"), "0.2").unwrap();
    let begin = Request::Begin {
        tx: "t1".parse().unwrap(),
        deadline_ms: 60_000,
        stop_timeout_s: 2,
        containers: NAMES.iter().map(|n| n.parse().unwrap()).collect(),
    };
    // `(exec …)` keeps this shell alive to hang up its own group when the script has returned.
    let wrapped = format!("exec 0<&- 2>&-; ({}); kill -HUP 0", begin.command());
    let mut shell = Command::new("setsid");
    let inner = node.shell(&wrapped);
    shell.arg(inner.get_program()).args(inner.get_args()).env_clear();
    shell.envs(inner.get_envs().filter_map(|(k, v)| v.map(|v| (k, v))));
    // `output` ends only when nothing holds the pipe any more: the runner must not.
    let begun = Instant::now();
    shell.output().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20));
    node.until("waiting", waits);
    assert_eq!(node.verdict(Verdict::Commit), Some(Verdict::Commit));
    assert_eq!(node.end().end, Some(TxEnd::Committed));
    node.assert_all('n');
}

/// `kill -9` of the runner before and after each of its docker commands, whatever the verdict was to be.
fn killed_anywhere_it_is_whole(shell: &str, verdict: Verdict) {
    for at in 1.. {
        for when in ["before", "after"] {
            let Some(node) = Node::new(shell) else { return };
            fs::write(node.path("fake/kill"), format!("{at} {when}\n")).unwrap();
            node.begin(60_000); // fails where the runner was killed before it could answer
            node.until("waiting or death", |s| waits(s) || !s.alive);
            node.verdict(verdict);
            let state = node.until("end or death", |s| s.end.is_some() || !s.alive);
            let killed = node.path("fake/killed").exists();
            if state.end.is_none() {
                assert!(killed);
                node.recover();
                node.recover();
            }
            let state = node.end();
            node.assert_whole(&state);
            if verdict == Verdict::Rollback {
                assert_eq!(state.end, Some(TxEnd::RolledBack));
            }
            if !killed {
                assert!(at > 12, "only {at} calls were tried");
                return;
            }
        }
    }
}

/// What a power cut may leave: names changed, records lost, an owner of another boot.
fn recovers_from_names_alone(shell: &str) {
    for at in [3, 5, 8, 12] {
        let Some(node) = Node::new(shell) else { return };
        fs::write(node.path("fake/kill"), format!("{at} after\n")).unwrap();
        ok(node.begin(60_000));
        node.until("death", |s| !s.alive);
        for name in NAMES {
            fs::write(node.tx(&format!("c.{name}")), "").unwrap();
        }
        let owner = fs::read_to_string(node.tx("owner.1")).unwrap();
        let mut words: Vec<&str> = owner.split_whitespace().collect();
        words[2] = "00000000-0000-0000-0000-000000000000";
        fs::write(node.tx("owner.1"), words.join(" ") + "\n").unwrap();
        fs::write(node.tx("steps"), fs::read_to_string(node.tx("steps")).unwrap() + "12 stop").unwrap();
        assert!(!node.state().alive);
        node.recover();
        assert_eq!(node.end().end, Some(TxEnd::RolledBack));
        node.assert_all('o');
    }
}

fn refuses_what_is_no_name(shell: &str) {
    let Some(node) = Node::new(shell) else { return };
    for bad in [
        "begin t1 5 5 'a;b'",
        "begin ../x 5 5 a",
        "begin t1 5x 5 a",
        "begin t1 5 5",
        "state '$(x)'",
        "forget .",
        "nonsense t1",
    ] {
        let state = Request::State("t1".parse().unwrap()).command();
        let out = node.shell(&state.replace("state t1", bad)).output().unwrap();
        assert_eq!(out.status.code(), Some(2), "{bad}");
    }
    assert!(!node.path("home/.sonoba/tx/t1").exists());
}

macro_rules! under {
    ($($shell:ident),*) => { $(mod $shell {
        use sonoba::journal::Verdict;
        const SHELL: &str = stringify!($shell);
        #[test] fn commits() { super::commits(SHELL) }
        #[test] fn rolls_back_in_reverse() { super::rolls_back_in_reverse(SHELL) }
        #[test] fn a_deadline_decides() { super::a_deadline_decides(SHELL) }
        #[test] fn a_failed_step_goes_back() { super::a_failed_step_goes_back(SHELL) }
        #[test] fn a_commit_is_finished_with_patience() { super::a_commit_is_finished_with_patience(SHELL) }
        #[test] fn a_verdict_waits_for_its_time() { super::a_verdict_waits_for_its_time(SHELL) }
        #[test] fn a_container_without_a_way_back_is_left_alone() {
            super::a_container_without_a_way_back_is_left_alone(SHELL)
        }
        #[test] fn outlives_its_session() { super::outlives_its_session(SHELL) }
        #[test] fn killed_anywhere_it_is_whole_when_committed() {
            super::killed_anywhere_it_is_whole(SHELL, Verdict::Commit)
        }
        #[test] fn killed_anywhere_it_is_whole_when_rolled_back() {
            super::killed_anywhere_it_is_whole(SHELL, Verdict::Rollback)
        }
        #[test] fn recovers_from_names_alone() { super::recovers_from_names_alone(SHELL) }
        #[test] fn refuses_what_is_no_name() { super::refuses_what_is_no_name(SHELL) }
    })* };
}

under!(dash, busybox, bash);

#[test]
fn shellcheck_is_content() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    match Command::new("shellcheck").args(["-s", "sh"]).arg(folder.join("src/remote/swap.sh")).output() {
        Ok(out) => assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout)),
        Err(error) => {
            assert!(std::env::var("SONOBA_LAB").as_deref() != Ok("require"), "shellcheck: {error}");
            eprintln!("SKIPPED: shellcheck is not installed");
        }
    }
}
