//! The run as it happens.

use super::super::app::{App, RunView};
use super::super::command::Command;
use super::super::hits::Hit;
use super::super::layer::Looks;
use super::super::proof;
use super::super::safety;
use super::super::tally::{Tally, pick};
use super::super::text::{self, count, fit, span};
use super::super::theme::Theme;
use super::super::tips;
use super::super::widgets::{downtime, flight, heading, log, paint, phases, progress, rack_map, view_badge};
use crate::fleet::{NodeName, fold_names};
use crate::journal::{LockView, PauseReason, Run, RunState, SwapState, Verb};
use crate::plan::PhaseKind;
use jiff::Timestamp;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use std::collections::BTreeMap;

/// Lines from which the map is worth its place.
const MAP: usize = 9;

/// Rows of a terminal from which there is room for long reasons, and for a gate beside the answer to whether it is safe.
const ROOMY: u16 = 30;

/// Lines that the trouble under the cursor may take.
const WHOLE: usize = 4;

/// Columns from which limits are written out.
const WIDE: usize = 100;

/// The same where there is more to say of the proof.
const WIDEST: usize = 150;

/// Lines of the downtimes, with their heading.
const DOWNTIMES: usize = 4;

/// Paints the run.
pub fn draw(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let Some(view) = &app.run else {
        return paint(frame, area, vec![Line::from("There is no run.")], "");
    };
    let head = head_lines(app, view, area.width);
    let height = u16::try_from(head.len()).unwrap_or(6);
    let [top, rest] = Layout::vertical([Constraint::Length(height), Constraint::Min(0)]).areas(area);
    paint(frame, top, head, "");
    // On a narrow screen the log needs every column: it goes below.
    let narrow = area.width < 110;
    let below = if narrow { (rest.height / 3).max(4) } else { 0 };
    let [middle, bottom] = Layout::vertical([Constraint::Min(0), Constraint::Length(below)]).areas(rest);
    let left = if narrow { 27 } else { (area.width / 5 * 2).min((area.width / 4).max(64)) };
    let [left, _, right] =
        Layout::horizontal([Constraint::Length(left), Constraint::Length(1), Constraint::Min(0)]).areas(middle);
    draw_left(app, view, frame, left);
    let lines = now_lines(app, view, right, narrow);
    let used = u16::try_from(lines.len()).unwrap_or(u16::MAX).min(right.height);
    paint(frame, right, lines, "");
    let below = Rect { y: right.y + used, height: right.height - used, ..right };
    draw_log(app, view, frame, if narrow { bottom } else { below });
}

/// Phases, downtime and the map, as far as there is room for each.
fn draw_left(app: &App, view: &RunView, frame: &mut Frame<'_>, area: Rect) {
    let t = &app.theme;
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let tall = height >= MAP + DOWNTIMES + 8;
    let room = height.saturating_sub(1 + if tall { MAP + DOWNTIMES } else { 0 });
    let mut lines = vec![heading(t, "PHASES", "", area.width)];
    lines.extend(phases::lines(t, &view.run, &Tally::of(app, &view.run), width, room));
    if height.saturating_sub(lines.len()) >= DOWNTIMES && !view.run.downtimes.is_empty() {
        lines.push(heading(t, "DOWNTIME", "of containers, latest right", area.width));
        lines.extend(downtime::lines(t, &view.run, width, DOWNTIMES - 1));
    }
    let used = u16::try_from(lines.len()).unwrap_or(u16::MAX).min(area.height);
    paint(frame, area, lines, "");
    let below = Rect { y: area.y + used, height: area.height - used, ..area };
    if let Some(cluster) = app.sight.cluster.as_ref().filter(|_| tall && usize::from(below.height) >= MAP) {
        // Where the work is: the first in flight, else what the run stands for.
        let at = app.run_now();
        let tally = Tally::of(app, &view.run);
        let at_work = flight::swaps(&view.run, &tally, at).first().map(|s| s.node.clone());
        let seen = at_work.or_else(|| failures(t, &view.run, &tally).into_iter().find_map(|f| f.node));
        let focus = rack_map::Focus { chosen: view.cursor.as_ref(), seen: seen.as_ref(), masters: false };
        rack_map::draw(app, cluster, &Looks::of(app, cluster), focus, frame, below);
    }
}

