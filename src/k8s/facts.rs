//! What preflight wants to know of the cluster, asked of its API.
//!
//! Pods are folded page by page: in a large cluster they are too many to keep.

use super::cluster::PAGE;
use super::patience::Patience;
use super::{ClusterError, ClusterFacts};
use crate::fleet::{DEFAULT_GRACE_S, NodeName, clean_short};
use crate::plan::{ApiFacts, DeprecatedApi, LongestGrace, StatefulSet};
use k8s_openapi::api::core::v1::{Container, Node, PersistentVolume, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{Api, ListParams};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::time::Duration;
use tokio::time::timeout;

/// All pages of one kind. A plan is not worth a longer wait.
const LIST: Duration = Duration::from_secs(120);
/// Objects of one kind that are read.
const MOST: usize = 1_000_000;
/// Names that are kept of what may be many.
const NAMES: usize = 1_000;
/// kube-apiserver's own count of requests for APIs that a later release removes.
/// <https://kubernetes.io/docs/reference/instrumentation/metrics/>
const DEPRECATED: &str = "apiserver_requested_deprecated_apis{";

pub(super) async fn gather(client: &Client, patience: &Patience) -> Result<ClusterFacts, ClusterError> {
    let mut facts = ClusterFacts::default();
    let mut nodes = |node: Node| {
        let name = node.metadata.name.as_deref().and_then(|n| n.parse::<NodeName>().ok());
        let runtime = node.status.and_then(|s| s.node_info).map(|i| clean_short(&i.container_runtime_version, 100));
        facts.runtimes.extend(name.zip(runtime));
    };
    let mut pods = Pods::default();
    let mut local = BTreeMap::new();
    let mut volumes = |volume: PersistentVolume| {
        if let Some((node, bytes)) = local_volume(&volume) {
            let all: &mut u64 = local.entry(node).or_default();
            *all = all.saturating_add(bytes);
        }
    };
    let mut unanswered = Vec::new();
    let mut told = |answer: Result<(), ClusterError>| match answer {
        Err(error @ (ClusterError::Away(_) | ClusterError::Credentials(_))) => Err(error),
        Err(error) => {
            unanswered.push(error.to_string());
            Ok(false)
        }
        Ok(()) => Ok(true),
    };
    told(each(client, patience, "list the nodes", &mut nodes).await)?;
    let have_pods = told(each(client, patience, "list the pods", &mut |pod| pods.take(&pod)).await)?;
    told(each(client, patience, "list the persistent volumes", &mut volumes).await)?;
    let mut metrics = String::new();
    told(ask_metrics(client, patience).await.map(|text| metrics = text))?;
    if have_pods {
        let mut api = pods.finish();
        for (node, bytes) in local {
            let all = api.local_bytes.entry(node).or_default();
            *all = all.saturating_add(bytes);
        }
        api.deprecated = deprecated(&metrics);
        facts.api = Some(api);
    }
    facts.unanswered = unanswered;
    Ok(facts)
}

async fn ask_metrics(client: &Client, patience: &Patience) -> Result<String, ClusterError> {
    let what = "read kube-apiserver's metrics";
    let ask = || async {
        let request = hyper::Request::get("/metrics").body(Vec::new()).map_err(kube::Error::HttpError)?;
        client.request_text(request).await
    };
    Ok(patience.ask(what, ask).await?)
}

/// Gives every object of a kind to `take`, and keeps none.
async fn each<K>(client: &Client, patience: &Patience, what: &str, take: &mut impl FnMut(K)) -> Result<(), ClusterError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::all(client.clone());
    let walk = async {
        let mut params = ListParams::default().limit(PAGE);
        let mut seen = 0usize;
        loop {
            let page = patience.ask(what, || api.list(&params)).await?;
            seen = seen.saturating_add(page.items.len());
            let empty = page.items.is_empty();
            page.items.into_iter().for_each(&mut *take);
            let next = page.metadata.continue_.filter(|t| !t.is_empty());
            if next.is_some() && (empty || seen > MOST) {
                return Err(ClusterError::Refused(format!("could not {what}: the API server lists more than {MOST}")));
            }
            let Some(next) = next else { return Ok(()) };
            params.continue_token = Some(next);
        }
    };
    timeout(LIST, walk).await.unwrap_or_else(|_| {
        Err(ClusterError::Refused(format!("could not {what}: it took longer than {} s", LIST.as_secs())))
    })
}

