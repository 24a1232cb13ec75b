//! A cluster as it was observed at one moment.

use super::{ClusterName, Component, ContainerName, Image, Label, NodeName, RackName, RoleName, Salt, Version};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A cluster: its nodes and what was seen running on each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// The profile's name for it.
    pub name: ClusterName,
    /// Every node, by name.
    pub nodes: BTreeMap<NodeName, Node>,
    /// Who leads what; asked for when the cluster was observed.
    #[serde(default)]
    pub leaders: Leaders,
    /// The salt of the masks in its arguments; none where nothing was masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<Salt>,
}

/// The nodes that hold a leadership, and are therefore swapped last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaders {
    /// The node of etcd's leader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd: Option<NodeName>,
    /// The holder of the Lease `kube-system/kube-controller-manager`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller_manager: Option<NodeName>,
    /// The holder of the Lease `kube-system/kube-scheduler`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<NodeName>,
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name in Kubernetes.
    pub name: NodeName,
    /// Where SSH finds it: an IP address or a host name.
    pub address: String,
    /// SSH's port.
    #[serde(default = "ssh_port")]
    pub port: u16,
    /// The SSH user, where it differs from the profile's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Its failure domain.
    pub rack: RackName,
    /// Its role label, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<RoleName>,
    /// Its labels in Kubernetes; in a plan only those that the plan asked for.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub labels: BTreeSet<Label>,
    /// Whether it carries the control plane.
    pub master: bool,
    /// Whether Kubernetes called it Ready.
    #[serde(default)]
    pub ready: bool,
    /// Whether it answered over SSH; `None` until it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reachable: Option<bool>,
    /// The kubelet's version as Kubernetes states it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubelet_version: Option<Version>,
    /// What runs on it, as Docker stated it.
    #[serde(default)]
    pub components: BTreeMap<Component, Running>,
    /// Names of left-over `*.sonoba-next` and `*.sonoba-prev` containers.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub leftovers: BTreeSet<ContainerName>,
}

/// A component's container as Docker stated it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The container's name.
    pub container: ContainerName,
    /// The container's id.
    pub id: String,
    /// The image reference that it was created from.
    pub image: Image,
    /// The image's id (`sha256:…`).
    pub image_id: String,
    /// Whether it is running.
    pub running: bool,
    /// When it was last started, by the node's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// How often Docker restarted it by its restart policy.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restarts: u32,
    /// Its command line: entry point and arguments, with what may be secret masked ([`super::Masker`]).
    #[serde(default)]
    pub args: Vec<String>,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

fn ssh_port() -> u16 {
    22
}

impl Node {
    /// The value of a label, where it has one with this key.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|label| label.key() == key).map(Label::value)
    }
}

impl Cluster {
    /// The masters, by name.
    pub fn masters(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values().filter(|n| n.master)
    }

    /// The workers, by name.
    pub fn workers(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values().filter(|n| !n.master)
    }

    /// The racks in natural order (`rack2` before `rack10`), each with its workers in that order too.
    pub fn racks(&self) -> Vec<(&RackName, Vec<&Node>)> {
        let mut racks: BTreeMap<&RackName, Vec<&Node>> = BTreeMap::new();
        for node in self.workers() {
            racks.entry(&node.rack).or_default().push(node);
        }
        let mut racks: Vec<_> = racks.into_iter().collect();
        for (_, nodes) in &mut racks {
            nodes.sort_by_cached_key(|n| natural(n.name.as_str()));
        }
        racks.sort_by_cached_key(|(rack, _)| natural(rack.as_str()));
        racks
    }
}

/// A sort key in which numbers count as numbers: `rack2` before `rack10`.
pub fn natural(text: &str) -> Vec<(u64, String)> {
    let mut key = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        if digits > 0 {
            key.push((rest[..digits].parse().unwrap_or(u64::MAX), rest[..digits].to_owned()));
            rest = &rest[digits..];
        } else {
            let word = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            key.push((0, rest[..word].to_owned()));
            rest = &rest[word..];
        }
    }
    key
}

#[cfg(test)]
mod tests {
    #[test]
    fn racks_order_as_people_count() {
        let mut racks = ["rack10", "rack2", "rack1", "3"];
        racks.sort_by_cached_key(|r| super::natural(r));
        assert_eq!(racks, ["rack1", "rack2", "rack10", "3"]);
    }
}
