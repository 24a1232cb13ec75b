//! What the cluster rests on fails during a run: the registry while images are pulled, an etcd member that somebody else stops.

use crate::cluster::Cluster;
use crate::common::process::signal;
use crate::lab::Lab;
use crate::process::{run, wait_for};
use crate::program::{Sonoba, Started};
use crate::upgrade::{Inspected, inspect_all, nobody_waited_long, nothing_but_the_image_changed, the_report_says_so};
use crate::writer::Writer;
use crate::{components, parts, profile};
use color_eyre::eyre::{Result, ensure, eyre};
use rustix::process::Signal;
use sonoba::journal::{Event, Follower, Record, read};
use sonoba::plan::{PhaseKind, Plan};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

#[test]
fn a_run_waits_for_a_registry_that_is_down_and_for_an_etcd_member_that_somebody_stopped() -> Result<()> {
    if !parts::ready() {
        return Ok(());
    }
    let mut lab = Lab::start()?;
    let _cluster = Cluster::start(&lab)?;
    let sonoba = Sonoba::new(&lab, profile::write(&lab, profile::Wishes::default())?);
    let before = inspect_all(&lab)?;
    let plan = lab.dir.join("plan.json").display().to_string();
    sonoba.expect(0, &["plan", "--release", lab.new.name, "-o", &plan])?;
    let writer = Writer::start(&lab.runtime, lab.etcd_members());

    let started = without_registry(&mut lab, &sonoba, &plan)?;
    assert_eq!(starts(&inspect_all(&lab)?), starts(&before), "nothing was touched");
    with_a_member_stopped(&lab, &sonoba, &started)?;

    let report = sonoba.outcome(&["completed"], Duration::from_secs(900))?;
    let written = writer.finish(&lab.runtime)?;
    println!("lab: {} writes acknowledged, longest wait {:?}", written.acknowledged.len(), written.longest);
    nobody_waited_long(written.longest, &report)?;
    the_report_says_so(&lab, &report)?;
    nothing_but_the_image_changed(&lab, &before)?;
    lab.end()
}

/// Which container each is, and since when it runs.
fn starts(all: &Inspected) -> Vec<String> {
    all.iter().map(|((node, name), c)| format!("{node} {name} {} {}", c["Id"], c["State"]["StartedAt"])).collect()
}

/// The registry goes down after one node has its images: pulls fail with a reason, and the run pauses before anything restarts.
fn without_registry(lab: &mut Lab, sonoba: &Sonoba, plan: &str) -> Result<Started> {
    let first = lab.nodes.first().ok_or_else(|| eyre!("a lab without nodes"))?;
    for image in lab.new.images() {
        run(first.docker().args(["pull", "-q", image]))?;
    }
    lab.stop_registry()?;
    let started = sonoba.start(plan)?;
    let report = sonoba.outcome(&["paused"], Duration::from_secs(90))?;
    let why = report["why"].as_str().unwrap_or_default().to_owned();
    println!("lab: without a registry: {why}");
    ensure!(why.contains("could not be pulled on lab-") && why.contains("connection refused"), "{why}");
    ensure!(intended(&started)?.is_empty(), "a swap began without its images");
    lab.start_registry()?;
    Ok(started)
}

/// Somebody stops the etcd of a master whose turn comes later, while another master is being swapped.
fn with_a_member_stopped(lab: &Lab, sonoba: &Sonoba, started: &Started) -> Result<()> {
    let (inner, outer) = masters_in_turn(started)?;
    let mut follower = Follower::open(&started.dir.join("journal.jsonl"));
    sonoba.expect(0, &["resume"])?;
    heard(&mut follower, "the first master is in flight", |e| matches!(e, Event::SwapIntended { .. }))?;
    // The engine holds still for that moment, so that it cannot be ahead of us.
    let engine = u32::try_from(started.engine)?;
    signal(engine, Signal::STOP);
    let node = lab.node(&outer);
    run(node.docker().args(["stop", "etcd"]))?;
    signal(engine, Signal::CONT);
    let waits =
        |event: &Event| matches!(event, Event::GateWaiting { why, .. } if why.contains(&outer) && why.contains("etcd"));
    let waiting = heard(&mut follower, "the run waits for the member", waits)?;
    println!("lab: {:?}", waiting.event);
    // It looks again every second; it must not go on at any of these.
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        assert_eq!(intended(started)?, BTreeSet::from([inner.clone()]), "only the one that was in flight has begun");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(sonoba.report()?["outcome"], "running");
    run(node.docker().args(["start", "etcd"]))?;
    wait_for("the member is healthy", Duration::from_secs(30), || {
        let (status, _) = lab.health(node, "etcd")?;
        ensure!(status == 200, "it says {status}");
        Ok(())
    })?;
    heard(&mut follower, "the gate holds again", |e| matches!(e, Event::GatePassed { .. }))?;
    ensure!(components::names(node.kind).contains(&"etcd"), "{outer} is a master");
    Ok(())
}

/// The first and the last master of the plan's first phase of swaps.
fn masters_in_turn(started: &Started) -> Result<(String, String)> {
    let plan: Plan = serde_json::from_slice(&std::fs::read(started.dir.join("plan.json"))?)?;
    let phase = plan.phases.iter().find(|p| p.kind != PhaseKind::Prefetch).ok_or_else(|| eyre!("no swaps"))?;
    let nodes: Vec<String> = phase.waves.iter().flat_map(|w| &w.swaps).map(|s| s.node.to_string()).collect();
    let (Some(first), Some(last)) = (nodes.first(), nodes.last()) else { return Err(eyre!("no swaps: {phase:?}")) };
    ensure!(nodes.len() == 3 && first != last, "three masters in turn: {nodes:?}");
    Ok((first.clone(), last.clone()))
}

/// The nodes that were told to swap.
fn intended(started: &Started) -> Result<BTreeSet<String>> {
    let journal = read(&started.dir.join("journal.jsonl"))?;
    let nodes = journal.records.into_iter().filter_map(|r| match r.event {
        Event::SwapIntended { node, .. } => Some(node.to_string()),
        _ => None,
    });
    Ok(nodes.collect())
}

/// Reads on until the journal says so.
fn heard(follower: &mut Follower, what: &str, says: impl Fn(&Event) -> bool) -> Result<Record> {
    wait_for(what, Duration::from_secs(90), || {
        while let Some(record) = follower.try_next() {
            if says(&record.event) {
                return Ok(record);
            }
        }
        Err(eyre!("it does not say so yet"))
    })
}
