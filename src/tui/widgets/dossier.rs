//! One node from near: all that is known of it.

use super::super::app::App;
use super::super::lens::{self, Target};
use super::super::text::{self, count, fit, pad, span};
use super::super::theme::Theme;
use super::{flight, heading, log, node};
use crate::fleet::{Cluster, Condition, ContainerProof, Node, PodProof};
use jiff::Timestamp;
use ratatui::text::{Line, Span};

/// Lines of the node's timeline.
const TIMELINE: usize = 200;

/// Everything about the node under the cursor.
pub fn lines(app: &App, cluster: &Cluster, width: usize) -> Vec<Line<'static>> {
    let t = &app.theme;
    let Some(node) = app.selected.as_ref().and_then(|n| cluster.nodes.get(n)) else {
        return vec![Line::styled("no node selected", t.dim)];
    };
    let columns = u16::try_from(width).unwrap_or(u16::MAX);
    let mut lines = vec![heading(t, node.name.as_str(), &node::place(node), columns)];
    let mark = lens::node_mark(node, app.run.as_ref(), &Target::of(app));
    let marked = if app.map.marked.contains(&node.name) { "  * marked" } else { "" };
    lines.push(Line::from(vec![
        Span::styled(format!("{} {}", mark.glyph(), mark.word()), mark.style(t)),
        Span::styled(format!("  {}", node::states(app, node)), t.text),
        Span::styled(marked, t.key),
    ]));
    lines.extend(node::leftovers(t, node, width));
    lines.extend(conditions(app, node, width));
    lines.extend(containers(app, cluster, node, width));
    lines.extend(timeline(app, node, width));
    lines.extend(pods(app, node, width));
    lines.extend(labels(t, node, width));
    lines
}

/// What the node says of itself; what is bad first.
fn conditions(app: &App, node: &Node, width: usize) -> Vec<Line<'static>> {
    let t = &app.theme;
    let view = app.map.near.as_ref().filter(|view| view.node == node.name);
    // Why it was not told stands where its pods would.
    let Some(Some(Ok(near))) = view.map(|view| &view.near) else { return Vec::new() };
    let columns = u16::try_from(width).unwrap_or(u16::MAX);
    let bad = near.conditions.iter().filter(|c| c.well() == Some(false)).count();
    let note = if bad == 0 { "none is bad".to_owned() } else { format!("{bad} not well") };
    let mut lines = vec![Line::default(), heading(t, "CONDITIONS", &note, columns)];
    let mut all: Vec<&Condition> = near.conditions.iter().collect();
    all.sort_by_key(|c| c.well() != Some(false));
    let name = all.iter().map(|c| text::width(&c.kind)).max().unwrap_or(0).min(width / 3);
    for condition in all {
        let word = condition.holds.map_or("unknown", |holds| if holds { "true" } else { "false" });
        let (glyph, style) = match condition.well() {
            Some(true) => ("✓", t.good),
            Some(false) => ("✗", t.alarm),
            None => ("·", t.text),
        };
        let since = condition.since.map_or(String::new(), |at| format!(", for {}", since(at, app.now)));
        let why = match (condition.well(), condition.message.as_str()) {
            (Some(true), _) | (_, "") => String::new(),
            (_, message) => format!(": {message}"),
        };
        lines.push(Line::from(vec![
            Span::styled(format!("{glyph} {} {}", pad(&condition.kind, name), pad(word, 8)), style),
            Span::styled(format!("{}{since}{why}", condition.reason), t.dim),
        ]));
    }
    lines
}

fn containers(app: &App, cluster: &Cluster, node: &Node, width: usize) -> Vec<Line<'static>> {
    let t = &app.theme;
    let target = Target::of(app);
    let columns = u16::try_from(width).unwrap_or(u16::MAX);
    let note = count(node.components.len(), "component", "components");
    let mut lines = vec![Line::default(), heading(t, "CONTAINERS", &note, columns)];
    for (component, running) in &node.components {
        let (mark, image) = lens::component_mark(node, *component, app.run.as_ref(), &target)
            .unwrap_or((lens::Mark::Unknown, &running.image));
        let leader = if lens::leads(cluster, *component, &node.name) { "  ★ leader" } else { "" };
        lines.push(Line::from(vec![
            Span::styled(format!("{} ", mark.glyph()), mark.style(t)),
            Span::styled(pad(component.as_str(), 24), t.head),
            Span::styled(image.to_string(), mark.style(t)),
            Span::styled(leader, t.notice),
        ]));
        let id: String = running.id.chars().take(12).collect();
        let up = match (running.running, running.started) {
            (false, _) => "not running".to_owned(),
            (true, Some(at)) => format!("up for {}", since(at, app.run_now())),
            (true, None) => "running".to_owned(),
        };
        lines.push(Line::styled(format!("  container {} {id}, {up}", running.container), t.dim));
        let args = text::wrap(&running.args.join(" "), width.saturating_sub(4));
        lines.extend(args.into_iter().filter(|l| !l.is_empty()).map(|l| Line::styled(format!("    {l}"), t.text)));
    }
    if node.components.is_empty() {
        lines.push(Line::styled("no component was seen on it", t.dim));
    }
    lines
}

