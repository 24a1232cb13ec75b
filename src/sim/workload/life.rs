//! A pod's own life: it is bound, runs, is ready, crashes, completes, is told to end, is gone.

use super::edits::{Exit, FAILED, bound, probed, restartable, restarted, running, serving, succeeded, waiting};
use super::kubelet::{Killing, PROBE_MS, Why};
use super::{About, Act, PodId, Workload};
use crate::sim::kube::Kind;
use crate::sim::model::World;
use rand::RngExt;
use serde_json::Value;

/// A container that crashes is restarted after this long, then after twice as long each time, up to five minutes.
///
/// kubernetes: `MaxCrashLoopBackOff` and `initialCrashLoopBackOff` in pkg/kubelet/kubelet.go. Simulated milliseconds.
const BACK_OFF_MS: i64 = 10_000;
const MOST_BACK_OFF_MS: i64 = 300_000;
/// How many crashes a container is through before somebody has repaired it.
const CRASHES: std::ops::Range<u32> = 5..40;
/// How long a container runs between two crashes. Simulated milliseconds.
const RUN_MS: std::ops::Range<i64> = 1_000..15_000;
/// A liveness probe fails three times, ten seconds apart, before the container is killed: Kubernetes' defaults.
const PROBE_PERIOD_MS: i64 = 10_000;
const PROBE_FAILURES: u32 = 3;
/// How long a finished Job's pod is left. Simulated milliseconds.
const LEFT_MS: std::ops::Range<i64> = 30_000..180_000;

#[derive(Debug, Clone)]
pub(super) enum LifeAct {
    /// The scheduler has found its node.
    Bind(PodId),
    /// Its containers have been started. `for_ms`: a Job's, which is done after that.
    Run { pod: PodId, for_ms: Option<i64> },
    /// Its probes succeed.
    Ready(PodId),
    /// Its kubelet has seen that it is to be deleted.
    Stop(PodId),
    /// Its last container has ended, and it goes.
    Gone(PodId),
    /// A container of it ends, for the `count`th time in a row. `again`: it will crash again, so often.
    Crash { pod: PodId, container: String, exit: Exit, count: u32, again: u32 },
    /// Its back-off is over.
    CrashStart { pod: PodId, container: String, exit: Exit, count: u32, again: u32 },
    /// Its liveness probe fails.
    Unhealthy { pod: PodId, container: String, count: u32 },
    /// Its work is done.
    Succeed(PodId),
    /// Nobody needs to see any more that it is done.
    Remove(PodId),
}

impl LifeAct {
    pub(super) fn needs(&self) -> Option<usize> {
        match self {
            LifeAct::Bind(_) | LifeAct::Remove(_) => None,
            LifeAct::Ready(pod) | LifeAct::Stop(pod) | LifeAct::Gone(pod) | LifeAct::Succeed(pod) => Some(pod.node),
            LifeAct::Run { pod, .. }
            | LifeAct::Crash { pod, .. }
            | LifeAct::CrashStart { pod, .. }
            | LifeAct::Unhealthy { pod, .. } => Some(pod.node),
        }
    }
}

impl Workload {
    pub(super) fn life_act(&mut self, act: LifeAct, world: &mut World, due: i64, now: i64) {
        let at = self.time(due);
        match act {
            LifeAct::Bind(id) => self.bind(&id, &at, due),
            LifeAct::Run { pod, for_ms } => self.run(pod, for_ms, world, due, now),
            LifeAct::Ready(id) => self.edit(&id, |pod| probed(pod, true, &at)),
            LifeAct::Stop(id) => self.stop(id, due),
            LifeAct::Gone(id) | LifeAct::Remove(id) => self.gone(&id),
            LifeAct::Crash { pod, container, exit, count, again } => {
                self.crash(pod, container, exit, (count, again), due)
            }
            LifeAct::CrashStart { pod, container, exit, count, again } => {
                self.restart(&pod, &container, exit, due);
                self.next_crash(pod, container, (count, again), due);
            }
            LifeAct::Unhealthy { pod, container, count } => self.unhealthy(pod, container, count, world, due, now),
            LifeAct::Succeed(id) => self.succeed(id, &at, due),
        }
    }

    fn bind(&mut self, id: &PodId, at: &str, due: i64) {
        let node = self.nodes[id.node].clone();
        self.edit(id, |pod| bound(pod, &node, at));
        let Some(pod) = self.pod(id) else { return };
        let message = format!("Successfully assigned {}/{} to {node}", id.namespace, id.name);
        let host = self.nodes[0].clone();
        self.record(About::Pod(&pod), "Scheduled", &message, ("default-scheduler", &host), due);
    }

    fn run(&mut self, id: PodId, for_ms: Option<i64>, world: &mut World, due: i64, now: i64) {
        let at = self.time(due);
        self.edit(&id, |pod| running(pod, &at));
        let Some(pod) = self.pod(&id) else { return };
        let family = world.kubelet(id.node, now).map_or(self.first_family, |k| k.family);
        for (container, sidecar) in restartable(&pod) {
            self.says_started(&id, (&container, sidecar), due);
            self.made(&id.uid, &container, family);
        }
        if serving(&pod).next().is_some() {
            let ready = due + self.rng.random_range(PROBE_MS);
            self.plan(ready, Act::Life(LifeAct::Ready(id.clone())));
        }
        match for_ms {
            Some(ms) => self.plan(due + ms, Act::Life(LifeAct::Succeed(id))),
            None => {
                self.busy.remove(&id.uid);
            }
        }
    }

