//! Bars.

use super::super::theme::Theme;
use ratatui::style::Style;
use ratatui::text::Span;

/// A bar of `width` columns: `done` of `total` in one style, the rest dim. Full only when all is done.
pub fn bar(theme: &Theme, done: usize, total: usize, width: usize, style: Style) -> [Span<'static>; 2] {
    let filled = match total {
        0 => 0,
        _ => (done.min(total) * width) / total,
    };
    [Span::styled("━".repeat(filled), style), Span::styled("─".repeat(width - filled), theme.dim)]
}

/// A bar that shrinks: `left` of `whole`. Empty only when nothing is left.
pub fn shrinking(theme: &Theme, left: u64, whole: u64, width: usize, style: Style) -> [Span<'static>; 2] {
    let part = (u128::from(left.min(whole)) * width as u128).div_ceil(u128::from(whole.max(1)));
    let filled = usize::try_from(part).unwrap_or(width);
    [Span::styled("▬".repeat(filled), style), Span::styled("·".repeat(width - filled), theme.dim)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_full_only_when_all_is_done_and_empty_only_when_nothing_is_left() {
        let t = Theme::plain();
        let filled = |spans: [Span<'_>; 2]| spans[0].width();
        assert_eq!(filled(bar(&t, 999, 1000, 10, t.good)), 9);
        assert_eq!(filled(bar(&t, 1000, 1000, 10, t.good)), 10);
        assert_eq!(filled(bar(&t, 0, 0, 10, t.good)), 0);
        assert_eq!(filled(shrinking(&t, 1, 30_000, 10, t.good)), 1);
        assert_eq!(filled(shrinking(&t, 0, 30_000, 10, t.good)), 0);
        assert_eq!(filled(shrinking(&t, 40_000, 30_000, 10, t.good)), 10);
    }
}
