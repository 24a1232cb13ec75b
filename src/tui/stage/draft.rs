//! What the planner says of what is staged so far.

use super::build;
use crate::fleet::Component;
use crate::plan::{Plan, Severity};
use crate::tui::app::{App, Screen};
use crate::tui::msg::Effect;
use std::collections::{BTreeMap, BTreeSet};

/// What the planner says of what is staged so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// What refuses the plan.
    pub errors: Vec<String>,
    /// What must be read before it is applied.
    pub warnings: Vec<String>,
    /// Nodes on which something restarts.
    pub nodes: usize,
    /// Swaps.
    pub swaps: usize,
    /// Restarts of each component.
    pub restarts: BTreeMap<Component, usize>,
    /// How long it takes as a rule, and where all goes slowly. Milliseconds.
    pub takes_ms: (u64, u64),
}

impl Draft {
    /// What there is to say of a plan.
    pub fn of(plan: &Plan) -> Draft {
        let of = |severity| plan.findings.iter().filter(move |f| f.severity == severity).map(|f| f.text.clone());
        let mut restarts = BTreeMap::new();
        for change in plan.swaps().flat_map(|(_, _, swap)| &swap.changes) {
            *restarts.entry(change.component).or_default() += 1;
        }
        Draft {
            errors: of(Severity::Error).collect(),
            warnings: of(Severity::Warning).collect(),
            nodes: plan.swaps().map(|(_, _, s)| &s.node).collect::<BTreeSet<_>>().len(),
            swaps: plan.swaps().count(),
            restarts,
            takes_ms: (plan.estimate.total_ms(), plan.estimate.slow_ms),
        }
    }
}

/// Asks the planner for a draft, where what is staged is not what it was asked last.
pub fn draft(app: &mut App) -> Option<Effect> {
    if app.screen != Screen::Stage || app.stage.drafting || app.stage.planning {
        return None;
    }
    let cluster = app.sight.cluster.clone()?;
    let stage = build(app, &cluster).ok()?;
    if app.stage.draft.as_ref().is_some_and(|(of, _)| *of == stage) {
        return None;
    }
    app.stage.drafting = true;
    Some(Effect::Draft(cluster, Box::new(stage)))
}
