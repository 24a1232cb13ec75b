//! What holds for every plan, asked of random clusters. The checks here are written apart from the planner: they know the
//! rules, not how it follows them.

use super::samples::{image, node, running};
use super::{Bump, Limits, PhaseKind, Plan, Scope, Settings, Stage, Wave, WaveKind, make, moved, render, unfit};
use crate::fleet::{Cluster, Component, Leaders, Node, NodeName, RackName};
use jiff::Timestamp;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// What one random node is like.
#[derive(Debug, Clone)]
struct Seed {
    rack: usize,
    role: usize,
    health: u8,
    /// For each component: mostly the old release, else the new one, an odd version, stopped or missing.
    components: Vec<u8>,
}

fn seed() -> impl Strategy<Value = Seed> {
    let mostly = |odd: std::ops::Range<u8>| prop_oneof![12 => Just(0_u8), 1 => odd];
    (0..6_usize, 0..3_usize, mostly(1..5), prop::collection::vec(mostly(1..6), 8))
        .prop_map(|(rack, role, health, components)| Seed { rack, role, health, components })
}

fn make_node(name: &str, seed: &Seed, master: bool) -> Node {
    let mut node = node(name, &format!("rack{}", seed.rack), master);
    node.role = [None, Some("cs"), Some("ss")][seed.role].map(|r| r.parse().unwrap());
    match seed.health {
        1 => node.ready = false,
        2 => node.reachable = Some(false),
        3 => node.leftovers.extend(["kubelet.sonoba-prev".parse().unwrap()]),
        4 => node.leftovers.extend(["kubelet.sonoba-next".parse().unwrap()]),
        _ => {}
    }
    for (component, kind) in Component::ALL.into_iter().zip(&seed.components) {
        if component.master_only() && !master {
            continue;
        }
        let mut running = running(&node, component, &image(component, usize::from(*kind == 1)));
        match kind {
            2 => running.image = running.image.with_tag("1.33.4.1").unwrap(),
            3 => running.image = running.image.with_tag("1.37.0.1").unwrap(),
            4 => running.running = false,
            5 => continue,
            _ => {}
        }
        node.components.insert(component, running);
    }
    node
}

prop_compose! {
    pub(super) fn clusters()(
        healthy in prop::bool::weighted(0.6),
        masters in prop::collection::vec(seed(), 1..=7),
        workers in prop::collection::vec(seed(), 0..=60),
        leader in 0..7_usize,
        holder in 0..7_usize,
    ) -> Cluster {
        let mut nodes = BTreeMap::new();
        for (i, seed) in masters.iter().enumerate() {
            // Half of the clusters have a healthy control plane: else nearly every plan would be refused.
            let seed = if healthy { &Seed { health: 0, components: vec![0; 8], ..seed.clone() } } else { seed };
            let node = make_node(&format!("m{i}"), seed, true);
            nodes.insert(node.name.clone(), node);
        }
        for (i, seed) in workers.iter().enumerate() {
            let mut seed = seed.clone();
            if healthy {
                // Newer than what is staged: a downgrade, which refuses the plan as well.
                seed.components.iter_mut().filter(|kind| **kind == 3).for_each(|kind| *kind = 1);
            }
            let node = make_node(&format!("w{i}"), &seed, false);
            nodes.insert(node.name.clone(), node);
        }
        let of = |i: usize| format!("m{i}").parse::<NodeName>().ok().filter(|n| nodes.contains_key(n));
        let leaders = Leaders { etcd: of(leader), controller_manager: of(holder), scheduler: of(leader) };
        Cluster { name: "tokyo0".parse().unwrap(), nodes, leaders, salt: None }
    }
}

prop_compose! {
    pub(super) fn stages()(
        bumped in prop::collection::vec(prop::bool::weighted(0.9), 8),
        canary in 0..6_usize,
        max_parallel in 1..12_usize,
        max_unavailable in 1..6_usize,
        max_pulls in 1..30_usize,
        racks in prop_oneof![4 => Just(vec![]), 1 => Just(vec!["rack1".parse().unwrap(), "rack2".parse().unwrap()])],
    ) -> Stage {
        let bumps = Component::ALL.into_iter().zip(bumped).filter(|(_, b)| *b);
        Stage {
            release: None,
            bumps: bumps.map(|(c, _)| Bump { component: c, to: image(c, 1).parse().unwrap() }).collect(),
            scope: Scope { racks, ..Scope::default() },
            limits: Limits { canary, max_parallel, max_unavailable, soak_ms: 1_000, max_pulls, ..Limits::default() },
            ..Stage::default()
        }
    }
}

pub(super) fn planned(cluster: &Cluster, stage: &Stage) -> Plan {
    make(cluster, stage, &Settings::default(), Timestamp::UNIX_EPOCH)
}

/// The same stage, with those who are not fit to be touched left out by decision.
pub(super) fn decided(cluster: &Cluster, mut stage: Stage) -> Stage {
    stage.scope.exclude = unfit(cluster, &stage.scope);
    stage
}

pub(super) fn down(node: &Node) -> bool {
    !node.ready || node.reachable == Some(false)
}

