//! The control socket: one JSON line asks, one JSON line answers. Only for the user who runs the engine.

use super::error::EngineError;
use super::pace::Pace;
use super::run_dir::RunDir;
use super::shared::Shared;
use crate::fleet::{RunId, clean, clean_short};
use crate::journal::{JournalError, Verb};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

/// No request and no answer is longer: room for the names of thousands of nodes. Bytes.
const LONGEST: u64 = 256 * 1024;
/// A peer has this long to ask, and to take the answer.
const LIMIT: Duration = Duration::from_secs(5);
/// An answer may take longer than that: the command is put on disk first.
const ANSWER: Duration = Duration::from_secs(30);
/// Peers at once.
const PEERS: usize = 16;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Ask {
    Ping,
    #[serde(untagged)]
    Command(Verb),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    verb: Ask,
    #[serde(default)]
    by: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    ok: bool,
    /// The engine's process.
    pid: u32,
    /// What was done, or why not.
    text: String,
    /// What the run waits for before it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    waits: Option<String>,
}

impl Answer {
    fn of(done: Result<String, String>) -> Answer {
        let (ok, text) = match done {
            Ok(text) => (true, text),
            Err(text) => (false, text),
        };
        Answer { ok, pid: std::process::id(), text, waits: None }
    }
}

/// The socket, removed when it is dropped.
pub(super) struct Door {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Door {
    fn drop(&mut self) {
        // The next engine removes it too.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Opens the run's control socket. The caller holds the run's lock, so a socket that is there is a dead engine's.
pub(super) fn open(run: &RunDir) -> Result<Door, EngineError> {
    let path = run.make_socket_path()?;
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(EngineError::io(path, "remove the old control socket")(error));
        }
        _ => {}
    }
    let listener = UnixListener::bind(&path).map_err(EngineError::io(&path, "open the control socket"))?;
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&path, private).map_err(EngineError::io(&path, "make the control socket private"))?;
    Ok(Door { listener, path })
}

/// A peer that is being served.
struct Peer {
    task: AbortHandle,
    /// Its request is whole: it is not idle any more.
    asked: Arc<AtomicBool>,
}

/// Makes room for one more: where all places are taken, the one that has been silent for longest gives way, so that peers
/// that only connect lock nobody out. False when all are being answered.
fn make_room(peers: &mut VecDeque<Peer>) -> bool {
    peers.retain(|peer| !peer.task.is_finished());
    if peers.len() < PEERS {
        return true;
    }
    let Some(silent) = peers.iter().position(|peer| !peer.asked.load(Ordering::Relaxed)) else { return false };
    if let Some(peer) = peers.remove(silent) {
        peer.task.abort();
    }
    true
}

/// The peers that are being served. When it is dropped, none is any more.
#[derive(Default)]
pub(super) struct Peers {
    tasks: Mutex<JoinSet<()>>,
    all: Mutex<VecDeque<Peer>>,
}

impl Peers {
    /// Serves one more, unless all places are taken by such as have asked.
    fn serve(&self, shared: &Arc<Shared>, pace: &Arc<Pace>, stream: UnixStream) -> bool {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if !make_room(&mut all) {
            return false;
        }
        let asked = Arc::new(AtomicBool::new(false));
        let peer = serve_peer(Arc::clone(shared), Arc::clone(pace), stream, Arc::clone(&asked));
        all.push_back(Peer { task: self.tasks().spawn(peer), asked });
        true
    }

    /// The next that is through; none when there is none.
    async fn next(&self) -> Option<()> {
        poll_fn(|cx| self.tasks().poll_join_next(cx)).await.map(drop)
    }

