//! [`KubeCluster`] against a real HTTP server on loopback.

use super::fake::{FakeApi, Fault};
use super::patience::Patience;
use super::{ClusterError, ClusterPort, Holder, KubeCluster, Locked, SealedJournal};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::time::Duration;

const NODES: &str = "/api/v1/nodes";
const PODS: &str = "/api/v1/pods";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
const ENDPOINTS: &str = "/api/v1/namespaces/default/endpoints";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

fn node(name: &str, ready: bool) -> Value {
    let ready = if ready { "True" } else { "False" };
    json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": ready}]}})
}

fn pod(name: &str, node: &str) -> Value {
    json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name, "namespace": "db", "uid": format!("uid-{name}")},
        "spec": {"nodeName": node, "containers": []}, "status": {"phase": "Running"}})
}

async fn connect(api: &FakeApi) -> KubeCluster {
    let patience = Patience { total: Duration::from_secs(5), request: Duration::from_secs(2), ..Patience::default() };
    KubeCluster::connect_with(&api.kubeconfig(), None, patience).await.unwrap()
}

fn holder(identity: &str, seconds: u32) -> Holder {
    Holder { identity: identity.into(), seconds, sealed: None }
}

#[tokio::test]
async fn nodes_follow_the_watch_and_hostile_names_are_left_out() {
    let api = FakeApi::start().await;
    api.put(NODES, node("a", true));
    api.put(NODES, node("b; reboot", true));
    let cluster = connect(&api).await;
    let names = |all: Vec<super::NodeView>| all.into_iter().map(|n| (n.name.to_string(), n.ready)).collect::<Vec<_>>();
    assert_eq!(names(cluster.nodes().await.unwrap()), [("a".to_owned(), true)]);
    let lists = api.count("GET /api/v1/nodes?&limit");
    api.put(NODES, node("a", false));
    let seen = async {
        while cluster.nodes().await.unwrap()[0].ready {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), seen).await.expect("the watch brings the change");
    assert_eq!(api.count("GET /api/v1/nodes?&limit"), lists, "the change came by the watch, not by listing again");
}

