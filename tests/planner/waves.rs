//! The waves of the workers, judged from what README.md says of them: who is in which, how many, and in which order.

use crate::random::Case;
use sonoba::fleet::{Node, NodeName};
use sonoba::plan::{Phase, PhaseKind, Plan, Stage, WaveKind};
use std::collections::{BTreeMap, BTreeSet};

/// The workers of each hop: its canary stands in a phase of its own where masters' kubelets follow it.
fn hops(plan: &Plan) -> Vec<Phase> {
    let mut hops: Vec<Phase> = Vec::new();
    for phase in plan.phases.iter().filter(|p| p.kind.of_workers()) {
        match hops.last_mut().filter(|last| last.hop == phase.hop && last.kind == PhaseKind::Canary) {
            Some(canary) => canary.waves.extend(phase.waves.iter().cloned()),
            None => hops.push(phase.clone()),
        }
    }
    hops
}

/// The first rule that a hop's waves break, in words.
pub fn check(case: &Case, plan: &Plan) -> Result<(), String> {
    for phase in hops(plan) {
        let phase = &phase;
        let waves: Vec<Vec<&Node>> =
            phase.waves.iter().map(|w| w.swaps.iter().map(|s| &case.cluster.nodes[&s.node]).collect()).collect();
        let mut seen: BTreeSet<&NodeName> = BTreeSet::new();
        for node in waves.iter().flatten() {
            if !seen.insert(&node.name) {
                return Err(format!("{} is in two waves", node.name));
            }
            let scope = &case.stage.scope;
            let has = |label| node.labels.contains(label);
            if !scope.labels.iter().all(has) || scope.exclude.contains(&node.name) {
                return Err(format!("{} was not selected", node.name));
            }
        }
        order(case, &waves)?;
        let pinned: Vec<&NodeName> = waves.last().into_iter().flatten().map(|n| &n.name).collect();
        let last = pinned.iter().any(|n| case.stage.last.contains(n));
        if last && !pinned.iter().all(|n| case.stage.last.contains(n)) {
            return Err("those that are pinned last share a wave with others".into());
        }
        let mut others = if last { waves[..waves.len() - 1].to_vec() } else { waves.clone() };
        // What the canary has no place for of those that are pinned first has a wave of its own.
        let all_first = |wave: &[&Node]| wave.iter().all(|n| case.stage.first.contains(&n.name));
        let overflow = phase.waves.get(1).is_some_and(|w| w.title.ends_with("pinned first"));
        if overflow && !(all_first(&waves[0]) && all_first(&waves[1])) {
            return Err("those that are pinned first share a wave with others".into());
        }
        match &case.stage.limits.ramp {
            Some(_) if overflow => {
                // The ramp goes on after them as if they were part of the canary.
                let pinned = others.remove(1);
                others[0].extend(pinned);
                grown(&case.stage, phase, &others, true)?;
            }
            Some(_) => grown(&case.stage, phase, &others, false)?,
            None => by_rack(case, phase, &others)?,
        }
        if let Some(canary) = others.first().filter(|_| phase.waves[0].kind == WaveKind::Canary) {
            spread(case, canary, &others)?;
        }
    }
    Ok(())
}

/// First those that are pinned first, in their order, then everybody, then those that are pinned last.
fn order(case: &Case, waves: &[Vec<&Node>]) -> Result<(), String> {
    let all: Vec<&NodeName> = waves.iter().flatten().map(|n| &n.name).collect();
    let moving = |pins: &[NodeName]| -> Vec<NodeName> { pins.iter().filter(|p| all.contains(p)).cloned().collect() };
    let (first, last) = (moving(&case.stage.first), moving(&case.stage.last));
    let front: Vec<NodeName> = all.iter().take(first.len()).map(|n| (*n).clone()).collect();
    let end: Vec<NodeName> = all.iter().skip(all.len() - last.len()).map(|n| (*n).clone()).collect();
    if front != first || end != last {
        return Err(format!("the pins {first:?} and {last:?} are not kept in {all:?}"));
    }
    Ok(())
}

