//! How long a plan should take, and what it pulls. A word beforehand; the run measures.
//!
//! The time is that of the rounds: a wave of n swaps of which k may fly at once takes ⌈n/k⌉ of them, or as many as its fullest
//! rack takes with `max_unavailable` at once; likewise the pulls. Each round lasts as long as one swap of its kind: half of them
//! are not longer than its p50, nine of ten not longer than its p90. Adding up all rounds at p50 gives the short end of the
//! range, all at p90 the long one, which is meant to be on the safe side. Soaks are added as they are, and with them what the proof of
//! pods takes longer than they do; gates and pauses are not known beforehand.

use super::{Estimate, Facts, Gate, Limits, Pace, Phase, PhaseKind, Spread, Swap, Wave};
use crate::fleet::{Cluster, DEFAULT_GRACE_S, RackName};
use std::collections::BTreeMap;

/// One image onto one node, as long as nothing else is known: 200 MB at some 10 MB/s a node, and a slow registry.
const PULL: Spread = Spread { p50: 20_000, p90: 60_000 };

/// One swap, from the intent to the verdict, as long as nothing else is known.
fn swap(kind: PhaseKind) -> Spread {
    match kind {
        // An apiserver drains its requests, then fills its caches.
        PhaseKind::KubeApiserver => Spread { p50: 15_000, p90: 40_000 },
        PhaseKind::Etcd => Spread { p50: 10_000, p90: 25_000 },
        _ => Spread { p50: 5_000, p90: 12_000 },
    }
}

/// The key of a swap in [`Pace::swaps`]: its components in the order of their restarts.
fn key(swap: &Swap) -> String {
    let components: Vec<&str> = swap.changes.iter().map(|c| c.component.as_str()).collect();
    components.join("+")
}

/// The estimate for these phases.
pub(super) fn estimate(cluster: &Cluster, facts: &Facts, phases: &[Phase], limits: &Limits) -> Estimate {
    let nothing = Pace::default();
    let past = facts.past.as_ref().unwrap_or(&nothing);
    let mut estimate = Estimate { runs: past.runs, ..Estimate::default() };
    volumes(cluster, facts, phases, &mut estimate);
    let pull = past.pull.unwrap_or(PULL);
    let pulls = rounds(estimate.pulls.images, limits.max_pulls);
    estimate.prefetch_ms = pulls.saturating_mul(pull.p50);
    let mut slow = pulls.saturating_mul(pull.p90);
    let (mut usual, mut slowest) = (Course::default(), Course::default());
    for phase in phases {
        for wave in &phase.waves {
            let mut in_rack: BTreeMap<&RackName, usize> = BTreeMap::new();
            let mut spread = Spread::default();
            for one in &wave.swaps {
                let of = past.swaps.get(&key(one)).copied().unwrap_or_else(|| swap(phase.kind));
                spread = Spread { p50: spread.p50.max(of.p50), p90: spread.p90.max(of.p90) };
                if let Some(node) = cluster.nodes.get(&one.node) {
                    *in_rack.entry(&node.rack).or_default() += 1;
                }
            }
            let fullest = in_rack.values().max().map_or(0, |n| rounds(*n, limits.max_unavailable));
            let rounds = rounds(wave.swaps.len(), wave.max_parallel).max(fullest);
            estimate.work_ms = estimate.work_ms.saturating_add(rounds.saturating_mul(spread.p50));
            slow = slow.saturating_add(rounds.saturating_mul(spread.p90));
            // Where nobody asked for the pods, most have the default grace period.
            let likely = if facts.api.is_none() { limits.proof_ms(Some(DEFAULT_GRACE_S.into())) } else { u64::MAX };
            usual.pass(wave, rounds.saturating_mul(spread.p50), likely);
            slowest.pass(wave, rounds.saturating_mul(spread.p90), u64::MAX);
        }
    }
    estimate.soak_ms = usual.waited;
    estimate.slow_ms = slow.saturating_add(slowest.waited);
    estimate
}

/// How far a run is, and how long it has waited for soaks and proofs. Milliseconds.
#[derive(Default)]
struct Course {
    now: u64,
    waited: u64,
    /// When the pods of the wave before are proved.
    proved: u64,
}

impl Course {
    /// A wave whose swaps take `work`, and whose pods are proved after `most` at the latest.
    fn pass(&mut self, wave: &Wave, work: u64, most: u64) {
        let done = self.now.saturating_add(work);
        let soak: u64 = wave.gates.iter().map(|g| if let Gate::Soak { ms } = g { *ms } else { 0 }).sum();
        let mut until = done.saturating_add(soak);
        for gate in &wave.gates {
            if let Gate::PodsProved { own, ms } = gate {
                let here = done.saturating_add((*ms).min(most));
                until = until.max(if *own { here } else { self.proved });
                self.proved = here;
            }
        }
        self.waited = self.waited.saturating_add(until - done);
        self.now = until;
    }
}

