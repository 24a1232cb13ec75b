//! What happens to pods by themselves: rollouts, scaling, Jobs, crashes, failed probes, evictions, preemptions.

use super::edits::{FAILED, OUT_OF_MEMORY, deleting, disrupted, fresh, restartable};
use super::life::LifeAct;
use super::{About, Act, PodId, Workload};
use crate::sim::kube::Kind;
use crate::sim::model::{random_letters, uuid};
use rand::RngExt;
use serde_json::{Value, json};
use std::sync::Arc;

/// How often another pod is looked for when one is not fit for what is to happen.
const TRIES: usize = 8;
/// A Deployment's template stays the same for this long. Simulated milliseconds.
const TEMPLATE_MS: i64 = 600_000;

#[derive(Debug, Clone)]
pub(super) enum ChurnAct {
    /// Something happens to some pod.
    Next,
    /// It is deleted: who says so, and whether a condition says why.
    Delete { pod: PodId, by: Deleter },
    /// A pod of a set comes again under its own name, when the old one is gone.
    Again { model: Arc<Value>, pod: PodId, node: usize },
}

/// What deletes a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deleter {
    /// Its controller: a rollout, or a scale-down.
    Controller,
    /// Somebody who asked the API to evict it.
    Eviction,
    /// The scheduler, for a more important one.
    Preemption,
}

/// What happens to a pod, by its controller's kind. The numbers are shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Happening {
    Rollout,
    ScaleDown,
    ScaleUp,
    CronJob,
    CrashLoop,
    OutOfMemory,
    Unhealthy,
    Evicted,
    Preempted,
}

const SHARES: [(Happening, u32); 9] = [
    (Happening::Rollout, 38),
    (Happening::ScaleDown, 7),
    (Happening::ScaleUp, 7),
    (Happening::CronJob, 20),
    (Happening::CrashLoop, 6),
    (Happening::OutOfMemory, 6),
    (Happening::Unhealthy, 8),
    (Happening::Evicted, 4),
    (Happening::Preempted, 4),
];

impl Happening {
    /// Whether it may happen to a pod of this kind of controller.
    fn fits(self, owner: &str) -> bool {
        match self {
            Happening::Rollout => ["ReplicaSet", "StatefulSet", "DaemonSet"].contains(&owner),
            Happening::ScaleDown | Happening::ScaleUp | Happening::Evicted | Happening::Preempted => {
                owner == "ReplicaSet"
            }
            Happening::CronJob => owner == "ReplicaSet",
            Happening::CrashLoop | Happening::OutOfMemory | Happening::Unhealthy => {
                ["ReplicaSet", "StatefulSet", "DaemonSet"].contains(&owner)
            }
        }
    }
}

fn owner(pod: &Value) -> (&str, &str) {
    let owner = &pod["metadata"]["ownerReferences"][0];
    (owner["kind"].as_str().unwrap_or_default(), owner["name"].as_str().unwrap_or_default())
}

impl Workload {
    pub(super) fn begin_churn(&mut self, now: i64) {
        let churn = self.scenario.churn.clone();
        let pods = self.store.count(Kind::Pod) as f64;
        let looping = (pods * churn.crash_loops_percent / 100.0).round() as usize;
        for _ in 0..looping {
            if let Some((id, pod)) = self.pick(Happening::CrashLoop) {
                let when = now + self.rng.random_range(0..60_000);
                self.crash_of(id, &pod, when, true);
            }
        }
        if churn.percent_per_minute > 0.0 {
            self.plan_next(now);
        }
    }

    /// The next happening comes after a random time: on average so many a minute as the scenario says.
    fn plan_next(&mut self, due: i64) {
        let a_minute = self.store.count(Kind::Pod) as f64 * self.scenario.churn.percent_per_minute / 100.0;
        let mean_ms = 60_000.0 / a_minute.max(0.001);
        let wait = -(1.0 - self.rng.random::<f64>()).ln() * mean_ms;
        self.plan(due + (wait as i64).max(1), Act::Churn(ChurnAct::Next));
    }

