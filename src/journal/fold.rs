//! Events folded into what a run is now. Pure: any prefix of a journal folds to the run as it was then.

use super::event::{Event, Outcome, PauseReason, Record, Step, Verb, Verdict};
use crate::fleet::{ClusterName, Component, Disturbance, Image, NodeName, RunId, SwapId, clean};
use crate::plan::{PhaseKind, Plan, Swap};
use jiff::Timestamp;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// Log lines kept in memory; the journal has them all.
const LOG_LINES: usize = 2_000;

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
    /// The gate that it waits for: its name, why, since when and (for a soak) how long in milliseconds.
    pub gate: Option<(String, String, Timestamp, Option<u64>)>,
    /// Every swap, in the plan's order.
    pub swaps: Vec<SwapView>,
    /// Pulls by node and image.
    pub pulls: BTreeMap<(NodeName, Image), PullState>,
    /// The proof so far.
    pub pods: Pods,
    /// Downtimes by component, in the order in which they were measured. Milliseconds.
    pub downtimes: BTreeMap<Component, Vec<u64>>,
    /// Pauses: when, and why.
    pub pauses: Vec<(Timestamp, String)>,
    /// What the cluster's API last said.
    pub ready: Option<ClusterView>,
    /// What happened, in words, newest last.
    pub log: VecDeque<LogLine>,
    index: HashMap<SwapId, usize>,
    by_node: HashMap<NodeName, Vec<usize>>,
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
    /// Why it rolled back or failed.
    pub why: String,
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
}

