//! What the engine may ask of a node.

use super::contract::{Fence, TxId, TxState};
use crate::fleet::{Component, ContainerName, FenceToken, Image, NodeName, Running, Salt};
use crate::journal::Verdict;
use crate::plan::{Change, Check, CredentialFacts, ImageFacts, NodeFacts, Swap};
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;

/// One node. Every call has a time limit of its own and may be repeated: none does harm when done twice.
#[async_trait]
pub trait NodePort: Send + Sync {
    /// What runs under these names, and which `*.sonoba-next` and `*.sonoba-prev` containers are left over.
    async fn look(&self, containers: &[ContainerName]) -> Result<Look, NodeError>;

    /// The image's id, when the node has it.
    async fn image_id(&self, image: &Image) -> Result<Option<String>, NodeError>;

    /// Pulls an image; returns at once when it is there.
    async fn pull(&self, image: &Image, progress: &(dyn Fn(PullProgress) + Send + Sync)) -> Result<Pulled, NodeError>;

    /// Creates `NAME.sonoba-next` for each change from the running container's whole configuration with only the image
    /// changed, and the arguments as the change says. A left-over `NAME.sonoba-next` is removed first.
    async fn prepare(&self, changes: &[Change]) -> Result<(), NodeError>;

    /// Removes prepared containers that were never started.
    async fn discard(&self, containers: &[ContainerName]) -> Result<(), NodeError>;

    /// Starts the critical section; returns once the node's own runner has it. A transaction that exists is left alone.
    ///
    /// # Errors
    /// [`NodeError::Fenced`] where the node does not believe (any more) that the run holds the run lock; so do
    /// [`NodePort::give_verdict`] and [`NodePort::recover`].
    async fn begin(&self, tx: &TxId, swap: &Swap, stop_timeout_s: u32, fence: &Fence) -> Result<(), NodeError>;

    /// What the node says of a transaction.
    async fn tx_state(&self, tx: &TxId) -> Result<TxState, NodeError>;

    /// Gives a verdict; returns the one that stands, which is the dead-man's switch's where that was first.
    async fn give_verdict(&self, tx: &TxId, verdict: Verdict, fence: &Fence) -> Result<Verdict, NodeError>;

    /// Takes over a transaction whose runner is gone (the node was rebooted, the runner killed): finishes a commit
    /// that was decided, rolls back everything else. Returns when the node has taken it up.
    async fn recover(&self, tx: &TxId, fence: &Fence) -> Result<(), NodeError>;

    /// Forgets a transaction that has ended.
    async fn forget(&self, tx: &TxId) -> Result<(), NodeError>;

    /// Asks something on the node, through the held connection.
    async fn ask(&self, check: &Check) -> Result<Answer, NodeError>;

    /// Runs a program inside a running container; no shell reads it. It is started once at most; after an error that is
    /// transient it may still run.
    async fn exec(&self, container: &ContainerName, argv: &[String]) -> Result<Ran, NodeError>;

    /// The same for a program that ends by itself within `limit`. Past it nobody waits for the program any more, and the error
    /// says whether it still runs in the container: from outside it cannot be ended.
    async fn exec_within(&self, container: &ContainerName, argv: &[String], limit: Duration) -> Result<Ran, NodeError>;

    /// Knocks once where a component's clients do, over a new connection to it. It goes through the SSH connection that stands:
    /// none is dialled, and nothing is repeated, so that a knock measures the component and not the way there.
    async fn knock(&self, check: &Check) -> Result<Answer, NodeError>;

    /// What preflight wants to know beside what runs. What the node cannot tell is left out.
    async fn facts(&self, inquiry: &Inquiry) -> Result<NodeFacts, NodeError>;

    /// What the image's registry says of it to this node's Docker; `None` where it does not tell (credentials, network).
    async fn registry(&self, image: &Image) -> Result<Option<ImageFacts>, NodeError>;

    /// Lets go of the held connection: the next call proves that the way in still works.
    async fn reconnect(&self);
}

