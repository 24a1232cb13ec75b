use super::*;
use crate::fleet::Node;
use crate::plan::samples::{cluster, stage};
use crate::plan::{Release, Severity, unfit};
use std::collections::BTreeSet;

fn plan(cluster: &Cluster, stage: &Stage) -> Plan {
    make(cluster, stage, &Settings::default(), Timestamp::UNIX_EPOCH)
}

/// Codes of the findings, with their severity and nodes.
fn found(change: impl FnOnce(&mut Cluster, &mut Stage)) -> Vec<(Severity, String, usize)> {
    let (mut cluster, mut stage) = (cluster(3, 12, 3), stage());
    change(&mut cluster, &mut stage);
    plan(&cluster, &stage).findings.into_iter().map(|f| (f.severity, f.code, f.nodes.len())).collect()
}

fn one(severity: Severity, code: &str, nodes: usize) -> Vec<(Severity, String, usize)> {
    vec![(severity, code.into(), nodes)]
}

fn node<'a>(cluster: &'a mut Cluster, name: &str) -> &'a mut Node {
    cluster.nodes.get_mut(&name.parse::<NodeName>().unwrap()).unwrap()
}

fn set(cluster: &mut Cluster, component: Component, image: &str) {
    for running in cluster.nodes.values_mut().filter_map(|n| n.components.get_mut(&component)) {
        running.image = image.parse().unwrap();
    }
}

#[test]
fn a_healthy_cluster_gets_a_plan_without_a_finding() {
    assert_eq!(found(|_, _| {}), []);
}

#[test]
fn what_is_broken_is_refused_until_it_is_left_out_by_decision() {
    use Severity::{Error, Info, Warning};
    let left_out = |change: &dyn Fn(&mut Node)| {
        found(|c, s| {
            change(node(c, "rack0-cs1"));
            s.scope.exclude = unfit(c, &s.scope);
        })
    };
    let refused_until_left_out = |code: &str, change: &dyn Fn(&mut Node)| {
        assert_eq!(found(|c, _| change(node(c, "rack0-cs1"))), one(Error, code, 1));
        assert_eq!(left_out(change), one(Info, "excluded", 1), "{code}");
    };
    refused_until_left_out("node-not-ready", &|n| n.ready = false);
    refused_until_left_out("node-unreachable", &|n| n.reachable = Some(false));
    refused_until_left_out("left-over", &|n| n.leftovers.extend(["kubelet.sonoba-prev".parse().unwrap()]));
    let left_over = |name: &str| found(|c, _| node(c, "rack0-cs1").leftovers.extend([name.parse().unwrap()]));
    assert_eq!(left_over("kubelet.sonoba-next"), one(Warning, "left-over", 1));
    let missing = found(|c, _| drop(node(c, "rack0-cs1").components.remove(&Component::KubeProxy)));
    assert_eq!(missing, one(Warning, "container-missing", 1));
    let full = found(|c, s| {
        s.limits.max_unavailable = 1;
        node(c, "rack0-cs1").ready = false;
        s.scope.exclude = unfit(c, &s.scope);
    });
    assert_eq!(full, [one(Warning, "rack-full", 3), one(Info, "excluded", 1)].concat());
    let no_etcd_rivers = found(|c, _| {
        c.nodes.values_mut().for_each(|n| drop(n.components.remove(&Component::EtcdRivers)));
    });
    assert_eq!(no_etcd_rivers, one(Warning, "component-absent", 0));
}

#[test]
fn the_mend_of_broken_nodes_is_ready_to_paste() {
    let mut cluster = cluster(3, 12, 3);
    node(&mut cluster, "rack0-cs1").ready = false;
    let mends = |cluster: &Cluster| -> BTreeSet<String> {
        plan(cluster, &stage()).findings.into_iter().filter(|f| f.severity == Severity::Error).map(|f| f.mend).collect()
    };
    assert!(mends(&cluster).iter().all(|m| m.contains("--exclude rack0-cs1 (")), "{:?}", mends(&cluster));
    node(&mut cluster, "rack1-cs1").reachable = Some(false);
    node(&mut cluster, "rack1-cs2").reachable = Some(false);
    let mends = mends(&cluster);
    assert_eq!(mends.len(), 2);
    assert!(mends.iter().all(|m| m.contains("--exclude 'rack0-cs1,rack1-cs[1-2]' (")), "{mends:?}");
}

#[test]
fn whom_nobody_knows_nobody_leaves_out() {
    let unknown = found(|_, s| s.scope.exclude = vec!["rack0-cs99".parse().unwrap()]);
    assert_eq!(unknown, one(Severity::Error, "scope-unknown", 0));
}

