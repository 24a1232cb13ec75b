use super::*;
use crate::fleet::Running;
use crate::plan::PhaseKind;
use crate::plan::properties::{breaches, clusters, decided, down, planned, stages};
use crate::plan::samples::{cluster, stage};
use crate::plan::{Gate, Settings, WaveKind, make, moved, render};
use proptest::prelude::*;

fn run() -> RunId {
    "20261123-220000-ab12".parse().unwrap()
}

fn back(plan: &Plan, done: &BTreeSet<SwapId>, now: &Cluster) -> Plan {
    inverse(&run(), plan, done, &Scope::default(), now, Timestamp::UNIX_EPOCH)
}

fn forward(cluster: &Cluster) -> Plan {
    let plan = make(cluster, &stage(), &Settings::default(), Timestamp::UNIX_EPOCH);
    assert!(!plan.refused(), "{:?}", plan.findings);
    plan
}

fn running<'a>(cluster: &'a mut Cluster, node: &str, component: Component) -> &'a mut Running {
    let node = cluster.nodes.get_mut(&node.parse::<NodeName>().unwrap()).unwrap();
    node.components.get_mut(&component).unwrap()
}

/// The cluster once these swaps are committed: every container that moved was made anew.
fn after(cluster: &Cluster, plan: &Plan, done: &BTreeSet<SwapId>) -> Cluster {
    let mut now = cluster.clone();
    for (_, _, swap) in plan.swaps().filter(|(_, _, s)| done.contains(&s.id)) {
        for change in &swap.changes {
            let running = now.nodes.get_mut(&swap.node).unwrap().components.get_mut(&change.component).unwrap();
            assert_eq!((&running.image, &running.id), (&change.from, &change.from_id), "{}", swap.id);
            running.image = change.to.clone();
            running.id.push('\'');
        }
    }
    now
}

fn minors_of(cluster: &Cluster) -> BTreeMap<(NodeName, Component), i64> {
    let running = cluster.nodes.values().flat_map(|n| n.components.iter().map(|(c, r)| (n.name.clone(), *c, r)));
    running.filter_map(|(n, c, r)| Some(((n, c), i64::from(r.image.version()?.minor)))).collect()
}

fn all(plan: &Plan) -> BTreeSet<SwapId> {
    plan.swaps().map(|(_, _, s)| s.id.clone()).collect()
}

fn kinds(plan: &Plan) -> Vec<PhaseKind> {
    plan.phases.iter().map(|p| p.kind).collect()
}

fn codes(plan: &Plan) -> Vec<(Severity, &str, usize)> {
    plan.findings.iter().map(|f| (f.severity, f.code.as_str(), f.nodes.len())).collect()
}

#[test]
fn a_completed_run_goes_back_the_way_it_came() {
    let cluster = cluster(3, 12, 3);
    let plan = forward(&cluster);
    let now = after(&cluster, &plan, &all(&plan));
    let back = back(&plan, &all(&plan), &now);
    assert_eq!(back.rollback_of, Some(run()));
    use PhaseKind::*;
    assert_eq!(kinds(&back), [Prefetch, Canary, Workers, Masters, Controllers, KubeApiserver, Etcd, Rivers]);
    let workers: Vec<&Wave> = back.phases[1..3].iter().flat_map(|p| &p.waves).collect();
    let titles: Vec<&str> = workers.iter().map(|w| w.title.as_str()).collect();
    assert_eq!(titles, ["canary", "rack2", "rack1", "rack0"]);
    let soaks: Vec<bool> = workers.iter().map(|w| w.gates.iter().any(|g| matches!(g, Gate::Soak { .. }))).collect();
    assert_eq!(soaks, [true; 4]);
    for phase in &back.phases[3..] {
        let last = phase.waves.last().unwrap().swaps[0].node.as_str();
        assert_eq!((phase.waves.len(), last), (3, "rack0-m1"), "leads, and was the first: {:?}", phase.kind);
    }
    // A minor of kube-apiserver is acknowledged, a patch of etcd is none.
    assert_eq!(codes(&back), [(Severity::Warning, "apiserver-back", 3)]);
    assert_eq!(moved(&back, &now), Vec::<String>::new());
    let undone = after(&now, &back, &all(&back));
    let images = |c: &Cluster| -> Vec<Image> {
        c.nodes.values().flat_map(|n| n.components.values().map(|r| r.image.clone())).collect()
    };
    assert_eq!(images(&undone), images(&cluster));
}

