//! The header: where am I, what is this cluster, does it answer, what is the run doing?

use super::super::app::{App, Screen};
use super::super::index::Index;
use super::super::lens;
use super::super::map::Zoom;
use super::super::text::{count, fit, fit_line, span, width};
use super::{paint, view_badge};
use crate::fleet::{Cluster, Component, Node};
use crate::journal::{Run, SwapState};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

/// Paints the header: two lines and a rule.
pub fn draw(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let columns = usize::from(area.width);
    let rule = Line::styled("─".repeat(columns), app.theme.dim);
    let (mut facts, mut age) = (facts(app), age(app));
    let room = |age: &Line<'_>, facts: &Line<'_>| columns.saturating_sub(facts.width() + age.width() + 1);
    // The shortest that is said of kubelets.
    if room(&age, &facts) < "  kubelet 2 versions".len() {
        age = Line::default();
    }
    facts.spans.extend(kubelets(app, room(&age, &facts)));
    let badges = badges(app);
    let path = crumbs(app, columns.saturating_sub(badges.width() + 1));
    paint(frame, area, vec![both(path, badges, columns), both(facts, age, columns), rule], "");
}

/// `left` and `right` on one line; the left one gives way.
fn both(left: Line<'static>, right: Line<'static>, width: usize) -> Line<'static> {
    let right_width = right.width();
    let mut line = fit_line(left, width.saturating_sub(right_width + 1));
    let gap = width.saturating_sub(line.width() + right_width);
    line.spans.push(Span::raw(" ".repeat(gap)));
    line.spans.extend(right.spans);
    line
}

/// Where the operator is; of a path that has no room, its end.
fn crumbs(app: &App, room: usize) -> Line<'static> {
    let t = &app.theme;
    let name = match (&app.run, &app.sight.cluster) {
        (_, Some(cluster)) => cluster.name.to_string(),
        (Some(view), None) => view.run.cluster.to_string(),
        (None, None) => crate::fleet::clean(&app.options.title),
    };
    let back = app.plan.as_ref().is_some_and(|v| v.plan.rollback_of.is_some());
    let path: &[&str] = match app.screen {
        Screen::Topology => match app.map.zoom {
            Zoom::Fleet => &["topology"],
            Zoom::Rack => &["topology", "rack"],
            Zoom::Node => &["topology", "rack", "node"],
        },
        Screen::Stage => &["topology", "stage"],
        Screen::Plan if back => &["run", "plan"],
        Screen::Confirm if back => &["run", "plan", "confirm"],
        Screen::Plan => &["topology", "stage", "plan"],
        Screen::Confirm => &["topology", "stage", "plan", "confirm"],
        Screen::Run => &["run"],
        Screen::Report => &["run", "report"],
        Screen::Events => &["run", "events"],
        Screen::History if app.history.open.is_some() => &["topology", "history", "report"],
        Screen::History => &["topology", "history"],
    };
    let mut spans = vec![Span::styled(" sonoba ", t.head), Span::styled(format!(" {name} "), t.selected), " ".into()];
    let used: usize = spans.iter().map(Span::width).sum();
    let long = |path: &[&str]| path.iter().map(|place| width(place) + 3).sum::<usize>();
    let mut path = path;
    let mut cut = false;
    while path.len() > 1 && used + long(path) + if cut { 1 } else { 0 } > room + 3 {
        (path, cut) = (&path[1..], true);
    }
    for (i, place) in path.iter().enumerate() {
        if i > 0 || cut {
            spans.push(Span::styled(if i > 0 { " › " } else { "… › " }, t.dim));
        }
        spans.push(Span::styled((*place).to_owned(), if i + 1 == path.len() { t.text } else { t.dim }));
    }
    Line::from(spans)
}

fn badges(app: &App) -> Line<'static> {
    let t = &app.theme;
    let mut spans = Vec::new();
    if app.options.demo {
        spans.push(Span::styled(" SIMULATED ", t.badge));
        spans.push(" ".into());
    }
    if app.player.is_some() {
        spans.push(Span::styled(" REPLAY ", t.badge));
        spans.push(" ".into());
    } else if app.options.read_only {
        spans.push(Span::styled(" READ-ONLY ", t.badge));
        spans.push(" ".into());
    }
    // What is on the table but not yet in a run.
    if let Some(view) = app.plan.as_ref().filter(|v| v.plan.rollback_of.is_none()) {
        let name = view.plan.release.as_deref().map_or("bumps".to_owned(), |r| format!("release {}", fit(r, 16)));
        spans.push(Span::styled(format!("staged: {name}  "), t.key));
    }
    match &app.run {
        Some(view) => {
            let (badge, style) = view_badge(t, view);
            spans.push(Span::styled(format!("{badge} "), style));
        }
        None => spans.push(Span::styled("no run ", t.dim)),
    }
    Line::from(spans)
}

