//! A small API server for tests: real HTTP on loopback, with resource versions, conflicts, paging, watches and faults.

use bytes::Bytes;
use futures::StreamExt;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

/// What happens to one request, whatever it asks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    /// It is answered: the next fault is for a later one.
    None,
    /// This status.
    Status(u16),
    /// The connection is cut.
    Cut,
}

#[derive(Default)]
struct State {
    /// Collection path -> name -> object.
    objects: BTreeMap<String, BTreeMap<String, Value>>,
    version: u64,
    faults: VecDeque<Fault>,
    /// While set, every request is cut and watches end.
    away: bool,
    /// While set, every page of a list is empty and names a next one.
    endless: bool,
    /// While set, every request is refused in these words.
    says: Option<String>,
    log: Vec<String>,
    /// Version, collection and line of every change: a watch begins where its list ended.
    history: Vec<(u64, String, String)>,
    /// Watches from before this version are told that it is too old (410).
    oldest: u64,
    /// The collection that the role may not touch.
    forbidden: Option<String>,
    /// The only token that is accepted; any when there is none.
    token: Option<String>,
}

/// The server; it ends when this is dropped.
pub(super) struct FakeApi {
    state: Arc<Mutex<State>>,
    events: broadcast::Sender<(String, String)>,
    task: JoinHandle<()>,
    port: u16,
    dir: tempfile::TempDir,
}

type Body = BoxBody<Bytes, std::io::Error>;

impl FakeApi {
    pub async fn start() -> FakeApi {
        let state = Arc::new(Mutex::new(State { version: 1, ..State::default() }));
        let (events, _) = broadcast::channel(64);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        let kubeconfig = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: \"http://127.0.0.1:{port}\"}}}}]\nusers: [{{name: u, user: {{token: s3cret}}}}]\n"
        );
        std::fs::write(dir.path().join("kubeconfig"), kubeconfig).unwrap();
        let task = tokio::spawn(accept(listener, Arc::clone(&state), events.clone()));
        FakeApi { state, events, task, port, dir }
    }

    pub fn server(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Accepts this token from now on, and no other.
    pub fn expect(&self, token: &str) {
        self.state.lock().unwrap().token = Some(token.to_owned());
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    /// Creates or replaces an object and tells the watchers.
    pub fn put(&self, collection: &str, mut object: Value) {
        let mut state = self.state.lock().unwrap();
        state.version += 1;
        object["metadata"]["resourceVersion"] = json!(state.version.to_string());
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let old = state.objects.entry(collection.to_owned()).or_default().insert(name, object.clone());
        let kind = if old.is_some() { "MODIFIED" } else { "ADDED" };
        let line = json!({"type": kind, "object": object}).to_string() + "\n";
        let version = state.version;
        state.history.push((version, collection.to_owned(), line.clone()));
        let _ = self.events.send((collection.to_owned(), line));
    }

    pub fn get(&self, collection: &str, name: &str) -> Option<Value> {
        self.state.lock().unwrap().objects.get(collection)?.get(name).cloned()
    }

    pub fn fail_next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().unwrap().faults.extend(faults);
    }

    pub fn set_away(&self, away: bool) {
        self.state.lock().unwrap().away = away;
        let _ = self.events.send((String::new(), String::new()));
    }

    pub fn set_endless(&self, endless: bool) {
        self.state.lock().unwrap().endless = endless;
    }

    /// Every watch ends, as when an API server closes it after its time.
    pub fn end_watches(&self) {
        let _ = self.events.send((String::new(), String::new()));
    }

    /// What was recorded so far is too old to resume a watch from: those under way end with 410 Expired.
    pub fn expire(&self) {
        let mut state = self.state.lock().unwrap();
        state.version += 1;
        state.oldest = state.version;
        let _ = self.events.send((EXPIRED.to_owned(), expired()));
    }

    /// The role may not touch this collection, or (none) every one again.
    pub fn forbid(&self, collection: Option<&str>) {
        self.state.lock().unwrap().forbidden = collection.map(str::to_owned);
    }

    pub fn say(&self, words: String) {
        self.state.lock().unwrap().says = Some(words);
    }

    /// Requests so far whose line contains `part`.
    pub fn count(&self, part: &str) -> usize {
        self.state.lock().unwrap().log.iter().filter(|l| l.contains(part)).count()
    }
}

