//! Two bastions and real nodes: an engine is frozen at some moment of its run, another takes over, and the first wakes up. What it
//! did then is read from both journals and from the folders that the nodes keep.

use crate::cluster::Cluster;
use crate::common::kills::seed;
use crate::lab::Lab;
use crate::process::{lives, signal, wait_for};
use crate::program::{Sonoba, Started};
use crate::writer::Writer;
use crate::{parts, profile};
use color_eyre::eyre::{Result, ensure, eyre};
use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;
use sonoba::journal::{Chain, Event, Record, read};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often an engine is frozen: a plan has about three times as many swaps.
const FREEZES: usize = 4;
/// A Lease of a minute that is watched for a minute, and what a slow machine makes of it.
const TAKE_OVER: Duration = Duration::from_secs(600);

#[test]
#[ignore = "measures, for ten minutes"]
fn a_frozen_engine_that_wakes_up_leaves_no_trace_in_the_nodes_folders() -> Result<()> {
    if !parts::ready() {
        return Ok(());
    }
    let mut dice = StdRng::seed_from_u64(seed());
    let lab = Lab::start()?;
    let _cluster = Cluster::start(&lab)?;
    let profile = profile::write(&lab, profile::Wishes::default())?;
    // An etcd that was never written to has no snapshot worth the name.
    let writer = Writer::start(&lab.runtime, lab.etcd_members());
    let mut first = begin(&lab, &profile, 0)?;
    for n in 1..=FREEZES {
        wait_for("the first has begun with a node", TAKE_OVER, || {
            let begun = |r: &Record| matches!(r.event, Event::SwapIntended { .. });
            ensure!(records(&first.1.dir)?.iter().any(begun), "nothing yet");
            Ok(())
        })?;
        let after = Duration::from_millis(dice.random_range(0..6_000));
        std::thread::sleep(after);
        signal(first.1.engine, Signal::STOP)?;
        let second = begin(&lab, &profile, n)?;
        let held = records(&second.1.dir)?.first().ok_or_else(|| eyre!("no record"))?.at;
        signal(first.1.engine, Signal::CONT)?;
        let name = run_name(&second.1.dir);
        wait_for("the woken engine names the second", TAKE_OVER, || {
            ensure!(lives(first.1.engine), "it died");
            let told = |r: &Record| matches!(&r.event, Event::Paused { why, .. } if why.contains(&name));
            ensure!(records(&first.1.dir)?.iter().any(told), "not yet");
            Ok(())
        })?;
        wait_for("the second commits", TAKE_OVER, || {
            let done = |r: &Record| matches!(r.event, Event::SwapCommitted { .. });
            ensure!(records(&second.1.dir)?.iter().any(done), "nothing yet");
            Ok(())
        })?;
        let deed = |r: &&Record| {
            let verdict = matches!(r.event, Event::SwapVerdict { .. });
            r.at > held && (verdict || matches!(r.event, Event::SwapPreparing { .. } | Event::SwapIntended { .. }))
        };
        let late = records(&first.1.dir)?;
        let deeds: Vec<_> = late.iter().filter(deed).collect();
        ensure!(deeds.is_empty(), "frozen after {after:?}: in its journal: {deeds:?}");
        let (old, tokens) = traces(&lab, &run_name(&first.1.dir))?;
        let late: Vec<_> = old.iter().filter(|(_, at)| *at > held).collect();
        ensure!(late.is_empty(), "frozen after {after:?}, the second holds the lock from {held} on: {late:?}");
        let (new, _) = traces(&lab, &name)?;
        ensure!(!new.is_empty(), "no node knows the second");
        println!(
            "lab: frozen after {after:?}: the second holds the lock from {held:.3} on; {} files of the first on the nodes, the latest \
             of {:?}; tokens {tokens:?}",
            old.len(),
            old.iter().map(|(_, at)| *at).max()
        );
        signal(first.1.engine, Signal::KILL)?;
        first = second;
    }
    first.0.outcome(&["completed"], TAKE_OVER)?;
    writer.finish(&lab.runtime)?;
    lab.end()
}

/// A bastion of its own makes a plan of what is left, and begins with it.
fn begin(lab: &Lab, profile: &Path, n: usize) -> Result<(Sonoba, Started)> {
    let sonoba = Sonoba::on_bastion(lab, profile.to_owned(), n);
    let plan = lab.dir.join(format!("plan{n}.json")).display().to_string();
    let started = wait_for("a run begins", TAKE_OVER, || {
        sonoba.expect(0, &["plan", "--release", lab.new.name, "-o", &plan])?;
        sonoba.start(&plan)
    })?;
    Ok((sonoba, started))
}

fn records(run: &Path) -> Result<Vec<Record>> {
    let journal = read(&run.join("journal.jsonl"))?;
    ensure!(journal.chain == Chain::Ok, "{}: its chain is broken", run.display());
    Ok(journal.records)
}

fn run_name(run: &Path) -> String {
    run.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A file, and when it was last written.
type Written = (PathBuf, Timestamp);

/// The files of a run in the nodes' folders: its transactions', and the tokens that it showed. And all tokens.
fn traces(lab: &Lab, run: &str) -> Result<(Vec<Written>, Vec<String>)> {
    let (mut files, mut tokens) = (Vec::new(), Vec::new());
    for node in &lab.nodes {
        let own = node.dir.join("home/.sonoba");
        for token in list(&own.join("fence")) {
            let shown = token.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if shown.ends_with(&format!(".{run}")) {
                files.push(written(token)?);
            }
            tokens.push(shown);
        }
        for tx in list(&own.join("tx")) {
            let fence = fs::read_to_string(tx.join("fence")).unwrap_or_default();
            if fence.split_whitespace().nth(1) == Some(run) {
                for file in list(&tx).into_iter().chain([tx.clone()]) {
                    files.push(written(file)?);
                }
            }
        }
    }
    tokens.sort_unstable();
    tokens.dedup();
    Ok((files, tokens))
}

fn list(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn written(file: PathBuf) -> Result<Written> {
    let at = fs::symlink_metadata(&file)?.modified()?.try_into()?;
    Ok((file, at))
}
