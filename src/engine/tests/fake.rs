//! A small cluster in memory and in tokio's (paused) time: nodes with containers and transactions that go on by themselves,
//! whatever becomes of the engine.

use super::super::Asker;
use crate::fleet::*;
use crate::journal::{Step, Verdict};
use crate::k8s::*;
use crate::plan::{Change, Check, ImageFacts, NodeFacts, OwnGate, Swap};
use crate::remote::*;
use async_trait::async_trait;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::{Instant, sleep};

pub const OLD: &str = "r.example/kubernetes:1.35.6.1";
pub const NEW: &str = "r.example/kubernetes:1.36.2.1";
pub const ETCD_OLD: &str = "r.example/etcd:3.6.10.1";
pub const ETCD_NEW: &str = "r.example/etcd:3.6.11.1";

#[derive(Clone)]
pub struct Box1 {
    pub id: String,
    pub image: Image,
    pub running: bool,
    pub started: Option<Instant>,
    pub restarts: u32,
}

#[derive(Clone, Default)]
pub struct Tx {
    pub alive: bool,
    pub steps: Vec<TxStep>,
    pub verdict: Option<Verdict>,
    pub end: Option<TxEnd>,
    pub why: String,
    changes: Vec<Change>,
    deadline: Duration,
    first_stop: Option<Instant>,
    stop_timeout: Duration,
}

/// What goes wrong on a node.
#[derive(Clone, Default)]
pub struct Faults {
    pub never_healthy: BTreeSet<Component>,
    pub disturbs_a_pod: bool,
    /// Each kubelet that starts here restarts every container, as a real one does that computes their hashes anew: it says so at
    /// once, and replaces them after their grace period.
    pub restarts_containers: bool,
    pub unpullable: bool,
    /// From a begin on, the node does not answer for so long.
    pub cut_at_begin: Option<Duration>,
    /// The answer to `begin` is lost although it took effect.
    pub begin_unanswered: bool,
    /// The runner dies right after the old one was stopped.
    pub runner_dies: bool,
    /// And every runner that takes it over dies at once.
    pub recovery_dies: bool,
    /// Entries that its etcd member has not applied.
    pub etcd_lag: u64,
    /// Somebody removes the old containers while the node waits for its verdict.
    pub old_vanishes: bool,
    /// Something else makes the containers anew, from the old image, while the node waits for its verdict.
    pub foreign_hand: bool,
    /// The runner lives and answers, and never comes to an end.
    pub never_ends: bool,
    pub cut_until: Option<Instant>,
    /// What saving a snapshot of etcd ends with, and how long it takes.
    pub snapshot_fails: Option<&'static str>,
    pub snapshot_takes: Duration,
    /// Bytes left on etcd's volume; 0 where the image has no `df`.
    pub etcd_room: u64,
    /// etcd does not take etcdctl's certificate.
    pub etcd_refuses: bool,
    /// Its leadership cannot be moved: what etcdctl ends with, and says.
    pub leader_stays: Option<(i64, &'static str)>,
    /// A told-to-stop etcd drains so long, unless it is killed before: its health port answers meanwhile, its client port does
    /// not.
    pub etcd_drains: Duration,
}

/// What a gate of the operator's does.
#[derive(Clone)]
pub enum GateFault {
    /// It does not hold; why.
    Closed(&'static str),
    /// It never answers.
    Hangs,
}

pub struct FakeNode {
    pub node: Node,
    pub boxes: BTreeMap<String, Box1>,
    pub images: BTreeSet<Image>,
    pub txs: BTreeMap<TxId, Tx>,
    pub pods: Vec<PodProof>,
    pub faults: Faults,
    /// Every program that ran inside a container, and the snapshots that were saved.
    pub programs: Vec<String>,
    pub snapshots: BTreeSet<String>,
    pub begun: Vec<TxId>,
    /// The stop timeouts that it was told, and when. Seconds.
    pub stops: Vec<(u32, Instant)>,
    pub commits: usize,
}

pub struct State {
    /// When the world began: what the engines' clocks count from.
    pub zero: Instant,
    pub nodes: BTreeMap<NodeName, FakeNode>,
    pub etcd_leader: Option<NodeName>,
    pub lease: Option<String>,
    pub api_away: bool,
    pub not_ready: BTreeSet<NodeName>,
    pub endpoints: Vec<(String, bool)>,
    /// Pods cannot be listed.
    pub pods_hidden: bool,
    /// What the API has recorded about pods; and whether we may read it.
    pub events: Vec<PodEvent>,
    pub events_refused: bool,
    /// What the operator's gates answer; those that are not here hold. And how often each was asked.
    pub gates: BTreeMap<String, GateFault>,
    pub asked: BTreeMap<String, usize>,
    /// Nodes in between, watched all the time.
    pub most_masters: usize,
    pub most_in_rack: BTreeMap<RackName, usize>,
    pub most: usize,
    ids: usize,
}

impl Default for State {
    fn default() -> State {
        State {
            zero: Instant::now(),
            nodes: BTreeMap::new(),
            etcd_leader: None,
            lease: None,
            api_away: false,
            not_ready: BTreeSet::new(),
            endpoints: Vec::new(),
            pods_hidden: false,
            events: Vec::new(),
            events_refused: false,
            gates: BTreeMap::new(),
            asked: BTreeMap::new(),
            most_masters: 0,
            most_in_rack: BTreeMap::new(),
            most: 0,
            ids: 0,
        }
    }
}

#[derive(Clone, Default)]
pub struct World(Arc<Mutex<State>>);

impl World {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub fn edit(&self, name: &str, edit: impl FnOnce(&mut FakeNode)) {
        edit(self.lock().nodes.get_mut(&name.parse::<NodeName>().unwrap()).unwrap());
    }

