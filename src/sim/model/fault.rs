//! Faults, with their places resolved and their strikes counted.

use super::NodeSpec;
use super::draw::source;
use crate::fleet::Component;
use crate::sim::scenario::{Fault, FaultKind, Scenario};
use rand::RngExt;

/// The faults of a scenario.
#[derive(Debug, Clone)]
pub struct Faults {
    faults: Vec<Placed>,
}

#[derive(Debug, Clone)]
struct Placed {
    fault: Fault,
    nodes: Vec<bool>,
    left: Option<u32>,
}

impl Faults {
    /// Resolves where each fault is.
    ///
    /// # Errors
    /// When a fault names a place that the cluster does not have.
    pub(crate) fn place(scenario: &Scenario, nodes: &[NodeSpec]) -> Result<Faults, String> {
        let mut faults = Vec::with_capacity(scenario.faults.len());
        for (number, fault) in scenario.faults.iter().enumerate() {
            let chosen = choose("fault", &fault.node, scenario.seed ^ number as u64, nodes)?;
            faults.push(Placed { fault: fault.clone(), nodes: chosen, left: fault.times });
        }
        Ok(Faults { faults })
    }

    /// Whether a fault of this kind is on at a node now; not counted as a strike.
    pub(crate) fn on(&self, kind: FaultKind, node: usize, component: Option<Component>, now: i64) -> Option<&Fault> {
        self.faults.iter().find(|p| p.matches(kind, node, component, now)).map(|p| &p.fault)
    }

    /// The same, and counts the strike.
    pub(crate) fn strike(
        &mut self,
        kind: FaultKind,
        node: usize,
        component: Option<Component>,
        now: i64,
    ) -> Option<Fault> {
        let placed = self.faults.iter_mut().find(|p| p.matches(kind, node, component, now))?;
        if let Some(left) = &mut placed.left {
            *left -= 1;
        }
        Some(placed.fault.clone())
    }

    /// Whether the node may ever drop off the network.
    pub(crate) fn may_vanish(&self, node: usize) -> bool {
        self.faults.iter().any(|p| p.fault.kind == FaultKind::Unreachable && p.nodes[node])
    }
}

impl Placed {
    fn matches(&self, kind: FaultKind, node: usize, component: Option<Component>, now: i64) -> bool {
        let from = (self.fault.from_s * 1000.0) as i64;
        let until = self.fault.for_s.map(|s| from + (s * 1000.0) as i64);
        self.fault.kind == kind
            && self.left != Some(0)
            && self.nodes[node]
            && (self.fault.component.is_none() || component.is_none() || self.fault.component == component)
            && now >= from
            && until.is_none_or(|until| now < until)
    }
}

/// The nodes at a place that a scenario names, for `what`.
pub(super) fn choose(what: &str, place: &str, seed: u64, nodes: &[NodeSpec]) -> Result<Vec<bool>, String> {
    let shown = crate::fleet::clean(place);
    let mut chosen = vec![false; nodes.len()];
    let workers: Vec<usize> = (0..nodes.len()).filter(|&i| !nodes[i].master).collect();
    if let Some(count) = place.strip_prefix("random:") {
        let count: usize = count.parse().map_err(|_| format!("{what} at {shown:?}: write random:N, N a number"))?;
        let mut rng = source(seed, "faults");
        let mut left = workers;
        for _ in 0..count.min(left.len()) {
            let i = rng.random_range(0..left.len());
            chosen[left.swap_remove(i)] = true;
        }
    } else if let Some(share) = place.strip_prefix("worker:") {
        let share: f64 = share
            .strip_suffix('%')
            .and_then(|s| s.parse().ok())
            .filter(|s| (0.0..=100.0).contains(s))
            .ok_or_else(|| format!("{what} at {shown:?}: write worker:P%, P from 0 to 100"))?;
        let at = (workers.len() as f64 * share / 100.0) as usize;
        if let Some(&i) = workers.get(at.min(workers.len().saturating_sub(1))) {
            chosen[i] = true;
        }
    } else {
        for (i, node) in nodes.iter().enumerate() {
            chosen[i] = match place {
                "all" => true,
                "workers" => !node.master,
                "masters" => node.master,
                _ => node.name.as_str() == place || node.rack.as_str() == place,
            };
        }
        if !chosen.contains(&true) && !["workers", "masters"].contains(&place) {
            return Err(format!("{what} at {shown:?}: no node and no rack has that name"));
        }
    }
    Ok(chosen)
}
