//! What a run came to, for people and for scripts. Fields may be added, not renamed.

use super::{Chain, Decision, Drift, EtcdSnapshot, Outcome, Run, RunState, SwapState, SwapView};
use crate::fleet::{Cause, Component, Disturbance, NodeName, RunId, SwapId, clean, count, fold_names};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// A run's report; as JSON it is the stable form that `sonoba report --format json` prints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The run's id.
    pub run: String,
    /// The cluster's name.
    pub cluster: String,
    /// `completed`, `paused`, `aborted`, `failed`, `rolled-back`; `running` while it is none of these.
    pub outcome: String,
    /// Why it ended or stands so, in words.
    #[serde(default)]
    pub why: String,
    /// The run that it took back, where it was a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_of: Option<RunId>,
    /// Who started it.
    #[serde(default)]
    pub operator: String,
    /// When it started.
    #[serde(default)]
    pub started: Option<Timestamp>,
    /// From the first record to the last.
    pub seconds: f64,
    /// Nodes that the plan touches.
    pub nodes: NodeCounts,
    /// Which node is which.
    #[serde(default)]
    pub which: NodeLists,
    /// Swaps.
    pub swaps: SwapCounts,
    /// The proof.
    pub pods: PodCounts,
    /// By component.
    pub downtime_ms: BTreeMap<Component, Downtime>,
    /// Every pause.
    pub pauses: Vec<Pause>,
    /// Nodes skipped and gates overridden.
    #[serde(default)]
    pub decisions: Vec<Decision>,
    /// The snapshot of etcd that was taken before it moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<EtcdSnapshot>,
    /// The journal that this was folded from.
    pub journal: JournalFacts,
    /// Swaps that are not committed although they began, or were skipped.
    #[serde(default)]
    pub exceptions: Vec<Exception>,
    /// Committed components that are not what was committed any more.
    #[serde(default)]
    pub drifted: Vec<Drifted>,
    /// Of a run that has not ended: whether an engine is at work on it, as seen when the report was made. None where that was not
    /// asked, or cannot be told from here. The journal does not say it: whoever reports asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineSeen>,
    /// API servers that this run took out of the `default/kubernetes` Endpoints and that are not back: node and address.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub endpoints_out: BTreeMap<NodeName, String>,
    /// How downtimes were measured, by component.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub downtime_how: BTreeMap<Component, String>,
}

/// Whether an engine is at work on a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineSeen {
    /// Its process is there.
    Alive,
    /// It is not: nothing goes on before `sonoba resume`.
    Gone,
}

/// A committed component that is not what was committed any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drifted {
    /// The swap that committed it.
    pub swap: SwapId,
    /// Its node.
    pub node: NodeName,
    /// The component.
    pub component: Component,
    /// When that was seen.
    pub at: Timestamp,
    /// What was found instead, in words.
    pub why: String,
}

/// Nodes that the plan touches, by what they run now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeCounts {
    /// In all.
    pub total: usize,
    /// All their swaps are committed.
    pub new: usize,
    /// At least one swap is not committed, none failed.
    pub old: usize,
    /// A swap failed, or what it committed has drifted.
    pub failed: usize,
}

/// The nodes that the plan touches, by name. Each is in one list only; `partly` and `old` together are [`NodeCounts::old`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLists {
    /// All their swaps are committed.
    pub new: Vec<NodeName>,
    /// Some of their swaps are committed: masters in the middle of a run.
    pub partly: Vec<NodeName>,
    /// None of their swaps is committed.
    pub old: Vec<NodeName>,
    /// A swap failed, or what it committed has drifted: only a look at them tells.
    pub failed: Vec<NodeName>,
}

impl NodeLists {
    /// The lists that are not empty, each with its word, for people. What a rollback calls new is what was there before.
    pub fn words(&self, rollback: bool) -> Vec<(&'static str, &[NodeName])> {
        let words = if rollback { ["back", "partly back", "not back"] } else { ["new", "partly new", "old"] };
        let [new, partly, old] = words;
        let lists = [(new, &self.new), (partly, &self.partly), (old, &self.old), ("failed", &self.failed)];
        lists.into_iter().filter(|(_, nodes)| !nodes.is_empty()).map(|(word, nodes)| (word, nodes.as_slice())).collect()
    }
}

