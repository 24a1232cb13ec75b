//! What a kubelet does to the pods of its node when it has started.

use super::edits::{KILLED, TERMINATED, probed, restartable, restarted, serving};
use super::life::LifeAct;
use super::{Act, PodId, Workload};
use crate::sim::model::{KubeletStart, LiveKubelet, World};
use rand::RngExt;
use serde_json::Value;

/// A kubelet gives a container this long to end, however short its grace period is. Simulated milliseconds.
///
/// kubernetes: `minimumGracePeriodInSeconds` in pkg/kubelet/kuberuntime/kuberuntime_container.go.
const LEAST_GRACE_MS: i64 = 2_000;
/// From the end of a container until the next one runs. Simulated milliseconds.
const START_MS: i64 = 400;
/// A probe succeeds this long after its container has started, or its kubelet. Simulated milliseconds.
pub(super) const PROBE_MS: std::ops::Range<i64> = 1_000..3_000;

#[derive(Debug, Clone)]
pub(super) enum KubeletAct {
    /// It looks at its pods for the first time since it started.
    Sync(KubeletStart),
    /// The first of the containers that were told to end has ended, or its time is up.
    Ended(Killing),
    /// They are started.
    Start(Killing),
}

/// A restart of containers of a pod that is under way.
///
/// The kubelet kills one after the other and waits for each: kubernetes, `SyncPod`, step 3, in
/// pkg/kubelet/kuberuntime/kuberuntime_manager.go.
#[derive(Debug, Clone)]
pub(super) struct Killing {
    pub(super) pod: PodId,
    /// The kubelet that decided it, by its start: the decision dies with it.
    pub(super) kubelet: i64,
    /// Which are still to be told, and which have ended and when.
    pub(super) left: Vec<(String, bool)>,
    pub(super) ended: Vec<(String, bool, i64)>,
    /// How long a container takes to end by itself; none: it does not.
    pub(super) ends_ms: Option<i64>,
    pub(super) why: Why,
}

/// Why containers are restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    Redefined,
    Unhealthy,
}

impl Why {
    fn message(self, container: &str, sidecar: bool) -> String {
        match (self, sidecar) {
            (Why::Redefined, false) => format!("Container {container} definition changed, will be restarted"),
            // As `computeInitContainerActions` has it.
            (Why::Redefined, true) => format!("Init container {container} definition changed"),
            (Why::Unhealthy, _) => format!("Container {container} failed liveness probe, will be restarted"),
        }
    }
}

impl Workload {
    pub(super) fn kubelet_started(&mut self, start: KubeletStart) {
        let within = self.rng.random_range(200..900);
        self.plan(start.at + within, Act::Kubelet(KubeletAct::Sync(start)));
    }

    pub(super) fn kubelet_act(&mut self, act: KubeletAct, world: &mut World, due: i64, now: i64) {
        match act {
            KubeletAct::Sync(start) => self.sync(start, world, due, now),
            KubeletAct::Ended(killing) => self.ended(killing, world, due, now),
            KubeletAct::Start(killing) => self.start(killing, world, due, now),
        }
    }

    fn sync(&mut self, start: KubeletStart, world: &mut World, due: i64, now: i64) {
        let is_kubelet = start.component == Some(crate::fleet::Component::Kubelet);
        let Some(kubelet) = world.kubelet(start.node, now) else { return };
        if is_kubelet && kubelet.started != start.at {
            // It was stopped before it acted; the next one decides anew.
            return;
        }
        let mut to_disturb = start.disturbs;
        for pod in self.store.pods_of(&self.nodes[start.node]) {
            let ends = |field: &str| ["Succeeded", "Failed"].iter().any(|phase| pod["status"][field] == **phase);
            if ends("phase") || !pod["metadata"]["deletionTimestamp"].is_null() {
                continue;
            }
            let id = self.id(&pod, start.node);
            let running = restartable(&pod);
            if is_kubelet {
                self.revive(&id, kubelet.family, due);
                if kubelet.flaps && serving(&pod).next().is_some() {
                    self.flap(&id, due);
                }
            }
            let mut left: Vec<(String, bool)> = match is_kubelet {
                true => running.iter().filter(|(c, _)| self.family(&id.uid, c) != kubelet.family).cloned().collect(),
                false => Vec::new(),
            };
            let mut ends_ms = kubelet.ends_ms;
            if left.is_empty() && to_disturb > 0 && !running.is_empty() {
                to_disturb -= 1;
                left = running;
                ends_ms = Some(self.rng.random_range(50..200));
            }
            if !left.is_empty() {
                let killing = Killing {
                    pod: id,
                    kubelet: kubelet.started,
                    left,
                    ended: Vec::new(),
                    ends_ms,
                    why: Why::Redefined,
                };
                self.kill(killing, world, due, now);
            }
        }
    }

