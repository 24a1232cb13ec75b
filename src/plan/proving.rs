//! Where a plan waits for the proof of pods.
//!
//! A new kubelet decides within a second of its start which containers to restart, tells them to end, and replaces them once their
//! grace period is over; only then the API shows it. So the first wave that restarts kubelets is proved before anything follows, and
//! so is the last; of those in between, one may be ahead of its proof.

use super::findings::{Findings, Told};
use super::{Facts, Gate, Limits, Phase, Severity, Wave};
use crate::fleet::{Component, NodeName};

impl Limits {
    /// How long the pods of a restarted kubelet are watched when all containers of each can be ended within `end_s`; the longest
    /// possible where that is not known. Milliseconds.
    pub fn proof_ms(&self, end_s: Option<u64>) -> u64 {
        let end = end_s.map_or(self.proof_limit_ms, |s| s.saturating_mul(1_000));
        end.min(self.proof_limit_ms).saturating_add(self.first_sync_ms)
    }
}

impl Wave {
    /// The nodes whose kubelet it restarts.
    pub fn kubelets(&self) -> impl Iterator<Item = &NodeName> {
        self.swaps.iter().filter(|s| s.restarts(Component::Kubelet)).map(|s| &s.node)
    }
}

/// Adds the gates; those that are there already are replaced.
pub(super) fn prove(phases: &mut [Phase], limits: &Limits, facts: &Facts) {
    let grace = |node: &NodeName| {
        let api = facts.api.as_ref()?;
        // A node without pods has none to wait for.
        Some(api.graces.get(node).map_or(0, |longest| longest.seconds))
    };
    for hop in phases.chunk_by_mut(|a, b| a.hop == b.hop) {
        let mut waves: Vec<&mut Wave> = hop.iter_mut().flat_map(|p| &mut p.waves).collect();
        for wave in &mut waves {
            wave.gates.retain(|g| !matches!(g, Gate::PodsProved { .. }));
        }
        waves.retain(|w| w.kubelets().next().is_some());
        let last = waves.len().saturating_sub(1);
        let mut before = 0;
        for (i, wave) in waves.into_iter().enumerate() {
            let here = wave.kubelets().map(|node| limits.proof_ms(grace(node))).max().unwrap_or_default();
            let own = i == 0 || i == last;
            wave.gates.push(Gate::PodsProved { own, ms: if own { here } else { before } });
            before = here;
        }
    }
}

/// Tells of pods that cannot be proved, since they may take longer to end than the limit allows for.
pub(super) fn check_graces(phases: &[Phase], limits: &Limits, facts: &Facts, findings: &mut Findings) {
    let Some(api) = &facts.api else { return };
    let nodes = phases.iter().flat_map(|p| &p.waves).flat_map(Wave::kubelets);
    for (node, grace) in nodes.filter_map(|n| Some((n, api.graces.get(n)?))) {
        if grace.seconds.saturating_mul(1_000) <= limits.proof_limit_ms {
            continue;
        }
        let text = format!(
            "pods may take longer to end than the proof waits ({} s): whether a new kubelet restarts such a pod is not seen in time, and \
             the report calls it not proved; the longest here: {} with {} s",
            limits.proof_limit_ms / 1_000,
            grace.pod,
            grace.seconds
        );
        let told = Told::new(Severity::Warning, "grace-over-limit", text)
            .mend("raise proof_limit in [rollout] (or --proof-limit), or look at these pods yourself afterwards");
        findings.tell(told, Some(node));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::samples::{cluster, stage};
    use crate::plan::{ApiFacts, LongestGrace, Plan, Settings, make_with};
    use jiff::Timestamp;

    fn planned(graces: &[(&str, u64)], limit_ms: u64) -> Plan {
        let graces = graces.iter().map(|(node, seconds)| {
            (node.parse().unwrap(), LongestGrace { seconds: *seconds, pod: format!("db/{node}-0") })
        });
        let facts =
            Facts { api: Some(ApiFacts { graces: graces.collect(), ..ApiFacts::default() }), ..Facts::default() };
        let mut stage = stage();
        (stage.limits.proof_limit_ms, stage.limits.first_sync_ms) = (limit_ms, 20_000);
        make_with(&cluster(3, 12, 3), &facts, &stage, &Settings::default(), Timestamp::UNIX_EPOCH)
    }

    fn gates(plan: &Plan) -> Vec<(bool, u64)> {
        let gates = plan.phases.iter().flat_map(|p| &p.waves).flat_map(|w| &w.gates);
        gates.filter_map(|g| if let Gate::PodsProved { own, ms } = g { Some((*own, *ms)) } else { None }).collect()
    }

    #[test]
    fn the_first_and_the_last_wave_of_kubelets_are_proved_and_one_between_may_be_ahead() {
        let canary = planned(&[], 600_000);
        let canary = canary.phases.iter().flat_map(|p| &p.waves).find(|w| w.kubelets().next().is_some()).unwrap();
        let name = canary.kubelets().next().unwrap().as_str();
        let found = gates(&planned(&[(name, 300)], 600_000));
        // The canary with its 5 minutes; the first master's gate waits for the canary's, which is over by then.
        assert_eq!(found[..3], [(true, 320_000), (false, 320_000), (false, 20_000)]);
        assert_eq!(found.last(), Some(&(true, 20_000)));
        assert!(found[1..found.len() - 1].iter().all(|(own, _)| !own), "{found:?}");
    }

    #[test]
    fn without_facts_the_longest_wait_is_planned_for() {
        let plan =
            make_with(&cluster(3, 12, 3), &Facts::default(), &stage(), &Settings::default(), Timestamp::UNIX_EPOCH);
        assert!(gates(&plan).iter().all(|(_, ms)| *ms == 620_000));
    }

    #[test]
    fn graces_over_the_limit_are_named() {
        let plan = planned(&[("rack0-cs1", 3_600), ("rack0-cs2", 600)], 600_000);
        let found: Vec<_> = plan.findings.iter().filter(|f| f.code == "grace-over-limit").collect();
        let [found] = found.as_slice() else { panic!("{:?}", plan.findings) };
        assert_eq!(found.nodes, ["rack0-cs1".parse().unwrap()]);
        assert!(found.text.contains("600 s") && found.text.contains("db/rack0-cs1-0 with 3600 s"), "{}", found.text);
    }
}
