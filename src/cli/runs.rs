//! The runs in the state folder: finding one, folding it, listing them.

use super::args::{Global, RunsArgs};
use super::failure::Failure;
use super::{places, setup::Setup};
use crate::engine::{self, Refused, RunDir};
use crate::fleet::{ClusterName, clean, count};
use crate::journal::{self, Chain, Report, Run};
use serde::Serialize;
use std::io::Write;
use std::sync::Arc;

/// The run that an operator's command is to act on. A run that is named is that run. Without a name, or as `latest`, it must be
/// clear which one is meant: where several could be, none is taken.
///
/// # Errors
/// Exit 2 when several runs could be meant; they are named.
pub(super) async fn find_to_act(global: &Global, word: &str, takes: Takes) -> Result<RunDir, Failure> {
    if word != "latest" {
        return find(global, word);
    }
    let newest = find(global, word);
    let mut open = Vec::new();
    for run in chosen(global)?.0 {
        if !run.begun() {
            // One that waits for its turn has an engine, and can be given up.
            if let (Some(report), Takes::Attended) = (waiting(&run).await, takes) {
                open.push((run, report));
            }
            continue;
        }
        // One that cannot be read cannot be acted on either; `sonoba runs` warns of it.
        let Ok((folded, chain)) = fold(&run) else { continue };
        if folded.ended().is_none() && folded.events > 0 {
            let engine = engine::attended(&run).await;
            open.push((run, Report { engine, ..journal::report(&folded, chain) }));
        }
    }
    // A command needs an engine to follow it; only a resume starts one.
    let attended = |(_, report): &(RunDir, Report)| !report.orphaned();
    if takes == Takes::Attended && open.iter().any(attended) {
        open.retain(attended);
    }
    match open.as_slice() {
        [] => newest,
        // One that was left behind long ago is not meant by a command that names none: the newest one came after it.
        [(run, report)] if report.orphaned() && newest.as_ref().is_ok_and(|newest| newest.id() != run.id()) => newest,
        [(run, _)] => Ok(run.clone()),
        many => {
            let list: String = many
                .iter()
                .map(|(run, report)| format!("\n  {}  cluster {}, {}", run.id(), report.cluster, report.standing()))
                .collect();
            Err(Failure::usage(format!("{} runs have not ended; name the one that you mean:{list}", many.len())))
        }
    }
}

/// The run that is to be taken back: the latest where none is named, unless several have not ended, and then it could be any.
///
/// # Errors
/// As [`find_to_act`].
pub(super) async fn find_to_roll_back(global: &Global, word: &str) -> Result<RunDir, Failure> {
    // It refuses where it must; of an ended run, the latest is meant.
    find_to_act(global, word, Takes::Attended).await?;
    find(global, word)
}

/// The report on a run that has not begun, and waits for its turn; none of one that does not.
async fn waiting(run: &RunDir) -> Option<Report> {
    if run.given_up().is_some() {
        return None;
    }
    let why = engine::waits(run).await?;
    let (folded, chain) = fold(run).ok()?;
    let engine = Some(journal::EngineSeen::Alive);
    Some(Report { outcome: "waiting".into(), why, engine, ..journal::report(&folded, chain) })
}

/// Which runs a command can be meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// Those with an engine at work, where there is one.
    Attended,
    /// All that have not ended: this command starts an engine.
    Any,
}

/// The runs that the options leave, newest first, and whose they are, in words.
fn chosen(global: &Global) -> Result<(Vec<RunDir>, String), Failure> {
    if global.profile.is_some() || global.cluster.is_some() {
        let cluster = cluster_name(global)?;
        return Ok((of_cluster(global, &cluster)?, format!("of cluster {cluster} ")));
    }
    let state = places::state_dir(global)?;
    Ok((RunDir::list(&state).map_err(Failure::failed)?, String::new()))
}