#[tokio::test]
async fn a_copy_is_not_believed_while_the_api_is_away() {
    let api = FakeApi::start().await;
    api.put(NODES, node("a", true));
    let patience =
        Patience { total: Duration::from_millis(600), request: Duration::from_millis(300), ..Patience::default() };
    let cluster = KubeCluster::connect_with(&api.kubeconfig(), None, patience).await.unwrap();
    cluster.nodes().await.unwrap();
    api.set_away(true);
    let gone = async {
        loop {
            if let Err(error) = cluster.nodes().await {
                return error;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let error = tokio::time::timeout(Duration::from_secs(10), gone).await.expect("a stale copy is an error in the end");
    assert!(matches!(error, ClusterError::Away(_)), "{error}");
    assert!(error.to_string().contains("readyz"), "says what to do: {error}");
    api.set_away(false);
    assert_eq!(cluster.nodes().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_call_rides_over_a_restart_but_not_over_a_refusal() {
    let api = FakeApi::start().await;
    api.put(NODES, node("a", true));
    let cluster = connect(&api).await;
    cluster.nodes().await.unwrap();
    let name = "a".parse().unwrap();
    api.fail_next([Fault::Cut, Fault::Status(503), Fault::Status(429), Fault::Status(500)]);
    assert!(cluster.node(&name).await.unwrap().is_some());
    api.fail_next([Fault::Status(403)]);
    let error = cluster.node(&name).await.unwrap_err();
    assert!(matches!(&error, ClusterError::Refused(text) if text.contains("docs/rbac.yaml")), "{error}");
    assert_eq!(cluster.node(&"none".parse().unwrap()).await.unwrap(), None);
    assert_eq!(api.count("GET /api/v1/nodes/a"), 6);
}

#[tokio::test]
async fn pods_are_paged_and_only_those_of_the_node() {
    let api = FakeApi::start().await;
    for i in 0..620 {
        api.put(PODS, pod(&format!("p{i}"), "a"));
    }
    api.put(PODS, pod("other", "b"));
    let cluster = connect(&api).await;
    let pods = cluster.pods(&"a".parse().unwrap()).await.unwrap();
    assert_eq!(pods.len(), 620);
    assert!(pods.iter().all(|p| p.pod.starts_with("db/p")));
    assert_eq!(api.count("fieldSelector=spec.nodeName%3Da"), 2);
    // The second page's snapshot is gone: the list starts anew.
    api.fail_next([Fault::None, Fault::Status(410)]);
    assert_eq!(cluster.pods(&"a".parse().unwrap()).await.unwrap().len(), 620);
    assert_eq!(api.count("fieldSelector=spec.nodeName%3Da"), 6);
}

/// The lock is ours; its token.
async fn ours(cluster: &KubeCluster, holder: &Holder) -> u32 {
    match cluster.lock(holder).await.unwrap() {
        Locked::Ours(token) => token.get(),
        theirs => panic!("{theirs:?}"),
    }
}

#[tokio::test]
async fn the_lock_has_one_holder_and_comes_back_with_a_higher_token() {
    let api = FakeApi::start().await;
    let (one, two) = (connect(&api).await, connect(&api).await);
    let (ann, ben) = (holder("ann@bastion/r1", 600), holder("ben@bastion/r2", 600));
    let first = ours(&one, &ann).await;
    assert_eq!(ours(&one, &ann).await, first, "renewed");
    match two.lock(&ben).await.unwrap() {
        Locked::Theirs { by, since } => assert!(by == "ann@bastion/r1" && since.is_some()),
        Locked::Ours(_) => panic!("two holders"),
    }
    two.unlock(&ben).await.unwrap();
    assert_eq!(ours(&one, &ann).await, first, "who does not hold it cannot give it back");
    one.unlock(&ann).await.unwrap();
    assert_eq!(ours(&two, &ben).await, first + 1);
    let lease = api.get(LEASES, "sonoba").unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], "ben@bastion/r2");
    assert_eq!(lease["spec"]["leaseTransitions"], first + 1);
    // Nodes have seen a higher one.
    let lifted = two.renew(&ben, Some(crate::fleet::FenceToken::new(first + 5))).await.unwrap();
    assert_eq!(lifted, Locked::Ours(crate::fleet::FenceToken::new(first + 6)));
    assert_eq!(ours(&two, &ben).await, first + 6);
}

fn lease(by: &str, seconds: i64, renewed: Timestamp) -> serde_json::Value {
    json!({"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": {"name": "sonoba"},
        "spec": {"holderIdentity": by, "leaseDurationSeconds": seconds, "renewTime": renewed.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
        "leaseTransitions": 4}})
}

#[tokio::test]
async fn a_dead_holders_lock_is_taken_over_after_it_was_watched_for_its_whole_duration() {
    // However far the two clocks are apart.
    for off in [-400, -61, 61, 400] {
        let api = FakeApi::start().await;
        api.put(LEASES, lease("dead@old/r0", 2, Timestamp::now() + SignedDuration::from_secs(off)));
        let cluster = connect(&api).await;
        let begun = std::time::Instant::now();
        assert_eq!(ours(&cluster, &holder("ann@b/r1", 30)).await, 5);
        assert!(begun.elapsed() >= Duration::from_secs(2), "{off}: {:?}", begun.elapsed());
        assert_eq!(api.get(LEASES, "sonoba").unwrap()["spec"]["leaseTransitions"], 5);
    }
}

#[tokio::test]
async fn the_lock_remembers_how_far_the_journal_of_its_holder_was() {
    let api = FakeApi::start().await;
    let cluster = connect(&api).await;
    assert_eq!(cluster.sealed().await.unwrap(), None);
    let run: crate::fleet::RunId = "20261125-120000-0001".parse().unwrap();
    let sealed = |seq: u64| SealedJournal {
        run: run.clone(),
        head: crate::journal::Head { seq, hash: crate::journal::sha256_hex(&seq.to_be_bytes()) },
    };
    let me = |sealed| Holder { sealed, ..holder("ann@bastion/r1", 600) };
    cluster.renew(&me(Some(sealed(7))), None).await.unwrap();
    assert_eq!(cluster.sealed().await.unwrap(), Some(sealed(7)));
    cluster.renew(&me(Some(sealed(90))), None).await.unwrap();
    cluster.renew(&me(None), None).await.unwrap();
    cluster.unlock(&me(None)).await.unwrap();
    assert_eq!(cluster.sealed().await.unwrap(), Some(sealed(90)), "also when the lock was given back");
    for other in ["", "x", "20261125-120000-0001 7", "20261125-120000-0001 -7 00", "; 7 00", "a 7 00 x"] {
        assert!(other.parse::<SealedJournal>().is_err(), "{other:?}");
    }
}

#[tokio::test]
async fn a_living_holders_lock_is_never_taken_however_far_its_clock_is_off() {
    for off in [-400, 400] {
        let api = FakeApi::start().await;
        let put =
            |s: i64| api.put(LEASES, lease("ben@far/r2", 3, Timestamp::now() + SignedDuration::from_secs(off + s)));
        put(0);
        let cluster = connect(&api).await;
        let me = holder("ann@b/r1", 30);
        let renews = async {
            for s in 0..3 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                put(s + 1);
            }
        };
        let (told, ()) = tokio::join!(cluster.lock(&me), renews);
        assert!(matches!(told.unwrap(), Locked::Theirs { by, .. } if by == "ben@far/r2"), "{off}");
    }
}

#[tokio::test]
async fn a_renewal_never_waits_and_knows_how_long_it_has_watched() {
    let api = FakeApi::start().await;
    let long_ago = Timestamp::now() - SignedDuration::from_hours(1);
    api.put(LEASES, lease("dead@old/r0", 2, long_ago));
    let (cluster, me) = (connect(&api).await, holder("ann@b/r1", 30));
    let begun = std::time::Instant::now();
    assert!(matches!(cluster.renew(&me, None).await.unwrap(), Locked::Theirs { .. }));
    assert!(begun.elapsed() < Duration::from_secs(1));
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    assert_eq!(cluster.renew(&me, None).await.unwrap(), Locked::Ours(crate::fleet::FenceToken::new(5)));
}

#[tokio::test]
async fn the_leader_is_named_without_its_suffix() {
    let api = FakeApi::start().await;
    api.put(
        LEASES,
        json!({"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": {"name": "kube-scheduler"},
        "spec": {"holderIdentity": "rack0-m1_8f9c2b1e-0000-4000-8000-00000000000a"}}),
    );
    let cluster = connect(&api).await;
    assert_eq!(cluster.leader("kube-scheduler").await.unwrap().as_deref(), Some("rack0-m1"));
    assert_eq!(cluster.leader("kube-controller-manager").await.unwrap(), None);
}

#[tokio::test]
async fn an_api_server_leaves_the_endpoints_and_comes_back() {
    let api = FakeApi::start().await;
    api.put(
        ENDPOINTS,
        json!({"kind": "Endpoints", "apiVersion": "v1", "metadata": {"name": "kubernetes"},
        "subsets": [{"addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}], "ports": [{"port": 6443}]}]}),
    );
    api.put(SLICES, json!({"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "metadata": {"name": "kubernetes"},
        "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"]}], "ports": [{"port": 6443}]}));
    let cluster = connect(&api).await;
    assert!(cluster.endpoint("10.0.0.2", false).await.unwrap());
    assert!(!cluster.endpoint("10.0.0.2", false).await.unwrap());
    let addresses = |api: &FakeApi| {
        let endpoints = api.get(ENDPOINTS, "kubernetes").unwrap();
        let slice = api.get(SLICES, "kubernetes").unwrap();
        (endpoints["subsets"][0]["addresses"].as_array().unwrap().len(), slice["endpoints"].as_array().unwrap().len())
    };
    assert_eq!(addresses(&api), (1, 1));
    assert!(cluster.endpoint("10.0.0.2", true).await.unwrap());
    assert_eq!(addresses(&api), (2, 2));
    assert!(cluster.endpoint("10.0.0.2; rm", false).await.is_err());
}

#[tokio::test]
async fn a_kubeconfig_that_cannot_be_used_says_why_and_keeps_its_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none");
    let error = KubeCluster::connect(&path, None).await.err().unwrap().to_string();
    assert!(error.contains("none"), "{error}");
    let api = FakeApi::start().await;
    let error = KubeCluster::connect(&api.kubeconfig(), Some("prod")).await.err().unwrap().to_string();
    assert!(error.contains("\"prod\"") && error.contains("only: c"), "{error}");
    let plugin = "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n\
        clusters: [{name: c, cluster: {server: \"http://127.0.0.1:9\"}}]\nusers: [{name: u, user: {exec: \
        {apiVersion: client.authentication.k8s.io/v1, command: sh, args: [-c, 'echo s3cret; exit 3'], interactiveMode: Never}}}]\n";
    std::fs::write(&path, plugin).unwrap();
    let error = KubeCluster::connect(&path, None).await.err().unwrap().to_string();
    assert!(error.contains("plugin sh failed") && !error.contains("s3cret"), "{error}");
    let typo = "apiVersion: v1\nkind: Config\nusers:\n- name: u\n  user:\n    token: s3cret\n    exec: s3cret\n";
    std::fs::write(&path, typo).unwrap();
    let error = KubeCluster::connect(&path, None).await.err().unwrap().to_string();
    assert!(error.contains("at line 7") && !error.contains("s3cret"), "{error}");
}

#[tokio::test]
async fn a_list_without_an_end_and_words_without_measure_are_refused() {
    let api = FakeApi::start().await;
    let cluster = connect(&api).await;
    api.put(PODS, pod("p1", "n1"));
    api.set_endless(true);
    let error = cluster.pods(&"n1".parse().unwrap()).await.unwrap_err();
    assert!(matches!(&error, ClusterError::Refused(why) if why.contains("lists more than")), "{error}");
    api.set_endless(false);
    assert_eq!(cluster.pods(&"n1".parse().unwrap()).await.unwrap().len(), 1);
    api.say("x\u{1b}[2J\u{202e}".repeat(100_000));
    let error = cluster.pods(&"n1".parse().unwrap()).await.unwrap_err().to_string();
    assert!(!error.contains(crate::fleet::is_unclean) && error.chars().count() < 1_000, "{:.300}", error);
}
