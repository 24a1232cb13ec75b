//! The same pictures for terminals that know ASCII only. One pass over the finished picture, so that no painter has to know.

use ratatui::buffer::Buffer;
use unicode_width::UnicodeWidthStr;

/// What stands for a sign. Each sign of the map stays one of its own.
fn plain(symbol: &str) -> &'static str {
    match symbol {
        "●" => "@",
        "○" => "o",
        "◐" => "%",
        "▶" => ">",
        "↶" => "<",
        "⊘" => "/",
        "×" => "x",
        "✗" => "X",
        "★" => "*",
        "⚑" => "F",
        "✓" => "+",
        "◉" => "@",
        "‖" => "=",
        "■" => "#",
        "·" => ".",
        "…" => "~",
        "→" => ">",
        "›" => ">",
        "▾" => "v",
        "▸" => ">",
        "±" => "~",
        "▏" => "_",
        "━" | "▬" => "=",
        "─" => "-",
        "│" => "|",
        "┌" | "┐" | "└" | "┘" => "+",
        "▁" => "_",
        "▂" | "▃" => "-",
        "▄" | "▅" => "+",
        "▆" | "▇" | "█" => "#",
        _ => "?",
    }
}

/// Makes a picture ASCII. A wide sign becomes two columns.
pub fn flatten(buffer: &mut Buffer) {
    let mut rest = 0_usize;
    for cell in &mut buffer.content {
        if rest > 0 {
            rest -= 1;
            cell.set_symbol(" ");
            continue;
        }
        if !cell.symbol().is_ascii() {
            rest = cell.symbol().width().saturating_sub(1);
            let ascii = plain(cell.symbol());
            cell.set_symbol(ascii);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::lens::Mark;
    use ratatui::layout::Rect;
    use ratatui::style::Style;
    use std::collections::HashSet;

    #[test]
    fn every_mark_stays_one_of_its_own() {
        let signs: HashSet<String> = Mark::ALL.iter().map(|m| m.glyph().to_string()).collect();
        let ascii = |sign: &String| if sign.is_ascii() { sign.clone() } else { plain(sign).to_owned() };
        let flat: HashSet<String> = signs.iter().map(ascii).collect();
        // `?` is the mark of what was not seen, and of nothing else.
        assert_eq!(flat.len(), Mark::ALL.len(), "{flat:?}");
    }

    #[test]
    fn a_wide_character_keeps_its_columns() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 6, 1));
        buffer.set_string(0, 0, "a界b✓", Style::new());
        flatten(&mut buffer);
        let text: String = buffer.content.iter().map(|c| c.symbol()).collect();
        assert_eq!(text, "a? b+ ");
    }
}
