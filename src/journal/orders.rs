//! What an operator's command changes in a run. One set of rules: the engine asks it before it takes a command, the fold
//! follows it, so that an engine that takes the run up again knows the same. Pure.

use super::event::Verdict;
use super::run::{Decision, Run, RunState, SwapState, SwapView, Tone};
use super::verb::{Verb, folded};
use crate::fleet::{NodeName, clean};
use jiff::Timestamp;
use std::collections::BTreeSet;

/// What a run may wait for that is no gate of the plan's: why a swap may not start yet.
pub const ROOM: &str = "room for a swap";
/// The same: without the API nothing can be proved.
pub const API: &str = "the cluster's API";

impl Run {
    /// The swaps that a retry takes up again, by their index.
    ///
    /// # Errors
    /// In words, when there is nothing to try again.
    pub fn to_retry(&self, nodes: &[NodeName]) -> Result<Vec<usize>, String> {
        self.known(nodes)?;
        let named = !nodes.is_empty();
        let undone = |s: &SwapView| match s.state {
            SwapState::RolledBack | SwapState::Failed | SwapState::Drifted => true,
            SwapState::Skipped => named,
            _ => false,
        };
        let mut found = self.of(nodes, undone);
        // A node that was skipped is tried again only when it is named, whatever happened to its other swaps since.
        let skipped = |s: &SwapView| self.swaps_of(&s.node).any(|s| s.state == SwapState::Skipped);
        let left = found.extract_if(.., |i| !named && self.swaps.get(*i).is_some_and(skipped)).collect::<Vec<_>>();
        if found.is_empty() && !left.is_empty() {
            let left = self.names(&left);
            return Err(format!(
                "{left} was skipped by decision; name it to try it again: sonoba retry --nodes {left}"
            ));
        }
        match (found.is_empty(), nodes.is_empty()) {
            (false, _) => Ok(found),
            // Of a soak there is nothing to ask.
            (true, true) if self.gate.as_ref().is_some_and(|g| g.soak_ms.is_none()) => Ok(found),
            (true, true) => Err("nothing failed or rolled back, and no gate is waited for".into()),
            (true, false) => Err(format!("nothing failed, rolled back or was skipped on {}", folded(nodes))),
        }
    }

    /// The swaps that a skip leaves as they are, by their index.
    ///
    /// # Errors
    /// In words, when a node is in flight, or later swaps rest upon it, or there is nothing left to skip.
    pub fn to_skip(&self, nodes: &[NodeName]) -> Result<Vec<usize>, String> {
        self.known(nodes)?;
        let flying = self.of(nodes, |s| s.state.open());
        if !flying.is_empty() {
            return Err(format!("{} is being swapped; wait for its result, or roll it back", self.names(&flying)));
        }
        let left = |s: &SwapView| {
            use SwapState::{Drifted, Failed, RolledBack, Waiting};
            matches!(s.state, Waiting | RolledBack | Failed | Drifted)
        };
        let found = self.of(nodes, left);
        let mut bearing = found.clone();
        bearing.retain(|i| self.swaps.get(*i).is_some_and(|s| self.planned(s).bears_others()));
        if !bearing.is_empty() {
            return Err(format!(
                "the control plane of {} cannot be skipped: what comes later rests upon its version; retry it, or abort",
                self.names(&bearing)
            ));
        }
        if found.is_empty() {
            return Err(format!("nothing is left to skip on {}", folded(nodes)));
        }
        Ok(found)
    }

    /// The swaps that a rollback takes back, by their index.
    ///
    /// # Errors
    /// In words, when a node has nothing that could be taken back now.
    pub fn to_roll_back(&self, nodes: &[NodeName]) -> Result<Vec<usize>, String> {
        self.known(nodes)?;
        let back = |s: &SwapView| match s.state {
            SwapState::Ending(verdict) => verdict == Verdict::Rollback,
            state => state.open() || state == SwapState::Failed,
        };
        for node in nodes {
            if self.swaps_of(node).any(back) {
                continue;
            }
            let any = |state| self.swaps_of(node).any(|s| s.state == state);
            return Err(
                if any(SwapState::Ending(Verdict::Commit)) || any(SwapState::Committed) || any(SwapState::Drifted) {
                    let id = self.id.as_ref().map(|id| format!(" {id}")).unwrap_or_default();
                    format!("{node} is committed; once the run has ended: sonoba rollback{id} --nodes {node}")
                } else if any(SwapState::RolledBack) {
                    format!("{node} is on the old version already")
                } else {
                    format!("nothing has begun on {node}; to leave it as it is, skip it")
                },
            );
        }
        Ok(self.of(nodes, back))
    }

    /// Whether the gate that the run waits for may be passed over.
    ///
    /// # Errors
    /// In words, when the run does not wait for it, or nobody may pass it over.
    pub fn to_override(&self, gate: &str) -> Result<(), String> {
        let shown = clean(gate);
        match &self.gate {
            None => Err(format!("the run does not wait for a gate now, so {shown:?} cannot be overridden")),
            Some(g) if g.name != shown => Err(format!("the run waits for gate {:?} now, not for {shown:?}", g.name)),
            Some(g) if g.name == ROOM || g.name == API => Err(format!(
                "this is no gate between waves and cannot be overridden: a swap may not start, or end, unproved ({}). \
                 A quorum of etcd and the limit of a rack rest upon it; fix what it names, or abort",
                g.why
            )),
            Some(_) => Ok(()),
        }
    }

