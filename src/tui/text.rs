//! Text made to fit: nothing is cut without a sign of it.

use crate::fleet::{clean, is_unclean};
pub use crate::fleet::{count, span};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// `text`, cleaned, in at most `width` columns; what is cut leaves `…`.
pub fn fit(text: &str, width: usize) -> String {
    let text = clean(text);
    if text.width() <= width {
        return text;
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let w = c.width().unwrap_or(0);
        if used + w + 1 > width {
            break;
        }
        used += w;
        out.push(c);
    }
    if width > 0 {
        out.push('…');
    }
    out
}

/// `text` in exactly `width` columns, to the left.
pub fn pad(text: &str, width: usize) -> String {
    let mut out = fit(text, width);
    let used = out.width();
    out.extend(std::iter::repeat_n(' ', width.saturating_sub(used)));
    out
}

/// `text` in exactly `width` columns, to the right.
pub fn right(text: &str, width: usize) -> String {
    let out = fit(text, width);
    format!("{}{out}", " ".repeat(width.saturating_sub(out.width())))
}

/// How many columns `text` takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// A line, cleaned, in at most `width` columns; what is cut leaves `…`.
pub fn fit_line(mut line: Line<'static>, width: usize) -> Line<'static> {
    for span in line.spans.iter_mut().filter(|span| span.content.contains(is_unclean)) {
        span.content = clean(&span.content).into();
    }
    if line.width() <= width {
        return line;
    }
    let style = line.style;
    let mut spans: Vec<Span<'static>> = Vec::new();
    let mut room = width;
    for span in line.spans {
        // One column stays free for the mark, since something after this span may not fit.
        if span.width() < room {
            room -= span.width();
            spans.push(span);
        } else {
            // At exactly the room that is left `fit` would show no mark although more follows.
            let cut = fit(&format!("{}  ", span.content), room);
            spans.push(Span::styled(cut, span.style));
            break;
        }
    }
    Line::from(spans).style(style)
}

/// Lines in at most `height`; the last one counts what is missing.
pub fn fit_lines(mut lines: Vec<Line<'static>>, height: usize, more: &str) -> Vec<Line<'static>> {
    if lines.len() > height {
        let hidden = lines.len() - height.saturating_sub(1);
        lines.truncate(height.saturating_sub(1));
        if height > 0 {
            lines.push(Line::from(format!("… {hidden} more {more}").trim_end().to_owned()));
        }
    }
    lines
}

/// Lines around the line `focus` in at most `height`; what is left out above and below is counted in its place.
pub fn excerpt(lines: Vec<Line<'static>>, focus: usize, height: usize, style: Style) -> Vec<Line<'static>> {
    if lines.len() <= height || height < 3 {
        return fit_lines(lines, height, "");
    }
    let total = lines.len();
    let top = window(focus, total, height);
    // A count takes the place of a line, which it counts too.
    let above = if top > 0 { top + 1 } else { 0 };
    let end = top + height;
    let below = if end < total { total - end + 1 } else { 0 };
    let mut out: Vec<Line<'static>> = Vec::with_capacity(height);
    for (i, line) in lines.into_iter().enumerate().skip(top).take(height) {
        out.push(match i {
            _ if i == top && above > 0 => Line::styled(format!("… {above} above"), style),
            _ if i + 1 == end && below > 0 => Line::styled(format!("… {below} below"), style),
            _ => line,
        });
    }
    out
}

/// `text` broken at spaces into lines of at most `width` columns.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let text = clean(text);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        let used = lines[last].width();
        if used == 0 {
            lines[last] = fit(word, width);
        } else if used + 1 + word.width() <= width {
            lines[last].push(' ');
            lines[last].push_str(word);
        } else {
            lines.push(fit(word, width));
        }
    }
    lines
}

/// A window of `height` over `total` lines in which `cursor` is visible, as near to the middle as the ends allow.
pub fn window(cursor: usize, total: usize, height: usize) -> usize {
    cursor.saturating_sub(height / 2).min(total.saturating_sub(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_leaves_a_mark() {
        assert_eq!(fit("rack0-cs1", 9), "rack0-cs1");
        assert_eq!(fit("rack0-cs1", 6), "rack0…");
        assert_eq!(fit("日本語", 5), "日本…");
        assert_eq!(fit("a\u{1b}[2Jb", 9), "a[2Jb");
        assert_eq!(fit("abc", 0), "");
        let line = Line::from(vec![Span::raw("abc"), Span::raw("def")]);
        assert_eq!(fit_line(line.clone(), 6).to_string(), "abcdef");
        assert_eq!(fit_line(line.clone(), 5).to_string(), "abcd…");
        assert_eq!(fit_line(line, 3).to_string(), "ab…");
        assert_eq!(fit_line(Line::from("a\u{202e}\u{1b}[2Jb"), 9).to_string(), "a[2Jb");
    }

    #[test]
    fn lines_that_do_not_fit_are_counted() {
        let lines: Vec<Line> = (0..5).map(|i| Line::from(i.to_string())).collect();
        let shown: Vec<String> = fit_lines(lines, 3, "nodes").iter().map(Line::to_string).collect();
        assert_eq!(shown, ["0", "1", "… 3 more nodes"]);
    }

    #[test]
    fn an_excerpt_shows_its_focus_and_counts_every_line_that_it_leaves_out() {
        for total in 4..12 {
            // The lines at the edges of the window give way to counts, so the focus is kept off them.
            for focus in 0..total {
                let lines: Vec<Line> = (0..total).map(|i| Line::from(format!("line {i}"))).collect();
                let shown: Vec<String> = excerpt(lines, focus, 5, Style::new()).iter().map(Line::to_string).collect();
                assert!(shown.contains(&format!("line {focus}")), "{focus} of {total}: {shown:?}");
                let counted = |l: &String| match l.strip_prefix("… ").and_then(|l| l.split(' ').next()) {
                    Some(n) => n.parse::<usize>().unwrap(),
                    None => 1,
                };
                assert_eq!(shown.iter().map(counted).sum::<usize>(), total, "{shown:?}");
            }
        }
    }

    #[test]
    fn a_window_keeps_its_cursor_in_sight() {
        for total in 0..20 {
            for cursor in 0..total {
                let top = window(cursor, total, 5);
                assert!(top <= cursor && cursor < top + 5 && (total <= 5 || top + 5 <= total), "{cursor} of {total}");
            }
        }
    }
}
