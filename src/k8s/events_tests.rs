//! [`ClusterPort::pod_events`] against a real HTTP server on loopback.

use super::fake::FakeApi;
use super::patience::Patience;
use super::{ClusterError, ClusterPort, KubeCluster};
use crate::fleet::PodEvent;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::time::Duration;

const EVENTS: &str = "/api/v1/events";
const PODS: &str = "/api/v1/pods";
/// The end of a request that lists what is said about pods: a watch has no limit.
const LISTED: &str = "TriggeredScaleUp&limit=500";
const CHANGED: &str = "Container web definition changed, will be restarted";

fn event(name: &str, uid: &str, reason: &str, message: &str) -> Value {
    let now = Timestamp::now().to_string();
    json!({"kind": "Event", "apiVersion": "v1", "metadata": {"name": name, "namespace": "app"}, "reason": reason, "message": message,
        "involvedObject": {"kind": "Pod", "namespace": "app", "name": format!("pod-{uid}"), "uid": uid},
        "source": {"component": "kubelet"}, "firstTimestamp": now, "lastTimestamp": now, "count": 1})
}

async fn connect(api: &FakeApi) -> KubeCluster {
    let patience = Patience { total: Duration::from_secs(5), request: Duration::from_secs(5), ..Patience::default() };
    KubeCluster::connect_with(&api.kubeconfig(), None, patience).await.unwrap()
}