#[test]
fn the_preview_says_whose_rollback_it_is() {
    let mut cluster = cluster(3, 4, 2);
    for node in cluster.nodes.values_mut().filter(|n| n.master) {
        let etcd = node.components.get_mut(&Component::Etcd).unwrap();
        etcd.image = etcd.image.with_tag("3.5.33.1").unwrap();
    }
    let plan = forward(&cluster);
    let now = after(&cluster, &plan, &all(&plan));
    insta::assert_snapshot!(render(&back(&plan, &all(&plan), &now)));
}

#[test]
fn etcd_goes_back_over_a_minor_only_while_a_member_stayed_behind() {
    let mut cluster = cluster(3, 0, 3);
    for node in cluster.nodes.values_mut() {
        let etcd = node.components.get_mut(&Component::Etcd).unwrap();
        etcd.image = etcd.image.with_tag("3.5.33.1").unwrap();
    }
    let plan = forward(&cluster);
    let ids: Vec<SwapId> = plan
        .swaps()
        .filter(|(p, _, _)| plan.phases[*p].kind == PhaseKind::Etcd)
        .map(|(_, _, s)| s.id.clone())
        .collect();
    assert_eq!(ids.len(), 3);
    let etcd = |n: usize| -> BTreeSet<SwapId> { ids[..n].iter().cloned().collect() };
    for n in 1..3 {
        let back = back(&plan, &etcd(n), &after(&cluster, &plan, &etcd(n)));
        assert_eq!((back.swaps().count(), codes(&back)), (n, vec![]), "{n} of 3");
    }
    let now = after(&cluster, &plan, &etcd(3));
    let gone = back(&plan, &etcd(3), &now);
    assert_eq!(gone.swaps().count(), 0);
    assert_eq!(codes(&gone), [(Severity::Warning, "no-return", 3), (Severity::Info, "nothing-to-do", 0)]);
    // The journal lost sight of the last member, and that one answers no more: nobody is known to have stayed behind.
    let mut now = after(&cluster, &plan, &etcd(3));
    running(&mut now, "rack0-m1", Component::Etcd).image = "etcd:nightly".parse().unwrap();
    assert_eq!(back(&plan, &etcd(2), &now).swaps().count(), 0);
}

#[test]
fn what_somebody_changed_since_is_left_to_him() {
    let cluster = cluster(3, 6, 3);
    let plan = forward(&cluster);
    let mut now = after(&cluster, &plan, &all(&plan));
    running(&mut now, "rack0-cs1", Component::Kubelet).image = "ghcr.io/cybozu/kubernetes:1.36.3.1".parse().unwrap();
    running(&mut now, "rack1-cs1", Component::Rivers).running = false;
    now.nodes.remove(&"rack2-cs1".parse::<NodeName>().unwrap());
    let mut only = Scope { racks: ["rack0", "rack1", "rack2"].map(|r| r.parse().unwrap()).into(), ..Scope::default() };
    let back = inverse(&run(), &plan, &all(&plan), &only, &now, Timestamp::UNIX_EPOCH);
    let touched: BTreeSet<&str> = back.swaps().map(|(_, _, s)| s.node.as_str()).collect();
    assert_eq!(touched, BTreeSet::from(["rack0-cs2", "rack1-cs2", "rack2-cs2"]));
    let warned: Vec<_> = codes(&back);
    assert_eq!(
        warned,
        [
            (Severity::Warning, "changed-since", 1),
            (Severity::Warning, "changed-since", 1),
            (Severity::Warning, "node-gone", 1)
        ]
    );
    // Back already is not changed.
    only.racks.truncate(1);
    let mut now = after(&cluster, &plan, &all(&plan));
    let old = cluster.nodes[&"rack0-cs2".parse::<NodeName>().unwrap()].clone();
    now.nodes.insert(old.name.clone(), old);
    let back = inverse(&run(), &plan, &all(&plan), &only, &now, Timestamp::UNIX_EPOCH);
    assert_eq!((back.swaps().count(), codes(&back)), (1, vec![]));
}

