//! What is not as it was in a pod, whatever did it.

use crate::fleet::{ContainerProof, ContainerRole, DisturbanceKind, PodProof};
use std::collections::HashMap;

/// How many pods of `before` are not as they were, whatever changed them. New pods do not count.
pub fn changed_pods(before: &[PodProof], after: &[PodProof]) -> usize {
    let after: HashMap<&str, &PodProof> = after.iter().map(|p| (p.uid.as_str(), p)).collect();
    before.iter().filter(|old| change(old, after.get(old.uid.as_str()).copied()).is_some()).count()
}

/// What is not as it was in a pod; none when nothing is that counts. `new` is none when the pod is not there any more.
///
/// A pod that had ended before may be cleaned up. A pod that was not Ready before is not blamed for staying so, and of one that
/// was being deleted before nothing is a change.
pub(super) fn change(old: &PodProof, new: Option<&PodProof>) -> Option<DisturbanceKind> {
    if old.ended {
        return None;
    }
    let Some(new) = new else { return Some(DisturbanceKind::Gone) };
    if old.deleting.is_none() && new.deleting.is_some() {
        return Some(DisturbanceKind::Deleting);
    }
    if new.ended {
        return Some(DisturbanceKind::Ended);
    }
    if let Some((was, _)) = changed_containers(old, new).next() {
        return Some(DisturbanceKind::Restarted(was.name.clone()));
    }
    match (old.ready, new.ready) {
        (true, false) => Some(DisturbanceKind::NotReady),
        (true, true) if old.ready_since != new.ready_since => Some(DisturbanceKind::ReadyFlapped),
        _ => None,
    }
}

/// Containers that do not run as they did, each with what it is now. One that had never run is not among them, nor an ephemeral
/// one: it ends when the debugging does.
pub(super) fn changed_containers<'a>(
    old: &'a PodProof,
    new: &'a PodProof,
) -> impl Iterator<Item = (&'a ContainerProof, Option<&'a ContainerProof>)> {
    old.containers.iter().filter_map(|was| {
        let is = new.containers.iter().find(|is| is.name == was.name);
        let same =
            is.is_some_and(|is| is.id == was.id && is.restarts == was.restarts && is.started_at == was.started_at);
        (!same && !was.id.is_empty() && was.role != ContainerRole::Ephemeral).then_some((was, is))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn pod(uid: &str) -> PodProof {
        let container = ContainerProof { name: "c".into(), id: "containerd://1".into(), ..ContainerProof::default() };
        PodProof {
            pod: format!("default/{uid}"),
            uid: uid.into(),
            ready: true,
            ready_since: Some(Timestamp::UNIX_EPOCH),
            containers: vec![container],
            ..PodProof::default()
        }
    }

    #[test]
    fn every_kind_of_change_is_seen() {
        let seen = |edit: fn(&mut PodProof)| {
            let mut new = pod("a");
            edit(&mut new);
            change(&pod("a"), Some(&new))
        };
        let restarted = || Some(DisturbanceKind::Restarted("c".into()));
        assert_eq!(change(&pod("a"), None), Some(DisturbanceKind::Gone));
        assert_eq!(seen(|_| ()), None);
        assert_eq!(seen(|p| p.containers[0].restarts = 1), restarted());
        assert_eq!(seen(|p| p.containers[0].id = "containerd://2".into()), restarted());
        assert_eq!(seen(|p| p.containers[0].started_at = Some(Timestamp::UNIX_EPOCH)), restarted());
        assert_eq!(seen(|p| p.containers.clear()), restarted());
        assert_eq!(seen(|p| p.ready = false), Some(DisturbanceKind::NotReady));
        assert_eq!(seen(|p| p.ready_since = None), Some(DisturbanceKind::ReadyFlapped));
        assert_eq!(seen(|p| p.ended = true), Some(DisturbanceKind::Ended));
        assert_eq!(seen(|p| p.deleting = Some(Timestamp::UNIX_EPOCH)), Some(DisturbanceKind::Deleting));
    }

    #[test]
    fn a_pod_that_had_ended_may_go_and_one_that_was_not_ready_may_stay_so() {
        assert_eq!(change(&PodProof { ended: true, ..pod("a") }, None), None);
        let sick = PodProof { ready: false, ..pod("a") };
        assert_eq!(change(&sick, Some(&PodProof { ready_since: None, ..sick.clone() })), None);
    }

    #[test]
    fn changed_pods_are_counted_and_new_ones_are_not() {
        let mut flapped = pod("b");
        flapped.ready_since = None;
        assert_eq!(changed_pods(&[pod("a")], &[pod("z"), pod("a")]), 0);
        assert_eq!(changed_pods(&[pod("a"), pod("b"), pod("c")], &[pod("z"), flapped, pod("a")]), 2);
    }
}