    /// Lets those that have asked have their answer: the run may end by the very command that they gave.
    pub(super) async fn answered(&self) {
        let all = std::mem::take(&mut *self.all.lock().unwrap_or_else(PoisonError::into_inner));
        all.iter().filter(|peer| !peer.asked.load(Ordering::Relaxed)).for_each(|peer| peer.task.abort());
        // Whoever does not take its answer in its time is left without.
        let _ = timeout(LIMIT, async { while self.next().await.is_some() {} }).await;
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers for as long as it is polled.
pub(super) async fn answer(shared: Arc<Shared>, door: Door, peers: &Peers) -> Result<(), JournalError> {
    let pace = Arc::new(Pace::default());
    loop {
        tokio::select! {
            biased;
            Some(()) = peers.next() => {}
            accepted = door.listener.accept() => match accepted {
                Ok((stream, _)) => {
                    if !peers.serve(&shared, &pace, stream) {
                        tracing::warn!("control socket: more peers than can be answered");
                    }
                }
                Err(error) => {
                    tracing::warn!("control socket: {error}");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            },
        }
    }
}

/// The user at the other end, as the kernel knows him; none when he has no say here.
fn peer_uid(stream: &UnixStream) -> Option<u32> {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().ok().map(|peer| peer.uid()).filter(|uid| *uid == own || *uid == 0)
}

async fn serve_peer(shared: Arc<Shared>, pace: Arc<Pace>, mut stream: UnixStream, asked: Arc<AtomicBool>) {
    let answer = if let Some(uid) = peer_uid(&stream) {
        let Ok(Ok(line)) = timeout(LIMIT, read_line(&mut stream)).await else { return };
        asked.store(true, Ordering::Relaxed);
        Answer::of(match read_request(&line) {
            Ok(Request { verb: Ask::Ping, .. }) => Ok(shared.run.to_string()),
            // Each command that is followed is a sync of the disk that the run needs too.
            Ok(_) if !pace.admit() => Err(super::pace::REFUSAL.into()),
            Ok(Request { verb: Ask::Command(verb), by }) => shared.command(verb, &signed(&by, uid)).await,
            Err(text) => Err(text),
        })
    } else {
        Answer::of(Err(STRANGER.into()))
    };
    say(&mut stream, &answer).await;
}

/// What is told to another user.
const STRANGER: &str = "only the user who runs the engine may command it";

async fn say(stream: &mut UnixStream, answer: &Answer) {
    if let Ok(mut line) = serde_json::to_vec(answer) {
        line.push(b'\n');
        let _ = timeout(LIMIT, stream.write_all(&line)).await;
    }
}

/// Answers for as long as the run waits to begin. Returns once somebody has given it up, which only a run can be that never began
/// (`fresh`): who did.
pub(super) async fn answer_while_it_waits(door: &Door, run: &RunId, why: &str, fresh: bool) -> String {
    loop {
        let Ok((mut stream, _)) = door.listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(200)).await;
            continue;
        };
        let Some(uid) = peer_uid(&stream) else {
            say(&mut stream, &Answer::of(Err(STRANGER.into()))).await;
            continue;
        };
        let Ok(Ok(line)) = timeout(LIMIT, read_line(&mut stream)).await else { continue };
        let waits = Some(why.to_owned());
        match read_request(&line) {
            Ok(Request { verb: Ask::Ping, .. }) => {
                say(&mut stream, &Answer { waits, ..Answer::of(Ok(run.to_string())) }).await;
            }
            Ok(Request { verb: Ask::Command(Verb::Abort), by }) if fresh => {
                let text = "given up before it began: nothing was done".to_owned();
                say(&mut stream, &Answer { waits, ..Answer::of(Ok(text)) }).await;
                return signed(&by, uid);
            }
            Ok(_) => {
                let text = format!("the run does not go on yet: it {why}; try again once it does");
                say(&mut stream, &Answer { waits, ..Answer::of(Err(text)) }).await;
            }
            Err(text) => say(&mut stream, &Answer::of(Err(text))).await,
        }
    }
}

/// Who commands: what he calls himself, and who he is.
fn signed(by: &str, uid: u32) -> String {
    match clean_short(by.trim(), 80) {
        name if name.is_empty() || name == format!("uid {uid}") => format!("uid {uid}"),
        name => format!("{name} (uid {uid})"),
    }
}

fn read_request(line: &[u8]) -> Result<Request, String> {
    serde_json::from_slice(line).map_err(|error| format!("not a command: {}", clean_short(&error.to_string(), 200)))
}

/// What is wrong with a request, if something is; for fuzzers.
pub(crate) fn check_request(line: &[u8]) -> Result<(), String> {
    read_request(line).map(drop)
}

async fn read_line(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    BufReader::new(stream.take(LONGEST)).read_until(b'\n', &mut line).await?;
    match line.pop() {
        Some(b'\n') => Ok(line),
        None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended before it said anything")),
        Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "what it said is not whole")),
    }
}