    pub fn ports(&self) -> super::super::Ports {
        let [fleet, cluster, asker] = [(); 3].map(|()| Arc::new(self.clone()));
        super::super::Ports { fleet, cluster, asker }
    }

    pub fn cluster(&self) -> Cluster {
        let state = self.lock();
        let nodes = state.nodes.values().map(|n| {
            let mut node = n.node.clone();
            node.components = Component::ALL.into_iter().filter_map(|c| Some((c, running(c.as_str(), n)?))).collect();
            node.kubelet_version = kubelet_version(n);
            (node.name.clone(), node)
        });
        let leaders = Leaders { etcd: state.etcd_leader.clone(), ..Leaders::default() };
        Cluster { name: "test0".parse().unwrap(), nodes: nodes.collect(), leaders }
    }

    /// Every container of the node by name, image and whether it runs.
    pub fn boxes(&self, name: &str) -> Vec<(String, String, bool)> {
        let state = self.lock();
        let node = &state.nodes[&name.parse::<NodeName>().unwrap()];
        node.boxes.iter().map(|(k, b)| (k.clone(), b.image.short().to_owned(), b.running)).collect()
    }
}

fn kubelet_version(node: &FakeNode) -> Option<Version> {
    format!("v{}", node.boxes.get("kubelet")?.image.version()?).rsplit_once('.')?.0.parse().ok()
}

fn running(name: &str, node: &FakeNode) -> Option<Running> {
    let b = node.boxes.get(name)?;
    let args = if name == "kube-apiserver" { vec!["--endpoint-reconciler-type=none".into()] } else { vec![] };
    Some(Running {
        container: name.parse().unwrap(),
        id: b.id.clone(),
        image: b.image.clone(),
        image_id: image_id(&b.image),
        running: b.running,
        started: None,
        restarts: b.restarts,
        args,
    })
}

fn image_id(image: &Image) -> String {
    format!("sha256:{}", crate::journal::sha256_hex(image.as_str().as_bytes()))
}

impl State {
    fn id(&mut self) -> String {
        self.ids += 1;
        format!("id{}", self.ids)
    }

