//! Clocks and certificates.

use super::changes;
use crate::fleet::{Cluster, Component, NodeName};
use crate::plan::findings::{Findings, Told};
use crate::plan::{Facts, Phase, Severity};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;

/// Clocks further from the others' middle than this are told of. Milliseconds. etcd complains of peers at one second; a node
/// states its clock in whole seconds, which costs the other one.
const SKEW_MS: i64 = 2_000;
/// Nobody likes to renew certificates in the middle of a roll-out. Days.
const SOON_DAYS: i64 = 30;

pub(super) fn check(cluster: &Cluster, facts: &Facts, phases: &[Phase], findings: &mut Findings) {
    clocks(facts, findings);
    let Some(now) = facts.at else { return };
    let moved: BTreeSet<(&NodeName, Component)> = changes(phases).map(|(node, c)| (node, c.component)).collect();
    for (name, node) in facts.nodes.iter().filter(|(name, _)| cluster.nodes.contains_key(*name)) {
        for (component, container) in &node.components {
            let Some(until) = container.certificate_until else { continue };
            let moves = moved.contains(&(name, *component));
            certificate(name, *component, moves, until, now, findings);
        }
    }
}

fn clocks(facts: &Facts, findings: &mut Findings) {
    let mut known: Vec<(i64, &NodeName)> =
        facts.nodes.iter().filter_map(|(name, n)| Some((n.clock_off_ms?, name))).collect();
    if known.len() < 2 {
        return;
    }
    known.sort();
    let middle = known[known.len() / 2].0;
    for (off, name) in known {
        if (off - middle).abs() > SKEW_MS {
            let text = format!(
                "the clocks of these nodes differ from the others' by more than {} s: leases, certificates and etcd suffer",
                SKEW_MS / 1_000
            );
            findings.on(
                name,
                Severity::Warning,
                "clock-skew",
                text,
                "look at chronyd, ntpd or systemd-timesyncd there",
            );
        }
    }
}

fn certificate(
    node: &NodeName,
    component: Component,
    moves: bool,
    until: Timestamp,
    now: Timestamp,
    findings: &mut Findings,
) {
    let mend = "renew it first: a component reads its certificates when it starts";
    if until <= now && moves {
        let text = format!("the certificate that {component} serves with has expired, and it is to be started anew");
        let told = Told::new(Severity::Error, "certificate-expired", text).mend(mend).acknowledgeable();
        findings.tell(told, Some(node));
    } else if until <= now + SignedDuration::from_hours(24 * SOON_DAYS) {
        let text = format!("the certificate that {component} serves with expires within {SOON_DAYS} days");
        findings.on(node, Severity::Warning, "certificate-expires", text, mend);
    }
}
