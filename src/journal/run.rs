//! What a run is: the state that its events fold to, and the questions that screens and reports ask of it. Pure.

use super::event::{Outcome, PauseReason, Step, Verdict};
use super::snapshot::SnapshotState;
use crate::fleet::{ClusterName, Component, Disturbance, DisturbanceKind, FenceToken, Image, NodeName, RunId, SwapId};
use crate::plan::{PhaseKind, Plan, Swap};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// A run, as its journal tells it so far.
#[derive(Debug, Clone)]
pub struct Run {
    /// The plan that it carries out.
    pub plan: Arc<Plan>,
    /// Its id, once the first record is folded.
    pub id: Option<RunId>,
    /// The cluster.
    pub cluster: ClusterName,
    /// Who started it.
    pub operator: String,
    /// The engine's process, as last heard of.
    pub engine: Option<u32>,
    /// When it started.
    pub started: Option<Timestamp>,
    /// The time of the last record.
    pub now: Option<Timestamp>,
    /// Events folded.
    pub events: u64,
    /// What it is doing.
    pub state: RunState,
    /// How it stands with the cluster's run lock.
    pub lock: LockView,
    /// Why it is paused, aborting or ended so; empty when there is nothing to say.
    pub why: String,
    /// The phase that it is in; `phases_done` counts those behind it.
    pub phase: Option<usize>,
    /// The wave of that phase.
    pub wave: Option<usize>,
    /// Waves that are through, by (phase, wave).
    pub waves_done: BTreeMap<(usize, usize), Timestamp>,
    /// When a wave began, by (phase, wave).
    pub waves_begun: BTreeMap<(usize, usize), Timestamp>,
    /// Phases that are through.
    pub phases_done: Vec<usize>,
    /// The gate that it waits for.
    pub gate: Option<GateView>,
    /// Every swap, in the plan's order.
    pub swaps: Vec<SwapView>,
    /// The swaps that rolled back or failed so far, in that order, what was retried or skipped since included: the one count
    /// that screens show and that the budget is held against. What was commanded back, or goes back in an abort, is no failure.
    pub failed: Vec<FailedSwap>,
    /// Pulls by node and image.
    pub pulls: BTreeMap<(NodeName, Image), PullState>,
    /// The snapshot of etcd.
    pub snapshot: SnapshotState,
    /// How often it was begun.
    pub snapshot_tries: u32,
    /// The proof so far.
    pub pods: Pods,
    /// Committed components that are not what was committed any more, and what was found instead.
    pub drifts: BTreeMap<(SwapId, Component), Drift>,
    /// API servers whose address is out of the `default/kubernetes` Endpoints because of this run: the node, and the address.
    pub endpoints_out: BTreeMap<NodeName, String>,
    /// Downtimes by component, in the order in which they were measured. Milliseconds.
    pub downtimes: BTreeMap<Component, Vec<u64>>,
    /// How they were measured, in words.
    pub measured_by: BTreeMap<Component, String>,
    /// How often operators said that what is waited for is to be asked again at once.
    pub asked_again: u32,
    /// What operators decided against the plan, or against a gate.
    pub decisions: Vec<Decision>,
    /// Gates that were passed over, by (phase, wave, name).
    pub overrides: BTreeSet<(usize, usize, String)>,
    /// Pauses: when, and why.
    pub pauses: Vec<(Timestamp, String)>,
    /// What the cluster's API last said.
    pub ready: Option<ClusterView>,
    /// What happened, in words, newest last.
    pub log: VecDeque<LogLine>,
    pub(super) index: HashMap<SwapId, usize>,
    by_node: HashMap<NodeName, Vec<usize>>,
}

/// A swap that rolled back or failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedSwap {
    /// The swap.
    pub swap: SwapId,
    /// Its node.
    pub node: NodeName,
    /// Why, in words.
    pub why: String,
}

/// A gate that the run waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateView {
    /// Its name, in words.
    pub name: String,
    /// What it waits for, in words.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
    /// For a soak: how long it takes. Milliseconds.
    pub soak_ms: Option<u64>,
    /// The run pauses by itself so long after `since`. Milliseconds.
    pub limit_ms: Option<u64>,
}

/// What the cluster's API last said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterView {
    /// Nodes that are Ready.
    pub ready: usize,
    /// Nodes in all.
    pub total: usize,
    /// Nodes that are not, and were when the run began.
    pub lost: Vec<NodeName>,
    /// Whether the API answered.
    pub api: bool,
    /// How it refuses our credentials, in words; none where it does not.
    pub refused: Option<String>,
}

