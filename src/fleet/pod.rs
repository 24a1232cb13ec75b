//! The proof that a swap left a node's pods alone.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// What is remembered of a pod to tell later whether it was disturbed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodProof {
    /// `namespace/name`, for people.
    pub pod: String,
    /// The pod's UID.
    pub uid: String,
    /// Whether it had ended by itself (phase Succeeded or Failed).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
    /// Whether its Ready condition was true.
    pub ready: bool,
    /// When its Ready condition last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_since: Option<Timestamp>,
    /// Its containers, init containers left out.
    pub containers: Vec<ContainerProof>,
}

/// One container of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerProof {
    /// Its name in the pod.
    pub name: String,
    /// Its id, as the runtime gave it.
    pub id: String,
    /// How often it was restarted.
    pub restarts: i32,
    /// When it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
}

/// A pod that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disturbance {
    /// `namespace/name`.
    pub pod: String,
    /// What happened to it.
    pub kind: DisturbanceKind,
}

/// What happened to a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DisturbanceKind {
    /// Its UID is gone: it was deleted, evicted or replaced.
    Gone,
    /// The named container has another id, start time or restart count.
    Restarted(String),
    /// It was Ready and now is not.
    NotReady,
    /// It is Ready, but was not in between.
    ReadyFlapped,
    /// It ended, and was not about to.
    Ended,
}

impl std::fmt::Display for DisturbanceKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DisturbanceKind::Gone => f.write_str("is gone"),
            DisturbanceKind::Restarted(container) => write!(f, "restarted (container {container})"),
            DisturbanceKind::NotReady => f.write_str("is not Ready any more"),
            DisturbanceKind::ReadyFlapped => f.write_str("was not Ready in between"),
            DisturbanceKind::Ended => f.write_str("has ended"),
        }
    }
}

/// Compares a node's pods before and after a swap. Only pods of `before` count: new pods are nobody's concern here.
///
/// A pod that had ended before may be cleaned up. A pod that was not Ready before is not blamed for staying so.
pub fn compare_pods(before: &[PodProof], after: &[PodProof]) -> Vec<Disturbance> {
    let after: HashMap<&str, &PodProof> = after.iter().map(|p| (p.uid.as_str(), p)).collect();
    before
        .iter()
        .filter(|old| !old.ended)
        .filter_map(|old| {
            let kind = match after.get(old.uid.as_str()) {
                None => Some(DisturbanceKind::Gone),
                Some(new) => changed(old, new),
            };
            kind.map(|kind| Disturbance { pod: old.pod.clone(), kind })
        })
        .collect()
}

fn changed(old: &PodProof, new: &PodProof) -> Option<DisturbanceKind> {
    for was in &old.containers {
        let same = new.containers.iter().any(|is| {
            is.name == was.name && is.id == was.id && is.restarts == was.restarts && is.started_at == was.started_at
        });
        if !same && !was.id.is_empty() {
            return Some(DisturbanceKind::Restarted(was.name.clone()));
        }
    }
    if new.ended {
        return Some(DisturbanceKind::Ended);
    }
    match (old.ready, new.ready) {
        (true, false) => Some(DisturbanceKind::NotReady),
        (true, true) if old.ready_since != new.ready_since => Some(DisturbanceKind::ReadyFlapped),
        _ => None,
    }
}

/// Within this time before a swap a pod must have stood still to be watched after it.
const RESTLESS: SignedDuration = SignedDuration::from_hours(1);

/// Compares a node's pods before a swap with those after its wave's soak.
///
/// A soak is long enough for pods to come and go by themselves: one that is gone or has ended is nobody's concern here, and
/// neither is one that was already not Ready, or that had restarted or lost Ready by itself within the hour before the
/// swap, `at`. What counts is the same pod with another container, another start or restart, or no longer always Ready.
pub fn compare_soaked(before: &[PodProof], after: &[PodProof], at: Timestamp) -> Vec<Disturbance> {
    let there: HashSet<&str> = after.iter().filter(|p| !p.ended).map(|p| p.uid.as_str()).collect();
    let watched = |p: &&PodProof| p.ready && there.contains(p.uid.as_str()) && !restless(p, at);
    let before: Vec<PodProof> = before.iter().filter(watched).cloned().collect();
    compare_pods(&before, after)
}

