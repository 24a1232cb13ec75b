use super::*;
use crate::fleet::{Cluster, Component, Version};
use crate::plan::samples::{cluster, image, stage};
use crate::plan::{ArgEdit, Facts, Finding, NodeFacts, Plan, Settings, Severity, Stage, make_with};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

#[test]
fn every_entry_is_detected_by_its_samples_and_has_its_source() {
    let entries = built_in().unwrap();
    let mut ids = BTreeSet::new();
    for entry in entries {
        entry.prove().unwrap_or_else(|why| panic!("{}: {why}", entry.id));
        assert!(ids.insert(&entry.id), "{} is there twice", entry.id);
        assert!(entry.source.starts_with("https://"), "{}", entry.id);
        let sampled = !entry.hit.is_empty() && !entry.miss.is_empty();
        assert_eq!(sampled, entry.detect != Detect::Always, "{} has its samples", entry.id);
        // By version: met on the way over it, not before and not after.
        let (major, minor, patch) = entry.since.upstream();
        let below = entry.only.from_below.clone().unwrap_or_else(|| version("0.0.1"));
        let before = version(&format!("{major}.{}.0", minor - 1)).min(below);
        let at = version(&format!("{major}.{minor}.{patch}"));
        assert!(entry.crossed(&before, &at) || entry.only.from_below.is_some(), "{}", entry.id);
        assert!(!entry.crossed(&at, &version(&format!("{major}.{}.0", minor + 1))), "{}", entry.id);
        assert!(!entry.crossed(&version("0.1.0"), &before), "{}", entry.id);
        if let Some(until) = &entry.until {
            assert!(entry.since < *until && !entry.crossed(&before, until), "{}", entry.id);
        }
    }
}

#[test]
fn each_component_has_its_entries_from_1_24_on() {
    let entries = built_in().unwrap();
    let mut count: BTreeMap<Component, usize> = BTreeMap::new();
    for component in entries.iter().filter(|e| e.since >= version("1.24.0")).flat_map(|e| &e.components) {
        *count.entry(*component).or_default() += 1;
    }
    for component in Component::ALL.into_iter().filter(|c| c.as_str().starts_with("kube")) {
        assert!(count[&component] >= 60, "{component}: {}", count[&component]);
    }
    // etcd counts its own versions; several flags share an entry.
    assert!(entries.iter().filter(|e| e.components.contains(&Component::Etcd)).count() >= 20);
}

#[test]
fn what_a_change_of_arguments_mends_is_mended_by_it() {
    for entry in built_in().unwrap().iter().filter(|e| !e.change.is_empty() && !matches!(e.detect, Detect::Cgroup(_))) {
        let sample = [vec!["program".to_owned()], entry.hit.clone()].concat();
        let mended = ArgEdit::apply_all(&entry.change, &sample);
        assert_ne!(mended, sample, "{}", entry.id);
        let after = Entry { hit: Vec::new(), miss: mended[1..].to_vec(), ..entry.clone() };
        after.prove().unwrap_or_else(|why| panic!("{}: after its change, {why}", entry.id));
    }
}

#[test]
fn what_a_change_sets_may_be_shown() {
    let masker = crate::fleet::Masker::new(crate::fleet::Salt::new([0; 32]), []);
    for entry in built_in().unwrap() {
        assert_eq!(entry.sets_masked(&masker), None, "{}", entry.id);
    }
}

