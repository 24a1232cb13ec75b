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
}

impl Default for Wishes {
    fn default() -> Wishes {
        Wishes { soak_s: 1, kubelet_deadline_s: 25 }
    }
}

/// Writes the profile into the lab's folder, beside the known_hosts file and the key.
pub fn write(lab: &Lab, wishes: Wishes) -> Result<PathBuf> {
    let mut text = format!("name = \"{CLUSTER}\"\nkubeconfig = \"kubeconfig\"\n\n");
    writeln!(text, "[ssh]\nuser = \"{}\"\nidentity = \"id\"\nknown_hosts = \"known_hosts\"\n", lab.user)?;
    for node in &lab.nodes {
        writeln!(text, "[[inventory.node]]\nname = \"{}\"\naddress = \"{}\"", node.name, node.address)?;
        writeln!(text, "port = {SSH_PORT}\nrack = \"{}\"", node.rack)?;
        match node.kind {
            Kind::Master => writeln!(text, "master = true\n")?,
            Kind::Worker(role) => writeln!(text, "role = \"{role}\"\n")?,
        }
    }
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
    let file = lab.dir.join("profile.toml");
    fs::write(&file, text)?;
    Ok(file)
}