    pub(super) fn churn_act(&mut self, act: ChurnAct, due: i64) {
        match act {
            ChurnAct::Next => {
                self.plan_next(due);
                self.happen(due);
            }
            ChurnAct::Delete { pod, by } => self.delete(pod, by, due),
            ChurnAct::Again { model, pod, node } => {
                if self.store.get(Kind::Pod, &pod.namespace, &pod.name).is_some() {
                    return self.plan(due + 200, Act::Churn(ChurnAct::Again { model, pod, node }));
                }
                self.create(&model, PodId { node, ..pod }, None, due);
            }
        }
    }

    /// A pod that this may happen to.
    fn pick(&mut self, what: Happening) -> Option<(PodId, Arc<Value>)> {
        for _ in 0..TRIES {
            let node = self.rng.random_range(0..self.nodes.len());
            let fit = |pod: &Arc<Value>| {
                what.fits(owner(pod).0)
                    && pod["status"]["phase"] == "Running"
                    && pod["metadata"]["deletionTimestamp"].is_null()
                    && !self.busy.contains(pod["metadata"]["uid"].as_str().unwrap_or_default())
            };
            let pods: Vec<Arc<Value>> = self.store.pods_of(&self.nodes[node]).into_iter().filter(fit).collect();
            if !pods.is_empty() {
                let pod = pods[self.rng.random_range(0..pods.len())].clone();
                return Some((self.id(&pod, node), pod));
            }
        }
        None
    }

    fn happen(&mut self, due: i64) {
        let all: u32 = SHARES.iter().map(|(_, share)| share).sum();
        let mut at = self.rng.random_range(0..all);
        let found = SHARES.iter().find(|(_, share)| {
            let here = at < *share;
            at = at.saturating_sub(*share);
            here
        });
        let Some((what, _)) = found else { return };
        let Some((id, pod)) = self.pick(*what) else { return };
        self.touched += 1;
        match what {
            Happening::Rollout => self.roll_out(id, &pod, due),
            Happening::ScaleDown => self.delete(id, Deleter::Controller, due),
            Happening::ScaleUp => self.add(&pod, due),
            Happening::CronJob => self.cron_job(&pod, due),
            Happening::CrashLoop => self.crash_of(id, &pod, due, true),
            Happening::OutOfMemory => self.crash_of(id, &pod, due, false),
            Happening::Unhealthy => {
                let Some((container, _)) = restartable(&pod).into_iter().find(|(_, sidecar)| !sidecar) else { return };
                self.busy.insert(id.uid.clone());
                self.plan(due, Act::Life(LifeAct::Unhealthy { pod: id, container, count: 1 }));
            }
            Happening::Evicted => self.replace(id, &pod, Deleter::Eviction, due),
            Happening::Preempted => self.replace(id, &pod, Deleter::Preemption, due),
        }
    }

    fn crash_of(&mut self, id: PodId, pod: &Value, due: i64, loops: bool) {
        let Some((container, _)) = restartable(pod).into_iter().find(|(_, sidecar)| !sidecar) else { return };
        self.busy.insert(id.uid.clone());
        let exit = if loops { FAILED } else { OUT_OF_MEMORY };
        self.begin_crash(id, container, exit, due, loops);
    }

