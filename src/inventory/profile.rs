//! A cluster's profile: `clusters/NAME.toml` in the configuration folder.

use super::catalogue;
use super::cke::{self, Reading};
use super::entry::{NodeEntry, twice};
use super::error::ProfileError;
use super::gate;
use super::raw::{Raw, RawBudget, RawComponent, RawInventory, RawRelease, RawRollout, RawSsh, User};
use super::ssh::SshProfile;
use crate::fleet::{ClusterName, Component, Masker, Salt, check_label_key, quoted};
use crate::plan::{Budget, FlagName, HttpUrl, Limits, Release, Settings};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::num::{NonZeroU16, NonZeroUsize};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longer files than this are not a profile or an inventory. Bytes.
const MAX_BYTES: u64 = 32 << 20;
/// The longest wait for the service proxies before an API server stops. Milliseconds.
const LEAVE_MOST_MS: u64 = 60_000;

/// All that is to be known of a cluster before it is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// The cluster's name; the file's own name where the profile does not state one.
    pub name: ClusterName,
    /// The kubeconfig file; default `~/.kube/config`.
    pub kubeconfig: PathBuf,
    /// The context in it; default its current one.
    pub context: Option<String>,
    /// How nodes are reached.
    pub ssh: SshProfile,
    /// What can be staged.
    pub releases: Vec<Release>,
    /// How far and how fast, unless the command line says otherwise.
    pub limits: Limits,
    /// How much may go wrong.
    pub budget: Budget,
    /// How components are checked and how long they may take.
    pub settings: Settings,
    /// Kubernetes labels that may hold a node's rack, in the order in which they are asked.
    pub rack_label: Vec<String>,
    /// Likewise for its role.
    pub role_label: Vec<String>,
    /// CKE's servers, which must not act while a plan is carried out: asked before one is made.
    pub cke_servers: Vec<HttpUrl>,
    /// Flags of the operator's own whose values may be shown, in plans and everywhere else.
    pub harmless_flags: BTreeSet<FlagName>,
    nodes: Nodes,
    /// Files with more of what breaks in place; read into [`Settings::catalogue`].
    catalogue: Vec<PathBuf>,
    /// The file as it was read, for [`Profile::to_toml`].
    document: toml::Table,
}

/// Where the nodes come from.
#[derive(Debug, Clone, PartialEq)]
enum Nodes {
    Listed(Vec<NodeEntry>),
    Cke(PathBuf),
}

impl Profile {
    /// Reads a profile. `~` is the home folder; relative paths start at the profile's own folder.
    ///
    /// # Errors
    /// When the file cannot be read or is not a valid profile; the error names the line and what is allowed there.
    pub fn load(path: &Path) -> Result<Profile, ProfileError> {
        let text = read_file(path)?;
        let file = std::path::absolute(path).map_err(|e| ProfileError::new(path, None, e.to_string()))?;
        let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).ok();
        let home = directories::BaseDirs::new().map(|dirs| dirs.home_dir().to_owned());
        let mut profile = parse(&text, &Place { file, home, user })?;
        profile.settings.catalogue = catalogue::read(&profile.catalogue, &profile.masker(Salt::new([0; 32])))?;
        Ok(profile)
    }

    /// The nodes that the inventory lists.
    ///
    /// # Errors
    /// When the CKE `cluster.yml` cannot be read or a node in it is not valid.
    pub fn entries(&self) -> Result<Vec<NodeEntry>, ProfileError> {
        match &self.nodes {
            Nodes::Listed(nodes) => Ok(nodes.clone()),
            Nodes::Cke(file) => {
                let (racks, roles) = (&self.rack_label, &self.role_label);
                let reading = Reading { port: self.ssh.port, rack_labels: racks, role_labels: roles };
                cke::read(file, &read_file(file)?, &reading)
            }
        }
    }

    /// What masks the arguments of this cluster's containers.
    pub fn masker(&self, salt: Salt) -> Masker {
        Masker::new(salt, self.harmless_flags.iter().map(ToString::to_string))
    }

    /// Whether the nodes come from CKE's own file: then CKE made them, and may still be at work.
    pub fn from_cke(&self) -> bool {
        matches!(self.nodes, Nodes::Cke(_))
    }

    /// The profile as a file that means the same in any folder, and for any user who may read what it names: all paths are
    /// absolute, the cluster's name and the SSH user are stated.
    pub fn to_toml(&self) -> String {
        let mut document = self.document.clone();
        // Read where plans are made; a run must not fail because such a file has moved since.
        document.remove("catalogue");
        let text = |path: &Path| toml::Value::String(path.to_string_lossy().into_owned());
        document.insert("name".into(), toml::Value::String(self.name.to_string()));
        document.insert("kubeconfig".into(), text(&self.kubeconfig));
        let mut table = |name: &str, values: Vec<(&str, toml::Value)>| {
            let entry = document.entry(name).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            if let toml::Value::Table(table) = entry {
                table.extend(values.into_iter().map(|(key, value)| (key.to_owned(), value)));
            }
        };
        if let Nodes::Cke(file) = &self.nodes {
            table("inventory", vec![("cke", text(file))]);
        }
        let mut ssh = vec![("user", toml::Value::String(self.ssh.user.clone()))];
        ssh.push(("known_hosts", text(&self.ssh.known_hosts)));
        ssh.extend(self.ssh.identity.as_deref().map(|identity| ("identity", text(identity))));
        table("ssh", ssh);
        if let Some(toml::Value::Array(tables)) = document.get_mut("gate") {
            gate::make_absolute(tables, &self.settings.gates);
        }
        document.to_string()
    }
}

