//! Each rule over the facts with a sample that it must tell of, and one beside it that it must not.

use crate::fleet::{Cluster, Component, Image, NodeName};
use crate::plan::samples::{cluster, image, stage};
use crate::plan::{
    ContainerFacts, DeprecatedApi, EtcdFacts, Facts, ImageFacts, NodeFacts, Plan, Settings, Severity, Share, Stage,
    StatefulSet, make_with,
};
use jiff::{SignedDuration, Timestamp};

const GIB: u64 = 1 << 30;

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

/// When the facts were gathered.
fn now() -> Timestamp {
    "2026-11-02T03:00:00Z".parse().unwrap()
}

fn planned(cluster: &Cluster, stage: &Stage, facts: &Facts) -> Plan {
    make_with(cluster, facts, stage, &Settings::default(), now())
}

/// What the facts add to a plan that is without findings but for the etcd snapshot's.
fn told(change: impl FnOnce(&mut Cluster, &mut Facts)) -> Vec<(Severity, String, Vec<String>)> {
    let mut cluster = cluster(3, 6, 3);
    let mut facts = Facts { at: Some(now()), api: Some(Default::default()), ..Facts::default() };
    for node in cluster.nodes.values() {
        let facts_of = NodeFacts {
            arch: Some("amd64".into()),
            disk_free: Some(60 * GIB),
            disk_total: Some(100 * GIB),
            clock_off_ms: Some(100),
            ..NodeFacts::default()
        };
        facts.nodes.insert(node.name.clone(), facts_of);
    }
    for component in Component::ALL {
        let known = ImageFacts { size: Some(GIB), archs: ["amd64".to_owned()].into(), missing: false };
        facts.images.insert(image(component, 1).parse().unwrap(), known);
    }
    let plain = codes(&planned(&cluster, &stage(), &facts));
    change(&mut cluster, &mut facts);
    let all = codes(&planned(&cluster, &stage(), &facts));
    all.into_iter().filter(|found| !plain.contains(found)).collect()
}

fn codes(plan: &Plan) -> Vec<(Severity, String, Vec<String>)> {
    let nodes = |f: &crate::plan::Finding| f.nodes.iter().map(ToString::to_string).collect();
    plan.findings.iter().map(|f| (f.severity, f.code.clone(), nodes(f))).collect()
}

fn on(severity: Severity, code: &str, nodes: &[&str]) -> Vec<(Severity, String, Vec<String>)> {
    vec![(severity, code.into(), nodes.iter().map(|n| (*n).to_owned()).collect())]
}

fn node<'a>(facts: &'a mut Facts, of: &str) -> &'a mut NodeFacts {
    facts.nodes.get_mut(&name(of)).unwrap()
}

fn container<'a>(facts: &'a mut Facts, of: &str, component: Component) -> &'a mut ContainerFacts {
    node(facts, of).components.entry(component).or_default()
}

fn etcd<'a>(facts: &'a mut Facts, of: &str) -> &'a mut EtcdFacts {
    node(facts, of).etcd.get_or_insert_default()
}

fn kubernetes() -> Image {
    image(Component::Kubelet, 1).parse().unwrap()
}

#[test]
fn an_image_that_the_registry_lacks() {
    let lacks = |facts: &mut Facts| facts.images.get_mut(&kubernetes()).unwrap().missing = true;
    let all = told(|_, facts| lacks(facts));
    assert_eq!((all[0].0, all[0].1.as_str(), all[0].2.len()), (Severity::Error, "image-missing", 9));
    let here = told(|_, facts| {
        lacks(facts);
        facts.nodes.values_mut().skip(1).for_each(|n| n.images.extend([kubernetes()]));
    });
    assert_eq!(here, on(Severity::Error, "image-missing", &["rack0-cs1"]), "only where it must still be pulled");
}

#[test]
fn an_image_for_another_processor() {
    let only = |archs: &[&str]| {
        let archs = archs.iter().map(|a| (*a).to_owned()).collect();
        told(|_, facts| {
            facts.images.get_mut(&kubernetes()).unwrap().archs = archs;
            node(facts, "rack1-cs1").arch = Some("arm64".into());
        })
    };
    assert_eq!(only(&["amd64", "arm64"])[0].2, ["rack1-cs1"], "the other images have none for it");
    assert_eq!(only(&["amd64", "arm64"]).len(), 1);
    assert_eq!(only(&["amd64"]).len(), 2);
    assert_eq!(only(&[]), only(&["amd64", "arm64"]), "what is not known is no finding");
}

