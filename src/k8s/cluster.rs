//! [`ClusterPort`] over kube.

use super::credentials::{self, Renewer, Source};
use super::events::EventWatch;
use super::lease::RunLock;
use super::patience::Patience;
use super::watch::NodeWatch;
use super::{
    ApiEndpoints, ClusterError, ClusterFacts, ClusterPort, Holder, Locked, NodeView, SealedJournal, convert, endpoints,
    facts, lease,
};
use crate::fleet::{Condition, FenceToken, NodeName, PodEvent, PodProof};
use crate::plan::CredentialFacts;
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Objects asked for at once: what kubectl asks for.
pub(super) const PAGE: u32 = 500;
/// No list is longer; an API server that has always one more page must not hold us up, nor fill our memory.
const MOST: usize = 100_000;
const PAGES: usize = MOST / PAGE as usize;

/// The cluster's API through a kubeconfig. Keeps a watched copy of the nodes until it is dropped.
pub struct KubeCluster {
    client: Client,
    renewer: Arc<Renewer>,
    patience: Patience,
    watch: NodeWatch,
    /// Begun when it is first asked for: who only looks on does not pay for it.
    events: OnceLock<EventWatch>,
    /// The last list that was asked for because the watch could not be believed, and when.
    asked: Mutex<Option<(Instant, Vec<NodeView>)>>,
    lock: RunLock,
}

impl KubeCluster {
    /// Reads the kubeconfig and begins to watch the nodes. A credential plugin is asked as kubectl asks it where there is no
    /// terminal, within a time limit. The context and the API server stay what they are now; the credentials are read anew when
    /// they change. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// When the kubeconfig, or the context in it, cannot be used, or its credentials cannot be had. That the API server
    /// answers is not asked yet: [`ClusterPort::nodes`] does.
    pub async fn connect(kubeconfig: &Path, context: Option<&str>) -> Result<KubeCluster, ClusterError> {
        Self::connect_with(kubeconfig, context, Patience::default()).await
    }

    pub(super) async fn connect_with(
        kubeconfig: &Path,
        context: Option<&str>,
        patience: Patience,
    ) -> Result<KubeCluster, ClusterError> {
        // The first one stays; it is ring in any case.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let source = Source::new(kubeconfig, context, patience.plugin);
        let renewer = Renewer::start(source, patience.request.min(Duration::from_secs(5))).await?;
        let client = credentials::client(&renewer);
        let watch = NodeWatch::start(client.clone());
        let events = OnceLock::new();
        Ok(KubeCluster { client, renewer, patience, watch, events, asked: Mutex::new(None), lock: RunLock::default() })
    }

    /// The whole of a paged list. A snapshot that goes stale between two pages starts anew, as does any page that fails.
    async fn list<K>(&self, what: &str, api: &Api<K>, params: ListParams) -> Result<Vec<K>, ClusterError>
    where
        K: Resource + Clone + Debug + DeserializeOwned,
    {
        let mut all: Vec<K> = Vec::new();
        let mut token: Option<String> = None;
        // A restart is for a stale token; a server that answers 410 for ever is stopped by the count.
        let mut restarts = 0;
        let mut pages = 0;
        loop {
            let mut page = params.clone().limit(PAGE);
            page.continue_token.clone_from(&token);
            let answer = self
                .patience
                .ask(what, || async {
                    match api.list(&page).await {
                        Err(kube::Error::Api(s)) if s.code == 410 && page.continue_token.is_some() => Ok(None),
                        answer => answer.map(Some),
                    }
                })
                .await?;
            let Some(list) = answer else {
                restarts += 1;
                if restarts > 3 {
                    return Err(ClusterError::Away(format!("could not {what}: the list goes stale while it is read")));
                }
                all.clear();
                token = None;
                continue;
            };
            all.extend(list.items);
            pages += 1;
            let more = list.metadata.continue_.as_ref().is_some_and(|t| !t.is_empty());
            if all.len() > MOST || (more && pages >= PAGES) {
                let why = format!("could not {what}: the API server lists more than {MOST}");
                return Err(ClusterError::Refused(why));
            }
            token = list.metadata.continue_.filter(|t| !t.is_empty());
            if token.is_none() {
                return Ok(all);
            }
        }
    }
}

