//! The events of a run, as the journal holds them: one JSON object a line.

use super::snapshot::EtcdSnapshot;
use super::verb::Verb;
use crate::fleet::{ClusterName, Component, Disturbance, FenceToken, Image, NodeName, PodProof, RunId, SwapId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Counts from 1 without a gap.
    pub seq: u64,
    /// The engine's clock.
    pub at: Timestamp,
    /// SHA-256, in hexadecimal, of the line before, its line feed left out. The first record's is the plan file's.
    pub prev: String,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// Something that happened, or that is about to: an intent is on disk before it touches a node (law 4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The first record.
    RunStarted {
        /// The run.
        run: RunId,
        /// The cluster.
        cluster: ClusterName,
        /// Who started it.
        operator: String,
        /// Where.
        host: String,
        /// sonoba's own version.
        version: String,
    },
    /// An engine took the run up.
    EngineStarted {
        /// Its process.
        pid: u32,
        /// Where.
        host: String,
        /// Whether another engine had it before.
        resumed: bool,
    },
    /// The run holds the cluster's run lock, for the first time or again.
    LockHeld {
        /// Which holding of it: higher than that of every holder before.
        token: FenceToken,
    },
    /// The run lock could not be renewed for a while: nothing new starts.
    LockUnsure {
        /// Why, in words.
        why: String,
        /// For so long that another may take it: nothing is sent to any node any more.
        lapsed: bool,
    },
    /// Another run has the run lock, or had it meanwhile. This one goes on at an operator's word alone.
    LockLost {
        /// Whose it is, in words.
        why: String,
    },
    /// An operator's command was accepted.
    Command {
        /// Which.
        verb: Verb,
        /// Whose.
        by: String,
    },
    /// Nothing is in flight, nothing starts.
    Paused {
        /// Why.
        reason: PauseReason,
        /// Why, in words.
        why: String,
    },
    /// The run goes on.
    Resumed,
    /// A phase began.
    PhaseBegun {
        /// Its index in the plan.
        phase: usize,
    },
    /// A phase is through.
    PhaseEnded {
        /// Its index in the plan.
        phase: usize,
    },
    /// A wave began.
    WaveBegun {
        /// The phase's index.
        phase: usize,
        /// The wave's index in the phase.
        wave: usize,
    },
    /// A wave and its gates are through.
    WaveEnded {
        /// The phase's index.
        phase: usize,
        /// The wave's index in the phase.
        wave: usize,
    },
    /// A gate does not hold, or a soak has begun; the run waits.
    GateWaiting {
        /// Which gate, in words.
        gate: String,
        /// What it waits for, in words.
        why: String,
        /// For a soak: how long it will take. Milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ms: Option<u64>,
        /// The run pauses by itself so long after the wait for this gate began. Milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit_ms: Option<u64>,
    },
    /// The gate holds.
    GatePassed {
        /// Which gate, in words.
        gate: String,
    },
    /// A pull began.
    PullBegun {
        /// The node.
        node: NodeName,
        /// The image.
        image: Image,
    },
    /// How far a pull is. Bytes; what Docker said of all layers so far.
    PullProgress {
        /// The node.
        node: NodeName,
        /// The image.
        image: Image,
        /// Bytes fetched.
        done: u64,
        /// Bytes to fetch, as far as known.
        total: u64,
    },
    /// The image is on the node.
    Pulled {
        /// The node.
        node: NodeName,
        /// The image.
        image: Image,
        /// The image's id.
        id: String,
        /// Whether it was there already.
        already: bool,
        /// How long it took. Milliseconds.
        ms: u64,
    },
    /// A pull failed; the node's swap cannot happen.
    PullFailed {
        /// The node.
        node: NodeName,
        /// The image.
        image: Image,
        /// Why.
        why: String,
    },
    /// Intent: a snapshot of etcd is about to be saved.
    SnapshotBegun {
        /// The member that is asked.
        node: NodeName,
        /// The file, inside its container.
        path: String,
    },
    /// The snapshot is saved and checked: etcd may move.
    SnapshotTaken(EtcdSnapshot),
    /// There is no snapshot; no member of etcd moves.
    SnapshotFailed {
        /// The member that was asked.
        node: NodeName,
        /// Why.
        why: String,
    },
    /// Intent: the new containers are about to be created.
    SwapPreparing {
        /// The swap.
        swap: SwapId,
        /// The node.
        node: NodeName,
    },
    /// Intent: the node is about to be told to swap.
    SwapIntended {
        /// The swap.
        swap: SwapId,
        /// The node.
        node: NodeName,
        /// The transaction's id on the node.
        tx: String,
        /// The dead-man's switch. Milliseconds.
        deadline_ms: u64,
        /// The containers that are being replaced, by component: their ids.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        olds: BTreeMap<Component, String>,
        /// The node's pods before.
        pods: Vec<PodProof>,
    },
    /// The node did a step.
    SwapStep {
        /// The swap.
        swap: SwapId,
        /// The node.
        node: NodeName,
        /// The component; none where the step concerns the whole transaction.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        component: Option<Component>,
        /// Which.
        step: Step,
        /// The node's own monotonic clock. Milliseconds.
        uptime_ms: u64,
    },
    /// A component answers healthy on its new version.
    SwapHealthy {
        /// The swap.
        swap: SwapId,
        /// The node.
        node: NodeName,
        /// The component.
        component: Component,
        /// From the first refusal that a client would have had to the first success. Milliseconds.
        downtime_ms: u64,
        /// How that was measured, in words; empty in journals from before it was said.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        how: String,
    },
    /// Clients were led away from a component before it stops: an etcd leader handed over, an API server left the Endpoints and
    /// its connections fell.
    ClientsLedAway {
        /// The swap.
        swap: SwapId,
        /// The node.
        node: NodeName,
        /// The component.
        component: Component,
        /// What was done, or why it could not be, in words.
        text: String,
        /// Whether it worked.
        done: bool,
        /// How long it took. Milliseconds.
        ms: u64,
    },
    /// Intent: an API server's address is about to be taken out of the `default/kubernetes` Endpoints and EndpointSlice.
    EndpointLeaving {
        /// The node.
        node: NodeName,
        /// The address.
        address: String,
    },
    /// The address is in the Endpoints and the EndpointSlice again.
    EndpointBack {
        /// The node.
        node: NodeName,
        /// The address.
        address: String,
    },
    /// Intent: the engine is about to give this verdict.
    SwapVerdict {
        /// The swap.
        swap: SwapId,
        /// The node.
        node: NodeName,
        /// The verdict.
        verdict: Verdict,
        /// Why, for a rollback; for a commit, why it is kept although pods are disturbed.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        why: String,
    },
    /// Pods are not as they were before the swap, and the swap did it, or nothing shows that it did not: each counts against the
    /// budget.
    PodsDisturbed {
        /// The swap.
        swap: SwapId,
        /// The node.
        node: NodeName,
        /// Which, how, and by what evidence.
        pods: Vec<Disturbance>,
    },
    /// Pods are not as they were before the swap, and something else did it (a rollout, a crash loop, a Job that ended).
    PodsChanged {
        /// The swap.
        swap: SwapId,
        /// The node.
        node: NodeName,
        /// Which, how, and by what evidence.
        pods: Vec<Disturbance>,
    },
    /// The swap has ended, and what it did to the node's pods shows only later: a kubelet that restarts a container lets it run
    /// for its grace period first. Written before the swap's result; until [`Event::PodsProved`] its pods are not proved.
    ProofPending {
        /// The swap.
        swap: SwapId,
        /// The node.
        node: NodeName,
        /// Pods that are still to be proved.
        pods: usize,
        /// From now. Milliseconds.
        ms: u64,
    },
    /// The node's pods were compared late enough.
    PodsProved {
        /// The swap.
        swap: SwapId,
        /// The node.
        node: NodeName,
        /// Of the pods that the swap's result counted: those that the swap left alone.
        undisturbed: usize,
        /// Of the others: unchanged, but their grace period is longer than the plan's limit; they stay unproved.
        #[serde(default, skip_serializing_if = "is_zero")]
        unproved: usize,
    },
    /// How often pods changed on nodes that no swap touched, over the same time: the control group.
    ChurnSeen {
        /// Nodes that were looked at.
        nodes: usize,
        /// Pods on them.
        pods: usize,
        /// Of these, pods that changed by themselves.
        changed: usize,
        /// Between the two looks. Milliseconds.
        ms: u64,
    },
    /// What runs on the node in place of the old containers. Written before [`Event::SwapCommitted`]: what is looked at later is
    /// compared with it.
    ComponentsKept {
        /// The swap.
        swap: SwapId,
        /// The node.
        node: NodeName,
        /// By component.
        kept: BTreeMap<Component, Kept>,
    },
    /// A component of a committed swap is not any more what was committed, or does not run or answer well.
    ComponentDrifted {
        /// The swap that committed it.
        swap: SwapId,
        /// The node.
        node: NodeName,
        /// The component.
        component: Component,
        /// What was found instead, in words: `rivers runs 1.34.0 again; made anew at 12:03:07`.
        why: String,
    },
    /// A component that had drifted is what was committed again, and well.
    DriftEnded {
        /// The swap that committed it.
        swap: SwapId,
        /// The node.
        node: NodeName,
        /// The component.
        component: Component,
    },
    /// Somebody else made a container anew while its swap was under way: the node's script gave up, and touched nothing that it
    /// did not make. Written before [`Event::SwapFailed`].
    ForeignHand {
        /// The swap.
        swap: SwapId,
        /// The node.
        node: NodeName,
        /// What runs there, as seen then, in words.
        why: String,
    },
    /// The node is all new.
    SwapCommitted {
        /// The swap.
        swap: SwapId,
        /// The node.
        node: NodeName,
        /// Pods compared.
        pods_checked: usize,
        /// Of these, undisturbed.
        pods_undisturbed: usize,
        /// From the intent to here. Milliseconds.
        ms: u64,
    },
    /// The node is all old again.
    SwapRolledBack {
        /// The swap.
        swap: SwapId,
        /// The node.
        node: NodeName,
        /// Why.
        why: String,
        /// Pods compared.
        pods_checked: usize,
        /// Of these, undisturbed.
        pods_undisturbed: usize,
        /// From the intent to here. Milliseconds.
        ms: u64,
    },
    /// The swap could not be done; the node was not touched, or it needs a person.
    SwapFailed {
        /// The swap.
        swap: SwapId,
        /// The node.
        node: NodeName,
        /// Why.
        why: String,
        /// Whether the node was left as it was.
        untouched: bool,
    },
    /// What the cluster's API says; written when it changes.
    ClusterSeen {
        /// Nodes that are Ready.
        ready: usize,
        /// Nodes in all.
        total: usize,
        /// Nodes that are not, and were when the run began.
        lost: Vec<NodeName>,
        /// Whether the API answered.
        api: bool,
        /// How it refuses our credentials, in words; none where it does not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<String>,
    },
    /// Anything else worth keeping.
    Note {
        /// In words.
        text: String,
    },
    /// The last record of a run that has ended.
    RunEnded {
        /// How.
        outcome: Outcome,
        /// In words.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        why: String,
    },
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// A new container as it was when its swap was committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The container's id.
    pub id: String,
    /// Its image's id (`sha256:…`).
    pub image_id: String,
    /// When it was started, by the node's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// How often Docker had restarted it.
    #[serde(default)]
    pub restarts: u32,
}