fn restless(pod: &PodProof, at: Timestamp) -> bool {
    let lately = |time: Option<Timestamp>| time.is_some_and(|time| at.duration_since(time) < RESTLESS);
    let started = pod.containers.iter().any(|c| lately(c.started_at));
    let restarted = pod.containers.iter().any(|c| c.restarts > 0 && lately(c.started_at));
    // A young pod became Ready lately because it was started lately.
    restarted || (lately(pod.ready_since) && !started)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str) -> PodProof {
        PodProof {
            pod: format!("default/{uid}"),
            uid: uid.into(),
            ended: false,
            ready: true,
            ready_since: Some(Timestamp::UNIX_EPOCH),
            containers: vec![ContainerProof {
                name: "c".into(),
                id: "containerd://1".into(),
                restarts: 0,
                started_at: None,
            }],
        }
    }

    #[test]
    fn the_same_pods_are_undisturbed_and_new_ones_do_not_count() {
        assert_eq!(compare_pods(&[pod("a")], &[pod("b"), pod("a")]), []);
    }

    #[test]
    fn every_kind_of_disturbance_is_seen() {
        let seen = |edit: fn(&mut PodProof)| {
            let mut new = pod("a");
            edit(&mut new);
            compare_pods(&[pod("a")], &[new]).pop().map(|d| d.kind)
        };
        assert_eq!(seen(|_| ()), None);
        assert_eq!(seen(|p| p.uid = "z".into()), Some(DisturbanceKind::Gone));
        assert_eq!(seen(|p| p.containers[0].restarts = 1), Some(DisturbanceKind::Restarted("c".into())));
        assert_eq!(
            seen(|p| p.containers[0].id = "containerd://2".into()),
            Some(DisturbanceKind::Restarted("c".into()))
        );
        assert_eq!(
            seen(|p| p.containers[0].started_at = Some(Timestamp::UNIX_EPOCH)),
            Some(DisturbanceKind::Restarted("c".into()))
        );
        assert_eq!(seen(|p| p.ready = false), Some(DisturbanceKind::NotReady));
        assert_eq!(seen(|p| p.ready_since = None), Some(DisturbanceKind::ReadyFlapped));
        assert_eq!(seen(|p| p.ended = true), Some(DisturbanceKind::Ended));
    }

    #[test]
    fn after_a_soak_only_pods_that_stood_still_before_count() {
        let at: Timestamp = "2026-11-23T22:00:00Z".parse().unwrap();
        let ago = |minutes| Some(at - SignedDuration::from_mins(minutes));
        let old = |started: i64, ready: i64, restarts| {
            let mut old = PodProof { ready_since: ago(ready), ..pod("a") };
            (old.containers[0].started_at, old.containers[0].restarts) = (ago(started), restarts);
            old
        };
        let seen = |old: PodProof, edit: fn(&mut PodProof)| {
            let mut new = old.clone();
            edit(&mut new);
            compare_soaked(&[old], &[new], at).pop().map(|d| d.kind)
        };
        let restart = |p: &mut PodProof| p.containers[0].restarts += 1;
        let flap = |p: &mut PodProof| p.ready_since = None;
        let restarted = Some(DisturbanceKind::Restarted("c".into()));
        // Calm since long, one that was restarted when its node was last booted, and a young one.
        for calm in [old(9_000, 9_000, 0), old(9_000, 9_000, 4), old(5, 4, 0)] {
            assert_eq!(seen(calm.clone(), |_| ()), None);
            assert_eq!(seen(calm.clone(), restart), restarted);
            assert_eq!(seen(calm.clone(), flap), Some(DisturbanceKind::ReadyFlapped));
            assert_eq!(seen(calm.clone(), |p| p.ready = false), Some(DisturbanceKind::NotReady));
            // It was replaced, or came to its end.
            assert_eq!(seen(calm.clone(), |p| p.uid = "z".into()), None);
            assert_eq!(seen(calm, |p| p.ended = true), None);
        }
        // One that crashes every few minutes, and one whose probe fails now and then.
        for restless in [old(10, 10, 31), old(9_000, 20, 0), PodProof { ready: false, ..old(9_000, 9_000, 0) }] {
            assert_eq!(seen(restless.clone(), restart), None);
            assert_eq!(seen(restless, flap), None);
        }
    }

    #[test]
    fn a_pod_that_had_ended_or_was_not_ready_is_not_blamed_on_the_swap() {
        let ended = PodProof { ended: true, ..pod("a") };
        assert_eq!(compare_pods(&[ended], &[]), []);
        let sick = PodProof { ready: false, ..pod("a") };
        assert_eq!(compare_pods(std::slice::from_ref(&sick), &[PodProof { ready_since: None, ..sick.clone() }]), []);
    }
}