#[test]
fn one_name_for_two_images_is_told() {
    let moved = found(|c, s| {
        s.bumps.retain(|b| b.component == Component::Rivers);
        set(c, Component::Rivers, s.bumps[0].to.as_str());
        node(c, "rack0-cs1").components.get_mut(&Component::Rivers).unwrap().image_id = "sha256:other".into();
    });
    assert_eq!(moved, [one(Severity::Warning, "tag-moved", 1), one(Severity::Info, "nothing-to-do", 0)].concat());
    let other_registry = found(|c, s| {
        s.bumps.retain(|b| b.component == Component::Rivers);
        set(c, Component::Rivers, "mirror.example.com/cke-tools:1.36.0");
    });
    assert_eq!(other_registry, one(Severity::Info, "same-version", 15));
}

#[test]
fn a_left_out_node_is_not_touched_but_one_with_only_a_prepared_container_is() {
    let mut cluster = cluster(3, 12, 3);
    node(&mut cluster, "rack0-cs1").leftovers.insert("kubelet.sonoba-prev".parse().unwrap());
    node(&mut cluster, "rack0-cs2").leftovers.insert("kubelet.sonoba-next".parse().unwrap());
    let plan = plan(&cluster, &stage());
    let swapped = |name: &str| plan.swaps().any(|(_, _, s)| s.node.as_str() == name);
    assert_eq!((swapped("rack0-cs1"), swapped("rack0-cs2")), (false, true));
}

#[test]
fn a_control_plane_that_is_not_whole_is_refused() {
    let expected =
        [one(Severity::Error, "control-plane-not-whole", 1), one(Severity::Error, "control-plane-not-whole", 1)];
    let stopped = found(|c, _| {
        for component in [Component::Etcd, Component::KubeApiserver] {
            node(c, "rack1-m1").components.get_mut(&component).unwrap().running = false;
        }
    });
    assert_eq!(
        stopped.iter().filter(|f| f.1 == "control-plane-not-whole").cloned().collect::<Vec<_>>(),
        expected.concat()
    );
    let workers_only = found(|c, s| {
        node(c, "rack1-m1").ready = false;
        s.bumps.retain(|b| b.component == Component::Rivers);
        s.scope.racks = vec!["rack0".parse().unwrap()];
    });
    assert_eq!(workers_only, []);
}

#[test]
fn versions_go_up_one_minor_at_a_time_and_in_line() {
    let codes = |change: &dyn Fn(&mut Cluster, &mut Stage)| -> BTreeSet<String> {
        found(change).into_iter().map(|f| f.1).collect()
    };
    let kubernetes = |tag: &'static str| {
        move |c: &mut Cluster| {
            for component in Component::ALL.into_iter().filter(|c| c.as_str().starts_with("kube")) {
                set(c, component, &format!("ghcr.io/cybozu/kubernetes:{tag}"));
            }
        }
    };
    assert_eq!(codes(&|c, _| kubernetes("1.36.3.1")(c)), BTreeSet::from(["downgrade".into()]));
    assert!(codes(&|c, _| kubernetes("1.34.3.1")(c)).contains("minor-skipped"));
    let three_behind =
        |c: &mut Cluster, _: &mut Stage| set(c, Component::Kubelet, "ghcr.io/cybozu/kubernetes:1.32.1.1");
    let left_behind = BTreeSet::from(["skew".into(), "hop-missing".into()]);
    assert_eq!(codes(&three_behind), left_behind, "1.36 apiservers leave 1.32 kubelets behind");
    let stops_on_the_way = |c: &mut Cluster, s: &mut Stage| {
        three_behind(c, s);
        let images = s.bumps.iter().map(|b| (b.component, b.to.with_tag("1.35.6.1").unwrap())).collect();
        s.way = vec![Release { name: "1.35.6".into(), images }];
    };
    assert_eq!(codes(&stops_on_the_way), BTreeSet::new(), "they are taken along first");
    let workers_first = |_: &mut Cluster, s: &mut Stage| s.scope.racks = vec!["rack0".parse().unwrap()];
    assert_eq!(codes(&workers_first), BTreeSet::from(["skew".into()]));
    assert_eq!(
        codes(&|c, _| set(c, Component::Kubelet, "kubelet:nightly")),
        BTreeSet::from(["version-unknown".into()])
    );
    let hashes = |c: &mut Cluster, s: &mut Stage| {
        kubernetes("1.30.4.1")(c);
        s.bumps.retain(|b| b.component.as_str().starts_with("kube"));
        s.bumps.iter_mut().for_each(|b| b.to = b.to.with_tag("1.31.2.1").unwrap());
    };
    assert_eq!(codes(&hashes), BTreeSet::from(["pods-not-ready".into(), "restarts-containers".into()]));
}

