//! Programs inside a container, as far as a snapshot of etcd needs them: etcdctl, etcdutl and df.

use super::container::Health;
use super::draw::digest;
use super::machine::{Machine, Refusal, refuse};
use crate::fleet::Component;

/// etcd's volume, which outlives its containers. All else is read-only.
const VOLUME: &str = "/var/lib/etcd/";
/// What etcd and its snapshots hold: bytes, keys.
pub(crate) const SIZE: (u64, u64) = (48 << 20, 9_000);
/// How long a program takes. Simulated milliseconds.
pub(crate) const TAKES: i64 = 400;

/// A program that ran, or is to run, inside a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// Its id.
    pub id: String,
    /// The container's id.
    pub container: String,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// When it was started. Simulated milliseconds.
    pub begun: i64,
    /// How it ended, or will.
    pub ran: Option<Ran>,
}

/// How a program ended, and what it wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// How long it took. Simulated milliseconds.
    pub takes_ms: i64,
    /// Its exit code.
    pub code: i64,
    /// To its standard output.
    pub out: String,
    /// To its standard error.
    pub err: String,
}

impl Default for Ran {
    fn default() -> Self {
        Ran { takes_ms: TAKES, code: 0, out: String::new(), err: String::new() }
    }
}

fn failed(code: i64, err: impl Into<String>) -> Ran {
    Ran { code, err: err.into(), ..Ran::default() }
}

impl Machine {
    /// Makes a program ready to run in a container.
    ///
    /// # Errors
    /// 404 when there is no such container, 409 when it does not run, 400 without a program.
    pub fn create_exec(&mut self, container: &str, argv: Vec<String>) -> Result<String, Refusal> {
        let found = &self.containers[self.find(container)?];
        if !found.running() {
            return Err(refuse(409, format!("container {} is not running", found.id)));
        }
        if argv.is_empty() {
            return Err(refuse(400, "no exec command specified"));
        }
        let id = digest(&["exec", &found.id, &self.execs.len().to_string()]);
        let exec = Exec { id: id.clone(), container: found.id.clone(), argv, begun: 0, ran: None };
        self.execs.push(exec);
        Ok(id)
    }

    /// Runs it.
    ///
    /// # Errors
    /// 404 when there is no such thing, 409 when it ran already or its container does not run any more.
    pub fn start_exec(&mut self, id: &str, now: i64) -> Result<Ran, Refusal> {
        let no_such = || refuse(404, format!("No such exec instance: {id}"));
        let at = self.execs.iter().position(|e| e.id == id).ok_or_else(no_such)?;
        let Exec { container, argv, ran, .. } = self.execs[at].clone();
        if ran.is_some() {
            return Err(refuse(409, format!("exec {id} has already run")));
        }
        let container = self.containers.iter().find(|c| c.id == container && c.running());
        let component = container.ok_or_else(|| refuse(409, "container is not running"))?.component();
        let ran = self.run(component, &argv, now);
        self.end_exec(id, ran, now)
    }

    /// Says how it ends.
    ///
    /// # Errors
    /// 404 when there is no such thing, 409 when its container does not run.
    pub(crate) fn end_exec(&mut self, id: &str, ran: Ran, now: i64) -> Result<Ran, Refusal> {
        if !self.exec_lives(id) {
            return Err(refuse(409, "container is not running"));
        }
        let exec = self.execs.iter_mut().find(|e| e.id == id);
        let exec = exec.ok_or_else(|| refuse(404, format!("No such exec instance: {id}")))?;
        (exec.begun, exec.ran) = (now, Some(ran.clone()));
        Ok(ran)
    }

    /// Whether the container that it runs in runs.
    pub(crate) fn exec_lives(&self, id: &str) -> bool {
        let container = self.exec(id).map(|e| &e.container);
        self.containers.iter().any(|c| Some(&c.id) == container && c.running())
    }

    /// The component in whose container it runs.
    pub(crate) fn exec_in(&self, id: &str) -> Option<Component> {
        let container = &self.exec(id)?.container;
        self.containers.iter().find(|c| c.id == *container)?.component()
    }

    /// What was made ready to run, or ran.
    pub fn exec(&self, id: &str) -> Option<&Exec> {
        self.execs.iter().find(|e| e.id == id)
    }

    /// The snapshots of etcd on its volume.
    pub fn snapshots(&self) -> impl Iterator<Item = &str> {
        self.snapshots.iter().map(String::as_str)
    }

    fn run(&mut self, component: Option<Component>, argv: &[String], now: i64) -> Ran {
        let words: Vec<&str> = argv.iter().map(String::as_str).filter(|a| !a.starts_with('-')).collect();
        match (component, &words[..]) {
            (Some(Component::Etcd), ["etcdctl", "snapshot", "save", path]) => self.save(path, now),
            (Some(Component::Etcd), ["etcdutl", "snapshot", "status", path]) => self.status(path),
            // As since etcd 3.6.
            (Some(Component::Etcd), ["etcdctl", ..]) => failed(1, "Error: unknown command for \"etcdctl\""),
            (_, ["df", path]) => Ran {
                out: format!(
                    "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/md0 97492096 9749209 87742887 10% {path}\n"
                ),
                ..Ran::default()
            },
            (_, words) => failed(127, format!("exec: {:?}: executable file not found in $PATH", words.first())),
        }
    }

    fn save(&mut self, path: &str, now: i64) -> Ran {
        if !path.starts_with(VOLUME) || path.contains("..") {
            return failed(1, format!("Error: could not open {path}.part (open {path}.part: read-only file system)"));
        }
        if !matches!(self.health(Component::Etcd, now), Health::Well(_)) {
            return failed(1, "Error: rpc error: code = Unavailable desc = connection refused");
        }
        self.snapshots.insert(path.to_owned());
        Ran { out: format!("Snapshot saved at {path}\n"), ..Ran::default() }
    }

    fn status(&self, path: &str) -> Ran {
        if !self.snapshots.contains(path) {
            return failed(1, format!("Error: stat {path}: no such file or directory"));
        }
        let hash = u32::from_str_radix(&digest(&["snapshot", path])[..8], 16).unwrap_or_default();
        let (bytes, keys) = SIZE;
        let revision = 1_000_000 + self.uptime_ms(0) / 100;
        let out = format!(
            "{{\"hash\":{hash},\"revision\":{revision},\"totalKey\":{keys},\"totalSize\":{bytes},\"version\":\"3.6.0\"}}\n"
        );
        Ran { out, ..Ran::default() }
    }
}