    /// The controller's template has changed: a new pod comes, and the old one goes.
    fn roll_out(&mut self, id: PodId, pod: &Arc<Value>, due: i64) {
        match owner(pod).0 {
            "ReplicaSet" => {
                let (_, set) = owner(pod);
                let deployment = set.rsplit_once('-').map_or(set, |(name, _)| name).to_owned();
                let template = (due / TEMPLATE_MS).to_string();
                let mut hash = random_letters(&[&id.namespace, &deployment, &template, "a"]);
                hash += &random_letters(&[&id.namespace, &deployment, &template, "b"])[..4];
                let next = format!("{deployment}-{hash}");
                let message = format!("Scaled up replica set {next} from 0 to 1");
                let about = About::Other("Deployment", "apps/v1", &id.namespace, &deployment);
                self.record(about, "ScalingReplicaSet", &message, ("deployment-controller", ""), due);
                self.busy.insert(id.uid.clone());
                self.come(pod, Some((&next, &hash)), due);
                // The old one goes when the new one is ready.
                let later = due + self.rng.random_range(5_000..9_000);
                self.plan(later, Act::Churn(ChurnAct::Delete { pod: id, by: Deleter::Controller }));
            }
            kind => {
                // On its own node: its disk is there. A DaemonSet's has a new name, a StatefulSet's the same one.
                let model = pod.clone();
                let name = match kind {
                    "StatefulSet" => id.name.clone(),
                    _ => format!("{}-{}", owner(pod).1, random_letters(&[&id.uid, &due.to_string()])),
                };
                let uid = uuid(&[&id.uid, &due.to_string()]);
                let node = id.node;
                let again = PodId { namespace: id.namespace.clone(), name, uid, node };
                self.plan(due + 1_000, Act::Churn(ChurnAct::Again { model, pod: again, node }));
                self.delete(id, Deleter::Controller, due);
            }
        }
    }

    /// It is thrown out, and its controller makes another one elsewhere.
    fn replace(&mut self, id: PodId, pod: &Arc<Value>, by: Deleter, due: i64) {
        self.come(pod, None, due + 200);
        self.delete(id, by, due);
    }

    fn add(&mut self, pod: &Arc<Value>, due: i64) {
        self.come(pod, None, due);
    }

