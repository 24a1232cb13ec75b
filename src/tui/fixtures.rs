//! A hand-made cluster, plan and run for tests. Not a planner: the plan is written out by simple rules.

use super::app::App;
use super::backend::Options;
use super::looks::Looks;
use super::msg::{Begun, Msg};
use super::replay::{From, Tape};
use super::update::update;
use crate::fleet::{Cluster, Component, Image, Leaders, Node, NodeName, RunId, Running, SwapId};
use crate::journal::{Chain, Event, Record, Recording, RecordingHead, Run, Step, SwapState};
use crate::plan::{
    Budget, Bump, Change, Estimate, FORMAT, Finding, Gate, Limits, Phase, PhaseKind, Plan, Pull, Release, Scope,
    Severity, Swap, Wave, WaveKind, inverse,
};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

pub fn start() -> Timestamp {
    "2026-11-23T22:00:00Z".parse().unwrap()
}

pub fn at(ms: i64) -> Timestamp {
    start() + SignedDuration::from_millis(ms)
}

pub fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

pub fn image(component: Component, new: bool) -> Image {
    let text = match (component, new) {
        (Component::Etcd, false) => "ghcr.io/cybozu/etcd:3.6.10.1",
        (Component::Etcd, true) => "ghcr.io/cybozu/etcd:3.6.11.1",
        (Component::Rivers | Component::EtcdRivers, false) => "ghcr.io/cybozu-go/cke-tools:1.35.0",
        (Component::Rivers | Component::EtcdRivers, true) => "ghcr.io/cybozu-go/cke-tools:1.36.0",
        (_, false) => "ghcr.io/cybozu/kubernetes:1.35.6.1",
        (_, true) => "ghcr.io/cybozu/kubernetes:1.36.2.1",
    };
    text.parse().unwrap()
}

fn node(text: &str, address: String, rack: usize, master: bool) -> Node {
    let components = Component::ALL.into_iter().filter(|c| master || !c.master_only());
    let running = |component: Component| Running {
        container: component.as_str().parse().unwrap(),
        id: format!("{:064x}", 0xabc),
        image: image(component, false),
        image_id: "sha256:1".into(),
        running: true,
        started: Some("2026-11-01T00:00:00Z".parse().unwrap()),
        restarts: 0,
        args: Vec::new(),
    };
    Node {
        name: name(text),
        address,
        port: 22,
        user: None,
        rack: format!("rack{rack}").parse().unwrap(),
        role: (!master).then(|| if text.contains("ss") { "ss" } else { "cs" }.parse().unwrap()),
        labels: Default::default(),
        master,
        ready: true,
        reachable: Some(true),
        kubelet_version: Some("v1.35.6".parse().unwrap()),
        components: components.map(|c| (c, running(c))).collect(),
        leftovers: Default::default(),
    }
}

pub fn cluster() -> Cluster {
    let mut nodes = BTreeMap::new();
    for m in 0..3 {
        let n = node(&format!("rack{m}-boot"), format!("10.69.{m}.3"), m, true);
        nodes.insert(n.name.clone(), n);
    }
    for rack in 0..6 {
        for i in 1..=10 {
            let kind = if i <= 7 { "cs" } else { "ss" };
            let n = node(&format!("rack{rack}-{kind}{i}"), format!("10.69.{rack}.{}", i + 3), rack, false);
            nodes.insert(n.name.clone(), n);
        }
    }
    let leaders = Leaders {
        etcd: Some(name("rack1-boot")),
        controller_manager: Some(name("rack0-boot")),
        scheduler: Some(name("rack2-boot")),
    };
    Cluster { name: "tokyo0".parse().unwrap(), nodes, leaders, salt: None }
}

pub fn limits() -> Limits {
    Limits { soak_ms: 60_000, ..Limits::default() }
}

pub fn budget() -> Budget {
    Budget { failed_swaps: 3, not_ready_nodes: 2, disturbed_pods: 0 }
}

pub fn releases() -> Vec<Release> {
    let release = |name: &str, new| Release {
        name: name.into(),
        images: Component::ALL.into_iter().map(|c| (c, image(c, new))).collect(),
    };
    vec![release("1.35.6", false), release("1.36.2", true)]
}