/// Where a profile stands, and who reads it.
struct Place {
    /// The profile's absolute path.
    file: PathBuf,
    /// What `~` stands for.
    home: Option<PathBuf>,
    /// The SSH user where the profile names none.
    user: Option<String>,
}

impl Place {
    /// A path as written, made absolute.
    fn resolve(&self, written: &str) -> Result<PathBuf, String> {
        if written.is_empty() || written.contains('\0') {
            return Err("a path must not be empty".into());
        }
        let rest = match written.strip_prefix('~') {
            Some("") => "",
            Some(rest) if rest.starts_with('/') => rest.trim_start_matches('/'),
            Some(_) => return Err("only one's own home can be written with ~; write ~/… or the whole path".into()),
            None => return Ok(self.file.parent().unwrap_or(Path::new("/")).join(written)),
        };
        let home =
            self.home.as_deref().ok_or("there is no home folder that ~ could stand for; write the whole path")?;
        Ok(home.join(rest))
    }
}

pub(super) fn read_file(path: &Path) -> Result<String, ProfileError> {
    let err = |what: String| ProfileError::new(path, None, what);
    let file = std::fs::File::open(path).map_err(|e| err(format!("cannot be read: {e}")))?;
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|e| err(format!("cannot be read: {e}")))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(err(format!("is longer than {} MiB; is it the right file?", MAX_BYTES >> 20)));
    }
    Ok(text)
}

/// What is wrong with a profile's text, if something is; for fuzzers.
pub(crate) fn check(text: &str) -> Result<(), ProfileError> {
    let place = Place { file: "/etc/tokyo0.toml".into(), home: Some("/home/cke".into()), user: Some("cke".into()) };
    parse(text, &place).and_then(|profile| match parse(&profile.to_toml(), &place) {
        Ok(again) if again.to_toml() == profile.to_toml() => Ok(()),
        Ok(_) => Err(ProfileError::new(&place.file, None, "it is written out as another")),
        Err(error) => Err(error),
    })
}