#[test]
fn a_disk_that_is_too_small() {
    // A worker pulls two images.
    let free = |bytes| told(|_, facts| node(facts, "rack1-cs1").disk_free = Some(bytes));
    assert_eq!(free(2 * GIB), on(Severity::Error, "disk-space", &["rack1-cs1"]));
    assert_eq!(free(3 * GIB), on(Severity::Warning, "disk-pressure", &["rack1-cs1"]));
    assert_eq!(free(17 * GIB), on(Severity::Warning, "disk-pressure", &["rack1-cs1"]));
    assert_eq!(free(18 * GIB), []);
}

#[test]
fn a_clock_that_is_off() {
    let off = |ms| told(|_, facts| node(facts, "rack1-cs1").clock_off_ms = Some(ms));
    assert_eq!(off(2_101), on(Severity::Warning, "clock-skew", &["rack1-cs1"]));
    assert_eq!(off(-1_901), on(Severity::Warning, "clock-skew", &["rack1-cs1"]));
    assert_eq!(off(2_100), []);
    let ours = told(|_, facts| facts.nodes.values_mut().for_each(|n| n.clock_off_ms = Some(90_000)));
    assert_eq!(ours, [], "it is our own that is off");
}

#[test]
fn a_certificate_that_runs_out() {
    let until = |component, hours: i64| {
        told(|_, facts| {
            let until = now() + SignedDuration::from_hours(hours);
            container(facts, "rack0-m1", component).certificate_until = Some(until);
        })
    };
    let kubelet = Component::Kubelet;
    assert_eq!(until(kubelet, 24 * 30), on(Severity::Warning, "certificate-expires", &["rack0-m1"]));
    assert_eq!(until(kubelet, 24 * 30 + 1), []);
    assert_eq!(until(kubelet, 0), on(Severity::Error, "certificate-expired", &["rack0-m1"]));
}

#[test]
fn an_etcd_without_a_port_for_its_health() {
    let tls = "etcd --listen-client-urls=https://0.0.0.0:2379 --cert-file=/a.crt";
    let plain = "etcd --listen-client-urls=http://10.0.0.1:2379";
    let good = "etcd --listen-client-urls=https://0.0.0.0:2379 --listen-metrics-urls http://127.0.0.1:2381";
    let found = |args: &str, answers: Option<bool>| {
        told(|cluster, facts| {
            let etcd = cluster.nodes.get_mut(&name("rack0-m1")).unwrap().components.get_mut(&Component::Etcd).unwrap();
            etcd.args = args.split(' ').map(str::to_owned).collect();
            node(facts, "rack0-m1").etcd =
                answers.map(|yes| EtcdFacts { applied: yes.then_some(7), ..EtcdFacts::default() });
        })
        .into_iter()
        .filter(|(_, code, _)| !["snapshot-certificate", "catalogue-unread"].contains(&code.as_str()))
        .collect::<Vec<_>>()
    };
    let code = "etcd-no-health-port";
    for args in [tls, plain] {
        assert_eq!(found(args, Some(false)), on(Severity::Error, code, &["rack0-m1"]), "{args}");
        assert_eq!(found(args, None), on(Severity::Warning, code, &["rack0-m1"]), "{args}");
        assert_eq!(found(args, Some(true)), [], "its environment says more");
    }
    for known in [good, "etcd", "etcd --config-file=/etc/etcd.yml", "etcd --listen-metrics-urls=http://0.0.0.0:2381"] {
        assert_eq!(found(known, Some(false)), [], "{known}");
    }
}

#[test]
fn an_etcd_whose_leader_cannot_hand_over() {
    let codes = |masters: usize, settings: &Settings| {
        let plan = make_with(&cluster(masters, 3, 3), &Facts::default(), &stage(), settings, now());
        let found: Vec<_> = plan.findings.into_iter().filter(|f| f.code == "etcd-leader-stays").collect();
        found.into_iter().map(|f| (f.severity, f.text)).collect::<Vec<_>>()
    };
    let mut settings = Settings::default();
    assert_eq!(codes(3, &settings), []);
    let [(Severity::Info, text)] = &codes(1, &settings)[..] else { panic!("one member") };
    assert!(text.contains("one member") && text.contains("10 s"), "{text}");
    settings.etcd.move_leader = false;
    assert!(codes(3, &settings)[0].1.contains("move_leader = false"));
}

