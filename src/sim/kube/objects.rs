//! The objects of a simulated cluster, as its API server has them.

use crate::sim::clock::Clock;
use crate::sim::model::{Lead, NodeSpec, NodeStatus, digest, uuid};
use crate::sim::scenario::deprecated;
use serde_json::{Value, json};

/// A moment as metav1.Time writes it.
pub(crate) fn time(clock: &Clock, ms: i64) -> String {
    clock.at(ms).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A moment as metav1.MicroTime writes it.
pub(crate) fn micro_time(clock: &Clock, ms: i64) -> String {
    clock.at(ms).strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// A node.
pub(crate) fn node(spec: &NodeSpec, status: &NodeStatus, clock: &Clock, now: i64) -> Value {
    let mut labels = json!({
        "kubernetes.io/hostname": spec.name.as_str(),
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        "topology.kubernetes.io/zone": spec.rack.as_str(),
        "cke.cybozu.com/rack": spec.rack_number.to_string(),
        "cke.cybozu.com/index-in-rack": spec.index_in_rack.to_string(),
    });
    if let Some(role) = &spec.role {
        labels["cke.cybozu.com/role"] = json!(role.as_str());
        // Two generations of hardware, bought by the rack.
        labels["node.kubernetes.io/instance-type"] = json!(format!("{role}-gen{}", 2 + spec.rack_number % 2));
    }
    if spec.master {
        labels["cke.cybozu.com/master"] = json!("true");
    }
    let name = spec.name.as_str();
    let taints = spec.master.then(|| json!([{"key": "cke.cybozu.com/master", "effect": "PreferNoSchedule"}]));
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "uid": uuid(&["node", name]),
            "creationTimestamp": time(clock, -86_400_000 * 90),
            "labels": labels,
        },
        "spec": {"podCIDR": format!("10.64.{}.0/24", spec.rack_number % 250), "taints": taints},
        "status": {
            "capacity": {"cpu": "32", "memory": "131072Mi", "pods": "250"},
            "allocatable": {"cpu": "31", "memory": "129024Mi", "pods": "250"},
            "addresses": [
                {"type": "InternalIP", "address": spec.address.to_string()},
                {"type": "Hostname", "address": name},
            ],
            "conditions": conditions(status, clock, now),
            "nodeInfo": {
                "architecture": "amd64",
                "bootID": uuid(&["boot", name]),
                "containerRuntimeVersion": "containerd://2.1.5",
                "kernelVersion": "6.6.95-flatcar",
                "kubeProxyVersion": "",
                "kubeletVersion": status.version,
                "machineID": &digest(&["machine", name])[..32],
                "operatingSystem": "linux",
                "osImage": "Flatcar Container Linux by Kinvolk 4230.2.2",
                "systemUUID": uuid(&["system", name]),
            },
        },
    })
}

/// A node's conditions.
pub(crate) fn conditions(status: &NodeStatus, clock: &Clock, now: i64) -> Value {
    // A node whose kubelet is away is Unknown; one whose kubelet says so is False. Both are not Ready.
    let lost = !status.ready && now - status.seen > 1_000;
    let (ready, reason, message) = match (status.ready, lost) {
        (true, _) => ("True", "KubeletReady", "kubelet is posting ready status"),
        (false, true) => ("Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status."),
        (false, false) => ("False", "KubeletNotReady", "container runtime network not ready"),
    };
    let quiet = |kind: &str, reason: &str| {
        json!({
            "type": kind, "status": if lost { "Unknown" } else { "False" }, "reason": reason,
            "lastHeartbeatTime": time(clock, status.seen), "lastTransitionTime": time(clock, -86_400_000 * 30),
        })
    };
    json!([
        quiet("MemoryPressure", "KubeletHasSufficientMemory"),
        quiet("DiskPressure", "KubeletHasNoDiskPressure"),
        quiet("PIDPressure", "KubeletHasSufficientPID"),
        {
            "type": "Ready", "status": ready, "reason": reason, "message": message,
            "lastHeartbeatTime": time(clock, status.seen), "lastTransitionTime": time(clock, status.since),
        },
    ])
}