/// State, bar, proof, safety and gate: four or five lines, more when there is something to explain.
fn head_lines(app: &App, view: &RunView, width: u16) -> Vec<Line<'static>> {
    let t = &app.theme;
    let run = &view.run;
    let now = app.run_now();
    let (badge, style) = view_badge(t, view);
    let mut first = vec![Span::styled(badge, style), Span::raw("  "), Span::raw(where_it_is(run))];
    if let Some(verb) = &view.sent {
        first.push(Span::styled(format!("  ({} sent…)", verb.word()), t.busy));
    }
    let mut lines = vec![Line::from(first)];
    lines.extend(explanation(app, view, width));
    lines.push(bar_line(app, run, now, width.into()));
    lines.push(proof_line(t, run, width));
    let roomy = app.size.1 >= ROOMY;
    if roomy || run.gate.is_none() {
        lines.push(safety::line(app, view, width));
    }
    if roomy || run.gate.is_some() {
        lines.push(gate_line(app, run, now, width.into()));
    }
    lines
}

fn where_it_is(run: &Run) -> String {
    let id = run.id.as_ref().map_or(String::new(), |id| format!("run {id}"));
    let Some((p, phase)) = run.phase.and_then(|p| Some((p, run.plan.phases.get(p)?))) else { return id };
    let wave = run.wave.and_then(|w| phase.waves.get(w)).map_or(String::new(), |w| format!(" › {}", w.title));
    match (run.ended(), &run.plan.rollback_of) {
        (Some(_), Some(of)) => format!("{id}, rollback of {of}"),
        (Some(_), None) => id,
        (None, Some(_)) => {
            format!("way back, phase {} of {}: {}{wave}", p + 1, run.plan.phases.len(), phase.title())
        }
        (None, None) => format!("phase {} of {}: {}{wave}", p + 1, run.plan.phases.len(), phase.title()),
    }
}

/// What the state means for the operator, where that needs words.
fn explanation(app: &App, view: &RunView, width: u16) -> Vec<Line<'static>> {
    let t = &app.theme;
    let run = &view.run;
    let flying = Tally::of(app, run).flying.len();
    let (words, style) = match run.state {
        _ if view.lost => (
            "the journal ends here and the run has not: this is its last state; `sonoba resume` goes on".to_owned(),
            t.alarm,
        ),
        _ if view.orphaned => (no_engine(run), t.alarm),
        RunState::Running if run.lock == LockView::Unsure => {
            ("the run lock could not be renewed: nothing new starts until it is; the log says why".to_owned(), t.alarm)
        }
        RunState::Running if run.lock == LockView::Lost => {
            ("another has the run lock, or had it: the run pauses; the log says who".to_owned(), t.alarm)
        }
        RunState::Pausing => (
            format!("{} will finish, nothing new starts", count(flying, "swap in flight", "swaps in flight")),
            t.notice,
        ),
        RunState::Paused(reason) => {
            let style = if reason == PauseReason::Operator { t.notice } else { t.alarm };
            let why = if run.why.is_empty() { "not said" } else { &run.why };
            (format!("why: {why}"), style)
        }
        RunState::Aborting => (
            format!("{} back, then the run ends", count(flying, "swap in flight rolls", "swaps in flight roll")),
            t.alarm,
        ),
        RunState::Ended(_) => {
            let why = if run.why.is_empty() { "every swap has its result".to_owned() } else { run.why.clone() };
            (format!("{why}; enter shows the report{}", back_words(app)), t.notice)
        }
        _ => return Vec::new(),
    };
    let lines = text::wrap(&words, width.into());
    let lines = lines.into_iter().map(|l| Line::styled(l, style)).collect();
    text::fit_lines(lines, if app.size.1 >= ROOMY { 3 } else { 2 }, "lines in the log")
}

