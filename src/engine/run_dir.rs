//! A run's folder: all that an engine needs, and all that it leaves.
//!
//! ```text
//! STATE/locks/CLUSTER.lock      held by the engine that works on the cluster
//! STATE/runs/ID/run.json        who started it, where, on which cluster
//!               plan.json       the plan, as it is carried out
//!               profile.toml    the cluster's profile, with absolute paths
//!               lock            held by the run's engine
//!               journal.jsonl   the facts
//!               journal.head    the last record that the engine had put on disk when it acted, should the journal be cut
//!               journal.begun   says that there was a journal, should it be gone
//!               given-up        says that it never began, and never will
//!               control.sock    the engine's ear; where the path would be too long for a socket, `control.path` says
//!                               where it is instead
//!               engine.log      the engine's log, and engine.err what it said when it died
//! ```
//!
//! Folders are 0700, files 0600.

use super::error::EngineError;
use crate::fleet::{ClusterName, RunId, clean, read_clean};
use crate::inventory::Profile;
use crate::journal::{Head, open_file, sha256_hex};
use crate::plan::{Plan, check_seal};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A socket's path must be shorter: `sun_path` of `sockaddr_un` has 108 bytes with its end mark.
const SOCKET_PATH: usize = 107;
/// No file that is read whole is longer. Bytes.
const LONGEST: u64 = 1 << 28;

/// A run's folder.
#[derive(Debug, Clone)]
pub struct RunDir {
    path: PathBuf,
    about: About,
}

/// Who started a run, where, on which cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The run's id.
    pub id: RunId,
    /// The cluster.
    pub cluster: ClusterName,
    /// Who started it.
    pub operator: String,
    /// On which machine.
    pub host: String,
    /// When it was made.
    pub created: Timestamp,
    /// The state folder that it was made in, with the clusters' locks.
    pub state_dir: PathBuf,
}

/// A folder among the runs that cannot be used.
#[derive(Debug)]
pub struct Refused {
    /// The folder.
    pub path: PathBuf,
    /// Why not.
    pub why: EngineError,
}

