//! The clusters that tests begin with.

use super::*;

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
            let b = Box1 {
                id: state.id(),
                image: image.parse().unwrap(),
                running: true,
                started: None,
                stamp: Timestamp::UNIX_EPOCH,
                restarts: 0,
            };
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
            token: None,
            refused: 0,
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
