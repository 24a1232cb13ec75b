//! The cluster's API.

use super::*;

#[async_trait]
impl ClusterPort for World {
    async fn nodes(&self) -> Result<Vec<NodeView>, ClusterError> {
        let state = self.lock();
        if state.api_away {
            return Err(ClusterError::Away("connection refused".into()));
        }
        Ok(state.nodes.values().map(|n| view(&state, n)).collect())
    }

    async fn node(&self, name: &NodeName) -> Result<Option<NodeView>, ClusterError> {
        let state = self.lock();
        Ok(state.nodes.get(name).map(|n| view(&state, n)))
    }

    async fn conditions(&self, name: &NodeName) -> Result<Vec<Condition>, ClusterError> {
        unreachable!("the engine asks no conditions of {name}")
    }

    async fn pods(&self, node: &NodeName) -> Result<Vec<PodProof>, ClusterError> {
        let state = World::lock(self);
        if state.pods_hidden {
            return Err(ClusterError::Away("connection refused".into()));
        }
        if state.credentials_end {
            return Err(ClusterError::Credentials("credentials refused: the token has ended".into()));
        }
        Ok(state.nodes[node].pods.clone())
    }

    async fn pod_events(&self, uids: &[&str]) -> Result<Vec<PodEvent>, ClusterError> {
        let state = World::lock(self);
        if state.events_refused {
            return Err(ClusterError::Refused("events is forbidden: User \"sonoba\" cannot list resource".into()));
        }
        Ok(state.events.iter().filter(|e| uids.contains(&e.uid.as_str())).cloned().collect())
    }

    async fn leader(&self, _: &str) -> Result<Option<String>, ClusterError> {
        Ok(None)
    }

    async fn lock(&self, holder: &Holder) -> Result<Locked, ClusterError> {
        self.renew(holder, None).await
    }

    async fn renew(&self, holder: &Holder, above: Option<FenceToken>) -> Result<Locked, ClusterError> {
        let fault = World::lock(self).lease_fault;
        match fault {
            None => {}
            Some(LeaseFault::Forbidden) => return Err(ClusterError::Refused("leases is forbidden".into())),
            Some(LeaseFault::Hangs) => std::future::pending().await,
            Some(LeaseFault::Late(by)) => sleep(by).await,
        }
        let mut state = World::lock(self);
        if state.api_away {
            return Err(ClusterError::Away("connection refused".into()));
        }
        let ours = match &state.lease {
            Some(by) if *by != holder.identity => return Ok(Locked::Theirs { by: by.clone(), since: None }),
            by => by.is_some(),
        };
        state.transitions += u32::from(!ours);
        state.transitions = state.transitions.max(above.map_or(0, |above| above.get() + 1));
        state.lease = Some(holder.identity.clone());
        if holder.sealed.is_some() {
            state.sealed.clone_from(&holder.sealed);
        }
        Ok(Locked::Ours(FenceToken::new(state.transitions)))
    }

    async fn sealed(&self) -> Result<Option<SealedJournal>, ClusterError> {
        let state = World::lock(self);
        match state.api_away {
            true => Err(ClusterError::Away("connection refused".into())),
            false => Ok(state.sealed.clone()),
        }
    }

    async fn unlock(&self, holder: &Holder) -> Result<(), ClusterError> {
        World::lock(self).lease.take_if(|by| *by == holder.identity);
        Ok(())
    }

    /// No plan is made here: there is nothing to tell.
    async fn facts(&self) -> Result<ClusterFacts, ClusterError> {
        Ok(ClusterFacts::default())
    }

    async fn endpoint(&self, address: &str, serve: bool) -> Result<bool, ClusterError> {
        World::lock(self).endpoints.push((address.to_owned(), serve));
        Ok(true)
    }

    fn credentials(&self) -> Vec<CredentialFacts> {
        Vec::new()
    }

    async fn renew_credentials(&self) -> Result<(), ClusterError> {
        let mut state = World::lock(self);
        state.credentials_end &= !state.new_credentials;
        Ok(())
    }

    /// Every master's address, but those that were taken out last.
    async fn endpoints(&self) -> Result<ApiEndpoints, ClusterError> {
        let state = World::lock(self);
        let mut serving: BTreeSet<String> =
            state.nodes.values().filter(|n| n.node.master).map(|n| n.node.address.clone()).collect();
        for (address, serve) in &state.endpoints {
            if *serve {
                serving.insert(address.clone())
            } else {
                serving.remove(address)
            };
        }
        let serving: BTreeSet<_> = serving.iter().filter_map(|address| address.parse().ok()).collect();
        Ok(ApiEndpoints { endpoints: Some(serving.clone()), slices: Some(serving) })
    }
}

fn view(state: &State, node: &FakeNode) -> NodeView {
    NodeView {
        name: node.node.name.clone(),
        ready: !state.not_ready.contains(&node.node.name),
        kubelet_version: kubelet_version(node),
        labels: BTreeMap::new(),
        address: None,
    }
}
