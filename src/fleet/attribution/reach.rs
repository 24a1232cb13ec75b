//! What a swap of a component can do to a pod of its node.

use crate::fleet::Component;
use std::collections::BTreeSet;

/// How the pods' probes depend on a component, from the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Probes {
    /// In no way that is known: only a failed probe that is on record within the swap makes one wonder.
    Hardly,
    /// Where the pod needs the API.
    ByApi,
    /// They come from the node itself, or over what routes on it.
    OnNode,
}

/// What a swap can do to a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reach {
    /// It can end containers, restart them, and reject or evict pods: only a kubelet does.
    pub ends: bool,
    /// A container that needs the API may exit by itself when it is away (one that lost its leader election does).
    pub exits: bool,
    /// It can keep the node from renewing its lease, or Kubernetes from seeing that it did: NotReady, then taints, then evictions.
    pub node: bool,
    /// How it can make probes fail.
    pub probes: Probes,
}

/// The table: one line a component.
fn reach_of(component: Component) -> Reach {
    let (ends, exits, node, probes) = match component {
        Component::Kubelet => (true, false, true, Probes::OnNode),
        Component::KubeProxy => (false, false, true, Probes::OnNode),
        // The node's pods reach the API over it, and so does the kubelet.
        Component::Rivers => (false, true, true, Probes::OnNode),
        Component::EtcdRivers => (false, true, true, Probes::OnNode),
        Component::Etcd | Component::KubeApiserver => (false, true, true, Probes::ByApi),
        // It is the one that calls nodes NotReady, and that evicts.
        Component::KubeControllerManager => (false, false, true, Probes::Hardly),
        Component::KubeScheduler => (false, false, false, Probes::Hardly),
    };
    Reach { ends, exits, node, probes }
}

impl Reach {
    /// Of a swap of these components.
    pub fn of(components: &BTreeSet<Component>) -> Reach {
        let none = Reach { ends: false, exits: false, node: false, probes: Probes::Hardly };
        components.iter().map(|c| reach_of(*c)).fold(none, |a, b| Reach {
            ends: a.ends || b.ends,
            exits: a.exits || b.exits,
            node: a.node || b.node,
            probes: a.probes.max(b.probes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_kubelet_ends_containers_and_a_scheduler_touches_nothing() {
        for component in Component::ALL {
            assert_eq!(reach_of(component).ends, component == Component::Kubelet, "{component}");
        }
        let scheduler = Reach::of(&[Component::KubeScheduler].into());
        assert_eq!(scheduler, Reach { ends: false, exits: false, node: false, probes: Probes::Hardly });
        let both = Reach::of(&[Component::Kubelet, Component::KubeProxy].into());
        assert_eq!(both, Reach { ends: true, exits: false, node: true, probes: Probes::OnNode });
    }
}