/// The run that the operator means. Where options name a cluster, `latest` is that cluster's latest: a command must not
/// reach another cluster's run by chance. A run whose engine never began is not the latest.
pub(super) fn find(global: &Global, word: &str) -> Result<RunDir, Failure> {
    let state = places::state_dir(global)?;
    if word != "latest" {
        return RunDir::find(&state, word).map_err(Failure::failed);
    }
    let (runs, whose) = chosen(global)?;
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

/// The report on a run as its journal tells it now, and whether an engine is at work on it where it has not ended.
pub(super) async fn report_of(run: &RunDir, folded: &Run, chain: Chain) -> Report {
    let engine = if folded.ended().is_none() { engine::attended(run).await } else { None };
    Report { engine, ..journal::report(folded, chain) }
}

/// Refuses to call a journal good that was changed: for every command that shows one run or writes it to a file, after it has.
///
/// # Errors
/// Exit 1, with the line.
pub(super) fn refuse_broken(name: &str, chain: Chain) -> Result<(), Failure> {
    match chain {
        Chain::Ok => Ok(()),
        Chain::Broken { line } => Err(Failure::failed(format!(
            "the journal of {} is broken: line {line} does not follow from the one before, so the file was changed after it \
             was written; what it says from there on may not be what happened",
            clean(name)
        ))),
    }
}

/// What a cluster's runs came to, newest first. One that cannot be read is passed over, and logged.
///
/// # Errors
/// In words, when the state folder cannot be read.
pub(super) async fn reports(global: &Global, cluster: &ClusterName) -> Result<Vec<Report>, String> {
    let (global, cluster) = (global.clone(), cluster.clone());
    let read = move || -> Result<Vec<(RunDir, Report)>, String> {
        let runs = of_cluster(&global, &cluster).map_err(|failure| failure.text)?;
        let report = |run: RunDir| match fold(&run) {
            Ok((folded, chain)) => (folded.events > 0).then(|| (run, journal::report(&folded, chain))),
            Err(failure) => {
                tracing::warn!("{} is passed over: {}", run.path().display(), failure.text);
                None
            }
        };
        Ok(runs.into_iter().filter_map(report).collect())
    };
    // Many journals are long.
    let found = tokio::task::spawn_blocking(read).await.map_err(|e| e.to_string())?;
    let mut reports = Vec::new();
    for (run, report) in found? {
        let engine = if report.ended() { None } else { engine::attended(&run).await };
        reports.push(Report { engine, ..report });
    }
    Ok(reports)
}

/// What there is to say of it: what needs a hand first, then of which run it is the rollback, and why it stands or ended so.
fn why(r: &Report) -> String {
    let mut words = r.needs_a_hand();
    if let Some(line) = r.journal.broken_at {
        words.push(format!("its journal was changed at line {line}"));
    }
    if r.swaps.drifted > 0 {
        words.push(format!("{} drifted", count(r.swaps.drifted, "swap has", "swaps have")));
    }
    words.extend(r.rollback_of.as_ref().map(|of| format!("rollback of {of}")));
    if !r.why.is_empty() {
        words.push(r.why.clone());
    }
    words.join("; ")
}

/// What stands in the state folder and is no run that could be folded: it is listed with the reason, and hides nothing.
#[derive(Debug, Serialize)]
struct Unread {
    run: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<ClusterName>,
    outcome: &'static str,
    why: String,
    dir: String,
}

impl Unread {
    /// A folder that is refused as a whole. Whose run it is cannot be believed.
    fn refused(refused: Refused) -> Unread {
        let run = refused.path.file_name().map(|name| clean(&name.to_string_lossy())).unwrap_or_default();
        let (why, dir) = (clean(&refused.why.to_string()), clean(&refused.path.to_string_lossy()));
        Unread { run, cluster: None, outcome: "refused", why, dir }
    }

    fn of(run: &RunDir, outcome: &'static str, why: String) -> Unread {
        let about = run.about();
        let (why, dir) = (clean(&why), clean(&run.path().to_string_lossy()));
        Unread { run: about.id.to_string(), cluster: Some(about.cluster.clone()), outcome, why, dir }
    }

    /// A run that can be read and says nothing.
    fn empty(run: &RunDir) -> Unread {
        match (run.begun(), run.given_up()) {
            (true, _) => Unread::of(run, "unreadable", format!("its journal is empty: {}", run.journal().display())),
            (false, Some(why)) => Unread::of(run, "given up", format!("{why}; nothing was touched")),
            (false, None) => {
                Unread::of(run, "not begun", "its engine ended before it began; nothing was touched".into())
            }
        }
    }
}

/// A line of the list.
#[derive(Serialize)]
#[serde(untagged)]
enum Listed {
    Run(Box<Report>),
    Unread(Unread),
}

/// `sonoba runs`: every run here, or those of the cluster that the options name; and what is no run that can be read, with the reason.
pub(super) async fn list(global: &Global, args: &RunsArgs) -> Result<(), Failure> {
    let state = places::state_dir(global)?;
    let (runs, whose) = chosen(global)?;
    let mut listed: Vec<Listed> = Vec::new();
    for run in &runs {
        listed.push(match fold(run) {
            Ok((folded, _)) if folded.events == 0 => match waiting(run).await {
                Some(report) => Listed::Run(Box::new(report)),
                None => Listed::Unread(Unread::empty(run)),
            },
            Ok((folded, chain)) => Listed::Run(Box::new(report_of(run, &folded, chain).await)),
            Err(failure) => Listed::Unread(Unread::of(run, "unreadable", failure.text)),
        });
    }
    // Whose they are is not known: they are listed whatever cluster is asked for.
    let (_, refused) = RunDir::survey(&state).map_err(Failure::failed)?;
    listed.extend(refused.into_iter().map(|refused| Listed::Unread(Unread::refused(refused))));
    let mut out = std::io::stdout().lock();
    if args.json {
        let text = serde_json::to_string_pretty(&listed).map_err(Failure::failed)?;
        writeln!(out, "{text}")?;
        return Ok(());
    }
    if listed.is_empty() {
        writeln!(out, "no run {whose}in {} yet", clean(&state.to_string_lossy()))?;
        return Ok(());
    }
    let mut row = |[run, cluster, outcome, started, new, disturbed, why]: [&str; 7]| {
        let row = format!("{run:<28} {cluster:<12} {outcome:<11} {started:<16} {new:>9} {disturbed:>9}  {why}");
        writeln!(out, "{}", clean(row.trim_end()))
    };
    row(["RUN", "CLUSTER", "OUTCOME", "STARTED (UTC)", "NEW", "DISTURBED", "WHY"])?;
    for line in &listed {
        match line {
            Listed::Run(r) => {
                let started = r.started.map(|at| at.strftime("%Y-%m-%d %H:%M").to_string()).unwrap_or_default();
                let new = format!("{}/{}", r.nodes.new, r.nodes.total);
                let (run, cluster, disturbed) =
                    (r.run.to_string(), r.cluster.to_string(), r.pods.disturbed.to_string());
                row([&run, &cluster, r.outcome_word(), &started, &new, &disturbed, &why(r)])?;
            }
            Listed::Unread(u) => {
                let cluster = u.cluster.as_ref().map_or("?", ClusterName::as_str);
                row([&u.run, cluster, u.outcome, "", "", "", &u.why])?;
            }
        }
    }
    Ok(())
}
