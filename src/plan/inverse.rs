//! The way back: a plan that takes back what a run did, in the inverse order.
//!
//! Walked backwards, a plan passes through the states that it came through, so that the version-skew policy holds on the way:
//! workers before the API servers, the API servers before etcd. Three things are not simply turned round: the canaries are
//! first again, whoever leads now is last again, and etcd does not go back over a minor that all its members have taken.

use super::backwards::{canary_phase_first, leaders_last, renumber, soak};
use super::findings::{Findings, NOTHING};
use super::hazards::RESTARTS;
use super::make::prefetch;
use super::preflight::{check_control_plane, check_limits, check_skew};
use super::select::{broken, check_scope, fit};
use super::skew::{BadStep, bad_step};
use super::{ArgEdit, Bump, Change, FORMAT, Phase, Plan, Scope, Severity, Swap, Wave};
use super::{Facts, Fingerprint, estimate, hazards, proving, snapshot};
use crate::fleet::{Cluster, Component, Image, Node, NodeName, RackName, RunId, SwapId};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Makes the plan that takes back what `run` did: of `plan`, the swaps that are `done`, as far as `scope` reaches and the
/// cluster as it is `now` still has them. Limits, budget and gates are those of `plan`.
///
/// Never fails: what cannot go back is a finding, as in [`make`](super::make).
pub fn inverse(run: &RunId, plan: &Plan, done: &BTreeSet<SwapId>, scope: &Scope, now: &Cluster, at: Timestamp) -> Plan {
    // What was taken as it is on the way there is taken so on the way back; but that containers restart once more is a decision of its
    // own.
    let taken = plan.findings.iter().filter(|f| f.acknowledgeable && f.severity == Severity::Warning);
    let taken = taken.filter(|f| f.code != RESTARTS);
    let codes: BTreeSet<String> = taken.map(|f| f.code.clone()).collect();
    let mut findings = Findings::acknowledging(&codes.into_iter().collect::<Vec<_>>());
    check_limits(&plan.limits, &mut findings);
    check_scope(now, scope, &mut findings);
    let mut way = Way::new(plan, done, scope, now, &mut findings);
    let back = plan.phases.iter().rev().filter_map(|p| way.back(p, done, &mut findings)).collect();
    let mut phases = canary_phase_first(back, plan.limits.canary);
    phases.iter_mut().filter(|p| p.kind.of_workers()).for_each(|p| way.pace(&mut p.waves));
    soak(&mut phases, plan.limits.soak_ms);
    proving::prove(&mut phases, &plan.limits, &Facts::default());
    renumber(&mut phases);
    snapshot::before_etcd_goes_back(now, &plan.phases, &mut phases);
    check_versions(&phases, &mut findings);
    check_control_plane(now, &phases, &mut findings);
    check_skew(now, &phases, &mut findings);
    hazards::hazards(&phases, false, &mut findings);
    if let Some(prefetch) = prefetch(&phases) {
        phases.insert(0, prefetch);
    } else {
        let text = "there is nothing to take back: no node in scope has anything of that run that can go back";
        findings.add(Severity::Info, "nothing-to-do", text, "");
    }
    Plan {
        format: FORMAT,
        created: at,
        release: None,
        rollback_of: Some(run.clone()),
        excluded: scope.exclude.clone(),
        asked: None,
        bumps: bumps(&phases),
        limits: plan.limits.clone(),
        budget: plan.budget.clone(),
        components: plan.components.clone(),
        findings: findings.finish().into_iter().filter(|f| f.code != NOTHING).collect(),
        notes: Vec::new(),
        coverage: None,
        estimate: estimate::estimate(now, &Facts::default(), &phases, &plan.limits),
        phases,
        comparison: None,
        fingerprint: Fingerprint::of(now),
        cluster: now.clone(),
        seal: None,
    }
}

