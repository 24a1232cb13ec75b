//! What is known of a cluster beside what runs on it: asked for just before a plan is made, and never kept in it. All of it is
//! optional: what could not be asked breaks no rule, and the planner says which questions had no answer.

use crate::fleet::{Component, Image, NodeName};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Everything that preflight knows beside the cluster itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// When they were gathered.
    pub at: Option<Timestamp>,
    /// By node.
    pub nodes: BTreeMap<NodeName, NodeFacts>,
    /// What the cluster's API says; none when it was not asked.
    pub api: Option<ApiFacts>,
    /// The staged images, as a registry knows them.
    pub images: BTreeMap<Image, ImageFacts>,
    /// What lets us in and ends by itself.
    pub credentials: Vec<CredentialFacts>,
    /// How fast this cluster's own past runs were.
    pub past: Option<Pace>,
    /// Questions that had no answer, in words.
    pub unanswered: Vec<String>,
}

/// Something that lets us in to the API or to nodes, and ends by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialFacts {
    /// What it is and where it stands, for instance `the client certificate of user "admin" in kubeconfig /home/ann/.kube/config`.
    pub what: String,
    /// When it ends.
    pub until: Timestamp,
    /// What to do about that.
    pub mend: String,
}

/// What is known of one node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeFacts {
    /// As images name it: `amd64`, `arm64`.
    pub arch: Option<String>,
    /// The kernel's release, for instance `6.1.0-18-amd64`.
    pub kernel: Option<String>,
    /// The pods' container runtime, for instance `containerd://1.7.22`.
    pub runtime: Option<String>,
    /// Which cgroup hierarchy: 1 or 2.
    pub cgroup: Option<u8>,
    /// Free where Docker keeps its images. Bytes.
    pub disk_free: Option<u64>,
    /// The size of that file system. Bytes.
    pub disk_total: Option<u64>,
    /// How far its clock is ahead of ours. Milliseconds.
    pub clock_off_ms: Option<i64>,
    /// Images of the plan that it has already.
    pub images: BTreeSet<Image>,
    /// What images take on its disk, those that run there included. Bytes.
    pub image_bytes: BTreeMap<Image, u64>,
    /// By component.
    pub components: BTreeMap<Component, ContainerFacts>,
    /// Its etcd member.
    pub etcd: Option<EtcdFacts>,
}

/// What is known of one component's container.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContainerFacts {
    /// The text of the file that `--config` names.
    pub config: Option<String>,
    /// Docker's word: `no`, `always`, `unless-stopped`, `on-failure`.
    pub restart_policy: Option<String>,
    /// Whether Docker removes it when it stops (`--rm`).
    pub auto_remove: bool,
    /// When the certificate that it serves with runs out.
    pub certificate_until: Option<Timestamp>,
    /// Whether it carries CKE's label: CKE made it, or it descends from one that CKE made.
    pub by_cke: bool,
    /// What it takes from other containers of the node.
    pub shares: Vec<Share>,
    /// The names of containers that use its network.
    pub guests: Vec<String>,
}

/// Something of one container's that another uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// What: `network`, `volumes`.
    pub what: String,
    /// Whose: the other container's id or name.
    pub of: String,
}

/// What is known of one etcd member.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EtcdFacts {
    /// Size of its database. Bytes.
    pub db_size: Option<u64>,
    /// How large it may become. Bytes.
    pub quota: Option<u64>,
    /// Raft's last applied proposal: how far a member lags is the difference to the furthest.
    pub applied: Option<u64>,
    /// Alarms that it reports: `NOSPACE`, `CORRUPT`.
    pub alarms: Vec<String>,
}

/// What is known from the cluster's API.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ApiFacts {
    /// APIs that somebody has asked for since the API servers started and that a coming release removes.
    pub deprecated: Vec<DeprecatedApi>,
    /// Running pods with readiness or startup probes, by namespace.
    pub probed_pods: BTreeMap<String, usize>,
    /// Of these, the pods that are the only one of their owner: `namespace/name`.
    pub singletons: Vec<String>,
    /// Running pods that use device plugins, by namespace.
    pub device_pods: BTreeMap<String, usize>,
    /// Running pods by node, DaemonSets' left out: what a drain would evict.
    pub evictable: BTreeMap<NodeName, usize>,
    /// Of each node's running pods, the one that may take longest to end; none where a node has no pods.
    pub graces: BTreeMap<NodeName, LongestGrace>,
    /// Bytes in local volumes and of ephemeral storage asked for, by node: what a drain would lose or have to copy.
    pub local_bytes: BTreeMap<NodeName, u64>,
    /// StatefulSets of several replicas, and the nodes that these stand on.
    pub stateful_sets: Vec<StatefulSet>,
    /// Why it is thought that a CKE server is at work, if it is.
    pub cke: Option<String>,
}

/// How long the pods of a node may take to end once they were told to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LongestGrace {
    /// The longest that a kubelet may take to end all containers of one of its pods: one after the other, each within the grace
    /// period (`terminationGracePeriodSeconds`). Seconds.
    pub seconds: u64,
    /// That pod: `namespace/name`.
    pub pod: String,
}

/// An API that will be gone (kube-apiserver's metric `apiserver_requested_deprecated_apis`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeprecatedApi {
    /// `policy`; empty for the core group.
    pub group: String,
    /// `v1beta1`.
    pub version: String,
    /// `poddisruptionbudgets`, with its subresource behind a slash where there is one.
    pub resource: String,
    /// The minor that removes it, for instance (1, 25).
    pub removed_in: (u32, u32),
}

/// A StatefulSet of several replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatefulSet {
    /// `namespace/name`.
    pub name: String,
    /// The nodes that its pods run on.
    pub nodes: Vec<NodeName>,
}

/// What a registry says of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageFacts {
    /// About what it takes on a disk: its own size where a node has it, else that of the image whose place it takes. Bytes.
    pub size: Option<u64>,
    /// Architectures that it is made for; empty when that is not known.
    pub archs: BTreeSet<String>,
    /// The registry says that there is no such image.
    pub missing: bool,
}

/// How long things took in past runs. Milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pace {
    /// Runs that it was taken from.
    pub runs: usize,
    /// Pulling one image onto one node.
    pub pull: Option<Spread>,
    /// One swap, by the components that it moves (joined with `+`).
    pub swaps: BTreeMap<String, Spread>,
}

/// A duration's spread. Milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spread {
    /// Half were not longer.
    pub p50: u64,
    /// Nine of ten were not longer.
    pub p90: u64,
}