/// The volumes on a node's own disks: whole disks on storage nodes, TopoLVM's on the others.
pub(crate) fn volumes(spec: &NodeSpec) -> Vec<Value> {
    let storage = spec.role.as_ref().is_some_and(|r| r.as_str() == "ss");
    let (count, size, key, class) = match (spec.master, storage) {
        (true, _) => (0, "", "", ""),
        (false, true) => (8, "7452Gi", "kubernetes.io/hostname", "local-hdd"),
        (false, false) => (2, "100Gi", "topology.topolvm.io/node", "topolvm-provisioner"),
    };
    let volume = |number: usize| {
        json!({
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": format!("pv-{}-{number}", spec.name)},
            "spec": {
                "capacity": {"storage": size},
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": class,
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                    {"key": key, "operator": "In", "values": [spec.name.as_str()]},
                ]}]}},
            },
            "status": {"phase": "Bound"},
        })
    };
    (0..count).map(volume).collect()
}

/// The API server's own count of requests for APIs that will be gone.
pub(crate) fn metrics(deprecated_apis: &[String]) -> String {
    let mut text =
        "# HELP apiserver_requested_deprecated_apis [STABLE] Gauge of deprecated APIs that have been requested, \
                    broken out by API group, version, resource, subresource, and removed_release.\n\
                    # TYPE apiserver_requested_deprecated_apis gauge\n"
            .to_owned();
    for [group, version, resource, removed] in deprecated_apis.iter().filter_map(|api| deprecated(api)) {
        text += &format!(
            "apiserver_requested_deprecated_apis{{group=\"{group}\",removed_release=\"{removed}\",\
             resource=\"{resource}\",subresource=\"\",version=\"{version}\"}} 1\n"
        );
    }
    text
}

/// A leader's lease.
pub(crate) fn lease(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "kube-system"}, "spec": spec})
}

/// What a leader's lease says. client-go appends a random suffix to the node's name.
pub(crate) fn lease_spec(name: &str, lead: &Lead, holder: &str, clock: &Clock) -> Value {
    if lead.released {
        // As client-go's `release` leaves it.
        return json!({
            "holderIdentity": "", "leaseDurationSeconds": 1, "leaseTransitions": lead.transitions,
            "acquireTime": micro_time(clock, lead.renewed), "renewTime": micro_time(clock, lead.renewed),
        });
    }
    json!({
        "holderIdentity": format!("{holder}_{}", uuid(&[name, holder, &lead.transitions.to_string()])),
        "leaseDurationSeconds": 15,
        "leaseTransitions": lead.transitions,
        "acquireTime": micro_time(clock, lead.since),
        "renewTime": micro_time(clock, lead.renewed),
    })
}

/// The Endpoints and the EndpointSlice of the service `default/kubernetes`.
pub(crate) fn kubernetes_endpoints(masters: &[&NodeSpec]) -> (Value, Value) {
    let addresses: Vec<Value> = masters.iter().map(|m| json!({"ip": m.address.to_string()})).collect();
    let endpoints: Vec<Value> =
        masters.iter().map(|m| json!({"addresses": [m.address.to_string()], "conditions": {"ready": true}})).collect();
    let ports = json!([{"name": "https", "port": 6443, "protocol": "TCP"}]);
    let meta = json!({
        "name": "kubernetes", "namespace": "default",
        "labels": {"kubernetes.io/service-name": "kubernetes", "endpointslice.kubernetes.io/skip-mirror": "true"},
    });
    (
        json!({"metadata": meta.clone(), "subsets": [{"addresses": addresses, "ports": ports.clone()}]}),
        json!({"metadata": meta, "addressType": "IPv4", "endpoints": endpoints, "ports": ports}),
    )
}
