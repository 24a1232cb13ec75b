//! The pods of a node, as the API server would list them.

use super::draw::{digest, source, uuid};
use super::nodes::NodeSpec;
use crate::sim::scenario::Scenario;
use jiff::{SignedDuration, Timestamp};
use rand::RngExt;
use serde_json::{Value, json};

/// An application of a cluster like this one.
#[derive(Clone, Copy)]
struct App {
    namespace: &'static str,
    name: &'static str,
    /// The kind of its pods' controller; `CronJob` means a Job that one made, `Node` a static pod.
    owner: &'static str,
    containers: &'static [&'static str],
    /// An init container that runs as long as the pod does.
    sidecar: Option<&'static str>,
    /// Its grace period, as a share of the scenario's. Percent.
    grace: u32,
}

const fn app(
    namespace: &'static str,
    name: &'static str,
    owner: &'static str,
    containers: &'static [&'static str],
) -> App {
    App { namespace, name, owner, containers, sidecar: None, grace: 100 }
}

const EVERYWHERE: [App; 5] = [
    App { grace: 4, ..app("kube-system", "cilium", "DaemonSet", &["cilium-agent"]) },
    app("kube-system", "node-dns", "DaemonSet", &["unbound", "exporter"]),
    app("monitoring", "node-exporter", "DaemonSet", &["node-exporter"]),
    app("logging", "promtail", "DaemonSet", &["promtail"]),
    app("topolvm-system", "topolvm-node", "DaemonSet", &["topolvm-node", "csi-registrar", "liveness-probe"]),
];
/// Masters have static pods too.
const MASTERS: [App; 1] = [app("kube-system", "vip-manager", "Node", &["vip-manager"])];
const COMPUTE: [App; 11] = [
    App { grace: 200, sidecar: Some("mesh-proxy"), ..app("neco-web", "frontend", "ReplicaSet", &["nginx", "app"]) },
    app("neco-web", "api", "ReplicaSet", &["app"]),
    App { sidecar: Some("log-shipper"), ..app("session-log", "collector", "ReplicaSet", &["collector"]) },
    App { grace: 200, ..app("app-mysql", "moco-cluster", "StatefulSet", &["mysqld", "agent", "mysqld-exporter"]) },
    app("elastic", "es-master", "StatefulSet", &["elasticsearch"]),
    app("ingress", "contour", "ReplicaSet", &["contour"]),
    App { grace: 200, ..app("ingress", "envoy", "ReplicaSet", &["envoy", "shutdown-manager"]) },
    app("jobs", "worker", "ReplicaSet", &["worker"]),
    app("jobs", "reindex", "Job", &["reindex"]),
    app("jobs", "nightly-report", "CronJob", &["report"]),
    App { grace: 34, ..app("argocd", "repo-server", "ReplicaSet", &["repo-server"]) },
];
const STORAGE: [App; 5] = [
    App { grace: 200, ..app("ceph-hdd", "rook-ceph-osd", "ReplicaSet", &["osd"]) },
    App { grace: 200, ..app("ceph-ssd", "rook-ceph-osd", "ReplicaSet", &["osd"]) },
    app("elastic", "es-data", "StatefulSet", &["elasticsearch"]),
    app("app-mysql", "moco-backup", "ReplicaSet", &["moco-backup"]),
    app("ceph-hdd", "rook-ceph-mon", "ReplicaSet", &["mon"]),
];

/// The pods of one node.
pub(crate) fn pods(scenario: &Scenario, node: &NodeSpec, epoch: Timestamp) -> Vec<Value> {
    let mut rng = source(scenario.seed, &format!("pods of {}", node.name));
    let storage = node.role.as_ref().is_some_and(|r| r.as_str() == "ss");
    let apps: &[App] = if storage { &STORAGE } else { &COMPUTE };
    let here = if node.master { &MASTERS[..] } else { &[] };
    let mut fixed = EVERYWHERE.iter().chain(here);
    (0..scenario.pods_per_node)
        .map(|i| {
            let app = fixed.next().copied().unwrap_or_else(|| apps[rng.random_range(0..apps.len())]);
            let age = SignedDuration::from_mins(rng.random_range(90..60_000));
            let restarts: i32 = if rng.random_bool(0.08) { rng.random_range(1..4) } else { 0 };
            let debugged = rng.random_bool(0.01);
            pod(scenario, node, i, app, (epoch - age, restarts, debugged))
        })
        .collect()
}

