//! What was committed is looked at again: a commit is the last look of a swap, and not the last thing that happens to a node.

use super::patience::patiently;
use super::shared::Shared;
use super::verify::healthy;
use super::visit::containers;
use crate::fleet::{Component, NodeName, Running, SwapId, count, fold_names};
use crate::journal::{Event, JournalError, Kept, Record, SwapState, SwapView};
use crate::plan::{Change, Swap};
use crate::remote::Look;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How the wait for nodes that do not answer, or answer that they are not well, is called in the journal.
pub(super) const COMPONENTS: &str = "committed components";
/// Between two looks at the nodes of a wave that soaks.
const EVERY: Duration = Duration::from_secs(3);
/// Nodes that are looked at at once.
const AT_ONCE: usize = 32;
/// How long one node is asked.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a node that does not answer is waited for, once; then it is said that it could not be looked at.
const AWAY: Duration = Duration::from_secs(60);
/// How long a component may answer that it is not well: a leader may be changing, a disk may be slow.
const UNWELL: Duration = Duration::from_secs(15);
/// It is well again once it was for so long.
const SETTLED: Duration = Duration::from_secs(10);
/// A component that restarts by itself is well again once it has not for so long: Docker waits up to 1 min between two tries.
/// <https://docs.docker.com/engine/containers/start-containers-automatically/>
const CALM: Duration = Duration::from_secs(120);

/// What this run put on its nodes, by swap. Folded from the journal, so that the next engine compares with the same.
#[derive(Debug, Default)]
pub(super) struct Kepts(BTreeMap<SwapId, KeptParts>);

/// What one swap put on its node.
#[derive(Debug, Clone)]
struct KeptParts {
    at: Timestamp,
    parts: BTreeMap<Component, Kept>,
}

impl Kepts {
    pub(super) fn apply(&mut self, record: &Record) {
        match &record.event {
            Event::ComponentsKept { swap, kept, .. } => {
                self.0.insert(swap.clone(), KeptParts { at: record.at, parts: kept.clone() });
            }
            // One whose containers could not be looked at when it was committed.
            Event::SwapCommitted { swap, .. } => {
                self.0.entry(swap.clone()).or_insert(KeptParts { at: record.at, parts: BTreeMap::new() });
            }
            // Whatever runs on the node now, it is not what the plan saw.
            Event::ForeignHand { swap, .. } => {
                self.0.insert(swap.clone(), KeptParts { at: record.at, parts: BTreeMap::new() });
            }
            _ => {}
        }
    }

    /// Whether the old containers that the plan saw are known to be gone: the swap was committed once, or something else made
    /// them anew.
    pub(super) fn ever(&self, swap: &SwapId) -> bool {
        self.0.contains_key(swap)
    }
}

/// The new containers as they are at the commit. Those that could not be looked at, or are not the new ones, are left out.
pub(super) fn keep(
    swap: &Swap,
    running: &[Running],
    images: &BTreeMap<Component, String>,
) -> BTreeMap<Component, Kept> {
    let kept = swap.changes.iter().filter_map(|change| {
        let found = running.iter().find(|r| r.container == change.container)?;
        let new = images.get(&change.component).map_or(found.image == change.to, |id| *id == found.image_id);
        let Running { id, image_id, started, restarts, .. } = found.clone();
        new.then_some((change.component, Kept { id, image_id, started, restarts }))
    });
    kept.collect()
}

/// How a component is not what was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Gone,
    MadeAnew,
    Stopped,
    Restarted,
    Unwell,
}

/// What the engine remembers between two looks.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<Remembered>);

/// What tells one start of a container from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LastStart {
    /// Restarts that Docker has counted since the commit.
    counted: u32,
    /// By the node's clock.
    at: Option<Timestamp>,
}

#[derive(Debug, Default)]
struct Remembered {
    looked: Option<Instant>,
    /// Since when a component answers that it is not well, and when it did last: one that flaps is not well in between.
    unwell: HashMap<(SwapId, Component), (Instant, Instant)>,
    /// The last start of those that were started again since the commit, and when it was seen.
    restarts: HashMap<(SwapId, Component), (LastStart, Instant)>,
    /// What was told last.
    told: HashMap<(SwapId, Component), Kind>,
    /// Since when a node does not answer, why, and whether that was said.
    away: BTreeMap<NodeName, (Instant, String, bool)>,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The nodes that could not be looked at last time.
    pub(super) fn unseen(&self) -> Vec<NodeName> {
        self.lock().away.keys().cloned().collect()
    }
}

