//! Kubernetes' objects turned into sonoba's own. What the API says is not trusted: what does not parse is left out, with
//! a warning in the log.

use super::NodeView;
use super::patience::shown;
use crate::fleet::{
    Condition, ContainerExit, ContainerProof, ContainerRole, DEFAULT_GRACE_S, NodeName, PodOwner, PodProof, clean,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use std::collections::HashSet;

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
    let mut all: Vec<Condition> = all
        .map(|c| Condition {
            kind: shown(&c.type_),
            holds: match c.status.as_str() {
                "True" => Some(true),
                "False" => Some(false),
                _ => None,
            },
            reason: text(c.reason.as_ref()),
            message: text(c.message.as_ref()),
            since: time(c.last_transition_time.as_ref()),
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
    let condition =
        |kind: &str| status.and_then(|s| s.conditions.as_ref()).and_then(|all| all.iter().find(|c| c.type_ == kind));
    let ready = condition("Ready");
    let target = condition("DisruptionTarget").filter(|c| c.status == "True");
    let grace = pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds);
    Some(PodProof {
        pod: shown(&place),
        uid: shown(uid),
        ended: matches!(phase, Some("Succeeded" | "Failed")),
        ready: ready.is_some_and(|c| c.status == "True"),
        ready_since: ready.and_then(|c| time(c.last_transition_time.as_ref())),
        containers: containers(pod),
        deleting: deletion_asked(meta),
        grace_s: grace.map_or(DEFAULT_GRACE_S, |s| u32::try_from(s.max(0)).unwrap_or(u32::MAX)),
        owner: meta.owner_references.iter().flatten().find(|o| o.controller == Some(true)).map(owner),
        reason: text(status.and_then(|s| s.reason.as_ref())),
        disruption: text(target.and_then(|c| c.reason.as_ref())),
    })
}

fn owner(owner: &OwnerReference) -> PodOwner {
    PodOwner { kind: shown(&owner.kind), name: shown(&owner.name) }
}

/// When the API was asked to delete it. `deletionTimestamp` is that moment *plus* the grace period.
///
/// <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/>
fn deletion_asked(meta: &ObjectMeta) -> Option<Timestamp> {
    let until = time(meta.deletion_timestamp.as_ref())?;
    let grace = SignedDuration::from_secs(meta.deletion_grace_period_seconds.unwrap_or(0).max(0));
    Some(until.checked_sub(grace).unwrap_or(until))
}

/// Its containers, its sidecars and its ephemeral containers. Init containers that end before the others begin are left out.
fn containers(pod: &Pod) -> Vec<ContainerProof> {
    let init = pod.spec.as_ref().and_then(|s| s.init_containers.as_ref()).into_iter().flatten();
    let sidecars: HashSet<&str> =
        init.filter(|c| c.restart_policy.as_deref() == Some("Always")).map(|c| c.name.as_str()).collect();
    let Some(status) = pod.status.as_ref() else { return Vec::new() };
    let of = |all: &Option<Vec<ContainerStatus>>, role| -> Vec<ContainerProof> {
        all.iter().flatten().map(|status| container(status, role)).collect()
    };
    let mut all = of(&status.container_statuses, ContainerRole::Main);
    let started = status.init_container_statuses.iter().flatten().filter(|s| sidecars.contains(s.name.as_str()));
    all.extend(started.map(|status| container(status, ContainerRole::Sidecar)));
    all.extend(of(&status.ephemeral_container_statuses, ContainerRole::Ephemeral));
    all
}

fn container(status: &ContainerStatus, role: ContainerRole) -> ContainerProof {
    let state = status.state.as_ref();
    // What ends and is not started again stands in `state`; once it is, in `lastState`.
    let ended = state
        .and_then(|s| s.terminated.as_ref())
        .or_else(|| status.last_state.as_ref().and_then(|s| s.terminated.as_ref()));
    ContainerProof {
        name: shown(&status.name),
        id: shown(status.container_id.as_deref().unwrap_or_default()),
        restarts: status.restart_count,
        started_at: state.and_then(|s| s.running.as_ref()).and_then(|r| time(r.started_at.as_ref())),
        role,
        waiting: text(state.and_then(|s| s.waiting.as_ref()).and_then(|w| w.reason.as_ref())),
        last_exit: ended.map(exit),
    }
}

fn exit(ended: &ContainerStateTerminated) -> ContainerExit {
    ContainerExit {
        code: ended.exit_code,
        reason: text(ended.reason.as_ref()),
        started_at: time(ended.started_at.as_ref()),
        finished_at: time(ended.finished_at.as_ref()),
    }
}

fn text(text: Option<&String>) -> String {
    text.map(|text| shown(text)).unwrap_or_default()
}

/// A time of the API. The kubelet writes the year 1 or 1970 of a container of which it knows nothing: that is no time.
pub(super) fn time(time: Option<&Time>) -> Option<Timestamp> {
    time.and_then(|t| moment(&t.0)).filter(|at| *at > Timestamp::UNIX_EPOCH)
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

    fn status(name: &str, more: serde_json::Value) -> serde_json::Value {
        let mut status = json!({"name": name, "containerID": format!("containerd://{name}"), "image": "", "imageID": "",
            "ready": true, "restartCount": 0});
        status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        status
    }

    /// Two pods of a DaemonSet as a real API server gave them, trimmed: one was restarted in place.
    #[test]
    fn real_pods_keep_owner_grace_and_the_exit_before_the_restart() {
        let list: k8s_openapi::List<Pod> = serde_json::from_str(include_str!("real_pods.json")).unwrap();
        let [calm, restarted] = [0, 1].map(|i| pod(&list.items[i]).unwrap());
        let owner = Some(PodOwner { kind: "DaemonSet".into(), name: "agent".into() });
        for pod in [&calm, &restarted] {
            assert_eq!((&pod.owner, pod.grace_s, pod.deleting, pod.ended, pod.ready), (&owner, 30, None, false, true));
            assert_eq!((pod.reason.as_str(), pod.disruption.as_str()), ("", ""));
        }
        assert_eq!((calm.containers[0].restarts, calm.containers[0].last_exit.as_ref()), (0, None));
        let container = &restarted.containers[0];
        assert_eq!((container.name.as_str(), container.restarts, container.role), ("a", 1, ContainerRole::Main));
        let exit = container.last_exit.as_ref().unwrap();
        assert_eq!((exit.code, exit.reason.as_str()), (137, "Error"));
        assert_eq!(exit.started_at.unwrap().to_string(), "2026-11-29T21:53:47Z");
        assert_eq!(exit.finished_at.unwrap().to_string(), "2026-11-29T21:55:04Z");
        assert_eq!(container.started_at, exit.finished_at);
    }

    #[test]
    fn sidecars_and_ephemeral_containers_count_and_plain_init_containers_do_not() {
        let one = json!({"metadata": {"name": "db-0", "uid": "u1"}, "spec": {"containers": [], "initContainers": [
                {"name": "side", "restartPolicy": "Always"}, {"name": "setup"}, {"name": "odd", "restartPolicy": "Never"}]},
            "status": {"phase": "Running",
                "initContainerStatuses": [status("setup", json!({})), status("side", json!({"restartCount": 3})), status("odd", json!({}))],
                "containerStatuses": [status("db", json!({}))],
                "ephemeralContainerStatuses": [status("debug", json!({}))]}});
        let proof = pod(&from_value(one).unwrap()).unwrap();
        let seen: Vec<_> = proof.containers.iter().map(|c| (c.name.as_str(), c.restarts, c.role)).collect();
        let want = [
            ("db", 0, ContainerRole::Main),
            ("side", 3, ContainerRole::Sidecar),
            ("debug", 0, ContainerRole::Ephemeral),
        ];
        assert_eq!(seen, want);
    }

    #[test]
    fn a_container_that_waits_or_has_ended_says_why() {
        let ended =
            |at: &str| json!({"exitCode": 1, "reason": "Error", "startedAt": "2026-11-23T00:00:00Z", "finishedAt": at});
        let one = json!({"metadata": {"name": "x", "uid": "u"}, "status": {"containerStatuses": [
            status("loops", json!({"restartCount": 7, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": ended("2026-11-23T00:00:05Z")}})),
            // It has just ended, and once before: the later exit counts.
            status("ends", json!({"state": {"terminated": ended("2026-11-23T00:09:00Z")},
                "lastState": {"terminated": ended("2026-11-23T00:00:05Z")}})),
            // What a kubelet writes of a container that it lost.
            status("lost", json!({"lastState": {"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown",
                "startedAt": "1970-01-01T00:00:00Z", "finishedAt": null}}}))]}});
        let all = pod(&from_value(one).unwrap()).unwrap().containers;
        let finished = |i: usize| all[i].last_exit.as_ref().unwrap().finished_at.map(|at| at.to_string());
        assert_eq!((all[0].waiting.as_str(), all[0].started_at), ("CrashLoopBackOff", None));
        assert_eq!(finished(0).unwrap(), "2026-11-23T00:00:05Z");
        assert_eq!(finished(1).unwrap(), "2026-11-23T00:09:00Z");
        let lost = all[2].last_exit.as_ref().unwrap();
        assert_eq!((lost.reason.as_str(), lost.started_at, lost.finished_at), ("ContainerStatusUnknown", None, None));
    }

    #[test]
    fn a_deletion_is_dated_from_when_it_was_asked_for() {
        let one = |grace: serde_json::Value| {
            let meta = json!({"name": "x", "uid": "u", "deletionTimestamp": "2026-11-23T00:05:00Z", "deletionGracePeriodSeconds": grace});
            pod(&from_value(json!({"metadata": meta})).unwrap()).unwrap().deleting.unwrap().to_string()
        };
        assert_eq!(one(json!(300)), "2026-11-23T00:00:00Z");
        assert_eq!(one(json!(null)), "2026-11-23T00:05:00Z");
        assert_eq!(one(json!(-9)), "2026-11-23T00:05:00Z");
        assert_eq!(one(json!(i64::MAX)), "2026-11-23T00:05:00Z", "a time that there is not");
    }

    #[test]
    fn who_ends_a_pod_is_read_and_hostile_values_are_cleaned_and_bounded() {
        let long = "x\u{1b}[2J\u{202e}".repeat(10_000);
        let exit = json!({"exitCode": i32::MIN, "reason": &long});
        let one = json!({"metadata": {"name": &long, "namespace": &long, "uid": &long, "ownerReferences": [
                {"apiVersion": "v1", "kind": "Other", "name": "no", "uid": "1"},
                {"apiVersion": "v1", "kind": &long, "name": &long, "uid": "2", "controller": true}]},
            "spec": {"containers": [], "terminationGracePeriodSeconds": i64::MAX},
            "status": {"reason": &long, "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": &long}],
                "containerStatuses": [status(&long, json!({"restartCount": i32::MIN,
                    "state": {"waiting": {"reason": &long}}, "lastState": {"terminated": exit}}))]}});
        let proof = pod(&from_value(one).unwrap()).unwrap();
        let text = serde_json::to_string(&proof).unwrap();
        assert!(!text.contains("\\u001b") && !text.contains('\u{202e}') && text.len() < 5_000, "{} bytes", text.len());
        assert_eq!(proof.grace_s, u32::MAX);
        assert_eq!(proof.owner.unwrap().kind.chars().next(), Some('x'), "the controller, not just any owner");
        let target = |status: &str| {
            let conditions = json!([{"type": "DisruptionTarget", "status": status, "reason": "EvictionByEvictionAPI"}]);
            let one = json!({"metadata": {"name": "x", "uid": "u"}, "spec": {"containers": [], "terminationGracePeriodSeconds": -5},
                "status": {"reason": "Evicted", "conditions": conditions}});
            pod(&from_value(one).unwrap()).unwrap()
        };
        let proof = target("True");
        assert_eq!(
            (proof.disruption.as_str(), proof.reason.as_str(), proof.grace_s),
            ("EvictionByEvictionAPI", "Evicted", 0)
        );
        assert_eq!(target("False").disruption, "");
    }
}