#[test]
fn masters_do_not_go_back_below_workers_that_stay() {
    let cluster = cluster(3, 6, 3);
    let plan = forward(&cluster);
    let now = after(&cluster, &plan, &all(&plan));
    let exclude = vec!["rack0-cs1".parse().unwrap()];
    let scope = Scope { exclude, ..Scope::default() };
    let back = inverse(&run(), &plan, &all(&plan), &scope, &now, Timestamp::UNIX_EPOCH);
    assert!(back.refused());
    assert!(codes(&back).contains(&(Severity::Error, "skew", 1)), "{:?}", codes(&back));
    assert!(codes(&back).contains(&(Severity::Info, "excluded", 1)), "{:?}", codes(&back));
}

#[test]
fn a_node_that_is_down_is_left_behind_only_by_decision() {
    let cluster = cluster(3, 6, 3);
    let plan = forward(&cluster);
    let mut now = after(&cluster, &plan, &all(&plan));
    now.nodes.get_mut(&"rack0-cs1".parse::<NodeName>().unwrap()).unwrap().ready = false;
    let rack = Scope { racks: vec!["rack0".parse().unwrap()], ..Scope::default() };
    let refused = inverse(&run(), &plan, &all(&plan), &rack, &now, Timestamp::UNIX_EPOCH);
    assert_eq!(codes(&refused), [(Severity::Error, "node-not-ready", 1)]);
    let scope = Scope { exclude: vec!["rack0-cs1".parse().unwrap()], ..rack };
    let back = inverse(&run(), &plan, &all(&plan), &scope, &now, Timestamp::UNIX_EPOCH);
    assert_eq!(codes(&back), [(Severity::Info, "excluded", 1)]);
    assert_eq!(back.swaps().count(), 1);
}

#[test]
fn without_the_canaries_of_the_plan_others_are_first() {
    let cluster = cluster(3, 12, 3);
    let plan = forward(&cluster);
    let now = after(&cluster, &plan, &all(&plan));
    let canary = plan.phases.last().unwrap().waves[0].swaps.iter().map(|s| s.node.clone());
    let workers: Vec<NodeName> = now.workers().map(|n| n.name.clone()).collect();
    let canary: BTreeSet<NodeName> = canary.collect();
    let nodes = workers.into_iter().filter(|n| !canary.contains(n)).collect();
    let scope = Scope { nodes, ..Scope::default() };
    let back = inverse(&run(), &plan, &all(&plan), &scope, &now, Timestamp::UNIX_EPOCH);
    let first = &back.phases[1].waves[0];
    assert_eq!((first.kind, first.swaps.len()), (WaveKind::Canary, 3));
    let racks: BTreeSet<&RackName> = first.swaps.iter().map(|s| &now.nodes[&s.node].rack).collect();
    assert_eq!(racks.len(), 3, "spread");
    assert_eq!(back.swaps().count(), 9);
}