    fn measure(&mut self) {
        let open = |n: &&FakeNode| n.txs.values().any(|t| t.end.is_none());
        let masters = self.nodes.values().filter(open).filter(|n| n.node.master).count();
        self.most_masters = self.most_masters.max(masters);
        let mut racks: BTreeMap<RackName, usize> = BTreeMap::new();
        let mut all = 0;
        for node in self.nodes.values().filter(open) {
            all += 1;
            if !node.node.master {
                *racks.entry(node.node.rack.clone()).or_default() += 1;
            }
        }
        self.most = self.most.max(all);
        for (rack, count) in racks {
            let most = self.most_in_rack.entry(rack).or_default();
            *most = (*most).max(count);
        }
    }
}

/// Three masters and twelve workers in three racks.
pub fn world() -> World {
    let world = World::default();
    let mut state = world.lock();
    let names = (0..3).map(|i| (format!("m{i}"), i, true)).chain((0..12).map(|i| (format!("w{i:02}"), i % 3, false)));
    for (name, rack, master) in names {
        let mut boxes = BTreeMap::new();
        for component in Component::ALL.into_iter().filter(|c| master || !c.master_only()) {
            let image = match component {
                Component::Rivers | Component::EtcdRivers => "r.example/cke-tools:1.36.0",
                Component::Etcd => ETCD_OLD,
                _ => OLD,
            };
            let b = Box1 { id: state.id(), image: image.parse().unwrap(), running: true, started: None, restarts: 0 };
            boxes.insert(component.as_str().to_owned(), b);
        }
        let pods = (0..4).map(|i| pod(&format!("{name}-{i}"))).collect();
        let name: NodeName = name.parse().unwrap();
        let node = Node {
            name: name.clone(),
            address: format!("10.0.0.{}", state.nodes.len() + 1),
            port: 22,
            user: None,
            rack: format!("rack{rack}").parse().unwrap(),
            role: None,
            labels: Default::default(),
            master,
            ready: true,
            reachable: Some(true),
            kubelet_version: None,
            components: BTreeMap::new(),
            leftovers: BTreeSet::new(),
        };
        let fake = FakeNode {
            node,
            boxes,
            pods,
            images: BTreeSet::new(),
            txs: BTreeMap::new(),
            faults: Faults::default(),
            programs: Vec::new(),
            snapshots: BTreeSet::new(),
            begun: Vec::new(),
            stops: Vec::new(),
            commits: 0,
        };
        state.nodes.insert(name, fake);
    }
    state.etcd_leader = Some("m1".parse().unwrap());
    drop(state);
    world
}

/// The same, with the control plane new already: kubelet and kube-proxy may follow.
pub fn upgraded_masters() -> World {
    let world = world();
    for node in world.lock().nodes.values_mut() {
        for component in [Component::KubeApiserver, Component::KubeControllerManager, Component::KubeScheduler] {
            if let Some(b) = node.boxes.get_mut(component.as_str()) {
                b.image = NEW.parse().unwrap();
            }
        }
    }
    world
}

fn pod(uid: &str) -> PodProof {
    PodProof {
        pod: format!("default/{uid}"),
        uid: uid.into(),
        ended: false,
        ready: true,
        ready_since: None,
        containers: vec![ContainerProof { name: "c".into(), id: uid.into(), ..ContainerProof::default() }],
        ..PodProof::default()
    }
}

impl Fleet for World {
    fn node(&self, name: &NodeName) -> Option<Arc<dyn NodePort>> {
        self.lock().nodes.contains_key(name).then(|| Arc::new(Port { world: self.clone(), name: name.clone() }) as _)
    }
}

struct Port {
    world: World,
    name: NodeName,
}

/// Hexadecimal, as etcd states it.
fn member_id(node: &NodeName) -> String {
    crate::journal::sha256_hex(node.as_str().as_bytes())[..16].to_owned()
}

impl Port {
    fn move_leader(&self, to: &str, argv: &[String]) -> Result<Ran, NodeError> {
        let mut state = self.world.lock();
        let leads = state.etcd_leader.as_ref() == Some(&self.name);
        let target = state.nodes.keys().find(|n| member_id(n) == to).cloned();
        let node = state.nodes.get_mut(&self.name).unwrap();
        node.programs.push(argv.join(" "));
        let ran = |code, err: &str| Ok(Ran { code, out: String::new(), err: err.to_owned() });
        match (node.faults.leader_stays, target) {
            (Some((code, err)), _) => ran(code, err),
            (None, Some(target)) if leads => {
                state.etcd_leader = Some(target);
                ran(0, "")
            }
            _ => ran(1, "Error: no leader endpoint found at [http://127.0.0.1:2379]"),
        }
    }

