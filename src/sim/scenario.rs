//! What is simulated: how large a cluster, how fast, and what goes wrong. A scenario is a TOML file; every field has
//! a default, an unknown one is an error.

use super::manners::{Churn, PodManners};
use crate::fleet::{ClusterName, Component, Image};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// A simulated cluster and its faults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    /// The cluster's name in the profile. Default: `demo`.
    pub name: ClusterName,
    /// The same seed gives the same cluster, timings and choice of faulty nodes. Default: 1.
    pub seed: u64,
    /// How much faster than the real clock the simulated one runs. Default: 1.
    pub speed: f64,
    /// Masters, one to a rack in turn. Default: 3.
    pub masters: usize,
    /// Racks. Default: 6.
    pub racks: usize,
    /// Workers in all, spread over the racks. Default: 60.
    pub nodes: usize,
    /// Pods a node. Default: 30.
    pub pods_per_node: usize,
    /// The share of workers in the role `ss` (storage); the others are `cs` (compute). Default: 0.3.
    pub storage_share: f64,
    /// The releases in the profile; the cluster runs the first. Default: 1.35.6 and 1.36.2.
    #[serde(rename = "release")]
    pub releases: Vec<SimRelease>,
    /// What single containers have beyond what all have.
    #[serde(rename = "container")]
    pub containers: Vec<Extra>,
    /// APIs that are asked for and will be gone, as `GROUP/VERSION/RESOURCE@MAJOR.MINOR`, the minor being the first without it.
    pub deprecated_apis: Vec<String>,
    /// How long things take.
    pub timings: Timings,
    /// How the profile limits the roll-out.
    pub rollout: Rollout,
    /// What the pods are like.
    pub pods: PodManners,
    /// How pods come and go by themselves.
    pub churn: Churn,
    /// What goes wrong.
    #[serde(rename = "fault")]
    pub faults: Vec<Fault>,
}

/// A release: one image for each family of components.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimRelease {
    /// Its name, for instance `1.36.2`.
    pub name: String,
    /// kube-apiserver, kube-controller-manager, kube-scheduler, kubelet and kube-proxy.
    pub kubernetes: Image,
    /// etcd.
    pub etcd: Image,
    /// rivers and etcd-rivers.
    pub rivers: Image,
}

impl SimRelease {
    /// The image that a component runs on this release.
    pub fn image(&self, component: Component) -> &Image {
        match component {
            Component::Etcd => &self.etcd,
            Component::Rivers | Component::EtcdRivers => &self.rivers,
            _ => &self.kubernetes,
        }
    }
}

/// A value that varies: drawn around its median, nine in ten within a factor of about `1 + 2 × spread`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// Half of the draws are below it.
    pub median: f64,
    /// 0: always the median.
    #[serde(default)]
    pub spread: f64,
}

/// How long things take on the simulated nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timings {
    /// A node's bandwidth from the registry. MiB a second.
    pub pull_mib_s: Span,
    /// One layer of an image. MiB.
    pub layer_mib: Span,
    /// Layers of an image.
    pub layers: usize,
    /// A container's way from the signal to its end. Milliseconds.
    pub stop_ms: Span,
    /// From the signal to the end, by component, where that takes longer: etcd drains its clients' streams, kube-apiserver its
    /// watches. The stop timeout cuts it short. Milliseconds.
    pub drain_ms: BTreeMap<Component, Span>,
    /// From `start` until the process runs. Milliseconds.
    pub start_ms: Span,
    /// From the process's start until it answers healthy, by component. Milliseconds.
    pub healthy_ms: BTreeMap<Component, Span>,
    /// The node-monitor grace period: a node without a kubelet for this long is NotReady. Seconds.
    pub grace_s: f64,
    /// No deadline and no grace period is shorter than this on the *real* clock, whatever the speed: the client that
    /// has to answer within it does not run faster. Seconds.
    pub patience_s: f64,
}

/// What the profile says about limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rollout {
    /// Nodes in the canary wave. Default: 3.
    pub canary: usize,
    /// Swaps in flight at once. Default: 50.
    pub max_parallel: usize,
    /// Nodes of a rack that may be away at once. Default: 5.
    pub max_unavailable: usize,
    /// Soak after a wave, in simulated seconds. Default: 60.
    pub soak_s: f64,
    /// Failed swaps until the run pauses. Default: 3.
    pub failed_swaps: usize,
    /// NotReady nodes until the run pauses. Default: 3.
    pub not_ready_nodes: usize,
    /// Disturbed pods until the run pauses. Default: 0, which tolerates none.
    pub disturbed_pods: usize,
}