    /// Until it has probed anew, a kubelet that has just started calls what serves not ready.
    fn flap(&mut self, id: &PodId, due: i64) {
        let at = self.time(due);
        self.edit(id, |pod| probed(pod, false, &at));
        let again = due + self.rng.random_range(PROBE_MS);
        self.plan(again, Act::Life(LifeAct::Ready(id.clone())));
    }

    /// What has ended while no kubelet looked is started anew.
    fn revive(&mut self, id: &PodId, family: u8, due: i64) {
        for container in self.dead.remove(&id.uid).unwrap_or_default() {
            let at = self.time(due);
            self.edit(id, |pod| restarted(pod, &container, TERMINATED, &at, &at));
            self.says_started(id, (&container, false), due);
            self.made(&id.uid, &container, family);
        }
    }

    fn alive(killing: &Killing, world: &mut World, now: i64) -> Option<LiveKubelet> {
        world.kubelet(killing.pod.node, now).filter(|kubelet| kubelet.started == killing.kubelet)
    }

    pub(super) fn kill(&mut self, killing: Killing, world: &mut World, due: i64, now: i64) {
        let Some((container, sidecar)) = killing.left.first().cloned() else { return };
        let Some(pod) = self.pod(&killing.pod) else { return };
        if Self::alive(&killing, world, now).is_none() {
            return self.abandon(killing);
        }
        let message = killing.why.message(&container, sidecar);
        self.kubelet_says(&killing.pod, (&container, sidecar), "Killing", &message, due);
        let grace = self.grace_ms(&pod).max(LEAST_GRACE_MS);
        let wait = killing.ends_ms.unwrap_or(grace).min(grace);
        self.plan(due + wait, Act::Kubelet(KubeletAct::Ended(killing)));
    }

    fn ended(&mut self, mut killing: Killing, world: &mut World, due: i64, now: i64) {
        let Some(pod) = self.pod(&killing.pod) else { return };
        let (container, sidecar) = killing.left.remove(0);
        let by_itself = killing.ends_ms.is_some_and(|ends| ends < self.grace_ms(&pod).max(LEAST_GRACE_MS));
        let alive = Self::alive(&killing, world, now).is_some();
        if alive || by_itself {
            killing.ended.push((container, sidecar, due));
        }
        if !alive {
            // With its kubelet gone nobody sends SIGKILL: what does not end by itself lives on.
            return self.abandon(killing);
        }
        if killing.ended.len() == 1 {
            let at = self.time(due);
            if serving(&pod).next().is_some() {
                self.edit(&killing.pod, |pod| probed(pod, false, &at));
            }
        }
        match killing.left.is_empty() {
            true => self.plan(due + START_MS, Act::Kubelet(KubeletAct::Start(killing))),
            false => self.kill(killing, world, due, now),
        }
    }

    fn abandon(&mut self, killing: Killing) {
        self.busy.remove(&killing.pod.uid);
        let ended = killing.ended.into_iter().map(|(container, _, _)| container);
        self.dead.entry(killing.pod.uid).or_default().extend(ended);
    }

    fn start(&mut self, killing: Killing, world: &mut World, due: i64, now: i64) {
        let Some(kubelet) = Self::alive(&killing, world, now) else { return self.abandon(killing) };
        // What is to be deleted is not started again.
        let pod = self.pod(&killing.pod).filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        let Some(pod) = pod else { return };
        let grace = self.grace_ms(&pod).max(LEAST_GRACE_MS);
        let exit = if killing.ends_ms.is_some_and(|ends| ends < grace) { TERMINATED } else { KILLED };
        let at = self.time(due);
        let ended: Vec<(String, String)> = killing.ended.iter().map(|(c, _, at)| (c.clone(), self.time(*at))).collect();
        let serves = serving(&pod).next().is_some();
        self.edit(&killing.pod, |pod: &mut Value| {
            for (container, ended_at) in &ended {
                restarted(pod, container, exit, ended_at, &at);
            }
            if serves {
                probed(pod, false, &at);
            }
        });
        for (container, sidecar, _) in &killing.ended {
            self.says_started(&killing.pod, (container, *sidecar), due);
            self.made(&killing.pod.uid, container, kubelet.family);
        }
        self.busy.remove(&killing.pod.uid);
        if serves {
            let ready = due + self.rng.random_range(PROBE_MS);
            self.plan(ready, Act::Life(LifeAct::Ready(killing.pod)));
        }
    }

    fn family(&self, uid: &str, container: &str) -> u8 {
        let key = (uid.to_owned(), container.to_owned());
        self.families.get(&key).copied().unwrap_or(self.first_family)
    }

    /// A kubelet has made this container.
    pub(super) fn made(&mut self, uid: &str, container: &str, family: u8) {
        let key = (uid.to_owned(), container.to_owned());
        match family == self.first_family {
            true => self.families.remove(&key),
            false => self.families.insert(key, family),
        };
    }
}
