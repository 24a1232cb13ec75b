//! Phases and waves of a run, with how far each is.

use super::super::tally::{Counts, Tally};
use super::super::text::{self, pad, right};
use super::super::theme::Theme;
use super::progress;
use crate::journal::{Run, RunState, SnapshotState};
use crate::plan::{Phase, PhaseKind};
use ratatui::text::{Line, Span};

/// The phases, the present one with its waves, in at most `height` lines around the present wave.
pub fn lines(theme: &Theme, run: &Run, tally: &Tally, width: usize, height: usize) -> Vec<Line<'static>> {
    let mut all: Vec<Line<'static>> = Vec::new();
    let mut focus = 0;
    for (p, phase) in run.plan.phases.iter().enumerate() {
        let here = run.phase == Some(p) && !run.phases_done.contains(&p);
        let counts = match phase.kind {
            PhaseKind::Prefetch => {
                let (done, failed, total) = run.pull_progress();
                Counts { done, failed, total, back: 0 }
            }
            _ => tally.phase(p),
        };
        let state = Stand::of(run, run.phases_done.contains(&p), here);
        if here {
            focus = all.len();
        }
        all.push(line(theme, &title(phase, room(width, 0)), 0, state, counts, width));
        // The plan is small enough to be read whole, or the present phase alone is unfolded.
        if !here {
            continue;
        }
        if phase.snapshot.is_some() {
            let (over, failed) = (run.snapshot.taken().is_some(), matches!(run.snapshot, SnapshotState::Failed(_)));
            let state = Stand::of(run, over, matches!(run.snapshot, SnapshotState::Taking));
            let counts = Counts { done: usize::from(over), failed: usize::from(failed), back: 0, total: 1 };
            all.push(line(theme, "snapshot", 2, state, counts, width));
        }
        for (w, wave) in phase.waves.iter().enumerate() {
            let at = run.wave == Some(w);
            let state = Stand::of(run, run.waves_done.contains_key(&(p, w)), at);
            if at {
                focus = all.len();
            }
            all.push(line(theme, &wave.title, 2, state, tally.wave(p, w), width));
        }
    }
    text::excerpt(all, focus, height, theme.dim)
}

/// Where the run is, seen from a phase or a wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    Over,
    Here,
    /// Here, and it stands still.
    Halted,
    Ahead,
}

impl Stand {
    fn of(run: &Run, over: bool, here: bool) -> Stand {
        match (over, here, run.state) {
            (true, ..) => Stand::Over,
            (_, true, RunState::Paused(_) | RunState::Ended(_)) => Stand::Halted,
            (_, true, _) => Stand::Here,
            _ => Stand::Ahead,
        }
    }
}

fn line(theme: &Theme, name: &str, indent: usize, stand: Stand, counts: Counts, width: usize) -> Line<'static> {
    let Counts { done, back, failed, total } = counts;
    let bad = match (failed, back) {
        (0, 0) => None,
        (0, n) => Some((format!(" ↶{n}"), theme.notice)),
        (n, back) => Some((format!(" !{}", n + back), theme.alarm)),
    };
    let (glyph, style) = match stand {
        Stand::Over => bad.as_ref().map_or(("✓", theme.good), |(_, style)| ("!", *style)),
        Stand::Here => ("▶", theme.busy),
        Stand::Halted => ("‖", theme.notice),
        Stand::Ahead => ("·", theme.dim),
    };
    let (more, alarm) = bad.unwrap_or((String::new(), theme.text));
    let gauge = gauge(width);
    let words = room(width, indent);
    let mut spans = vec![
        Span::raw(" ".repeat(indent)),
        Span::styled(format!("{glyph} "), style),
        Span::styled(pad(name, words), if matches!(stand, Stand::Here | Stand::Halted) { theme.text } else { style }),
    ];
    if gauge > 0 {
        let style = if more.is_empty() { theme.good } else { theme.notice };
        spans.extend(progress::bar(theme, done, total, gauge, style));
        spans.push(" ".into());
    }
    spans.push(Span::styled(right(&format!("{done}/{total}{more}"), NUMBERS), alarm));
    Line::from(spans)
}

/// Columns of the counts.
const NUMBERS: usize = 10;

/// Columns of a line's bar.
fn gauge(width: usize) -> usize {
    if width >= 44 { 12 } else { 0 }
}

/// Columns for a line's name.
fn room(width: usize, indent: usize) -> usize {
    let bar = gauge(width);
    width.saturating_sub(indent + 2 + NUMBERS + if bar > 0 { bar + 1 } else { 0 })
}

/// As much of a phase's title as has room: in short its first word, behind the stop on the way.
fn title(phase: &Phase, room: usize) -> String {
    let whole = phase.title();
    if text::width(&whole) <= room {
        return whole;
    }
    let word = phase.kind.title().split([' ', ',']).next().unwrap_or_default();
    phase.hop.as_ref().map_or(word.to_owned(), |hop| format!("{hop}: {word}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::EtcdSnapshot;
    use crate::tui::fixtures;
    use std::sync::Arc;

    #[test]
    fn the_snapshot_of_etcd_is_a_step_of_its_phase() {
        let mut plan = fixtures::plan();
        let at = plan.phases.iter().position(|p| p.kind == PhaseKind::Etcd).unwrap();
        let snapshot = serde_json::json!({
            "node": "rack0-m1", "container": "etcd", "dir": "/var/lib/etcd", "etcdctl": ["etcdctl"],
            "etcdutl": ["etcdutl"], "endpoint": "http://127.0.0.1:2379/"
        });
        plan.phases[at].snapshot = Some(serde_json::from_value(snapshot).unwrap());
        let mut run = Run::new(Arc::new(plan));
        run.phase = Some(at);
        let taken = EtcdSnapshot {
            node: "rack0-m1".parse().unwrap(),
            container: "etcd".into(),
            path: "/var/lib/etcd/sonoba-1.db".into(),
            bytes: 1,
            hash: "0".into(),
            revision: 1,
            keys: 1,
        };
        let shown = |run: &Run| {
            let lines = lines(&fixtures::app((80, 24), Default::default()).theme, run, &Tally::count(run), 40, 40);
            let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
            let line = lines.iter().find(|l| l.contains("snapshot")).unwrap();
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown(&run), "· snapshot 0/1");
        run.snapshot = SnapshotState::Taking;
        assert_eq!(shown(&run), "▶ snapshot 0/1");
        run.snapshot = SnapshotState::Failed("why".into());
        assert_eq!(shown(&run), "· snapshot 0/1 !1");
        run.snapshot = SnapshotState::Taken(taken);
        assert_eq!(shown(&run), "✓ snapshot 1/1");
    }
}
