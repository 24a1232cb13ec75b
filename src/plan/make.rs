//! From cluster, stage and settings to a plan.

use super::findings::Findings;
use super::order::{Ids, control_plane};
use super::select::{Chosen, not_whole, select};
use super::skew::{BadStep, State, bad_step};
use super::{Bump, FORMAT, Limits, Phase, PhaseKind, Plan, Pull, Settings, Severity, Stage, estimate, hazards, waves};
use crate::fleet::{Cluster, Component, Image, NodeName};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Makes the plan that takes `cluster` to what is staged.
///
/// Never fails: what stands in the way is a finding, and a plan with errors is [refused](Plan::refused).
pub fn make(cluster: &Cluster, stage: &Stage, settings: &Settings, now: Timestamp) -> Plan {
    let mut findings = Findings::default();
    check_limits(&stage.limits, &mut findings);
    let bumps = bumps(stage, &mut findings);
    let targets: BTreeMap<Component, &Image> = bumps.iter().map(|b| (b.component, &b.to)).collect();
    let chosen = select(cluster, &targets, &stage.scope, &mut findings);
    check_steps(&chosen, &mut findings);

    let mut ids = Ids::default();
    let mut phases = control_plane(cluster, &chosen, settings, &mut ids);
    phases.extend(waves::workers(cluster, &chosen, &stage.limits, settings, &mut findings, &mut ids));
    mark_no_return(cluster, &mut phases);
    check_control_plane(cluster, &phases, &mut findings);
    check_skew(cluster, &phases, &mut findings);
    hazards::hazards(&phases, &mut findings);
    if let Some(prefetch) = prefetch(&phases) {
        phases.insert(0, prefetch);
    } else {
        let text = match (bumps.is_empty(), cluster.nodes.values().any(|n| stage.scope.takes(n))) {
            (true, _) => "nothing is staged",
            (_, false) => "the scope selects no node",
            _ => "every node that can be touched already runs what is staged",
        };
        findings.add(Severity::Info, "nothing-to-do", text, "");
    }

    let limits = stage.limits.clone();
    Plan {
        format: FORMAT,
        created: now,
        release: stage.release.clone(),
        bumps,
        estimate: estimate::estimate(&phases, &limits),
        limits,
        budget: stage.budget.clone(),
        components: settings.complete(),
        findings: findings.finish(),
        phases,
        cluster: cluster.clone(),
    }
}

fn check_limits(limits: &Limits, findings: &mut Findings) {
    for (name, value) in [
        ("max_parallel", limits.max_parallel),
        ("max_unavailable", limits.max_unavailable),
        ("max_pulls", limits.max_pulls),
    ] {
        if value == 0 {
            findings.add(
                Severity::Error,
                "limit-zero",
                format!("{name} is 0: nothing could ever start"),
                "set 1 or more",
            );
        }
    }
    if limits.canary == 0 {
        let text = "there is no canary: the first rack is the first to know";
        findings.add(Severity::Warning, "no-canary", text, "set canary to 1 or more");
    }
}

/// The staged bumps in order, one a component.
fn bumps(stage: &Stage, findings: &mut Findings) -> Vec<Bump> {
    let mut bumps = stage.bumps.clone();
    bumps.sort_by(|a, b| (a.component, &a.to).cmp(&(b.component, &b.to)));
    bumps.dedup();
    bumps.dedup_by(|second, first| {
        let twice = second.component == first.component;
        if twice {
            let text = format!("{} is staged twice: to {} and to {}", first.component, first.to, second.to);
            findings.add(Severity::Error, "bump-twice", text, "stage each component once");
        }
        twice
    });
    bumps
}

