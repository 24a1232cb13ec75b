//! How the pods of a scenario behave: their grace periods, and how they come and go by themselves.

use serde::{Deserialize, Serialize};

/// What the pods are like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PodManners {
    /// `terminationGracePeriodSeconds`. Seconds of the simulated clock; the API shows it in real ones, rounded up. Default: 30.
    pub grace_s: u32,
    /// Whether applications differ from that: agents end within a second, databases take twice as long. Default: true.
    pub variety: bool,
    /// Whether what serves has a readiness probe. Default: true.
    pub readiness: bool,
}

impl Default for PodManners {
    fn default() -> Self {
        PodManners { grace_s: 30, variety: true, readiness: true }
    }
}

/// How pods come and go by themselves: rollouts, jobs, crash loops, evictions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Churn {
    /// The share of all pods that something happens to within a minute of the simulated clock. Percent. Default: 0.
    pub percent_per_minute: f64,
    /// The share of all pods that are in a crash loop from the beginning. Percent. Default: 0.
    pub crash_loops_percent: f64,
}

impl Churn {
    /// Whether anything happens by itself.
    pub fn on(&self) -> bool {
        self.percent_per_minute > 0.0 || self.crash_loops_percent > 0.0
    }
}
