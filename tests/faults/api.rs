//! The port to the cluster's API, over the model.

use crate::chaos::Op;
use crate::stage::{Scene, Stage};
use async_trait::async_trait;
use sonoba::fleet::{Condition, NodeName, PodEvent, PodProof};
use sonoba::k8s::{ApiEndpoints, ClusterError, ClusterFacts, ClusterPort, Holder, Locked, NodeView};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The limit of the real client, within which it tries again.
const LIMIT: Duration = Duration::from_secs(10);

/// The API, as one engine reaches it.
pub struct Api {
    pub stage: Stage,
    pub generation: u64,
}

impl Api {
    async fn call<T>(
        &self,
        op: Op,
        act: impl FnOnce(&mut Scene, i64) -> Result<T, ClusterError>,
    ) -> Result<T, ClusterError> {
        let lost = |_, why: &str| ClusterError::Away(why.into());
        let up = |scene: &mut Scene, now: i64| {
            scene.tick(now);
            if now < scene.api_away || !scene.world.api_up(now) {
                return Err(ClusterError::Away("connection refused".into()));
            }
            act(scene, now)
        };
        self.stage.call(self.generation, op, None, LIMIT, lost, up).await
    }
}

fn view(scene: &Scene, at: usize) -> NodeView {
    let status = scene.world.node_status(at);
    NodeView {
        name: scene.places[at].name.clone(),
        ready: status.ready,
        kubelet_version: status.version.parse().ok(),
        labels: BTreeMap::new(),
        address: None,
    }
}

#[async_trait]
impl ClusterPort for Api {
    async fn nodes(&self) -> Result<Vec<NodeView>, ClusterError> {
        self.call(Op::Nodes, |scene, _| Ok((0..scene.places.len()).map(|at| view(scene, at)).collect())).await
    }

    async fn node(&self, name: &NodeName) -> Result<Option<NodeView>, ClusterError> {
        self.call(Op::Node, |scene, _| Ok(scene.place(name).map(|at| view(scene, at)))).await
    }

    async fn conditions(&self, name: &NodeName) -> Result<Vec<Condition>, ClusterError> {
        unreachable!("the engine asks no conditions of {name}")
    }

    async fn pods(&self, node: &NodeName) -> Result<Vec<PodProof>, ClusterError> {
        self.call(Op::Pods, |scene, _| {
            Ok(scene.place(node).map(|at| scene.places[at].pods.clone()).unwrap_or_default())
        })
        .await
    }

    async fn pod_events(&self, uids: &[&str]) -> Result<Vec<PodEvent>, ClusterError> {
        self.call(Op::Events, |scene, _| {
            let all = scene.places.iter().flat_map(|place| &place.events);
            Ok(all.filter(|e| uids.contains(&e.uid.as_str())).cloned().collect())
        })
        .await
    }

    async fn leader(&self, _: &str) -> Result<Option<String>, ClusterError> {
        Ok(None)
    }

    async fn lock(&self, holder: &Holder) -> Result<Locked, ClusterError> {
        self.call(Op::Lock, |scene, now| match &scene.lease {
            Some((by, until)) if *by != holder.identity && now < *until => {
                Ok(Locked::Theirs { by: by.clone(), since: None })
            }
            _ => {
                scene.lease = Some((holder.identity.clone(), now + i64::from(holder.seconds) * 1000));
                Ok(Locked::Ours)
            }
        })
        .await
    }

    /// No plan is made here: there is nothing to tell.
    async fn facts(&self) -> Result<ClusterFacts, ClusterError> {
        Ok(ClusterFacts::default())
    }

    async fn unlock(&self, holder: &Holder) -> Result<(), ClusterError> {
        self.call(Op::Unlock, |scene, _| {
            scene.lease.take_if(|(by, _)| *by == holder.identity);
            Ok(())
        })
        .await
    }

    async fn endpoint(&self, address: &str, serve: bool) -> Result<bool, ClusterError> {
        self.call(Op::Endpoint, |scene, now| {
            scene.note(now, || format!("endpoint {address} serves: {serve}"));
            Ok(match serve {
                true => scene.endpoints.insert(address.to_owned()),
                false => scene.endpoints.remove(address),
            })
        })
        .await
    }

    async fn endpoints(&self) -> Result<ApiEndpoints, ClusterError> {
        self.call(Op::Endpoint, |scene, _| {
            let serving: BTreeSet<_> = scene.endpoints.iter().filter_map(|address| address.parse().ok()).collect();
            Ok(ApiEndpoints { endpoints: Some(serving.clone()), slices: Some(serving) })
        })
        .await
    }
}
