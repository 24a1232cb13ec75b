//! The port to the cluster's API, over the model.

use crate::chaos::Op;
use crate::rival::{LeaseFault, Seen};
use crate::stage::{Scene, Stage};
use async_trait::async_trait;
use sonoba::fleet::{Condition, FenceToken, NodeName, PodEvent, PodProof};
use sonoba::k8s::{ApiEndpoints, ClusterError, ClusterFacts, ClusterPort, Holder, Locked, NodeView, SealedJournal};
use sonoba::plan::CredentialFacts;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

/// The limit of the real client, within which it tries again.
const LIMIT: Duration = Duration::from_secs(10);

/// The API, as one engine reaches it.
pub struct Api {
    pub stage: Stage,
    pub generation: u64,
    /// What it has seen of somebody else's hold on the Lease.
    pub seen: Mutex<Seen>,
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

    /// As the real client does it: what its own times call fresh is refused at once, all else is watched.
    async fn lock(&self, holder: &Holder) -> Result<Locked, ClusterError> {
        let mut first = None;
        loop {
            let told = self.renew(holder, None).await?;
            if matches!(told, Locked::Ours(_)) {
                return Ok(told);
            }
            let (age, version) = {
                let scene = self.stage.scene();
                (self.stage.now() + scene.clock_off - scene.lease.renewed, scene.lease.version)
            };
            let fresh = (-5_000..=i64::from(holder.seconds) * 1000).contains(&age);
            if fresh || *first.get_or_insert(version) != version {
                return Ok(told);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn renew(&self, holder: &Holder, above: Option<FenceToken>) -> Result<Locked, ClusterError> {
        let now = self.stage.now();
        let fails = self.stage.scene().lease_fails.filter(|(_, until)| now < *until);
        match fails {
            Some((LeaseFault::Error, _)) => return Err(ClusterError::Refused("leases is forbidden".into())),
            Some((LeaseFault::Hangs, _)) => {
                tokio::time::sleep(LIMIT).await;
                return Err(ClusterError::Away("no answer in time".into()));
            }
            Some((LeaseFault::Late(ms), _)) => tokio::time::sleep(Duration::from_millis(ms)).await,
            None => {}
        }
        let mut seen = self.seen.lock().expect("no panic").clone();
        let answer = self
            .call(Op::Lock, |scene, now| {
                let me = holder.identity.as_str();
                if !scene.lease.free(me, &mut seen, now) {
                    return Ok(Locked::Theirs { by: scene.lease.holder.clone().unwrap_or_default(), since: None });
                }
                let clock = now + scene.clock_off;
                let token = scene.lease.take(me, clock, above.map(FenceToken::get));
                if holder.sealed.is_some() {
                    scene.lease.sealed.clone_from(&holder.sealed);
                }
                Ok(Locked::Ours(token))
            })
            .await;
        *self.seen.lock().expect("no panic") = seen;
        answer
    }

    /// No plan is made here: there is nothing to tell.
    async fn facts(&self) -> Result<ClusterFacts, ClusterError> {
        Ok(ClusterFacts::default())
    }

    async fn sealed(&self) -> Result<Option<SealedJournal>, ClusterError> {
        self.call(Op::Lock, |scene, _| Ok(scene.lease.sealed.clone())).await
    }

    async fn unlock(&self, holder: &Holder) -> Result<(), ClusterError> {
        self.call(Op::Unlock, |scene, _| {
            if scene.lease.holder.as_deref() == Some(holder.identity.as_str()) {
                scene.lease.holder = None;
                scene.lease.version += 1;
            }
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

    fn credentials(&self) -> Vec<CredentialFacts> {
        Vec::new()
    }

    async fn renew_credentials(&self) -> Result<(), ClusterError> {
        Ok(())
    }

    async fn endpoints(&self) -> Result<ApiEndpoints, ClusterError> {
        self.call(Op::Endpoint, |scene, _| {
            let serving: BTreeSet<_> = scene.endpoints.iter().filter_map(|address| address.parse().ok()).collect();
            Ok(ApiEndpoints { endpoints: Some(serving.clone()), slices: Some(serving) })
        })
        .await
    }
}
