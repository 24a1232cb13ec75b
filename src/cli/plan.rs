//! `sonoba plan`: a preview; nothing is touched.

use super::args::{Global, PlanArgs};
use super::failure::Failure;
use super::setup::Setup;
use super::{output, plan_file, say, stage};
use crate::plan;
use jiff::Timestamp;
use std::io::Write;

pub(super) async fn run(global: &Global, args: &PlanArgs) -> Result<(), Failure> {
    let setup = Setup::load(global)?;
    let from = args.from.as_deref().map(|path| stage::from_plan(path, &setup.profile.name)).transpose()?;
    let ports = setup.ports().await?;
    let cluster = setup.observe(&ports).await?;
    let stage = stage::stage(args, from, &setup.profile, &cluster)?;
    let facts = setup.facts(global, &ports, &cluster, &stage).await;
    let mut plan = plan::make_with(&cluster, &facts, &stage, &setup.profile.settings, Timestamp::now());
    if args.compare {
        plan.comparison = Some(plan::compare(&plan, &facts, args.bandwidth));
    }
    if let Some(path) = &args.output {
        plan_file::save(path, &plan)?;
    }
    let mut text = if args.json { plan_file::to_text(&plan)? } else { plan::render(&plan) };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    match args.output.as_deref().map(output::is_standard) {
        // The plan itself is printed there: whoever reads it wants nothing else.
        Some(true) if args.json => {}
        Some(true) => std::io::stderr().lock().write_all(text.as_bytes())?,
        _ => std::io::stdout().lock().write_all(text.as_bytes())?,
    }
    if plan.refused() {
        return Err(Failure::refused(format!(
            "the plan for {} has errors (see above); fix them and plan again",
            cluster.name
        )));
    }
    if let Some(path) = &args.output {
        plan_file::saved(path);
    } else if !args.json && plan.swaps().next().is_some() {
        say::err("not written anywhere; add -o plan.json to keep it for sonoba apply");
    }
    Ok(())
}
