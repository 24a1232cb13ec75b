//! The Docker Engine API of a node, over channels of its SSH connection.
//!
//! Bollard does what it has types for. Containers' configurations go through as raw JSON instead: typed models would
//! drop the fields that they do not know, and nothing of a configuration may be lost.

use super::connection::{Connection, Output};
use super::port::{NodeError, PullProgress};
use super::{limits, tally::Tally};
use crate::fleet::{Image, clean, clean_short};
use bollard::query_parameters::CreateImageOptionsBuilder;
use bollard::{BollardRequest, ClientVersion, Docker};
use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OnceCell;
use tokio::time::timeout;

const SOCKET: &str = "/var/run/docker.sock";

/// How Docker is reached over one connection; found out once.
#[derive(Default)]
pub(super) struct Way {
    /// The socket's path; `None` where DOCKER_HOST points to something that only docker's own client can reach.
    socket: OnceCell<Option<String>>,
    /// The server refuses sockets, and `docker system dial-stdio` works.
    stdio: AtomicBool,
    /// The API version that both sides know.
    version: OnceCell<ClientVersion>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Opens a stream to Docker; says whether it is docker's own client in between.
async fn open(link: &Connection) -> Result<(Box<dyn Stream>, bool), NodeError> {
    let socket = link.docker.socket.get_or_try_init(|| find_socket(link)).await?;
    if let (Some(path), false) = (socket, link.docker.stdio.load(Ordering::Relaxed)) {
        match link.socket(path).await {
            Ok(stream) => return Ok((Box::new(stream), false)),
            // OpenSSH does not tell "forwarding is forbidden" from "cannot connect": ask docker's client in both cases.
            Err(NodeError::Failed(why)) => tracing::debug!(why, "falling back to docker system dial-stdio"),
            Err(error) => return Err(error),
        }
    }
    Ok((Box::new(link.pipe("docker system dial-stdio").await?), true))
}

/// What stands before the answer to [`ASK_DOCKER_HOST`], whatever a login shell prints first.
const MARK: &str = "sonoba:";
/// The first command on a connection.
pub(crate) const ASK_DOCKER_HOST: &str = "exec sh -c 'printf \"sonoba:%s\" \"${DOCKER_HOST-}\"'";

async fn find_socket(link: &Connection) -> Result<Option<String>, NodeError> {
    let out = link.exec("asking for DOCKER_HOST", ASK_DOCKER_HOST, &[], limits::EXEC).await?;
    let said = String::from_utf8_lossy(&out.stdout);
    let Some((_, host)) = said.rsplit_once(MARK) else {
        return Err(NodeError::Refused(link.says(not_ours(&out))));
    };
    Ok(match host.trim() {
        "" => Some(SOCKET.to_owned()),
        host => host.strip_prefix("unix://").filter(|path| path.starts_with('/')).map(str::to_owned),
    })
}

/// What is wrong where commands are answered by something else than the command that was asked for.
fn not_ours(out: &Output) -> String {
    let said = [&out.stdout, &out.stderr].map(|bytes| clean_short(String::from_utf8_lossy(bytes).trim(), 200));
    let said = said.into_iter().find(|said| !said.is_empty());
    let said = said.map_or_else(|| "nothing".to_owned(), |said| format!("{said:?}"));
    let status = out.status.map_or_else(|| "ended by a signal".to_owned(), |status| format!("status {status}"));
    format!(
        "its sshd does not run our commands, but one of its own: a forced command (ForceCommand in sshd_config, or command=\"…\" \
         before our key in authorized_keys), or a login shell that is none (nologin). It said {said} ({status}). Let this user and \
         key run commands; try: ssh USER@HOST true"
    )
}

/// One request on a stream of its own: nothing is left half read for the next one.
async fn send<B>(link: &Connection, request: Request<B>) -> Result<Response<Incoming>, NodeError>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (stream, stdio) = open(link).await?;
    let broken =
        |e: hyper::Error| {
            NodeError::Unreachable(link.says(format!(
                "Docker does not answer ({e}); is dockerd running, and is the user in the group docker?"
            )))
        };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(async move {
        // A program inside a container takes the stream over.
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a stream to docker ended");
        }
    });
    let (mut parts, body) = request.into_parts();
    // A server is asked by the path alone, with the host in a header.
    let path = parts.uri.path_and_query().map_or("/", |p| p.as_str());
    parts.uri = path.parse().map_err(|e| NodeError::Failed(link.says(format!("docker request {path}: {e}"))))?;
    parts.headers.insert(HOST, HeaderValue::from_static("docker"));
    let response = sender.send_request(Request::from_parts(parts, body)).await.map_err(broken)?;
    if stdio {
        link.docker.stdio.store(true, Ordering::Relaxed);
    }
    Ok(response)
}

/// Docker on one node.
pub(super) struct Engine {
    link: Arc<Connection>,
    version: ClientVersion,
    pub(super) bollard: Docker,
}

impl Engine {
    /// Docker over a connection, with the API version negotiated.
    pub async fn over(link: &Arc<Connection>) -> Result<Engine, NodeError> {
        let version = *link.docker.version.get_or_try_init(|| negotiate(link)).await?;
        let carrier = link.clone();
        let transport = move |request: BollardRequest| {
            let link = carrier.clone();
            async move {
                send(&link, request).await.map_err(|error| bollard::errors::Error::from(std::io::Error::other(error)))
            }
        };
        let seconds = limits::PULL_SILENCE.as_secs();
        let bollard = Docker::connect_with_custom_transport(transport, Some("http://docker"), seconds, &version)
            .map_err(|e| NodeError::Failed(link.says(e)))?;
        Ok(Engine { link: link.clone(), version, bollard })
    }