/// What a run is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// No engine has begun yet.
    Starting,
    /// Swaps start.
    Running,
    /// A pause was commanded; what is in flight finishes.
    Pausing,
    /// Nothing is in flight.
    Paused(PauseReason),
    /// An abort was commanded; what is in flight rolls back.
    Aborting,
    /// It is over.
    Ended(Outcome),
}

/// How a run stands with the cluster's run lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockView {
    /// Its engine has not said yet.
    Unknown,
    /// It has it.
    Held(FenceToken),
    /// It could not be renewed for a while. The run goes on by itself once it is held again.
    Unsure,
    /// Another has it, or had it meanwhile.
    Lost,
}

/// One swap as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct SwapView {
    /// Its place in the plan.
    pub phase: usize,
    /// Its place in the plan.
    pub wave: usize,
    /// Its place in the wave.
    pub slot: usize,
    /// Its id.
    pub id: SwapId,
    /// Its node.
    pub node: NodeName,
    /// What it is doing.
    pub state: SwapState,
    /// When the node was told to swap.
    pub begun: Option<Timestamp>,
    /// The dead-man's switch, counted from `stopped_at`. Milliseconds.
    pub deadline_ms: u64,
    /// When the first old container was being stopped, by the engine's clock.
    pub stopping_at: Option<Timestamp>,
    /// The last step that the node reported, and of which component.
    pub step: Option<(Step, Option<Component>)>,
    /// The components that answer healthy on their new version.
    pub healthy: Vec<Component>,
    /// The transaction on the node, once there was one.
    pub tx: Option<String>,
    /// Why it rolled back or failed, or was skipped.
    pub why: String,
    /// The reason for which an operator decided to leave it as it is.
    pub skip: Option<String>,
    /// An operator commanded it back to the old version, and that has no result yet; why.
    pub undo: Option<String>,
    /// Tries so far.
    pub attempts: u32,
}

/// What a swap is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwapState {
    /// Not yet.
    Waiting,
    /// New containers are being created.
    Preparing,
    /// In the critical section, or waiting for health.
    InFlight,
    /// The verdict is given and not yet confirmed.
    Ending(Verdict),
    /// The node is all new.
    Committed,
    /// The node is all old again.
    RolledBack,
    /// It could not be done.
    Failed,
    /// It was committed, and what runs on the node now is not what was committed, or is not healthy.
    Drifted,
    /// It is left as it is, by an operator's decision.
    Skipped,
}

/// How long a node may take to roll back once its deadline has passed, before its swap is called overdue: it stops the new
/// containers (10 s each by default) and starts the old ones. Milliseconds.
pub const ROLLBACK_MS: u64 = 30_000;

impl SwapView {
    /// Whether the swap should have come to an end by now and did not, as far as is known: its deadline has passed, and the time
    /// that rolling back takes. Nothing can be called safe then. `now` is of the engine's clock.
    pub fn overdue(&self, now: Timestamp) -> bool {
        // Of a node that fell silent right after it began, no stop was ever heard.
        let under_way = matches!(self.state, SwapState::InFlight | SwapState::Ending(_));
        let Some(from) = self.stopping_at.or(self.begun).filter(|_| under_way) else { return false };
        let limit = i128::from(self.deadline_ms) + i128::from(ROLLBACK_MS);
        now.duration_since(from).as_millis() > limit
    }
}

impl SwapState {
    /// Whether the node may be in between: an intent stands that has no result.
    pub fn open(self) -> bool {
        matches!(self, SwapState::Preparing | SwapState::InFlight | SwapState::Ending(_))
    }

    fn done(self) -> bool {
        matches!(self, SwapState::Committed | SwapState::Drifted | SwapState::Failed)
    }
}

/// One pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PullState {
    /// Under way: bytes done, bytes known of.
    Pulling(u64, u64),
    /// On the node.
    Done,
    /// Failed, and why.
    Failed(String),
}

/// The proof that no pod was disturbed, so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pods {
    /// Pods compared.
    pub checked: usize,
    /// Of these, proved to be undisturbed by a look that was late enough.
    pub undisturbed: usize,
    /// Those that a swap disturbed, or of which nothing shows that it did not.
    pub disturbed: Vec<(NodeName, Disturbance)>,
    /// Those that something else changed.
    pub changed: Vec<(NodeName, Disturbance)>,
    /// Those that are not proved yet, by swap.
    pub pending: BTreeMap<SwapId, PendingProof>,
    /// Those that stay unproved, by node: their grace period is longer than the plan waits for, or their node was swapped anew before
    /// its pods were proved.
    pub never: BTreeMap<NodeName, usize>,
    /// Pods on nodes that no swap touched, over the same time.
    pub churn: Churn,
    /// How long pods on swapped nodes were watched, by swap.
    pub watched: BTreeMap<SwapId, Watched>,
}

