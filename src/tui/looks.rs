//! How the cockpit looks and which keys it has: what the operator chose, from what there is.

use super::keymap::{self, Keymap};
use super::sources::{Source, Sources};
use super::theme::{self, Theme};
use std::collections::BTreeMap;

/// What was chosen, and what there is to choose from.
#[derive(Debug, Clone)]
pub struct Looks {
    /// The theme's name; none is the plain one, which cannot be changed.
    pub theme: Option<String>,
    /// The keymap's name.
    pub keymap: String,
    /// Nothing but ASCII is painted.
    pub ascii: bool,
    /// Clicks and the wheel are taken; the terminal's own selection then needs its modifier key.
    pub mouse: bool,
    themes: Sources,
    keymaps: Sources,
}

/// Files of the operator's own, by name.
pub type Own = BTreeMap<String, Source>;

impl Default for Looks {
    fn default() -> Looks {
        Looks {
            theme: Some("sixteen".into()),
            keymap: "default".into(),
            ascii: false,
            mouse: true,
            themes: theme::sources(BTreeMap::new()),
            keymaps: keymap::sources(BTreeMap::new()),
        }
    }
}

impl Looks {
    /// With the operator's own themes and keymaps, none of them chosen yet.
    pub fn new(themes: Own, keymaps: Own) -> Looks {
        Looks { themes: theme::sources(themes), keymaps: keymap::sources(keymaps), ..Looks::default() }
    }

    /// The same with another theme.
    pub fn with_theme(self, name: &str) -> Looks {
        Looks { theme: Some(name.to_owned()), ..self }
    }

    /// Whether what was chosen can be used.
    ///
    /// # Errors
    /// What is wrong with it: file, line, what would be right.
    pub fn check(&self) -> Result<(), String> {
        self.the_keymap()?;
        self.the_theme().map(drop)
    }

    /// The keymap that was chosen.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn the_keymap(&self) -> Result<Keymap, String> {
        keymap::load(&self.keymap, &self.keymaps)
    }

    /// The theme that was chosen.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn the_theme(&self) -> Result<Theme, String> {
        match &self.theme {
            Some(name) => theme::load(name, &self.themes),
            None => Ok(Theme::plain()),
        }
    }

    /// The themes that there are.
    pub(super) fn themes(&self) -> Vec<String> {
        self.themes.names()
    }
}
