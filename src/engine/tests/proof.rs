//! What a new kubelet does to its pods shows late: it is noticed all the same, at the canary, and no more harm is done.

use super::*;
use crate::fleet::Cause;
use crate::plan::{Gate, PhaseKind, WaveKind};

/// Every kubelet restarts the containers of its pods, which take `grace_s` to end.
fn restarting(grace_s: u32) -> World {
    let world = upgraded_masters();
    for node in world.lock().nodes.values_mut() {
        node.faults.restarts_containers = true;
        node.pods.iter_mut().for_each(|p| p.grace_s = grace_s);
    }
    world
}

fn canaries(plan: &Plan) -> Vec<NodeName> {
    let wave = plan.phases.iter().flat_map(|p| &p.waves).find(|w| w.kind == WaveKind::Canary).unwrap();
    wave.swaps.iter().map(|s| s.node.clone()).collect()
}

fn touched(lab: &Lab) -> Vec<NodeName> {
    lab.begun().into_iter().filter(|(_, n)| *n > 0).map(|(name, _)| name).collect()
}

fn records(lab: &Lab) -> Vec<Record> {
    read(&lab.run.journal()).unwrap().records
}

fn restarts(lab: &Lab, node: &NodeName) -> Vec<i32> {
    lab.world.lock().nodes[node].pods.iter().map(|p| p.containers[0].restarts).collect()
}

async fn paused(lab: &Lab) -> Run {
    lab.until("a pause", |r| matches!(r.state, RunState::Paused(_))).await
}

