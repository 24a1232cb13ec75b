//! The proof that a swap left a node's pods alone.

use super::clean;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What is remembered of a pod to tell later whether it was disturbed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodProof {
    /// `namespace/name`, for people.
    pub pod: String,
    /// The pod's UID.
    pub uid: String,
    /// Whether it had ended by itself (phase Succeeded or Failed).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
    /// Whether its Ready condition was true.
    pub ready: bool,
    /// When its Ready condition last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_since: Option<Timestamp>,
    /// Its containers; those that only ran before it began (plain init containers) are left out.
    pub containers: Vec<ContainerProof>,
    /// Since when the API has been asked to delete it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleting: Option<Timestamp>,
    /// How long a container may take to end once it was told to (`terminationGracePeriodSeconds`). Seconds.
    #[serde(default = "default_grace", skip_serializing_if = "is_default_grace")]
    pub grace_s: u32,
    /// What made it and looks after it, where something does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<PodOwner>,
    /// Why it is in its phase, where Kubernetes says so (`status.reason`: `Evicted`, `UnexpectedAdmissionError`, `NodeLost`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Who ends it, where Kubernetes says so (the reason of its `DisruptionTarget` condition: `EvictionByEvictionAPI`,
    /// `PreemptionByScheduler`, `DeletionByTaintManager`, `DeletionByPodGC`, `TerminationByKubelet`).
    ///
    /// <https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions>
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub disruption: String,
}

/// Kubernetes' default for `terminationGracePeriodSeconds`.
///
/// <https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination>
pub const DEFAULT_GRACE_S: u32 = 30;

fn default_grace() -> u32 {
    DEFAULT_GRACE_S
}

fn is_default_grace(grace_s: &u32) -> bool {
    *grace_s == DEFAULT_GRACE_S
}

/// What made a pod: its controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodOwner {
    /// `ReplicaSet`, `StatefulSet`, `DaemonSet`, `Job`; `Node` for a static pod's mirror.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl Default for PodProof {
    fn default() -> PodProof {
        PodProof {
            pod: String::new(),
            uid: String::new(),
            ended: false,
            ready: false,
            ready_since: None,
            containers: Vec::new(),
            deleting: None,
            grace_s: DEFAULT_GRACE_S,
            owner: None,
            reason: String::new(),
            disruption: String::new(),
        }
    }
}

impl PodProof {
    /// How long a kubelet may take at most to end all its containers: one after the other, each within its grace period. Seconds.
    ///
    /// Step 3 of `SyncPod` in <https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/kuberuntime/kuberuntime_manager.go>
    pub fn longest_end_s(&self) -> u64 {
        let ended = self.containers.iter().filter(|c| c.role != ContainerRole::Ephemeral && c.started_at.is_some());
        u64::from(self.grace_s).saturating_mul(ended.count().max(1) as u64)
    }
}

/// One container of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerProof {
    /// Its name in the pod.
    pub name: String,
    /// Its id, as the runtime gave it.
    pub id: String,
    /// How often it was restarted.
    pub restarts: i32,
    /// When it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// What it is in its pod.
    #[serde(default, skip_serializing_if = "ContainerRole::is_main")]
    pub role: ContainerRole,
    /// Why it waits to be started, where it does (`CrashLoopBackOff`, `ImagePullBackOff`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub waiting: String,
    /// How its last run ended, where it ran before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<ContainerExit>,
}

/// What a container is in its pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContainerRole {
    /// One of its containers.
    #[default]
    Main,
    /// An init container with `restartPolicy: Always`: it runs as long as the pod does.
    Sidecar,
    /// An ephemeral container, for debugging: the kubelet never restarts it.
    Ephemeral,
}

impl ContainerRole {
    fn is_main(&self) -> bool {
        *self == ContainerRole::Main
    }
}

/// How a run of a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerExit {
    /// Its exit code; 137 after SIGKILL, 143 after SIGTERM.
    pub code: i32,
    /// `Completed`, `Error`, `OOMKilled`, `ContainerStatusUnknown`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When it had started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}

/// Something that the API has recorded about a pod (a Kubernetes Event).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodEvent {
    /// The pod's UID.
    pub uid: String,
    /// For instance `Killing`, `Unhealthy`, `BackOff`, `Evicted`, `TaintManagerEviction`.
    pub reason: String,
    /// In words.
    pub message: String,
    /// What reported it: `kubelet`, `taint-eviction-controller`.
    pub source: String,
    /// When it was last seen.
    pub at: Timestamp,
    /// How often it was seen.
    pub count: u32,
}

/// A pod that is not as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disturbance {
    /// `namespace/name`.
    pub pod: String,
    /// What happened to it.
    pub kind: DisturbanceKind,
    /// What did it.
    #[serde(default)]
    pub cause: Cause,
    /// The evidence for that, in words; empty in journals from before it was weighed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub because: String,
}

/// What changed a pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The swap. Journals from before causes were weighed say so of every change.
    #[default]
    Swap,
    /// Something else.
    Others,
    /// Nothing shows what it was: it counts as the swap's.
    Unknown,
}

impl Disturbance {
    /// The same, fit to be shown.
    pub fn cleaned(&self) -> Disturbance {
        let kind = match &self.kind {
            DisturbanceKind::Restarted(container) => DisturbanceKind::Restarted(clean(container)),
            DisturbanceKind::Redefined(container) => DisturbanceKind::Redefined(clean(container)),
            DisturbanceKind::Gone
            | DisturbanceKind::NotReady
            | DisturbanceKind::ReadyFlapped
            | DisturbanceKind::Deleting
            | DisturbanceKind::Ended => self.kind.clone(),
        };
        Disturbance { pod: clean(&self.pod), kind, cause: self.cause, because: clean(&self.because) }
    }
}

impl std::fmt::Display for Disturbance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.pod, self.kind)?;
        match (self.because.as_str(), self.cause) {
            ("", Cause::Unknown) => f.write_str(": nothing shows why"),
            ("", _) => Ok(()),
            (because, _) => write!(f, ": {because}"),
        }
    }
}

/// What happened to a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DisturbanceKind {
    /// Its UID is gone: it was deleted, evicted or replaced.
    #[default]
    Gone,
    /// The API was asked to delete it since.
    Deleting,
    /// The named container has another id, start time or restart count.
    Restarted(String),
    /// The kubelet restarts, or has restarted, the named container because it computes its definition anew: the pod's other
    /// containers, and the node's other pods, follow.
    Redefined(String),
    /// It was Ready and now is not.
    NotReady,
    /// It is Ready, but was not in between.
    ReadyFlapped,
    /// It ended, and was not about to.
    Ended,
}

impl std::fmt::Display for DisturbanceKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DisturbanceKind::Gone => f.write_str("is gone"),
            DisturbanceKind::Deleting => f.write_str("is being deleted"),
            DisturbanceKind::Restarted(container) => write!(f, "restarted (container {container})"),
            DisturbanceKind::Redefined(container) => {
                write!(f, "is being restarted by its kubelet (container {container}: its definition changed)")
            }
            DisturbanceKind::NotReady => f.write_str("is not Ready any more"),
            DisturbanceKind::ReadyFlapped => f.write_str("was not Ready in between"),
            DisturbanceKind::Ended => f.write_str("has ended"),
        }
    }
}
