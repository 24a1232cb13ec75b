//! The API's Events, as kubelet, scheduler and controllers record them: the same happening again is counted, not written
//! anew; after an hour, or when there are too many, they are gone.

use crate::sim::clock::Clock;
use crate::sim::kube::{Kind, Store};
use crate::sim::model::uuid;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};

/// kube-apiserver's `--event-ttl`. Real seconds.
const TTL_S: f64 = 3_600.0;
/// Events that are kept at most.
const MOST: usize = 50_000;

/// What is recorded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Note<'a> {
    /// What it is about: a pod's whole object, or another object's kind, namespace and name.
    pub(super) about: About<'a>,
    pub(super) reason: &'a str,
    pub(super) message: &'a str,
    /// `kubelet`, `replicaset-controller`.
    pub(super) by: &'a str,
    /// The node that it was recorded on; empty for the control plane's.
    pub(super) host: &'a str,
    pub(super) warning: bool,
}

/// What an event is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum About<'a> {
    Pod(&'a Value),
    /// One of its containers; whether it is a sidecar.
    Container(&'a Value, &'a str, bool),
    /// Kind, API version, namespace, name.
    Other(&'a str, &'a str, &'a str, &'a str),
}

impl About<'_> {
    fn reference(&self) -> Value {
        match self {
            About::Pod(pod) => of_pod(pod),
            About::Container(pod, container, sidecar) => {
                let mut reference = of_pod(pod);
                let list = if *sidecar { "initContainers" } else { "containers" };
                reference["fieldPath"] = json!(format!("spec.{list}{{{container}}}"));
                reference
            }
            About::Other(kind, api, namespace, name) => json!({
                "kind": kind, "namespace": namespace, "name": name, "uid": uuid(&[namespace, name]), "apiVersion": api,
            }),
        }
    }
}

fn of_pod(pod: &Value) -> Value {
    let meta = &pod["metadata"];
    json!({
        "kind": "Pod", "namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"], "apiVersion": "v1",
        "resourceVersion": meta["resourceVersion"],
    })
}

/// Object, reason and message: what makes two events the same.
type Sameness = (String, String, String);

/// Where an event stands, and when it was last seen.
#[derive(Debug, Clone)]
struct Known {
    namespace: String,
    name: String,
    seen: i64,
}

/// Writes events into the store.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    known: BTreeMap<Sameness, Known>,
    /// In the order in which they were seen; the same one may stand here several times.
    order: VecDeque<(i64, Sameness)>,
    serial: u64,
}

impl Recorder {
    /// Records something that happened at `now`.
    pub(super) fn record(&mut self, store: &Store, clock: &Clock, note: &Note<'_>, now: i64) {
        let reference = note.about.reference();
        let text = |field: &str| reference[field].as_str().unwrap_or_default().to_owned();
        let subject = format!("{} {}", text("uid"), text("fieldPath"));
        let sameness = (subject, note.reason.to_owned(), note.message.to_owned());
        let at = clock.at(now).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let again = self.known.get_mut(&sameness).is_some_and(|known| {
            known.seen = now;
            store.mutate(Kind::Event, &known.namespace, &known.name, |event| {
                event["count"] = json!(event["count"].as_i64().unwrap_or(1) + 1);
                event["lastTimestamp"] = json!(at);
            })
        });
        if !again {
            self.serial += 1;
            let nanos = clock.at(now).as_nanosecond() as u64 + self.serial;
            let name = format!("{}.{nanos:016x}", text("name"));
            let namespace = match text("namespace") {
                namespace if namespace.is_empty() => "default".to_owned(),
                namespace => namespace,
            };
            let event = event(note, reference, (&namespace, &name), clock, now);
            // Two of one name are one too many of a kind that nobody misses.
            if store.create(Kind::Event, event).is_ok() {
                self.known.insert(sameness.clone(), Known { namespace, name, seen: now });
            }
        }
        self.order.push_back((now, sameness));
        self.expire(store, clock, now);
    }

    fn expire(&mut self, store: &Store, clock: &Clock, now: i64) {
        let oldest = now - (TTL_S * 1000.0 * clock.speed()) as i64;
        while let Some((seen, _)) = self.order.front() {
            if *seen > oldest && self.known.len() <= MOST && self.order.len() <= 2 * MOST {
                return;
            }
            let Some((seen, sameness)) = self.order.pop_front() else { return };
            // Seen again since: its last sight stands further back in the queue.
            if let Some(known) = self.known.get(&sameness).filter(|known| known.seen <= seen) {
                let _ = store.delete(Kind::Event, &known.namespace, &known.name);
                self.known.remove(&sameness);
            }
        }
    }
}

fn event(note: &Note<'_>, reference: Value, (namespace, name): (&str, &str), clock: &Clock, now: i64) -> Value {
    let at = clock.at(now);
    let second = at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let kind = if note.warning { "Warning" } else { "Normal" };
    // The scheduler writes the newer API, which leaves the older fields empty.
    let newer = note.by == "default-scheduler";
    let source = match (newer, note.host) {
        (true, _) => json!({}),
        (false, "") => json!({"component": note.by}),
        (false, host) => json!({"component": note.by, "host": host}),
    };
    let mut event = json!({
        "metadata": {"name": name, "namespace": namespace, "uid": uuid(&[namespace, name]), "creationTimestamp": second},
        "involvedObject": reference,
        "reason": note.reason, "message": note.message, "type": kind, "source": source,
        "firstTimestamp": second, "lastTimestamp": second, "count": 1, "eventTime": null,
        "reportingComponent": note.by, "reportingInstance": note.host,
    });
    if newer {
        event["eventTime"] = json!(at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string());
        event["firstTimestamp"] = Value::Null;
        event["lastTimestamp"] = Value::Null;
        event["action"] = json!(if note.reason == "Scheduled" { "Binding" } else { "Preempting" });
        event["reportingInstance"] = json!(format!("{}-{}", note.by, note.host));
        if let Some(event) = event.as_object_mut() {
            event.remove("count");
        }
    }
    event
}
