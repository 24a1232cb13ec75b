//! The components that sonoba swaps.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A Kubernetes component that runs as a Docker container on a node (CKE's way).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Component {
    /// The reverse proxy through which every node reaches the API servers.
    Rivers,
    /// The reverse proxy through which every node reaches etcd.
    EtcdRivers,
    /// etcd; masters only.
    Etcd,
    /// kube-apiserver; masters only.
    KubeApiserver,
    /// kube-controller-manager; masters only.
    KubeControllerManager,
    /// kube-scheduler; masters only.
    KubeScheduler,
    /// kubelet; every node.
    Kubelet,
    /// kube-proxy; every node.
    KubeProxy,
}

impl Component {
    /// All of them, in the order in which an upgrade takes them.
    pub const ALL: [Component; 8] = [
        Component::Rivers,
        Component::EtcdRivers,
        Component::Etcd,
        Component::KubeApiserver,
        Component::KubeControllerManager,
        Component::KubeScheduler,
        Component::Kubelet,
        Component::KubeProxy,
    ];

    /// The name, which is also the container's name unless the profile says otherwise.
    pub fn as_str(self) -> &'static str {
        match self {
            Component::Rivers => "rivers",
            Component::EtcdRivers => "etcd-rivers",
            Component::Etcd => "etcd",
            Component::KubeApiserver => "kube-apiserver",
            Component::KubeControllerManager => "kube-controller-manager",
            Component::KubeScheduler => "kube-scheduler",
            Component::Kubelet => "kubelet",
            Component::KubeProxy => "kube-proxy",
        }
    }

    /// A short form for table heads.
    pub fn short(self) -> &'static str {
        match self {
            Component::Rivers => "rivers",
            Component::EtcdRivers => "e-rivers",
            Component::Etcd => "etcd",
            Component::KubeApiserver => "api",
            Component::KubeControllerManager => "ctrl-mgr",
            Component::KubeScheduler => "sched",
            Component::Kubelet => "kubelet",
            Component::KubeProxy => "proxy",
        }
    }

    /// Whether only masters run it.
    pub fn master_only(self) -> bool {
        matches!(
            self,
            Component::Etcd | Component::KubeApiserver | Component::KubeControllerManager | Component::KubeScheduler
        )
    }

    /// Whether the way into a node may run through it, so that its verdict must come over a fresh SSH connection.
    pub fn carries_the_way_in(self) -> bool {
        matches!(self, Component::KubeProxy | Component::Rivers)
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Component {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Component::ALL.into_iter().find(|c| c.as_str() == text).ok_or_else(|| {
            let known: Vec<&str> = Component::ALL.iter().map(|c| c.as_str()).collect();
            format!("component {} is not known; use one of {}", super::quoted(text), known.join(", "))
        })
    }
}