/// Which swaps are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Every one that this run committed.
    All,
    /// Those of the wave that is under way, and only every few seconds.
    Wave,
}

/// Looks again, and writes down what drifted and what is as it should be again. Whether a drift is enough to stop the run is the
/// ledger's to say.
///
/// # Errors
/// In words, when a node does not answer yet, or a component is not well and may still become so: the caller waits.
pub(super) async fn look(shared: &Shared, scope: Scope) -> Result<Result<(), String>, JournalError> {
    if scope == Scope::Wave {
        let mut memory = shared.memory.lock();
        if memory.looked.is_some_and(|at| at.elapsed() < EVERY) {
            return Ok(Ok(()));
        }
        memory.looked = Some(Instant::now());
    }
    let todo: Vec<(Swap, KeptParts)> = shared
        .log
        .with(|run, _| {
            let here = run.phase.zip(run.wave);
            let wanted = |s: &&SwapView| {
                matches!(s.state, SwapState::Committed | SwapState::Drifted)
                    && (scope == Scope::All || Some((s.phase, s.wave)) == here)
            };
            // Where a later swap of this run moved the same component on, the last one counts.
            let mut last: BTreeMap<(NodeName, Component), SwapId> = BTreeMap::new();
            let moved = |s: &&SwapView| {
                matches!(s.state, SwapState::Committed | SwapState::Drifted | SwapState::Failed) || s.state.open()
            };
            for s in run.swaps.iter().filter(moved) {
                for change in &run.planned(s).changes {
                    last.insert((s.node.clone(), change.component), s.id.clone());
                }
            }
            let planned = run.swaps.iter().filter(wanted).map(|s| {
                let mut swap = run.planned(s).clone();
                swap.changes.retain(|c| last.get(&(s.node.clone(), c.component)) == Some(&s.id));
                swap
            });
            planned.collect::<Vec<_>>()
        })
        .into_iter()
        .filter(|swap| !swap.changes.is_empty())
        .map(|swap| {
            let kept = shared.log.kepts(|kepts| kepts.0.get(&swap.id).cloned());
            (swap, kept.unwrap_or(KeptParts { at: Timestamp::UNIX_EPOCH, parts: BTreeMap::new() }))
        })
        .collect();
    let looks: Vec<_> = todo.into_iter().map(|(swap, kept)| look_at(shared, swap, kept)).collect();
    let mut looks = stream::iter(looks).buffered(AT_ONCE);
    let (mut away, mut unwell) = (Vec::new(), None);
    while let Some(seen) = looks.next().await {
        match seen.found {
            Err(why) => away.push((seen.swap.node, why)),
            Ok(found) => {
                shared.memory.lock().away.remove(&seen.swap.node);
                for (component, found) in found {
                    if let Err(wait) = tell(shared, &seen.swap, component, found).await? {
                        unwell.get_or_insert(wait);
                    }
                }
            }
        }
    }
    let wait = gone_quiet(shared, away).await?;
    Ok(unwell.or(wait).map_or(Ok(()), Err))
}

/// What is wrong with a component, in words, if anything is.
type Wrong = Option<(Kind, String)>;

/// One node's answer.
struct Seen {
    swap: Swap,
    /// What is wrong with each component, if anything; or why the node could not be looked at.
    found: Result<Vec<(Component, Wrong)>, String>,
}

async fn look_at(shared: &Shared, swap: Swap, kept: KeptParts) -> Seen {
    let Some(port) = shared.ports.fleet.node(&swap.node) else {
        return Seen { swap, found: Err("the inventory does not know this node any more".into()) };
    };
    let names = containers(&swap);
    let running = match patiently(PATIENCE, || port.look(&names)).await {
        Ok(look) => look.running,
        Err(error) => return Seen { swap, found: Err(error.to_string()) },
    };
    let mut found = Vec::new();
    for change in &swap.changes {
        let here = running.iter().find(|r| r.container == change.container);
        let mut wrong = differs(change, kept.parts.get(&change.component), here);
        if wrong.is_none() {
            wrong = here.and_then(|here| restarted(shared, &swap, change, &kept, here));
        }
        if let (None, Some(settings)) = (&wrong, shared.plan.components.get(&change.component)) {
            let well = healthy(port.as_ref(), change.component, &settings.health).await;
            wrong = well.err().map(|why| (Kind::Unwell, why));
        }
        found.push((change.component, wrong));
    }
    Seen { swap, found: Ok(found) }
}

