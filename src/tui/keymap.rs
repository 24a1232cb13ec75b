//! Which key does what, in which mode: one table, from which the help and the footer are made too.

use super::command::Command;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

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
    /// Its name in the help.
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
}

/// Mode, keys, command. The first key of a line is the one that the footer names.
const TABLE: &[(Mode, &[&str], Command)] = &[
    (Mode::Anywhere, &["?", "f1"], Command::Help),
    (Mode::Anywhere, &["q", "ctrl-c"], Command::Quit),
    (Mode::Anywhere, &[":"], Command::Palette),
    (Mode::Anywhere, &["esc"], Command::Back),
    (Mode::Anywhere, &["up", "k"], Command::Up),
    (Mode::Anywhere, &["down", "j"], Command::Down),
    (Mode::Anywhere, &["left", "h"], Command::Left),
    (Mode::Anywhere, &["right", "l"], Command::Right),
    (Mode::Anywhere, &["pgup"], Command::PageUp),
    (Mode::Anywhere, &["pgdn"], Command::PageDown),
    (Mode::Anywhere, &["home", "g"], Command::First),
    (Mode::Anywhere, &["end", "G"], Command::Last),
    (Mode::Anywhere, &["ctrl-l"], Command::Repaint),
    (Mode::Anywhere, &["y"], Command::Copy),
    (Mode::Anywhere, &["Y"], Command::CopyCommand),
    (Mode::Anywhere, &["f12"], Command::Log),
    (Mode::Anywhere, &["ctrl-z"], Command::Suspend),
    (Mode::Topology, &["s"], Command::OpenStage),
    (Mode::Topology, &["r"], Command::Observe),
    (Mode::Topology, &["tab"], Command::OpenRun),
    (Mode::Topology, &["enter"], Command::ZoomIn),
    (Mode::Topology, &["backspace"], Command::ZoomOut),
    (Mode::Topology, &["/"], Command::Filter),
    (Mode::Topology, &["space"], Command::Mark),
    (Mode::Topology, &["L"], Command::NextLayer),
    (Mode::Topology, &["1"], Command::LayerState),
    (Mode::Topology, &["2"], Command::LayerVersion),
    (Mode::Topology, &["3"], Command::LayerHealth),
    (Mode::Topology, &["4"], Command::LayerRole),
    (Mode::Topology, &["5"], Command::LayerAge),
    (Mode::Topology, &["n"], Command::NextMatch),
    (Mode::Topology, &["N"], Command::LastMatch),
    (Mode::Topology, &["v"], Command::MarkRange),
    (Mode::Topology, &["m"], Command::MarkRack),
    (Mode::Topology, &["*"], Command::MarkMatches),
    (Mode::Topology, &["u"], Command::UnmarkAll),
    (Mode::Topology, &["H"], Command::OpenHistory),
    (Mode::Topology, &["C"], Command::Clusters),
    (Mode::Filter, &["enter"], Command::KeepFilter),
    (Mode::Filter, &["esc"], Command::ClearFilter),
    (Mode::Filter, &["backspace"], Command::Erase),
    (Mode::Filter, &["ctrl-u"], Command::EraseAll),
    (Mode::Filter, &["ctrl-c"], Command::Quit),
    (Mode::Stage, &["enter"], Command::MakePlan),
    (Mode::Stage, &["e", "i"], Command::Edit),
    (Mode::Stage, &["space"], Command::Choose),
    (Mode::Stage, &["x"], Command::Unstage),
    (Mode::Stage, &["+", "="], Command::More),
    (Mode::Stage, &["-"], Command::Less),
    (Mode::Plan, &["a"], Command::OpenConfirm),
    (Mode::Plan, &["enter", "space"], Command::Fold),
    (Mode::Plan, &["f"], Command::FoldAll),
    (Mode::Plan, &["t"], Command::Accept),
    (Mode::Edit, &["enter"], Command::KeepField),
    (Mode::Edit, &["esc"], Command::LeaveField),
    (Mode::Edit, &["backspace"], Command::Erase),
    (Mode::Edit, &["ctrl-u"], Command::EraseAll),
    (Mode::Edit, &["ctrl-c"], Command::Quit),
    (Mode::Confirm, &["enter"], Command::Apply),
    (Mode::Confirm, &["esc"], Command::Back),
    (Mode::Confirm, &["backspace"], Command::Erase),
    (Mode::Confirm, &["ctrl-u"], Command::EraseAll),
    (Mode::Confirm, &["f1"], Command::Help),
    (Mode::Confirm, &["ctrl-c"], Command::Quit),
    (Mode::Confirm, &["ctrl-l"], Command::Repaint),
    (Mode::Run, &["p"], Command::Pause),
    (Mode::Run, &["c", "R"], Command::Resume),
    (Mode::Run, &["A"], Command::Abort),
    (Mode::Run, &["r"], Command::Retry),
    (Mode::Run, &["s"], Command::Skip),
    (Mode::Run, &["b"], Command::RollBack),
    (Mode::Run, &["o"], Command::Override),
    (Mode::Run, &["enter"], Command::OpenReport),
    (Mode::Run, &["U"], Command::Rollback),
    (Mode::Run, &["tab"], Command::OpenMap),
    (Mode::Run, &["e"], Command::OpenEvents),
    (Mode::Run, &["z"], Command::OpenNode),
    (Mode::Run, &["H"], Command::OpenHistory),
    (Mode::Report, &["U"], Command::Rollback),
    (Mode::Report, &["tab"], Command::OpenMap),
    (Mode::Report, &["e"], Command::OpenEvents),
    (Mode::Report, &["H"], Command::OpenHistory),
    (Mode::Events, &["enter", "z"], Command::OpenNode),
    (Mode::Events, &["/"], Command::Find),
    (Mode::Events, &["!"], Command::OnlyTrouble),
    (Mode::Events, &["tab"], Command::OpenMap),
    (Mode::History, &["enter"], Command::ReadReport),
    (Mode::Find, &["enter"], Command::KeepFind),
    (Mode::Find, &["esc"], Command::ClearFind),
    (Mode::Find, &["backspace"], Command::Erase),
    (Mode::Find, &["ctrl-u"], Command::EraseAll),
    (Mode::Find, &["ctrl-c"], Command::Quit),
    (Mode::List, &["enter"], Command::Yes),
    (Mode::List, &["esc", "q"], Command::No),
    (Mode::List, &["up", "k"], Command::Up),
    (Mode::List, &["down", "j"], Command::Down),
    (Mode::List, &["ctrl-c"], Command::Quit),
    (Mode::Help, &["esc", "?", "f1", "f12", "q"], Command::CloseHelp),
    (Mode::Help, &["pgup"], Command::PageUp),
    (Mode::Help, &["pgdn"], Command::PageDown),
    (Mode::Help, &["up", "k"], Command::Up),
    (Mode::Help, &["down", "j"], Command::Down),
    (Mode::Help, &["ctrl-c"], Command::Quit),
    (Mode::Ask, &["y"], Command::Yes),
    (Mode::Ask, &["n", "esc"], Command::No),
    (Mode::Ask, &["ctrl-c"], Command::Quit),
    (Mode::Reason, &["enter"], Command::Yes),
    (Mode::Reason, &["esc"], Command::No),
    (Mode::Reason, &["backspace"], Command::Erase),
    (Mode::Reason, &["ctrl-u"], Command::EraseAll),
    (Mode::Reason, &["ctrl-c"], Command::Quit),
    (Mode::Palette, &["enter"], Command::Yes),
    (Mode::Palette, &["esc"], Command::No),
    (Mode::Palette, &["up", "ctrl-p"], Command::Up),
    (Mode::Palette, &["down", "tab", "ctrl-n"], Command::Down),
    (Mode::Palette, &["backspace"], Command::Erase),
    (Mode::Palette, &["ctrl-u"], Command::EraseAll),
    (Mode::Palette, &["ctrl-c"], Command::Quit),
    (Mode::Replay, &["space"], Command::PlayPause),
    (Mode::Replay, &[">"], Command::Faster),
    (Mode::Replay, &["<"], Command::Slower),
    (Mode::Replay, &["]"], Command::SeekOn),
    (Mode::Replay, &["["], Command::SeekBack),
    (Mode::Replay, &["}"], Command::SeekFarOn),
    (Mode::Replay, &["{"], Command::SeekFarBack),
    (Mode::Replay, &["."], Command::EventOn),
    (Mode::Replay, &[","], Command::EventBack),
    (Mode::Replay, &["x"], Command::NextFailure),
    (Mode::Replay, &["X"], Command::LastFailure),
    (Mode::Replay, &["w"], Command::NextWave),
    (Mode::Replay, &["0"], Command::TapeBegin),
    (Mode::Replay, &["$"], Command::TapeEnd),
];