    async fn with<T>(
        &self,
        act: impl FnOnce(&mut FakeNode, &mut usize) -> Result<T, NodeError>,
    ) -> Result<T, NodeError> {
        sleep(Duration::from_millis(5)).await;
        let mut state = self.world.lock();
        let mut ids = state.ids;
        let node = state.nodes.get_mut(&self.name).unwrap();
        let result = match node.faults.cut_until {
            Some(until) if Instant::now() < until => Err(NodeError::Unreachable(format!("{}: no route", self.name))),
            _ => act(node, &mut ids),
        };
        state.ids = ids;
        result
    }
}

/// What a kubelet does after its start that takes the old one's containers for changed.
async fn restart_containers(world: World, name: NodeName) {
    sleep(Duration::from_millis(500)).await;
    let graces: Vec<(String, u32)> = {
        let mut state = world.lock();
        let at = jiff::Timestamp::UNIX_EPOCH + state.zero.elapsed();
        let pods: Vec<(String, u32)> =
            state.nodes[&name].pods.iter().filter(|p| !p.ended).map(|p| (p.uid.clone(), p.grace_s)).collect();
        state.events.extend(pods.iter().map(|(uid, _)| PodEvent {
            uid: uid.clone(),
            reason: "Killing".into(),
            message: "Container c definition changed, will be restarted".into(),
            source: "kubelet".into(),
            at,
            count: 1,
        }));
        pods
    };
    for (uid, grace) in graces {
        let (world, name) = (world.clone(), name.clone());
        tokio::spawn(async move {
            sleep(Duration::from_secs(grace.into())).await;
            world.edit(name.as_str(), |n| {
                for container in n.pods.iter_mut().filter(|p| p.uid == uid).flat_map(|p| &mut p.containers) {
                    container.restarts += 1;
                    container.id += "'";
                }
            });
        });
    }
}

fn uptime() -> u64 {
    thread_local!(static ZERO: Instant = Instant::now());
    ZERO.with(|zero| zero.elapsed().as_millis() as u64) + 1_000_000
}

/// The node's own runner. `from` is false for one that takes over.
async fn runner(world: World, name: NodeName, tx: TxId, from: bool) {
    let edit = |act: &mut dyn FnMut(&mut FakeNode, &mut Tx)| {
        let mut state = world.lock();
        let node = state.nodes.get_mut(&name).unwrap();
        let mut t = node.txs.remove(&tx).unwrap();
        act(node, &mut t);
        node.txs.insert(tx.clone(), t);
        state.measure();
    };
    let step = |t: &mut Tx, step, container: &str| {
        t.steps.push(TxStep { uptime_ms: uptime(), step, container: container.to_owned() });
    };
    let mut changes = Vec::new();
    edit(&mut |_, t| {
        t.alive = true;
        changes = t.changes.clone();
        if from {
            step(t, Step::Begun, "");
        }
    });
    let ms = |ms| sleep(Duration::from_millis(ms));
    for change in changes.iter().filter(|_| from) {
        let (now, prev, next) = (change.container.to_string(), change.container.prev(), change.container.next());
        let mut dies = false;
        let mut stops = Duration::from_millis(200);
        edit(&mut |node, t| {
            if change.component == Component::Etcd {
                stops = stops.max(node.faults.etcd_drains.min(t.stop_timeout));
            }
            let mut old = node.boxes.remove(&now).unwrap();
            old.running = false;
            node.boxes.insert(prev.clone(), old);
            t.first_stop.get_or_insert_with(Instant::now);
            step(t, Step::Stopping, &now);
            dies = node.faults.runner_dies;
            t.alive = !dies;
        });
        if dies {
            return;
        }
        sleep(stops).await;
        edit(&mut |node, t| {
            step(t, Step::Stopped, &now);
            let mut new = node.boxes.remove(&next).unwrap();
            new.running = true;
            new.started = Some(Instant::now());
            node.boxes.insert(now.clone(), new);
            step(t, Step::Started, &now);
            if node.faults.disturbs_a_pod {
                node.pods[0].ready = false;
            }
            if node.faults.restarts_containers && now == "kubelet" {
                tokio::spawn(restart_containers(world.clone(), name.clone()));
            }
        });
        ms(50).await;
    }
    edit(&mut |_, t| {
        if from {
            step(t, Step::Waiting, "")
        }
    });
    let mut verdict = None;
    while verdict.is_none() {
        ms(50).await;
        edit(&mut |node, t| {
            let late = node.faults.foreign_hand || t.first_stop.is_some_and(|at| at.elapsed() >= t.deadline);
            if t.verdict.is_none() && (late || !from) {
                t.verdict = Some(Verdict::Rollback);
                t.why = if from { "no verdict before the deadline".into() } else { "the runner was gone".into() };
            }
            verdict = t.verdict;
        });
    }
    let mut stuck = true;
    while stuck {
        ms(200).await;
        edit(&mut |node, _| stuck = node.faults.never_ends);
    }
    let mut ids = world.lock().ids;
    edit(&mut |node, t| {
        if node.faults.foreign_hand {
            for change in &changes {
                node.boxes.remove(&change.container.prev());
                ids += 1;
                let (id, image) = (format!("foreign{ids}"), change.from.clone());
                let made = Box1 { id, image, running: true, started: None, restarts: 0 };
                node.boxes.insert(change.container.to_string(), made);
            }
            t.why = "something else made kubelet anew during the swap".into();
            t.end = Some(TxEnd::Foreign);
            return;
        }
        if node.faults.old_vanishes && verdict == Some(Verdict::Rollback) {
            changes.iter().for_each(|c| drop(node.boxes.remove(&c.container.prev())));
            t.why = "the old container of kubelet is gone, so the node cannot go back".into();
            t.end = Some(TxEnd::Broken);
            return;
        }
        for change in &changes {
            let (now, prev, next) = (change.container.to_string(), change.container.prev(), change.container.next());
            if verdict == Some(Verdict::Commit) {
                node.boxes.remove(&prev);
                step(t, Step::Removed, &now);
            } else if let Some(mut old) = node.boxes.remove(&prev) {
                node.boxes.remove(&next);
                old.running = true;
                old.started = Some(Instant::now());
                node.boxes.insert(now.clone(), old);
                step(t, Step::Restored, &now);
                if node.faults.restarts_containers && now == "kubelet" {
                    tokio::spawn(restart_containers(world.clone(), name.clone()));
                }
            } else {
                node.boxes.remove(&next);
            }
        }
        node.commits += usize::from(verdict == Some(Verdict::Commit));
        t.end = Some(if verdict == Some(Verdict::Commit) { TxEnd::Committed } else { TxEnd::RolledBack });
    });
}

#[async_trait]
impl NodePort for Port {
    async fn look(&self, containers: &[ContainerName]) -> Result<Look, NodeError> {
        self.with(|node, _| {
            let left = node.boxes.keys().filter(|k| k.contains(".sonoba-")).map(|k| k.parse().unwrap());
            Ok(Look {
                running: containers.iter().filter_map(|c| running(c.as_str(), node)).collect(),
                leftovers: left.collect(),
            })
        })
        .await
    }