impl SwapState {
    /// Whether the node may be in between: an intent stands that has no result.
    pub fn open(self) -> bool {
        matches!(self, SwapState::Preparing | SwapState::InFlight | SwapState::Ending(_))
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
    /// Of these, undisturbed.
    pub undisturbed: usize,
    /// The others.
    pub disturbed: Vec<(NodeName, Disturbance)>,
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
            why: String::new(),
            phase: None,
            wave: None,
            waves_done: BTreeMap::new(),
            waves_begun: BTreeMap::new(),
            phases_done: Vec::new(),
            gate: None,
            swaps,
            pulls: BTreeMap::new(),
            pods: Pods::default(),
            downtimes: BTreeMap::new(),
            pauses: Vec::new(),
            ready: None,
            log: VecDeque::new(),
            index,
            by_node,
        }
    }

    /// Folds one record. Unknown swaps and out-of-range indices are passed over: a fold never fails.
    pub fn apply(&mut self, record: &Record) {
        let at = record.at;
        self.now = Some(at);
        self.events += 1;
        match &record.event {
            Event::RunStarted { run, cluster, operator, .. } => {
                self.id = Some(run.clone());
                self.cluster = cluster.clone();
                self.operator = clean(operator);
                self.started = Some(at);
                self.say(at, Tone::Calm, None, format!("run {run} started by {operator}"));
            }
            Event::EngineStarted { pid, host, resumed } => {
                self.engine = Some(*pid);
                // A pause or an abort outlives the engine that was told of it.
                if self.state == RunState::Starting {
                    self.state = RunState::Running;
                }
                if *resumed {
                    self.say(at, Tone::Notice, None, format!("engine {pid} on {host} took the run up again"));
                }
            }
            Event::Command { verb, by } => {
                self.state = match (verb, self.state) {
                    (_, ended @ RunState::Ended(_)) => ended,
                    (Verb::Pause, RunState::Running | RunState::Starting) => RunState::Pausing,
                    (Verb::Abort, _) => RunState::Aborting,
                    (Verb::Resume, RunState::Pausing) => RunState::Running,
                    (_, state) => state,
                };
                let word = match verb {
                    Verb::Pause => "pause",
                    Verb::Resume => "resume",
                    Verb::Abort => "abort",
                };
                self.say(at, Tone::Notice, None, format!("{word} commanded by {by}"));
            }
            Event::Paused { reason, why } => {
                self.state = RunState::Paused(*reason);
                self.why = clean(why);
                self.pauses.push((at, clean(why)));
                let tone = if *reason == PauseReason::Operator { Tone::Notice } else { Tone::Alarm };
                self.say(at, tone, None, format!("paused: {why}"));
            }
            Event::Resumed => {
                self.state = RunState::Running;
                self.why.clear();
                self.say(at, Tone::Notice, None, "resumed".into());
            }
            Event::PhaseBegun { phase } => {
                self.phase = Some(*phase);
                self.wave = None;
                if let Some(p) = self.plan.phases.get(*phase) {
                    let text = format!("phase: {}", p.kind.title());
                    self.say(at, Tone::Calm, None, text);
                }
            }
            Event::PhaseEnded { phase } => {
                if !self.phases_done.contains(phase) {
                    self.phases_done.push(*phase);
                }
                self.gate = None;
            }
            Event::WaveBegun { phase, wave } => {
                self.phase = Some(*phase);
                self.wave = Some(*wave);
                self.waves_begun.entry((*phase, *wave)).or_insert(at);
                let found = self.plan.phases.get(*phase).and_then(|p| p.waves.get(*wave));
                if let Some(text) = found.map(|w| match w.swaps.len() {
                    1 => format!("wave {}: 1 swap", w.title),
                    n => format!("wave {}: {n} swaps", w.title),
                }) {
                    self.say(at, Tone::Calm, None, text);
                }
            }
            Event::WaveEnded { phase, wave } => {
                self.waves_done.insert((*phase, *wave), at);
                self.gate = None;
            }
            Event::GateWaiting { gate, why, ms } => {
                let since = match &self.gate {
                    Some((name, _, since, _)) if name == gate => *since,
                    _ => at,
                };
                self.gate = Some((clean(gate), clean(why), since, *ms));
                let tone = if ms.is_some() { Tone::Calm } else { Tone::Notice };
                self.say(at, tone, None, format!("gate {gate}: {why}"));
            }
            Event::GatePassed { .. } => self.gate = None,
            Event::PullBegun { node, image } => {
                self.pulls.insert((node.clone(), image.clone()), PullState::Pulling(0, 0));
            }
            Event::PullProgress { node, image, done, total } => {
                self.pulls.insert((node.clone(), image.clone()), PullState::Pulling(*done, *total));
            }
            Event::Pulled { node, image, .. } => {
                self.pulls.insert((node.clone(), image.clone()), PullState::Done);
            }
            Event::PullFailed { node, image, why } => {
                self.pulls.insert((node.clone(), image.clone()), PullState::Failed(clean(why)));
                self.say(at, Tone::Alarm, Some(node), format!("pull of {image} failed: {why}"));
            }
            Event::SwapPreparing { swap, .. } => {
                if let Some(s) = self.find(swap) {
                    s.state = SwapState::Preparing;
                    s.attempts += 1;
                    s.why.clear();
                    s.healthy.clear();
                    s.step = None;
                    s.stopping_at = None;
                }
            }
            Event::SwapIntended { swap, tx, deadline_ms, .. } => {
                if let Some(s) = self.find(swap) {
                    s.state = SwapState::InFlight;
                    s.begun = Some(at);
                    s.tx = Some(tx.clone());
                    s.deadline_ms = *deadline_ms;
                }
            }
            Event::SwapStep { swap, component, step, .. } => {
                if let Some(s) = self.find(swap) {
                    s.step = Some((*step, *component));
                    if *step == Step::Stopping && s.stopping_at.is_none() {
                        s.stopping_at = Some(at);
                    }
                }
            }
            Event::SwapHealthy { swap, component, downtime_ms, .. } => {
                self.downtimes.entry(*component).or_default().push(*downtime_ms);
                if let Some(s) = self.find(swap) {
                    s.healthy.push(*component);
                }
            }
            Event::SwapVerdict { swap, node, verdict, why } => {
                if let Some(s) = self.find(swap) {
                    s.state = SwapState::Ending(*verdict);
                    s.why = clean(why);
                }
                if *verdict == Verdict::Rollback {
                    self.say(at, Tone::Alarm, Some(node), format!("rolling back: {why}"));
                }
            }
            Event::PodsDisturbed { node, pods, .. } => {
                for pod in pods {
                    self.pods.disturbed.push((node.clone(), pod.clone()));
                    self.say(at, Tone::Alarm, Some(node), format!("pod {} disturbed: {:?}", pod.pod, pod.kind));
                }
            }
            Event::SwapCommitted { swap, node, pods_checked, pods_undisturbed, ms } => {
                self.end(swap, SwapState::Committed, "");
                self.pods.checked += pods_checked;
                self.pods.undisturbed += pods_undisturbed;
                let text = format!("committed in {ms} ms, {pods_undisturbed} of {pods_checked} pods undisturbed");
                self.say(at, Tone::Calm, Some(node), text);
            }
            Event::SwapRolledBack { swap, node, why, pods_checked, pods_undisturbed, .. } => {
                self.end(swap, SwapState::RolledBack, why);
                self.pods.checked += pods_checked;
                self.pods.undisturbed += pods_undisturbed;
                self.say(at, Tone::Alarm, Some(node), format!("rolled back: {why}"));
            }
            Event::SwapFailed { swap, node, why, untouched } => {
                self.end(swap, SwapState::Failed, why);
                let rest = if *untouched { "the node is as it was" } else { "the node needs a person" };
                self.say(at, Tone::Alarm, Some(node), format!("failed: {why}; {rest}"));
            }
            Event::ClusterSeen { ready, total, lost, api } => {
                let new = ClusterView { ready: *ready, total: *total, lost: lost.clone(), api: *api };
                let was = self.ready.replace(new);
                if !api && was.as_ref().is_none_or(|w| w.api) {
                    self.say(at, Tone::Notice, None, "the cluster's API does not answer".into());
                }
                for node in lost.iter().filter(|n| was.as_ref().is_none_or(|w| !w.lost.contains(n))) {
                    self.say(at, Tone::Alarm, Some(node), "NotReady".into());
                }
            }
            Event::Note { text } => self.say(at, Tone::Notice, None, text.clone()),
            Event::RunEnded { outcome, why } => {
                self.state = RunState::Ended(*outcome);
                self.why = clean(why);
                self.gate = None;
                let tone = if *outcome == Outcome::Completed { Tone::Calm } else { Tone::Alarm };
                self.say(at, tone, None, format!("run ended: {outcome:?} {why}").trim_end().to_owned());
            }
        }
    }

    fn find(&mut self, id: &SwapId) -> Option<&mut SwapView> {
        self.index.get(id).and_then(|&i| self.swaps.get_mut(i))
    }

    fn end(&mut self, id: &SwapId, state: SwapState, why: &str) {
        if let Some(s) = self.find(id) {
            s.state = state;
            s.why = clean(why);
        }
    }

    fn say(&mut self, at: Timestamp, tone: Tone, node: Option<&NodeName>, text: String) {
        if self.log.len() == LOG_LINES {
            self.log.pop_front();
        }
        self.log.push_back(LogLine { at, tone, node: node.cloned(), text: clean(&text) });
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

    /// How many swaps are in a state that `pick` picks.
    pub fn count(&self, pick: impl Fn(SwapState) -> bool) -> usize {
        self.swaps.iter().filter(|s| pick(s.state)).count()
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

    /// Whether it is over.
    pub fn ended(&self) -> Option<Outcome> {
        match self.state {
            RunState::Ended(outcome) => Some(outcome),
            _ => None,
        }
    }
}
