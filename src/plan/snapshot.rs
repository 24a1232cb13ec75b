//! The snapshot of etcd that is taken before its first member moves: where, and with which commands. Pure: the engine runs them.

use super::findings::Findings;
use super::flags::words;
use super::{Check, Etcdctl, Phase, PhaseKind, Scheme, Severity, etcdctl};
use crate::fleet::{Cluster, Component, ContainerName, Node, NodeName, RunId, quoted};
use serde::{Deserialize, Serialize};

/// Where etcd's volume is mounted, unless its arguments say otherwise: as CKE has it.
const VOLUME: &str = "/var/lib/etcd";

/// `[etcd]` of a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EtcdSettings {
    /// Whether a snapshot is taken before etcd's first member moves.
    pub snapshot: bool,
    /// Whether a leader hands over to a follower before it is stopped.
    pub move_leader: bool,
    /// The folder inside the container that it is saved in; default: the data folder, so that it stands on etcd's volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_dir: Option<InnerPath>,
    /// How etcdctl is called inside the container.
    pub etcdctl: Program,
    /// How etcdutl is called there; where it is missing (before 3.5), etcdctl checks the snapshot.
    pub etcdutl: Program,
    /// The certificate of who signed the server's, inside the container; default: etcd's own `--trusted-ca-file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cacert: Option<InnerPath>,
    /// A client's certificate; default: etcd's own `--cert-file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<InnerPath>,
    /// Its key; default: etcd's own `--key-file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<InnerPath>,
}

impl Default for EtcdSettings {
    fn default() -> EtcdSettings {
        let program = |name: &str| Program(vec![name.to_owned()]);
        EtcdSettings {
            snapshot: true,
            move_leader: true,
            snapshot_dir: None,
            etcdctl: program("etcdctl"),
            etcdutl: program("etcdutl"),
            cacert: None,
            cert: None,
            key: None,
        }
    }
}

/// What is to be done before the first member of etcd moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// The member that is asked: a follower, where there is one.
    pub node: NodeName,
    /// Its container.
    pub container: ContainerName,
    /// The folder inside the container.
    pub dir: InnerPath,
    /// How etcdctl is called there.
    pub etcdctl: Program,
    /// How etcdutl is called there.
    pub etcdutl: Program,
    /// Where this member takes clients.
    pub endpoint: Check,
    /// Who signed the server's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cacert: Option<InnerPath>,
    /// A client's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert: Option<InnerPath>,
    /// Its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<InnerPath>,
}

impl Snapshot {
    /// The file, inside the container. Each run has its own, and each try: one that was lost sight of may still be writing.
    pub fn path(&self, run: &RunId, attempt: u32) -> String {
        let again = if attempt > 1 { format!(".{attempt}") } else { String::new() };
        format!("{}/sonoba-{run}{again}.db", self.dir.0.trim_end_matches('/'))
    }

    /// The member's own etcdctl.
    pub fn etcdctl(&self) -> Etcdctl {
        Etcdctl {
            container: self.container.clone(),
            program: self.etcdctl.clone(),
            endpoint: self.endpoint.clone(),
            cacert: self.cacert.clone(),
            cert: self.cert.clone(),
            key: self.key.clone(),
        }
    }

    /// Asks whether etcd takes the connection at all, within `limit_s` seconds.
    pub fn reach(&self, limit_s: u32) -> Vec<String> {
        self.etcdctl().argv(limit_s, &["endpoint", "status", "--write-out=json"])
    }

    /// Saves it, within `limit_s` seconds.
    pub fn save(&self, path: &str, limit_s: u32) -> Vec<String> {
        self.etcdctl().argv(limit_s, &["snapshot", "save", path])
    }

    /// What tells its hash, its revision and its size: `snapshot status` is etcdutl's since 3.5, and no longer etcdctl's since
    /// 3.6. The first that works does.
    pub fn check(&self, path: &str) -> [Vec<String>; 2] {
        [&self.etcdutl, &self.etcdctl].map(|program| {
            let mut argv = program.0.clone();
            argv.extend(["snapshot".into(), "status".into(), path.to_owned(), "--write-out=json".into()]);
            argv
        })
    }

    /// What tells how much room is left there, where the image has it.
    pub fn room(&self) -> Vec<String> {
        ["df", "-P", "-k", &self.dir.0].map(str::to_owned).into()
    }

    fn settings(&self) -> EtcdSettings {
        EtcdSettings {
            snapshot: true,
            move_leader: true,
            snapshot_dir: Some(self.dir.clone()),
            etcdctl: self.etcdctl.clone(),
            etcdutl: self.etcdutl.clone(),
            cacert: self.cacert.clone(),
            cert: self.cert.clone(),
            key: self.key.clone(),
        }
    }
}

