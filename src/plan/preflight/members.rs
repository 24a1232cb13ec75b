//! etcd's members as they say it of themselves.

use super::changes;
use crate::fleet::{Cluster, Component, Node, clean_short};
use crate::plan::findings::Findings;
use crate::plan::flags::words;
use crate::plan::{Check, Facts, Phase, Scheme, Settings, Severity, client_doors};

/// etcd's quota where it states none. Bytes. <https://etcd.io/docs/v3.6/op-guide/maintenance/#space-quota>
const QUOTA: u64 = 2 << 30;
/// A member that is this many entries behind takes long to be in sync again. A snapshot for a slow follower holds 5,000
/// (`--snapshot-catchup-entries`): beyond them it needs a whole one.
const LAG: u64 = 5_000;

pub(super) fn check(cluster: &Cluster, facts: &Facts, settings: &Settings, phases: &[Phase], findings: &mut Findings) {
    // An API server writes to etcd too; a worker's kubelet does not care.
    let bears = |c| matches!(c, Component::Etcd | Component::KubeApiserver);
    if !changes(phases).any(|(_, change)| bears(change.component)) {
        return;
    }
    for node in cluster.masters() {
        if let Some((text, mend)) = health_is_nowhere(node, settings) {
            let etcd = facts.nodes.get(&node.name).and_then(|n| n.etcd.as_ref());
            match etcd.map(|e| e.applied.is_some()) {
                // Told otherwise than by its arguments: it answers.
                Some(true) => {}
                Some(false) => findings.on(&node.name, Severity::Error, "etcd-no-health-port", text, &mend),
                None => findings.on(&node.name, Severity::Warning, "etcd-no-health-port", text, &mend),
            }
        }
    }
    leader_stays(cluster, settings, phases, findings);
    let members = || facts.nodes.iter().filter_map(|(name, node)| Some((name, node.etcd.as_ref()?)));
    let furthest = members().filter_map(|(_, m)| m.applied).max().unwrap_or(0);
    for (name, member) in members() {
        for alarm in &member.alarms {
            let text = format!("etcd reports the alarm {}: it takes no writes while it stands", clean_short(alarm, 40));
            let mend = "fix its cause (for NOSPACE: compact, defragment), then etcdctl alarm disarm";
            findings.on(name, Severity::Error, "etcd-alarm", text, mend);
        }
        let quota = member.quota.filter(|q| *q > 0).unwrap_or(QUOTA);
        if member.db_size.is_some_and(|size| size / 4 >= quota / 5) {
            let text = "etcd's database fills more than 80 % of its quota; full, it takes no more writes";
            findings.on(
                name,
                Severity::Warning,
                "etcd-db-size",
                text,
                "compact and defragment, or raise --quota-backend-bytes",
            );
        }
        if member.applied.is_some_and(|applied| furthest - applied > LAG) {
            let text = format!(
                "this etcd member is more than {LAG} entries behind the furthest: every gate waits until it is in sync"
            );
            findings.on(name, Severity::Warning, "etcd-lag", text, "look at its disk and its network first");
        }
    }
}

/// Whether, by its arguments, etcd listens nowhere where its health is asked; then in words, and what mends it.
///
/// etcd serves `/health` and `/metrics` without a client's certificate only where `--listen-metrics-urls` says so, which CKE does
/// not set by itself; without TLS its client port serves them too. <https://etcd.io/docs/v3.6/op-guide/monitoring/>
fn health_is_nowhere(node: &Node, settings: &Settings) -> Option<(String, String)> {
    let etcd = node.components.get(&Component::Etcd)?;
    let own = settings.of(Component::Etcd);
    let words = words(&etcd.args);
    // Without any flag nothing is known; a file may say more than the flags.
    if !words.iter().any(|w| w.name.is_some()) || words.iter().any(|w| w.is("config-file")) {
        return None;
    }
    let urls = |flag: &str| -> Vec<Check> {
        let value = words.iter().rfind(|w| w.is(flag)).and_then(|w| w.value).unwrap_or_default();
        value.split(',').filter_map(|url| url.trim().parse().ok()).collect()
    };
    let client = &client_doors(node, Component::Etcd, None, &own.health)[0].check;
    let plain = client.scheme == Scheme::Http;
    let at = |check: &Check| check.port == own.health.port;
    if urls("listen-metrics-urls").iter().any(at) || (plain && at(client)) {
        return None;
    }
    let text = format!(
        "etcd runs without --listen-metrics-urls for {}, where its health is asked: every gate would wait for it in vain",
        own.health
    );
    let mend = if plain {
        let place = format!("http://{}:{}", client.host, client.port);
        format!(
            "its client port serves the same: health = \"{place}/health\" and version = \"{place}/metrics\" in [component.etcd]"
        )
    } else {
        "start etcd with --listen-metrics-urls=http://127.0.0.1:2381 (CKE: extra_args of options.etcd), then plan again"
            .into()
    };
    Some((text, mend))
}

/// Whether a leader cannot hand over before it stops, as far as that is known beforehand.
fn leader_stays(cluster: &Cluster, settings: &Settings, phases: &[Phase], findings: &mut Findings) {
    if !changes(phases).any(|(_, change)| change.component == Component::Etcd) {
        return;
    }
    let long = settings.of(Component::Etcd).stop_timeout(false);
    let members = cluster.masters().filter(|n| n.components.contains_key(&Component::Etcd)).count();
    let (text, mend) = if members == 1 {
        (format!("etcd has one member: while it is swapped nothing can be written; it has {long} s to stop"), "")
    } else if !settings.etcd.move_leader {
        let text = format!(
            "etcd's leader does not hand over before it stops (move_leader = false): it has {long} s to stop, and writes \
             wait for an election"
        );
        (text, "set move_leader = true in [etcd]")
    } else {
        return;
    };
    findings.add(Severity::Info, "etcd-leader-stays", text, mend);
}
