//! Which key does what, in which mode: one table as data, from which the help and the footer are made too.

mod keys;
mod load;

pub use keys::Key;
pub use load::{load, sources};

use super::command::Command;
use crossterm::event::KeyEvent;
use std::collections::{BTreeMap, HashMap};

/// What the keys mean now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// On every screen on which nothing is typed or asked.
    Anywhere,
    /// The map.
    Topology,
    /// Staging.
    Stage,
    /// The plan's tree.
    Plan,
    /// Typing the cluster's name.
    Confirm,
    /// The run.
    Run,
    /// The report.
    Report,
    /// The help.
    Help,
    /// A question.
    Ask,
    /// A question that takes a reason.
    Reason,
    /// The palette.
    Palette,
    /// Typing a filter.
    Filter,
    /// Typing a field of the stage.
    Edit,
    /// The run's story.
    Events,
    /// Typing words that its lines must have.
    Find,
    /// Past runs.
    History,
    /// A list over the screen.
    List,
    /// A tape is played: beside the keys of the screen, and before them.
    Replay,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Mode; 18] = [
        Mode::Anywhere,
        Mode::Topology,
        Mode::Stage,
        Mode::Plan,
        Mode::Confirm,
        Mode::Run,
        Mode::Report,
        Mode::Help,
        Mode::Ask,
        Mode::Reason,
        Mode::Palette,
        Mode::Filter,
        Mode::Edit,
        Mode::Events,
        Mode::Find,
        Mode::History,
        Mode::List,
        Mode::Replay,
    ];

    /// Its name in the help and in keymaps.
    pub fn title(self) -> &'static str {
        match self {
            Mode::Anywhere => "everywhere",
            Mode::Topology => "topology",
            Mode::Stage => "stage",
            Mode::Plan => "plan",
            Mode::Confirm => "confirm",
            Mode::Run => "run",
            Mode::Report => "report",
            Mode::Help => "help",
            Mode::Ask => "question",
            Mode::Reason => "reason",
            Mode::Palette => "palette",
            Mode::Filter => "filter",
            Mode::Edit => "edit",
            Mode::Events => "events",
            Mode::Find => "find",
            Mode::History => "history",
            Mode::List => "list",
            Mode::Replay => "replay",
        }
    }

    /// Whether the keys of [`Mode::Anywhere`] count too.
    fn open(self) -> bool {
        use Mode::*;
        !matches!(self, Confirm | Help | Ask | Reason | Palette | Filter | Edit | Find | List | Replay)
    }

    /// Whether characters are typed in it.
    fn types(self) -> bool {
        use Mode::*;
        matches!(self, Confirm | Reason | Palette | Filter | Edit | Find)
    }
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// In which mode.
    pub mode: Mode,
    /// The keys; the first is the main one.
    pub keys: Vec<Key>,
    /// What they do.
    pub command: Command,
}

/// The table in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keymap {
    bindings: Vec<Binding>,
    index: HashMap<(Mode, Key), Command>,
}

impl Default for Keymap {
    fn default() -> Keymap {
        // A test reads every built-in keymap.
        load("default", &sources(BTreeMap::new())).unwrap_or_else(|_| Keymap::of(Vec::new()))
    }
}

impl Keymap {
    fn of(bindings: Vec<Binding>) -> Keymap {
        let lines = bindings.iter().flat_map(|b| b.keys.iter().map(|key| ((b.mode, *key), b.command)));
        Keymap { index: lines.collect(), bindings }
    }

    /// The same without the lines that `drop` picks.
    fn without(self, drop: impl Fn(&Binding) -> bool) -> Keymap {
        Keymap::of(self.bindings.into_iter().filter(|b| !drop(b)).collect())
    }

    /// The same without a line that commands anything.
    pub fn read_only(self) -> Keymap {
        self.without(|b| b.command.acts())
    }

    /// The same without the keys of a player: where no tape is played.
    pub fn without_tape(self) -> Keymap {
        self.without(|b| b.mode == Mode::Replay)
    }

    /// Every line.
    #[cfg(test)]
    fn bindings(&self) -> &[Binding] {
        &self.bindings
    }

    /// What `key` does in `mode`.
    pub fn find(&self, mode: Mode, key: KeyEvent) -> Option<Command> {
        let key = Key::of(key);
        let hit = |mode: Mode| self.index.get(&(mode, key)).copied();
        let open = |other: Mode| mode.open().then(|| hit(other)).flatten();
        open(Mode::Replay).or_else(|| hit(mode)).or_else(|| open(Mode::Anywhere))
    }

    /// The keys of a line that do in `mode` what it says: a player's keys stand over the screen's.
    pub fn keys_of<'a>(&'a self, mode: Mode, line: &'a Binding) -> impl Iterator<Item = &'a Key> {
        let over = (mode.open() && line.mode != Mode::Replay).then_some(Mode::Replay);
        let hidden = move |key: &Key| over.is_some_and(|over| self.index.contains_key(&(over, *key)));
        line.keys.iter().filter(move |key| !hidden(key))
    }

    /// The lines that count in `mode`, its own first.
    pub fn lines(&self, mode: Mode) -> impl Iterator<Item = &Binding> {
        let of = move |other: Mode| self.bindings.iter().filter(move |b| b.mode == other);
        let open = move |other: Mode| of(other).filter(move |_| mode.open());
        open(Mode::Replay).chain(of(mode)).chain(open(Mode::Anywhere))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_command_has_a_name_of_its_own_and_no_line_of_the_help_is_too_long() {
        let names: HashSet<&str> = Command::ALL.iter().map(|c| c.name()).collect();
        assert_eq!(names.len(), Command::ALL.len());
        for command in Command::ALL {
            // The help has so many columns for it on the smallest terminal.
            assert!(command.about().len() <= 47, "{} says too much", command.name());
        }
        let titles: HashSet<&str> = Mode::ALL.iter().map(|m| m.title()).collect();
        assert_eq!(titles.len(), Mode::ALL.len());
    }

    #[test]
    fn a_read_only_table_has_no_line_that_acts() {
        assert!(Keymap::default().bindings.iter().any(|b| b.command.acts()));
        assert!(!Keymap::default().read_only().bindings.iter().any(|b| b.command.acts()));
    }
}
