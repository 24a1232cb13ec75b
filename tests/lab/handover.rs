//! What clients notice while etcd and the API servers are swapped: with a leader that hands over first, and without. Beside it,
//! what sonoba says of the downtime and what an independent prober saw.

use crate::api::{Api, Asked};
use crate::cluster::Cluster;
use crate::lab::Lab;
use crate::prober::Prober;
use crate::program::Sonoba;
use crate::upgrade::nobody_waited_long;
use crate::{parts, profile};
use color_eyre::eyre::{Result, ensure};
use serde_json::Value;
use sonoba::fleet::Component;
use sonoba::journal::{Event, Record, Step, read};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Clients that write, each one request after the other.
const WRITERS: usize = 6;
/// Clients that read.
const READERS: usize = 2;

/// What etcd answers to a write that reaches a leader while it hands over: raft takes no proposal then, and nothing is stored.
const DROPPED: &str = "raft proposal dropped";

#[test]
fn clients_that_are_led_away_first_meet_nothing_but_the_hand_over() -> Result<()> {
    if !parts::ready() {
        return Ok(());
    }
    let (led, report) = upgraded(true)?;
    println!("lab: leader hands over:  {}", led.words());
    let (dropped, failed): (Vec<_>, Vec<_>) = led.failures.iter().partition(|why| why.contains(DROPPED));
    ensure!(failed.is_empty(), "requests failed: {failed:?}");
    // It takes milliseconds: no client meets it twice.
    ensure!(dropped.len() <= WRITERS, "writes were dropped: {dropped:?}");
    nobody_waited_long(led.longest, &report)
}

/// The same without: what it is good for. Measured, not demanded: an election may be quick.
#[test]
#[ignore = "measures the other case, for minutes"]
fn clients_notice_a_leader_that_is_stopped() -> Result<()> {
    if !parts::ready() {
        return Ok(());
    }
    println!("lab: leader is stopped: {}", upgraded(false)?.0.words());
    Ok(())
}

/// etcd, API servers, controller-manager and scheduler go from old to new under load; what clients saw, and the report.
fn upgraded(move_leader: bool) -> Result<(Asked, Value)> {
    let lab = Lab::start()?;
    let cluster = Cluster::start(&lab)?;
    let wishes = profile::Wishes { move_leader, ..profile::Wishes::default() };
    let sonoba = Sonoba::new(&lab, profile::write(&lab, wishes)?);
    let (plan, etcd, kubernetes) =
        (lab.dir.join("plan.json").display().to_string(), lab.new.etcd.clone(), lab.new.kubernetes.clone());
    let bumps = [
        format!("etcd={etcd}"),
        format!("kube-apiserver={kubernetes}"),
        format!("kube-controller-manager={kubernetes}"),
        format!("kube-scheduler={kubernetes}"),
    ];
    let mut args = vec!["plan", "-o", &plan];
    args.extend(bumps.iter().flat_map(|bump| ["--bump", bump]));
    let preview = sonoba.expect(0, &args)?;
    println!("{preview}");
    let prober = Prober::start(&lab);
    let api = Api::start(&lab, &cluster, WRITERS, READERS);
    let started = sonoba.start(&plan)?;
    let report = sonoba.outcome(&["completed", "paused", "failed"], Duration::from_secs(900))?;
    let asked = api.finish(&lab.runtime)?;
    let seen = prober.finish(&lab.runtime)?;
    let journal = started.dir.join("journal.jsonl");
    for line in led_away(&journal)? {
        println!("lab: {line}");
    }
    let both = side_by_side(&journal, &seen)?;
    println!("lab: {}", asked.words());
    println!("lab: report {}", report["downtime_ms"]);
    println!("lab: how {}", report["downtime_how"]);
    ensure!(report["outcome"] == "completed", "{report}");
    ensure!(both.len() == 6, "three members and three API servers: {both:?}");
    let wrong: Vec<_> = both.iter().filter(|(_, ours, theirs)| !agree(*ours, *theirs)).collect();
    ensure!(
        wrong.is_empty(),
        "what clients felt and what the report says are further apart than 10 % and 100 ms: {wrong:?}"
    );
    let all = (cluster.api_addresses().0.len(), cluster.api_addresses().1.len());
    ensure!(all == (3, 3), "an API server is missing in the Endpoints: {all:?}");
    lab.end()?;
    Ok((asked, report))
}

fn agree(ours: u64, theirs: u64) -> bool {
    let apart = ours.abs_diff(theirs);
    apart <= 100 || apart * 10 <= theirs
}

/// By component and node: what the journal says, and what the prober saw. Milliseconds.
fn side_by_side(journal: &Path, seen: &BTreeMap<(Component, String), Duration>) -> Result<Vec<(String, u64, u64)>> {
    let mut both = Vec::new();
    println!("lab: {:<28} {:>10} {:>10}", "downtime, ms", "sonoba", "prober");
    for record in read(journal)?.records {
        let Event::SwapHealthy { node, component, downtime_ms, .. } = record.event else { continue };
        let Some(theirs) = seen.get(&(component, node.to_string())) else { continue };
        let theirs = u64::try_from(theirs.as_millis())?;
        let what = format!("{component} on {node}");
        println!("lab: {what:<28} {downtime_ms:>10} {theirs:>10}");
        both.push((what, downtime_ms, theirs));
    }
    Ok(both)
}

fn led_away(journal: &Path) -> Result<Vec<String>> {
    let told = |event| match event {
        Event::ClientsLedAway { node, component, text, ms, .. } => {
            Some(format!("{node}: {component}: {text} ({ms} ms)"))
        }
        Event::SwapStep { node, component: Some(component), step: Step::Stopping, .. } => {
            Some(format!("{node}: {component} stops"))
        }
        _ => None,
    };
    let said = |record: Record| told(record.event).map(|text| format!("{:.1} {text}", record.at));
    Ok(read(journal)?.records.into_iter().filter_map(said).collect())
}
