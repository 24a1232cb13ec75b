//! The second port: the cluster over its API. [`ClusterPort`] says what the engine may ask; the rest of this room
//! implements it with kube.
//!
//! In reading order: [`port`](self) says what may be asked, `cluster` connects and answers, `credentials` says who we are and keeps
//! that true, `watch` keeps the nodes' copy, `events`
//! that of what is recorded about pods,
//! `convert` turns Kubernetes' objects into sonoba's, `facts` gathers what
//! preflight wants to know, `lease` and `endpoints` hold the only two writes, `patience` rides
//! over an API server that is being restarted.

mod cluster;
#[cfg(test)]
mod cluster_tests;
mod convert;
mod credentials;
mod endpoints;
mod events;
#[cfg(test)]
mod events_tests;
mod facts;
#[cfg(test)]
mod fake;
mod lease;
mod patience;
mod port;
mod watch;

pub use cluster::KubeCluster;
pub use port::{
    ApiEndpoints, ClusterError, ClusterFacts, ClusterPort, Holder, Locked, NoSealedJournal, NodeView, SealedJournal,
};