/// How what runs differs from what was committed. Pure.
fn differs(change: &Change, kept: Option<&Kept>, here: Option<&Running>) -> Option<(Kind, String)> {
    let name = &change.container;
    let Some(here) = here else { return Some((Kind::Gone, format!("{name} is not there any more"))) };
    let same = match kept {
        Some(kept) => kept.id == here.id && kept.image_id == here.image_id,
        None => here.image == change.to,
    };
    if !same {
        let again = if here.image == change.from { " again" } else { "" };
        let at = here.started.map(|at| format!(" at {}", clock(at))).unwrap_or_default();
        let stopped = if here.running { "" } else { ", and does not run" };
        return Some((Kind::MadeAnew, format!("{name} runs {}{again}; made anew{at}{stopped}", here.image.short())));
    }
    (!here.running).then(|| (Kind::Stopped, format!("{name} was stopped: it does not run any more")))
}

/// Whether it was started again since the commit, by Docker or by somebody, and lately.
fn restarted(
    shared: &Shared,
    swap: &Swap,
    change: &Change,
    kept: &KeptParts,
    here: &Running,
) -> Option<(Kind, String)> {
    let part = kept.parts.get(&change.component)?;
    // Docker counts from 0 again when it was restarted itself.
    let more = if here.restarts < part.restarts { here.restarts } else { here.restarts - part.restarts };
    // What somebody restarts (`docker restart`, a Docker daemon that took it down with itself) is not counted.
    let again = part.started.is_some() && here.started.is_some() && here.started != part.started;
    let mut memory = shared.memory.lock();
    let key = (swap.id.clone(), change.component);
    if more == 0 && !again {
        memory.restarts.remove(&key);
        return None;
    }
    let (now, last) = (Instant::now(), LastStart { counted: more, at: here.started });
    let seen = memory.restarts.entry(key).or_insert((last, now));
    if seen.0 != last {
        *seen = (last, now);
    }
    (seen.1.elapsed() < CALM).then(|| (Kind::Restarted, started_again(change, kept.at, more, here.started)))
}

fn started_again(change: &Change, kept: Timestamp, more: u32, started: Option<Timestamp>) -> String {
    let times = match (more, started) {
        (0, Some(at)) => {
            return format!("{} was restarted at {}, not by its restart policy", change.container, clock(at));
        }
        _ => count(usize::try_from(more).unwrap_or(usize::MAX), "time", "times"),
    };
    format!("{} was restarted {times} since {}", change.container, clock(kept))
}

/// Writes down what is new of one component.
///
/// # Errors
/// In words, what has to be waited for: it is not well, and that may pass.
async fn tell(
    shared: &Shared,
    swap: &Swap,
    component: Component,
    found: Option<(Kind, String)>,
) -> Result<Result<(), String>, JournalError> {
    let key = (swap.id.clone(), component);
    let (id, node) = (swap.id.clone(), swap.node.clone());
    let drifted = shared.log.with(|run, _| run.drifts.contains_key(&key));
    let unwell = matches!(found, Some((Kind::Unwell, _)));
    let since = {
        let (mut memory, now) = (shared.memory.lock(), Instant::now());
        if unwell {
            memory.unwell.entry(key.clone()).or_insert((now, now)).1 = now;
        } else if memory.unwell.get(&key).is_some_and(|(_, last)| now.duration_since(*last) >= SETTLED) {
            memory.unwell.remove(&key);
        }
        memory.unwell.get(&key).map(|(since, _)| *since)
    };
    let Some((kind, why)) = found else {
        // One that was not well a moment ago may be unwell again in a moment.
        if drifted && since.is_none() {
            shared.memory.lock().told.remove(&key);
            shared.log.write(Event::DriftEnded { swap: id, node, component }).await?;
        }
        return Ok(Ok(()));
    };
    if !drifted && unwell && since.is_some_and(|since| since.elapsed() < UNWELL) {
        return Ok(Err(format!("{node}: {why}")));
    }
    let known = shared.memory.lock().told.insert(key.clone(), kind);
    // An engine that took the run up knows only that it was told.
    if drifted && known.is_none_or(|known| known == kind || kind == Kind::Unwell) {
        return Ok(Ok(()));
    }
    // Only what still counts as committed: a command may have come meanwhile.
    let event = Event::ComponentDrifted { swap: id.clone(), node, component, why };
    let counts = |run: &crate::journal::Run| match run.swap(&id).map(|s| s.state) {
        Some(SwapState::Committed | SwapState::Drifted) => Ok(()),
        _ => Err(()),
    };
    let _ = shared.log.write_if(event, counts).await?;
    Ok(Ok(()))
}

