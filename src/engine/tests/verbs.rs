//! Commands about single nodes and gates, in the middle of a run and over an engine's death.

use super::*;
use crate::journal::{Report, report};

fn nodes(names: &[&str]) -> Vec<NodeName> {
    names.iter().map(|n| n.parse().unwrap()).collect()
}

fn retry(names: &[&str]) -> Verb {
    Verb::Retry { nodes: nodes(names) }
}

fn skip(names: &[&str]) -> Verb {
    Verb::Skip { nodes: nodes(names), why: "its disk is broken".into() }
}

fn roll_back(names: &[&str]) -> Verb {
    Verb::RollBack { nodes: nodes(names) }
}

fn pass_over(gate: &str) -> Verb {
    Verb::Override { gate: gate.into(), why: "known, ticket 7".into() }
}

impl Lab {
    async fn order(&self, verb: Verb) -> String {
        command(&self.run, verb, "tester").await.unwrap()
    }

    async fn refused(&self, verb: Verb) -> String {
        match command(&self.run, verb.clone(), "tester").await {
            Err(EngineError::Refused(why)) => why,
            other => panic!("{verb:?}: {other:?}"),
        }
    }

    fn report(&self) -> Report {
        let report = report(&self.fold(), Chain::Ok);
        let s = report.swaps;
        let sum = s.committed + s.rolled_back + s.failed + s.drifted + s.skipped + s.not_started + s.in_flight;
        assert_eq!(sum, s.planned, "{s:?}");
        report
    }

    fn records(&self) -> Vec<Record> {
        read(&self.run.journal()).unwrap().records
    }

    fn state(&self, node: &str) -> SwapState {
        self.fold().swaps_of(&node.parse().unwrap()).next().unwrap().state
    }

    /// One worker whose new kubelet never gets healthy has spent the budget, and the run stands.
    async fn stands(node: &str) -> (Lab, JoinHandle<Result<Outcome, EngineError>>) {
        let world = upgraded_masters();
        let plan = plan(&world, &NODES);
        world.edit(node, |n| {
            n.faults.never_healthy.insert(Component::Kubelet);
        });
        let lab = Lab::new(world, &plan);
        let engine = lab.engine();
        lab.until("a pause", |r| matches!(r.state, RunState::Paused(PauseReason::Budget))).await;
        (lab, engine)
    }

    fn heal(&self, node: &str) {
        self.world.edit(node, |n| n.faults.never_healthy.clear());
    }
}

/// Kills the engine at this very moment; the next one takes the run up.
async fn again(
    lab: &Lab,
    engine: JoinHandle<Result<Outcome, EngineError>>,
) -> JoinHandle<Result<Outcome, EngineError>> {
    engine.abort();
    let _ = engine.await;
    lab.engine()
}

