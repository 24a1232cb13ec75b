//! Named roles of colour. A colour is never the only sign: a glyph or a word always says the same.

use ratatui::style::{Color, Modifier, Style};

/// How each role looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Theme {
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
    /// Sixteen-colour terminals and better; the terminal's own palette decides the shades.
    pub fn colours() -> Theme {
        let fg = |c: Color| Style::new().fg(c);
        Theme {
            text: Style::new(),
            dim: fg(Color::DarkGray),
            head: fg(Color::Cyan).add_modifier(Modifier::BOLD),
            key: fg(Color::Yellow),
            selected: Style::new().add_modifier(Modifier::REVERSED),
            // Blue is unreadable on many dark terminals; the old version is nothing to call attention to.
            old: Style::new(),
            good: fg(Color::Green),
            busy: fg(Color::Yellow).add_modifier(Modifier::BOLD),
            notice: fg(Color::Yellow),
            alarm: fg(Color::Red).add_modifier(Modifier::BOLD),
            badge: Style::new().fg(Color::Black).bg(Color::Yellow).add_modifier(Modifier::BOLD),
        }
    }

    /// No colour at all, for `NO_COLOR` (<https://no-color.org>).
    pub fn plain() -> Theme {
        let with = |m: Modifier| Style::new().add_modifier(m);
        Theme {
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

    /// The theme that fits the environment's `NO_COLOR`: any value but the empty one turns colour off.
    pub fn for_environment(no_color: Option<&std::ffi::OsStr>) -> Theme {
        match no_color {
            Some(value) if !value.is_empty() => Theme::plain(),
            _ => Theme::colours(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_color_is_respected_unless_empty() {
        assert_eq!(Theme::for_environment(Some("1".as_ref())), Theme::plain());
        assert_eq!(Theme::for_environment(Some("".as_ref())), Theme::colours());
        assert_eq!(Theme::for_environment(None), Theme::colours());
    }
}
