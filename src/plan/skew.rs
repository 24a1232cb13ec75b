//! Kubernetes' version-skew policy, asked of single steps and of whole states of a cluster.
//!
//! Source: <https://kubernetes.io/releases/version-skew-policy/>. The rule between kubelet and kube-proxy of one node (three
//! minors either way) follows from each one's rule against kube-apiserver where both are kept; it is asked all the same, for
//! nodes that were out of line before.

use crate::fleet::{Cluster, Component, NodeName, Version};
use std::collections::BTreeMap;
use std::fmt;

/// The first kube-apiserver that tolerates kubelets and kube-proxies three minors older; before, it was two.
const WIDE_SKEW_SINCE: (u32, u32) = (1, 28);

/// The first kube-proxy that may be three minors from the kubelet beside it; before, it was two.
const PROXY_WIDE_SINCE: (u32, u32) = (1, 25);

/// How a state breaks the policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Breach {
    /// The component that is out of line.
    pub component: Component,
    /// Which rule.
    pub rule: Rule,
    /// How many minors apart.
    pub minors: i64,
    /// Its version, for people.
    pub own: String,
    /// The version that it is out of line with: a kube-apiserver's, or the kubelet's beside it.
    pub other: String,
}

/// A rule of the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Never newer than any kube-apiserver.
    NotNewer,
    /// At most this many minors older than any kube-apiserver.
    NotOlderThan(i64),
    /// kube-apiservers within one minor of each other.
    Together,
    /// kube-proxy at most this many minors from the kubelet beside it.
    Beside(i64),
}

impl Rule {
    /// The rule itself, whatever number it allows: to tell an old breach from a new one.
    pub fn plain(self) -> Rule {
        match self {
            Rule::NotOlderThan(_) => Rule::NotOlderThan(0),
            Rule::Beside(_) => Rule::Beside(0),
            rule => rule,
        }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Breach { component, minors, own, other, .. } = self;
        match self.rule {
            Rule::NotNewer => write!(f, "{component} {own} would be newer than kube-apiserver {other}"),
            Rule::NotOlderThan(allowed) => write!(
                f,
                "{component} {own} would be {minors} minors older than kube-apiserver {other}; {allowed} allowed"
            ),
            Rule::Together => {
                write!(f, "kube-apiserver {own} would run beside {other}; they must stay within one minor")
            }
            Rule::Beside(allowed) => {
                write!(
                    f,
                    "{component} {own} would be {minors} minors from kubelet {other} beside it; {allowed} allowed"
                )
            }
        }
    }
}

/// How a single step breaks the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadStep {
    /// To an older version.
    Downgrade,
    /// Over at least one minor that the component must stop at.
    SkipsMinor,
}

/// Whether `component` may go from one version to another in one restart, its neighbours left aside.
///
/// The control plane and etcd go one minor at a time; kubelet and kube-proxy may go over several at once.
pub fn bad_step(component: Component, from: &Version, to: &Version) -> Option<BadStep> {
    if to.precedes(from) {
        return Some(BadStep::Downgrade);
    }
    (component.master_only() && minors(from, to) > 1).then_some(BadStep::SkipsMinor)
}

/// How many minors a kubelet or kube-proxy may be older than a kube-apiserver of this minor.
pub fn minors_allowed(apiserver: (u32, u32)) -> i64 {
    if apiserver >= WIDE_SKEW_SINCE { 3 } else { 2 }
}

/// Whether `own` may run beside kube-apiservers from `oldest` to `newest`.
pub fn breach(component: Component, own: &Version, oldest: &Version, newest: &Version) -> Option<Breach> {
    let broken = |rule, minors, other: &Version| {
        Some(Breach { component, rule, minors, own: own.to_string(), other: other.to_string() })
    };
    let allowed = match component {
        Component::Kubelet | Component::KubeProxy => minors_allowed(newest.minor_of()),
        Component::KubeControllerManager | Component::KubeScheduler => 1,
        Component::KubeApiserver => {
            let apart = minors(own, newest);
            return if apart > 1 { broken(Rule::Together, apart, newest) } else { None };
        }
        Component::Etcd | Component::Rivers | Component::EtcdRivers => return None,
    };
    let newer = minors(oldest, own);
    if newer > 0 {
        return broken(Rule::NotNewer, newer, oldest);
    }
    let older = minors(own, newest);
    if older > allowed { broken(Rule::NotOlderThan(allowed), older, newest) } else { None }
}

