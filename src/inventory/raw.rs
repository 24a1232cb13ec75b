//! The profile as it stands in its file: every field as written, none guessed. Unknown fields are errors.

use super::entry::{check_address, check_user};
use super::ssh::Jump;
use crate::fleet::{ClusterName, Component, ContainerName, GateName, Image, NodeName, RackName, RoleName, quoted};
use crate::plan::{After, Bound, Check, EtcdSettings, FlagName, HttpUrl, Ramp};
use jiff::SignedDuration;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU16, NonZeroUsize};
use toml::Spanned;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub name: Option<ClusterName>,
    pub kubeconfig: Option<Spanned<String>>,
    pub context: Option<String>,
    pub inventory: Spanned<RawInventory>,
    #[serde(default)]
    pub ssh: RawSsh,
    #[serde(default)]
    pub release: Vec<Spanned<RawRelease>>,
    #[serde(default)]
    pub rollout: RawRollout,
    #[serde(default)]
    pub budget: RawBudget,
    #[serde(default)]
    pub etcd: EtcdSettings,
    #[serde(default)]
    pub component: BTreeMap<Component, Spanned<RawComponent>>,
    #[serde(default)]
    pub gate: Vec<Spanned<RawGate>>,
    #[serde(default)]
    pub catalogue: Vec<Spanned<String>>,
    #[serde(default)]
    pub harmless_flags: BTreeSet<FlagName>,
}

/// `[inventory]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawInventory {
    pub cke: Option<Spanned<String>>,
    #[serde(default)]
    pub node: Vec<Spanned<RawNode>>,
    pub rack_label: Option<Labels>,
    pub role_label: Option<Labels>,
    pub hardware_labels: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    pub cke_server: Vec<HttpUrl>,
}

/// `[[inventory.node]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNode {
    pub name: NodeName,
    pub address: Option<Address>,
    pub port: Option<NonZeroU16>,
    pub user: Option<User>,
    pub rack: Option<RackName>,
    pub role: Option<RoleName>,
    #[serde(default)]
    pub master: bool,
}

/// `[ssh]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSsh {
    pub user: Option<User>,
    pub port: Option<NonZeroU16>,
    pub identity: Option<Spanned<String>>,
    pub known_hosts: Option<Spanned<String>>,
    pub jump: Option<Jump>,
    pub connect_timeout: Option<Spanned<Time>>,
    pub max_handshakes: Option<NonZeroUsize>,
}

/// `[[release]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRelease {
    pub name: ReleaseName,
    pub kubernetes: Option<Image>,
    pub etcd: Option<Image>,
    pub rivers: Option<Image>,
}

/// `[rollout]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRollout {
    pub canary: Option<Spanned<NonZeroUsize>>,
    pub waves: Option<Ramp>,
    pub max_parallel: Option<NonZeroUsize>,
    pub max_unavailable: Option<NonZeroUsize>,
    pub soak: Option<Time>,
    pub max_pulls: Option<NonZeroUsize>,
    pub gate_timeout: Option<Spanned<Time>>,
    pub proof_limit: Option<Time>,
    pub first_sync: Option<Time>,
}

/// `[budget]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBudget {
    pub failed_swaps: Option<usize>,
    pub not_ready_nodes: Option<usize>,
    pub disturbed_pods: Option<usize>,
}

/// `[component.NAME]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawComponent {
    pub container: Option<ContainerName>,
    pub health: Option<Check>,
    pub version: Option<Check>,
    pub deadline: Option<Time>,
    pub stop_timeout: Option<Time>,
    pub leave: Option<Time>,
    pub client: Option<Check>,
}

/// `[[gate]]`. Which fields go together is checked where it is read: see `gate`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGate {
    pub name: GateName,
    pub after: Option<Spanned<Vec<After>>>,
    pub command: Option<Spanned<Vec<String>>>,
    pub exit: Option<Spanned<u8>>,
    pub http: Option<Spanned<HttpUrl>>,
    pub status: Option<Spanned<u16>>,
    pub prometheus: Option<Spanned<HttpUrl>>,
    pub query: Option<Spanned<String>>,
    pub min: Option<Spanned<Bound>>,
    pub max: Option<Spanned<Bound>>,
    pub ca: Option<Spanned<String>>,
    pub header_file: Option<Spanned<String>>,
    pub timeout: Option<Time>,
    pub interval: Option<Time>,
    pub limit: Option<Time>,
}

/// One label's name, or several in the order in which they are asked.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a label's name, or a list of them")]
pub(super) enum Labels {
    One(String),
    Several(Vec<String>),
}

impl From<Labels> for Vec<String> {
    fn from(labels: Labels) -> Vec<String> {
        match labels {
            Labels::One(label) => vec![label],
            Labels::Several(labels) => labels,
        }
    }
}

/// A length of time, written `60s`, `1m 30s` or `1500ms`. At most a day: what is longer is a slip.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Time {
    pub ms: u64,
}

impl TryFrom<String> for Time {
    type Error = String;

    fn try_from(text: String) -> Result<Time, String> {
        let day = SignedDuration::from_hours(24);
        let time: Option<SignedDuration> = text.parse().ok();
        time.filter(|t| !t.is_negative() && *t <= day)
            .and_then(|t| u64::try_from(t.as_millis()).ok())
            .map(|ms| Time { ms })
            .ok_or_else(|| {
                let shown = quoted(&text);
                format!("{shown} is not a time from 0s to 24h; write for instance 60s, 1m 30s or 1500ms")
            })
    }
}

macro_rules! text {
    ($(#[$doc:meta])* $type:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Deserialize)]
        #[serde(try_from = "String")]
        pub(super) struct $type(pub String);

        impl TryFrom<String> for $type {
            type Error = String;

            fn try_from(text: String) -> Result<$type, String> {
                $check(&text)?;
                Ok($type(text))
            }
        }
    };
}

text!(
    /// An IP address or a host name.
    Address,
    check_address
);
text!(
    /// A login name.
    User,
    check_user
);
text!(
    /// A release's name.
    ReleaseName,
    check_release
);

fn check_release(text: &str) -> Result<(), String> {
    let good = (1..=63).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.+".contains(c));
    if good {
        return Ok(());
    }
    let shown = quoted(text);
    Err(format!("release name {shown} is not valid: use 1 to 63 letters, digits, '-', '_', '.' and '+'"))
}
