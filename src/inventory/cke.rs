//! The nodes of a CKE `cluster.yml`.
//!
//! It is CKE's file: fields that are not known here are none of our business. The ones that are:
//! <https://github.com/cybozu-go/cke/blob/main/docs/cluster.md>.

use super::entry::{NodeEntry, check_address, check_user, twice};
use super::error::ProfileError;
use crate::fleet::{Label, NodeName, clean};
use serde::Deserialize;
use serde_saphyr::Spanned;
use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

/// How a `cluster.yml` is to be understood.
pub(super) struct Reading<'a> {
    /// SSH's port, which the file does not state.
    pub port: u16,
    /// The labels that may hold the rack, in the order in which they are asked.
    pub rack_labels: &'a [String],
    /// Likewise for the role.
    pub role_labels: &'a [String],
}

#[derive(Deserialize)]
struct ClusterYml {
    nodes: Vec<Spanned<CkeNode>>,
}

#[derive(Deserialize)]
struct CkeNode {
    address: String,
    hostname: Option<String>,
    user: Option<String>,
    #[serde(default)]
    control_plane: bool,
    labels: Option<BTreeMap<String, String>>,
}

/// The nodes that `text`, the content of `file`, lists.
///
/// # Errors
/// When it is not a `cluster.yml`, or a node in it is not valid; the error names the line.
pub(super) fn read(file: &Path, text: &str, reading: &Reading<'_>) -> Result<Vec<NodeEntry>, ProfileError> {
    let cluster: ClusterYml = serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map(|l| to_line(l.line()));
        // The parser's own text draws the file below its first line.
        let what = error.without_snippet().to_string();
        ProfileError::new(file, line.flatten(), format!("not a CKE cluster.yml: {}", what.trim()))
    })?;
    let mut entries = Vec::new();
    let mut lines = Vec::new();
    for Spanned { value: node, referenced, .. } in cluster.nodes {
        let line = to_line(referenced.line());
        entries.push(entry(node, reading).map_err(|why| ProfileError::new(file, line, why))?);
        lines.push(line);
    }
    if entries.is_empty() {
        return Err(ProfileError::new(file, None, "it lists no nodes"));
    }
    match twice(&entries) {
        Some((i, why)) => Err(ProfileError::new(file, lines.get(i).copied().flatten(), why)),
        None => Ok(entries),
    }
}

/// What is wrong with a `cluster.yml`, if something is; for fuzzers.
pub(crate) fn check(text: &str) -> Result<(), ProfileError> {
    let labels = ["topology.kubernetes.io/zone".to_owned()];
    read(Path::new("cluster.yml"), text, &Reading { port: 22, rack_labels: &labels, role_labels: &labels }).map(drop)
}

/// A line that is known; the parser says 0 where it is not.
fn to_line(line: u64) -> Option<usize> {
    usize::try_from(line).ok().filter(|line| *line > 0)
}

fn entry(node: CkeNode, reading: &Reading<'_>) -> Result<NodeEntry, String> {
    check_address(&node.address)?;
    if let Some(user) = &node.user {
        check_user(user)?;
    }
    // As CKE itself names it.
    let name = node.hostname.filter(|h| !h.is_empty()).unwrap_or_else(|| node.address.clone());
    let name: NodeName = name.parse().map_err(|e: crate::fleet::NameError| e.to_string())?;
    let labels = node.labels.unwrap_or_default();
    Ok(NodeEntry {
        rack: label(&labels, reading.rack_labels)?,
        role: label(&labels, reading.role_labels)?,
        name,
        address: node.address,
        port: reading.port,
        user: node.user,
        // One that Kubernetes would not take is none.
        labels: labels.iter().filter_map(|(key, value)| Label::new(key, value).ok()).collect(),
        master: node.control_plane,
    })
}

