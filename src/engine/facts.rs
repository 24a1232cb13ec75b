//! What preflight wants to know beside what runs: asked of every node in scope, of the API, of a registry, of CKE. No plan waits
//! for an answer that does not come, and none fails for want of one.

use super::asker::get;
use super::ports::Ports;
use crate::fleet::{Cluster, Component, Image, Node, NodeName, fold_names};
use crate::inventory::Profile;
use crate::plan::{Facts, NodeFacts, Scheme, Settings, Stage, Target, config_file};
use crate::remote::{AskedContainer, Inquiry, NodePort};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Nodes asked at once.
const AT_ONCE: usize = 64;
/// One node's answers, in all.
const NODE: Duration = Duration::from_secs(60);
/// Nodes that cannot be looked at, told of one by one.
const TOLD: usize = 8;
/// A page of CKE's.
const CKE: Duration = Duration::from_secs(5);

/// Gathers what is to be known before `stage` is planned on `cluster`.
pub async fn facts(profile: &Profile, ports: &Ports, cluster: &Cluster, stage: &Stage) -> Facts {
    let mut facts = Facts { at: Some(Timestamp::now()), ..Facts::default() };
    let targets = targets(stage);
    if targets.is_empty() {
        return facts;
    }
    let (nodes, shut, api, images, cke) = tokio::join!(
        nodes(profile, ports, cluster, stage, &targets),
        shut(ports, cluster, stage),
        ports.cluster.facts(),
        registry(ports, cluster, &targets),
        cke(profile)
    );
    let (nodes, silent) = nodes;
    facts.nodes = nodes;
    facts.unanswered.extend(shut);
    for (why, names) in silent {
        let names: Vec<&str> = names.iter().map(NodeName::as_str).collect();
        facts.unanswered.push(format!("{} told nothing of its state: {why}", fold_names(names)));
    }
    match api {
        Ok(told) => {
            for (name, runtime) in told.runtimes {
                if let Some(node) = facts.nodes.get_mut(&name) {
                    node.runtime = Some(runtime);
                }
            }
            facts.api = told.api;
            facts.unanswered.extend(told.unanswered);
        }
        Err(error) => facts.unanswered.push(format!("the cluster's API told nothing of its pods: {error}")),
    }
    facts.credentials = ports.cluster.credentials();
    facts.credentials.extend(ports.fleet.credentials());
    facts.images = images;
    sizes(cluster, &targets, &mut facts);
    match (cke, facts.api.as_mut()) {
        (Cke::Leads(why), Some(api)) => api.cke = Some(why),
        (Cke::NotAsked(why), _) => facts.unanswered.push(why),
        _ => {}
    }
    facts
}

/// Every image that the plan may come to, by the components that it is for.
fn targets(stage: &Stage) -> BTreeMap<Image, BTreeSet<Component>> {
    let mut targets: BTreeMap<Image, BTreeSet<Component>> = BTreeMap::new();
    let staged: BTreeSet<Component> = stage.bumps.iter().map(|b| b.component).collect();
    for bump in &stage.bumps {
        targets.entry(bump.to.clone()).or_default().insert(bump.component);
    }
    for (component, image) in stage.way.iter().flat_map(|r| &r.images).filter(|(c, _)| staged.contains(c)) {
        targets.entry(image.clone()).or_default().insert(*component);
    }
    targets
}

type Targets = BTreeMap<Image, BTreeSet<Component>>;
type Silent = BTreeMap<String, Vec<NodeName>>;

async fn nodes(
    profile: &Profile,
    ports: &Ports,
    cluster: &Cluster,
    stage: &Stage,
    targets: &Targets,
) -> (BTreeMap<NodeName, NodeFacts>, Silent) {
    let wanted = cluster.nodes.values().filter(|n| n.reachable != Some(false) && (n.master || stage.scope.takes(n)));
    let asked: Vec<_> = wanted
        .filter_map(|node| {
            let port = ports.fleet.node(&node.name)?;
            Some(ask(node.name.clone(), port, inquiry(node, &profile.settings, targets)))
        })
        .collect();
    let mut answers = stream::iter(asked).buffer_unordered(AT_ONCE);
    let (mut known, mut silent) = (BTreeMap::new(), Silent::new());
    while let Some((name, answer)) = answers.next().await {
        match answer {
            Ok(facts) => drop(known.insert(name, facts)),
            Err(why) => silent.entry(why).or_default().push(name),
        }
    }
    (known, silent)
}

