//! The pods of a node, as the API server would list them.

use super::draw::{digest, source, uuid};
use super::nodes::NodeSpec;
use crate::sim::scenario::Scenario;
use jiff::{SignedDuration, Timestamp};
use rand::RngExt;
use serde_json::{Value, json};

/// What runs on a cluster like this one: namespace, name, kind of owner, containers; storage nodes have their own.
type App = (&'static str, &'static str, &'static str, &'static [&'static str]);

const EVERYWHERE: [App; 5] = [
    ("kube-system", "cilium", "DaemonSet", &["cilium-agent"]),
    ("kube-system", "node-dns", "DaemonSet", &["unbound", "exporter"]),
    ("monitoring", "node-exporter", "DaemonSet", &["node-exporter"]),
    ("logging", "promtail", "DaemonSet", &["promtail"]),
    ("topolvm-system", "topolvm-node", "DaemonSet", &["topolvm-node", "csi-registrar", "liveness-probe"]),
];
const COMPUTE: [App; 9] = [
    ("neco-web", "frontend", "ReplicaSet", &["nginx", "app"]),
    ("neco-web", "api", "ReplicaSet", &["app"]),
    ("session-log", "collector", "ReplicaSet", &["collector"]),
    ("app-mysql", "moco-cluster", "MySQLCluster", &["mysqld", "agent", "mysqld-exporter"]),
    ("elastic", "es-master", "StatefulSet", &["elasticsearch"]),
    ("ingress", "contour", "ReplicaSet", &["contour"]),
    ("ingress", "envoy", "ReplicaSet", &["envoy", "shutdown-manager"]),
    ("jobs", "worker", "ReplicaSet", &["worker"]),
    ("argocd", "repo-server", "ReplicaSet", &["repo-server"]),
];
const STORAGE: [App; 5] = [
    ("ceph-hdd", "rook-ceph-osd", "ReplicaSet", &["osd"]),
    ("ceph-ssd", "rook-ceph-osd", "ReplicaSet", &["osd"]),
    ("elastic", "es-data", "StatefulSet", &["elasticsearch"]),
    ("app-mysql", "moco-backup", "ReplicaSet", &["moco-backup"]),
    ("ceph-hdd", "rook-ceph-mon", "ReplicaSet", &["mon"]),
];

/// The pods of one node.
pub(crate) fn pods(scenario: &Scenario, node: &NodeSpec, epoch: Timestamp) -> Vec<Value> {
    let mut rng = source(scenario.seed, &format!("pods of {}", node.name));
    let storage = node.role.as_ref().is_some_and(|r| r.as_str() == "ss");
    let apps: &[App] = if storage { &STORAGE } else { &COMPUTE };
    (0..scenario.pods_per_node)
        .map(|i| {
            let app = EVERYWHERE.get(i).copied().unwrap_or_else(|| apps[rng.random_range(0..apps.len())]);
            let age = SignedDuration::from_mins(rng.random_range(90..60_000));
            let restarts: i32 = if rng.random_bool(0.08) { rng.random_range(1..4) } else { 0 };
            pod(node, i, app, epoch - age, restarts)
        })
        .collect()
}

fn pod(node: &NodeSpec, number: usize, app: App, born: Timestamp, restarts: i32) -> Value {
    let (namespace, app, owner, containers) = app;
    let number_text = number.to_string();
    let subject = [node.name.as_str(), namespace, app, number_text.as_str()];
    let hash = digest(&subject);
    let name = match owner {
        "DaemonSet" => format!("{app}-{}", letters(&hash[..5])),
        "StatefulSet" | "MySQLCluster" => {
            format!("{app}-{}-{}", letters(&hash[..4]), node.rack_number * 100 + node.index_in_rack * 10 + number % 10)
        }
        _ => format!("{app}-{}-{}", letters(&hash[..9]), letters(&hash[9..14])),
    };
    let text = |after: i64| (born + SignedDuration::from_secs(after)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let image = |c: &str| format!("ghcr.io/cybozu/{c}:1.0.{}", hash.len() % 7);
    let statuses: Vec<Value> = containers
        .iter()
        .map(|c| {
            json!({
                "name": c,
                "image": image(c),
                "imageID": format!("ghcr.io/cybozu/{c}@sha256:{}", digest(&[c])),
                "containerID": format!("containerd://{}", digest(&[&hash, c])),
                "ready": true,
                "started": true,
                "restartCount": restarts,
                "state": {"running": {"startedAt": text(8)}},
            })
        })
        .collect();
    let specs: Vec<Value> = containers.iter().map(|c| container(c, &image(c), owner != "DaemonSet")).collect();
    let api = if owner == "MySQLCluster" { "moco.cybozu.com/v1beta2" } else { "apps/v1" };
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uuid(&subject),
            "creationTimestamp": text(0),
            "labels": {"app.kubernetes.io/name": app},
            "ownerReferences": [{
                "apiVersion": api, "kind": owner, "name": app, "uid": uuid(&[namespace, app]), "controller": true,
            }],
        },
        "spec": {"nodeName": node.name.as_str(), "containers": specs, "restartPolicy": "Always"},
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
    })
}

/// What serves says when it is ready to.
fn container(name: &str, image: &str, serves: bool) -> Value {
    let probe = serves.then(|| json!({"httpGet": {"path": "/ready", "port": 8080}}));
    json!({"name": name, "image": image, "resources": {}, "readinessProbe": probe})
}

/// The letters that Kubernetes makes random names of: no vowels, so that no word comes out.
fn letters(hex: &str) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    hex.bytes().enumerate().map(|(i, b)| ALPHABET[(usize::from(b) * 7 + i * 5) % ALPHABET.len()] as char).collect()
}