/// What the containers of a component have on some nodes, beyond what all have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extra {
    /// Where; as a fault's. Default: `all`.
    #[serde(default = "everywhere")]
    pub node: String,
    /// Whose containers.
    pub component: Component,
    /// Arguments that come behind the others.
    #[serde(default)]
    pub args: Vec<String>,
    /// The restart policy instead of `no`.
    #[serde(default)]
    pub restart: Option<String>,
    /// The text of the file that `--config` names.
    #[serde(default)]
    pub config: Option<String>,
}

/// Something that goes wrong. Faults of a container strike only images that the cluster did not begin with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Where: a node's name, a rack's name, `all`, `workers`, `masters`, `random:N` (N workers, by the seed) or
    /// `worker:P%` (the worker at that share of the list, rack by rack). Default: `all`.
    #[serde(default = "everywhere")]
    pub node: String,
    /// Which component; none means every one.
    #[serde(default)]
    pub component: Option<Component>,
    /// What.
    pub kind: FaultKind,
    /// How often it strikes, over all its nodes together. Default: always.
    #[serde(default)]
    pub times: Option<u32>,
    /// Begins this long after the simulation began, in simulated seconds. Default: 0.
    #[serde(default)]
    pub from_s: f64,
    /// Lasts this long, in simulated seconds. Default: for ever.
    #[serde(default)]
    pub for_s: Option<f64>,
    /// `slow-pull`: by how much; `clock-off`: by how many seconds. Default: 10.
    #[serde(default = "ten")]
    pub factor: f64,
    /// `disturbs-pods`: how many. Default: 3.
    #[serde(default = "three")]
    pub pods: usize,
    /// `redefines-containers`: how long a container takes to end once it is told to, in simulated seconds. Default: its whole
    /// grace period.
    #[serde(default)]
    pub ends_s: Option<f64>,
    /// `crashes`: how long the container runs each time, in simulated seconds. Default: 5.
    #[serde(default = "five")]
    pub after_s: f64,
}

impl Fault {
    /// A fault of this kind, everywhere and always, with what a file means that leaves the rest out.
    pub fn of(kind: FaultKind) -> Fault {
        Fault {
            node: everywhere(),
            component: None,
            kind,
            times: None,
            from_s: 0.0,
            for_s: None,
            factor: ten(),
            pods: three(),
            ends_s: None,
            after_s: five(),
        }
    }
}

/// The kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The new container runs, but its health endpoint says no.
    NeverHealthy,
    /// The new container cannot be started.
    StartFails,
    /// The image cannot be pulled.
    PullFails,
    /// The image is pulled at a fraction of the bandwidth.
    SlowPull,
    /// The node is cut off the network: SSH and kubelet.
    Unreachable,
    /// The start of the new container restarts pods of its node.
    DisturbsPods,
    /// The new kubelet computes the containers' hashes anew: it restarts every container of its node, and so does the old one
    /// when it comes back. Kubelets do so between 1.30 and 1.31 without any fault (kubernetes#124220).
    RedefinesContainers,
    /// The new container ends with an error some seconds after each start.
    Crashes,
    /// etcd does not take the client certificate that etcdctl shows.
    RefusesClients,
    /// The new container answers healthy and unhealthy in turn.
    Flaps,
    /// Kubernetes sees the node NotReady.
    NotReady,
    /// The node's etcd member is far behind the others.
    Lags,
    /// The node's etcd member has run out of space: every member says so.
    NoSpace,
    /// The registry has none of the images that the cluster did not begin with.
    NoImage,
    /// The disk of the images is all but full.
    LowDisk,
    /// The node's clock is ahead by `factor` seconds.
    ClockOff,
    /// The certificate that its components serve with runs out in ten days.
    CertificateExpires,
}

fn everywhere() -> String {
    "all".into()
}

fn ten() -> f64 {
    10.0
}

fn five() -> f64 {
    5.0
}

fn three() -> usize {
    3
}

/// Group, version, resource, and the release that has it no more.
pub(crate) fn deprecated(api: &str) -> Option<[&str; 4]> {
    let (api, removed) = api.split_once('@')?;
    let mut parts = api.split('/');
    let (group, version, resource) = (parts.next()?, parts.next()?, parts.next()?);
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c));
    let all = [group, version, resource, removed];
    (parts.next().is_none() && all.into_iter().all(plain)).then_some(all)
}

/// Why there is no scenario. The text says what to fix.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// No scenario has that name.
    #[error("there is no scenario {0:?}; use one of {names}, or the path of a file", names = names())]
    Unknown(String),
    /// The file cannot be read.
    #[error("cannot read the scenario {path}: {why}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        why: std::io::Error,
    },
    /// The text is not a scenario.
    #[error("the scenario {name} is not valid: {why}")]
    Parse {
        /// Which.
        name: String,
        /// Where and why.
        why: String,
    },
}