/// The value of the first of `names` that is there.
fn label<T>(labels: &BTreeMap<String, String>, names: &[String]) -> Result<Option<T>, String>
where
    T: FromStr<Err: std::fmt::Display>,
{
    let found = names.iter().find_map(|name| Some((name, labels.get(name).filter(|v| !v.is_empty())?)));
    found.map(|(name, value)| value.parse().map_err(|e| format!("label {}: {e}", clean(name)))).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<NodeEntry>, ProfileError> {
        let racks = ["topology.kubernetes.io/zone".to_owned(), "cke.cybozu.com/rack".to_owned()];
        let roles = ["cke.cybozu.com/role".to_owned()];
        read(Path::new("cluster.yml"), text, &Reading { port: 22, rack_labels: &racks, role_labels: &roles })
    }

    #[test]
    fn reads_what_cke_writes() {
        let entries = read_text(
            "name: tokyo0\nservice_subnet: 10.68.0.0/16\nnodes:\n  - address: 10.69.0.4\n    user: cke\n    \
             control_plane: true\n    labels:\n      cke.cybozu.com/rack: \"0\"\n      cke.cybozu.com/role: cs\n    \
             annotations: {a: b}\n    taints:\n      - {key: x, effect: NoSchedule}\n  - address: 10.69.0.69\n    \
             hostname: rack3-ss1\n    labels: {topology.kubernetes.io/zone: rack3, cke.cybozu.com/rack: 3}\n\
             options: {kubelet: {boot_taints: []}}\n",
        )
        .unwrap();
        let shown: Vec<String> = entries
            .iter()
            .map(|e| format!("{} {} {:?} {:?} {:?} {}", e.name, e.address, e.user, e.rack, e.role, e.master))
            .collect();
        assert_eq!(
            shown,
            [
                r#"10.69.0.4 10.69.0.4 Some("cke") Some(RackName("0")) Some(RoleName("cs")) true"#,
                r#"rack3-ss1 10.69.0.69 None Some(RackName("rack3")) None false"#,
            ]
        );
    }

    #[test]
    fn an_error_names_the_line() {
        let error = |text: &str| read_text(text).unwrap_err().to_string();
        let wrong = error("nodes:\n  - address: 10.0.0.1\n  - address: \"10.0.0.2; reboot\"\n");
        assert!(wrong.starts_with("cluster.yml:3: ") && wrong.contains("not an address"), "{wrong}");
        let twice = error("nodes:\n  - address: 10.0.0.1\n  - {address: 10.0.0.2, hostname: 10.0.0.1}\n");
        assert!(twice.starts_with("cluster.yml:3: ") && twice.contains("listed twice"), "{twice}");
        let typed = error("nodes:\n  - address: 10.0.0.1\n    control_plane: perhaps\n");
        assert!(typed.starts_with("cluster.yml:3: not a CKE cluster.yml: "), "{typed}");
        let missing = error("nodes:\n  - hostname: a\n");
        assert!(missing.contains("address"), "{missing}");
        assert!(error("nodes: []\n").contains("no nodes"));
        assert!(error("name: x\n").contains("nodes"));
    }

    #[test]
    fn thousands_of_nodes_are_within_the_parsers_budget() {
        let nodes: String = (0..5_000)
            .map(|i| {
                format!(
                    "- address: 10.{}.{}.{}\n  user: cke\n  control_plane: false\n  labels:\n    \
                     topology.kubernetes.io/zone: rack{}\n    cke.cybozu.com/rack: \"{0}\"\n    \
                     cke.cybozu.com/index-in-rack: \"{2}\"\n    cke.cybozu.com/role: cs\n    \
                     machine-type: r6525-boot-1\n  annotations: {{a: b, c: d}}\n  taints: [{{key: x, effect: NoExecute}}]\n",
                    i >> 16,
                    (i >> 8) & 255,
                    i & 255,
                    i / 40
                )
            })
            .collect();
        let entries = read_text(&format!("nodes:\n{nodes}")).unwrap();
        assert_eq!(entries.len(), 5_000);
        assert_eq!(entries[4_999].rack, Some("rack124".parse().unwrap()));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(nodes:\n)?(\\PC|\n| |- |: ){0,200}") {
            if let Err(error) = read_text(&text) {
                proptest::prop_assert!(!error.to_string().chars().any(char::is_control));
            }
        }
    }
}