/// Nodes that did not answer are waited for, once and not for ever; what to wait for then.
async fn gone_quiet(shared: &Shared, away: Vec<(NodeName, String)>) -> Result<Option<String>, JournalError> {
    let now = Instant::now();
    let (mut wait, mut say) = (BTreeSet::new(), Vec::new());
    {
        let mut memory = shared.memory.lock();
        for (node, why) in away {
            let (since, last, said) = memory.away.entry(node.clone()).or_insert((now, String::new(), false));
            *last = why.clone();
            if *said {
                continue;
            }
            if now.duration_since(*since) < AWAY {
                wait.insert(node);
            } else {
                *said = true;
                say.push(format!("{node} could not be looked at again after its swap: {why}"));
            }
        }
    }
    for text in say {
        shared.log.write(Event::Note { text }).await?;
    }
    if wait.is_empty() {
        return Ok(None);
    }
    Ok(Some(format!("{} cannot be looked at", fold_names(wait.iter().map(NodeName::as_str)))))
}

/// What runs on the nodes that this run touched, in a sentence, as seen now.
pub(super) async fn what_runs(shared: &Shared, now: Timestamp) -> String {
    let touched: Vec<Swap> = shared.log.with(|run, _| {
        let touched =
            run.swaps.iter().filter(|s| s.attempts > 0 || !matches!(s.state, SwapState::Waiting | SwapState::Skipped));
        touched.map(|s| run.planned(s).clone()).collect()
    });
    let begun: BTreeSet<SwapId> = touched.iter().map(|s| s.id.clone()).collect();
    let left: Vec<NodeName> =
        shared.log.with(|run, _| run.swaps.iter().filter(|s| !begun.contains(&s.id)).map(|s| s.node.clone()).collect());
    let reached: BTreeSet<NodeName> = touched.iter().map(|s| s.node.clone()).collect();
    let looks: Vec<_> = touched
        .into_iter()
        .map(|swap| async move {
            let names = containers(&swap);
            let seen = match shared.ports.fleet.node(&swap.node) {
                Some(port) => patiently(PATIENCE, || port.look(&names)).await.map_err(|e| e.to_string()),
                None => Err("the inventory does not know it".into()),
            };
            (swap, seen)
        })
        .collect();
    let mut looks = stream::iter(looks).buffered(AT_ONCE);
    let (mut new, mut old) = (BTreeSet::new(), BTreeSet::new());
    let mut rest: BTreeMap<NodeName, Vec<String>> = BTreeMap::new();
    while let Some((swap, seen)) = looks.next().await {
        match seen.map(|look| side(&swap, &look.running)) {
            Ok(Side::New) => drop(new.insert(swap.node)),
            Ok(Side::Old) => drop(old.insert(swap.node)),
            Ok(Side::Other(words)) => rest.entry(swap.node).or_default().push(words),
            Err(why) => rest.entry(swap.node).or_default().push(format!("could not be looked at: {why}")),
        }
    }
    // A node with several swaps may be new in one part and old in another, or not begun.
    let both: BTreeSet<NodeName> = new.iter().filter(|n| old.contains(*n) || left.contains(n)).cloned().collect();
    let clean = |side: BTreeSet<NodeName>| -> Vec<NodeName> {
        side.into_iter().filter(|n| !both.contains(n) && !rest.contains_key(n)).collect()
    };
    let (new, old) = (clean(new), clean(old));
    let fold = |nodes: &[NodeName]| fold_names(nodes.iter().map(NodeName::as_str));
    let mut parts = Vec::new();
    for (word, nodes) in [("the new version runs on", &new), ("the old version runs on", &old)] {
        if !nodes.is_empty() {
            parts.push(format!("{word} {}", fold(nodes)));
        }
    }
    let both: Vec<NodeName> = both.into_iter().filter(|n| !rest.contains_key(n)).collect();
    if !both.is_empty() {
        parts.push(format!("some components are new and some old on {}", fold(&both)));
    }
    parts.extend(rest.into_iter().map(|(node, words)| format!("{node}: {}", words.join(", "))));
    if !left.is_empty() {
        let untouched: BTreeSet<&NodeName> = left.iter().filter(|n| !reached.contains(*n)).collect();
        let nodes = match untouched.is_empty() {
            true => String::new(),
            false => format!("; nothing was touched on {}", fold_names(untouched.iter().map(|n| n.as_str()))),
        };
        parts.push(format!("{} not begun{nodes}", count(left.len(), "swap was", "swaps were")));
    }
    if parts.is_empty() {
        return "no node was touched".into();
    }
    format!("as seen at {}: {}", clock(now), parts.join("; "))
}