/// Pods as they are counted.
#[derive(Default)]
struct Pods {
    facts: ApiFacts,
    /// By their controller's uid: how many run, one of them with probes, and the nodes of a StatefulSet's.
    owners: HashMap<String, Owner>,
}

#[derive(Default)]
struct Owner {
    pods: usize,
    probed: Option<String>,
    set: Option<(String, Vec<NodeName>)>,
}

impl Pods {
    fn take(&mut self, pod: &Pod) {
        let Some(spec) = &pod.spec else { return };
        let running = pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running");
        let Some(node) = spec.node_name.as_deref().and_then(|n| n.parse::<NodeName>().ok()).filter(|_| running) else {
            return;
        };
        let namespace = clean_short(pod.metadata.namespace.as_deref().unwrap_or(""), 63);
        let name = format!("{namespace}/{}", clean_short(pod.metadata.name.as_deref().unwrap_or(""), 253));
        let always = |c: &&Container| c.restart_policy.as_deref() == Some("Always");
        let ended = spec.containers.len() + spec.init_containers.iter().flatten().filter(always).count();
        let grace =
            spec.termination_grace_period_seconds.map_or(u64::from(DEFAULT_GRACE_S), |s| s.max(0).unsigned_abs());
        let grace = grace.saturating_mul(ended as u64);
        let longest = self.facts.graces.get(&node).map(|longest| longest.seconds);
        if longest.is_none_or(|longest| longest < grace) {
            self.facts.graces.insert(node.clone(), LongestGrace { seconds: grace, pod: name.clone() });
        }
        let probed = spec.containers.iter().any(|c| c.readiness_probe.is_some() || c.startup_probe.is_some());
        let sidecars = spec.init_containers.iter().flatten();
        let containers = || spec.containers.iter().chain(sidecars.clone());
        if probed {
            *self.facts.probed_pods.entry(namespace.clone()).or_default() += 1;
        }
        if containers().any(uses_device) {
            *self.facts.device_pods.entry(namespace.clone()).or_default() += 1;
        }
        let owner = pod.metadata.owner_references.iter().flatten().find(|o| o.controller == Some(true));
        let of_node = pod.annotations().contains_key("kubernetes.io/config.mirror");
        if !of_node && owner.is_none_or(|o| o.kind != "DaemonSet") {
            *self.facts.evictable.entry(node.clone()).or_default() += 1;
        }
        let ephemeral: u64 =
            containers().filter_map(|c| requested(c, "ephemeral-storage")).fold(0, u64::saturating_add);
        if ephemeral > 0 {
            let all = self.facts.local_bytes.entry(node.clone()).or_default();
            *all = all.saturating_add(ephemeral);
        }
        let Some(owner) = owner else {
            if probed && self.facts.singletons.len() < NAMES {
                self.facts.singletons.push(name);
            }
            return;
        };
        let known = self.owners.entry(owner.uid.clone()).or_default();
        known.pods += 1;
        // A node's agent is alone there by nature.
        if probed && owner.kind != "DaemonSet" {
            known.probed = Some(name);
        }
        if owner.kind == "StatefulSet" {
            let set = || (format!("{namespace}/{}", clean_short(&owner.name, 253)), Vec::new());
            known.set.get_or_insert_with(set).1.push(node);
        }
    }

    fn finish(self) -> ApiFacts {
        let mut facts = self.facts;
        for owner in self.owners.into_values() {
            if owner.pods == 1 {
                facts.singletons.extend(owner.probed.filter(|_| facts.singletons.len() < NAMES));
            }
            if let Some((name, nodes)) = owner.set.filter(|(_, nodes)| nodes.len() > 1) {
                facts.stateful_sets.push(StatefulSet { name, nodes });
            }
        }
        facts.singletons.sort();
        facts.stateful_sets.sort_by(|a, b| a.name.cmp(&b.name));
        facts
    }
}

/// Extended resources are those of device plugins: a domain that is not Kubernetes' own.
/// <https://kubernetes.io/docs/concepts/extend-kubernetes/compute-storage-net/device-plugins/>
fn uses_device(container: &Container) -> bool {
    let limits = container.resources.iter().flat_map(|r| r.limits.iter().flatten());
    let device = |name: &str| name.split_once('/').is_some_and(|(domain, _)| !domain.ends_with("kubernetes.io"));
    limits.filter(|(_, amount)| amount.0 != "0").any(|(name, _)| device(name))
}

