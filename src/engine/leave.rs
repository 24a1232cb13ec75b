//! Clients are led away from a component before it is stopped: an etcd leader hands over to a follower, an API server leaves the
//! Endpoints. What is left of them then is little, and the stop can be short.

use super::finish::serve_again;
use super::members::{Follower, etcd_leader, followers, leads};
use super::patience::patiently;
use super::shared::Wish;
use super::swap::ABORTED;
use super::undo;
use super::visit::{PATIENCE, Visit, endpoint};
use crate::fleet::{Component, NodeName, clean_short};
use crate::journal::{Event, JournalError};
use crate::plan::{Etcdctl, etcdctl};
use crate::remote::Ran;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// One call of etcdctl ends by itself after so long. Seconds.
const CALL_S: u32 = 5;
/// And is waited for so much longer at most.
const GRACE: Duration = Duration::from_secs(5);
/// Until a handed over leadership must show in the members' own metrics.
const SEEN: Duration = Duration::from_secs(5);
/// Between two looks at these.
const LOOK: Duration = Duration::from_millis(100);
/// Followers that are tried.
const TRIES: usize = 2;
/// Characters of a program's complaint that are kept.
const COMPLAINT: usize = 200;

/// What came of it.
pub(super) enum Left {
    /// The components whose clients could not be led away; they get more time to stop.
    But(BTreeSet<Component>),
    /// A command came meanwhile: the swap is not to begin; why.
    CalledOff(String),
    /// It must not begin; why.
    Not(String),
}

/// Leads the clients of this swap's components away.
pub(super) async fn lead_away(visit: &Visit) -> Result<Left, JournalError> {
    let mut not_led = BTreeSet::new();
    let led = [Component::Etcd, Component::KubeApiserver];
    if !led.iter().any(|c| visit.change_to(*c).is_some()) {
        return Ok(Left::But(not_led));
    }
    if visit.change_to(Component::Etcd).is_some() && !etcd_hands_over(visit).await? {
        not_led.insert(Component::Etcd);
    }
    if let Some(why) = called_off(visit) {
        return Ok(Left::CalledOff(why));
    }
    if visit.change_to(Component::KubeApiserver).is_some() {
        match endpoint(&visit.node, &visit.swap) {
            Some(address) => {
                if let Some(left) = leave_endpoints(visit, address).await? {
                    return Ok(left);
                }
            }
            // It takes itself out, but only once it is told to stop.
            None => drop(not_led.insert(Component::KubeApiserver)),
        }
    }
    Ok(Left::But(not_led))
}

/// Why the swap is not to begin any more, if so.
fn called_off(visit: &Visit) -> Option<String> {
    if visit.shared.wish() == Wish::Abort {
        return Some(ABORTED.into());
    }
    undo::commanded(&visit.shared, &visit.swap)
}

/// Takes the API server's address out of the Endpoints, and gives the service proxies their time. What keeps the swap from
/// beginning, if anything does.
///
/// How many connections it still has is not asked: its metrics want credentials, and nodes' own connections to it (kubelets'
/// and controllers' watches through rivers) stay until it stops. Time alone bounds the wait.
async fn leave_endpoints(visit: &Visit, address: String) -> Result<Option<Left>, JournalError> {
    let (begun, shared, node) = (Instant::now(), &visit.shared, &visit.node.name);
    shared.log.write(Event::EndpointLeaving { node: node.clone(), address: address.clone() }).await?;
    if let Err(error) = patiently(PATIENCE, || shared.ports.cluster.endpoint(&address, false)).await {
        // It may have been taken out although the answer was lost.
        serve_again(shared, &visit.node, &visit.swap).await?;
        let why = format!("{address} could not be taken out of the default/kubernetes Endpoints: {error}");
        return Ok(Some(Left::Not(why)));
    }
    let wait = Duration::from_millis(visit.settings(Component::KubeApiserver).map_or(0, |s| s.leave_ms));
    let until = Instant::now() + wait;
    let mut wishes = shared.wish.subscribe();
    loop {
        if let Some(why) = called_off(visit) {
            return Ok(Some(Left::CalledOff(why)));
        }
        if !matches!(timeout_at(until, wishes.changed()).await, Ok(Ok(()))) {
            break;
        }
    }
    let text = format!(
        "{address} left the default/kubernetes Endpoints; service proxies had {} to follow",
        match wait.as_millis() {
            ms if ms % 1_000 == 0 => format!("{} s", ms / 1_000),
            ms => format!("{ms} ms"),
        }
    );
    tell(visit, Component::KubeApiserver, text, true, begun)?;
    Ok(None)
}

/// Hands leadership over where this member has it. Whether no leader is stopped now.
async fn etcd_hands_over(visit: &Visit) -> Result<bool, JournalError> {
    let (begun, shared) = (Instant::now(), &visit.shared);
    if leads(shared, &visit.node.name).await == Some(false) {
        return Ok(true);
    }
    let (text, done) = match hand_over(visit).await {
        Ok(to) => (format!("leadership handed over to {to}"), true),
        Err(why) => (format!("leadership not handed over, so it has more time to stop: {why}"), false),
    };
    tell(visit, Component::Etcd, text, done, begun)?;
    Ok(done)
}

fn tell(visit: &Visit, component: Component, text: String, done: bool, begun: Instant) -> Result<(), JournalError> {
    let (swap, node) = visit.ids();
    let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    visit.shared.log.tell(Event::ClientsLedAway { swap, node, component, text, done, ms })
}

