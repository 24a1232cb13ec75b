//! `sonoba report`: what a run came to.

use super::args::{Format, Global, ReportArgs};
use super::failure::Failure;
use super::{gone, runs, say};
use crate::fleet::{NodeName, clean, fold_names};
use crate::journal::Report;
use std::fmt::Write as _;
use std::io::Write;

pub(super) async fn run(global: &Global, args: &ReportArgs) -> Result<(), Failure> {
    let run = runs::find(global, &args.run.run)?;
    let (folded, chain) = runs::fold(&run)?;
    let report = runs::report_of(&run, &folded, chain).await;
    let text = match args.format {
        Some(Format::Json) => serde_json::to_string_pretty(&report).map_err(Failure::failed)? + "\n",
        Some(Format::Md) => report.to_markdown(),
        None => summary(&report),
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    gone::notes(&run, &report).into_iter().for_each(say::err);
    runs::refuse_broken(&format!("run {}", run.id()), chain)
}

/// The report in a few lines, for people at a terminal.
pub(super) fn summary(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_summary(report, &mut out);
    out.lines().map(|line| clean(line) + "\n").collect()
}

fn write_summary(r: &Report, out: &mut String) -> std::fmt::Result {
    let back = r.rollback_of.as_ref().map(|of| format!(", the rollback of {of}")).unwrap_or_default();
    writeln!(out, "run {}{back} on {}: {}", r.run, r.cluster, r.standing())?;
    for missing in r.endpoints_missing() {
        writeln!(out, "  API       {missing}")?;
    }
    if !r.why.is_empty() {
        writeln!(out, "  why       {}", r.why)?;
    }
    let started = r.started.map(|at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()).unwrap_or_default();
    writeln!(out, "  time      {:.1} s, begun {started} by {}", r.seconds, r.operator)?;
    let n = &r.nodes;
    let rollback = r.rollback_of.is_some();
    let (new, old) = if rollback { ("back", "not back") } else { ("new", "old") };
    writeln!(out, "  nodes     {} of {} {new}, {} {old}, {} failed", n.new, n.total, n.old, n.failed)?;
    if n.new < n.total && r.outcome != "running" {
        for (word, nodes) in r.which.words(rollback) {
            writeln!(out, "            {word}: {}", fold_names(nodes.iter().map(NodeName::as_str)))?;
        }
    }
    let s = &r.swaps;
    write!(out, "  swaps     {} of {} committed", s.committed, s.planned)?;
    for (count, word) in [
        (s.rolled_back, "rolled back"),
        (s.failed, "failed"),
        (s.drifted, "drifted"),
        (s.skipped, "skipped"),
        (s.in_flight, "in flight"),
        (s.not_started, "not started"),
    ] {
        if count > 0 {
            write!(out, ", {count} {word}")?;
        }
    }
    writeln!(out)?;
    writeln!(
        out,
        "  pods      {} of {} proved undisturbed, {}",
        r.pods.undisturbed,
        r.pods.checked,
        r.pods.disturbed_words()
    )?;
    for text in [r.pods.unproved_words(), r.pods.control_words()].into_iter().flatten() {
        writeln!(out, "            {text}")?;
    }
    for (component, d) in &r.downtime_ms {
        writeln!(out, "  downtime  {component:<24} p50 {:>6} ms   p99 {:>6} ms   max {:>6} ms", d.p50, d.p99, d.max)?;
    }
    for (node, pod) in &r.pods.list {
        writeln!(out, "  disturbed {node}: {pod}")?;
    }
    for (node, pod) in &r.pods.changes {
        writeln!(out, "  changed   {node}: {pod}")?;
    }
    for e in &r.exceptions {
        writeln!(out, "  {:<9} {}", e.state, e.words())?;
    }
    for d in &r.decisions {
        writeln!(out, "  {:<9} {} by {} at {}: {}", d.what, d.of, d.by, d.at.strftime("%H:%M:%S"), d.why)?;
    }
    for pause in &r.pauses {
        writeln!(out, "  paused    {}: {}", pause.at.strftime("%H:%M:%S"), pause.why)?;
    }
    let broken = match r.journal.broken_at {
        Some(line) => format!(": line {line} does not follow from the one before; the file was changed"),
        None => String::new(),
    };
    writeln!(out, "  journal   {} events, chain {}{broken}", r.journal.events, r.journal.chain)
}

#[cfg(test)]
mod tests {
    use super::summary;
    use crate::cli::samples::{plan, record};
    use crate::fleet::{Disturbance, DisturbanceKind};
    use crate::journal::{self, Chain, Event, Run};
    use std::sync::Arc;

    #[test]
    fn a_disturbed_pod_is_told_in_words_with_the_evidence() {
        let plan = plan();
        let swap = plan.swaps().next().unwrap().2;
        let pod = Disturbance {
            pod: "app/web-1".into(),
            kind: DisturbanceKind::Restarted("web".into()),
            because: "exit code 137 at 12:03:07".into(),
            ..Disturbance::default()
        };
        let event = Event::PodsDisturbed { swap: swap.id.clone(), node: swap.node.clone(), pods: vec![pod] };
        let node = swap.node.clone();
        let mut run = Run::new(Arc::new(plan));
        run.apply(&record(1, event));
        let report = journal::report(&run, Chain::Ok);
        let said = "app/web-1 restarted (container web): exit code 137 at 12:03:07";
        let (summary, page) = (summary(&report), report.to_markdown());
        assert!(summary.contains(&format!("disturbed {node}: {said}\n")), "{summary}");
        assert!(page.contains("app/web-1") && page.contains("exit code 137 at 12:03:07"), "{page}");
        for text in [summary, page] {
            assert!(!text.contains("Restarted("), "{text}");
        }
    }
}
