//! The way from what runs to what is staged, as hops: the control plane stops at every minor version, etcd too, and a
//! kubelet or kube-proxy only where the version-skew policy would break without it.
//!
//! Kubernetes: "kube-apiserver must not skip minor versions", <https://kubernetes.io/releases/version-skew-policy/>; etcd:
//! one minor at a time, <https://etcd.io/docs/v3.6/upgrades/upgrading-etcd/>.
//!
//! Why so few kubelet restarts are the fewest: a kubelet may lag behind the API servers by an interval of minors that only
//! moves up. It is restarted at the last moment before it would fall out of that interval, and goes to the newest version
//! that is allowed then; any other schedule restarts it no later and no further.

use super::findings::Findings;
use super::skew::minors_allowed;
use super::{Release, Severity};
use crate::fleet::{Cluster, Component, Image, Node, Running, Version};
use std::collections::BTreeMap;

/// A stop on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hop {
    /// The release that it stops at, where one names its images.
    pub(super) name: Option<String>,
    /// What moves in this hop, and to what.
    pub(super) targets: BTreeMap<Component, Image>,
    /// Whether it is the last one, in which everything that differs moves.
    last: bool,
    /// The minor that kube-apiserver goes to in the *next* hop: who would be left too far behind must move in this one.
    next: Option<(u32, u32)>,
}

impl Hop {
    /// Whether a component that runs on `node` moves in this hop.
    pub(super) fn moves(&self, _: &Node, component: Component, running: &Running) -> bool {
        let Some(to) = self.targets.get(&component) else { return false };
        if self.last {
            return true;
        }
        let (Some(own), Some(to)) = (running.image.version(), to.version()) else { return false };
        if own.minor_of() >= to.minor_of() {
            return false;
        }
        match (component, self.next) {
            (Component::Kubelet | Component::KubeProxy, Some((major, minor))) => {
                let oldest = i64::from(minor) - minors_allowed((major, minor));
                own.major < major || i64::from(own.minor) < oldest
            }
            // Nothing comes after that could leave it behind.
            (Component::Kubelet | Component::KubeProxy, None) => false,
            _ => true,
        }
    }
}

/// The hops from what runs in `cluster` to `targets`, through the releases of `way`. Always at least one, the last.
pub(super) fn hops(
    cluster: &Cluster,
    targets: &BTreeMap<Component, &Image>,
    way: &[Release],
    release: Option<&str>,
    findings: &mut Findings,
) -> Vec<Hop> {
    let last = Hop {
        name: release.map(str::to_owned),
        targets: targets.iter().map(|(c, i)| (*c, (*i).clone())).collect(),
        last: true,
        next: None,
    };
    let mut hops = kubernetes(cluster, targets, way, findings);
    hops.push(last);
    let catch_up = catch_up(cluster, targets, way, &hops, findings);
    hops.splice(0..0, catch_up);
    etcd(cluster, targets, way, &mut hops, findings);
    for i in 1..hops.len() {
        hops[i - 1].next =
            hops[i..].iter().find_map(|hop| Some(hop.targets.get(&Component::KubeApiserver)?.version()?.minor_of()));
    }
    hops
}

/// One hop for every minor that kube-apiserver must stop at.
fn kubernetes(
    cluster: &Cluster,
    targets: &BTreeMap<Component, &Image>,
    way: &[Release],
    findings: &mut Findings,
) -> Vec<Hop> {
    let apiserver = Component::KubeApiserver;
    let Some(to) = targets.get(&apiserver).and_then(|image| image.version()) else { return Vec::new() };
    let Some(from) = oldest(cluster, apiserver) else { return Vec::new() };
    let mut hops = Vec::new();
    for minor in between(from, to) {
        match newest(way, apiserver, minor) {
            Some(release) => hops.push(Hop {
                name: Some(release.name.clone()),
                targets: stop(release, targets),
                last: false,
                next: None,
            }),
            None => missing(apiserver, from, to, minor, findings),
        }
    }
    hops
}