fn parse(text: &str, place: &Place) -> Result<Profile, ProfileError> {
    let err = |span: Option<Range<usize>>, what: &str| ProfileError::at(&place.file, text, span, what);
    let raw: Raw = toml::from_str(text).map_err(|e| err(e.span(), e.message()))?;
    let document: toml::Table = toml::from_str(text).map_err(|e| err(e.span(), e.message()))?;
    let path = |written: Option<&toml::Spanned<String>>, default: &str| match written {
        Some(written) => place.resolve(written.get_ref()).map_err(|why| err(Some(written.span()), &why)),
        None => place.resolve(default).map_err(|why| err(None, &format!("{default}: {why}"))),
    };

    let name = match raw.name {
        Some(name) => name,
        None => (place.file.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse().ok()))
            .ok_or_else(|| err(None, "the file's name is no cluster's name; add name = \"…\""))?,
    };
    let kubeconfig = path(raw.kubeconfig.as_ref(), "~/.kube/config")?;

    let RawSsh { user, port, identity, known_hosts, jump, connect_timeout, max_handshakes } = raw.ssh;
    let user = match (user, &place.user) {
        (Some(User(user)), _) => user,
        (None, Some(user)) => User::try_from(user.clone()).map_err(|why| err(None, &why))?.0,
        (None, None) => return Err(err(None, "whom to log in as is not known; add user = \"…\" to [ssh]")),
    };
    if let Some(zero) = connect_timeout.as_ref().filter(|t| t.get_ref().ms == 0) {
        return Err(err(Some(zero.span()), "connect_timeout must be longer than 0s"));
    }
    let ssh = SshProfile {
        user,
        port: port.map_or(22, NonZeroU16::get),
        identity: identity.as_ref().map(|i| path(Some(i), "")).transpose()?,
        known_hosts: path(known_hosts.as_ref(), "~/.ssh/known_hosts")?,
        jump,
        connect_timeout: Duration::from_millis(connect_timeout.map_or(10_000, |t| t.get_ref().ms)),
        max_handshakes: max_handshakes.map_or(32, NonZeroUsize::get),
    };

    let span = raw.inventory.span();
    let RawInventory { cke, node, rack_label, role_label, hardware_labels, cke_server } = raw.inventory.into_inner();
    let nodes = match (&cke, node.is_empty()) {
        (Some(cke), true) => Nodes::Cke(path(Some(cke), "")?),
        (None, false) => {
            let spans: Vec<Range<usize>> = node.iter().map(|n| n.span()).collect();
            let nodes: Vec<NodeEntry> = node.into_iter().map(|n| entry(n.into_inner(), ssh.port)).collect();
            if let Some((i, why)) = twice(&nodes) {
                return Err(err(spans.get(i).cloned(), &why));
            }
            Nodes::Listed(nodes)
        }
        (Some(cke), false) => {
            return Err(err(Some(cke.span()), "give either cke or [[inventory.node]] tables, not both"));
        }
        (None, true) => {
            return Err(err(Some(span), "there are no nodes; give cke = \"cluster.yml\" or [[inventory.node]]"));
        }
    };
    if let Some(zero) = raw.rollout.gate_timeout.as_ref().filter(|t| t.get_ref().ms == 0) {
        return Err(err(Some(zero.span()), "gate_timeout must be longer than 0s: every gate would pause the run"));
    }
    if let (Some(canary), Some(_)) = (&raw.rollout.canary, &raw.rollout.waves) {
        return Err(err(
            Some(canary.span()),
            "give either canary or waves, not both: the first of the waves is the canary",
        ));
    }
    for key in hardware_labels.iter().flatten() {
        let wrong = |why| err(Some(key.span()), &format!("{} is not a label's key: {why}", quoted(key.get_ref())));
        check_label_key(key.get_ref()).map_err(wrong)?;
    }
    let own = settings(raw.component, &err)?;
    let hardware_labels = hardware_labels.map(|keys| keys.into_iter().map(toml::Spanned::into_inner).collect());
    let catalogue = raw.catalogue.iter().map(|written| path(Some(written), "")).collect::<Result<_, _>>()?;
    Ok(Profile {
        cke_servers: cke_server,
        name,
        kubeconfig,
        context: raw.context,
        releases: releases(raw.release, &err)?,
        limits: limits(&raw.rollout),
        budget: budget(&raw.budget),
        settings: Settings {
            etcd: raw.etcd,
            gates: gate::read(raw.gate, &|p| path(Some(p), ""), &|w| place.resolve(w), &err)?,
            hardware_labels: hardware_labels.unwrap_or(own.hardware_labels),
            components: own.components,
            catalogue: own.catalogue,
        },
        rack_label: rack_label
            .map_or_else(|| vec!["topology.kubernetes.io/zone".into(), "cke.cybozu.com/rack".into()], Into::into),
        role_label: role_label.map_or_else(|| vec!["cke.cybozu.com/role".into()], Into::into),
        ssh,
        harmless_flags: raw.harmless_flags,
        nodes,
        catalogue,
        document,
    })
}

fn entry(node: super::raw::RawNode, port: u16) -> NodeEntry {
    NodeEntry {
        address: node.address.map_or_else(|| node.name.to_string(), |a| a.0),
        name: node.name,
        port: node.port.map_or(port, NonZeroU16::get),
        user: node.user.map(|u| u.0),
        rack: node.rack,
        role: node.role,
        labels: BTreeSet::new(),
        master: node.master,
    }
}

/// Makes an error about a place in the profile.
pub(super) type Err<'a> = dyn Fn(Option<Range<usize>>, &str) -> ProfileError + 'a;