    fn stop(&mut self, id: PodId, due: i64) {
        let Some(pod) = self.pod(&id) else { return };
        for (container, sidecar) in restartable(&pod) {
            self.kubelet_says(&id, (&container, sidecar), "Killing", &format!("Stopping container {container}"), due);
        }
        // Most end when they are told to; one in five takes all the time that it has.
        let grace = self.grace_ms(&pod);
        let wait = match self.rng.random_range(0..5) {
            0 => grace,
            _ => self.rng.random_range(200..3_000).min(grace),
        };
        self.plan(due + wait.max(100), Act::Life(LifeAct::Gone(id)));
    }

    fn gone(&mut self, id: &PodId) {
        if self.pod(id).is_some() {
            let _ = self.store.delete(Kind::Pod, &id.namespace, &id.name);
        }
        self.busy.remove(&id.uid);
        self.dead.remove(&id.uid);
        let of_pod = (id.uid.clone(), String::new())..=(id.uid.clone(), "\u{10ffff}".to_owned());
        let made: Vec<_> = self.families.range(of_pod).map(|(key, _)| key.clone()).collect();
        for key in made {
            self.families.remove(&key);
        }
    }

    /// It has just ended and is started at once.
    fn restart(&mut self, id: &PodId, container: &str, exit: Exit, due: i64) {
        let at = self.time(due);
        let serves = self.pod(id).is_some_and(|pod| serving(&pod).any(|c| c == container));
        self.edit(id, |pod: &mut Value| {
            restarted(pod, container, exit, &at, &at);
            let all = pod["status"]["containerStatuses"].as_array();
            let well = all.is_some_and(|all| all.iter().all(|s| s["ready"] == true));
            match serves {
                true => probed(pod, false, &at),
                false => super::edits::ready(pod, well, &at),
            }
        });
        self.says_started(id, (container, false), due);
        if serves {
            let ready = due + self.rng.random_range(PROBE_MS);
            self.plan(ready, Act::Life(LifeAct::Ready(id.clone())));
        }
    }

    /// Begins a crash loop, or a single end that is not repeated (`again` is 0).
    pub(super) fn begin_crash(&mut self, pod: PodId, container: String, exit: Exit, due: i64, loops: bool) {
        let again = if loops { self.rng.random_range(CRASHES) } else { 0 };
        self.plan(due, Act::Life(LifeAct::Crash { pod, container, exit, count: 0, again }));
    }

    fn next_crash(&mut self, pod: PodId, container: String, (count, again): (u32, u32), due: i64) {
        if again == 0 {
            self.busy.remove(&pod.uid);
            return;
        }
        let next = due + self.rng.random_range(RUN_MS);
        let crash = LifeAct::Crash { pod, container, exit: FAILED, count: count + 1, again: again - 1 };
        self.plan(next, Act::Life(crash));
    }

    fn crash(&mut self, pod: PodId, container: String, exit: Exit, (count, again): (u32, u32), due: i64) {
        let gone = self.pod(&pod).is_none_or(|pod| !pod["metadata"]["deletionTimestamp"].is_null());
        if gone {
            return;
        }
        // The first time it is started at once.
        if count == 0 {
            self.restart(&pod, &container, exit, due);
            return self.next_crash(pod, container, (count, again), due);
        }
        let back_off = (BACK_OFF_MS << (count - 1).min(16)).min(MOST_BACK_OFF_MS);
        let words = match back_off {
            300_000 => "5m0s".to_owned(),
            ms if ms >= 60_000 => format!("{}m{}s", ms / 60_000, ms / 1000 % 60),
            ms => format!("{}s", ms / 1000),
        };
        let place = format!("{}_{}({})", pod.name, pod.namespace, pod.uid);
        let message = format!("back-off {words} restarting failed container={container} pod={place}");
        let at = self.time(due);
        self.edit(&pod, |pod| waiting(pod, &container, exit, "CrashLoopBackOff", &message, &at));
        let message = format!("Back-off restarting failed container {container} in pod {place}");
        self.kubelet_says(&pod, (&container, false), "BackOff", &message, due);
        self.plan(due + back_off, Act::Life(LifeAct::CrashStart { pod, container, exit, count, again }));
    }

    fn unhealthy(&mut self, id: PodId, container: String, count: u32, world: &mut World, due: i64, now: i64) {
        let Some(kubelet) = world.kubelet(id.node, now) else { return };
        let address = self.pod(&id).and_then(|pod| pod["status"]["podIP"].as_str().map(str::to_owned));
        let message = format!(
            "Liveness probe failed: Get \"http://{}:8080/live\": context deadline exceeded (Client.Timeout exceeded while \
             awaiting headers)",
            address.unwrap_or_default()
        );
        self.kubelet_says(&id, (&container, false), "Unhealthy", &message, due);
        if count < PROBE_FAILURES {
            let next = LifeAct::Unhealthy { pod: id, container, count: count + 1 };
            return self.plan(due + PROBE_PERIOD_MS, Act::Life(next));
        }
        let ends_ms = (self.rng.random_range(0..3) > 0).then_some(self.rng.random_range(200..3_000));
        let killing = Killing {
            pod: id,
            kubelet: kubelet.started,
            left: vec![(container, false)],
            ended: Vec::new(),
            ends_ms,
            why: Why::Unhealthy,
        };
        self.kill(killing, world, due, now);
    }

    fn succeed(&mut self, id: PodId, at: &str, due: i64) {
        self.edit(&id, |pod| succeeded(pod, at));
        if let Some(pod) = self.pod(&id) {
            let owner = pod["metadata"]["ownerReferences"][0]["name"].as_str().unwrap_or_default().to_owned();
            let job = About::Other("Job", "batch/v1", &id.namespace, &owner);
            self.record(job, "Completed", "Job completed", ("job-controller", ""), due);
        }
        let left = self.rng.random_range(LEFT_MS);
        self.plan(due + left, Act::Life(LifeAct::Remove(id)));
    }
}
