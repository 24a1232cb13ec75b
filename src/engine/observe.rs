//! A cluster as it is now: what the inventory lists, what the API says, and what each node itself says.

use super::error::ObserveError;
use super::ports::Ports;
use crate::fleet::{
    Cluster, Component, ContainerName, Label, Leaders, Node, NodeName, RackName, RoleName, Running, clean,
};
use crate::inventory::{NodeEntry, Profile};
use crate::k8s::{ClusterPort, NodeView};
use crate::plan::Check;
use crate::remote::Look;
use futures::{StreamExt, stream};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Nodes looked at at once. More than this buys nothing but latency.
const AT_ONCE: usize = 64;

/// Observes a cluster. A node that does not answer is in it, marked so; one that the API does not know is not Ready.
///
/// # Errors
/// When the inventory cannot be read or is empty, or the API does not answer.
pub async fn observe(profile: &Profile, ports: &Ports) -> Result<Cluster, ObserveError> {
    let entries = profile.entries()?;
    if entries.is_empty() {
        return Err(ObserveError::Empty(profile.name.to_string()));
    }
    let seen: HashMap<NodeName, NodeView> =
        ports.cluster.nodes().await?.into_iter().map(|view| (view.name.clone(), view)).collect();
    let names: Vec<ContainerName> = profile.settings.components.values().map(|s| s.container.clone()).collect();
    // Made beforehand: a closure over references would make the whole future one that cannot move between threads.
    let looks: Vec<_> = entries.iter().map(|entry| look(ports, &entry.name, &names)).collect();
    let looks: HashMap<NodeName, Look> =
        stream::iter(looks).buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await;
    let mut nodes = BTreeMap::new();
    for entry in entries {
        let node = node(profile, &entry, seen.get(&entry.name), looks.get(&entry.name));
        nodes.insert(entry.name, node);
    }
    let salt = ports.fleet.salt();
    let mut cluster = Cluster { name: profile.name.clone(), nodes, leaders: Leaders::default(), salt };
    cluster.leaders = leaders(profile, ports, &cluster).await;
    Ok(cluster)
}

/// The cluster as its API alone tells it: nodes with their racks and health, and nothing of what runs on them. It asks no node, so
/// a watcher may use it.
///
/// # Errors
/// As [`observe`].
pub async fn glance(profile: &Profile, api: &dyn ClusterPort) -> Result<Cluster, ObserveError> {
    let seen: HashMap<NodeName, NodeView> =
        api.nodes().await?.into_iter().map(|view| (view.name.clone(), view)).collect();
    let nodes = profile.entries()?.into_iter().map(|entry| {
        let node = Node { reachable: None, ..node(profile, &entry, seen.get(&entry.name), None) };
        (entry.name, node)
    });
    Ok(Cluster { name: profile.name.clone(), nodes: nodes.collect(), leaders: Leaders::default(), salt: None })
}

async fn look(ports: &Ports, name: &NodeName, containers: &[ContainerName]) -> Option<(NodeName, Look)> {
    let port = ports.fleet.node(name)?;
    match port.look(containers).await {
        Ok(look) => Some((name.clone(), look)),
        Err(error) => {
            tracing::warn!("{name}: {error}");
            None
        }
    }
}

fn node(profile: &Profile, entry: &NodeEntry, view: Option<&NodeView>, look: Option<&Look>) -> Node {
    let label = |keys: &[String]| {
        let labels = &view?.labels;
        keys.iter().find_map(|key| labels.get(key)).filter(|value| !value.is_empty()).cloned()
    };
    let rack = entry.rack.clone().or_else(|| valid::<RackName>(&entry.name, label(&profile.rack_label)?));
    let role = entry.role.clone().or_else(|| valid::<RoleName>(&entry.name, label(&profile.role_label)?));
    let mut components = BTreeMap::new();
    for (component, settings) in &profile.settings.components {
        let running = look.and_then(|l| l.running.iter().find(|r| r.container == settings.container));
        components.extend(running.map(|r| (*component, shown(r))));
    }
    Node {
        name: entry.name.clone(),
        address: entry.address.clone(),
        port: entry.port,
        user: entry.user.clone(),
        rack: rack.unwrap_or_else(no_rack),
        role,
        labels: labels(entry, view),
        master: entry.master,
        ready: view.is_some_and(|v| v.ready),
        reachable: Some(look.is_some()),
        kubelet_version: view.and_then(|v| v.kubelet_version.clone()),
        components,
        leftovers: look.map(|l| l.leftovers.iter().cloned().collect()).unwrap_or_default(),
    }
}

/// The labels of a node: Kubernetes' word, and the inventory's where Kubernetes has none of that key.
fn labels(entry: &NodeEntry, view: Option<&NodeView>) -> BTreeSet<Label> {
    let theirs = view.into_iter().flat_map(|v| &v.labels).filter_map(|(key, value)| Label::new(key, value).ok());
    let mut labels: BTreeSet<Label> = theirs.collect();
    let ours = entry.labels.iter().filter(|own| !labels.iter().any(|label| label.key() == own.key()));
    let ours: Vec<Label> = ours.cloned().collect();
    labels.extend(ours);
    labels
}

/// Command lines are text from a node.
fn shown(running: &Running) -> Running {
    Running { args: running.args.iter().map(|a| clean(a)).collect(), ..running.clone() }
}

/// A label's value as a name; one that is none is as if it were not there.
fn valid<T: std::str::FromStr<Err: std::fmt::Display>>(node: &NodeName, value: String) -> Option<T> {
    value.parse().map_err(|error| tracing::warn!("{node}: {error}")).ok()
}

async fn leaders(profile: &Profile, ports: &Ports, cluster: &Cluster) -> Leaders {
    let lease = async |name: &str| {
        let holder = ports.cluster.leader(name).await.map_err(|e| tracing::warn!("lease {name}: {e}")).ok()??;
        let holder: NodeName = holder.parse().ok()?;
        cluster.nodes.contains_key(&holder).then_some(holder)
    };
    let etcd = profile.settings.components.get(&Component::Etcd).and_then(|s| s.version.as_ref());
    Leaders {
        etcd: match etcd {
            Some(check) => etcd_leader(ports, cluster, check).await,
            None => None,
        },
        controller_manager: lease("kube-controller-manager").await,
        scheduler: lease("kube-scheduler").await,
    }
}

async fn etcd_leader(ports: &Ports, cluster: &Cluster, check: &Check) -> Option<NodeName> {
    for node in cluster.masters().filter(|n| n.components.contains_key(&Component::Etcd)) {
        let Some(port) = ports.fleet.node(&node.name) else { continue };
        if let Ok(answer) = port.ask(check).await
            && answer.gauge("etcd_server_is_leader") == Some(1.0)
        {
            return Some(node.name.clone());
        }
    }
    None
}

/// The rack of nodes that neither the inventory nor a label places: they share one failure domain, so that limits hold
/// among them.
fn no_rack() -> RackName {
    match "no-rack".parse() {
        Ok(rack) => rack,
        Err(_) => unreachable!("the text is a valid name"),
    }
}
