//! Pods that change by themselves, with the record that the API has of it: a crash loop that goes on, a rollout that replaces a
//! pod.

use crate::stage::{Scene, zero};
use jiff::{SignedDuration, Timestamp};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sonoba::fleet::{Component, ContainerExit, ContainerProof, PodEvent, PodOwner, PodProof};
use sonoba::sim::model::Health;

/// Pods of a node that stand still, before those that do not.
pub const CALM: usize = 2;
/// The pod that crashes again and again, and the one that rollouts replace.
const CRASHES: usize = CALM;
const ROLLED_OUT: usize = CALM + 1;

/// Seconds that the rolled-out pod takes to end.
const GRACE_S: u32 = 5;

/// The pods of one node before the run.
pub fn pods(node: &str, now: Timestamp) -> Vec<PodProof> {
    let mut pods: Vec<PodProof> = (0..CALM).map(|i| pod(&format!("{node}-{i}"))).collect();
    let mut crashes = PodProof { ready: false, ..pod(&format!("{node}-crashes")) };
    crashes.containers[0].restarts = 40;
    crashes.containers[0].waiting = "CrashLoopBackOff".into();
    crashes.containers[0].last_exit = Some(ContainerExit {
        code: 1,
        reason: "Error".into(),
        started_at: Some(now - SignedDuration::from_secs(60)),
        finished_at: Some(now - SignedDuration::from_secs(55)),
    });
    pods.push(crashes);
    pods.push(replica(node, 0, now));
    pods
}

fn pod(uid: &str) -> PodProof {
    PodProof {
        pod: format!("default/{uid}"),
        uid: uid.into(),
        ready: true,
        containers: vec![ContainerProof { name: "c".into(), id: uid.into(), ..ContainerProof::default() }],
        ..PodProof::default()
    }
}

fn replica(node: &str, number: u32, now: Timestamp) -> PodProof {
    let mut pod = pod(&format!("{node}-web-{number}"));
    pod.grace_s = GRACE_S;
    pod.owner = Some(PodOwner { kind: "ReplicaSet".into(), name: format!("web-{number}") });
    pod.ready_since = Some(now);
    pod.containers[0].started_at = Some(now);
    pod
}

/// What one run's pods do. It has a source of its own, and comes in every second run.
#[derive(Debug)]
pub struct Workload {
    rng: StdRng,
    comes: bool,
    replicas: u32,
}

impl Workload {
    pub fn new(seed: u64) -> Workload {
        Workload { rng: StdRng::seed_from_u64(seed ^ 0x90d5), comes: seed % 2 == 1, replicas: 0 }
    }

    /// One second of its life.
    pub fn act(&mut self, scene: &mut Scene, now: i64) {
        if !self.comes || now < scene.api_away || !scene.world.api_up(now) {
            return;
        }
        for node in 0..scene.places.len() {
            let machine = &scene.world.machines()[node];
            // Without its kubelet, what changes in a pod does not come to be known, and nothing is started or ended.
            let kubelet = matches!(machine.health(Component::Kubelet, now), Health::Well(_));
            if !machine.connected() || !kubelet {
                continue;
            }
            if self.rng.random_bool(0.05) {
                self.crash_or_start(scene, node, now);
            }
            if self.rng.random_bool(0.02) {
                self.roll_out(scene, node, now);
            }
        }
    }

    fn crash_or_start(&mut self, scene: &mut Scene, node: usize, now: i64) {
        let at = seconds(zero() + SignedDuration::from_millis(now));
        let pod = &mut scene.places[node].pods[CRASHES];
        let c = &mut pod.containers[0];
        pod.ready_since = Some(at);
        if let Some(started) = c.started_at.take() {
            c.waiting = "CrashLoopBackOff".into();
            let (started_at, finished_at) = (Some(started), Some(at));
            c.last_exit = Some(ContainerExit { code: 1, reason: "Error".into(), started_at, finished_at });
            pod.ready = false;
        } else {
            c.restarts += 1;
            c.id = format!("{}-{}", pod.uid, c.restarts);
            c.waiting.clear();
            c.started_at = Some(at);
            pod.ready = true;
        }
    }

    fn roll_out(&mut self, scene: &mut Scene, node: usize, now: i64) {
        let at = seconds(zero() + SignedDuration::from_millis(now));
        let place = &mut scene.places[node];
        let pod = &mut place.pods[ROLLED_OUT];
        match pod.deleting {
            None => {
                pod.deleting = Some(at);
                let uid = pod.uid.clone();
                let told = |reason: &str, source: &str, message: String| PodEvent {
                    uid: uid.clone(),
                    reason: reason.into(),
                    message,
                    source: source.into(),
                    at,
                    count: 1,
                };
                let deleted = format!("Deleted pod: {uid}");
                place.events.push(told("SuccessfulDelete", "replicaset-controller", deleted));
                place.events.push(told("Killing", "kubelet", "Stopping container c".into()));
            }
            Some(since) if at.duration_since(since).as_secs() > i64::from(GRACE_S) => {
                self.replicas += 1;
                *pod = replica(place.name.as_str(), self.replicas, at);
            }
            Some(_) => {}
        }
    }
}

/// The API states whole seconds.
fn seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}