/// Its grace period as the API shows it: in real seconds, rounded up.
fn grace_s(scenario: &Scenario, app: App) -> u64 {
    let share = if scenario.pods.variety { f64::from(app.grace) / 100.0 } else { 1.0 };
    (f64::from(scenario.pods.grace_s) * share / scenario.speed).ceil() as u64
}

/// What made a pod: kind, name, API version, and the pod's own name.
fn owner(app: App, node: &NodeSpec, number: usize, hash: &str) -> (&'static str, String, &'static str, String) {
    let App { name, namespace, .. } = app;
    match app.owner {
        "DaemonSet" => ("DaemonSet", name.to_owned(), "apps/v1", format!("{name}-{}", letters(&hash[..5]))),
        "StatefulSet" => {
            let set = format!("{name}-{}", letters(&hash[..4]));
            let ordinal = node.rack_number * 100 + node.index_in_rack * 10 + number % 10;
            ("StatefulSet", set.clone(), "apps/v1", format!("{set}-{ordinal}"))
        }
        "Job" => ("Job", name.to_owned(), "batch/v1", format!("{name}-{}", letters(&hash[9..14]))),
        "CronJob" => {
            // A CronJob calls its Jobs by the minute that they were due in.
            let job = format!("{name}-{}", 29_700_000 + number);
            ("Job", job.clone(), "batch/v1", format!("{job}-{}", letters(&hash[9..14])))
        }
        "Node" => ("Node", node.name.to_string(), "v1", format!("{name}-{}", node.name)),
        _ => {
            let set = format!("{name}-{}", letters(&digest(&[namespace, name])[..9]));
            ("ReplicaSet", set.clone(), "apps/v1", format!("{set}-{}", letters(&hash[9..14])))
        }
    }
}