/// Why a run is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PauseReason {
    /// An operator said so.
    Operator,
    /// A budget is spent.
    Budget,
    /// A gate did not hold in its time.
    Gate,
    /// A committed component is not what was committed any more.
    Drift,
    /// The engine cannot go on by itself, for instance because its disk is full.
    Trouble,
}

/// How a transaction on a node is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Keep the new.
    Commit,
    /// Restore the old.
    Rollback,
}

impl Verdict {
    /// As people say it.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Commit => "commit",
            Verdict::Rollback => "roll back",
        }
    }
}

/// A step that the node did in its critical section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The transaction folder exists and the runner lives.
    Begun,
    /// The old container is being stopped.
    Stopping,
    /// The old container has stopped.
    Stopped,
    /// The new container is started.
    Started,
    /// All are started; the node waits for the verdict.
    Waiting,
    /// Rolling back has begun.
    Restoring,
    /// The old container runs again.
    Restored,
    /// The old container is removed.
    Removed,
}

impl Step {
    /// As people say it.
    pub fn word(self) -> &'static str {
        match self {
            Step::Begun => "begun",
            Step::Stopping => "stopping the old one",
            Step::Stopped => "the old one stopped",
            Step::Started => "the new one started",
            Step::Waiting => "waiting for the verdict",
            Step::Restoring => "rolling back",
            Step::Restored => "the old one runs again",
            Step::Removed => "the old one removed",
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every swap is committed, or was skipped by decision.
    Completed,
    /// It stands paused.
    Paused,
    /// An operator aborted it.
    Aborted,
    /// It could not go on, or swaps failed.
    Failed,
    /// It was a rollback, and is through.
    RolledBack,
}

impl Outcome {
    /// As people say it.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Completed => "completed",
            Outcome::Paused => "paused",
            Outcome::Aborted => "aborted",
            Outcome::Failed => "failed",
            Outcome::RolledBack => "rolled back",
        }
    }
}
