//! Keys by their names.

use super::super::sources::did_you_mean;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::fmt;
use std::str::FromStr;

/// A key as a keymap writes it: `a`, `A`, `ctrl-l`, `alt-x`, `enter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    code: KeyCode,
    control: bool,
    alt: bool,
}

const NAMES: &[(&str, KeyCode)] = &[
    ("up", KeyCode::Up),
    ("down", KeyCode::Down),
    ("left", KeyCode::Left),
    ("right", KeyCode::Right),
    ("pgup", KeyCode::PageUp),
    ("pgdn", KeyCode::PageDown),
    ("home", KeyCode::Home),
    ("end", KeyCode::End),
    ("enter", KeyCode::Enter),
    ("esc", KeyCode::Esc),
    ("tab", KeyCode::Tab),
    ("shift-tab", KeyCode::BackTab),
    ("space", KeyCode::Char(' ')),
    ("backspace", KeyCode::Backspace),
    ("del", KeyCode::Delete),
    ("ins", KeyCode::Insert),
];

impl Key {
    /// The key that a terminal reported. Shift is in the letter already.
    pub fn of(event: KeyEvent) -> Key {
        let has = |modifier| event.modifiers.contains(modifier);
        let code = match event.code {
            // Terminals report Ctrl-L and Ctrl-Shift-L alike.
            KeyCode::Char(c) if has(KeyModifiers::CONTROL) => KeyCode::Char(c.to_ascii_lowercase()),
            code => code,
        };
        Key { code, control: has(KeyModifiers::CONTROL), alt: has(KeyModifiers::ALT) }
    }

    /// Whether it types a character where something is typed.
    pub fn types(self) -> bool {
        matches!(self.code, KeyCode::Char(_)) && !self.control && !self.alt
    }
}

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Key, String> {
        let mut rest = text;
        let (mut control, mut alt) = (false, false);
        // A lone sign is itself, also where it is a minus.
        while rest.chars().count() > 1 {
            if let Some(after) = rest.strip_prefix("ctrl-").filter(|after| !after.is_empty()) {
                (rest, control) = (after, true);
            } else if let Some(after) = rest.strip_prefix("alt-").filter(|after| !after.is_empty()) {
                (rest, alt) = (after, true);
            } else {
                break;
            }
        }
        let number = |n: &str| n.parse::<u8>().ok().filter(|n| (1..=12).contains(n));
        let mut chars = rest.chars();
        let code = match (chars.next(), chars.next()) {
            (Some(c), None) if c.is_control() || c.is_whitespace() => None,
            (Some(c), None) if control => Some(KeyCode::Char(c.to_ascii_lowercase())),
            (Some(c), None) => Some(KeyCode::Char(c)),
            _ => match NAMES.iter().find(|(name, _)| *name == rest) {
                Some((_, code)) => Some(*code),
                None => rest.strip_prefix('f').and_then(number).map(KeyCode::F),
            },
        };
        match code {
            Some(code) => Ok(Key { code, control, alt }),
            None => {
                let hint = did_you_mean(rest, NAMES.iter().map(|(name, _)| *name));
                Err(format!("{text:?} is no key{hint}"))
            }
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.control {
            f.write_str("ctrl-")?;
        }
        if self.alt {
            f.write_str("alt-")?;
        }
        match (NAMES.iter().find(|(_, code)| *code == self.code), self.code) {
            (Some((name, _)), _) => f.write_str(name),
            (None, KeyCode::Char(c)) => write!(f, "{c}"),
            (None, KeyCode::F(n)) => write!(f, "f{n}"),
            (None, _) => f.write_str("?"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_is_written() {
        for text in ["a", "A", "-", "ctrl--", "alt-<", "ctrl-alt-x", "f12", "shift-tab", "space", "ctrl-space", "é"] {
            assert_eq!(text.parse::<Key>().unwrap().to_string(), text);
        }
        assert_eq!("ctrl-L".parse::<Key>().unwrap(), "ctrl-l".parse().unwrap());
        assert_eq!(Key::of(KeyEvent::from(KeyCode::Char('G'))), "G".parse().unwrap());
        for (bad, hint) in
            [("spce", "did you mean space?"), ("f13", "no key"), ("", "no key"), ("ab", "no key"), ("ctrl-", "no key")]
        {
            assert!(bad.parse::<Key>().unwrap_err().contains(hint), "{bad}: {:?}", bad.parse::<Key>());
        }
    }
}
