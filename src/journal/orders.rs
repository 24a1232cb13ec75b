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
        let undone = |s: &SwapView| match s.state {
            SwapState::RolledBack | SwapState::Failed => true,
            // What was skipped is tried again only when it is named.
            SwapState::Skipped => !nodes.is_empty(),
            _ => false,
        };
        let found = self.of(nodes, undone);
        match (found.is_empty(), nodes.is_empty()) {
            (false, _) => Ok(found),
            // Of a soak there is nothing to ask.
            (true, true) if self.gate.as_ref().is_some_and(|(.., ms)| ms.is_none()) => Ok(found),
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
        let left = |s: &SwapView| matches!(s.state, SwapState::Waiting | SwapState::RolledBack | SwapState::Failed);
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
            return Err(if any(SwapState::Ending(Verdict::Commit)) || any(SwapState::Committed) {
                let id = self.id.as_ref().map(|id| format!(" {id}")).unwrap_or_default();
                format!("{node} is committed; once the run has ended: sonoba rollback{id} --nodes {node}")
            } else if any(SwapState::RolledBack) {
                format!("{node} is on the old version already")
            } else {
                format!("nothing has begun on {node}; to leave it as it is, skip it")
            });
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
            Some((waits, ..)) if *waits != shown => {
                Err(format!("the run waits for gate {waits:?} now, not for {shown:?}"))
            }
            Some((waits, why, ..)) if waits == ROOM || waits == API => Err(format!(
                "this is no gate between waves and cannot be overridden: a swap may not start, or end, unproved ({why}). \
                 A quorum of etcd and the limit of a rack rest upon it; mend what it names, or abort"
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

#[cfg(test)]
mod tests {
    use super::super::run::SwapState::{Committed, Failed, RolledBack, Skipped, Waiting};
    use super::super::{Event, Record};
    use super::*;
    use crate::fleet::{Cluster, Component};
    use crate::plan::{Change, Gate, Phase, PhaseKind, Plan, Swap, Wave, WaveKind};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn name(text: &str) -> NodeName {
        text.parse().unwrap()
    }

    /// A master's API server, then two waves of two workers.
    fn run() -> Run {
        let swap = |id: &str, node: &str, component: Component| Swap {
            id: id.parse().unwrap(),
            node: name(node),
            changes: vec![Change {
                component,
                container: component.as_str().parse().unwrap(),
                from: "r.example/k:1.35.6".parse().unwrap(),
                from_id: "x".into(),
                to: "r.example/k:1.36.2".parse().unwrap(),
            }],
            deadline_ms: 1,
            no_return: None,
        };
        let wave = |title: &str, swaps| Wave {
            kind: WaveKind::Rack,
            title: title.into(),
            max_parallel: 2,
            swaps,
            gates: vec![Gate::NodesReady],
        };
        let worker = |id, node| swap(id, node, Component::Kubelet);
        let phase = |kind, waves| Phase { kind, pulls: Vec::new(), waves };
        let plan = Plan {
            format: crate::plan::FORMAT,
            created: Timestamp::UNIX_EPOCH,
            release: None,
            bumps: Vec::new(),
            limits: Default::default(),
            budget: Default::default(),
            components: Default::default(),
            findings: Vec::new(),
            estimate: Default::default(),
            phases: vec![
                phase(PhaseKind::KubeApiserver, vec![wave("m", vec![swap("s1", "m1", Component::KubeApiserver)])]),
                phase(
                    PhaseKind::Workers,
                    vec![
                        wave("rack0", vec![worker("s2", "w1"), worker("s3", "w2")]),
                        wave("rack1", vec![worker("s4", "w3"), worker("s5", "w4")]),
                    ],
                ),
            ],
            cluster: Cluster { name: "c1".parse().unwrap(), nodes: Default::default(), leaders: Default::default() },
        };
        Run::new(Arc::new(plan))
    }

    fn tell(run: &mut Run, event: Event) {
        let record = Record { seq: run.events + 1, at: Timestamp::UNIX_EPOCH, prev: String::new(), event };
        run.apply(&record);
    }

    fn say(run: &mut Run, verb: Verb) {
        tell(run, Event::Command { verb, by: "ann".into() });
    }

    fn begin(run: &mut Run, i: usize) {
        let (swap, node) = (run.swaps[i].id.clone(), run.swaps[i].node.clone());
        tell(run, Event::SwapPreparing { swap, node });
    }

    fn end(run: &mut Run, i: usize, committed: bool) {
        let (swap, node) = (run.swaps[i].id.clone(), run.swaps[i].node.clone());
        let (why, pods_checked, pods_undisturbed, ms) = ("sick".into(), 0, 0, 0);
        tell(
            run,
            match committed {
                true => Event::SwapCommitted { swap, node, pods_checked, pods_undisturbed, ms },
                false => Event::SwapRolledBack { swap, node, why, pods_checked, pods_undisturbed, ms },
            },
        );
    }

    fn states(run: &Run) -> Vec<SwapState> {
        run.swaps.iter().map(|s| s.state).collect()
    }

    /// All but the last wave is through; w2 rolled back.
    fn midway() -> Run {
        let mut run = run();
        for (phase, wave) in [(0, 0), (1, 0)] {
            tell(&mut run, Event::WaveBegun { phase, wave });
            for i in 0..run.swaps.len() {
                if (run.swaps[i].phase, run.swaps[i].wave) == (phase, wave) {
                    begin(&mut run, i);
                    end(&mut run, i, i != 2);
                }
            }
            tell(&mut run, Event::WaveEnded { phase, wave });
            if phase == 0 {
                tell(&mut run, Event::PhaseEnded { phase });
            }
        }
        tell(&mut run, Event::WaveBegun { phase: 1, wave: 1 });
        run
    }

    #[test]
    fn a_retry_makes_swap_wave_and_phase_be_not_through() {
        let mut run = midway();
        tell(&mut run, Event::PhaseEnded { phase: 1 });
        say(&mut run, Verb::Retry { nodes: vec![] });
        assert_eq!(states(&run), [Committed, Committed, Waiting, Waiting, Waiting]);
        assert_eq!(run.waves_done.keys().collect::<Vec<_>>(), [&(0, 0)]);
        assert_eq!(run.phases_done, [0]);
        assert!(run.swaps[2].why.is_empty() && run.swaps[2].attempts == 1, "tries stay counted");
        assert!(run.to_retry(&[]).is_err(), "there is nothing more");
    }

    #[test]
    fn a_skip_stands_whatever_becomes_of_the_node_unless_it_is_new() {
        for committed in [false, true] {
            let mut run = midway();
            say(&mut run, Verb::Skip { nodes: vec![name("w2"), name("w3")], why: "dead".into() });
            assert_eq!(states(&run)[2..4], [Skipped, Skipped]);
            end(&mut run, 2, committed);
            assert_eq!(run.swaps[2].state, if committed { Committed } else { Skipped });
            assert_eq!((run.decisions.len(), run.decisions[0].of.as_str()), (1, "w[2-3]"));
        }
        let mut run = midway();
        begin(&mut run, 3);
        for (node, words) in [("w3", "being swapped"), ("w1", "nothing is left"), ("x", "does not touch")] {
            let why = run.to_skip(&[name(node)]).unwrap_err();
            assert!(why.contains(words), "{why}");
        }
        // Its API server bears the others, as long as it is not new.
        assert!(super::tests::run().to_skip(&[name("m1")]).unwrap_err().contains("control plane"));
        assert!(run.to_skip(&[name("m1")]).unwrap_err().contains("nothing is left"));
    }

    #[test]
    fn a_rollback_is_for_what_is_open_or_failed_and_is_settled_by_a_result() {
        let mut run = midway();
        begin(&mut run, 3);
        say(&mut run, Verb::RollBack { nodes: vec![name("w3")] });
        assert!(run.swaps[3].undo.as_ref().is_some_and(|why| why.contains("ann")));
        // Another engine prepares nothing away.
        begin(&mut run, 3);
        assert!(run.swaps[3].undo.is_some());
        end(&mut run, 3, false);
        assert_eq!((run.swaps[3].state, &run.swaps[3].undo), (RolledBack, &None));
        for (node, words) in [("w1", "sonoba rollback"), ("w2", "already"), ("w4", "nothing has begun")] {
            let why = run.to_roll_back(&[name(node)]).unwrap_err();
            assert!(why.contains(words), "{why}");
        }
        let (swap, node) = (run.swaps[4].id.clone(), name("w4"));
        tell(&mut run, Event::SwapFailed { swap, node, why: "lost".into(), untouched: false });
        assert_eq!((run.swaps[4].state, run.to_roll_back(&[name("w4")])), (Failed, Ok(vec![4])));
    }

    #[test]
    fn an_override_holds_for_its_gate_and_wave_until_that_is_run_anew() {
        let mut run = midway();
        let gate = |gate: &str| Event::GateWaiting { gate: gate.into(), why: "w9".into(), ms: None };
        let pass = |gate: &str| Verb::Override { gate: gate.into(), why: "known".into() };
        assert!(run.to_override("nodes ready").is_err());
        tell(&mut run, gate("nodes ready"));
        say(&mut run, pass("soak"));
        assert!(run.decisions.is_empty());
        say(&mut run, pass("nodes ready"));
        assert!(run.overridden("nodes ready") && !run.overridden("soak"));
        assert_eq!(run.decisions[0].of, "nodes ready after rack1");
        run.wave = Some(0);
        assert!(!run.overridden("nodes ready"));
        run.wave = Some(1);
        end(&mut run, 3, false);
        say(&mut run, Verb::Retry { nodes: vec![name("w3")] });
        assert!(!run.overridden("nodes ready"));
        for guard in [ROOM, API] {
            tell(&mut run, gate(guard));
            assert!(run.to_override(guard).unwrap_err().contains("quorum"));
        }
    }

    proptest! {
        /// Whatever is commanded at any point, no swap is lost from the count, nothing that is new or in flight is taken
        /// away, and no wave counts as through that has a swap to be tried again.
        #[test]
        fn commands_never_hide_a_swap(steps in proptest::collection::vec((0usize..9, 0usize..5), 0..40)) {
            let mut run = run();
            for (what, i) in steps {
                let node = run.swaps[i].node.clone();
                let before = states(&run);
                match what {
                    0 => begin(&mut run, i),
                    1 | 2 if before[i].open() => end(&mut run, i, what == 1),
                    3 => say(&mut run, Verb::Retry { nodes: vec![node] }),
                    4 => say(&mut run, Verb::Retry { nodes: vec![] }),
                    5 => say(&mut run, Verb::Skip { nodes: vec![node], why: "x".into() }),
                    6 => say(&mut run, Verb::RollBack { nodes: vec![node] }),
                    7 => {
                        let (phase, wave) = (run.swaps[i].phase, run.swaps[i].wave);
                        tell(&mut run, Event::WaveEnded { phase, wave });
                    }
                    _ => {}
                }
                if (3..=6).contains(&what) {
                    for (was, is) in before.iter().zip(states(&run)) {
                        prop_assert!(*was == is || !(was.open() || *was == Committed), "{was:?} {is:?}");
                    }
                }
                if what == 3 || what == 4 {
                    let through = |s: &SwapView| run.waves_done.contains_key(&(s.phase, s.wave));
                    for (s, was) in run.swaps.iter().zip(&before) {
                        prop_assert!(!(s.state == Waiting && *was != Waiting && through(s)));
                    }
                }
                let report = super::super::report(&run, super::super::Chain::Ok);
                let c = report.swaps;
                let sum = c.committed + c.rolled_back + c.failed + c.skipped + c.not_started + c.in_flight;
                prop_assert_eq!(sum, c.planned);
            }
        }
    }
}
