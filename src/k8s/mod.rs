//! The second port: the cluster over its API. [`ClusterPort`] says what the engine may ask; the rest of this room
//! implements it with kube.

mod port;

pub use port::{ClusterError, ClusterPort, Holder, Locked, NodeView};
