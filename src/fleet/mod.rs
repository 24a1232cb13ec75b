//! What a cluster is. Everything here is plain data and pure functions: no I/O, no clock, no terminal.

mod cluster;
mod component;
mod image;
mod name;
mod pod;
mod text;
mod version;

pub use cluster::{Cluster, Leaders, Node, Running, natural};
pub use component::Component;
pub use image::{Image, ImageError};
pub use name::{ClusterName, ContainerName, GateName, NameError, NodeName, RackName, RoleName, RunId, SwapId};
pub use pod::{ContainerProof, Disturbance, DisturbanceKind, PodProof, compare_pods, compare_soaked};
pub use text::{clean, fold_names};
pub use version::{Version, VersionError};