/// Commands the run's engine. Its answer, in words.
///
/// # Errors
/// When no engine answers, or it will not follow the command.
pub async fn command(run: &RunDir, verb: Verb, by: &str) -> Result<String, EngineError> {
    let answer = ask(run, Request { verb: Ask::Command(verb), by: clean(by) }).await?;
    Ok(clean(&answer.text))
}

/// Whether the run's engine answers; its process id.
///
/// # Errors
/// When no engine answers.
pub async fn ping(run: &RunDir) -> Result<u32, EngineError> {
    ask(run, Request { verb: Ask::Ping, by: String::new() }).await.map(|answer| answer.pid)
}

/// What the run waits for before it begins, or goes on, in words that follow "the run"; none where it does not, or no engine answers.
pub async fn waits(run: &RunDir) -> Option<String> {
    let answer = ask(run, Request { verb: Ask::Ping, by: String::new() }).await.ok()?;
    answer.waits.map(|why| clean(&why))
}

/// Whether the run's engine answers; its process id, and what the run waits for.
pub(super) async fn greet(run: &RunDir) -> Result<(u32, Option<String>), EngineError> {
    ask(run, Request { verb: Ask::Ping, by: String::new() }).await.map(|answer| (answer.pid, answer.waits))
}

async fn ask(run: &RunDir, request: Request) -> Result<Answer, EngineError> {
    let path = run.socket_path();
    let away = |why: io::Error| EngineError::NoEngine { run: run.id().to_string(), why: why.to_string() };
    let talk = async {
        let mut stream = UnixStream::connect(&path).await?;
        if peer_uid(&stream).is_none() {
            return Err(io::Error::other("somebody else's process answers on its control socket"));
        }
        let mut line = serde_json::to_vec(&request)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        let line = read_line(&mut stream).await?;
        Ok(serde_json::from_slice::<Answer>(&line)?)
    };
    let answer = match timeout(ANSWER, talk).await {
        Ok(answer) => answer.map_err(away)?,
        Err(_) => return Err(away(io::ErrorKind::TimedOut.into())),
    };
    if answer.ok { Ok(answer) } else { Err(EngineError::Refused(clean(&answer.text))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn crowd(tasks: &mut JoinSet<()>, asked: impl Fn(usize) -> bool) -> VecDeque<Peer> {
        let mut peer =
            |i| Peer { task: tasks.spawn(std::future::pending()), asked: Arc::new(AtomicBool::new(asked(i))) };
        (0..PEERS).map(&mut peer).collect()
    }

    #[tokio::test]
    async fn the_longest_silent_peer_gives_way_and_none_that_has_asked() {
        let mut tasks = JoinSet::new();
        let mut peers = crowd(&mut tasks, |i| i < 2).await;
        let third = peers[2].task.clone();
        assert!(make_room(&mut peers));
        assert!(tasks.join_next().await.unwrap().unwrap_err().is_cancelled());
        assert!(third.is_finished() && peers.len() == PEERS - 1);
        let mut peers = crowd(&mut tasks, |_| true).await;
        assert!(!make_room(&mut peers));
        // One that is done leaves room.
        peers[5].task.abort();
        while !peers[5].task.is_finished() {
            tokio::task::yield_now().await;
        }
        assert!(make_room(&mut peers) && peers.len() == PEERS - 1);
    }

    #[test]
    fn who_commands_is_told_by_the_kernel_whatever_he_calls_himself() {
        assert_eq!(signed("satoru@bastion", 1000), "satoru@bastion (uid 1000)");
        assert_eq!(signed("", 1000), "uid 1000");
        assert_eq!(signed("uid 1000", 1000), "uid 1000");
        assert_eq!(signed("root\u{1b}[2J (uid 0)", 1000), "root[2J (uid 0) (uid 1000)");
        assert!(signed(&"x".repeat(4_000), 1000).ends_with("… (uid 1000)"));
    }
}