const NAMED: [(&str, &str); 7] = [
    ("calm", include_str!("../../demo/calm.toml")),
    ("bad-kubelet", include_str!("../../demo/bad-kubelet.toml")),
    ("bad-canary", include_str!("../../demo/bad-canary.toml")),
    ("rough", include_str!("../../demo/rough.toml")),
    ("three-minors", include_str!("../../demo/three-minors.toml")),
    ("churn", include_str!("../../demo/churn.toml")),
    ("restarting-kubelet", include_str!("../../demo/restarting-kubelet.toml")),
];

fn names() -> String {
    NAMED.map(|(name, _)| name).join(", ")
}

impl Scenario {
    /// A built-in scenario.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn named(name: &str) -> Result<Scenario, ScenarioError> {
        let (name, text) = NAMED
            .into_iter()
            .find(|(n, _)| *n == name)
            .ok_or_else(|| ScenarioError::Unknown(crate::fleet::clean(name)))?;
        Scenario::parse(name, text)
    }

    /// Reads a scenario file.
    ///
    /// # Errors
    /// When it cannot be read, or is not a scenario.
    pub fn load(path: &Path) -> Result<Scenario, ScenarioError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|why| ScenarioError::Read { path: name.clone(), why })?;
        Scenario::parse(&name, &text)
    }

    fn parse(name: &str, text: &str) -> Result<Scenario, ScenarioError> {
        let err = |why: String| ScenarioError::Parse { name: name.to_owned(), why };
        let scenario: Scenario = toml::from_str(text).map_err(|e| err(e.to_string()))?;
        scenario.check().map_err(err)?;
        Ok(scenario)
    }

    /// Whether it can be simulated; says what to fix.
    ///
    /// # Errors
    /// Names the field that does not fit.
    pub fn check(&self) -> Result<(), String> {
        let need = |good: bool, what: &str| if good { Ok(()) } else { Err(what.to_owned()) };
        need(self.speed > 0.0 && self.speed <= 10_000.0, "speed must be more than 0 and at most 10000")?;
        need((1..=99).contains(&self.masters), "masters must be 1 to 99")?;
        need((1..=1000).contains(&self.racks), "racks must be 1 to 1000")?;
        need(self.nodes <= 20_000, "nodes must be at most 20000")?;
        need(self.pods_per_node <= 500, "pods_per_node must be at most 500")?;
        need((0.0..=1.0).contains(&self.storage_share), "storage_share must be 0 to 1")?;
        need(!self.releases.is_empty(), "at least one [[release]] is needed")?;
        let t = &self.timings;
        let spans = [t.pull_mib_s, t.layer_mib, t.stop_ms, t.start_ms];
        for span in spans.iter().chain(t.healthy_ms.values()).chain(t.drain_ms.values()) {
            let good = (0.0..=1e9).contains(&span.median) && (0.0..=2.0).contains(&span.spread);
            need(good, "in timings, a median must be 0 to 1e9 and a spread 0 to 2")?;
        }
        need(t.pull_mib_s.median > 0.0, "timings.pull_mib_s must be more than 0")?;
        need((1..=50).contains(&t.layers), "timings.layers must be 1 to 50")?;
        let seconds = |s: f64| (0.0..=1e8).contains(&s);
        need(seconds(t.grace_s) && seconds(t.patience_s), "timings.grace_s and patience_s must be 0 to 1e8")?;
        need(seconds(self.rollout.soak_s), "rollout.soak_s must be 0 to 1e8")?;
        need(self.pods.grace_s <= 86_400, "pods.grace_s must be at most 86400")?;
        let churn = [self.churn.percent_per_minute, self.churn.crash_loops_percent];
        need(churn.iter().all(|p| (0.0..=100.0).contains(p)), "in churn, a percentage must be 0 to 100")?;
        let r = &self.rollout;
        need(r.canary > 0 && r.max_parallel > 0 && r.max_unavailable > 0, "rollout's limits must be at least 1")?;
        for api in &self.deprecated_apis {
            need(deprecated(api).is_some(), "deprecated_apis must be GROUP/VERSION/RESOURCE@MAJOR.MINOR")?;
        }
        for fault in &self.faults {
            need(seconds(fault.from_s) && fault.for_s.is_none_or(seconds), "a fault's times must be 0 to 1e8")?;
            need(fault.factor >= 1.0, "a fault's factor must be at least 1")?;
            let ends = fault.ends_s.is_none_or(seconds) && seconds(fault.after_s) && fault.after_s > 0.0;
            need(ends, "a fault's ends_s must be 0 to 1e8, its after_s more than 0 and at most 1e8")?;
        }
        Ok(())
    }

    /// The release that the cluster runs when it begins.
    pub fn current(&self) -> Option<&SimRelease> {
        self.releases.first()
    }
}