/// Asks until the answer is as wished.
async fn until(cluster: &KubeCluster, uid: &str, done: impl Fn(&[PodEvent]) -> bool) -> Vec<PodEvent> {
    let asked = async {
        loop {
            let events = cluster.pod_events(&[uid]).await.unwrap();
            if done(&events) {
                return events;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asked).await.expect("the watch brings it")
}

#[tokio::test]
async fn an_early_sign_is_seen_and_noise_stays_at_the_server() {
    let api = FakeApi::start().await;
    api.put(EVENTS, event("e0", "u1", "Started", "Started container web"));
    api.put(EVENTS, event("e1", "u1", "Unhealthy", "Readiness probe failed: timeout"));
    let cluster = connect(&api).await;
    assert_eq!(api.count(EVENTS), 0, "who does not ask does not pay");
    let seen = cluster.pod_events(&["u1"]).await.unwrap();
    assert_eq!(seen.iter().map(|e| e.reason.as_str()).collect::<Vec<_>>(), ["Unhealthy"]);
    let asked = |part: &str| api.count(&format!("{EVENTS}?")) > 0 && api.count(part) > 0;
    assert!(asked("fieldSelector=involvedObject.kind%3DPod%2Creason%21%3DScheduled"), "selected at the server");
    let lists = api.count(LISTED);
    assert_eq!(lists, 1);
    api.put(EVENTS, event("e2", "u1", "Pulled", "Container image already present"));
    api.put(EVENTS, event("e3", "u2", "Killing", "Stopping container web"));
    api.put(EVENTS, event("e4", "u1", "Killing", CHANGED));
    let seen = until(&cluster, "u1", |all| all.len() > 1).await;
    assert_eq!(
        (seen[1].reason.as_str(), seen[1].message.as_str(), seen[1].source.as_str()),
        ("Killing", CHANGED, "kubelet")
    );
    assert_eq!(seen.len(), 2);
    assert_eq!(api.count(LISTED), lists, "it came by the watch");
}

#[tokio::test]
async fn the_watch_goes_on_after_it_was_ended_cut_or_expired() {
    let api = FakeApi::start().await;
    api.put(EVENTS, event("e1", "u1", "Killing", CHANGED));
    let cluster = connect(&api).await;
    until(&cluster, "u1", |all| all.len() == 1).await;
    api.end_watches();
    api.put(EVENTS, event("e2", "u1", "Unhealthy", "Liveness probe failed: timeout"));
    until(&cluster, "u1", |all| all.len() == 2).await;
    api.set_away(true);
    api.put(EVENTS, event("e3", "u1", "BackOff", "Back-off restarting failed container"));
    assert_eq!(cluster.pod_events(&["u1"]).await.unwrap().len(), 2, "the copy holds while an API server restarts");
    api.set_away(false);
    until(&cluster, "u1", |all| all.len() == 3).await;
    let lists = api.count(LISTED);
    api.expire();
    api.put(EVENTS, event("e4", "u1", "Evicted", "The node was low on resource: memory."));
    until(&cluster, "u1", |all| all.len() == 4).await;
    assert!(api.count(LISTED) > lists, "listed anew after 410");
}

#[tokio::test]
async fn a_role_without_events_is_refused_with_what_to_add() {
    let api = FakeApi::start().await;
    api.forbid(Some(EVENTS));
    let cluster = connect(&api).await;
    let error = cluster.pod_events(&["u1"]).await.unwrap_err();
    assert!(matches!(error, ClusterError::Refused(_)), "{error}");
    let text = error.to_string();
    assert!(text.contains("events: list, watch") && text.contains("docs/rbac.yaml"), "{text}");
    let begun = std::time::Instant::now();
    assert_eq!(cluster.pod_events(&["u1"]).await.unwrap_err(), error);
    assert!(begun.elapsed() < Duration::from_secs(2), "the second time at once");
    let role = include_str!("../../docs/rbac.yaml");
    let events = role.split("resources: [\"events\"]").nth(1).expect("the role that we ship lists events");
    assert!(events.trim_start().starts_with("verbs: [\"list\", \"watch\"]"));
}

#[tokio::test]
async fn an_api_that_does_not_answer_is_away() {
    let api = FakeApi::start().await;
    api.set_away(true);
    let patience =
        Patience { total: Duration::from_millis(400), request: Duration::from_millis(400), ..Patience::default() };
    let cluster = KubeCluster::connect_with(&api.kubeconfig(), None, patience).await.unwrap();
    let error = cluster.pod_events(&["u1"]).await.unwrap_err();
    assert!(matches!(&error, ClusterError::Away(why) if why.contains("readyz")), "{error}");
}

#[tokio::test]
async fn who_deleted_a_pod_is_told_by_its_controller() {
    let api = FakeApi::start().await;
    api.put(
        PODS,
        json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "pod-u1", "namespace": "app", "uid": "u1"},
        "spec": {"nodeName": "a", "containers": []}, "status": {"phase": "Running"}}),
    );
    let cluster = connect(&api).await;
    assert_eq!(cluster.pod_events(&["u1"]).await.unwrap(), []);
    assert_eq!(cluster.pods(&"a".parse().unwrap()).await.unwrap().len(), 1);
    let mut deleted = event("e1", "rs", "SuccessfulDelete", "Deleted pod: pod-u1");
    deleted["involvedObject"]["kind"] = json!("ReplicaSet");
    deleted["source"]["component"] = json!("replicaset-controller");
    api.put(EVENTS, deleted);
    let seen = until(&cluster, "u1", |all| !all.is_empty()).await;
    assert_eq!((seen[0].uid.as_str(), seen[0].source.as_str()), ("u1", "replicaset-controller"));
}

#[tokio::test]
async fn a_flood_is_bounded_and_old_events_are_not_told() {
    let api = FakeApi::start().await;
    for i in 0..1_200 {
        api.put(EVENTS, event(&format!("e{i:04}"), "u1", "Unhealthy", &"\u{1b}[31m".repeat(500)));
    }
    let mut old = event("old", "u2", "Killing", CHANGED);
    let then = (Timestamp::now() - SignedDuration::from_mins(61)).to_string();
    (old["firstTimestamp"], old["lastTimestamp"]) = (json!(then), json!(then));
    api.put(EVENTS, old);
    let cluster = connect(&api).await;
    let seen = cluster.pod_events(&["u1", "u2"]).await.unwrap();
    assert_eq!(seen.len(), 40);
    assert!(seen.iter().all(|e| e.uid == "u1" && e.message.chars().count() <= 201));
    assert!(seen.iter().all(|e| !e.message.contains(crate::fleet::is_unclean)));
}
