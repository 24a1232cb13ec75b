//! The runs in the state folder: finding one, folding it, listing them.

use super::args::{Global, RunsArgs};
use super::failure::Failure;
use super::{places, say, setup::Setup};
use crate::engine::RunDir;
use crate::fleet::{ClusterName, clean};
use crate::journal::{self, Chain, Report, Run};
use std::io::Write;
use std::sync::Arc;

/// The run that the operator means. Where options name a cluster, `latest` is that cluster's latest: a command must not
/// reach another cluster's run by chance. A run whose engine never began is not the latest.
pub(super) fn find(global: &Global, word: &str) -> Result<RunDir, Failure> {
    let state = places::state_dir(global)?;
    if word != "latest" {
        return RunDir::find(&state, word).map_err(Failure::failed);
    }
    let (runs, whose) = if global.profile.is_some() || global.cluster.is_some() {
        let cluster = cluster_name(global)?;
        (of_cluster(global, &cluster)?, format!("of cluster {cluster} "))
    } else {
        (RunDir::list(&state).map_err(Failure::failed)?, String::new())
    };
    let begun = runs.into_iter().find(|run| run.begun());
    begun
        .ok_or_else(|| Failure::failed(format!("no run {whose}in {} yet; what ran here: sonoba runs", state.display())))
}

fn cluster_name(global: &Global) -> Result<ClusterName, Failure> {
    match &global.cluster {
        Some(name) => Ok(name.clone()),
        None => Ok(Setup::load(global)?.profile.name),
    }
}

/// A cluster's runs, newest first.
pub(super) fn of_cluster(global: &Global, cluster: &ClusterName) -> Result<Vec<RunDir>, Failure> {
    let state = places::state_dir(global)?;
    let all = RunDir::list(&state).map_err(Failure::failed)?;
    Ok(all.into_iter().filter(|run| run.about().cluster == *cluster).collect())
}

/// A run as its journal tells it, and whether that can be believed.
pub(super) fn fold(run: &RunDir) -> Result<(Run, Chain), Failure> {
    let (plan, hash) = run.plan().map_err(Failure::failed)?;
    let mut folded = Run::new(Arc::new(plan));
    folded.id = Some(run.id().clone());
    // An engine that could not start left no journal: such a run has begun nothing.
    let Some(path) = run.begun_journal().map_err(Failure::failed)? else { return Ok((folded, Chain::Ok)) };
    let journal = journal::read_for(&path, &hash).map_err(Failure::failed)?;
    for record in &journal.records {
        folded.apply(record);
    }
    Ok((folded, journal.chain))
}

/// What a cluster's runs came to, newest first. One that cannot be read is passed over, and logged.
///
/// # Errors
/// In words, when the state folder cannot be read.
pub(super) async fn reports(global: &Global, cluster: &ClusterName) -> Result<Vec<Report>, String> {
    let (global, cluster) = (global.clone(), cluster.clone());
    let read = move || {
        let runs = of_cluster(&global, &cluster).map_err(|failure| failure.text)?;
        let report = |run: RunDir| match fold(&run) {
            Ok((folded, chain)) => (folded.events > 0).then(|| journal::report(&folded, chain)),
            Err(failure) => {
                tracing::warn!("{} is passed over: {}", run.path().display(), failure.text);
                None
            }
        };
        Ok(runs.into_iter().filter_map(report).collect())
    };
    // Many journals are long.
    tokio::task::spawn_blocking(read).await.map_err(|e| e.to_string())?
}

/// Why it ended so, and of which run it is the rollback.
fn why(r: &Report) -> String {
    match &r.rollback_of {
        Some(of) if r.why.is_empty() => format!("rollback of {of}"),
        Some(of) => format!("rollback of {of}: {}", r.why),
        None => r.why.clone(),
    }
}

/// `sonoba runs`.
pub(super) fn list(global: &Global, args: &RunsArgs) -> Result<(), Failure> {
    let state = places::state_dir(global)?;
    let runs = RunDir::list(&state).map_err(Failure::failed)?;
    let mut out = std::io::stdout().lock();
    let mut reports: Vec<Report> = Vec::new();
    for run in &runs {
        match fold(run) {
            Ok((folded, _)) if folded.events == 0 => {}
            Ok((folded, chain)) => reports.push(journal::report(&folded, chain)),
            Err(failure) => say::err(format!("warning: {} is passed over: {}", run.path().display(), failure.text)),
        }
    }
    if args.json {
        let text = serde_json::to_string_pretty(&reports).map_err(Failure::failed)?;
        writeln!(out, "{text}")?;
        return Ok(());
    }
    if reports.is_empty() {
        writeln!(out, "no run in {} yet", clean(&state.to_string_lossy()))?;
        return Ok(());
    }
    writeln!(
        out,
        "{:<28} {:<12} {:<10} {:<16} {:>9} {:>9}  WHY",
        "RUN", "CLUSTER", "OUTCOME", "STARTED (UTC)", "NEW", "DISTURBED"
    )?;
    for r in &reports {
        let started = r.started.map(|at| at.strftime("%Y-%m-%d %H:%M").to_string()).unwrap_or_default();
        let new = format!("{}/{}", r.nodes.new, r.nodes.total);
        let row = format!(
            "{:<28} {:<12} {:<10} {:<16} {:>9} {:>9}  {}",
            r.run,
            r.cluster,
            r.outcome,
            started,
            new,
            r.pods.disturbed,
            why(r)
        );
        writeln!(out, "{}", clean(row.trim_end()))?;
    }
    Ok(())
}
