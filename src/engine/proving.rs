//! Looks at the pods of swapped nodes until they are proved, and waits for it where the plan, or the end of the run, demands it.

use super::patience::patiently;
use super::proof::{Judged, Pending};
use super::shared::Shared;
use super::waiting::Waiting;
use crate::fleet::{NodeName, PodProof, SwapId, fold_names};
use crate::journal::{Event, JournalError, Run};
use crate::k8s::ClusterError;
use futures::{StreamExt, stream};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How the gate that waits for proofs is called in the journal.
pub(super) const PROVED: &str = "pods proved";
/// How the last look at pods is called in the journal, when it has to be waited for.
pub(super) const PODS: &str = "pods after the soak";

/// Nodes whose pods are listed at once.
const AT_ONCE: usize = 16;
/// How long the API may be away for one node; it is asked again then.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at whether a proof needs one.
const TICK: Duration = Duration::from_secs(1);
/// Between two looks at one node's pods: this at first, then twice as long each time. What a new kubelet decides is announced in
/// events within a second of its start.
const SOON: Duration = Duration::from_secs(2);
/// And never longer than this.
const LATER: Duration = Duration::from_secs(30);
/// A proof that is so long overdue has met an API that does not answer.
const OVERDUE: Duration = Duration::from_secs(10);

/// When a proof needs its next look, by this engine's own clock: that of the machine may be set while it waits.
struct Watch {
    since: jiff::Timestamp,
    due: Instant,
    next: Instant,
    between: Duration,
}

impl Watch {
    fn new(pending: &Pending, now: jiff::Timestamp) -> Watch {
        let gone = u64::try_from(now.duration_since(pending.since).as_millis()).unwrap_or(0);
        let at = Instant::now();
        let due = at + Duration::from_millis(pending.ms.saturating_sub(gone));
        Watch { since: pending.since, due, next: at, between: SOON }
    }

    /// It was looked at just now.
    fn looked(&mut self) {
        let now = Instant::now();
        self.next = now + self.between;
        self.between = (self.between * 2).min(LATER);
        if self.next > self.due && now < self.due {
            self.next = self.due;
        }
    }
}

/// Proves whatever is pending, for as long as it is polled.
pub(super) async fn keep_proving(shared: Arc<Shared>) -> Result<(), JournalError> {
    let mut watches: HashMap<SwapId, Watch> = HashMap::new();
    loop {
        let pending = shared.log.proofs(|proofs| proofs.pending());
        watches.retain(|swap, watch| pending.iter().any(|p| p.swap == *swap && p.since == watch.since));
        let clock = shared.log.now();
        let mut asked = Vec::new();
        for p in pending {
            let watch = watches.entry(p.swap.clone()).or_insert_with(|| Watch::new(&p, clock));
            if Instant::now() >= watch.next {
                asked.push((p.swap, p.node));
            }
        }
        let mut looks = listed(&shared, asked);
        while let Some((swap, _, began, pods)) = looks.next().await {
            let Some(watch) = watches.get_mut(&swap) else { continue };
            watch.looked();
            match pods {
                Ok(pods) => {
                    shared.judge(&swap, &pods).await?;
                    if began >= watch.due {
                        proved(&shared, &swap).await?;
                    }
                }
                Err(error) => tracing::debug!("{swap}: its pods cannot be compared: {error}"),
            }
        }
        drop(looks);
        sleep(TICK).await;
    }
}

type Listed = (SwapId, NodeName, Instant, Result<Vec<PodProof>, ClusterError>);

/// Lists the pods of these nodes, some at once; with the time at which each was asked.
fn listed(shared: &Shared, swaps: Vec<(SwapId, NodeName)>) -> impl futures::Stream<Item = Listed> + Unpin + Send + '_ {
    let looks = swaps.into_iter().map(|(swap, node)| async move {
        let began = Instant::now();
        let pods = patiently(PATIENCE, || shared.ports.cluster.pods(&node)).await;
        (swap, node, began, pods)
    });
    // Made beforehand: a closure over references would make the whole future one that cannot move between threads.
    let looks: Vec<_> = looks.collect();
    Box::pin(stream::iter(looks).buffered(AT_ONCE))
}

/// The pods were compared late enough.
async fn proved(shared: &Shared, swap: &SwapId) -> Result<(), JournalError> {
    let limits = &shared.plan.limits;
    let counted = shared.log.proofs(|proofs| proofs.of(swap).map(|p| (p.node.clone(), p.proved(limits))));
    let Some((node, (undisturbed, unproved))) = counted else { return Ok(()) };
    shared.log.write(Event::PodsProved { swap: swap.clone(), node, undisturbed, unproved }).await
}

impl Shared {
    /// Judges the pods of a swap's node by what the API has recorded of them too, and writes down what is new.
    pub(super) async fn judge(&self, swap: &SwapId, pods: &[PodProof]) -> Result<Judged, JournalError> {
        let uids = self.log.proofs(|proofs| proofs.of(swap).map(|p| p.uids())).unwrap_or_default();
        let events = self.pod_events(&uids).await?;
        let judged = self.log.judge(swap, pods, events.as_deref(), self.elsewhere.restarts()).await?;
        if judged.is_news() {
            // Whoever waits looks whether the run must pause.
            self.wish.send_modify(|_| ());
        }
        Ok(judged)
    }
}

