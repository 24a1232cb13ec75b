//! The engine's ways out with the run lock before them: nothing that changes a node, or the API for one, is sent while the engine
//! is not sure that its run holds the lock. Questions pass.

use super::fence::RunFence;
use super::ports::Ports;
use crate::fleet::{Condition, ContainerName, FenceToken, Image, NodeName, PodEvent, PodProof, Salt};
use crate::journal::Verdict;
use crate::k8s::{ApiEndpoints, ClusterError, ClusterFacts, ClusterPort, Holder, Locked, NodeView, SealedJournal};
use crate::plan::{Change, Check, CredentialFacts, ImageFacts, NodeFacts, Swap};
use crate::remote::{
    Answer, Fence, Fleet, Inquiry, Look, NodeError, NodePort, PullProgress, Pulled, Ran, TxId, TxState,
};
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;

impl Ports {
    /// The same ways, guarded.
    pub(super) fn guarded(self, fence: &Arc<RunFence>) -> Ports {
        let fleet = Arc::new(GuardedFleet { inner: self.fleet, fence: Arc::clone(fence) });
        let cluster = Arc::new(GuardedCluster { inner: self.cluster, fence: Arc::clone(fence) });
        Ports { fleet, cluster, asker: self.asker }
    }
}

struct GuardedFleet {
    inner: Arc<dyn Fleet>,
    fence: Arc<RunFence>,
}

impl Fleet for GuardedFleet {
    fn node(&self, name: &NodeName) -> Option<Arc<dyn NodePort>> {
        let inner = self.inner.node(name)?;
        Some(Arc::new(GuardedNode { inner, fence: Arc::clone(&self.fence) }))
    }

    fn credentials(&self) -> Vec<CredentialFacts> {
        self.inner.credentials()
    }

    fn salt(&self) -> Option<Salt> {
        self.inner.salt()
    }
}

struct GuardedNode {
    inner: Arc<dyn NodePort>,
    fence: Arc<RunFence>,
}

fn fenced(why: String) -> NodeError {
    NodeError::Fenced { newer: None, why }
}

impl GuardedNode {
    /// For what the node itself refuses once it comes too late: it is sent at once, and not called back.
    fn check(&self) -> Result<(), NodeError> {
        self.fence.check().map_err(fenced)
    }
}

#[async_trait]
impl NodePort for GuardedNode {
    async fn look(&self, containers: &[ContainerName]) -> Result<Look, NodeError> {
        self.inner.look(containers).await
    }

    async fn image_id(&self, image: &Image) -> Result<Option<String>, NodeError> {
        self.inner.image_id(image).await
    }

    async fn pull(&self, image: &Image, progress: &(dyn Fn(PullProgress) + Send + Sync)) -> Result<Pulled, NodeError> {
        self.fence.within(fenced, self.inner.pull(image, progress)).await
    }

    async fn prepare(&self, changes: &[Change]) -> Result<(), NodeError> {
        self.fence.within(fenced, self.inner.prepare(changes)).await
    }

    async fn discard(&self, containers: &[ContainerName]) -> Result<(), NodeError> {
        self.fence.within(fenced, self.inner.discard(containers)).await
    }

    async fn begin(&self, tx: &TxId, swap: &Swap, stop_timeout_s: u32, fence: &Fence) -> Result<(), NodeError> {
        self.check()?;
        self.inner.begin(tx, swap, stop_timeout_s, fence).await
    }

    async fn tx_state(&self, tx: &TxId) -> Result<TxState, NodeError> {
        self.inner.tx_state(tx).await
    }

    async fn give_verdict(&self, tx: &TxId, verdict: Verdict, fence: &Fence) -> Result<Verdict, NodeError> {
        self.check()?;
        self.inner.give_verdict(tx, verdict, fence).await
    }

    async fn recover(&self, tx: &TxId, fence: &Fence) -> Result<(), NodeError> {
        self.check()?;
        self.inner.recover(tx, fence).await
    }

    /// What has ended is of no use to anybody else: it may always be forgotten.
    async fn forget(&self, tx: &TxId) -> Result<(), NodeError> {
        self.inner.forget(tx).await
    }

    async fn ask(&self, check: &Check) -> Result<Answer, NodeError> {
        self.inner.ask(check).await
    }

    async fn exec(&self, container: &ContainerName, argv: &[String]) -> Result<Ran, NodeError> {
        self.fence.within(fenced, self.inner.exec(container, argv)).await
    }

    async fn exec_within(&self, container: &ContainerName, argv: &[String], limit: Duration) -> Result<Ran, NodeError> {
        self.fence.within(fenced, self.inner.exec_within(container, argv, limit)).await
    }

    async fn knock(&self, check: &Check) -> Result<Answer, NodeError> {
        self.inner.knock(check).await
    }

    async fn facts(&self, inquiry: &Inquiry) -> Result<NodeFacts, NodeError> {
        self.inner.facts(inquiry).await
    }

    async fn registry(&self, image: &Image) -> Result<Option<ImageFacts>, NodeError> {
        self.inner.registry(image).await
    }

    async fn reconnect(&self) {
        self.inner.reconnect().await;
    }
}

struct GuardedCluster {
    inner: Arc<dyn ClusterPort>,
    fence: Arc<RunFence>,
}

#[async_trait]
impl ClusterPort for GuardedCluster {
    async fn nodes(&self) -> Result<Vec<NodeView>, ClusterError> {
        self.inner.nodes().await
    }

    async fn node(&self, name: &NodeName) -> Result<Option<NodeView>, ClusterError> {
        self.inner.node(name).await
    }

    async fn conditions(&self, name: &NodeName) -> Result<Vec<Condition>, ClusterError> {
        self.inner.conditions(name).await
    }

    async fn pods(&self, node: &NodeName) -> Result<Vec<PodProof>, ClusterError> {
        self.inner.pods(node).await
    }

    async fn pod_events(&self, uids: &[&str]) -> Result<Vec<PodEvent>, ClusterError> {
        self.inner.pod_events(uids).await
    }

    async fn leader(&self, lease: &str) -> Result<Option<String>, ClusterError> {
        self.inner.leader(lease).await
    }

    async fn facts(&self) -> Result<ClusterFacts, ClusterError> {
        self.inner.facts().await
    }

    async fn lock(&self, holder: &Holder) -> Result<Locked, ClusterError> {
        self.inner.lock(holder).await
    }

    async fn renew(&self, holder: &Holder, above: Option<FenceToken>) -> Result<Locked, ClusterError> {
        self.inner.renew(holder, above).await
    }

    async fn sealed(&self) -> Result<Option<SealedJournal>, ClusterError> {
        self.inner.sealed().await
    }

    async fn unlock(&self, holder: &Holder) -> Result<(), ClusterError> {
        self.inner.unlock(holder).await
    }

    async fn endpoint(&self, address: &str, serve: bool) -> Result<bool, ClusterError> {
        self.fence.within(ClusterError::Fenced, self.inner.endpoint(address, serve)).await
    }

    fn credentials(&self) -> Vec<CredentialFacts> {
        self.inner.credentials()
    }

    async fn renew_credentials(&self) -> Result<(), ClusterError> {
        self.inner.renew_credentials().await
    }

    async fn endpoints(&self) -> Result<ApiEndpoints, ClusterError> {
        self.inner.endpoints().await
    }
}
