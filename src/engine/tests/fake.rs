//! A small cluster in memory and in tokio's (paused) time: nodes with containers and transactions that go on by themselves,
//! whatever becomes of the engine.

mod api;
mod faults;
mod gate;
mod node;
mod runner;
mod start;

pub use faults::{Faults, LeaseFault};
pub use gate::GateFault;
pub use start::{upgraded_masters, world};

use runner::uptime;

use crate::fleet::*;
use crate::journal::{Step, Verdict};
use crate::k8s::*;
use crate::plan::{Change, Check, CredentialFacts, ImageFacts, NodeFacts, OwnGate, Swap};
use crate::remote::*;
use async_trait::async_trait;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

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
    /// What its node's Docker says of it.
    pub stamp: Timestamp,
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
    /// The highest token of the run lock that it has seen; and what it refused for want of the lock.
    pub token: Option<FenceToken>,
    pub refused: usize,
}

impl FakeNode {
    /// As the script does it: a lower token, or one that comes too late, changes nothing.
    fn admit(&mut self, fence: &Fence) -> Result<(), NodeError> {
        let newer = self.token.filter(|seen| *seen > fence.token);
        if newer.is_none() && uptime() <= fence.until_ms {
            self.token = Some(fence.token);
            return Ok(());
        }
        self.refused += 1;
        Err(NodeError::Fenced { newer, why: "the run lock has gone to another".into() })
    }
}

pub struct State {
    /// When the world began: what the engines' clocks count from.
    pub zero: Instant,
    pub nodes: BTreeMap<NodeName, FakeNode>,
    pub etcd_leader: Option<NodeName>,
    pub lease: Option<String>,
    /// What the run lock remembers of a journal.
    pub sealed: Option<SealedJournal>,
    /// How often it changed hands.
    pub transitions: u32,
    pub lease_fault: Option<LeaseFault>,
    pub api_away: bool,
    pub not_ready: BTreeSet<NodeName>,
    pub endpoints: Vec<(String, bool)>,
    /// Pods cannot be listed.
    pub pods_hidden: bool,
    /// Whoever wants to list pods is told that the token has ended.
    pub credentials_end: bool,
    /// There are others, for whoever reads them anew.
    pub new_credentials: bool,
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
            sealed: None,
            transitions: 0,
            lease_fault: None,
            api_away: false,
            not_ready: BTreeSet::new(),
            endpoints: Vec::new(),
            pods_hidden: false,
            credentials_end: false,
            new_credentials: false,
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
        Cluster { name: "test0".parse().unwrap(), nodes: nodes.collect(), leaders, salt: None }
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
        started: Some(b.stamp),
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