/// What it means that no engine has the run. The nodes need none to be safe; an API server that is out of the Endpoints does.
fn no_engine(run: &Run) -> String {
    let was = super::super::widgets::state_word(run);
    let out: Vec<&str> = safety::out_of_the_endpoints(run, true).map(|(node, _)| node.as_str()).collect();
    if !out.is_empty() {
        return format!(
            "the engine is gone, and kube-apiserver of {} is out of the Endpoints: resume starts another engine, which puts \
             it back first",
            fold_names(out)
        );
    }
    match run.in_flight().count() {
        0 => format!("the engine is gone, the run was {was}: no node is in between; resume starts another engine"),
        n => format!(
            "the engine is gone, the run was {was}: {} without a verdict, which the node rolls back by itself; \
             resume starts another engine",
            count(n, "swap stands", "swaps stand")
        ),
    }
}

/// How to take back what an ended run did, where there is something and the cockpit may.
fn back_words(app: &App) -> String {
    if app.stage.planning {
        return "; looking at every node for the way back…".into();
    }
    match app.key(Command::Rollback) {
        Some(key) if app.hindrance(Command::Rollback).is_none() => format!(", {key} plans the way back"),
        _ => String::new(),
    }
}

fn bar_line(app: &App, run: &Run, now: Timestamp, width: usize) -> Line<'static> {
    let t = &app.theme;
    let total = run.swaps.len();
    let tally = Tally::of(app, run);
    let (done, bad) = (tally.all.done, tally.back.len() + tally.failed.len() + tally.drifted.len());
    let percent = (done * 100).checked_div(total).unwrap_or(0);
    let mut words = format!(" {done}/{total} swaps  {percent}%");
    if run.ended().is_none() && !app.orphaned() {
        words.push_str(&left_words(run, now, done + bad + tally.skipped.len()));
    }
    let elapsed = run.started.map_or(String::new(), |at| format!("  {} so far", span(flight::millis(at, now))));
    words.push_str(&elapsed);
    let room = width.saturating_sub(text::width(&words)).clamp(8, 80);
    let mut spans: Vec<Span<'static>> =
        progress::bar(t, done, total, room, if bad > 0 { t.notice } else { t.good }).into();
    spans.push(Span::raw(words));
    Line::from(spans)
}

/// How long it will take from here, from the rate so far; from the plan's estimate before the first result.
fn left_words(run: &Run, now: Timestamp, settled: usize) -> String {
    let after = match run.state {
        RunState::Running | RunState::Starting => "",
        RunState::Pausing | RunState::Paused(_) => " after a resume",
        RunState::Aborting | RunState::Ended(_) => return String::new(),
    };
    let first = run.waves_begun.values().min();
    let left = match first {
        Some(first) if settled > 0 => {
            let open = run.swaps.len().saturating_sub(settled) as u64;
            // While it stands, time goes by without a result.
            let stands = matches!(run.state, RunState::Paused(_));
            let until = run.pauses.last().filter(|_| stands).map_or(now, |(at, _)| *at);
            flight::millis(*first, until) / settled as u64 * open
        }
        _ => {
            let e = &run.plan.estimate;
            let gone = run.started.map_or(0, |at| flight::millis(at, now));
            e.total_ms().saturating_sub(gone)
        }
    };
    if left == 0 { String::new() } else { format!("  about {} left{after}", span(left / 1000 * 1000)) }
}

