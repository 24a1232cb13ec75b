//! What the operator stages: the input of the planner.

use super::{Budget, Bump, ComponentSettings, Limits};
use crate::fleet::{Component, Image, NodeName, RackName, RoleName};
use std::collections::BTreeMap;

/// What a node runs when it is on this release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Its name, for instance `1.36.2`.
    pub name: String,
    /// The image of each component.
    pub images: BTreeMap<Component, Image>,
}

/// Bumps, with how far and how fast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The release that was staged, where one was.
    pub release: Option<String>,
    /// One component each, to one image.
    pub bumps: Vec<Bump>,
    /// Where.
    pub scope: Scope,
    /// How far and how fast.
    pub limits: Limits,
    /// How much may go wrong.
    pub budget: Budget,
}

/// Which nodes a stage is about. All empty: every node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// These nodes.
    pub nodes: Vec<NodeName>,
    /// The nodes of these racks.
    pub racks: Vec<RackName>,
    /// The nodes of these roles.
    pub roles: Vec<RoleName>,
}

/// How each component is checked and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Of every component.
    pub components: BTreeMap<Component, ComponentSettings>,
}