/// Puts the snapshot before the first phase that moves etcd.
pub(super) fn before_etcd(cluster: &Cluster, settings: &EtcdSettings, phases: &mut [Phase], findings: &mut Findings) {
    for phase in phases.iter_mut().filter(|p| p.kind == PhaseKind::Etcd) {
        phase.etcdctl = Some(settings.clone());
    }
    let Some(phase) = phases.iter_mut().find(|p| p.kind == PhaseKind::Etcd) else { return };
    if !settings.snapshot {
        let text = "etcd moves, and no snapshot of it is taken before: the profile switches it off";
        findings.add(Severity::Warning, "no-snapshot", text, "take one yourself, or set snapshot = true in [etcd]");
        return;
    }
    phase.snapshot = snapshot(cluster, settings);
    let shown = phase.snapshot.as_ref().filter(|s| s.endpoint.scheme == Scheme::Https && settings.cert.is_none());
    if let Some(snapshot) = shown {
        let own = snapshot.cert.as_ref().map_or("none", InnerPath::as_str);
        let text = format!(
            "etcd speaks TLS, and no client's certificate is named: the snapshot shows it etcd's own ({own}), which it may not \
             take; then the run pauses before etcd moves"
        );
        let mend = "put a client's certificate where etcd's container sees it, and name cacert, cert and key in [etcd]";
        findings.on(&snapshot.node, Severity::Warning, "snapshot-certificate", text, mend);
    }
}

/// The same for the way back: as the way there had it.
pub(super) fn before_etcd_goes_back(cluster: &Cluster, there: &[Phase], back: &mut [Phase]) {
    let ctl = there.iter().find_map(|p| p.etcdctl.clone());
    for phase in back.iter_mut().filter(|p| p.kind == PhaseKind::Etcd) {
        phase.etcdctl.clone_from(&ctl);
    }
    let settings = there.iter().find_map(|p| p.snapshot.as_ref()).map(Snapshot::settings);
    if let (Some(settings), Some(phase)) = (settings, back.iter_mut().find(|p| p.kind == PhaseKind::Etcd)) {
        phase.snapshot = snapshot(cluster, &settings);
    }
}

/// On a follower, for the leader has enough to do; `None` where no member is known to run.
fn snapshot(cluster: &Cluster, settings: &EtcdSettings) -> Option<Snapshot> {
    let runs = |n: &&Node| n.reachable != Some(false) && n.components.get(&Component::Etcd).is_some_and(|r| r.running);
    let leads = |n: &&Node| cluster.leaders.etcd.as_ref() == Some(&n.name);
    let node = cluster.masters().filter(runs).min_by_key(leads)?;
    let Etcdctl { container, program, endpoint, cacert, cert, key } = etcdctl(node, settings)?;
    let args = &node.components.get(&Component::Etcd)?.args;
    let folder = || words(args).into_iter().rfind(|w| w.is("data-dir"))?.value?.to_owned().try_into().ok();
    Some(Snapshot {
        node: node.name.clone(),
        container,
        dir: settings.snapshot_dir.clone().or_else(folder).unwrap_or_else(|| InnerPath(VOLUME.into())),
        etcdctl: program,
        etcdutl: settings.etcdutl.clone(),
        endpoint,
        cacert,
        cert,
        key,
    })
}

/// An absolute path inside a container: printable ASCII, without `..`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InnerPath(String);

impl InnerPath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for InnerPath {
    type Error = String;

    fn try_from(text: String) -> Result<InnerPath, String> {
        let plain = text.chars().all(|c| c.is_ascii_graphic()) && text.len() <= 400;
        if text.starts_with('/') && plain && !text.split('/').any(|part| part == "..") {
            return Ok(InnerPath(text));
        }
        let shown = quoted(&text);
        Err(format!("{shown} is not an absolute path without blanks and without \"..\""))
    }
}

impl From<InnerPath> for String {
    fn from(path: InnerPath) -> String {
        path.0
    }
}

/// A program, with the arguments that always come first. No shell reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Program(Vec<String>);

impl TryFrom<Vec<String>> for Program {
    type Error = String;

    fn try_from(argv: Vec<String>) -> Result<Program, String> {
        let good = |arg: &String| arg.len() <= 400 && !arg.chars().any(char::is_control);
        match argv.first() {
            Some(program) if !program.is_empty() && argv.len() <= 20 && argv.iter().all(good) => Ok(Program(argv)),
            _ => Err("write a program and its arguments, for instance [\"etcdctl\"]".into()),
        }
    }
}

