//! The simulated Kubernetes API, asked by kube.

use crate::client::{Sim, WORKER, sim, until};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Endpoints, Event, Node, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt, watcher};
use sonoba::fleet::Component;
use sonoba::sim::kube::{Kind, Store, serve};
use sonoba::sim::{Fault, FaultKind};

fn code(error: kube::Error) -> (u16, String) {
    match error {
        kube::Error::Api(status) => (status.code, status.reason),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn nodes_and_pods_are_listed_whole_in_pages_and_by_node() {
    let sim = sim(|s| s.speed = 1.0).await;
    let client = sim.kube().await;
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await.unwrap().items;
    assert_eq!(nodes.len(), 5);
    let worker = nodes.iter().find(|n| n.metadata.name.as_deref() == Some("rack0-cs1")).unwrap();
    let labels = worker.metadata.labels.as_ref().unwrap();
    assert_eq!(labels["topology.kubernetes.io/zone"], "rack0");
    assert_eq!(labels["cke.cybozu.com/role"], "cs");
    let status = worker.status.as_ref().unwrap();
    assert_eq!(status.node_info.as_ref().unwrap().kubelet_version, "v1.35.6");
    assert!(status.conditions.as_ref().unwrap().iter().any(|c| c.type_ == "Ready" && c.status == "True"));

    let pods = Api::<Pod>::all(client.clone());
    let all = pods.list(&ListParams::default()).await.unwrap().items;
    assert!((140..=150).contains(&all.len()), "{}", all.len());
    let on_node = pods.list(&ListParams::default().fields("spec.nodeName=rack0-cs1")).await.unwrap().items;
    assert!(on_node.iter().all(|p| p.spec.as_ref().unwrap().node_name.as_deref() == Some("rack0-cs1")));
    assert!(on_node.len() >= 28 && on_node.iter().all(|p| p.metadata.uid.is_some()));
    let first = pods.list(&ListParams::default().limit(100)).await.unwrap();
    let token = first.metadata.continue_.unwrap();
    let second = pods.list(&ListParams::default().limit(100).continue_token(&token)).await.unwrap();
    assert_eq!(second.metadata.continue_, None);
    let name = |p: &Pod| p.metadata.uid.clone();
    let paged: Vec<_> = first.items.iter().chain(&second.items).map(name).collect();
    assert_eq!(paged, all.iter().map(name).collect::<Vec<_>>());
    let meta = Api::<PartialObjectMeta<Pod>>::all(client.clone()).list(&ListParams::default()).await;
    assert_eq!(meta.unwrap().items.len(), all.len());
    // Nobody can delete or evict a pod here.
    let victim = all[0].metadata.clone();
    let api = Api::<Pod>::namespaced(client, victim.namespace.as_deref().unwrap());
    let name = victim.name.unwrap();
    assert_eq!(code(api.delete(&name, &Default::default()).await.unwrap_err()).0, 403);
    assert_eq!(code(api.evict(&name, &Default::default()).await.unwrap_err()).0, 403);
}

#[tokio::test]
async fn without_the_token_nobody_is_let_in() {
    let sim = sim(|_| ()).await;
    let config = kube::Config::new(format!("http://{}", sim.handle.api).parse().unwrap());
    let stranger = kube::Client::try_from(config).unwrap();
    let refused = Api::<Node>::all(stranger).list(&ListParams::default()).await.unwrap_err();
    assert_eq!(code(refused).0, 401);
}

#[tokio::test]
async fn a_lease_is_taken_once_and_a_stale_renewal_conflicts() {
    let sim = sim(|_| ()).await;
    let api = Api::<Lease>::namespaced(sim.kube().await, "kube-system");
    for name in ["kube-scheduler", "kube-controller-manager"] {
        let holder = api.get(name).await.unwrap().spec.unwrap().holder_identity.unwrap();
        let (node, suffix) = holder.split_once('_').unwrap();
        assert!(node.contains("-m") && suffix.len() == 36, "{holder}");
    }
    assert!(api.get_opt("sonoba").await.unwrap().is_none());
    let wish = Lease {
        metadata: ObjectMeta { name: Some("sonoba".into()), ..Default::default() },
        spec: Some(LeaseSpec { holder_identity: Some("a".into()), ..Default::default() }),
    };
    let taken = api.create(&PostParams::default(), &wish).await.unwrap();
    let again = api.create(&PostParams::default(), &wish).await.unwrap_err();
    assert_eq!(code(again), (409, "AlreadyExists".into()));
    api.replace("sonoba", &PostParams::default(), &taken).await.unwrap();
    let stale = api.replace("sonoba", &PostParams::default(), &taken).await.unwrap_err();
    assert_eq!(code(stale), (409, "Conflict".into()));
    api.delete("sonoba", &Default::default()).await.unwrap();
    assert!(api.get_opt("sonoba").await.unwrap().is_none());
}

#[tokio::test]
async fn an_api_server_is_taken_out_of_the_endpoints_and_put_back() {
    let sim = sim(|_| ()).await;
    let client = sim.kube().await;
    let endpoints = Api::<Endpoints>::namespaced(client.clone(), "default");
    let mut all = endpoints.get("kubernetes").await.unwrap();
    let subset = &mut all.subsets.as_mut().unwrap()[0];
    assert_eq!(subset.addresses.as_ref().unwrap().len(), 3);
    subset.addresses.as_mut().unwrap().pop();
    let less = endpoints.replace("kubernetes", &PostParams::default(), &all).await.unwrap();
    assert_eq!(less.subsets.unwrap()[0].addresses.as_ref().unwrap().len(), 2);
    let slices = Api::<EndpointSlice>::namespaced(client, "default");
    let slice = slices.get("kubernetes").await.unwrap();
    assert_eq!(slice.endpoints.unwrap().len(), 3);
    let patch = serde_json::json!({"endpoints": [{"addresses": ["127.77.0.1"]}]});
    let patched = slices.patch("kubernetes", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    assert_eq!(patched.endpoints.unwrap().len(), 1);
}

async fn stop(sim: &Sim, node: usize, component: Component) {
    sim.handle.with_world(|world, now| {
        let (machine, env) = world.on(node, now);
        let at = machine.find(component.as_str()).unwrap();
        machine.stop(at, 10, now, &env);
    });
}

#[tokio::test]
async fn a_watch_hears_that_a_node_is_lost() {
    let sim = sim(|s| s.timings.patience_s = 0.5).await;
    let nodes = Api::<Node>::all(sim.kube().await);
    let mut changes = watcher(nodes, watcher::Config::default()).touched_objects().boxed();
    stop(&sim, WORKER, Component::Kubelet).await;
    let lost = async {
        while let Some(node) = changes.try_next().await.unwrap() {
            let conditions = node.status.unwrap().conditions.unwrap();
            let ready = conditions.iter().find(|c| c.type_ == "Ready").unwrap();
            if node.metadata.name.as_deref() == Some("rack0-cs1") && ready.status == "Unknown" {
                return;
            }
        }
        panic!("the watch ended");
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), lost).await.unwrap();
}

#[tokio::test]
async fn a_disturbed_pod_has_new_containers_and_the_same_uid() {
    let sim = sim(|s| {
        s.faults = vec![Fault {
            node: "workers".into(),
            component: Some(Component::Kubelet),
            times: Some(1),
            pods: 2,
            ..Fault::of(FaultKind::DisturbsPods)
        }];
    })
    .await;
    let pods = Api::<Pod>::all(sim.kube().await);
    let on_node = ListParams::default().fields("spec.nodeName=rack0-cs1");
    let proof = async || -> Vec<(String, Vec<String>)> {
        let all = pods.list(&on_node).await.unwrap().items;
        let ids = |p: &Pod| {
            let statuses = p.status.as_ref().unwrap().container_statuses.clone().unwrap();
            statuses.into_iter().map(|s| s.container_id.unwrap()).collect()
        };
        all.iter().map(|p| (p.metadata.uid.clone().unwrap(), ids(p))).collect()
    };
    let before = proof().await;
    sim.handle.with_world(|world, now| {
        let image = world.scenario().releases[1].kubernetes.to_string();
        let (machine, mut env) = world.on(WORKER, now);
        machine.add_image(&image);
        let body = serde_json::json!({"Image": image});
        let old = machine.find("kubelet").unwrap();
        machine.rename(old, "kubelet.old").unwrap();
        machine.create("kubelet", body, now).unwrap();
        let new = machine.find("kubelet").unwrap();
        machine.start(new, now, &mut env).unwrap();
    });
    until("two pods are disturbed", async || {
        let after = proof().await;
        let same_uids = before.iter().zip(&after).all(|(b, a)| b.0 == a.0);
        same_uids && before.iter().zip(&after).filter(|(b, a)| b.1 != a.1).count() == 2
    })
    .await;
}

#[tokio::test]
async fn events_are_listed_in_pages_selected_by_their_fields_and_watched() {
    let sim = sim(|s| {
        s.faults = vec![Fault {
            node: "workers".into(),
            component: Some(Component::Kubelet),
            ends_s: Some(0.5),
            ..Fault::of(FaultKind::RedefinesContainers)
        }];
    })
    .await;
    let client = sim.kube().await;
    let events = Api::<Event>::all(client.clone());
    assert_eq!(events.list(&ListParams::default()).await.unwrap().items.len(), 0);
    let mut seen = watcher(events.clone(), watcher::Config::default().fields("reason=Killing,involvedObject.kind=Pod"))
        .applied_objects()
        .boxed();
    sim.handle.with_world(|world, now| {
        let image = world.scenario().releases[1].kubernetes.to_string();
        let (machine, mut env) = world.on(WORKER, now);
        machine.add_image(&image);
        let old = machine.find("kubelet").unwrap();
        machine.stop(old, 0, now, &env);
        machine.rename(old, "kubelet.old").unwrap();
        machine.create("kubelet", serde_json::json!({"Image": image}), now).unwrap();
        let new = machine.find("kubelet").unwrap();
        machine.start(new, now, &mut env).unwrap();
    });
    let told = tokio::time::timeout(std::time::Duration::from_secs(30), seen.try_next()).await.unwrap();
    let told = told.unwrap().unwrap();
    assert!(told.message.unwrap().ends_with("definition changed, will be restarted"));
    assert_eq!(told.source.unwrap().host.as_deref(), Some("rack0-cs1"));
    let count = async |fields: &str| events.list(&ListParams::default().fields(fields)).await.unwrap().items.len();
    until("all are started anew", async || count("reason=Started").await >= 30).await;
    let all = events.list(&ListParams::default()).await.unwrap().items;
    let killing = count("reason=Killing").await;
    assert!(killing >= 30 && killing < all.len());
    assert_eq!(count("reason!=Killing").await, all.len() - killing);
    assert_eq!(count("type=Normal,source=kubelet,reportingComponent=kubelet").await, all.len());
    assert_eq!(count("type!=Normal").await, 0);
    let uid = told.involved_object.uid.unwrap();
    let of_pod = events.list(&ListParams::default().fields(&format!("involvedObject.uid={uid}"))).await.unwrap().items;
    assert!(of_pod.len() >= 4 && of_pod.iter().all(|e| e.involved_object.uid.as_ref() == Some(&uid)));
    let name = told.involved_object.name.unwrap();
    assert_eq!(count(&format!("involvedObject.name={name},reason!=Killing,reason!=Pulled")).await % 2, 0);
    let bad = events.list(&ListParams::default().fields("spec.nodeName=x")).await.unwrap_err();
    assert_eq!(code(bad), (400, "BadRequest".into()));

    let (mut paged, mut token) = (0, None);
    loop {
        let mut page = ListParams::default().limit(17);
        page.continue_token = token;
        let page = events.list(&page).await.unwrap();
        paged += page.items.len();
        token = page.metadata.continue_.filter(|t| !t.is_empty());
        if token.is_none() {
            break;
        }
    }
    assert_eq!(paged, all.len());
}

#[tokio::test]
async fn the_api_is_away_only_while_no_api_server_is_up() {
    let sim = sim(|_| ()).await;
    let nodes = Api::<Node>::all(sim.kube().await);
    let answers = async || nodes.list(&ListParams::default()).await.is_ok();
    stop(&sim, 0, Component::KubeApiserver).await;
    stop(&sim, 1, Component::KubeApiserver).await;
    assert!(answers().await);
    stop(&sim, 2, Component::KubeApiserver).await;
    until("the API is away", async || !answers().await).await;
    sim.handle.with_world(|world, now| {
        let (machine, mut env) = world.on(1, now);
        let at = machine.find("kube-apiserver").unwrap();
        // Stopped some time ago by now: it starts again.
        machine.start(at, now, &mut env).unwrap();
    });
    until("the API is back", answers).await;
}

#[tokio::test]
async fn the_store_is_of_use_by_itself_and_a_watch_from_long_ago_is_told_so() {
    let store = Store::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(serve(store.clone(), listener));
    let client = kube::Client::try_from(kube::Config::new(server.parse().unwrap())).unwrap();
    let node = serde_json::json!({"metadata": {"name": "a"}, "status": {"conditions": []}});
    store.create(Kind::Node, node).unwrap();
    for _ in 0..20_001 {
        store.mutate(Kind::Node, "", "a", |_| ());
    }
    let nodes = Api::<Node>::all(client);
    let mut stream = nodes.watch(&kube::api::WatchParams::default(), "1").await.unwrap().boxed();
    match stream.next().await.unwrap() {
        Ok(kube::api::WatchEvent::Error(status)) => assert_eq!(status.code, 410),
        other => panic!("{other:?}"),
    }
    // Metadata alone is watched the same way, and bookmarks tell where it stands.
    let meta = Api::<PartialObjectMeta<Node>>::all(nodes.into_client());
    let mut seen = watcher(meta, watcher::Config::default()).touched_objects().boxed();
    assert_eq!(seen.next().await.unwrap().unwrap().metadata.name.as_deref(), Some("a"));
    store.create(Kind::Node, serde_json::json!({"metadata": {"name": "b"}})).unwrap();
    assert_eq!(seen.next().await.unwrap().unwrap().metadata.name.as_deref(), Some("b"));
}
