//! Is it safe? What a run has done to nodes and pods, and what moves now, in a glyph, a word and a sentence.

use super::app::{App, RunView};
use super::proof;
use super::tally::{Tally, pick};
use super::text::{self, count};
use super::theme::Theme;
use crate::fleet::{Cluster, Node, NodeName, fold_names};
use crate::journal::{Run, RunState};
use jiff::Timestamp;
use ratatui::text::{Line, Span};

/// How much somebody must care, from not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Degree {
    /// Nothing was disturbed, every node answers.
    Safe,
    /// Nothing was disturbed, and a node did not take the new version.
    Look,
    /// Nothing was disturbed as far as was told, and nobody can tell now.
    Unproven,
    /// A pod was disturbed, a node was lost, or one needs a person.
    Harm,
}

/// The answer on one line of so many columns.
pub fn line(app: &App, view: &RunView, width: u16) -> Line<'static> {
    let (t, tally) = (&app.theme, Tally::of(app, &view.run));
    let now = Some(app.run_now());
    let (degree, words) = said(view, &tally, now, false);
    let (sign, style) = match degree {
        Degree::Safe if proof::unproved(&view.run).is_some() => ("✓ SAFE SO FAR", t.good),
        Degree::Safe => ("✓ SAFE", t.good),
        Degree::Look => ("! SAFE", t.notice),
        Degree::Unproven => ("? UNPROVEN", t.notice),
        // What is over can be looked at in peace.
        Degree::Harm if tally.flying.is_empty() => ("✗ HARM DONE", t.alarm),
        Degree::Harm => ("✗ NOT SAFE", t.alarm),
    };
    let room = usize::from(width).saturating_sub(text::width(sign) + GAP.len());
    let words = if text::width(&words) <= room { words } else { said(view, &tally, now, true).1 };
    Line::from(vec![Span::styled(sign, style), Span::styled(format!("{GAP}{words}"), t.text)])
}

/// Between a sign and its words.
const GAP: &str = "  ";

/// Whether something is wrong with the cluster as it was seen, without a run.
pub fn cluster_line(t: &Theme, cluster: &Cluster) -> Line<'static> {
    let names = |is: &dyn Fn(&Node) -> bool| {
        let nodes: Vec<&str> = cluster.nodes.values().filter(|n| is(n)).map(|n| n.name.as_str()).collect();
        (!nodes.is_empty()).then(|| fold_names(nodes))
    };
    let wrong = [
        ("NotReady", names(&|n| !n.ready)),
        ("without SSH", names(&|n| n.reachable == Some(false))),
        ("with a component that is down", names(&|n| n.components.values().any(|r| !r.running))),
        ("with containers left over from a swap", names(&|n| !n.leftovers.is_empty())),
    ];
    let wrong: Vec<String> = wrong.into_iter().filter_map(|(what, of)| Some(format!("{what}: {}", of?))).collect();
    if wrong.is_empty() {
        let asked = cluster.nodes.values().all(|n| n.reachable.is_some());
        let words = if asked { "every node is Ready and answers over SSH" } else { "every node is Ready" };
        return Line::from(vec![Span::styled("✓ NOTHING WRONG", t.good), Span::styled(format!("  {words}"), t.text)]);
    }
    Line::from(vec![Span::styled("✗ WRONG", t.alarm), Span::styled(format!("  {}", wrong.join("; ")), t.text)])
}

