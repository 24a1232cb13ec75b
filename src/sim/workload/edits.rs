//! What kubelet, controllers and API write into a pod. Pure: each takes the pod and the moments, as text, that it writes.

use crate::sim::model::digest;
use serde_json::{Value, json};

/// How a run of a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exit {
    pub(super) code: i32,
    pub(super) reason: &'static str,
}

/// SIGKILL, after the grace period.
pub(super) const KILLED: Exit = Exit { code: 137, reason: "Error" };
/// It ended at SIGTERM.
pub(super) const TERMINATED: Exit = Exit { code: 143, reason: "Error" };
pub(super) const FAILED: Exit = Exit { code: 1, reason: "Error" };
pub(super) const OUT_OF_MEMORY: Exit = Exit { code: 137, reason: "OOMKilled" };

/// The status of a container, sidecars included.
fn status<'a>(pod: &'a mut Value, container: &str) -> Option<&'a mut Value> {
    let Value::Object(status) = &mut pod["status"] else { return None };
    let lists =
        status.iter_mut().filter(|(key, _)| ["containerStatuses", "initContainerStatuses"].contains(&key.as_str()));
    lists.flat_map(|(_, list)| list.as_array_mut().into_iter().flatten()).find(|s| s["name"] == container)
}

fn ended(status: &Value, exit: Exit, at: &str) -> Value {
    let started = &status["state"]["running"]["startedAt"];
    json!({"terminated": {
        "containerID": status["containerID"], "exitCode": exit.code, "reason": exit.reason,
        "startedAt": started, "finishedAt": at,
    }})
}

/// The container runs anew, after the last one ended at `ended_at`.
pub(super) fn restarted(pod: &mut Value, container: &str, exit: Exit, ended_at: &str, at: &str) {
    let uid = pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let Some(status) = status(pod, container) else { return };
    let count = status["restartCount"].as_i64().unwrap_or_default() + 1;
    if !status["state"]["running"].is_null() {
        status["lastState"] = ended(status, exit, ended_at);
    }
    status["restartCount"] = json!(count);
    status["containerID"] = json!(format!("containerd://{}", digest(&[&uid, container, &count.to_string()])));
    status["state"] = json!({"running": {"startedAt": at}});
    status["ready"] = json!(true);
    status["started"] = json!(true);
}

/// The container has ended and waits to be started again.
pub(super) fn waiting(pod: &mut Value, container: &str, exit: Exit, reason: &str, message: &str, at: &str) {
    let Some(status) = status(pod, container) else { return };
    if !status["state"]["running"].is_null() {
        status["lastState"] = ended(status, exit, at);
    }
    status["state"] = json!({"waiting": {"reason": reason, "message": message}});
    status["ready"] = json!(false);
    status["started"] = json!(false);
    ready(pod, false, at);
}

/// The pod's conditions say whether it is ready; what changes in them is dated.
pub(super) fn ready(pod: &mut Value, ready: bool, at: &str) {
    let word = if ready { "True" } else { "False" };
    for condition in pod["status"]["conditions"].as_array_mut().into_iter().flatten() {
        let of_readiness = condition["type"] == "Ready" || condition["type"] == "ContainersReady";
        if of_readiness && condition["status"] != word {
            condition["status"] = json!(word);
            condition["lastTransitionTime"] = json!(at);
            if let Some(condition) = condition.as_object_mut() {
                condition.remove("reason");
                if !ready {
                    condition.insert("reason".into(), json!("ContainersNotReady"));
                }
            }
        }
    }
}

/// Says of a container that serves whether its probe succeeds.
pub(super) fn probed(pod: &mut Value, well: bool, at: &str) {
    let serve: Vec<String> = serving(pod).map(str::to_owned).collect();
    for container in &serve {
        if let Some(status) = status(pod, container) {
            status["ready"] = json!(well);
        }
    }
    ready(pod, well, at);
}

/// The containers with a readiness probe.
pub(super) fn serving(pod: &Value) -> impl Iterator<Item = &str> {
    let all = pod["spec"]["containers"].as_array().into_iter().flatten();
    all.filter(|c| !c["readinessProbe"].is_null()).filter_map(|c| c["name"].as_str())
}

/// The API was asked to delete it: it is to be gone after its grace period.
pub(super) fn deleting(pod: &mut Value, gone_by: &str, grace_s: u64) {
    pod["metadata"]["deletionTimestamp"] = json!(gone_by);
    pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace_s);
}

