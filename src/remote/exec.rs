//! A program inside a running container, through the Docker Engine API.

use super::docker::Engine;
use super::limits;
use super::port::{NodeError, Ran};
use crate::fleet::ContainerName;
use bollard::container::LogOutput;
use bollard::exec::StartExecResults;
use bollard::models::ExecConfig;
use bytes::Bytes;
use futures::StreamExt;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

impl Engine {
    /// Makes `argv` ready to run in a container.
    pub async fn create_exec(&self, container: &ContainerName, argv: &[String]) -> Result<String, NodeError> {
        let config = ExecConfig {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(argv.to_vec()),
            ..ExecConfig::default()
        };
        let what = words(container, argv);
        let created = timeout(limits::DOCKER, self.bollard.create_exec(container.as_str(), config)).await;
        let limit = || NodeError::TimedOut(self.says(format!("{what} took longer than {:?}", limits::DOCKER)));
        created.map_err(|_| limit())?.map(|made| made.id).map_err(|error| self.fault(&what, error))
    }

    /// Runs it, and keeps the beginning of what it says.
    pub async fn start_exec(&self, id: &str, container: &ContainerName, argv: &[String]) -> Result<Ran, NodeError> {
        let what = words(container, argv);
        match timeout(limits::PROGRAM, self.run(id, &what)).await {
            Ok(ran) => ran,
            Err(_) => Err(NodeError::TimedOut(self.says(format!("{what} took longer than {:?}", limits::PROGRAM)))),
        }
    }

    /// A program that was not through within `limit`: the node is asked until it ended, or can be waited for no longer.
    pub async fn end_of_exec(
        &self,
        id: &str,
        container: &ContainerName,
        argv: &[String],
        limit: Duration,
    ) -> Result<Ran, NodeError> {
        let what = words(container, argv);
        let until = Instant::now() + limits::PROGRAM_ENDS;
        loop {
            let asked = timeout(limits::DOCKER, self.bollard.inspect_exec(id)).await;
            let known = match asked {
                Ok(Ok(known)) => known,
                Ok(Err(error)) => return Err(self.fault(&what, error)),
                Err(_) => return Err(NodeError::TimedOut(self.says(format!("{what}: docker does not answer")))),
            };
            if let (Some(false), Some(code)) = (known.running, known.exit_code) {
                // What it wrote is lost: nobody listened any more.
                return Ok(Ran { code, out: String::new(), err: format!("no end within {limit:?}") });
            }
            if Instant::now() > until {
                let why = format!("{what} took longer than {limit:?}, and still runs there");
                return Err(NodeError::Failed(self.says(why)));
            }
            sleep(limits::PROGRAM_ENDS / 20).await;
        }
    }

    async fn run(&self, id: &str, what: &str) -> Result<Ran, NodeError> {
        let fault = |error| self.fault(what, error);
        let started = self.bollard.start_exec(id, None).await.map_err(fault)?;
        // The input stays open until the output ends: some ways to Docker end both when one ends.
        let StartExecResults::Attached { mut output, input: _input } = started else {
            return Err(NodeError::Failed(self.says(format!("{what}: docker gives no output"))));
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        while let Some(piece) = output.next().await {
            match piece.map_err(fault)? {
                LogOutput::StdOut { message } | LogOutput::Console { message } => keep(&mut out, &message),
                LogOutput::StdErr { message } => keep(&mut err, &message),
                LogOutput::StdIn { .. } => {}
            }
        }
        // Without a code it still runs, and only the way to it broke.
        let code = self.bollard.inspect_exec(id).await.map_err(fault)?.exit_code;
        let code = code.ok_or_else(|| NodeError::Unreachable(self.says(format!("{what}: its output broke off"))))?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Ran { code, out: text(out), err: text(err) })
    }
}

fn words(container: &ContainerName, argv: &[String]) -> String {
    format!("{} in {container}", argv.first().map_or("nothing", String::as_str))
}

fn keep(kept: &mut Vec<u8>, more: &Bytes) {
    let room = limits::PROGRAM_OUTPUT.saturating_sub(kept.len());
    kept.extend_from_slice(&more[..more.len().min(room)]);
}