/// In words, or in few.
fn said(view: &RunView, tally: &Tally, now: Option<Timestamp>, brief: bool) -> (Degree, String) {
    let run = &view.run;
    let harms = harms(view, tally, now);
    let names = |swaps: &[usize]| {
        let nodes: Vec<&str> = pick(run, swaps).into_iter().map(|s| s.node.as_str()).collect();
        if brief && nodes.len() > 1 { count(nodes.len(), "node", "nodes") } else { fold_names(nodes) }
    };
    let unproven = unproven(view);
    let degree = match unproven {
        _ if !harms.is_empty() => Degree::Harm,
        Some(_) => Degree::Unproven,
        None if tally.back.is_empty() && tally.skipped.is_empty() => Degree::Safe,
        None => Degree::Look,
    };
    let mut parts = harms;
    if parts.is_empty() {
        let unproved = proof::unproved_words(run, brief).map(|words| format!(" ({words})")).unwrap_or_default();
        parts.push(match run.ready {
            Some(_) if brief => format!("no pod{unproved} or node harmed"),
            Some(_) => format!("no pod disturbed{unproved}, no node lost"),
            None => format!("no pod disturbed{unproved}"),
        });
    }
    parts.extend(unproven.map(str::to_owned));
    if !brief || degree != Degree::Harm {
        let how = if brief { "went back" } else { "back on the old version" };
        parts.extend((!tally.back.is_empty()).then(|| format!("{} {how}", names(&tally.back))));
        parts.extend((!tally.skipped.is_empty()).then(|| format!("{} skipped", names(&tally.skipped))));
    }
    parts.push(moves(run, tally.flying.len(), brief));
    (degree, parts.join("; "))
}

/// Why what was told last may not hold any more.
fn unproven(view: &RunView) -> Option<&'static str> {
    match &view.run.ready {
        _ if view.lost || view.orphaned => Some("nobody has looked since"),
        Some(ready) if ready.refused.is_some() => Some("the API refuses our credentials"),
        Some(ready) if !ready.api => Some("the API does not answer"),
        None if !view.run.waves_begun.is_empty() => Some("no node was looked at yet"),
        _ => None,
    }
}

/// What a person must see to, the worst first.
fn harms(view: &RunView, tally: &Tally, now: Option<Timestamp>) -> Vec<String> {
    let run = &view.run;
    let mut harms = Vec::new();
    let disturbed = run.pods.disturbed.len();
    if disturbed > 0 {
        let on = fold_names(run.pods.disturbed.iter().map(|(node, _)| node.as_str()));
        harms.push(format!("{} on {on}", count(disturbed, "pod disturbed", "pods disturbed")));
    }
    let lost = run.ready.as_ref().map_or(&[][..], |ready| &ready.lost);
    if !lost.is_empty() {
        harms.push(format!("{} NotReady", fold_names(lost.iter().map(|n| n.as_str()))));
    }
    let overdue = pick(run, &tally.flying).into_iter().filter(|s| now.is_some_and(|now| s.overdue(now)));
    let overdue: Vec<&str> = overdue.map(|s| s.node.as_str()).collect();
    if !overdue.is_empty() {
        harms.push(format!("{} should have rolled back by now", fold_names(overdue)));
    }
    for (swaps, word) in [(&tally.failed, "failed"), (&tally.drifted, "drifted")] {
        if !swaps.is_empty() {
            let names = pick(run, swaps).into_iter().map(|s| s.node.as_str());
            harms.push(format!("{} {word}", fold_names(names)));
        }
    }
    let unattended = view.orphaned || view.lost;
    let out = out_of_the_endpoints(run, unattended);
    let out: Vec<&str> = out.map(|(node, _)| node.as_str()).collect();
    if !out.is_empty() {
        harms.push(format!("kube-apiserver of {} is out of the Endpoints", fold_names(out)));
    }
    harms
}

/// API servers that this run took out of the `default/kubernetes` Endpoints, and that nothing is about to put back: the node, and
/// the address. `unattended`: no engine has the run.
pub fn out_of_the_endpoints(run: &Run, unattended: bool) -> impl Iterator<Item = (&NodeName, &String)> {
    let attended = !unattended && run.ended().is_none();
    let under_way = move |node: &NodeName| attended && run.swaps_of(node).any(|s| s.state.open());
    run.endpoints_out.iter().filter(move |(node, _)| !under_way(node))
}

