//! Kubernetes' objects turned into sonoba's own. What the API says is not trusted: what does not parse is left out, with
//! a warning in the log.

use super::NodeView;
use super::patience::shown;
use crate::fleet::{Condition, ContainerProof, NodeName, PodProof, clean};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Node, Pod};

/// A node; `None` when its name is not one.
pub(super) fn node(node: &Node) -> Option<NodeView> {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let name: NodeName = name.parse().map_err(|why| tracing::warn!(%why, "a node of the API is passed over")).ok()?;
    let status = node.status.as_ref();
    let ready = status
        .and_then(|s| s.conditions.as_ref())
        .is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"));
    let version = status.and_then(|s| s.node_info.as_ref()).map(|i| i.kubelet_version.as_str());
    let kubelet_version = version.and_then(|v| {
        v.parse().map_err(|why| tracing::warn!(node = %name, %why, "a kubelet's version is passed over")).ok()
    });
    let address = status
        .and_then(|s| s.addresses.as_ref())
        .and_then(|all| all.iter().find(|a| a.type_ == "InternalIP"))
        .and_then(|a| a.address.parse::<std::net::IpAddr>().ok())
        .map(|ip| ip.to_string());
    let labels = node.metadata.labels.iter().flatten().map(|(k, v)| (clean(k), clean(v))).collect();
    Some(NodeView { name, ready, kubelet_version, labels, address })
}

/// A node's conditions, `Ready` first.
pub(super) fn conditions(node: &Node) -> Vec<Condition> {
    let all = node.status.as_ref().and_then(|s| s.conditions.as_ref()).into_iter().flatten();
    let text = |text: &Option<String>| text.as_deref().map(shown).unwrap_or_default();
    let mut all: Vec<Condition> = all
        .map(|c| Condition {
            kind: shown(&c.type_),
            holds: match c.status.as_str() {
                "True" => Some(true),
                "False" => Some(false),
                _ => None,
            },
            reason: text(&c.reason),
            message: text(&c.message),
            since: c.last_transition_time.as_ref().and_then(|t| moment(&t.0)),
        })
        .collect();
    all.sort_by_key(|c| c.kind != "Ready");
    all
}

/// What proves later whether a pod was disturbed; `None` when it has no UID to know it by.
pub(super) fn pod(pod: &Pod) -> Option<PodProof> {
    let meta = &pod.metadata;
    let place =
        format!("{}/{}", meta.namespace.as_deref().unwrap_or("default"), meta.name.as_deref().unwrap_or_default());
    let Some(uid) = meta.uid.as_deref().filter(|uid| !uid.is_empty()) else {
        tracing::warn!(pod = shown(&place), "a pod without a UID is passed over");
        return None;
    };
    let status = pod.status.as_ref();
    let phase = status.and_then(|s| s.phase.as_deref());
    let ready = status.and_then(|s| s.conditions.as_ref()).and_then(|all| all.iter().find(|c| c.type_ == "Ready"));
    Some(PodProof {
        pod: shown(&place),
        uid: shown(uid),
        ended: matches!(phase, Some("Succeeded" | "Failed")),
        ready: ready.is_some_and(|c| c.status == "True"),
        ready_since: ready.and_then(|c| c.last_transition_time.as_ref()).and_then(|t| moment(&t.0)),
        containers: status.and_then(|s| s.container_statuses.as_ref()).into_iter().flatten().map(container).collect(),
        ..PodProof::default()
    })
}

fn container(status: &ContainerStatus) -> ContainerProof {
    let running = status.state.as_ref().and_then(|s| s.running.as_ref());
    ContainerProof {
        name: shown(&status.name),
        id: shown(status.container_id.as_deref().unwrap_or_default()),
        restarts: status.restart_count,
        started_at: running.and_then(|r| r.started_at.as_ref()).and_then(|t| moment(&t.0)),
        ..ContainerProof::default()
    }
}

