//! A last look at a plan before it is carried out: what the engine relies upon, checked by the engine itself.

use crate::fleet::RunId;
use crate::plan::{FORMAT, Gate, Plan};
use crate::remote::TxId;
use std::collections::BTreeSet;

/// Refuses a plan that cannot be carried out safely.
///
/// # Errors
/// In words: what is wrong.
pub(super) fn sound(plan: &Plan, run: &RunId) -> Result<(), String> {
    if plan.format != FORMAT {
        return Err(format!("its format is {}, this sonoba carries out format {FORMAT}", plan.format));
    }
    if let Some(finding) = plan.findings.iter().find(|f| f.severity == crate::plan::Severity::Error) {
        return Err(format!("preflight found an error: {}", finding.text));
    }
    let limits = [
        ("limits.max_parallel", plan.limits.max_parallel),
        ("limits.max_unavailable", plan.limits.max_unavailable),
        ("limits.max_pulls", plan.limits.max_pulls),
    ];
    if plan.limits.gate_timeout_ms == 0 {
        return Err("limits.gate_timeout_ms is 0, so that every gate would pause the run at once".into());
    }
    if let Some((name, _)) = limits.iter().find(|(_, value)| *value == 0) {
        return Err(format!("{name} is 0, so that nothing could ever start"));
    }
    let mut ids = BTreeSet::new();
    let mut moved = BTreeSet::new();
    for (_, _, swap) in plan.swaps() {
        let (id, node) = (&swap.id, &swap.node);
        if !ids.insert(id) {
            return Err(format!("two swaps have the id {id}"));
        }
        if !plan.cluster.nodes.contains_key(node) {
            return Err(format!("swap {id}: node {node} is not in the plan's cluster"));
        }
        if swap.changes.is_empty() || swap.deadline_ms == 0 {
            return Err(format!("swap {id} on {node} changes nothing, or has no deadline"));
        }
        for change in &swap.changes {
            let (component, container) = (change.component, &change.container);
            if !plan.components.contains_key(&component) {
                return Err(format!("swap {id}: the plan does not say how {component} is checked"));
            }
            // The same container may move again in a later swap (a hop), but not twice in one.
            if !moved.insert((id, container)) {
                return Err(format!("swap {id} on {node} changes {container} twice"));
            }
        }
        if let Err(error) = TxId::new(run, node, id, u32::MAX).as_str().parse::<TxId>() {
            return Err(format!("swap {id} on {node}: {error}"));
        }
    }
    for phase in &plan.phases {
        if let Some(wave) = phase.waves.iter().find(|w| w.max_parallel == 0) {
            return Err(format!("wave {} may run no swap at once", wave.title));
        }
        for gate in phase.waves.iter().flat_map(|w| &w.gates) {
            if let Gate::Own(own) = gate {
                own.check().map_err(|why| format!("gate {}: {why}", own.name))?;
            }
        }
    }
    Ok(())
}