pub fn plan() -> Plan {
    let cluster = cluster();
    let mut number = 0;
    let mut swap = |node: &Node, of: &[Component]| {
        number += 1;
        let change = |c: &Component| Change {
            component: *c,
            container: c.as_str().parse().unwrap(),
            from: image(*c, false),
            from_id: node.components[c].id.clone(),
            to: image(*c, true),
            args: Vec::new(),
        };
        Swap {
            id: format!("s{number:04}").parse::<SwapId>().unwrap(),
            node: node.name.clone(),
            changes: of.iter().map(change).collect(),
            deadline_ms: 30_000,
            no_return: None,
        }
    };
    let masters: Vec<&Node> = cluster.masters().collect();
    let mut phases = vec![Phase {
        kind: PhaseKind::Prefetch,
        hop: None,
        snapshot: None,
        etcdctl: None,
        pulls: cluster
            .nodes
            .values()
            .map(|n| Pull {
                node: n.name.clone(),
                images: n
                    .components
                    .keys()
                    .map(|c| image(*c, true))
                    .collect::<std::collections::BTreeSet<_>>()
                    .into_iter()
                    .collect(),
            })
            .collect(),
        waves: Vec::new(),
    }];
    let kinds: [(PhaseKind, &[Component], Gate); 5] = [
        (PhaseKind::Rivers, &[Component::Rivers, Component::EtcdRivers], Gate::NodesReady),
        (PhaseKind::Etcd, &[Component::Etcd], Gate::EtcdHealthy),
        (PhaseKind::KubeApiserver, &[Component::KubeApiserver], Gate::ApiserversReady),
        (PhaseKind::Controllers, &[Component::KubeControllerManager, Component::KubeScheduler], Gate::NodesReady),
        (PhaseKind::Masters, &[Component::KubeProxy, Component::Kubelet], Gate::NodesReady),
    ];
    for (kind, of, gate) in kinds {
        let mut swaps: Vec<Swap> = masters.iter().map(|n| swap(n, of)).collect();
        if kind == PhaseKind::Etcd {
            swaps[2].no_return = Some("etcd 3.6.11 may write what 3.6.10 cannot read".into());
        }
        let title = "masters".into();
        let wave = Wave { kind: WaveKind::ControlPlane, title, max_parallel: 1, swaps, gates: vec![gate] };
        phases.push(Phase { kind, hop: None, pulls: Vec::new(), snapshot: None, etcdctl: None, waves: vec![wave] });
    }
    let three = [Component::Rivers, Component::KubeProxy, Component::Kubelet];
    let gates = vec![Gate::NodesReady, Gate::Soak { ms: 60_000 }];
    let is_canary = |n: &Node| ["rack0-cs1", "rack2-cs1", "rack4-ss8"].contains(&n.name.as_str());
    let canary = cluster.workers().filter(|n| is_canary(n)).map(|n| swap(n, &three)).collect();
    let mut waves = vec![Wave {
        kind: WaveKind::Canary,
        title: "canary".into(),
        max_parallel: 3,
        swaps: canary,
        gates: gates.clone(),
    }];
    for (rack, nodes) in cluster.racks() {
        let swaps = nodes.into_iter().filter(|n| !is_canary(n)).map(|n| swap(n, &three)).collect();
        let title = rack.to_string();
        waves.push(Wave { kind: WaveKind::Rack, title, max_parallel: 5, swaps, gates: gates.clone() });
    }
    phases.push(Phase { kind: PhaseKind::Workers, hop: None, pulls: Vec::new(), snapshot: None, etcdctl: None, waves });
    Plan {
        format: FORMAT,
        created: start(),
        release: Some("1.36.2".into()),
        rollback_of: None,
        excluded: Vec::new(),
        asked: None,
        bumps: Component::ALL.into_iter().map(|c| Bump { component: c, to: image(c, true) }).collect(),
        limits: limits(),
        budget: budget(),
        components: BTreeMap::new(),
        findings: vec![
            Finding {
                code: "probe-flap".into(),
                severity: Severity::Warning,
                text: "before 1.35 a kubelet restart shows pods with readiness probes as NotReady for a moment".into(),
                mend: "watch the canary wave before you go on".into(),
                link: String::new(),
                offer: String::new(),
                acknowledgeable: false,
                nodes: vec![name("rack0-cs1"), name("rack0-cs2"), name("rack0-cs3")],
            },
            Finding {
                code: "cke-server".into(),
                severity: Severity::Info,
                text: "no CKE server was seen".into(),
                mend: String::new(),
                link: String::new(),
                offer: String::new(),
                acknowledgeable: false,
                nodes: Vec::new(),
            },
        ],
        notes: Vec::new(),
        coverage: None,
        comparison: None,
        fingerprint: Default::default(),
        estimate: Estimate {
            prefetch_ms: 95_000,
            work_ms: 240_000,
            soak_ms: 420_000,
            slow_ms: 1_500_000,
            ..Estimate::default()
        },
        phases,
        cluster,
        seal: None,
    }
}