/// The proof: pods compared so far.
fn proof_line(t: &Theme, run: &Run, width: u16) -> Line<'static> {
    let pods = &run.pods;
    let disturbed = pods.disturbed.len();
    let bad = run.failures();
    let budget = &run.plan.budget;
    let lost = run.ready.as_ref().map_or(0, |r| r.lost.len());
    let mark = |n: usize| if n == 0 { t.good } else { t.alarm };
    let cross = |n: usize| if n == 0 { "" } else { "✗ " };
    // What is disturbed is known before the node's pods are counted.
    let all = pods.checked.max(pods.undisturbed + disturbed);
    let mut spans = vec![Span::styled(format!("✓ {} of {all} pods undisturbed", pods.undisturbed), t.good)];
    // The line below it says until when.
    let unproved = proof::unproved_words(run, true);
    let unproved_or_changed = unproved.is_some() || !pods.changed.is_empty();
    let budget_word = if unproved.is_some() { "   " } else { "   budget " };
    spans.extend(unproved.map(|words| Span::styled(format!(", {words}"), t.notice)));
    // A budget of none pauses at the first.
    let (most_failed, most_lost) = (budget.failed_swaps.max(1), budget.not_ready_nodes.max(1));
    let wide = if unproved_or_changed { WIDEST } else { WIDE };
    if usize::from(width) < wide {
        spans.push(Span::styled(format!(", {}{disturbed} disturbed", cross(disturbed)), mark(disturbed)));
        spans.push(Span::styled(budget_word, t.dim));
        spans.push(Span::styled(format!("failed {bad}/{most_failed}"), mark(bad)));
        spans.push(Span::styled(format!(" lost {lost}/{most_lost}"), mark(lost)));
        if usize::from(width) >= WIDE {
            spans.extend(proof::others_words(run).map(|words| Span::styled(format!("   {words}"), t.dim)));
        }
        return Line::from(spans);
    }
    let limit = |spans: &mut Vec<Span<'static>>, n: usize, what: &str, most: usize| {
        spans.push(Span::styled(format!("   {}{n} {what}", cross(n)), mark(n)));
        spans.push(Span::styled(format!(" (pauses at {most})"), t.dim));
    };
    limit(&mut spans, disturbed, "disturbed", budget.disturbed_pods.max(1));
    limit(&mut spans, bad, "failed", most_failed);
    limit(&mut spans, lost, "NotReady", most_lost);
    spans.extend(proof::others_words(run).map(|words| Span::styled(format!("   {words}"), t.dim)));
    Line::from(spans)
}

/// What is waited for, or will be.
fn gate_line(app: &App, run: &Run, now: Timestamp, width: usize) -> Line<'static> {
    let t = &app.theme;
    let Some(gate) = &run.gate else {
        let words = match run.state {
            _ if app.orphaned() => "no gate is waited for: nobody is there to wait".into(),
            RunState::Running | RunState::Starting if pulling(run) => {
                "images are pulled first; nothing restarts yet".into()
            }
            RunState::Running => next_gates(run),
            RunState::Ended(_) if run.has_done() && Tally::of(app, run).all.done < run.swaps.len() => {
                "the cluster is in a mixed, supported state: a new plan goes on from here".into()
            }
            RunState::Ended(_) => String::new(),
            RunState::Paused(PauseReason::Budget) => tips::at_a_spent_budget(app),
            RunState::Paused(PauseReason::Trouble) if run.lock == LockView::Unsure => {
                "it goes on by itself once the run lock is held again; abort ends it".into()
            }
            RunState::Paused(PauseReason::Trouble) if run.lock == LockView::Lost => {
                "resume asks for the run lock first, and goes on once it is held".into()
            }
            RunState::Paused(PauseReason::Drift) => {
                "resume goes on and leaves it as it is; retry swaps it again; skip accepts what runs there".into()
            }
            _ => String::new(),
        };
        return Line::styled(fit(&words, width), t.dim);
    };
    let gone = flight::millis(gate.since, now);
    if let Some(ms) = gate.soak_ms {
        let left = ms.saturating_sub(gone);
        let mut spans = vec![Span::styled(format!("gate {}  ", gate.name), t.busy)];
        let part = |ms: u64| usize::try_from(ms).unwrap_or(usize::MAX >> 8);
        spans.extend(progress::bar(t, part(ms - left), part(ms), 20, t.busy));
        spans.push(Span::raw(format!(" {} left  {}", span(left), fit(&gate.why, width / 2))));
        return Line::from(spans);
    }
    // Whole seconds: tenths would only flicker.
    let seconds = |ms: u64| span(ms / 1_000 * 1_000);
    let until = match (gate.limit_ms, run.state) {
        // What it waited for is in the pause's reason.
        (_, RunState::Paused(PauseReason::Gate)) => ", asked again after a resume".to_owned(),
        (Some(limit), RunState::Running) => format!(", pauses in {}", seconds(limit.saturating_sub(gone))),
        _ => String::new(),
    };
    let time = format!(", for {}{until}", seconds(gone));
    let what = fit(&format!("! gate {}: {}", gate.name, gate.why), width.saturating_sub(text::width(&time)));
    Line::styled(format!("{what}{time}"), t.notice)
}