impl RunDir {
    /// Makes the folder of a new run.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn create(state_dir: &Path, plan: &Plan, profile: &Profile) -> Result<RunDir, EngineError> {
        RunDir::make(state_dir, plan, &profile.to_toml())
    }

    pub(super) fn make(state_dir: &Path, plan: &Plan, profile: &str) -> Result<RunDir, EngineError> {
        let state_dir = std::path::absolute(state_dir).map_err(EngineError::io(state_dir, "find it"))?;
        let created = Timestamp::now();
        let id: String = format!("{}-{:04x}", created.strftime("%Y%m%d-%H%M%S"), rand::random::<u16>());
        let id: RunId = id.parse().map_err(|e: crate::fleet::NameError| EngineError::NoRun(e.to_string()))?;
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&state_dir);
        made.map_err(EngineError::io(&state_dir, "make the state folder"))?;
        nobody_elses(&state_dir)?;
        private_dir(&state_dir.join("locks"))?;
        private_dir(&state_dir.join("runs"))?;
        let path = state_dir.join("runs").join(id.as_str());
        let folder = DirBuilder::new().mode(0o700).create(&path);
        folder.map_err(EngineError::io(&path, "make the run's folder"))?;
        let about =
            About { id, cluster: plan.cluster.name.clone(), operator: operator(), host: host(), created, state_dir };
        let json = |value: Result<Vec<u8>, serde_json::Error>, name: &str| {
            value.map_err(|e| EngineError::BadFile { path: path.join(name), why: e.to_string() })
        };
        // As it was agreed to; the engine that begins the run compares.
        let sealed = plan.sealed().and_then(|plan| serde_json::to_vec_pretty(&plan));
        write_new(&path.join("plan.json"), &json(sealed, "plan.json")?)?;
        write_new(&path.join("profile.toml"), profile.as_bytes())?;
        // Last: a folder without it is no run.
        write_new(&path.join("run.json"), &json(serde_json::to_vec_pretty(&about), "run.json")?)?;
        let synced = File::open(&path).and_then(|f| f.sync_all());
        synced.map_err(EngineError::io(&path, "make it durable"))?;
        Ok(RunDir { path, about })
    }

    /// Opens the folder of a run that was made before.
    ///
    /// # Errors
    /// When it is not the folder of a run, or belongs to somebody else.
    pub fn open(path: &Path) -> Result<RunDir, EngineError> {
        let path = std::path::absolute(path).map_err(EngineError::io(path, "find it"))?;
        let file = path.join("run.json");
        let meta = fs::metadata(&path).map_err(EngineError::io(&path, "open the run's folder"))?;
        let own = rustix::process::geteuid().as_raw();
        if meta.uid() != own && own != 0 {
            return Err(EngineError::BadFile { path, why: "this run's folder belongs to another user".into() });
        }
        if meta.mode() & 0o022 != 0 {
            let why = "others may write to this run's folder; `chmod go-w` it, and ask who did".into();
            return Err(EngineError::BadFile { path, why });
        }
        // Who can move the folder away can put another in its place.
        if let Some(above) = path.parent() {
            nobody_elses(above)?;
        }
        let text = read(&file)?;
        let about: About = read_clean(&text)
            .map_err(|e| EngineError::BadFile { path: file, why: format!("not a run: {}", clean(&e.to_string())) })?;
        Ok(RunDir { path, about })
    }

    /// Every run in a state folder, the newest first. Folders that cannot be used are left out; [`RunDir::survey`] has them.
    ///
    /// # Errors
    /// When the state folder cannot be read.
    pub fn list(state_dir: &Path) -> Result<Vec<RunDir>, EngineError> {
        Ok(RunDir::survey(state_dir)?.0)
    }

    /// Every run in a state folder, the newest first; and folders beside them that are refused, each with the reason. What is no
    /// run's folder at all, or is one that is being made, is passed over.
    ///
    /// # Errors
    /// When the state folder cannot be read.
    pub fn survey(state_dir: &Path) -> Result<(Vec<RunDir>, Vec<Refused>), EngineError> {
        let folder = state_dir.join("runs");
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok((Vec::new(), Vec::new())),
            entries => entries.map_err(EngineError::io(&folder, "list runs"))?,
        };
        nobody_elses(&folder)?;
        let (mut runs, mut refused) = (Vec::new(), Vec::new());
        for entry in entries.filter_map(Result::ok) {
            let path = entry.path();
            match RunDir::open(&path) {
                Ok(run) => runs.push(run),
                Err(why) if ["run.json", "journal.jsonl", "journal.begun"].iter().any(|n| path.join(n).exists()) => {
                    refused.push(Refused { path, why });
                }
                Err(_) => {}
            }
        }
        runs.sort_by(|a, b| (b.about.created, &b.about.id).cmp(&(a.about.created, &a.about.id)));
        refused.sort_by(|a, b| b.path.cmp(&a.path));
        Ok((runs, refused))
    }

    /// Takes the folder of a run away that no engine ever began: one that came second. A run that has begun is left alone.
    pub(super) fn abandon(&self) {
        if self.begun() {
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!("{}: cannot be removed: {error}", self.path.display());
        }
    }

    /// The run that is meant by `latest`, an id, or a folder.
    ///
    /// # Errors
    /// When there is no such run.
    pub fn find(state_dir: &Path, what: &str) -> Result<RunDir, EngineError> {
        let shown = state_dir.display();
        if what == "latest" {
            let latest = RunDir::list(state_dir)?.into_iter().next();
            return latest.ok_or_else(|| EngineError::NoRun(format!("nothing ran yet (looked in {shown}/runs)")));
        }
        if let Ok(id) = what.parse::<RunId>() {
            let path = state_dir.join("runs").join(id.as_str());
            if path.is_dir() {
                return RunDir::open(&path);
            }
        }
        let path = Path::new(what);
        if path.is_dir() {
            return RunDir::open(path);
        }
        let what = clean(what);
        Err(EngineError::NoRun(format!("no run {what:?} in {shown}/runs; `sonoba runs` lists what ran here")))
    }

    /// The run's id.
    pub fn id(&self) -> &RunId {
        &self.about.id
    }

    /// Who started it, where, on which cluster.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The journal's file, which may not exist yet.
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal.jsonl")
    }

    /// Number and hash of the last record that the engine had put on disk when it acted: a journal without it was cut or changed.
    /// `None` before the first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn sealed_head(&self) -> Result<Option<Head>, EngineError> {
        Ok(Head::of(&self.journal())?)
    }

    /// The profile's file.
    pub fn profile(&self) -> PathBuf {
        self.path.join("profile.toml")
    }

    /// The engine's log.
    pub fn log(&self) -> PathBuf {
        self.path.join("engine.log")
    }

    /// What the engine said on its standard error: why it died.
    pub fn errors(&self) -> PathBuf {
        self.path.join("engine.err")
    }

    /// The plan, and its file's hash: the first link of the journal's chain.
    ///
    /// # Errors
    /// When the file cannot be read or holds no plan.
    pub fn plan(&self) -> Result<(Plan, String), EngineError> {
        let bytes = read(&self.plan_path())?;
        Ok((self.parse_plan(&bytes)?, sha256_hex(&bytes)))
    }

    /// The same for a run that begins now: until its journal holds the plan's hash, the seal alone shows that the plan is the one
    /// that was agreed to.
    ///
    /// # Errors
    /// As [`RunDir::plan`]; when the seal is missing or does not hold.
    pub(super) fn sealed_plan(&self) -> Result<(Plan, String), EngineError> {
        let bytes = read(&self.plan_path())?;
        check_seal(&bytes).map_err(|why| {
            EngineError::Plan(format!(
                "{} {why}; nothing was done; plan again, and apply that",
                self.plan_path().display()
            ))
        })?;
        Ok((self.parse_plan(&bytes)?, sha256_hex(&bytes)))
    }

    fn parse_plan(&self, bytes: &[u8]) -> Result<Plan, EngineError> {
        let bad = |e: serde_json::Error| EngineError::BadFile {
            path: self.plan_path(),
            why: format!("not a plan: {}", clean(&e.to_string())),
        };
        read_clean(bytes).map_err(bad)
    }

    fn plan_path(&self) -> PathBuf {
        self.path.join("plan.json")
    }

    /// The process that the run's lock names, if it is one of this machine's; it may be gone, and its number another's.
    pub(super) fn engine_process(&self) -> Option<i32> {
        let line = read(&self.lock_path()).ok()?;
        holder(&String::from_utf8_lossy(&line), &host())
    }

    pub(super) fn lock_path(&self) -> PathBuf {
        self.path.join("lock")
    }

    pub(super) fn cluster_lock_path(&self) -> Result<PathBuf, EngineError> {
        let folder = self.about.state_dir.join("locks");
        private_dir(&folder)?;
        Ok(folder.join(format!("{}.lock", self.about.cluster)))
    }

    /// Where the engine listens.
    pub(super) fn socket_path(&self) -> PathBuf {
        let note = read(&self.path.join("control.path")).ok();
        let elsewhere = note.and_then(|bytes| String::from_utf8(bytes).ok()).map(|text| PathBuf::from(text.trim_end()));
        elsewhere.unwrap_or_else(|| self.path.join("control.sock"))
    }

    /// Where the engine is to listen; a place elsewhere is made and noted when the folder's own path is too long.
    pub(super) fn make_socket_path(&self) -> Result<PathBuf, EngineError> {
        let path = self.path.join("control.sock");
        if path.as_os_str().as_bytes().len() <= SOCKET_PATH {
            return Ok(path);
        }
        let noted = self.socket_path();
        if noted != path && noted.parent().is_some_and(Path::is_dir) {
            return Ok(noted);
        }
        let base = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        // A folder of its own that nobody else could have made: `create` fails where one is.
        let folder = base.join(format!("sonoba-{:016x}", rand::random::<u64>()));
        let made = DirBuilder::new().mode(0o700).create(&folder);
        made.map_err(EngineError::io(&folder, "make a folder for the control socket"))?;
        let short = folder.join("control.sock");
        if short.as_os_str().as_bytes().len() > SOCKET_PATH {
            let why = "too long for a control socket; set XDG_RUNTIME_DIR to a shorter folder".into();
            return Err(EngineError::BadFile { path: short, why });
        }
        let note = self.path.join("control.path");
        match fs::remove_file(&note) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(EngineError::io(&note, "replace it")(error));
            }
            _ => {}
        }
        write_new(&note, short.as_os_str().as_bytes())?;
        Ok(short)
    }
}

