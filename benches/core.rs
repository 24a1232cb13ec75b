//! The pure core at the size of a real site: planning thousands of nodes, folding a long journal.
//!
//! `cargo bench --bench core`. Machines differ and move with their load: compare within one run only.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use jiff::Timestamp;
use sonoba::fleet::{Cluster, Component, Image, Leaders, Node, Running};
use sonoba::journal::{Event, Record, Run, Step, Verdict};
use sonoba::plan::{Budget, Limits, Plan, Release, Settings, Stage, make};
use sonoba::tui::bench::Cockpit;
use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::sync::Arc;

/// Releases, oldest first: Kubernetes, etcd, rivers.
const RELEASES: [[&str; 3]; 4] = [
    ["1.33.5.1", "3.5.32.1", "1.33.0"],
    ["1.34.3.1", "3.5.32.1", "1.34.0"],
    ["1.35.6.1", "3.6.8.1", "1.35.0"],
    ["1.36.2.1", "3.6.11.1", "1.36.0"],
];

fn image(component: Component, release: usize) -> Image {
    let [kubernetes, etcd, rivers] = RELEASES[release];
    let text = match component {
        Component::Etcd => format!("ghcr.io/cybozu/etcd:{etcd}"),
        Component::Rivers | Component::EtcdRivers => format!("ghcr.io/cybozu-go/cke-tools:{rivers}"),
        _ => format!("ghcr.io/cybozu/kubernetes:{kubernetes}"),
    };
    text.parse().expect("an image")
}

fn release(number: usize) -> Release {
    let images = Component::ALL.into_iter().map(|c| (c, image(c, number))).collect();
    Release { name: RELEASES[number][0].into(), images }
}

fn node(name: String, rack: usize, master: bool, release: usize) -> Node {
    let components = Component::ALL.into_iter().filter(|c| master || !c.master_only());
    Node {
        name: name.parse().expect("a node's name"),
        address: format!("10.69.{}.{}", rack % 250, rack / 250 + 4),
        port: 22,
        user: None,
        rack: format!("rack{rack}").parse().expect("a rack's name"),
        role: Some("cs".parse().expect("a role")),
        labels: Default::default(),
        master,
        ready: true,
        reachable: Some(true),
        kubelet_version: Some("v1.35.6".parse().expect("a version")),
        components: components
            .map(|c| {
                let running = Running {
                    container: c.as_str().parse().expect("a container's name"),
                    id: format!("{name}-{c}"),
                    image: image(c, release),
                    image_id: format!("sha256:{}", "0".repeat(64)),
                    running: true,
                    started: None,
                    restarts: 0,
                    args: vec![c.as_str().to_owned()],
                };
                (c, running)
            })
            .collect(),
        leftovers: Default::default(),
    }
}

/// 5 masters and `workers` workers, 28 a rack.
fn cluster(workers: usize, release: usize) -> Cluster {
    let masters = (0..5).map(|i| node(format!("rack{i}-m1"), i, true, release));
    let workers = (0..workers).map(|i| node(format!("rack{}-cs{}", i / 28, i % 28 + 1), i / 28, false, release));
    let nodes: BTreeMap<_, _> = masters.chain(workers).map(|n| (n.name.clone(), n)).collect();
    Cluster { name: "bench".parse().expect("a name"), nodes, leaders: Leaders::default(), salt: None }
}

/// To the newest release, over those between.
fn plan(cluster: &Cluster) -> Plan {
    let stage = Stage::of(&release(3), Limits::default(), Budget::default());
    let stage = Stage { way: (0..4).map(release).collect(), ..stage };
    make(cluster, &stage, &Settings::default(), Timestamp::UNIX_EPOCH)
}

/// What a run of `plan` writes down when all goes well, until there are `enough` records.
fn journal(plan: &Plan, enough: usize) -> Vec<Record> {
    let mut events = vec![Event::EngineStarted { pid: 1, host: "bench".into(), resumed: false }];
    'runs: loop {
        for (_, _, s) in plan.swaps() {
            let (swap, node) = (s.id.clone(), s.node.clone());
            events.push(Event::SwapPreparing { swap: swap.clone(), node: node.clone() });
            for (n, step) in [Step::Begun, Step::Stopping, Step::Stopped, Step::Started].into_iter().enumerate() {
                let component = Some(s.changes[0].component);
                let (swap, node) = (swap.clone(), node.clone());
                events.push(Event::SwapStep { swap, node, component, step, uptime_ms: n as u64 });
            }
            let why = String::new();
            let verdict = Verdict::Commit;
            events.push(Event::SwapVerdict { swap: swap.clone(), node: node.clone(), verdict, why });
            let (pods_checked, pods_undisturbed) = (30, 30);
            events.push(Event::SwapCommitted { swap, node, pods_checked, pods_undisturbed, ms: 3_000 });
            if events.len() >= enough {
                break 'runs;
            }
        }
    }
    let record = |(i, event)| Record { seq: i as u64 + 1, at: Timestamp::UNIX_EPOCH, prev: String::new(), event };
    events.into_iter().enumerate().map(record).collect()
}

fn planning(c: &mut Criterion) {
    let mut group = c.benchmark_group("plan");
    group.sample_size(10);
    for (name, release, hops) in [("one minor", 2, 0), ("three minors", 0, 3)] {
        for workers in [500, 5_000, 15_000] {
            let cluster = cluster(workers, release);
            let made = plan(&cluster);
            assert!(!made.refused(), "{:?}", made.findings);
            let stops: BTreeSet<&str> = made.phases.iter().filter_map(|p| p.hop.as_deref()).collect();
            assert_eq!(stops.len(), hops);
            group.throughput(Throughput::Elements(workers as u64));
            group.bench_function(BenchmarkId::new(name, workers), |b| b.iter(|| plan(black_box(&cluster))));
        }
    }
    group.finish();
}

fn folding(c: &mut Criterion) {
    let plan = Arc::new(plan(&cluster(3_000, 2)));
    let records = journal(&plan, 100_000);
    let mut group = c.benchmark_group("fold");
    group.sample_size(10).throughput(Throughput::Elements(records.len() as u64));
    group.bench_function("100,000 events", |b| {
        b.iter_batched_ref(
            || Run::new(Arc::clone(&plan)),
            |run| records.iter().for_each(|r| run.apply(black_box(r))),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

/// One frame of the run's screen in the middle of a run, and a filter, both over 5,000 nodes.
fn painting(c: &mut Criterion) {
    let plan = plan(&cluster(5_000, 2));
    let records = journal(&plan, 18_000);
    let mut cockpit = Cockpit::on_a_run(&plan, "bench".parse().expect("an id"), records, (200, 60));
    let mut group = c.benchmark_group("cockpit");
    group.bench_function("frame of the run, 5,000 nodes, 200x60", |b| b.iter(|| cockpit.frame()));
    for text in ["rack=3,4 role=cs version<1.36", "cs17", "state=old ready=yes"] {
        group.bench_function(BenchmarkId::new("filter over 5,000 nodes", text), |b| {
            b.iter(|| cockpit.filter(black_box(text)));
        });
    }
    group.finish();
}

criterion_group!(benches, planning, folding, painting);
criterion_main!(benches);
