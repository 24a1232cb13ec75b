//! The API's front door: paths, verbs, status objects.

use super::store::{Kind, Problem, Store};
use super::watch::watch;
use bytes::Bytes;
use form_urlencoded::parse;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::net::TcpListener;

pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The largest object that is accepted; the real API server's limit is about the same.
const MAX_OBJECT: usize = 3 << 20;

/// Serves the store until the listener fails or the future is dropped.
pub async fn serve(store: Store, listener: TcpListener) {
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // Out of file descriptors, most likely: the next connection may fare better.
                let Ok((stream, _)) = accepted else {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    continue;
                };
                let _ = stream.set_nodelay(true);
                tasks.spawn(connection(store.clone(), stream));
            }
            Some(_) = tasks.join_next() => {}
        }
    }
}

async fn connection(store: Store, stream: tokio::net::TcpStream) {
    let mut up = store.up();
    let service = hyper::service::service_fn(move |request| answer(store.clone(), request));
    let mut http = hyper::server::conn::http1::Builder::new();
    let connection = http.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    // An API that is away does not answer at all, and ends what it has begun.
    tokio::select! {
        _ = connection => {}
        _ = up.wait_for(|up| !up) => {}
    }
}

/// What a path means.
struct Target {
    kind: Kind,
    namespace: Option<String>,
    name: Option<String>,
    sub: Option<String>,
}

fn target(path: &str) -> Option<Target> {
    Kind::ALL.into_iter().find_map(|kind| {
        let (prefix, _, plural, _) = kind.api();
        let mut rest: Vec<&str> = path.strip_prefix(prefix)?.strip_prefix('/')?.split('/').collect();
        let mut namespace = None;
        if rest.len() >= 3 && rest[0] == "namespaces" {
            namespace = Some(rest[1].to_owned());
            rest.drain(..2);
        }
        if rest.first() != Some(&plural) || rest.len() > 3 {
            return None;
        }
        let text = |i: usize| rest.get(i).map(|s| (*s).to_owned());
        Some(Target { kind, namespace, name: text(1), sub: text(2) })
    })
}

async fn answer(store: Store, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    if let Some(token) = store.token() {
        let given = request.headers().get(AUTHORIZATION).and_then(|v| v.to_str().ok());
        if given != Some(&format!("Bearer {token}")) {
            return Ok(status(401, "Unauthorized", "Unauthorized"));
        }
    }
    let path = request.uri().path().to_owned();
    match path.as_str() {
        "/healthz" | "/readyz" | "/livez" => return Ok(text(200, "text/plain", "ok".into())),
        "/metrics" => return Ok(text(200, "text/plain; version=0.0.4", store.metrics())),
        "/version" => return Ok(object(200, &json!({"major": "1", "minor": "36", "gitVersion": version(&store)}))),
        _ => {}
    }
    let Some(target) = target(&path) else {
        return Ok(status(404, "NotFound", "the server could not find the requested resource"));
    };
    let query: BTreeMap<String, String> = parse(request.uri().query().unwrap_or("").as_bytes()).into_owned().collect();
    let header = |name| request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
    let partial = header(ACCEPT).contains("as=PartialObjectMetadata");
    let patch_type = header(CONTENT_TYPE);
    let method = request.method().clone();
    if method == Method::GET {
        return Ok(read(&store, &target, &query, partial));
    }
    let body = match Limited::new(request.into_body(), MAX_OBJECT).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return Ok(status(413, "RequestEntityTooLarge", "the object is larger than 3 MiB")),
    };
    Ok(write(&store, &target, &method, &patch_type, &body))
}

fn read(store: &Store, target: &Target, query: &BTreeMap<String, String>, partial: bool) -> Response<Body> {
    let shown = |o: &Value| if partial { metadata_only(o) } else { o.clone() };
    if let Some(name) = &target.name {
        let namespace = target.namespace.as_deref().unwrap_or("");
        return match store.get(target.kind, namespace, name) {
            Some(found) => object(200, &shown(&found)),
            None => refused(&Problem::NotFound(format!("{} \"{name}\"", target.kind.api().2))),
        };
    }
    let filter = match Filter::read(target.kind, query, target.namespace.clone()) {
        Ok(filter) => filter,
        Err(why) => return status(400, "BadRequest", &why),
    };
    if matches!(query.get("watch").map(String::as_str), Some("true" | "1")) {
        return watch(store.clone(), target.kind, filter, query, partial);
    }
    list(store, target, query, &filter, partial)
}

