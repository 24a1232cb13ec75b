//! One event of the API, as far as it says something about a pod.

use crate::fleet::clean_short;
use crate::k8s::convert;
use crate::k8s::patience::shown;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;

/// The longest message that is kept. Characters.
const LONGEST: usize = 200;

/// What is kept of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    /// The event's namespace: the API server takes no event about an object of another one.
    pub namespace: String,
    /// The event's name, by which a later sight of it is known.
    pub name: String,
    /// What it is about.
    pub about: About,
    pub reason: String,
    pub message: String,
    pub source: String,
    /// When it was first and last seen, and how often.
    pub first: Timestamp,
    pub last: Timestamp,
    pub count: u32,
}

/// How a pod is known in an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum About {
    /// The event is about the pod.
    Pod { uid: String, name: String },
    /// The event is about the pod's controller, which deleted it: only the pod's name stands in the message.
    Deleted { name: String },
}

/// None when it says nothing about a pod that could be used.
pub(super) fn note(event: &Event, now: Timestamp) -> Option<Note> {
    let text = |text: Option<&String>| text.map(|text| shown(text)).unwrap_or_default();
    let reason = text(event.reason.as_ref());
    let message = clean_short(event.message.as_deref().unwrap_or_default(), LONGEST);
    let object = &event.involved_object;
    let about = if object.kind.as_deref() == Some("Pod") {
        let uid = text(object.uid.as_ref());
        if uid.is_empty() {
            return None;
        }
        About::Pod { uid, name: text(object.name.as_ref()) }
    } else if reason == "SuccessfulDelete" {
        About::Deleted { name: deleted_pod(&message)?.to_owned() }
    } else {
        return None;
    };
    // Events of events.k8s.io/v1 have `eventTime` and `series` in the place of the others, which are null then.
    let micro = |at: Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime>| {
        at.and_then(|at| convert::moment(&at.0)).filter(|at| *at > Timestamp::UNIX_EPOCH)
    };
    let begun = micro(event.event_time.as_ref());
    let created = convert::time(event.metadata.creation_timestamp.as_ref());
    let series = event.series.as_ref();
    let first = convert::time(event.first_timestamp.as_ref()).or(begun).or(created);
    let last = convert::time(event.last_timestamp.as_ref())
        .or_else(|| micro(series.and_then(|s| s.last_observed_time.as_ref())))
        .or(begun)
        .or(first)?;
    // What lies in the future would be kept for ever.
    let last = last.min(now);
    let first = first.unwrap_or(last).min(last);
    let count = event.count.or(series.and_then(|s| s.count)).and_then(|n| u32::try_from(n).ok()).unwrap_or(1).max(1);
    let source = event.source.as_ref().and_then(|s| s.component.as_ref()).filter(|s| !s.is_empty());
    Some(Note {
        namespace: text(event.metadata.namespace.as_ref()),
        name: text(event.metadata.name.as_ref()),
        about,
        reason,
        message,
        source: text(source.or(event.reporting_component.as_ref())),
        first,
        last,
        count,
    })
}

/// The pod that a controller says it has deleted: `Deleted pod: NAME` of ReplicaSets, DaemonSets and Jobs, `delete Pod NAME in
/// StatefulSet … successful` of StatefulSets.
fn deleted_pod(message: &str) -> Option<&str> {
    let after = |words: &str| message.split_once(words).map(|(_, rest)| rest);
    after("Deleted pod: ").or_else(|| after("delete Pod "))?.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::List;
    use serde_json::{from_value, json};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// Events of a real cluster: a kubelet of 1.31 in the place of one of 1.30, the scheduler with events.k8s.io/v1.
    #[test]
    fn real_events_are_read_with_their_times() {
        let list: List<Event> = serde_json::from_str(include_str!("../real_events.json")).unwrap();
        let now = at("2026-11-29T23:00:00Z");
        let notes: Vec<Note> = list.items.iter().filter_map(|e| note(e, now)).collect();
        assert_eq!(notes.len(), list.items.len());
        let changed = notes.iter().find(|n| n.message.contains("definition changed")).unwrap();
        assert_eq!((changed.reason.as_str(), changed.source.as_str(), changed.count), ("Killing", "kubelet", 1));
        assert_eq!((changed.first, changed.last), (at("2026-11-29T21:52:54Z"), at("2026-11-29T21:52:54Z")));
        let About::Pod { uid, name } = &changed.about else { panic!("it is about a pod") };
        assert!(uid.len() == 36 && !name.is_empty() && !changed.namespace.is_empty());
        let scheduled = notes.iter().find(|n| n.reason == "Scheduled").unwrap();
        assert_eq!(scheduled.source, "default-scheduler");
        assert!(scheduled.first >= at("2026-11-29T21:51:49Z"), "from eventTime: {}", scheduled.first);
    }

    #[test]
    fn a_series_tells_its_first_and_its_last_time() {
        let event = |more: serde_json::Value| {
            let mut event = json!({"metadata": {"name": "e", "namespace": "a"}, "reason": "Unhealthy", "message": "x",
                "involvedObject": {"kind": "Pod", "uid": "u", "name": "p"}, "firstTimestamp": null, "lastTimestamp": null});
            event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            note(&from_value(event).unwrap(), at("2026-11-29T13:00:00Z"))
        };
        let series = event(json!({"eventTime": "2026-11-29T12:00:00.5Z", "reportingComponent": "kubelet",
            "series": {"count": 9, "lastObservedTime": "2026-11-29T12:05:00.25Z"}}))
        .unwrap();
        assert_eq!((series.first, series.last), (at("2026-11-29T12:00:00.5Z"), at("2026-11-29T12:05:00.25Z")));
        assert_eq!((series.count, series.source.as_str()), (9, "kubelet"));
        // Neither past the end of time nor without one.
        let far = event(json!({"lastTimestamp": "9999-01-01T00:00:00Z", "count": -4})).unwrap();
        assert_eq!((far.last, far.first, far.count), (at("2026-11-29T13:00:00Z"), at("2026-11-29T13:00:00Z"), 1));
        assert_eq!(event(json!({})), None);
        assert_eq!(event(json!({"eventTime": "2026-11-29T12:00:00Z", "involvedObject": {"kind": "Pod"}})), None);
        let hostile =
            event(json!({"eventTime": "2026-11-29T12:00:00Z", "message": "\u{1b}[2J".repeat(9_000)})).unwrap();
        assert!(!hostile.message.contains('\u{1b}') && hostile.message.chars().count() <= LONGEST + 1);
    }

    #[test]
    fn controllers_name_the_pod_that_they_deleted() {
        assert_eq!(deleted_pod("Deleted pod: web-55c4-x"), Some("web-55c4-x"));
        assert_eq!(deleted_pod("delete Pod db-0 in StatefulSet db successful"), Some("db-0"));
        for odd in ["", "Deleted pod: ", "delete Claim data-db-0 Pod db-0 in StatefulSet db success"] {
            assert_eq!(deleted_pod(odd), None, "{odd:?}");
        }
    }
}
