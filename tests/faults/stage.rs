//! The stage on which a run is played: the simulator's model in virtual time, what was done to it, and what was seen.

use crate::books::Books;
use crate::chaos::{Chaos, Fault, Op};
use crate::rival::{Lease, LeaseFault};
use crate::workload::{self, CALM};
use jiff::{SignedDuration, Timestamp};
use sonoba::fleet::{Cluster, Component, Leaders, Node, NodeName, PodEvent, PodProof, Running};
use sonoba::journal::Verb;
use sonoba::plan::Plan;
use sonoba::remote::{TxEnd, TxId};
use sonoba::sim::Scenario;
use sonoba::sim::model::{Container, Machine, World, image_id};
use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// No run asks more than this; one that does spins.
const MOST_CALLS: u64 = 400_000;

/// A transaction that was begun on a node.
#[derive(Debug, Clone)]
pub struct Begun {
    pub node: usize,
    pub tx: TxId,
    /// When it began, or was last taken up again.
    pub began: i64,
    pub swap: sonoba::plan::Swap,
    pub end: Option<TxEnd>,
    /// The start of its new containers restarted pods.
    pub disturbing: bool,
    /// Its runner was killed, by itself or with its node.
    pub orphaned: bool,
}

/// One node, beside what the model knows of it.
#[derive(Debug)]
pub struct Place {
    pub name: NodeName,
    pub address: String,
    pub rack: String,
    pub master: bool,
    pub pods: Vec<PodProof>,
    /// What the API has recorded about them.
    pub events: Vec<PodEvent>,
    /// Something restarted its calm pods, and nothing shows what.
    pub struck: bool,
    /// Something other than the engine took containers, power or network away.
    pub harmed: bool,
    /// Something happened to it that may cost a swap.
    pub excused: bool,
    /// It is gone for good.
    pub gone: bool,
    /// It could not be reached when the run ended: what was prepared on it could not be cleared away.
    pub away_at_the_end: bool,
    /// Since when a part of the control plane on it has not been well, as seen from outside.
    pub ill_since: Option<i64>,
    /// When its power, then its network, comes back.
    pub power_back: Option<i64>,
    pub network_back: Option<i64>,
    /// Its containers before the run: name, id, restart policy.
    pub before: Vec<(String, String, String)>,
    /// Something else worked on its containers.
    pub touched: bool,
}

/// All of it; behind one lock that is never held across an await.
pub struct Scene {
    pub chaos: Chaos,
    pub world: World,
    pub places: Vec<Place>,
    pub books: Books,
    pub plan: Option<Arc<Plan>>,
    pub begun: Vec<Begun>,
    pub endpoints: BTreeSet<String>,
    pub lease: Lease,
    /// Requests for the Lease alone fail so, until then.
    pub lease_fails: Option<(LeaseFault, i64)>,
    /// Until then the engine's process stands still: what it hears, it hears later.
    pub frozen_until: i64,
    /// The run was given up before it began.
    pub given_up: bool,
    /// Transactions of the second bastion's: node, and id.
    pub rivals: Vec<(usize, TxId)>,
    pub api_away: i64,
    /// The clock of the bastion is this far off. Milliseconds.
    pub clock_off: i64,
    pub disk_broken: bool,
    /// After a failed sync, this much of the file is on disk for sure; a later sync that succeeds says nothing of the rest.
    pub dropped_from: Option<u64>,
    /// The engine that lives; calls of another one never return.
    pub generation: u64,
    /// Something happened to the whole run that may cost swaps.
    pub excused: bool,
    pub wrong: Vec<String>,
    pub calls: u64,
    pub kills: u32,
    /// When an abort was taken, and how many engines were killed until then.
    pub aborted: Option<(i64, u32)>,
    pub hash: u64,
    pub trace: Option<Vec<String>>,
    advanced: i64,
    index: HashMap<NodeName, usize>,
}

/// The stage, shared by ports, disk and director.
#[derive(Clone)]
pub struct Stage {
    scene: Arc<Mutex<Scene>>,
    zero: Instant,
    pub killed: Arc<Notify>,
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stage")
    }
}