fn list(
    store: &Store,
    target: &Target,
    query: &BTreeMap<String, String>,
    filter: &Filter,
    partial: bool,
) -> Response<Body> {
    let limit = query.get("limit").and_then(|l| l.parse().ok()).filter(|&l| l > 0).unwrap_or(usize::MAX);
    // A continuation is the version of the first page and the last object's place.
    let (version, after) = match query.get("continue").filter(|c| !c.is_empty()) {
        None => (store.version(), None),
        Some(token) => match token.split_once(':').and_then(|(v, at)| Some((v.parse().ok()?, at.split_once('/')?))) {
            Some((version, (ns, name))) => (version, Some((ns.to_owned(), name.to_owned()))),
            None => return status(400, "BadRequest", "continue key is not valid"),
        },
    };
    let (page, left) = match (filter.node(), target.kind) {
        (Some(node), Kind::Pod) => {
            let all = store.pods_of(node);
            let mut wanted = all.into_iter().filter(|o| filter.fits(o) && after.as_ref().is_none_or(|a| place(o) > *a));
            let page: Vec<Arc<Value>> = wanted.by_ref().take(limit).collect();
            (page, wanted.count())
        }
        _ => store.page(target.kind, filter.namespace.as_deref(), after, limit, |o| filter.fits(o)),
    };
    let mut meta = json!({"resourceVersion": version.to_string()});
    if let (true, Some(last)) = (left > 0, page.last()) {
        let (ns, name) = place(last);
        meta["continue"] = json!(format!("{version}:{ns}/{name}"));
        // As with the real one: not where a selector makes it a guess.
        if filter.plain() {
            meta["remainingItemCount"] = json!(left);
        }
    }
    let (_, api, _, name) = target.kind.api();
    // Written piece by piece: a large list would otherwise be copied as a tree first.
    let mut out = match partial {
        true => r#"{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1""#.to_owned(),
        false => format!(r#"{{"kind":"{name}List","apiVersion":"{api}""#),
    };
    out.push_str(&format!(r#","metadata":{meta},"items":["#));
    for (i, item) in page.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        match partial {
            true => out.push_str(&metadata_only(item).to_string()),
            false => out.push_str(&item.to_string()),
        }
    }
    out.push_str("]}");
    text(200, "application/json", out)
}

fn write(store: &Store, target: &Target, method: &Method, patch_type: &str, body: &[u8]) -> Response<Body> {
    let kind = target.kind;
    if matches!(kind, Kind::Pod | Kind::PersistentVolume) {
        // The promise of the role that sonoba ships: it can neither evict nor delete a pod.
        return status(403, "Forbidden", &format!("{} are read-only here", kind.api().2));
    }
    let namespace = if !kind.namespaced() { "" } else { target.namespace.as_deref().unwrap_or("default") };
    let parsed = || serde_json::from_slice::<Value>(body).map_err(|e| Problem::Invalid(format!("not JSON: {e}")));
    let named = |mut object: Value| {
        if !object.is_object() {
            return Err(Problem::Invalid("the body is not an object".into()));
        }
        if kind.namespaced() {
            object["metadata"]["namespace"] = json!(namespace);
        }
        if let Some(name) = &target.name {
            object["metadata"]["name"] = json!(name);
        }
        Ok(object)
    };
    let done = match (method.as_str(), &target.name, target.sub.as_deref()) {
        ("POST", None, None) => parsed().and_then(named).and_then(|o| store.create(kind, o)).map(|o| (201, o)),
        ("PUT", Some(_), None | Some("status")) => {
            parsed().and_then(named).and_then(|o| store.replace(kind, o)).map(|o| (200, o))
        }
        ("PATCH", Some(name), None | Some("status")) => {
            if !patch_type.contains("merge-patch+json") {
                return status(415, "UnsupportedMediaType", "only merge patches are supported here");
            }
            parsed().and_then(|p| store.merge(kind, namespace, name, &p)).map(|o| (200, o))
        }
        ("DELETE", Some(name), None) if kind != Kind::Node => store.delete(kind, namespace, name).map(|o| (200, o)),
        _ => return status(405, "MethodNotAllowed", "the server does not allow this method on the requested resource"),
    };
    match done {
        Ok((code, stored)) => object(code, &stored),
        Err(problem) => refused(&problem),
    }
}

/// Which objects of a kind are wanted.
pub(crate) struct Filter {
    pub(crate) namespace: Option<String>,
    fields: Vec<FieldTest>,
    labels: Vec<(String, Option<String>)>,
}

/// One requirement of a field selector.
struct FieldTest {
    field: &'static [&'static str],
    key: String,
    value: String,
    equal: bool,
}

/// The fields that can be selected by, as the real API server has them for pods and events.
///
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/field-selectors/>
fn selectable(kind: Kind, key: &str) -> Option<&'static [&'static str]> {
    Some(match (kind, key) {
        (_, "metadata.name") => &["metadata", "name"],
        (_, "metadata.namespace") => &["metadata", "namespace"],
        (Kind::Pod, "spec.nodeName") => &["spec", "nodeName"],
        (Kind::Pod, "status.phase") => &["status", "phase"],
        (Kind::Event, "involvedObject.kind") => &["involvedObject", "kind"],
        (Kind::Event, "involvedObject.namespace") => &["involvedObject", "namespace"],
        (Kind::Event, "involvedObject.name") => &["involvedObject", "name"],
        (Kind::Event, "involvedObject.uid") => &["involvedObject", "uid"],
        (Kind::Event, "involvedObject.apiVersion") => &["involvedObject", "apiVersion"],
        (Kind::Event, "involvedObject.fieldPath") => &["involvedObject", "fieldPath"],
        (Kind::Event, "reason") => &["reason"],
        (Kind::Event, "reportingComponent") => &["reportingComponent"],
        (Kind::Event, "source") => &["source", "component"],
        (Kind::Event, "type") => &["type"],
        _ => return None,
    })
}

