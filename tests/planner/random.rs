//! Random clusters, releases and bumps. Most fit together, some do not.

use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sonoba::fleet::{Cluster, Component, Image, Label, Leaders, Node, NodeName, Running};
use sonoba::plan::{Bump, Limits, Plan, Ramp, Release, Scope, Settings, Stage, make};
use std::collections::BTreeMap;

/// A cluster and what is staged for it.
#[derive(Debug, Clone)]
pub struct Case {
    pub cluster: Cluster,
    pub stage: Stage,
}

impl Case {
    pub fn plan(&self) -> Plan {
        make(&self.cluster, &self.stage, &Settings::default(), Timestamp::UNIX_EPOCH)
    }
}

fn kubernetes(minor: u32, patch: u32) -> Image {
    format!("r.example/kubernetes:1.{minor}.{patch}.1").parse().expect("an image")
}

fn etcd(minor: u32, patch: u32) -> Image {
    format!("r.example/etcd:3.{minor}.{patch}.1").parse().expect("an image")
}

fn rivers(minor: u32) -> Image {
    format!("r.example/cke-tools:1.{minor}.0").parse().expect("an image")
}

/// The etcd minor that goes with a Kubernetes minor here.
fn etcd_of(minor: u32) -> u32 {
    match minor {
        ..26 => 4,
        26..33 => 5,
        _ => 6,
    }
}

fn release(minor: u32, patch: u32) -> Release {
    let images = Component::ALL.into_iter().map(|c| {
        let image = match c {
            Component::Etcd => etcd(etcd_of(minor), patch),
            Component::Rivers | Component::EtcdRivers => rivers(minor),
            _ => kubernetes(minor, patch),
        };
        (c, image)
    });
    Release { name: format!("1.{minor}.{patch}"), images: images.collect() }
}

/// The case of a seed; a small one has at most four nodes and four minors, and nothing about it is sick.
pub fn case(seed: u64, small: bool) -> Case {
    let mut rng = StdRng::seed_from_u64(seed ^ if small { 0x5a11 } else { 0 });
    let from = rng.random_range(24..=33_u32);
    let far = rng.random_range(0..=if small { 3 } else { 4_u32 });
    let to = (from + far).min(37);
    let masters = if small { rng.random_range(1..=2) } else { [1, 3, 3, 3, 5][rng.random_range(0..5)] };
    let workers = if small { rng.random_range(0..=2) } else { [2, 4, 6, 14][rng.random_range(0..4)] };
    let racks = rng.random_range(1..=4_usize);
    // Some were left in the middle of an upgrade.
    let half_way = to > from && rng.random_bool(0.2);
    let mut nodes = BTreeMap::new();
    for i in 0..masters + workers {
        let master = i < masters;
        let minor = if master && half_way && rng.random_bool(0.5) { from + 1 } else { from };
        let node = node(&mut rng, i, &format!("rack{}", i % racks), master, (from, minor), small);
        nodes.insert(node.name.clone(), node);
    }
    let names: Vec<NodeName> = nodes.values().filter(|n: &&Node| n.master).map(|n| n.name.clone()).collect();
    let mut one = || rng.random_bool(0.8).then(|| names[rng.random_range(0..names.len())].clone());
    let leaders = Leaders { etcd: one(), controller_manager: one(), scheduler: one() };
    let whole = rng.random_bool(0.98) || small;
    let mut way: Vec<Release> = Vec::new();
    for minor in from.saturating_sub(3)..=to {
        for release in [release(minor, 3), release(minor, rng.random_range(4..9))] {
            if whole || rng.random_bool(0.9) {
                way.push(release);
            }
        }
    }
    let target = way.last().filter(|_| whole).cloned().unwrap_or_else(|| release(to, 9));
    let staged = |rng: &mut StdRng| small || rng.random_bool(0.97);
    let bumps = target.images.iter().filter(|_| staged(&mut rng)).map(|(c, i)| Bump { component: *c, to: i.clone() });
    let bumps: Vec<Bump> = bumps.collect();
    let limits = Limits {
        canary: rng.random_range(0..=3),
        ramp: ramp(&mut rng),
        max_parallel: rng.random_range(1..=6),
        max_unavailable: rng.random_range(1..=3),
        soak_ms: 1_000,
        max_pulls: 4,
        ..Limits::default()
    };
    // Hazards that the versions themselves bring are taken as they are: what is judged here is the order.
    let hazards = ["restarts-containers", "etcd-state-zombie-members", "etcd-state-learner-promotion"];
    let acknowledged = hazards.map(str::to_owned).to_vec();
    let mut workers: Vec<NodeName> = nodes.values().filter(|n: &&Node| !n.master).map(|n| n.name.clone()).collect();
    let mut pins = |rng: &mut StdRng| -> Vec<NodeName> {
        let most = if small { 0 } else { [0, 0, 0, 1, 2, 5][rng.random_range(0..6)] };
        let left = (0..most.min(workers.len())).collect::<Vec<_>>();
        left.into_iter().map(|_| workers.swap_remove(rng.random_range(0..workers.len()))).collect()
    };
    let (first, last) = (pins(&mut rng), pins(&mut rng));
    let mut scope = Scope::default();
    if !small && rng.random_bool(0.1) {
        scope.labels.insert(instance_type(rng.random_range(0..3)));
    }
    let stage =
        Stage { release: Some(target.name), bumps, scope, limits, way, acknowledged, first, last, ..Stage::default() };
    Case { cluster: Cluster { name: "tokyo0".parse().expect("a name"), nodes, leaders, salt: None }, stage }
}