    /// A pod like this one, of a new ReplicaSet or the same, on some worker.
    fn come(&mut self, model: &Arc<Value>, set: Option<(&str, &str)>, due: i64) {
        let node = self.rng.random_range(self.scenario.masters.min(self.nodes.len() - 1)..self.nodes.len());
        let namespace = model["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        let set_name = set.map_or(owner(model).1, |(name, _)| name).to_owned();
        let number = self.serial.to_string();
        let name = format!("{set_name}-{}", random_letters(&[&set_name, &number, &due.to_string()]));
        let uid = uuid(&[&namespace, &name, &number, &due.to_string()]);
        self.create(model, PodId { namespace, name, uid, node }, set, due);
    }

    fn create(&mut self, model: &Value, id: PodId, set: Option<(&str, &str)>, due: i64) {
        let at = self.time(due);
        let mut pod = fresh(model, &id.name, &id.uid, &at);
        pod["metadata"]["namespace"] = json!(id.namespace);
        if let Some((name, hash)) = set {
            pod["metadata"]["labels"]["pod-template-hash"] = json!(hash);
            let owner = &mut pod["metadata"]["ownerReferences"][0];
            owner["name"] = json!(name);
            owner["uid"] = json!(uuid(&[&id.namespace, name]));
        }
        let (kind, owner_name) = owner(&pod);
        let (kind, owner_name) = (kind.to_owned(), owner_name.to_owned());
        let job = kind == "Job";
        if self.store.create(Kind::Pod, pod).is_err() {
            return;
        }
        self.busy.insert(id.uid.clone());
        let (api, by) = controller(&kind);
        let message = match kind.as_str() {
            "StatefulSet" => format!("Create Pod {} in StatefulSet {owner_name} successful", id.name),
            _ => format!("Created pod: {}", id.name),
        };
        self.record(About::Other(&kind, api, &id.namespace, &owner_name), "SuccessfulCreate", &message, (by, ""), due);
        let bound = due + self.rng.random_range(20..200);
        let runs = bound + self.rng.random_range(800..3_500);
        let for_ms = job.then(|| self.rng.random_range(5_000..90_000));
        self.plan(bound, Act::Life(LifeAct::Bind(id.clone())));
        self.plan(runs, Act::Life(LifeAct::Run { pod: id, for_ms }));
    }

    /// A CronJob's time has come.
    fn cron_job(&mut self, model: &Value, due: i64) {
        let node = self.rng.random_range(self.scenario.masters.min(self.nodes.len() - 1)..self.nodes.len());
        let cron = format!("report-{}", self.rng.random_range(0..20));
        let minute = self.clock.at(due).as_second() / 60;
        let job = format!("{cron}-{minute}");
        let serial = self.serial.to_string();
        let name = format!("{job}-{}", random_letters(&[&job, &serial]));
        let mut pod = model.clone();
        pod["metadata"]["labels"] = json!({"app.kubernetes.io/name": cron, "batch.kubernetes.io/job-name": job});
        pod["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "batch/v1", "kind": "Job", "name": job, "uid": uuid(&["jobs", &job]), "controller": true,
        }]);
        pod["spec"] = json!({
            "containers": [{"name": "report", "image": "ghcr.io/cybozu/report:1.0.4", "resources": {}}],
            "restartPolicy": "OnFailure",
            "terminationGracePeriodSeconds": model["spec"]["terminationGracePeriodSeconds"],
        });
        let about = About::Other("CronJob", "batch/v1", "jobs", &cron);
        self.record(about, "SuccessfulCreate", &format!("Created job {job}"), ("cronjob-controller", ""), due);
        let uid = uuid(&["jobs", &name, &serial]);
        self.create(&pod, PodId { namespace: "jobs".into(), name, uid, node }, None, due);
    }

    fn delete(&mut self, id: PodId, by: Deleter, due: i64) {
        let Some(pod) = self.pod(&id) else { return };
        if !pod["metadata"]["deletionTimestamp"].is_null() {
            return;
        }
        self.busy.insert(id.uid.clone());
        let grace = pod["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
        let (at, gone_by) = (self.time(due), self.time(due + self.grace_ms(&pod)));
        self.edit(&id, |pod| {
            match by {
                Deleter::Controller => {}
                Deleter::Eviction => disrupted(pod, "EvictionByEvictionAPI", "Eviction API: evicting", &at),
                Deleter::Preemption => {
                    let message = "default-scheduler: preempting to accommodate a higher priority pod";
                    disrupted(pod, "PreemptionByScheduler", message, &at);
                }
            }
            deleting(pod, &gone_by, grace);
        });
        match by {
            Deleter::Controller => {
                let (kind, name) = owner(&pod);
                let (api, by) = controller(kind);
                let message = match kind {
                    "StatefulSet" => format!("Delete Pod {} in StatefulSet {name} successful", id.name),
                    _ => format!("Deleted pod: {}", id.name),
                };
                let about = About::Other(kind, api, &id.namespace, name);
                self.record(about, "SuccessfulDelete", &message, (by, ""), due);
            }
            Deleter::Preemption => {
                let node = self.nodes[id.node].clone();
                let other = uuid(&["preemptor", &id.uid]);
                let host = self.nodes[0].clone();
                let message = format!("Preempted by pod {other} on node {node}");
                self.record(About::Pod(&pod), "Preempted", &message, ("default-scheduler", &host), due);
            }
            Deleter::Eviction => {}
        }
        let seen = due + self.rng.random_range(100..500);
        self.plan(seen, Act::Life(LifeAct::Stop(id)));
    }
}

/// The API version of a kind of controller, and what its events say they come from.
fn controller(kind: &str) -> (&'static str, &'static str) {
    match kind {
        "StatefulSet" => ("apps/v1", "statefulset-controller"),
        "DaemonSet" => ("apps/v1", "daemonset-controller"),
        "Job" => ("batch/v1", "job-controller"),
        _ => ("apps/v1", "replicaset-controller"),
    }
}