#[test]
fn a_rollback_can_be_taken_back_too() {
    let cluster = cluster(3, 6, 3);
    let plan = forward(&cluster);
    let now = after(&cluster, &plan, &all(&plan));
    let down = back(&plan, &all(&plan), &now);
    let old = after(&now, &down, &all(&down));
    let up = back(&down, &all(&down), &old);
    assert!(!up.refused(), "{:?}", up.findings);
    assert_eq!(kinds(&up), kinds(&plan));
    assert_eq!(codes(&up), []);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn from_any_point_the_way_back_keeps_every_law(
        cluster in clusters(),
        stage in stages(),
        old_etcd in any::<bool>(),
        share in 0.0..=1.0_f64,
        missed in prop::collection::btree_set(0..200_usize, 0..4),
        fallen in prop::collection::btree_set(0..60_usize, 0..20),
        leader in 0..7_usize,
    ) {
        let mut cluster = cluster;
        if old_etcd {
            for etcd in cluster.nodes.values_mut().filter_map(|n| n.components.get_mut(&Component::Etcd)) {
                etcd.image = etcd.image.with_tag("3.5.33.1").unwrap();
            }
        }
        let plan = planned(&cluster, &decided(&cluster, stage));
        if plan.refused() {
            return Ok(());
        }
        // Any prefix, but for workers that rolled back: masters are never passed over.
        let total = plan.swaps().count();
        let swaps = plan.swaps().enumerate().take((total as f64 * share) as usize);
        let committed = swaps.filter(|(i, (p, _, _))| !plan.phases[*p].kind.of_workers() || !missed.contains(i));
        let done: BTreeSet<SwapId> = committed.map(|(_, (_, _, s))| s.id.clone()).collect();
        let mut now = after(&cluster, &plan, &done);
        // Neighbours that the run has not touched fall ill in the meantime: they take their racks' room.
        let touched: BTreeSet<NodeName> =
            plan.swaps().filter(|(_, _, s)| done.contains(&s.id)).map(|(_, _, s)| s.node.clone()).collect();
        for i in fallen {
            let name: NodeName = format!("w{i}").parse().unwrap();
            if let Some(node) = now.nodes.get_mut(&name).filter(|n| !touched.contains(&n.name)) {
                node.ready = false;
            }
        }
        let leads = format!("m{leader}").parse::<NodeName>().ok().filter(|n| now.nodes.contains_key(n));
        now.leaders.etcd = leads;
        let back = back(&plan, &done, &now);

        let full = back.findings.iter().any(|f| f.code == "rack-full");
        if full || !breaches(&minors_of(&cluster)).is_empty() {
            // The run brought the cluster into line, and back out of it nobody goes; or workers must stay, and so must masters.
            prop_assert!(back.findings.iter().all(|f| f.severity != Severity::Error || f.code == "skew"));
        } else {
            prop_assert!(!back.refused(), "{:?}", back.findings);
        }
        prop_assert_eq!(moved(&back, &now), Vec::<String>::new());
        let text = serde_json::to_string(&back).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Plan>(&text).unwrap(), &back);

        // Skew, asked anew at every step.
        let mut minors = minors_of(&now);
        let before = breaches(&minors);
        let mut racks: BTreeMap<&RackName, usize> = BTreeMap::new();
        for node in now.nodes.values() {
            *racks.entry(&node.rack).or_default() += usize::from(down(node));
        }
        for (p, w, swap) in back.swaps() {
            let wave = &back.phases[p].waves[w];
            let node = &now.nodes[&swap.node];
            prop_assert!(!down(node));
            if node.master {
                prop_assert_eq!((wave.swaps.len(), wave.max_parallel), (1, 1));
                prop_assert!(!wave.gates.is_empty());
            } else {
                let here = wave.swaps.iter().filter(|s| now.nodes[&s.node].rack == node.rack).count();
                prop_assert!(here.min(wave.max_parallel) + racks[&node.rack] <= plan.limits.max_unavailable);
                prop_assert!(wave.max_parallel <= plan.limits.max_parallel);
            }
            for change in &swap.changes {
                let minor = i64::from(change.to.version().unwrap().minor);
                minors.insert((swap.node.clone(), change.component), minor);
                for (node, component, far) in breaches(&minors) {
                    let was = before.iter().any(|(n, c, f)| (n, c) == (&node, &component) && far <= *f);
                    prop_assert!(was || back.refused(), "{component} on {node} is {far} minors off after {}", swap.id);
                }
            }
        }
        for phase in back.phases.iter().filter(|p| p.kind == PhaseKind::Etcd) {
            let order: Vec<&NodeName> = phase.waves.iter().map(|w| &w.swaps[0].node).collect();
            if let Some(at) = order.iter().position(|n| Some(*n) == now.leaders.etcd.as_ref()) {
                prop_assert_eq!(at + 1, order.len(), "the leader is last");
            }
        }
        let waves: Vec<(PhaseKind, &Wave)> = back.phases.iter().flat_map(|p| p.waves.iter().map(|w| (p.kind, w))).collect();
        for (kind, wave) in waves {
            let soaks = wave.gates.iter().any(|g| matches!(g, Gate::Soak { .. }));
            prop_assert_eq!(soaks, kind.of_workers());
        }
        if let Some(workers) = back.phases.iter().find(|p| p.kind.of_workers()) {
            prop_assert_eq!(workers.waves[0].kind == WaveKind::Canary, plan.limits.canary > 0);
        }

        // All is as it was, but for what had no way back.
        if full {
            return Ok(());
        }
        let undone = after(&now, &back, &all(&back));
        let stays = back.findings.iter().any(|f| f.code == "no-return");
        for node in cluster.nodes.values() {
            for (component, was) in &node.components {
                let is = &undone.nodes[&node.name].components[component].image;
                prop_assert!(*is == was.image || (stays && *component == Component::Etcd), "{} {component}", node.name);
            }
        }
        // etcd's last member of a minor is the point of no return, and nothing before it is.
        let raised = plan.swaps().any(|(_, _, s)| s.no_return.is_some() && done.contains(&s.id));
        prop_assert_eq!(stays, raised);
    }
}