/// Swaps by how they ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwapCounts {
    /// In the plan.
    pub planned: usize,
    /// All new.
    pub committed: usize,
    /// All old again.
    pub rolled_back: usize,
    /// Could not be done.
    pub failed: usize,
    /// Committed, and not what was committed any more.
    #[serde(default)]
    pub drifted: usize,
    /// Left as they are, by decision.
    #[serde(default)]
    pub skipped: usize,
    /// Never begun, or waiting to be tried again.
    pub not_started: usize,
    /// Begun and without a result yet.
    #[serde(default)]
    pub in_flight: usize,
}

/// Pods compared before and after swaps.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PodCounts {
    /// Compared.
    pub checked: usize,
    /// Of these, proved to be undisturbed by a look that was late enough.
    pub undisturbed: usize,
    /// Disturbed by a swap, those of [`PodCounts::unknown`] included.
    pub disturbed: usize,
    /// Of the disturbed, those of which nothing shows what changed them.
    #[serde(default)]
    pub unknown: usize,
    /// Changed by something else than a swap.
    #[serde(default)]
    pub changed_by_others: usize,
    /// Not looked at late enough: a container may still be within its grace period.
    #[serde(default)]
    pub unproved: usize,
    /// Of `unproved`: how many on which node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unproved_on: BTreeMap<NodeName, usize>,
    /// Which were disturbed, how, and by what evidence.
    #[serde(default)]
    pub list: Vec<(NodeName, Disturbance)>,
    /// Which something else changed, how, and by what evidence.
    #[serde(default)]
    pub changes: Vec<(NodeName, Disturbance)>,
    /// Pods on nodes that no swap touched, over the same time: the control group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<ControlGroup>,
}

/// How pods changed where no swap was.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ControlGroup {
    /// Pods that changed.
    pub changed: usize,
    /// Of a hundred pods, so many changed a minute.
    pub percent_a_minute: f64,
    /// So many pods on swapped nodes would have changed by themselves while they were watched, at that rate.
    #[serde(default)]
    pub expected: f64,
}

/// How long a component was away: from the old one's last answer to the new one's first. Milliseconds, nearest rank.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Downtime {
    /// The median.
    pub p50: u64,
    /// 99 of 100 were not longer.
    pub p99: u64,
    /// The longest.
    pub max: u64,
    /// How many were measured.
    #[serde(default)]
    pub count: usize,
}

/// A pause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// When.
    pub at: Timestamp,
    /// Why, in words.
    pub why: String,
}

/// What is known of the journal itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalFacts {
    /// Records.
    pub events: u64,
    /// `ok` or `broken`.
    pub chain: String,
    /// The first line that does not follow from the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken_at: Option<usize>,
}

/// A swap that began and is not committed, or was skipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exception {
    /// The swap.
    pub swap: SwapId,
    /// Its node.
    pub node: NodeName,
    /// `rolled-back`, `failed`, `drifted`, `skipped` or `in-flight`.
    pub state: String,
    /// Why, in words.
    pub why: String,
}

/// The report on a run as it is folded so far.
pub fn report(run: &Run, chain: Chain) -> Report {
    let seconds = match (run.started, run.now) {
        (Some(from), Some(to)) => to.duration_since(from).as_secs_f64().max(0.0),
        _ => 0.0,
    };
    let (chain_word, broken_at) = match chain {
        Chain::Ok => ("ok", None),
        Chain::Broken { line } => ("broken", Some(line)),
    };
    let which = run.which();
    Report {
        run: run.id.as_ref().map(ToString::to_string).unwrap_or_default(),
        cluster: run.cluster.to_string(),
        outcome: outcome(run).to_owned(),
        why: run.why.clone(),
        rollback_of: run.plan.rollback_of.clone(),
        operator: run.operator.clone(),
        started: run.started,
        seconds,
        nodes: NodeCounts {
            total: which.new.len() + which.partly.len() + which.old.len() + which.failed.len(),
            new: which.new.len(),
            old: which.partly.len() + which.old.len(),
            failed: which.failed.len(),
        },
        which,
        swaps: SwapCounts {
            planned: run.swaps.len(),
            committed: run.count(|s| s == SwapState::Committed),
            rolled_back: run.count(|s| s == SwapState::RolledBack),
            failed: run.count(|s| s == SwapState::Failed),
            drifted: run.count(|s| s == SwapState::Drifted),
            skipped: run.count(|s| s == SwapState::Skipped),
            not_started: run.count(|s| s == SwapState::Waiting),
            in_flight: run.count(SwapState::open),
        },
        pods: pods(run),
        downtime_ms: run.downtimes.iter().map(|(c, ms)| (*c, spread(ms))).collect(),
        pauses: run.pauses.iter().map(|(at, why)| Pause { at: *at, why: why.clone() }).collect(),
        decisions: run.decisions.clone(),
        snapshot: run.snapshot.taken().cloned(),
        journal: JournalFacts { events: run.events, chain: chain_word.to_owned(), broken_at },
        exceptions: run.swaps.iter().filter_map(|s| exception(run, s)).collect(),
        drifted: run.drifts.iter().map(drifted).collect(),
        engine: None,
        endpoints_out: run.endpoints_out.clone(),
        downtime_how: run.measured_by.clone(),
    }
}

