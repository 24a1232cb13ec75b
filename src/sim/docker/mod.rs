//! A node's Docker Engine API, as far as a client that swaps containers needs it.

mod exec;
mod facts;
mod inspect;
mod pull;

use super::model::{Refusal, State, refuse};
use super::shared::Shared;
use bytes::Bytes;
use form_urlencoded::parse;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

type Body = UnsyncBoxBody<Bytes, Infallible>;
type Query = BTreeMap<String, String>;

/// The API version that this daemon speaks, and the oldest.
const API_VERSION: &str = "1.48";
const MIN_API_VERSION: &str = "1.24";
/// The largest body that is accepted.
const MAX_BODY: usize = 4 << 20;
/// How long a container has to stop when the request does not say. Seconds; Docker's default.
const STOP_S: u32 = 10;

/// Answers on a connection to the daemon.
pub(crate) async fn serve<S>(shared: Arc<Shared>, node: usize, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let daemon = Daemon { shared, node };
    let service = hyper::service::service_fn(move |request| daemon.clone().answer(request));
    let mut server = hyper::server::conn::http1::Builder::new();
    // `docker system dial-stdio` passes on the end of its input, and the answer still comes.
    server.half_close(true);
    // A client that goes away without a word is no concern of ours.
    let _ = server.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}

#[derive(Clone)]
struct Daemon {
    shared: Arc<Shared>,
    node: usize,
}

