//! A plan as text to read before anything moves. No colours; at most [`WIDTH`] columns.

use super::{ArgsWalk, Change, Finding, Gate, OwnGate, Phase, Plan, Severity, Wave, WaveKind};
use crate::fleet::{Component, GateName, NodeName, clean, fold_names};
use std::collections::{BTreeMap, BTreeSet};

/// Columns that a line may take.
const WIDTH: usize = 100;

/// The plan, written out: what changes, in which order, within which limits, what was found, and a summary line at the end.
pub fn render(plan: &Plan) -> String {
    let mut page = Page::default();
    let release = plan.release.as_deref().map_or(String::new(), |r| format!(" to release {r}"));
    let back = plan.rollback_of.as_ref().map_or(String::new(), |run| format!(", rollback of run {run}"));
    page.line(0, &format!("Cluster {}{release}{back}, planned at {:.0}", plan.cluster.name, plan.created));
    changes(plan, &mut page);
    let mut args = ArgsWalk::new(plan);
    for (i, phase) in plan.phases.iter().enumerate() {
        write_phase(i + 1, phase, plan, &mut page);
        write_args(phase, &mut args, &mut page);
    }
    own_gates(plan, &mut page);
    limits(plan, &mut page);
    findings(plan, &mut page);
    notes(plan, &mut page);
    page.gap();
    summary(plan, &mut page);
    page.0
}

fn changes(plan: &Plan, page: &mut Page) {
    let mut kinds: BTreeMap<(Component, String), BTreeSet<&NodeName>> = BTreeMap::new();
    for (_, _, swap) in plan.swaps() {
        for change in &swap.changes {
            kinds.entry((change.component, arrow(change))).or_default().insert(&swap.node);
        }
    }
    if kinds.is_empty() {
        return;
    }
    page.head("What changes");
    for ((component, arrow), nodes) in kinds {
        page.line(2, &format!("~ {component:<23} {arrow}  on {}", count(nodes.len(), "node")));
    }
}

fn write_phase(number: usize, phase: &Phase, plan: &Plan, page: &mut Page) {
    let title = phase.title();
    if !phase.pulls.is_empty() {
        let images: usize = phase.pulls.iter().map(|p| p.images.len()).sum();
        page.head(&format!("Phase {number}: {title}"));
        let (pulls, nodes) = (count(images, "pull"), count(phase.pulls.len(), "node"));
        page.line(2, &format!("{pulls} on {nodes}, at most {} at once; nothing restarts", plan.limits.max_pulls));
        return;
    }
    let control_plane = phase.waves.iter().all(|w| w.kind == WaveKind::ControlPlane);
    let how = if control_plane { ", one at a time" } else { "" };
    page.head(&format!("Phase {number}: {title}{how}"));
    if let Some(snapshot) = &phase.snapshot {
        let (node, dir) = (&snapshot.node, snapshot.dir.as_str());
        page.line(
            2,
            &format!("first an etcd snapshot on {node}, checked, in {dir} of its container; else nothing moves"),
        );
    }
    let same_gates = phase.waves.windows(2).all(|pair| pair[0].gates == pair[1].gates);
    let visits: BTreeSet<String> = phase.waves.iter().flat_map(|w| w.swaps.iter().map(|s| visit(&s.changes))).collect();
    let same_visits = !control_plane && visits.len() == 1;
    for visit in visits.iter().filter(|_| same_visits) {
        page.line(2, &format!("on each: ~ {visit}"));
    }
    for wave in &phase.waves {
        if control_plane {
            for swap in &wave.swaps {
                page.line(2, &format!("{}  ~ {}", swap.node, visit(&swap.changes)));
            }
        } else {
            write_wave(wave, same_visits, page);
        }
        if !(control_plane && same_gates) {
            then(4, &wave.gates, page);
        }
        for (swap, why) in wave.swaps.iter().filter_map(|s| Some((s, s.no_return.as_ref()?))) {
            page.line(4, &format!("! point of no return after {}: {why}", swap.node));
        }
    }
    if let (true, true, Some(wave)) = (control_plane, same_gates, phase.waves.first()) {
        then(2, &wave.gates, page);
    }
}

