//! The journal's own bookkeeping, from outside: which lines are written, which of them would outlive a power cut, and what
//! the engine may therefore do.

use sonoba::fleet::{NodeName, SwapId};
use sonoba::journal::{Event, Record, Verb, Verdict};
use std::collections::{HashMap, HashSet};

/// What a line says, as far as it binds the engine.
#[derive(Debug, Clone)]
pub enum Fact {
    Preparing(SwapId, NodeName),
    Intended(SwapId, String),
    Verdict(SwapId, Verdict),
    Ended(SwapId, Result),
    Drifted(SwapId),
    DriftEnded(SwapId),
    /// Pods of its node were disturbed: by it, or by nobody knows what.
    Disturbed(SwapId, NodeName),
    Paused,
    Resumed,
    Aborting,
    Retry(Vec<NodeName>),
    Skip(Vec<NodeName>),
    RollBack(Vec<NodeName>),
    /// The run waits for this gate, or for none any more.
    Gate(Option<String>),
    /// A snapshot of etcd is there; its path.
    Snapshot(String),
    /// Whether the run lock is held.
    Lock(bool),
    RunEnded,
    Other,
}

/// How a swap came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Result {
    Committed,
    RolledBack,
    Untouched,
    NeedsAPerson,
    /// It was committed, and is not what was committed any more.
    Drifted,
}

impl Fact {
    /// Reads a line; those that bind nobody are not looked at closely.
    pub fn of(line: &[u8]) -> Fact {
        let head = String::from_utf8_lossy(&line[..line.len().min(260)]);
        let binding = [
            "swap-p",
            "swap-i",
            "swap-v",
            "swap-c",
            "swap-r",
            "swap-f",
            "paused",
            "resumed",
            "command",
            "gate",
            "snapshot-t",
            "run-ended",
            "component-d",
            "drift-e",
            "pods-d",
            "lock",
        ];
        let Some((_, event)) = head.split_once("\"event\":\"") else { return Fact::Other };
        if !binding.iter().any(|word| event.starts_with(word)) {
            return Fact::Other;
        }
        let Ok(record) = serde_json::from_slice::<Record>(line) else { return Fact::Other };
        match record.event {
            Event::SwapPreparing { swap, node } => Fact::Preparing(swap, node),
            Event::SwapIntended { swap, tx, .. } => Fact::Intended(swap, tx),
            Event::SwapVerdict { swap, verdict, .. } => Fact::Verdict(swap, verdict),
            Event::SwapCommitted { swap, .. } => Fact::Ended(swap, Result::Committed),
            Event::SwapRolledBack { swap, .. } => Fact::Ended(swap, Result::RolledBack),
            Event::SwapFailed { swap, untouched: true, .. } => Fact::Ended(swap, Result::Untouched),
            Event::SwapFailed { swap, .. } => Fact::Ended(swap, Result::NeedsAPerson),
            Event::ComponentDrifted { swap, .. } => Fact::Drifted(swap),
            Event::DriftEnded { swap, .. } => Fact::DriftEnded(swap),
            Event::PodsDisturbed { swap, node, .. } => Fact::Disturbed(swap, node),
            Event::Paused { .. } => Fact::Paused,
            Event::Resumed => Fact::Resumed,
            Event::Command { verb, .. } => match verb {
                Verb::Abort => Fact::Aborting,
                Verb::Retry { nodes } => Fact::Retry(nodes),
                Verb::Skip { nodes, .. } => Fact::Skip(nodes),
                Verb::RollBack { nodes } => Fact::RollBack(nodes),
                Verb::Pause | Verb::Resume | Verb::Override { .. } => Fact::Other,
            },
            Event::GateWaiting { gate, .. } => Fact::Gate(Some(gate)),
            Event::GatePassed { .. } => Fact::Gate(None),
            Event::SnapshotTaken(snapshot) => Fact::Snapshot(snapshot.path),
            Event::LockHeld { .. } => Fact::Lock(true),
            Event::LockUnsure { lapsed: true, .. } | Event::LockLost { .. } => Fact::Lock(false),
            Event::RunEnded { .. } => Fact::RunEnded,
            _ => Fact::Other,
        }
    }
}

/// What is known of one swap.
#[derive(Debug, Clone, Default)]
pub struct SwapFacts {
    pub open: bool,
    pub node: Option<NodeName>,
    pub tx: Option<String>,
    pub verdict: Option<Verdict>,
    pub result: Option<Result>,
    /// Commanded back, and without a result since.
    pub undo: bool,
    /// Pods were disturbed, and the journal says so.
    pub disturbed: bool,
}