    async fn image_id(&self, image: &Image) -> Result<Option<String>, NodeError> {
        self.with(|node, _| Ok(node.images.contains(image).then(|| image_id(image)))).await
    }

    async fn pull(&self, image: &Image, progress: &(dyn Fn(PullProgress) + Send + Sync)) -> Result<Pulled, NodeError> {
        for done in 1..=3 {
            sleep(Duration::from_secs(1)).await;
            progress(PullProgress { done, total: 3 });
        }
        self.with(|node, _| {
            if node.faults.unpullable {
                return Err(NodeError::Failed("manifest unknown".into()));
            }
            let already = !node.images.insert(image.clone());
            Ok(Pulled { id: image_id(image), already })
        })
        .await
    }

    async fn prepare(&self, changes: &[Change]) -> Result<(), NodeError> {
        self.with(|node, ids| {
            for change in changes {
                *ids += 1;
                let next = Box1 {
                    id: format!("id{ids}"),
                    image: change.to.clone(),
                    running: false,
                    started: None,
                    restarts: 0,
                };
                node.boxes.insert(change.container.next(), next);
            }
            Ok(())
        })
        .await
    }

    async fn discard(&self, containers: &[ContainerName]) -> Result<(), NodeError> {
        self.with(|node, _| {
            containers.iter().for_each(|c| drop(node.boxes.remove(&c.next())));
            Ok(())
        })
        .await
    }

