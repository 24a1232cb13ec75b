//! The engine's two ways out.

use crate::k8s::ClusterPort;
use crate::remote::Fleet;
use std::sync::Arc;

/// Everything that an engine can reach: the nodes, and the cluster's API.
#[derive(Clone)]
pub struct Ports {
    /// The nodes.
    pub fleet: Arc<dyn Fleet>,
    /// The cluster's API.
    pub cluster: Arc<dyn ClusterPort>,
}
