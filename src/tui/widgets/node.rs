//! Everything about the node under the cursor.

use super::super::app::App;
use super::super::lens::{self, Target};
use super::super::text::{fit, pad};
use super::super::theme::Theme;
use super::flight;
use crate::fleet::{Cluster, Node};
use crate::journal::Run;
use ratatui::text::{Line, Span};

/// What is known of the selected node; two columns of components where `width` allows it.
pub fn lines(app: &App, cluster: &Cluster, width: usize) -> Vec<Line<'static>> {
    let t = &app.theme;
    let columns = u16::try_from(width).unwrap_or(u16::MAX);
    let Some(node) = app.selected.as_ref().and_then(|n| cluster.nodes.get(n)) else {
        return vec![super::heading(t, "NODE", "", columns), Line::styled("no node selected", t.dim)];
    };
    let view = app.run.as_ref();
    let target = Target::of(app);
    let mark = lens::node_mark(node, view, &target);
    let mut lines = vec![super::heading(t, node.name.as_str(), &place(node), columns)];
    lines.push(Line::from(vec![
        Span::styled(format!("{} {}", mark.glyph(), mark.word()), mark.style(t)),
        Span::styled(format!("  {}", states(app, node)), t.text),
    ]));
    let (news, done) = view.map(|v| swap_lines(t, &v.run, node, width)).unwrap_or_default();
    lines.extend(news);
    let cells: Vec<Line<'static>> = node
        .components
        .iter()
        .map(|(component, running)| {
            let (mark, image) =
                lens::component_mark(node, *component, view, &target).unwrap_or((lens::Mark::Unknown, &running.image));
            let leader = if lens::leads(cluster, *component, &node.name) { " ★" } else { "" };
            let down = if running.running { "" } else { " not running" };
            Line::from(vec![
                Span::styled(format!("{} ", mark.glyph()), mark.style(t)),
                Span::styled(pad(component.as_str(), 24), t.text),
                Span::styled(format!("{}{leader}{down}", image.short()), mark.style(t)),
            ])
        })
        .collect();
    if cells.is_empty() {
        lines.push(Line::styled("no component was seen on it", t.dim));
    }
    let half = width / 2;
    if half >= 38 && cells.len() > 1 {
        let rows = cells.len().div_ceil(2);
        let (left, right) = cells.split_at(rows);
        for (i, cell) in left.iter().enumerate() {
            let mut line = super::super::text::fit_line(cell.clone(), half.saturating_sub(1));
            let gap = half.saturating_sub(line.width());
            line.spans.push(Span::raw(" ".repeat(gap)));
            line.spans.extend(right.get(i).map(|l| l.spans.clone()).unwrap_or_default());
            lines.push(line);
        }
    } else {
        lines.extend(cells);
    }
    lines.extend(done);
    lines.extend(leftovers(t, node, width));
    lines
}

/// What a swap left behind on the node, where something is.
pub fn leftovers(t: &Theme, node: &Node, width: usize) -> Option<Line<'static>> {
    let names: Vec<&str> = node.leftovers.iter().map(|n| n.as_str()).collect();
    (!names.is_empty()).then(|| Line::styled(fit(&format!("! left over: {}", names.join(", ")), width), t.notice))
}

/// The node's swaps in the run: those that are under way or went wrong, a line each, and the others together on one.
fn swap_lines(t: &Theme, run: &Run, node: &Node, width: usize) -> (Vec<Line<'static>>, Option<Line<'static>>) {
    let (mut news, mut rest) = (Vec::new(), Vec::new());
    for swap in run.swaps_of(&node.name) {
        let why = if swap.why.is_empty() { String::new() } else { format!(": {}", swap.why) };
        let names: Vec<&str> = run.planned(swap).changes.iter().map(|c| c.component.short()).collect();
        let text = fit(&format!("swap {} {} {}{why}", swap.id, names.join("+"), flight::word(swap)), width);
        match (swap.why.is_empty(), swap.state.open()) {
            (false, _) => news.push(Line::styled(text, t.alarm)),
            (true, true) => news.push(Line::styled(text, t.busy)),
            (true, false) => rest.push(format!("{} {}", names.join("+"), flight::word(swap))),
        }
    }
    let rest =
        (!rest.is_empty()).then(|| Line::styled(fit(&format!("in this run: {}", rest.join(", ")), width), t.dim));
    (news, rest)
}

/// What kind of node it is, and where.
pub fn place(node: &Node) -> String {
    let kind = if node.master { "master" } else { "worker" };
    let role = node.role.as_ref().map(|r| format!(", role {r}")).unwrap_or_default();
    format!("{kind} in {}{role}, {}", node.rack, fit(&node.address, 40))
}

/// Whether it is well, in words.
pub fn states(app: &App, node: &Node) -> String {
    let ready = if node.ready { "Ready" } else { "NotReady" };
    let ssh = match node.reachable {
        Some(true) => "answers over SSH",
        Some(false) => "does not answer over SSH",
        None => "not asked over SSH",
    };
    // While a run moves kubelets, what this one said at the last look is no news.
    let fresh = app.run.as_ref().is_none_or(|view| view.past);
    let kubelet =
        node.kubelet_version.as_ref().filter(|_| fresh).map(|v| format!(", kubelet says {v}")).unwrap_or_default();
    format!("{ready}, {ssh}{kubelet}")
}
