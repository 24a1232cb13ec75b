//! Programs inside containers: made ready, started on a stream of their own, and asked how they ended.

use super::super::model::{Refusal, refuse};
use super::{Body, Daemon, empty, reply, unversioned};
use hyper::Response;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// How often a program that runs is looked after, in real time.
const LOOK: Duration = Duration::from_millis(20);

/// Of `/exec/ID/VERB`, the id and the verb.
pub(super) fn id(path: &str) -> Option<(&str, &str)> {
    unversioned(path).strip_prefix("/exec/")?.split_once('/')
}

impl Daemon {
    pub(super) fn create_exec(&self, container: &str, body: &[u8]) -> Result<Response<Body>, Refusal> {
        let body: Value = serde_json::from_slice(body).map_err(|e| refuse(400, format!("invalid JSON: {e}")))?;
        let argv = body["Cmd"].as_array().into_iter().flatten();
        let argv = argv.filter_map(Value::as_str).map(str::to_owned).collect();
        let id = self.shared.on(self.node, |machine, _, _| machine.create_exec(container, argv))?;
        Ok(reply(201, &json!({"Id": id})))
    }

    /// The connection becomes the program's: its output in frames, then the end.
    pub(super) async fn start_exec(
        &self,
        id: &str,
        body: &[u8],
        upgrade: OnUpgrade,
    ) -> Result<Response<Body>, Refusal> {
        let body: Value = serde_json::from_slice(body).map_err(|e| refuse(400, format!("invalid JSON: {e}")))?;
        if body["Detach"] == true || body["Tty"] == true {
            return Err(refuse(501, "only attached programs without a terminal"));
        }
        let now = self.shared.clock.now();
        let ran = self.shared.world().start_exec(self.node, id, now)?;
        let until = now.saturating_add(ran.takes_ms);
        let (shared, node, id) = (self.shared.clone(), self.node, id.to_owned());
        tokio::spawn(async move {
            let Ok(stream) = upgrade.await else { return };
            let mut stream = TokioIo::new(stream);
            // It ends when it is done, or with its container. A client that goes away does not end it.
            while shared.clock.now() < until {
                if !shared.on(node, |machine, _, _| machine.exec_lives(&id)) {
                    return;
                }
                let left = shared.clock.real(until - shared.clock.now());
                tokio::time::sleep(left.min(LOOK)).await;
            }
            for (number, text) in [(1, &ran.out), (2, &ran.err)] {
                let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
                let mut frame = vec![number, 0, 0, 0];
                frame.extend(length.to_be_bytes());
                frame.extend(text.bytes());
                // A client that goes away without a word is no concern of ours.
                if !text.is_empty() && stream.write_all(&frame).await.is_err() {
                    return;
                }
            }
            let _ = stream.shutdown().await;
        });
        let mut response = empty(101);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/vnd.docker.multiplexed-stream"));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("tcp"));
        Ok(response)
    }

    pub(super) fn inspect_exec(&self, id: &str) -> Result<Response<Body>, Refusal> {
        self.shared.on(self.node, |machine, _, now| {
            let exec = machine.exec(id).ok_or_else(|| refuse(404, format!("No such exec instance: {id}")))?;
            let ends = exec.ran.as_ref().map(|ran| exec.begun.saturating_add(ran.takes_ms));
            let running = ends.is_some_and(|ends| now < ends) && machine.exec_lives(id);
            let answer = json!({
                "ID": exec.id,
                "ContainerID": exec.container,
                "Running": running,
                "ExitCode": exec.ran.as_ref().filter(|_| !running).map(|ran| ran.code),
                "ProcessConfig": {"entrypoint": exec.argv.first(), "arguments": exec.argv.get(1..)},
            });
            Ok(reply(200, &answer))
        })
    }
}
