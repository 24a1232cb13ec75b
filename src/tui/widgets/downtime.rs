//! How long components were away: the latest of each as a sparkline, with the middle and the worst of a hundred.

use super::super::text::{pad, right, span};
use super::super::theme::Theme;
use crate::fleet::Component;
use crate::journal::Run;
use ratatui::text::{Line, Span};

/// Heights of a sparkline's columns; none is full, so that two lines do not flow together.
const BARS: [char; 7] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇'];

/// Up to `height` lines, the components with most restarts first.
pub fn lines(t: &Theme, run: &Run, width: usize, height: usize) -> Vec<Line<'static>> {
    let mut all: Vec<(&Component, &Vec<u64>)> = run.downtimes.iter().filter(|(_, ms)| !ms.is_empty()).collect();
    all.sort_by_key(|(component, ms)| (std::cmp::Reverse(ms.len()), **component));
    all.into_iter().take(height).map(|(component, ms)| line(t, *component, ms, width)).collect()
}

fn line(t: &Theme, component: Component, ms: &[u64], width: usize) -> Line<'static> {
    let name = pad(component.short(), 8);
    let words = format!(" p50 {} p99 {}", right(&span(percentile(ms, 50)), 6), right(&span(percentile(ms, 99)), 6));
    let room = width.saturating_sub(name.chars().count() + words.chars().count() + 1).min(40);
    let spark = right(&spark(ms, room), room);
    Line::from(vec![Span::styled(name, t.text), Span::styled(words, t.text), Span::styled(format!(" {spark}"), t.good)])
}

/// The last values, the highest of them as the highest column.
fn spark(ms: &[u64], width: usize) -> String {
    let shown = &ms[ms.len().saturating_sub(width)..];
    let most = shown.iter().copied().max().unwrap_or(0).max(1);
    let bar = |ms: &u64| {
        let step = (u128::from(*ms) * (BARS.len() as u128 - 1)).div_ceil(u128::from(most));
        BARS[usize::try_from(step).unwrap_or(0).min(BARS.len() - 1)]
    };
    shown.iter().map(bar).collect()
}

/// The nearest-rank percentile; 0 of nothing. Without sorting all: it is asked for each picture.
fn percentile(ms: &[u64], p: usize) -> u64 {
    let mut values = ms.to_vec();
    let rank = (values.len() * p).div_ceil(100).max(1) - 1;
    if rank >= values.len() {
        return 0;
    }
    *values.select_nth_unstable(rank).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_of_what_is_shown_is_the_highest_column_and_nothing_is_none() {
        assert_eq!(spark(&[1_000_000, 0, 50, 100], 3), "▁▄▇");
        assert_eq!(spark(&[7], 10), "▇");
        assert_eq!(spark(&[], 10), "");
        assert_eq!(spark(&[0, 0], 10), "▁▁");
        let hundred: Vec<u64> = (1..=100).rev().collect();
        assert_eq!((percentile(&hundred, 50), percentile(&hundred, 99), percentile(&[], 50)), (50, 99, 0));
    }
}