impl Drop for FakeApi {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>, events: broadcast::Sender<(String, String)>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let (state, events) = (Arc::clone(&state), events.clone());
        tokio::spawn(async move {
            let service =
                hyper::service::service_fn(move |request| answer(Arc::clone(&state), events.clone(), request));
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    state: Arc<Mutex<State>>,
    events: broadcast::Sender<(String, String)>,
    request: Request<Incoming>,
) -> Result<Response<Body>, std::io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let mut state = state.lock().unwrap();
    let shown = head.headers.get("authorization").and_then(|v| v.to_str().ok()).unwrap_or_default();
    state.log.push(format!("{} {} {shown}", head.method, head.uri));
    if state.away {
        return Err(std::io::Error::other("away"));
    }
    if state.token.as_ref().is_some_and(|token| shown != format!("Bearer {token}")) {
        return Ok(status(401, "Unauthorized"));
    }
    let query: BTreeMap<&str, &str> =
        head.uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')).collect();
    let watching = query.get("watch") == Some(&"true");
    // Faults are for the requests under test, not for the watch that runs beside them.
    if !watching && let Some(fault) = state.faults.pop_front() {
        match fault {
            Fault::None => {}
            Fault::Status(code) => return Ok(status(code, "Injected")),
            Fault::Cut => return Err(std::io::Error::other("cut")),
        }
    }
    if let Some(words) = &state.says {
        let refusal = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": words, "reason": words, "code": 403});
        return Ok(json_body(403, &refusal));
    }
    let path = head.uri.path();
    if state.forbidden.as_deref() == Some(path) {
        return Ok(status(403, "Forbidden"));
    }
    if state.endless && !watching {
        let page = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"continue": "0"}, "items": []});
        return Ok(json_body(200, &page));
    }
    if watching {
        let since: u64 = query.get("resourceVersion").and_then(|v| v.parse().ok()).unwrap_or(0);
        if since < state.oldest {
            return Ok(Response::new(Full::new(Bytes::from(expired())).map_err(|never| match never {}).boxed()));
        }
        let selector = selector(&query);
        let missed = state.history.iter().filter(|(version, of, _)| *version > since && of == path);
        let missed = missed.map(|(_, _, line)| line.clone()).filter(|line| selected_line(&selector, line)).collect();
        return Ok(watch(path, selector, missed, events.subscribe()));
    }
    if path.ends_with("/events") {
        // A collection that there is, with nothing in it.
        state.objects.entry(path.to_owned()).or_default();
    }
    if let Some(objects) = state.objects.get(path).filter(|_| head.method == Method::GET) {
        return Ok(list(path, objects, &query, state.version));
    }
    let (collection, name) = match head.method {
        Method::POST => (path, ""),
        _ => path.rsplit_once('/').unwrap_or((path, "")),
    };
    if head.method == Method::GET {
        let found = state.objects.get(collection).and_then(|all| all.get(name));
        return Ok(found.map_or_else(|| status(404, "NotFound"), |o| json_body(200, o)));
    }
    let mut object: Value = serde_json::from_slice(&body).map_err(std::io::Error::other)?;
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    state.version += 1;
    let version = json!(state.version.to_string());
    let all = state.objects.entry(collection.to_owned()).or_default();
    match (all.get(&name), &head.method) {
        (Some(_), &Method::POST) => return Ok(status(409, "AlreadyExists")),
        (Some(old), &Method::PUT) if old["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] => {
            return Ok(status(409, "Conflict"));
        }
        (Some(_), &Method::PUT) | (None, &Method::POST) => {}
        _ => return Ok(status(405, "MethodNotAllowed")),
    }
    object["metadata"]["resourceVersion"] = version;
    all.insert(name, object.clone());
    Ok(json_body(200, &object))
}