impl Stage {
    pub fn new(seed: u64, scenario: &Scenario, chaos: Chaos, traced: bool) -> Stage {
        let mut world = World::new(scenario).expect("the scenario fits together");
        let always = serde_json::json!({"Name": "always", "MaximumRetryCount": 0});
        let mut places = Vec::new();
        for node in 0..world.machines().len() {
            let (machine, _) = world.on(node, 0);
            machine.installed = true;
            for at in 0..machine.containers().len() {
                machine.update(at, &always);
            }
            let spec = machine.spec.clone();
            places.push(Place {
                pods: workload::pods(spec.name.as_str(), zero()),
                events: Vec::new(),
                struck: false,
                name: spec.name,
                address: spec.address.to_string(),
                rack: spec.rack.to_string(),
                master: spec.master,
                harmed: false,
                excused: false,
                gone: false,
                away_at_the_end: false,
                ill_since: None,
                power_back: None,
                network_back: None,
                before: standing(machine),
                touched: false,
            });
        }
        let index = places.iter().enumerate().map(|(i, p)| (p.name.clone(), i)).collect();
        let endpoints = places.iter().filter(|p| p.master).map(|p| p.address.clone()).collect();
        let scene = Scene {
            chaos,
            world,
            places,
            books: Books::default(),
            plan: None,
            begun: Vec::new(),
            endpoints,
            lease: Lease::default(),
            lease_fails: None,
            frozen_until: 0,
            given_up: false,
            rivals: Vec::new(),
            api_away: i64::MIN,
            clock_off: 0,
            disk_broken: false,
            dropped_from: None,
            generation: 0,
            excused: false,
            wrong: Vec::new(),
            calls: 0,
            kills: 0,
            aborted: None,
            hash: seed,
            trace: traced.then(Vec::new),
            advanced: 0,
            index,
        };
        Stage { scene: Arc::new(Mutex::new(scene)), zero: Instant::now(), killed: Arc::new(Notify::new()) }
    }

    pub fn scene(&self) -> MutexGuard<'_, Scene> {
        self.scene.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Virtual time. Milliseconds.
    pub fn now(&self) -> i64 {
        self.zero.elapsed().as_millis() as i64
    }

    /// Kills the engine: from here on none of its calls has an effect, and none returns.
    pub fn kill(&self, scene: &mut Scene, how: &str) {
        scene.generation += 1;
        scene.kills += 1;
        scene.note(self.now(), || format!("KILL {how}"));
        self.killed.notify_one();
    }

    /// One call of the engine's, with whatever goes wrong at it. `act` is the effect; `limit` the port's own time limit.
    pub async fn call<T, E>(
        &self,
        generation: u64,
        op: Op,
        node: Option<usize>,
        limit: Duration,
        lost: impl Fn(bool, &str) -> E,
        act: impl FnOnce(&mut Scene, i64) -> Result<T, E>,
    ) -> Result<T, E> {
        if !op.is_question() {
            self.scene().must_hold_the_lock(self.now(), op);
        }
        let latency = self.scene().chaos.rng.random_latency();
        tokio::time::sleep(latency).await;
        self.living(generation).await;
        if op.is_fenced() {
            // Stopped with the request half out: it arrives later, and the node decides.
            self.thaw().await;
        }
        let fault = {
            let mut scene = self.scene();
            let now = self.now();
            scene.calls += 1;
            if scene.calls > MOST_CALLS {
                scene.fail(now, "the engine asks without end".into());
                self.kill(&mut scene, "it spins");
            }
            scene.hash((op, node));
            let context = scene.context(node, now);
            let fault = scene.chaos.strike(op, context);
            if let Some(fault) = fault {
                scene.note(now, || format!("FAULT {fault:?} at {op:?} of {node:?}"));
                scene.befall(fault, node, now);
            }
            fault
        };
        self.living(generation).await;
        let mut act = Some(act);
        let mut effect = || {
            let mut scene = self.scene();
            let now = self.now();
            let done = act.take().map(|act| act(&mut scene, now));
            scene.look_around(now);
            done
        };
        match fault {
            Some(Fault::Slow(ms)) => tokio::time::sleep(Duration::from_millis(ms)).await,
            Some(Fault::Cut { took_effect }) => {
                if took_effect {
                    drop(effect());
                }
                return Err(lost(false, "connection reset"));
            }
            Some(Fault::Hang { took_effect }) => {
                if took_effect {
                    drop(effect());
                }
                tokio::time::sleep(limit).await;
                return Err(lost(true, "no answer in time"));
            }
            Some(Fault::Kill { took_effect }) => {
                if took_effect {
                    drop(effect());
                }
                self.kill(&mut self.scene(), "at a call");
            }
            Some(Fault::PullBreaks) => return Err(lost(false, "the registry broke the pull off")),
            _ => {}
        }
        self.living(generation).await;
        let away = node.is_some_and(|n| !self.scene().world.machines()[n].connected());
        if away {
            tokio::time::sleep(Duration::from_secs(3).min(limit)).await;
            return Err(lost(false, "no route to host"));
        }
        let done = effect();
        tokio::time::sleep(latency).await;
        self.living(generation).await;
        self.thaw().await;
        done.unwrap_or_else(|| Err(lost(false, "asked twice")))
    }

