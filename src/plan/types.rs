//! The plan as it is written to a file, and applied exactly as read.

use super::catalogue::Coverage;
use super::{ArgEdit, Asked, Comparison, EtcdSettings, Fingerprint, OwnGate, Ramp, Seal, Snapshot};
use crate::fleet::{Cluster, Component, ContainerName, Image, NodeName, RackName, RunId, SwapId, count};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The plan file's format; a file of another format is refused.
pub const FORMAT: u32 = 1;

/// What will happen, in order, written out in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`FORMAT`].
    pub format: u32,
    /// When it was made.
    pub created: Timestamp,
    /// The release that was staged, where one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// The run whose changes this plan takes back, where it is a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_of: Option<RunId>,
    /// Nodes that were left out by decision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<NodeName>,
    /// What else was staged, so that `sonoba plan --from` can stage it again; none in a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// The staged bumps.
    pub bumps: Vec<Bump>,
    /// How far and how fast.
    pub limits: Limits,
    /// How much may go wrong before the run pauses by itself.
    pub budget: Budget,
    /// How each component is checked and how long it may take; all eight, since gates ask components that do not move too.
    pub components: BTreeMap<Component, ComponentSettings>,
    /// What the planner found; errors refuse the plan.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// What the versions on the way change for everybody, whether it concerns this cluster or not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Finding>,
    /// What was known of the versions on the way; none in a rollback, which asks nothing, and where Kubernetes does not move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
    /// How long it should take.
    pub estimate: Estimate,
    /// What happens, in order.
    pub phases: Vec<Phase>,
    /// The same change by other means, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
    /// The fingerprint of `cluster`.
    #[serde(default, skip_serializing_if = "Fingerprint::is_none")]
    pub fingerprint: Fingerprint,
    /// The cluster as it was when the plan was made. `apply` refuses when it has moved on.
    pub cluster: Cluster,
    /// What shows that nothing above was edited. `apply` refuses a plan without it; those of older runs and recordings have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<Seal>,
}

/// One component, from whatever runs to one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bump {
    /// The component.
    pub component: Component,
    /// The image that it is to run.
    pub to: Image,
}

/// How far and how fast. Every limit means "stop at N", never "when N is exceeded".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Nodes in the canary wave; with a ramp its first step counts instead.
    pub canary: usize,
    /// How the waves of the workers grow; without one they go rack by rack after the canary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramp: Option<Ramp>,
    /// Swaps in flight at once, in all.
    pub max_parallel: usize,
    /// Nodes of one rack that may be unavailable at once, those that are broken already included.
    pub max_unavailable: usize,
    /// How long to watch a wave after its last swap, in milliseconds.
    pub soak_ms: u64,
    /// Images pulled at once, in all.
    pub max_pulls: usize,
    /// The run pauses by itself when one of the cluster's own gates has not held for so long. Milliseconds.
    #[serde(default = "half_an_hour")]
    pub gate_timeout_ms: u64,
    /// Grace periods of pods are waited for up to this long before the pods of a restarted kubelet count as proved; those of pods
    /// with longer ones are never proved, and the report says so. Milliseconds.
    #[serde(default = "ten_minutes")]
    pub proof_limit_ms: u64,
    /// How long after a new kubelet is healthy the API shows all that it decided about its pods' containers at its start, grace
    /// periods not counted: see [`FIRST_SYNC_MS`]. Milliseconds.
    #[serde(default = "first_sync")]
    pub first_sync_ms: u64,
}

/// The default of [`Limits::first_sync_ms`]. A kubelet decides about all its pods within a second or two of its start (seen on 1.31);
/// what it decided shows in the API after its next look at the runtime (every second), and its status updates go out at the pace of
/// its API client: 110 pods at the 5 requests a second of kubelets before 1.27 take 22 s, at 50 a second since then about 2 s, and what
/// was missed is sent again every 10 s. 20 s hold all but a full node of an old kubelet in the middle of replacing every pod, which
/// shows long before it is through.
///
/// This is how long a run *waits*. A restart that shows later is found by the looks at pods after the soak and at the run's end; as
/// the work of the kubelet's first sync it counts for longer than this (see `SYNCED` in `fleet/attribution/window.rs`).
///
/// <https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/> (`kubeAPIQPS`),
/// `syncPeriod` in <https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/status/status_manager.go>,
/// `plegRelistPeriod` in <https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/kubelet.go>
pub const FIRST_SYNC_MS: u64 = 20_000;

pub(super) fn first_sync() -> u64 {
    FIRST_SYNC_MS
}