/// One line of the table.
#[derive(Debug, Clone)]
pub struct Binding {
    /// In which mode.
    pub mode: Mode,
    /// The keys, as text; the first is the main one.
    pub keys: Vec<&'static str>,
    /// What they do.
    pub command: Command,
}

/// The table in use.
#[derive(Debug, Clone)]
pub struct Keymap {
    bindings: Vec<Binding>,
}

impl Keymap {
    /// The built-in table; without a line that commands anything when `read_only`.
    pub fn standard(read_only: bool) -> Keymap {
        let bindings = TABLE
            .iter()
            .filter(|(_, _, command)| !(read_only && command.acts()))
            .map(|&(mode, keys, command)| Binding { mode, keys: keys.to_vec(), command })
            .collect();
        Keymap { bindings }
    }

    /// The same without the keys of a player: where no tape is played.
    pub fn without_tape(mut self) -> Keymap {
        self.bindings.retain(|b| b.mode != Mode::Replay);
        self
    }

    /// What `key` does in `mode`.
    pub fn find(&self, mode: Mode, key: KeyEvent) -> Option<Command> {
        let hit = |mode: Mode| {
            let mut lines = self.bindings.iter().filter(move |b| b.mode == mode);
            lines.find(|b| b.keys.iter().any(|k| matches(k, key))).map(|b| b.command)
        };
        let open = |other: Mode| mode.open().then(|| hit(other)).flatten();
        open(Mode::Replay).or_else(|| hit(mode)).or_else(|| open(Mode::Anywhere))
    }