#[test]
fn members_of_etcd_that_are_not_well() {
    let alarm = told(|_, facts| etcd(facts, "rack0-m1").alarms.push("NOSPACE".into()));
    assert_eq!(alarm, on(Severity::Error, "etcd-alarm", &["rack0-m1"]));
    let size = |size, quota| {
        told(|_, facts| {
            etcd(facts, "rack0-m1").db_size = Some(size);
            etcd(facts, "rack0-m1").quota = quota;
        })
    };
    assert_eq!(size(1_800 << 20, None), on(Severity::Warning, "etcd-db-size", &["rack0-m1"]));
    assert_eq!(size(1_500 << 20, None), []);
    assert_eq!(size(1_800 << 20, Some(8 * GIB)), []);
    let behind = |applied| {
        told(|_, facts| {
            etcd(facts, "rack0-m1").applied = Some(applied);
            etcd(facts, "rack1-m1").applied = Some(100_000);
        })
    };
    assert_eq!(behind(94_999), on(Severity::Warning, "etcd-lag", &["rack0-m1"]));
    assert_eq!(behind(95_000), []);
}

#[test]
fn a_node_that_is_not_what_its_image_says() {
    let reports = |version: &str| {
        told(|cluster, _| {
            let node = cluster.nodes.get_mut(&name("rack1-cs1")).unwrap();
            node.kubelet_version = Some(version.parse().unwrap());
        })
    };
    assert_eq!(reports("v1.35.5"), on(Severity::Warning, "version-drift", &["rack1-cs1"]));
    assert_eq!(reports("v1.35.6"), []);
}

#[test]
fn a_node_whose_arguments_are_not_the_others() {
    let with = |extra: &'static str| {
        told(|cluster, _| {
            for node in cluster.nodes.values_mut() {
                let own = format!("--hostname-override={}", node.name);
                let labels = format!("--node-labels=rack={}", node.rack);
                let kubelet = node.components.get_mut(&Component::Kubelet).unwrap();
                kubelet.args = vec!["kubelet".into(), own, labels, "--v=2".into()];
                if node.name.as_str() == "rack1-cs1" {
                    kubelet.args.insert(1, extra.into());
                }
            }
        })
    };
    assert_eq!(with("--max-pods=200"), on(Severity::Warning, "argument-drift", &["rack1-cs1"]));
    assert_eq!(with("--node-labels=gpu=yes"), []);
}

#[test]
fn a_container_that_docker_would_start_or_remove_by_itself() {
    let policy = |policy: &'static str| {
        told(|_, facts| container(facts, "rack1-cs1", Component::Kubelet).restart_policy = Some(policy.into()))
    };
    assert_eq!(policy("always"), on(Severity::Warning, "restart-policy", &["rack1-cs1"]));
    assert_eq!(policy("unless-stopped"), []);
    let removed = told(|_, facts| container(facts, "rack1-cs1", Component::Kubelet).auto_remove = true);
    assert_eq!(removed, on(Severity::Error, "auto-remove", &["rack1-cs1"]));
}

#[test]
fn a_deadline_beyond_the_grace_period() {
    // The default needs 35 s: deadline 25, stop_timeout 5, 5 to report.
    let grace = |arg: &'static str| {
        told(|cluster, _| {
            let master = cluster.nodes.get_mut(&name("rack0-m1")).unwrap();
            master.components.get_mut(&Component::KubeControllerManager).unwrap().args =
                vec!["kube-controller-manager".into(), arg.into()];
        })
        .into_iter()
        .filter(|(_, code, _)| code != "argument-drift")
        .collect::<Vec<_>>()
    };
    assert_eq!(grace("--node-monitor-grace-period=34s"), on(Severity::Error, "deadline-over-grace", &["rack0-m1"]));
    assert_eq!(grace("--node-monitor-grace-period=35s"), []);
    assert_eq!(grace("--v=2"), [], "50 s since 1.32");
}

