//! The cluster's API of the lab: a door and a store of the simulator's, fed by what the lab's own kubelets and API
//! servers answer. A real kubelet would write its node's status itself; here a reporter does so for it.

use crate::components;
use crate::http;
use crate::lab::Lab;
use crate::node::{Kind as NodeKind, Node};
use color_eyre::eyre::{Result, eyre};
use serde_json::{Value, json};
use sonoba::plan::Check;
use sonoba::sim::kube::{self, Kind, Store};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How often a kubelet is asked.
const PERIOD: Duration = Duration::from_millis(200);
/// How long a kubelet may be silent before its node is NotReady: kube-controller-manager's own default before 1.32.
const GRACE: Duration = Duration::from_secs(40);
/// Pods that every node holds.
const PODS: usize = 4;

/// The API at work; dropping it ends it.
pub struct Cluster {
    /// What it serves.
    pub store: Store,
    tasks: Vec<JoinHandle<()>>,
}

impl Cluster {
    /// Serves the API and writes the kubeconfig into the lab's folder.
    pub fn start(lab: &Lab) -> Result<Cluster> {
        let store = Store::new();
        let masters: Vec<&Node> = lab.masters().collect();
        for node in &lab.nodes {
            store.create(Kind::Node, node_object(node, lab.old.name))?;
            for n in 0..PODS {
                store.create(Kind::Pod, pod_object(node, n))?;
            }
        }
        // The leaders are on different masters, so that "leader last" means another order for each.
        for (name, holder) in [("kube-controller-manager", "lab-m1"), ("kube-scheduler", "lab-m2")] {
            store.create(Kind::Lease, lease_object(name, holder))?;
        }
        let (endpoints, slice) = endpoint_objects(&masters);
        store.create(Kind::Endpoints, endpoints)?;
        store.create(Kind::EndpointSlice, slice)?;

        let listener = lab.runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "lab",
            "clusters": [{"name": "lab", "cluster": {"server": format!("http://{}", listener.local_addr()?)}}],
            "users": [{"name": "lab", "user": {}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
        });
        std::fs::write(lab.dir.join("kubeconfig"), config.to_string())?;
        let mut tasks = vec![lab.runtime.spawn(kube::serve(store.clone(), listener))];
        for node in &lab.nodes {
            let health = check(components::health("kubelet"))?;
            let version = check("http://{address}:10248/version")?;
            let report = report(store.clone(), node.name, node.address.clone(), health, version);
            tasks.push(lab.runtime.spawn(report));
        }
        let addresses = masters.iter().map(|node| node.address.clone()).collect();
        tasks.push(lab.runtime.spawn(answer_while_served(
            store.clone(),
            addresses,
            check(components::health("kube-apiserver"))?,
        )));
        Ok(Cluster { store, tasks })
    }

    /// The addresses that the service `default/kubernetes` leads to: by its Endpoints, and by its EndpointSlice.
    pub fn api_addresses(&self) -> (Vec<String>, Vec<String>) {
        api_addresses(&self.store)
    }
}