    async fn begin(&self, tx: &TxId, swap: &Swap, stop_timeout_s: u32) -> Result<(), NodeError> {
        let (fresh, unanswered) = self
            .with(|node, _| {
                let fresh = !node.txs.contains_key(tx);
                if fresh {
                    node.begun.push(tx.clone());
                    let deadline = Duration::from_millis(swap.deadline_ms);
                    let stop_timeout = Duration::from_secs(stop_timeout_s.into());
                    node.stops.push((stop_timeout_s, Instant::now()));
                    let new =
                        Tx { alive: true, changes: swap.changes.clone(), deadline, stop_timeout, ..Tx::default() };
                    node.txs.insert(tx.clone(), new);
                    node.faults.cut_until = node.faults.cut_at_begin.map(|cut| Instant::now() + cut);
                }
                Ok((fresh, node.faults.begin_unanswered))
            })
            .await?;
        if fresh {
            tokio::spawn(runner(self.world.clone(), self.name.clone(), tx.clone(), true));
        }
        if unanswered { Err(NodeError::TimedOut("no answer".into())) } else { Ok(()) }
    }

    async fn tx_state(&self, tx: &TxId) -> Result<TxState, NodeError> {
        self.with(|node, _| {
            let Some(t) = node.txs.get(tx) else { return Ok(TxState::default()) };
            Ok(TxState {
                found: true,
                alive: t.alive,
                uptime_ms: uptime(),
                steps: t.steps.clone(),
                verdict: t.verdict,
                end: t.end,
                why: t.why.clone(),
            })
        })
        .await
    }

    async fn give_verdict(&self, tx: &TxId, verdict: Verdict) -> Result<Verdict, NodeError> {
        self.with(|node, _| {
            let t = node.txs.get_mut(tx).ok_or_else(|| NodeError::Failed("no such transaction".into()))?;
            Ok(*t.verdict.get_or_insert(verdict))
        })
        .await
    }

    async fn recover(&self, tx: &TxId) -> Result<(), NodeError> {
        let dead = self
            .with(|node, _| {
                if node.faults.recovery_dies {
                    return Ok(false);
                }
                Ok(node.txs.get_mut(tx).is_some_and(|t| !std::mem::replace(&mut t.alive, true) && t.end.is_none()))
            })
            .await?;
        if dead {
            tokio::spawn(runner(self.world.clone(), self.name.clone(), tx.clone(), false));
        }
        Ok(())
    }

    async fn forget(&self, tx: &TxId) -> Result<(), NodeError> {
        self.with(|node, _| {
            assert!(node.txs.get(tx).is_none_or(|t| t.end.is_some()), "{tx} is forgotten before its end");
            node.txs.remove(tx);
            Ok(())
        })
        .await
    }

    /// No plan is made here: there is nothing to tell.
    async fn facts(&self, _: &Inquiry) -> Result<NodeFacts, NodeError> {
        Ok(NodeFacts::default())
    }

    async fn registry(&self, _: &Image) -> Result<Option<ImageFacts>, NodeError> {
        Ok(None)
    }

