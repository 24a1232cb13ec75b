//! How components are checked and how long they may take, with the defaults of a cluster that CKE made.

use super::catalogue::Entry;
use super::types::{first_sync, half_an_hour, ten_minutes};
use super::{After, Budget, Check, ComponentSettings, EtcdSettings, Gate, GateRule, Limits, Scheme, WaveKind};
use crate::fleet::{Component, ContainerName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Settings of every component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// All eight components.
    pub components: BTreeMap<Component, ComponentSettings>,
    /// The operator's own gates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<GateRule>,
    /// The snapshot of etcd before it moves.
    #[serde(default)]
    pub etcd: EtcdSettings,
    /// Keys of the labels that tell a node's hardware: a canary stands for each combination of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hardware_labels: Vec<String>,
    /// The operator's own entries of what breaks in place; one with a built-in entry's id takes its place.
    #[serde(skip)]
    pub catalogue: Vec<Entry>,
}

impl Settings {
    /// Until then a node without a kubelet stays Ready: the node-monitor grace period that Kubernetes had before 1.32, and
    /// the shorter of the two (50 s since). Milliseconds.
    ///
    /// <https://kubernetes.io/docs/reference/command-line-tools-reference/kube-controller-manager/>
    pub const NODE_MONITOR_GRACE_MS: u64 = 40_000;

    /// The settings of a component: those given, else the default.
    pub fn of(&self, component: Component) -> ComponentSettings {
        self.components.get(&component).cloned().unwrap_or_else(|| default_of(component))
    }

    /// The same, with a default for every component that was left out.
    pub fn complete(&self) -> BTreeMap<Component, ComponentSettings> {
        Component::ALL.into_iter().map(|c| (c, self.of(c))).collect()
    }

    /// The operator's gates that follow a wave of this kind.
    pub(super) fn own_gates(&self, kind: WaveKind) -> impl Iterator<Item = Gate> {
        let here = self.gates.iter().filter(move |rule| rule.after.contains(&After::of(kind)));
        here.map(|rule| Gate::Own(Box::new(rule.gate.clone())))
    }
}

impl Default for Settings {
    fn default() -> Settings {
        let components = Component::ALL.into_iter().map(|c| (c, default_of(c))).collect();
        Settings {
            components,
            gates: Vec::new(),
            etcd: EtcdSettings::default(),
            hardware_labels: vec!["node.kubernetes.io/instance-type".into(), "kubernetes.io/arch".into()],
            catalogue: Vec::new(),
        }
    }
}

impl Default for Limits {
    /// 3 canaries, 50 at once, 5 a rack, 60 s of soak, 20 pulls at once, half an hour for a gate, ten minutes for grace periods.
    fn default() -> Limits {
        Limits {
            canary: 3,
            ramp: None,
            max_parallel: 50,
            max_unavailable: 5,
            soak_ms: 60_000,
            max_pulls: 20,
            gate_timeout_ms: half_an_hour(),
            proof_limit_ms: ten_minutes(),
            first_sync_ms: first_sync(),
        }
    }
}

impl Default for Budget {
    /// 3 failed swaps, the first node that is NotReady, the first disturbed pod.
    fn default() -> Budget {
        Budget { failed_swaps: 3, not_ready_nodes: 1, disturbed_pods: 0 }
    }
}