fn facts(app: &App) -> Line<'static> {
    let t = &app.theme;
    let mut spans: Vec<Span<'static>> = vec![" ".into()];
    let Some(cluster) = &app.sight.cluster else {
        let words = if app.sight.error.is_some() { "cluster not seen" } else { "looking at the cluster…" };
        spans.push(Span::styled(words, t.notice));
        return Line::from(spans);
    };
    let index = Index::of(app, cluster);
    // While a run is on, its journal is fresher than the last observation.
    let live = app.live().and_then(|v| v.run.ready.as_ref());
    let api = live.map_or(app.sight.error.is_none(), |r| r.api);
    let refused = live.is_some_and(|r| r.refused.is_some());
    spans.push(match (api, refused) {
        (true, _) => Span::styled("✓ API", t.good),
        (false, true) => Span::styled("✗ API: credentials refused", t.alarm),
        (false, false) => Span::styled("✗ API does not answer", t.alarm),
    });
    let (ready, total) = match live {
        Some(r) => (r.ready, r.total),
        None => (index.ready, cluster.nodes.len()),
    };
    let (glyph, style) = if ready == total { ("✓", t.good) } else { ("!", t.alarm) };
    spans.push(Span::styled(format!("  {glyph} {ready}/{total} Ready"), style));
    if index.deaf > 0 {
        spans.push(Span::styled(format!("  × {} without SSH", index.deaf), t.alarm));
    }
    spans.extend(etcd(app, cluster, &index));
    spans.extend(pods(app));
    Line::from(spans)
}

/// The kubelets' versions, or how many there are where the room is short.
fn kubelets(app: &App, room: usize) -> Vec<Span<'static>> {
    let Some(cluster) = &app.sight.cluster else { return Vec::new() };
    let versions = lens::kubelets(cluster, &Index::of(app, cluster), app.run.as_ref());
    let named: Vec<String> = versions.iter().take(3).map(|(version, n)| format!("{version} ×{n}")).collect();
    let mut words = named.join(", ");
    if versions.len() > 3 {
        words.push_str(&format!(", … {}", count(versions.len() - 3, "more version", "more versions")));
    }
    let label = "  kubelet ";
    if label.len() + width(&words) > room && versions.len() < 4 {
        let names: Vec<&str> = versions.iter().map(|(version, _)| version.as_str()).collect();
        words = names.join(", ");
    }
    if label.len() + width(&words) > room {
        words = count(versions.len(), "version", "versions");
    }
    if label.len() + width(&words) > room {
        return Vec::new();
    }
    vec![Span::styled(label, app.theme.dim), Span::raw(words)]
}

/// Members of etcd that serve, of all: fewer than all is worth a look, no more than half is no quorum.
fn etcd(app: &App, cluster: &Cluster, index: &Index) -> Option<Span<'static>> {
    let t = &app.theme;
    let masters = index.masters.iter().filter_map(|at| cluster.nodes.values().nth(*at));
    let members: Vec<&Node> = masters.filter(|n| n.components.contains_key(&Component::Etcd)).collect();
    let total = members.len();
    let run = app.live().map(|view| &view.run);
    let away = |node: &Node| {
        let down = |run: &Run| {
            let mut swaps = run.swaps_of(&node.name).filter(|s| s.state.open() && s.state != SwapState::Preparing);
            swaps.any(|s| run.planned(s).changes.iter().any(|c| c.component == Component::Etcd))
        };
        node.reachable == Some(false)
            || node.components.get(&Component::Etcd).is_some_and(|r| !r.running)
            || run.is_some_and(down)
    };
    let up = members.iter().filter(|n| !away(n)).count();
    let (glyph, style) = match up {
        _ if up == total => ("✓", t.good),
        _ if up * 2 > total => ("!", t.notice),
        _ => ("✗", t.alarm),
    };
    (total > 0).then(|| Span::styled(format!("  {glyph} etcd {up}/{total}"), style))
}

/// The proof so far, where there is a run.
fn pods(app: &App) -> Option<Span<'static>> {
    let (t, pods) = (&app.theme, &app.run.as_ref()?.run.pods);
    Some(match pods.disturbed.len() {
        0 if pods.checked == 0 => return None,
        // None is proved yet.
        0 if pods.undisturbed == 0 => Span::styled(format!("  {} pods not proved yet", pods.checked), t.notice),
        0 => Span::styled(format!("  ✓ {} pods undisturbed", pods.undisturbed), t.good),
        n => {
            let all = pods.checked.max(pods.undisturbed + n);
            Span::styled(format!("  ✗ {n} of {all} pods disturbed"), t.alarm)
        }
    })
}

fn age(app: &App) -> Line<'static> {
    if let Some(player) = &app.player {
        let words = format!("recorded {} ", player.at().strftime("%Y-%m-%d %H:%M:%S UTC"));
        return Line::styled(words, app.theme.dim);
    }
    // What is said here comes from the journal then, whatever the age of the last look at the nodes.
    match app.live().filter(|view| !view.lost) {
        Some(view) if view.orphaned => return Line::default(),
        Some(_) if !app.sight.looking => return Line::styled("followed live ", app.theme.dim),
        _ => {}
    }
    let words = match (app.sight.looking, app.sight.at) {
        (true, _) => "observing… ".to_owned(),
        (false, Some(at)) => {
            let ms = app.now.duration_since(at).as_millis().max(0);
            // Whole minutes: the header must not make the screen flicker every second.
            match u64::try_from(ms).unwrap_or(0) / 60_000 {
                0 => "seen just now ".to_owned(),
                minutes => format!("seen {} ago ", span(minutes * 60_000)),
            }
        }
        (false, None) => String::new(),
    };
    Line::styled(words, app.theme.dim)
}
