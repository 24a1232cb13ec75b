//! What a person sees, screen by screen, at three sizes.

use super::app::{App, Over, Question, Screen};
use super::backend::Options;
use super::draw::draw;
use super::fixtures::{self, Story, at};
use super::msg::Msg;
use super::update::update;
use crate::fleet::{Cause, Component, Disturbance, DisturbanceKind};
use crate::journal::{EngineSeen, Event, Outcome, PauseReason, Verb};
use crate::plan::{self, Gate, OwnGate};
use crossterm::event::{KeyCode, KeyEvent};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use std::sync::Arc;

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 36), (200, 60)];

fn picture(app: &App) -> String {
    let mut terminal = Terminal::new(TestBackend::new(app.size.0, app.size.1)).unwrap();
    terminal.draw(|frame| draw(app, frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let rows = buffer.content.chunks(usize::from(app.size.0));
    rows.map(|row| row.iter().map(|c| c.symbol()).collect::<String>().trim_end().to_owned() + "\n").collect()
}

fn at_each_size(screen: &str, make: impl Fn((u16, u16)) -> App) {
    for size in SIZES {
        insta::assert_snapshot!(format!("{screen}-{}x{}", size.0, size.1), picture(&make(size)));
    }
}

fn plain(size: (u16, u16)) -> App {
    fixtures::app(size, Options::default())
}

fn midway(size: (u16, u16)) -> App {
    fixtures::running(size, Options::default(), Story::midway())
}

fn planned(size: (u16, u16), plan: crate::plan::Plan) -> App {
    let mut app = plain(size);
    update(&mut app, Msg::Planned(Arc::new(plan)));
    app
}

fn press_all(app: &mut App, keys: &str) -> Vec<super::msg::Effect> {
    keys.chars().flat_map(|c| update(app, Msg::Key(KeyEvent::from(KeyCode::Char(c))))).collect()
}

/// The planner answers what it was asked.
fn drafted(app: &mut App, plan: &crate::plan::Plan) {
    let stage = super::stage::build(app, app.sight.cluster.as_ref().unwrap()).unwrap();
    update(app, Msg::Drafted(Box::new(stage), super::stage::Draft::of(plan)));
}

fn press(app: &mut App, keys: &str) {
    for c in keys.chars() {
        update(app, Msg::Key(KeyEvent::from(KeyCode::Char(c))));
    }
}

#[test]
fn topology() {
    at_each_size("topology", plain);
}

#[test]
fn topology_with_broken_nodes() {
    at_each_size("topology-broken", |size| {
        let mut app = plain(size);
        let mut cluster = fixtures::cluster();
        let mut node = |n: &str| {
            cluster.nodes.get_mut(&fixtures::name(n)).map(|n| (n.ready, n.reachable) = (false, Some(n.master)))
        };
        node("rack3-cs4");
        node("rack2-boot");
        update(&mut app, Msg::Observed(Ok(Box::new(cluster))));
        press(&mut app, "jjjjjjlll");
        app
    });
}

#[test]
fn topology_in_a_run() {
    at_each_size("topology-run", |size| {
        let mut app = midway(size);
        app.screen = Screen::Topology;
        app.selected = Some(fixtures::name("rack2-cs2"));
        app
    });
}

#[test]
fn topology_of_a_rack() {
    at_each_size("topology-rack", |size| {
        let mut app = midway(size);
        app.screen = Screen::Topology;
        app.selected = Some(fixtures::name("rack2-cs2"));
        update(&mut app, Msg::Key(KeyEvent::from(KeyCode::Enter)));
        app
    });
}

#[test]
fn topology_of_a_node() {
    at_each_size("topology-node", |size| {
        let mut app = midway(size);
        app.screen = Screen::Topology;
        app.selected = Some(fixtures::name("rack2-cs2"));
        update(&mut app, Msg::Key(KeyEvent::from(KeyCode::Enter)));
        let effects = update(&mut app, Msg::Key(KeyEvent::from(KeyCode::Enter)));
        assert_eq!(effects, [super::msg::Effect::Near(fixtures::name("rack2-cs2"))]);
        let pod = |i: usize| crate::fleet::PodProof {
            pod: format!("app-mysql/moco-{i}"),
            uid: i.to_string(),
            ended: i == 2,
            ready: i == 0,
            ready_since: None,
            containers: vec![crate::fleet::ContainerProof {
                name: "mysqld".into(),
                id: "containerd://1".into(),
                restarts: i as i32,
                started_at: Some(fixtures::start()),
                ..Default::default()
            }],
            ..Default::default()
        };
        let condition = |kind: &str, holds, reason: &str| crate::fleet::Condition {
            kind: kind.into(),
            holds,
            reason: reason.into(),
            message: String::new(),
            since: Some(fixtures::start()),
        };
        let conditions = vec![
            condition("Ready", Some(true), "KubeletReady"),
            condition("DiskPressure", Some(true), "KubeletHasDiskPressure"),
            condition("PIDPressure", None, "NodeStatusUnknown"),
        ];
        let near = super::backend::Near { conditions, pods: (0..3).map(pod).collect() };
        update(&mut app, Msg::Near(fixtures::name("rack2-cs2"), Ok(near)));
        app
    });
}

#[test]
fn topology_with_a_filter_and_marks() {
    at_each_size("topology-filter", |size| {
        let mut app = midway(size);
        app.screen = Screen::Topology;
        app.selected = Some(fixtures::name("rack2-cs2"));
        press(&mut app, "/rack=2,3 version<1.36");
        update(&mut app, Msg::Key(KeyEvent::from(KeyCode::Enter)));
        press(&mut app, "n v");
        app
    });
    let mut app = midway((80, 24));
    app.screen = Screen::Topology;
    press(&mut app, "/rack=2 state=sad");
    insta::assert_snapshot!("topology-filter-wrong-80x24", picture(&app));
}

#[test]
fn layers() {
    let mut pictures = String::new();
    for key in ["2", "3", "4", "5"] {
        let mut app = midway((80, 24));
        app.screen = Screen::Topology;
        press(&mut app, key);
        pictures += &picture(&app);
    }
    insta::assert_snapshot!("layers-80x24", pictures);
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

#[test]
fn history() {
    let reports = || {
        let ended = fixtures::running((80, 24), Options::default(), Story::midway());
        let mut report = crate::journal::report(&ended.run.unwrap().run, crate::journal::Chain::Ok);
        report.outcome = "aborted".into();
        report.why = "satoru aborted it".into();
        let mut done = report.clone();
        (done.outcome, done.why) = ("completed".into(), String::new());
        vec![report, done]
    };
    at_each_size("history", |size| {
        let mut app = plain(size);
        assert_eq!(press_all(&mut app, "H"), [super::msg::Effect::History]);
        update(&mut app, Msg::Past(Ok(reports())));
        press(&mut app, "j");
        app
    });
    at_each_size("history-no-engine", |size| {
        let mut app = plain(size);
        press(&mut app, "H");
        let mut runs = reports();
        let mut left = runs[1].clone();
        (left.outcome, left.engine) = ("running".into(), Some(EngineSeen::Gone));
        let mut paused = left.clone();
        (paused.outcome, paused.why) = ("paused".into(), "the operator paused it".into());
        let mut out = left.clone();
        out.endpoints_out.insert(fixtures::name("rack1-boot"), "10.69.0.131".into());
        let mut ended = runs[0].clone();
        ended.endpoints_out = out.endpoints_out.clone();
        runs.splice(0..0, [out, left, paused, ended]);
        update(&mut app, Msg::Past(Ok(runs)));
        app
    });
    at_each_size("history-report", |size| {
        let mut app = plain(size);
        press(&mut app, "H");
        update(&mut app, Msg::Past(Ok(reports())));
        update(&mut app, Msg::Key(KeyEvent::from(KeyCode::Enter)));
        app
    });
}

#[test]
fn log_and_clusters() {
    at_each_size("trace", |size| {
        let mut app = plain(size);
        update(&mut app, Msg::Key(KeyEvent::from(KeyCode::F(12))));
        update(
            &mut app,
            Msg::Trace(Ok("state/cockpit.log\n2026-11-23T22:00:00Z  WARN sonoba: rack0-cs1: slow\n".into())),
        );
        app
    });
    at_each_size("clusters", |size| {
        let clusters = ["osaka0", "stage0", "tokyo0"].map(str::to_owned).to_vec();
        let mut app = fixtures::app(size, Options { clusters, title: "tokyo0".into(), ..Options::default() });
        press(&mut app, "Ck");
        app
    });
    let clusters = ["osaka0", "tokyo0"].map(str::to_owned).to_vec();
    let mut app = fixtures::app((80, 24), Options { clusters, title: "tokyo0".into(), ..Options::default() });
    press(&mut app, "Ck");
    let effects = update(&mut app, Msg::Key(KeyEvent::from(KeyCode::Enter)));
    assert_eq!(effects, [super::msg::Effect::Switch("osaka0".into())]);
}

#[test]
fn themes() {
    at_each_size("themes", |size| {
        let mut app = midway(size);
        press(&mut app, "Tj");
        app
    });
    let mut app = midway((80, 24));
    let before = app.theme;
    press(&mut app, "Tj");
    assert_ne!(app.theme, before, "shown at once");
    update(&mut app, Msg::Key(KeyEvent::from(KeyCode::Esc)));
    assert_eq!(app.theme, before);
    press(&mut app, "Tk");
    let effects = update(&mut app, Msg::Key(KeyEvent::from(KeyCode::Enter)));
    assert_eq!(effects, [super::msg::Effect::Remember("theme", "colour-blind".into())]);
    assert_ne!(app.theme, before);
}

#[test]
fn in_ascii_no_screen_has_anything_else() {
    let mut run = midway((120, 36));
    run.options.looks.ascii = true;
    insta::assert_snapshot!("run-ascii-120x36", picture(&run));
    for keys in ["", "\t", "e", "?", ":", "T", "A", "s", "H"] {
        press(&mut run, keys);
        let shown = picture(&run);
        assert!(shown.is_ascii(), "{keys}: {:?}", shown.chars().find(|c| !c.is_ascii()));
        assert!(!shown.contains("??"), "{keys}: a sign has no ASCII of its own:\n{shown}");
        update(&mut run, Msg::Key(KeyEvent::from(KeyCode::Esc)));
    }
    let mut replay = fixtures::replay((120, 36), Story::midway());
    replay.options.looks.ascii = true;
    assert!(picture(&replay).is_ascii());
}

#[test]
fn stage() {
    at_each_size("stage", |size| {
        let mut app = plain(size);
        press(&mut app, "s");
        drafted(&mut app, &fixtures::plan());
        app
    });
    at_each_size("stage-refused", |size| {
        let mut app = plain(size);
        press(&mut app, " mjsGkkke9");
        drafted(&mut app, &fixtures::refused());
        app
    });
    at_each_size("stage-wrong", |size| {
        let mut app = plain(size);
        press(&mut app, "sjjjjjjjjjjerack9");
        app
    });
}

#[test]
fn plan() {
    at_each_size("plan", |size| {
        let mut app = planned(size, fixtures::plan());
        press(&mut app, "Gljjl");
        press(&mut app, "j");
        app
    });
}

#[test]
fn plan_with_changed_arguments() {
    let mut plan = fixtures::plan();
    let node = fixtures::name("rack0-boot");
    let args = ["kubelet", "--log_dir", "/var/log", "--v=2"].map(str::to_owned).to_vec();
    let kubelet = crate::fleet::Component::Kubelet;
    plan.cluster.nodes.get_mut(&node).unwrap().components.get_mut(&kubelet).unwrap().args = args;
    let drop = crate::plan::ArgEdit::Drop { flag: "--log-dir".parse().unwrap() };
    for swap in plan.phases.iter_mut().flat_map(|p| &mut p.waves).flat_map(|w| &mut w.swaps).filter(|s| s.node == node)
    {
        swap.changes.iter_mut().filter(|c| c.component == kubelet).for_each(|c| c.args = vec![drop.clone()]);
    }
    let mut finding = plan.findings[0].clone();
    finding.code = "kube-apiserver-strict-ip-cidr".into();
    finding.text = "new or changed objects may no longer hold IPs with leading zeros".into();
    finding.link = "https://github.com/kubernetes/kubernetes/pull/137053".into();
    finding.nodes.clear();
    plan.notes = vec![finding];
    let mut app = planned((120, 36), plan);
    insta::assert_snapshot!("plan-notes-120x36", picture(&app));
    press(&mut app, "ffjjjjjjj");
    while !picture(&app).contains("arguments of kubelet") {
        assert!(app.plan.as_ref().unwrap().cursor < 200);
        press(&mut app, "j");
        let view = app.plan.as_ref().unwrap();
        if matches!(super::outline::rows(view).get(view.cursor), Some(super::outline::Row::Wave(..))) {
            update(&mut app, Msg::Key(KeyEvent::from(KeyCode::Enter)));
        }
    }
    insta::assert_snapshot!("plan-arguments-120x36", picture(&app));
}

#[test]
fn plan_refused() {
    at_each_size("plan-refused", |size| {
        let mut app = planned(size, fixtures::refused());
        press(&mut app, "a");
        app
    });
}

#[test]
fn confirm() {
    at_each_size("confirm", |size| {
        let mut app = planned(size, fixtures::plan());
        press(&mut app, "atokyo1");
        update(&mut app, Msg::Key(KeyEvent::from(KeyCode::Enter)));
        app
    });
}

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

fn own_gate() -> Gate {
    let argv = ["ceph-health", "--quiet", "--cluster", "rook-ceph-hdd"].map(String::from).to_vec();
    let (name, question) = ("ceph".parse().unwrap(), plan::Question::Command { argv, exit: 0 });
    Gate::Own(Box::new(OwnGate { name, question, timeout_ms: 600_000, interval_ms: 10_000, limit_ms: 30_000 }))
}

#[test]
fn plan_with_a_gate_of_ones_own() {
    at_each_size("plan-gate", |size| {
        let mut plan = fixtures::plan();
        for wave in &mut plan.phases[6].waves {
            wave.gates.insert(1, own_gate());
        }
        let mut app = planned(size, plan);
        press(&mut app, "Glj");
        app
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

fn paused(size: (u16, u16)) -> App {
    let mut story = Story::midway();
    let swap = story.swap(6, 3, 1);
    let pods = vec![Disturbance {
        pod: "mysql/moco-main-0".into(),
        kind: DisturbanceKind::Restarted("mysqld".into()),
        ..Default::default()
    }];
    story.tell(Event::PodsDisturbed { swap: swap.id, node: swap.node.clone(), pods });
    story.tell(Event::ClusterSeen { ready: 62, total: 63, lost: vec![swap.node], api: true });
    for i in 1..=5 {
        let swap = story.swap(6, 3, i);
        story.commit_with(&swap, usize::from(i == 1));
    }
    let why = "1 disturbed pod on rack2-cs3; the run pauses at 1".into();
    story.tell(Event::Paused { reason: PauseReason::Budget, why });
    fixtures::running(size, Options::default(), story)
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

#[test]
fn run_whose_engine_is_gone() {
    at_each_size("run-orphaned", |size| {
        let mut app = midway(size);
        update(&mut app, Msg::Engine(fixtures::run_id(), false));
        app
    });
    at_each_size("run-orphaned-endpoints", |size| {
        let mut app = midway(size);
        let event = Event::EndpointLeaving { node: fixtures::name("rack1-boot"), address: "10.69.1.3".into() };
        let record = crate::journal::Record { seq: 0, at: at(200_000), prev: String::new(), event };
        update(&mut app, Msg::Records(fixtures::run_id(), vec![record]));
        update(&mut app, Msg::Engine(fixtures::run_id(), false));
        app
    });
}

#[test]
fn run_abort_question() {
    at_each_size("run-abort", |size| {
        let mut app = midway(size);
        press(&mut app, "A");
        assert_eq!(app.over, Some(Over::Ask(Question::Abort)));
        app
    });
}

fn keys(app: &mut App, codes: &[KeyCode]) {
    codes.iter().for_each(|code| drop(update(app, Msg::Key(KeyEvent::from(*code)))));
}

/// Paused by one node that rolled back; nothing is in flight.
fn stands() -> Story {
    let mut story = Story::midway();
    for i in 1..=5 {
        let swap = story.swap(6, 3, i);
        story.commit_with(&swap, 0);
    }
    let why = "1 swap rolled back or failed, the run pauses at 1: rack2-cs2: kubelet did not answer";
    story.tell(Event::Paused { reason: PauseReason::Budget, why: why.into() });
    story
}

#[test]
fn run_with_a_node_under_the_cursor() {
    at_each_size("run-cursor", |size| {
        let mut app = midway(size);
        keys(&mut app, &[KeyCode::Up]);
        app
    });
}

#[test]
fn run_retry_question() {
    at_each_size("run-retry", |size| {
        let mut app = fixtures::running(size, Options::default(), stands());
        press(&mut app, "r");
        assert_eq!(app.over, Some(Over::Ask(Question::Retry)));
        app
    });
}

#[test]
fn run_skip_with_its_reason() {
    at_each_size("run-skip", |size| {
        let mut app = fixtures::running(size, Options::default(), stands());
        press(&mut app, "sthe disk is broken, ticket OPS-1234; its owner was told and will mend it on Tuesday");
        assert_eq!(app.over, Some(Over::Ask(Question::Skip)));
        app
    });
}

#[test]
fn a_question_with_much_to_say_still_shows_its_answer() {
    let mut story = stands();
    let swap = story.swap(6, 4, 0);
    story.roll_back(&swap, &"the node said very much of it ".repeat(60));
    let names: Vec<_> = story.plan.swaps().map(|(_, _, s)| s.node.clone()).collect();
    let why = format!("NotReady: {}", names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
    story.tell(Event::GateWaiting { gate: "nodes ready".into(), why, ms: None, limit_ms: None });
    for keys in ["jjs", "o"] {
        let mut app = fixtures::running((80, 24), Options::default(), story.clone());
        press(&mut app, keys);
        press(&mut app, "because");
        let shown = picture(&app);
        assert!(shown.contains("Why: because") && shown.contains("enter "), "{shown}");
    }
}

#[test]
fn run_roll_back_question() {
    at_each_size("run-roll-back", |size| {
        let mut app = midway(size);
        press(&mut app, "jjb");
        assert_eq!(app.over, Some(Over::Ask(Question::RollBack)));
        app
    });
}

#[test]
fn run_override_without_a_reason() {
    at_each_size("run-override", |size| {
        let mut story = Story::new();
        story.prefetch();
        story.through(6, 1);
        let why = "NotReady: rack3-cs[4-5]".to_owned();
        story.tell(Event::GateWaiting { gate: "nodes ready".into(), why, ms: None, limit_ms: None });
        story.wait(90_000);
        let mut app = fixtures::running(size, Options::default(), story);
        press(&mut app, "o ");
        keys(&mut app, &[KeyCode::Enter]);
        assert_eq!(app.over, Some(Over::Ask(Question::Override)));
        app
    });
}

#[test]
fn report_with_a_decision() {
    at_each_size("report-skipped", |size| {
        let mut story = stands();
        let nodes = vec![fixtures::name("rack2-cs2")];
        let verb = Verb::Skip { nodes, why: "the disk is broken, ticket OPS-1234".into() };
        story.tell(Event::Command { verb, by: "satoru@bastion1".into() });
        story.tell(Event::Resumed);
        let why = "1 of 75 swaps skipped by decision: rack2-cs2".to_owned();
        story.tell(Event::RunEnded { outcome: Outcome::Completed, why });
        let mut app = fixtures::running(size, Options::default(), story);
        keys(&mut app, &[KeyCode::Enter]);
        app
    });
}

#[test]
fn report_of_an_aborted_run() {
    at_each_size("report", |size| {
        let mut app = paused(size);
        let ms = Story::midway().ms + 60_000;
        let record = |event| crate::journal::Record { seq: 0, at: at(ms), prev: String::new(), event };
        let command = Event::Command { verb: Verb::Abort, by: "satoru".into() };
        let ended = Event::RunEnded { outcome: Outcome::Aborted, why: "satoru aborted it".into() };
        update(&mut app, Msg::Records(fixtures::run_id(), vec![record(command), record(ended)]));
        update(&mut app, Msg::Key(KeyEvent::from(KeyCode::Enter)));
        app
    });
}

fn aborted(size: (u16, u16)) -> App {
    let mut app = midway(size);
    let record = |event| crate::journal::Record { seq: 0, at: at(200_000), prev: String::new(), event };
    let command = Event::Command { verb: Verb::Abort, by: "satoru".into() };
    let why =
        "as seen at 22:03:18: the new version runs on rack[0-1]-cs[1-7]; the old version runs on rack2-cs[2-7]".into();
    let ended = Event::RunEnded { outcome: Outcome::Aborted, why };
    let mut events = vec![command];
    let flying: Vec<_> = app.run.as_ref().unwrap().run.in_flight().map(|s| (s.id.clone(), s.node.clone())).collect();
    events.extend(flying.into_iter().map(|(swap, node)| {
        let why = "the run was aborted".to_owned();
        Event::SwapRolledBack { swap, node, why, pods_checked: 30, pods_undisturbed: 30, ms: 9_000 }
    }));
    events.push(ended);
    update(&mut app, Msg::Records(fixtures::run_id(), events.into_iter().map(record).collect()));
    app.notice = None;
    app
}

#[test]
fn an_aborted_run_offers_the_way_back() {
    at_each_size("run-aborted", aborted);
}

#[test]
fn the_way_back_is_read_like_any_plan() {
    at_each_size("plan-rollback", |size| {
        let mut app = aborted(size);
        let plan = fixtures::way_back(&app.run.as_ref().unwrap().run);
        update(&mut app, Msg::WayBack(Ok(Arc::new(plan))));
        app
    });
}

/// The way back of a run that saw a kubelet restart containers.
fn back_to_acknowledge(size: (u16, u16)) -> App {
    let mut app = midway(size);
    let run = &app.run.as_ref().unwrap().run;
    let done = run.swaps.iter().find(|s| s.node == fixtures::name("rack0-cs2")).unwrap();
    let (swap, node) = (done.id.clone(), done.node.clone());
    let kind = DisturbanceKind::Redefined("web".into());
    let pods = vec![Disturbance { pod: "app/web-1".into(), kind, ..Disturbance::default() }];
    let ended = Event::RunEnded { outcome: Outcome::Aborted, why: "satoru aborted it".into() };
    let record = |event| crate::journal::Record { seq: 0, at: at(200_000), prev: String::new(), event };
    let records = [Event::PodsDisturbed { swap, node, pods }, ended].map(record).to_vec();
    update(&mut app, Msg::Records(fixtures::run_id(), records));
    let plan = fixtures::way_back(&app.run.as_ref().unwrap().run);
    update(&mut app, Msg::WayBack(Ok(Arc::new(plan))));
    app.notice = None;
    app
}

#[test]
fn a_way_back_that_restarts_containers_is_acknowledged_then_confirmed() {
    at_each_size("plan-rollback-restarts", back_to_acknowledge);
    at_each_size("plan-rollback-acknowledged", |size| {
        let mut app = back_to_acknowledge(size);
        press(&mut app, "t");
        app
    });
    at_each_size("confirm-rollback-acknowledged", |size| {
        let mut app = back_to_acknowledge(size);
        press(&mut app, "tatokyo");
        app
    });
}

#[test]
fn the_report_of_a_rollback_says_of_what() {
    at_each_size("report-rollback", |size| {
        let plan = Arc::new(fixtures::way_back(&aborted(size).run.as_ref().unwrap().run));
        let mut story = Story::of(plan);
        story.prefetch();
        story.through(usize::MAX, 0);
        story.tell(Event::RunEnded { outcome: Outcome::RolledBack, why: String::new() });
        let mut app = fixtures::running(size, Options::default(), story);
        update(&mut app, Msg::Key(KeyEvent::from(KeyCode::Enter)));
        app
    });
}

#[test]
fn stage_with_nodes_that_are_down() {
    at_each_size("stage-down", |size| {
        let mut app = plain(size);
        let mut cluster = fixtures::cluster();
        for down in ["rack3-cs4", "rack5-ss9"] {
            cluster.nodes.get_mut(&fixtures::name(down)).unwrap().ready = false;
        }
        update(&mut app, Msg::Observed(Ok(Box::new(cluster))));
        press(&mut app, "sG+");
        app
    });
}

#[test]
fn help() {
    at_each_size("help", |size| {
        let mut app = midway(size);
        press(&mut app, "?");
        app
    });
}

#[test]
fn without_colour_no_screen_has_any() {
    for screen in [Screen::Topology, Screen::Stage, Screen::Plan, Screen::Confirm, Screen::Run, Screen::Report] {
        let mut app = paused((120, 36));
        app.theme = super::theme::Theme::plain();
        update(&mut app, Msg::Planned(Arc::new(fixtures::refused())));
        (app.screen, app.over) = (screen, Some(Over::Help(0)));
        let mut terminal = Terminal::new(TestBackend::new(120, 36)).unwrap();
        terminal.draw(|frame| draw(&app, frame)).unwrap();
        let reset = ratatui::style::Color::Reset;
        assert!(terminal.backend().buffer().content.iter().all(|c| c.fg == reset && c.bg == reset), "{screen:?}");
    }
}

#[test]
fn a_small_terminal_is_told_kindly() {
    insta::assert_snapshot!("small-60x10", picture(&midway((60, 10))));
}

#[test]
fn every_size_paints_and_thousands_of_nodes_do_not_hide_their_number() {
    for size in [(1, 1), (79, 24), (80, 24), (81, 25), (133, 41), (400, 100)] {
        for screen in [Screen::Topology, Screen::Stage, Screen::Plan, Screen::Confirm, Screen::Run, Screen::Report] {
            let mut app = midway(size);
            update(&mut app, Msg::Planned(Arc::new(fixtures::plan())));
            app.screen = screen;
            picture(&app);
        }
    }
    let mut cluster = fixtures::cluster();
    let model = cluster.nodes[&fixtures::name("rack0-cs1")].clone();
    for i in 0..3_000 {
        let mut node = model.clone();
        node.name = fixtures::name(&format!("big-{i:04}"));
        node.rack = format!("hall{:02}", i / 40).parse().unwrap();
        cluster.nodes.insert(node.name.clone(), node);
    }
    let mut app = plain((80, 24));
    update(&mut app, Msg::Observed(Ok(Box::new(cluster))));
    let shown = picture(&app);
    assert!(shown.contains("3060 nodes in 81 racks") && shown.contains("below"), "{shown}");
}

/// A run with a failure and a pause, to its end.
fn told() -> Story {
    let mut story = Story::midway();
    let swap = story.swap(6, 3, 6);
    story.roll_back(&swap, "the kubelet never became healthy");
    story.wait(20_000);
    story.tell(Event::Paused { reason: PauseReason::Operator, why: "satoru paused it".into() });
    story.wait(60_000);
    story.tell(Event::RunEnded { outcome: Outcome::Aborted, why: "satoru aborted it".into() });
    story
}

#[test]
fn a_replay_stopped_at_its_failure() {
    at_each_size("replay", |size| {
        let mut app = fixtures::replay(size, told());
        press(&mut app, "x");
        app
    });
}

#[test]
fn a_replay_goes_on_and_back_and_shows_what_was_so() {
    let mut app = fixtures::replay((120, 36), told());
    let shown = |app: &App| {
        let view = app.run.as_ref().unwrap();
        (app.player.as_ref().unwrap().played(), view.run.swaps.iter().filter(|s| s.state.open()).count())
    };
    let begin = shown(&app);
    assert_eq!((app.screen, begin.1), (Screen::Run, 0));
    press(&mut app, "$");
    let end = app.run.as_ref().unwrap().run.ended();
    assert_eq!(end, Some(Outcome::Aborted));
    let picture_at_end = picture(&app);
    // To the beginning and again to the end by single events: the same picture.
    press(&mut app, "0");
    assert_eq!(shown(&app), begin);
    let mut steps = 0;
    while app.run.as_ref().unwrap().run.ended().is_none() {
        press(&mut app, ".");
        steps += 1;
        assert!(steps < 10_000);
    }
    press(&mut app, "$");
    assert_eq!(picture(&app), picture_at_end);
    // It plays by the real clock, and what is asked of it acts on nothing.
    press(&mut app, "0 ");
    let begun = fixtures::at(0);
    for s in 0..5 {
        let effects = update(&mut app, Msg::Tick(begun + jiff::SignedDuration::from_secs(1_000 + s)));
        assert!(effects.is_empty());
    }
    assert_eq!(app.now, begun + jiff::SignedDuration::from_secs(4));
    for key in "pAcRrsboUaSr".chars() {
        assert!(update(&mut app, Msg::Key(KeyEvent::from(KeyCode::Char(key)))).is_empty(), "{key} asks for something");
    }
}

#[test]
fn a_film_holds_every_picture_and_ends() {
    let story = told();
    let about = crate::journal::RecordingHead::new(fixtures::run_id(), fixtures::cluster().name, "x".into(), at(0));
    let recording = crate::journal::Recording {
        about,
        plan: story.plan.as_ref().clone(),
        records: story.records,
        chain: crate::journal::Chain::Ok,
    };
    let from = crate::tui::TapeFrom::Offset(jiff::SignedDuration::ZERO);
    let film = crate::tui::cast(crate::tui::Tape { recording, speed: 100.0, from }, (80, 24)).unwrap();
    let mut lines = film.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let head = lines.next().unwrap();
    assert_eq!((&head["version"], &head["width"], &head["height"]), (&2.into(), &80.into(), &24.into()));
    let mut before = 0.0;
    let mut all = String::new();
    for event in lines {
        let at = event[0].as_f64().unwrap();
        assert!(at >= before && event[1] == "o");
        before = at;
        all += event[2].as_str().unwrap();
    }
    assert!(all.contains("REPLAY") && all.contains("ABORTED"), "{}", all.len());
}

#[test]
fn the_palette() {
    at_each_size("palette", |size| {
        let mut app = midway(size);
        press(&mut app, ":re");
        app
    });
}

#[test]
fn the_readme_shows_the_screens_as_they_are() {
    let readme = include_str!("../../README.md");
    for name in [
        "topology-80x24",
        "topology-rack-80x24",
        "stage-80x24",
        "plan-80x24",
        "run-120x36",
        "report-80x24",
        "replay-80x24",
    ] {
        let path = format!("{}/src/tui/snapshots/sonoba__tui__snapshot_tests__{name}.snap", env!("CARGO_MANIFEST_DIR"));
        let snapshot = std::fs::read_to_string(path).unwrap();
        let picture = snapshot.splitn(3, "---\n").nth(2).unwrap().trim_end_matches('\n');
        assert!(readme.contains(picture), "README.md shows another {name}");
    }
}
