//! Gates that do not hold, and pods that are disturbed during a soak.

use super::fake::GateFault;
use super::*;
use crate::fleet::ContainerExit;
use crate::plan::{Gate, OwnGate, Question, WaveKind};

fn own(timeout_s: u64, interval_s: u64) -> OwnGate {
    OwnGate {
        name: "ceph".parse().unwrap(),
        question: Question::Command { argv: vec!["ceph-health".into()], exit: 0 },
        timeout_ms: timeout_s * 1_000,
        interval_ms: interval_s * 1_000,
        limit_ms: 30_000,
    }
}

/// Puts a gate after every wave of workers.
fn after_workers(plan: &mut Plan, gate: &OwnGate) {
    for wave in plan.phases.iter_mut().filter(|p| p.kind.of_workers()).flat_map(|p| &mut p.waves) {
        wave.gates.insert(1, Gate::Own(Box::new(gate.clone())));
    }
}

fn records(lab: &Lab) -> Vec<Record> {
    read(&lab.run.journal()).unwrap().records
}

fn committed(run: &Run) -> usize {
    run.count(|s| s == SwapState::Committed)
}

#[tokio::test(start_paused = true)]
async fn a_gate_of_the_operators_own_is_asked_after_its_waves_and_before_the_run_goes_on() {
    let world = upgraded_masters();
    let mut plan = plan(&world, &NODES);
    after_workers(&mut plan, &own(600, 3_600));
    let lab = Lab::new(world, &plan);
    assert_eq!(ended(lab.engine()).await, Outcome::Completed);
    // A canary and three racks: once when the wave is through, once more when it has soaked and its pods may be proved.
    assert_eq!(lab.world.lock().asked["ceph"], 2 * 4);
    assert!(!records(&lab).iter().any(|r| matches!(&r.event, Event::GateWaiting { gate, .. } if gate == "ceph")));
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_does_not_hold_in_its_time_pauses_and_has_it_anew_after_a_resume() {
    let world = upgraded_masters();
    let mut plan = plan(&world, &NODES);
    after_workers(&mut plan, &own(60, 10));
    let canaries = plan.phases.iter().flat_map(|p| &p.waves).find(|w| w.kind == WaveKind::Canary).unwrap().swaps.len();
    world.lock().gates.insert("ceph".into(), GateFault::Closed("exit 1: HEALTH_WARN"));
    let lab = Lab::new(world, &plan);
    let engine = lab.engine();
    let gate = lab.until("the gate", |r| r.gate.as_ref().is_some_and(|g| g.name == "ceph")).await.gate.unwrap();
    assert_eq!((gate.why.as_str(), gate.limit_ms), ("exit 1: HEALTH_WARN", Some(60_000)));
    let why = "gate ceph did not hold within 1m: exit 1: HEALTH_WARN";
    for pauses in 1..=2 {
        let run = lab.until("a pause", |r| r.pauses.len() == pauses).await;
        assert_eq!((run.state, run.why.as_str()), (RunState::Paused(PauseReason::Gate), why));
        assert_eq!(committed(&run), canaries, "nothing went on");
        lab.command(Verb::Resume).await;
        let gate =
            lab.until("the gate again", |r| r.state == RunState::Running && r.gate.is_some()).await.gate.unwrap();
        assert_eq!(gate.limit_ms, Some(60_000));
    }
    let meanwhile =
        |e: &Event| matches!(e, Event::ProofPending { .. } | Event::PodsProved { .. } | Event::ChurnSeen { .. });
    let waited: Vec<i64> = records(&lab)
        .into_iter()
        .filter(|r| !meanwhile(&r.event))
        .collect::<Vec<_>>()
        .windows(2)
        .filter(|two| matches!(two[1].event, Event::Paused { .. }))
        .map(|two| two[1].at.duration_since(two[0].at).as_secs())
        .collect();
    assert!(waited.iter().all(|s| (60..63).contains(s)), "{waited:?}");
    // Asked every ten seconds, and not every second.
    let asked = lab.world.lock().asked["ceph"];
    assert!((12..=20).contains(&asked), "{asked}");
    lab.world.lock().gates.clear();
    assert_eq!(ended(engine).await, Outcome::Completed);
    assert_eq!(lab.fold().pauses.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_never_answers_holds_up_no_command() {
    let world = upgraded_masters();
    let mut plan = plan(&world, &NODES);
    after_workers(&mut plan, &own(600, 10));
    world.lock().gates.insert("ceph".into(), GateFault::Hangs);
    let lab = Lab::new(world, &plan);
    let engine = lab.engine();
    let gate = lab.until("the gate", |r| r.gate.as_ref().is_some_and(|g| g.name == "ceph")).await.gate.unwrap();
    assert!(gate.why.contains("`ceph-health`"), "{}", gate.why);
    let begun = Instant::now();
    lab.command(Verb::Pause).await;
    lab.until("the pause", |r| matches!(r.state, RunState::Paused(PauseReason::Operator))).await;
    lab.command(Verb::Resume).await;
    lab.until("its own words", |r| r.gate.as_ref().is_some_and(|g| g.why.contains("no answer within 30s"))).await;
    lab.command(Verb::Abort).await;
    assert_eq!(ended(engine).await, Outcome::Aborted);
    assert!(begun.elapsed() < Duration::from_secs(45), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_closes_during_the_soak_begins_it_anew() {
    let world = upgraded_masters();
    let mut plan = plan(&world, &NODES);
    after_workers(&mut plan, &own(600, 2));
    let lab = Lab::new(world, &plan);
    let engine = lab.engine();
    lab.until("the soak", |r| r.gate.as_ref().is_some_and(|g| g.name == "soak")).await;
    lab.world.lock().gates.insert("ceph".into(), GateFault::Closed("exit 1"));
    lab.until("the gate", |r| r.gate.as_ref().is_some_and(|g| g.name == "ceph")).await;
    lab.world.lock().gates.clear();
    let soak = lab.until("the soak again", |r| r.gate.as_ref().is_some_and(|g| g.name == "soak")).await.gate.unwrap();
    assert_eq!(soak.soak_ms, Some(5_000));
    let over = lab.until("its end", |r| r.gate.is_none()).await.now.unwrap();
    assert!(over.duration_since(soak.since).as_millis() >= 5_000);
    assert_eq!(ended(engine).await, Outcome::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_member_of_etcd_that_lags_stops_the_next_until_it_has_caught_up() {
    let world = world();
    let mut plan = plan(&world, &[Component::Etcd]);
    plan.limits.gate_timeout_ms = 60_000;
    world.edit("m2", |n| n.faults.etcd_lag = 5_000);
    let lab = Lab::new(world, &plan);
    let engine = lab.engine();
    let run = lab.until("a pause", |r| matches!(r.state, RunState::Paused(_))).await;
    assert_eq!(run.state, RunState::Paused(PauseReason::Gate));
    assert!(run.why.contains("m2: this etcd member has applied") && run.why.contains("within 1m"), "{}", run.why);
    // Its own swap may go: the others are well. None else.
    let begun: Vec<String> =
        lab.begun().into_iter().filter(|(_, n)| *n > 0).map(|(name, _)| name.to_string()).collect();
    assert!(begun.iter().all(|name| name == "m2"), "{begun:?}");
    // One that catches up while it is looked at is not held against the run: Kubernetes never stops writing.
    lab.world.edit("m2", |n| n.faults.etcd_lag = 3);
    lab.command(Verb::Resume).await;
    assert_eq!(ended(engine).await, Outcome::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_gate_of_the_clusters_own_does_not_wait_for_ever() {
    let world = upgraded_masters();
    let mut plan = plan(&world, &NODES);
    (plan.limits.gate_timeout_ms, plan.budget.not_ready_nodes) = (120_000, 9);
    let lab = Lab::new(world, &plan);
    let engine = lab.engine();
    lab.until("workers", |r| r.swaps.iter().any(|s| s.node.as_str().starts_with('w') && s.state.open())).await;
    lab.world.lock().not_ready.insert("w11".parse().unwrap());
    let run = lab.until("a pause", |r| matches!(r.state, RunState::Paused(_))).await;
    assert_eq!(run.state, RunState::Paused(PauseReason::Gate));
    assert_eq!(run.why, "gate nodes ready did not hold within 2m: NotReady: w11");
    lab.world.lock().not_ready.clear();
    lab.command(Verb::Resume).await;
    assert_eq!(ended(engine).await, Outcome::Completed);
}

/// A run in the soak after its canary, and a canary.
async fn soaking(lab: &Lab) -> NodeName {
    let run = lab.until("the soak", |r| r.gate.as_ref().is_some_and(|g| g.name == "soak")).await;
    let canary = run.plan.phases.iter().flat_map(|p| &p.waves).find(|w| w.kind == WaveKind::Canary).unwrap();
    canary.swaps[0].node.clone()
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_disturbed_during_the_soak_stops_the_run_whoever_carries_it_on() {
    for killed in [false, true] {
        let world = upgraded_masters();
        let plan = plan(&world, &NODES);
        let lab = Lab::new(world, &plan);
        let mut engine = lab.engine();
        let canary = soaking(&lab).await;
        lab.world.edit(canary.as_str(), |n| n.pods[2].containers[0].restarts += 1);
        if killed {
            engine.abort();
            let _ = (&mut engine).await;
            engine = lab.engine();
        }
        let run = lab.until("a pause", |r| matches!(r.state, RunState::Paused(_))).await;
        assert_eq!(run.state, RunState::Paused(PauseReason::Budget));
        assert!(run.why.contains("disturbed") && run.why.contains(canary.as_str()), "{}", run.why);
        let pods = report(&run, Chain::Ok).pods;
        assert_eq!((pods.disturbed, pods.checked), (1, pods.undisturbed + pods.unproved + 1));
        // It is new, and stays so: the pod was disturbed afterwards.
        assert_eq!(run.swaps_of(&canary).next().unwrap().state, SwapState::Committed);
        lab.command(Verb::Resume).await;
        assert_eq!(ended(engine).await, Outcome::Completed);
        let run = lab.fold();
        assert_eq!((run.pods.disturbed.len(), run.pauses.len()), (1, 1), "it is told once");
    }
}

#[tokio::test(start_paused = true)]
async fn pods_that_come_and_go_during_a_soak_are_not_our_doing() {
    let world = upgraded_masters();
    let plan = plan(&world, &[Component::KubeProxy]);
    world.lock().nodes.values_mut().for_each(|n| n.pods[1].ready = false);
    let lab = Lab::new(world, &plan);
    let engine = lab.engine();
    let canary = soaking(&lab).await;
    lab.world.edit(canary.as_str(), |n| {
        // A controller replaced one, a job came to its end, and one that was not Ready restarts again and again.
        n.pods[0].uid = "another".into();
        let crash = ContainerExit { code: 1, reason: "Error".into(), started_at: None, finished_at: None };
        let container = &mut n.pods[1].containers[0];
        (container.restarts, container.last_exit) = (container.restarts + 1, Some(crash));
        container.waiting = "CrashLoopBackOff".into();
        n.pods[2].ended = true;
    });
    assert_eq!(ended(engine).await, Outcome::Completed);
    let run = lab.fold();
    assert_eq!((run.pods.disturbed.len(), run.pods.changed.len()), (0, 3));
    assert_eq!(run.pods.checked, run.pods.undisturbed + 3);
}

#[tokio::test(start_paused = true)]
async fn pods_that_cannot_be_compared_after_the_soak_are_waited_for() {
    let lab = Lab::of_nodes();
    let engine = lab.engine();
    let canary = soaking(&lab).await;
    lab.world.lock().pods_hidden = true;
    let gate = lab.until("the wait", |r| r.gate.as_ref().is_some_and(|g| g.limit_ms.is_some())).await.gate.unwrap();
    assert!(gate.name == "pods proved" && gate.why.contains("cannot be compared"), "{gate:?}");
    assert!(gate.limit_ms.is_some_and(|ms| ms > 1_800_000), "{gate:?}");
    lab.world.edit(canary.as_str(), |n| n.pods[3].ready = false);
    lab.world.lock().pods_hidden = false;
    let run = lab.until("a pause", |r| matches!(r.state, RunState::Paused(_))).await;
    assert!(run.why.contains("disturbed"), "{}", run.why);
    engine.abort();
}