#[test]
fn an_error_names_the_entry_and_the_field() {
    const GOOD: &str = "[[entry]]\nid = \"mine\"\ncomponent = \"kubelet\"\nsince = \"1.36.0\"\nkind = \"flag-removed\"\n\
        severity = \"error\"\ntext = \"t\"\nmend = \"m\"\nsource = \"https://example.com\"\n[entry.detect]\nflag = \"--mine\"\n";
    assert_eq!(parse(GOOD).unwrap().len(), 1);
    let wrong = |from: &str, to: &str| {
        assert!(GOOD.contains(from), "{from}");
        parse(&GOOD.replacen(from, to, 1)).unwrap_err()
    };
    for (from, to, field, word) in [
        ("\"kubelet\"", "\"kublet\"", "component", "kube-apiserver"),
        ("\"1.36.0\"", "\"1.36\"", "since", "MAJOR.MINOR.PATCH"),
        ("\"flag-removed\"", "\"gone\"", "kind", "gate-locked"),
        ("\"error\"", "\"bad\"", "severity", "warning"),
        ("\"https://example.com\"", "\"a friend\"", "source", "https"),
        ("flag = \"--mine\"", "flag = \"mine\"", "detect.flag", "--name"),
        ("flag = \"--mine\"", "flag = \"--mine\"\nalways = true", "detect", "exactly one"),
        ("flag = \"--mine\"", "", "detect", "exactly one"),
        ("flag = \"--mine\"", "flag = []", "detect", "empty"),
        ("flag = \"--mine\"", "cgroup = \"v3\"", "detect.cgroup", "v1 or v2"),
        ("flag = \"--mine\"", "gate = \"A\"\nvalues = [\"x\"]", "detect.values", "flag or config_field"),
        ("flag = \"--mine\"", "flag = \"--mine\"\n[entry.change]\nset = \"--mine\"", "change.set", "--flag=value"),
        ("flag = \"--mine\"", "always = true\n[entry.change]\ndrop = true", "change.drop", "flag"),
        ("[entry.detect]", "colour = \"red\"\n[entry.detect]", "colour", "unknown field"),
        ("mend = \"m\"\n", "", "mend", "missing"),
        ("\"mine\"", "\"Mine\"", "id", "lower-case"),
    ] {
        let error = wrong(from, to);
        let text = error.to_string();
        assert!(text.starts_with("entry ") && text.contains(field) && text.contains(word), "{to}: {text}");
        assert!(text.contains("ine") && !text.contains('\n') && error.line == Some(1), "{text}");
    }
    assert!(parse("[[entry]\n").unwrap_err().line.is_some());
    assert!(parse(&format!("{GOOD}{GOOD}")).unwrap_err().to_string().contains("another entry"));
}

/// The sample cluster with these arguments of one component on one node, over `from` to `to`.
pub(super) struct Case {
    cluster: Cluster,
    facts: Facts,
    stage: Stage,
    settings: Settings,
}

impl Case {
    /// Its releases are one of each of these minor versions.
    fn goes_by(&mut self, minors: std::ops::RangeInclusive<u32>) {
        let release = |minor: u32| {
            let image = format!("ghcr.io/cybozu/kubernetes:1.{minor}.2.1").parse::<crate::fleet::Image>().unwrap();
            let images = self.stage.bumps.iter().map(|b| (b.component, image.clone())).collect();
            crate::plan::Release { name: format!("1.{minor}.2"), images }
        };
        self.stage.way = minors.map(release).collect();
    }

    pub(super) fn new(from: &str, to: &str) -> Case {
        let mut cluster = cluster(3, 4, 2);
        let mut stage = stage();
        for component in Component::ALL.into_iter().filter(|c| c.as_str().starts_with("kube")) {
            let kubernetes = |tag: &str| format!("ghcr.io/cybozu/kubernetes:{tag}.1").parse().unwrap();
            for running in cluster.nodes.values_mut().filter_map(|n| n.components.get_mut(&component)) {
                running.image = kubernetes(from);
            }
            stage.bumps.iter_mut().filter(|b| b.component == component).for_each(|b| b.to = kubernetes(to));
        }
        stage.bumps.retain(|b| b.component.as_str().starts_with("kube"));
        Case { cluster, facts: Facts::default(), stage, settings: Settings::default() }
    }

    pub(super) fn args(&mut self, node: &str, component: Component, args: &str) {
        let node = self.cluster.nodes.get_mut(&node.parse::<crate::fleet::NodeName>().unwrap()).unwrap();
        node.components.get_mut(&component).unwrap().args = args.split(' ').map(str::to_owned).collect();
    }

