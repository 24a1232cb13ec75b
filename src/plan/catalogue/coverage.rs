//! What the tables cover: how much it means that nothing was found.

use super::known;
use crate::plan::findings::Findings;
use crate::plan::{Phase, Severity};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// What was known of the releases of Kubernetes when a plan was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coverage {
    /// Every feature gate of these releases is known.
    pub gates: Known,
    /// Flags that were removed in these releases are known, as far as their references tell.
    pub flags: Known,
    /// Versions that the plan goes to or over and that are none of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outside: Vec<String>,
}

/// Releases of Kubernetes, from one to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// The first, for instance `1.29`.
    pub first: String,
    /// The last.
    pub last: String,
}

impl Known {
    fn of((first, last): (u32, u32)) -> Known {
        Known { first: format!("1.{first}"), last: format!("1.{last}") }
    }
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.first, self.last)
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = if self.gates == self.flags { "them".to_owned() } else { self.flags.to_string() };
        // What is not known stands first: a screen may cut the rest.
        match self.outside.as_slice() {
            [] => write!(f, "knows all feature gates of Kubernetes {} and flags removed in {flags}", self.gates),
            outside => write!(
                f,
                "does not know all of Kubernetes {}: it has all feature gates of {} and flags removed in {flags}",
                outside.join(", "),
                self.gates
            ),
        }
    }
}

/// What is covered of the changes of Kubernetes' components; none when nothing of it moves. What is not is told.
pub(in crate::plan) fn coverage(phases: &[Phase], findings: &mut Findings) -> Option<Coverage> {
    let (gates, flags) = (known::gates().ok()?, known::flags().ok()?);
    let changes = phases.iter().flat_map(|p| &p.waves).flat_map(|w| &w.swaps).flat_map(|s| &s.changes);
    let mut moved = false;
    let mut outside = BTreeSet::new();
    for version in changes.filter(|c| known::is_kubernetes(c.component)).filter_map(|c| c.to.version()) {
        moved = true;
        let (major, minor) = version.minor_of();
        if major != 1 || !gates.covers(minor) || !flags.covers(minor) {
            outside.insert((major, minor));
        }
    }
    let outside: Vec<String> = outside.into_iter().map(|(major, minor)| format!("{major}.{minor}")).collect();
    let coverage = Coverage { gates: Known::of(gates.span()), flags: Known::of(flags.span()), outside };
    if !coverage.outside.is_empty() {
        let text = format!(
            "not every feature gate and flag of {} is known, only what the catalogue has written down: its tables go from {}",
            coverage.outside.join(", "),
            coverage.gates
        );
        let mend = "read its release notes for gates and flags that were removed or locked";
        findings.add(Severity::Info, "catalogue-coverage", text, mend);
    }
    moved.then_some(coverage)
}
