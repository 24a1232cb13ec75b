//! What may be asked of the cluster's API. Nothing here can evict or delete a pod.

use crate::fleet::{Condition, FenceToken, NodeName, PodEvent, PodProof, RunId, Version};
use crate::journal::Head;
use crate::plan::{ApiFacts, CredentialFacts};
use async_trait::async_trait;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::net::IpAddr;
use std::str::FromStr;

/// The cluster's API. It may be away for a while (an API server is being restarted): calls try again within their
/// time limit before they fail.
#[async_trait]
pub trait ClusterPort: Send + Sync {
    /// Every node, from a watched copy where there is one.
    async fn nodes(&self) -> Result<Vec<NodeView>, ClusterError>;

    /// One node, asked afresh.
    async fn node(&self, name: &NodeName) -> Result<Option<NodeView>, ClusterError>;

    /// A node's conditions, asked afresh; none of a node that Kubernetes does not know.
    async fn conditions(&self, name: &NodeName) -> Result<Vec<Condition>, ClusterError>;

    /// The pods that are bound to a node, asked afresh.
    async fn pods(&self, node: &NodeName) -> Result<Vec<PodProof>, ClusterError>;

    /// What the API has recorded about these pods, by their UIDs: what a kubelet does to a pod stands there before it shows in
    /// the pod itself. Answered from a watched copy, which holds what was recorded within the last hour and is begun with the
    /// first call. What was seen more than once comes twice: at its first time and at its last.
    ///
    /// # Errors
    /// [`ClusterError::Refused`] where the role may not list and watch events: one can go on without them.
    async fn pod_events(&self, uids: &[&str]) -> Result<Vec<PodEvent>, ClusterError>;

    /// The holder of a Lease in `kube-system` (`kube-scheduler`, `kube-controller-manager`), with the random suffix that
    /// client-go appends to the node's name taken off.
    async fn leader(&self, lease: &str) -> Result<Option<String>, ClusterError>;

    /// What preflight wants to know of the cluster beside its nodes' health. What cannot be asked, or is forbidden, is named in
    /// the answer. In a large cluster this takes a while: it reads every pod.
    async fn facts(&self) -> Result<ClusterFacts, ClusterError>;

    /// Takes the run lock, the Lease `kube-system/sonoba`. Where somebody else's may have run out, it is watched for its whole
    /// duration first, so this can take that long.
    async fn lock(&self, holder: &Holder) -> Result<Locked, ClusterError>;

    /// Renews the run lock, or takes it where that needs no waiting. The token is higher than `above`, where that is given: for
    /// a holder whose token the nodes call old, as after somebody deleted the Lease.
    async fn renew(&self, holder: &Holder, above: Option<FenceToken>) -> Result<Locked, ClusterError>;

    /// How far the journal was of the run that renewed the lock last; none where nothing that can be read is written there.
    async fn sealed(&self) -> Result<Option<SealedJournal>, ClusterError>;

    /// Gives the run lock back, if `holder` has it.
    async fn unlock(&self, holder: &Holder) -> Result<(), ClusterError>;

    /// Puts an API server's address into the `default/kubernetes` Endpoints and EndpointSlice, or takes it out. For clusters
    /// whose API servers run with `--endpoint-reconciler-type=none`. Returns whether it was changed.
    async fn endpoint(&self, address: &str, serve: bool) -> Result<bool, ClusterError>;

    /// What proves who we are to the API server and ends by itself, as far as it says so.
    fn credentials(&self) -> Vec<CredentialFacts>;

    /// Reads the credentials anew, and asks the plugin that issues them.
    ///
    /// # Errors
    /// When they cannot be had; those that there were stay in use.
    async fn renew_credentials(&self) -> Result<(), ClusterError>;

    /// The API servers' addresses in the `default/kubernetes` Endpoints and EndpointSlices, asked afresh.
    async fn endpoints(&self) -> Result<ApiEndpoints, ClusterError>;
}

/// The API servers that clients inside the cluster are sent to: the addresses of `default/kubernetes` that are ready.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiEndpoints {
    /// In the Endpoints; none where there are no such Endpoints.
    pub endpoints: Option<BTreeSet<IpAddr>>,
    /// In the EndpointSlices; none where there is no slice.
    pub slices: Option<BTreeSet<IpAddr>>,
}

impl ApiEndpoints {
    /// Whether clients are sent to this address: it is in both, as far as they exist.
    pub fn serves(&self, address: &str) -> bool {
        let Ok(address) = address.parse::<IpAddr>() else { return false };
        let has = |addresses: &Option<BTreeSet<IpAddr>>| addresses.as_ref().is_none_or(|all| all.contains(&address));
        has(&self.endpoints) && has(&self.slices)
    }
}

/// A node as Kubernetes states it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// Its name.
    pub name: NodeName,
    /// Whether its Ready condition is true.
    pub ready: bool,
    /// The kubelet's version.
    pub kubelet_version: Option<Version>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its InternalIP, where it has one.
    pub address: Option<String>,
}

/// What the cluster's API tells for preflight.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClusterFacts {
    /// Of the cluster as a whole; none when its pods could not be read.
    pub api: Option<ApiFacts>,
    /// The pods' container runtime, by node: `containerd://2.1.5`.
    pub runtimes: BTreeMap<NodeName, String>,
    /// Questions that had no answer, in words.
    pub unanswered: Vec<String>,
}

/// Who holds the run lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// `OPERATOR@HOST/RUN`: unique to one run.
    pub identity: String,
    /// The lock is free again this long after its last renewal. Seconds.
    pub seconds: u32,
    /// What is written beside it; none leaves what is there.
    pub sealed: Option<SealedJournal>,
}

/// How far the journal of the run that has the lock was on disk: out of reach of whoever can change the run's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedJournal {
    /// The run.
    pub run: RunId,
    /// Its journal's sealed head.
    pub head: Head,
}

impl Display for SealedJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.run, self.head.seq, self.head.hash)
    }
}

impl FromStr for SealedJournal {
    type Err = NoSealedJournal;

    fn from_str(text: &str) -> Result<SealedJournal, NoSealedJournal> {
        let [run, seq, hash] = text.split(' ').collect::<Vec<_>>()[..] else { return Err(NoSealedJournal) };
        let hex = hash.len() == 64 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match (run.parse(), seq.parse()) {
            (Ok(run), Ok(seq)) if hex => Ok(SealedJournal { run, head: Head { seq, hash: hash.to_owned() } }),
            _ => Err(NoSealedJournal),
        }
    }
}

/// A text that is not what a [`SealedJournal`] is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a run, a record's number and its SHA-256")]
pub struct NoSealedJournal;

/// The answer to a wish to lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Locked {
    /// It is ours; with the token of this holding, which stays as long as nobody else comes in between.
    Ours(FenceToken),
    /// Somebody else has it.
    Theirs {
        /// Who.
        by: String,
        /// Since when.
        since: Option<Timestamp>,
    },
}

/// Why the API could not do what it was asked. The text is cleaned and says what to do where that is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// It does not answer.
    #[error("{0}")]
    Away(String),
    /// It answered that it would not.
    #[error("{0}")]
    Refused(String),
    /// It does not accept who we are, or there is nothing to show it: a token, a certificate or a plugin's login has ended or
    /// cannot be had. May pass: they are read anew.
    #[error("{0}")]
    Credentials(String),
    /// It was not asked: the run does not hold the run lock, or not any more.
    #[error("{0}")]
    Fenced(String),
}
