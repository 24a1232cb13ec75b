//! A run under way: its states, its gates, and what it waits for.

use super::*;

#[test]
fn run() {
    at_each_size("run", midway);
}

#[test]
fn run_prefetching() {
    at_each_size("run-prefetch", |size| {
        let mut story = Story::new();
        story.tell(Event::PhaseBegun { phase: 0 });
        for (i, pull) in story.plan.clone().phases[0].pulls.iter().take(5).enumerate() {
            let (node, image) = (pull.node.clone(), pull.images[0].clone());
            story.tell(Event::PullBegun { node: node.clone(), image: image.clone() });
            story.tell(Event::PullProgress { node, image, done: (i as u64 + 1) * 30_000_000, total: 190_000_000 });
        }
        story.wait(9_000);
        fixtures::running(size, Options::default(), story)
    });
}

#[test]
fn run_soaking() {
    at_each_size("run-soak", |size| {
        let mut story = Story::new();
        story.prefetch();
        story.through(6, 1);
        let why = "watching the wave".to_owned();
        story.tell(Event::GateWaiting { gate: "soak".into(), why, ms: Some(60_000), limit_ms: None });
        story.wait(20_000);
        fixtures::running(size, Options { read_only: true, ..Options::default() }, story)
    });
}

fn at_a_gate() -> Story {
    let mut story = Story::new();
    story.prefetch();
    story.through(6, 1);
    let waiting =
        |why: &str| Event::GateWaiting { gate: "ceph".into(), why: why.into(), ms: None, limit_ms: Some(600_000) };
    story.tell(waiting("it is asked for the first time: `ceph-health --quiet --cluster rook-ceph-hdd`"));
    story.wait(2_000);
    story.tell(waiting(
        "exit 1: HEALTH_WARN 1 osds down; Degraded data redundancy: 812/9 objects degraded, 37 pgs degraded",
    ));
    story
}

#[test]
fn run_at_a_gate() {
    at_each_size("run-gate", |size| {
        let mut story = at_a_gate();
        story.wait(43_000);
        fixtures::running(size, Options::default(), story)
    });
}

#[test]
fn run_paused_by_a_gate() {
    at_each_size("run-gate-paused", |size| {
        let mut story = at_a_gate();
        story.wait(598_000);
        let why = "gate ceph did not hold within 10m: exit 1: HEALTH_WARN 1 osds down; Degraded data redundancy: 812/9 \
                   objects degraded, 37 pgs degraded";
        story.tell(Event::Paused { reason: PauseReason::Gate, why: why.into() });
        story.wait(60_000);
        fixtures::running(size, Options::default(), story)
    });
}

#[test]
fn run_paused_by_a_budget() {
    at_each_size("run-paused", paused);
}

/// A canary whose pods are within their grace period, and that something else changed meanwhile.
fn proving() -> Story {
    let mut story = Story::new();
    story.prefetch();
    story.through(6, 0);
    story.tell(Event::PhaseBegun { phase: 6 });
    story.tell(Event::WaveBegun { phase: 6, wave: 0 });
    for i in 0..3 {
        let swap = story.swap(6, 0, i);
        let (id, node) = (swap.id.clone(), swap.node.clone());
        let pods = vec![Disturbance {
            pod: "web/frontend-55c4f646c-nbh4q".into(),
            kind: DisturbanceKind::Gone,
            cause: Cause::Others,
            because: "rollout: ReplicaSet frontend-55c4f646c deleted it at 22:00:41".into(),
        }];
        story.commit_unproved(&swap, 320_000);
        if i == 1 {
            story.tell(Event::PodsChanged { swap: id, node, pods });
        }
        story.wait(900);
    }
    let why = "pods of canary can be proved at 22:06:10, once their grace periods are over".into();
    story.tell(Event::GateWaiting { gate: "pods proved".into(), why, ms: Some(318_000), limit_ms: None });
    story.wait(41_000);
    story
}

#[test]
fn run_whose_pods_are_not_proved_yet() {
    at_each_size("run-proving", |size| fixtures::running(size, Options::default(), proving()));
}

