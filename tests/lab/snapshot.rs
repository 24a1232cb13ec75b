//! The snapshot of a real etcd before its first member moves: there, whole, restorable; and the leader moves last.

use crate::cluster::Cluster;
use crate::http;
use crate::lab::Lab;
use crate::node::Node;
use crate::process::{command, run};
use crate::program::Sonoba;
use crate::{parts, profile};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use color_eyre::eyre::{Result, ensure, eyre};
use serde_json::{Value, json};
use sonoba::journal::{Event, read};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

const KEY: &str = "/registry/before";

#[test]
fn a_snapshot_that_can_be_restored_is_there_before_etcd_moves_and_the_leader_moves_last() -> Result<()> {
    if !parts::ready() {
        return Ok(());
    }
    let lab = Lab::start()?;
    let _cluster = Cluster::start(&lab)?;
    let sonoba = Sonoba::new(&lab, profile::write(&lab, profile::Wishes::default())?);
    let members = lab.etcd_members();
    lab.runtime.block_on(put(&members[0], KEY, "kept"))?;
    let leader = leader(&lab)?;

    let (plan, etcd) = (lab.dir.join("plan.json").display().to_string(), lab.new.etcd.clone());
    let preview = sonoba.expect(0, &["plan", "--bump", &format!("etcd={etcd}"), "-o", &plan])?;
    ensure!(preview.contains("first an etcd snapshot on "), "{preview}");
    let started = sonoba.start(&plan)?;
    let report = sonoba.outcome(&["completed"], Duration::from_secs(900))?;
    lab.runtime.block_on(put(&members[0], "/registry/after", "not in it"))?;

    println!("lab: snapshot {}", report["snapshot"]);
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| eyre!("not in {report}"));
    let (node, path) = (text(&report["snapshot"]["node"])?, text(&report["snapshot"]["path"])?);
    ensure!(node != leader, "the leader {leader} was asked");
    the_order(&started.dir.join("journal.jsonl"), &leader)?;

    // On the member's volume, which the new container has.
    let node = lab.node(&node);
    let file = lab.dir.join("snapshot.db");
    run(node.docker().arg("cp").arg(format!("etcd:{path}")).arg(&file))?;
    let status = run(command("etcdctl")?.args(["snapshot", "status", "--write-out=json"]).arg(&file))?;
    let status: Value = serde_json::from_str(&status)?;
    println!("lab: etcdctl says {status}");
    ensure!(status["totalKey"].as_u64() > Some(0), "{status}");
    let hash = format!("{:08x}", status["hash"].as_u64().unwrap_or_default());
    assert_eq!(report["snapshot"]["hash"], hash.as_str());
    assert_eq!(report["snapshot"]["revision"], status["revision"]);
    assert_eq!(report["snapshot"]["keys"], status["totalKey"]);
    assert_eq!(report["snapshot"]["bytes"], status["totalSize"]);
    restored(&lab, node, &file)?;
    lab.end()
}

async fn put(member: &str, key: &str, value: &str) -> Result<Value> {
    let body = json!({"key": BASE64.encode(key), "value": BASE64.encode(value)});
    http::etcd(member, "/v3/kv/put", body, Duration::from_secs(10)).await
}

async fn has(member: &str, key: &str) -> Result<bool> {
    let body = json!({"key": BASE64.encode(key)});
    let answer = http::etcd(member, "/v3/kv/range", body, Duration::from_secs(2)).await?;
    Ok(answer["count"] == "1")
}

/// The node whose member says that it leads.
fn leader(lab: &Lab) -> Result<String> {
    for node in lab.masters() {
        let check = format!("http://{}:2381/metrics", node.address).parse().map_err(|why: String| eyre!(why))?;
        let (_, body) = lab.runtime.block_on(http::check(&check, &node.address, Duration::from_secs(2)))?;
        if String::from_utf8_lossy(&body).lines().any(|line| line == "etcd_server_is_leader 1") {
            return Ok(node.name.to_owned());
        }
    }
    Err(eyre!("no member leads"))
}

/// The journal has the snapshot before the first swap, and the leader's swap last.
fn the_order(journal: &Path, leader: &str) -> Result<()> {
    let journal = read(journal)?;
    let word = |event: &Event| match event {
        Event::SnapshotTaken(_) => Some("snapshot".to_owned()),
        Event::SwapIntended { node, .. } => Some(node.to_string()),
        _ => None,
    };
    let order: Vec<String> = journal.records.iter().filter_map(|record| word(&record.event)).collect();
    println!("lab: {}", order.join(", "));
    ensure!(order.len() == 4 && order[0] == "snapshot" && order[3] == leader, "{order:?}, and {leader} led");
    Ok(())
}

/// Restored into a folder of its own, an etcd serves what was written before, and nothing that came after.
fn restored(lab: &Lab, node: &Node, file: &Path) -> Result<()> {
    let scratch = lab.dir.join("restored");
    run(command("etcdctl")?.arg("snapshot").arg("restore").arg(file).arg("--data-dir").arg(&scratch))?;
    let at = |port: u16| format!("http://{}:{port}", node.address);
    let mut etcd = command("etcd")?;
    etcd.arg("--data-dir").arg(&scratch).args([
        "--listen-client-urls",
        &at(23790),
        "--advertise-client-urls",
        &at(23790),
    ]);
    etcd.args(["--listen-peer-urls", &at(23800)]).stdout(Stdio::null()).stderr(Stdio::null());
    let _etcd = Ended(etcd.spawn()?);
    let member = format!("{}:23790", node.address);
    crate::process::wait_for("the restored etcd serves", Duration::from_secs(30), || {
        ensure!(lab.runtime.block_on(has(&member, KEY))?, "{KEY} is not in it");
        Ok(())
    })?;
    ensure!(!lab.runtime.block_on(has(&member, "/registry/after"))?, "it holds what was written after it");
    Ok(())
}

/// A child that does not outlive the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
