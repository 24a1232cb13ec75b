//! What single containers have beyond what all have, with the places resolved.

use super::NodeSpec;
use super::fault::choose;
use crate::fleet::Component;
use crate::sim::scenario::{Extra, Scenario};

/// The extras of a scenario, each with the nodes that have it.
#[derive(Debug, Clone)]
pub(super) struct Extras(Vec<(Extra, Vec<bool>)>);

/// Resolves where each is.
///
/// # Errors
/// When one names a place that the cluster does not have.
pub(super) fn place(scenario: &Scenario, nodes: &[NodeSpec]) -> Result<Extras, String> {
    let mut placed = Vec::with_capacity(scenario.containers.len());
    for (number, extra) in scenario.containers.iter().enumerate() {
        placed.push((extra.clone(), choose("container", &extra.node, scenario.seed ^ number as u64, nodes)?));
    }
    Ok(Extras(placed))
}

impl Extras {
    fn of(&self, node: usize, component: Component) -> impl DoubleEndedIterator<Item = &Extra> {
        self.0.iter().filter(move |(e, nodes)| e.component == component && nodes[node]).map(|(e, _)| e)
    }

    pub(super) fn args(&self, node: usize, component: Component) -> Vec<String> {
        self.of(node, component).flat_map(|e| e.args.clone()).collect()
    }

    /// Of several the last counts.
    pub(super) fn restart(&self, node: usize, component: Component) -> Option<&str> {
        self.of(node, component).rev().find_map(|e| e.restart.as_deref())
    }

    /// Of several the last counts.
    pub(super) fn config(&self, node: usize, component: Component) -> Option<&str> {
        self.of(node, component).rev().find_map(|e| e.config.as_deref())
    }
}