    async fn exec(&self, container: &ContainerName, argv: &[String]) -> Result<Ran, NodeError> {
        let takes = self.with(|node, _| Ok(node.faults.snapshot_takes)).await?;
        if argv.contains(&"save".into()) {
            sleep(takes).await;
        }
        if let Some(to) = argv.iter().position(|a| a == "move-leader").and_then(|at| argv.get(at + 1)) {
            return self.move_leader(to, argv);
        }
        let ran = |code, out: &str, err: &str| Ok(Ran { code, out: out.to_owned(), err: err.to_owned() });
        self.with(|node, _| {
            node.programs.push(argv.join(" "));
            let running = node.boxes.get(container.as_str()).is_some_and(|b| b.running);
            if !running {
                return Err(NodeError::Failed(format!("container {container} is not running")));
            }
            let path = argv.get(argv.len().saturating_sub(1)).cloned().unwrap_or_default();
            match argv[0].as_str() {
                "etcdctl" if node.faults.etcd_refuses => ran(1, "", "Error: context deadline exceeded"),
                "etcdctl" if argv.contains(&"endpoint".into()) => ran(0, "[]", ""),
                "df" if node.faults.etcd_room > 0 => {
                    ran(0, &format!("head\n/dev/a 9 9 {} 9% {path}\n", node.faults.etcd_room / 1024), "")
                }
                "etcdctl" if argv.contains(&"save".into()) => match node.faults.snapshot_fails {
                    Some(why) => ran(1, "", why),
                    None => {
                        node.snapshots.insert(path);
                        ran(0, "saved", "")
                    }
                },
                // etcdutl is not there: an etcd before 3.5.
                "etcdctl" if node.snapshots.contains(&argv[argv.len() - 2]) => {
                    ran(0, r#"{"hash":3512983,"revision":12,"totalKey":15,"totalSize":20480}"#, "")
                }
                program => ran(127, "", &format!("{program}: not found")),
            }
        })
        .await
    }

    async fn ask(&self, check: &Check) -> Result<Answer, NodeError> {
        let leads = self.world.lock().etcd_leader.as_ref() == Some(&self.name);
        let id = member_id(&self.name);
        // Kubernetes never stops writing.
        let committed = uptime() / 100;
        self.with(|node, _| {
            let component = match check.port {
                2379 | 2381 => Component::Etcd,
                6443 => Component::KubeApiserver,
                10257 => Component::KubeControllerManager,
                10259 => Component::KubeScheduler,
                10248 => Component::Kubelet,
                10256 => Component::KubeProxy,
                16443 => Component::Rivers,
                _ => Component::EtcdRivers,
            };
            let refused = || NodeError::Failed("connection refused".into());
            let draining = component == Component::Etcd && check.port == 2381 && node.faults.etcd_drains > Duration::ZERO;
            let prev = node.boxes.get("etcd.sonoba-prev").filter(|_| draining && !node.boxes.contains_key("etcd"));
            let b = node.boxes.get(component.as_str()).filter(|b| b.running).or(prev).ok_or_else(refused)?;
            if b.started.is_some_and(|at| at.elapsed() < Duration::from_millis(700)) {
                return Err(refused());
            }
            let new = [NEW, ETCD_NEW].contains(&b.image.as_str());
            if new && node.faults.never_healthy.contains(&component) {
                return Ok(Answer { status: 500, body: b"unhealthy".to_vec() });
            }
            let tag = b.image.short();
            let upstream = tag.rsplit_once('.').map_or(tag, |(u, _)| u);
            let body = match check.path.as_str() {
                "/version" => format!("{{\"gitVersion\":\"v{upstream}\"}}"),
                "/metrics" => format!(
                    "etcd_server_id{{server_id=\"{id}\"}} 1\netcd_mvcc_db_total_size_in_bytes 1000000\netcd_server_has_leader 1\netcd_server_is_leader {}\netcd_server_version{{server_version=\"{upstream}\"}} 1\n\
                     etcd_server_proposals_committed_total {}\netcd_server_proposals_applied_total {}\n",
                    u8::from(leads),
                    committed,
                    committed - node.faults.etcd_lag
                ),
                _ => "ok".into(),
            };
            Ok(Answer { status: 200, body: body.into_bytes() })
        })
        .await
    }

    async fn reconnect(&self) {}
}

#[async_trait]
impl Asker for World {
    async fn ask(&self, gate: &OwnGate, _: &Path) -> Result<(), String> {
        let limit = Duration::from_millis(gate.limit_ms);
        let fault = {
            let mut state = self.lock();
            *state.asked.entry(gate.name.to_string()).or_default() += 1;
            state.gates.get(gate.name.as_str()).cloned()
        };
        match fault {
            None => Ok(()),
            Some(GateFault::Closed(why)) => Err(why.into()),
            Some(GateFault::Hangs) => {
                sleep(limit).await;
                Err(format!("no answer within {limit:?}"))
            }
        }
    }
}

#[async_trait]
impl ClusterPort for World {
    async fn nodes(&self) -> Result<Vec<NodeView>, ClusterError> {
        let state = self.lock();
        if state.api_away {
            return Err(ClusterError::Away("connection refused".into()));
        }
        Ok(state.nodes.values().map(|n| view(&state, n)).collect())
    }

