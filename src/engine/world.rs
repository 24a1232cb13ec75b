//! The cluster as its API tells it, while the run goes on.

use super::shared::Shared;
use crate::fleet::NodeName;
use crate::journal::{Event, JournalError};
use crate::k8s::{ClusterError, NodeView};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How often the API is asked.
const EVERY: Duration = Duration::from_secs(1);

/// What the API said last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct World {
    /// Whether it answered; `None` before it was asked.
    pub(super) api: Option<bool>,
    /// How it refuses our credentials, in words; none where it does not.
    pub(super) refused: Option<String>,
    /// Nodes of the plan that are not Ready, or that the API does not know.
    pub(super) not_ready: BTreeSet<NodeName>,
    /// Of these, those that were Ready when the plan was made.
    pub(super) lost: Vec<NodeName>,
}

impl World {
    /// Why nothing can be learnt from the API now, in words; none where it answers.
    pub(super) fn silent(&self) -> Option<String> {
        match &self.refused {
            _ if self.api == Some(true) => None,
            Some(why) => Some(why.clone()),
            None => Some("the cluster's API does not answer".into()),
        }
    }
}

/// Looks at the cluster for as long as it is polled.
pub(super) async fn keep_looking(shared: Arc<Shared>) -> Result<(), JournalError> {
    loop {
        look(&shared).await?;
        tokio::time::sleep(EVERY).await;
    }
}

/// Asks the API once, and writes down what changed.
pub(super) async fn look(shared: &Shared) -> Result<World, JournalError> {
    let seen = shared.ports.cluster.nodes().await;
    let was = shared.world.borrow().clone();
    let world = match seen {
        Ok(nodes) => judge(shared, &nodes),
        Err(error) => {
            tracing::debug!("the cluster's API: {error}");
            let refused = if let ClusterError::Credentials(why) = error { Some(why) } else { None };
            World { api: Some(false), refused, ..was.clone() }
        }
    };
    if world != was {
        let total = shared.plan.cluster.nodes.len();
        shared.log.tell(Event::ClusterSeen {
            ready: total.saturating_sub(world.not_ready.len()),
            total,
            lost: world.lost.clone(),
            api: world.api == Some(true),
            refused: world.refused.clone(),
        })?;
        shared.world.send_replace(world.clone());
    }
    Ok(world)
}

fn judge(shared: &Shared, nodes: &[NodeView]) -> World {
    let ready: BTreeMap<&NodeName, bool> = nodes.iter().map(|n| (&n.name, n.ready)).collect();
    let planned = &shared.plan.cluster.nodes;
    let not_ready: BTreeSet<NodeName> =
        planned.keys().filter(|name| !ready.get(name).copied().unwrap_or(false)).cloned().collect();
    let lost = not_ready.iter().filter(|name| planned.get(*name).is_some_and(|n| n.ready)).cloned().collect();
    World { api: Some(true), refused: None, not_ready, lost }
}
