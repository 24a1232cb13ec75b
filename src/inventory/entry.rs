//! One node as the inventory states it.

use crate::fleet::{Label, NodeName, RackName, RoleName, quoted};
use std::collections::{BTreeSet, HashMap};

/// A node as the inventory states it. Rack and role may be left to Kubernetes' labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEntry {
    /// Its name in Kubernetes.
    pub name: NodeName,
    /// Where SSH finds it: an IP address or a host name.
    pub address: String,
    /// SSH's port.
    pub port: u16,
    /// The SSH user, where it differs from the profile's.
    pub user: Option<String>,
    /// Its failure domain, where the inventory states it.
    pub rack: Option<RackName>,
    /// Its role, where the inventory states it.
    pub role: Option<RoleName>,
    /// Labels that the inventory states; Kubernetes' own come on top.
    pub labels: BTreeSet<Label>,
    /// Whether it carries the control plane.
    pub master: bool,
}

/// An address that a socket can be opened to: an IP address or a host name.
pub(super) fn check_address(text: &str) -> Result<(), String> {
    let good = (1..=253).contains(&text.len())
        && !text.starts_with(['-', '.'])
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if good || text.parse::<std::net::IpAddr>().is_ok() {
        return Ok(());
    }
    let shown = quoted(text);
    Err(format!("{shown} is not an address; write an IP address or a host name"))
}

/// A login name.
pub(super) fn check_user(text: &str) -> Result<(), String> {
    let good = (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.@".contains(c));
    if good {
        return Ok(());
    }
    let shown = quoted(text);
    Err(format!("{shown} is not a user; write a login name of letters, digits, '-', '_' and '.'"))
}

/// The second of two entries that share a name or an address, with what they share; its index tells its line.
pub(super) fn twice(entries: &[NodeEntry]) -> Option<(usize, String)> {
    let mut names = HashMap::new();
    let mut places = HashMap::new();
    for (i, entry) in entries.iter().enumerate() {
        if names.insert(&entry.name, i).is_some() {
            return Some((i, format!("the node {} is listed twice; each node needs a name of its own", entry.name)));
        }
        let place = (entry.address.to_ascii_lowercase(), entry.port);
        if let Some(first) = places.insert(place, &entry.name) {
            let (name, address, port) = (&entry.name, &entry.address, entry.port);
            return Some((i, format!("{name} has the address of {first}: {address} port {port}")));
        }
    }
    None
}