/// Long enough for databases that flush to disk before they end.
pub(super) fn ten_minutes() -> u64 {
    600_000
}

impl Limits {
    /// How the waves of the workers go, for people.
    pub fn waves(&self) -> String {
        match &self.ramp {
            Some(ramp) => format!("waves {ramp}"),
            None => format!("canary {}, then rack by rack", self.canary),
        }
    }
}

/// Longer than any restart of a master takes, shorter than a night.
pub(super) fn half_an_hour() -> u64 {
    1_800_000
}

/// How much may go wrong. The run pauses when a count *reaches* its number; 0 tolerates none, as 1 does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Swaps that rolled back or failed.
    pub failed_swaps: usize,
    /// Nodes that are NotReady and were Ready when the run began.
    pub not_ready_nodes: usize,
    /// Pods that a swap disturbed.
    pub disturbed_pods: usize,
}

impl Budget {
    /// At what the run pauses by itself: swaps, nodes, pods.
    pub fn words(&self) -> [String; 3] {
        [
            count(self.failed_swaps.max(1), "failed swap", "failed swaps"),
            count(self.not_ready_nodes.max(1), "node NotReady", "nodes NotReady"),
            count(self.disturbed_pods.max(1), "disturbed pod", "disturbed pods"),
        ]
    }
}

/// How one component is checked, and how long its swap may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComponentSettings {
    /// The container's name.
    pub container: ContainerName,
    /// What must answer before the swap counts as healthy.
    pub health: Check,
    /// Where the running version can be read, where there is such a place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Check>,
    /// The dead-man's switch: without a verdict this long after the first stop, the node rolls itself back. Milliseconds.
    pub deadline_ms: u64,
    /// How long the old container may take to stop before it is killed, once its clients were led away. Seconds.
    pub stop_timeout_s: u32,
    /// The same where they could not be led away: then it may drain them itself for so long. Seconds; none: `stop_timeout_s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_timeout_s: Option<u32>,
    /// For an API server: how long the service proxies have to follow, from when its address left the Endpoints to its stop.
    /// Milliseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub leave_ms: u64,
    /// Where its clients knock, which its downtime is measured by; none: as its arguments say it (see [`client_doors`]).
    ///
    /// [`client_doors`]: super::client_doors
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Check>,
}

impl ComponentSettings {
    /// How long the old container may take to stop: with its clients led away, or without. Seconds.
    pub fn stop_timeout(&self, led_away: bool) -> u32 {
        if led_away { self.stop_timeout_s } else { self.drain_timeout_s.unwrap_or(self.stop_timeout_s) }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Something on the node that can be asked from the node itself, through the SSH connection.
///
/// Written `http://HOST:PORT/PATH`, `https://…` (the certificate is not checked: the way there is the SSH connection),
/// `tls://HOST:PORT` (something completes a TLS handshake, or asks for a client's certificate) or `tcp://HOST:PORT` (something
/// accepts a connection). `{address}` in HOST stands for the node's address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Check {
    /// Which protocol.
    pub scheme: Scheme,
    /// Host, possibly the placeholder `{address}`.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path and query; empty for `tcp` and `tls`.
    pub path: String,
}

/// How a [`Check`] is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP/1.1; healthy is a status of 200 to 299.
    Http,
    /// The same over TLS.
    Https,
    /// A connection is accepted.
    Tcp,
    /// A TLS handshake gets an answer: it is completed, or ended with an alert (a client's certificate is asked for).
    Tls,
}

impl Check {
    /// The host to connect to on the node whose address is `address`.
    pub fn host_on(&self, address: &str) -> String {
        self.host.replace("{address}", address)
    }
}

impl TryFrom<String> for Check {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl std::str::FromStr for Check {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shown = crate::fleet::quoted(text);
        let err =
            |why: &str| format!("{shown} is not a check: {why}; write for instance http://127.0.0.1:10248/healthz");
        let (scheme, rest) = text.split_once("://").ok_or_else(|| err("no scheme"))?;
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "tcp" => Scheme::Tcp,
            "tls" => Scheme::Tls,
            _ => return Err(err("the scheme must be http, https, tls or tcp")),
        };
        let (place, path) = rest.find('/').map_or((rest, ""), |i| rest.split_at(i));
        let (host, port) = place.rsplit_once(':').ok_or_else(|| err("no port"))?;
        let port = port.parse().map_err(|_| err("the port is not a number from 0 to 65535"))?;
        let plain = host.replace("{address}", "a");
        if plain.is_empty() || !plain.chars().all(|c| c.is_ascii_alphanumeric() || "-.:[]".contains(c)) {
            return Err(err("the host is not valid"));
        }
        if !path.chars().all(|c| c.is_ascii_graphic()) {
            return Err(err("the path has a character that must be escaped"));
        }
        let path = match scheme {
            Scheme::Tcp | Scheme::Tls if !path.is_empty() => return Err(err("tcp and tls take no path")),
            Scheme::Tcp | Scheme::Tls => String::new(),
            _ if path.is_empty() => "/".to_owned(),
            _ => path.to_owned(),
        };
        Ok(Check { scheme, host: host.to_owned(), port, path })
    }
}