/// Whether a kube-proxy may run beside a kubelet on one node.
pub fn beside(proxy: &Version, kubelet: &Version) -> Option<Breach> {
    let allowed = if proxy.minor_of() < PROXY_WIDE_SINCE { 2 } else { 3 };
    let minors = minors(kubelet, proxy).abs();
    let (own, other) = (proxy.to_string(), kubelet.to_string());
    let component = Component::KubeProxy;
    (minors > allowed).then_some(Breach { component, rule: Rule::Beside(allowed), minors, own, other })
}

/// Minors from `from` to `to`; another major is further away than any minor.
fn minors(from: &Version, to: &Version) -> i64 {
    (i64::from(to.major) - i64::from(from.major)) * 1_000 + i64::from(to.minor) - i64::from(from.minor)
}

/// Which version of what runs where. Versions that are not known are left out and break no rule.
#[derive(Debug, Clone, Default)]
pub struct State<'a>(BTreeMap<Component, BTreeMap<&'a NodeName, &'a Version>>);

impl<'a> State<'a> {
    /// The cluster as it was observed. A kubelet's version is its image's, else what Kubernetes says of the node.
    pub fn of(cluster: &'a Cluster) -> State<'a> {
        let mut state = State::default();
        for node in cluster.nodes.values() {
            for (&component, running) in &node.components {
                state.set(component, &node.name, running.image.version());
            }
            let kubelet = node.components.get(&Component::Kubelet).and_then(|r| r.image.version());
            state.set(Component::Kubelet, &node.name, kubelet.or(node.kubelet_version.as_ref()));
        }
        state
    }

    /// Takes note that a component now runs this version.
    pub fn set(&mut self, component: Component, node: &'a NodeName, version: Option<&'a Version>) {
        let nodes = self.0.entry(component).or_default();
        match version {
            Some(version) => nodes.insert(node, version),
            None => nodes.remove(node),
        };
    }

    /// The version of a component on a node, where it is known.
    pub fn version(&self, component: Component, node: &NodeName) -> Option<&Version> {
        self.0.get(&component)?.get(node).copied()
    }

    /// Every breach in this state.
    pub fn breaches(&self) -> Vec<(NodeName, Breach)> {
        let Some((oldest, newest)) = self.apiservers() else { return Vec::new() };
        let all = self.0.iter().flat_map(|(&component, nodes)| nodes.iter().map(move |(n, v)| (component, *n, *v)));
        let mut found: Vec<_> = all
            .filter_map(|(component, node, own)| Some((node.clone(), breach(component, own, oldest, newest)?)))
            .collect();
        let kubelets = self.0.get(&Component::Kubelet);
        found
            .extend(kubelets.into_iter().flatten().filter_map(|(node, _)| Some(((*node).clone(), self.beside(node)?))));
        found
    }

    fn beside(&self, node: &NodeName) -> Option<Breach> {
        beside(self.version(Component::KubeProxy, node)?, self.version(Component::Kubelet, node)?)
    }

    /// The breaches that a change of `component` on `node` can have caused.
    pub fn breaches_after(&self, component: Component, node: &NodeName) -> Vec<(NodeName, Breach)> {
        if component == Component::KubeApiserver {
            return self.breaches();
        }
        let neighbours =
            matches!(component, Component::Kubelet | Component::KubeProxy).then(|| self.beside(node)).flatten();
        let found = self.apiservers().and_then(|(oldest, newest)| {
            let own = self.version(component, node)?;
            Some((node.clone(), breach(component, own, oldest, newest)?))
        });
        found.into_iter().chain(neighbours.map(|breach| (node.clone(), breach))).collect()
    }

    fn apiservers(&self) -> Option<(&Version, &Version)> {
        let versions = self.0.get(&Component::KubeApiserver)?;
        Some((versions.values().min()?, versions.values().max()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Component::*;

    fn v(text: &str) -> Version {
        text.parse().unwrap()
    }

    fn rule(component: Component, own: &str, oldest: &str, newest: &str) -> Option<Rule> {
        breach(component, &v(own), &v(oldest), &v(newest)).map(|b| b.rule)
    }

    #[test]
    fn kubelets_are_never_newer_and_at_most_three_older() {
        assert_eq!(rule(Kubelet, "1.36.0", "1.36.5", "1.36.5"), None);
        assert_eq!(rule(Kubelet, "1.36.9", "1.36.5", "1.36.5"), None, "patches do not count");
        assert_eq!(rule(Kubelet, "1.36.0", "1.35.0", "1.36.0"), Some(Rule::NotNewer), "the oldest apiserver counts");
        assert_eq!(rule(KubeProxy, "1.33.0", "1.35.0", "1.36.0"), None);
        assert_eq!(rule(KubeProxy, "1.32.0", "1.35.0", "1.36.0"), Some(Rule::NotOlderThan(3)));
        assert_eq!(rule(Kubelet, "1.25.0", "1.28.0", "1.28.0"), None);
        assert_eq!(rule(Kubelet, "1.24.0", "1.27.0", "1.27.0"), Some(Rule::NotOlderThan(2)));
    }

    #[test]
    fn the_control_plane_stays_close() {
        assert_eq!(rule(KubeScheduler, "1.35.0", "1.36.0", "1.36.0"), None);
        assert_eq!(rule(KubeScheduler, "1.34.0", "1.36.0", "1.36.0"), Some(Rule::NotOlderThan(1)));
        assert_eq!(rule(KubeControllerManager, "1.36.0", "1.35.0", "1.36.0"), Some(Rule::NotNewer));
        assert_eq!(rule(KubeApiserver, "1.35.0", "1.35.0", "1.36.0"), None);
        assert_eq!(rule(KubeApiserver, "1.34.0", "1.34.0", "1.36.0"), Some(Rule::Together));
        assert_eq!(rule(Kubelet, "2.0.0", "1.36.0", "1.36.0"), Some(Rule::NotNewer));
    }

    #[test]
    fn steps_go_up_and_stop_at_each_minor_where_they_must() {
        assert_eq!(bad_step(Kubelet, &v("1.33.0"), &v("1.36.0")), None);
        assert_eq!(bad_step(KubeApiserver, &v("1.34.0"), &v("1.36.0")), Some(BadStep::SkipsMinor));
        assert_eq!(bad_step(Etcd, &v("3.4.0"), &v("3.6.0")), Some(BadStep::SkipsMinor));
        // The same release, built by somebody else, is no way down.
        assert_eq!(bad_step(Kubelet, &v("1.36.2-rancher1"), &v("1.36.2")), None);
        assert_eq!(bad_step(Kubelet, &v("1.36.2"), &v("1.36.2-debian-12-r4")), None);
        assert_eq!(bad_step(Kubelet, &v("1.36.2-rancher1"), &v("1.36.2-amd64")), None);
        assert_eq!(bad_step(Kubelet, &v("1.36.2-rancher9"), &v("1.36.2-rancher10")), None);
        assert_eq!(bad_step(Kubelet, &v("1.36.2-rancher10"), &v("1.36.2-rancher9")), Some(BadStep::Downgrade));
        assert_eq!(bad_step(Kubelet, &v("1.36.2.2"), &v("1.36.2.1")), Some(BadStep::Downgrade));
        assert_eq!(bad_step(Kubelet, &v("1.36.2-rancher1"), &v("1.36.2-rc.1")), Some(BadStep::Downgrade));
        assert_eq!(bad_step(Etcd, &v("3.5.21.1"), &v("3.6.0.1")), None);
        assert_eq!(bad_step(Rivers, &v("1.36.0"), &v("1.35.0")), Some(BadStep::Downgrade));
        assert_eq!(bad_step(KubeProxy, &v("1.36.2.2"), &v("1.36.2.1")), Some(BadStep::Downgrade));
    }
}