fn timeline(app: &App, node: &Node, width: usize) -> Vec<Line<'static>> {
    let t = &app.theme;
    let Some(view) = &app.run else { return Vec::new() };
    let columns = u16::try_from(width).unwrap_or(u16::MAX);
    let mut lines = vec![Line::default(), heading(t, "IN THIS RUN", "UTC", columns)];
    for swap in view.run.swaps_of(&node.name) {
        let names: Vec<&str> = view.run.planned(swap).changes.iter().map(|c| c.component.short()).collect();
        let why = if swap.why.is_empty() { String::new() } else { format!(": {}", swap.why) };
        let words = format!("swap {} {} {}{why}", swap.id, names.join("+"), flight::word(swap));
        lines.push(Line::styled(fit(&words, width), if swap.why.is_empty() { t.text } else { t.alarm }));
    }
    let all: Vec<_> = view.run.log.iter().filter(|l| l.node.as_ref() == Some(&node.name)).collect();
    let skipped = all.len().saturating_sub(TIMELINE);
    lines.extend(all.into_iter().skip(skipped).map(|l| log::line(t, l, width)));
    if lines.len() == 2 {
        lines.push(Line::styled("the run does not touch it", t.dim));
    }
    lines
}

fn pods(app: &App, node: &Node, width: usize) -> Vec<Line<'static>> {
    let t = &app.theme;
    let Some(view) = app.map.near.as_ref().filter(|view| view.node == node.name) else { return Vec::new() };
    let columns = u16::try_from(width).unwrap_or(u16::MAX);
    let pods = match &view.near {
        None => return vec![Line::default(), heading(t, "PODS", "asking the API…", columns)],
        Some(Err(why)) => {
            let mut lines = vec![Line::default(), heading(t, "PODS", "", columns)];
            lines.extend(text::wrap(&format!("✗ {why}"), width).into_iter().map(|l| Line::styled(l, t.alarm)));
            return lines;
        }
        Some(Ok(near)) => &near.pods,
    };
    let ready = pods.iter().filter(|p| p.ready).count();
    let note = format!("{}, {ready} ready", count(pods.len(), "pod", "pods"));
    let mut lines = vec![Line::default(), heading(t, "PODS", &note, columns)];
    let mut pods: Vec<&PodProof> = pods.iter().collect();
    pods.sort_by_key(|p| (p.ready || p.ended, &p.pod));
    let name = pods.iter().map(|p| text::width(&p.pod)).max().unwrap_or(0).min(width / 2);
    for pod in pods {
        let (glyph, word, style) = match (pod.ended, pod.ready) {
            (true, _) => ("·", "ended", t.dim),
            (false, true) => ("✓", "ready", t.good),
            (false, false) => ("!", "not ready", t.notice),
        };
        let restarts: i32 = pod.containers.iter().map(|c| c.restarts).sum();
        let up = pod.containers.iter().filter_map(|c: &ContainerProof| c.started_at).max();
        let up = up.map(|at| format!(", up for {}", since(at, app.now))).unwrap_or_default();
        lines.push(Line::from(vec![
            Span::styled(format!("{glyph} {} ", pad(word, 9)), style),
            Span::styled(pad(&pod.pod, name), t.text),
            Span::styled(
                format!("  {}{up}", count(usize::try_from(restarts).unwrap_or(0), "restart", "restarts")),
                t.dim,
            ),
        ]));
    }
    lines
}

fn labels(t: &Theme, node: &Node, width: usize) -> Vec<Line<'static>> {
    if node.labels.is_empty() {
        return Vec::new();
    }
    let columns = u16::try_from(width).unwrap_or(u16::MAX);
    let mut lines = vec![Line::default(), heading(t, "LABELS", &node.labels.len().to_string(), columns)];
    let labels: Vec<String> = node.labels.iter().map(ToString::to_string).collect();
    lines.extend(text::wrap(&labels.join(" "), width).into_iter().map(Line::from));
    lines
}

/// How long ago that was; in days where it is long.
fn since(at: Timestamp, now: Timestamp) -> String {
    let ms = flight::millis(at, now);
    match ms / 86_400_000 {
        0 => span(ms / 1_000 * 1_000),
        1 => "1 day".into(),
        days => format!("{days} days"),
    }
}