impl From<Check> for String {
    fn from(check: Check) -> String {
        check.to_string()
    }
}

impl std::fmt::Display for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Tcp => "tcp",
            Scheme::Tls => "tls",
        };
        write!(f, "{scheme}://{}:{}{}", self.host, self.port, self.path)
    }
}

/// A finding about the plan before it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// A stable code, for instance `node-not-ready`.
    pub code: String,
    /// How bad.
    pub severity: Severity,
    /// What was found, in one sentence.
    pub text: String,
    /// What mends it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mend: String,
    /// Where more is to be read.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub link: String,
    /// How the plan would mend it by itself, once this finding's code is in [`Stage::accept`](super::Stage::accept).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub offer: String,
    /// As an error it refuses the plan unless its code is in [`Stage::acknowledged`](super::Stage::acknowledged).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub acknowledgeable: bool,
    /// The nodes that it concerns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeName>,
}

/// How bad a [`Finding`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Must be mended: the plan is refused.
    Error,
    /// Must be acknowledged.
    Warning,
    /// Good to know.
    Info,
}

/// How long a plan should take, and what it pulls. Times are in milliseconds, and such that half of such work is not longer;
/// see `estimate` for how they are made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// Pulling images.
    pub prefetch_ms: u64,
    /// Swaps.
    pub work_ms: u64,
    /// Soaking.
    pub soak_ms: u64,
    /// All of it when every part takes as long as nine of ten such parts at most do.
    #[serde(default)]
    pub slow_ms: u64,
    /// Past runs of the cluster that the times are taken from; 0 when they are defaults.
    #[serde(default)]
    pub runs: usize,
    /// What is to be pulled in all.
    #[serde(default)]
    pub pulls: Volume,
    /// What is to be pulled into each rack.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub racks: BTreeMap<RackName, Volume>,
    /// Pulls that find their image on the node already.
    #[serde(default)]
    pub present: usize,
}

impl Estimate {
    /// All of it, as a rule.
    pub fn total_ms(&self) -> u64 {
        self.prefetch_ms.saturating_add(self.work_ms).saturating_add(self.soak_ms)
    }
}

/// Images to pull.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// How many, each node's counted.
    pub images: usize,
    /// How much those take whose size is known. Bytes.
    pub bytes: u64,
    /// Of these, images whose size is not known.
    pub unknown: usize,
}

impl Volume {
    /// One more.
    pub(super) fn add(&mut self, size: Option<u64>) {
        self.images += 1;
        match size {
            Some(size) => self.bytes = self.bytes.saturating_add(size),
            None => self.unknown += 1,
        }
    }
}

/// A stretch of the plan: phases run one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// Which.
    pub kind: PhaseKind,
    /// The stop on the way that it belongs to, where the plan has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hop: Option<String>,
    /// The images to pull; in the prefetch phase only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pulls: Vec<Pull>,
    /// The snapshot of etcd that is taken before the first swap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
    /// How etcdctl is called inside a member's container, where this phase moves etcd: a leader hands over with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcdctl: Option<EtcdSettings>,
    /// The swaps; waves run one after the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waves: Vec<Wave>,
}

impl Phase {
    /// How people read it: its kind, with the stop on the way where the plan has several.
    pub fn title(&self) -> String {
        match &self.hop {
            Some(hop) => format!("{hop}: {}", self.kind.title()),
            None => self.kind.title().to_owned(),
        }
    }
}

/// Which phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PhaseKind {
    /// Images are pulled everywhere; nothing restarts.
    Prefetch,
    /// rivers and etcd-rivers of the masters.
    Rivers,
    /// etcd, followers first.
    Etcd,
    /// kube-apiserver, one by one.
    KubeApiserver,
    /// kube-controller-manager and kube-scheduler, lease holders last.
    Controllers,
    /// The workers' canary, where kubelets or kube-proxies of masters move too: the first to be restarted is no master.
    Canary,
    /// kubelet and kube-proxy of the masters.
    Masters,
    /// The workers: rivers, kube-proxy and kubelet in one visit.
    Workers,
}

