//! Whatever stands in a plan and a journal, no line that is printed holds what a terminal would act on.

use super::plan_file::parse;
use super::progress::Progress;
use super::report::summary;
use super::samples::{plan, record};
use crate::fleet::poison::{hostile, poisoned};
use crate::fleet::{Disturbance, DisturbanceKind, is_unclean, write_clean};
use crate::journal::{self, Chain, Event, Outcome, PauseReason, Record, Verb, Verdict};
use crate::plan;
use proptest::prelude::*;
use std::sync::Arc;

fn events() -> Vec<Event> {
    let (swap, node) = ("s0001".parse().unwrap(), "w1".parse().unwrap());
    let (swap, node) =
        (|| -> crate::fleet::SwapId { Clone::clone(&swap) }, || -> crate::fleet::NodeName { Clone::clone(&node) });
    let image = plan().swaps().next().unwrap().2.changes[0].to.clone();
    let why = || "x".to_owned();
    let pods =
        vec![Disturbance { pod: why(), kind: DisturbanceKind::Restarted(why()), because: why(), ..Default::default() }];
    let (run, cluster) = ("r1".parse().unwrap(), "tokyo0".parse().unwrap());
    vec![
        Event::RunStarted { run, cluster, operator: why(), host: why(), version: why() },
        Event::EngineStarted { pid: 1, host: why(), resumed: true },
        Event::PhaseBegun { phase: 0 },
        Event::WaveBegun { phase: 1, wave: 0 },
        Event::Command { verb: Verb::Pause, by: why() },
        Event::Paused { reason: PauseReason::Budget, why: why() },
        Event::GateWaiting { gate: why(), why: why(), ms: None, limit_ms: None },
        Event::PullFailed { node: node(), image, why: why() },
        Event::SwapIntended {
            swap: swap(),
            node: node(),
            tx: why(),
            deadline_ms: 1,
            olds: Default::default(),
            pods: vec![],
        },
        Event::SwapVerdict { swap: swap(), node: node(), verdict: Verdict::Rollback, why: why() },
        Event::PodsDisturbed { swap: swap(), node: node(), pods },
        Event::SwapRolledBack { swap: swap(), node: node(), why: why(), pods_checked: 1, pods_undisturbed: 0, ms: 1 },
        Event::SwapFailed { swap: swap(), node: node(), why: why(), untouched: true },
        Event::Note { text: why() },
        Event::RunEnded { outcome: Outcome::Failed, why: why() },
    ]
}

fn clean_lines(what: &str, text: &str) -> Result<(), TestCaseError> {
    for line in text.split('\n') {
        let bad = line.chars().find(|c| is_unclean(*c));
        prop_assert!(bad.is_none(), "{what}: {bad:?} in {line:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_line_holds_what_a_terminal_would_act_on(text in hostile()) {
        let bad = poisoned(&plan(), &text);
        clean_lines("the plan", &plan::render(&bad))?;
        let mut progress = Progress::new(Arc::new(bad.clone()));
        for (second, event) in events().into_iter().enumerate() {
            let record: Record = poisoned(&record(second as i64, event), &text);
            for line in progress.take(&record) {
                clean_lines("progress", &line)?;
                prop_assert!(!line.contains('\n'), "a line of its own: {line:?}");
            }
            // As the journal's file holds it, and as `--json` prints it.
            let (written, json) = write_clean(record).unwrap();
            clean_lines("the journal", &String::from_utf8(json).unwrap())?;
            clean_lines("--json", &serde_json::to_string(&written).unwrap())?;
        }
        let mut report = journal::report(progress.run(), Chain::Broken { line: 3 });
        // In the fold everything is clean already; the printers do not rely upon it.
        clean_lines("the report as JSON", &serde_json::to_string(&report).unwrap())?;
        for _ in 0..2 {
            clean_lines("the summary", &summary(&report))?;
            clean_lines("the report", &report.to_markdown())?;
            report = poisoned(&report, &text);
        }
        // A plan's file is clean once it is read.
        let read = parse(&serde_json::to_vec(&bad).unwrap()).unwrap();
        clean_lines("a plan that was read", &serde_json::to_string(&read).unwrap())?;
    }
}

#[test]
fn poison_gets_where_any_text_is_taken_and_nowhere_else() {
    let plan: plan::Plan = parse(include_bytes!("../fuzzing/plan.json")).unwrap();
    let bad = poisoned(&plan, "\u{1b}[2J");
    assert_eq!(bad.findings[0].text, "\u{1b}[2J");
    assert_eq!(bad.phases[1].waves[0].title, "\u{1b}[2J");
    assert_eq!(bad.release.as_deref(), Some("\u{1b}[2J"));
    assert_eq!(bad.phases[1].waves[0].swaps[0].node, plan.phases[1].waves[0].swaps[0].node);
}