    /// Returns once the engine's process runs again.
    pub async fn thaw(&self) {
        loop {
            let left = self.scene().frozen_until - self.now();
            if left <= 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(left as u64)).await;
        }
    }

    /// Returns if the asking engine lives; a dead one's calls never return.
    pub async fn living(&self, generation: u64) {
        let dead = self.scene().generation != generation;
        if dead {
            std::future::pending::<()>().await;
        }
    }
}

trait Latency {
    fn random_latency(&mut self) -> Duration;
}

impl Latency for rand::rngs::StdRng {
    fn random_latency(&mut self) -> Duration {
        use rand::RngExt;
        Duration::from_millis(self.random_range(0..12))
    }
}

/// Every container by name: its id and its restart policy.
pub fn standing(machine: &Machine) -> Vec<(String, String, String)> {
    let policy = |c: &Container| c.restart_policy()["Name"].as_str().unwrap_or("").to_owned();
    let mut all: Vec<_> = machine.containers().iter().map(|c| (c.name.clone(), c.id.clone(), policy(c))).collect();
    all.sort();
    all
}

/// A container as Docker states it.
pub fn running(container: &Container) -> Option<Running> {
    let args = container.body["Cmd"].as_array().into_iter().flatten();
    Some(Running {
        container: container.name.parse().ok()?,
        id: container.id.clone(),
        image: container.image().parse().ok()?,
        image_id: image_id(container.image()),
        running: container.running(),
        started: None,
        restarts: container.restarts,
        args: args.filter_map(|a| a.as_str().map(str::to_owned)).collect(),
    })
}

impl Scene {
    pub fn place(&self, name: &NodeName) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// Whether a snapshot of etcd is where it is said to be.
    pub fn has_snapshot(&self, path: &str) -> bool {
        self.world.machines().iter().any(|machine| machine.snapshots().any(|there| there == path))
    }