/// What must hold once this wave's swaps are through.
fn next_gates(run: &Run) -> String {
    let wave = run.phase.zip(run.wave).and_then(|(p, w)| run.plan.phases.get(p)?.waves.get(w));
    let gates: Vec<String> = wave.into_iter().flat_map(|w| &w.gates).map(super::plan::gate).collect();
    if gates.is_empty() { "no gate is waited for".into() } else { format!("after this wave: {}", gates.join(", ")) }
}

fn pulling(run: &Run) -> bool {
    let phase = run.phase.and_then(|p| run.plan.phases.get(p));
    phase.is_some_and(|p| p.kind == PhaseKind::Prefetch) && run.in_flight().next().is_none()
}

/// What is under way, and what went wrong; `alone` when the log stands elsewhere.
fn now_lines(app: &App, view: &RunView, area: Rect, alone: bool) -> Vec<Line<'static>> {
    let t = &app.theme;
    let run = &view.run;
    let width = usize::from(area.width);
    let height = usize::from(area.height);
    let pulling = pulling(run);
    let now = app.run_now();
    let tally = Tally::of(app, run);
    let swaps = flight::swaps(run, &tally, now);
    let mut flying = match pulling {
        true => pull_lines(t, run, width),
        false => flight::lines(t, run, &swaps, view.grace_ms, now, width),
    };
    let troubles = failures(t, run, &tally);
    let on = |node: &NodeName| view.cursor.as_ref() == Some(node);
    let in_flight = match pulling {
        true => None,
        false => select(t, &mut flying, swaps.iter().position(|s| on(&s.node))),
    };
    // A node that is in both is marked where it is in flight.
    let place = troubles.iter().position(|trouble| trouble.node.as_ref().is_some_and(on));
    let place = place.filter(|_| in_flight.is_none());
    let whole = if alone || app.size.1 >= ROOMY { WHOLE } else { 1 };
    let (nodes, failures) = trouble_lines(t, &troubles, place, width, whole);
    let in_trouble = place.and_then(|_| nodes.iter().position(|n| n.as_ref().is_some_and(on)));
    // A third of the room for failures, or what nothing else needs; of the rest, two thirds where the log needs its share too.
    let free = if alone { height.saturating_sub(flying.len().max(1) + 2) } else { 0 };
    let fail_room = if failures.is_empty() { 0 } else { failures.len().min((height / 3).max(2).max(free)) + 1 };
    let rest = height.saturating_sub(fail_room + 1);
    let fly_room = flying.len().clamp(1, if alone { rest.max(1) } else { (rest * 2 / 3).max(3) });
    let whole = |of: usize, room: usize| of <= room;
    if !pulling && whole(flying.len(), fly_room) {
        let nodes = swaps.iter().map(|s| Some(s.node.clone()));
        clickable(app, area, 1, nodes);
    }
    if fail_room > 0 && whole(failures.len(), fail_room - 1) {
        clickable(app, area, 2 + flying.len().clamp(1, fly_room), nodes.iter().cloned());
    }
    let mut lines = vec![match pulling {
        true => heading(t, "PULLING", &flying.len().to_string(), area.width),
        false if flying.is_empty() => heading(t, "IN FLIGHT", "", area.width),
        false => heading(t, "IN FLIGHT", &format!("{}, {}", flying.len(), flight::clocks(&swaps, width)), area.width),
    }];
    if flying.is_empty() {
        lines.push(Line::styled("nothing", t.dim));
    } else {
        lines.extend(around(t, flying, in_flight, fly_room, "under way"));
    }
    if fail_room > 0 {
        lines.push(heading(t, "TROUBLE", "worst first", area.width));
        lines.extend(around(t, failures, in_trouble, fail_room - 1, "in the report"));
    }
    lines
}

