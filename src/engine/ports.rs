//! The engine's ways out.

use super::asker::Asker;
use crate::k8s::ClusterPort;
use crate::remote::Fleet;
use std::sync::Arc;

/// Everything that an engine can reach: the nodes, the cluster's API, and what the operator's own gates ask.
#[derive(Clone)]
pub struct Ports {
    /// The nodes.
    pub fleet: Arc<dyn Fleet>,
    /// The cluster's API.
    pub cluster: Arc<dyn ClusterPort>,
    /// What the operator's own gates ask.
    pub asker: Arc<dyn Asker>,
}
