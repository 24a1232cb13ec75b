//! The snapshot of etcd that a run takes before etcd's first member moves.

use crate::fleet::{NodeName, clean};
use serde::{Deserialize, Serialize};

/// A snapshot that was saved and checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EtcdSnapshot {
    /// The member that was asked.
    pub node: NodeName,
    /// Its container.
    pub container: String,
    /// The file, inside the container.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// etcd's own hash of what is in it, in hexadecimal.
    pub hash: String,
    /// The revision that it holds.
    pub revision: u64,
    /// Keys in it.
    pub keys: u64,
}

impl EtcdSnapshot {
    /// The same, fit to be shown.
    pub(super) fn cleaned(&self) -> EtcdSnapshot {
        let EtcdSnapshot { container, path, hash, .. } = self;
        EtcdSnapshot { container: clean(container), path: clean(path), hash: clean(hash), ..self.clone() }
    }
}

/// How far the snapshot is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SnapshotState {
    /// Not begun, or none is to be taken.
    #[default]
    None,
    /// Begun, without a result yet.
    Taking,
    /// Saved and checked.
    Taken(EtcdSnapshot),
    /// It could not be taken; why. No member of etcd moves.
    Failed(String),
}

impl SnapshotState {
    /// The snapshot, once there is one.
    pub fn taken(&self) -> Option<&EtcdSnapshot> {
        match self {
            SnapshotState::Taken(snapshot) => Some(snapshot),
            _ => None,
        }
    }
}
