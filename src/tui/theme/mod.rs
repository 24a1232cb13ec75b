//! Named roles of colour, from themes that are data. A colour is never the only sign: a glyph or a word always says the same.

mod load;

pub use load::{load, sources};

use ratatui::style::{Modifier, Style};

/// How each role looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Theme {
    /// What lies under everything.
    pub background: Style,
    /// Ordinary text.
    pub text: Style,
    /// What matters less.
    pub dim: Style,
    /// Headings.
    pub head: Style,
    /// Keys, and what can be pressed.
    pub key: Style,
    /// Under the cursor.
    pub selected: Style,
    /// On the old version.
    pub old: Style,
    /// On the new version; done; well.
    pub good: Style,
    /// Under way.
    pub busy: Style,
    /// Worth a look.
    pub notice: Style,
    /// Wrong.
    pub alarm: Style,
    /// A badge that must be seen.
    pub badge: Style,
}

impl Theme {
    /// The roles' names, as themes write them.
    pub const ROLES: [&str; 12] =
        ["background", "text", "dim", "head", "key", "selected", "old", "good", "busy", "notice", "alarm", "badge"];

    /// How a role looks.
    #[cfg(test)]
    fn get(&self, role: &str) -> Style {
        match role {
            "background" => self.background,
            "dim" => self.dim,
            "head" => self.head,
            "key" => self.key,
            "selected" => self.selected,
            "old" => self.old,
            "good" => self.good,
            "busy" => self.busy,
            "notice" => self.notice,
            "alarm" => self.alarm,
            "badge" => self.badge,
            _ => self.text,
        }
    }

    /// Gives a role its look; an unknown one is passed over.
    fn set(&mut self, role: &str, style: Style) {
        match role {
            "background" => self.background = style,
            "text" => self.text = style,
            "dim" => self.dim = style,
            "head" => self.head = style,
            "key" => self.key = style,
            "selected" => self.selected = style,
            "old" => self.old = style,
            "good" => self.good = style,
            "busy" => self.busy = style,
            "notice" => self.notice = style,
            "alarm" => self.alarm = style,
            "badge" => self.badge = style,
            _ => {}
        }
    }

    /// No colour at all, for `NO_COLOR` (<https://no-color.org>).
    pub fn plain() -> Theme {
        let with = |m: Modifier| Style::new().add_modifier(m);
        Theme {
            background: Style::new(),
            text: Style::new(),
            dim: with(Modifier::DIM),
            head: with(Modifier::BOLD),
            key: with(Modifier::BOLD),
            selected: with(Modifier::REVERSED),
            old: Style::new(),
            good: Style::new(),
            busy: with(Modifier::BOLD),
            notice: with(Modifier::BOLD),
            alarm: with(Modifier::BOLD),
            badge: with(Modifier::REVERSED.union(Modifier::BOLD)),
        }
    }
}
