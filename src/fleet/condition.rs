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
    /// Whether all is well with it; none of a condition that is not Kubernetes' own, which may mean either.
    pub fn well(&self) -> Option<bool> {
        match self.kind.as_str() {
            "Ready" => Some(self.holds == Some(true)),
            "MemoryPressure" | "DiskPressure" | "PIDPressure" | "NetworkUnavailable" => Some(self.holds == Some(false)),
            _ => None,
        }
    }
}