fn write_wave(wave: &Wave, visits_told: bool, page: &mut Page) {
    let nodes = fold_names(wave.swaps.iter().map(|s| s.node.as_str()));
    let total = wave.swaps.len();
    let pace = match wave.max_parallel {
        _ if total == 1 => String::new(),
        n if n >= total => ", all at once".into(),
        1 => ", one at a time".into(),
        n => format!(", at most {n} at once"),
    };
    page.line(2, &format!("{}: {}{pace}: {nodes}", wave.title, count(total, "node")));
    let mut visits: BTreeMap<String, BTreeSet<&NodeName>> = BTreeMap::new();
    for swap in wave.swaps.iter().filter(|_| !visits_told) {
        visits.entry(visit(&swap.changes)).or_default().insert(&swap.node);
    }
    for (visit, nodes) in &visits {
        let all = nodes.len() == total;
        let on = if all { String::new() } else { format!("{}: ", fold_names(nodes.iter().map(|n| n.as_str()))) };
        page.line(4, &format!("{on}~ {visit}"));
    }
}

/// What becomes of the containers' arguments in a phase, one difference for all nodes that share it.
fn write_args<'a>(phase: &'a Phase, walk: &mut ArgsWalk<'a>, page: &mut Page) {
    let mut diffs: BTreeMap<(Component, Vec<String>), BTreeSet<&NodeName>> = BTreeMap::new();
    for swap in phase.waves.iter().flat_map(|w| &w.swaps) {
        for change in &swap.changes {
            let lines = walk.step(&swap.node, change);
            if !lines.is_empty() {
                diffs.entry((change.component, lines)).or_default().insert(&swap.node);
            }
        }
    }
    for ((component, lines), nodes) in diffs {
        let names = fold_names(nodes.iter().map(|n| n.as_str()));
        page.line(2, &format!("~ arguments of {component} on {}: {names}", count(nodes.len(), "node")));
        for line in lines {
            page.line(6, &line);
        }
    }
}

/// What one visit changes: `rivers, etcd-rivers 1.35.0 -> 1.36.0; kubelet 1.35.6.1 -> 1.36.2.1`.
fn visit(changes: &[Change]) -> String {
    let mut parts: Vec<(Vec<&str>, String)> = Vec::new();
    for change in changes {
        let arrow = arrow(change);
        match parts.last_mut() {
            Some((components, last)) if *last == arrow => components.push(change.component.as_str()),
            _ => parts.push((vec![change.component.as_str()], arrow)),
        }
    }
    let parts: Vec<String> =
        parts.iter().map(|(components, arrow)| format!("{} {arrow}", components.join(", "))).collect();
    parts.join("; ")
}

fn then(indent: usize, gates: &[Gate], page: &mut Page) {
    let gates: Vec<String> = gates
        .iter()
        .map(|gate| match gate {
            Gate::NodesReady => "nodes are Ready".into(),
            Gate::EtcdHealthy => "etcd is healthy and in sync".into(),
            Gate::ApiserversReady => "API servers are ready".into(),
            Gate::Own(own) => format!("gate {} holds", own.name),
            Gate::Soak { ms } => format!("a soak of {} is over", time(*ms)),
        })
        .collect();
    if !gates.is_empty() {
        page.line(indent, &format!("then wait until {}", gates.join(", ")));
    }
}

/// The operator's own gates, each once, with all that is asked.
fn own_gates(plan: &Plan, page: &mut Page) {
    let gates = plan.phases.iter().flat_map(|p| &p.waves).flat_map(|w| &w.gates);
    let own: BTreeMap<&GateName, &OwnGate> =
        gates.filter_map(|g| if let Gate::Own(own) = g { Some((&own.name, own.as_ref())) } else { None }).collect();
    if own.is_empty() {
        return;
    }
    page.head("Gates of your own");
    for gate in own.values() {
        page.line(2, &format!("{}: {}", gate.name, gate.question.words()));
        let [timeout, interval, limit] = [gate.timeout_ms, gate.interval_ms, gate.limit_ms].map(time);
        page.line(
            4,
            &format!(
                "asked every {interval}, {limit} for an answer; pauses the run when it has not held for {timeout}"
            ),
        );
    }
}

fn limits(plan: &Plan, page: &mut Page) {
    let (l, b) = (&plan.limits, &plan.budget);
    page.head("Limits");
    page.line(
        2,
        &format!(
            "{}, {} swaps at once, {} unavailable a rack, soak {}, {} pulls at once",
            l.waves(),
            l.max_parallel,
            l.max_unavailable,
            time(l.soak_ms),
            l.max_pulls
        ),
    );
    page.line(
        2,
        &format!(
            "pauses by itself at {}, {}, {}, a gate that has not held for {}",
            count(b.failed_swaps.max(1), "failed swap"),
            count(b.not_ready_nodes.max(1), "lost node"),
            count(b.disturbed_pods.max(1), "disturbed pod"),
            time(l.gate_timeout_ms)
        ),
    );
}

