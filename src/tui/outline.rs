//! A plan as lines of a tree that can be folded.

use super::app::{App, PlanView};
use crate::plan::{Finding, Plan, Severity};

/// One line of the tree. Indices point into the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row {
    /// A finding.
    Finding(usize),
    /// What a version on the way changes for everybody.
    Note(usize),
    /// What the catalogue knows of the versions on the way.
    Coverage,
    /// A phase.
    Phase(usize),
    /// A wave of a phase.
    Wave(usize, usize),
    /// A swap of a wave.
    Swap(usize, usize, usize),
    /// The pulls of a node in a phase.
    Pull(usize, usize),
}

/// The lines that are visible with what is unfolded: findings, the worst first, what is new on the way and how much of it is known,
/// then the phases.
pub fn rows(view: &PlanView) -> Vec<Row> {
    let plan = &view.plan;
    let mut findings: Vec<usize> = (0..plan.findings.len()).collect();
    findings.sort_by_key(|&i| plan.findings[i].severity);
    let mut rows: Vec<Row> = findings.into_iter().map(Row::Finding).collect();
    rows.extend((0..plan.notes.len()).map(Row::Note));
    rows.extend(plan.coverage.is_some().then_some(Row::Coverage));
    for (p, phase) in plan.phases.iter().enumerate() {
        rows.push(Row::Phase(p));
        if !view.open.contains(&(p, None)) {
            continue;
        }
        rows.extend((0..phase.pulls.len()).map(|i| Row::Pull(p, i)));
        for (w, wave) in phase.waves.iter().enumerate() {
            rows.push(Row::Wave(p, w));
            if view.open.contains(&(p, Some(w))) {
                rows.extend((0..wave.swaps.len()).map(|s| Row::Swap(p, w, s)));
            }
        }
    }
    rows
}

/// What folding `row` folds; a swap or pull folds what it lies in.
pub fn fold_key(row: Row) -> Option<(usize, Option<usize>)> {
    match row {
        Row::Finding(_) | Row::Note(_) | Row::Coverage => None,
        Row::Phase(p) | Row::Pull(p, _) => Some((p, None)),
        Row::Wave(p, w) | Row::Swap(p, w, _) => Some((p, Some(w))),
    }
}

/// How many findings of a severity a plan has.
pub fn findings(plan: &Plan, severity: Severity) -> usize {
    plan.findings.iter().filter(|f| f.severity == severity).count()
}

/// The finding under the plan's cursor.
pub fn finding(app: &App) -> Option<&Finding> {
    let view = app.plan.as_ref()?;
    match rows(view).get(view.cursor)? {
        Row::Finding(i) => view.plan.findings.get(*i),
        _ => None,
    }
}
