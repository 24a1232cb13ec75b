//! After the commit, and under another hand: what was committed is looked at again, and what something else does is never
//! called ours.

use super::fake::OLD;
use super::*;
use crate::journal::report;

type Engine = JoinHandle<Result<Outcome, EngineError>>;

/// A run whose canaries are committed and soak; their names.
async fn soaking() -> (Lab, Engine, Vec<String>) {
    let world = upgraded_masters();
    let mut plan = plan(&world, &NODES);
    plan.budget.failed_swaps = 99;
    let lab = Lab::new(world, &plan);
    let engine = lab.engine();
    let worker = |s: &SwapView| s.node.as_str().starts_with('w');
    let run = lab
        .until("the canaries' soak", |r| {
            let canaries = r.swaps.iter().filter(|s| worker(s) && s.state == SwapState::Committed).count();
            canaries == 2 && r.gate.as_ref().is_some_and(|g| g.soak_ms.is_some())
        })
        .await;
    let canaries = run.swaps.iter().filter(|s| worker(s) && s.state == SwapState::Committed);
    let canaries = canaries.map(|s| s.node.to_string()).collect();
    (lab, engine, canaries)
}

async fn paused_by_drift(lab: &Lab, words: &str) -> Run {
    let run = lab.until("a pause by drift", |r| r.state == RunState::Paused(PauseReason::Drift)).await;
    assert!(run.why.contains(words), "{}", run.why);
    run
}

fn edit(lab: &Lab, node: &str, container: &str, edit: impl FnOnce(&mut fake::Box1)) {
    lab.world.edit(node, |n| edit(n.boxes.get_mut(container).unwrap()));
}

fn put_the_old_one_back(lab: &Lab, node: &str) {
    edit(lab, node, "kubelet", |b| (b.id, b.image) = ("other".into(), OLD.parse().unwrap()));
}

fn nodes(name: &str) -> Vec<NodeName> {
    vec![name.parse().unwrap()]
}