/// Endpoints as upstream documents them (the secure ports of controller-manager and scheduler answer `/healthz` to anybody);
/// the ports of the two rivers are CKE's.
fn default_of(component: Component) -> ComponentSettings {
    use Scheme::{Http, Https, Tcp};
    let (health, version, deadline_ms) = match component {
        Component::Rivers => (local(Tcp, 16443, ""), None, 60_000),
        Component::EtcdRivers => (local(Tcp, 12379, ""), None, 60_000),
        Component::Etcd => (local(Http, 2381, "/health"), Some(local(Http, 2381, "/metrics")), 90_000),
        // An apiserver replays its caches from etcd before it is ready.
        Component::KubeApiserver => (local(Https, 6443, "/readyz"), Some(local(Https, 6443, "/version")), 120_000),
        Component::KubeControllerManager => (local(Https, 10257, "/healthz"), None, 60_000),
        Component::KubeScheduler => (local(Https, 10259, "/healthz"), None, 60_000),
        // Within the grace period: the old kubelet may take the stop timeout to stop, the new one this long to fail, and
        // then the old one needs a few seconds to start and report. Its version is read from its Node object.
        Component::Kubelet => (local(Http, 10248, "/healthz"), None, 25_000),
        Component::KubeProxy => (local(Http, 10256, "/healthz"), None, 60_000),
    };
    let (stop_timeout_s, drain_timeout_s) = stop_timeout(component);
    // Seen on a real cluster: kube-proxies follow within about 1 s.
    let leave_ms = if component == Component::KubeApiserver { 2_000 } else { 0 };
    ComponentSettings {
        container: container_of(component),
        health,
        version,
        deadline_ms,
        stop_timeout_s,
        drain_timeout_s,
        leave_ms,
        client: None,
    }
}

/// How long a component may take to stop, once its clients were led away and where they could not be: by what it does at
/// SIGTERM, as seen on a real cluster (etcd 3.6, Kubernetes 1.35 and 1.36). Seconds.
fn stop_timeout(component: Component) -> (u32, Option<u32>) {
    match component {
        // It closes its client port at once and then waits for streams that API servers never end. Requests in flight end
        // within upstream's limit of 7 s (5 s and twice the election timeout), which they get where the leader did not move.
        Component::Etcd => (1, Some(10)),
        // It refuses new connections at once and waits up to 60 s for watches, which never end by themselves: each second
        // more is a second more without it. Common requests end within one.
        Component::KubeApiserver => (1, Some(5)),
        // It closes its port at once; the connections through it are watches, which never end by themselves.
        Component::Rivers | Component::EtcdRivers => (1, None),
        // These end within a second or two. The scheduler gives its lease back on the way.
        Component::KubeControllerManager | Component::KubeScheduler | Component::Kubelet | Component::KubeProxy => {
            (5, None)
        }
    }
}

fn local(scheme: Scheme, port: u16, path: &str) -> Check {
    Check { scheme, host: "127.0.0.1".into(), port, path: path.into() }
}

fn container_of(component: Component) -> ContainerName {
    // Every component's name is a container's name; `names_are_container_names` holds it to that.
    component.as_str().parse().unwrap_or_else(|_| unreachable!("component names are container names"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_container_names() {
        for component in Component::ALL {
            assert_eq!(container_of(component).as_str(), component.as_str());
        }
    }

    #[test]
    fn checks_read_back_as_they_are_written() {
        for settings in Settings::default().components.into_values() {
            for check in [Some(settings.health), settings.version, settings.client].into_iter().flatten() {
                assert_eq!(check.to_string().parse(), Ok(check));
            }
        }
    }

    #[test]
    fn a_failed_kubelet_is_back_within_the_grace_period() {
        let kubelet = default_of(Component::Kubelet);
        for led_away in [true, false] {
            let stop_ms = 1_000 * u64::from(kubelet.stop_timeout(led_away));
            assert!(kubelet.deadline_ms + stop_ms < Settings::NODE_MONITOR_GRACE_MS);
        }
    }

    #[test]
    fn only_those_whose_clients_can_be_led_away_have_two_timeouts() {
        for component in Component::ALL {
            let own = default_of(component);
            let two = own.stop_timeout(true) != own.stop_timeout(false);
            assert_eq!(two, matches!(component, Component::Etcd | Component::KubeApiserver), "{component}");
            assert!(own.stop_timeout(true) <= own.stop_timeout(false));
            // The rest of the deadline is for the new one to start and be looked at.
            assert!(u64::from(own.stop_timeout(false)) * 1_000 * 4 < own.deadline_ms, "{component}");
        }
    }
}
