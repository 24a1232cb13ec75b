//! What the engine and the swap script on the node say to each other.
//!
//! A transaction lives in a folder of the SSH user's own, `$HOME/.sonoba/tx/ID`. Its verdict is one file that is
//! created by a hard link, so that of the engine and the dead-man's switch exactly one decides.

use crate::fleet::{FenceToken, NameError, NodeName, RunId, SwapId};
use crate::journal::{Step, Verdict};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A transaction's id on its node: `RUN.SWAP.ATTEMPT`. A folder's name, so of a name's characters only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TxId(Box<str>);

/// A text that is not a transaction's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a transaction id: {0}")]
pub struct TxIdError(#[from] NameError);

impl TxId {
    /// The id of one attempt at a swap. The node stands in it too: in a lab several nodes may share one home.
    pub fn new(run: &RunId, node: &NodeName, swap: &SwapId, attempt: u32) -> TxId {
        TxId(format!("{run}.{node}.{swap}.{attempt}").into())
    }

    /// The id as text: safe in a path and in a single shell word.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for TxId {
    type Err = TxIdError;

    fn from_str(text: &str) -> Result<Self, TxIdError> {
        // A node's name's rule is the widest of those that an id is made of.
        text.parse::<NodeName>()?;
        Ok(TxId(text.into()))
    }
}

impl TryFrom<String> for TxId {
    type Error = TxIdError;
    fn try_from(text: String) -> Result<Self, TxIdError> {
        text.parse()
    }
}

impl From<TxId> for String {
    fn from(id: TxId) -> String {
        id.0.into()
    }
}

impl fmt::Display for TxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The engine's right to act on a node: that its run holds the run lock, and until when. It goes with everything that changes a
/// node, and the node itself looks at it last: a request that was held up on its way is refused there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// Which holding of the lock. A node refuses one that is lower than another it has seen.
    pub token: FenceToken,
    /// The run that holds it: two runs that come with one token are told apart, as after somebody deleted the Lease.
    pub run: RunId,
    /// The node refuses once its own monotonic clock is past this. Milliseconds since it booted.
    pub until_ms: u64,
}

/// What a node says of a transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TxState {
    /// Whether its folder exists.
    pub found: bool,
    /// Whether its runner lives. A transaction that is found, has no end and no runner needs `recover`.
    pub alive: bool,
    /// The node's monotonic clock now. Milliseconds since it booted.
    pub uptime_ms: u64,
    /// What was done, in order.
    pub steps: Vec<TxStep>,
    /// The verdict that stands.
    pub verdict: Option<Verdict>,
    /// How it ended.
    pub end: Option<TxEnd>,
    /// Why it rolled back by itself or broke, in the node's words, cleaned.
    pub why: String,
}

/// One step of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxStep {
    /// The node's monotonic clock. Milliseconds since it booted.
    pub uptime_ms: u64,
    /// Which.
    pub step: Step,
    /// The container; empty where the step concerns the whole transaction.
    pub container: String,
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxEnd {
    /// All new; the old containers are removed.
    Committed,
    /// All old again; the new containers are removed.
    RolledBack,
    /// It could not go back: an old container was removed by somebody else. Its new one is left as it is; the others are
    /// old again. A person must look at it.
    Broken,
    /// Somebody else made a container anew under the swap: the script gave up, and touches nothing that it did not make. A
    /// person must look at it.
    Foreign,
}