fn pods(run: &Run) -> PodCounts {
    let pods = &run.pods;
    let mut unproved_on: BTreeMap<NodeName, usize> = BTreeMap::new();
    for pending in pods.pending.values() {
        let here = unproved_on.entry(pending.node.clone()).or_default();
        *here = here.saturating_add(pending.pods);
    }
    for (node, never) in &pods.never {
        let here = unproved_on.entry(node.clone()).or_default();
        *here = here.saturating_add(*never);
    }
    unproved_on.retain(|_, pods| *pods > 0);
    PodCounts {
        checked: pods.checked,
        undisturbed: pods.undisturbed,
        disturbed: pods.disturbed.len(),
        unknown: pods.disturbed.iter().filter(|(_, d)| d.cause == Cause::Unknown).count(),
        changed_by_others: pods.changed.len(),
        unproved: unproved_on.values().fold(0, |all, pods| all.saturating_add(*pods)),
        unproved_on,
        list: pods.disturbed.clone(),
        changes: pods.changed.clone(),
        control: pods.churn.expected(100, 60_000).map(|percent_a_minute| ControlGroup {
            changed: pods.churn.changed,
            percent_a_minute,
            expected: pods.expected_changes().unwrap_or_default(),
        }),
    }
}

fn drifted(((swap, component), drift): (&(SwapId, Component), &Drift)) -> Drifted {
    let Drift { node, at, why } = drift.clone();
    Drifted { swap: swap.clone(), node, component: *component, at, why }
}

fn outcome(run: &Run) -> &'static str {
    match run.state {
        RunState::Ended(outcome) => match outcome {
            Outcome::Completed => "completed",
            Outcome::Paused => "paused",
            Outcome::Aborted => "aborted",
            Outcome::Failed => "failed",
            Outcome::RolledBack => "rolled-back",
        },
        RunState::Paused(_) => "paused",
        _ => "running",
    }
}

impl Run {
    /// Which of the plan's nodes is which.
    pub fn which(&self) -> NodeLists {
        let all: BTreeSet<&NodeName> = self.swaps.iter().map(|s| &s.node).collect();
        let mut lists = NodeLists::default();
        for node in all {
            let committed = self.swaps_of(node).filter(|s| s.state == SwapState::Committed).count();
            // What drifted is neither new nor old, also where an operator has skipped it since.
            let wrong = |s: &SwapView| matches!(self.standing(s), SwapState::Failed | SwapState::Drifted);
            let list = if self.swaps_of(node).any(wrong) {
                &mut lists.failed
            } else if committed == self.swaps_of(node).count() {
                &mut lists.new
            } else if committed > 0 {
                &mut lists.partly
            } else {
                &mut lists.old
            };
            list.push(node.clone());
        }
        lists
    }
}

fn exception(run: &Run, swap: &SwapView) -> Option<Exception> {
    let state = match run.standing(swap) {
        SwapState::RolledBack => "rolled-back",
        SwapState::Failed => "failed",
        SwapState::Drifted => "drifted",
        SwapState::Skipped => "skipped",
        state if state.open() => "in-flight",
        _ => return None,
    };
    Some(Exception { swap: swap.id.clone(), node: swap.node.clone(), state: state.to_owned(), why: swap.why.clone() })
}

fn spread(ms: &[u64]) -> Downtime {
    let mut sorted = ms.to_vec();
    sorted.sort_unstable();
    let rank = |percent: usize| {
        let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        sorted.get(at).copied().unwrap_or_default()
    };
    Downtime { p50: rank(50), p99: rank(99), max: rank(100), count: sorted.len() }
}

