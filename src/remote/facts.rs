//! What preflight wants to know of a node beside what runs there. What a node cannot tell is left out: a rule that lacks its
//! fact finds nothing, and no plan fails for want of one.

use super::ask::{self, certificate_until};
use super::connection::Connection;
use super::docker::Engine;
use super::limits;
use super::port::{Inquiry, NodeError};
use super::shares;
use crate::fleet::{Component, ContainerName, Image, clean_short};
use crate::plan::{ContainerFacts, ImageFacts, NodeFacts};
use bollard::query_parameters::DownloadFromContainerOptionsBuilder;
use futures::StreamExt;
use hyper::Method;
use serde_json::Value;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::timeout;

/// CKE's label on the containers that it makes.
const CKE: &str = "com.cybozu.cke";
/// An answer to the question for the time that took longer tells nothing of the clock.
const PROMPT: Duration = Duration::from_secs(2);
/// How often a file that is a link is followed.
const LINKS: usize = 4;

/// The command that asks for the room on the disk of `dir`, and for the time.
pub(crate) fn disk_and_clock(dir: &str) -> String {
    // What a node says of itself goes back to no shell unless it is a plain path.
    let plain = dir.starts_with('/') && dir.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    let dir = if plain { dir } else { "/" };
    format!("LC_ALL=C df -P -k {dir}; date +%s")
}

/// All that the node can tell.
///
/// # Errors
/// When its Docker does not answer at all.
pub(super) async fn facts(link: &Arc<Connection>, address: &str, inquiry: &Inquiry) -> Result<NodeFacts, NodeError> {
    let engine = Engine::over(link).await?;
    let info = engine.json(Method::GET, "/info", None).await?.unwrap_or_default();
    let text = |key: &str| info[key].as_str().map(|t| clean_short(t, 100)).filter(|t| !t.is_empty());
    let mut facts = NodeFacts {
        arch: text("Architecture").map(|arch| architecture(&arch)),
        kernel: text("KernelVersion"),
        cgroup: text("CgroupVersion").and_then(|v| v.parse().ok()),
        ..NodeFacts::default()
    };
    let root = info["DockerRootDir"].as_str().unwrap_or("/var/lib/docker");
    disk_and_time(link, root, &mut facts).await;
    for image in &inquiry.images {
        if let Ok(Some(found)) = engine.image(image.as_str()).await {
            facts.images.insert(image.clone());
            facts.image_bytes.extend(found["Size"].as_u64().map(|size| (image.clone(), size)));
        }
    }
    let list = engine.json(Method::GET, "/containers/json?all=1", None).await.ok().flatten().unwrap_or_default();
    for asked in &inquiry.containers {
        let Ok(Some(container)) = engine.container(asked.container.as_str()).await else { continue };
        let host = &container["HostConfig"];
        let mut known = ContainerFacts {
            restart_policy: host["RestartPolicy"]["Name"].as_str().map(|t| clean_short(t, 40)),
            auto_remove: host["AutoRemove"].as_bool().unwrap_or(false),
            by_cke: container["Config"]["Labels"][CKE].is_string(),
            shares: shares::taken(&container),
            guests: shares::guests(&list, container["Id"].as_str().unwrap_or("")),
            ..ContainerFacts::default()
        };
        if let Some(path) = &asked.config {
            known.config = file(&engine, &asked.container, path).await;
        }
        if let Some((host, port)) = &asked.tls {
            known.certificate_until = certificate_until(link, &host.replace("{address}", address), *port).await;
        }
        if let Some(check) = asked.metrics.as_ref().filter(|_| asked.component == Component::Etcd) {
            let metrics = ask::ask(link, check, address).await.ok();
            let health = ask::ask(link, &asked.health, address).await.ok();
            facts.etcd = Some(super::etcd::facts(metrics.as_ref(), health.as_ref()));
        }
        facts.components.insert(asked.component, known);
    }
    Ok(facts)
}

/// Architectures as images name them, from the kernel's names.
fn architecture(kernel: &str) -> String {
    match kernel {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "armv7l" => "arm",
        other => other,
    }
    .to_owned()
}

async fn disk_and_time(link: &Connection, root: &str, facts: &mut NodeFacts) {
    let before = SystemTime::now();
    let Ok(out) = link.exec("df and date", &disk_and_clock(root), &[], limits::EXEC).await else { return };
    let took = before.elapsed().unwrap_or(PROMPT);
    let text = String::from_utf8_lossy(&out.stdout);
    let mut lines = text.lines().rev();
    let clock = lines.next().and_then(|line| line.trim().parse::<i64>().ok());
    if let (Some(clock), true) = (clock, took < PROMPT) {
        let middle = (before + took / 2).duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        // Stated in whole seconds: its middle is the best guess.
        let theirs = clock.saturating_mul(1_000).saturating_add(500);
        facts.clock_off_ms = i64::try_from(middle).ok().map(|ours| theirs.saturating_sub(ours));
    }
    let mut fields = lines.next().unwrap_or("").split_whitespace().skip(1).map(|f| f.parse::<u64>().ok());
    if let (Some(Some(total)), Some(_), Some(Some(free))) = (fields.next(), fields.next(), fields.next()) {
        facts.disk_total = total.checked_mul(1_024);
        facts.disk_free = free.checked_mul(1_024);
    }
}