impl Default for Scenario {
    fn default() -> Self {
        Scenario {
            name: name("demo"),
            seed: 1,
            speed: 1.0,
            masters: 3,
            racks: 6,
            nodes: 60,
            pods_per_node: 30,
            storage_share: 0.3,
            releases: vec![
                release("1.35.6", "1.35.6.1", "3.6.8.1", "1.35.0"),
                release("1.36.2", "1.36.2.1", "3.6.11.1", "1.36.0"),
            ],
            containers: Vec::new(),
            deprecated_apis: Vec::new(),
            timings: Timings::default(),
            rollout: Rollout::default(),
            pods: PodManners::default(),
            churn: Churn::default(),
            faults: Vec::new(),
        }
    }
}

impl Default for Timings {
    fn default() -> Self {
        let span = |median, spread| Span { median, spread };
        Timings {
            pull_mib_s: span(80.0, 0.3),
            layer_mib: span(45.0, 0.6),
            layers: 5,
            stop_ms: span(300.0, 0.4),
            // As measured on etcd 3.6.5 and kube-apiserver 1.35.3 with watches open.
            drain_ms: [(Component::Etcd, span(8_600.0, 0.01)), (Component::KubeApiserver, span(60_400.0, 0.0))].into(),
            start_ms: span(250.0, 0.3),
            healthy_ms: Component::ALL.into_iter().map(|c| (c, default_healthy(c))).collect(),
            grace_s: 50.0,
            patience_s: 15.0,
        }
    }
}

impl Timings {
    /// How long a component takes from the signal to its end, if it is given the time.
    pub fn stop(&self, component: Option<Component>) -> Span {
        component.and_then(|c| self.drain_ms.get(&c)).copied().unwrap_or(self.stop_ms)
    }

    /// How long a component takes to answer healthy; the default's where the scenario does not say.
    pub fn healthy(&self, component: Component) -> Span {
        let fallback = || default_healthy(component);
        self.healthy_ms.get(&component).copied().unwrap_or_else(fallback)
    }
}

/// Medians as operators see them on idle machines; kube-apiserver fills its caches before it is ready.
fn default_healthy(component: Component) -> Span {
    let median = match component {
        Component::Rivers | Component::EtcdRivers => 80.0,
        Component::Etcd => 450.0,
        Component::KubeApiserver => 4_800.0,
        Component::KubeControllerManager => 1_500.0,
        Component::KubeScheduler => 1_000.0,
        Component::Kubelet => 2_500.0,
        Component::KubeProxy => 700.0,
    };
    Span { median, spread: 0.3 }
}

impl Default for Rollout {
    fn default() -> Self {
        Rollout {
            canary: 3,
            max_parallel: 50,
            max_unavailable: 5,
            soak_s: 60.0,
            failed_swaps: 3,
            not_ready_nodes: 3,
            disturbed_pods: 0,
        }
    }
}

fn name(text: &str) -> ClusterName {
    text.parse().expect("a literal name is valid")
}

fn release(name: &str, kubernetes: &str, etcd: &str, rivers: &str) -> SimRelease {
    let image =
        |repository: &str, tag: &str| format!("ghcr.io/{repository}:{tag}").parse().expect("a literal image is valid");
    SimRelease {
        name: name.to_owned(),
        kubernetes: image("cybozu/kubernetes", kubernetes),
        etcd: image("cybozu/etcd", etcd),
        rivers: image("cybozu-go/cke-tools", rivers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_a_kind_is_what_a_file_means_that_says_no_more() {
        let read: Fault = toml::from_str("kind = \"clock-off\"").unwrap();
        assert_eq!(read, Fault::of(FaultKind::ClockOff));
    }

    #[test]
    fn the_built_in_scenarios_are_valid_and_calm_is_the_default() {
        for (name, _) in NAMED {
            Scenario::named(name).unwrap();
        }
        assert_eq!(Scenario::named("calm").unwrap(), Scenario::default());
        let error = Scenario::named("stormy").unwrap_err().to_string();
        assert!(error.contains("bad-kubelet"), "{error}");
    }

    #[test]
    fn an_unknown_field_is_an_error_that_names_it() {
        let error = Scenario::parse("x", "node = 3").unwrap_err().to_string();
        assert!(error.contains("node") && error.contains("line 1"), "{error}");
        assert!(Scenario::parse("x", "speed = 0.0").is_err());
    }

    #[test]
    fn a_scenario_reads_back_as_it_was_written() {
        let rough = Scenario::named("rough").unwrap();
        let text = toml::to_string(&rough).unwrap();
        assert_eq!(Scenario::parse("x", &text).unwrap(), rough);
    }
}
