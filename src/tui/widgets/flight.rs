//! Swaps in flight: what each does, for how long, and how long until its node restores itself.

use super::super::tally::{Tally, pick};
use super::super::text::{fit, pad, right, span, width as columns};
use super::super::theme::Theme;
use super::progress;
use crate::fleet::Component;
use crate::journal::{Run, Step, SwapState, SwapView, Verdict};
use jiff::Timestamp;
use ratatui::text::{Line, Span};

/// The swaps in flight, the one nearest to its deadline first.
pub fn swaps<'a>(run: &'a Run, tally: &Tally, now: Timestamp) -> Vec<&'a SwapView> {
    let mut swaps = pick(run, &tally.flying);
    swaps.sort_by_key(|s| (left(s, now).unwrap_or(u64::MAX), s.begun));
    swaps
}

/// Columns of the eviction clock.
const CLOCK: usize = 9;

/// Columns from which there is room for it.
const ROOMY: usize = 60;

/// What the clocks of the lines count, for their heading.
pub fn clocks(swaps: &[&SwapView], width: usize) -> &'static str {
    match swaps.iter().any(|s| s.stopping_at.is_some()) {
        false => "nothing stopped yet",
        true if width < ROOMY => "since begun; self-rollback in",
        true => "since begun; self-rollback in / NotReady in",
    }
}

/// The same, a line each; `grace_ms` after its kubelet was stopped, a node counts as NotReady and its pods may be evicted.
pub fn lines(
    theme: &Theme,
    run: &Run,
    swaps: &[&SwapView],
    grace_ms: u64,
    now: Timestamp,
    width: usize,
) -> Vec<Line<'static>> {
    let names = swaps.iter().map(|s| columns(s.node.as_str())).max().unwrap_or(4).clamp(4, (width / 3).max(4));
    let kubelet = |s: &SwapView| run.planned(s).changes.iter().any(|c| c.component == Component::Kubelet);
    swaps.iter().map(|s| line(theme, s, kubelet(s).then_some(grace_ms), now, names, width)).collect()
}

fn line(
    theme: &Theme,
    swap: &SwapView,
    grace_ms: Option<u64>,
    now: Timestamp,
    names: usize,
    width: usize,
) -> Line<'static> {
    let elapsed = swap.begun.map_or(String::new(), |at| span(millis(at, now)));
    // The bar and the time beside it.
    let (bar, clock) = if width < ROOMY { (6, 0) } else { (12, CLOCK) };
    let words = width.saturating_sub(names + 7 + 1 + bar + 7 + clock).clamp(8, 32);
    let style = match swap.state {
        SwapState::Ending(Verdict::Rollback) => theme.alarm,
        _ => theme.text,
    };
    let mut spans = vec![
        Span::styled(pad(swap.node.as_str(), names), theme.head),
        Span::styled(pad(&format!(" {}", fit(&word(swap), words.saturating_sub(1))), words), style),
        Span::styled(right(&elapsed, 7), theme.dim),
        " ".into(),
    ];
    match left(swap, now) {
        // Once the verdict stands on the node the switch is off.
        _ if matches!(swap.state, SwapState::Ending(_)) => spans.push(Span::styled("verdict given", theme.dim)),
        Some(left) => {
            let style = if left * 3 < swap.deadline_ms { theme.alarm } else { theme.busy };
            spans.extend(progress::shrinking(theme, left, swap.deadline_ms, bar, style));
            spans.push(Span::styled(right(&span(left), 7), style));
            if let (Some(grace), Some(at), true) = (grace_ms, swap.stopping_at, clock > 0) {
                let left = grace.saturating_sub(millis(at, now));
                let style = if left * 3 < grace { theme.alarm } else { theme.dim };
                spans.push(Span::styled(format!(" /{}", right(&span(left), CLOCK - 2)), style));
            }
        }
        None => spans.push(Span::styled("nothing stopped", theme.dim)),
    }
    Line::from(spans)
}

/// Milliseconds until the node restores itself; `None` before anything was stopped.
fn left(swap: &SwapView, now: Timestamp) -> Option<u64> {
    swap.stopping_at.map(|at| swap.deadline_ms.saturating_sub(millis(at, now)))
}

/// Milliseconds from `from` to `to`; nothing when the clocks disagree.
pub fn millis(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.duration_since(from).as_millis()).unwrap_or(0)
}

/// What a swap is doing, in words.
pub fn word(swap: &SwapView) -> String {
    let step = |word: &str, of: Option<crate::fleet::Component>| match of {
        Some(component) => format!("{word} {}", component.short()),
        None => word.to_owned(),
    };
    match swap.state {
        SwapState::Waiting => "waiting".into(),
        SwapState::Preparing => "preparing".into(),
        SwapState::Committed => "committed".into(),
        SwapState::RolledBack => "rolled back".into(),
        SwapState::Failed => "failed".into(),
        SwapState::Drifted => "drifted".into(),
        SwapState::Skipped => "skipped".into(),
        SwapState::Ending(Verdict::Commit) => "committing".into(),
        SwapState::Ending(Verdict::Rollback) => match swap.step {
            Some((Step::Restored, of)) => step("restored", of),
            _ => "rolling back".into(),
        },
        SwapState::InFlight => match swap.step {
            None => "told".into(),
            Some((Step::Begun, _)) => "begun".into(),
            Some((Step::Stopping, of)) => step("stopping", of),
            Some((Step::Stopped, of)) => step("stopped", of),
            Some((Step::Started, of)) => step("started", of),
            Some((Step::Waiting, _)) => match swap.healthy.last() {
                Some(c) => format!("healthy: {}", c.short()),
                None => "checking health".into(),
            },
            Some((Step::Restoring, of)) => step("restoring", of),
            Some((Step::Restored, of)) => step("restored", of),
            Some((Step::Removed, of)) => step("removed old", of),
        },
    }
}