fn private_dir(path: &Path) -> Result<(), EngineError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(EngineError::io(path, "make the folder"))?;
    nobody_elses(path)
}

/// Refuses a folder in which another user could exchange what is ours. One like `/tmp`, where nobody can move what is not
/// his own, will do.
fn nobody_elses(path: &Path) -> Result<(), EngineError> {
    let bad = |why: &str| Err(EngineError::BadFile { path: path.to_owned(), why: why.to_owned() });
    let meta = fs::metadata(path).map_err(EngineError::io(path, "look at the folder"))?;
    let own = rustix::process::geteuid().as_raw();
    if ![own, 0].contains(&meta.uid()) && own != 0 {
        return bad(
            "this folder belongs to another user, who could exchange runs in it; name another with --state-dir",
        );
    }
    if meta.mode() & 0o022 != 0 && meta.mode() & 0o1000 == 0 {
        return bad(
            "others may write to this folder, and could exchange runs in it; `chmod go-w` it, and look at what is there",
        );
    }
    Ok(())
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), EngineError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(EngineError::io(path, "write it"))
}

fn read(path: &Path) -> Result<Vec<u8>, EngineError> {
    let file = open_file(path, OpenOptions::new().read(true));
    let bytes = file.and_then(|file| {
        let mut bytes = Vec::new();
        file.take(LONGEST + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LONGEST { Err(ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
    });
    bytes.map_err(EngineError::io(path, "read it"))
}

/// Who is at work here, in the words of the login.
fn operator() -> String {
    let names = ["SUDO_USER", "USER", "LOGNAME"];
    let name = names.iter().find_map(|n| std::env::var(n).ok().filter(|v| !v.is_empty()));
    let name = name.map(|n| clean(&n).chars().take(64).collect());
    name.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

/// This machine's name.
pub(super) fn host() -> String {
    clean(&rustix::system::uname().nodename().to_string_lossy())
}

/// The process of the line that an engine leaves in its lock ([`super::lock`]), if it is one of this machine's.
fn holder(line: &str, host: &str) -> Option<i32> {
    let (_, rest) = line.split_once(", process ")?;
    let (pid, rest) = rest.split_once(" on ")?;
    let (on, _) = rest.split_once(" since ")?;
    (on == host).then(|| pid.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_folder_in_which_others_could_exchange_runs_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let plan: Plan = serde_json::from_str(include_str!("../fuzzing/plan.json")).unwrap();
        let make = || RunDir::make(&state, &plan, "");
        let run = make().unwrap();
        for folder in [state.clone(), state.join("runs"), state.join("locks"), run.path().to_owned()] {
            assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700, "{folder:?}");
        }
        for file in ["run.json", "plan.json", "profile.toml"] {
            assert_eq!(fs::metadata(run.path().join(file)).unwrap().mode() & 0o777, 0o600, "{file}");
        }
        for folder in [state.clone(), state.join("runs"), state.join("locks")] {
            mode(&folder, 0o777);
            let error = make().unwrap_err().to_string();
            assert!(error.contains("chmod go-w") && error.contains(&*folder.to_string_lossy()), "{error}");
            // As in /tmp: nobody can move what is not his own.
            mode(&folder, 0o1777);
            make().unwrap();
            mode(&folder, 0o700);
        }
        mode(&state.join("runs"), 0o770);
        assert!(RunDir::open(run.path()).unwrap_err().to_string().contains("chmod go-w"));
        assert!(RunDir::list(&state).unwrap_err().to_string().contains("chmod go-w"));
    }

    #[test]
    fn what_a_run_says_of_itself_is_cleaned_and_of_a_measure() {
        let dir = tempfile::tempdir().unwrap();
        let plan: Plan = serde_json::from_str(include_str!("../fuzzing/plan.json")).unwrap();
        let run = RunDir::make(dir.path(), &plan, "").unwrap();
        let file = run.path().join("run.json");
        let text = fs::read_to_string(&file).unwrap();
        let host = serde_json::to_string(&run.about().host).unwrap();
        fs::write(&file, text.replace(&host, "\"x\\u001b[2J\u{202e}\"")).unwrap();
        assert_eq!(RunDir::open(run.path()).unwrap().about().host, "x[2J");
        let long = OpenOptions::new().write(true).open(&file).unwrap();
        long.set_len(LONGEST + 1).unwrap();
        assert!(RunDir::open(run.path()).is_err());
        // A link is not followed, wherever it leads.
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &file).unwrap();
        assert!(RunDir::open(run.path()).is_err());
    }

    #[test]
    fn the_lock_names_a_process_of_this_machine_or_none() {
        let line = |pid, on: &str| format!("run r1, process {pid} on {on} since 2026-11-25T00:00:00Z, by satoru");
        assert_eq!(holder(&line(42, "vm"), "vm"), Some(42));
        assert_eq!(holder(&line(42, "other"), "vm"), None);
        assert_eq!(holder("nonsense", "vm"), None);
        assert_eq!(holder("", "vm"), None);
    }
}