impl Daemon {
    async fn answer(self, mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let upgrade = hyper::upgrade::on(&mut request);
        let path = request.uri().path().to_owned();
        let query: Query = parse(request.uri().query().unwrap_or("").as_bytes()).into_owned().collect();
        let method = request.method().clone();
        let body = match Limited::new(request.into_body(), MAX_BODY).collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => return Ok(error(&refuse(400, "request body too large"))),
        };
        let answer = match exec::id(&path) {
            Some((id, "start")) if method == Method::POST => self.start_exec(id, &body, upgrade).await,
            _ => self.route(&method, &path, &query, &body).await,
        };
        Ok(answer.unwrap_or_else(|refusal| error(&refusal)))
    }

    async fn route(&self, method: &Method, path: &str, query: &Query, body: &[u8]) -> Result<Response<Body>, Refusal> {
        let path = unversioned(path);
        let not_found = || refuse(404, "page not found");
        match (method.as_str(), path) {
            ("GET" | "HEAD", "/_ping") => return Ok(ping()),
            ("GET", "/version") => return Ok(reply(200, &version())),
            ("GET", "/info") => return Ok(self.info()),
            ("GET", "/containers/json") => return self.list(query),
            ("POST", "/containers/create") => return self.create(query, body),
            ("POST", "/images/create") => return self.pull(query),
            _ => {}
        }
        if let Some(name) = path.strip_prefix("/images/").and_then(|rest| rest.strip_suffix("/json")) {
            let name = percent_decode_str(name).decode_utf8_lossy().into_owned();
            return self.image(&name);
        }
        if let Some(name) = path.strip_prefix("/distribution/").and_then(|rest| rest.strip_suffix("/json")) {
            return self.distribution(&percent_decode_str(name).decode_utf8_lossy());
        }
        if let (Some((id, "json")), "GET") = (exec::id(path), method.as_str()) {
            return self.inspect_exec(id);
        }
        let rest = path.strip_prefix("/containers/").ok_or_else(not_found)?;
        let (key, verb) = rest.split_once('/').map_or((rest, ""), |(key, verb)| (key, verb));
        let key = percent_decode_str(key).decode_utf8_lossy().into_owned();
        match (method.as_str(), verb) {
            ("GET", "json") => self.inspect(&key),
            ("GET", "archive") => self.archive(&key, query.get("path").map(String::as_str).unwrap_or_default()),
            ("POST", "start") => self.start(&key).await,
            ("POST", "stop") => self.stop(&key, query).await,
            ("POST", "restart") => {
                self.stop(&key, query).await?;
                self.start(&key).await?;
                Ok(empty(204))
            }
            ("POST", "rename") => {
                let name = query.get("name").map(String::as_str).unwrap_or_default();
                self.shared
                    .on(self.node, |machine, _, _| machine.find(&key).and_then(|at| machine.rename(at, name)))?;
                Ok(empty(204))
            }
            ("POST", "exec") => self.create_exec(&key, body),
            ("POST", "update") => self.update(&key, body),
            ("DELETE", "") => {
                let force = flag(query, "force");
                self.shared.on(self.node, |machine, _, now| {
                    machine.find(&key).and_then(|at| machine.remove(at, force, now))
                })?;
                Ok(empty(204))
            }
            _ => Err(not_found()),
        }
    }

    fn list(&self, query: &Query) -> Result<Response<Body>, Refusal> {
        let all = flag(query, "all");
        let filters = Filters::read(query.get("filters").map(String::as_str).unwrap_or_default())?;
        let listed = self.shared.on(self.node, |machine, _, now| {
            let wanted = machine.containers().iter().filter(|c| (all || c.running()) && filters.fit(c));
            let items = wanted.map(|c| inspect::summary(machine, c, &self.shared.clock, now));
            Value::Array(items.collect())
        });
        Ok(reply(200, &listed))
    }

    fn inspect(&self, key: &str) -> Result<Response<Body>, Refusal> {
        self.shared.on(self.node, |machine, _, _| {
            let container = &machine.containers()[machine.find(key)?];
            Ok(reply(200, &inspect::container(machine, container, &self.shared.clock)))
        })
    }

    fn create(&self, query: &Query, body: &[u8]) -> Result<Response<Body>, Refusal> {
        let body: Value = serde_json::from_slice(body).map_err(|e| refuse(400, format!("invalid JSON: {e}")))?;
        if !body.is_object() {
            return Err(refuse(400, "config cannot be empty in order to create a container"));
        }
        let name = query.get("name").map(String::as_str).unwrap_or_default();
        let id = self.shared.on(self.node, |machine, _, now| machine.create(name, body, now))?;
        Ok(reply(201, &json!({"Id": id, "Warnings": []})))
    }

    async fn start(&self, key: &str) -> Result<Response<Body>, Refusal> {
        let until = self.shared.on(self.node, |machine, env, now| {
            let at = machine.find(key)?;
            if matches!(machine.containers()[at].state, State::Stopping { .. }) {
                return Err(refuse(409, format!("cannot start a container that is being stopped: {key}")));
            }
            machine.start(at, now, env)
        })?;
        match until {
            Some(until) => {
                self.shared.clock.sleep_until(until).await;
                Ok(empty(204))
            }
            None => Ok(empty(304)),
        }
    }

    async fn stop(&self, key: &str, query: &Query) -> Result<Response<Body>, Refusal> {
        let timeout = query.get("t").and_then(|t| t.parse().ok()).unwrap_or(STOP_S);
        let until = self.shared.on(self.node, |machine, env, now| {
            let at = machine.find(key)?;
            Ok(machine.stop(at, timeout, now, env))
        })?;
        match until {
            Some(until) => {
                self.shared.clock.sleep_until(until).await;
                Ok(empty(204))
            }
            None => Ok(empty(304)),
        }
    }

    fn update(&self, key: &str, body: &[u8]) -> Result<Response<Body>, Refusal> {
        let body: Value = serde_json::from_slice(body).map_err(|e| refuse(400, format!("invalid JSON: {e}")))?;
        let policy = &body["RestartPolicy"];
        let known = ["no", "always", "unless-stopped", "on-failure", ""];
        if !policy.is_null() && !policy["Name"].as_str().is_some_and(|name| known.contains(&name)) {
            return Err(refuse(400, "invalid restart policy"));
        }
        self.shared.on(self.node, |machine, _, _| {
            let at = machine.find(key)?;
            machine.update(at, policy);
            Ok(())
        })?;
        Ok(reply(200, &json!({"Warnings": null})))
    }

    fn image(&self, name: &str) -> Result<Response<Body>, Refusal> {
        self.shared.on(self.node, |machine, _, _| {
            let (image, id) = machine.image(name).ok_or_else(|| refuse(404, format!("No such image: {name}")))?;
            Ok(reply(200, &inspect::image(image, &id)))
        })
    }

    fn pull(&self, query: &Query) -> Result<Response<Body>, Refusal> {
        let from = query.get("fromImage").map(String::as_str).unwrap_or_default();
        let whole = match query.get("tag").map(String::as_str).filter(|t| !t.is_empty()) {
            Some(digest) if digest.starts_with("sha256:") => format!("{from}@{digest}"),
            Some(tag) => format!("{from}:{tag}"),
            None => from.to_owned(),
        };
        let image = whole.parse().map_err(|_| refuse(400, "invalid reference format"))?;
        let plan = self.shared.on(self.node, |machine, env, now| machine.pull(&image, now, env))?;
        Ok(pull::stream(self.shared.clone(), self.node, image, plan))
    }
}