fn findings(plan: &Plan, page: &mut Page) {
    for (severity, head) in
        [(Severity::Error, "Errors"), (Severity::Warning, "Warnings"), (Severity::Info, "Good to know")]
    {
        let found: Vec<&Finding> = plan.findings.iter().filter(|f| f.severity == severity).collect();
        if found.is_empty() {
            continue;
        }
        page.head(head);
        for finding in found {
            page.line(2, &format!("{}: {}", finding.code, finding.text));
            if !finding.nodes.is_empty() {
                let nodes = fold_names(finding.nodes.iter().map(NodeName::as_str));
                page.line(4, &format!("{}: {nodes}", count(finding.nodes.len(), "node")));
            }
            if !finding.mend.is_empty() {
                page.line(4, &format!("-> {}", finding.mend));
            }
            if !finding.offer.is_empty() {
                page.line(4, &format!("-> the plan does it with --accept {}: {}", finding.code, finding.offer));
            }
            if finding.acknowledgeable && finding.severity == Severity::Error {
                page.line(4, &format!("-> or take it as it is: --acknowledge {}", finding.code));
            }
            if !finding.link.is_empty() {
                page.line(4, &format!("see {}", finding.link));
            }
        }
    }
}

fn notes(plan: &Plan, page: &mut Page) {
    if plan.notes.is_empty() {
        return;
    }
    page.head("New for everybody on the way");
    for note in &plan.notes {
        page.line(2, &format!("{}: {}", note.code, note.text));
        if !note.mend.is_empty() {
            page.line(4, &format!("-> {}", note.mend));
        }
        if !note.link.is_empty() {
            page.line(4, &format!("see {}", note.link));
        }
    }
}

fn summary(plan: &Plan, page: &mut Page) {
    let swaps: Vec<_> = plan.swaps().map(|(_, _, swap)| swap).collect();
    let nodes: BTreeSet<&NodeName> = swaps.iter().map(|s| &s.node).collect();
    let restarts: usize = swaps.iter().map(|s| s.changes.len()).sum();
    let returns = swaps.iter().filter(|s| s.no_return.is_some()).count();
    let e = &plan.estimate;
    let total = e.prefetch_ms.saturating_add(e.work_ms).saturating_add(e.soak_ms);
    let mut parts = vec![count(nodes.len(), "node"), count(swaps.len(), "swap"), count(restarts, "restart")];
    if returns > 0 {
        parts.push(format!("{} of no return", count(returns, "point")));
    }
    page.line(0, &format!("Plan: {}, about {}, 0 evictions", parts.join(", "), time(total)));
    if !swaps.is_empty() {
        let (pull, work, soak) = (time(e.prefetch_ms), time(e.work_ms), time(e.soak_ms));
        page.line(6, &format!("{pull} of pulls, {work} of swaps, {soak} of soak"));
    }
    let errors = plan.findings.iter().filter(|f| f.severity == Severity::Error).count();
    if errors > 0 {
        page.line(0, &format!("Refused: {} to mend first", count(errors, "error")));
    }
}