    fn node(&mut self, node: &str) -> &mut NodeFacts {
        self.facts.nodes.entry(node.parse().unwrap()).or_default()
    }

    fn config(&mut self, node: &str, component: Component, text: &str) {
        self.node(node).components.entry(component).or_default().config = Some(text.into());
    }

    pub(super) fn plan(&self) -> Plan {
        make_with(&self.cluster, &self.facts, &self.stage, &self.settings, Timestamp::UNIX_EPOCH)
    }

    /// What the catalogue found.
    fn found(&self) -> Vec<Finding> {
        let known: BTreeSet<&str> =
            built_in().unwrap().iter().chain(&self.settings.catalogue).map(|e| e.id.as_str()).collect();
        let all = self.plan().findings.into_iter();
        all.filter(|f| known.contains(f.code.as_str()) || f.code == "config-unreadable").collect()
    }

    fn codes(&self) -> Vec<(Severity, String, usize)> {
        self.found().into_iter().map(|f| (f.severity, f.code, f.nodes.len())).collect()
    }
}

fn edits(plan: &Plan, component: Component) -> Vec<ArgEdit> {
    let changes = plan.swaps().flat_map(|(_, _, s)| &s.changes).filter(|c| c.component == component);
    changes.flat_map(|c| c.args.clone()).collect()
}

#[test]
fn one_finding_an_entry_with_all_its_nodes_and_an_offer_that_the_operator_takes() {
    let mut case = Case::new("1.31.4", "1.32.2");
    for node in ["rack0-cs1", "rack1-cs1"] {
        case.args(node, Component::Kubelet, "kubelet --runonce=false --v=2");
    }
    let found = case.found();
    let codes: Vec<&str> = found.iter().map(|f| f.code.as_str()).collect();
    assert_eq!(codes, ["kubelet-flag-runonce"]);
    let one = &found[0];
    assert_eq!((one.severity, one.nodes.len(), one.acknowledgeable), (Severity::Error, 2, true));
    assert_eq!(one.offer, "drop --runonce");
    assert!(one.link.starts_with("https://") && case.plan().refused());
    assert_eq!(edits(&case.plan(), Component::Kubelet), []);

    case.stage.accept = vec!["kubelet-flag-runonce".into()];
    let plan = case.plan();
    assert!(!plan.refused(), "{:?}", plan.findings);
    let one = plan.findings.iter().find(|f| f.code == "kubelet-flag-runonce").unwrap();
    assert_eq!(one.severity, Severity::Info);
    assert!(one.text.ends_with("; fixed by: drop --runonce"), "{}", one.text);
    assert_eq!(edits(&plan, Component::Kubelet).len(), 2);
    assert_eq!(edits(&plan, Component::KubeProxy), []);

    case.stage.accept = Vec::new();
    case.stage.acknowledged = vec!["kubelet-flag-runonce".into()];
    let plan = case.plan();
    assert!(!plan.refused() && edits(&plan, Component::Kubelet).is_empty());
}

#[test]
fn an_unknown_name_is_told() {
    let mut case = Case::new("1.35.6", "1.36.2");
    case.stage.accept = vec!["all".into(), "kubelet-flag-runnonce".into()];
    case.stage.acknowledged = vec!["skew".into()];
    let codes: Vec<String> = case.plan().findings.into_iter().map(|f| f.code).collect();
    assert_eq!(codes, ["accepted-nothing", "acknowledged-nothing"]);
}

