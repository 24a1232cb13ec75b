//! Past runs of this state folder, and their reports.

use super::app::{App, Screen};
use super::command::Command;
use super::msg::Effect;
use crate::journal::Report;

/// The screen's state.
#[derive(Debug, Default)]
pub struct HistoryView {
    /// The runs, newest first; none while they are read.
    pub runs: Option<Result<Vec<Report>, String>>,
    /// The run under the cursor.
    pub cursor: usize,
    /// Whether its report is open, and the lines that it is scrolled down by.
    pub open: Option<usize>,
}

/// The run under the cursor.
pub fn here(app: &App) -> Option<&Report> {
    app.history.runs.as_ref()?.as_ref().ok()?.get(app.history.cursor)
}

/// Does a command of the screen's; none when it is none.
pub fn command(app: &mut App, command: Command) -> Option<Vec<Effect>> {
    match command {
        Command::OpenHistory => {
            app.screen = Screen::History;
            app.history = HistoryView::default();
            return Some(vec![Effect::History]);
        }
        Command::ReadReport => app.history.open = here(app).map(|_| 0),
        _ => return None,
    }
    Some(Vec::new())
}

/// Closes the report; false where none is open.
pub fn back(app: &mut App) -> bool {
    app.history.open.take().is_some()
}

/// Moves the cursor, or scrolls the report.
pub fn step(app: &mut App, by: isize) {
    let last = match &app.history.runs {
        Some(Ok(runs)) => runs.len().saturating_sub(1),
        _ => 0,
    };
    match app.history.open {
        Some(top) => app.history.open = Some(top.saturating_add_signed(by).min(super::screens::history::scroll(app))),
        None => app.history.cursor = app.history.cursor.saturating_add_signed(by).min(last),
    }
}
