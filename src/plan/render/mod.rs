//! A plan as text to read before anything moves: what changes, wave by wave, within which limits; what it comes to; what was
//! found. No colours; made for 80 columns.

mod page;
mod stops;

use super::{ArgsWalk, Change, Comparison, Estimate, Finding, Gate, OwnGate, Phase, Plan, Severity, Wave, WaveKind};
use crate::fleet::{Component, GateName, NodeName, fold_names};
use page::{Page, bytes, count, number, range, time};
use std::collections::{BTreeMap, BTreeSet};

/// Waves of a phase that are written out; of more, the first and the last.
const WAVES: usize = 16;
/// Characters of node names in one line; more are counted.
const NAMES: usize = 220;

/// The plan, written out.
pub fn render(plan: &Plan) -> String {
    let mut page = Page::default();
    head(plan, &mut page);
    changes(plan, &mut page);
    let mut args = ArgsWalk::new(plan);
    for (i, phase) in plan.phases.iter().enumerate() {
        write_phase(i + 1, phase, plan, &mut page);
        write_args(phase, &mut args, &mut page);
    }
    own_gates(plan, &mut page);
    limits(plan, &mut page);
    notes(plan, &mut page);
    if let Some(coverage) = &plan.coverage {
        page.gap();
        page.line(0, &format!("The catalogue {coverage}."));
    }
    page.gap();
    summary(plan, &mut page);
    if let Some(comparison) = &plan.comparison {
        compared(comparison, &mut page);
    }
    findings(plan, &mut page);
    verdict(plan, &mut page);
    page.0
}

fn head(plan: &Plan, page: &mut Page) {
    let what = match (&plan.rollback_of, &plan.release) {
        (Some(run), _) => format!("rollback of run {run}"),
        (None, Some(release)) => format!("release {release}"),
        (None, None) => "single components".into(),
    };
    page.line(0, &format!("Cluster {}: {what}", plan.cluster.name));
    let state = if plan.fingerprint.is_none() { String::new() } else { format!(" on state {}", plan.fingerprint) };
    page.line(0, &format!("planned at {:.0}{state}; nothing has been touched", plan.created));
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
    let widest = kinds.keys().map(|(_, arrow)| arrow.chars().count()).max().unwrap_or(0).min(30);
    for ((component, arrow), nodes) in kinds {
        page.line(2, &format!("~ {component:<23} {arrow:<widest$}  on {}", count(nodes.len(), "node")));
    }
    if !plan.excluded.is_empty() {
        let names = names(plan.excluded.iter());
        page.line(2, &format!("= left out by decision    {}: {names}", count(plan.excluded.len(), "node")));
    }
}

fn write_phase(place: usize, phase: &Phase, plan: &Plan, page: &mut Page) {
    let title = phase.title();
    if !phase.pulls.is_empty() {
        let images: usize = phase.pulls.iter().map(|p| p.images.len()).sum();
        page.head(&format!("Phase {place}: {title}"));
        let (pulls, nodes) = (count(images, "pull"), count(phase.pulls.len(), "node"));
        page.line(2, &format!("{pulls} on {nodes}, at most {} at once; nothing restarts", plan.limits.max_pulls));
        let present = plan.estimate.present;
        if present > 0 {
            page.line(2, &format!("{} of these find their image there already", number(present)));
        }
        if let Some(volume) = volume(&plan.estimate) {
            page.line(2, &volume);
        }
        return;
    }
    if phase.kind.of_workers() {
        page.head(&format!("Phase {place}: {title}, {}", count(phase.waves.len(), "wave")));
        write_workers(phase, page);
        return how_it_stops(phase, plan, page);
    }
    let control_plane = phase.waves.iter().all(|w| w.kind == WaveKind::ControlPlane);
    let how = if control_plane { ", one at a time" } else { "" };
    page.head(&format!("Phase {place}: {title}{how}"));
    if let Some(snapshot) = &phase.snapshot {
        let (node, dir) = (&snapshot.node, snapshot.dir.as_str());
        page.line(
            2,
            &format!("first an etcd snapshot on {node}, checked, in {dir} of its container; else nothing moves"),
        );
    }
    let same_gates = phase.waves.windows(2).all(|pair| unproved(&pair[0].gates) == unproved(&pair[1].gates));
    for wave in &phase.waves {
        for swap in &wave.swaps {
            page.line(2, &format!("{}  ~ {}", swap.node, visit(&swap.changes)));
        }
        if !same_gates {
            then(4, "then wait until ", &unproved(&wave.gates), page);
        }
        proved_before_going_on(wave, page);
        returns(wave, page);
    }
    if let (true, Some(wave)) = (same_gates, phase.waves.first()) {
        then(2, "after each: wait until ", &unproved(&wave.gates), page);
    }
    one_ahead(phase, page);
    how_it_stops(phase, plan, page);
}