#[test]
fn a_gate_that_is_gone_stops_every_kubernetes_component_and_one_in_a_file_is_not_mended_by_arguments() {
    let mut case = Case::new("1.36.0", "1.37.0");
    let args = "program --feature-gates=SidecarContainers=true,A=true";
    case.args("rack0-m1", Component::KubeScheduler, args);
    case.args("rack0-cs1", Component::KubeProxy, args);
    case.config("rack1-cs1", Component::Kubelet, "featureGates:\n  SidecarContainers: true\n");
    let all = case.found();
    let texts: Vec<(&str, &str)> = all.iter().map(|f| (f.text.split(' ').next().unwrap(), f.offer.as_str())).collect();
    let drop = "drop the gate SidecarContainers";
    assert_eq!(texts, [("kube-proxy", drop), ("kube-scheduler", drop), ("kubelet", "")]);
    case.stage.accept = vec!["all".into()];
    let left: Vec<Severity> = case.found().iter().map(|f| f.severity).collect();
    assert_eq!(left, [Severity::Error, Severity::Info, Severity::Info]);
}

#[test]
fn what_the_node_is_counts() {
    let mut case = Case::new("1.34.2", "1.35.1");
    case.args("rack0-cs1", Component::Kubelet, "kubelet --v=2");
    case.node("rack0-cs1").cgroup = Some(1);
    case.node("rack1-cs1").cgroup = Some(2);
    case.node("rack0-cs2").runtime = Some("containerd://1.6.39".into());
    let expected =
        [(Severity::Error, "kubelet-cgroup-v1-refused"), (Severity::Warning, "kubelet-containerd-1-6-dropped")];
    let expected: Vec<_> = expected.into_iter().map(|(s, c)| (s, c.to_owned(), 1)).collect();
    assert_eq!(case.codes(), expected);
    // Either way to allow it is seen; the offer is one of them.
    case.config("rack0-cs1", Component::Kubelet, "failCgroupV1: false\n");
    assert_eq!(case.codes(), expected[1..]);
    case.facts.nodes.get_mut(&"rack0-cs1".parse::<crate::fleet::NodeName>().unwrap()).unwrap().components.clear();
    case.stage.accept = vec!["kubelet-cgroup-v1-refused".into()];
    assert_eq!(case.codes()[1], (Severity::Info, "kubelet-cgroup-v1-refused".into(), 1));
    let set = ArgEdit::Set { flag: "--fail-cgroupv1".parse().unwrap(), value: "false".into() };
    assert_eq!(edits(&case.plan(), Component::Kubelet), [set]);
}

#[test]
fn configuration_files_are_read_and_their_values_are_not_told() {
    let mut case = Case::new("1.29.5", "1.30.2");
    let secret = "memorySwap:\n  swapBehavior: UnlimitedSwap\ntoken: hunter2\n";
    case.config("rack0-cs1", Component::Kubelet, secret);
    case.config("rack1-cs1", Component::Kubelet, "token: [hunter2\n");
    let expected =
        [(Severity::Error, "kubelet-config-swap-behavior-unlimited"), (Severity::Warning, "config-unreadable")];
    assert_eq!(case.codes(), expected.map(|(s, c)| (s, c.to_owned(), 1)));
    let plan = serde_json::to_string(&case.plan()).unwrap();
    assert!(!plan.contains("hunter2"), "{plan}");
}

#[test]
fn what_is_mended_in_one_hop_stays_mended_and_each_hop_is_asked_by_itself() {
    let mut case = Case::new("1.33.1", "1.36.2");
    case.goes_by(34..=36);
    // Gone in 1.34 and in 1.35; the API server stops at each minor, the kubelet at none.
    case.args("rack0-m1", Component::KubeApiserver, "kube-apiserver --feature-gates=StrictCostEnforcementForVAP=true");
    case.args("rack0-cs1", Component::Kubelet, "kubelet --cloud-config=/x --pod-infra-container-image=p:3 --v=2");
    let codes: Vec<String> = case.found().into_iter().map(|f| f.code).collect();
    let three =
        ["gate-strict-cost-enforcement-for-vap", "kubelet-flag-cloud-config", "kubelet-flag-pod-infra-container-image"];
    assert_eq!(codes, three);
    case.stage.accept = vec!["all".into()];
    let plan = case.plan();
    assert!(!plan.refused(), "{:?}", plan.findings);
    let with_edits: Vec<(&str, usize)> = plan
        .swaps()
        .flat_map(|(_, _, s)| &s.changes)
        .filter(|c| !c.args.is_empty())
        .map(|c| (c.to.short(), c.args.len()))
        .collect();
    assert_eq!(with_edits, [("1.35.2.1", 1), ("1.36.2.1", 2)]);
}