    /// A request with JSON both ways. `None` where Docker says that there is no such thing.
    pub async fn json(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Option<Value>, NodeError> {
        let ClientVersion { major_version, minor_version } = self.version;
        json(&self.link, method, &format!("/v{major_version}.{minor_version}{path}"), body).await
    }

    /// A container by name or id.
    pub async fn container(&self, name: &str) -> Result<Option<Value>, NodeError> {
        self.json(Method::GET, &format!("/containers/{name}/json"), None).await
    }

    /// An image by reference or id.
    pub async fn image(&self, reference: &str) -> Result<Option<Value>, NodeError> {
        self.json(Method::GET, &format!("/images/{reference}/json"), None).await
    }

    /// Pulls once, without trying again.
    pub async fn pull(&self, image: &Image, progress: &(dyn Fn(PullProgress) + Send + Sync)) -> Result<(), NodeError> {
        let tag = image.digest().or(image.tag()).unwrap_or("latest");
        let options = CreateImageOptionsBuilder::default().from_image(image.name()).tag(tag).build();
        let failed = |why: &str| NodeError::Failed(self.link.says(format!("pulling {image}: {why}")));
        let mut stream = std::pin::pin!(self.bollard.create_image(Some(options), None, None));
        let mut tally = Tally::default();
        loop {
            let Ok(item) = timeout(limits::PULL_SILENCE, stream.next()).await else {
                let silence = limits::PULL_SILENCE;
                return Err(NodeError::TimedOut(
                    self.link.says(format!("pulling {image}: no progress for {silence:?}")),
                ));
            };
            let Some(item) = item else { return Ok(()) };
            let info = item.map_err(|error| self.fault(&format!("pulling {image}"), error))?;
            if let Some(why) = info.error_detail.and_then(|e| e.message) {
                return Err(failed(&why));
            }
            if let Some(now) = tally.add(info.id.as_deref(), info.status.as_deref(), info.progress_detail.as_ref()) {
                progress(now);
            }
        }
    }

    pub(super) fn fault(&self, what: &str, error: bollard::errors::Error) -> NodeError {
        use bollard::errors::Error;
        if let Error::IOError { err } = &error
            && let Some(node) = err.get_ref().and_then(|e| e.downcast_ref::<NodeError>())
        {
            return node.clone();
        }
        let text = self.link.says(format!("{what}: {error}"));
        match error {
            Error::DockerResponseServerError { .. } | Error::DockerStreamError { .. } => NodeError::Failed(text),
            Error::RequestTimeoutError => NodeError::TimedOut(text),
            _ => NodeError::Unreachable(text),
        }
    }

    /// An error's text with this node in it.
    pub fn says(&self, what: impl std::fmt::Display) -> String {
        self.link.says(what)
    }
}

async fn json(link: &Connection, method: Method, path: &str, body: Option<&Value>) -> Result<Option<Value>, NodeError> {
    let what = format!("docker {method} {path}");
    let talk = async {
        let mut request = Request::builder().method(method).uri(path);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let bytes = body.map(Value::to_string).unwrap_or_default();
        let request = request
            .body(Full::new(Bytes::from(bytes)))
            .map_err(|e| NodeError::Failed(link.says(format!("{what}: {e}"))))?;
        let response = send(link, request).await?;
        let status = response.status();
        let bytes = Limited::new(response.into_body(), limits::DOCKER_BODY)
            .collect()
            .await
            .map_err(|e| NodeError::Unreachable(link.says(format!("{what}: {e}"))))?
            .to_bytes();
        if status == hyper::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !status.is_success() && status != hyper::StatusCode::NOT_MODIFIED {
            let text = String::from_utf8_lossy(&bytes);
            let why = serde_json::from_slice::<Value>(&bytes)
                .ok()
                .and_then(|v| v["message"].as_str().map(str::to_owned))
                .unwrap_or_else(|| text.chars().take(400).collect());
            return Err(NodeError::Failed(link.says(format!("{what}: {status}: {why}"))));
        }
        if bytes.is_empty() {
            return Ok(Some(Value::Null));
        }
        let value = serde_json::from_slice(&bytes).map_err(|e| {
            NodeError::Failed(link.says(format!("{what}: the answer is not JSON: {}", clean(&e.to_string()))))
        })?;
        Ok(Some(value))
    };
    timeout(limits::DOCKER, talk).await.unwrap_or_else(|_| {
        Err(NodeError::TimedOut(link.says(format!("docker {path} took longer than {:?}", limits::DOCKER))))
    })
}

/// The newest API version that both sides know. Asked without a version in the path: an old daemon refuses a new one.
async fn negotiate(link: &Connection) -> Result<ClientVersion, NodeError> {
    let ours = *bollard::API_DEFAULT_VERSION;
    let answer = json(link, Method::GET, "/version", None).await?.unwrap_or_default();
    let theirs = answer["ApiVersion"].as_str().and_then(read_version).ok_or_else(|| {
        NodeError::Failed(link.says("docker does not state its API version; is it Docker that answers there?"))
    })?;
    Ok(if theirs < ours { theirs } else { ours })
}

fn read_version(text: &str) -> Option<ClientVersion> {
    let (major, minor) = text.split_once('.')?;
    Some(ClientVersion { major_version: major.parse().ok()?, minor_version: minor.parse().ok()? })
}