fn pod(
    scenario: &Scenario,
    node: &NodeSpec,
    number: usize,
    app: App,
    (born, restarts, debugged): (Timestamp, i32, bool),
) -> Value {
    let number_text = number.to_string();
    let subject = [node.name.as_str(), app.namespace, app.name, number_text.as_str()];
    let hash = digest(&subject);
    let (kind, owner_name, owner_api, name) = owner(app, node, number, &hash);
    let text = |after: i64| (born + SignedDuration::from_secs(after)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let image = |c: &str| format!("ghcr.io/cybozu/{c}:1.0.{}", hash.len() % 7);
    let status = |c: &str, running: Value, ready: bool| {
        json!({
            "name": c,
            "image": image(c),
            "imageID": format!("ghcr.io/cybozu/{c}@sha256:{}", digest(&[c])),
            "containerID": format!("containerd://{}", digest(&[&hash, c])),
            "ready": ready,
            "started": ready,
            "restartCount": restarts,
            "state": running,
        })
    };
    let running = json!({"running": {"startedAt": text(8)}});
    let mut statuses: Vec<Value> = app.containers.iter().map(|c| status(c, running.clone(), true)).collect();
    if restarts > 0 {
        for status in &mut statuses {
            status["lastState"] = json!({"terminated": {
                "containerID": format!("containerd://{}", digest(&[&hash, "before"])), "exitCode": 1, "reason": "Error",
                "startedAt": text(2), "finishedAt": text(7),
            }});
        }
    }
    let probe = scenario.pods.readiness && !["DaemonSet", "Job", "CronJob", "Node"].contains(&app.owner);
    let specs: Vec<Value> = app.containers.iter().map(|c| container(c, &image(c), probe)).collect();
    let labels = match kind {
        "ReplicaSet" => json!({
            "app.kubernetes.io/name": app.name, "pod-template-hash": owner_name.rsplit('-').next(),
        }),
        "StatefulSet" => json!({
            "app.kubernetes.io/name": app.name, "statefulset.kubernetes.io/pod-name": name,
            "controller-revision-hash": format!("{owner_name}-{}", letters(&digest(&[app.name])[..9])),
        }),
        "DaemonSet" => json!({
            "app.kubernetes.io/name": app.name, "pod-template-generation": "1",
            "controller-revision-hash": letters(&digest(&[app.name])[..9]),
        }),
        "Job" => json!({"app.kubernetes.io/name": app.name, "batch.kubernetes.io/job-name": owner_name}),
        _ => json!({"app.kubernetes.io/name": app.name}),
    };
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": app.namespace,
            "uid": uuid(&subject),
            "creationTimestamp": text(0),
            "labels": labels,
            "ownerReferences": [{
                "apiVersion": owner_api, "kind": kind, "name": owner_name,
                "uid": uuid(&[app.namespace, &owner_name]), "controller": true,
            }],
        },
        "spec": {
            "nodeName": node.name.as_str(), "containers": specs,
            "restartPolicy": if kind == "Job" { "OnFailure" } else { "Always" },
            "terminationGracePeriodSeconds": grace_s(scenario, app),
        },
        "status": {
            "phase": "Running",
            "hostIP": node.address.to_string(),
            "podIP": format!("10.64.{}.{}", (node.rack_number * 28 + node.index_in_rack) % 250, number % 250 + 1),
            "startTime": text(2),
            "qosClass": "Burstable",
            "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": text(0)},
                {"type": "Initialized", "status": "True", "lastTransitionTime": text(2)},
                {"type": "ContainersReady", "status": "True", "lastTransitionTime": text(20)},
                {"type": "Ready", "status": "True", "lastTransitionTime": text(20)},
            ],
            "containerStatuses": statuses,
        },
    });
    let mut started = Vec::new();
    let mut started_as = Vec::new();
    if app.owner == "StatefulSet" {
        started.push(json!({"name": "init-config", "image": image("init-config"), "resources": {}}));
        started_as.push(status(
            "init-config",
            json!({"terminated": {
                "containerID": format!("containerd://{}", digest(&[&hash, "init-config"])),
                "exitCode": 0, "reason": "Completed", "startedAt": text(3), "finishedAt": text(5),
            }}),
            true,
        ));
    }
    if let Some(sidecar) = app.sidecar {
        let mut spec = container(sidecar, &image(sidecar), false);
        spec["restartPolicy"] = json!("Always");
        started.push(spec);
        started_as.push(status(sidecar, running.clone(), true));
    }
    if !started.is_empty() {
        pod["spec"]["initContainers"] = json!(started);
        pod["status"]["initContainerStatuses"] = json!(started_as);
    }
    if debugged {
        pod["spec"]["ephemeralContainers"] =
            json!([{"name": "debugger-x7k2p", "image": image("debug"), "resources": {}}]);
        pod["status"]["ephemeralContainerStatuses"] = json!([status("debugger-x7k2p", running, false)]);
    }
    if kind == "Node" {
        pod["metadata"]["annotations"] = json!({
            "kubernetes.io/config.source": "file", "kubernetes.io/config.hash": &hash[..32],
            "kubernetes.io/config.mirror": &hash[..32],
        });
    }
    pod
}

/// What serves says when it is ready to.
fn container(name: &str, image: &str, serves: bool) -> Value {
    let probe = serves.then(|| json!({"httpGet": {"path": "/ready", "port": 8080}}));
    json!({"name": name, "image": image, "resources": {}, "readinessProbe": probe})
}

/// Five letters as Kubernetes appends them to names, by `subject`.
pub(crate) fn random_letters(subject: &[&str]) -> String {
    letters(&digest(subject)[..5])
}

/// The letters that Kubernetes makes random names of: no vowels, so that no word comes out.
fn letters(hex: &str) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    hex.bytes().enumerate().map(|(i, b)| ALPHABET[(usize::from(b) * 7 + i * 5) % ALPHABET.len()] as char).collect()
}
