//! What became of the run.

use super::super::app::App;
use super::super::proof;
use super::super::text::{self, count, pad, right, span};
use super::super::widgets::{flight, heading, paint, state_badge};
use super::run::failure_lines;
use crate::fleet::fold_names;
use crate::journal::{Outcome, Run, SwapState};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

/// Paints the report, scrolled.
pub fn draw(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let Some(view) = &app.run else {
        return paint(frame, area, vec![Line::from("There is no run.")], "");
    };
    let all = lines(app, &view.run, area.width);
    let top = app.report_top.min(all.len().saturating_sub(usize::from(area.height)));
    paint(frame, area, all.into_iter().skip(top).collect(), "lines: down");
}

/// How many lines there are to scroll over.
pub fn len(app: &App) -> usize {
    let all = app.run.as_ref().map_or(0, |v| lines(app, &v.run, app.size.0.saturating_sub(2)).len());
    // Header, footer: five lines of the terminal are not the report's.
    all.saturating_sub(usize::from(app.size.1).saturating_sub(5))
}

fn lines(app: &App, run: &Run, width: u16) -> Vec<Line<'static>> {
    let t = &app.theme;
    let number = |state| run.count(|s| s == state);
    let (badge, style) = state_badge(t, run);
    let seconds = match (run.started, run.now) {
        (Some(from), Some(to)) => span(flight::millis(from, to)),
        _ => "no time".into(),
    };
    let id = run.id.as_ref().map_or("?", |i| i.as_str());
    let mut lines = vec![Line::from(vec![
        Span::styled(badge, style),
        Span::raw(format!("  run {id} on {} by {}, {seconds}", run.cluster, run.operator)),
    ])];
    if !run.why.is_empty() {
        lines.extend(text::wrap(&run.why, width.into()).into_iter().map(|l| Line::styled(l, style)));
    }
    if let Some(of) = &run.plan.rollback_of {
        lines.push(Line::from(format!("It took back what run {of} did: new is what ran before that.")));
    }
    let which = run.which();
    let drifted = match number(SwapState::Drifted) {
        0 => String::new(),
        n => format!("{n} drifted, "),
    };
    let skipped = match number(SwapState::Skipped) {
        0 => String::new(),
        n => format!("{n} skipped, "),
    };
    lines.push(Line::default());
    lines.push(heading(t, "RESULT", "", width));
    lines.push(Line::from(format!(
        "swaps  {} planned: {} committed, {} rolled back, {} failed, {drifted}{skipped}{} without a result",
        run.swaps.len(),
        number(SwapState::Committed),
        number(SwapState::RolledBack),
        number(SwapState::Failed),
        run.count(|s| s == SwapState::Waiting || s.open()),
    )));
    lines.push(Line::from(format!(
        "nodes  {} planned: {} all new, {} all old, {} partly new, {} failed",
        which.new.len() + which.old.len() + which.partly.len() + which.failed.len(),
        which.new.len(),
        which.old.len(),
        which.partly.len(),
        which.failed.len()
    )));
    let pods = &run.pods;
    let mut proof =
        format!("{} checked, {} undisturbed, {} disturbed", pods.checked, pods.undisturbed, pods.disturbed.len());
    let unproved = proof::unproved_words(run, false);
    for words in unproved.iter().cloned().chain(proof::others_words(run)) {
        proof = format!("{proof}, {words}");
    }
    let (glyph, style) = match (pods.disturbed.is_empty(), &unproved) {
        (true, None) => ("✓", t.good),
        (true, Some(_)) => ("?", t.notice),
        (false, _) => ("✗", t.alarm),
    };
    lines.push(Line::from(vec![Span::raw("pods   "), Span::styled(format!("{glyph} {proof}"), style)]));
    lines.push(Line::styled("       compared: UID, container IDs, starts, restarts, Ready transitions", t.dim));
    if which.new.is_empty() || which.words(false).len() > 1 {
        lines.push(Line::default());
        lines.push(heading(t, "WHICH NODE IS WHICH", "", width));
        for (word, nodes) in which.words(run.plan.rollback_of.is_some()) {
            let names = format!("{word}: {}", fold_names(nodes.iter().map(|n| n.as_str())));
            lines.extend(text::wrap(&names, width.into()).into_iter().map(Line::from));
        }
    }
    lines.push(Line::default());
    let note = match run.measured_by.is_empty() {
        true => "from the old one's last answer to the new one's first",
        false => "as clients feel it: from the first refusal to the first success",
    };
    lines.push(heading(t, "DOWNTIME", note, width));
    lines.push(Line::styled(format!("{}{:>8}{:>10}{:>10}{:>10}", pad("", 26), "swaps", "p50", "p99", "max"), t.dim));
    for (component, times) in &run.downtimes {
        let mut times = times.clone();
        times.sort_unstable();
        let cell = |ms: Option<u64>| right(&ms.map_or("-".into(), span), 10);
        lines.push(Line::from(format!(
            "{}{:>8}{}{}{}",
            pad(component.as_str(), 26),
            times.len(),
            cell(percentile(&times, 50)),
            cell(percentile(&times, 99)),
            cell(times.last().copied())
        )));
    }
    if run.downtimes.is_empty() {
        lines.push(Line::styled("nothing was measured", t.dim));
    }
    for (component, how) in &run.measured_by {
        let words = text::wrap(&format!("{component}: {how}"), width.into());
        lines.extend(words.into_iter().map(|l| Line::styled(l, t.dim)));
    }
    if !pods.changed.is_empty() {
        lines.push(Line::default());
        lines.push(heading(t, "PODS CHANGED BY OTHERS", &pods.changed.len().to_string(), width));
        for (node, pod) in &pods.changed {
            lines.extend(text::wrap(&format!("{node} {pod}"), width.into()).into_iter().map(Line::from));
        }
    }
    if !run.decisions.is_empty() {
        lines.push(Line::default());
        lines.push(heading(t, "DECISIONS", &count(run.decisions.len(), "decision", "decisions"), width));
        for d in &run.decisions {
            let at = d.at.strftime("%H:%M:%S");
            let words = format!("{at} UTC  {} of {} by {}: {}", d.what, d.of, d.by, d.why);
            lines.extend(text::wrap(&words, width.into()).into_iter().map(Line::from));
        }
    }
    if !run.pauses.is_empty() {
        lines.push(Line::default());
        lines.push(heading(t, "PAUSES", &count(run.pauses.len(), "pause", "pauses"), width));
        for (at, why) in &run.pauses {
            let words = format!("{} UTC  {why}", at.strftime("%H:%M:%S"));
            lines.extend(text::wrap(&words, width.into()).into_iter().map(Line::from));
        }
    }
    lines.push(Line::default());
    lines.push(heading(t, "EXCEPTIONS", "worst first", width));
    let trouble = failure_lines(t, run, width.into());
    let none = trouble.is_empty();
    lines.extend(trouble);
    let open: Vec<&str> = run.swaps.iter().filter(|s| s.state == SwapState::Waiting).map(|s| s.node.as_str()).collect();
    if !open.is_empty() {
        for part in text::wrap(&format!("not started: {}", fold_names(open)), width.into()) {
            lines.push(Line::styled(part, t.notice));
        }
    } else if none {
        lines.push(Line::styled("✓ none: every node did as planned", t.good));
    }
    lines.push(Line::default());
    lines.push(Line::styled(format!("As a file: sonoba report {id} --format md (or json)"), t.dim));
    if run.ended().is_some_and(|outcome| outcome != Outcome::RolledBack) && run.has_done() {
        lines.push(Line::styled(format!("Take back what it did: sonoba rollback {id}"), t.dim));
    }
    lines
}

/// The nearest-rank percentile of sorted values.
fn percentile(sorted: &[u64], p: usize) -> Option<u64> {
    let rank = (sorted.len() * p).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    #[test]
    fn percentiles_are_values_that_were_measured() {
        let p = super::percentile;
        assert_eq!(p(&[], 50), None);
        assert_eq!(p(&[7], 99), Some(7));
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!((p(&hundred, 50), p(&hundred, 99)), (Some(50), Some(99)));
    }
}