/// What some prefix of the journal says.
#[derive(Debug, Clone, Default)]
pub struct Said {
    pub swaps: HashMap<SwapId, SwapFacts>,
    /// Nodes that are left as they are by decision.
    pub skipped: HashSet<NodeName>,
    /// The gate that is waited for.
    pub gate: Option<String>,
    /// The snapshots of etcd that it tells of.
    pub snapshots: Vec<String>,
    pub paused: bool,
    pub aborting: bool,
    pub ended: bool,
    /// The run lock is another's, or could be.
    pub lock_lost: bool,
}

impl Said {
    fn add(&mut self, fact: &Fact) {
        let mut edit = |swap: &SwapId, edit: &dyn Fn(&mut SwapFacts)| edit(self.swaps.entry(swap.clone()).or_default());
        match fact {
            Fact::Preparing(swap, node) => edit(swap, &|s| {
                *s = SwapFacts { open: true, node: Some(node.clone()), ..SwapFacts::default() };
            }),
            Fact::Intended(swap, tx) => edit(swap, &|s| (s.tx, s.verdict) = (Some(tx.clone()), None)),
            Fact::Verdict(swap, verdict) => edit(swap, &|s| s.verdict = Some(*verdict)),
            Fact::Ended(swap, result) => edit(swap, &|s| {
                (s.open, s.result, s.undo) = (false, Some(*result), false);
            }),
            // Of several components of one swap the last word counts: the report knows better.
            Fact::Drifted(swap) => edit(swap, &|s| s.result = Some(Result::Drifted)),
            Fact::Disturbed(swap, _) => edit(swap, &|s| s.disturbed = true),
            Fact::DriftEnded(swap) => edit(swap, &|s| s.result = Some(Result::Committed)),
            Fact::Paused => self.paused = true,
            Fact::Resumed => self.paused = false,
            Fact::Aborting => self.aborting = true,
            Fact::Retry(nodes) => {
                self.skipped.retain(|node| !nodes.contains(node));
                let named = |s: &SwapFacts| nodes.is_empty() || s.node.as_ref().is_some_and(|n| nodes.contains(n));
                self.swaps.values_mut().filter(|s| !s.open && named(s)).for_each(|s| s.undo = false);
            }
            Fact::Gate(gate) => self.gate = gate.clone(),
            Fact::Skip(nodes) => self.skipped.extend(nodes.iter().cloned()),
            Fact::RollBack(nodes) => {
                let back = |s: &SwapFacts| match s.open {
                    true => s.verdict != Some(Verdict::Commit),
                    false => matches!(s.result, Some(Result::Untouched | Result::NeedsAPerson)),
                };
                let of = |s: &SwapFacts| s.node.as_ref().is_some_and(|n| nodes.contains(n));
                self.swaps.values_mut().filter(|s| of(s) && back(s)).for_each(|s| s.undo = true);
            }
            Fact::Snapshot(path) => self.snapshots.push(path.clone()),
            Fact::Lock(held) => self.lock_lost = !held,
            Fact::RunEnded => self.ended = true,
            Fact::Other => {}
        }
    }

    /// The swap that a transaction belongs to.
    pub fn of_tx(&self, tx: &str) -> Option<&SwapFacts> {
        self.swaps.values().find(|s| s.tx.as_deref() == Some(tx))
    }

    /// The open swap of a node.
    pub fn open_on(&self, node: &NodeName) -> Option<&SwapFacts> {
        self.swaps.values().find(|s| s.open && s.node.as_ref() == Some(node))
    }
}

/// The journal's file as the disk knows it.
#[derive(Debug, Default)]
pub struct Books {
    lines: Vec<(u64, Fact)>,
    /// Bytes of whole lines that were written.
    pub len: u64,
    /// Bytes that would outlive a power cut.
    pub synced: u64,
    durable_lines: usize,
    /// What all the lines say.
    pub written: Said,
    /// What the lines that would outlive a power cut say.
    pub durable: Said,
}

impl Books {
    pub fn append(&mut self, bytes: u64, fact: Fact) {
        self.len += bytes;
        self.written.add(&fact);
        self.lines.push((self.len, fact));
    }

    pub fn sync(&mut self, upto: u64) {
        self.synced = self.synced.max(upto);
        while let Some((end, fact)) = self.lines.get(self.durable_lines).filter(|(end, _)| *end <= self.synced) {
            let _ = end;
            self.durable.add(fact);
            self.durable_lines += 1;
        }
    }

    /// How many lines bind the engine.
    pub fn deeds(&self) -> usize {
        self.lines.iter().filter(|(_, fact)| !matches!(fact, Fact::Other | Fact::Gate(_) | Fact::Lock(_))).count()
    }

    /// The file was cut to `len` by a power cut; what is left is what there is.
    pub fn restart(&mut self, len: u64) {
        let lines = std::mem::take(&mut self.lines);
        *self = Books::default();
        for (end, fact) in lines.into_iter().filter(|(end, _)| *end <= len) {
            let bytes = end - self.len;
            self.append(bytes, fact);
        }
        self.sync(self.len);
    }
}