    /// Whether this gate of the present wave was passed over by decision.
    pub fn overridden(&self, gate: &str) -> bool {
        let Some((phase, wave)) = self.phase.zip(self.wave) else { return false };
        self.overrides.contains(&(phase, wave, gate.to_owned()))
    }

    /// Folds a command that was taken.
    pub(super) fn command(&mut self, at: Timestamp, verb: &Verb, by: &str) {
        let mut words = verb.word().to_owned();
        if !verb.about().is_empty() {
            words = format!("{words} of {}", verb.about());
        }
        let why = if verb.why().is_empty() { String::new() } else { format!(": {}", verb.why()) };
        self.say(at, Tone::Notice, None, format!("{words} commanded by {by}{why}"));
        match (verb, self.state) {
            (_, RunState::Ended(_)) => {}
            (Verb::Abort, _) => self.state = RunState::Aborting,
            (_, RunState::Aborting) => {}
            (Verb::Pause, RunState::Running | RunState::Starting) => self.state = RunState::Pausing,
            (Verb::Resume, RunState::Pausing) => self.state = RunState::Running,
            (Verb::Pause | Verb::Resume, _) => {}
            (Verb::Retry { nodes }, _) => {
                self.asked_again = self.asked_again.saturating_add(1);
                for i in self.to_retry(nodes).unwrap_or_default() {
                    self.take_up(i);
                }
            }
            (Verb::Skip { nodes, why }, _) => {
                let found = self.to_skip(nodes).unwrap_or_default();
                self.decide(at, verb, by, self.names(&found));
                for i in found {
                    self.edit(i, |s| {
                        s.state = SwapState::Skipped;
                        s.skip = Some(clean(why));
                        s.why = clean(why);
                    });
                }
            }
            (Verb::RollBack { nodes }, _) => {
                let why = format!("{} commanded it", clean(by));
                for i in self.to_roll_back(nodes).unwrap_or_default() {
                    self.edit(i, |s| s.undo = Some(why.clone()));
                }
            }
            (Verb::Override { gate, .. }, _) => {
                let place = self.phase.zip(self.wave).filter(|_| self.to_override(gate).is_ok());
                if let Some((phase, wave)) = place {
                    let title = self.plan.phases.get(phase).and_then(|p| p.waves.get(wave)).map(|w| w.title.clone());
                    self.decide(at, verb, by, format!("{} after {}", clean(gate), title.unwrap_or_default()));
                    self.overrides.insert((phase, wave, clean(gate)));
                }
            }
        }
    }

    /// A swap waits again, and its wave and phase are no longer through.
    fn take_up(&mut self, i: usize) {
        let Some(place) = self.swaps.get(i).map(|s| (s.phase, s.wave)) else { return };
        self.edit(i, |s| {
            s.state = SwapState::Waiting;
            (s.skip, s.undo, s.step, s.stopping_at) = (None, None, None, None);
            s.why.clear();
            s.healthy.clear();
        });
        self.waves_done.remove(&place);
        self.phases_done.retain(|p| *p != place.0);
        // The wave is run anew, and what was decided of its gates was decided before.
        self.overrides.retain(|(phase, wave, _)| (*phase, *wave) != place);
    }

    fn decide(&mut self, at: Timestamp, verb: &Verb, by: &str, of: String) {
        let (what, by, why) = (verb.word().to_owned(), clean(by), clean(verb.why()));
        self.decisions.push(Decision { at, by, what, of, why });
    }

    fn edit(&mut self, i: usize, edit: impl FnOnce(&mut SwapView)) {
        if let Some(swap) = self.swaps.get_mut(i) {
            edit(swap);
        }
    }

    /// The nodes are nodes that the plan touches.
    fn known(&self, nodes: &[NodeName]) -> Result<(), String> {
        let strange: Vec<&NodeName> = nodes.iter().filter(|n| self.swaps_of(n).next().is_none()).collect();
        if strange.is_empty() { Ok(()) } else { Err(format!("the plan does not touch {}", folded(strange))) }
    }

    /// Swaps of these nodes (of every node, when none is named) that `pick` picks.
    fn of(&self, nodes: &[NodeName], pick: impl Fn(&SwapView) -> bool) -> Vec<usize> {
        let wanted: BTreeSet<&NodeName> = nodes.iter().collect();
        let all = self.swaps.iter().enumerate();
        let found = all.filter(|(_, s)| (wanted.is_empty() || wanted.contains(&s.node)) && pick(s));
        found.map(|(i, _)| i).collect()
    }

    /// The nodes of these swaps, folded.
    pub fn names(&self, swaps: &[usize]) -> String {
        folded(swaps.iter().filter_map(|i| self.swaps.get(*i)).map(|s| &s.node))
    }
}
