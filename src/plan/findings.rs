//! Findings as they are gathered: one a kind, with all the nodes that share it.

use super::{Finding, Severity};
use crate::fleet::NodeName;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Findings, folded by what they say; worst first, then by code.
#[derive(Debug, Default)]
pub(super) struct Findings {
    found: BTreeMap<Told, BTreeSet<NodeName>>,
    /// Codes of errors that the operator takes as they are.
    acknowledged: BTreeSet<String>,
}

/// What a finding says, apart from the nodes that it concerns. Ordered by severity first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Told {
    severity: Severity,
    code: Cow<'static, str>,
    text: String,
    mend: String,
    link: String,
    offer: String,
    acknowledgeable: bool,
}

impl Told {
    pub(super) fn new(severity: Severity, code: impl Into<Cow<'static, str>>, text: impl Into<String>) -> Told {
        Told {
            severity,
            code: code.into(),
            text: text.into(),
            mend: String::new(),
            link: String::new(),
            offer: String::new(),
            acknowledgeable: false,
        }
    }

    /// What mends it.
    pub(super) fn mend(mut self, mend: impl Into<String>) -> Told {
        self.mend = mend.into();
        self
    }

    /// Where more is to be read.
    pub(super) fn link(mut self, link: impl Into<String>) -> Told {
        self.link = link.into();
        self
    }

    /// The plan mends it by itself when it is told to (`Stage::accept`): how, in words.
    pub(super) fn offer(mut self, offer: impl Into<String>) -> Told {
        self.offer = offer.into();
        self
    }

    /// An error that the operator may take as it is (`Stage::acknowledged`): it is a hazard, not nonsense.
    pub(super) fn acknowledgeable(mut self) -> Told {
        self.acknowledgeable = true;
        self
    }
}

/// The code of a finding about an acknowledgement that nothing needed.
pub(super) const NOTHING: &str = "acknowledged-nothing";

impl Findings {
    /// None yet; errors of these codes may become warnings.
    pub(super) fn acknowledging(codes: &[String]) -> Findings {
        Findings { acknowledged: codes.iter().cloned().collect(), ..Findings::default() }
    }

    /// Adds one about the plan as a whole.
    pub(super) fn add(&mut self, severity: Severity, code: &'static str, text: impl Into<String>, mend: &str) {
        self.tell(Told::new(severity, code, text).mend(mend), None);
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
        self.tell(Told::new(severity, code, text).mend(mend), Some(node));
    }

    /// Adds one, about a node or about the plan as a whole.
    pub(super) fn tell(&mut self, told: Told, node: Option<&NodeName>) {
        self.found.entry(told).or_default().extend(node.cloned());
    }

    /// All of them, in order.
    pub(super) fn finish(mut self) -> Vec<Finding> {
        for code in &self.acknowledged {
            if !self.found.keys().any(|t| t.acknowledgeable && t.code == *code) {
                let text = format!("{code} is acknowledged, and nothing of that name was found that could be");
                self.found.entry(Told::new(Severity::Info, NOTHING, text)).or_default();
            }
        }
        let mut all: Vec<Finding> = self
            .found
            .into_iter()
            .map(|(told, nodes)| {
                let taken = told.acknowledgeable
                    && told.severity == Severity::Error
                    && self.acknowledged.contains(told.code.as_ref());
                Finding {
                    severity: if taken { Severity::Warning } else { told.severity },
                    text: if taken { format!("{} (acknowledged)", told.text) } else { told.text },
                    code: told.code.into_owned(),
                    mend: told.mend,
                    link: told.link,
                    offer: told.offer,
                    acknowledgeable: told.acknowledgeable,
                    nodes: nodes.into_iter().collect(),
                }
            })
            .collect();
        all.sort_by_key(|f| f.severity);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_acknowledged_becomes_a_warning() {
        let error = |code| Told::new(Severity::Error, code, "it breaks");
        let node: NodeName = "rack0-cs1".parse().unwrap();
        let mut findings = Findings::acknowledging(&["hazard".into(), "nonsense".into()]);
        findings.tell(error("hazard").acknowledgeable(), Some(&node));
        findings.tell(error("nonsense"), None);
        findings.tell(error("other-hazard").acknowledgeable(), None);
        let all: Vec<_> = findings.finish().into_iter().map(|f| (f.severity, f.code, f.text, f.nodes.len())).collect();
        let nothing = "nonsense is acknowledged, and nothing of that name was found that could be";
        assert_eq!(
            all,
            [
                (Severity::Error, "nonsense".into(), "it breaks".into(), 0),
                (Severity::Error, "other-hazard".into(), "it breaks".into(), 0),
                (Severity::Warning, "hazard".into(), "it breaks (acknowledged)".into(), 1),
                (Severity::Info, "acknowledged-nothing".into(), nothing.to_owned(), 0),
            ]
        );
    }
}
