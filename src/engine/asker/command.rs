//! A command's exit code.

use rustix::process::{Pid, Signal, kill_process_group};
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::process::Command;
use tokio::time::timeout;

/// Of what a command says, this much of the end is kept. Bytes.
const TAIL: usize = 4096;
/// How long to read on, and to wait, once everything that could still write was killed.
const REST: Duration = Duration::from_millis(500);

/// What a command needs of the engine's own environment.
const ENVIRONMENT: [&str; 2] = ["PATH", "HOME"];

/// Runs a command: without a shell, in `folder`, with nothing on its standard input, in a process group of its own that
/// does not outlive the answer.
///
/// # Errors
/// When it does not end with `exit` within `limit`; with its last line.
pub(super) async fn ask(
    argv: &[String],
    exit: u8,
    folder: &Path,
    kubeconfig: Option<&Path>,
    limit: Duration,
) -> Result<(), String> {
    let Some((program, arguments)) = argv.split_first() else { return Err("there is no command".into()) };
    let failed = |error: std::io::Error| format!("{program} cannot be run: {error}");
    // One pipe for both, so that the last line is the last line.
    let (reader, writer) = std::io::pipe().map_err(failed)?;
    let environment = ENVIRONMENT.iter().filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)));
    let mut child = {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(environment)
            .envs(kubeconfig.map(|path| ("KUBECONFIG", path)))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(writer.try_clone().map_err(failed)?)
            .stderr(writer)
            .process_group(0)
            .kill_on_drop(true);
        // The command holds the pipe's writing end, and goes with this block.
        command.spawn().map_err(failed)?
    };
    let group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let mut output = Tail::of(reader).map_err(failed)?;
    let ended = timeout(limit, async {
        loop {
            tokio::select! {
                more = output.read(), if output.open => more,
                status = child.wait() => break status,
            }
        }
    })
    .await;
    // It may have left others behind that hold the pipe.
    drop(group);
    let _ = timeout(REST, async {
        while output.open {
            output.read().await;
        }
        child.wait().await
    })
    .await;
    let said = output.last_line();
    let said = if said.is_empty() { said } else { format!(": {said}") };
    match ended {
        Ok(Ok(status)) if status.code() == Some(exit.into()) => Ok(()),
        Ok(Ok(status)) => Err(match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit {code}{said}"),
            (None, Some(signal)) => format!("killed by signal {signal}{said}"),
            (None, None) => format!("{status}{said}"),
        }),
        Ok(Err(error)) => Err(failed(error)),
        Err(_) => Err(format!("no answer within {limit:?}, so it was killed{said}")),
    }
}

/// A process group that is killed when this is dropped, its leader gone or not.
///
/// A group keeps its number from being given out again for as long as it has members; of one that is empty the number
/// could only be taken if all others were used up within these microseconds.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Mostly there is nobody left.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// The end of what a command says.
struct Tail {
    pipe: Receiver,
    open: bool,
    bytes: Vec<u8>,
}

impl Tail {
    fn of(reader: std::io::PipeReader) -> std::io::Result<Tail> {
        Ok(Tail { pipe: Receiver::from_owned_fd(reader.into())?, open: true, bytes: Vec::new() })
    }

    async fn read(&mut self) {
        let mut some = [0; TAIL];
        let read = self.pipe.read(&mut some).await.unwrap_or(0);
        self.open = read > 0;
        self.bytes.extend_from_slice(&some[..read]);
        self.bytes.drain(..self.bytes.len().saturating_sub(TAIL));
    }

    fn last_line(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default().to_owned()
    }
}