#[tokio::test(start_paused = true)]
async fn what_is_retried_is_done_when_the_run_goes_on_and_pauses_it_no_more() {
    for kill in [false, true] {
        let (lab, mut engine) = Lab::stands("w05").await;
        lab.heal("w05");
        let answer = lab.order(retry(&[])).await;
        assert!(answer.contains("w05") && answer.contains("sonoba resume"), "{answer}");
        if kill {
            engine = again(&lab, engine).await;
        }
        sleep(Duration::from_secs(60)).await;
        assert_eq!(lab.begun()[&"w05".parse().unwrap()], 1, "it waits for the resume");
        lab.command(Verb::Resume).await;
        assert_eq!(ended(engine).await, Outcome::Completed);
        assert_eq!(lab.begun()[&"w05".parse().unwrap()], 2);
        let report = lab.report();
        assert_eq!((report.nodes.new, report.pauses.len()), (15, 1), "{report:#?}");
        lab.whole("w05", "1.36.2.1");
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_takes_an_earlier_wave_up_before_the_rest_and_the_walk_comes_back() {
    for kill in [false, true] {
        let world = upgraded_masters();
        let mut plan = plan(&world, &NODES);
        plan.budget.failed_swaps = 9;
        let (p, w, canary) = plan.swaps().find(|(_, _, s)| s.node.as_str().starts_with('w')).unwrap();
        let (place, canary) = ((p, w), canary.node.to_string());
        world.edit(&canary, |n| {
            n.faults.never_healthy.insert(Component::Kubelet);
        });
        let lab = Lab::new(world, &plan);
        let mut engine = lab.engine();
        lab.until("the wave after", |r| r.waves_done.contains_key(&place) && r.in_flight().count() > 0).await;
        lab.heal(&canary);
        let answer = lab.order(retry(&[&canary])).await;
        assert!(!answer.contains("resume"), "{answer}");
        if kill {
            engine = again(&lab, engine).await;
        }
        assert_eq!(ended(engine).await, Outcome::Completed);
        let records = lab.records();
        let of = |wanted: &dyn Fn(&Event) -> bool| -> Vec<u64> {
            records.iter().filter(|r| wanted(&r.event)).map(|r| r.seq).collect()
        };
        let ends = of(&|e| matches!(e, Event::WaveEnded { phase, wave } if (*phase, *wave) == place));
        assert_eq!(ends.len(), 2, "its gates are passed again");
        let last = of(&|e| matches!(e, Event::SwapIntended { .. })).pop().unwrap();
        assert!(last > ends[1], "swaps of later waves are still to come when the retried one is through");
        let masters: Vec<&Record> = records.iter().filter(|r| matches!(r.event, Event::PhaseEnded { .. })).collect();
        assert!(!masters.is_empty());
        assert!(lab.fold().waves_done.len() == plan.phases.iter().map(|p| p.waves.len()).sum::<usize>());
        assert_eq!(lab.begun().values().max(), Some(&2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stuck_master_that_is_retried_does_not_stop_the_run_again() {
    let world = world();
    let mut plan = plan(&world, &ALL);
    plan.budget.failed_swaps = 9;
    world.edit("m2", |n| {
        n.faults.never_healthy.insert(Component::KubeApiserver);
    });
    let lab = Lab::new(world, &plan);
    let engine = lab.engine();
    lab.until("a pause", |r| matches!(r.state, RunState::Paused(_))).await;
    lab.heal("m2");
    assert!(lab.refused(skip(&["m2"])).await.contains("control plane"));
    lab.order(retry(&["m2"])).await;
    lab.command(Verb::Resume).await;
    assert_eq!(ended(engine).await, Outcome::Completed);
    assert_eq!(lab.report().pauses.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_skipped_node_is_left_as_it_is_and_the_run_completes_without_it() {
    for kill in [false, true] {
        let (lab, mut engine) = Lab::stands("w05").await;
        let answer = lab.order(skip(&["w05", "w05"])).await;
        assert!(answer.contains("w05 stays as it is"), "{answer}");
        if kill {
            engine = again(&lab, engine).await;
            lab.until("a second engine", |r| r.log.iter().any(|l| l.text.contains("took the run up again"))).await;
        }
        lab.command(Verb::Resume).await;
        assert_eq!(ended(engine).await, Outcome::Completed);
        let report = lab.report();
        assert!(report.why.contains("w05") && report.why.contains("1 of 15"), "{}", report.why);
        assert_eq!((report.swaps.skipped, report.swaps.rolled_back, report.swaps.committed), (1, 0, 14));
        let [decision] = report.decisions.as_slice() else { panic!("{:?}", report.decisions) };
        assert_eq!((decision.what.as_str(), decision.of.as_str()), ("skip", "w05"));
        assert!(decision.by.starts_with("tester (uid "), "{}", decision.by);
        assert_eq!(decision.why, "its disk is broken");
        assert!(report.to_markdown().contains("): its disk is broken"));
        lab.whole("w05", "1.35.6.1");
        assert_eq!(lab.begun()[&"w05".parse().unwrap()], 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_waits_can_be_skipped_and_taken_in_again() {
    // The first of the canary: all the others wait.
    let world = upgraded_masters();
    let plan = plan(&world, &NODES);
    let first = plan.swaps().find(|(_, _, s)| s.node.as_str().starts_with('w'));
    let sick = first.map(|(_, _, s)| s.node.to_string()).unwrap();
    let (lab, engine) = Lab::stands(&sick).await;
    let waiting: Vec<String> =
        lab.fold().swaps.iter().filter(|s| s.state == SwapState::Waiting).map(|s| s.node.to_string()).collect();
    let [one, two, ..] = waiting.as_slice() else { panic!("{waiting:?}") };
    lab.order(skip(&[one, two])).await;
    // A retry of everything leaves what was skipped alone; one that names it does not.
    lab.heal(&sick);
    lab.order(retry(&[])).await;
    assert_eq!(lab.state(one), SwapState::Skipped);
    lab.order(retry(&[two])).await;
    lab.command(Verb::Resume).await;
    assert_eq!(ended(engine).await, Outcome::Completed);
    let report = lab.report();
    assert_eq!((report.swaps.skipped, report.swaps.committed), (1, 14));
    assert_eq!(lab.begun()[&one.parse().unwrap()], 0);
    lab.whole(two, "1.36.2.1");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_followed_is_refused_with_words_and_leaves_no_trace() {
    let (lab, engine) = Lab::stands("w05").await;
    let before = lab.fold().events;
    let new = lab.fold().swaps.iter().find(|s| s.state == SwapState::Committed).unwrap().node.to_string();
    for (verb, words) in [
        (skip(&["w99"]), "does not touch w99"),
        (retry(&["w05", "w99"]), "does not touch w99"),
        (retry(&[&new]), "nothing failed"),
        (skip(&[&new]), "nothing is left to skip"),
        (Verb::Skip { nodes: nodes(&["w05"]), why: " ".into() }, "reason"),
        (Verb::Skip { nodes: nodes(&["w05"]), why: "x".repeat(501) }, "too long"),
        (Verb::Skip { nodes: vec![], why: "x".into() }, "no node"),
        (roll_back(&["w05"]), "old version already"),
        (roll_back(&[&new]), "sonoba rollback"),
        (pass_over("soak"), "does not wait for a gate"),
    ] {
        let why = lab.refused(verb.clone()).await;
        assert!(why.contains(words), "{verb:?}: {why}");
    }
    assert_eq!(lab.fold().events, before);
    lab.command(Verb::Abort).await;
    assert_eq!(ended(engine).await, Outcome::Aborted);
    lab.report();
}

#[tokio::test(start_paused = true)]
async fn a_swap_in_flight_goes_back_by_command_and_spends_no_budget() {
    for kill in [false, true] {
        let world = upgraded_masters();
        let plan = plan(&world, &NODES);
        let lab = Lab::new(world, &plan);
        let mut engine = lab.engine();
        let flying = |r: &Run| {
            let worker = |s: &&crate::journal::SwapView| {
                // Its node has begun: before that there is no verdict to give.
                s.state == SwapState::InFlight && s.step.is_some() && s.node.as_str() > "w"
            };
            r.swaps.iter().find(worker).map(|s| s.node.to_string())
        };
        let node = flying(&lab.until("one in flight", |r| flying(r).is_some()).await).unwrap();
        assert!(lab.refused(skip(&[&node])).await.contains("being swapped"));
        let answer = lab.order(roll_back(&[&node])).await;
        assert!(answer.contains(&node), "{answer}");
        if kill {
            engine = again(&lab, engine).await;
        }
        assert_eq!(ended(engine).await, Outcome::Failed);
        let report = lab.report();
        assert_eq!((report.swaps.rolled_back, report.swaps.committed, report.pauses.len()), (1, 14, 0));
        assert_eq!(lab.state(&node), SwapState::RolledBack);
        lab.whole(&node, "1.35.6.1");
        // Written before done: the command, then the verdict, then the node.
        let records = lab.records();
        let verdict =
            records.iter().find(|r| matches!(&r.event, Event::SwapVerdict { verdict: Verdict::Rollback, .. }));
        let Some(Event::SwapVerdict { why, .. }) = verdict.map(|r| &r.event) else { panic!("no verdict") };
        assert!(why.contains("tester"), "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_node_goes_back_by_command_while_the_run_stands() {
    for forgotten in [false, true] {
        let world = upgraded_masters();
        let plan = plan(&world, &NODES);
        world.edit("w05", |n| n.faults.cut_at_begin = Some(Duration::from_secs(400)));
        let lab = Lab::new(world, &plan);
        let engine = lab.engine();
        lab.until("a lost node", |r| matches!(r.state, RunState::Paused(_))).await;
        assert_eq!(lab.state("w05"), SwapState::Failed);
        // Still away: the truth is that it is lost.
        lab.order(roll_back(&["w05"])).await;
        lab.until("the attempt", |r| r.swaps_of(&"w05".parse().unwrap()).any(|s| s.why.contains("tester"))).await;
        assert_eq!(lab.state("w05"), SwapState::Failed);
        sleep(Duration::from_secs(400)).await;
        if forgotten {
            lab.world.edit("w05", |n| n.txs.clear());
        }
        lab.order(roll_back(&["w05"])).await;
        let rolled = |r: &Run| r.swaps_of(&"w05".parse().unwrap()).any(|s| s.state == SwapState::RolledBack);
        let run = lab.until("it is back", rolled).await;
        assert!(matches!(run.state, RunState::Paused(_)), "the run stands: {:?}", run.state);
        lab.whole("w05", "1.35.6.1");
        lab.order(retry(&["w05"])).await;
        lab.world.edit("w05", |n| n.faults.cut_at_begin = None);
        lab.command(Verb::Resume).await;
        assert_eq!(ended(engine).await, Outcome::Completed);
        lab.report();
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_node_that_is_retried_and_never_comes_back_is_still_lost_when_the_run_is_aborted() {
    let world = upgraded_masters();
    let plan = plan(&world, &NODES);
    world.edit("w05", |n| n.faults.cut_at_begin = Some(Duration::from_secs(100_000)));
    let lab = Lab::new(world, &plan);
    let engine = lab.engine();
    lab.until("a lost node", |r| matches!(r.state, RunState::Paused(_))).await;
    lab.order(retry(&["w05"])).await;
    assert_eq!(lab.state("w05"), SwapState::Waiting);
    lab.command(Verb::Abort).await;
    assert_eq!(ended(engine).await, Outcome::Aborted);
    assert_eq!(lab.state("w05"), SwapState::Failed);
    assert!(lab.fold().log.iter().any(|l| l.text.contains("may stand between old and new")));
}

#[tokio::test(start_paused = true)]
async fn a_gate_is_passed_over_with_a_reason_and_not_asked_again() {
    for kill in [false, true] {
        let world = upgraded_masters();
        let mut plan = plan(&world, &NODES);
        plan.budget.not_ready_nodes = 9;
        let lab = Lab::new(world, &plan);
        let mut engine = lab.engine();
        let canary = plan.swaps().find(|(_, _, s)| s.node.as_str().starts_with('w')).unwrap();
        let (p, w) = (canary.0, canary.1);
        lab.until("the canary", |r| (r.phase, r.wave) == (Some(p), Some(w))).await;
        lab.world.lock().not_ready.insert("m0".parse().unwrap());
        let waits = |r: &Run| r.gate.as_ref().is_some_and(|g| g.name == "nodes ready");
        lab.until("a gate", waits).await;
        assert!(lab.refused(pass_over("soak")).await.contains("nodes ready"));
        assert!(
            lab.refused(Verb::Override { gate: "nodes ready".into(), why: String::new() }).await.contains("reason")
        );
        sleep(Duration::from_secs(600)).await;
        assert!(waits(&lab.fold()), "it waits for as long as it takes");
        lab.order(pass_over("nodes ready")).await;
        if kill {
            engine = again(&lab, engine).await;
        }
        lab.until("the next wave", |r| r.waves_done.contains_key(&(p, w)) && r.waves_begun.len() > 1).await;
        lab.world.lock().not_ready.clear();
        assert_eq!(ended(engine).await, Outcome::Completed);
        let report = lab.report();
        let [decision] = report.decisions.as_slice() else { panic!("{:?}", report.decisions) };
        assert_eq!(decision.what, "override");
        assert!(decision.of.contains("nodes ready") && decision.of.contains("canary"), "{}", decision.of);
    }
}

#[tokio::test(start_paused = true)]
async fn a_soak_is_promoted_and_what_guards_a_swap_is_not() {
    let world = upgraded_masters();
    let mut plan = plan(&world, &NODES);
    for gate in plan.phases.iter_mut().flat_map(|p| &mut p.waves).flat_map(|w| &mut w.gates) {
        if let crate::plan::Gate::Soak { ms } = gate {
            *ms = 100_000_000;
        }
    }
    let lab = Lab::new(world, &plan);
    let engine = lab.engine();
    let soaks = |r: &Run| r.gate.as_ref().is_some_and(|g| g.name == "soak");
    let mut promoted = 0;
    let zero = Instant::now();
    loop {
        let run = lab.until("a soak or the end", |r| soaks(r) || r.ended().is_some()).await;
        if run.ended().is_some() {
            break;
        }
        if promoted == 0 {
            // Nobody is soaked any more while the API is away, and nobody may say otherwise.
            lab.world.lock().api_away = true;
            let blind = |r: &Run| r.gate.as_ref().is_some_and(|g| g.why.contains("API does not answer"));
            lab.until("a blind gate", blind).await;
            lab.world.lock().api_away = false;
            lab.until("the soak again", soaks).await;
        }
        lab.order(pass_over("soak")).await;
        promoted += 1;
        lab.until("it is over", |r| !soaks(r)).await;
    }
    assert_eq!(ended(engine).await, Outcome::Completed);
    assert!(zero.elapsed() < Duration::from_secs(1_000), "{:?}", zero.elapsed());
    assert_eq!(lab.report().decisions.len(), promoted);
}

#[tokio::test(start_paused = true)]
async fn a_master_that_is_ill_is_waited_for_whatever_an_operator_says() {
    let world = world();
    let mut plan = plan(&world, &ALL);
    plan.budget.not_ready_nodes = 9;
    let lab = Lab::new(world, &plan);
    lab.world.lock().not_ready.insert("m1".parse().unwrap());
    let engine = lab.engine();
    let run = lab.until("no room", |r| r.gate.is_some()).await;
    assert_eq!(run.gate.unwrap().name, crate::journal::ROOM);
    let why = lab.refused(pass_over(crate::journal::ROOM)).await;
    assert!(why.contains("quorum") && why.contains("m1"), "{why}");
    // Asked again at once, it is as before; mended, it goes on.
    assert!(lab.order(retry(&[])).await.contains("asked again"));
    lab.world.lock().not_ready.clear();
    assert_eq!(ended(engine).await, Outcome::Completed);
}

#[tokio::test(start_paused = true)]
async fn no_command_is_taken_that_the_end_would_forget() {
    let world = upgraded_masters();
    let mut plan = plan(&world, &NODES);
    plan.budget.failed_swaps = 9;
    world.edit("w05", |n| n.faults.cut_at_begin = Some(Duration::from_secs(100_000)));
    let lab = Lab::new(world, &plan);
    let engine = lab.engine();
    // The node that was lost is looked for once more before the run ends: that takes a while.
    lab.until("the walk's end", |r| r.phases_done.len() == plan.phases.len() && r.ended().is_none()).await;
    for verb in [retry(&[]), skip(&["w05"]), Verb::Pause, Verb::Abort] {
        assert!(command(&lab.run, verb, "tester").await.is_err());
    }
    assert_eq!(ended(engine).await, Outcome::Failed);
    assert_eq!(lab.report().swaps.failed, 1);
    assert!(!lab.records().iter().any(|r| matches!(r.event, Event::Command { .. })));
}