/// How far the way back has been walked.
struct Way<'a> {
    plan: &'a Plan,
    now: &'a Cluster,
    /// The nodes that take part.
    nodes: BTreeMap<&'a NodeName, &'a Node>,
    /// How many more nodes of a rack may be away.
    room: BTreeMap<&'a RackName, usize>,
    /// What runs where once all that was walked so far has gone back.
    runs: BTreeMap<(&'a NodeName, Component), Image>,
    /// What stays as it is: an earlier hop of it stays too.
    stays: BTreeSet<(&'a NodeName, Component)>,
    /// What takes a swap's changes of arguments back, by swap and component.
    args: HashMap<(&'a SwapId, Component), ArgsBack>,
    /// The minors that etcd's cluster version was raised to.
    etcd_raised: BTreeSet<(u32, u32)>,
}

impl<'a> Way<'a> {
    fn new(
        plan: &'a Plan,
        done: &BTreeSet<SwapId>,
        scope: &Scope,
        now: &'a Cluster,
        findings: &mut Findings,
    ) -> Way<'a> {
        let swaps = || plan.swaps().map(|(_, _, s)| s).filter(|s| done.contains(&s.id));
        let mut involved: BTreeMap<&NodeName, &Node> = BTreeMap::new();
        for swap in swaps() {
            match now.nodes.get(&swap.node) {
                Some(node) if scope.takes(node) => drop(involved.insert(&node.name, node)),
                Some(_) => {}
                None => {
                    let text = "the node is gone from the cluster; there is nothing to take back on it";
                    findings.on(&swap.node, Severity::Warning, "node-gone", text, "");
                }
            }
        }
        let mut room: BTreeMap<&RackName, usize> = BTreeMap::new();
        for node in now.nodes.values() {
            let left = room.entry(&node.rack).or_insert(plan.limits.max_unavailable);
            *left = left.saturating_sub(usize::from(broken(node)));
        }
        let nodes = fit(involved.into_values(), findings).into_iter().map(|n| (&n.name, n)).collect();
        let runs = now.nodes.values().flat_map(|n| n.components.iter().map(move |(c, r)| ((&n.name, *c), &r.image)));
        let runs = runs.map(|(key, image)| (key, image.clone())).collect();
        let raising = swaps().filter(|s| s.no_return.is_some()).flat_map(|s| &s.changes);
        let etcd_raised = raising.filter(|c| c.component == Component::Etcd).filter_map(|c| c.to.version());
        let etcd_raised = etcd_raised.map(|v| v.minor_of()).collect();
        Way { plan, now, nodes, room, runs, stays: BTreeSet::new(), args: args_back(plan), etcd_raised }
    }

    /// A phase, turned round; none where nothing of it goes back.
    fn back(&mut self, phase: &Phase, done: &BTreeSet<SwapId>, findings: &mut Findings) -> Option<Phase> {
        let mut waves = Vec::new();
        for wave in phase.waves.iter().rev() {
            let swaps = wave.swaps.iter().rev().filter(|s| done.contains(&s.id));
            let swaps: Vec<Swap> = swaps.filter_map(|s| self.swap_back(s, findings)).collect();
            if !swaps.is_empty() {
                waves.push(Wave { swaps, title: wave.title.clone(), gates: wave.gates.clone(), ..*wave });
            }
        }
        if !phase.kind.of_workers() {
            leaders_last(&self.now.leaders, phase.kind, &mut waves);
        }
        (!waves.is_empty()).then_some(Phase {
            kind: phase.kind,
            hop: phase.hop.clone(),
            pulls: Vec::new(),
            snapshot: None,
            etcdctl: None,
            waves,
        })
    }

    /// A swap, turned round: whole, or not at all.
    fn swap_back(&mut self, swap: &Swap, findings: &mut Findings) -> Option<Swap> {
        let node = *self.nodes.get(&swap.node)?;
        let changes = match self.changes_back(swap, node, findings) {
            Ok(changes) if changes.is_empty() => return None,
            Ok(_) if !node.master && self.room.get(&node.rack) == Some(&0) => {
                let text =
                    format!("as many nodes of {} are down as may be, so its other nodes are left out", node.rack);
                let mend = "bring nodes back, then plan again";
                findings.on(&node.name, Severity::Warning, "rack-full", text, mend);
                None
            }
            Ok(changes) => Some(changes),
            Err(Stays { code, why, mend }) => {
                let text = format!("{why}; what that swap did is left as it is");
                findings.on(&node.name, Severity::Warning, code, text, mend);
                None
            }
        };
        let Some(changes) = changes else {
            self.stays.extend(swap.changes.iter().map(|c| (&node.name, c.component)));
            return None;
        };
        for change in &changes {
            self.runs.insert((&node.name, change.component), change.to.clone());
        }
        let deadlines = changes.iter().filter_map(|c| self.plan.components.get(&c.component)).map(|c| c.deadline_ms);
        let deadline_ms = deadlines.min().unwrap_or(swap.deadline_ms);
        Some(Swap { id: swap.id.clone(), node: swap.node.clone(), changes, deadline_ms, no_return: None })
    }

    /// A swap's changes, turned round; those that are back already are left out.
    ///
    /// # Errors
    /// When somebody else has changed something since, or the old arguments are not known any more.
    fn changes_back(&mut self, swap: &Swap, node: &'a Node, findings: &mut Findings) -> Result<Vec<Change>, Stays> {
        let mut changes = Vec::new();
        for change in &swap.changes {
            let component = change.component;
            let place = (&node.name, component);
            if self.stays.contains(&place) {
                continue;
            }
            let (Some(running), Some(image)) = (node.components.get(&component), self.runs.get(&place)) else {
                return Err(Stays::changed(format!("the container of {component} is gone since")));
            };
            if *image == change.from {
                continue;
            }
            if *image != change.to {
                return Err(Stays::changed(format!("{component} runs {} since", image.short())));
            }
            if running.container != change.container {
                return Err(Stays::changed(format!("{component} runs in the container {} since", running.container)));
            }
            if !running.running {
                return Err(Stays::changed(format!("the container of {component} does not run")));
            }
            if component == Component::Etcd && !self.etcd_may_go_back(change, node, findings) {
                self.stays.insert(place);
                continue;
            }
            let args = self.args.get(&(&swap.id, component));
            if let Some(lost) = args.map(|a| &a.lost).filter(|lost| !lost.is_empty()) {
                return Err(Stays::lost(component, lost));
            }
            changes.push(Change {
                component,
                container: change.container.clone(),
                from: change.to.clone(),
                // Of several steps back only the first starts from the container that runs now.
                from_id: if running.image == *image { running.id.clone() } else { String::new() },
                to: change.from.clone(),
                args: args.map(|a| a.edits.clone()).unwrap_or_default(),
            });
        }
        Ok(changes)
    }

    /// etcd goes back over a minor only while one of its members is known to have stayed behind: then the cluster version was
    /// not raised yet.
    fn etcd_may_go_back(&self, change: &Change, node: &Node, findings: &mut Findings) -> bool {
        let (Some(from), Some(to)) = (change.from.version(), change.to.version()) else {
            let text = "whether etcd may go back cannot be told: its tags state no version; it stays as it is";
            findings.on(&node.name, Severity::Warning, "no-return", text, ETCD);
            return false;
        };
        let behind = |n: &Node| {
            let member = n.components.get(&Component::Etcd).and_then(|r| r.image.version());
            member.is_some_and(|v| v.minor_of() < to.minor_of())
        };
        let raised = self.etcd_raised.contains(&to.minor_of());
        if from.minor_of() >= to.minor_of() || (!raised && self.now.masters().any(behind)) {
            return true;
        }
        let (major, minor) = to.minor_of();
        let text = format!(
            "etcd stays on {}: with its last member on {major}.{minor} it raised its cluster version, and an older member \
             cannot join any more",
            change.to.short()
        );
        findings.on(&node.name, Severity::Warning, "no-return", text, ETCD);
        false
    }

    /// Within the limits as the racks are now.
    fn pace(&self, waves: &mut [Wave]) {
        for wave in waves {
            let mut in_rack: BTreeMap<&RackName, usize> = BTreeMap::new();
            for node in wave.swaps.iter().filter_map(|s| self.nodes.get(&s.node)) {
                *in_rack.entry(&node.rack).or_default() += 1;
            }
            let room = |rack: &RackName| self.room.get(rack).copied().unwrap_or(1).max(1);
            let tight = in_rack.iter().filter(|(rack, n)| **n > room(rack)).map(|(rack, _)| room(rack)).min();
            let most = wave.max_parallel.max(1).min(self.plan.limits.max_parallel.max(1));
            wave.max_parallel = most.min(tight.unwrap_or(usize::MAX));
        }
    }
}

/// Why a swap is not turned round.
struct Stays {
    code: &'static str,
    why: String,
    mend: &'static str,
}

impl Stays {
    /// Somebody else has changed something since: it is left to him.
    fn changed(why: String) -> Stays {
        Stays { code: "changed-since", why, mend: "look at what changed it" }
    }

    /// Plans keep no values that may be secret, and the container that had them is gone.
    fn lost(component: Component, flags: &[String]) -> Stays {
        let why = format!(
            "the old value of {} of {component} may be a secret, so no plan has it, and the old container is gone",
            flags.join(", ")
        );
        Stays { code: "argument-lost", why, mend: "make the container anew with what deploys it, in its old version" }
    }
}

/// What takes a change of arguments back.
struct ArgsBack {
    edits: Vec<ArgEdit>,
    /// Flags whose values were masked, and cannot come back.
    lost: Vec<String>,
}

/// What takes the plan's changes of arguments back: each swap's, from the arguments that it began with.
fn args_back(plan: &Plan) -> HashMap<(&SwapId, Component), ArgsBack> {
    let mut back = HashMap::new();
    let mut edited: HashMap<(&NodeName, Component), Vec<String>> = HashMap::new();
    for (_, _, swap) in plan.swaps() {
        for change in swap.changes.iter().filter(|c| !c.args.is_empty()) {
            let running = plan.cluster.nodes.get(&swap.node).and_then(|n| n.components.get(&change.component));
            let args = edited
                .entry((&swap.node, change.component))
                .or_insert_with(|| running.map(|r| r.args.clone()).unwrap_or_default());
            let (edits, lost) = (ArgEdit::undo(&change.args, args), ArgEdit::lost(&change.args, args));
            back.insert((&swap.id, change.component), ArgsBack { edits, lost });
            *args = ArgEdit::apply_all(&change.args, args);
        }
    }
    back
}

/// What going back with etcd all the same would take, and why nothing else has to wait for it.
const ETCD: &str = "kube-apiserver of either version works with it; etcd's own way back is a procedure of its own: \
                    https://etcd.io/docs/latest/downgrades/";

/// Each change by itself. Down is what a rollback is for; over a minor that must not be skipped is as wrong as up.
fn check_versions(phases: &[Phase], findings: &mut Findings) {
    let swaps = phases.iter().flat_map(|p| &p.waves).flat_map(|w| &w.swaps);
    for (node, change) in swaps.flat_map(|s| s.changes.iter().map(move |c| (&s.node, c))) {
        let component = change.component;
        let (Some(from), Some(to)) = (change.from.version(), change.to.version()) else {
            let text = format!(
                "the tags of {component} state no version: whether {} may follow {} is not known",
                change.to, change.from
            );
            findings.on(node, Severity::Warning, "version-unknown", text, "use tags that begin with the version");
            continue;
        };
        if bad_step(component, (&from).min(&to), (&from).max(&to)) == Some(BadStep::SkipsMinor) {
            let text =
                format!("{component} would skip a minor version from {} to {}", change.from.short(), change.to.short());
            findings.on(node, Severity::Error, "minor-skipped", text, "go back one minor version after the other");
        }
        if component == Component::KubeApiserver && to.minor_of() < from.minor_of() {
            let ((_, new), (major, old)) = (from.minor_of(), to.minor_of());
            let text = format!(
                "kube-apiserver goes back from {major}.{new} to {major}.{old}, which cannot read what only {major}.{new} \
                 stores"
            );
            let mend = "upstream keeps this way open for all but what uses something new of the newer minor \
                        (https://kubernetes.io/docs/reference/using-api/deprecation-policy/, rule 4b): see that nothing does";
            findings.on(node, Severity::Warning, "apiserver-back", text, mend);
        }
    }
}

/// What each component goes back to; where nodes differ, what most of them go back to.
fn bumps(phases: &[Phase]) -> Vec<Bump> {
    let mut count: BTreeMap<Component, BTreeMap<&Image, usize>> = BTreeMap::new();
    for change in phases.iter().flat_map(|p| &p.waves).flat_map(|w| &w.swaps).flat_map(|s| &s.changes) {
        *count.entry(change.component).or_default().entry(&change.to).or_default() += 1;
    }
    let most =
        |images: BTreeMap<&Image, usize>| images.into_iter().max_by_key(|(_, n)| *n).map(|(image, _)| image.clone());
    count.into_iter().filter_map(|(component, images)| Some(Bump { component, to: most(images)? })).collect()
}

#[cfg(test)]
#[path = "inverse_tests.rs"]
mod tests;