/// Why nodes in scope could not be looked at: a plan that is refused for their sake says what is wrong with the first few.
async fn shut(ports: &Ports, cluster: &Cluster, stage: &Stage) -> Vec<String> {
    let shut = cluster.nodes.values().filter(|n| n.reachable == Some(false) && stage.scope.takes(n));
    let ports = shut.filter_map(|n| ports.fleet.node(&n.name)).take(TOLD);
    let asked = ports.map(|port| async move {
        match timeout(NODE, port.look(&[])).await {
            Ok(Err(error)) => Some(error.to_string()),
            _ => None,
        }
    });
    futures::future::join_all(asked).await.into_iter().flatten().collect()
}

async fn ask(name: NodeName, port: Arc<dyn NodePort>, inquiry: Inquiry) -> (NodeName, Result<NodeFacts, String>) {
    let answer = match timeout(NODE, port.facts(&inquiry)).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", NODE.as_secs())),
    };
    (name, answer)
}

fn inquiry(node: &Node, settings: &Settings, targets: &Targets) -> Inquiry {
    let mut images: BTreeSet<Image> = targets.keys().cloned().collect();
    let mut containers = Vec::new();
    for (component, running) in &node.components {
        images.insert(running.image.clone());
        let own = settings.of(*component);
        let tls = match (component, own.health.scheme) {
            (_, Scheme::Https) => Some((own.health.host.clone(), own.health.port)),
            // Where their clients come in; their health is asked elsewhere.
            (Component::Etcd, _) => Some(("127.0.0.1".to_owned(), 2379)),
            (Component::Kubelet, _) => Some(("127.0.0.1".to_owned(), 10250)),
            _ => None,
        };
        containers.push(AskedContainer {
            component: *component,
            container: running.container.clone(),
            config: config_file(&running.args).map(str::to_owned),
            tls,
            health: own.health,
            metrics: own.version.filter(|_| *component == Component::Etcd),
        });
    }
    Inquiry { containers, images: images.into_iter().collect() }
}

/// What the registry says of each image, asked from one node that answers: the bastion may have no way to it.
async fn registry(ports: &Ports, cluster: &Cluster, targets: &Targets) -> BTreeMap<Image, crate::plan::ImageFacts> {
    let mut known = BTreeMap::new();
    let mut workers = cluster.nodes.values().filter(|n| !n.master && n.reachable != Some(false));
    let Some(port) = workers.find_map(|n| ports.fleet.node(&n.name)) else { return known };
    for image in targets.keys() {
        match port.registry(image).await {
            Ok(Some(told)) => drop(known.insert(image.clone(), told)),
            Ok(None) => {}
            // The node is away: the others are not asked in its place, since each would be asked for every image.
            Err(error) => {
                tracing::info!("{error}");
                break;
            }
        }
    }
    known
}

/// Docker states no size before a pull: where no node has the image, the one that it takes the place of is as good a guess as any.
fn sizes(cluster: &Cluster, targets: &Targets, facts: &mut Facts) {
    let mut known: BTreeMap<&Image, u64> = BTreeMap::new();
    for (image, bytes) in facts.nodes.values().flat_map(|n| &n.image_bytes) {
        let most = known.entry(image).or_default();
        *most = (*most).max(*bytes);
    }
    for (image, components) in targets {
        let present = || {
            let running = cluster.nodes.values().flat_map(|n| &n.components).filter(|(c, _)| components.contains(c));
            running.filter_map(|(_, r)| known.get(&r.image)).max()
        };
        if let Some(bytes) = known.get(image).or_else(present) {
            facts.images.entry(image.clone()).or_default().size = Some(*bytes);
        }
    }
}

enum Cke {
    Leads(String),
    Rests,
    NotAsked(String),
}

/// CKE's leader is the server that acts; it says so in its metrics.
/// <https://github.com/cybozu-go/cke/blob/main/docs/metrics.md>
async fn cke(profile: &Profile) -> Cke {
    if profile.cke_servers.is_empty() {
        return match profile.from_cke() {
            true => Cke::NotAsked(
                "whether a CKE server is still at work; name them in cke_server of [inventory], or see that all are stopped"
                    .into(),
            ),
            false => Cke::Rests,
        };
    }
    for url in &profile.cke_servers {
        let target = Target { url: url.clone(), ca: None, header_file: None };
        // One that does not answer does not act.
        let Ok(reply) = get(&target, "/metrics", CKE).await else { continue };
        let text = String::from_utf8_lossy(&reply.body);
        let leads = text.lines().filter_map(|l| l.strip_prefix("cke_leader ")).any(|v| v.trim() == "1");
        if leads {
            return Cke::Leads(format!("{url} says that it leads"));
        }
    }
    Cke::Rests
}
