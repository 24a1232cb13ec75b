//! A small cluster and its plan, for the tests of this room.

use crate::fleet::{Cluster, Component, Image, Node, Running};
use crate::journal::{Event, Record};
use crate::plan::{self, Bump, Plan, Settings, Stage};
use jiff::Timestamp;

/// Two workers in one rack, on kubelet 1.35.6.
pub(super) fn cluster() -> Cluster {
    let node = |name: &str| {
        let running = Running {
            container: "kubelet".parse().unwrap(),
            id: format!("id-{name}"),
            image: "ghcr.io/cybozu/kubernetes:1.35.6.1".parse().unwrap(),
            image_id: "sha256:1".into(),
            running: true,
            started: None,
            restarts: 0,
            args: Vec::new(),
        };
        Node {
            name: name.parse().unwrap(),
            address: "127.0.0.1".into(),
            port: 22,
            user: None,
            rack: "rack0".parse().unwrap(),
            role: Some("cs".parse().unwrap()),
            labels: Default::default(),
            master: false,
            ready: true,
            reachable: Some(true),
            kubelet_version: Some("1.35.6".parse().unwrap()),
            components: [(Component::Kubelet, running)].into(),
            leftovers: Default::default(),
        }
    };
    let nodes = ["w1", "w2"].map(|n| (n.parse().unwrap(), node(n)));
    Cluster { name: "tokyo0".parse().unwrap(), nodes: nodes.into(), leaders: Default::default(), salt: None }
}

/// Their kubelets to 1.35.7: one swap each.
pub(super) fn plan() -> Plan {
    let to: Image = "ghcr.io/cybozu/kubernetes:1.35.7.1".parse().unwrap();
    let stage = Stage { release: None, bumps: vec![Bump { component: Component::Kubelet, to }], ..Stage::default() };
    let plan = plan::make(&cluster(), &stage, &Settings::default(), Timestamp::UNIX_EPOCH);
    assert_eq!(plan.swaps().count(), 2);
    plan
}

/// An event, so many seconds after the epoch.
pub(super) fn record(second: i64, event: Event) -> Record {
    Record { seq: 1, at: Timestamp::from_second(second).unwrap(), prev: String::new(), event }
}