pub fn refused() -> Plan {
    let mut plan = plan();
    plan.findings.push(Finding {
        code: "node-not-ready".into(),
        severity: Severity::Error,
        text: "rack3-cs4 is NotReady".into(),
        mend: "bring the node back, or leave it out with --nodes".into(),
        link: String::new(),
        offer: String::new(),
        acknowledgeable: false,
        nodes: vec![name("rack3-cs4")],
    });
    plan
}

/// A journal under construction.
#[derive(Clone)]
pub struct Story {
    pub plan: Arc<Plan>,
    pub records: Vec<Record>,
    pub ms: i64,
}

impl Story {
    pub fn new() -> Story {
        Story::of(Arc::new(plan()))
    }

    /// Of another plan.
    pub fn of(plan: Arc<Plan>) -> Story {
        let mut story = Story { plan, records: Vec::new(), ms: 0 };
        let cluster = story.plan.cluster.name.clone();
        story.tell(Event::RunStarted {
            run: run_id(),
            cluster,
            operator: "satoru".into(),
            host: "bastion1".into(),
            version: "0.1.0".into(),
        });
        story.tell(Event::EngineStarted { pid: 4242, host: "bastion1".into(), resumed: false });
        story.tell(Event::ClusterSeen { ready: 63, total: 63, lost: Vec::new(), api: true, refused: None });
        story
    }

    pub fn tell(&mut self, event: Event) {
        let seq = self.records.len() as u64 + 1;
        self.records.push(Record { seq, at: at(self.ms), prev: String::new(), event });
    }

    pub fn wait(&mut self, ms: i64) {
        self.ms += ms;
    }

    pub fn swap(&self, p: usize, w: usize, s: usize) -> Swap {
        self.plan.phases[p].waves[w].swaps[s].clone()
    }

    /// The swap, up to the node's step `last`.
    pub fn begin(&mut self, swap: &Swap, last: Step) {
        let (id, node) = (swap.id.clone(), swap.node.clone());
        self.tell(Event::SwapPreparing { swap: id.clone(), node: node.clone() });
        let tx = format!("tx-{id}");
        let (olds, pods) = Default::default();
        self.tell(Event::SwapIntended { swap: id.clone(), node: node.clone(), tx, deadline_ms: 30_000, olds, pods });
        for step in [Step::Begun, Step::Stopping, Step::Stopped, Step::Started, Step::Waiting] {
            let component = (step != Step::Begun && step != Step::Waiting).then(|| swap.changes[0].component);
            self.tell(Event::SwapStep { swap: id.clone(), node: node.clone(), component, step, uptime_ms: 0 });
            if step == last {
                break;
            }
        }
    }

    pub fn commit(&mut self, swap: &Swap) {
        self.commit_with(swap, 0);
    }

    pub fn commit_with(&mut self, swap: &Swap, disturbed: usize) {
        self.begin(swap, Step::Waiting);
        let (id, node) = (swap.id.clone(), swap.node.clone());
        for (i, change) in swap.changes.iter().enumerate() {
            let downtime_ms = 640 + 37 * (self.records.len() as u64 % 11) + 100 * i as u64;
            let component = change.component;
            let (swap, node, how) = (id.clone(), node.clone(), String::new());
            self.tell(Event::SwapHealthy { swap, node, component, downtime_ms, how });
        }
        self.tell(Event::SwapVerdict {
            swap: id.clone(),
            node: node.clone(),
            verdict: crate::journal::Verdict::Commit,
            why: String::new(),
        });
        self.tell(Event::SwapCommitted {
            swap: id,
            node,
            pods_checked: 30,
            pods_undisturbed: 30 - disturbed,
            ms: 3_100,
        });
    }

    /// The same; its pods can be proved after so many milliseconds.
    pub fn commit_unproved(&mut self, swap: &Swap, ms: u64) {
        self.commit_with(swap, 0);
        let committed = self.records.pop();
        let (swap, node) = (swap.id.clone(), swap.node.clone());
        self.tell(Event::ProofPending { swap, node, pods: 30, ms });
        if let Some(committed) = committed {
            self.tell(committed.event);
        }
    }

    pub fn roll_back(&mut self, swap: &Swap, why: &str) {
        self.begin(swap, Step::Waiting);
        let (id, node, why) = (swap.id.clone(), swap.node.clone(), why.to_owned());
        let verdict = crate::journal::Verdict::Rollback;
        self.tell(Event::SwapVerdict { swap: id.clone(), node: node.clone(), verdict, why: why.clone() });
        self.tell(Event::SwapRolledBack { swap: id, node, why, pods_checked: 30, pods_undisturbed: 30, ms: 14_000 });
    }

