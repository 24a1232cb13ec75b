//! What happens to pods: by their kubelets, and by the cluster's own churn. Everything due is on an agenda, so that a step costs
//! what happens in it, not what there is. The same seed, scenario and starts of kubelets give the same pods at the same moments.

mod churn;
mod edits;
mod events;
mod kubelet;
mod life;

use super::clock::Clock;
use super::kube::{Kind, Store};
use super::model::World;
use super::scenario::Scenario;
use events::{About, Note, Recorder};
use rand::rngs::StdRng;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A kubelet that is away is waited for in steps of this. Simulated milliseconds.
const AWAY_MS: i64 = 500;

/// Which pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct PodId {
    namespace: String,
    name: String,
    uid: String,
    node: usize,
}

/// Something that is due.
#[derive(Debug, Clone)]
enum Act {
    Kubelet(kubelet::KubeletAct),
    Life(life::LifeAct),
    Churn(churn::ChurnAct),
}

impl Act {
    /// The node whose kubelet must run for it to happen.
    fn needs(&self) -> Option<usize> {
        match self {
            // A kubelet's own acts look for themselves whether it still runs; what controllers do needs none.
            Act::Kubelet(_) | Act::Churn(_) => None,
            Act::Life(act) => act.needs(),
        }
    }
}

/// The pods' life.
#[derive(Debug)]
pub(crate) struct Workload {
    store: Store,
    clock: Clock,
    scenario: Scenario,
    /// Names of the nodes, as the world numbers them.
    nodes: Vec<String>,
    agenda: BTreeMap<(i64, u64), Act>,
    serial: u64,
    rng: StdRng,
    recorder: Recorder,
    /// How the containers are hashed that the first kubelets made.
    first_family: u8,
    /// Containers (by pod's UID and name) that another kubelet made.
    families: BTreeMap<(String, String), u8>,
    /// Containers that have ended while no kubelet looked; it restarts them when it is back.
    dead: BTreeMap<String, Vec<String>>,
    /// Pods (by UID) that something happens to already.
    busy: BTreeSet<String>,
    /// How many pods the churn has touched.
    touched: u64,
}

impl Workload {
    /// The pods that the store has now, and the churn that the scenario wants from `now` on.
    pub(crate) fn new(store: Store, clock: Clock, world: &mut World, now: i64) -> Workload {
        let scenario = world.scenario().clone();
        let first_family = world.kubelet(0, now).map_or(0, |k| k.family);
        let mut workload = Workload {
            nodes: world.machines().iter().map(|m| m.spec.name.to_string()).collect(),
            rng: super::model::seeded(scenario.seed, "workload"),
            agenda: BTreeMap::new(),
            serial: 0,
            recorder: Recorder::default(),
            first_family,
            families: BTreeMap::new(),
            dead: BTreeMap::new(),
            busy: BTreeSet::new(),
            touched: 0,
            store,
            clock,
            scenario,
        };
        workload.begin_churn(now);
        workload
    }

    /// How many pods the churn has touched so far.
    #[cfg(test)]
    pub(crate) fn touched(&self) -> u64 {
        self.touched
    }

    /// Lets everything happen that is due. Nothing can be written while the API is away: it happens when it is back.
    pub(crate) fn step(&mut self, world: &mut World, now: i64, api_up: bool) {
        for start in world.take_kubelet_starts() {
            self.kubelet_started(start);
        }
        while api_up && let Some(entry) = self.agenda.first_entry() {
            let (due, _) = *entry.key();
            if due > now {
                return;
            }
            let act = entry.remove();
            if act.needs().is_some_and(|node| world.kubelet(node, now).is_none()) {
                self.plan(now + AWAY_MS, act);
                continue;
            }
            match act {
                Act::Kubelet(act) => self.kubelet_act(act, world, due, now),
                Act::Life(act) => self.life_act(act, world, due, now),
                Act::Churn(act) => self.churn_act(act, due),
            }
        }
    }

    fn plan(&mut self, due: i64, act: Act) {
        self.serial += 1;
        self.agenda.insert((due, self.serial), act);
    }

    fn time(&self, ms: i64) -> String {
        self.clock.at(ms).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// The pod, if it is still the same one.
    fn pod(&self, id: &PodId) -> Option<Arc<Value>> {
        let pod = self.store.get(Kind::Pod, &id.namespace, &id.name)?;
        (pod["metadata"]["uid"] == *id.uid).then_some(pod)
    }

    fn edit(&self, id: &PodId, change: impl FnOnce(&mut Value)) {
        if self.pod(id).is_some() {
            self.store.mutate(Kind::Pod, &id.namespace, &id.name, change);
        }
    }

    fn record(&mut self, about: About<'_>, reason: &str, message: &str, by: (&str, &str), now: i64) {
        let warning = ["Unhealthy", "BackOff", "Preempted", "Evicted", "Failed"].contains(&reason);
        let note = Note { about, reason, message, by: by.0, host: by.1, warning };
        self.recorder.record(&self.store, &self.clock, &note, now);
    }

    /// What a kubelet records of a container.
    fn kubelet_says(&mut self, id: &PodId, container: (&str, bool), reason: &str, message: &str, now: i64) {
        let Some(pod) = self.pod(id) else { return };
        let host = self.nodes[id.node].clone();
        self.record(About::Container(&pod, container.0, container.1), reason, message, ("kubelet", &host), now);
    }

    /// The three events of every start of a container.
    fn says_started(&mut self, id: &PodId, container: (&str, bool), now: i64) {
        let Some(pod) = self.pod(id) else { return };
        let lists =
            ["containers", "initContainers"].map(|key| pod["spec"][key].as_array().cloned().unwrap_or_default());
        let spec = lists.into_iter().flatten().find(|c| c["name"] == container.0);
        let image = spec.and_then(|c| c["image"].as_str().map(str::to_owned)).unwrap_or_default();
        let pulled = format!("Container image \"{image}\" already present on machine");
        self.kubelet_says(id, container, "Pulled", &pulled, now);
        self.kubelet_says(id, container, "Created", &format!("Created container: {}", container.0), now);
        self.kubelet_says(id, container, "Started", &format!("Started container {}", container.0), now);
    }

    fn id(&self, pod: &Value, node: usize) -> PodId {
        let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default().to_owned();
        PodId { namespace: text("namespace"), name: text("name"), uid: text("uid"), node }
    }

    /// How long its containers have to end. Simulated milliseconds.
    fn grace_ms(&self, pod: &Value) -> i64 {
        let seconds = pod["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
        (seconds as f64 * 1000.0 * self.clock.speed()) as i64
    }
}

#[cfg(test)]
mod tests;
