//! Text from outside, made fit to be shown; many names, folded into one.

use super::natural;
use std::collections::BTreeMap;

/// `text` without control characters, terminal escapes, characters that reorder a line and those that cannot be seen.
/// What would begin a new line, and a tab, becomes a space.
pub fn clean(text: &str) -> String {
    text.chars()
        .filter_map(|c| match c {
            '\n' | '\t' | '\u{2028}' | '\u{2029}' => Some(' '),
            c if is_unclean(c) => None,
            c => Some(c),
        })
        .collect()
}

/// [`clean`], in at most `most` characters; what is cut leaves `…`.
pub fn clean_short(text: &str, most: usize) -> String {
    let mut out: String = text.chars().take(most.saturating_mul(2)).collect();
    let whole = out.len() == text.len();
    out = clean(&out);
    match out.char_indices().nth(most) {
        Some((at, _)) => out.truncate(at),
        None if whole => return out,
        None => {}
    }
    out.push('…');
    out
}

/// `text` between quotation marks, cleaned, in at most 80 characters: how an error repeats what it does not take. Nothing is
/// written out as an escape, which would make some texts eight times as long.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", clean_short(text, 80))
}

/// `one` or `many`, with the count before it.
pub fn count(n: usize, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
}

/// Milliseconds for people: `340 ms`, `3.2 s`, `42 s`, `4m 10s`, `1h 02m`.
pub fn span(ms: u64) -> String {
    let s = ms / 1000;
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..10_000 => format!("{}.{} s", s, ms % 1000 / 100),
        10_000..60_000 => format!("{s} s"),
        60_000..3_600_000 => format!("{}m {:02}s", s / 60, s % 60),
        _ => format!("{}h {:02}m", s / 3600, s / 60 % 60),
    }
}

/// Whether a terminal could act on `c`, or a reader not see it for what it is.
pub fn is_unclean(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    match c {
        // C1: the controls of an 8-bit terminal, CSI among them.
        '\u{80}'..='\u{9f}' => true,
        // Line and paragraph separators.
        '\u{2028}' | '\u{2029}' => true,
        // Bidirectional controls: they make a line read as what it is not.
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        // Without width, or blank without being a blank: two names that look alike, or a text that is not there.
        '\u{ad}' | '\u{34f}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2065}' => true,
        '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{3164}' | '\u{ffa0}' => true,
        '\u{206a}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' => true,
        '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}' => true,
        _ => false,
    }
}

/// Folds names that differ only in their last number, as `clush` does:
/// `worker-[0003-0005,0042]`. The order of the result is that of the prefixes, as people count.
pub fn fold_names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut groups: BTreeMap<(&str, &str, usize), Vec<u64>> = BTreeMap::new();
    let mut unpadded: Vec<(&str, &str, usize, u64)> = Vec::new();
    let mut plain: Vec<&str> = Vec::new();
    for name in names {
        let end = name.rfind(|c: char| c.is_ascii_digit()).map_or(0, |i| i + 1);
        let start = name[..end].rfind(|c: char| !c.is_ascii_digit()).map_or(0, |i| i + 1);
        match name[start..end].parse() {
            // The width is part of the group only where leading zeros fix it.
            Ok(number) if name[start..end].starts_with('0') && end - start > 1 => {
                groups.entry((&name[..start], &name[end..], end - start)).or_default().push(number);
            }
            Ok(number) => unpadded.push((&name[..start], &name[end..], end - start, number)),
            Err(_) => plain.push(name),
        }
    }
    for (before, after, width, number) in unpadded {
        // `1000` belongs to `0999`, `10` to `9`.
        let width = if groups.contains_key(&(before, after, width)) { width } else { 0 };
        groups.entry((before, after, width)).or_default().push(number);
    }
    let mut parts: Vec<String> = Vec::new();
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_cached_key(|((before, after, width), _)| (natural(before), *after, *width));
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
    fn times_read_as_people_say_them() {
        let said: Vec<String> = [340, 3_250, 42_900, 250_000, 3_720_000].into_iter().map(span).collect();
        assert_eq!(said, ["340 ms", "3.2 s", "42 s", "4m 10s", "1h 02m"]);
    }

    #[test]
    fn cleaning_leaves_no_escape_and_no_reordering() {
        assert_eq!(clean("a\u{1b}[31mb\r\n\u{202e}c\u{9b}d"), "a[31mb cd");
        assert_eq!(clean("a\u{2028}b\u{2029}c\u{85}d\u{7f}e\u{61c}f\u{e0041}g\u{ad}h"), "a b cdefgh");
        assert_eq!(clean("その場 é ✓ …"), "その場 é ✓ …");
    }

    #[test]
    fn a_long_text_is_cut_with_a_mark() {
        assert_eq!(clean_short("abc", 3), "abc");
        assert_eq!(clean_short("abcd", 3), "abc…");
        assert_eq!(clean_short("\u{1b}\u{1b}\u{1b}abc", 3), "abc");
        assert_eq!(clean_short(&"\u{1b}".repeat(1_000), 3), "…");
    }

    proptest::proptest! {
        #[test]
        fn what_is_clean_holds_nothing_unclean_and_stays_so(text in proptest::prelude::any::<String>()) {
            let once = clean(&text);
            proptest::prop_assert!(!once.chars().any(|c| is_unclean(c) || c.is_control()), "{:?}", once);
            proptest::prop_assert_eq!(&clean(&once), &once);
        }
    }

    #[test]
    fn folds_ranges_and_keeps_widths() {
        assert_eq!(fold_names(["w-0004", "w-0003", "w-0042", "w-0005"]), "w-[0003-0005,0042]");
        assert_eq!(fold_names(["m-1"]), "m-1");
        assert_eq!(fold_names(["w-1000", "w-0999", "w-1001"]), "w-[0999-1001]");
        assert_eq!(fold_names(["r10-n1", "r2-n9", "r2-n10", "r2-n8", "r2-n0", "r2-n12"]), "r2-n[0,8-10,12] r10-n1");
        assert_eq!(fold_names(["b", "a", "r1-n2", "r1-n3"]), "r1-n[2-3] a b");
        assert_eq!(fold_names([]), "");
    }
}
