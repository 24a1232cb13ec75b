//! Watches: a stream of JSON lines, one a change, with bookmarks in between.

use super::http::{Body, Filter, failure, metadata_only, status};
use super::store::{Change, Kind, Store};
use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::Response;
use hyper::body::Frame;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How often a quiet watch that allows bookmarks hears how far it is. The real API server takes about a minute.
const BOOKMARK: Duration = Duration::from_secs(10);
/// How long a watch lasts that does not say how long it wants to.
const DEFAULT_TIMEOUT_S: u64 = 1_800;

struct Watch {
    store: Store,
    kind: Kind,
    filter: Filter,
    partial: bool,
    bookmarks: bool,
    version: u64,
    ends: Instant,
    changed: tokio::sync::watch::Receiver<u64>,
    ready: VecDeque<String>,
    over: bool,
}

/// Answers a request to watch.
pub(crate) fn watch(
    store: Store,
    kind: Kind,
    filter: Filter,
    query: &BTreeMap<String, String>,
    partial: bool,
) -> Response<Body> {
    let text = |key: &str| query.get(key).map_or("", String::as_str);
    let from = match text("resourceVersion") {
        "" | "0" => None,
        version => match version.parse::<u64>() {
            Ok(version) => Some(version),
            Err(_) => return status(400, "BadRequest", "resourceVersion: invalid value"),
        },
    };
    let seconds = text("timeoutSeconds").parse().unwrap_or(DEFAULT_TIMEOUT_S).min(86_400);
    let mut watch = Watch {
        changed: store.changed(),
        version: from.unwrap_or_else(|| store.version()),
        bookmarks: text("allowWatchBookmarks") == "true",
        ends: Instant::now() + Duration::from_secs(seconds),
        ready: VecDeque::new(),
        over: false,
        store,
        kind,
        filter,
        partial,
    };
    if from.is_none() {
        // A watch from nowhere begins with what is there.
        for object in watch.store.list(kind, watch.filter.namespace.as_deref()) {
            if watch.filter.fits(&object) {
                let line = watch.line("ADDED", &object);
                watch.ready.push_back(line);
            }
        }
    }
    let stream = futures::stream::unfold(watch, |mut watch| async move {
        let line = watch.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(line))), watch))
    });
    let mut response = Response::new(StreamBody::new(stream).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

impl Watch {
    fn line(&self, what: &str, object: &Value) -> String {
        match self.partial {
            true => format!("{{\"type\":\"{what}\",\"object\":{}}}\n", metadata_only(object)),
            false => format!("{{\"type\":\"{what}\",\"object\":{object}}}\n"),
        }
    }

    fn bookmark(&self) -> String {
        let (_, api, _, name) = self.kind.api();
        let (api, name) = if self.partial { ("meta.k8s.io/v1", "PartialObjectMetadata") } else { (api, name) };
        let meta = json!({"resourceVersion": self.version.to_string(), "creationTimestamp": null});
        format!("{}\n", json!({"type": "BOOKMARK", "object": {"kind": name, "apiVersion": api, "metadata": meta}}))
    }

    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            if self.over || Instant::now() >= self.ends {
                return None;
            }
            // Marked as seen before the history is read, so that no change falls in between.
            self.changed.borrow_and_update();
            match self.store.since(self.kind, self.version) {
                Ok((changes, newest)) => {
                    self.version = self.version.max(newest);
                    self.take(changes);
                }
                Err(problem) => {
                    self.over = true;
                    let object = failure(410, "Expired", &problem.to_string());
                    return Some(format!("{}\n", json!({"type": "ERROR", "object": object})));
                }
            }
            if !self.ready.is_empty() {
                continue;
            }
            let until = self.ends.min(Instant::now() + BOOKMARK);
            match timeout_at(until, self.changed.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) if self.bookmarks => return Some(self.bookmark()),
                Err(_) => {}
            }
        }
    }

    fn take(&mut self, changes: Vec<Change>) {
        for change in changes.into_iter().filter(|c| self.filter.fits(&c.object)) {
            let line = self.line(change.what, &change.object);
            self.ready.push_back(line);
        }
    }
}
