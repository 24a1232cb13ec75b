//! One truth about a run: its counters, its commands, and what it says until its last record.

use super::super::budget::Ledger;
use super::super::fence::RunFence;
use super::super::log::Log;
use super::super::shared::{Shared, Wish};
use super::super::steady::of_tokio;
use super::super::steer::Steer;
use super::*;
use crate::fleet::{Disturbance, SwapId};
use async_trait::async_trait;
use proptest::prelude::*;
use std::fs::File;
use std::io;

/// A disk that takes its time: a task that waits for it can be ended there.
#[derive(Debug)]
struct SlowDisk;

#[async_trait]
impl Disk for SlowDisk {
    async fn sync(&self, _: Arc<File>) -> io::Result<()> {
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

fn shared(lab: &Lab) -> Shared {
    let (plan, hash) = lab.run.plan().unwrap();
    let plan = Arc::new(plan);
    let writer = Writer::create(&lab.run.journal(), &hash).unwrap();
    let (run, ledger) = (Run::new(Arc::clone(&plan)), Ledger::new(Arc::clone(&plan)));
    let clock: Clock = Arc::new(|| Timestamp::UNIX_EPOCH);
    let steer = Arc::new(Steer::new());
    let log = Log::new(writer, run, ledger, Default::default(), steer, clock, Arc::new(SlowDisk)).unwrap();
    let fence = Arc::new(RunFence::new(of_tokio(), lab.run.id().clone()));
    fence.held(crate::fleet::FenceToken::new(1), fence.now());
    Shared::new(plan, (lab.run.id().clone(), lab.run.path().to_owned()), lab.world.ports(), fence, log)
}

#[tokio::test]
async fn a_command_in_the_journal_is_in_effect_wherever_its_task_is_ended() {
    let world = upgraded_masters();
    let plan = plan(&world, &NODES);
    let (mut cut, mut through) = (0, false);
    for polls in 0..64 {
        let lab = Lab::new(world.clone(), &plan);
        let shared = shared(&lab);
        let mut command = Box::pin(shared.command(Verb::Pause, "ann"));
        for _ in 0..polls {
            through = futures::poll!(command.as_mut()).is_ready();
            if through {
                break;
            }
        }
        drop(command);
        let journaled = shared.log.with(|run, _| run.state == RunState::Pausing);
        assert_eq!(journaled, shared.wish() == Wish::Pause, "ended after {polls} polls");
        assert_eq!(journaled, shared.paused_by().contains("ann"), "ended after {polls} polls");
        if through {
            assert!(journaled);
            break;
        }
        cut += usize::from(journaled);
    }
    assert!(through && cut > 1, "it was ended {cut} times between the journal and its answer");
}

/// One worker's node is silent from its swap on; the run stands.
async fn silent_node() -> (Lab, JoinHandle<Result<Outcome, EngineError>>) {
    let world = upgraded_masters();
    let plan = plan(&world, &NODES);
    world.edit("w05", |n| n.faults.cut_at_begin = Some(Duration::from_secs(100_000)));
    let lab = Lab::new(world, &plan);
    let engine = lab.engine();
    lab.until("a pause", |r| matches!(r.state, RunState::Paused(PauseReason::Budget))).await;
    (lab, engine)
}

/// Asks the run for as long as it ends; how often it answered. It never fails to, and keeps its Lease.
async fn answers_to_the_end(lab: &Lab, engine: &JoinHandle<Result<Outcome, EngineError>>, words: &str) -> usize {
    let mut answers = 0;
    while lab.fold().ended().is_none() {
        assert!(!engine.is_finished(), "it ends with its last record");
        // The end may come while it is asked.
        match ping(&lab.run).await {
            Ok(_) => answers += 1,
            Err(error) => assert!(lab.fold().ended().is_some(), "{error}"),
        }
        assert!(lab.world.lock().lease.is_some() || lab.fold().ended().is_some(), "the Lease is kept");
        match command(&lab.run, Verb::Pause, "tester").await {
            Err(EngineError::Refused(why)) => assert!(why.contains(words), "{why}"),
            other => assert!(lab.fold().ended().is_some(), "{other:?}"),
        }
        sleep(Duration::from_secs(1)).await;
    }
    answers
}

#[tokio::test(start_paused = true)]
async fn an_aborted_run_answers_and_keeps_its_lease_until_its_end_is_on_disk() {
    let (lab, engine) = silent_node().await;
    lab.command(Verb::Abort).await;
    assert!(answers_to_the_end(&lab, &engine, "being aborted").await > 5, "looking for a silent node takes a while");
    assert_eq!(ended(engine).await, Outcome::Aborted);
    assert_eq!(lab.world.lock().lease, None);
    let records = read(&lab.run.journal()).unwrap().records;
    assert!(matches!(records.last().unwrap().event, Event::RunEnded { .. }), "nothing comes after the end");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_through_answers_until_its_end_is_on_disk() {
    let (lab, engine) = silent_node().await;
    let nodes = vec!["w05".parse().unwrap()];
    lab.command(Verb::Skip { nodes, why: "its disk is broken".into() }).await;
    lab.command(Verb::Resume).await;
    lab.until("all phases are through", |r| r.phases_done.len() == r.plan.phases.len()).await;
    // The walk sees that it is through, and takes no command any more.
    sleep(Duration::from_secs(1)).await;
    assert!(answers_to_the_end(&lab, &engine, "the run is ending").await > 5);
    ended(engine).await;
    assert!(matches!(read(&lab.run.journal()).unwrap().records.last().unwrap().event, Event::RunEnded { .. }));
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_a_killed_engine_took_out_is_put_back_before_anything_else() {
    let world = world();
    let plan = plan(&world, &ALL);
    let lab = Lab::new(world, &plan);
    let engine = lab.engine();
    let out = |r: &Run| {
        let api = |s: &&SwapView| r.planned(s).changes.iter().any(|c| c.component == Component::KubeApiserver);
        r.swaps.iter().filter(|s| s.state == SwapState::InFlight).find(api).map(|s| s.node.clone())
    };
    let node = out(&lab.until("an API server in its critical section", |r| out(r).is_some()).await).unwrap();
    engine.abort();
    let _ = engine.await;
    let address = lab.world.lock().nodes[&node].node.address.clone();
    let serves = || lab.world.lock().endpoints.iter().rfind(|(a, _)| *a == address).map(|(_, serve)| *serve);
    assert_eq!(serves(), Some(false));
    // Where the engine said so before it did it.
    if lab.fold().endpoints_out.is_empty() {
        let (_, hash) = lab.run.plan().unwrap();
        let mut writer = Writer::open(&lab.run.journal(), &hash, drop).unwrap().writer;
        let now = lab.fold().now.unwrap();
        let leaving = Event::EndpointLeaving { node: node.clone(), address: address.clone() };
        writer.append(now, leaving, true).unwrap();
    }
    assert_eq!(report(&lab.fold(), Chain::Ok).endpoints_out, BTreeMap::from([(node.clone(), address.clone())]));
    // Nobody is there to give a verdict: the node goes back by itself.
    let rolled_back = || lab.world.lock().nodes[&node].txs.values().all(|tx| tx.end.is_some());
    while !rolled_back() {
        sleep(Duration::from_secs(1)).await;
    }
    let before = read(&lab.run.journal()).unwrap().records.len();
    let engine = lab.engine();
    lab.until("it is back", |r| r.endpoints_out.is_empty()).await;
    assert_eq!(serves(), Some(true));
    let after: Vec<Event> =
        read(&lab.run.journal()).unwrap().records.into_iter().skip(before).map(|r| r.event).collect();
    let at = |wanted: &dyn Fn(&Event) -> bool| after.iter().position(wanted);
    let back = at(&|e| matches!(e, Event::EndpointBack { .. })).unwrap();
    assert!(at(&|e| matches!(e, Event::SwapRolledBack { .. })).is_none_or(|settled| back < settled), "{after:#?}");
    assert!(matches!(after.first(), Some(Event::EngineStarted { .. })), "{after:#?}");
    engine.abort();
}

#[tokio::test(start_paused = true)]
async fn an_abort_that_ends_the_run_at_once_is_answered_all_the_same() {
    let lab = Lab::of_nodes();
    let engine = lab.engine();
    lab.until("swaps in flight", |r| r.in_flight().count() > 1).await;
    lab.command(Verb::Pause).await;
    lab.until("the pause", |r| matches!(r.state, RunState::Paused(_))).await;
    // Nothing is in flight, nothing to look for: the end is a few milliseconds away.
    for answer in futures::future::join_all((0..8).map(|_| command(&lab.run, Verb::Abort, "tester"))).await {
        match answer {
            Ok(_) => {}
            // It came when there was no engine any more.
            Err(EngineError::NoEngine { why, .. }) => assert!(!why.contains("before it said anything"), "{why}"),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(ended(engine).await, Outcome::Aborted);
}

/// A plan in which some workers have two swaps.
fn twofold() -> Arc<Plan> {
    let world = upgraded_masters();
    let mut plan = plan(&world, &NODES);
    let mut wave = plan.phases.iter().flat_map(|p| &p.waves).rfind(|w| w.swaps.len() > 1).unwrap().clone();
    for swap in &mut wave.swaps {
        swap.id = format!("{}b", swap.id).parse::<SwapId>().unwrap();
    }
    plan.phases.last_mut().unwrap().waves.push(wave);
    plan.budget = Budget { failed_swaps: 1, not_ready_nodes: 1, disturbed_pods: 1 };
    Arc::new(plan)
}

/// The number that a sentence begins with.
fn number(text: &str) -> Option<usize> {
    text.split(' ').next()?.parse().ok()
}

proptest! {
    /// Whatever happens and is commanded: the number for which a run pauses is the one that its screens and its report show.
    #[test]
    fn a_pause_names_the_number_that_the_screens_show(
        steps in prop::collection::vec((0usize..14, 0usize..40, 1usize..4), 1..60)
    ) {
        let plan = twofold();
        let workers: Vec<(SwapId, NodeName)> = plan
            .swaps()
            .filter(|(_, _, s)| s.node.as_str().starts_with('w'))
            .map(|(_, _, s)| (s.id.clone(), s.node.clone()))
            .collect();
        let (mut run, mut ledger) = (Run::new(Arc::clone(&plan)), Ledger::new(Arc::clone(&plan)));
        for (seq, (what, which, n)) in steps.into_iter().enumerate() {
            let (swap, node) = workers[which % workers.len()].clone();
            let nodes = vec![node.clone()];
            let by = "ann".to_owned();
            let why = || "x".to_owned();
            let (pods_checked, pods_undisturbed, ms) = (1, 1, 1);
            let event = match what {
                0 | 1 => Event::SwapPreparing { swap, node },
                2 | 3 => Event::SwapRolledBack { swap, node, why: why(), pods_checked, pods_undisturbed, ms },
                4 => Event::SwapFailed { swap, node, why: why(), untouched: n == 1 },
                5 => Event::SwapCommitted { swap, node, pods_checked, pods_undisturbed, ms },
                6 => Event::PodsDisturbed { swap, node, pods: vec![Disturbance::default(); n] },
                7 => {
                    let lost = workers.iter().skip(which).take(n).map(|(_, node)| node.clone()).collect();
                    Event::ClusterSeen { ready: 1, total: 2, lost, api: true, refused: None }
                }
                8 | 9 => Event::Command { verb: Verb::RollBack { nodes }, by },
                10 => Event::Command { verb: Verb::Retry { nodes: if n == 1 { vec![] } else { nodes } }, by },
                11 => Event::Command { verb: Verb::Skip { nodes, why: why() }, by },
                12 => Event::Resumed,
                _ => Event::Command { verb: if n == 1 { Verb::Abort } else { Verb::Pause }, by },
            };
            let record = Record { seq: seq as u64 + 1, at: Timestamp::UNIX_EPOCH, prev: String::new(), event };
            run.apply(&record);
            ledger.apply(&record, &run);
            let Some(text) = ledger.over(&run, &plan.budget) else { continue };
            let shown = if text.contains("disturbed pod") {
                report(&run, Chain::Ok).pods.disturbed
            } else if text.contains("NotReady") {
                run.lost().len()
            } else {
                run.failures()
            };
            prop_assert_eq!(number(&text), Some(shown), "{}", text);
        }
    }
}

#[test]
fn two_swaps_of_a_node_that_is_commanded_back_are_no_failure() {
    let plan = twofold();
    let (mut run, mut ledger) = (Run::new(Arc::clone(&plan)), Ledger::new(Arc::clone(&plan)));
    let double = plan.swaps().find(|(_, _, s)| s.id.as_str().ends_with('b')).unwrap().2;
    let (node, twin) = (double.node.clone(), double.id.as_str().trim_end_matches('b').parse::<SwapId>().unwrap());
    let back = |swap: &SwapId| Event::SwapRolledBack {
        swap: swap.clone(),
        node: node.clone(),
        why: "x".into(),
        pods_checked: 0,
        pods_undisturbed: 0,
        ms: 0,
    };
    let ids = [twin, double.id.clone()];
    let mut events: Vec<Event> =
        ids.iter().map(|swap| Event::SwapPreparing { swap: swap.clone(), node: node.clone() }).collect();
    events.push(Event::Command { verb: Verb::RollBack { nodes: vec![node.clone()] }, by: "ann".into() });
    events.extend(ids.iter().map(back));
    for event in events {
        let record = Record { seq: 1, at: Timestamp::UNIX_EPOCH, prev: String::new(), event };
        run.apply(&record);
        ledger.apply(&record, &run);
    }
    assert_eq!(run.count(|s| s == SwapState::RolledBack), 2);
    assert_eq!((run.failures(), ledger.over(&run, &plan.budget)), (0, None));
}