/// What the run still waits for before it may go on: how long, and why in words. `own`: the present wave's pods too.
pub(super) fn unproved(shared: &Shared, own: bool) -> Option<(Duration, String)> {
    let now = shared.log.now();
    let (due, waves, nodes, pods) = shared.log.with(|run, _| {
        let here = run.phase.zip(run.wave);
        let mut found = (None, BTreeMap::new(), BTreeSet::new(), 0usize);
        for (swap, pending) in &run.pods.pending {
            let Some(view) = run.swap(swap).filter(|s| !s.state.open()) else { continue };
            let place = (view.phase, view.wave);
            if !own && Some(place) == here {
                continue;
            }
            found.0 = found.0.max(Some(pending.due));
            found.1.insert(place, title(run, place));
            found.2.insert(pending.node.clone());
            found.3 += pending.pods;
        }
        found
    });
    let due = due?;
    let left = Duration::from_millis(u64::try_from(due.duration_since(now).as_millis()).unwrap_or(0));
    let waves: Vec<String> = waves.into_values().collect();
    let nodes = fold_names(nodes.iter().map(NodeName::as_str));
    let pods = crate::fleet::count(pods, "pod", "pods");
    let at = due.strftime("%H:%M:%S");
    Some((left, format!("pods of {} proved until {at} UTC ({pods} on {nodes})", waves.join(" and "))))
}

/// A wave as people call it. Those of a ramp are called waves already.
fn title(run: &Run, (phase, wave): (usize, usize)) -> String {
    let title = run.plan.phases.get(phase).and_then(|p| p.waves.get(wave)).map_or("", |w| w.title.as_str());
    if title.starts_with("wave ") { title.to_owned() } else { format!("wave {title}") }
}

/// Waits for proofs, as one gate.
#[derive(Default)]
pub(super) struct ProofGate {
    since: Option<Instant>,
    /// Since when the proofs are overdue.
    overdue: Option<Instant>,
}

impl ProofGate {
    /// Tells what is waited for; true once nothing is any more.
    pub(super) fn holds(&mut self, shared: &Shared, waiting: &mut Waiting, own: bool) -> Result<bool, JournalError> {
        let overridden = shared.log.with(|run, _| run.overridden(PROVED));
        let Some((left, why)) = unproved(shared, own).filter(|_| !overridden) else {
            waiting.held(PROVED);
            *self = ProofGate::default();
            return Ok(true);
        };
        let now = Instant::now();
        let begun = *self.since.get_or_insert(now);
        self.overdue = self.overdue.or(Some(now)).filter(|_| left.is_zero());
        if self.overdue.is_some_and(|since| now - since > OVERDUE) {
            waiting.closed(shared, PROVED, &format!("{why}, and cannot be compared"), shared.gate_timeout())?;
        } else {
            let ms = u64::try_from((now - begun + left).as_millis()).unwrap_or(u64::MAX);
            waiting.on(shared, PROVED, &why, Some(ms))?;
        }
        Ok(false)
    }
}

/// Compares the pods of the present wave's committed swaps once more, after its soak.
///
/// What is found counts as any other disturbed pod: whether it is enough to stop the run is for the budget to say.
///
/// # Errors
/// In words, when a node's pods cannot be listed: what was found elsewhere is written down.
pub(super) async fn compare_wave(shared: &Shared) -> Result<Result<(), String>, JournalError> {
    let place = shared.log.with(|run, _| run.phase.zip(run.wave));
    compare(shared, |run, swap| run.swap(swap).map(|s| (s.phase, s.wave)) == place).await
}

/// Compares the pods of every swap that has a result once more: before the run ends.
///
/// # Errors
/// As [`compare_wave`].
pub(super) async fn compare_all(shared: &Shared) -> Result<Result<(), String>, JournalError> {
    compare(shared, |_, _| true).await
}

async fn compare(shared: &Shared, which: impl Fn(&Run, &SwapId) -> bool) -> Result<Result<(), String>, JournalError> {
    let mut swaps = shared.log.proofs(|proofs| proofs.ended());
    shared.log.with(|run, _| swaps.retain(|(swap, _)| which(run, swap)));
    let mut result = Ok(());
    let mut looks = listed(shared, swaps);
    while let Some((swap, node, _, pods)) = looks.next().await {
        match pods {
            Ok(pods) => drop(shared.judge(&swap, &pods).await?),
            Err(error) => result = Err(format!("the pods of {node} cannot be compared: {error}")),
        }
    }
    Ok(result)
}

/// Before a run ends: every proof is waited for, then every pod is compared once more.
#[derive(Default)]
pub(super) struct LastLook {
    waiting: Waiting,
    gate: ProofGate,
    compared: bool,
}

impl LastLook {
    /// Looks once; true when the run may end. To be asked again after a while until then.
    pub(super) async fn over(&mut self, shared: &Shared) -> Result<bool, JournalError> {
        if !self.gate.holds(shared, &mut self.waiting, true)? {
            return Ok(false);
        }
        if self.compared || shared.log.with(|run, _| run.overridden(PODS)) {
            self.waiting.over(shared)?;
            return Ok(true);
        }
        match compare_all(shared).await? {
            Ok(()) => {
                self.compared = true;
                self.waiting.over(shared)?;
                // What was found may have to pause the run first.
                Ok(!shared.must_pause())
            }
            Err(why) => {
                self.waiting.closed(shared, PODS, &why, shared.gate_timeout())?;
                Ok(false)
            }
        }
    }
}