/// A component of a committed node is not what was committed, and an API server is out of the Endpoints.
fn drifted(size: (u16, u16)) -> App {
    let mut story = Story::midway();
    let swap = story.swap(6, 1, 2);
    let why = "rivers runs 1.34.0 again; made anew at 22:01:07".to_owned();
    story.tell(Event::ComponentDrifted { swap: swap.id, node: swap.node.clone(), component: Component::Rivers, why });
    let (node, address) = (fixtures::name("rack1-boot"), "10.69.1.3".to_owned());
    story.tell(Event::EndpointLeaving { node, address });
    for i in 1..=5 {
        let swap = story.swap(6, 3, i);
        story.commit_with(&swap, 0);
    }
    let why = format!("{}: rivers runs 1.34.0 again; made anew at 22:01:07", swap.node);
    story.tell(Event::Paused { reason: PauseReason::Drift, why });
    fixtures::running(size, Options::default(), story)
}

#[test]
fn run_paused_by_a_drift() {
    at_each_size("run-drifted", drifted);
}

/// Skipping it is a decision, and changes nothing of what runs there.
#[test]
fn a_node_that_drifted_and_was_skipped_is_marked_as_failed() {
    use crate::tui::lens::{Mark, Target, component_mark, node_mark};
    let mut story = Story::midway();
    let swap = story.swap(6, 1, 2);
    let (node, why) = (swap.node.clone(), "rivers was stopped: it does not run any more".to_owned());
    story.tell(Event::ComponentDrifted { swap: swap.id, node: node.clone(), component: Component::Rivers, why });
    let verb = Verb::Skip { nodes: vec![node.clone()], why: "known".into() };
    story.tell(Event::Command { verb, by: "ann".into() });
    let app = fixtures::running((120, 36), Options::default(), story);
    let (cluster, target) = (fixtures::cluster(), Target::of(&app));
    assert_eq!(node_mark(&cluster.nodes[&node], app.run.as_ref(), &target), Mark::Failed);
    let rivers = component_mark(&cluster.nodes[&node], Component::Rivers, app.run.as_ref(), &target);
    assert_eq!(rivers.map(|(mark, _)| mark), Some(Mark::Failed));
}

#[test]
fn run_whose_engine_is_gone() {
    at_each_size("run-orphaned", |size| {
        let mut app = midway(size);
        update(&mut app, Msg::Engine(fixtures::run_id(), false));
        app
    });
    at_each_size("run-orphaned-endpoints", |size| {
        let mut story = Story::new();
        let is = |p: &plan::Phase| p.kind == plan::PhaseKind::KubeApiserver;
        let phase = story.plan.phases.iter().position(is).unwrap();
        story.prefetch();
        story.through(phase, 0);
        story.tell(Event::WaveBegun { phase, wave: 0 });
        let swap = story.swap(phase, 0, 0);
        story.tell(Event::EndpointLeaving { node: swap.node.clone(), address: "10.69.1.3".into() });
        story.begin(&swap, Step::Stopping);
        let mut app = fixtures::running(size, Options::default(), story);
        update(&mut app, Msg::Engine(fixtures::run_id(), false));
        app
    });
}

/// A run that stands still because of its run lock, in the engine's words.
fn without_its_lock(size: (u16, u16), lock: Event, why: &str) -> App {
    let mut story = Story::midway();
    story.tell(Event::LockHeld { token: crate::fleet::FenceToken::new(29_000_000) });
    story.tell(lock);
    story.tell(Event::Paused { reason: PauseReason::Trouble, why: why.into() });
    fixtures::running(size, Options::default(), story)
}

#[test]
fn run_without_its_run_lock() {
    at_each_size("run-lock-unsure", |size| {
        let lock = Event::LockUnsure { why: "leases is forbidden".into(), lapsed: false };
        let why = "the run lock (Lease kube-system/sonoba) was not renewed for 30 s: leases.coordination.k8s.io is forbidden; \
                   nothing new starts until it is";
        without_its_lock(size, lock, why)
    });
    at_each_size("run-lock-lost", |size| {
        let why = "the run lock was lost: ben@bastion2/20261125-120000-0001 works on the cluster since \
                   2026-11-25T12:00:00Z (Lease kube-system/sonoba); watch it with `sonoba watch 20261125-120000-0001` on \
                   bastion2, or wait until it ends";
        without_its_lock(size, Event::LockLost { why: why.into() }, why)
    });
}

#[test]
fn events() {
    at_each_size("events", |size| {
        let mut app = midway(size);
        press(&mut app, "e/rack2");
        update(&mut app, Msg::Key(KeyEvent::from(KeyCode::Enter)));
        press(&mut app, "kk");
        app
    });
}
