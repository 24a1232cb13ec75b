//! Events folded into what a run is now. Pure: any prefix of a journal folds to the run as it was then.

use super::event::{Event, Outcome, PauseReason, Record, Step, Verdict};
use super::run::{
    ClusterView, Drift, FailedSwap, GateView, LockView, LogLine, PendingProof, PullState, Run, RunState, SwapState,
    SwapView, Tone, Watched,
};
use super::snapshot::{EtcdSnapshot, SnapshotState};
use crate::fleet::{Component, Disturbance, NodeName, SwapId, clean, span};
use jiff::{SignedDuration, Timestamp};

/// Log lines kept in memory; the journal has them all.
const LOG_LINES: usize = 2_000;

impl Run {
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
                self.lock = LockView::Unknown;
                if *resumed {
                    self.say(at, Tone::Notice, None, format!("engine {pid} on {host} took the run up again"));
                }
            }
            Event::LockHeld { token } => {
                if std::mem::replace(&mut self.lock, LockView::Held(*token)) != LockView::Unknown {
                    self.say(at, Tone::Notice, None, "the run lock is held again".into());
                }
            }
            Event::LockUnsure { why, .. } => {
                self.lock = LockView::Unsure;
                self.say(at, Tone::Alarm, None, why.clone());
            }
            Event::LockLost { why } => {
                self.lock = LockView::Lost;
                self.say(at, Tone::Alarm, None, why.clone());
            }
            Event::Command { verb, by } => self.command(at, verb, by),
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
                // It is asked again, and has its whole time.
                self.gate = None;
                self.say(at, Tone::Notice, None, "resumed".into());
            }
            Event::PhaseBegun { phase } => {
                self.phase = Some(*phase);
                self.wave = None;
                if let Some(p) = self.plan.phases.get(*phase) {
                    let text = format!("phase: {}", p.title());
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
                // Those of a ramp are called waves already.
                let name =
                    |title: &str| if title.starts_with("wave ") { title.to_owned() } else { format!("wave {title}") };
                if let Some(text) = found.map(|w| match w.swaps.len() {
                    1 => format!("{}: 1 swap", name(&w.title)),
                    n => format!("{}: {n} swaps", name(&w.title)),
                }) {
                    self.say(at, Tone::Calm, None, text);
                }
            }
            Event::WaveEnded { phase, wave } => {
                self.waves_done.insert((*phase, *wave), at);
                self.gate = None;
            }
            Event::GateWaiting { gate, why, ms, limit_ms } => {
                let (name, why_shown) = (clean(gate), clean(why));
                let since = self.gate.as_ref().filter(|g| g.name == name).map_or(at, |g| g.since);
                self.gate = Some(GateView { name, why: why_shown, since, soak_ms: *ms, limit_ms: *limit_ms });
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
            Event::SnapshotBegun { node, path } => {
                self.snapshot = SnapshotState::Taking;
                self.snapshot_tries = self.snapshot_tries.saturating_add(1);
                self.say(at, Tone::Calm, Some(node), format!("taking a snapshot of etcd: {path}"));
            }
            Event::SnapshotTaken(found) => {
                let EtcdSnapshot { node, path, bytes, hash, revision, keys, .. } = found;
                self.snapshot = SnapshotState::Taken(found.cleaned());
                let text =
                    format!("snapshot of etcd: {path}, {bytes} bytes, {keys} keys, revision {revision}, hash {hash}");
                self.say(at, Tone::Calm, Some(node), text);
            }
            Event::SnapshotFailed { node, why } => {
                self.snapshot = SnapshotState::Failed(clean(why));
                self.say(at, Tone::Alarm, Some(node), format!("no snapshot of etcd: {why}"));
            }
            Event::SwapPreparing { swap, .. } => {
                if let Some(s) = self.find(swap) {
                    s.state = SwapState::Preparing;
                    s.attempts = s.attempts.saturating_add(1);
                    s.why.clear();
                    s.healthy.clear();
                    s.step = None;
                    s.stopping_at = None;
                }
            }
            Event::SwapIntended { swap, node, tx, deadline_ms, pods, .. } => {
                // A try that fails before this leaves the node adrift.
                self.drifts.retain(|(drifted, _), _| drifted != swap);
                if let Some(left) = self.pods.pending.remove(swap) {
                    self.never_proved(node, left.pods);
                }
                let pods = pods.iter().filter(|p| !p.ended).count();
                self.pods.watched.insert(swap.clone(), Watched { pods, from: at, to: at });
                if let Some(s) = self.find(swap) {
                    s.state = SwapState::InFlight;
                    s.begun = Some(at);
                    s.tx = Some(clean(tx));
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
            Event::SwapHealthy { swap, component, downtime_ms, how, .. } => {
                self.downtimes.entry(*component).or_default().push(*downtime_ms);
                if !how.is_empty() {
                    self.measured_by.insert(*component, clean(how));
                }
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
                    // What an abort takes back has not failed.
                    let tone = if self.state == RunState::Aborting { Tone::Notice } else { Tone::Alarm };
                    self.say(at, tone, Some(node), format!("rolling back: {why}"));
                } else if !why.is_empty() {
                    self.say(at, Tone::Alarm, Some(node), why.clone());
                }
            }
            Event::PodsDisturbed { swap, node, pods } => {
                self.looked(swap, at);
                for pod in pods {
                    let same = |(n, d): &(NodeName, Disturbance)| n == node && d.pod == pod.pod;
                    // What was ascribed to others, or is worse than it seemed, is counted once.
                    let others = self.pods.changed.iter().position(same).map(|i| self.pods.changed.remove(i)).is_some();
                    match self.pods.disturbed.iter_mut().find(|told| same(told)) {
                        Some((_, told)) => *told = pod.cleaned(),
                        None => {
                            self.pods.disturbed.push((node.clone(), pod.cleaned()));
                            if !others {
                                self.no_longer_undisturbed(swap);
                            }
                        }
                    }
                    self.say(at, Tone::Alarm, Some(node), format!("pod {pod}"));
                }
            }
            Event::PodsChanged { swap, node, pods } => {
                self.looked(swap, at);
                for pod in pods {
                    self.no_longer_undisturbed(swap);
                    self.pods.changed.push((node.clone(), pod.cleaned()));
                    self.say(at, Tone::Calm, Some(node), format!("pod {pod}"));
                }
            }
            Event::ProofPending { swap, node, pods, ms } => {
                let wait = SignedDuration::from_millis(i64::try_from(*ms).unwrap_or(i64::MAX));
                let due = at.checked_add(wait).unwrap_or(Timestamp::MAX);
                self.pods.pending.insert(swap.clone(), PendingProof { node: node.clone(), pods: *pods, due });
            }
            Event::PodsProved { swap, node, undisturbed, unproved } => {
                if self.pods.pending.remove(swap).is_some() {
                    self.pods.count(0, *undisturbed);
                    self.never_proved(node, *unproved);
                    self.looked(swap, at);
                }
            }
            Event::ChurnSeen { pods, changed, ms, .. } => {
                let churn = &mut self.pods.churn;
                churn.pod_ms = churn.pod_ms.saturating_add(ms.saturating_mul(*pods as u64));
                churn.changed = churn.changed.saturating_add(*changed);
            }
            Event::ComponentsKept { .. } => {}
            Event::ComponentDrifted { swap, node, component, why } => {
                let drift = Drift { node: node.clone(), at, why: clean(why) };
                self.drifts.insert((swap.clone(), *component), drift);
                if let Some(s) =
                    self.find(swap).filter(|s| matches!(s.state, SwapState::Committed | SwapState::Drifted))
                {
                    (s.state, s.why) = (SwapState::Drifted, clean(why));
                }
                self.say(at, Tone::Alarm, Some(node), format!("drifted: {why}"));
            }
            Event::DriftEnded { swap, node, component } => {
                self.drifts.remove(&(swap.clone(), *component));
                let left = self.drifts.range((swap.clone(), Component::ALL[0])..).any(|((s, _), _)| s == swap);
                if let Some(s) = self.find(swap).filter(|s| s.state == SwapState::Drifted && !left) {
                    s.state = SwapState::Committed;
                    s.why.clear();
                }
                self.say(at, Tone::Notice, Some(node), format!("{component} is what was committed again, and well"));
            }
            Event::ForeignHand { node, why, .. } => {
                self.say(at, Tone::Alarm, Some(node), format!("somebody else works on it: {why}"));
            }
            Event::ClientsLedAway { node, component, text, done, ms, .. } => {
                let tone = if *done { Tone::Calm } else { Tone::Notice };
                self.say(at, tone, Some(node), format!("{component}: {text} ({})", span(*ms)));
            }
            Event::EndpointLeaving { node, address } => {
                self.endpoints_out.insert(node.clone(), clean(address));
            }
            Event::EndpointBack { node, .. } => {
                self.endpoints_out.remove(node);
            }
            Event::SwapCommitted { swap, node, pods_checked, pods_undisturbed, ms } => {
                self.drifts.retain(|(drifted, _), _| drifted != swap);
                self.end(swap, SwapState::Committed, "");
                self.counted(swap, *pods_checked, *pods_undisturbed);
                let proved = match self.pods.pending.get(swap) {
                    Some(proof) => format!("so far; they are proved at {}", proof.due.strftime("%H:%M:%S")),
                    None => String::new(),
                };
                let took = span(*ms);
                let text =
                    format!("committed in {took}, {pods_undisturbed} of {pods_checked} pods undisturbed {proved}");
                let text = text.trim_end().to_owned();
                self.say(at, Tone::Calm, Some(node), text);
            }
            Event::SwapRolledBack { swap, node, why, pods_checked, pods_undisturbed, .. } => {
                self.drifts.retain(|(drifted, _), _| drifted != swap);
                self.end(swap, SwapState::RolledBack, why);
                self.counted(swap, *pods_checked, *pods_undisturbed);
                // That it had to is an alarm, and was said; that it is back is the cure.
                self.say(at, Tone::Notice, Some(node), format!("rolled back: {why}"));
            }
            Event::SwapFailed { swap, node, why, untouched } => {
                self.end(swap, SwapState::Failed, why);
                let rest = if *untouched { "the node is as it was" } else { "the node needs a person" };
                self.say(at, Tone::Alarm, Some(node), format!("failed: {why}; {rest}"));
            }
            Event::ClusterSeen { ready, total, lost, api, refused } => {
                let refused = refused.as_deref().map(clean);
                let new = ClusterView {
                    ready: *ready,
                    total: *total,
                    lost: lost.clone(),
                    api: *api,
                    refused: refused.clone(),
                };
                let was = self.ready.replace(new);
                let news = was.as_ref().is_none_or(|w| w.api || w.refused != refused);
                match refused {
                    Some(why) if !api && news => self.say(at, Tone::Alarm, None, format!("the cluster's API: {why}")),
                    None if !api && news => {
                        self.say(at, Tone::Notice, None, "the cluster's API does not answer".into())
                    }
                    _ => {}
                }
                for node in lost.iter().filter(|n| was.as_ref().is_none_or(|w| !w.lost.contains(n))) {
                    self.say(at, Tone::Alarm, Some(node), "NotReady".into());
                }
            }
            Event::Note { text } => self.say(at, Tone::Notice, None, text.clone()),
            Event::RunEnded { outcome, why } => {
                self.state = RunState::Ended(*outcome);
                if matches!(outcome, Outcome::Completed | Outcome::RolledBack | Outcome::Failed) {
                    // All were compared once more just before.
                    self.pods.watched.values_mut().for_each(|w| w.to = at);
                }
                self.why = clean(why);
                self.gate = None;
                let calm = matches!(outcome, Outcome::Completed | Outcome::RolledBack);
                let tone = if calm { Tone::Calm } else { Tone::Alarm };
                let why = if why.is_empty() { String::new() } else { format!(": {why}") };
                self.say(at, tone, None, format!("the run ended, {}{why}", outcome.word()));
            }
        }
    }

    /// A swap's result says how many of its pods are undisturbed so far: they count as such once they are proved.
    fn counted(&mut self, swap: &SwapId, checked: usize, undisturbed: usize) {
        let proved = !self.pods.pending.contains_key(swap);
        if let Some(at) = self.now {
            self.looked(swap, at);
        }
        self.pods.count(checked, if proved { undisturbed } else { 0 });
    }

    /// A pod of a swap turns out not to be undisturbed, after it was counted as such or while it waits for its proof.
    fn no_longer_undisturbed(&mut self, swap: &SwapId) {
        use SwapState::{Committed, Drifted, RolledBack, Skipped};
        let counted = self.swap(swap).is_some_and(|s| matches!(s.state, Committed | Drifted | RolledBack | Skipped));
        let left = match self.pods.pending.get_mut(swap) {
            Some(pending) => &mut pending.pods,
            None if counted => &mut self.pods.undisturbed,
            None => return,
        };
        *left = left.saturating_sub(1);
    }

    fn never_proved(&mut self, node: &NodeName, pods: usize) {
        if pods > 0 {
            let never = self.pods.never.entry(node.clone()).or_default();
            *never = never.saturating_add(pods);
        }
    }

    /// The pods of the swap's node were compared.
    fn looked(&mut self, swap: &SwapId, at: Timestamp) {
        if let Some(watched) = self.pods.watched.get_mut(swap) {
            watched.to = at;
        }
    }

    fn find(&mut self, id: &SwapId) -> Option<&mut SwapView> {
        self.index.get(id).and_then(|&i| self.swaps.get_mut(i))
    }

    fn end(&mut self, id: &SwapId, state: SwapState, why: &str) {
        let fresh = self.swap(id).is_some_and(|s| match state {
            // What goes back because the run is aborted has not failed.
            SwapState::RolledBack => s.undo.is_none() && self.state != RunState::Aborting,
            // Commanded back, and still away: that was counted when it was lost.
            SwapState::Failed => s.undo.is_none() || s.state != SwapState::Failed,
            _ => false,
        });
        if let Some(node) = self.swap(id).map(|s| s.node.clone()).filter(|_| fresh) {
            self.failed.push(FailedSwap { swap: id.clone(), node, why: clean(why) });
        }
        if let Some(s) = self.find(id) {
            s.undo = None;
            match (&s.skip, state) {
                // What became of a node that was lost says nothing against the decision to leave it.
                (Some(reason), SwapState::RolledBack | SwapState::Failed) => {
                    (s.state, s.why) = (SwapState::Skipped, reason.clone());
                }
                _ => (s.state, s.why, s.skip) = (state, clean(why), None),
            }
        }
    }

    pub(super) fn say(&mut self, at: Timestamp, tone: Tone, node: Option<&NodeName>, text: String) {
        if self.log.len() == LOG_LINES {
            self.log.pop_front();
        }
        self.log.push_back(LogLine { at, tone, node: node.cloned(), text: clean(&text) });
    }
}
