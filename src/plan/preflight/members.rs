//! etcd's members as they say it of themselves.

use super::changes;
use crate::fleet::{Component, clean_short};
use crate::plan::findings::Findings;
use crate::plan::{Facts, Phase, Severity};

/// etcd's quota where it states none. Bytes. <https://etcd.io/docs/v3.6/op-guide/maintenance/#space-quota>
const QUOTA: u64 = 2 << 30;
/// A member that is this many entries behind takes long to be in sync again. A snapshot for a slow follower holds 5,000
/// (`--snapshot-catchup-entries`): beyond them it needs a whole one.
const LAG: u64 = 5_000;

pub(super) fn check(facts: &Facts, phases: &[Phase], findings: &mut Findings) {
    // An API server writes to etcd too; a worker's kubelet does not care.
    let bears = |c| matches!(c, Component::Etcd | Component::KubeApiserver);
    if !changes(phases).any(|(_, change)| bears(change.component)) {
        return;
    }
    let members = || facts.nodes.iter().filter_map(|(name, node)| Some((name, node.etcd.as_ref()?)));
    let furthest = members().filter_map(|(_, m)| m.applied).max().unwrap_or(0);
    for (name, member) in members() {
        for alarm in &member.alarms {
            let text = format!("etcd reports the alarm {}: it takes no writes while it stands", clean_short(alarm, 40));
            let mend = "mend its cause (for NOSPACE: compact, defragment), then etcdctl alarm disarm";
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
