//! What was asked of the planner and does not show elsewhere in the plan, kept so that another plan can be made from it.

use super::{Plan, Scope, Stage};
use crate::fleet::NodeName;
use serde::{Deserialize, Serialize};

/// The part of a [`Stage`] that a plan holds for this alone. Release, bumps, limits, budget and the nodes that were left out have
/// fields of their own; the releases to stop at on the way are the profile's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Which nodes; those left out are the plan's `excluded`.
    #[serde(default)]
    pub scope: Scope,
    /// Workers that move before all others, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first: Vec<NodeName>,
    /// Workers that move after all others, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last: Vec<NodeName>,
    /// Codes of findings whose offers were taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accept: Vec<String>,
    /// Codes of errors that were acknowledged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acknowledged: Vec<String>,
}

impl Asked {
    /// What a plan is to keep of its stage: the same for all stages that mean the same.
    pub(super) fn of(stage: &Stage) -> Asked {
        let mut scope = Scope { exclude: Vec::new(), ..stage.scope.clone() };
        scope.nodes.sort();
        scope.racks.sort();
        scope.roles.sort();
        Asked {
            scope,
            first: stage.first.clone(),
            last: stage.last.clone(),
            accept: stage.accept.clone(),
            acknowledged: stage.acknowledged.clone(),
        }
    }
}

impl Plan {
    /// The stage that it was made from, but for the releases on the way. `None` for a rollback, which was made from a run, and for
    /// a plan of before plans kept it.
    pub fn stage(&self) -> Option<Stage> {
        let asked = self.asked.clone()?;
        Some(Stage {
            release: self.release.clone(),
            bumps: self.bumps.clone(),
            scope: Scope { exclude: self.excluded.clone(), ..asked.scope },
            limits: self.limits.clone(),
            budget: self.budget.clone(),
            first: asked.first,
            last: asked.last,
            way: Vec::new(),
            accept: asked.accept,
            acknowledged: asked.acknowledged,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::samples::cluster;
    use crate::plan::{Settings, make};
    use jiff::Timestamp;

    #[test]
    fn a_plan_gives_back_the_stage_that_it_was_made_from() {
        let cluster = cluster(3, 12, 3);
        let worker = |n: usize| cluster.workers().nth(n).unwrap().name.clone();
        let mut stage = Stage { release: Some("x".into()), ..Stage::default() };
        stage.scope.racks = vec!["rack1".parse().unwrap()];
        stage.scope.exclude = vec![worker(4)];
        (stage.first, stage.last) = (vec![worker(1)], vec![worker(2)]);
        stage.accept = vec!["all".into()];
        stage.acknowledged = vec!["one".into(), "two".into()];
        (stage.limits.canary, stage.budget.failed_swaps) = (7, 4);
        let plan = make(&cluster, &stage, &Settings::default(), Timestamp::UNIX_EPOCH);
        assert_eq!(plan.stage(), Some(stage));
        assert_eq!(Plan { asked: None, ..plan }.stage(), None);
    }
}