/// `1.35.6.1 -> 1.36.2.1`, or the whole references where more than the tag changes.
fn arrow(change: &Change) -> String {
    let (from, to) = (&change.from, &change.to);
    if from.name() == to.name() && from.short() != to.short() {
        format!("{} -> {}", from.short(), to.short())
    } else {
        format!("{from} -> {to}")
    }
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// A time as people say it: `45s`, `12m 30s`, `2h 5m`.
fn time(ms: u64) -> String {
    let s = ms / 1_000;
    match (s / 3_600, s / 60 % 60, s % 60) {
        (0, 0, _) if !ms.is_multiple_of(1_000) => format!("{ms}ms"),
        (0, 0, s) => format!("{s}s"),
        (0, m, 0) => format!("{m}m"),
        (0, m, s) => format!("{m}m {s}s"),
        (h, m, _) => format!("{h}h {m}m"),
    }
}

/// Lines, cleaned and wrapped.
#[derive(Default)]
struct Page(String);

impl Page {
    fn gap(&mut self) {
        self.0.push('\n');
    }

    fn head(&mut self, text: &str) {
        self.gap();
        self.line(0, text);
    }

    /// One line; what does not fit goes on below, a little further in. A plan comes from a file, so its text is cleaned here.
    fn line(&mut self, indent: usize, text: &str) {
        let text = clean(text);
        let mut rest = text.trim_end();
        let mut indent = indent;
        loop {
            let room = WIDTH - indent;
            let cut = cut(rest, room);
            self.0.extend(std::iter::repeat_n(' ', indent));
            self.0.push_str(rest[..cut].trim_end());
            self.0.push('\n');
            rest = rest[cut..].trim_start();
            if rest.is_empty() {
                return;
            }
            if cut > 0 && indent < 8 {
                indent += 2;
            }
        }
    }
}

/// Where to break `text` so that at most `room` characters stand before: after a space or, in a long list of numbers, after a
/// comma.
fn cut(text: &str, room: usize) -> usize {
    let Some((full, _)) = text.char_indices().nth(room) else { return text.len() };
    let head = &text[..full];
    // A break that leaves most of the line empty reads worse than one within a list.
    let from = |i: Option<usize>| i.map(|i| i + 1).filter(|&i| i > full / 2);
    from(head.rfind(' ')).or_else(|| from(head.rfind(','))).unwrap_or(full)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::samples::{cluster, stage};
    use crate::plan::{After, GateRule, Question, Settings, make, unfit};

    #[test]
    fn a_small_plan_reads_well() {
        let mut cluster = cluster(3, 12, 3);
        cluster.nodes.get_mut(&"rack1-cs2".parse::<NodeName>().unwrap()).unwrap().ready = false;
        for node in cluster.nodes.values_mut().filter(|n| n.master) {
            node.components.get_mut(&Component::Etcd).unwrap().image = "ghcr.io/cybozu/etcd:3.5.33.1".parse().unwrap();
        }
        let now = "2026-11-23T09:30:00Z".parse().unwrap();
        let question = Question::Command { argv: ["ceph-health", "--quiet"].map(String::from).to_vec(), exit: 0 };
        let name = "ceph".parse().unwrap();
        let gate = OwnGate { name, question, timeout_ms: 600_000, interval_ms: 10_000, limit_ms: 30_000 };
        let settings = Settings { gates: vec![GateRule { after: After::workers(), gate }], ..Settings::default() };
        let mut stage = stage();
        stage.scope.exclude = unfit(&cluster, &stage.scope);
        insta::assert_snapshot!(render(&make(&cluster, &stage, &settings, now)));
    }

    #[test]
    fn findings_say_what_can_be_done_and_arguments_read_as_a_difference() {
        let mut cluster = cluster(3, 4, 2);
        for node in cluster.nodes.values_mut().filter(|n| !n.master) {
            let kubelet = node.components.get_mut(&Component::Kubelet).unwrap();
            kubelet.image = "ghcr.io/cybozu/kubernetes:1.35.6.1".parse().unwrap();
            let own = format!("--hostname-override={}", node.name);
            let gates = "--feature-gates=CSIMigrationPortworx=true,KubeletTracing=true".to_owned();
            kubelet.args = vec!["kubelet".into(), own, gates, "--v".into(), "2".into()];
        }
        let runtime = |_| crate::plan::NodeFacts { runtime: Some("containerd://1.7.22".into()), ..Default::default() };
        let facts = crate::plan::Facts {
            nodes: cluster
                .nodes
                .keys()
                .filter(|n| n.as_str() == "rack0-cs1")
                .map(|n| (n.clone(), runtime(n)))
                .collect(),
            ..Default::default()
        };
        let now = "2026-11-23T09:30:00Z".parse().unwrap();
        let mut stage = stage();
        stage.scope.racks = vec!["rack0".parse().unwrap()];
        stage.bumps.retain(|b| b.component == Component::Kubelet);
        let kubelets = "ghcr.io/cybozu/kubernetes:1.36.2.1";
        for node in cluster.nodes.values_mut().filter(|n| n.master) {
            node.components.get_mut(&Component::KubeApiserver).unwrap().image = kubelets.parse().unwrap();
        }
        let tail = |stage: &crate::plan::Stage| {
            let text = render(&crate::plan::make_with(&cluster, &facts, stage, &Settings::default(), now));
            text[text.find("Phase 2").unwrap()..].to_owned()
        };
        let refused = tail(&stage);
        stage.accept = vec!["all".into()];
        insta::assert_snapshot!([refused, tail(&stage)].join("\n=== accepted\n"));
    }

    #[test]
    fn times_read_as_people_say_them() {
        assert_eq!([0, 500, 45_000, 60_000, 750_000, 7_500_000].map(time).join(" "), "0s 500ms 45s 1m 12m 30s 2h 5m");
    }

    proptest::proptest! {
        #[test]
        fn lines_fit_and_lose_nothing(text in "[a-z,é ]{0,400}", indent in 0_usize..8) {
            let mut page = Page::default();
            page.line(indent, &text);
            for line in page.0.lines() {
                proptest::prop_assert!(line.chars().count() <= WIDTH, "{line:?}");
            }
            let solid = |t: &str| t.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            proptest::prop_assert_eq!(solid(&page.0), solid(&text));
        }
    }
}