#[test]
fn the_operators_own_entries_are_asked_too_and_replace_built_in_ones() {
    let mut case = Case::new("1.35.6", "1.36.2");
    case.args("rack0-cs1", Component::Kubelet, "kubelet --house-flag --feature-gates=CSIMigrationPortworx=true");
    let own = |id: &str, detect: &str| {
        format!(
            "[[entry]]\nid = \"{id}\"\ncomponent = \"kubelet\"\nsince = \"1.36.0\"\nkind = \"flag-removed\"\n\
             severity = \"warning\"\ntext = \"{{component}} of this house does not like {{flag}}\"\nmend = \"ask\"\n\
             source = \"https://example.com\"\n[entry.detect]\n{detect}\n"
        )
    };
    let text = own("house", "flag = \"--house-flag\"") + &own("gate-csi-migration-portworx", "flag = \"--never\"");
    assert_eq!(case.codes().len(), 1);
    case.settings.catalogue = parse(&text).unwrap();
    let found = case.found();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].text, "kubelet of this house does not like --house-flag");
    assert_eq!((found[0].severity, found[0].acknowledgeable), (Severity::Warning, false));
}

#[test]
fn what_changes_for_everybody_is_noted_and_is_no_finding() {
    let case = Case::new("1.35.6", "1.36.2");
    let plan = case.plan();
    assert_eq!(plan.findings, []);
    let notes: Vec<&str> = plan.notes.iter().map(|n| n.code.as_str()).collect();
    let expected = [
        "kube-apiserver-metric-etcd-bookmark",
        "kube-apiserver-strict-ip-cidr",
        "kube-controller-manager-metric-volume-operation-errors",
        "kubelet-git-repo-volumes-gone",
        "kube-proxy-conntrack-max-cap",
    ];
    assert_eq!(notes, expected);
    let patch = Case::new("1.36.1", "1.36.2").plan();
    assert_eq!((patch.notes, patch.findings), (Vec::new(), Vec::new()));
}

#[test]
fn the_state_that_an_etcd_version_leaves_is_asked_by_version() {
    let mut case = Case::new("1.35.6", "1.36.2");
    let over = |case: &mut Case, from: &str| {
        for running in case.cluster.nodes.values_mut().filter_map(|n| n.components.get_mut(&Component::Etcd)) {
            running.image = format!("ghcr.io/cybozu/etcd:{from}").parse().unwrap();
        }
        case.stage.bumps = crate::plan::samples::stage().bumps;
        case.codes().into_iter().map(|(_, code, _)| code).filter(|c| c.starts_with("etcd-state")).collect::<Vec<_>>()
    };
    assert_eq!(image(Component::Etcd, 1), "ghcr.io/cybozu/etcd:3.6.11.1");
    assert_eq!(
        over(&mut case, "3.5.21.1"),
        ["etcd-state-learner-promotion", "etcd-state-zombie-members", "etcd-state-v2-content"]
    );
    assert_eq!(over(&mut case, "3.5.32.1"), Vec::<String>::new());
}

/// Code, severity and the words of what was found.
fn told(case: &Case) -> Vec<(String, Severity, String)> {
    case.plan().findings.into_iter().map(|f| (f.code, f.severity, f.text)).collect()
}

