//! The run lock: an engine that is not sure of it starts nothing, one that lost it touches nothing.

use super::fake::LeaseFault;
use super::*;
use crate::fleet::FenceToken;

/// Another run takes the Lease.
fn taken_by_another(world: &World) {
    let mut state = world.lock();
    state.lease = Some("ben@bastion2/r2".into());
    state.transitions += 1;
}

fn committed(run: &Run) -> usize {
    run.count(|s| s == SwapState::Committed)
}

/// How often the nodes were begun on, and how many verdicts of a commit they carried out.
fn deeds(world: &World) -> (usize, usize) {
    let state = world.lock();
    (state.nodes.values().map(|n| n.begun.len()).sum(), state.nodes.values().map(|n| n.commits).sum())
}

async fn running() -> (Lab, JoinHandle<Result<Outcome, EngineError>>) {
    let world = upgraded_masters();
    let plan = plan(&world, &NODES);
    let lab = Lab::new(world, &plan);
    let engine = lab.engine();
    lab.until("a few commits", |r| committed(r) >= 3).await;
    (lab, engine)
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_renewed_pauses_the_run_before_another_may_have_it() {
    for fault in [LeaseFault::Forbidden, LeaseFault::Hangs] {
        let (lab, engine) = running().await;
        lab.world.lock().lease_fault = Some(fault);
        let since = Instant::now();
        let run = lab.until("a pause", |r| matches!(r.state, RunState::Paused(PauseReason::Trouble))).await;
        assert!(since.elapsed() < Duration::from_secs(59), "{:?}", since.elapsed());
        assert!(run.why.contains("run lock") && run.in_flight().next().is_none(), "{}", run.why);
        sleep(Duration::from_secs(70).saturating_sub(since.elapsed())).await;
        let before = deeds(&lab.world);
        taken_by_another(&lab.world);
        sleep(Duration::from_secs(300)).await;
        assert_eq!(deeds(&lab.world), before);
        assert!(
            lab.fold().why.contains("another may take it") || lab.fold().why.contains("until it is held"),
            "{}",
            lab.fold().why
        );

        // Once the API answers again, it is said who has it; and only an operator makes the run go on, once it is free.
        lab.world.lock().lease_fault = None;
        lab.until("the other's name", |r| r.why.contains("ben@bastion2")).await;
        let refused = command(&lab.run, Verb::Resume, "tester").await.unwrap_err().to_string();
        assert!(refused.contains("ben@bastion2"), "{refused}");
        lab.world.lock().lease = None;
        sleep(Duration::from_secs(120)).await;
        assert_eq!((deeds(&lab.world), lab.world.lock().lease.clone()), (before, None), "nothing by itself");
        lab.command(Verb::Resume).await;
        assert_eq!(ended(engine).await, Outcome::Completed);
        let run = lab.fold();
        assert_eq!(run.count(|s| s == SwapState::Committed), run.swaps.len());
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_shorter_than_the_lease_costs_nothing() {
    for (seconds, pauses) in [(10, 0), (55, 1), (240, 1)] {
        let (lab, engine) = running().await;
        lab.world.lock().lease_fault = Some(LeaseFault::Forbidden);
        sleep(Duration::from_secs(seconds)).await;
        lab.world.lock().lease_fault = None;
        assert_eq!(ended(engine).await, Outcome::Completed, "{seconds} s");
        let run = lab.fold();
        assert_eq!(run.failures(), 0, "{seconds} s: {:#?}", run.failed);
        // It went on by itself: nobody else had the lock.
        let told = run.pauses.iter().filter(|(_, why)| why.contains("run lock")).count();
        assert!(told <= pauses + 1 && (told > 0) == (pauses > 0), "{seconds} s: {:#?}", run.pauses);
    }
    let (lab, engine) = running().await;
    lab.world.lock().lease_fault = Some(LeaseFault::Late(Duration::from_secs(10)));
    assert_eq!(ended(engine).await, Outcome::Completed);
    assert!(lab.fold().pauses.is_empty(), "late answers are answers");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_takes_a_run_up_without_the_lock_only_looks() {
    let (lab, engine) = running().await;
    lab.until("one in flight", |r| r.swaps.iter().any(|s| s.step.is_some() && s.state == SwapState::InFlight)).await;
    engine.abort();
    let _ = engine.await;
    lab.world.lock().api_away = true;
    let before = deeds(&lab.world);
    let engine = lab.engine();
    sleep(Duration::from_secs(200)).await;
    assert_eq!(deeds(&lab.world), before);
    assert!(matches!(lab.fold().state, RunState::Paused(PauseReason::Trouble)), "{:?}", lab.fold().state);
    lab.world.lock().api_away = false;
    // Nodes went back by themselves meanwhile; once the lock is held, it goes on from there.
    let stands = |r: &Run| matches!(r.state, RunState::Paused(PauseReason::Budget) | RunState::Running);
    lab.until("the lock again", |r| stands(r) && matches!(r.lock, LockView::Held(_))).await;
    if lab.fold().state != RunState::Running {
        lab.command(Verb::Resume).await;
    }
    lab.until("more", |r| committed(r) > before.1).await;
    engine.abort();
}

#[tokio::test(start_paused = true)]
async fn a_node_that_has_seen_a_higher_token_is_answered_with_a_higher_one() {
    let world = upgraded_masters();
    let plan = plan(&world, &NODES);
    let lab = Lab::new(world, &plan);
    // As after somebody deleted the Lease.
    lab.world.edit("w03", |n| n.token = Some(FenceToken::new(50)));
    assert_eq!(ended(lab.engine()).await, Outcome::Completed);
    let state = lab.world.lock();
    assert_eq!(state.transitions, 51);
    assert!(state.nodes.values().any(|n| n.refused > 0));
}

#[tokio::test(start_paused = true)]
async fn an_abort_without_the_lock_ends_and_says_what_it_left() {
    let (lab, engine) = running().await;
    taken_by_another(&lab.world);
    lab.until("the loss", |r| matches!(r.state, RunState::Paused(PauseReason::Trouble))).await;
    lab.command(Verb::Abort).await;
    assert_eq!(ended(engine).await, Outcome::Aborted);
    assert_eq!(lab.world.lock().lease.as_deref(), Some("ben@bastion2/r2"), "what is another's is not given back");
    assert!(lab.fold().in_flight().next().is_none());
}

#[tokio::test(start_paused = true)]
async fn credentials_that_end_pause_the_run_although_the_lock_is_held() {
    let (lab, engine) = running().await;
    lab.world.lock().credentials_end = true;
    let run = lab.until("a pause", |r| matches!(r.state, RunState::Paused(PauseReason::Trouble))).await;
    assert!(run.why.contains("credentials refused"), "{}", run.why);
    let before = deeds(&lab.world);
    sleep(Duration::from_secs(300)).await;
    assert_eq!(deeds(&lab.world), before, "nothing by itself, with the lock renewed all the time");
    lab.world.lock().new_credentials = true;
    lab.command(Verb::Resume).await;
    // The swap that could not list its pods is done with the others: nothing failed, and nothing is to be retried.
    assert_eq!(ended(engine).await, Outcome::Completed);
    let run = lab.fold();
    assert_eq!(run.count(|s| s != SwapState::Committed), 0);
    let failed = |r: &Record| matches!(r.event, Event::SwapFailed { .. } | Event::SwapRolledBack { .. });
    assert!(!crate::journal::read(&lab.run.journal()).unwrap().records.iter().any(failed));
}
