//! Programs inside containers: made ready, started on a stream of their own, and asked how they ended.

use super::super::model::{Refusal, TAKES, refuse};
use super::{Body, Daemon, empty, reply, unversioned};
use hyper::Response;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

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
        let until = self.shared.clock.now() + TAKES;
        self.shared.clock.sleep_until(until).await;
        let ran = self.shared.on(self.node, |machine, _, now| machine.start_exec(id, now))?;
        tokio::spawn(async move {
            let Ok(stream) = upgrade.await else { return };
            let mut stream = TokioIo::new(stream);
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
        self.shared.on(self.node, |machine, _, _| {
            let exec = machine.exec(id).ok_or_else(|| refuse(404, format!("No such exec instance: {id}")))?;
            let answer = json!({
                "ID": exec.id,
                "ContainerID": exec.container,
                "Running": false,
                "ExitCode": exec.ran.as_ref().map(|ran| ran.code),
                "ProcessConfig": {"entrypoint": exec.argv.first(), "arguments": exec.argv.get(1..)},
            });
            Ok(reply(200, &answer))
        })
    }
}