/// A file's text as the container has it, through mounts and links.
async fn file(engine: &Engine, container: &ContainerName, path: &str) -> Option<String> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        let options = DownloadFromContainerOptionsBuilder::default().path(&path).build();
        let mut pieces = engine.bollard.download_from_container(container.as_str(), Some(options));
        let mut archive = Vec::new();
        let read = async {
            while let Some(Ok(piece)) = pieces.next().await {
                let room = limits::FILE.saturating_sub(archive.len());
                archive.extend_from_slice(&piece[..piece.len().min(room)]);
                if room == 0 {
                    break;
                }
            }
        };
        timeout(limits::DOCKER, read).await.ok()?;
        match only_file(&archive)? {
            Found::Text(text) => return Some(text),
            Found::Link(to) if to.starts_with('/') => path = to,
            Found::Link(to) => path = format!("{}/{to}", path.rsplit_once('/').map_or("", |(folder, _)| folder)),
        }
    }
    None
}

#[derive(Debug, PartialEq)]
enum Found {
    Text(String),
    Link(String),
}

/// What an archive of one file holds.
fn only_file(archive: &[u8]) -> Option<Found> {
    let mut archive = tar::Archive::new(archive);
    let entry = archive.entries().ok()?.next()?.ok()?;
    let kind = entry.header().entry_type();
    if kind.is_symlink() {
        let to = entry.link_name().ok()??.to_str()?.to_owned();
        return Some(Found::Link(to));
    }
    if !kind.is_file() {
        return None;
    }
    let size = entry.size();
    let mut text = String::new();
    entry.take(limits::FILE as u64).read_to_string(&mut text).ok()?;
    // One that was cut says less than none.
    (text.len() as u64 == size).then_some(Found::Text(text))
}

/// What the registry says of an image to this node's Docker; `None` where it cannot be asked (credentials, network).
pub(super) async fn registry(link: &Arc<Connection>, image: &Image) -> Result<Option<ImageFacts>, NodeError> {
    let engine = Engine::over(link).await?;
    match engine.json(Method::GET, &format!("/distribution/{image}/json"), None).await {
        Ok(Some(answer)) => Ok(Some(ImageFacts { archs: platforms(&answer), ..ImageFacts::default() })),
        Ok(None) => Ok(Some(ImageFacts { missing: true, ..ImageFacts::default() })),
        Err(NodeError::Failed(why)) => {
            tracing::debug!("{why}");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Architectures of an image; what builders put beside them (attestations) is of none.
fn platforms(answer: &Value) -> std::collections::BTreeSet<String> {
    let all = answer["Platforms"].as_array().into_iter().flatten().filter_map(|p| p["architecture"].as_str());
    all.filter(|a| *a != "unknown" && !a.is_empty()).map(|a| clean_short(a, 40)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn archive(add: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        add(&mut builder);
        builder.into_inner().unwrap()
    }

    #[test]
    fn a_file_comes_out_of_its_archive() {
        let file = archive(|b| {
            let mut header = tar::Header::new_gnu();
            header.set_size(3);
            b.append_data(&mut header, "config.yml", &b"a: "[..]).unwrap();
        });
        assert_eq!(only_file(&file), Some(Found::Text("a: ".into())));
        assert_eq!(only_file(&file[..514]), None, "one that was cut");
        let link = archive(|b| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            b.append_link(&mut header, "config.yml", "/etc/other.yml").unwrap();
        });
        assert_eq!(only_file(&link), Some(Found::Link("/etc/other.yml".into())));
        let folder = archive(|b| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Directory);
            header.set_size(0);
            b.append_data(&mut header, "etc", &b""[..]).unwrap();
        });
        assert_eq!(only_file(&folder), None);
        assert_eq!(only_file(b"noise"), None);
    }

    #[test]
    fn no_path_of_a_nodes_reaches_its_shell_but_a_plain_one() {
        assert_eq!(disk_and_clock("/var/lib/docker"), "LC_ALL=C df -P -k /var/lib/docker; date +%s");
        for bad in ["", "var", "/a b", "/$(reboot)", "/a;b", "/a\nb", "-x"] {
            assert_eq!(disk_and_clock(bad), "LC_ALL=C df -P -k /; date +%s");
        }
    }

    #[test]
    fn attestations_are_of_no_architecture() {
        let answer = json!({"Platforms": [
            {"architecture": "amd64", "os": "linux"}, {"architecture": "unknown", "os": "unknown"}, {"os": "linux"},
        ]});
        assert_eq!(platforms(&answer), ["amd64".to_owned()].into());
        assert!(platforms(&json!({"Platforms": null})).is_empty());
    }
}