/// Pods of one swap that were not looked at late enough yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingProof {
    /// Their node.
    pub node: NodeName,
    /// How many.
    pub pods: usize,
    /// When they can be proved.
    pub due: Timestamp,
}

/// So many pods of one node whose containers were restarted after its kubelet's start are no accident.
pub const MANY_RESTARTED: usize = 3;

/// Pods of one swap's node, and over which time they were compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watched {
    /// How many.
    pub pods: usize,
    /// Before the swap.
    pub from: Timestamp,
    /// The last comparison that the journal tells of.
    pub to: Timestamp,
}

/// The control group: how pods change where no swap is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Churn {
    /// Pods, times the milliseconds for which each was watched.
    pub pod_ms: u64,
    /// Pods that changed.
    pub changed: usize,
}

impl Churn {
    /// How many of `pods` change by themselves within `ms` milliseconds, going by this group; none when nothing was watched.
    pub fn expected(&self, pods: usize, ms: u64) -> Option<f64> {
        (self.pod_ms > 0).then(|| self.changed as f64 * (pods as f64 * ms as f64) / self.pod_ms as f64)
    }
}

/// A committed component that is not what was committed any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// Its node.
    pub node: NodeName,
    /// When that was seen.
    pub at: Timestamp,
    /// What was found instead, in words.
    pub why: String,
}

impl Pods {
    /// The nodes whose kubelet was seen to restart containers because it computes their definition anew, or several pods at once.
    pub fn redefined_on(&self) -> Vec<NodeName> {
        let mut restarted: BTreeMap<&NodeName, (usize, bool)> = BTreeMap::new();
        for (node, pod) in &self.disturbed {
            let (pods, signed) = restarted.entry(node).or_default();
            *pods += usize::from(matches!(pod.kind, DisturbanceKind::Restarted(_)));
            *signed |= matches!(pod.kind, DisturbanceKind::Redefined(_));
        }
        let many = restarted.into_iter().filter(|(_, (pods, signed))| *signed || *pods >= MANY_RESTARTED);
        many.map(|(node, _)| node.clone()).collect()
    }

    /// How many of the pods on swapped nodes would have changed by themselves while they were watched, going by the control group;
    /// none when there was none.
    pub fn expected_changes(&self) -> Option<f64> {
        let of = |w: &Watched| {
            let ms = u64::try_from(w.to.duration_since(w.from).as_millis()).unwrap_or(0);
            self.churn.expected(w.pods, ms)
        };
        self.watched.values().map(of).sum()
    }

    /// Adds a swap's counts. They come from a file: they may be anything.
    pub(super) fn count(&mut self, checked: usize, undisturbed: usize) {
        self.checked = self.checked.saturating_add(checked);
        self.undisturbed = self.undisturbed.saturating_add(undisturbed);
    }
}

/// What an operator decided against the plan, or against a gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// `skip` or `override`.
    pub what: String,
    /// Which nodes, folded, or which gate.
    pub of: String,
    /// Why, in the operator's words.
    pub why: String,
}

/// A line of the run's story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When.
    pub at: Timestamp,
    /// How loud.
    pub tone: Tone,
    /// The node that it is about.
    pub node: Option<NodeName>,
    /// In words, fit to be shown.
    pub text: String,
}

/// How loud a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As planned.
    Calm,
    /// Worth a look.
    Notice,
    /// Something went wrong.
    Alarm,
}

impl Run {
    /// A run of `plan` of which nothing is known yet.
    pub fn new(plan: Arc<Plan>) -> Run {
        let mut swaps = Vec::new();
        for (p, phase) in plan.phases.iter().enumerate() {
            for (w, wave) in phase.waves.iter().enumerate() {
                for (slot, swap) in wave.swaps.iter().enumerate() {
                    swaps.push(SwapView {
                        phase: p,
                        wave: w,
                        slot,
                        id: swap.id.clone(),
                        node: swap.node.clone(),
                        state: SwapState::Waiting,
                        begun: None,
                        deadline_ms: swap.deadline_ms,
                        stopping_at: None,
                        step: None,
                        healthy: Vec::new(),
                        tx: None,
                        why: String::new(),
                        skip: None,
                        undo: None,
                        attempts: 0,
                    });
                }
            }
        }
        let index = swaps.iter().enumerate().map(|(i, s)| (s.id.clone(), i)).collect();
        let mut by_node: HashMap<NodeName, Vec<usize>> = HashMap::new();
        for (i, s) in swaps.iter().enumerate() {
            by_node.entry(s.node.clone()).or_default().push(i);
        }
        Run {
            cluster: plan.cluster.name.clone(),
            plan,
            id: None,
            operator: String::new(),
            engine: None,
            started: None,
            now: None,
            events: 0,
            state: RunState::Starting,
            lock: LockView::Unknown,
            why: String::new(),
            phase: None,
            wave: None,
            waves_done: BTreeMap::new(),
            waves_begun: BTreeMap::new(),
            phases_done: Vec::new(),
            gate: None,
            asked_again: 0,
            swaps,
            failed: Vec::new(),
            pulls: BTreeMap::new(),
            snapshot: SnapshotState::None,
            snapshot_tries: 0,
            pods: Pods::default(),
            drifts: BTreeMap::new(),
            endpoints_out: BTreeMap::new(),
            downtimes: BTreeMap::new(),
            measured_by: BTreeMap::new(),
            decisions: Vec::new(),
            overrides: BTreeSet::new(),
            pauses: Vec::new(),
            ready: None,
            log: VecDeque::new(),
            index,
            by_node,
        }
    }