#[test]
fn a_gate_that_the_target_does_not_know_is_an_error_whatever_its_history() {
    for (from, to, gate, code, words) in [
        // Gone long before the version that runs: no entry is crossed.
        ("1.36.0", "1.36.2", "CPUManager=true", "gate-cpu-manager", "no longer knows the feature gate CPUManager"),
        ("1.35.1", "1.36.2", "PodIndexLabel=true", "gate-pod-index-label", "no longer knows"),
        // Not there yet.
        ("1.35.1", "1.35.2", "DRAListTypeAttributes=true", "gate-dra-list-type-attributes", "before 1.36"),
        // Never there: a slip of the pen, or a build of one's own.
        (
            "1.35.1",
            "1.36.2",
            "SidecarContainer=true",
            "gate-sidecar-container",
            "no release from 1.29 to 1.36 knows it",
        ),
        ("1.35.1", "1.36.2", "JobManagedBy=false", "gate-job-managed-by-locked", "the feature gate is locked"),
    ] {
        let mut case = Case::new(from, to);
        case.args("rack0-m1", Component::KubeScheduler, &format!("kube-scheduler --feature-gates={gate}"));
        let found = told(&case);
        assert_eq!(found.len(), 1, "{gate}: {found:?}");
        assert_eq!((found[0].0.as_str(), found[0].1), (code, Severity::Error), "{gate}");
        assert!(found[0].2.contains(words), "{}", found[0].2);
        let plan = case.plan();
        assert!(plan.findings[0].acknowledgeable && plan.findings[0].link.starts_with("https://"));
        assert!(plan.findings[0].offer.starts_with("drop the gate "), "{}", plan.findings[0].offer);
        case.stage.accept = vec![code.into()];
        let plan = case.plan();
        assert!(!plan.refused(), "{gate}: {:?}", plan.findings);
        assert_eq!(edits(&plan, Component::KubeScheduler).len(), 1, "{gate}");
    }
}

#[test]
fn what_the_target_knows_or_the_tables_do_not_cover_is_not_found() {
    for (from, to, args) in [
        ("1.35.1", "1.36.2", "--feature-gates=AllAlpha=false,AllBeta=true,JobManagedBy=true,ContextualLogging=false"),
        ("1.35.1", "1.36.2", "--feature-gates= --v=2"),
        ("1.27.3", "1.28.2", "--feature-gates=MyOwn=true"),
    ] {
        let mut case = Case::new(from, to);
        case.args("rack0-cs1", Component::Kubelet, &format!("kubelet {args}"));
        let errors = told(&case).into_iter().filter(|(_, severity, _)| *severity == Severity::Error);
        assert_eq!(errors.count(), 0, "{args}");
    }
    // kube-proxy takes no gates from its arguments once it has a file, and etcd's are its own.
    let mut case = Case::new("1.35.1", "1.36.2");
    case.args("rack0-cs1", Component::KubeProxy, "kube-proxy --config=/c --feature-gates=NoSuchGate=true");
    case.args("rack0-m1", Component::Etcd, "etcd --feature-gates=InitialCorruptCheck=true");
    let gates = |case: &Case| {
        let codes = told(case).into_iter().map(|(code, ..)| code);
        codes.filter(|code| code.starts_with("gate-")).collect::<Vec<_>>()
    };
    assert_eq!(gates(&case), Vec::<String>::new());
    case.config("rack0-cs1", Component::KubeProxy, "featureGates:\n  NoSuchGate: true\n");
    assert_eq!(gates(&case), ["gate-no-such-gate"]);
}

#[test]
fn one_gate_makes_one_finding_over_all_hops_and_the_operators_entry_stands_in_for_it() {
    let mut case = Case::new("1.33.1", "1.36.2");
    case.goes_by(34..=36);
    // Gone in 1.34, with an entry; gone in 1.35, without one.
    case.args(
        "rack0-m1",
        Component::KubeApiserver,
        "kube-apiserver --feature-gates=PodDisruptionConditions=true,PodIndexLabel=true",
    );
    let codes = |case: &Case| {
        let errors = told(case).into_iter().filter(|(_, severity, _)| *severity == Severity::Error);
        errors.map(|(code, ..)| code).collect::<Vec<_>>()
    };
    assert_eq!(codes(&case), ["gate-pod-disruption-conditions", "gate-pod-index-label"]);
    case.settings.catalogue = parse(
        "[[entry]]\nid = \"gate-pod-index-label\"\ncomponent = \"kube-apiserver\"\nsince = \"1.35.0\"\nkind = \"gate-removed\"\n\
         severity = \"info\"\ntext = \"our build knows it\"\nmend = \"no\"\nsource = \"https://example.com\"\n\
         [entry.detect]\ngate = \"PodIndexLabel\"\n",
    )
    .unwrap();
    assert_eq!(codes(&case), ["gate-pod-disruption-conditions"]);
    case.stage.accept = vec!["all".into()];
    assert!(!case.plan().refused());
}