fn list(path: &str, objects: &BTreeMap<String, Value>, query: &BTreeMap<&str, &str>, version: u64) -> Response<Body> {
    let selector = selector(query);
    let objects: Vec<&Value> = objects.values().filter(|o| selected(&selector, o)).collect();
    let start: usize = query.get("continue").and_then(|t| t.parse().ok()).unwrap_or(0);
    let limit: usize = query.get("limit").and_then(|t| t.parse().ok()).unwrap_or(usize::MAX);
    let end = start.saturating_add(limit).min(objects.len());
    let token = if end < objects.len() { end.to_string() } else { String::new() };
    let items: Vec<&Value> = objects.into_iter().skip(start).take(end - start).collect();
    let (kind, api) = match path.rsplit('/').next() {
        Some("pods") => ("PodList", "v1"),
        Some("events") => ("EventList", "v1"),
        Some("endpointslices") => ("EndpointSliceList", "discovery.k8s.io/v1"),
        _ => ("NodeList", "v1"),
    };
    let metadata = json!({"resourceVersion": version.to_string(), "continue": token});
    json_body(200, &json!({"kind": kind, "apiVersion": api, "metadata": metadata, "items": items}))
}

/// Stands for every collection.
const EXPIRED: &str = "*";

fn expired() -> String {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Expired",
        "message": "too old resource version", "code": 410});
    json!({"type": "ERROR", "object": status}).to_string() + "\n"
}

/// `a=b,c!=d`, of events: their fields are what is looked for here. Fields of other objects are passed over.
fn selector(query: &BTreeMap<&str, &str>) -> Vec<(String, bool, String)> {
    let text = query.get("fieldSelector").copied().unwrap_or_default();
    let text =
        [("%3D", "="), ("%2C", ","), ("%21", "!")].iter().fold(text.to_owned(), |t, (from, to)| t.replace(from, to));
    let terms =
        text.split(',').filter_map(|term| term.split_once('=')).map(|(field, value)| match field.strip_suffix('!') {
            Some(field) => (field.to_owned(), false, value.to_owned()),
            None => (field.to_owned(), true, value.to_owned()),
        });
    terms.filter(|(field, _, _)| field == "reason" || field.starts_with("involvedObject.")).collect()
}

fn selected(selector: &[(String, bool, String)], object: &Value) -> bool {
    selector.iter().all(|(field, equal, value)| {
        let found =
            object.pointer(&format!("/{}", field.replace('.', "/"))).and_then(Value::as_str).unwrap_or_default();
        (found == value) == *equal
    })
}

fn selected_line(selector: &[(String, bool, String)], line: &str) -> bool {
    let line: Value = serde_json::from_str(line).unwrap();
    selected(selector, &line["object"])
}

fn watch(
    path: &str,
    selector: Vec<(String, bool, String)>,
    missed: Vec<String>,
    events: broadcast::Receiver<(String, String)>,
) -> Response<Body> {
    let path = path.to_owned();
    let missed = futures::stream::iter(missed).map(|line| Ok(Frame::data(Bytes::from(line))));
    let lines = futures::stream::unfold(events, move |mut events| {
        let (path, selector) = (path.clone(), selector.clone());
        async move {
            loop {
                let (collection, line) = events.recv().await.ok()?;
                if collection.is_empty() {
                    return None;
                }
                if collection == EXPIRED || (collection == path && selected_line(&selector, &line)) {
                    return Some((Ok(Frame::data(Bytes::from(line))), events));
                }
            }
        }
    });
    Response::new(BodyExt::boxed(StreamBody::new(missed.chain(lines))))
}

fn status(code: u16, reason: &str) -> Response<Body> {
    json_body(
        code,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": format!("injected {reason}"), "reason": reason, "code": code}),
    )
}

fn json_body(code: u16, value: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(value.to_string())).map_err(|never: Infallible| match never {}).boxed();
    let mut response = Response::new(body);
    *response.status_mut() = hyper::StatusCode::from_u16(code).unwrap();
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    response
}