impl From<Program> for Vec<String> {
    fn from(program: Program) -> Vec<String> {
        program.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::samples::{cluster as sized, stage};
    use crate::plan::{Plan, Settings, make};
    use jiff::Timestamp;

    fn cluster() -> Cluster {
        sized(3, 3, 3)
    }

    fn plan(cluster: &Cluster, settings: EtcdSettings) -> Plan {
        let settings = Settings { etcd: settings, ..Settings::default() };
        make(cluster, &stage(), &settings, Timestamp::UNIX_EPOCH)
    }

    fn taken(plan: &Plan) -> Vec<(PhaseKind, &Snapshot)> {
        plan.phases.iter().filter_map(|p| Some((p.kind, p.snapshot.as_ref()?))).collect()
    }

    fn with_args(args: &str) -> Cluster {
        let mut cluster = cluster();
        for etcd in cluster.nodes.values_mut().filter_map(|n| n.components.get_mut(&Component::Etcd)) {
            etcd.args = args.split(' ').map(str::to_owned).collect();
        }
        cluster
    }

    #[test]
    fn a_follower_is_asked_with_what_etcds_own_arguments_say() {
        let mut cluster = with_args(
            "etcd --listen-client-urls=https://0.0.0.0:2379 --advertise-client-urls https://10.0.0.1:2379 \
             --data-dir=/data/etcd/ --cert-file=/pki/server.crt --key-file=/pki/server.key --trusted-ca-file=/pki/ca.crt",
        );
        let run: RunId = "20261123-070503-abcd".parse().unwrap();
        for leader in cluster.masters().map(|n| n.name.clone()).collect::<Vec<_>>() {
            cluster.leaders.etcd = Some(leader.clone());
            let plan = plan(&cluster, EtcdSettings::default());
            let [(PhaseKind::Etcd, snapshot)] = taken(&plan)[..] else { panic!("{:?}", taken(&plan)) };
            assert_ne!(snapshot.node, leader);
            let saved = "etcdctl --endpoints=https://10.0.0.1:2379 --cacert=/pki/ca.crt --cert=/pki/server.crt \
                         --key=/pki/server.key --dial-timeout=5s --command-timeout=60s snapshot save /data/etcd/sonoba-20261123-070503-abcd.db";
            assert_eq!(snapshot.save(&snapshot.path(&run, 1), 60).join(" "), saved);
            let read: Plan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
            assert_eq!(read, plan);
            assert!(
                plan.findings.iter().any(|f| f.code == "snapshot-certificate" && f.text.contains("/pki/server.crt"))
            );
        }
    }

    #[test]
    fn the_profile_comes_before_the_arguments_and_defaults_after_both() {
        let settings: EtcdSettings = serde_json::from_value(serde_json::json!({
            "snapshot_dir": "/backup", "etcdctl": ["/opt/etcdctl"], "cert": "/pki/client.crt"
        }))
        .unwrap();
        let given = plan(&with_args("etcd --listen-client-urls=http://0.0.0.0:2379 --cert-file=/a b"), settings);
        let run: RunId = "20261123-070503-abcd".parse().unwrap();
        let snapshot = taken(&given)[0].1;
        let saved = "/opt/etcdctl --endpoints=http://127.0.0.1:2379 --dial-timeout=5s --command-timeout=60s snapshot save \
             /backup/sonoba-20261123-070503-abcd.db";
        assert_eq!(snapshot.save(&snapshot.path(&run, 1), 60).join(" "), saved);
        assert!(given.findings.iter().all(|f| f.code != "snapshot-certificate"));
        assert_eq!(snapshot.cert.as_ref().unwrap().as_str(), "/pki/client.crt");
        let plain = plan(&with_args("etcd --advertise-client-urls=unix:///x --data-dir=../x"), EtcdSettings::default());
        assert_eq!(taken(&plain)[0].1.save("/x", 60)[1], "--endpoints=http://127.0.0.1:2379");
        assert_eq!(taken(&plain)[0].1.path(&run, 2), "/var/lib/etcd/sonoba-20261123-070503-abcd.2.db");
    }

    #[test]
    fn switched_off_it_is_a_warning_and_without_etcd_nothing() {
        let off = plan(&cluster(), EtcdSettings { snapshot: false, ..EtcdSettings::default() });
        assert!(taken(&off).is_empty());
        assert!(off.findings.iter().any(|f| (f.code.as_str(), f.severity) == ("no-snapshot", Severity::Warning)));
        let mut stage = stage();
        stage.bumps.retain(|b| b.component != Component::Etcd);
        let without = make(&cluster(), &stage, &Settings::default(), Timestamp::UNIX_EPOCH);
        assert!(taken(&without).is_empty() && without.findings.iter().all(|f| f.code != "no-snapshot"));
    }

    #[test]
    fn what_is_no_path_or_no_program_is_refused() {
        for bad in ["", "a/b", "/a/../b", "/a b", "/a\u{1b}", "/\u{e9}"] {
            assert!(InnerPath::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
        for bad in [vec![], vec![""], vec!["etcdctl", "a\nb"]] {
            assert!(Program::try_from(bad.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>()).is_err(), "{bad:?}");
        }
    }
}
