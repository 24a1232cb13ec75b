//! Is it safe? What a run has done to nodes and pods, and what moves now, in a glyph, a word and a sentence.

use super::app::{App, RunView};
use super::tally::Tally;
use super::text::{self, count};
use super::theme::Theme;
use crate::fleet::{Cluster, Node, fold_names};
use crate::journal::{Run, RunState};
use ratatui::text::{Line, Span};

/// How much somebody must care, from not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Degree {
    /// Nothing was disturbed, every node answers.
    Safe,
    /// Nothing was disturbed, and a node did not take the new version.
    Look,
    /// A pod was disturbed, a node was lost, or one needs a person.
    Harm,
}

/// The answer on one line of so many columns.
pub fn line(app: &App, view: &RunView, width: u16) -> Line<'static> {
    let (t, tally) = (&app.theme, Tally::of(app, &view.run));
    let (degree, words) = said(&view.run, &tally, false);
    let (sign, style) = match degree {
        Degree::Safe => ("✓ SAFE", t.good),
        Degree::Look => ("! SAFE", t.notice),
        // What is over can be looked at in peace.
        Degree::Harm if tally.flying.is_empty() => ("✗ HARM DONE", t.alarm),
        Degree::Harm => ("✗ NOT SAFE", t.alarm),
    };
    let room = usize::from(width).saturating_sub(text::width(sign) + GAP.len());
    let words = if text::width(&words) <= room { words } else { said(&view.run, &tally, true).1 };
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
        ("with left-overs of a swap", names(&|n| !n.leftovers.is_empty())),
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
fn said(run: &Run, tally: &Tally, brief: bool) -> (Degree, String) {
    let (degree, words) = verdict(run, tally, brief);
    (degree, format!("{words}; {}", moves(run, tally.flying.len(), brief)))
}

/// What became of pods and nodes, the worst first.
fn verdict(run: &Run, tally: &Tally, brief: bool) -> (Degree, String) {
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
    let of =
        |swaps: &[usize]| swaps.iter().filter_map(|i| run.swaps.get(*i)).map(|s| s.node.as_str()).collect::<Vec<_>>();
    let failed = of(&tally.failed);
    if !failed.is_empty() {
        harms.push(format!("{} failed", fold_names(failed)));
    }
    let calm = match &run.ready {
        Some(ready) if ready.api && brief => "no pod or node harmed",
        Some(ready) if ready.api => "no pod disturbed, no node lost",
        Some(_) => "no pod disturbed; the API does not answer",
        None => "no pod disturbed",
    };
    let back = of(&tally.back);
    let (degree, words) = match (harms.is_empty(), back.is_empty()) {
        (true, true) => return (Degree::Safe, calm.to_owned()),
        (true, false) => (Degree::Look, calm.to_owned()),
        (false, none) if none || brief => return (Degree::Harm, harms.join(", ")),
        (false, _) => (Degree::Harm, harms.join(", ")),
    };
    let names = if brief && back.len() > 1 { count(back.len(), "node", "nodes") } else { fold_names(back) };
    let how = if brief { "went back" } else { "back on the old version" };
    (degree, format!("{words}; {names} {how}"))
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
    use crate::tui::fixtures;
    use std::sync::Arc;

    #[test]
    fn the_worst_that_happened_is_the_answer() {
        let node = || "rack0-cs1".parse().unwrap();
        let seen = |lost: Vec<_>| Some(ClusterView { ready: 63 - lost.len(), total: 63, lost, api: true });
        let mut run = Run::new(Arc::new(fixtures::plan()));
        let told = |run: &Run| said(run, &Tally::count(run), false);
        assert_eq!(told(&run), (Degree::Safe, "no pod disturbed; nothing has restarted yet".into()));
        run.ready = seen(Vec::new());
        run.state = RunState::Paused(PauseReason::Budget);
        assert_eq!(told(&run), (Degree::Safe, "no pod disturbed, no node lost; nothing is moving".into()));
        run.swaps[0].state = SwapState::RolledBack;
        let name = run.swaps[0].node.clone();
        let words = format!("no pod disturbed, no node lost; {name} back on the old version; nothing is moving");
        assert_eq!(told(&run), (Degree::Look, words));
        assert_eq!(
            said(&run, &Tally::count(&run), true).1,
            format!("no pod or node harmed; {name} went back; nothing moves")
        );
        run.ready = seen(vec![node()]);
        let words = format!("rack0-cs1 NotReady; {name} back on the old version; nothing is moving");
        assert_eq!(told(&run), (Degree::Harm, words));
        run.pods.disturbed.push((node(), Disturbance { pod: "a/b".into(), kind: DisturbanceKind::Gone }));
        let words = "1 pod disturbed on rack0-cs1, rack0-cs1 NotReady; nothing moves";
        assert_eq!(said(&run, &Tally::count(&run), true), (Degree::Harm, words.into()));
    }
}