    /// The swap of this id.
    pub fn swap(&self, id: &SwapId) -> Option<&SwapView> {
        self.index.get(id).and_then(|&i| self.swaps.get(i))
    }

    /// The swaps of a node, in the plan's order.
    pub fn swaps_of(&self, node: &NodeName) -> impl Iterator<Item = &SwapView> {
        self.by_node.get(node).into_iter().flatten().filter_map(|&i| self.swaps.get(i))
    }

    /// The planned swap behind a view.
    pub fn planned(&self, view: &SwapView) -> &Swap {
        &self.plan.phases[view.phase].waves[view.wave].swaps[view.slot]
    }

    /// How many swaps rolled back or failed so far ([`Run::failed`]).
    pub fn failures(&self) -> usize {
        self.failed.len()
    }

    /// Nodes that are NotReady and were Ready when the run began, as the API last said.
    pub fn lost(&self) -> &[NodeName] {
        self.ready.as_ref().map_or(&[], |view| &view.lost)
    }

    /// How a swap stands for whoever counts it, one state each: one whose drift is on record and which was skipped since, or
    /// whose retry failed before anything was stopped, still stands as drifted.
    pub fn standing(&self, swap: &SwapView) -> SwapState {
        let adrift = || {
            self.drifts.range((swap.id.clone(), Component::ALL[0])..).next().is_some_and(|((s, _), _)| *s == swap.id)
        };
        match swap.state {
            SwapState::Skipped | SwapState::Failed if !self.drifts.is_empty() && adrift() => SwapState::Drifted,
            state => state,
        }
    }

    /// How many swaps stand in a state that `pick` picks.
    pub fn count(&self, pick: impl Fn(SwapState) -> bool) -> usize {
        self.swaps.iter().filter(|s| pick(self.standing(s))).count()
    }

    /// The swaps whose node may be in between.
    pub fn in_flight(&self) -> impl Iterator<Item = &SwapView> {
        self.swaps.iter().filter(|s| s.state.open())
    }

    /// Committed swaps over all swaps of one wave.
    pub fn wave_progress(&self, phase: usize, wave: usize) -> (usize, usize) {
        let mut progress = (0, 0);
        for s in self.swaps.iter().filter(|s| s.phase == phase && s.wave == wave) {
            progress.1 += 1;
            progress.0 += usize::from(s.state == SwapState::Committed);
        }
        progress
    }

    /// Pulls done, failed and in all the plan's pulls.
    pub fn pull_progress(&self) -> (usize, usize, usize) {
        let all = self
            .plan
            .phases
            .iter()
            .filter(|p| p.kind == PhaseKind::Prefetch)
            .flat_map(|p| &p.pulls)
            .map(|p| p.images.len())
            .sum();
        let done = self.pulls.values().filter(|p| **p == PullState::Done).count();
        let failed = self.pulls.values().filter(|p| matches!(p, PullState::Failed(_))).count();
        (done, failed, all)
    }

    /// The swaps whose nodes are on the new version, as far as is known: those committed, and those that failed or drifted,
    /// of which only a look at the node tells. What takes a run back begins with these.
    pub fn done(&self) -> BTreeSet<SwapId> {
        self.swaps.iter().filter(|s| self.standing(s).done()).map(|s| s.id.clone()).collect()
    }

    /// Whether there is one of these.
    pub fn has_done(&self) -> bool {
        self.swaps.iter().any(|s| self.standing(s).done())
    }

    /// Whether it is over.
    pub fn ended(&self) -> Option<Outcome> {
        match self.state {
            RunState::Ended(outcome) => Some(outcome),
            _ => None,
        }
    }
}
