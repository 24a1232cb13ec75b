//! The control group: how often pods change on nodes that no swap touches, over the same time as swaps are under way. On a large
//! cluster pods come and go every second; what that amounts to is measured, not assumed.

use super::elsewhere::MEMORY;
use super::shared::Shared;
use crate::fleet::{NodeName, PodProof, changed_pods, lately_restarted, restarted_pods};
use crate::journal::{Event, JournalError, Run, RunState, SwapState};
use futures::future::join_all;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Nodes in a sample: enough to tell a quiet cluster from a busy one before the canary's turn comes, and a list every two seconds for
/// the API.
const NODES: usize = 16;
/// Between the two looks of a sample: what a default grace period and a soak take.
const WINDOW: Duration = Duration::from_secs(60);
/// Changes by others that are never called many.
const FEW: f64 = 5.0;
/// And more than so many times what is expected are.
const FAR: f64 = 3.0;

/// Samples for as long as it is polled.
pub(super) async fn keep_sampling(shared: Arc<Shared>) -> Result<(), JournalError> {
    let mut turn = 0;
    let mut told = 0;
    loop {
        let nodes = shared.log.with(|run, _| untouched(run, turn));
        turn = turn.wrapping_add(NODES);
        let begun = Instant::now();
        let before = pods(&shared, nodes).await;
        hear_of_restarts(&shared, &before);
        sleep(WINDOW).await;
        sample(&shared, before, begun).await?;
        told = tell_of_many(&shared, told)?;
    }
}

/// Some nodes that no swap touches now, nor has touched lately: each time others. None while no waves run.
fn untouched(run: &Run, turn: usize) -> Vec<NodeName> {
    if !matches!(run.state, RunState::Running | RunState::Pausing) || run.wave.is_none() {
        return Vec::new();
    }
    let pending: BTreeSet<&NodeName> = run.pods.pending.values().map(|p| &p.node).collect();
    let nodes: Vec<&NodeName> = run
        .plan
        .cluster
        .nodes
        .values()
        .filter(|n| n.ready && !pending.contains(&n.name) && at_rest(run, &n.name))
        .map(|n| &n.name)
        .collect();
    let start = turn.checked_rem(nodes.len()).unwrap_or(0);
    nodes.iter().cycle().skip(start).take(NODES.min(nodes.len())).map(|n| (*n).clone()).collect()
}

fn at_rest(run: &Run, node: &NodeName) -> bool {
    run.swaps_of(node).all(|s| matches!(s.state, SwapState::Waiting | SwapState::Committed | SwapState::Skipped))
}

async fn pods(shared: &Shared, nodes: Vec<NodeName>) -> Vec<(NodeName, Vec<PodProof>)> {
    let asked = nodes.into_iter().map(|node| async move {
        // What cannot be asked is not in the sample.
        let pods = shared.ports.cluster.pods(&node).await.ok()?;
        Some((node, pods))
    });
    let asked: Vec<_> = asked.collect();
    join_all(asked).await.into_iter().flatten().collect()
}

/// What restarted shortly before the first look counts as well: the canary's turn comes before a sample is through. Only on nodes that
/// this run has not touched yet.
fn hear_of_restarts(shared: &Shared, sample: &[(NodeName, Vec<PodProof>)]) {
    let now = shared.log.now();
    let since = now.checked_sub(MEMORY).unwrap_or_default();
    let new = |node: &NodeName| shared.log.with(|run, _| run.swaps_of(node).all(|s| s.begun.is_none()));
    for (_, pods) in sample.iter().filter(|(node, _)| new(node)) {
        let restarts = lately_restarted(pods, since).into_iter();
        shared.elsewhere.heard_of(restarts.map(|(uid, at)| (uid, now.duration_since(at).unsigned_abs())));
    }
}

async fn sample(shared: &Shared, before: Vec<(NodeName, Vec<PodProof>)>, begun: Instant) -> Result<(), JournalError> {
    let after = pods(shared, before.iter().map(|(node, _)| node.clone()).collect()).await;
    let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let since = shared.log.now().checked_sub(begun.elapsed()).unwrap_or_default();
    let (mut nodes, mut all, mut changed) = (0, 0, 0);
    for (node, pods) in &after {
        let Some((_, was)) = before.iter().find(|(n, _)| n == node) else { continue };
        let moved =
            |run: &Run| !at_rest(run, node) || run.swaps_of(node).any(|s| s.begun.is_some_and(|at| at >= since));
        if shared.log.with(|run, _| moved(run)) {
            continue;
        }
        nodes += 1;
        all += was.iter().filter(|p| !p.ended).count();
        changed += changed_pods(was, pods);
        shared.elsewhere.saw(restarted_pods(was, pods, since));
    }
    if all > 0 {
        shared.log.tell(Event::ChurnSeen { nodes, pods: all, changed, ms })?;
    }
    Ok(())
}

/// Says once that others change far more pods on swapped nodes than elsewhere, and again when it has doubled. How many were told of.
fn tell_of_many(shared: &Shared, told: usize) -> Result<usize, JournalError> {
    let now = shared.log.now();
    let watched = shared.log.proofs(|proofs| proofs.watched(now));
    let (others, churn) = shared.log.with(|run, _| (run.pods.changed.len(), run.pods.churn));
    // One pod for all the milliseconds is as good as all pods for some.
    let Some(expected) = churn.expected(1, watched) else { return Ok(told) };
    if !many(others, expected) || others < told.saturating_mul(2) {
        return Ok(told);
    }
    let text = format!(
        "others changed {others} pods on swapped nodes, {expected:.1} are expected by the control group: something may follow the swaps; \
         look at what the report says changed them"
    );
    shared.log.tell(Event::Note { text })?;
    Ok(others)
}

fn many(others: usize, expected: f64) -> bool {
    others as f64 > FEW + FAR * expected
}