/// What is to be pulled: every image that a node will need and does not have.
fn volumes(cluster: &Cluster, facts: &Facts, phases: &[Phase], estimate: &mut Estimate) {
    for pull in phases.iter().flat_map(|p| &p.pulls) {
        let has = facts.nodes.get(&pull.node).map(|n| &n.images);
        for image in &pull.images {
            if has.is_some_and(|has| has.contains(image)) {
                estimate.present += 1;
                continue;
            }
            let size = facts.images.get(image).and_then(|i| i.size);
            estimate.pulls.add(size);
            if let Some(node) = cluster.nodes.get(&pull.node) {
                estimate.racks.entry(node.rack.clone()).or_default().add(size);
            }
        }
    }
}

fn rounds(work: usize, at_once: usize) -> u64 {
    work.div_ceil(at_once.max(1)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::samples::{cluster, stage};
    use crate::plan::{ImageFacts, NodeFacts, Plan, Settings, make_with};
    use jiff::Timestamp;

    fn planned(facts: &Facts) -> Plan {
        let mut stage = stage();
        stage.limits.max_unavailable = 2;
        make_with(&cluster(3, 12, 3), facts, &stage, &Settings::default(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn without_facts_it_comes_from_defaults_and_knows_no_size() {
        let plan = planned(&Facts::default());
        let e = &plan.estimate;
        assert_eq!(e.runs, 0);
        assert_eq!((e.pulls.bytes, e.pulls.unknown), (0, e.pulls.images));
        // 12 workers and 3 masters, each some images.
        let images: usize = plan.phases.iter().flat_map(|p| &p.pulls).map(|p| p.images.len()).sum();
        assert_eq!((e.pulls.images, e.present), (images, 0));
        assert_eq!(e.racks.values().map(|v| v.images).sum::<usize>(), images);
        assert!(e.total_ms() < e.slow_ms);
    }

    #[test]
    fn what_a_node_has_is_not_pulled_and_sizes_add_up() {
        let image = planned(&Facts::default()).phases[0].pulls[0].images[0].clone();
        let mut facts = Facts::default();
        facts.images.insert(image.clone(), ImageFacts { size: Some(300), ..ImageFacts::default() });
        let bare = planned(&facts).estimate;
        assert_eq!(bare.pulls.bytes, 300 * (bare.pulls.images - bare.pulls.unknown) as u64);
        let node = planned(&facts).phases[0].pulls[0].node.clone();
        facts.nodes.insert(node, NodeFacts { images: [image].into(), ..NodeFacts::default() });
        let has = planned(&facts).estimate;
        assert_eq!((has.present, has.pulls.images), (1, bare.pulls.images - 1));
        assert_eq!(has.pulls.bytes, bare.pulls.bytes - 300);
    }

    #[test]
    fn past_runs_count_more_than_defaults() {
        let default = planned(&Facts::default()).estimate;
        let kinds = ["rivers+etcd-rivers+kube-proxy+kubelet", "kube-apiserver"];
        let swaps = kinds.map(|k| (k.to_owned(), Spread { p50: 1_000, p90: 100_000 })).into();
        let past = Some(Pace { runs: 3, pull: Some(Spread { p50: 1_000, p90: 2_000 }), swaps });
        let e = planned(&Facts { past, ..Facts::default() }).estimate;
        assert_eq!(e.runs, 3);
        assert!(
            e.prefetch_ms * 20 == default.prefetch_ms && e.work_ms < default.work_ms && e.slow_ms > default.slow_ms
        );
    }

    #[test]
    fn soaks_and_proofs_overlap_and_the_long_end_counts_the_longest_grace() {
        let wave = |soak: u64, own, ms| Wave {
            kind: crate::plan::WaveKind::Rack,
            title: "rack0".into(),
            max_parallel: 1,
            swaps: Vec::new(),
            gates: vec![Gate::Soak { ms: soak }, Gate::PodsProved { own, ms }],
        };
        let mut course = Course::default();
        // The canary is waited for, its soak within it; the next goes on over its own proof, which the last but one waits for.
        course.pass(&wave(60, true, 320), 10, u64::MAX);
        assert_eq!((course.now, course.waited), (330, 320));
        course.pass(&wave(60, false, 320), 10, u64::MAX);
        assert_eq!((course.now, course.waited, course.proved), (400, 380, 660));
        course.pass(&wave(60, false, 50), 10, 20);
        assert_eq!((course.now, course.waited), (660, 630));
        let plan = planned(&Facts::default());
        assert!(plan.estimate.slow_ms > plan.estimate.total_ms() + 600_000, "ten minutes of grace may come");
    }

    #[test]
    fn a_wave_takes_as_long_as_its_fullest_rack() {
        let mut stage = stage();
        stage.limits.ramp = Some("100%".parse().unwrap());
        stage.limits.max_unavailable = 1;
        stage.bumps.retain(|b| b.component == crate::fleet::Component::KubeProxy);
        stage.scope.racks = vec!["rack1".parse().unwrap()];
        let one = make_with(&cluster(3, 12, 3), &Facts::default(), &stage, &Settings::default(), Timestamp::UNIX_EPOCH);
        stage.scope.racks.push("rack2".parse().unwrap());
        let two = make_with(&cluster(3, 12, 3), &Facts::default(), &stage, &Settings::default(), Timestamp::UNIX_EPOCH);
        assert_eq!(one.estimate.work_ms, two.estimate.work_ms, "racks go side by side");
        assert_eq!(one.estimate.work_ms, 4 * 5_000);
    }
}
