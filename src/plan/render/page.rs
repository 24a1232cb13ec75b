//! Lines of text, cleaned and wrapped, and how numbers read in them.

use crate::fleet::clean;

/// Columns that a line may take.
pub(super) const WIDTH: usize = 80;

pub(super) fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{} {what}s", number(n)) }
}

/// A time as people say it: `45s`, `12m 30s`, `2h 5m`.
pub(super) fn time(ms: u64) -> String {
    let s = ms / 1_000;
    match (s / 3_600, s / 60 % 60, s % 60) {
        (0, 0, 0) if ms > 0 => format!("{ms}ms"),
        (0, 0, s) if !ms.is_multiple_of(1_000) => format!("{s}.{}s", ms % 1_000 / 100),
        (0, 0, s) => format!("{s}s"),
        (0, m, 0) => format!("{m}m"),
        (0, m, s) => format!("{m}m {s}s"),
        (h, m, _) => format!("{h}h {m}m"),
    }
}

/// A range of times, in minutes where it is long: `35 to 50 min`, `40s to 1m 30s`.
pub(super) fn range(from: u64, to: u64) -> String {
    let round = |ms: u64| if ms < 10_000 { ms } else { ms.div_ceil(1_000).saturating_mul(1_000) };
    match (from, to) {
        _ if to <= from => time(round(from)),
        (600_000..7_200_000, ..7_200_000) => format!("{} to {} min", from / 60_000, to.div_ceil(60_000)),
        _ => format!("{} to {}", time(round(from)), time(round(to))),
    }
}

/// Bytes in decimal units, as disks and networks are sold: `640 MB`, `1.2 PB`.
pub(super) fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    let mut size = n as f64 / 1e3;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if size < 999.5 {
            break;
        }
        (size, unit) = (size / 1e3, next);
    }
    match size {
        _ if n < 1_000 => format!("{n} B"),
        size if size < 9.95 => format!("{size:.1} {unit}"),
        size => format!("{size:.0} {unit}"),
    }
}

/// A number with its thousands apart: `1,650`.
pub(super) fn number(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Lines, cleaned and wrapped.
#[derive(Default)]
pub(super) struct Page(pub(super) String);

impl Page {
    pub(super) fn gap(&mut self) {
        self.0.push('\n');
    }

    pub(super) fn head(&mut self, text: &str) {
        self.gap();
        self.line(0, text);
    }

    /// One line; what does not fit goes on below, a little further in. A plan comes from a file, so its text is cleaned here.
    pub(super) fn line(&mut self, indent: usize, text: &str) {
        let text = clean(text);
        let mut rest = text.trim_end();
        let (mut indent, further) = (indent, indent + 2);
        loop {
            let room = WIDTH - indent;
            let cut = cut(rest, room);
            self.0.extend(std::iter::repeat_n(' ', indent));
            self.0.push_str(rest[..cut].trim_end());
            self.0.push('\n');
            rest = rest[cut..].trim_start();
            if rest.is_empty() {
                return;
            }
            indent = further;
        }
    }
}

/// Where to break `text` so that at most `room` characters stand before: after a space or, in a long list of numbers, after a
/// comma.
fn cut(text: &str, room: usize) -> usize {
    let Some((full, _)) = text.char_indices().nth(room) else { return text.len() };
    let head = &text[..full];
    // A break that leaves most of the line empty reads worse than one within a list.
    let from = |i: Option<usize>| i.map(|i| i + 1).filter(|&i| i > full / 2);
    // A flag stays beside its value, so that both can be pasted.
    let flag = |space: &usize| {
        head[..*space].rsplit(' ').next().is_some_and(|word| word.starts_with("--") && !word.contains('='))
    };
    let space = head.rmatch_indices(' ').map(|(i, _)| i).find(|space| !flag(space));
    from(space).or_else(|| from(head.rfind(' '))).or_else(|| from(head.rfind(','))).unwrap_or(full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_people_say_them() {
        assert_eq!([0, 500, 45_000, 60_000, 750_000, 7_500_000].map(time).join(" "), "0s 500ms 45s 1m 12m 30s 2h 5m");
    }

    #[test]
    fn a_flag_is_not_parted_from_its_value() {
        let mut page = Page::default();
        let words = "x".repeat(58);
        page.line(0, &format!("{words} left out: --exclude rack1-cs1 does it"));
        assert_eq!(page.0, format!("{words} left out:\n  --exclude rack1-cs1 does it\n"));
    }

    #[test]
    fn numbers_read_as_people_say_them() {
        let sizes = [0, 999, 1_000, 9_949, 9_960, 999_499, 999_500, 1_200_000_000_000_000].map(bytes);
        assert_eq!(sizes.join(", "), "0 B, 999 B, 1.0 kB, 9.9 kB, 10 kB, 999 kB, 1.0 MB, 1.2 PB");
        assert_eq!([0, 999, 1_000, 1_234_567].map(number).join(" "), "0 999 1,000 1,234,567");
        let ranges = [(5_000, 5_000), (5_000, 61_400), (700_000, 1_000_000), (7_000_000, 9_000_000)];
        let words = ranges.map(|(from, to)| range(from, to));
        assert_eq!(words, ["5s", "5s to 1m 2s", "11 to 17 min", "1h 56m to 2h 30m"]);
        // A plan is a file, and a file may say anything.
        assert!(!range(0, u64::MAX).is_empty() && !range(u64::MAX, u64::MAX).is_empty());
    }

    proptest::proptest! {
        #[test]
        fn lines_fit_and_lose_nothing(text in "[a-z,é ]{0,400}", indent in 0_usize..8) {
            let mut page = Page::default();
            page.line(indent, &text);
            for line in page.0.lines() {
                proptest::prop_assert!(line.chars().count() <= WIDTH, "{line:?}");
            }
            let solid = |t: &str| t.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            proptest::prop_assert_eq!(solid(&page.0), solid(&text));
        }
    }
}