fn releases(raw: Vec<toml::Spanned<RawRelease>>, err: &Err<'_>) -> Result<Vec<Release>, ProfileError> {
    let mut names = BTreeSet::new();
    let mut releases = Vec::new();
    for release in raw {
        let span = release.span();
        let RawRelease { name, kubernetes, etcd, rivers } = release.into_inner();
        let name = name.0;
        if !names.insert(name.clone()) {
            return Err(err(Some(span), &format!("the release {name} is listed twice")));
        }
        let mut images = BTreeMap::new();
        for component in Component::ALL {
            let image = match component {
                Component::Etcd => &etcd,
                Component::Rivers | Component::EtcdRivers => &rivers,
                _ => &kubernetes,
            };
            images.extend(image.clone().map(|image| (component, image)));
        }
        if images.is_empty() {
            return Err(err(Some(span), &format!("the release {name} has no image; give kubernetes, etcd or rivers")));
        }
        releases.push(Release { name, images });
    }
    Ok(releases)
}

fn limits(raw: &RawRollout) -> Limits {
    let default = Limits::default();
    let or = |given: Option<NonZeroUsize>, default: usize| given.map_or(default, NonZeroUsize::get);
    Limits {
        canary: or(raw.canary.as_ref().map(|c| *c.get_ref()), default.canary),
        ramp: raw.waves.clone(),
        max_parallel: or(raw.max_parallel, default.max_parallel),
        max_unavailable: or(raw.max_unavailable, default.max_unavailable),
        soak_ms: raw.soak.map_or(default.soak_ms, |t| t.ms),
        max_pulls: or(raw.max_pulls, default.max_pulls),
        gate_timeout_ms: raw.gate_timeout.as_ref().map_or(default.gate_timeout_ms, |t| t.get_ref().ms),
        proof_limit_ms: raw.proof_limit.map_or(default.proof_limit_ms, |t| t.ms),
        first_sync_ms: raw.first_sync.map_or(default.first_sync_ms, |t| t.ms),
    }
}

fn budget(raw: &RawBudget) -> Budget {
    let default = Budget::default();
    Budget {
        failed_swaps: raw.failed_swaps.unwrap_or(default.failed_swaps),
        not_ready_nodes: raw.not_ready_nodes.unwrap_or(default.not_ready_nodes),
        disturbed_pods: raw.disturbed_pods.unwrap_or(default.disturbed_pods),
    }
}

fn settings(raw: BTreeMap<Component, toml::Spanned<RawComponent>>, err: &Err<'_>) -> Result<Settings, ProfileError> {
    let mut settings = Settings::default();
    for (component, raw) in raw {
        let span = raw.span();
        let RawComponent { container, health, version, deadline, stop_timeout, leave, client } = raw.into_inner();
        let mut own = settings.of(component);
        own.container = container.unwrap_or(own.container);
        own.health = health.unwrap_or(own.health);
        own.version = version.or(own.version);
        own.deadline_ms = deadline.map_or(own.deadline_ms, |t| t.ms);
        own.client = client;
        if let Some(timeout) = stop_timeout {
            // Docker counts in whole seconds.
            let whole = u32::try_from(timeout.ms / 1_000).ok().filter(|_| timeout.ms.is_multiple_of(1_000));
            own.stop_timeout_s = whole.ok_or_else(|| err(Some(span.clone()), "stop_timeout must be whole seconds"))?;
            // The operator's own word counts in every case.
            own.drain_timeout_s = None;
        }
        if let Some(leave) = leave {
            if component != Component::KubeApiserver {
                return Err(err(
                    Some(span),
                    "leave is for kube-apiserver alone: it is in the Endpoints, others are not",
                ));
            }
            if leave.ms > LEAVE_MOST_MS {
                return Err(err(Some(span), "leave must not be longer than 60s: one API server is missing meanwhile"));
            }
            own.leave_ms = leave.ms;
        }
        if own.deadline_ms == 0 {
            return Err(err(Some(span), "deadline must be longer than 0s: every swap would roll back"));
        }
        let grace = Settings::NODE_MONITOR_GRACE_MS;
        if component == Component::Kubelet && own.deadline_ms + 1_000 * u64::from(own.stop_timeout_s) >= grace {
            let what = format!(
                "the kubelet's deadline ({} ms) and stop_timeout ({} s) together must stay under the node-monitor grace \
                 period ({} s): a failed swap would end in evictions",
                own.deadline_ms,
                own.stop_timeout_s,
                grace / 1_000
            );
            return Err(err(Some(span), &what));
        }
        settings.components.insert(component, own);
    }
    let mut names = BTreeMap::new();
    for (component, own) in &settings.components {
        if let Some(other) = names.insert(own.container.clone(), component) {
            return Err(err(None, &format!("{other} and {component} have the same container, {}", own.container)));
        }
    }
    Ok(settings)
}

#[cfg(test)]
#[path = "profile_tests.rs"]
mod tests;