impl Filter {
    fn read(kind: Kind, query: &BTreeMap<String, String>, namespace: Option<String>) -> Result<Filter, String> {
        let mut filter = Filter { namespace, fields: Vec::new(), labels: Vec::new() };
        for field in query.get("fieldSelector").map_or("", String::as_str).split(',').filter(|f| !f.is_empty()) {
            let (key, value, equal) = match (field.split_once("!="), field.split_once('=')) {
                (Some((key, value)), _) => (key, value, false),
                (None, Some((key, value))) => (key, value.strip_prefix('=').unwrap_or(value), true),
                (None, None) => return Err(format!("invalid field selector: {field}")),
            };
            let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
            let path = selectable(kind, &key).ok_or_else(|| format!("field label not supported: {key}"))?;
            if key == "metadata.namespace" && equal {
                filter.namespace = Some(value);
            } else {
                filter.fields.push(FieldTest { field: path, key, value, equal });
            }
        }
        for label in query.get("labelSelector").map_or("", String::as_str).split(',').filter(|l| !l.is_empty()) {
            let (key, value) = label.split_once('=').map_or((label, None), |(k, v)| (k, Some(v)));
            let value = value.map(|v| v.strip_prefix('=').unwrap_or(v).to_owned());
            filter.labels.push((key.to_owned(), value));
        }
        Ok(filter)
    }

    /// The node that pods must be bound to.
    fn node(&self) -> Option<&str> {
        let of_node = self.fields.iter().find(|f| f.key == "spec.nodeName" && f.equal);
        of_node.map(|f| f.value.as_str())
    }

    /// Whether nothing but a namespace is asked for.
    fn plain(&self) -> bool {
        self.fields.is_empty() && self.labels.is_empty()
    }

    pub(crate) fn fits(&self, object: &Value) -> bool {
        let meta = &object["metadata"];
        self.namespace.as_ref().is_none_or(|ns| meta["namespace"] == **ns)
            && self.fields.iter().all(|test| {
                let found = test.field.iter().fold(object, |at, key| &at[*key]);
                let mut text = found.as_str().unwrap_or_default();
                if test.key == "source" && text.is_empty() {
                    // An event of the newer API has its source there.
                    text = object["reportingComponent"].as_str().unwrap_or_default();
                }
                (text == test.value) == test.equal
            })
            && self.labels.iter().all(|(key, want)| match (meta["labels"][key].as_str(), want) {
                (Some(has), Some(want)) => has == want,
                (has, None) => has.is_some(),
                (None, Some(_)) => false,
            })
    }
}

fn place(object: &Value) -> (String, String) {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or("").to_owned();
    (text("namespace"), text("name"))
}

/// An object as `PartialObjectMetadata`.
pub(crate) fn metadata_only(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

fn version(store: &Store) -> Value {
    let nodes = store.list(Kind::Node, None);
    nodes.first().map_or(json!("v1.36.0"), |n| n["status"]["nodeInfo"]["kubeletVersion"].clone())
}

fn refused(problem: &Problem) -> Response<Body> {
    let (code, reason) = match problem {
        Problem::NotFound(_) => (404, "NotFound"),
        Problem::AlreadyExists(_) => (409, "AlreadyExists"),
        Problem::Conflict(_) => (409, "Conflict"),
        Problem::Invalid(_) => (422, "Invalid"),
        Problem::Expired(_) => (410, "Expired"),
    };
    status(code, reason, &problem.to_string())
}

/// A `Status` object that tells of a failure.
pub(crate) fn failure(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    })
}

pub(crate) fn status(code: u16, reason: &str, message: &str) -> Response<Body> {
    object(code, &failure(code, reason, message))
}

fn object(code: u16, value: &Value) -> Response<Body> {
    text(code, "application/json", value.to_string())
}

fn text(code: u16, content_type: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(body)).boxed_unsync());
    *response.status_mut() = hyper::StatusCode::from_u16(code).unwrap_or_default();
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    response
}
