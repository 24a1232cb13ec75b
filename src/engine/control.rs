//! The control socket: one JSON line asks, one JSON line answers. Only for the user who runs the engine.

use super::error::EngineError;
use super::run_dir::RunDir;
use super::shared::Shared;
use crate::fleet::clean;
use crate::journal::{JournalError, Verb};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
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

/// Answers for as long as it is polled.
pub(super) async fn answer(shared: Arc<Shared>, door: Door) -> Result<(), JournalError> {
    let mut peers = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = peers.join_next() => {}
            accepted = door.listener.accept() => match accepted {
                Ok((stream, _)) if peers.len() < PEERS => {
                    peers.spawn(serve_peer(Arc::clone(&shared), stream));
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!("control socket: {error}");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            },
        }
    }
}

fn same_user(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

async fn serve_peer(shared: Arc<Shared>, mut stream: UnixStream) {
    let pid = std::process::id();
    let answer = if !same_user(&stream) {
        Answer { ok: false, pid, text: "only the user who runs the engine may command it".into() }
    } else {
        match timeout(LIMIT, read_line(&mut stream)).await {
            Ok(Ok(line)) => match serde_json::from_slice::<Request>(&line) {
                Ok(Request { verb: Ask::Ping, .. }) => Answer { ok: true, pid, text: shared.run.to_string() },
                Ok(Request { verb: Ask::Command(verb), by }) => match shared.command(verb, &by).await {
                    Ok(text) => Answer { ok: true, pid, text },
                    Err(text) => Answer { ok: false, pid, text },
                },
                Err(error) => Answer { ok: false, pid, text: format!("not a command: {}", clean(&error.to_string())) },
            },
            _ => return,
        }
    };
    if let Ok(mut line) = serde_json::to_vec(&answer) {
        line.push(b'\n');
        let _ = timeout(LIMIT, stream.write_all(&line)).await;
    }
}

async fn read_line(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    BufReader::new(stream.take(LONGEST)).read_until(b'\n', &mut line).await?;
    if line.pop() == Some(b'\n') { Ok(line) } else { Err(io::ErrorKind::InvalidData.into()) }
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

async fn ask(run: &RunDir, request: Request) -> Result<Answer, EngineError> {
    let path = run.socket_path();
    let away = |why: io::Error| EngineError::NoEngine { run: run.id().to_string(), why: why.to_string() };
    let talk = async {
        let mut stream = UnixStream::connect(&path).await?;
        if !same_user(&stream) {
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
