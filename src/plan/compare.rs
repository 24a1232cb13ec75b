//! The same change by other means, side by side: what each would cost this cluster.

use super::{Facts, Plan};
use crate::fleet::{NodeName, quoted};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::{fmt, str::FromStr};

/// What a node takes to be drained and to come back, its data left aside. Milliseconds. The order of what others wait for a
/// drain alone (k0sctl: 5 minutes a node, one node at a time).
const DRAIN_MS: u64 = 300_000;

/// In place against the usual ways.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// At which local data would be copied, in all.
    pub bandwidth: Bandwidth,
    /// In place, node by node with drains, and a new cluster.
    pub strategies: Vec<Strategy>,
}

/// One way to the new version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Strategy {
    /// What it is called.
    pub name: String,
    /// Pods that lose their place; none where that is not known.
    pub evictions: Option<usize>,
    /// Local data that has to be copied: of local volumes and of the ephemeral storage that pods ask for. Bytes.
    pub copy_bytes: Option<u64>,
    /// How long, in milliseconds.
    pub ms: Option<u64>,
    /// What this is made of, and what it leaves out.
    pub why: String,
}

/// Bits a second, as `10Gbit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bandwidth(u64);

impl Default for Bandwidth {
    /// 10 Gbit a second.
    fn default() -> Bandwidth {
        Bandwidth(10_000_000_000)
    }
}

impl Bandwidth {
    /// How long so many bytes take. Milliseconds.
    pub fn time_ms(self, bytes: u64) -> u64 {
        u64::try_from(u128::from(bytes) * 8 * 1_000 / u128::from(self.0.max(1))).unwrap_or(u64::MAX)
    }
}

impl FromStr for Bandwidth {
    type Err = String;

    fn from_str(text: &str) -> Result<Bandwidth, String> {
        let units = [("Mbit", 1_000_000), ("Gbit", 1_000_000_000), ("Tbit", 1_000_000_000_000)];
        let found = units.iter().find_map(|(unit, bits)| Some((text.strip_suffix(unit)?, *bits)));
        let bits = found.and_then(|(number, bits)| number.parse::<u32>().ok().map(|n| u64::from(n) * bits));
        let known = bits.filter(|bits| *bits > 0).map(Bandwidth);
        known.ok_or_else(|| {
            format!("{} is not a bandwidth; write for instance 10Gbit (Mbit, Gbit or Tbit)", quoted(text))
        })
    }
}

impl TryFrom<String> for Bandwidth {
    type Error = String;
    fn try_from(text: String) -> Result<Bandwidth, String> {
        text.parse()
    }
}

impl From<Bandwidth> for String {
    fn from(bandwidth: Bandwidth) -> String {
        bandwidth.to_string()
    }
}

impl fmt::Display for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bits if bits.is_multiple_of(1_000_000_000_000) => write!(f, "{}Tbit", bits / 1_000_000_000_000),
            bits if bits.is_multiple_of(1_000_000_000) => write!(f, "{}Gbit", bits / 1_000_000_000),
            bits => write!(f, "{}Mbit", bits / 1_000_000),
        }
    }
}

/// What the plan's change would cost by other means. What the API did not tell is not known, and never taken for nothing.
pub fn compare(plan: &Plan, facts: &Facts, bandwidth: Bandwidth) -> Comparison {
    let touched: BTreeSet<&NodeName> = plan.swaps().map(|(_, _, s)| &s.node).collect();
    let api = facts.api.as_ref();
    let evicted = |all: bool| {
        let pods = &api?.evictable;
        Some(pods.iter().filter(|(node, _)| all || touched.contains(node)).map(|(_, n)| n).sum::<usize>())
    };
    let bytes = |all: bool| {
        let bytes = &api?.local_bytes;
        let of = bytes.iter().filter(|(node, _)| all || touched.contains(node)).map(|(_, n)| *n);
        Some(of.fold(0_u64, u64::saturating_add))
    };
    let drains = DRAIN_MS.saturating_mul(touched.len() as u64);
    let copied = |all| bytes(all).map(|bytes| bandwidth.time_ms(bytes));
    Comparison {
        bandwidth,
        strategies: vec![
            Strategy {
                name: "in place".into(),
                evictions: Some(0),
                copy_bytes: Some(0),
                ms: Some(plan.estimate.total_ms()),
                why: "pods and their data stay where they are; the components' own restarts are all that happens"
                    .into(),
            },
            Strategy {
                name: "drain node by node".into(),
                evictions: evicted(false),
                copy_bytes: bytes(false),
                ms: copied(false).map(|ms| ms.saturating_add(drains)),
                why: format!(
                    "each node's local data is copied away before it is drained; one node at a time, {} minutes each to \
                     drain and to come back",
                    DRAIN_MS / 60_000
                ),
            },
            Strategy {
                name: "a new cluster".into(),
                evictions: evicted(true),
                copy_bytes: bytes(true),
                ms: copied(true),
                why: "all pods start anew and all local data is copied; as many machines again, and the move of what \
                      calls the cluster, are not counted"
                    .into(),
            },
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::samples::{cluster, stage};
    use crate::plan::{ApiFacts, Settings, make};
    use jiff::Timestamp;

    #[test]
    fn a_bandwidth_reads_back() {
        for text in ["10Gbit", "1Mbit", "2Tbit", "1500Mbit"] {
            assert_eq!(text.parse::<Bandwidth>().unwrap().to_string(), text);
        }
        for bad in ["", "10", "10GB", "0Gbit", "-1Gbit", "10 Gbit", "99999999999Gbit"] {
            assert!(bad.parse::<Bandwidth>().is_err(), "{bad}");
        }
        // A petabyte at 10 Gbit/s: nine days and some.
        assert_eq!(Bandwidth::default().time_ms(1_000_000_000_000_000) / 3_600_000, 222);
    }

    #[test]
    fn only_what_the_plan_touches_is_drained_and_what_is_not_known_is_not_nothing() {
        let mut stage = stage();
        stage.scope.racks = vec!["rack1".parse().unwrap()];
        stage.bumps.retain(|b| b.component == crate::fleet::Component::KubeProxy);
        let cluster = cluster(3, 12, 3);
        let plan = make(&cluster, &stage, &Settings::default(), Timestamp::UNIX_EPOCH);
        let nodes = plan.swaps().count() as u64;
        assert_eq!(nodes, 4);
        let unknown = compare(&plan, &Facts::default(), Bandwidth::default()).strategies;
        assert!(unknown[1..].iter().all(|s| (s.evictions, s.copy_bytes, s.ms) == (None, None, None)));
        assert_eq!((unknown[0].evictions, unknown[0].copy_bytes), (Some(0), Some(0)));
        let api = ApiFacts {
            evictable: cluster.workers().map(|n| (n.name.clone(), 30)).collect(),
            local_bytes: cluster.workers().map(|n| (n.name.clone(), 1_250_000_000)).collect(),
            ..ApiFacts::default()
        };
        let known = compare(&plan, &Facts { api: Some(api), ..Facts::default() }, Bandwidth::default()).strategies;
        assert_eq!((known[1].evictions, known[1].copy_bytes), (Some(120), Some(5_000_000_000)));
        assert_eq!(known[1].ms, Some(nodes * 1_000 + nodes * DRAIN_MS));
        assert_eq!(
            (known[2].evictions, known[2].copy_bytes, known[2].ms),
            (Some(360), Some(15_000_000_000), Some(12_000))
        );
    }
}
