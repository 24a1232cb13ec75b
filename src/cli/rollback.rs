//! `sonoba rollback`: what a run did, taken back. It is a plan that can be read first, and a run like any other.

use super::args::{Global, RollbackArgs, RunArg};
use super::failure::Failure;
use super::setup::Setup;
use super::{apply, command, output, plan_file, runs, say, stage};
use crate::engine::RunDir;
use crate::journal::{Chain, Run, Verb};
use crate::plan::{self, Finding, Plan, Severity};
use jiff::Timestamp;
use std::io::Write;

pub(super) async fn run(global: &Global, args: &RollbackArgs) -> Result<(), Failure> {
    let run = runs::find_to_roll_back(global, &args.run.run).await?;
    let (folded, chain) = runs::fold(&run)?;
    let id = run.id();
    if folded.events == 0 {
        return Err(Failure::failed(format!("run {id} never began; there is nothing to take back")));
    }
    if folded.ended().is_none() {
        // Of a run that is under way, single nodes go back by its own engine.
        if let (Some(nodes), None) = (&args.nodes, &args.output) {
            let found = RunArg { run: run.path().display().to_string() };
            return command::of_nodes(global, &found, nodes, |nodes| Verb::RollBack { nodes }).await;
        }
        return Err(Failure::failed(format!(
            "run {id} has not ended: abort it first (sonoba abort {id}), or name nodes that are in flight or failed (--nodes)"
        )));
    }
    // Said twice by habit, this would upgrade the cluster again.
    if let ("latest", Some(of)) = (args.run.run.as_str(), &folded.plan.rollback_of) {
        return Err(Failure::usage(format!(
            "the latest run {id} is itself the rollback of {of}; to take that back, name it: sonoba rollback {id}"
        )));
    }
    let setup = setup(global, &run)?;
    if folded.cluster != setup.profile.name {
        return Err(Failure::refused(format!(
            "run {id} was on cluster {}, the profile {} is of {}; give --profile or --cluster",
            folded.cluster,
            setup.path.display(),
            setup.profile.name
        )));
    }
    let plan = inverse(&setup, args, &folded, chain).await?;
    if let Some(path) = &args.output {
        plan_file::save(path, &plan)?;
        // Where the plan itself is printed, whoever reads it wants nothing else.
        match output::is_standard(path) {
            true if args.json => {}
            true => preview(&mut std::io::stderr().lock(), &plan, false)?,
            false => preview(&mut std::io::stdout().lock(), &plan, args.json)?,
        }
        refuse_errors(&plan, id.as_str())?;
        plan_file::saved(path);
        return Ok(());
    }
    if plan.refused() || plan.swaps().next().is_none() {
        preview(&mut std::io::stderr().lock(), &plan, false)?;
        refuse_errors(&plan, id.as_str())?;
        say::out(format!("nothing to do: run {id} left nothing that can be taken back"));
        return Ok(());
    }
    if args.yes {
        preview(&mut std::io::stderr().lock(), &plan, false)?;
    } else {
        apply::ask(&plan)?;
    }
    apply::start(global, &setup, &plan, args.detach, args.json).await
}

/// The profile that the options name; else the one that the run was carried out with.
fn setup(global: &Global, run: &RunDir) -> Result<Setup, Failure> {
    match global.profile.is_some() || global.cluster.is_some() {
        true => Setup::load(global),
        false => Setup::read(&run.profile()),
    }
}

/// The inverse plan, of the cluster as it is now.
async fn inverse(setup: &Setup, args: &RollbackArgs, folded: &Run, chain: Chain) -> Result<Plan, Failure> {
    let ports = setup.ports().await?;
    let now = setup.observe(&ports).await?;
    let scope = stage::scope_of(args.nodes.as_deref(), &args.leave_out, &now)?;
    let Some(id) = &folded.id else { return Err(Failure::failed("the run does not say which it is")) };
    let mut plan = plan::inverse(id, &folded.plan, &folded.done(), &scope, &now, Timestamp::now());
    plan.seen_to_restart_containers(&folded.pods.redefined_on());
    plan.acknowledge(&args.acknowledge);
    if let Chain::Broken { line } = chain {
        plan.findings.push(Finding {
            code: "journal-broken".into(),
            severity: Severity::Warning,
            text: format!("the journal of run {id} was changed at line {line}: what it says was done may not be all"),
            mend: "compare the nodes below with what they run".into(),
            link: String::new(),
            offer: String::new(),
            acknowledgeable: false,
            nodes: Vec::new(),
        });
    }
    Ok(plan)
}

fn refuse_errors(plan: &Plan, run: &str) -> Result<(), Failure> {
    match apply::errors(plan) {
        Some(errors) => Err(Failure::refused(format!(
            "the rollback of run {run} has errors:{errors}\nfix them, then: sonoba rollback {run}"
        ))),
        None => Ok(()),
    }
}

fn preview(out: &mut impl Write, plan: &Plan, json: bool) -> Result<(), Failure> {
    let text = if json { plan_file::to_text(plan)? } else { plan::render(plan) };
    out.write_all(text.as_bytes())?;
    Ok(())
}