/// A line each, cut where it is too long; the one under the cursor, or else the worst, in up to `whole` lines. With their nodes.
fn trouble_lines(
    t: &Theme,
    troubles: &[Trouble],
    chosen: Option<usize>,
    width: usize,
    whole: usize,
) -> (Vec<Option<NodeName>>, Vec<Line<'static>>) {
    let mut shown = Vec::new();
    for (i, trouble) in troubles.iter().enumerate() {
        let mut words = match i == chosen.unwrap_or(0) {
            true => text::wrap(&trouble.text, width),
            false => vec![trouble.text.clone()],
        };
        if words.len() > whole {
            let rest = words.split_off(whole.saturating_sub(1)).join(" ");
            words.push(rest);
        }
        let style = if chosen == Some(i) { t.selected } else { trouble.style };
        shown.extend(words.iter().map(|w| (trouble.node.clone(), Line::styled(fit(w, width), style))));
    }
    shown.into_iter().unzip()
}

/// Lines about nodes, from the line `first` of an area on.
fn clickable(app: &App, area: Rect, first: usize, nodes: impl Iterator<Item = Option<NodeName>>) {
    let from = area.y.saturating_add(u16::try_from(first).unwrap_or(u16::MAX));
    for (node, y) in nodes.zip(from..area.bottom()) {
        if let Some(node) = node {
            app.hits.put(Rect { y, height: 1, ..area }, Hit::Node(node));
        }
    }
}

/// Marks the line under the cursor; its place again.
fn select(t: &Theme, lines: &mut [Line<'static>], place: Option<usize>) -> Option<usize> {
    let line = lines.get_mut(place?)?;
    *line = std::mem::take(line).style(t.selected);
    line.spans.iter_mut().for_each(|span| span.style = t.selected);
    place
}

/// Lines that fit; around the cursor where it is among them.
fn around(t: &Theme, lines: Vec<Line<'static>>, at: Option<usize>, height: usize, more: &str) -> Vec<Line<'static>> {
    match at {
        Some(at) => text::excerpt(lines, at, height, t.dim),
        None => text::fit_lines(lines, height, more),
    }
}

/// The tail of the story; each line leads to its node.
fn draw_log(app: &App, view: &RunView, frame: &mut Frame<'_>, area: Rect) {
    let note = if view.back > 0 { "older; end: now" } else { "UTC; pgup: older" };
    let room = usize::from(area.height).saturating_sub(1);
    for (line, y) in log::tail(view, room).zip(area.y + 1..area.bottom()) {
        if let Some(node) = &line.node {
            app.hits.put(Rect { y, height: 1, ..area }, Hit::Node(node.clone()));
        }
    }
    let mut lines = vec![heading(&app.theme, "LOG", note, area.width)];
    lines.extend(log::lines(&app.theme, view, area.width.into(), room));
    paint(frame, area, lines, "");
}

/// Pulls under way, the one with the most to fetch first.
fn pull_lines(t: &Theme, run: &Run, width: usize) -> Vec<Line<'static>> {
    let under_way = run.pulls.iter().filter_map(|((node, image), state)| match state {
        crate::journal::PullState::Pulling(done, total) => Some((node, image, *done, *total)),
        _ => None,
    });
    let mut pulls: Vec<_> = under_way.collect();
    pulls.sort_by_key(|(_, _, done, total)| std::cmp::Reverse(total.saturating_sub(*done)));
    let mib = |bytes: u64| bytes / (1 << 20);
    pulls
        .into_iter()
        .map(|(node, image, done, total)| {
            let mut spans = vec![Span::styled(text::pad(node.as_str(), (width / 3).min(20)), t.head), " ".into()];
            let part = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX >> 8);
            spans.extend(progress::bar(t, part(done), part(total), 8, t.good));
            let size =
                if total == 0 { "size not told yet".into() } else { format!("{}/{} MiB", mib(done), mib(total)) };
            let words = format!(" {size} {}", image.short());
            spans.push(Span::raw(words));
            Line::from(spans)
        })
        .collect()
}

