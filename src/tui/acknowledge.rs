//! Errors that an operator may acknowledge, and doing so on the plan of a rollback: what it was planned from stays as it is.

use super::app::App;
use super::outline::{self, Row};
use crate::plan::{Plan, Severity};
use std::sync::Arc;

/// Whether the plan on the table is acknowledged here. Any other is planned anew with what is acknowledged.
pub fn applies(app: &App) -> bool {
    app.plan.as_ref().is_some_and(|view| view.plan.rollback_of.is_some())
}

/// Whether the plan is refused only for errors that can be acknowledged.
pub fn is_enough(plan: &Plan) -> bool {
    let mut errors = plan.findings.iter().filter(|f| f.severity == Severity::Error).peekable();
    errors.peek().is_some() && errors.all(|f| f.acknowledgeable)
}

/// Acknowledges the finding under the plan's cursor, or takes that back. The cursor stays on it.
pub fn toggle(app: &mut App) {
    let Some(code) = outline::finding(app).filter(|f| f.acknowledgeable).map(|f| f.code.clone()) else { return };
    let Some(view) = &mut app.plan else { return };
    if !view.acknowledged.remove(&code) {
        view.acknowledged.insert(code.clone());
    }
    let codes: Vec<String> = view.acknowledged.iter().cloned().collect();
    let mut plan = view.made.as_ref().clone();
    plan.acknowledge(&codes);
    view.plan = Arc::new(plan);
    let is = |row: &Row| matches!(row, Row::Finding(i) if view.plan.findings.get(*i).is_some_and(|f| f.code == code));
    view.cursor = outline::rows(view).iter().position(is).unwrap_or(view.cursor);
    app.touch();
}
