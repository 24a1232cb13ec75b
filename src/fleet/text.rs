//! Text from outside, made fit to be shown; many names, folded into one.

use std::collections::BTreeMap;

/// `text` without control characters, terminal escapes and characters that reorder a line.
/// A line feed or a tab becomes a space.
pub fn clean(text: &str) -> String {
    text.chars()
        .filter_map(|c| match c {
            '\n' | '\t' => Some(' '),
            c if c.is_control() => None,
            // Bidirectional controls and invisible marks: they make a line read as what it is not.
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => None,
            c => Some(c),
        })
        .collect()
}

/// Folds names that differ only in their last number, as `clush` does:
/// `worker-[0003-0005,0042]`. The order of the result is that of the prefixes.
pub fn fold_names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut groups: BTreeMap<(&str, &str, usize), Vec<u64>> = BTreeMap::new();
    let mut plain: Vec<&str> = Vec::new();
    for name in names {
        let end = name.rfind(|c: char| c.is_ascii_digit()).map_or(0, |i| i + 1);
        let start = name[..end].rfind(|c: char| !c.is_ascii_digit()).map_or(0, |i| i + 1);
        match name[start..end].parse() {
            // The width is part of the group only where leading zeros fix it.
            Ok(number) => {
                let width = if name[start..end].starts_with('0') || end - start > 1 { end - start } else { 0 };
                groups.entry((&name[..start], &name[end..], width)).or_default().push(number);
            }
            Err(_) => plain.push(name),
        }
    }
    let mut parts: Vec<String> = Vec::new();
    for ((before, after, width), mut numbers) in groups {
        numbers.sort_unstable();
        numbers.dedup();
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for n in numbers {
            match ranges.last_mut() {
                Some((_, end)) if *end + 1 == n => *end = n,
                _ => ranges.push((n, n)),
            }
        }
        let text: Vec<String> = ranges
            .iter()
            .map(|&(a, b)| if a == b { format!("{a:0width$}") } else { format!("{a:0width$}-{b:0width$}") })
            .collect();
        parts.push(match text.as_slice() {
            [one] if !one.contains('-') => format!("{before}{one}{after}"),
            _ => format!("{before}[{}]{after}", text.join(",")),
        });
    }
    plain.sort_unstable();
    plain.dedup();
    parts.extend(plain.into_iter().map(str::to_owned));
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaning_leaves_no_escape_and_no_reordering() {
        assert_eq!(clean("a\u{1b}[31mb\r\n\u{202e}c\u{9b}d"), "a[31mb cd");
    }

    #[test]
    fn folds_ranges_and_keeps_widths() {
        assert_eq!(fold_names(["w-0004", "w-0003", "w-0042", "w-0005"]), "w-[0003-0005,0042]");
        assert_eq!(fold_names(["m-1"]), "m-1");
        assert_eq!(fold_names(["b", "a", "r1-n2", "r1-n3"]), "r1-n[2-3] a b");
        assert_eq!(fold_names([]), "");
    }
}
