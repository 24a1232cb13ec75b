//! The engine over a cluster in memory, in tokio's paused time: whole runs in milliseconds.

mod drift;
mod fake;
mod fence;
mod gates;
mod journal_file;
mod leave;
mod proof;
mod sealed;
mod snapshot;
mod verbs;
mod word;

use super::*;
use crate::fleet::{Component, NodeName};
use crate::journal::*;
use crate::plan::{Budget, Bump, Limits, Plan, Settings, Stage, make};
use fake::{ETCD_NEW, NEW, World, upgraded_masters, world};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// A node of the small cluster.
pub(super) fn a_node() -> crate::fleet::Node {
    world().cluster().nodes.into_values().next().unwrap()
}

struct Lab {
    dir: tempfile::TempDir,
    world: World,
    run: RunDir,
}

fn plan(world: &World, components: &[Component]) -> Plan {
    let bumps = components
        .iter()
        .map(|c| Bump { component: *c, to: if *c == Component::Etcd { ETCD_NEW } else { NEW }.parse().unwrap() });
    let stage = Stage {
        release: None,
        bumps: bumps.collect(),
        scope: Default::default(),
        limits: Limits {
            canary: 2,
            max_parallel: 4,
            max_unavailable: 2,
            soak_ms: 5_000,
            max_pulls: 4,
            ..Limits::default()
        },
        budget: Budget { failed_swaps: 1, not_ready_nodes: 1, disturbed_pods: 0 },
        way: Vec::new(),
        ..Stage::default()
    };
    make(&world.cluster(), &stage, &Settings::default(), Timestamp::UNIX_EPOCH)
}

const ALL: [Component; 6] = [
    Component::Etcd,
    Component::KubeApiserver,
    Component::KubeControllerManager,
    Component::KubeScheduler,
    Component::Kubelet,
    Component::KubeProxy,
];
const NODES: [Component; 2] = [Component::Kubelet, Component::KubeProxy];

impl Lab {
    fn new(world: World, plan: &Plan) -> Lab {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::make(dir.path(), plan, "name = \"test0\"").unwrap();
        Lab { dir, world, run }
    }

    /// A run that upgrades kubelet and kube-proxy of every node, with nothing wrong anywhere.
    fn of_nodes() -> Lab {
        let world = upgraded_masters();
        let plan = plan(&world, &NODES);
        Lab::new(world, &plan)
    }

    /// An engine as a task of its own; aborting it is what a crash is.
    fn engine(&self) -> JoinHandle<Result<Outcome, EngineError>> {
        let zero = self.world.lock().zero;
        let clock: Clock = Arc::new(move || {
            Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_millis(zero.elapsed().as_millis() as i64)
        });
        tokio::spawn(carry_out(self.run.clone(), self.world.ports(), clock))
    }

    fn fold(&self) -> Run {
        let (plan, hash) = self.run.plan().unwrap();
        let mut run = Run::new(Arc::new(plan));
        let Ok(journal) = read_for(&self.run.journal(), &hash) else { return run };
        assert_eq!(journal.chain, Chain::Ok);
        journal.records.iter().for_each(|r| run.apply(r));
        run
    }

    async fn until(&self, what: &str, holds: impl Fn(&Run) -> bool) -> Run {
        let mut follower = Follower::open(&self.run.journal());
        let mut run = Run::new(Arc::new(self.run.plan().unwrap().0));
        let wait = async {
            loop {
                while let Some(record) = follower.try_next() {
                    run.apply(&record);
                }
                if holds(&run) {
                    return run;
                }
                sleep(Duration::from_millis(100)).await;
            }
        };
        match timeout(Duration::from_secs(4_000), wait).await {
            Ok(run) => run,
            Err(_) => panic!("never: {what}; {:#?}", self.fold().log),
        }
    }

    async fn command(&self, verb: Verb) {
        command(&self.run, verb, "tester").await.unwrap();
    }

