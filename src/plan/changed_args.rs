//! What a plan's changes do to the arguments of the containers, written out.

use super::{ArgEdit, Change, Plan, Swap, arg_diff};
use crate::fleet::{Component, NodeName};
use std::collections::HashMap;

/// A walk over a plan's changes in their order: of several changes of one container, each begins where the one before ended.
pub struct ArgsWalk<'a> {
    plan: &'a Plan,
    edited: HashMap<(&'a NodeName, Component), Vec<String>>,
}

impl<'a> ArgsWalk<'a> {
    /// Before the first change.
    pub fn new(plan: &'a Plan) -> ArgsWalk<'a> {
        ArgsWalk { plan, edited: HashMap::new() }
    }

    /// What the next change on `node` takes away (`- --old`) and adds (`+ --new`).
    pub fn step(&mut self, node: &'a NodeName, change: &Change) -> Vec<String> {
        if change.args.is_empty() {
            return Vec::new();
        }
        let place = (node, change.component);
        let running = || Some(self.plan.cluster.nodes.get(node)?.components.get(&change.component)?.args.as_slice());
        let before = self.edited.get(&place).map(Vec::as_slice).or_else(running).unwrap_or_default();
        let after = ArgEdit::apply_all(&change.args, before);
        let lines = arg_diff(before, &after);
        self.edited.insert(place, after);
        lines
    }

    /// The lines of one swap, by component.
    pub fn of(plan: &'a Plan, swap: &Swap) -> Vec<(Component, Vec<String>)> {
        let mut walk = ArgsWalk::new(plan);
        for (_, _, earlier) in plan.swaps().filter(|(_, _, s)| s.node == swap.node) {
            let lines: Vec<_> = earlier.changes.iter().map(|c| (c.component, walk.step(&earlier.node, c))).collect();
            if earlier.id == swap.id {
                return lines.into_iter().filter(|(_, lines)| !lines.is_empty()).collect();
            }
        }
        Vec::new()
    }
}
