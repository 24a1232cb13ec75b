//! One swap under way: what has to be known from its intent to its result, by the engine that began it and by one that
//! took it up again.

use super::probe::Probes;
use super::proof::Judged;
use super::shared::Shared;
use crate::fleet::{Component, ContainerName, Node, NodeName, PodProof, SwapId};
use crate::journal::{Event, JournalError, Verdict};
use crate::plan::{Change, ComponentSettings, Door, Swap, client_doors};
use crate::remote::{NodePort, TxId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a node, or the API, may be away where nothing on the node waits for the answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// How a swap ended, as it stands in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Committed,
    RolledBack,
    Failed,
    /// The node has no transaction: nothing happened yet, the swap is to be done from the start.
    NotBegun,
}

/// One swap under way.
pub(super) struct Visit {
    pub(super) shared: Arc<Shared>,
    pub(super) swap: Swap,
    pub(super) node: Node,
    pub(super) port: Arc<dyn NodePort>,
    pub(super) tx: TxId,
    /// The ids of the new images, by component.
    pub(super) images: BTreeMap<Component, String>,
    pub(super) intended: Instant,
    /// Steps that are in the journal already.
    pub(super) steps_told: usize,
    /// The pods could not be compared after the swap.
    pub(super) blind: bool,
    /// Why the swap is to be kept although pods are disturbed.
    pub(super) kept: String,
    /// Components that the journal calls healthy already.
    pub(super) announced: BTreeSet<Component>,
    /// The verdict that is in the journal.
    pub(super) decided: Option<Verdict>,
    /// What the last look at the components missed.
    pub(super) missing: String,
    pub(super) probes: Probes,
}

/// The names of a swap's containers.
pub(super) fn containers(swap: &Swap) -> Vec<ContainerName> {
    swap.changes.iter().map(|c| c.container.clone()).collect()
}

/// The API server's address that must leave the `kubernetes` Endpoints while it is swapped: only where the API servers do
/// not look after them by themselves (CKE runs them with `--endpoint-reconciler-type=none`).
pub(super) fn endpoint(node: &Node, swap: &Swap) -> Option<String> {
    swap.changes.iter().find(|c| c.component == Component::KubeApiserver)?;
    kept_endpoint(&node.components.get(&Component::KubeApiserver)?.args, &node.address)
}

/// The address of an API server with these arguments, where it does not keep itself in the Endpoints.
pub(super) fn kept_endpoint(args: &[String], address: &str) -> Option<String> {
    args.iter().find(|a| *a == "--endpoint-reconciler-type=none")?;
    let advertised = args.iter().find_map(|a| a.strip_prefix("--advertise-address="));
    Some(advertised.unwrap_or(address).to_owned())
}

impl Visit {
    pub(super) fn ids(&self) -> (SwapId, NodeName) {
        (self.swap.id.clone(), self.swap.node.clone())
    }

    /// How a component is checked. Every change has its settings: see `sound`.
    pub(super) fn settings(&self, component: Component) -> Option<&ComponentSettings> {
        self.shared.plan.components.get(&component)
    }

    /// Where the clients of what is swapped knock.
    pub(super) fn doors(&self) -> Vec<(Component, Vec<Door>)> {
        let door = |c: &Change| {
            let own = self.settings(c.component)?;
            Some((c.component, client_doors(&self.node, c.component, own.client.as_ref(), &own.health)))
        };
        self.swap.changes.iter().filter_map(door).collect()
    }

    pub(super) fn deadline(&self) -> Duration {
        Duration::from_millis(self.swap.deadline_ms)
    }

    pub(super) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.intended.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn change_to(&self, component: Component) -> Option<&Change> {
        self.swap.changes.iter().find(|c| c.component == component)
    }

    pub(super) fn change_of(&self, container: &str) -> Option<&Change> {
        self.swap.changes.iter().find(|c| c.container.as_str() == container)
    }

    /// Compares the node's pods with those before, and writes down what was not known yet.
    pub(super) async fn judge_pods(&mut self, after: &[PodProof]) -> Result<Judged, JournalError> {
        self.shared.judge(&self.swap.id, after).await
    }

    /// Pods compared, and of these the undisturbed.
    pub(super) fn pod_counts(&self) -> (usize, usize) {
        let counts = self.shared.log.proofs(|proofs| proofs.of(&self.swap.id).map(|p| p.counts()));
        counts.filter(|_| !self.blind).unwrap_or_default()
    }

    /// The swap is about to have its result. Where a kubelet was restarted, its pods are proved only later: that is written down
    /// first, so that nothing ever counts them as proved.
    pub(super) async fn leave_proof_pending(&self) -> Result<(), JournalError> {
        let limits = &self.shared.plan.limits;
        let proof = self.shared.log.proofs(|proofs| {
            let proof = proofs.of(&self.swap.id).filter(|p| p.kubelet_moved())?;
            Some((proof.counts().1, proof.wait_ms(limits)))
        });
        let Some((pods, ms)) = proof.filter(|(pods, _)| *pods > 0) else { return Ok(()) };
        let (swap, node) = self.ids();
        self.shared.log.write(Event::ProofPending { swap, node, pods, ms }).await
    }
}