/// What a list of containers is narrowed to.
struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Reads `{"name": ["a"]}`, and the older `{"name": {"a": true}}`.
    fn read(text: &str) -> Result<Filters, Refusal> {
        if text.is_empty() {
            return Ok(Filters(BTreeMap::new()));
        }
        let bad = || refuse(400, "invalid filter");
        let value: Value = serde_json::from_str(text).map_err(|_| bad())?;
        let mut filters = BTreeMap::new();
        for (key, values) in value.as_object().ok_or_else(bad)? {
            if !["name", "label", "id", "status"].contains(&key.as_str()) {
                return Err(refuse(400, format!("invalid filter '{key}'")));
            }
            let values: Vec<String> = match values {
                Value::Array(all) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
                Value::Object(all) => all.keys().cloned().collect(),
                _ => return Err(bad()),
            };
            filters.insert(key.clone(), values);
        }
        Ok(Filters(filters))
    }

    fn fit(&self, container: &super::model::Container) -> bool {
        let name_fits = |pattern: &String| {
            let (start, rest) = pattern.strip_prefix('^').map_or((false, pattern.as_str()), |r| (true, r));
            let (end, rest) = rest.strip_suffix('$').map_or((false, rest), |r| (true, r));
            let rest = rest.strip_prefix('/').unwrap_or(rest).replace("\\.", ".");
            let name = container.name.as_str();
            match (start, end) {
                (true, true) => name == rest,
                (true, false) => name.starts_with(&rest),
                (false, true) => name.ends_with(&rest),
                (false, false) => name.contains(&rest),
            }
        };
        let label_fits = |label: &String| {
            let labels = &container.body["Labels"];
            label.split_once('=').map_or_else(|| !labels[label].is_null(), |(key, value)| labels[key] == value)
        };
        self.0.iter().all(|(key, values)| match key.as_str() {
            _ if values.is_empty() => true,
            "name" => values.iter().any(name_fits),
            "label" => values.iter().all(label_fits),
            "id" => values.iter().any(|id| container.id.starts_with(id.as_str())),
            _ => values.iter().any(|status| status == inspect::status(container)),
        })
    }
}

fn flag(query: &Query, key: &str) -> bool {
    matches!(query.get(key).map(String::as_str), Some("1" | "true" | "True"))
}

/// The path without `/v1.41`.
fn unversioned(path: &str) -> &str {
    let Some(rest) = path.strip_prefix("/v") else { return path };
    let end = rest.find('/').unwrap_or(rest.len());
    let version = &rest[..end];
    let numeric = !version.is_empty() && version.chars().all(|c| c.is_ascii_digit() || c == '.');
    if numeric { &rest[end..] } else { path }
}

fn ping() -> Response<Body> {
    let mut response = raw(200, "text/plain; charset=utf-8", Bytes::from_static(b"OK"));
    response.headers_mut().insert("api-version", HeaderValue::from_static(API_VERSION));
    response.headers_mut().insert("ostype", HeaderValue::from_static("linux"));
    response
}

fn version() -> Value {
    json!({
        "Platform": {"Name": "Docker Engine - Community"},
        "Version": "28.0.4",
        "ApiVersion": API_VERSION,
        "MinAPIVersion": MIN_API_VERSION,
        "GitCommit": "6430e49",
        "GoVersion": "go1.23.7",
        "Os": "linux",
        "Arch": "amd64",
        "KernelVersion": "6.6.95-flatcar",
        "BuildTime": "2025-03-25T15:07:22.000000000+00:00",
    })
}

fn error(refusal: &Refusal) -> Response<Body> {
    reply(refusal.status, &json!({"message": refusal.message}))
}

fn reply(status: u16, value: &Value) -> Response<Body> {
    raw(status, "application/json", Bytes::from(value.to_string()))
}

fn empty(status: u16) -> Response<Body> {
    raw(status, "application/json", Bytes::new())
}

fn raw(status: u16, content_type: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