/// A canary of the size that was asked for, then what it left of the pins, then a wave a rack.
fn by_rack(case: &Case, phase: &Phase, waves: &[Vec<&Node>]) -> Result<(), String> {
    let all = waves.iter().flatten().count();
    let wanted = case.stage.limits.canary.min(all);
    let canary = phase.waves.first().filter(|w| w.kind == WaveKind::Canary).map_or(0, |w| w.swaps.len());
    if canary != wanted {
        return Err(format!("the canary has {canary} nodes of {wanted}"));
    }
    let mut racks = BTreeSet::new();
    for (wave, nodes) in phase.waves.iter().zip(waves).filter(|(w, _)| w.kind == WaveKind::Rack) {
        let here: BTreeSet<_> = nodes.iter().map(|n| &n.rack).collect();
        if here.len() != 1 || !racks.insert(here) {
            return Err(format!("wave {} is not the one wave of one rack", wave.title));
        }
    }
    Ok(())
}

/// Each wave has the size that its step says, read by hand from the ramp's text.
fn grown(stage: &Stage, phase: &Phase, waves: &[Vec<&Node>], overflow: bool) -> Result<(), String> {
    let ramp = stage.limits.ramp.as_ref().map(ToString::to_string).unwrap_or_default();
    let steps: Vec<&str> = ramp.split(',').collect();
    let total = waves.iter().flatten().count();
    if total > 0 && phase.waves[0].kind != WaveKind::Canary {
        return Err("the first wave of a ramp is no canary".into());
    }
    let (mut moved, mut step) = (0, 0);
    let mut waves = waves.iter().enumerate();
    if overflow {
        moved += waves.next().map_or(0, |(_, wave)| wave.len());
        step += 1;
    }
    while moved < total {
        let text = steps[step.min(steps.len() - 1)];
        step += 1;
        if let Some(percent) = text.strip_suffix('%') {
            let percent: usize = percent.parse().expect("a percentage");
            // Rounded up: the smallest number of nodes that is not less than so many of a hundred.
            let until = (0..=total).find(|n| n * 100 >= total * percent).expect("a share");
            if until <= moved {
                continue;
            }
            let (i, wave) = waves.next().ok_or("a wave is missing")?;
            moved += wave.len();
            if moved != until {
                return Err(format!("wave {i}: {moved} of {total} have moved, {text} are {until}"));
            }
            continue;
        }
        let (i, wave) = waves.next().ok_or("a wave is missing")?;
        if let Some(n) = text.strip_suffix("/rack") {
            let n: usize = n.parse().expect("a number");
            let mut here: BTreeMap<_, usize> = BTreeMap::new();
            wave.iter().for_each(|node| *here.entry(&node.rack).or_default() += 1);
            let mut later: BTreeMap<_, usize> = BTreeMap::new();
            waves.clone().flat_map(|(_, w)| w).for_each(|node| *later.entry(&node.rack).or_default() += 1);
            let fair = |rack| here.get(rack).copied().unwrap_or(0) == n;
            if here.values().any(|k| *k > n) || !later.keys().all(fair) {
                return Err(format!("wave {i}: {text} is not {here:?}, with {later:?} left"));
            }
        } else {
            let n: usize = text.parse().expect("a number");
            if wave.len() != n.min(total - moved) {
                return Err(format!("wave {i} has {} nodes of {n}", wave.len()));
            }
        }
        moved += wave.len();
    }
    if waves.next().is_some() { Err("there is a wave too many".into()) } else { Ok(()) }
}

/// What a canary can stand for.
fn faces(node: &Node) -> [String; 3] {
    let hardware = node.label("node.kubernetes.io/instance-type").unwrap_or_default();
    let role = node.role.as_ref().map(ToString::to_string).unwrap_or_default();
    [format!("rack {}", node.rack), format!("role {role}"), format!("hardware {hardware}")]
}

/// No canary is wasted: while a rack, a role or a hardware has none, each canary that was chosen freely brought a new one.
fn spread(case: &Case, canary: &[&Node], waves: &[Vec<&Node>]) -> Result<(), String> {
    let met: BTreeSet<String> = canary.iter().flat_map(|n| faces(n)).collect();
    let all: BTreeSet<String> = waves.iter().flatten().flat_map(|n| faces(n)).collect();
    let free = canary.iter().filter(|n| !case.stage.first.contains(&n.name)).count();
    if met.len() < all.len() && met.len() < free {
        return Err(format!("{free} canaries meet {met:?} of {all:?}"));
    }
    Ok(())
}