/// A wave's gates but for the proof of pods, which has its own words.
fn unproved(gates: &[Gate]) -> Vec<Gate> {
    gates.iter().filter(|g| !matches!(g, Gate::PodsProved { .. })).cloned().collect()
}

fn proved_before_going_on(wave: &Wave, page: &mut Page) {
    for gate in &wave.gates {
        if let Gate::PodsProved { own: true, ms } = gate {
            page.line(4, &format!("{}: pods proved before going on (up to {})", wave.title, time(*ms)));
        }
    }
}

fn one_ahead(phase: &Phase, page: &mut Page) {
    if phase.waves.iter().flat_map(|w| &w.gates).any(|g| matches!(g, Gate::PodsProved { own: false, .. })) {
        page.line(2, "at most one wave ahead: a wave begins once the pods of the one before the last are proved");
    }
}

fn how_it_stops(phase: &Phase, plan: &Plan, page: &mut Page) {
    if let Some(line) = stops::line(phase, plan) {
        page.line(2, &line);
    }
}

/// The waves of the workers: what is the same for all is said once, and of many waves that are alike only some are shown.
fn write_workers(phase: &Phase, page: &mut Page) {
    let visits: BTreeSet<String> = phase.waves.iter().flat_map(|w| w.swaps.iter().map(|s| visit(&s.changes))).collect();
    let same_visits = visits.len() == 1;
    for visit in visits.iter().filter(|_| same_visits) {
        page.line(2, &format!("on each node: ~ {visit}"));
    }
    let soak = |wave: &Wave| wave.gates.iter().find_map(|g| if let Gate::Soak { ms } = g { Some(*ms) } else { None });
    let hard = |wave: &Wave| -> Vec<Gate> {
        unproved(&wave.gates).into_iter().filter(|g| !matches!(g, Gate::Soak { .. })).collect()
    };
    let soaks: BTreeSet<Option<u64>> = phase.waves.iter().map(soak).collect();
    let same_gates = phase.waves.windows(2).all(|pair| hard(&pair[0]) == hard(&pair[1])) && soaks.len() <= 1;
    if let (true, Some(first)) = (same_gates, phase.waves.first()) {
        then(2, "after each wave: wait until ", &hard(first), page);
        if let Some(ms) = soak(first) {
            page.line(2, &format!("and watch it for {} before going on", time(ms)));
        }
    }
    one_ahead(phase, page);
    let many = phase.waves.len() > WAVES;
    for (i, wave) in phase.waves.iter().enumerate() {
        let shown = !many || i < WAVES - 2 || i + 1 == phase.waves.len() || wave.kind != WaveKind::Rack;
        if many && i == WAVES - 2 {
            let hidden: Vec<&Wave> =
                phase.waves[i..phase.waves.len() - 1].iter().filter(|w| w.kind == WaveKind::Rack).collect();
            let nodes: usize = hidden.iter().map(|w| w.swaps.len()).sum();
            let most = hidden.iter().map(|w| w.max_parallel).max().unwrap_or(0);
            let titles = fold_names(hidden.iter().map(|w| w.title.as_str()));
            let (waves, nodes) = (count(hidden.len(), "more wave"), count(nodes, "node"));
            page.line(2, &format!("… {waves} with {nodes}, at most {most} at once: {titles}"));
        }
        if shown {
            write_wave(wave, same_visits, page);
            if !same_gates {
                then(4, "then wait until ", &unproved(&wave.gates), page);
            }
            proved_before_going_on(wave, page);
            returns(wave, page);
        }
    }
}

