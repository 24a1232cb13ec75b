//! How fast past runs were.

use super::{Event, Record};
use crate::fleet::{Component, SwapId};
use crate::plan::{Pace, Spread};
use std::collections::BTreeMap;

/// Durations as they are gathered from past runs' records.
#[derive(Debug, Default)]
pub struct Paces {
    runs: usize,
    pulls: Vec<u64>,
    swaps: BTreeMap<String, Vec<u64>>,
}

impl Paces {
    /// Takes note of one run. One in which no swap was committed tells nothing.
    pub fn add(&mut self, records: &[Record]) {
        // Components become healthy in the order of their restarts, each once a try.
        let mut healthy: BTreeMap<&SwapId, Vec<Component>> = BTreeMap::new();
        let mut told = false;
        for record in records {
            match &record.event {
                Event::Pulled { already: false, ms, .. } => self.pulls.push(*ms),
                Event::SwapIntended { swap, .. } => drop(healthy.remove(swap)),
                Event::SwapHealthy { swap, component, .. } => {
                    let seen = healthy.entry(swap).or_default();
                    if !seen.contains(component) {
                        seen.push(*component);
                    }
                }
                Event::SwapCommitted { swap, ms, .. } => {
                    let Some(components) = healthy.remove(swap) else { continue };
                    let names: Vec<&str> = components.iter().map(|c| c.as_str()).collect();
                    self.swaps.entry(names.join("+")).or_default().push(*ms);
                    told = true;
                }
                _ => {}
            }
        }
        self.runs += usize::from(told);
    }

    /// What it comes to; none when no run told anything.
    pub fn pace(self) -> Option<Pace> {
        let swaps = self.swaps.into_iter().filter_map(|(key, all)| Some((key, spread(all)?))).collect();
        (self.runs > 0).then(|| Pace { runs: self.runs, pull: spread(self.pulls), swaps })
    }
}

/// Nearest rank: <https://en.wikipedia.org/wiki/Percentile#The_nearest-rank_method>.
fn spread(mut all: Vec<u64>) -> Option<Spread> {
    all.sort_unstable();
    let rank = |of_ten: usize| all.get((all.len() * of_ten).div_ceil(10).checked_sub(1)?).copied();
    Some(Spread { p50: rank(5)?, p90: rank(9)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::NodeName;
    use jiff::Timestamp;

    fn records(events: Vec<Event>) -> Vec<Record> {
        let record = |(seq, event)| Record { seq, at: Timestamp::UNIX_EPOCH, prev: String::new(), event };
        (1..).zip(events).map(record).collect()
    }

    fn swap(n: u64, components: &[Component], ms: u64) -> Vec<Event> {
        let (swap, node): (SwapId, NodeName) = (format!("s{n}").parse().unwrap(), format!("n{n}").parse().unwrap());
        let healthy = |c: &Component| {
            let (swap, node): (SwapId, NodeName) = (swap.clone(), node.clone());
            Event::SwapHealthy { swap, node, component: *c, downtime_ms: 1, how: String::new() }
        };
        let mut events: Vec<Event> = components.iter().map(healthy).collect();
        events.push(Event::SwapCommitted { swap, node, pods_checked: 0, pods_undisturbed: 0, ms });
        events
    }

    #[test]
    fn nine_of_ten_are_not_longer() {
        let visit = [Component::KubeProxy, Component::Kubelet];
        let mut paces = Paces::default();
        paces.add(&records((1..=10).flat_map(|n| swap(n, &visit, n * 100)).collect()));
        let pulled = |ms, already| {
            let (node, image) = ("n1".parse().unwrap(), "a:1".parse().unwrap());
            Event::Pulled { node, image, id: String::new(), already, ms }
        };
        paces.add(&records([vec![pulled(7, false), pulled(0, true)], swap(1, &[Component::Etcd], 50)].concat()));
        paces.add(&records(vec![pulled(9, false)]));
        let pace = paces.pace().unwrap();
        assert_eq!(pace.runs, 2, "a run without a commit is none");
        assert_eq!(pace.pull, Some(Spread { p50: 7, p90: 9 }));
        let of = |key: &str| pace.swaps[key];
        assert_eq!(
            (of("kube-proxy+kubelet"), of("etcd")),
            (Spread { p50: 500, p90: 900 }, Spread { p50: 50, p90: 50 })
        );
    }

    #[test]
    fn nothing_comes_of_nothing() {
        let mut paces = Paces::default();
        paces.add(&[]);
        assert_eq!(paces.pace(), None);
    }
}