impl Exception {
    /// Its node, and why where that is known.
    pub fn words(&self) -> String {
        if self.why.is_empty() { self.node.to_string() } else { format!("{}: {}", self.node, self.why) }
    }
}

impl PodCounts {
    /// How many were disturbed, and of how many of these nothing shows by what.
    pub fn disturbed_words(&self) -> String {
        match self.unknown {
            0 => format!("{} disturbed", self.disturbed),
            unknown => format!("{} disturbed ({unknown} by an unknown cause)", self.disturbed),
        }
    }

    /// Which pods are not proved, in words; none where all are.
    pub fn unproved_words(&self) -> Option<String> {
        let nodes = fold_names(self.unproved_on.keys().map(NodeName::as_str));
        let (proved, left) = (count(self.undisturbed, "pod", "pods"), self.unproved);
        (left > 0).then(|| {
            format!("{proved} proved undisturbed, {left} not proved (they may still have been within their grace period) on {nodes}")
        })
    }

    /// What the control group says, in words; none where there was none.
    pub fn control_words(&self) -> Option<String> {
        let control = self.control?;
        let here = self.changed_by_others;
        let rate = control.percent_a_minute;
        Some(format!(
            "{here} changed by others on swapped nodes, {:.1} expected ({rate:.2} % of pods a minute change where no swap is)",
            control.expected
        ))
    }
}

impl Report {
    /// Whether the run has not ended and nobody is at work on it.
    pub fn orphaned(&self) -> bool {
        self.engine == Some(EngineSeen::Gone)
    }

    /// Whether the run has ended.
    pub fn ended(&self) -> bool {
        !matches!(self.outcome.as_str(), "running" | "paused")
    }

    /// How the run stands, in words: its outcome, and whether nobody is at work on it.
    pub fn standing(&self) -> String {
        match self.orphaned() {
            true => format!("{}, but no engine is at work on it", self.outcome),
            false => self.outcome.clone(),
        }
    }

    /// What needs a hand, and what to do: an API server that is missing from the Endpoints, or that no engine is at work on the run.
    pub fn needs_a_hand(&self) -> Vec<String> {
        let missing = self.endpoints_missing();
        if missing.is_empty() && self.orphaned() {
            return vec![format!("no engine is at work on it; go on with: sonoba resume {}", self.run)];
        }
        missing
    }

    /// The outcome in a word: a run that nobody is at work on does not run.
    pub fn outcome_word(&self) -> &str {
        if self.orphaned() && self.outcome == "running" { "no engine" } else { &self.outcome }
    }

    /// What is to be said of each API server that this run took out of the Endpoints and that is not back; nothing while an
    /// engine is at work, which puts it back.
    pub fn endpoints_missing(&self) -> Vec<String> {
        if self.engine == Some(EngineSeen::Alive) {
            return Vec::new();
        }
        let then = match self.ended() {
            false => format!("`sonoba resume {}` puts it back first", self.run),
            true => {
                "put it back: kubectl -n default edit endpoints kubernetes; `sonoba doctor` says whether it is".into()
            }
        };
        let out = self.endpoints_out.iter();
        out.map(|(node, address)| {
            format!("API server {node} ({address}) was taken out of the default/kubernetes Endpoints and not put back; {then}")
        })
        .collect()
    }

    /// The report for people, as Markdown.
    pub fn to_markdown(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_markdown(&mut out);
        out
    }

