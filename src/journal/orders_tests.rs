//! What operators command, and what a run makes of it.

use super::run::SwapState::{Committed, Drifted, Failed, RolledBack, Skipped, Waiting};
use super::*;
use crate::fleet::{Cluster, Component, NodeName};
use crate::plan::{Change, Gate, Phase, PhaseKind, Plan, Swap, Wave, WaveKind};
use jiff::Timestamp;
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
            args: Vec::new(),
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
    let phase = |kind, waves| Phase { kind, hop: None, pulls: Vec::new(), snapshot: None, etcdctl: None, waves };
    let plan = Plan {
        format: crate::plan::FORMAT,
        created: Timestamp::UNIX_EPOCH,
        release: None,
        rollback_of: None,
        excluded: Vec::new(),
        asked: None,
        seal: None,
        bumps: Vec::new(),
        limits: Default::default(),
        budget: Default::default(),
        components: Default::default(),
        findings: Vec::new(),
        notes: Vec::new(),
        coverage: None,
        comparison: None,
        fingerprint: Default::default(),
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
        cluster: Cluster {
            name: "c1".parse().unwrap(),
            nodes: Default::default(),
            leaders: Default::default(),
            salt: None,
        },
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
    midway_of(run())
}

fn midway_of(mut run: Run) -> Run {
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
    assert_eq!(run.failures(), 1, "history stays counted");
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
    assert!(super::orders_tests::run().to_skip(&[name("m1")]).unwrap_err().contains("control plane"));
    assert!(run.to_skip(&[name("m1")]).unwrap_err().contains("nothing is left"));
}

#[test]
fn a_retry_of_all_leaves_a_skipped_node_alone_whatever_its_other_swaps_become() {
    let mut plan = (*run().plan).clone();
    // Another swap of a node that is new in its first one.
    plan.phases[1].waves[1].swaps[0].node = name("w1");
    let mut run = midway_of(Run::new(Arc::new(plan)));
    say(&mut run, Verb::Skip { nodes: vec![name("w1")], why: "its disk is failing".into() });
    let (swap, node) = (run.swaps[1].id.clone(), name("w1"));
    let why = "its health is gone".to_owned();
    tell(&mut run, Event::ComponentDrifted { swap, node, component: Component::Kubelet, why });
    assert_eq!(states(&run)[1..4], [Drifted, RolledBack, Skipped]);
    assert_eq!(run.to_retry(&[]), Ok(vec![2]));
    assert_eq!(run.to_retry(&[name("w1")]), Ok(vec![1, 3]));
    say(&mut run, Verb::Retry { nodes: vec![] });
    let why = run.to_retry(&[]).unwrap_err();
    assert!(why.contains("w1 was skipped by decision"), "{why}");
}

#[test]
fn a_drift_stands_until_its_swap_begins_anew() {
    let mut run = midway();
    let (swap, node) = (run.swaps[1].id.clone(), run.swaps[1].node.clone());
    let drift = Event::ComponentDrifted {
        swap: swap.clone(),
        node: node.clone(),
        component: Component::Kubelet,
        why: "kubelet does not run".into(),
    };
    tell(&mut run, drift);
    say(&mut run, Verb::Retry { nodes: vec![node.clone()] });
    begin(&mut run, 1);
    let why = "container kubelet does not run".into();
    tell(&mut run, Event::SwapFailed { swap, node, why, untouched: true });
    let told = report(&run, Chain::Ok);
    assert_eq!((told.swaps.drifted, told.drifted.len(), &run.which().failed), (1, 1, &vec![name("w1")]));
    begin(&mut run, 1);
    end(&mut run, 1, true);
    assert!(run.drifts.is_empty() && report(&run, Chain::Ok).drifted.is_empty());
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
    assert_eq!(run.failures(), 1, "w2, and not what was commanded");
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
    let gate = |gate: &str| Event::GateWaiting { gate: gate.into(), why: "w9".into(), ms: None, limit_ms: None };
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
            let report = report(&run, Chain::Ok);
            let c = report.swaps;
            let sum = c.committed + c.rolled_back + c.failed + c.skipped + c.not_started + c.in_flight;
            prop_assert_eq!(sum, c.planned);
        }
    }
}

/// A verdict that should have come and did not: nothing can be called safe then.
#[test]
fn a_swap_is_overdue_once_its_deadline_and_the_rollback_have_passed() {
    let mut run = run();
    begin(&mut run, 1);
    let (swap, node) = (run.swaps[1].id.clone(), run.swaps[1].node.clone());
    let (tx, olds, pods) = ("t".to_owned(), Default::default(), Vec::new());
    let (id, on) = (swap.clone(), node.clone());
    tell(&mut run, Event::SwapIntended { swap: id, node: on, tx, deadline_ms: 25_000, olds, pods });
    let at = |ms: i64| Timestamp::from_millisecond(ms).unwrap();
    let limit = 25_000 + i64::try_from(ROLLBACK_MS).unwrap();
    assert!(!run.swaps[1].overdue(at(limit)) && run.swaps[1].overdue(at(limit + 1)), "silent since it began");
    let record = Record {
        seq: run.events + 1,
        at: at(9_000),
        prev: String::new(),
        event: Event::SwapStep { swap, node, component: None, step: Step::Stopping, uptime_ms: 7 },
    };
    run.apply(&record);
    assert!(!run.swaps[1].overdue(at(9_000 + limit)) && run.swaps[1].overdue(at(9_001 + limit)));
    end(&mut run, 1, false);
    assert!(!run.swaps[1].overdue(at(i64::from(i32::MAX))), "it has ended");
}