/// What moves now, and what would become of it.
fn moves(run: &Run, flying: usize, brief: bool) -> String {
    let going = matches!(run.state, RunState::Running | RunState::Starting);
    match flying {
        0 if going && run.waves_begun.is_empty() => "nothing has restarted yet".into(),
        0 if going => "no swap is in flight".into(),
        0 if brief => "nothing moves".into(),
        0 => "nothing is moving".into(),
        n if brief => format!("{n} in flight"),
        1 => "1 in flight, it undoes itself if cut off".into(),
        n => format!("{n} in flight, each undoes itself if cut off"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{Disturbance, DisturbanceKind};
    use crate::journal::{ClusterView, PauseReason, SwapState};
    use crate::tui::backend::Options;
    use crate::tui::fixtures::{self, Story};

    #[test]
    fn the_worst_that_happened_is_the_answer_and_what_nobody_saw_is_not_called_safe() {
        let node = || "rack0-cs1".parse().unwrap();
        let seen =
            |lost: Vec<_>, api| Some(ClusterView { ready: 63 - lost.len(), total: 63, lost, api, refused: None });
        let mut app = fixtures::running((120, 36), Options::default(), Story::new());
        let mut view = app.run.take().unwrap();
        view.run.ready = None;
        let told = |view: &RunView| said(view, &Tally::count(&view.run), None, false);
        assert_eq!(told(&view), (Degree::Safe, "no pod disturbed; nothing has restarted yet".into()));
        view.run.ready = seen(Vec::new(), true);
        view.run.state = RunState::Paused(PauseReason::Budget);
        assert_eq!(told(&view), (Degree::Safe, "no pod disturbed, no node lost; nothing is moving".into()));
        view.run.ready = seen(Vec::new(), false);
        assert_eq!(told(&view).0, Degree::Unproven);
        view.run.ready = seen(Vec::new(), true);
        view.orphaned = true;
        let words = "no pod disturbed, no node lost; nobody has looked since; nothing is moving";
        assert_eq!(told(&view), (Degree::Unproven, words.into()));
        view.orphaned = false;
        view.run.swaps[0].state = SwapState::RolledBack;
        let name = view.run.swaps[0].node.clone();
        let words = format!("no pod disturbed, no node lost; {name} back on the old version; nothing is moving");
        assert_eq!(told(&view), (Degree::Look, words));
        let brief = |view: &RunView| said(view, &Tally::count(&view.run), None, true);
        assert_eq!(brief(&view).1, format!("no pod or node harmed; {name} went back; nothing moves"));
        let late = fixtures::start() + jiff::SignedDuration::from_hours(1);
        let swap = &mut view.run.swaps[0];
        (swap.state, swap.stopping_at) = (SwapState::InFlight, Some(fixtures::start()));
        let (degree, words) = said(&view, &Tally::count(&view.run), Some(late), false);
        assert_eq!(degree, Degree::Harm, "a verdict that is overdue is never safe");
        assert!(words.starts_with(&format!("{name} should have rolled back by now; ")), "{words}");
        view.run.swaps[0].state = SwapState::RolledBack;
        view.run.swaps[0].state = SwapState::Skipped;
        assert_eq!(told(&view).0, Degree::Look, "left as it is by decision, and not forgotten");
        view.run.swaps[0].state = SwapState::RolledBack;
        view.run.ready = seen(vec![node()], true);
        let words = format!("rack0-cs1 NotReady; {name} back on the old version; nothing is moving");
        assert_eq!(told(&view), (Degree::Harm, words));
        view.run
            .pods
            .disturbed
            .push((node(), Disturbance { pod: "a/b".into(), kind: DisturbanceKind::Gone, ..Default::default() }));
        let words = "1 pod disturbed on rack0-cs1; rack0-cs1 NotReady; nothing moves";
        assert_eq!(brief(&view), (Degree::Harm, words.into()));
    }
}