/// Each change by itself: never down, never over a minor that must not be skipped.
fn check_steps(chosen: &[Chosen<'_>], findings: &mut Findings) {
    for (node, change) in chosen.iter().flat_map(|c| c.changes.values().map(|change| (&c.node.name, change))) {
        let component = change.component;
        let (Some(from), Some(to)) = (change.from.version(), change.to.version()) else {
            let text = format!(
                "the tags of {component} state no version: whether {} may follow {} is not known",
                change.to, change.from
            );
            findings.on(node, Severity::Warning, "version-unknown", text, "use tags that begin with the version");
            continue;
        };
        let (from_tag, to_tag) = (change.from.short(), change.to.short());
        match bad_step(component, &from, &to) {
            Some(BadStep::Downgrade) => {
                let text = format!("{component} would go down from {from_tag} to {to_tag}");
                findings.on(node, Severity::Error, "downgrade", text, "stage a version that is not older");
            }
            Some(BadStep::SkipsMinor) => {
                let text = format!("{component} would skip a minor version from {from_tag} to {to_tag}");
                findings.on(
                    node,
                    Severity::Error,
                    "minor-skipped",
                    text,
                    "stage the minor versions one after the other",
                );
            }
            None => {}
        }
    }
}

/// The control plane moves only as a whole: with a member down, the next restart would cost the quorum.
fn check_control_plane(cluster: &Cluster, phases: &[Phase], findings: &mut Findings) {
    let moves = |kind| phases.iter().any(|p: &Phase| p.kind == kind);
    if !phases.iter().any(|p| p.kind != PhaseKind::Workers) {
        return;
    }
    for component in [Component::Etcd, Component::KubeApiserver] {
        // An etcd that lives elsewhere is not ours to ask for.
        if !cluster.masters().any(|n| n.components.contains_key(&component)) {
            continue;
        }
        for (node, why) in not_whole(cluster, component) {
            let text = format!("{component} must serve on every master before one restarts, but this master {why}");
            findings.on(node, Severity::Error, "control-plane-not-whole", text, "mend the master, then plan again");
        }
    }
    let masters = cluster.masters().count();
    if masters < 3 && (moves(PhaseKind::Etcd) || moves(PhaseKind::KubeApiserver)) {
        let text =
            format!("with {masters} of at least 3 masters, the API is away while a master's part of it restarts");
        findings.add(Severity::Warning, "no-redundancy", text, "pods go on; expect the API to be away for seconds");
    }
    if moves(PhaseKind::Etcd) && cluster.leaders.etcd.is_none() {
        let text = "it is not known which etcd member leads, so the plan's order may not have it last";
        findings.add(Severity::Info, "leader-unknown", text, "");
    }
}

/// Walks through the plan and asks the skew policy after every change. What is broken from the start is a warning, since the
/// plan did not cause it; what is broken anew, or more than before, is an error.
fn check_skew(cluster: &Cluster, phases: &[Phase], findings: &mut Findings) {
    let mut state = State::of(cluster);
    let mut before: HashMap<(NodeName, Component), i64> = HashMap::new();
    for (node, breach) in state.breaches() {
        let text = format!("before anything moves: {breach}").replace("would be", "is").replace("would run", "runs");
        findings.on(&node, Severity::Warning, "skew-now", text, "a plan that brings it back into line mends it");
        before.insert((node, breach.component), breach.minors);
    }
    let bound = |c: Component| c.as_str().starts_with("kube");
    if phases.iter().flat_map(|p| &p.waves).flat_map(|w| &w.swaps).flat_map(|s| &s.changes).any(|c| bound(c.component))
    {
        check_apiservers_known(cluster, &state, findings);
    }
    let mut told: BTreeSet<(NodeName, String)> = BTreeSet::new();
    for swap in phases.iter().flat_map(|p| &p.waves).flat_map(|w| &w.swaps) {
        for change in &swap.changes {
            state.set(change.component, &swap.node, change.to.version());
            for (node, breach) in state.breaches_after(change.component, &swap.node) {
                let known = before.get(&(node.clone(), breach.component)).is_some_and(|&was| breach.minors <= was);
                let text = breach.to_string();
                if !known && told.insert((node.clone(), text.clone())) {
                    let mend = "stage what keeps them in line, or widen the scope to the nodes named here";
                    findings.on(&node, Severity::Error, "skew", text, mend);
                }
            }
        }
    }
}

/// The policy measures everything by the API servers' versions: without them it would pass anything.
fn check_apiservers_known(cluster: &Cluster, state: &State, findings: &mut Findings) {
    let unknown: Vec<&NodeName> =
        cluster.masters().map(|n| &n.name).filter(|n| state.version(Component::KubeApiserver, n).is_none()).collect();
    let mend = "mend the way to the masters (sonoba doctor), and use tags that begin with the version";
    if unknown.len() == cluster.masters().count() {
        let text = "no kube-apiserver's version is known, so the version-skew policy cannot be checked";
        findings.add(Severity::Error, "apiserver-unknown", text, mend);
        return;
    }
    for node in unknown {
        let text =
            "the version of this master's kube-apiserver is not known; the version-skew policy is checked without it";
        findings.on(node, Severity::Warning, "apiserver-unknown", text, mend);
    }
}

/// Marks the swap after which etcd's cluster version goes up: the data format follows, and old members cannot join again.
fn mark_no_return(cluster: &Cluster, phases: &mut [Phase]) {
    let mut members: BTreeMap<NodeName, Option<(u32, u32)>> = cluster
        .masters()
        .filter_map(|n| {
            let etcd = n.components.get(&Component::Etcd)?;
            Some((n.name.clone(), etcd.image.version().map(|v| v.minor_of())))
        })
        .collect();
    for swap in phases.iter_mut().flat_map(|p| &mut p.waves).flat_map(|w| &mut w.swaps) {
        let Some(change) = swap.changes.iter().find(|c| c.component == Component::Etcd) else { continue };
        let to = change.to.version().map(|v| v.minor_of());
        let from = members.insert(swap.node.clone(), to);
        if let Some((major, minor)) = to
            && from != Some(to)
            && members.values().all(|m| *m == to)
        {
            swap.no_return = Some(format!(
                "with its last member on {major}.{minor}, etcd raises its cluster version; older members cannot join again"
            ));
        }
    }
}

/// What must be on which node before anything restarts, in the order in which it will be needed.
fn prefetch(phases: &[Phase]) -> Option<Phase> {
    let mut pulls: Vec<Pull> = Vec::new();
    let mut index: HashMap<&NodeName, usize> = HashMap::new();
    for swap in phases.iter().flat_map(|p| &p.waves).flat_map(|w| &w.swaps) {
        let at = *index.entry(&swap.node).or_insert_with(|| {
            pulls.push(Pull { node: swap.node.clone(), images: Vec::new() });
            pulls.len() - 1
        });
        for change in &swap.changes {
            if let Some(pull) = pulls.get_mut(at)
                && !pull.images.contains(&change.to)
            {
                pull.images.push(change.to.clone());
            }
        }
    }
    (!pulls.is_empty()).then_some(Phase { kind: PhaseKind::Prefetch, pulls, waves: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Node;
    use crate::plan::Severity;
    use crate::plan::samples::{cluster, stage};

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
    fn what_is_broken_is_left_out_by_decision() {
        use Severity::Warning;
        assert_eq!(found(|c, _| node(c, "rack0-cs1").ready = false), one(Warning, "node-not-ready", 1));
        assert_eq!(found(|c, _| node(c, "rack0-cs1").reachable = Some(false)), one(Warning, "node-unreachable", 1));
        let left_over = |name: &str| found(|c, _| node(c, "rack0-cs1").leftovers.extend([name.parse().unwrap()]));
        assert_eq!(left_over("kubelet.sonoba-prev"), one(Warning, "left-over", 1));
        assert_eq!(left_over("kubelet.sonoba-next"), one(Warning, "left-over", 1));
        let missing = found(|c, _| drop(node(c, "rack0-cs1").components.remove(&Component::KubeProxy)));
        assert_eq!(missing, one(Warning, "container-missing", 1));
        let full = found(|c, s| {
            s.limits.max_unavailable = 1;
            node(c, "rack0-cs1").ready = false;
        });
        assert_eq!(full, [one(Warning, "node-not-ready", 1), one(Warning, "rack-full", 3)].concat());
        let no_etcd_rivers = found(|c, _| {
            c.nodes.values_mut().for_each(|n| drop(n.components.remove(&Component::EtcdRivers)));
        });
        assert_eq!(no_etcd_rivers, one(Warning, "component-absent", 0));
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
        assert_eq!(codes(&three_behind), BTreeSet::from(["skew".into()]), "1.36 apiservers leave 1.32 kubelets behind");
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
        assert_eq!(
            plan.findings[0].text,
            "before anything moves: kubelet 1.31.9.1 is 4 minors older than kube-apiserver 1.35.6.1; 3 allowed"
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
}