#[test]
fn pods_that_a_kubelet_touches() {
    let devices = told(|_, facts| {
        facts.api.as_mut().unwrap().device_pods.insert("ml".into(), 3);
    });
    assert_eq!(devices, on(Severity::Warning, "device-pods", &[]));
    // The samples go to 1.36, whose kubelet keeps pods Ready.
    let probed = |facts: &mut Facts| {
        let api = facts.api.as_mut().unwrap();
        api.probed_pods = [("web".to_owned(), 7), ("ml".to_owned(), 12)].into();
        api.singletons = vec!["web/only-1".into()];
    };
    assert_eq!(told(|_, facts| probed(facts)), []);
    let mut cluster = cluster(1, 1, 1);
    let mut stage = stage();
    for (node, image) in cluster.nodes.values_mut().zip(["1.33.5", "1.33.5"]) {
        let image: Image = format!("ghcr.io/cybozu/kubernetes:{image}").parse().unwrap();
        node.components.iter_mut().filter(|(c, _)| c.as_str().starts_with("kube")).for_each(|(_, running)| {
            running.image = image.clone();
        });
    }
    stage.bumps.retain(|b| b.component.as_str().starts_with("kube"));
    stage.bumps.iter_mut().for_each(|b| b.to = "ghcr.io/cybozu/kubernetes:1.34.2".parse().unwrap());
    let mut facts = Facts { api: Some(Default::default()), ..Facts::default() };
    probed(&mut facts);
    let found = planned(&cluster, &stage, &facts).findings;
    let flap = found.iter().find(|f| f.code == "probes-flap").unwrap();
    assert_eq!(
        flap.text,
        "1 pod is alone in serving (web/only-1); 19 pods with readiness or startup probes are shown NotReady for a moment \
         when their kubelet restarts: ml 12, web 7"
    );
    assert!(!found.iter().any(|f| f.code == "pods-not-ready"));
}

#[test]
fn a_stateful_set_in_one_rack() {
    let stands = |nodes: [&str; 3]| {
        told(|_, facts| {
            let nodes = nodes.iter().map(|n| name(n)).collect();
            facts.api.as_mut().unwrap().stateful_sets.push(StatefulSet { name: "db/mysql".into(), nodes });
        })
    };
    let one = on(Severity::Warning, "stateful-set-in-one-rack", &[]);
    assert_eq!(stands(["rack1-cs1", "rack1-cs2", "rack1-cs1"]), one);
    assert_eq!(stands(["rack1-cs1", "rack1-cs2", "rack2-cs1"]), []);
}

#[test]
fn apis_that_will_be_gone() {
    let used = |removed_in| {
        told(|_, facts| {
            let api = DeprecatedApi {
                group: "policy".into(),
                version: "v1beta1".into(),
                resource: "poddisruptionbudgets".into(),
                removed_in,
            };
            facts.api.as_mut().unwrap().deprecated.push(api);
        })
    };
    assert_eq!(used((1, 36)), on(Severity::Error, "deprecated-api", &[]));
    assert_eq!(used((1, 37)), []);
    assert_eq!(used((1, 35)), [], "it is gone already");
}

#[test]
fn a_cke_server_at_work() {
    let cke = told(|_, facts| facts.api.as_mut().unwrap().cke = Some("it answers at http://10.0.0.3:10180".into()));
    assert_eq!(cke, on(Severity::Warning, "cke-at-work", &[]));
}

#[test]
fn facts_of_nodes_that_do_not_move_are_no_concern() {
    let mut facts = Facts { at: Some(now()), ..Facts::default() };
    facts.images.insert(kubernetes(), ImageFacts { missing: true, ..ImageFacts::default() });
    let mut stage = stage();
    stage.bumps.clear();
    let plan = planned(&cluster(3, 6, 3), &stage, &facts);
    assert_eq!(codes(&plan), on(Severity::Info, "nothing-to-do", &[]));
}

#[test]
fn a_container_that_shares_with_another() {
    let share = |what: &str, of: &str| Share { what: what.into(), of: of.into() };
    let shares =
        |share: Share| told(|_, facts| container(facts, "rack1-cs1", Component::KubeProxy).shares = vec![share]);
    assert_eq!(shares(share("network", "kubelet")), on(Severity::Error, "shares-replaced", &["rack1-cs1"]));
    // By its id, as Docker has it; the samples' begins with the node's name.
    assert_eq!(
        shares(share("IPC namespace", "rack1-cs1-kubelet")),
        on(Severity::Error, "shares-replaced", &["rack1-cs1"])
    );
    assert_eq!(shares(share("network", "somebody")), on(Severity::Warning, "shares", &["rack1-cs1"]));
    assert_eq!(shares(share("volumes", "kubelet")), on(Severity::Warning, "shares", &["rack1-cs1"]));
    let guests = told(|_, facts| container(facts, "rack1-cs1", Component::Kubelet).guests = vec!["probe".into()]);
    assert_eq!(guests, on(Severity::Error, "network-guests", &["rack1-cs1"]));
}
