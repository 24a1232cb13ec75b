//! The pure core at the size of a real site: planning thousands of nodes, folding a long journal.
//!
//! `cargo bench --bench core`. Machines differ and move with their load: compare within one run only.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use jiff::Timestamp;
use sonoba::fleet::{Cluster, Component, Image, Leaders, Node, Running};
use sonoba::journal::{Event, Record, Run, Step, Verdict};
use sonoba::plan::{Budget, Limits, Plan, Release, Settings, Stage, make};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

fn image(component: Component, new: bool) -> Image {
    let text = match component {
        Component::Etcd => ["ghcr.io/cybozu/etcd:3.6.8.1", "ghcr.io/cybozu/etcd:3.6.11.1"],
        Component::Rivers | Component::EtcdRivers => {
            ["ghcr.io/cybozu-go/cke-tools:1.35.0", "ghcr.io/cybozu-go/cke-tools:1.36.0"]
        }
        _ => ["ghcr.io/cybozu/kubernetes:1.35.6.1", "ghcr.io/cybozu/kubernetes:1.36.2.1"],
    };
    text[usize::from(new)].parse().expect("an image")
}

fn node(name: String, rack: usize, master: bool) -> Node {
    let components = Component::ALL.into_iter().filter(|c| master || !c.master_only());
    Node {
        name: name.parse().expect("a node's name"),
        address: format!("10.69.{}.{}", rack % 250, rack / 250 + 4),
        port: 22,
        user: None,
        rack: format!("rack{rack}").parse().expect("a rack's name"),
        role: Some("cs".parse().expect("a role")),
        master,
        ready: true,
        reachable: Some(true),
        kubelet_version: Some("v1.35.6".parse().expect("a version")),
        components: components
            .map(|c| {
                let running = Running {
                    container: c.as_str().parse().expect("a container's name"),
                    id: format!("{name}-{c}"),
                    image: image(c, false),
                    image_id: format!("sha256:{}", "0".repeat(64)),
                    running: true,
                    args: vec![c.as_str().to_owned()],
                };
                (c, running)
            })
            .collect(),
        leftovers: Default::default(),
    }
}

/// 5 masters and `workers` workers, 28 a rack.
fn cluster(workers: usize) -> Cluster {
    let masters = (0..5).map(|i| node(format!("rack{i}-m1"), i, true));
    let workers = (0..workers).map(|i| node(format!("rack{}-cs{}", i / 28, i % 28 + 1), i / 28, false));
    let nodes: BTreeMap<_, _> = masters.chain(workers).map(|n| (n.name.clone(), n)).collect();
    Cluster { name: "bench".parse().expect("a name"), nodes, leaders: Leaders::default() }
}

fn plan(cluster: &Cluster) -> Plan {
    let images = Component::ALL.into_iter().map(|c| (c, image(c, true))).collect();
    let release = Release { name: "1.36.2".into(), images };
    let stage = Stage::of(&release, Limits::default(), Budget::default());
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
    for workers in [500, 5_000] {
        let cluster = cluster(workers);
        assert!(!plan(&cluster).refused());
        group.throughput(Throughput::Elements(workers as u64));
        group.bench_function(BenchmarkId::new("make", workers), |b| b.iter(|| plan(black_box(&cluster))));
    }
    group.finish();
}

fn folding(c: &mut Criterion) {
    let plan = Arc::new(plan(&cluster(3_000)));
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

criterion_group!(benches, planning, folding);
criterion_main!(benches);
