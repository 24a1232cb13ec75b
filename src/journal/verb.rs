//! What an operator can command.

use crate::fleet::{NodeName, clean, fold_names};
use serde::{Deserialize, Serialize};

/// A reason is not longer. Characters.
pub const LONGEST_REASON: usize = 500;

/// What an operator can command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// What is in flight finishes, nothing new starts.
    Pause,
    /// Go on.
    Resume,
    /// Nothing new starts, what is not committed rolls back, the run ends.
    Abort,
    /// Try again what failed or rolled back, and ask the gate that is waited for at once.
    Retry {
        /// The nodes; none means every one that failed or rolled back.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        nodes: Vec<NodeName>,
    },
    /// Leave these nodes as they are, by decision.
    Skip {
        /// The nodes.
        nodes: Vec<NodeName>,
        /// Why.
        why: String,
    },
    /// Take these nodes' swaps that are in flight, lost or failed back to the old version.
    RollBack {
        /// The nodes.
        nodes: Vec<NodeName>,
    },
    /// Pass the gate that is waited for although it does not hold.
    Override {
        /// The gate's name, as [`super::Event::GateWaiting`] has it.
        gate: String,
        /// Why.
        why: String,
    },
}

impl Verb {
    /// Its word, as the command line has it.
    pub fn word(&self) -> &'static str {
        match self {
            Verb::Pause => "pause",
            Verb::Resume => "resume",
            Verb::Abort => "abort",
            Verb::Retry { .. } => "retry",
            Verb::Skip { .. } => "skip",
            Verb::RollBack { .. } => "rollback",
            Verb::Override { .. } => "override",
        }
    }

    /// What it is about: nodes, folded, or a gate; empty when it is about the run as a whole.
    pub fn about(&self) -> String {
        match self {
            Verb::Pause | Verb::Resume | Verb::Abort => String::new(),
            Verb::Retry { nodes } | Verb::Skip { nodes, .. } | Verb::RollBack { nodes } => folded(nodes),
            Verb::Override { gate, .. } => clean(gate),
        }
    }

    /// Why, where it has to be said; else empty.
    pub fn why(&self) -> &str {
        match self {
            Verb::Skip { why, .. } | Verb::Override { why, .. } => why,
            _ => "",
        }
    }

    /// The same, fit to be written down: the reason cleaned, each node once.
    ///
    /// # Errors
    /// In words, when a reason is missing or too long, or no node is named where one must be.
    pub fn checked(mut self) -> Result<Verb, String> {
        match &mut self {
            Verb::Skip { why, .. } | Verb::Override { why, .. } => {
                *why = clean(why).trim().to_owned();
                if why.is_empty() {
                    return Err("a reason is needed: the report shows it".into());
                }
                if why.chars().count() > LONGEST_REASON {
                    return Err(format!("the reason is too long: at most {LONGEST_REASON} characters"));
                }
            }
            _ => {}
        }
        match &mut self {
            Verb::Skip { nodes, .. } | Verb::RollBack { nodes } if nodes.is_empty() => {
                return Err("no node is named".into());
            }
            Verb::Retry { nodes } | Verb::Skip { nodes, .. } | Verb::RollBack { nodes } => {
                nodes.sort_unstable();
                nodes.dedup();
            }
            _ => {}
        }
        Ok(self)
    }
}

/// Many names as one.
pub(super) fn folded<'a>(nodes: impl IntoIterator<Item = &'a NodeName>) -> String {
    fold_names(nodes.into_iter().map(NodeName::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(names: &[&str]) -> Vec<NodeName> {
        names.iter().map(|n| n.parse().unwrap()).collect()
    }

    #[test]
    fn old_journals_have_their_words_still() {
        for (text, verb) in [
            ("\"pause\"", Verb::Pause),
            ("\"abort\"", Verb::Abort),
            ("{\"retry\":{}}", Verb::Retry { nodes: vec![] }),
            ("{\"roll-back\":{\"nodes\":[\"w1\"]}}", Verb::RollBack { nodes: nodes(&["w1"]) }),
        ] {
            assert_eq!(serde_json::from_str::<Verb>(text).unwrap(), verb);
            assert_eq!(serde_json::to_string(&verb).unwrap(), text);
        }
        assert!(serde_json::from_str::<Verb>("{\"skip\":{\"nodes\":[\"../w1\"],\"why\":\"x\"}}").is_err());
    }

    #[test]
    fn a_reason_is_required_cleaned_and_bounded() {
        let skip = |why: &str| Verb::Skip { nodes: nodes(&["w2", "w1", "w2"]), why: why.into() }.checked();
        let Ok(Verb::Skip { nodes: kept, why }) = skip(" disk\u{1b}[2J broken\n") else { panic!("refused") };
        assert_eq!((kept, why.as_str()), (nodes(&["w1", "w2"]), "disk[2J broken"));
        assert!(skip(" \u{200b} ").is_err());
        assert!(skip(&"x".repeat(LONGEST_REASON)).is_ok() && skip(&"x".repeat(LONGEST_REASON + 1)).is_err());
        assert!(Verb::RollBack { nodes: vec![] }.checked().is_err());
        assert!(Verb::Override { gate: "soak".into(), why: String::new() }.checked().is_err());
    }
}
