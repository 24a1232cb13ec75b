//! The members of etcd and the API servers: whether those that must be well are.

use super::shared::Shared;
use super::verify::healthy;
use crate::fleet::{Component, Node, NodeName};
use crate::plan::Check;
use crate::remote::Answer;
use futures::future::join_all;
use std::time::Duration;
use tokio::time::sleep;

/// How often a member that is behind is asked again.
const TRIES: usize = 5;
/// Between two of these.
const AGAIN: Duration = Duration::from_millis(200);

/// Every member but `except` is well; etcd's are in sync, too.
///
/// # Errors
/// In words: the first that is not, and why.
pub(super) async fn members(shared: &Shared, component: Component, except: Option<&NodeName>) -> Result<(), String> {
    let Some(settings) = shared.plan.components.get(&component) else { return Ok(()) };
    // A master that did not answer when the plan was made may be a member too: nothing moves while that is not known.
    let unknown = |n: &Node| n.reachable == Some(false);
    let members = shared.plan.cluster.masters().filter(|n| n.components.contains_key(&component) || unknown(n));
    let members: Vec<&NodeName> = members.map(|n| &n.name).collect();
    let needed: Vec<&NodeName> = members.iter().filter(|n| Some(**n) != except).copied().collect();
    let asked = needed.iter().map(|&name| async move {
        let port = shared.ports.fleet.node(name).ok_or_else(|| format!("{name}: the inventory does not know it"))?;
        healthy(port.as_ref(), component, &settings.health).await.map_err(|why| format!("{name}: {why}"))
    });
    join_all(asked).await.into_iter().collect::<Result<(), String>>()?;
    match &settings.version {
        Some(check) if component == Component::Etcd => in_sync(shared, &members, &needed, check).await,
        _ => Ok(()),
    }
}

/// What an etcd member says of itself in its metrics.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Progress {
    leader: bool,
    learner: bool,
    committed: f64,
    applied: f64,
}

impl Progress {
    /// A gauge that is not there tells nothing, and what is not known is not in sync. Only learners are younger than some
    /// etcd that is still about (3.4).
    fn read(answer: &Answer) -> Result<Progress, &'static str> {
        let number = |name| answer.gauge(name).ok_or(name);
        Ok(Progress {
            leader: number("etcd_server_has_leader")? > 0.0,
            learner: answer.gauge("etcd_server_is_learner").is_some_and(|is| is > 0.0),
            committed: number("etcd_server_proposals_committed_total")?,
            applied: number("etcd_server_proposals_applied_total")?,
        })
    }
}

/// Every needed member sees a leader, votes, and has applied all that any member knew to be committed when this began.
///
/// The two gauges are indices in the one log that all members share, so they can be compared between members. A member
/// that still starts has them at 0, one that catches up is behind the highest `etcd_server_proposals_committed_total`,
/// and one that is well gets there in milliseconds however much is written meanwhile: no threshold has to be guessed.
/// <https://etcd.io/docs/v3.6/metrics/> describes both; they are the same from 3.4 to 3.6.
async fn in_sync(shared: &Shared, members: &[&NodeName], needed: &[&NodeName], check: &Check) -> Result<(), String> {
    let all = join_all(members.iter().map(|name| progress(shared, name, check))).await;
    // One that need not be well may still be the leader, who knows best what is committed.
    let floor = all.iter().flatten().map(|p| p.committed).fold(0.0, f64::max);
    let mut behind: Vec<(&NodeName, f64)> = Vec::new();
    for (name, found) in members.iter().zip(all).filter(|(name, _)| needed.contains(name)) {
        let found = found?;
        if !found.leader {
            return Err(format!("{name}: this etcd member sees no leader"));
        }
        if found.learner {
            return Err(format!("{name}: this etcd member is a learner: it does not vote"));
        }
        if found.applied < floor {
            behind.push((name, found.applied));
        }
    }
    for _ in 0..TRIES {
        if behind.is_empty() {
            return Ok(());
        }
        sleep(AGAIN).await;
        let again = join_all(behind.iter().map(|(name, _)| progress(shared, name, check))).await;
        let names = behind.iter().map(|(name, _)| *name);
        let again: Result<Vec<_>, String> = names.zip(again).map(|(name, p)| Ok((name, p?.applied))).collect();
        behind = again?.into_iter().filter(|(_, applied)| *applied < floor).collect();
    }
    let lag = |(name, applied): &(&NodeName, f64)| format!("{name}: this etcd member has applied {applied} of {floor}");
    behind.first().map_or(Ok(()), |first| Err(format!("{}: it is not in sync", lag(first))))
}

