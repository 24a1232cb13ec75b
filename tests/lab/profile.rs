//! The lab's profile, as an operator would write it.

use crate::components;
use crate::images::Release;
use crate::lab::Lab;
use crate::node::{Kind, SSH_PORT};
use color_eyre::eyre::Result;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

/// The cluster's name.
pub const CLUSTER: &str = "lab";

/// What an operator may want to have otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Wishes {
    /// How long to watch after the canary. Seconds.
    pub soak_s: u32,
    /// How long the kubelet's swap may be without a verdict. Seconds.
    pub kubelet_deadline_s: u32,
    /// Whether etcd's leader hands over before it is stopped.
    pub move_leader: bool,
}

impl Default for Wishes {
    fn default() -> Wishes {
        Wishes { soak_s: 1, kubelet_deadline_s: 25, move_leader: true }
    }
}

/// Writes the profile and the `cluster.yml` into the lab's folder, beside the known_hosts file and the key.
pub fn write(lab: &Lab, wishes: Wishes) -> Result<PathBuf> {
    // As on CKE's clusters: who the nodes are is CKE's file, with what else CKE writes into it.
    let mut cke = format!("name: {CLUSTER}\nservice_subnet: 10.68.0.0/16\nnodes:\n");
    for node in &lab.nodes {
        writeln!(cke, "- address: {}\n  hostname: {}\n  user: {}", node.address, node.name, lab.user)?;
        writeln!(cke, "  control_plane: {}\n  labels:", node.master())?;
        writeln!(cke, "    topology.kubernetes.io/zone: {}", node.rack)?;
        if let Kind::Worker(role) = node.kind {
            writeln!(cke, "    cke.cybozu.com/role: {role}")?;
        }
    }
    writeln!(cke, "options:\n  kubelet:\n    in_place_update: true")?;
    fs::write(lab.dir.join("cluster.yml"), cke)?;
    let mut text =
        format!("name = \"{CLUSTER}\"\nkubeconfig = \"kubeconfig\"\n\n[inventory]\ncke = \"cluster.yml\"\n\n");
    writeln!(
        text,
        "[ssh]\nuser = \"{}\"\nidentity = \"id\"\nknown_hosts = \"known_hosts\"\nport = {SSH_PORT}\n",
        lab.user
    )?;
    for Release { name, kubernetes, etcd, rivers } in [&lab.old, &lab.patch, &lab.new] {
        writeln!(text, "[[release]]\nname = \"{name}\"\nkubernetes = \"{kubernetes}\"")?;
        writeln!(text, "etcd = \"{etcd}\"\nrivers = \"{rivers}\"\n")?;
    }
    writeln!(text, "[rollout]\ncanary = 1\nmax_parallel = 2\nmax_unavailable = 1\nsoak = \"{}s\"\n", wishes.soak_s)?;
    writeln!(text, "[budget]\nfailed_swaps = 1\nnot_ready_nodes = 1\ndisturbed_pods = 0\n")?;
    // All nodes share one loopback: what a real node asks at 127.0.0.1, the lab asks at the node's own address.
    for name in components::names(Kind::Master) {
        writeln!(text, "[component.{name}]\nhealth = \"{}\"", components::health(name))?;
        match *name {
            "etcd" => writeln!(text, "version = \"http://{{address}}:2381/metrics\"")?,
            "kube-apiserver" => writeln!(text, "version = \"https://{{address}}:6443/version\"")?,
            "kubelet" => writeln!(text, "deadline = \"{}s\"\nstop_timeout = \"5s\"", wishes.kubelet_deadline_s)?,
            _ => {}
        }
    }
    writeln!(text, "[etcd]\nmove_leader = {}", wishes.move_leader)?;
    let file = lab.dir.join("profile.toml");
    fs::write(&file, text)?;
    Ok(file)
}