    pub fn note(&mut self, now: i64, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>9.3} {}", now as f64 / 1000.0, text()));
        }
    }

    /// Nothing that changes something is sent while the rival has the lock.
    fn must_hold_the_lock(&mut self, now: i64, op: Op) {
        if self.lease.of_rival() {
            self.fail(now, format!("{op:?} is sent while the rival holds the run lock"));
        }
    }

    /// A law was broken.
    pub fn fail(&mut self, now: i64, why: String) {
        self.note(now, || format!("WRONG {why}"));
        if self.wrong.len() < 8 && !self.wrong.contains(&why) {
            self.wrong.push(why);
        }
    }

    pub fn hash(&mut self, what: impl Hash) {
        let mut hash = DefaultHasher::new();
        (self.hash, what).hash(&mut hash);
        self.hash = hash.finish();
    }

    /// The cluster as it would be observed.
    pub fn cluster(&self) -> Cluster {
        let nodes = self.world.machines().iter().zip(&self.places).map(|(machine, place)| {
            let found = |c: &Component| machine.containers().iter().find(|x| x.name == c.as_str());
            let node = Node {
                name: place.name.clone(),
                address: place.address.clone(),
                port: 22,
                user: None,
                rack: machine.spec.rack.clone(),
                role: machine.spec.role.clone(),
                labels: Default::default(),
                master: place.master,
                ready: true,
                reachable: Some(true),
                kubelet_version: None,
                components: Component::ALL.into_iter().filter_map(|c| Some((c, running(found(&c)?)?))).collect(),
                leftovers: BTreeSet::new(),
            };
            (node.name.clone(), node)
        });
        let leader = |i: usize| self.places.get(i).map(|p| p.name.clone());
        let leaders = Leaders {
            etcd: leader(self.world.etcd_leader().holder),
            controller_manager: leader(self.world.controller_manager().holder),
            scheduler: leader(self.world.scheduler().holder),
        };
        Cluster { name: "faults".parse().expect("a name"), nodes: nodes.collect(), leaders, salt: None }
    }

    /// What the engine is doing with the node, roughly: tells fault points apart.
    fn context(&self, node: Option<usize>, now: i64) -> impl Hash + use<> {
        let begun = self.begun.iter().rev().find(|b| Some(b.node) == node && b.end.is_none());
        begun.map(|begun| {
            let state = self.world.machines()[begun.node].tx_state(&begun.tx, now);
            let step = state.steps.last().map(|s| std::mem::discriminant(&s.step));
            (step, state.verdict.map(|v| std::mem::discriminant(&v)), state.alive)
        })
    }

    /// The part of a fault that befalls the world, not the call.
    fn befall(&mut self, fault: Fault, node: Option<usize>, now: i64) {
        match fault {
            Fault::Hang { .. } => self.excuse(node),
            Fault::Slow(ms) if ms > 1_500 => self.excuse(node),
            Fault::PullBreaks => self.excuse(node),
            Fault::Api(s) => {
                self.api_away = now + s as i64 * 1000;
                self.excused = true;
            }
            Fault::Clock(s) => self.clock_off += s * 1000,
            Fault::Disk => self.excused = true,
            _ => {}
        }
        let Some(at) = node else { return };
        match fault {
            Fault::Power(back) => {
                let (machine, mut env) = self.world.on(at, now);
                machine.power_off(now, &mut env);
                self.orphan(at, now);
                self.places[at].power_back = back.map(|s| now + s as i64 * 1000);
                self.harm(at, back.is_none());
            }
            Fault::Network(back) => {
                self.world.on(at, now).0.cut(true);
                self.places[at].network_back = back.map(|s| now + s as i64 * 1000);
                self.harm(at, back.is_none());
            }
            Fault::Docker { s, live_restore } => {
                let (machine, mut env) = self.world.on(at, now);
                machine.restart_docker(now, now + s as i64 * 1000, live_restore, &mut env);
                self.harm(at, false);
            }
            Fault::Runner => {
                self.world.on(at, now).0.kill_runners();
                self.orphan(at, now);
                self.excuse(node);
            }
            Fault::Pod => {
                self.disturb(at, 1);
                self.excuse(node);
            }
            _ => {}
        }
    }

    fn orphan(&mut self, at: usize, now: i64) {
        for b in self.begun.iter_mut().filter(|b| b.node == at && b.end.is_none()) {
            b.orphaned = self.world.machines()[at].tx_state(&b.tx, now).end.is_none();
        }
    }

    /// An operator's decision may cost the swaps of its nodes.
    pub fn decided(&mut self, verb: &Verb) {
        let (Verb::Skip { nodes, .. } | Verb::RollBack { nodes }) = verb else { return };
        for at in nodes.iter().filter_map(|n| self.place(n)).collect::<Vec<_>>() {
            self.places[at].excused = true;
        }
    }

    fn excuse(&mut self, node: Option<usize>) {
        match node {
            Some(at) => self.places[at].excused = true,
            None => self.excused = true,
        }
    }

    fn harm(&mut self, at: usize, gone: bool) {
        let place = &mut self.places[at];
        (place.harmed, place.excused) = (true, true);
        place.gone |= gone;
        if place.master {
            // Others wait for it, or fail for it.
            self.excused = true;
        }
    }

    pub fn disturb(&mut self, at: usize, count: usize) {
        let place = &mut self.places[at];
        place.struck = true;
        for pod in place.pods.iter_mut().take(count.min(CALM)) {
            pod.containers[0].restarts += 1;
        }
    }

    /// Lets time pass: what comes back comes back, the control plane looks at its nodes.
    pub fn tick(&mut self, now: i64) {
        if now - self.advanced < 900 {
            return;
        }
        self.advanced = now;
        for at in 0..self.places.len() {
            if self.places[at].power_back.is_some_and(|t| now >= t) {
                self.places[at].power_back = None;
                let (machine, mut env) = self.world.on(at, now);
                machine.power_on(now, &mut env);
                self.note(now, || format!("power is back on node {at}"));
            }
            if self.places[at].network_back.is_some_and(|t| now >= t) {
                self.places[at].network_back = None;
                self.world.on(at, now).0.cut(false);
                self.note(now, || format!("network is back on node {at}"));
            }
        }
        self.world.advance(now);
        self.look_around(now);
        self.count_the_down(now);
        self.no_swap_is_held_up_by_a_hand(now);
    }

    /// The engine's clock.
    pub fn clock(&self, now: i64) -> Timestamp {
        zero() + SignedDuration::from_millis(now + self.clock_off)
    }
}

/// When a run begins: 2026-11-23, give or take.
pub fn zero() -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(498_624)
}
