//! A keymap from its text.

use super::keys::Key;
use super::{Binding, Keymap, Mode};
use crate::tui::command::Command;
use crate::tui::sources::{Source, Sources, did_you_mean, in_order, parse, table, word};
use std::collections::BTreeMap;

/// The keymaps that are built in.
const BUILT_IN: &[(&str, &str)] = &[
    ("default", include_str!("../../../keymaps/default.toml")),
    ("vim", include_str!("../../../keymaps/vim.toml")),
    ("emacs", include_str!("../../../keymaps/emacs.toml")),
];

/// Without these, there would be no way out.
const WAYS_OUT: &[(Mode, Command)] = &[
    (Mode::Anywhere, Command::Quit),
    (Mode::Anywhere, Command::Back),
    (Mode::Confirm, Command::Back),
    (Mode::Help, Command::CloseHelp),
    (Mode::Ask, Command::No),
    (Mode::Ask, Command::Yes),
    (Mode::Reason, Command::No),
    (Mode::Palette, Command::No),
    (Mode::Filter, Command::ClearFilter),
    (Mode::Find, Command::ClearFind),
    (Mode::Edit, Command::LeaveField),
    (Mode::List, Command::No),
];

/// The keymaps that there are, with the operator's own.
pub fn sources(own: BTreeMap<String, Source>) -> Sources {
    Sources::new("keymap", BUILT_IN, own)
}

/// Reads a keymap with all that it inherits.
///
/// # Errors
/// What is wrong, in which file and line, and what is near.
pub fn load(name: &str, sources: &Sources) -> Result<Keymap, String> {
    let mut bindings: Vec<Binding> = Vec::new();
    let chain = sources.chain(name)?;
    for source in &chain {
        add(&mut bindings, source)?;
    }
    let place = chain.last().map(|source| source.place.as_str()).unwrap_or_default();
    for (mode, command) in WAYS_OUT {
        if !bindings.iter().any(|b| b.mode == *mode && b.command == *command) {
            let (mode, command) = (mode.title(), command.name());
            return Err(format!("{place}: no key is left for {command:?} in [{mode}]: there would be no way out"));
        }
    }
    Ok(Keymap::of(bindings))
}

/// Puts a text's keys over those before it.
fn add(bindings: &mut Vec<Binding>, source: &Source) -> Result<(), String> {
    let document = parse(source)?;
    for (name, value) in in_order(&document) {
        if name.get_ref() == "inherits" {
            continue;
        }
        let mode = Mode::ALL.into_iter().find(|mode| mode.title() == name.get_ref()).ok_or_else(|| {
            let hint = did_you_mean(name.get_ref(), Mode::ALL.iter().map(|mode| mode.title()));
            source.at(&name.span(), &format!("[{}] is no mode{hint}", name.get_ref()))
        })?;
        let keys = table(source, value, mode.title())?;
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        let mut fresh: BTreeMap<&'static str, usize> = BTreeMap::new();
        for (written, value) in in_order(keys) {
            let key: Key = written.get_ref().parse().map_err(|why: String| source.at(&written.span(), &why))?;
            let command = word(source, value, written.get_ref())?;
            if let Some(other) = seen.insert(key.to_string(), command.to_owned()) {
                let why = format!(
                    "{written} stands twice in [{}]: {other:?} and {command:?}",
                    mode.title(),
                    written = written.get_ref()
                );
                return Err(source.at(&written.span(), &why));
            }
            unbind(bindings, mode, key);
            if command.is_empty() {
                continue;
            }
            let command = Command::ALL.iter().copied().find(|c| c.name() == command).ok_or_else(|| {
                let hint = did_you_mean(command, Command::ALL.iter().map(|c| c.name()));
                source.at(&value.span(), &format!("{command:?} is no command{hint}"))
            })?;
            if mode.types() && key.types() {
                let why = format!(
                    "in [{}] letters are typed: give {key} with ctrl- or alt-, or a key with a name",
                    mode.title()
                );
                return Err(source.at(&written.span(), &why));
            }
            let place = fresh.entry(command.name()).or_default();
            bind(bindings, mode, key, command, *place);
            *place += 1;
        }
    }
    Ok(())
}

/// A file's own keys of a command stand before those that it inherits.
fn bind(bindings: &mut Vec<Binding>, mode: Mode, key: Key, command: Command, place: usize) {
    match bindings.iter_mut().find(|b| b.mode == mode && b.command == command) {
        Some(binding) => binding.keys.insert(place.min(binding.keys.len()), key),
        None => bindings.push(Binding { mode, keys: vec![key], command }),
    }
}

