//! Findings as they are gathered: one a kind, with all the nodes that share it.

use super::{Finding, Severity};
use crate::fleet::NodeName;
use std::collections::{BTreeMap, BTreeSet};

/// Findings, folded by what they say; worst first, then by code.
#[derive(Debug, Default)]
pub(super) struct Findings(BTreeMap<(Severity, &'static str, String, String), BTreeSet<NodeName>>);

impl Findings {
    /// Adds one about the plan as a whole.
    pub(super) fn add(&mut self, severity: Severity, code: &'static str, text: impl Into<String>, mend: &str) {
        self.0.entry((severity, code, text.into(), mend.to_owned())).or_default();
    }

    /// Adds one about a node.
    pub(super) fn on(
        &mut self,
        node: &NodeName,
        severity: Severity,
        code: &'static str,
        text: impl Into<String>,
        mend: &str,
    ) {
        self.0.entry((severity, code, text.into(), mend.to_owned())).or_default().insert(node.clone());
    }

    /// All of them, in order.
    pub(super) fn finish(self) -> Vec<Finding> {
        self.0
            .into_iter()
            .map(|((severity, code, text, mend), nodes)| Finding {
                code: code.to_owned(),
                severity,
                text,
                mend,
                nodes: nodes.into_iter().collect(),
            })
            .collect()
    }
}