    async fn node(&self, name: &NodeName) -> Result<Option<NodeView>, ClusterError> {
        let state = self.lock();
        Ok(state.nodes.get(name).map(|n| view(&state, n)))
    }

    async fn conditions(&self, name: &NodeName) -> Result<Vec<Condition>, ClusterError> {
        unreachable!("the engine asks no conditions of {name}")
    }

    async fn pods(&self, node: &NodeName) -> Result<Vec<PodProof>, ClusterError> {
        let state = World::lock(self);
        if state.pods_hidden {
            return Err(ClusterError::Away("connection refused".into()));
        }
        Ok(state.nodes[node].pods.clone())
    }

    async fn pod_events(&self, uids: &[&str]) -> Result<Vec<PodEvent>, ClusterError> {
        let state = World::lock(self);
        if state.events_refused {
            return Err(ClusterError::Refused("events is forbidden: User \"sonoba\" cannot list resource".into()));
        }
        Ok(state.events.iter().filter(|e| uids.contains(&e.uid.as_str())).cloned().collect())
    }

    async fn leader(&self, _: &str) -> Result<Option<String>, ClusterError> {
        Ok(None)
    }

    async fn lock(&self, holder: &Holder) -> Result<Locked, ClusterError> {
        let mut state = World::lock(self);
        match &state.lease {
            Some(by) if *by != holder.identity => Ok(Locked::Theirs { by: by.clone(), since: None }),
            _ => {
                state.lease = Some(holder.identity.clone());
                Ok(Locked::Ours)
            }
        }
    }

    async fn unlock(&self, _: &Holder) -> Result<(), ClusterError> {
        World::lock(self).lease = None;
        Ok(())
    }

    /// No plan is made here: there is nothing to tell.
    async fn facts(&self) -> Result<ClusterFacts, ClusterError> {
        Ok(ClusterFacts::default())
    }

    async fn endpoint(&self, address: &str, serve: bool) -> Result<bool, ClusterError> {
        World::lock(self).endpoints.push((address.to_owned(), serve));
        Ok(true)
    }

    /// Every master's address, but those that were taken out last.
    async fn endpoints(&self) -> Result<ApiEndpoints, ClusterError> {
        let state = World::lock(self);
        let mut serving: BTreeSet<String> =
            state.nodes.values().filter(|n| n.node.master).map(|n| n.node.address.clone()).collect();
        for (address, serve) in &state.endpoints {
            if *serve {
                serving.insert(address.clone())
            } else {
                serving.remove(address)
            };
        }
        let serving: BTreeSet<_> = serving.iter().filter_map(|address| address.parse().ok()).collect();
        Ok(ApiEndpoints { endpoints: Some(serving.clone()), slices: Some(serving) })
    }
}

fn view(state: &State, node: &FakeNode) -> NodeView {
    NodeView {
        name: node.node.name.clone(),
        ready: !state.not_ready.contains(&node.node.name),
        kubelet_version: kubelet_version(node),
        labels: BTreeMap::new(),
        address: None,
    }
}
