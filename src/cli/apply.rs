//! `sonoba apply`: a plan carried out, exactly as it reads.

use super::args::{ApplyArgs, Global};
use super::failure::Failure;
use super::follow::{Manner, follow};
use super::plan_file::{self, anew};
use super::setup::Setup;
use super::{places, say};
use crate::engine::{self, RunDir};
use crate::fleet::{clean, count};
use crate::plan::{self, Fingerprint, Plan, Severity};
use std::io::{BufRead, IsTerminal, Write};

pub(super) async fn run(global: &Global, args: &ApplyArgs) -> Result<(), Failure> {
    let plan = plan_file::load(&args.plan)?;
    let setup = Setup::load(global)?;
    let shown = args.plan.display().to_string();
    if plan.cluster.name != setup.profile.name {
        return Err(Failure::refused(format!(
            "plan {shown} is for cluster {}, the profile {} is of {}; give --profile or --cluster",
            plan.cluster.name,
            setup.path.display(),
            setup.profile.name
        )));
    }
    refuse_errors(&plan, &shown)?;
    let ports = setup.ports_for(&plan).await?;
    refuse_moved(&plan, &setup.observe(&ports).await?, &shown)?;
    drop(ports);
    if plan.swaps().next().is_none() {
        say::out("nothing to do: every component is as the plan wants it");
        return Ok(());
    }
    if !args.yes {
        ask(&plan)?;
    }
    start(global, &setup, &plan, args.detach, args.json).await
}

/// Starts an engine on a plan that was read and agreed to, and follows its run unless it is left to itself.
pub(super) async fn start(
    global: &Global,
    setup: &Setup,
    plan: &Plan,
    detach: bool,
    json: bool,
) -> Result<(), Failure> {
    let state = places::state_dir(global)?;
    let run = RunDir::create(&state, plan, &setup.profile).map_err(Failure::failed)?;
    let id = run.id();
    let told = |why: &str| {
        say::err(format!(
            "run {id} has not begun: it {why}; it is given up by Ctrl-C here, or with: sonoba abort {id}"
        ));
    };
    let pid = engine::begin(&run, told).await.map_err(Failure::failed)?;
    if detach {
        if json {
            let told = serde_json::json!({"run": id, "dir": run.path(), "engine": pid});
            say::out(told);
        } else {
            say::out(format!("run {id} has begun (engine {pid}); watch it with: sonoba watch {id}"));
        }
        return Ok(());
    }
    say::err(format!("run {id} has begun (engine {pid}); Ctrl-C pauses it, closing this terminal does not"));
    follow(&run, Manner { json, commands: true }).await
}

fn refuse_errors(plan: &Plan, shown: &str) -> Result<(), Failure> {
    match errors(plan) {
        Some(errors) => Err(Failure::refused(format!(
            "plan {shown} has errors:{errors}\nfix them and make the plan anew with: {}",
            anew(plan)
        ))),
        None => Ok(()),
    }
}

/// The findings that refuse a plan, each with its mend on a line of its own; `None` where it is not refused.
pub(super) fn errors(plan: &Plan) -> Option<String> {
    let mut text = String::new();
    for finding in plan.findings.iter().filter(|f| f.severity == Severity::Error) {
        text += &format!("\n  {}: {}", clean(&finding.code), clean(&finding.text));
        if !finding.mend.is_empty() {
            text += &format!("\n    mend: {}", clean(&finding.mend));
        }
    }
    plan.refused().then_some(text)
}

fn refuse_moved(plan: &Plan, now: &crate::fleet::Cluster, shown: &str) -> Result<(), Failure> {
    let moved = plan::moved(plan, now);
    if moved.is_empty() {
        return Ok(());
    }
    let (then, now) = (Fingerprint::of(&plan.cluster), Fingerprint::of(now));
    let mut text = format!(
        "cluster {} is no longer as plan {shown} has it (planned on state {then}, now {now}):",
        plan.cluster.name
    );
    for line in &moved {
        text += &format!("\n  {}", clean(line));
    }
    Err(Failure::refused(format!("{text}\nmake the plan anew with: {}, and look at it again", anew(plan))))
}

/// Shows the plan and asks for the cluster's name: what is typed by heart is meant.
pub(super) fn ask(plan: &Plan) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("there is no terminal to ask on; look at the plan and give --yes"));
    }
    let mut err = std::io::stderr();
    writeln!(err, "{}", plan::render(plan))?;
    let warnings = plan.findings.iter().filter(|f| f.severity == Severity::Warning).count();
    if warnings > 0 {
        writeln!(err, "{} above; to go on is to acknowledge them.", count(warnings, "warning", "warnings"))?;
    }
    write!(err, "To carry this out, type the cluster's name ({}): ", plan.cluster.name)?;
    err.flush()?;
    let mut typed = String::new();
    std::io::stdin().lock().read_line(&mut typed).map_err(|e| Failure::failed(format!("standard input: {e}")))?;
    if typed.trim() == plan.cluster.name.as_str() {
        Ok(())
    } else {
        Err(Failure::failed("that is not the cluster's name; nothing was done"))
    }
}