impl PhaseKind {
    /// Whether workers move in it; in all others masters do, but for the prefetch.
    pub fn of_workers(self) -> bool {
        matches!(self, PhaseKind::Canary | PhaseKind::Workers)
    }

    /// How people read it.
    pub fn title(self) -> &'static str {
        match self {
            PhaseKind::Prefetch => "prefetch images",
            PhaseKind::Rivers => "rivers on masters",
            PhaseKind::Etcd => "etcd",
            PhaseKind::KubeApiserver => "kube-apiserver",
            PhaseKind::Controllers => "controllers, scheduler",
            PhaseKind::Canary => "canary workers",
            PhaseKind::Masters => "kubelets on masters",
            PhaseKind::Workers => "workers",
        }
    }
}

/// One node's images to pull.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pull {
    /// The node.
    pub node: NodeName,
    /// The images that it will need.
    pub images: Vec<Image>,
}

/// Swaps that may run together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wave {
    /// What kind of wave.
    pub kind: WaveKind,
    /// Its name on the screen, for instance `canary` or `rack3`.
    pub title: String,
    /// Swaps of this wave in flight at once.
    pub max_parallel: usize,
    /// The swaps, in the order in which they start.
    pub swaps: Vec<Swap>,
    /// What must hold after the last swap before the next wave starts.
    pub gates: Vec<Gate>,
}

/// What kind of wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WaveKind {
    /// Masters, one at a time.
    ControlPlane,
    /// The first few workers.
    Canary,
    /// Workers of one rack.
    Rack,
    /// Workers spread over racks.
    Spread,
}

/// A condition that must hold before the next wave. Before a swap of the control plane the same conditions are asked
/// about the *other* members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Gate {
    /// No node that was Ready when the run began is NotReady now.
    NodesReady,
    /// Every etcd member answers healthy, has a leader and is in sync with the others.
    EtcdHealthy,
    /// Every kube-apiserver answers ready.
    ApiserversReady,
    /// This long has passed with the other gates still holding.
    Soak {
        /// Milliseconds.
        ms: u64,
    },
    /// The pods of restarted kubelets were compared late enough: what a new kubelet does to a container shows only after the
    /// container's grace period.
    PodsProved {
        /// Whether this wave's own pods are waited for too; else only those of the waves before it, so that one wave at most is
        /// ahead of its proof.
        own: bool,
        /// The longest that this takes after a wave's last swap, as far as the plan knows. Milliseconds.
        ms: u64,
    },
    /// What the operator asks holds.
    Own(Box<OwnGate>),
}

/// One node's component(s) taken from old to new in place, as one transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Swap {
    /// Unique within the plan.
    pub id: SwapId,
    /// The node.
    pub node: NodeName,
    /// What changes, in the order of the restarts.
    pub changes: Vec<Change>,
    /// The transaction's dead-man's switch, in milliseconds: the shortest of its components' deadlines.
    pub deadline_ms: u64,
    /// After this swap the plan as a whole cannot be rolled back any more; says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_return: Option<String>,
}

impl Swap {
    /// Whether this component is restarted.
    pub fn restarts(&self, component: Component) -> bool {
        self.changes.iter().any(|c| c.component == component)
    }

    /// Whether later swaps rest upon this one: the control plane proper. A kubelet must not become newer than an API server
    /// that stayed behind, so such a swap is tried again and never passed over.
    pub fn bears_others(&self) -> bool {
        self.changes.iter().any(|c| c.component.master_only())
    }
}

/// One container, from one image to another; all else stays, but for the arguments that are to change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The component.
    pub component: Component,
    /// Its container.
    pub container: ContainerName,
    /// The image that it runs.
    pub from: Image,
    /// The container that was running when the plan was made; empty where an earlier swap of this plan makes it.
    pub from_id: String,
    /// The image that it is to run.
    pub to: Image,
    /// What becomes of its arguments, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<ArgEdit>,
}

impl Plan {
    /// Every swap with its phase's and wave's index, in order.
    pub fn swaps(&self) -> impl Iterator<Item = (usize, usize, &Swap)> {
        self.phases.iter().enumerate().flat_map(|(p, phase)| {
            phase.waves.iter().enumerate().flat_map(move |(w, wave)| wave.swaps.iter().map(move |s| (p, w, s)))
        })
    }

    /// Whether a finding refuses it.
    pub fn refused(&self) -> bool {
        self.findings.iter().any(|f| f.severity == Severity::Error)
    }
}