fn unbind(bindings: &mut Vec<Binding>, mode: Mode, key: Key) {
    bindings.iter_mut().filter(|b| b.mode == mode).for_each(|b| b.keys.retain(|k| *k != key));
    bindings.retain(|b| !b.keys.is_empty());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(text: &str) -> Result<Keymap, String> {
        let source = Source { place: "mine.toml".into(), text: text.into() };
        load("mine", &sources([("mine".to_owned(), source)].into()))
    }

    fn keys(keymap: &Keymap, mode: Mode, command: Command) -> String {
        let line = keymap.lines(mode).find(|b| b.command == command);
        line.map(|b| b.keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")).unwrap_or_default()
    }

    #[test]
    fn every_built_in_keymap_loads_and_every_command_has_a_key_in_it() {
        for name in sources(BTreeMap::new()).names() {
            let keymap = load(&name, &sources(BTreeMap::new())).unwrap();
            for command in Command::ALL {
                assert!(keymap.bindings().iter().any(|b| b.command == *command), "{name}: {}", command.name());
            }
        }
    }

    #[test]
    fn the_operators_own_keys_come_first_and_an_empty_command_takes_a_key_away() {
        let text =
            "inherits = \"vim\"\n[run]\nspace = \"pause\"\nP = \"pause\"\nA = \"\"\n[topology]\nr = \"filter\"\n";
        let keymap = own(text).unwrap();
        assert_eq!(keys(&keymap, Mode::Run, Command::Pause), "space P p");
        assert_eq!(keys(&keymap, Mode::Run, Command::Abort), "");
        assert_eq!(keys(&keymap, Mode::Topology, Command::Filter), "r /");
        assert_eq!(keys(&keymap, Mode::Topology, Command::Observe), "", "r is the filter's now");
        assert_eq!(keys(&keymap, Mode::Anywhere, Command::PageDown), "ctrl-d ctrl-f pgdn", "inherited from vim");
        // One may stand over what is built in under its own name.
        let source = Source { place: "vim.toml".into(), text: "inherits = \"vim\"\n[run]\nx = \"abort\"\n".into() };
        let keymap = load("vim", &sources([("vim".to_owned(), source)].into())).unwrap();
        assert_eq!(keys(&keymap, Mode::Run, Command::Abort), "x A");
    }

    #[test]
    fn what_is_wrong_is_one_error_with_its_line() {
        let head = "inherits = \"default\"\n";
        for (text, why) in [
            ("[run]\np = \"pause\"\np = \"abort\"\n", "line 4"),
            (
                "[run]\nctrl-l = \"pause\"\nctrl-L = \"abort\"\n",
                "line 4: ctrl-L stands twice in [run]: \"pause\" and \"abort\"",
            ),
            ("[runn]\np = \"pause\"\n", "line 2: [runn] is no mode; did you mean run?"),
            ("[run]\nspce = \"pause\"\n", "line 3: \"spce\" is no key; did you mean space?"),
            ("[run]\np = \"paus\"\n", "line 3: \"paus\" is no command; did you mean pause?"),
            ("[run]\np = 3\n", "line 3: p must be a text in quotes"),
            ("run = 3\n", "line 2: run must be a table: [run]"),
            ("[filter]\nx = \"clear-filter\"\n", "line 3: in [filter] letters are typed"),
            (
                "[question]\nn = \"\"\nesc = \"\"\n",
                "no key is left for \"no\" in [question]: there would be no way out",
            ),
            ("[run\n", "line 2: "),
        ] {
            let error = own(&format!("{head}{text}")).unwrap_err();
            assert!(error.starts_with("mine.toml") && error.contains(why), "{text}: {error}");
        }
        assert!(own("[run]\np = \"pause\"\n").unwrap_err().contains("no way out"), "it inherits nothing");
        assert!(
            own("inherits = \"vi\"\n")
                .unwrap_err()
                .contains("there is no keymap \"vi\"; there are: default, vim, emacs, mine")
        );
        assert!(own("inherits = \"mine\"\n").unwrap_err().contains("there is no keymap \"mine\""));
        let two = |a: &str, b: &str| {
            let source = |text: &str| Source { place: "x".into(), text: format!("inherits = \"{text}\"") };
            load(a, &sources([(a.to_owned(), source(b)), (b.to_owned(), source(a))].into()))
        };
        assert!(two("one", "two").unwrap_err().contains("in a circle"));
    }

    #[test]
    fn the_sample_in_the_examples_is_right() {
        let keymap = own(include_str!("../../../examples/keymap.toml")).unwrap();
        assert_eq!(keys(&keymap, Mode::Run, Command::Pause), "space p");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_keymap_or_an_error(text in "\\PC{0,80}", more in "(\\[run\\]|p|ctrl-|=|\"|\n|pause|inherits|default| ){0,20}") {
            let _ = (own(&text), own(&more), own(&format!("inherits = \"default\"\n[run]\n{more}")));
        }
    }
}