/// Every node of a cluster, by name.
pub trait Fleet: Send + Sync {
    /// The port of a node; `None` for a node that the inventory does not know.
    fn node(&self, name: &NodeName) -> Option<Arc<dyn NodePort>>;

    /// What let us in to nodes so far and ends by itself.
    fn credentials(&self) -> Vec<CredentialFacts>;

    /// The salt with which its nodes mask arguments; none where nothing is masked.
    fn salt(&self) -> Option<Salt>;
}

/// What is asked of a node for preflight.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inquiry {
    /// The components that run there.
    pub containers: Vec<AskedContainer>,
    /// Images that it may have.
    pub images: Vec<Image>,
}

/// A container that is asked after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedContainer {
    /// Which component it is.
    pub component: Component,
    /// Its name.
    pub container: ContainerName,
    /// Its configuration file, as the container sees it.
    pub config: Option<String>,
    /// Host and port where it serves TLS. `{address}` in the host stands for the node's.
    pub tls: Option<(String, u16)>,
    /// Where its health is asked.
    pub health: Check,
    /// Where it states metrics.
    pub metrics: Option<Check>,
}

/// What was seen on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// The containers that exist, of those asked for.
    pub running: Vec<Running>,
    /// Names of left-over `*.sonoba-next` and `*.sonoba-prev` containers.
    pub leftovers: Vec<ContainerName>,
}

/// How far a pull is. Bytes of all layers that Docker has spoken of so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PullProgress {
    /// Fetched.
    pub done: u64,
    /// To fetch, as far as known.
    pub total: u64,
}

/// A pull that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The image's id (`sha256:…`).
    pub id: String,
    /// Whether it was there already.
    pub already: bool,
}

/// A program that ran inside a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ran {
    /// Its exit code; 126 and 127 are Docker's own, where there is no such program.
    pub code: i64,
    /// The beginning of what it wrote to its standard output; not cleaned.
    pub out: String,
    /// The same of its standard error.
    pub err: String,
}

/// What answered a [`Check`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status; 200 for a TCP connection that was accepted.
    pub status: u16,
    /// The body's beginning, at most 1 MiB; not cleaned.
    pub body: Vec<u8>,
}

impl Answer {
    /// Whether it says healthy.
    pub fn ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A gauge without labels, where the body is the text in which Prometheus reads metrics.
    pub fn gauge(&self, name: &str) -> Option<f64> {
        let text = String::from_utf8_lossy(&self.body);
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        value.split_whitespace().next()?.parse().ok()
    }
}

/// Why a node could not do what it was asked. The text is cleaned, names the node and says what to do where that is
/// known; it never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// No connection, or it broke: whether the request took effect is not known.
    #[error("{0}")]
    Unreachable(String),
    /// The connection is refused for good: host key, authentication, or a configuration to fix.
    #[error("{0}")]
    Refused(String),
    /// It took longer than its limit: whether the request took effect is not known.
    #[error("{0}")]
    TimedOut(String),
    /// The node (Docker, the script) answered that it could not.
    #[error("{0}")]
    Failed(String),
    /// It was not done because the run does not hold the run lock, or not any more: nothing was changed.
    #[error("{why}")]
    Fenced {
        /// A higher token that the node has seen, or the same of another run; none where the request came too late.
        newer: Option<FenceToken>,
        /// In words.
        why: String,
    },
}

impl NodeError {
    /// The same with another text.
    pub fn map(self, text: impl FnOnce(String) -> String) -> NodeError {
        match self {
            NodeError::Unreachable(why) => NodeError::Unreachable(text(why)),
            NodeError::Refused(why) => NodeError::Refused(text(why)),
            NodeError::TimedOut(why) => NodeError::TimedOut(text(why)),
            NodeError::Failed(why) => NodeError::Failed(text(why)),
            NodeError::Fenced { newer, why } => NodeError::Fenced { newer, why: text(why) },
        }
    }

    /// Whether asking again may help.
    pub fn transient(&self) -> bool {
        matches!(self, NodeError::Unreachable(_) | NodeError::TimedOut(_))
    }
}