fn returns(wave: &Wave, page: &mut Page) {
    for (swap, why) in wave.swaps.iter().filter_map(|s| Some((s, s.no_return.as_ref()?))) {
        page.line(4, &format!("! point of no return after {}: {why}", swap.node));
    }
}

fn write_wave(wave: &Wave, visits_told: bool, page: &mut Page) {
    let names = names(wave.swaps.iter().map(|s| &s.node));
    let total = wave.swaps.len();
    let pace = match wave.max_parallel {
        _ if total == 1 => String::new(),
        n if n >= total => ", all at once".into(),
        1 => ", one at a time".into(),
        n => format!(", at most {n} at once"),
    };
    page.line(2, &format!("{}: {}{pace}: {names}", wave.title, count(total, "node")));
    let mut visits: BTreeMap<String, BTreeSet<&NodeName>> = BTreeMap::new();
    for swap in wave.swaps.iter().filter(|_| !visits_told) {
        visits.entry(visit(&swap.changes)).or_default().insert(&swap.node);
    }
    for (visit, nodes) in &visits {
        let all = nodes.len() == total;
        let on = if all { String::new() } else { format!("{}: ", self::names(nodes.iter().copied())) };
        page.line(4, &format!("{on}~ {visit}"));
    }
}

/// Nodes' names, folded; of very many only the first, and how many there are more.
fn names<'a>(nodes: impl Iterator<Item = &'a NodeName>) -> String {
    let nodes: Vec<&str> = nodes.map(NodeName::as_str).collect();
    let all = fold_names(nodes.iter().copied());
    if all.chars().count() <= NAMES {
        return all;
    }
    // The longest beginning that fits, with what stands for the rest.
    let (mut fits, mut not) = (0, nodes.len());
    while not - fits > 1 {
        let middle = fits.midpoint(not);
        if fold_names(nodes[..middle].iter().copied()).chars().count() <= NAMES { fits = middle } else { not = middle }
    }
    format!("{} and {} more", fold_names(nodes[..fits].iter().copied()), number(nodes.len() - fits))
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
        let names = names(nodes.iter().copied());
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

fn then(indent: usize, lead: &str, gates: &[Gate], page: &mut Page) {
    let gates: Vec<String> = gates
        .iter()
        .map(|gate| match gate {
            Gate::NodesReady => "nodes are Ready".into(),
            Gate::EtcdHealthy => "etcd is healthy and in sync".into(),
            Gate::ApiserversReady => "API servers are ready".into(),
            Gate::Own(own) => format!("gate {} holds", own.name),
            Gate::Soak { ms } => format!("a soak of {} is over", time(*ms)),
            Gate::PodsProved { own: true, ms } => format!("its pods are proved (up to {})", time(*ms)),
            Gate::PodsProved { own: false, .. } => "the pods of the waves before it are proved".into(),
        })
        .collect();
    if !gates.is_empty() {
        page.line(indent, &format!("{lead}{}", gates.join(", ")));
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
            "pauses by itself at {}, a gate that has not held for {}",
            b.words().join(", "),
            time(l.gate_timeout_ms)
        ),
    );
    if plan.phases.iter().flat_map(|p| &p.waves).any(|w| w.kubelets().next().is_some()) {
        let (sync, limit) = (time(l.first_sync_ms), time(l.proof_limit_ms));
        page.line(
            2,
            &format!("pods of a restarted kubelet are proved {sync} and their longest grace period later, {limit} of grace at most"),
        );
    }
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
                let names = names(finding.nodes.iter());
                page.line(4, &format!("{}: {names}", count(finding.nodes.len(), "node")));
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

/// What is new on the way, one a line; the sources are in the plan's file.
fn notes(plan: &Plan, page: &mut Page) {
    if plan.notes.is_empty() {
        return;
    }
    page.head("New for everybody on the way (sources: --json)");
    for note in &plan.notes {
        page.line(2, &format!("{}: {}", note.code, note.text));
        if !note.mend.is_empty() {
            page.line(4, &format!("-> {}", note.mend));
        }
    }
}

fn summary(plan: &Plan, page: &mut Page) {
    let swaps: Vec<_> = plan.swaps().map(|(_, _, swap)| swap).collect();
    let nodes: BTreeSet<&NodeName> = swaps.iter().map(|s| &s.node).collect();
    let mut restarts: BTreeMap<Component, usize> = BTreeMap::new();
    for change in swaps.iter().flat_map(|s| &s.changes) {
        *restarts.entry(change.component).or_default() += 1;
    }
    let all = restarts.values().sum();
    let waves: usize = plan.phases.iter().filter(|p| p.kind.of_workers()).map(|p| p.waves.len()).sum();
    let returns = swaps.iter().filter(|s| s.no_return.is_some()).count();
    let mut parts = vec![count(nodes.len(), "node"), count(swaps.len(), "swap"), count(all, "restart")];
    if waves > 0 {
        parts.push(format!("{} of workers", count(waves, "wave")));
    }
    if returns > 0 {
        parts.push(format!("{} of no return", count(returns, "point")));
    }
    parts.push("0 evictions".into());
    page.line(0, &format!("Plan: {}.", parts.join(", ")));
    if swaps.is_empty() {
        return;
    }
    let e = &plan.estimate;
    let total = e.total_ms();
    let from = match e.runs {
        0 => "from defaults".into(),
        runs => format!("from {} of this cluster", count(runs, "past run")),
    };
    let (pull, work, soak) = (time(e.prefetch_ms), time(e.work_ms), time(e.soak_ms));
    page.line(6, &format!("about {}, {from}; waiting for gates and pauses come on top", range(total, e.slow_ms)));
    page.line(6, &format!("as a rule {pull} of pulls, {work} of swaps, {soak} of soak"));
    let of: Vec<String> = restarts.iter().map(|(component, n)| format!("{component} {}", number(*n))).collect();
    page.line(6, &format!("restarts: {}", of.join(", ")));
}

/// What there is to pull, where it is known.
fn volume(estimate: &Estimate) -> Option<String> {
    let all = &estimate.pulls;
    if all.images == all.unknown {
        return (all.images > 0).then(|| "how large the images are is not known".to_owned());
    }
    let least = if all.unknown > 0 { "at least " } else { "" };
    let mut text = format!("{least}{} in all", bytes(all.bytes));
    if let Some((rack, most)) = estimate.racks.iter().max_by_key(|(_, volume)| volume.bytes) {
        text += &format!(", {} of them into {rack}, the most of a rack", bytes(most.bytes));
    }
    if all.unknown > 0 {
        text += &format!("; the size of {} is not known", count(all.unknown, "image"));
    }
    Some(text)
}

/// The table of the strategies.
fn compared(comparison: &Comparison, page: &mut Page) {
    page.head(&format!("By other means ({} a second for local data, in all)", comparison.bandwidth));
    let row =
        |name: &str, evicted: &str, data: &str, time: &str| format!("{name:<20} {evicted:>13} {data:>19}   {time}");
    page.line(2, &row("", "pods evicted", "local data copied", "time"));
    let or_not = |text: Option<String>| text.unwrap_or_else(|| "not known".into());
    for strategy in &comparison.strategies {
        let evicted = or_not(strategy.evictions.map(number));
        let data = or_not(strategy.copy_bytes.map(bytes));
        let time = or_not(strategy.ms.map(|ms| format!("about {}", long(ms))));
        page.line(2, &row(&strategy.name, &evicted, &data, &time));
    }
    for strategy in &comparison.strategies {
        page.line(2, &format!("{}: {}", strategy.name, strategy.why));
    }
}

/// Days where hours are many.
fn long(ms: u64) -> String {
    let hours = ms / 3_600_000;
    if hours < 48 { time(ms / 1_000 * 1_000) } else { format!("{} days", (hours + 12) / 24) }
}

fn verdict(plan: &Plan, page: &mut Page) {
    let errors = plan.findings.iter().filter(|f| f.severity == Severity::Error).count();
    if errors > 0 {
        page.gap();
        page.line(0, &format!("Refused: {} to fix first", count(errors, "error")));
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
}