#[test]
fn what_was_out_of_line_before_is_told_and_does_not_refuse() {
    let mut cluster = cluster(3, 3, 3);
    let kubelet = node(&mut cluster, "rack0-cs1").components.get_mut(&Component::Kubelet).unwrap();
    kubelet.image = kubelet.image.with_tag("1.31.9.1").unwrap();
    let mut stage = stage();
    stage.bumps.retain(|b| b.component == Component::Rivers || b.component == Component::Etcd);
    let plan = plan(&cluster, &stage);
    assert!(!plan.refused());
    let texts: Vec<&str> = plan.findings.iter().map(|f| f.text.as_str()).collect();
    assert_eq!(
        texts[..2],
        [
            "before anything moves: kube-proxy 1.35.6.1 is 4 minors from kubelet 1.31.9.1 beside it; 3 allowed",
            "before anything moves: kubelet 1.31.9.1 is 4 minors older than kube-apiserver 1.35.6.1; 3 allowed"
        ]
    );
}

#[test]
fn nonsense_is_refused_with_a_reason() {
    use Severity::{Error, Info, Warning};
    assert_eq!(found(|_, s| s.limits.max_pulls = 0), one(Error, "limit-zero", 0));
    assert_eq!(found(|_, s| s.limits.canary = 0), one(Warning, "no-canary", 0));
    assert_eq!(found(|_, s| s.bumps.clear()), one(Info, "nothing-to-do", 0));
    let twice = |_: &mut Cluster, s: &mut Stage| {
        let other = Bump { component: Component::Rivers, to: "rivers:9.9.9".parse().unwrap() };
        s.bumps.push(other);
    };
    assert_eq!(found(twice), one(Error, "bump-twice", 0));
    let unknown = found(|_, s| s.scope.nodes = vec!["rack0-cs99".parse().unwrap()]);
    assert_eq!(unknown, [one(Error, "scope-unknown", 0), one(Info, "nothing-to-do", 0)].concat());
}

#[test]
fn the_last_member_of_a_minor_bump_is_the_point_of_no_return() {
    let mut cluster = cluster(3, 0, 3);
    let marked = |cluster: &Cluster| -> Vec<String> {
        let plan = plan(cluster, &stage());
        plan.swaps().filter(|(_, _, s)| s.no_return.is_some()).map(|(_, _, s)| s.node.to_string()).collect()
    };
    assert_eq!(marked(&cluster), Vec::<String>::new(), "a patch can be taken back");
    set(&mut cluster, Component::Etcd, "ghcr.io/cybozu/etcd:3.5.21.1");
    assert_eq!(marked(&cluster), ["rack0-m1"], "the leader, which is last");
}

#[test]
fn skew_cannot_be_passed_by_not_knowing() {
    let kubelets = |s: &mut Stage| s.bumps.retain(|b| b.component == Component::Kubelet);
    let none = found(|c, s| {
        kubelets(s);
        set(c, Component::KubeApiserver, "kube-apiserver:nightly");
    });
    assert!(none.contains(&(Severity::Error, "apiserver-unknown".into(), 0)), "{none:?}");
    let one_unknown = found(|c, s| {
        kubelets(s);
        s.bumps[0].to = s.bumps[0].to.with_tag("1.35.7.1").unwrap();
        let apiserver = node(c, "rack1-m1").components.get_mut(&Component::KubeApiserver).unwrap();
        apiserver.image = "kube-apiserver:nightly".parse().unwrap();
    });
    assert_eq!(one_unknown, one(Severity::Warning, "apiserver-unknown", 1));
}

#[test]
fn thousands_of_nodes_are_planned_at_once() {
    let plan = plan(&cluster(7, 5_000, 125), &stage());
    assert!(!plan.refused());
    assert_eq!(plan.swaps().count(), 5 * 7 + 5_000);
    assert_eq!(plan.swaps().last().map(|(_, _, s)| s.id.to_string()), Some("s5035".into()));
}

#[test]
fn a_narrow_scope_takes_masters_only_by_name() {
    let nodes = |change: &dyn Fn(&mut Stage)| -> BTreeSet<String> {
        let mut stage = stage();
        change(&mut stage);
        plan(&cluster(3, 12, 3), &stage).swaps().map(|(_, _, s)| s.node.to_string()).collect()
    };
    assert_eq!(nodes(&|_| {}).len(), 15);
    let storage = nodes(&|s| {
        s.scope.racks = vec!["rack1".parse().unwrap()];
        s.scope.roles = vec!["ss".parse().unwrap()];
    });
    assert_eq!(storage, BTreeSet::from(["rack1-ss3".into()]));
    let named = nodes(&|s| s.scope.nodes = vec!["rack1-m1".parse().unwrap(), "rack2-cs1".parse().unwrap()]);
    assert_eq!(named, BTreeSet::from(["rack1-m1".into(), "rack2-cs1".into()]));
}