async fn progress(shared: &Shared, name: &NodeName, check: &Check) -> Result<Progress, String> {
    let port = shared.ports.fleet.node(name).ok_or_else(|| format!("{name}: the inventory does not know it"))?;
    let answer = port.ask(check).await.map_err(|e| format!("{name}: {e}"))?;
    Progress::read(&answer).map_err(|missing| {
        format!(
            "{name}: {check} states no {missing}, so nothing says whether this etcd member is in sync; \
             `version` of [component.etcd] must be its /metrics"
        )
    })
}

/// A member that could lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Follower {
    /// Its node.
    pub(super) node: NodeName,
    /// Its id, hexadecimal, where its metrics state it.
    pub(super) member: Option<String>,
}

/// The members beside `leader` that are healthy, vote and see a leader; who has applied most comes first.
pub(super) async fn followers(shared: &Shared, leader: &NodeName) -> Vec<Follower> {
    let Some(settings) = shared.plan.components.get(&Component::Etcd) else { return Vec::new() };
    let Some(check) = &settings.version else { return Vec::new() };
    let others = shared.plan.cluster.masters().filter(|n| n.components.contains_key(&Component::Etcd));
    let asked = others.filter(|n| n.name != *leader).map(|node| async {
        let port = shared.ports.fleet.node(&node.name)?;
        healthy(port.as_ref(), Component::Etcd, &settings.health).await.ok()?;
        let answer = port.ask(check).await.ok()?;
        let progress = Progress::read(&answer).ok().filter(|p| p.leader && !p.learner)?;
        Some((progress.applied, Follower { node: node.name.clone(), member: member_id(&answer) }))
    });
    let mut found: Vec<(f64, Follower)> = join_all(asked).await.into_iter().flatten().collect();
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found.into_iter().map(|(_, follower)| follower).collect()
}

/// `etcd_server_id{server_id="8e9e05c52164694d"} 1`: there since etcd 3.4.
fn member_id(answer: &Answer) -> Option<String> {
    let text = String::from_utf8_lossy(&answer.body);
    let line = text.lines().find_map(|line| line.strip_prefix("etcd_server_id{server_id=\""))?;
    let (id, _) = line.split_once('"')?;
    (id.len() <= 16 && !id.is_empty() && id.chars().all(|c| c.is_ascii_hexdigit())).then(|| id.to_owned())
}

/// Whether this node's member leads; none where it does not say.
pub(super) async fn leads(shared: &Shared, name: &NodeName) -> Option<bool> {
    let check = shared.plan.components.get(&Component::Etcd)?.version.as_ref()?;
    let answer = shared.ports.fleet.node(name)?.ask(check).await.ok()?;
    answer.gauge("etcd_server_is_leader").map(|is| is > 0.0)
}

/// The node of etcd's leader, asked afresh; `None` when none says that it leads.
pub(super) async fn etcd_leader(shared: &Shared) -> Option<NodeName> {
    let check = shared.plan.components.get(&Component::Etcd)?.version.as_ref()?;
    let members = shared.plan.cluster.masters().filter(|n| n.components.contains_key(&Component::Etcd));
    let asked = members.map(|node| async {
        let answer = shared.ports.fleet.node(&node.name)?.ask(check).await.ok()?;
        (answer.gauge("etcd_server_is_leader") == Some(1.0)).then(|| node.name.clone())
    });
    join_all(asked).await.into_iter().flatten().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> Answer {
        Answer { status: 200, body: body.as_bytes().to_vec() }
    }

    #[test]
    fn a_member_states_its_id_in_hexadecimal() {
        let id = |text: &str| member_id(&answer(text));
        let found = id("# TYPE etcd_server_id gauge\netcd_server_id{server_id=\"8e9e05c52164694d\"} 1\n");
        assert_eq!(found.as_deref(), Some("8e9e05c52164694d"));
        for bad in ["", "etcd_server_id 1\n", "etcd_server_id{server_id=\"8e; rm\"} 1\n", "etcd_server_id{server_id=\""]
        {
            assert_eq!(id(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_member_says_how_far_it_is() {
        // As etcd 3.4.23 writes it.
        let text = "etcd_server_has_leader 1\netcd_server_is_learner 0\n\
                    # TYPE etcd_server_proposals_applied_total gauge\netcd_server_proposals_applied_total 1.34217728e+08\n\
                    etcd_server_proposals_committed_total 1.34217729e+08\n";
        let read = Progress::read(&answer(text)).unwrap();
        let wanted = Progress { leader: true, learner: false, committed: 134_217_729.0, applied: 134_217_728.0 };
        assert_eq!(read, wanted);
        let old = text.replace("etcd_server_is_learner 0\n", "");
        assert_eq!(Progress::read(&answer(&old)), Ok(wanted));
        let blind = text.replace("_applied_", "_x_");
        assert_eq!(Progress::read(&answer(&blind)), Err("etcd_server_proposals_applied_total"));
        assert!(Progress::read(&answer(r#"{"etcdserver":"3.6.11"}"#)).is_err());
    }
}
