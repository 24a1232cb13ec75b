//! The run's story on a screen of its own: every line of it, filtered, each leading to its node.

use super::app::{App, Screen};
use super::command::Command;
use super::map;
use super::msg::Effect;
use crate::journal::{LogLine, Tone};

/// Characters of the filter.
const LONGEST: usize = 80;

/// The screen's state.
#[derive(Debug, Default)]
pub struct EventsView {
    /// Lines between the cursor and the last line that is shown; 0 follows the story.
    pub back: usize,
    /// What is typed as filter: words that a line must have, in any order.
    pub typed: String,
    /// Whether it is being typed.
    pub typing: bool,
    /// Only what is worth a look, or wrong.
    pub trouble: bool,
}

/// The lines that the filter takes, oldest first.
pub fn lines(app: &App) -> Vec<&LogLine> {
    let Some(view) = &app.run else { return Vec::new() };
    let words: Vec<String> = app.events.typed.split_whitespace().map(str::to_lowercase).collect();
    let takes = |line: &&LogLine| {
        let text = line.text.to_lowercase();
        let node = line.node.as_ref().map(|n| n.as_str().to_lowercase()).unwrap_or_default();
        (!app.events.trouble || line.tone != Tone::Calm)
            && words.iter().all(|word| text.contains(word.as_str()) || node.contains(word.as_str()))
    };
    view.run.log.iter().filter(takes).collect()
}

/// The line under the cursor.
pub fn here(app: &App) -> Option<&LogLine> {
    let lines = lines(app);
    lines.len().checked_sub(1 + app.events.back).and_then(|i| lines.get(i).copied())
}

/// Does a command of the screen's; none when it is none.
pub fn command(app: &mut App, command: Command) -> Option<Vec<Effect>> {
    match command {
        Command::OpenEvents => {
            app.screen = Screen::Events;
            app.events.back = 0;
        }
        Command::Find => app.events.typing = true,
        Command::KeepFind => app.events.typing = false,
        Command::ClearFind => clear(app),
        Command::OnlyTrouble => {
            app.events.trouble = !app.events.trouble;
            app.events.back = 0;
        }
        Command::OpenNode => return Some(open_node(app)),
        _ => return None,
    }
    Some(Vec::new())
}

/// Shows the node that the cursor is about from near.
fn open_node(app: &mut App) -> Vec<Effect> {
    let node = match app.screen {
        Screen::Events => here(app).and_then(|line| line.node.clone()),
        _ => app.run.as_ref().and_then(|view| view.cursor.clone()),
    };
    match node {
        Some(node) => map::open_node(app, node),
        None => Vec::new(),
    }
}

fn clear(app: &mut App) {
    app.events.typed.clear();
    app.events.typing = false;
    app.events.back = 0;
}

/// Takes the filter away; false where there is none.
pub fn back(app: &mut App) -> bool {
    let filtered = !app.events.typed.is_empty() || app.events.trouble;
    if filtered {
        clear(app);
        app.events.trouble = false;
    }
    filtered
}

/// Types a character of the filter.
pub fn type_in(app: &mut App, c: char) {
    if app.events.typed.chars().count() < LONGEST {
        app.events.typed.push(c);
        app.events.back = 0;
    }
}

/// Takes characters of the filter away: the last one, or all.
pub fn erase(app: &mut App, all: bool) {
    if all {
        app.events.typed.clear();
    }
    app.events.typed.pop();
    app.events.back = 0;
}

/// Moves the cursor; up goes into the past.
pub fn step(app: &mut App, by: isize) {
    let last = lines(app).len().saturating_sub(1);
    app.events.back = app.events.back.saturating_add_signed(by.saturating_neg()).min(last);
}
