//! What the operator staged: bumps, how far they reach, and how fast.

use super::{Budget, Bump, Limits};
use crate::fleet::{Component, Image, Label, Node, NodeName, RackName, RoleName};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What a node runs when it is on this release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Its name, for instance `1.36.2`.
    pub name: String,
    /// The image of each component that belongs to it.
    pub images: BTreeMap<Component, Image>,
}

impl Release {
    /// The bumps that take a cluster to this release.
    pub fn bumps(&self) -> Vec<Bump> {
        self.images.iter().map(|(&component, to)| Bump { component, to: to.clone() }).collect()
    }
}

/// Bumps with scope and strategy: all that the planner needs to know besides the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The release that was staged, where one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// The bumps; at most one a component.
    pub bumps: Vec<Bump>,
    /// Which nodes.
    #[serde(default)]
    pub scope: Scope,
    /// How far and how fast.
    pub limits: Limits,
    /// How much may go wrong.
    pub budget: Budget,
    /// Workers that move before all others, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first: Vec<NodeName>,
    /// Workers that move after all others, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last: Vec<NodeName>,
    /// Releases whose images may be stopped at on the way; the profile's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub way: Vec<Release>,
    /// Codes of findings that offer a change of arguments, and are to be fixed by it; `all` takes every offer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accept: Vec<String>,
    /// Codes of errors that may be taken as they are, and are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acknowledged: Vec<String>,
}

impl Stage {
    /// The whole of a release, everywhere.
    pub fn of(release: &Release, limits: Limits, budget: Budget) -> Stage {
        let name = Some(release.name.clone());
        Stage { release: name, bumps: release.bumps(), limits, budget, ..Stage::default() }
    }
}

/// Which nodes take part. Each list that is not empty narrows: `racks` and `roles` together mean "of these racks, those
/// with these roles". All lists empty means every node.
///
/// A narrowed scope is about workers; a master takes part in it only where `nodes` names it, since the control plane moves
/// as a whole or by a deliberate act. `exclude` leaves nodes out of all that; it does not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scope {
    /// These nodes only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeName>,
    /// Nodes of these racks only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub racks: Vec<RackName>,
    /// Nodes of these roles only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<RoleName>,
    /// Nodes with all of these labels only.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub labels: BTreeSet<Label>,
    /// Never these: left out by decision, for instance because they are down.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<NodeName>,
}

impl Scope {
    /// Whether it means every node but those excluded.
    pub fn is_all(&self) -> bool {
        self.nodes.is_empty() && self.racks.is_empty() && self.roles.is_empty() && self.labels.is_empty()
    }

    /// Whether a node takes part.
    pub fn takes(&self, node: &Node) -> bool {
        let named = self.nodes.contains(&node.name);
        (self.nodes.is_empty() || named)
            && (self.racks.is_empty() || self.racks.contains(&node.rack))
            && (self.roles.is_empty() || node.role.as_ref().is_some_and(|role| self.roles.contains(role)))
            && self.labels.is_subset(&node.labels)
            && (!node.master || self.is_all() || named)
            && !self.exclude.contains(&node.name)
    }
}