#[test]
fn a_flag_that_left_before_the_version_that_runs_is_found_and_unknown_ones_are_not_judged() {
    let mut case = Case::new("1.36.0", "1.36.2");
    case.args("rack0-cs1", Component::Kubelet, "kubelet --register_schedulable=true --house-flag=1");
    let found = told(&case);
    assert_eq!(found[0].0, "kubelet-flag-register-schedulable");
    assert_eq!(found[0].2, "kubelet no longer knows --register-schedulable and does not start with it");
    assert_eq!(found.len(), 1);
    case.stage.accept = vec!["all".into()];
    assert!(!case.plan().refused());
}

#[test]
fn two_flags_of_one_value_without_a_third_are_seen() {
    let mut case = Case::new("1.34.2", "1.35.1");
    let same = "kube-apiserver --client-ca-file=/ca.crt --requestheader-client-ca-file=/ca.crt";
    case.args("rack0-m1", Component::KubeApiserver, same);
    let errors = |case: &Case| {
        let errors = told(case).into_iter().filter(|(_, severity, _)| *severity == Severity::Error);
        errors.map(|(code, ..)| code).collect::<Vec<_>>()
    };
    assert_eq!(errors(&case), ["kube-apiserver-requestheader-same-ca"]);
    case.args("rack0-m1", Component::KubeApiserver, &format!("{same} --requestheader-allowed-names=aggregator"));
    assert_eq!(errors(&case), Vec::<String>::new());
}

#[test]
fn files_that_are_not_looked_into_are_told() {
    let mut case = Case::new("1.35.1", "1.36.2");
    for node in ["rack0-cs1", "rack1-cs1"] {
        case.args(node, Component::Kubelet, "kubelet --config=/c --config-dir /d");
    }
    let plan = case.plan();
    let found: Vec<_> = plan.findings.iter().map(|f| (f.code.as_str(), f.severity, f.nodes.len())).collect();
    assert_eq!(found, [("catalogue-unread", Severity::Info, 2)]);
}

#[test]
fn a_plan_says_what_its_silence_is_worth() {
    let plan = Case::new("1.35.6", "1.36.2").plan();
    let words = "knows all feature gates of Kubernetes 1.29 to 1.36 and flags removed in them";
    assert_eq!(plan.coverage.as_ref().unwrap().to_string(), words);
    let page = crate::plan::render(&plan).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(page.contains(&format!("The catalogue {words}.")), "{page}");
    // A plan that was written before is read.
    let mut old = serde_json::to_value(&plan).unwrap();
    assert_eq!(old.as_object_mut().unwrap().remove("coverage").unwrap()["gates"]["first"], "1.29");
    let old: Plan = serde_json::from_value(old).unwrap();
    assert_eq!(old, Plan { coverage: None, ..plan });

    let plan = Case::new("1.36.0", "1.37.0").plan();
    assert_eq!(plan.coverage.as_ref().unwrap().outside, ["1.37"]);
    let finding = plan.findings.iter().find(|f| f.code == "catalogue-coverage").unwrap();
    assert_eq!(finding.severity, Severity::Info);
    assert!(finding.text.contains("of 1.37 is known") && finding.text.contains("1.29 to 1.36"), "{}", finding.text);

    let mut etcd = Case::new("1.35.6", "1.36.2");
    etcd.stage.bumps = crate::plan::samples::stage().bumps;
    etcd.stage.bumps.retain(|b| b.component == Component::Etcd);
    assert_eq!(etcd.plan().coverage, None);
}