#[test]
fn etcd_goes_back_after_a_snapshot_too_unless_the_way_there_had_none() {
    let cluster = cluster(3, 3, 3);
    let mut plan = forward(&cluster);
    let mut now = after(&cluster, &plan, &all(&plan));
    now.leaders.etcd = now.masters().map(|n| n.name.clone()).last();
    let taken = |plan: &Plan| -> Vec<_> {
        plan.phases.iter().filter_map(|p| Some((p.kind, p.snapshot.as_ref()?.node.clone()))).collect()
    };
    let follower: NodeName = "rack0-m1".parse().unwrap();
    assert_eq!(taken(&back(&plan, &all(&plan), &now)), [(PhaseKind::Etcd, follower)]);
    plan.phases.iter_mut().for_each(|p| p.snapshot = None);
    assert_eq!(taken(&back(&plan, &all(&plan), &now)), []);
}

#[test]
fn that_containers_restart_once_more_is_acknowledged_anew() {
    let mut cluster = cluster(3, 3, 3);
    let old: crate::fleet::Image = "ghcr.io/cybozu/kubernetes:1.30.4.1".parse().unwrap();
    let mut plan = forward(&cluster);
    let (mut swaps, mut nodes) = (0, BTreeSet::new());
    for swap in plan.phases.iter_mut().flat_map(|p| &mut p.waves).flat_map(|w| &mut w.swaps) {
        for change in swap.changes.iter_mut().filter(|c| c.component == Component::Kubelet) {
            change.from = old.clone();
            (swaps, _) = (swaps + 1, nodes.insert(swap.node.clone()));
        }
    }
    assert!(swaps > 0);
    for node in cluster.nodes.values_mut() {
        if let Some(kubelet) = node.components.get_mut(&Component::Kubelet) {
            kubelet.image = old.clone();
        }
    }
    // As the plan that was carried out has it.
    plan.findings.push(crate::plan::Finding {
        code: "restarts-containers".into(),
        severity: Severity::Warning,
        text: "it restarts every container (acknowledged)".into(),
        mend: String::new(),
        link: String::new(),
        offer: String::new(),
        acknowledgeable: true,
        nodes: Vec::new(),
    });
    let now = after(&cluster, &plan, &all(&plan));
    let mut back = back(&plan, &all(&plan), &now);
    let told = |plan: &Plan| plan.findings.iter().find(|f| f.code == "restarts-containers").map(|f| f.severity);
    assert_eq!(told(&back), Some(Severity::Error), "{:?}", back.findings);
    assert!(back.refused());
    back.acknowledge(&["restarts-containers".into()]);
    assert_eq!(told(&back), Some(Severity::Warning));
}

#[test]
fn a_run_that_saw_containers_restarted_says_so_before_it_is_taken_back() {
    let cluster = cluster(3, 3, 3);
    let plan = forward(&cluster);
    let now = after(&cluster, &plan, &all(&plan));
    let mut back = back(&plan, &all(&plan), &now);
    let node = plan.swaps().find(|(_, _, s)| s.restarts(Component::Kubelet)).unwrap().2.node.clone();
    assert!(!back.refused());
    back.seen_to_restart_containers(&["elsewhere".parse().unwrap()]);
    assert!(!back.refused(), "of a node that does not go back there is nothing to say");
    back.seen_to_restart_containers(std::slice::from_ref(&node));
    let found = back.findings.iter().find(|f| f.code == "restarts-containers").unwrap();
    assert!(back.refused() && found.nodes == [node], "{found:?}");
    back.acknowledge(&["restarts-containers".into()]);
    assert!(!back.refused());
}