    fn write_markdown(&self, out: &mut String) -> std::fmt::Result {
        let Report { nodes, swaps, pods, .. } = self;
        writeln!(out, "# Run {} on {}: {}\n", escape(&self.run), escape(&self.cluster), escape(&self.standing()))?;
        for missing in self.endpoints_missing() {
            writeln!(out, "**{}**\n", escape(&missing))?;
        }
        if !self.why.is_empty() {
            writeln!(out, "{}\n", escape(&self.why))?;
        }
        if let Some(started) = self.started {
            let by = escape(&self.operator);
            writeln!(out, "Started {started:.0} by {by}; took {}.\n", duration(self.seconds))?;
        }
        if let Some(of) = &self.rollback_of {
            writeln!(out, "It took back what run {of} did: new is what ran before that.\n")?;
        }
        writeln!(out, "| | total | |\n| --- | ---: | --- |")?;
        writeln!(out, "| nodes | {} | {} new, {} old, {} failed |", nodes.total, nodes.new, nodes.old, nodes.failed)?;
        let drifted = if swaps.drifted > 0 { format!("{} drifted, ", swaps.drifted) } else { String::new() };
        writeln!(
            out,
            "| swaps | {} | {} committed, {} rolled back, {} failed, {drifted}{} skipped, {} in flight, {} not started |",
            swaps.planned,
            swaps.committed,
            swaps.rolled_back,
            swaps.failed,
            swaps.skipped,
            swaps.in_flight,
            swaps.not_started
        )?;
        writeln!(
            out,
            "| pods compared | {} | {} proved undisturbed, {}, {} changed by others, {} not proved |",
            pods.checked,
            pods.undisturbed,
            pods.disturbed_words(),
            pods.changed_by_others,
            pods.unproved
        )?;
        let at = self.journal.broken_at.map(|line| format!(" at line {line}")).unwrap_or_default();
        writeln!(out, "| journal | {} events | chain {}{at} |", self.journal.events, escape(&self.journal.chain))?;
        if let Some(snapshot) = &self.snapshot {
            write_snapshot(out, snapshot)?;
        }
        if !self.downtime_ms.is_empty() {
            writeln!(out, "\n## Downtime of components (ms)\n")?;
            writeln!(out, "| component | swaps | p50 | p99 | max |\n| --- | ---: | ---: | ---: | ---: |")?;
            for (component, d) in &self.downtime_ms {
                writeln!(out, "| {component} | {} | {} | {} | {} |", d.count, d.p50, d.p99, d.max)?;
            }
            let measured = self.downtime_how.iter().filter(|(c, _)| self.downtime_ms.contains_key(*c));
            for (i, (component, how)) in measured.enumerate() {
                let gap = if i == 0 { "\n" } else { "" };
                writeln!(out, "{gap}- {component}, measured by {}", escape(how))?;
            }
        }
        for text in [pods.unproved_words(), pods.control_words()].into_iter().flatten() {
            writeln!(out, "\n{}.", escape(&text))?;
        }
        for (title, pods) in [("Disturbed pods", &pods.list), ("Pods changed by others", &pods.changes)] {
            if pods.is_empty() {
                continue;
            }
            writeln!(out, "\n## {title}\n")?;
            for (node, pod) in pods {
                writeln!(out, "- {node}: {}", escape(&pod.to_string()))?;
            }
        }
        if nodes.new < nodes.total {
            writeln!(out, "\n## Which node is which\n")?;
            for (word, nodes) in self.which.words(self.rollback_of.is_some()) {
                writeln!(out, "- {word}: {}", escape(&fold_names(nodes.iter().map(NodeName::as_str))))?;
            }
        }
        if !self.exceptions.is_empty() {
            writeln!(out, "\n## Swaps that are not committed\n")?;
            for e in &self.exceptions {
                writeln!(out, "- {} ({}) {}", escape(&e.state), e.swap, escape(&e.words()))?;
            }
        }
        if !self.decisions.is_empty() {
            writeln!(out, "\n## Decisions\n")?;
            for d in &self.decisions {
                let (of, by, why) = (escape(&d.of), escape(&d.by), escape(&d.why));
                writeln!(out, "- {:.0}: {} of {of} by {by}: {why}", d.at, d.what)?;
            }
        }
        if !self.pauses.is_empty() {
            writeln!(out, "\n## Pauses\n")?;
            for pause in &self.pauses {
                writeln!(out, "- {:.0}: {}", pause.at, escape(&pause.why))?;
            }
        }
        Ok(())
    }
}

fn write_snapshot(out: &mut String, snapshot: &EtcdSnapshot) -> std::fmt::Result {
    let EtcdSnapshot { node, container, path, bytes, hash, revision, keys } = snapshot;
    let (container, path, hash) = (escape(container), escape(path), escape(hash));
    writeln!(out, "\n## Snapshot of etcd\n")?;
    writeln!(
        out,
        "{path} in the container {container} of {node}: {bytes} bytes, {keys} keys, revision {revision}, hash {hash}."
    )?;
    writeln!(out, "It stays there until somebody removes it.")
}

/// Text from nodes must not become markup, nor an escape of the terminal that shows it. `&` begins an entity.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in clean(text).chars() {
        if "\\`*_[]<>|#&~!".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn duration(seconds: f64) -> String {
    // Whole seconds are enough for people; a negative or huge number cannot come from two timestamps.
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}