/// The moment in our jiff: k8s-openapi brings an older one with it.
pub(super) fn moment(at: &k8s_openapi::jiff::Timestamp) -> Option<Timestamp> {
    Timestamp::from_nanosecond(at.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn conditions_are_read_cleaned_and_judged() {
        let node: Node = from_value(json!({"metadata": {"name": "a"}, "status": {"conditions": [
            {"type": "DiskPressure", "status": "False", "reason": "Kubelet\u{1b}HasNoDiskPressure"},
            {"type": "PIDPressure", "status": "Unknown"},
            {"type": "MemoryPressure", "status": "True", "message": "9 MiB\nleft"},
            {"type": "EtcdIsVoter", "status": "True"},
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-23T01:02:03Z"},
        ]}}))
        .unwrap();
        let seen: Vec<(String, Option<bool>)> = conditions(&node).iter().map(|c| (c.kind.clone(), c.well())).collect();
        let want = [
            ("Ready", Some(true)),
            ("DiskPressure", Some(true)),
            ("PIDPressure", Some(false)),
            ("MemoryPressure", Some(false)),
            ("EtcdIsVoter", None),
        ];
        assert_eq!(seen, want.map(|(kind, well)| (kind.to_owned(), well)));
        let all = conditions(&node);
        assert!(all[0].since.is_some() && all[1].since.is_none());
        assert!(all.iter().all(|c| !c.reason.contains('\u{1b}') && !c.message.contains('\n')), "{all:?}");
    }

    #[test]
    fn a_node_is_read_and_a_hostile_one_is_passed_over() {
        let good = json!({"metadata": {"name": "rack0-cs1", "labels": {"zone": "rack\u{1b}0"}}, "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "nodeInfo": {"kubeletVersion": "v1.35.6", "kubeProxyVersion": "", "architecture": "", "bootID": "",
                "containerRuntimeVersion": "", "kernelVersion": "", "machineID": "", "operatingSystem": "", "osImage": "", "systemUUID": ""},
            "addresses": [{"type": "Hostname", "address": "x"}, {"type": "InternalIP", "address": "10.69.0.4"}]}});
        let view = node(&from_value(good).unwrap()).unwrap();
        assert_eq!(view.name.as_str(), "rack0-cs1");
        assert!(view.ready);
        assert_eq!(view.kubelet_version.unwrap().to_string(), "v1.35.6");
        assert_eq!(view.labels["zone"], "rack0");
        assert_eq!(view.address.as_deref(), Some("10.69.0.4"));
        assert_eq!(node(&from_value(json!({"metadata": {"name": "../x"}})).unwrap()), None);
    }

    #[test]
    fn a_version_that_is_none_is_none_and_an_unknown_condition_is_not_ready() {
        let odd = json!({"metadata": {"name": "n"}, "status": {
            "conditions": [{"type": "Ready", "status": "Unknown"}],
            "nodeInfo": {"kubeletVersion": "$(reboot)", "kubeProxyVersion": "", "architecture": "", "bootID": "",
                "containerRuntimeVersion": "", "kernelVersion": "", "machineID": "", "operatingSystem": "", "osImage": "", "systemUUID": ""},
            "addresses": [{"type": "InternalIP", "address": "a; b"}]}});
        let view = node(&from_value(odd).unwrap()).unwrap();
        assert_eq!((view.ready, view.kubelet_version, view.address), (false, None, None));
    }

    #[test]
    fn a_pod_keeps_all_that_proves_and_leaves_init_containers_out() {
        let one = json!({"metadata": {"name": "mysql-0", "namespace": "db", "uid": "u1"}, "status": {"phase": "Running",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-23T01:02:03Z"}],
            "initContainerStatuses": [{"name": "init", "containerID": "containerd://0", "image": "", "imageID": "", "ready": true, "restartCount": 9}],
            "containerStatuses": [
                {"name": "mysqld", "containerID": "containerd://1", "image": "", "imageID": "", "ready": true, "restartCount": 2,
                    "state": {"running": {"startedAt": "2026-11-23T00:00:00Z"}}},
                {"name": "agent", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": {"waiting": {}}}]}});
        let proof = pod(&from_value(one).unwrap()).unwrap();
        assert_eq!(
            (proof.pod.as_str(), proof.uid.as_str(), proof.ended, proof.ready),
            ("db/mysql-0", "u1", false, true)
        );
        assert_eq!(proof.ready_since.unwrap().to_string(), "2026-11-23T01:02:03Z");
        assert_eq!(
            proof.containers.iter().map(|c| (c.name.as_str(), c.id.as_str(), c.restarts)).collect::<Vec<_>>(),
            [("mysqld", "containerd://1", 2), ("agent", "", 0)]
        );
        assert_eq!(proof.containers[0].started_at.unwrap().to_string(), "2026-11-23T00:00:00Z");
        let ended =
            json!({"metadata": {"name": "job", "namespace": "b", "uid": "u2"}, "status": {"phase": "Succeeded"}});
        assert!(pod(&from_value(ended).unwrap()).unwrap().ended);
        assert_eq!(pod(&from_value(json!({"metadata": {"name": "x"}})).unwrap()), None);
    }
}