/// A state's breaches of the skew policy, by node, component and distance; written from the policy's text, in plain minors.
pub(super) fn breaches(minors: &BTreeMap<(NodeName, Component), i64>) -> BTreeSet<(NodeName, Component, i64)> {
    let api = || minors.iter().filter(|((_, c), _)| *c == Component::KubeApiserver).map(|(_, m)| *m);
    let (Some(oldest), Some(newest)) = (api().min(), api().max()) else { return BTreeSet::new() };
    let mut found = BTreeSet::new();
    for ((node, component), &minor) in minors {
        let allowed = match component {
            Component::Kubelet | Component::KubeProxy => 3,
            Component::KubeControllerManager | Component::KubeScheduler | Component::KubeApiserver => 1,
            _ => continue,
        };
        if minor > oldest && *component != Component::KubeApiserver {
            found.insert((node.clone(), *component, minor - oldest));
        } else if newest - minor > allowed {
            found.insert((node.clone(), *component, newest - minor));
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn masters_restart_one_at_a_time_in_the_right_order(cluster in clusters(), stage in stages()) {
        let plan = planned(&cluster, &stage);
        prop_assert!(plan.phases.is_sorted_by_key(|p| p.kind), "phases are in order");
        let mut ids = BTreeSet::new();
        for (p, w, swap) in plan.swaps() {
            prop_assert!(ids.insert(swap.id.clone()));
            prop_assert!(!swap.changes.is_empty());
            let wave = &plan.phases[p].waves[w];
            let master = cluster.nodes[&swap.node].master;
            prop_assert_eq!(master, wave.kind == WaveKind::ControlPlane);
            prop_assert_eq!(master, !plan.phases[p].kind.of_workers());
            if master {
                prop_assert_eq!((wave.swaps.len(), wave.max_parallel), (1, 1));
                prop_assert!(!wave.gates.is_empty());
            }
            let shortest = swap.changes.iter().map(|c| plan.components[&c.component].deadline_ms).min();
            prop_assert_eq!(Some(swap.deadline_ms), shortest);
        }
        for phase in plan.phases.iter().filter(|p| p.kind == PhaseKind::Etcd) {
            let order: Vec<&NodeName> = phase.waves.iter().map(|w| &w.swaps[0].node).collect();
            if let Some(at) = order.iter().position(|n| Some(*n) == cluster.leaders.etcd.as_ref()) {
                prop_assert_eq!(at + 1, order.len(), "the leader is last");
            }
        }
        for phase in plan.phases.iter().filter(|p| p.kind == PhaseKind::Controllers) {
            let order: Vec<&NodeName> = phase.waves.iter().map(|w| &w.swaps[0].node).collect();
            let holders = [&cluster.leaders.scheduler, &cluster.leaders.controller_manager];
            let at = order.iter().position(|n| holders.iter().any(|h| h.as_ref() == Some(*n)));
            let all = order[at.unwrap_or(order.len())..].iter().all(|n| holders.iter().any(|h| h.as_ref() == Some(*n)));
            prop_assert!(all, "after a lease holder come only lease holders");
        }
    }

    #[test]
    fn a_plan_that_is_not_refused_keeps_quorum_and_skew(cluster in clusters(), stage in stages()) {
        let plan = planned(&cluster, &decided(&cluster, stage));
        if plan.refused() {
            return Ok(());
        }
        if plan.swaps().any(|(p, _, _)| !plan.phases[p].kind.of_workers()) {
            prop_assert!(cluster.masters().all(|m| !down(m)), "no master is down while another restarts");
        }
        let minor = |image: &crate::fleet::Image| image.version().map(|v| i64::from(v.minor));
        let mut minors = BTreeMap::new();
        for node in cluster.nodes.values() {
            for (component, running) in &node.components {
                minors.extend(minor(&running.image).map(|m| ((node.name.clone(), *component), m)));
            }
        }
        let before = breaches(&minors);
        for (_, _, swap) in plan.swaps() {
            for change in &swap.changes {
                prop_assert!(change.from.version() < change.to.version(), "up only");
                minors.insert((swap.node.clone(), change.component), minor(&change.to).unwrap());
                for (node, component, far) in breaches(&minors) {
                    let was = before.iter().any(|(n, c, f)| (n, c) == (&node, &component) && far <= *f);
                    prop_assert!(was, "{component} on {node} is {far} minors off after {}", swap.id);
                }
            }
        }
    }

    #[test]
    fn limits_hold_and_the_canary_is_first_and_spread(cluster in clusters(), stage in stages()) {
        let plan = planned(&cluster, &stage);
        let waves: Vec<Wave> = plan.phases.iter().filter(|p| p.kind.of_workers()).flat_map(|p| p.waves.clone()).collect();
        if waves.is_empty() {
            return Ok(());
        }
        let racks: BTreeSet<_> = cluster.nodes.values().map(|n| &n.rack).collect();
        let down_in = |rack: &RackName| cluster.nodes.values().filter(|n| n.rack == *rack && down(n)).count();
        for (i, wave) in waves.iter().enumerate() {
            prop_assert_eq!(wave.kind == WaveKind::Canary, i == 0 && stage.limits.canary > 0);
            let mut room = 0;
            for rack in &racks {
                let here = wave.swaps.iter().filter(|s| cluster.nodes[&s.node].rack == **rack).count();
                prop_assert!(here == 0 || down_in(rack) < stage.limits.max_unavailable, "{rack} has no room");
                room += here.min(stage.limits.max_unavailable.saturating_sub(down_in(rack)));
            }
            prop_assert_eq!(wave.max_parallel, room.min(stage.limits.max_parallel));
            let soaks = wave.gates.iter().any(|g| matches!(g, super::Gate::Soak { .. }));
            prop_assert!(soaks, "the last wave too");
        }
        if stage.limits.canary > 0 {
            let canary = &waves[0].swaps;
            let all: usize = waves.iter().map(|w| w.swaps.len()).sum();
            prop_assert_eq!(canary.len(), stage.limits.canary.min(all));
            let racks_of = |waves: &[Wave]| -> BTreeSet<&RackName> {
                waves.iter().flat_map(|w| &w.swaps).map(|s| &cluster.nodes[&s.node].rack).collect()
            };
            let (met, all) = (racks_of(&waves[..1]).len(), racks_of(&waves).len());
            prop_assert_eq!(met, canary.len().min(all), "as many racks have a canary as can");
        }
    }

    #[test]
    fn who_needs_a_change_gets_it_once_or_is_named(cluster in clusters(), stage in stages()) {
        let plan = planned(&cluster, &stage);
        let mut done: BTreeSet<(&NodeName, Component)> = BTreeSet::new();
        for (_, _, swap) in plan.swaps() {
            for change in &swap.changes {
                prop_assert!(done.insert((&swap.node, change.component)), "once only");
                let running = &cluster.nodes[&swap.node].components[&change.component];
                prop_assert_eq!((&change.from, &change.from_id), (&running.image, &running.id));
                prop_assert!(change.from != change.to);
            }
        }
        let named: BTreeSet<&NodeName> = plan.findings.iter().flat_map(|f| &f.nodes).collect();
        let absent = plan.findings.iter().any(|f| f.code == "component-absent");
        for node in cluster.nodes.values() {
            let whole = stage.scope.racks.is_empty();
            let in_scope = whole || (!node.master && stage.scope.racks.contains(&node.rack));
            for bump in stage.bumps.iter().filter(|b| node.master || !b.component.master_only()) {
                let needs = node.components.get(&bump.component).is_none_or(|r| r.image != bump.to);
                let is_done = done.contains(&(&node.name, bump.component));
                prop_assert!(!is_done || (in_scope && !down(node)));
                if in_scope && needs && !is_done {
                    prop_assert!(named.contains(&node.name) || absent, "{} {}", node.name, bump.component);
                }
            }
        }
        for (_, _, swap) in plan.swaps() {
            let pull = plan.phases[0].pulls.iter().find(|p| p.node == swap.node);
            prop_assert!(swap.changes.iter().all(|c| pull.is_some_and(|p| p.images.contains(&c.to))), "pulled first");
        }
    }

    #[test]
    fn nobody_is_left_behind_but_by_decision(cluster in clusters(), stage in stages()) {
        let plan = planned(&cluster, &stage);
        let sick: BTreeSet<NodeName> = unfit(&cluster, &stage.scope).into_iter().collect();
        prop_assert!(sick.is_empty() || plan.refused());
        prop_assert!(cluster.nodes.values().all(|n| !down(n) || !stage.scope.takes(n) || sick.contains(&n.name)));
        let plan = planned(&cluster, &decided(&cluster, stage));
        let told: Option<BTreeSet<NodeName>> = plan.findings.iter().find(|f| f.code == "excluded").map(|f| f.nodes.iter().cloned().collect());
        prop_assert_eq!(told.unwrap_or_default(), sick.clone());
        prop_assert_eq!(plan.excluded.iter().cloned().collect::<BTreeSet<_>>(), sick.clone());
        prop_assert!(plan.swaps().all(|(_, _, s)| !sick.contains(&s.node)));
        let codes = ["node-unreachable", "node-not-ready"];
        prop_assert!(plan.findings.iter().all(|f| !codes.contains(&f.code.as_str())));
    }

    #[test]
    fn the_same_again_reads_back_and_holds(cluster in clusters(), stage in stages(), turn in 0..8_usize) {
        let plan = planned(&cluster, &stage);
        let mut shuffled = stage.clone();
        shuffled.bumps.rotate_left(turn.min(stage.bumps.len()));
        shuffled.scope.racks.reverse();
        prop_assert_eq!(&planned(&cluster, &shuffled), &plan);
        let text = serde_json::to_string(&plan).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Plan>(&text).unwrap(), &plan);
        prop_assert_eq!(moved(&plan, &cluster), Vec::<String>::new());
        for line in render(&plan).lines() {
            prop_assert!(line.chars().count() <= 100 && !line.chars().any(char::is_control), "{line:?}");
        }
    }
}
