//! A node for the script: a home of its own, one shell that is called `sh`, and a docker of files (`docker`).

use sonoba::fleet::FenceToken;
use sonoba::journal::Verdict;
use sonoba::remote::script::{Request, SCRIPT, read_state, read_verdict};
use sonoba::remote::{Fence, TxEnd, TxId, TxState};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

pub const NAMES: [&str; 2] = ["rivers", "kubelet"];
/// A deadline that no test reaches. Milliseconds.
pub const FAR: u64 = 60_000;
const PATIENCE: Duration = Duration::from_secs(30);

/// One node. Its transaction is `t1` where no other is named.
pub struct Node {
    dir: tempfile::TempDir,
}

/// A container's id: which one of a name's containers it is, and the name.
pub fn id(container: &str, which: char) -> String {
    format!("{which}{container}")
}

fn tx(id: &str) -> TxId {
    id.parse().unwrap()
}

pub fn ok(out: Output) -> Output {
    assert!(out.status.success(), "{}", error(&out));
    out
}

pub fn error(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

impl Node {
    /// With each container running, and its prepared successor. `None`, said aloud, where the shell is not installed.
    pub fn new(shell: &str) -> Option<Node> {
        Node::new_in(shell, &std::env::temp_dir())
    }

    /// The same, with its files below this folder.
    pub fn new_in(shell: &str, folder: &Path) -> Option<Node> {
        let path = format!("/usr/bin/{shell}");
        if !Path::new(&path).exists() {
            assert!(std::env::var("SONOBA_LAB").as_deref() != Ok("require"), "{path} is missing");
            eprintln!("SKIPPED: {path} is not installed");
            return None;
        }
        let node = Node { dir: tempfile::tempdir_in(folder).unwrap() };
        for folder in ["home", "bin", "fake/c"] {
            fs::create_dir_all(node.path(folder)).unwrap();
        }
        std::os::unix::fs::symlink(path, node.path("bin/sh")).unwrap();
        let docker = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/script/docker");
        std::os::unix::fs::symlink(docker, node.path("bin/docker")).unwrap();
        for name in NAMES {
            node.container(&id(name, 'o'), name, "running", name);
            node.successor(name, 'n');
        }
        assert!(node.install(SCRIPT.as_bytes()).status.success());
        Some(node)
    }

    /// Puts a script on the node, as the client does.
    pub fn install(&self, script: &[u8]) -> Output {
        let mut install = self.shell(&Request::Install.command());
        let mut install = install.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        install.stdin.take().unwrap().write_all(script).unwrap();
        install.wait_with_output().unwrap()
    }

    pub fn path(&self, under: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(under)
    }

    /// A file of `t1`'s folder.
    pub fn tx(&self, file: &str) -> PathBuf {
        self.path("home/.sonoba/tx/t1").join(file)
    }

    /// A container. Two of one `pair` cannot run together.
    pub fn container(&self, id: &str, name: &str, state: &str, pair: &str) {
        let folder = self.path("fake/c").join(id);
        fs::create_dir_all(&folder).unwrap();
        for (file, text) in [("name", name), ("policy", "unless-stopped"), ("state", state), ("pair", pair)] {
            fs::write(folder.join(file), format!("{text}\n")).unwrap();
        }
    }

    /// The prepared successor of `name`.
    pub fn successor(&self, name: &str, which: char) {
        self.container(&id(name, which), &format!("{name}.sonoba-next"), "created", name);
    }

    pub fn shell(&self, command: &str) -> Command {
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

    pub fn ask(&self, request: &Request) -> Output {
        self.shell(&request.command()).output().unwrap()
    }

    pub fn begin(&self, deadline_ms: u64) -> Output {
        self.ask(&begin("t1", deadline_ms, &NAMES))
    }

    pub fn forget(&self) -> Output {
        self.ask(&Request::Forget(tx("t1")))
    }

    pub fn verdict(&self, verdict: Verdict) -> Option<Verdict> {
        self.verdict_on("t1", verdict)
    }

    pub fn verdict_on(&self, id: &str, verdict: Verdict) -> Option<Verdict> {
        let out = self.ask(&Request::Verdict(tx(id), verdict, fence(1)));
        out.status.success().then(|| read_verdict(&String::from_utf8(out.stdout).unwrap()).unwrap())
    }

    pub fn recover(&self) {
        ok(self.ask(&Request::Recover(tx("t1"), fence(1))));
    }

    pub fn state(&self) -> TxState {
        self.state_of("t1")
    }

    pub fn state_of(&self, id: &str) -> TxState {
        let out = ok(self.ask(&Request::State(tx(id))));
        read_state(&String::from_utf8(out.stdout).unwrap()).unwrap()
    }

    pub fn until(&self, what: &str, test: impl Fn(&TxState) -> bool) -> TxState {
        self.until_of("t1", what, test)
    }

    pub fn until_of(&self, id: &str, what: &str, test: impl Fn(&TxState) -> bool) -> TxState {
        let begun = Instant::now();
        loop {
            // Before it is asked, so that nothing that happens meanwhile is missed.
            let sign = self.sign_of(id);
            let state = self.state_of(id);
            if test(&state) {
                return state;
            }
            assert!(begun.elapsed() < PATIENCE, "{what} never came: {state:#?}\n{}", self.story());
            // The script is asked anew only when there may be something new: each question is a shell of its own.
            let asked = Instant::now();
            while self.sign_of(id) == sign && asked.elapsed() < Duration::from_millis(60) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// What changes whenever a transaction's state does, nearly: its steps, its end, its runner's life.
    fn sign_of(&self, id: &str) -> (u64, bool, bool) {
        let folder = self.path("home/.sonoba/tx").join(id);
        let steps = fs::metadata(folder.join("steps")).map_or(0, |m| m.len());
        let runner = (1..).map_while(|n| fs::read_to_string(folder.join(format!("owner.{n}"))).ok()).last();
        let pid = runner.as_deref().and_then(|r| r.split(' ').next()).unwrap_or("none").to_owned();
        (steps, folder.join("end").exists(), Path::new("/proc").join(pid).exists())
    }

    /// Waits for something that the script's answers do not tell.
    pub fn wait_for(&self, what: &str, test: impl Fn() -> bool) {
        let begun = Instant::now();
        while !test() {
            assert!(begun.elapsed() < PATIENCE, "{what} never came\n{}", self.story());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until there is nothing but the old ones, or the new ones, at rest.
    pub fn until_containers(&self, which: char) {
        self.wait_for("the containers", || self.is_only(&NAMES.map(|n| (n, which))));
    }

    pub fn until_file(&self, file: &str) {
        self.wait_for(file, || self.path(file).exists());
    }

    /// The process of `t1`'s runner.
    pub fn runner(&self) -> u32 {
        let owner = fs::read_to_string(self.tx("owner.1")).unwrap();
        owner.split(' ').next().unwrap().parse().unwrap()
    }

    pub fn until_gone(&self, pid: u32) {
        // Whoever its parent is now may be slow to bury it.
        let state = || fs::read_to_string(format!("/proc/{pid}/stat")).ok();
        self.wait_for("the runner's end", || {
            state().is_none_or(|s| s.rsplit(") ").next().is_some_and(|s| s.starts_with('Z')))
        });
    }

    pub fn end(&self) -> TxState {
        self.until("the end", |s| s.end.is_some())
    }

    pub fn fail_once(&self, verb: &str, argument: &str) {
        fs::write(self.path(format!("fake/fail.{verb}")), argument).unwrap();
    }

    pub fn story(&self) -> String {
        let read = |p: PathBuf| fs::read_to_string(p).unwrap_or_default();
        format!("{}\n{}\n{:?}", read(self.path("fake/calls")), read(self.tx("log")), self.containers())
    }

    /// Every container as (id, name, policy, state), in order.
    pub fn containers(&self) -> Vec<[String; 4]> {
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

    /// These run under their names with their policy, and there is nothing else.
    pub fn assert_only(&self, which: &[(&str, char)]) {
        assert_eq!(self.containers(), only(which), "{}", self.story());
    }

    fn is_only(&self, which: &[(&str, char)]) -> bool {
        self.containers() == only(which)
    }

    pub fn assert_all(&self, which: char) {
        self.assert_only(&NAMES.map(|n| (n, which)));
    }

    /// All old or all new, as its end says.
    pub fn assert_whole(&self, state: &TxState) {
        self.assert_all(if state.end == Some(TxEnd::Committed) { 'n' } else { 'o' });
    }
}

fn only(which: &[(&str, char)]) -> Vec<[String; 4]> {
    let mut all: Vec<[String; 4]> =
        which.iter().map(|(n, c)| [&id(n, *c), *n, "unless-stopped", "running"].map(str::to_owned)).collect();
    all.sort();
    all
}

pub fn begin(id: &str, deadline_ms: u64, names: &[&str]) -> Request {
    begin_by(id, deadline_ms, names, fence(1))
}

pub fn begin_by(id: &str, deadline_ms: u64, names: &[&str], fence: Fence) -> Request {
    let containers = names.iter().map(|n| n.parse().unwrap()).collect();
    Request::Begin { tx: tx(id), deadline_ms, stop_timeout_s: 2, containers, fence }
}

/// A right that does not run out, of `run1`.
pub fn fence(token: u32) -> Fence {
    Fence { token: FenceToken::new(token), run: "run1".parse().unwrap(), until_ms: 99_999_999_999_999 }
}
