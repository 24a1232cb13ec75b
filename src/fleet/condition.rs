//! What a node says of itself to Kubernetes.

use jiff::Timestamp;

/// One of a node's conditions (<https://kubernetes.io/docs/reference/node/node-status/#condition>).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Which: `Ready`, `DiskPressure`.
    pub kind: String,
    /// Whether it holds; none when nobody knows.
    pub holds: Option<bool>,
    /// Why, in a word.
    pub reason: String,
    /// Why, in words.
    pub message: String,
    /// When that last changed.
    pub since: Option<Timestamp>,
}

impl Condition {
    /// Whether all is well with it: only `Ready` is well when it holds, what else there is tells of something bad.
    pub fn well(&self) -> bool {
        self.holds == Some(self.kind == "Ready")
    }
}