/// The hop before the first: for kubelets and kube-proxies that the first move of kube-apiserver would leave too far behind.
fn catch_up(
    cluster: &Cluster,
    targets: &BTreeMap<Component, &Image>,
    way: &[Release],
    hops: &[Hop],
    findings: &mut Findings,
) -> Option<Hop> {
    let apiserver = oldest(cluster, Component::KubeApiserver)?;
    let first = hops.iter().find_map(|hop| hop.targets.get(&Component::KubeApiserver)?.version())?.minor_of();
    if first.0 != apiserver.major || first <= apiserver.minor_of() {
        return None;
    }
    let needed = (first.0, u32::try_from(i64::from(first.1) - minors_allowed(first)).ok()?);
    let mut hop = Hop { name: None, targets: BTreeMap::new(), last: false, next: Some(first) };
    for component in [Component::Kubelet, Component::KubeProxy] {
        let versions = cluster.nodes.values().filter_map(|n| n.components.get(&component)?.image.version());
        let Some(own) = versions.min().filter(|own| own.minor_of() < needed && targets.contains_key(&component)) else {
            continue;
        };
        let minors = (needed.1..=apiserver.minor).rev().map(|minor| (needed.0, minor));
        match minors.into_iter().find_map(|minor| newest(way, component, minor)) {
            Some(release) => {
                hop.name.get_or_insert_with(|| release.name.clone());
                hop.targets.extend(release.images.get(&component).map(|image| (component, image.clone())));
            }
            None => missing(component, own, apiserver, (needed.0, needed.1), findings),
        }
    }
    (!hop.targets.is_empty()).then_some(hop)
}

/// What of a release moves at a stop: what is staged, but for the rivers, which know no versions of others and move once.
/// etcd has a way of its own.
fn stop(release: &Release, targets: &BTreeMap<Component, &Image>) -> BTreeMap<Component, Image> {
    let staged = |c: &Component| {
        targets.contains_key(c) && !matches!(c, Component::Rivers | Component::EtcdRivers | Component::Etcd)
    };
    release.images.iter().filter(|(c, _)| staged(c)).map(|(c, i)| (*c, i.clone())).collect()
}

/// Gives etcd's minors to the hops whose release names them, and puts hops of etcd alone where one would be skipped.
///
/// A minor is entered once, on the newest image of it that the way has: two patches of one minor are one restart too many.
fn etcd(
    cluster: &Cluster,
    targets: &BTreeMap<Component, &Image>,
    way: &[Release],
    hops: &mut Vec<Hop>,
    findings: &mut Findings,
) {
    let etcd = Component::Etcd;
    let Some(target) = targets.get(&etcd) else { return };
    let (Some(to), Some(from)) = (target.version(), oldest(cluster, etcd)) else { return };
    let mut at = from.clone();
    let mut i = 0;
    while i < hops.len() {
        let named = if hops[i].last {
            Some((*target).clone())
        } else {
            let name = hops[i].name.as_deref();
            let release = way.iter().find(|r| Some(r.name.as_str()) == name);
            release.and_then(|r| r.images.get(&etcd)).cloned()
        };
        let Some(version) = named.as_ref().and_then(Image::version).filter(|v| v.minor_of() <= to.minor_of()) else {
            i += 1;
            continue;
        };
        for minor in between(&at, version) {
            match newest(way, etcd, minor) {
                Some(release) => {
                    let images = release.images.get(&etcd).map(|image| (etcd, image.clone()));
                    let alone = Hop {
                        name: Some(release.name.clone()),
                        targets: images.into_iter().collect(),
                        last: false,
                        next: None,
                    };
                    hops.insert(i, alone);
                    i += 1;
                }
                None => missing(etcd, &at, version, minor, findings),
            }
        }
        if !hops[i].last && version.minor_of() > at.minor_of() {
            let image = if version.minor_of() == to.minor_of() { Some((*target).clone()) } else { named.clone() };
            let newer = newest(way, etcd, version.minor_of()).and_then(|r| r.images.get(&etcd)).cloned();
            let image = if version.minor_of() == to.minor_of() { image } else { newer.or(image) };
            hops[i].targets.extend(image.map(|image| (etcd, image)));
        }
        at = at.max(version.clone());
        i += 1;
    }
}

fn missing(component: Component, from: &Version, to: &Version, (major, minor): (u32, u32), findings: &mut Findings) {
    let text = format!(
        "{component} goes from {from} to {to} over {major}.{minor}, and no release of the profile has {component} {major}.{minor}"
    );
    let mend = format!("add a [[release]] with {component} {major}.{minor} to the profile, then plan again");
    findings.add(Severity::Error, "hop-missing", text, &mend);
}

/// The minors strictly between two versions of one major; none when they lie in different majors, or side by side.
fn between(from: &Version, to: &Version) -> Vec<(u32, u32)> {
    if from.major != to.major {
        return Vec::new();
    }
    (from.minor.saturating_add(1)..to.minor).map(|minor| (to.major, minor)).collect()
}

/// The release with the newest image of a component in one minor.
fn newest(way: &[Release], component: Component, minor: (u32, u32)) -> Option<&Release> {
    let of =
        |release: &Release| Some(release.images.get(&component)?.version()?.clone()).filter(|v| v.minor_of() == minor);
    way.iter().filter(|r| of(r).is_some()).max_by_key(|r| of(r))
}

fn oldest(cluster: &Cluster, component: Component) -> Option<&Version> {
    cluster.masters().filter_map(|n| n.components.get(&component)?.image.version()).min()
}