#[test]
fn a_gate_of_ones_own_follows_the_waves_that_it_names_and_comes_before_the_soak() {
    use crate::plan::{After, Gate, GateRule, OwnGate, Question};
    let question = Question::Command { argv: vec!["true".into()], exit: 0 };
    let rule = |name: &str, after: &[After]| {
        let (name, question) = (name.parse().unwrap(), question.clone());
        let gate = OwnGate { name, question, timeout_ms: 600_000, interval_ms: 10_000, limit_ms: 30_000 };
        GateRule { after: after.iter().copied().collect(), gate }
    };
    let gates =
        vec![rule("masters", &[After::ControlPlane]), rule("first", &[After::Canary]), rule("racks", &[After::Rack])];
    let settings = Settings { gates, ..Settings::default() };
    let plan = make(&cluster(3, 12, 3), &stage(), &settings, Timestamp::UNIX_EPOCH);
    let mut kinds = BTreeMap::new();
    for wave in plan.phases.iter().flat_map(|p| &p.waves) {
        let own = |g: &Gate| if let Gate::Own(own) = g { Some(own.name.to_string()) } else { None };
        let names: Vec<String> = wave.gates.iter().filter_map(own).collect();
        let soak = wave.gates.iter().position(|g| matches!(g, Gate::Soak { .. }));
        let rest = |at: usize| wave.gates[at + 1..].iter().all(|g| matches!(g, Gate::PodsProved { .. }));
        assert!(soak.is_none_or(rest), "{:?}", wave.gates);
        kinds.entry(After::of(wave.kind)).or_insert_with(BTreeSet::new).insert(names);
    }
    let only = |name: &str| BTreeSet::from([vec![name.to_owned()]]);
    let wanted = [(After::ControlPlane, only("masters")), (After::Canary, only("first")), (After::Rack, only("racks"))];
    assert_eq!(kinds, BTreeMap::from(wanted));
}

#[test]
fn several_minors_become_hops_and_kubelets_restart_once() {
    let mut cluster = cluster(3, 30, 3);
    let mut stage = stage();
    let release = |minor: u32| {
        let kubernetes = |c: &Component| {
            format!("ghcr.io/cybozu/kubernetes:1.{minor}.2.1").parse().unwrap_or_else(|_| panic!("{c}"))
        };
        let images = stage.bumps.iter().map(|b| (b.component, kubernetes(&b.component)));
        let images = images.filter(|(c, _)| c.as_str().starts_with("kube")).collect();
        Release { name: format!("1.{minor}.2"), images }
    };
    stage.way = (34..=36).map(release).collect();
    for component in Component::ALL.into_iter().filter(|c| c.as_str().starts_with("kube")) {
        set(&mut cluster, component, "ghcr.io/cybozu/kubernetes:1.33.4.1");
    }
    let plan = plan(&cluster, &stage);
    assert!(!plan.refused(), "{:?}", plan.findings);
    let phases: Vec<_> = plan.phases.iter().map(|p| (p.hop.as_deref().unwrap_or("-"), p.kind)).collect();
    use PhaseKind::{Canary, Controllers, Etcd, KubeApiserver, Masters, Prefetch, Rivers, Workers};
    assert_eq!(
        phases,
        [
            ("-", Prefetch),
            ("1.34.2", KubeApiserver),
            ("1.34.2", Controllers),
            ("1.35.2", KubeApiserver),
            ("1.35.2", Controllers),
            ("1.36.2", Rivers),
            ("1.36.2", Etcd),
            ("1.36.2", KubeApiserver),
            ("1.36.2", Controllers),
            ("1.36.2", Canary),
            ("1.36.2", Masters),
            ("1.36.2", Workers)
        ]
    );
    let kubelets = plan.swaps().flat_map(|(_, _, s)| &s.changes).filter(|c| c.component == Component::Kubelet).count();
    assert_eq!(kubelets, 33, "one restart each");
    let second = plan.swaps().flat_map(|(_, _, s)| &s.changes).find(|c| c.to.short() == "1.35.2.1").unwrap();
    assert_eq!((second.from.short(), second.from_id.as_str()), ("1.34.2.1", ""), "made by an earlier swap");
    let said = plan.findings.iter().find(|f| f.code == "hops").unwrap();
    assert!(said.text.ends_with("33 kubelets restart 33 times in all, not 99"), "{}", said.text);
    stage.way.remove(1);
    let refused = super::make(&cluster, &stage, &Settings::default(), Timestamp::UNIX_EPOCH);
    assert!(
        refused.findings.iter().any(|f| f.code == "hop-missing" && f.text.contains("1.35")),
        "{:?}",
        refused.findings
    );
}