fn requested(container: &Container, resource: &str) -> Option<u64> {
    bytes(container.resources.as_ref()?.requests.as_ref()?.get(resource)?)
}

/// A volume that is on one node's disks: its node affinity names that node, as that of every local volume must.
fn local_volume(volume: &PersistentVolume) -> Option<(NodeName, u64)> {
    let spec = volume.spec.as_ref()?;
    let terms = &spec.node_affinity.as_ref()?.required.as_ref()?.node_selector_terms;
    let mut expressions = terms.iter().flat_map(|t| t.match_expressions.iter().flatten());
    let node = expressions.find_map(|e| {
        // kubernetes.io/hostname, and what TopoLVM and its like have: topology.topolvm.io/node.
        let one_node = e.key == "kubernetes.io/hostname" || e.key.ends_with("/node");
        let values = e.values.as_deref().unwrap_or(&[]);
        (one_node && e.operator == "In" && values.len() == 1).then(|| values[0].parse::<NodeName>().ok())?
    })?;
    Some((node, bytes(spec.capacity.as_ref()?.get("storage")?)?))
}

/// A quantity in bytes. <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>
fn bytes(quantity: &Quantity) -> Option<u64> {
    let text = quantity.0.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    let factor = match &text[end..] {
        "" => 1.0,
        "m" => 0.001,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024f64.powi(2),
        "Gi" => 1024f64.powi(3),
        "Ti" => 1024f64.powi(4),
        "Pi" => 1024f64.powi(5),
        "Ei" => 1024f64.powi(6),
        // With an exponent: `12e6`.
        exponent => 10f64.powi(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    // More than a cluster holds is no size.
    Some(number * factor).filter(|bytes| *bytes < 1e19).map(|bytes| bytes as u64)
}

/// What was asked for and will be gone.
fn deprecated(metrics: &str) -> Vec<DeprecatedApi> {
    let mut found: Vec<DeprecatedApi> = metrics.lines().filter_map(deprecated_api).take(NAMES).collect();
    found.sort();
    found.dedup();
    found
}

fn deprecated_api(line: &str) -> Option<DeprecatedApi> {
    let (labels, value) = line.strip_prefix(DEPRECATED)?.rsplit_once('}')?;
    value.split_whitespace().next()?.parse::<f64>().ok().filter(|v| *v > 0.0)?;
    // None of these labels' values can hold a comma or a quotation mark.
    let labels: HashMap<&str, &str> =
        labels.split(',').filter_map(|l| l.split_once('=')).map(|(k, v)| (k.trim(), v.trim_matches('"'))).collect();
    let text = |key: &str| clean_short(labels.get(key).copied().unwrap_or(""), 100);
    let (major, minor) = labels.get("removed_release")?.split_once('.')?;
    let (resource, sub) = (text("resource"), text("subresource"));
    Some(DeprecatedApi {
        group: text("group"),
        version: text("version"),
        resource: if sub.is_empty() { resource } else { format!("{resource}/{sub}") },
        removed_in: (major.parse().ok()?, minor.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, node: &str, owner: Option<(&str, &str)>, container: Value) -> Pod {
        let owners = owner.map(|(kind, name)| {
            json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": format!("uid-{name}"), "controller": true}])
        });
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "web", "ownerReferences": owners},
            "spec": {"nodeName": node, "containers": [container]},
            "status": {"phase": "Running"},
        }))
        .unwrap()
    }

    fn probed() -> Value {
        json!({"name": "app", "readinessProbe": {"periodSeconds": 10}})
    }

    fn counted(pods: &[Pod]) -> ApiFacts {
        let mut all = Pods::default();
        pods.iter().for_each(|pod| all.take(pod));
        all.finish()
    }

    #[test]
    fn pods_are_counted_by_what_a_kubelet_does_to_them() {
        let plain = json!({"name": "app"});
        let gpu = json!({"name": "app", "resources": {"limits": {"nvidia.com/gpu": "1", "cpu": "1"}}});
        let none = json!({"name": "app", "resources": {"limits": {"nvidia.com/gpu": "0", "x.kubernetes.io/y": "1"}}});
        let disk = json!({"name": "app", "resources": {"requests": {"ephemeral-storage": "2Gi"}}});
        let facts = counted(&[
            pod("a-1", "n1", Some(("ReplicaSet", "a")), probed()),
            pod("a-2", "n2", Some(("ReplicaSet", "a")), probed()),
            pod("b-1", "n1", Some(("ReplicaSet", "b")), probed()),
            pod("c-1", "n1", None, probed()),
            pod("agent-1", "n1", Some(("DaemonSet", "agent")), probed()),
            pod("db-0", "n1", Some(("StatefulSet", "db")), gpu),
            pod("db-1", "n2", Some(("StatefulSet", "db")), none),
            pod("one-0", "n2", Some(("StatefulSet", "one")), disk),
            pod("plain", "n2", None, plain),
        ]);
        assert_eq!(facts.probed_pods, [("web".to_owned(), 5)].into());
        assert_eq!(facts.singletons, ["web/b-1", "web/c-1"]);
        assert_eq!(facts.device_pods, [("web".to_owned(), 1)].into());
        let nodes = |names: [&str; 2]| names.map(|n| n.parse().unwrap()).to_vec();
        assert_eq!(facts.stateful_sets, [StatefulSet { name: "web/db".into(), nodes: nodes(["n1", "n2"]) }]);
        let [one, two]: [NodeName; 2] = nodes(["n1", "n2"]).try_into().unwrap();
        assert_eq!(facts.evictable, [(one, 4), (two.clone(), 4)].into());
        assert_eq!(facts.local_bytes, [(two, 2 << 30)].into());
    }

    #[test]
    fn pods_that_have_ended_are_not_counted() {
        let mut ended = pod("a-1", "n1", None, probed());
        ended.status.as_mut().unwrap().phase = Some("Succeeded".into());
        assert_eq!(counted(&[ended]), ApiFacts::default());
    }

    #[test]
    fn a_local_volume_is_one_that_must_stay_on_its_node() {
        let volume = |key: &str, values: &[&str]| -> PersistentVolume {
            serde_json::from_value(json!({"spec": {
                "capacity": {"storage": "4Ti"},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [
                    {"matchExpressions": [{"key": key, "operator": "In", "values": values}]}]}},
            }}))
            .unwrap()
        };
        let found = |key: &str, values: &[&str]| local_volume(&volume(key, values)).map(|(n, b)| (n.to_string(), b));
        assert_eq!(found("kubernetes.io/hostname", &["n1"]), Some(("n1".into(), 4 << 40)));
        assert_eq!(found("topology.topolvm.io/node", &["n1"]), Some(("n1".into(), 4 << 40)));
        assert_eq!(found("topology.kubernetes.io/zone", &["rack1"]), None);
        assert_eq!(found("kubernetes.io/hostname", &["n1", "n2"]), None);
    }

    #[test]
    fn quantities_are_read() {
        let read = |text: &str| bytes(&Quantity(text.into()));
        assert_eq!(
            [read("1Ki"), read("1.5G"), read("12e6"), read("100"), read("500m")],
            [Some(1024), Some(1_500_000_000), Some(12_000_000), Some(100), Some(0)]
        );
        for bad in ["", "x", "1Zi", "-1", "9e99"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn deprecated_apis_are_read_as_kube_apiserver_writes_them() {
        let metrics = "# TYPE apiserver_requested_deprecated_apis gauge\n\
            apiserver_requested_deprecated_apis{group=\"policy\",removed_release=\"1.25\",resource=\"poddisruptionbudgets\",\
            subresource=\"\",version=\"v1beta1\"} 1\n\
            apiserver_requested_deprecated_apis{group=\"flowcontrol.apiserver.k8s.io\",removed_release=\"1.32\",\
            resource=\"flowschemas\",subresource=\"status\",version=\"v1beta3\"} 1\n\
            apiserver_requested_deprecated_apis{group=\"x\",removed_release=\"\",resource=\"y\",version=\"v1\"} 1\n\
            apiserver_requested_deprecated_apis{group=\"z\",removed_release=\"1.40\",resource=\"y\",version=\"v1\"} 0\n";
        let found: Vec<(String, String, (u32, u32))> =
            deprecated(metrics).into_iter().map(|d| (d.group, d.resource, d.removed_in)).collect();
        let flow = ("flowcontrol.apiserver.k8s.io".to_owned(), "flowschemas/status".to_owned(), (1, 32));
        assert_eq!(found, [flow, ("policy".into(), "poddisruptionbudgets".into(), (1, 25))]);
    }
}