    /// The lines that count in `mode`, its own first.
    pub fn lines(&self, mode: Mode) -> impl Iterator<Item = &Binding> {
        let of = move |other: Mode| self.bindings.iter().filter(move |b| b.mode == other);
        let open = move |other: Mode| of(other).filter(move |_| mode.open());
        open(Mode::Replay).chain(of(mode)).chain(open(Mode::Anywhere))
    }
}

/// Whether the key event is the key that `text` writes: `a`, `A`, `ctrl-l`, `enter` …
fn matches(text: &str, key: KeyEvent) -> bool {
    let (control, name) = match text.strip_prefix("ctrl-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    if key.modifiers.contains(KeyModifiers::CONTROL) != control || key.modifiers.contains(KeyModifiers::ALT) {
        return false;
    }
    code(name) == Some(key.code)
}

fn code(name: &str) -> Option<KeyCode> {
    Some(match name {
        "up" => KeyCode::Up,
        "down" => KeyCode::Down,
        "left" => KeyCode::Left,
        "right" => KeyCode::Right,
        "pgup" => KeyCode::PageUp,
        "pgdn" => KeyCode::PageDown,
        "home" => KeyCode::Home,
        "end" => KeyCode::End,
        "enter" => KeyCode::Enter,
        "esc" => KeyCode::Esc,
        "tab" => KeyCode::Tab,
        "space" => KeyCode::Char(' '),
        "backspace" => KeyCode::Backspace,
        "f1" => KeyCode::F(1),
        "f12" => KeyCode::F(12),
        _ => {
            let mut chars = name.chars();
            match (chars.next(), chars.next()) {
                (Some(c), None) => KeyCode::Char(c),
                _ => return None,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_key_of_the_table_can_be_pressed_and_none_means_two_things() {
        let mut seen = HashSet::new();
        for (mode, keys, command) in TABLE {
            for key in *keys {
                let plain = key.strip_prefix("ctrl-").unwrap_or(key);
                assert!(code(plain).is_some(), "{key} of {}", command.name());
                assert!(seen.insert((*mode, *key)), "{key} stands twice in {mode:?}");
            }
        }
    }

    #[test]
    fn every_command_has_a_key_and_a_name_of_its_own() {
        let names: HashSet<&str> = Command::ALL.iter().map(|c| c.name()).collect();
        assert_eq!(names.len(), Command::ALL.len());
        for command in Command::ALL {
            assert!(TABLE.iter().any(|(_, _, c)| c == command), "{} has no key", command.name());
            // The help has so many columns for it on the smallest terminal.
            assert!(command.about().len() <= 47, "{} says too much", command.name());
        }
    }

    #[test]
    fn a_read_only_table_has_no_line_that_acts() {
        assert!(Keymap::standard(false).bindings.iter().any(|b| b.command.acts()));
        assert!(!Keymap::standard(true).bindings.iter().any(|b| b.command.acts()));
    }
}
