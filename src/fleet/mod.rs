//! What a cluster is. Everything here is plain data and pure functions: no I/O, no clock, no terminal.

mod attribution;
mod cluster;
mod component;
mod condition;
mod fence;
mod image;
mod json;
mod label;
mod name;
mod pod;
#[cfg(test)]
pub(crate) mod poison;
mod secret;
mod text;
mod version;

pub use attribution::{SwapWindow, changed_pods, judge_pods, lately_restarted, restarted_pods};
pub use cluster::{Cluster, Leaders, Node, Running, natural};
pub use component::Component;
pub use condition::Condition;
pub use fence::FenceToken;
pub use image::{Image, ImageError};
pub use json::{read_clean, write_clean};
pub use label::{Label, LabelError, check_key as check_label_key};
pub use name::{ClusterName, ContainerName, GateName, NameError, NodeName, RackName, RoleName, RunId, SwapId};
pub use pod::{
    Cause, ContainerExit, ContainerProof, ContainerRole, DEFAULT_GRACE_S, Disturbance, DisturbanceKind, PodEvent,
    PodOwner, PodProof,
};
pub use secret::{Masker, Salt, is_masked, without_command};
pub use text::{clean, clean_short, count, fold_names, is_unclean, quoted, span};
pub use version::{Version, VersionError};