#[tokio::test(start_paused = true)]
async fn a_component_that_is_stopped_in_its_soak_pauses_the_run_and_it_never_completes_over_it() {
    let (lab, engine, canaries) = soaking().await;
    edit(&lab, &canaries[0], "kube-proxy", |b| b.running = false);
    let run = paused_by_drift(&lab, "kube-proxy was stopped").await;
    assert!(run.why.contains(&canaries[0]), "{}", run.why);
    assert_eq!(run.swaps.iter().filter(|s| s.attempts > 0 && s.node.as_str().starts_with('w')).count(), 2, "went on");
    lab.command(Verb::Resume).await;
    assert_eq!(ended(engine).await, Outcome::Failed);
    let run = lab.fold();
    assert!(run.why.contains(&format!("{}: kube-proxy was stopped", canaries[0])), "{}", run.why);
    let report = report(&run, Chain::Ok);
    assert_eq!((report.drifted.len(), report.swaps.drifted), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_comes_back_by_itself_is_no_drift_any_more() {
    let (lab, engine, canaries) = soaking().await;
    edit(&lab, &canaries[1], "kubelet", |b| b.running = false);
    paused_by_drift(&lab, "kubelet was stopped").await;
    edit(&lab, &canaries[1], "kubelet", |b| b.running = true);
    lab.command(Verb::Resume).await;
    assert_eq!(ended(engine).await, Outcome::Completed);
    assert!(lab.fold().drifts.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_old_image_that_is_put_back_is_drift_and_retry_swaps_it_again() {
    let (lab, engine, canaries) = soaking().await;
    put_the_old_one_back(&lab, &canaries[0]);
    // kube-proxy is new still: one swap moves both, so both are put back.
    edit(&lab, &canaries[0], "kube-proxy", |b| (b.id, b.image) = ("other2".into(), OLD.parse().unwrap()));
    paused_by_drift(&lab, "kubelet runs 1.35.6.1 again; made anew").await;
    lab.command(Verb::Retry { nodes: nodes(&canaries[0]) }).await;
    lab.command(Verb::Resume).await;
    assert_eq!(ended(engine).await, Outcome::Completed);
    lab.whole(&canaries[0], "1.36.2.1");
    assert_eq!(lab.begun()[&nodes(&canaries[0])[0]], 2);
    assert!(lab.fold().drifts.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_drifted_node_that_is_skipped_is_left_by_decision() {
    let (lab, engine, canaries) = soaking().await;
    put_the_old_one_back(&lab, &canaries[0]);
    paused_by_drift(&lab, "runs 1.35.6.1 again").await;
    lab.command(Verb::Skip { nodes: nodes(&canaries[0]), why: "known".into() }).await;
    lab.command(Verb::Resume).await;
    assert_eq!(ended(engine).await, Outcome::Completed);
    let run = lab.fold();
    assert_eq!(run.decisions.len(), 1);
    // It is neither new nor old, and whoever reads the report is told.
    let report = report(&run, Chain::Ok);
    assert_eq!(report.which.failed, nodes(&canaries[0]), "{:?}", report.which);
    assert!(report.which.old.is_empty(), "{:?}", report.which);
    assert_eq!((report.swaps.drifted, report.swaps.skipped, report.drifted.len()), (1, 0, 1));
    assert!(run.done().contains(&report.drifted[0].swap), "a rollback looks at it");
}

/// Up whenever it is asked, and restarted every 4 s.
#[tokio::test(start_paused = true)]
async fn a_component_that_crashes_now_and_then_is_found_in_its_soak() {
    let (lab, engine, canaries) = soaking().await;
    let (world, node) = (lab.world.clone(), canaries[0].clone());
    let crashes = tokio::spawn(async move {
        loop {
            sleep(Duration::from_secs(4)).await;
            world.edit(&node, |n| n.boxes.get_mut("kube-proxy").unwrap().restarts += 1);
        }
    });
    let run = paused_by_drift(&lab, "kube-proxy was restarted 1 time since").await;
    assert!(run.waves_done.keys().all(|(p, _)| Some(*p) != run.phase), "the next wave began");
    lab.command(Verb::Resume).await;
    assert_eq!(ended(engine).await, Outcome::Failed);
    crashes.abort();
}

/// Docker does not count it: neither `docker restart` nor a restart of the daemon.
#[tokio::test(start_paused = true)]
async fn a_component_that_somebody_restarts_in_its_soak_is_told_and_is_well_again() {
    let (lab, engine, canaries) = soaking().await;
    edit(&lab, &canaries[0], "kube-proxy", |b| b.stamp = "2026-11-30T02:03:04Z".parse().unwrap());
    paused_by_drift(&lab, "kube-proxy was restarted at 02:03:04, not by its restart policy").await;
    lab.command(Verb::Resume).await;
    assert_eq!(ended(engine).await, Outcome::Completed);
    assert!(lab.fold().drifts.is_empty());
}

/// Drift that comes after a component's own soak is found at a later gate, by an engine that took the run up too.
#[tokio::test(start_paused = true)]
async fn drift_is_found_at_later_gates_and_by_the_next_engine() {
    let (lab, engine, canaries) = soaking().await;
    lab.until("a later wave", |r| r.swaps.iter().filter(|s| s.attempts > 0).count() > 6).await;
    engine.abort();
    let _ = engine.await;
    put_the_old_one_back(&lab, &canaries[1]);
    let engine = lab.engine();
    paused_by_drift(&lab, "kubelet runs 1.35.6.1 again").await;
    lab.command(Verb::Resume).await;
    assert_eq!(ended(engine).await, Outcome::Failed);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_cannot_be_looked_at_is_no_drift_and_the_run_does_not_complete_over_it() {
    let (lab, engine, canaries) = soaking().await;
    lab.world.edit(&canaries[0], |n| n.faults.cut_until = Some(Instant::now() + Duration::from_secs(90_000)));
    assert_eq!(ended(engine).await, Outcome::Failed);
    let run = lab.fold();
    assert!(run.why.contains(&format!("{} could not be looked at again at the end", canaries[0])), "{}", run.why);
    assert!(run.drifts.is_empty());
    // Away for a while only: it is waited for, and seen.
    let (lab, engine, canaries) = soaking().await;
    lab.world.edit(&canaries[0], |n| n.faults.cut_until = Some(Instant::now() + Duration::from_secs(40)));
    assert_eq!(ended(engine).await, Outcome::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_foreign_hand_is_a_failure_that_pauses_at_once_and_says_what_runs() {
    let world = upgraded_masters();
    let mut plan = plan(&world, &NODES);
    plan.budget.failed_swaps = 99;
    world.edit("w05", |n| n.faults.foreign_hand = true);
    let lab = Lab::new(world, &plan);
    let engine = lab.engine();
    let run = lab.until("a pause", |r| matches!(r.state, RunState::Paused(_))).await;
    assert!(run.why.contains("something else works on w05"), "{}", run.why);
    assert!(run.why.contains("as seen at ") && run.why.contains("kubelet runs 1.35.6.1"), "{}", run.why);
    let records = read(&lab.run.journal()).unwrap().records;
    let hand = records.iter().position(|r| matches!(&r.event, Event::ForeignHand { .. })).unwrap();
    let failed = records.iter().position(|r| matches!(&r.event, Event::SwapFailed { untouched: false, .. })).unwrap();
    assert!(hand < failed);
    assert_eq!(run.failures(), 1);
    // The hand is gone, and a person has looked: it is tried again, although the containers are not those of the plan.
    lab.world.edit("w05", |n| n.faults.foreign_hand = false);
    lab.command(Verb::Retry { nodes: nodes("w05") }).await;
    lab.command(Verb::Resume).await;
    assert_eq!(ended(engine).await, Outcome::Completed);
    lab.whole("w05", "1.36.2.1");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_works_on_for_ever_is_given_up_and_an_abort_ends() {
    let world = upgraded_masters();
    let plan = plan(&world, &NODES);
    world.edit("w05", |n| {
        n.faults.never_ends = true;
        n.faults.never_healthy.insert(Component::Kubelet);
    });
    let lab = Lab::new(world, &plan);
    let engine = needs_a_person(&lab, "w05", "did not come to an end within").await;
    let begun = Instant::now();
    lab.command(Verb::Abort).await;
    assert_eq!(ended(engine).await, Outcome::Aborted);
    assert!(begun.elapsed() < Duration::from_secs(900), "{:?}", begun.elapsed());
    let run = lab.fold();
    assert!(run.why.starts_with("as seen at "), "{}", run.why);
    assert!(run.why.contains("the new version runs on"), "{}", run.why);
}

#[tokio::test(start_paused = true)]
async fn an_abort_ends_while_the_api_is_away() {
    let (lab, engine, _) = soaking().await;
    lab.until("workers in flight", |r| r.in_flight().count() > 1).await;
    lab.world.lock().api_away = true;
    lab.world.lock().pods_hidden = true;
    let begun = Instant::now();
    lab.command(Verb::Abort).await;
    assert_eq!(ended(engine).await, Outcome::Aborted);
    assert!(begun.elapsed() < Duration::from_secs(900), "{:?}", begun.elapsed());
}