/// Something that went wrong.
struct Trouble {
    /// The node that it is about, where it is one.
    node: Option<NodeName>,
    /// In words.
    text: String,
    /// How it looks.
    style: Style,
}

/// What went wrong: nodes that need a person first, then disturbed pods, lost nodes, nodes that went back; at the end what was
/// skipped by decision.
fn failures(t: &Theme, run: &Run, tally: &Tally) -> Vec<Trouble> {
    let mut found = Vec::new();
    let mut add = |node: Option<&NodeName>, text, style| found.push(Trouble { node: node.cloned(), text, style });
    for s in pick(run, &tally.failed) {
        add(Some(&s.node), format!("✗ {} failed: {}", s.node, s.why), t.alarm);
    }
    for s in pick(run, &tally.drifted) {
        add(Some(&s.node), format!("✗ {} drifted: {}", s.node, s.why), t.alarm);
    }
    for (node, address) in safety::out_of_the_endpoints(run, false) {
        let text = format!("✗ {node} kube-apiserver {address} is out of the default/kubernetes Endpoints");
        add(Some(node), text, t.alarm);
    }
    let mut pods: BTreeMap<&NodeName, Vec<String>> = BTreeMap::new();
    for (node, pod) in &run.pods.disturbed {
        pods.entry(node).or_default().push(pod.to_string());
    }
    for (node, pods) in pods {
        let word = if pods.len() == 1 { "pod".to_owned() } else { format!("{} pods disturbed:", pods.len()) };
        add(Some(node), format!("✗ {node} {word} {}", pods.join(", ")), t.alarm);
    }
    if let Some(lost) = run.ready.as_ref().map(|r| &r.lost).filter(|l| !l.is_empty()) {
        let names = fold_names(lost.iter().map(|n| n.as_str()));
        add(None, format!("! NotReady: {names}"), t.alarm);
    }
    for ((node, image), state) in &run.pulls {
        if let crate::journal::PullState::Failed(why) = state {
            add(Some(node), format!("✗ {node} pull of {}: {why}", image.short()), t.alarm);
        }
    }
    for s in pick(run, &tally.back) {
        add(Some(&s.node), format!("↶ {} back on the old version: {}", s.node, s.why), t.notice);
    }
    for s in pick(run, &tally.skipped) {
        add(Some(&s.node), format!("⊘ {} skipped: {}", s.node, s.why), t.notice);
    }
    found
}

/// The same in full.
pub fn failure_lines(t: &Theme, run: &Run, width: usize) -> Vec<Line<'static>> {
    let whole = |f: Trouble| text::wrap(&f.text, width).into_iter().map(move |l| Line::styled(l, f.style));
    failures(t, run, &Tally::count(run)).into_iter().flat_map(whole).collect()
}

/// The nodes that the cursor can stand on, in the order of the screen.
pub fn stops(app: &App, run: &Run) -> Vec<NodeName> {
    let tally = Tally::of(app, run);
    let flying: Vec<NodeName> = match pulling(run) {
        true => Vec::new(),
        false => flight::swaps(run, &tally, app.run_now()).into_iter().map(|s| s.node.clone()).collect(),
    };
    let mut seen = std::collections::HashSet::new();
    let all = flying.into_iter().chain(failures(&app.theme, run, &tally).into_iter().filter_map(|f| f.node));
    all.filter(|node| seen.insert(node.clone())).collect()
}

/// What an abort would do now, in words.
pub fn abort_words(run: &Run) -> String {
    let flying = run.in_flight().count();
    let done = run.count(|s| s == SwapState::Committed);
    let rest = run.count(|s| s == SwapState::Waiting);
    format!(
        "{} will roll back to the old version; {} not be started; {} on the new version. \
         The run ends: it cannot be resumed. The cluster stays in a mixed, supported state. \
         If you only want to stop for a while, {} instead.",
        count(flying, "swap in flight", "swaps in flight"),
        if rest == 1 { "1 swap will".into() } else { format!("{rest} swaps will") },
        if done == 1 { "1 committed swap stays".into() } else { format!("{done} committed swaps stay") },
        Verb::Pause.word(),
    )
}