#[async_trait]
impl ClusterPort for KubeCluster {
    async fn nodes(&self) -> Result<Vec<NodeView>, ClusterError> {
        let asked_at = self.asked.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(at, _)| *at);
        let refused = self.renewer.refused();
        if !refused
            && let Some((at, nodes)) = self.watch.fresh(self.patience.request).await
            && asked_at.is_none_or(|asked| asked < at)
        {
            return Ok(nodes.iter().filter_map(|n| convert::node(n)).collect());
        }
        // A silent watch is normal in a small cluster: the answer of a moment ago still holds, unless the watch broke.
        if !refused
            && self.watch.spoke().is_some()
            && let Some((at, nodes)) = self.asked.lock().unwrap_or_else(PoisonError::into_inner).as_ref()
            && at.elapsed() < Duration::from_secs(5)
        {
            return Ok(nodes.clone());
        }
        let api: Api<Node> = Api::all(self.client.clone());
        let nodes: Vec<NodeView> =
            self.list("list the nodes", &api, ListParams::default()).await?.iter().filter_map(convert::node).collect();
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), nodes.clone()));
        Ok(nodes)
    }

    async fn node(&self, name: &NodeName) -> Result<Option<NodeView>, ClusterError> {
        let api: Api<Node> = Api::all(self.client.clone());
        let node = self.patience.ask(&format!("read node {name}"), || api.get_opt(name.as_str())).await?;
        Ok(node.as_ref().and_then(convert::node).filter(|view| view.name == *name))
    }

    async fn conditions(&self, name: &NodeName) -> Result<Vec<Condition>, ClusterError> {
        let api: Api<Node> = Api::all(self.client.clone());
        let node = self.patience.ask(&format!("read node {name}"), || api.get_opt(name.as_str())).await?;
        Ok(node.as_ref().map(convert::conditions).unwrap_or_default())
    }

    async fn pods(&self, node: &NodeName) -> Result<Vec<PodProof>, ClusterError> {
        let api: Api<Pod> = Api::all(self.client.clone());
        let of_node = ListParams::default().fields(&format!("spec.nodeName={node}"));
        let pods = self.list(&format!("list the pods of {node}"), &api, of_node).await?;
        let bound = |p: &&Pod| p.spec.as_ref().and_then(|s| s.node_name.as_deref()) == Some(node.as_str());
        let pods: Vec<PodProof> = pods.iter().filter(bound).filter_map(convert::pod).collect();
        if let Some(events) = self.events.get() {
            events.place(&pods);
        }
        Ok(pods)
    }

    async fn pod_events(&self, uids: &[&str]) -> Result<Vec<PodEvent>, ClusterError> {
        let events = self.events.get_or_init(|| EventWatch::start(self.client.clone()));
        events.of(uids, self.patience.request).await
    }

    async fn leader(&self, lease: &str) -> Result<Option<String>, ClusterError> {
        lease::leader(&self.client, &self.patience, lease).await
    }

    fn credentials(&self) -> Vec<CredentialFacts> {
        self.renewer.ends()
    }

    async fn renew_credentials(&self) -> Result<(), ClusterError> {
        self.renewer.renew().await
    }

    async fn facts(&self) -> Result<ClusterFacts, ClusterError> {
        facts::gather(&self.client, &self.patience).await
    }

    async fn lock(&self, holder: &Holder) -> Result<Locked, ClusterError> {
        self.lock.take(&self.client, &self.patience, holder).await
    }

    async fn renew(&self, holder: &Holder, above: Option<FenceToken>) -> Result<Locked, ClusterError> {
        self.lock.renew(&self.client, &self.patience, holder, above).await
    }

    async fn sealed(&self) -> Result<Option<SealedJournal>, ClusterError> {
        lease::sealed(&self.client, &self.patience).await
    }

    async fn unlock(&self, holder: &Holder) -> Result<(), ClusterError> {
        self.lock.give_back(&self.client, &self.patience, holder).await
    }

    async fn endpoint(&self, address: &str, serve: bool) -> Result<bool, ClusterError> {
        endpoints::set(&self.client, &self.patience, address, serve).await
    }

    async fn endpoints(&self) -> Result<ApiEndpoints, ClusterError> {
        endpoints::get(&self.client, &self.patience).await
    }
}
