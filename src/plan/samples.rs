//! Clusters for this room's tests.

use super::{Budget, Limits, Release, Stage};
use crate::fleet::{Cluster, Component, Leaders, Node, Running};
use std::collections::{BTreeMap, BTreeSet};

/// The image of a component in release 1.35.6 (`0`) or 1.36.2 (`1`) of the samples.
pub(super) fn image(component: Component, release: usize) -> String {
    match component {
        Component::Rivers | Component::EtcdRivers => {
            ["ghcr.io/cybozu-go/cke-tools:1.35.0", "ghcr.io/cybozu-go/cke-tools:1.36.0"][release].into()
        }
        Component::Etcd => ["ghcr.io/cybozu/etcd:3.6.8.1", "ghcr.io/cybozu/etcd:3.6.11.1"][release].into(),
        _ => ["ghcr.io/cybozu/kubernetes:1.35.6.1", "ghcr.io/cybozu/kubernetes:1.36.2.1"][release].into(),
    }
}

/// A node without components.
pub(super) fn node(name: &str, rack: &str, master: bool) -> Node {
    Node {
        name: name.parse().unwrap(),
        address: format!("{name}.example.com"),
        port: 22,
        user: None,
        rack: rack.parse().unwrap(),
        role: None,
        labels: Default::default(),
        master,
        ready: true,
        reachable: Some(true),
        kubelet_version: None,
        components: BTreeMap::new(),
        leftovers: BTreeSet::new(),
    }
}

/// A container of a component that runs `image`.
pub(super) fn running(node: &Node, component: Component, image: &str) -> Running {
    Running {
        container: component.as_str().parse().unwrap(),
        id: format!("{}-{component}", node.name),
        image: image.parse().unwrap(),
        image_id: format!("sha256:{image}"),
        running: true,
        started: None,
        restarts: 0,
        args: Vec::new(),
    }
}

/// A healthy cluster on release 1.35.6: masters `rackR-m1`, workers `rackR-cs1`, `rackR-cs2`, `rackR-ss3` and so on.
pub(super) fn cluster(masters: usize, workers: usize, racks: usize) -> Cluster {
    let mut nodes = BTreeMap::new();
    for i in 0..masters + workers {
        let master = i < masters;
        let (rack, count) =
            if master { (i % racks, i / racks) } else { ((i - masters) % racks, (i - masters) / racks) };
        let role = if master { "m" } else { ["cs", "cs", "ss"][count % 3] };
        let mut node = node(&format!("rack{rack}-{role}{}", count + 1), &format!("rack{rack}"), master);
        node.role = (!master).then(|| role.parse().unwrap());
        for component in Component::ALL.into_iter().filter(|c| master || !c.master_only()) {
            let running = running(&node, component, &image(component, 0));
            node.components.insert(component, running);
        }
        nodes.insert(node.name.clone(), node);
    }
    let first = nodes.values().find(|n| n.master).map(|n| n.name.clone());
    let leaders = Leaders { etcd: first.clone(), controller_manager: first.clone(), scheduler: first };
    Cluster { name: "tokyo0".parse().unwrap(), nodes, leaders, salt: None }
}

/// Release 1.36.2, everywhere.
pub(super) fn stage() -> Stage {
    let images = Component::ALL.into_iter().map(|c| (c, image(c, 1).parse().unwrap())).collect();
    Stage::of(&Release { name: "1.36.2".into(), images }, Limits::default(), Budget::default())
}