/// The new leader's node.
///
/// # Errors
/// In words, when this member still leads, or may.
async fn hand_over(visit: &Visit) -> Result<NodeName, String> {
    let (shared, node) = (&visit.shared, &visit.node);
    let phase = shared.log.with(|run, _| run.swap(&visit.swap.id).map(|s| s.phase));
    let settings = phase.and_then(|p| shared.plan.phases.get(p)?.etcdctl.as_ref());
    let settings = settings.ok_or("the plan does not say how etcdctl is called")?;
    if !settings.move_leader {
        return Err("the profile switches it off (move_leader in [etcd])".into());
    }
    let ctl = etcdctl(node, settings).ok_or("its container is not known")?;
    if leads(shared, &node.name).await.is_none() {
        return Err("it does not say whether it leads (etcd_server_is_leader in its metrics)".into());
    }
    let mut followers = followers(shared, &node.name).await;
    if followers.is_empty() {
        return Err("no other member is healthy and in sync".into());
    }
    if followers.iter().any(|f| f.member.is_none()) {
        let members = Members::ask(visit, &ctl).await?;
        for follower in followers.iter_mut().filter(|f| f.member.is_none()) {
            follower.member = shared.node(&follower.node).and_then(|n| members.id_of(n));
        }
    }
    let mut why = "no other member's id is known".to_owned();
    for Follower { node: to, member } in followers.into_iter().take(TRIES) {
        let Some(member) = member else { continue };
        let moved = call(visit, &ctl, &["move-leader", &member]).await.and_then(|ran| check(&ran));
        // Whatever it said: what counts is who leads now.
        match seen(visit, &to, moved.is_ok()).await {
            Some(leader) => return Ok(leader),
            None => why = moved.err().unwrap_or_else(|| format!("{to} was asked to lead and does not")),
        }
    }
    Err(why)
}

/// Waits until the members themselves say that another leads; its node. Where the call failed, one look is enough.
async fn seen(visit: &Visit, to: &NodeName, moved: bool) -> Option<NodeName> {
    let until = Instant::now() + SEEN;
    loop {
        let leader = etcd_leader(&visit.shared).await.filter(|leader| *leader != visit.node.name);
        if leader.is_some() && leads(&visit.shared, &visit.node.name).await == Some(false) {
            return leader;
        }
        if !moved || Instant::now() > until {
            tracing::debug!("{to}: does not lead etcd");
            return None;
        }
        sleep(LOOK).await;
    }
}

async fn call(visit: &Visit, ctl: &Etcdctl, words: &[&str]) -> Result<Ran, String> {
    let limit = Duration::from_secs(u64::from(CALL_S)) + GRACE;
    let ran = visit.port.exec_within(&ctl.container, &ctl.argv(CALL_S, words), limit).await;
    ran.map_err(|error| error.to_string())
}

fn check(ran: &Ran) -> Result<(), String> {
    match ran.code {
        0 => Ok(()),
        126 | 127 => Err("its image has no etcdctl".into()),
        code => {
            let last = ran.err.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or_default();
            Err(format!("etcdctl ended with {code}: {}", clean_short(last, COMPLAINT)))
        }
    }
}

/// `etcdctl member list --write-out=json`.
#[derive(Debug, Deserialize)]
struct Members {
    members: Vec<Member>,
}

#[derive(Debug, Deserialize)]
struct Member {
    #[serde(rename = "ID")]
    id: u64,
    #[serde(default)]
    name: String,
    #[serde(default, rename = "peerURLs")]
    peers: Vec<String>,
    #[serde(default, rename = "clientURLs")]
    clients: Vec<String>,
}

impl Members {
    async fn ask(visit: &Visit, ctl: &Etcdctl) -> Result<Members, String> {
        let ran = call(visit, ctl, &["member", "list", "--write-out=json"]).await?;
        check(&ran)?;
        serde_json::from_str(ran.out.trim())
            .map_err(|_| format!("etcdctl member list said {:?}", clean_short(&ran.out, 80)))
    }

    /// The id of the member on this node, as `move-leader` takes it: hexadecimal.
    fn id_of(&self, node: &crate::fleet::Node) -> Option<String> {
        let at = |urls: &[String]| {
            let host = |url: &String| Some(url.split("://").nth(1)?.rsplit_once(':')?.0.to_owned());
            urls.iter().filter_map(host).any(|host| host == node.address)
        };
        let here = |m: &&Member| at(&m.clients) || at(&m.peers);
        let mut found = self.members.iter().filter(here);
        match (found.next(), found.next()) {
            (Some(member), None) => Some(format!("{:x}", member.id)),
            // Addresses that say nothing (all on one machine, or a name): then the name alone, where it is the node's.
            _ => {
                let named = self.members.iter().find(|m| m.name == node.name.as_str());
                named.map(|member| format!("{:x}", member.id))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_by_address_then_by_name() {
        // As etcdctl 3.6 writes it.
        let text = r#"{"header":{"cluster_id":14841639068965178418,"member_id":10276657743932975437,"raft_term":2},
            "members":[{"ID":9372538179322589801,"name":"m2","peerURLs":["https://10.0.0.2:2380"],
            "clientURLs":["https://10.0.0.2:2379","https://127.0.0.1:2379"]},
            {"ID":10276657743932975437,"name":"m1","peerURLs":["https://m1.example:2380"]}]}"#;
        let members: Members = serde_json::from_str(text).unwrap();
        let mut node = super::super::tests::a_node();
        node.address = "10.0.0.2".into();
        assert_eq!(members.id_of(&node).as_deref(), Some("8211f1d0f64f3269"));
        (node.address, node.name) = ("10.0.0.9".into(), "m1".parse().unwrap());
        assert_eq!(members.id_of(&node).as_deref(), Some("8e9e05c52164694d"));
        node.name = "m3".parse().unwrap();
        assert_eq!(members.id_of(&node), None);
    }
}
