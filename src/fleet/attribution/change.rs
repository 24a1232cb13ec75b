//! What is not as it was in a pod, whatever did it.

use crate::fleet::{ContainerProof, ContainerRole, DisturbanceKind, PodProof};

/// What is not as it was in a pod; none when nothing is that counts. `new` is none when the pod is not there any more.
///
/// A pod that had ended before may be cleaned up. A pod that was not Ready before is not blamed for staying so, and of one that
/// was being deleted before nothing is a change.
pub(in crate::fleet) fn change(old: &PodProof, new: Option<&PodProof>) -> Option<DisturbanceKind> {
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