fn ramp(rng: &mut StdRng) -> Option<Ramp> {
    let ramps = ["1,1/rack,5%,25%,100%", "1,5,20,100", "2/rack", "10%,100%", "1,2", "100%", "1/rack,3", "3,50%,60%,1"];
    let ramp = ramps.get(rng.random_range(0..2 * ramps.len()))?;
    Some(ramp.parse().expect("a ramp"))
}

fn instance_type(kind: usize) -> Label {
    Label::new("node.kubernetes.io/instance-type", ["gen1", "gen2", "gen3"][kind]).expect("a label")
}

fn node(rng: &mut StdRng, i: usize, rack: &str, master: bool, (base, minor): (u32, u32), small: bool) -> Node {
    let name: NodeName = format!("n{i}").parse().expect("a name");
    // A kubelet lags by what the policy allows; now and then by one more.
    let allowed = if base >= 28 { 3 } else { 2 };
    let lag = |rng: &mut StdRng| match rng.random_range(0..10) {
        0..6 => 0,
        9 if !small => rng.random_range(0..=allowed + 1),
        _ => rng.random_range(0..=allowed),
    };
    let (kubelet, proxy) = (base - lag(rng), base - lag(rng));
    let mut components = BTreeMap::new();
    for component in Component::ALL {
        if component.master_only() && !master {
            continue;
        }
        let image = match component {
            Component::Etcd => etcd(etcd_of(base), 2),
            Component::Rivers | Component::EtcdRivers => rivers(base),
            Component::Kubelet => kubernetes(kubelet, 2),
            Component::KubeProxy => kubernetes(proxy, 2),
            Component::KubeApiserver => kubernetes(minor, 2),
            // Behind every API server, or beside the oldest.
            _ => kubernetes(base, 2),
        };
        let running = Running {
            container: component.as_str().parse().expect("a name"),
            id: format!("{name}-{component}"),
            image_id: format!("sha256:{image}"),
            image,
            running: small || rng.random_bool(0.998),
            started: None,
            restarts: 0,
            args: Vec::new(),
        };
        components.insert(component, running);
    }
    Node {
        address: format!("10.0.0.{i}"),
        name,
        port: 22,
        user: None,
        rack: rack.parse().expect("a name"),
        role: ["cs", "ss"].get(i % 3).map(|r| r.parse().expect("a name")),
        labels: [instance_type(rng.random_range(0..3))].into(),
        master,
        ready: small || master || rng.random_bool(0.98),
        reachable: Some(small || master || rng.random_bool(0.99)),
        kubelet_version: None,
        components,
        leftovers: Default::default(),
    }
}