/// What runs under each of a swap's names, in words.
pub(super) fn words(swap: &Swap, look: &Look) -> String {
    let mut parts: Vec<String> = Vec::new();
    for change in &swap.changes {
        let name = &change.container;
        parts.push(match look.running.iter().find(|r| r.container == *name) {
            Some(r) if r.running => format!("{name} runs {}", r.image.short()),
            Some(r) => format!("{name} is {} and does not run", r.image.short()),
            None => format!("{name} is not there"),
        });
    }
    parts.extend(look.leftovers.iter().map(|left| format!("{left} is left over")));
    parts.join(", ")
}

/// What one node runs of a swap's components.
enum Side {
    New,
    Old,
    Other(String),
}

fn side(swap: &Swap, running: &[Running]) -> Side {
    let (mut new, mut old) = (0, 0);
    let mut odd = Vec::new();
    for change in &swap.changes {
        match running.iter().find(|r| r.container == change.container) {
            Some(r) if r.running && r.image == change.to && change.to != change.from => new += 1,
            Some(r) if r.running && r.image == change.from && change.to != change.from => old += 1,
            // Only its arguments change: the container tells.
            Some(r) if r.running && r.image == change.to && r.id == change.from_id => old += 1,
            Some(r) if r.running && r.image == change.to => new += 1,
            Some(r) if r.running => odd.push(format!("{} runs {}", change.container, r.image.short())),
            Some(_) => odd.push(format!("{} does not run", change.container)),
            None => odd.push(format!("{} is not there", change.container)),
        }
    }
    match (odd.is_empty(), new, old) {
        (true, _, 0) => Side::New,
        (true, 0, _) => Side::Old,
        (true, _, _) => Side::Other("some components are new and some old".into()),
        _ => Side::Other(odd.join(", ")),
    }
}

/// A time of day, as screens and reports say it.
pub(super) fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change() -> Change {
        Change {
            component: Component::Rivers,
            container: "rivers".parse().unwrap(),
            from: "r.example/rivers:1.34.0".parse().unwrap(),
            from_id: "old".into(),
            to: "r.example/rivers:1.36.0".parse().unwrap(),
            args: Default::default(),
        }
    }

    fn running(id: &str, image: &str, running: bool) -> Running {
        Running {
            container: "rivers".parse().unwrap(),
            id: id.into(),
            image: format!("r.example/rivers:{image}").parse().unwrap(),
            image_id: format!("sha256:{image}"),
            running,
            started: Some("2026-11-29T12:03:07Z".parse().unwrap()),
            restarts: 0,
            args: Vec::new(),
        }
    }

    #[test]
    fn what_differs_is_said_in_words() {
        let kept = Kept { id: "new".into(), image_id: "sha256:1.36.0".into(), started: None, restarts: 0 };
        let said = |here: Option<Running>| differs(&change(), Some(&kept), here.as_ref()).map(|(_, why)| why);
        assert_eq!(said(Some(running("new", "1.36.0", true))), None);
        assert_eq!(
            said(Some(running("x", "1.34.0", true))).unwrap(),
            "rivers runs 1.34.0 again; made anew at 12:03:07"
        );
        assert_eq!(said(Some(running("x", "1.36.0", true))).unwrap(), "rivers runs 1.36.0; made anew at 12:03:07");
        assert!(said(Some(running("new", "1.36.0", false))).unwrap().starts_with("rivers was stopped"));
        assert_eq!(said(None).unwrap(), "rivers is not there any more");
        // Nobody looked at the commit: the image is all that can be compared.
        let blind = |here: Running| differs(&change(), None, Some(&here)).map(|(kind, _)| kind);
        assert_eq!(blind(running("any", "1.36.0", true)), None);
        assert_eq!(blind(running("any", "1.34.0", true)), Some(Kind::MadeAnew));
    }
}
