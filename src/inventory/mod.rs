//! Where a fleet comes from: a cluster's profile, with its own table of nodes or a CKE `cluster.yml` beside it.
//!
//! This floor reads files and nothing else. What neither file says (racks and roles as Kubernetes labels, versions) is filled
//! in when the cluster is observed.

mod catalogue;
mod cke;
mod entry;
mod error;
mod gate;
mod profile;
mod raw;
mod ssh;

pub(crate) use cke::check as check_cluster_yml;
pub use entry::NodeEntry;
pub use error::ProfileError;
pub use profile::Profile;
pub(crate) use profile::check as check_profile;
pub use ssh::{Jump, SshProfile};