/// The same, of a store.
pub fn api_addresses(store: &Store) -> (Vec<String>, Vec<String>) {
    let object = |kind| store.get(kind, "default", "kubernetes").map(|o| (*o).clone()).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let sorted = |mut list: Vec<String>| {
        list.sort();
        list
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let endpoints = list(&object(Kind::Endpoints)["subsets"][0]["addresses"]);
    let slice = list(&object(Kind::EndpointSlice)["endpoints"]);
    (
        sorted(endpoints.iter().map(|a| text(&a["ip"])).collect()),
        sorted(slice.iter().map(|e| text(&e["addresses"][0])).collect()),
    )
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn check(text: &str) -> Result<Check> {
    text.parse().map_err(|why: String| eyre!(why))
}

/// Does for a kubelet what it would do itself: states its version and that its node is Ready. When it is silent, does
/// what kube-controller-manager would.
async fn report(store: Store, node: &'static str, address: String, health: Check, version: Check) {
    let mut seen = Instant::now();
    let mut told: Option<(bool, String)> = None;
    loop {
        let healthy = matches!(http::check(&health, &address, Duration::from_secs(1)).await, Ok((200, _)));
        if healthy && let Ok((200, body)) = http::check(&version, &address, Duration::from_secs(1)).await {
            seen = Instant::now();
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let now = (true, body["gitVersion"].as_str().unwrap_or_default().to_owned());
            if told.as_ref() != Some(&now) {
                store.mutate(Kind::Node, "", node, |object| {
                    object["status"]["nodeInfo"]["kubeletVersion"] = json!(now.1);
                    set_ready(object, "True");
                });
                told = Some(now);
            }
        } else if seen.elapsed() >= GRACE && told.as_ref().is_none_or(|(ready, _)| *ready) {
            store.mutate(Kind::Node, "", node, |object| set_ready(object, "Unknown"));
            told = Some((false, String::new()));
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// The API answers while one of the API servers does.
async fn answer_while_served(store: Store, masters: Vec<String>, ready: Check) {
    loop {
        let mut up = false;
        for address in &masters {
            up |= matches!(http::check(&ready, address, Duration::from_secs(1)).await, Ok((200, _)));
        }
        store.set_up(up);
        tokio::time::sleep(PERIOD).await;
    }
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn set_ready(node: &mut Value, status: &str) {
    let condition = &mut node["status"]["conditions"][0];
    if condition["status"] != status {
        condition["lastTransitionTime"] = json!(now());
    }
    condition["status"] = json!(status);
    condition["lastHeartbeatTime"] = json!(now());
}

fn node_object(node: &Node, version: &str) -> Value {
    let mut labels = json!({
        "kubernetes.io/hostname": node.name,
        "topology.kubernetes.io/zone": node.rack,
    });
    match node.kind {
        NodeKind::Master => labels["cke.cybozu.com/master"] = json!("true"),
        NodeKind::Worker(role) => labels["cke.cybozu.com/role"] = json!(role),
    }
    json!({
        "metadata": {"name": node.name, "labels": labels},
        "spec": {},
        "status": {
            "addresses": [{"type": "InternalIP", "address": node.address}],
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "KubeletReady",
                "lastHeartbeatTime": now(), "lastTransitionTime": now(),
            }],
            "nodeInfo": {
                "architecture": "amd64", "bootID": "lab", "containerRuntimeVersion": "containerd://1.6.20",
                "kernelVersion": "6.1", "kubeProxyVersion": "", "kubeletVersion": format!("v{version}"),
                "machineID": node.name, "operatingSystem": "linux", "osImage": "Debian", "systemUUID": node.name,
            },
        },
    })
}

fn pod_object(node: &Node, n: usize) -> Value {
    let name = format!("pod-{}-{n}", node.name);
    json!({
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"nodeName": node.name, "containers": [{"name": "main", "image": "main:1"}]},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now()}],
            "containerStatuses": [{
                "name": "main", "image": "main:1", "imageID": "main@sha256:1", "ready": true, "started": true,
                "restartCount": 0, "containerID": format!("containerd://{name}"),
                "state": {"running": {"startedAt": now()}},
            }],
        },
    })
}

fn lease_object(name: &str, holder: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "kube-system"},
        "spec": {
            // client-go appends a random id to the host's name.
            "holderIdentity": format!("{holder}_4c7f1d8e-8a52-4b53-9a2e-6f5a4b1f0c11"),
            "leaseDurationSeconds": 15, "leaseTransitions": 1,
        },
    })
}

fn endpoint_objects(masters: &[&Node]) -> (Value, Value) {
    let meta = json!({
        "name": "kubernetes", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"},
    });
    let ports = json!([{"name": "https", "port": 6443, "protocol": "TCP"}]);
    let addresses: Vec<Value> = masters.iter().map(|m| json!({"ip": m.address})).collect();
    let endpoints: Vec<Value> =
        masters.iter().map(|m| json!({"addresses": [m.address], "conditions": {"ready": true}})).collect();
    (
        json!({"metadata": meta.clone(), "subsets": [{"addresses": addresses, "ports": ports.clone()}]}),
        json!({"metadata": meta, "addressType": "IPv4", "endpoints": endpoints, "ports": ports}),
    )
}