    pub fn prefetch(&mut self) {
        self.tell(Event::PhaseBegun { phase: 0 });
        for pull in self.plan.clone().phases[0].pulls.iter() {
            for image in &pull.images {
                let (node, image) = (pull.node.clone(), image.clone());
                self.tell(Event::Pulled { node, image, id: "sha256:2".into(), already: false, ms: 900 });
            }
        }
        self.wait(40_000);
        self.tell(Event::PhaseEnded { phase: 0 });
    }

    /// Commits whole waves up to, not including, `(phase, wave)`.
    pub fn through(&mut self, phase: usize, wave: usize) {
        let plan = self.plan.clone();
        for (p, ph) in plan.phases.iter().enumerate().skip(1).take(phase) {
            self.tell(Event::PhaseBegun { phase: p });
            for (w, wv) in ph.waves.iter().enumerate() {
                if (p, w) >= (phase, wave) {
                    return;
                }
                self.tell(Event::WaveBegun { phase: p, wave: w });
                for swap in &wv.swaps {
                    self.commit(swap);
                    self.wait(700);
                }
                self.tell(Event::WaveEnded { phase: p, wave: w });
            }
            self.tell(Event::PhaseEnded { phase: p });
        }
    }

    /// Workers under way: canary and two racks are through, one node went back, five nodes are in flight.
    pub fn midway() -> Story {
        let mut story = Story::new();
        story.prefetch();
        story.through(6, 3);
        story.tell(Event::WaveBegun { phase: 6, wave: 3 });
        let failed = story.swap(6, 3, 0);
        story.roll_back(&failed, "kubelet did not answer http://127.0.0.1:10248/healthz within 20 s");
        for (i, step) in [Step::Waiting, Step::Started, Step::Stopping, Step::Begun].into_iter().enumerate() {
            let swap = story.swap(6, 3, i + 1);
            story.begin(&swap, step);
            story.wait(1_900);
        }
        let last = story.swap(6, 3, 5);
        story.tell(Event::SwapPreparing { swap: last.id, node: last.node });
        story
    }
}

pub fn run_id() -> RunId {
    "20261123-220000-tokyo0".parse().unwrap()
}

/// The way back of a run, of the cluster as the run left it.
pub fn way_back(run: &Run) -> Plan {
    let mut now = cluster();
    for view in run.swaps.iter().filter(|s| s.state == SwapState::Committed) {
        let Some(node) = now.nodes.get_mut(&view.node) else { continue };
        for change in &run.planned(view).changes {
            node.components.entry(change.component).and_modify(|r| r.image = change.to.clone());
        }
    }
    let mut plan = inverse(&run_id(), &run.plan, &run.done(), &Scope::default(), &now, start());
    plan.seen_to_restart_containers(&run.pods.redefined_on());
    plan
}

/// A cockpit that has observed the cluster.
pub fn app(size: (u16, u16), options: Options) -> App {
    let mut app = App::new(options, releases(), (limits(), budget()), start());
    app.begin();
    update(&mut app, Msg::Resize(size.0, size.1));
    update(&mut app, Msg::Attached(None));
    update(&mut app, Msg::Observed(Ok(Box::new(cluster()))));
    app.notice = None;
    app
}

/// The same, attached to a run with this story.
/// A replay of a story that has ended, stopped at its beginning.
pub fn replay(size: (u16, u16), story: Story) -> App {
    let started = start();
    let about = RecordingHead::new(run_id(), cluster().name, "satoru".into(), started);
    let plan = story.plan.as_ref().clone();
    let recording = Recording { about, plan, records: story.records, chain: Chain::Ok };
    let tape = Tape { recording, speed: 1.0, from: From::Offset(SignedDuration::ZERO) };
    let mut app = App::for_tape(Looks::default(), tape, started).unwrap();
    update(&mut app, Msg::Resize(size.0, size.1));
    update(&mut app, Msg::Key(crossterm::event::KeyEvent::from(crossterm::event::KeyCode::Char(' '))));
    app
}

pub fn running(size: (u16, u16), options: Options, story: Story) -> App {
    let mut app = app(size, options);
    update(&mut app, Msg::Attached(Some(Begun { id: run_id(), plan: story.plan.clone() })));
    update(&mut app, Msg::Tick(at(story.ms)));
    update(&mut app, Msg::Records(run_id(), story.records));
    app.notice = None;
    app
}