/// Who disrupts it, as the API's eviction and the scheduler's preemption say.
///
/// <https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions>
pub(super) fn disrupted(pod: &mut Value, reason: &str, message: &str, at: &str) {
    if let Some(conditions) = pod["status"]["conditions"].as_array_mut() {
        conditions.push(json!({
            "type": "DisruptionTarget", "status": "True", "reason": reason, "message": message, "lastTransitionTime": at,
        }));
    }
}

/// All its containers have ended well.
pub(super) fn succeeded(pod: &mut Value, at: &str) {
    pod["status"]["phase"] = json!("Succeeded");
    for status in pod["status"]["containerStatuses"].as_array_mut().into_iter().flatten() {
        status["state"] = ended(status, Exit { code: 0, reason: "Completed" }, at);
        status["ready"] = json!(false);
    }
    for condition in pod["status"]["conditions"].as_array_mut().into_iter().flatten() {
        if condition["type"] == "Ready" || condition["type"] == "ContainersReady" {
            condition["status"] = json!("False");
            condition["reason"] = json!("PodCompleted");
            condition["lastTransitionTime"] = json!(at);
        }
    }
}

/// A pod that was only just made of `model`, for a node or none yet: pending, no container runs.
pub(super) fn fresh(model: &Value, name: &str, uid: &str, at: &str) -> Value {
    let mut pod = model.clone();
    let meta = &mut pod["metadata"];
    meta["name"] = json!(name);
    meta["uid"] = json!(uid);
    meta["creationTimestamp"] = json!(at);
    if let Some(meta) = meta.as_object_mut() {
        for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion"] {
            meta.remove(field);
        }
    }
    if let Some(spec) = pod["spec"].as_object_mut() {
        spec.remove("nodeName");
        spec.remove("ephemeralContainers");
    }
    pod["status"] = json!({"phase": "Pending", "qosClass": pod["status"]["qosClass"], "conditions": [
        {"type": "PodScheduled", "status": "False", "lastTransitionTime": at},
    ]});
    pod
}

/// It is bound to a node.
pub(super) fn bound(pod: &mut Value, node: &str, at: &str) {
    pod["spec"]["nodeName"] = json!(node);
    pod["status"]["conditions"] = json!([
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": at},
        {"type": "Initialized", "status": "False", "lastTransitionTime": at},
        {"type": "ContainersReady", "status": "False", "lastTransitionTime": at},
        {"type": "Ready", "status": "False", "lastTransitionTime": at},
    ]);
}

/// Its containers run; what has a readiness probe is not ready yet.
pub(super) fn running(pod: &mut Value, at: &str) {
    let uid = pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let of = |c: &Value, state: Value, ready: bool| {
        let name = c["name"].as_str().unwrap_or_default();
        json!({
            "name": name, "image": c["image"], "imageID": format!("{}@sha256:{}", name, digest(&[name])),
            "containerID": format!("containerd://{}", digest(&[&uid, name, "0"])),
            "ready": ready, "started": true, "restartCount": 0, "state": state,
        })
    };
    let runs = json!({"running": {"startedAt": at}});
    let list = |key: &str| pod["spec"][key].as_array().cloned().unwrap_or_default();
    let main: Vec<Value> =
        list("containers").iter().map(|c| of(c, runs.clone(), c["readinessProbe"].is_null())).collect();
    let init: Vec<Value> = list("initContainers")
        .iter()
        .map(|c| match c["restartPolicy"] == "Always" {
            true => of(c, runs.clone(), true),
            false => {
                let done = json!({"exitCode": 0, "reason": "Completed", "startedAt": at, "finishedAt": at});
                of(c, json!({"terminated": done}), true)
            }
        })
        .collect();
    let waits = serving(pod).next().is_some();
    pod["status"]["phase"] = json!("Running");
    pod["status"]["startTime"] = json!(at);
    pod["status"]["containerStatuses"] = json!(main);
    if !init.is_empty() {
        pod["status"]["initContainerStatuses"] = json!(init);
    }
    for condition in pod["status"]["conditions"].as_array_mut().into_iter().flatten() {
        if condition["type"] == "Initialized" {
            condition["status"] = json!("True");
        }
    }
    ready(pod, !waits, at);
}

/// The containers that run and that a kubelet may restart: sidecars first, then the pod's own. With each, whether it is a sidecar.
pub(super) fn restartable(pod: &Value) -> Vec<(String, bool)> {
    let runs = |key: &str, sidecar: bool| {
        let all = pod["status"][key].as_array().into_iter().flatten();
        let live = all.filter(|s| !s["state"]["running"].is_null());
        live.filter_map(|s| s["name"].as_str()).map(|n| (n.to_owned(), sidecar)).collect::<Vec<_>>()
    };
    let mut all = runs("initContainerStatuses", true);
    all.extend(runs("containerStatuses", false));
    all
}