    fn begun(&self) -> BTreeMap<NodeName, usize> {
        self.world.lock().nodes.iter().map(|(name, n)| (name.clone(), n.begun.len())).collect()
    }

    /// Whether every node is all of one image; nothing left over.
    fn whole(&self, name: &str, tag: &str) {
        for (container, image, running) in self.world.boxes(name) {
            assert!(running && !container.contains(".sonoba-"), "{name}: {container} {image} {running}");
            if container == "kubelet" || container == "kube-proxy" {
                assert_eq!(image, tag, "{name}: {container}");
            }
        }
    }
}

async fn ended(engine: JoinHandle<Result<Outcome, EngineError>>) -> Outcome {
    timeout(Duration::from_secs(36_000), engine).await.expect("the engine ends").unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_whole_cluster_goes_from_old_to_new_undisturbed() {
    let world = world();
    let plan = plan(&world, &ALL);
    assert!(!plan.refused(), "{:?}", plan.findings);
    let lab = Lab::new(world, &plan);
    assert_eq!(ended(lab.engine()).await, Outcome::Completed);
    let run = lab.fold();
    let report = report(&run, Chain::Ok);
    assert_eq!(report.outcome, "completed");
    assert_eq!((report.nodes.total, report.nodes.new), (15, 15));
    assert_eq!(report.swaps.committed, plan.swaps().count());
    assert_eq!((report.pods.disturbed, report.pods.checked), (0, report.pods.undisturbed));
    assert_eq!(report.pods.checked, 4 * plan.swaps().count());
    // Stopped for 200 ms, refusing for 700 ms more; asked every 100 ms.
    let down = report.downtime_ms[&Component::Kubelet];
    assert!((700..1_500).contains(&down.p50), "{down:?}");
    for name in run.plan.cluster.nodes.keys() {
        lab.whole(name.as_str(), "1.36.2.1");
    }
    let state = lab.world.lock();
    assert_eq!(state.most_masters, 1);
    assert!(state.most <= 4 && state.most_in_rack.values().all(|n| *n <= 2), "{:?}", state.most_in_rack);
    assert!(state.most_in_rack.values().any(|n| *n == 2), "nothing ran at once");
    assert!(state.nodes.values().all(|n| n.txs.is_empty()), "transactions are forgotten");
    assert_eq!(state.lease, None);
    // Each API server left the Endpoints and came back, one after the other.
    let serve: Vec<bool> = state.endpoints.iter().map(|(_, s)| *s).collect();
    assert_eq!(serve, [false, true, false, true, false, true]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_never_gets_healthy_is_back_by_itself_and_the_run_pauses() {
    let world = upgraded_masters();
    let plan = plan(&world, &NODES);
    world.edit("w05", |n| {
        n.faults.never_healthy.insert(Component::Kubelet);
    });
    let lab = Lab::new(world, &plan);
    let engine = lab.engine();
    let run = lab.until("a pause", |r| matches!(r.state, RunState::Paused(_))).await;
    assert_eq!(run.state, RunState::Paused(PauseReason::Budget));
    assert!(run.why.contains("w05") && run.why.contains("kubelet"), "{}", run.why);
    assert_eq!(run.in_flight().count(), 0);
    lab.whole("w05", "1.35.6.1");
    let before = run.count(|s| s == SwapState::Committed);
    sleep(Duration::from_secs(600)).await;
    assert_eq!(lab.fold().count(|s| s == SwapState::Committed), before, "nothing starts in a pause");
    lab.command(Verb::Resume).await;
    assert_eq!(ended(engine).await, Outcome::Failed);
    let report = report(&lab.fold(), Chain::Ok);
    assert_eq!((report.nodes.new, report.nodes.old, report.swaps.rolled_back), (14, 1, 1));
    assert_eq!(lab.begun()[&"w05".parse().unwrap()], 1, "a worker that rolled back is not tried again");
}

#[tokio::test(start_paused = true)]
async fn a_master_that_rolls_back_stops_the_run_and_is_tried_again_on_resume() {
    let world = world();
    let plan = plan(&world, &ALL);
    world.edit("m2", |n| {
        n.faults.never_healthy.insert(Component::KubeApiserver);
    });
    let lab = Lab::new(world, &plan);
    let engine = lab.engine();
    let run = lab.until("a pause", |r| matches!(r.state, RunState::Paused(_))).await;
    assert!(run.why.contains("m2") && run.why.contains("rests upon"), "{}", run.why);
    // No kubelet is newer than the API server that stayed behind.
    for (name, image, _) in lab.world.boxes("w00") {
        assert!(name != "kubelet" || image == "1.35.6.1");
    }
    lab.world.edit("m2", |n| n.faults.never_healthy.clear());
    lab.command(Verb::Resume).await;
    assert_eq!(ended(engine).await, Outcome::Completed);
    let address = lab.world.lock().nodes[&"m2".parse().unwrap()].node.address.clone();
    let serve: Vec<bool> = lab.world.lock().endpoints.iter().filter(|e| e.0 == address).map(|e| e.1).collect();
    assert_eq!(serve, [false, true, false, true]);
}

#[tokio::test(start_paused = true)]
async fn pause_lets_what_is_in_flight_finish_and_resume_goes_on() {
    let lab = Lab::of_nodes();
    let engine = lab.engine();
    lab.until("swaps in flight", |r| r.in_flight().count() > 1).await;
    lab.command(Verb::Pause).await;
    lab.command(Verb::Pause).await;
    let run = lab.until("the pause", |r| matches!(r.state, RunState::Paused(PauseReason::Operator))).await;
    assert_eq!(run.in_flight().count(), 0);
    assert!(run.count(|s| s == SwapState::Committed) > 1);
    assert!(run.count(|s| s == SwapState::Waiting) > 1);
    assert!(run.why.contains("tester"), "{}", run.why);
    lab.command(Verb::Resume).await;
    assert_eq!(ended(engine).await, Outcome::Completed);
    assert_eq!(lab.fold().pauses.len(), 1);
    assert!(lab.begun().values().all(|n| *n == 1));
}

#[tokio::test(start_paused = true)]
async fn abort_rolls_back_what_is_not_committed_and_ends() {
    let lab = Lab::of_nodes();
    let engine = lab.engine();
    lab.until("workers in flight", |r| r.in_flight().filter(|s| s.node.as_str().starts_with('w')).count() > 1).await;
    lab.command(Verb::Abort).await;
    assert_eq!(ended(engine).await, Outcome::Aborted);
    let run = lab.fold();
    assert!(run.count(|s| s == SwapState::RolledBack) > 0);
    assert_eq!(run.in_flight().count(), 0);
    assert!(run.why.starts_with("as seen at ") && run.why.contains("the old version runs on w"), "{}", run.why);
    assert!(!run.why.contains("the new version runs on m"), "their kubelets are old still: {}", run.why);
    for view in &run.swaps {
        let tag = if view.state == SwapState::Committed { "1.36.2.1" } else { "1.35.6.1" };
        lab.whole(view.node.as_str(), tag);
    }
    // A run that has ended stays so.
    assert!(matches!(lab.engine().await.unwrap(), Err(EngineError::Ended(_))));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_after_begin_comes_back_to_a_node_that_is_old_or_new() {
    let world = upgraded_masters();
    let mut plan = plan(&world, &NODES);
    plan.budget.failed_swaps = 9;
    // Back before the deadline, and long after it.
    world.edit("w03", |n| n.faults.cut_at_begin = Some(Duration::from_secs(3)));
    world.edit("w04", |n| n.faults.cut_at_begin = Some(Duration::from_secs(90)));
    world.edit("w05", |n| n.faults.begin_unanswered = true);
    let lab = Lab::new(world, &plan);
    assert_eq!(ended(lab.engine()).await, Outcome::Failed);
    lab.whole("w03", "1.36.2.1");
    lab.whole("w04", "1.35.6.1");
    lab.whole("w05", "1.36.2.1");
    let run = lab.fold();
    let rolled: Vec<&str> =
        run.swaps.iter().filter(|s| s.state != SwapState::Committed).map(|s| s.node.as_str()).collect();
    assert_eq!(rolled, ["w04"]);
    assert!(lab.begun().values().all(|n| *n == 1), "{:?}", lab.begun());
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_dies_is_taken_over_and_the_node_is_old_again() {
    let world = upgraded_masters();
    let plan = plan(&world, &NODES);
    world.edit("w07", |n| n.faults.runner_dies = true);
    let lab = Lab::new(world, &plan);
    let engine = lab.engine();
    let run = lab.until("a pause", |r| matches!(r.state, RunState::Paused(_))).await;
    assert!(run.why.contains("runner was gone"), "{}", run.why);
    lab.whole("w07", "1.35.6.1");
    engine.abort();
}

/// The swap fails, and not as one that left the node as it was; the journal has the node's own words.
async fn needs_a_person(lab: &Lab, node: &str, words: &str) -> JoinHandle<Result<Outcome, EngineError>> {
    let engine = lab.engine();
    let run = lab.until("a pause", |r| matches!(r.state, RunState::Paused(_))).await;
    assert!(run.why.contains(words), "{}", run.why);
    let (plan, hash) = lab.run.plan().unwrap();
    let swap = plan.swaps().find(|(_, _, s)| s.node.as_str() == node).unwrap().2.id.clone();
    let journal = read_for(&lab.run.journal(), &hash).unwrap();
    let failed = journal.records.iter().find_map(|r| match &r.event {
        Event::SwapFailed { swap: s, why, untouched, .. } if *s == swap => Some((why.clone(), *untouched)),
        _ => None,
    });
    let (why, untouched) = failed.expect("the swap failed");
    assert!(!untouched && why.contains(words), "{why}");
    engine
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_dies_again_and_again_is_given_up() {
    let world = upgraded_masters();
    let plan = plan(&world, &NODES);
    world.edit("w07", |n| (n.faults.runner_dies, n.faults.recovery_dies) = (true, true));
    let lab = Lab::new(world, &plan);
    needs_a_person(&lab, "w07", "did not come to its end").await.abort();
}

#[tokio::test(start_paused = true)]
async fn a_node_that_cannot_go_back_is_a_failed_swap() {
    let world = upgraded_masters();
    let plan = plan(&world, &NODES);
    let kubelet = [Component::Kubelet].into();
    world.edit("w07", |n| (n.faults.old_vanishes, n.faults.never_healthy) = (true, kubelet));
    let lab = Lab::new(world, &plan);
    let engine = needs_a_person(&lab, "w07", "the old container of kubelet is gone").await;
    let holds = || lab.world.lock().nodes[&"w07".parse::<NodeName>().unwrap()].txs.len();
    let forgotten = async {
        while holds() > 0 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(60), forgotten).await.expect("its containers are held no more");
    engine.abort();
}

#[tokio::test(start_paused = true)]
async fn a_disturbed_pod_stops_the_run_and_rolls_the_node_back_unless_a_kubelet_would_disturb_it_again() {
    for (components, kept) in [(&[Component::KubeProxy][..], false), (&NODES[..], true)] {
        let world = upgraded_masters();
        let plan = plan(&world, components);
        let canary = plan.swaps().find(|(_, _, s)| s.node.as_str().starts_with('w')).unwrap().2.node.clone();
        world.edit(canary.as_str(), |n| n.faults.disturbs_a_pod = true);
        let lab = Lab::new(world, &plan);
        let engine = lab.engine();
        let run = lab.until("a pause", |r| matches!(r.state, RunState::Paused(_))).await;
        assert_eq!(run.pods.disturbed.len(), 1);
        let state = if kept { SwapState::Committed } else { SwapState::RolledBack };
        assert_eq!(run.swaps_of(&canary).next().unwrap().state, state);
        let pods = report(&run, Chain::Ok).pods;
        assert_eq!(pods.checked, pods.undisturbed + pods.unproved + 1);
        assert!(run.why.contains("disturbed"), "{}", run.why);
        for (name, image, running) in lab.world.boxes(canary.as_str()) {
            let moved = components.iter().any(|c| c.as_str() == name);
            assert!(running && (!moved || (image == "1.36.2.1") == kept), "{name} {image}");
        }
        assert!(run.count(|s| s == SwapState::Waiting) > 0);
        engine.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_dies_at_any_moment_is_carried_on_and_each_node_moves_once() {
    // One run, undisturbed, tells how long it takes; then it is cut at many points of that time.
    for cut in 0..40 {
        let world = upgraded_masters();
        let mut plan = plan(&world, &NODES);
        plan.budget.failed_swaps = 99;
        let lab = Lab::new(world, &plan);
        let engine = lab.engine();
        sleep(Duration::from_millis(9_000 + cut * 613)).await;
        engine.abort();
        let _ = engine.await;
        if cut % 3 == 0 {
            // Long enough for every dead-man's switch.
            sleep(Duration::from_secs(120)).await;
        }
        let outcome = ended(lab.engine()).await;
        let run = lab.fold();
        for view in &run.swaps {
            let tag = if view.state == SwapState::Committed { "1.36.2.1" } else { "1.35.6.1" };
            lab.whole(view.node.as_str(), tag);
        }
        let state = lab.world.lock();
        assert!(state.nodes.values().all(|n| n.commits <= 1), "cut {cut}");
        assert!(state.most_masters <= 1 && state.most_in_rack.values().all(|n| *n <= 2), "cut {cut}");
        // An engine that dies between a result and its forgetting leaves a folder behind, but never an open one.
        assert!(state.nodes.values().flat_map(|n| n.txs.values()).all(|t| t.end.is_some()), "cut {cut}");
        drop(state);
        let rolled = run.count(|s| s == SwapState::RolledBack);
        assert_eq!(outcome == Outcome::Completed, rolled == 0, "cut {cut}: {outcome:?}");
        assert!(cut % 3 == 0 || rolled == 0, "cut {cut}: {rolled} rolled back although the next engine came at once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_engine_is_told_who_is_at_work() {
    let world = upgraded_masters();
    let plan = plan(&world, &NODES);
    let lab = Lab::new(world, &plan);
    let engine = lab.engine();
    lab.until("a run", |r| r.state == RunState::Running).await;
    assert_eq!(ping(&lab.run).await.unwrap(), std::process::id());
    let Err(EngineError::Locked(why)) = lab.engine().await.unwrap() else { panic!("not refused") };
    assert!(why.contains(lab.run.id().as_str()), "{why}");
    // Another run on the same cluster, and one from another machine.
    let other = RunDir::make(lab.dir.path(), &plan, "").unwrap();
    let other = Lab { dir: tempfile::tempdir().unwrap(), world: lab.world.clone(), run: other };
    assert!(matches!(other.engine().await.unwrap(), Err(EngineError::Locked(_))));
    let elsewhere = Lab::new(lab.world.clone(), &plan);
    let Err(EngineError::Locked(why)) = elsewhere.engine().await.unwrap() else { panic!("not refused") };
    assert!(why.contains("Lease"), "{why}");
    engine.abort();
}

async fn ended_badly(engine: JoinHandle<Result<Outcome, EngineError>>) -> String {
    timeout(Duration::from_secs(36_000), engine).await.expect("the engine ends").unwrap().unwrap_err().to_string()
}

#[tokio::test(start_paused = true)]
async fn a_lost_node_pauses_and_a_broken_rack_starts_nothing() {
    let lab = Lab::of_nodes();
    let engine = lab.engine();
    lab.until("workers", |r| r.swaps.iter().any(|s| s.node.as_str().starts_with('w') && s.state.open())).await;
    lab.world.lock().not_ready.extend(["w09".parse().unwrap(), "w06".parse().unwrap()]);
    let run = lab.until("a pause", |r| matches!(r.state, RunState::Paused(_))).await;
    assert!(run.why.contains("NotReady"), "{}", run.why);
    lab.command(Verb::Resume).await;
    // Both are in rack0, which may have two unavailable: the gate after the canary waits for them.
    let run = lab.until("a gate", |r| r.gate.is_some()).await;
    assert!(run.gate.unwrap().why.contains("w"), "the gate says for whom it waits");
    lab.world.lock().not_ready.clear();
    assert_eq!(ended(engine).await, Outcome::Completed);
}

#[tokio::test(start_paused = true)]
async fn the_leader_of_etcd_goes_last_even_when_it_changed() {
    let world = world();
    let plan = plan(&world, &[Component::Etcd]);
    world.lock().etcd_leader = Some("m0".parse().unwrap());
    let lab = Lab::new(world, &plan);
    assert_eq!(ended(lab.engine()).await, Outcome::Completed);
    let journal = read(&lab.run.journal()).unwrap();
    let order: Vec<String> = journal
        .records
        .iter()
        .filter_map(|r| if let Event::SwapIntended { node, .. } = &r.event { Some(node.to_string()) } else { None })
        .collect();
    assert_eq!(order.last().map(String::as_str), Some("m0"), "{order:?}");
    assert_eq!(order.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_odd_plan_never_has_two_masters_in_between() {
    let world = world();
    let mut plan = plan(&world, &[Component::KubeApiserver]);
    // All masters in one wave, as many at once as there are.
    let phase = plan.phases.iter_mut().find(|p| !p.waves.is_empty()).unwrap();
    let swaps = phase.waves.iter_mut().flat_map(|w| std::mem::take(&mut w.swaps)).collect();
    phase.waves.truncate(1);
    phase.waves[0].swaps = swaps;
    phase.waves[0].max_parallel = 9;
    let lab = Lab::new(world, &plan);
    assert_eq!(ended(lab.engine()).await, Outcome::Completed);
    assert_eq!(lab.world.lock().most_masters, 1);
    assert_eq!(lab.fold().count(|s| s == SwapState::Committed), 3);
}

#[tokio::test(start_paused = true)]
async fn an_image_that_cannot_be_pulled_pauses_before_anything_restarts() {
    let world = upgraded_masters();
    let plan = plan(&world, &NODES);
    world.edit("w01", |n| n.faults.unpullable = true);
    let lab = Lab::new(world, &plan);
    let engine = lab.engine();
    let run = lab.until("a pause", |r| matches!(r.state, RunState::Paused(_))).await;
    assert!(run.why.contains("w01") && run.why.contains("manifest unknown"), "{}", run.why);
    assert!(lab.begun().values().all(|n| *n == 0));
    lab.command(Verb::Abort).await;
    assert_eq!(ended(engine).await, Outcome::Aborted);
}

#[tokio::test(start_paused = true)]
async fn a_run_deep_in_the_file_system_can_still_be_commanded_and_hears_no_nonsense() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let world = upgraded_masters();
    let plan = plan(&world, &NODES);
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::make(&dir.path().join("deep".repeat(40)), &plan, "").unwrap();
    let lab = Lab { dir, world, run };
    let engine = lab.engine();
    lab.until("a run", |r| r.state == RunState::Running).await;
    for nonsense in ["{\"verb\":\"destroy\"}\n", "\n", "[]\n", "{\"verb\":\"abort\",\"x\":1}\n"] {
        let mut stream = tokio::net::UnixStream::connect(lab.run.socket_path()).await.unwrap();
        stream.write_all(nonsense.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("\"ok\":false"), "{nonsense:?}: {answer}");
    }
    assert_eq!(lab.fold().state, RunState::Running);
    lab.command(Verb::Abort).await;
    assert_eq!(ended(engine).await, Outcome::Aborted);
    let socket = lab.run.socket_path();
    assert!(!socket.exists(), "the socket goes with the engine");
    assert!(matches!(ping(&lab.run).await, Err(EngineError::NoEngine { .. })));
    std::fs::remove_dir(socket.parent().unwrap()).unwrap();
}

/// In real time: a silent peer may keep its place for seconds.
#[tokio::test]
async fn neither_silent_peers_nor_a_flood_of_commands_lock_the_operator_out() {
    let lab = Lab::of_nodes();
    let engine = lab.engine();
    lab.until("a run", |r| r.state == RunState::Running).await;
    let mut silent = Vec::new();
    for _ in 0..48 {
        silent.push(tokio::net::UnixStream::connect(lab.run.socket_path()).await.unwrap());
    }
    assert_eq!(ping(&lab.run).await.unwrap(), std::process::id());
    let mut refused = 0;
    for _ in 0..200 {
        match command(&lab.run, Verb::Pause, "tester\u{1b}[2J").await {
            Ok(_) => {}
            Err(EngineError::Refused(why)) if why.contains("too many commands") => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused > 50, "{refused}");
    assert_eq!(ping(&lab.run).await.unwrap(), std::process::id(), "a question is no command");
    let journal = std::fs::read_to_string(lab.run.journal()).unwrap();
    let uid = rustix::process::geteuid().as_raw();
    assert!(journal.contains(&format!("\"by\":\"tester[2J (uid {uid})\"")), "{journal}");
    engine.abort();
}

#[test]
fn runs_are_found_by_word_id_and_folder() {
    let world = upgraded_masters();
    let plan = plan(&world, &NODES);
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(RunDir::find(dir.path(), "latest"), Err(EngineError::NoRun(_))));
    let first = RunDir::make(dir.path(), &plan, "").unwrap();
    let second = RunDir::make(dir.path(), &plan, "").unwrap();
    assert_eq!(RunDir::find(dir.path(), "latest").unwrap().id(), second.id());
    assert_eq!(RunDir::find(dir.path(), first.id().as_str()).unwrap().about(), first.about());
    assert_eq!(RunDir::find(dir.path(), first.path().to_str().unwrap()).unwrap().id(), first.id());
    for none in ["20200101-000000-0000", "../..", "/nowhere", ""] {
        assert!(RunDir::find(dir.path(), none).is_err(), "{none}");
    }
    assert_eq!(RunDir::list(dir.path()).unwrap().len(), 2);
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(first.path()), mode(&first.path().join("plan.json"))), (0o700, 0o600));
    std::fs::set_permissions(first.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(RunDir::open(first.path()).is_err(), "others could have changed it");
    // It is hidden from nobody; what is no run's folder is.
    std::fs::create_dir(dir.path().join("runs/other")).unwrap();
    let (runs, refused) = RunDir::survey(dir.path()).unwrap();
    assert_eq!(runs.iter().map(RunDir::id).collect::<Vec<_>>(), [second.id()]);
    let [refused] = refused.try_into().unwrap();
    assert_eq!(refused.path, first.path());
    assert!(refused.why.to_string().contains("chmod go-w"), "{}", refused.why);
    // One that never began can be taken away, one that did cannot.
    second.abandon();
    assert!(!second.path().exists());
    let third = RunDir::make(dir.path(), &plan, "").unwrap();
    third.mark_begun().unwrap();
    third.abandon();
    assert!(third.path().exists());
}
