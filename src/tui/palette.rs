//! The palette: every command by its name, found by a few of its letters.

use super::app::{App, Over, Screen};
use super::command::Command;
use super::msg::Effect;
use nucleo_matcher::pattern::{AtomKind, CaseMatching, Normalization, Pattern};
use nucleo_matcher::{Config, Matcher};

/// Characters that can be typed.
const TYPED: usize = 40;

/// What is typed and chosen.
#[derive(Debug, Default)]
pub struct PaletteView {
    /// What was typed so far.
    pub typed: String,
    /// The line that would be run.
    pub cursor: usize,
}

/// A command that the palette offers.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// The command.
    pub command: Command,
    /// Its key on the screen below, where it has one.
    pub key: Option<String>,
    /// Why it cannot be done now.
    pub hindrance: Option<String>,
}

/// What the palette offers for what is typed: the best match first, what cannot be done now last.
pub fn offers(app: &App) -> Vec<Offer> {
    let mode = app.screen.mode();
    let names: Vec<(Command, String)> = Command::ALL
        .iter()
        .filter(|command| command.has_meaning_alone() && allowed(app, **command))
        .map(|command| (*command, format!("{} {}", command.name(), command.about())))
        .collect();
    let pattern = |kind| Pattern::new(&app.palette.typed, CaseMatching::Ignore, Normalization::Never, kind);
    let mut matcher = Matcher::new(Config::DEFAULT);
    let by_name = pattern(AtomKind::Fuzzy).match_list(names.iter().map(|(command, _)| command.name()), &mut matcher);
    let worded = app.palette.typed.chars().count() >= 3;
    let by_about = pattern(AtomKind::Substring).match_list(names.iter().map(|(_, text)| text.as_str()), &mut matcher);
    let score = |command: Command, text: &str| {
        let name = by_name.iter().find(|(n, _)| *n == command.name()).map(|(_, score)| *score);
        let about = by_about.iter().find(|(t, _)| worded && *t == text).map(|(_, score)| *score);
        // Letters scattered over a description mean nothing; a word of it does.
        name.map(|s| (1, s)).or(about.map(|s| (0, s)))
    };
    let mut found: Vec<_> = names
        .iter()
        .filter_map(|(command, text)| {
            let score = score(*command, text)?;
            let line = app.keymap.lines(mode).find(|b| b.command == *command);
            let key = line.and_then(|line| app.keymap.keys_of(mode, line).next());
            let hindrance = app.hindrance(*command).map(|why| why.into_owned());
            Some((score, Offer { command: *command, key: key.map(ToString::to_string), hindrance }))
        })
        .collect();
    found.sort_by_key(|(score, offer)| (offer.hindrance.is_some(), std::cmp::Reverse(*score)));
    found.into_iter().map(|(_, offer)| offer).collect()
}

/// A read-only cockpit offers nothing that acts, and only a replay has a tape.
fn allowed(app: &App, command: Command) -> bool {
    !(app.options.read_only && command.acts()) && (app.player.is_some() || !command.moves_the_tape())
}

/// Opens it.
pub fn open(app: &mut App) {
    app.palette = PaletteView::default();
    app.over = Some(Over::Palette);
}

/// Types a character.
pub fn type_in(app: &mut App, c: char) {
    if app.palette.typed.chars().count() < TYPED {
        app.palette.typed.push(c);
        app.palette.cursor = 0;
    }
}

/// Takes characters away: the last one, or all.
pub fn erase(app: &mut App, all: bool) {
    if all {
        app.palette.typed.clear();
    }
    app.palette.typed.pop();
    app.palette.cursor = 0;
}

/// Moves the cursor.
pub fn step(app: &mut App, by: isize) {
    let last = offers(app).len().saturating_sub(1);
    app.palette.cursor = app.palette.cursor.saturating_add_signed(by).min(last);
}

/// Does the chosen command, on the screen that it belongs to.
pub fn choose(app: &mut App) -> Vec<Effect> {
    let chosen = offers(app).into_iter().nth(app.palette.cursor);
    app.over = None;
    let Some(Offer { command, hindrance, .. }) = chosen else { return Vec::new() };
    // Questions about single nodes are asked on the run's screen, where the node is chosen.
    if hindrance.is_none() && super::decide::question(command).is_some() {
        app.screen = Screen::Run;
    }
    super::update::run(app, command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::backend::Options;
    use crate::tui::fixtures::{self, Story};

    fn names(app: &App) -> Vec<&'static str> {
        offers(app).iter().map(|o| o.command.name()).collect()
    }

    #[test]
    fn a_few_letters_find_a_command_and_what_cannot_be_done_stands_last() {
        let mut app = fixtures::app((80, 24), Options::default());
        open(&mut app);
        assert!(names(&app).contains(&"open-stage") && !names(&app).contains(&"apply"), "apply wants the name typed");
        assert!(!names(&app).contains(&"play-pause"));
        for (typed, first) in [("stg", "open-stage"), ("obs", "observe"), ("quit", "quit"), ("keys of", "help")] {
            app.palette.typed = typed.into();
            assert_eq!(names(&app).first(), Some(&first), "{typed}");
        }
        app.palette.typed = "pause".into();
        let pause = offers(&app).into_iter().find(|o| o.command == Command::Pause).unwrap();
        assert!(pause.hindrance.unwrap().contains("nothing to pause"));
        app.palette.typed = "zzz".into();
        assert!(names(&app).is_empty() && choose(&mut app).is_empty());
    }

    #[test]
    fn a_watcher_is_offered_nothing_that_acts() {
        let options = Options { read_only: true, ..Options::default() };
        let mut app = fixtures::running((80, 24), options, Story::midway());
        open(&mut app);
        assert!(offers(&app).iter().all(|o| !o.command.acts()) && !offers(&app).is_empty());
    }
}