async fn gate(lab: &Lab, name: &str) -> GateView {
    let run = lab.until(name, |r| r.gate.as_ref().is_some_and(|g| g.name == name)).await;
    run.gate.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_kubelet_that_restarts_containers_is_noticed_at_the_canary_and_kept() {
    for grace_s in [0, 30, 300] {
        let world = restarting(grace_s);
        let mut plan = plan(&world, &NODES);
        // Whatever the budget.
        plan.budget.disturbed_pods = 1_000;
        let lab = Lab::new(world, &plan);
        let engine = lab.engine();
        let run = paused(&lab).await;
        assert_eq!(run.state, RunState::Paused(PauseReason::Budget));
        assert!(run.why.contains("restarts containers") && run.why.contains("The swap is kept"), "{}", run.why);
        sleep(Duration::from_secs(400)).await;
        let mut expected = canaries(&plan);
        expected.sort();
        assert_eq!(touched(&lab), expected, "grace {grace_s}: nothing more is touched, no master at all");
        for node in &expected {
            assert_eq!(restarts(&lab, node), [1; 4], "grace {grace_s}: rolling back would have made it two");
            lab.whole(node.as_str(), "1.36.2.1");
        }
        let report = report(&lab.fold(), Chain::Ok);
        assert_eq!((report.swaps.committed, report.swaps.rolled_back), (2, 0));
        assert_eq!((report.pods.checked, report.pods.undisturbed, report.pods.disturbed), (8, 0, 8), "grace {grace_s}");
        assert_eq!(report.pods.unproved, 0, "grace {grace_s}: all are known by now");
        engine.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_proof_goes_on_with_the_next_engine() {
    let world = restarting(300);
    world.lock().events_refused = true;
    let plan = plan(&world, &NODES);
    let lab = Lab::new(world, &plan);
    let engine = lab.engine();
    let told = gate(&lab, "pods proved").await;
    assert!(
        told.why.starts_with("pods of wave canary proved until 00:0") && told.why.contains("8 pods on w"),
        "{told:?}"
    );
    assert!(told.soak_ms.is_some_and(|ms| (300_000..=320_000).contains(&ms)), "{told:?}");
    engine.abort();
    let _ = engine.await;
    sleep(Duration::from_secs(100)).await;
    let engine = lab.engine();
    let run = paused(&lab).await;
    assert!(run.why.contains("restarts containers"), "{}", run.why);
    assert_eq!(touched(&lab).len(), 2);
    // Within the 320 s from the commit: the wait was not begun anew.
    let at = |pick: &dyn Fn(&Event) -> bool| records(&lab).iter().find(|r| pick(&r.event)).unwrap().at;
    let pending = at(&|e| matches!(e, Event::ProofPending { .. }));
    let paused = at(&|e| matches!(e, Event::Paused { .. }));
    assert!(paused.duration_since(pending).as_secs() <= 322, "{pending} {paused}");
    let notes = records(&lab)
        .iter()
        .filter(|r| matches!(&r.event, Event::Note { text } if text.contains("events of pods")))
        .count();
    assert_eq!(notes, 2, "each engine says once that it may not read events");
    engine.abort();
}

#[tokio::test(start_paused = true)]
async fn a_run_ends_when_every_pod_was_looked_at_late_enough() {
    let world = upgraded_masters();
    let plan = plan(&world, &NODES);
    let lab = Lab::new(world, &plan);
    assert_eq!(ended(lab.engine()).await, Outcome::Completed);
    let records = records(&lab);
    let mut pending: BTreeMap<crate::fleet::SwapId, (Timestamp, u64)> = BTreeMap::new();
    let mut proved = 0;
    for record in &records {
        match &record.event {
            Event::ProofPending { swap, ms, pods, .. } => {
                assert_eq!((*pods, *ms), (4, 50_000), "the first sync, and the default grace period");
                pending.insert(swap.clone(), (record.at, *ms));
            }
            Event::PodsProved { swap, undisturbed, unproved, .. } => {
                let (since, ms) = pending.remove(swap).expect("it was pending");
                assert!(record.at.duration_since(since).as_millis() >= i128::from(ms));
                assert_eq!((*undisturbed, *unproved), (4, 0));
                proved += 1;
            }
            Event::SwapCommitted { swap, .. } => assert!(pending.contains_key(swap), "written before the result"),
            Event::RunEnded { .. } => assert!(pending.is_empty(), "{pending:?}"),
            _ => {}
        }
    }
    assert_eq!(proved, plan.swaps().count());
    let report = report(&lab.fold(), Chain::Ok);
    assert_eq!((report.pods.unproved, report.pods.checked), (0, report.pods.undisturbed));
}

#[tokio::test(start_paused = true)]
async fn one_wave_at_most_is_ahead_of_its_proof_and_masters_follow_the_proved_canary() {
    let world = upgraded_masters();
    let plan = plan(&world, &NODES);
    let kinds: Vec<PhaseKind> = plan.phases.iter().map(|p| p.kind).collect();
    assert_eq!(kinds, [PhaseKind::Prefetch, PhaseKind::Canary, PhaseKind::Masters, PhaseKind::Workers]);
    let lab = Lab::new(world, &plan);
    assert_eq!(ended(lab.engine()).await, Outcome::Completed);
    let place: BTreeMap<_, _> = plan.swaps().map(|(p, w, s)| (s.id.clone(), (p, w))).collect();
    let (mut open, mut ahead) = (BTreeMap::new(), 0);
    for record in records(&lab) {
        match &record.event {
            Event::ProofPending { swap, .. } => drop(open.insert(swap.clone(), place[swap])),
            Event::PodsProved { swap, .. } => drop(open.remove(swap)),
            Event::WaveBegun { phase, wave } => {
                let mut waves: Vec<(usize, usize)> = open.values().copied().collect();
                waves.dedup();
                assert!(waves.len() <= 1, "wave {phase}/{wave} begins over {waves:?}");
                assert!(waves.iter().all(|w| *w != (1, 0)), "the canary is proved before anything else");
                ahead += waves.len();
            }
            _ => {}
        }
    }
    assert!(ahead > 0, "waves do go on meanwhile");
}

#[tokio::test(start_paused = true)]
async fn an_abort_does_not_wait_for_proofs_and_the_report_names_what_is_not_proved() {
    let world = upgraded_masters();
    let plan = plan(&world, &NODES);
    let lab = Lab::new(world, &plan);
    let engine = lab.engine();
    gate(&lab, "pods proved").await;
    let asked = Instant::now();
    lab.command(Verb::Abort).await;
    assert_eq!(ended(engine).await, Outcome::Aborted);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    let report = report(&lab.fold(), Chain::Ok);
    assert_eq!((report.pods.checked, report.pods.undisturbed, report.pods.unproved), (8, 0, 8));
    assert_eq!(
        report.pods.unproved_on.keys().cloned().collect::<std::collections::BTreeSet<_>>(),
        canaries(&plan).into_iter().collect()
    );
    let words = report.pods.unproved_words().unwrap();
    assert!(words.starts_with("0 pods proved undisturbed, 8 not proved"), "{words}");
    assert!(report.to_markdown().contains("8 not proved"), "{}", report.to_markdown());
}

#[tokio::test(start_paused = true)]
async fn an_operator_may_go_on_without_the_proof_and_it_is_recorded() {
    let lab = Lab::of_nodes();
    let engine = lab.engine();
    gate(&lab, "pods proved").await;
    lab.command(Verb::Override { gate: "pods proved".into(), why: "seen by hand".into() }).await;
    let run = lab.until("the next wave", |r| r.phase == Some(2) && r.wave == Some(0)).await;
    assert_eq!(run.pods.pending.len(), 2, "the proof goes on meanwhile");
    assert_eq!(ended(engine).await, Outcome::Completed);
    let run = lab.fold();
    assert_eq!((run.decisions.len(), run.pods.checked), (1, run.pods.undisturbed));
    assert!(run.decisions[0].of.contains("pods proved after canary"), "{:?}", run.decisions);
}

#[tokio::test(start_paused = true)]
async fn a_kubelet_that_does_not_come_up_is_rolled_back_and_its_pods_are_compared_late_too() {
    let world = restarting(30);
    let plan = plan(&world, &NODES);
    let canary = canaries(&plan)[0].clone();
    for node in world.lock().nodes.values_mut() {
        node.faults.restarts_containers = node.node.name == canary;
    }
    world.edit(canary.as_str(), |n| n.faults.never_healthy.extend([Component::Kubelet]));
    let lab = Lab::new(world, &plan);
    let engine = lab.engine();
    let run = paused(&lab).await;
    assert_eq!(run.swaps_of(&canary).next().unwrap().state, SwapState::RolledBack);
    lab.whole(canary.as_str(), "1.35.6.1");
    let run = lab.until("the proof of the rollback", |r| r.pods.disturbed.len() == 4).await;
    assert_eq!(run.swaps_of(&canary).next().unwrap().state, SwapState::RolledBack);
    engine.abort();
}

#[tokio::test(start_paused = true)]
async fn pods_with_a_grace_period_over_the_limit_are_never_called_proved() {
    let world = upgraded_masters();
    world.edit("w05", |n| n.pods[2].grace_s = 7_200);
    let mut plan = plan(&world, &NODES);
    plan.limits.proof_limit_ms = 60_000;
    let lab = Lab::new(world, &plan);
    assert_eq!(ended(lab.engine()).await, Outcome::Completed);
    let report = report(&lab.fold(), Chain::Ok);
    assert_eq!((report.pods.unproved, report.pods.undisturbed + 1), (1, report.pods.checked));
    assert_eq!(report.pods.unproved_on, [("w05".parse().unwrap(), 1)].into());
}

#[tokio::test(start_paused = true)]
async fn pods_are_compared_once_more_before_the_run_ends() {
    let world = upgraded_masters();
    let plan = plan(&world, &[Component::KubeProxy]);
    assert!(
        !plan.phases.iter().flat_map(|p| &p.waves).flat_map(|w| &w.gates).any(|g| matches!(g, Gate::PodsProved { .. }))
    );
    let canary = canaries(&plan)[0].clone();
    let lab = Lab::new(world, &plan);
    let engine = lab.engine();
    lab.until("the last wave", |r| r.phase == Some(3) && r.wave == Some(2)).await;
    lab.world.edit(canary.as_str(), |n| n.pods[1].containers[0].restarts += 1);
    lab.until("the last look", |r| r.pods.disturbed.len() + r.pods.changed.len() == 1).await;
    if matches!(lab.fold().state, RunState::Paused(_)) || paused_soon(&lab).await {
        lab.command(Verb::Resume).await;
    }
    assert_eq!(ended(engine).await, Outcome::Completed);
    let run = lab.fold();
    assert_eq!(run.pods.undisturbed + 1, run.pods.checked, "it is not called undisturbed");
}

/// Whether what was found counts against the budget.
async fn paused_soon(lab: &Lab) -> bool {
    let run = lab.until("a pause or the end", |r| matches!(r.state, RunState::Paused(_) | RunState::Ended(_))).await;
    run.ended().is_none()
}

#[tokio::test(start_paused = true)]
async fn what_others_change_neither_stops_the_run_nor_spends_its_budget() {
    let world = upgraded_masters();
    let plan = plan(&world, &NODES);
    let canary = canaries(&plan)[0].clone();
    let lab = Lab::new(world, &plan);
    let engine = lab.engine();
    gate(&lab, "soak").await;
    // A rollout replaces it.
    lab.world.edit(canary.as_str(), |n| n.pods[0].uid = "another".into());
    assert_eq!(ended(engine).await, Outcome::Completed);
    let run = lab.fold();
    assert_eq!((run.pods.disturbed.len(), run.pods.changed.len(), run.pauses.len()), (0, 1, 0));
    assert_eq!(run.pods.changed[0].1.cause, Cause::Others);
    assert_eq!(run.pods.undisturbed + 1, run.pods.checked);
}

#[tokio::test(start_paused = true)]
async fn pods_on_untouched_nodes_are_the_control_group() {
    let world = upgraded_masters();
    let plan = plan(&world, &NODES);
    let lab = Lab::new(world.clone(), &plan);
    let engine = lab.engine();
    // A pod a node restarts every ten seconds, somewhere where no swap was yet.
    let churn = tokio::spawn(async move {
        loop {
            sleep(Duration::from_secs(10)).await;
            let begun: Vec<NodeName> = {
                let state = world.lock();
                state.nodes.values().filter(|n| n.begun.is_empty()).map(|n| n.node.name.clone()).collect()
            };
            for node in begun {
                world.edit(node.as_str(), |n| n.pods[0].containers[0].restarts += 1);
            }
        }
    });
    lab.until("a sample", |r| r.pods.churn.changed > 0).await;
    churn.abort();
    assert_eq!(ended(engine).await, Outcome::Completed);
    let control = report(&lab.fold(), Chain::Ok).pods.control.unwrap();
    assert!(control.changed > 0 && control.percent_a_minute > 0.0 && control.expected > 0.0, "{control:?}");
    let words = report(&lab.fold(), Chain::Ok).pods.control_words().unwrap();
    assert!(words.starts_with("0 changed by others on swapped nodes, "), "{words}");
}

#[test]
fn any_prefix_of_a_journal_with_proofs_folds() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let lab = runtime.block_on(async {
        let world = upgraded_masters();
        let plan = plan(&world, &NODES);
        let lab = Lab::new(world, &plan);
        assert_eq!(ended(lab.engine()).await, Outcome::Completed);
        lab
    });
    let records = records(&lab);
    let plan = Arc::new(lab.run.plan().unwrap().0);
    let mut run = Run::new(plan);
    for record in &records {
        run.apply(record);
        let pods = report(&run, Chain::Ok).pods;
        // A pending proof is written just before the result that counts its pods, of at most four nodes at once.
        let counted = pods.undisturbed + pods.disturbed + pods.unproved + pods.changed_by_others;
        assert!(counted <= pods.checked + 4 * 4, "{pods:?}");
    }
    assert_eq!(run.pods.undisturbed, run.pods.checked);
}
