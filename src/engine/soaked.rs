//! Pods after a wave's soak: whether what was committed undisturbed stayed so.

use super::patience::patiently;
use super::shared::Shared;
use crate::fleet::{Disturbance, NodeName, PodProof, SwapId, compare_soaked};
use crate::journal::{Event, JournalError, Record};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Nodes whose pods are listed at once.
const AT_ONCE: usize = 16;
/// How long the API may be away for one node; it is asked again then.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pods of one committed swap's node, as they were before it.
#[derive(Debug, Clone)]
struct Proof {
    node: NodeName,
    before: Vec<PodProof>,
    at: Timestamp,
    committed: bool,
    /// Pods that the journal calls disturbed already.
    told: BTreeSet<String>,
}

/// The proofs of the wave that is under way. Folded from the journal, so that the next engine compares with the same.
#[derive(Debug, Default)]
pub(super) struct Proofs(BTreeMap<SwapId, Proof>);

impl Proofs {
    pub(super) fn apply(&mut self, record: &Record) {
        match &record.event {
            Event::SwapIntended { swap, node, pods, .. } => {
                let (node, before) = (node.clone(), pods.clone());
                let proof = Proof { node, before, at: record.at, committed: false, told: BTreeSet::new() };
                self.0.insert(swap.clone(), proof);
            }
            Event::PodsDisturbed { swap, pods, .. } => {
                if let Some(proof) = self.0.get_mut(swap) {
                    proof.told.extend(pods.iter().map(|p| p.pod.clone()));
                }
            }
            Event::SwapCommitted { swap, .. } => {
                if let Some(proof) = self.0.get_mut(swap) {
                    proof.committed = true;
                }
            }
            Event::SwapRolledBack { swap, .. } => drop(self.0.remove(swap)),
            // Nothing is in flight then.
            Event::WaveEnded { .. } => self.0.clear(),
            _ => {}
        }
    }
}

/// Compares the pods of the wave's nodes with those before their swaps, and writes down what was disturbed since.
///
/// What is found counts as any other disturbed pod: whether it is enough to stop the run is for the budget to say.
///
/// # Errors
/// In words, when a node's pods cannot be listed: what was found elsewhere is written down.
pub(super) async fn compare(shared: &Shared) -> Result<Result<(), String>, JournalError> {
    let proofs = shared.log.proofs(|proofs| {
        let committed = proofs.0.iter().filter(|(_, proof)| proof.committed);
        committed.map(|(swap, proof)| (swap.clone(), proof.clone())).collect::<Vec<_>>()
    });
    let looks = proofs.into_iter().map(|(swap, proof)| async move {
        let pods = patiently(PATIENCE, || shared.ports.cluster.pods(&proof.node)).await;
        (swap, proof, pods)
    });
    // Made beforehand: a closure over references would make the whole future one that cannot move between threads.
    let looks: Vec<_> = looks.collect();
    let mut looks = stream::iter(looks).buffered(AT_ONCE);
    let mut result = Ok(());
    while let Some((swap, proof, pods)) = looks.next().await {
        let pods = match pods {
            Ok(pods) => pods,
            Err(error) => {
                result = Err(format!("the pods of {} cannot be compared: {error}", proof.node));
                continue;
            }
        };
        let disturbed = compare_soaked(&proof.before, &pods, proof.at);
        let fresh: Vec<Disturbance> = disturbed.into_iter().filter(|d| !proof.told.contains(&d.pod)).collect();
        if !fresh.is_empty() {
            shared.log.write(Event::PodsDisturbed { swap, node: proof.node, pods: fresh }).await?;
        }
    }
    Ok(result)
}
