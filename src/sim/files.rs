//! The files through which a client finds the simulated cluster: profile, known hosts, key, kubeconfig.

use super::StartError;
use super::model::NodeSpec;
use super::scenario::{Scenario, SimRelease};
use crate::plan::FIRST_SYNC_MS;
use russh::keys::ssh_key::LineEnding;
use russh::keys::{PrivateKey, PublicKey};
use serde::Serialize;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What the files tell of.
pub(super) struct Told<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) specs: &'a [NodeSpec],
    pub(super) doors: &'a [SocketAddr],
    pub(super) host_keys: &'a [PublicKey],
    pub(super) client_key: &'a PrivateKey,
    pub(super) api: SocketAddr,
    pub(super) token: &'a str,
}

#[derive(Serialize)]
struct Profile<'a> {
    name: &'a str,
    kubeconfig: &'static str,
    ssh: Ssh,
    etcd: Etcd,
    rollout: Rollout,
    budget: Budget,
    release: &'a [SimRelease],
    inventory: Inventory<'a>,
}

#[derive(Serialize)]
struct Ssh {
    user: &'static str,
    identity: &'static str,
    known_hosts: &'static str,
}

/// What etcd takes for a client's: in the simulation, what it shows itself.
#[derive(Serialize)]
struct Etcd {
    cacert: &'static str,
    cert: &'static str,
    key: &'static str,
}

#[derive(Serialize)]
struct Rollout {
    canary: usize,
    max_parallel: usize,
    max_unavailable: usize,
    soak: String,
    first_sync: String,
}

#[derive(Serialize)]
struct Budget {
    failed_swaps: usize,
    not_ready_nodes: usize,
    disturbed_pods: usize,
}

#[derive(Serialize)]
struct Inventory<'a> {
    node: Vec<Node<'a>>,
}

#[derive(Serialize)]
struct Node<'a> {
    name: &'a str,
    address: String,
    port: u16,
    rack: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    master: bool,
}

/// Writes them all; returns the profile's path.
pub(super) fn write(dir: &Path, told: &Told<'_>) -> Result<PathBuf, StartError> {
    fs::create_dir_all(dir).map_err(|e| StartError::file(dir, e))?;
    let key = told.client_key.to_openssh(LineEnding::LF).map_err(|e| StartError::Key(e.to_string()))?;
    put(&dir.join("id_ed25519"), key.as_bytes())?;
    put(&dir.join("known_hosts"), known_hosts(told)?.as_bytes())?;
    put(&dir.join("kubeconfig"), kubeconfig(told).as_bytes())?;
    let path = dir.join("profile.toml");
    let profile = toml::to_string(&profile(told)).map_err(|e| StartError::Profile(e.to_string()))?;
    put(&path, profile.as_bytes())?;
    Ok(path)
}

/// Replaces a file by one that only its owner may read.
fn put(path: &Path, bytes: &[u8]) -> Result<(), StartError> {
    let err = |e| StartError::file(path, e);
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(err(e)),
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(err)?;
    file.write_all(bytes).map_err(err)
}

fn known_hosts(told: &Told<'_>) -> Result<String, StartError> {
    let mut text = String::new();
    for (door, key) in told.doors.iter().zip(told.host_keys) {
        let key = key.to_openssh().map_err(|e| StartError::Key(e.to_string()))?;
        // Only the key's type and the key: the comment would name this machine.
        let words: Vec<&str> = key.split(' ').take(2).collect();
        text.push_str(&format!("[{}]:{} {}\n", door.ip(), door.port(), words.join(" ")));
    }
    Ok(text)
}

fn kubeconfig(told: &Told<'_>) -> String {
    serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": told.scenario.name.as_str(),
        "clusters": [{
            "name": told.scenario.name.as_str(),
            "cluster": {"server": format!("http://{}", told.api)},
        }],
        "users": [{"name": "sonoba", "user": {"token": told.token}}],
        "contexts": [{
            "name": told.scenario.name.as_str(),
            "context": {"cluster": told.scenario.name.as_str(), "user": "sonoba"},
        }],
    })
    .to_string()
}

fn profile<'a>(told: &Told<'a>) -> Profile<'a> {
    let scenario = told.scenario;
    let rollout = &scenario.rollout;
    let scaled = |ms: f64| {
        let ms = (ms / scenario.speed).round() as u64;
        if ms.is_multiple_of(1000) { format!("{}s", ms / 1000) } else { format!("{ms}ms") }
    };
    let soak = scaled(rollout.soak_s * 1000.0);
    // Simulated kubelets tell the API at once what they do; a moment for the engine to see it.
    let first_sync = scaled(FIRST_SYNC_MS as f64 / 10.0);
    let node = told
        .specs
        .iter()
        .zip(told.doors)
        .map(|(spec, door)| Node {
            name: spec.name.as_str(),
            address: door.ip().to_string(),
            port: door.port(),
            rack: spec.rack.as_str(),
            role: spec.role.as_ref().map(|r| r.as_str()),
            master: spec.master,
        })
        .collect();
    Profile {
        name: scenario.name.as_str(),
        kubeconfig: "kubeconfig",
        ssh: Ssh { user: "cke", identity: "id_ed25519", known_hosts: "known_hosts" },
        etcd: Etcd {
            cacert: "/etc/etcd/pki/ca-client.crt",
            cert: "/etc/etcd/pki/server.crt",
            key: "/etc/etcd/pki/server.key",
        },
        rollout: Rollout {
            canary: rollout.canary,
            max_parallel: rollout.max_parallel,
            max_unavailable: rollout.max_unavailable,
            soak,
            first_sync,
        },
        budget: Budget {
            failed_swaps: rollout.failed_swaps,
            not_ready_nodes: rollout.not_ready_nodes,
            disturbed_pods: rollout.disturbed_pods,
        },
        release: &scenario.releases,
        inventory: Inventory { node },
    }
}
