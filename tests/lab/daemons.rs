//! The daemons under a swap fail: Docker is restarted in the critical section, the SSH server stands still for longer than the
//! dead-man's switch waits.

use crate::cluster::Cluster;
use crate::components;
use crate::dead_engine::{SWAPPED, as_before, inspect};
use crate::inspect::differences;
use crate::lab::Lab;
use crate::node::Node;
use crate::process::wait_for;
use crate::program::Sonoba;
use crate::{parts, profile};
use color_eyre::eyre::{Result, ensure, eyre};
use serde_json::Value;
use std::time::Duration;

/// The dead-man's switch of these tests' kubelets. Seconds.
const DEADLINE_S: u32 = 10;
const NODE: &str = "lab-w1";

#[test]
fn a_docker_daemon_restarted_between_stop_and_start_leaves_a_node_that_is_all_old_or_all_new() -> Result<()> {
    if !parts::ready() {
        return Ok(());
    }
    let mut lab = Lab::start()?;
    let _cluster = Cluster::start(&lab)?;
    let (sonoba, plan) = patch(&lab)?;
    let before = inspect(lab.node(NODE))?;
    sonoba.start(&plan)?;
    wait_for("the old one is being stopped", Duration::from_secs(60), || stopping(lab.node(NODE)))?;
    let node = lab.nodes.iter_mut().find(|node| node.name == NODE).ok_or_else(|| eyre!("no {NODE}"))?;
    node.restart_docker()?;
    let (steps, _) = node.transaction().unwrap_or_default();
    println!("lab: dockerd was restarted; the node's steps up to here:\n{steps}");
    comes_to_an_end(&lab, &sonoba, &plan, &before)?;
    lab.end()
}

#[test]
fn a_node_whose_ssh_server_stands_still_helps_itself_and_the_run_goes_on_when_it_is_back() -> Result<()> {
    if !parts::ready() {
        return Ok(());
    }
    let lab = Lab::start()?;
    let _cluster = Cluster::start(&lab)?;
    let (sonoba, plan) = patch(&lab)?;
    let node = lab.node(NODE);
    let before = inspect(node)?;
    let run = sonoba.start(&plan)?;
    wait_for("the old one is being stopped", Duration::from_secs(60), || stopping(node))?;
    let frozen = node.freeze_ssh()?;
    let limit = Duration::from_secs(u64::from(DEADLINE_S) + 40);
    let end = wait_for("the node helps itself", limit, || {
        let (steps, end) = node.transaction()?;
        end.ok_or_else(|| eyre!("no end yet: {steps}"))
    })?;
    println!("lab: while its sshd stood still, the node ended: {}", end.trim());
    assert_eq!(end.trim(), "rolled-back", "nobody could give it a verdict");
    // What just started needs a moment to be healthy.
    wait_for("all is as before", Duration::from_secs(20), || as_before(&lab, node, &before))?;
    // Nobody knows yet, and nobody gave up.
    assert_eq!(sonoba.report()?["outcome"], "running");
    ensure!(crate::process::lives(run.engine), "the engine died");
    drop(frozen);
    let report = comes_to_an_end(&lab, &sonoba, &plan, &before)?;
    assert_eq!(report["swaps"]["rolled_back"], 1, "{report}");
    lab.end()
}

/// A plan for the one node.
fn patch(lab: &Lab) -> Result<(Sonoba, String)> {
    let wishes = profile::Wishes { kubelet_deadline_s: DEADLINE_S, ..Default::default() };
    let sonoba = Sonoba::new(lab, profile::write(lab, wishes)?);
    let plan = lab.dir.join("plan.json").display().to_string();
    sonoba.expect(0, &["plan", "--release", lab.patch.name, "--nodes", NODE, "-o", &plan])?;
    Ok((sonoba, plan))
}

fn stopping(node: &Node) -> Result<()> {
    let (steps, _) = node.transaction()?;
    ensure!(steps.contains(" stopping "), "its steps: {steps}");
    Ok(())
}

/// The run ends, or pauses with words; the node is all old or all new; and what is left can be done by a new plan. The report
/// of the first run.
fn comes_to_an_end(lab: &Lab, sonoba: &Sonoba, plan: &str, before: &[Value]) -> Result<Value> {
    let report = sonoba.outcome(&["completed", "paused"], Duration::from_secs(150))?;
    println!("lab: {}, {}: {}", report["outcome"], report["swaps"], report["why"]);
    let node = lab.node(NODE);
    if report["outcome"] == "completed" {
        all_new(lab, node, before)?;
    } else {
        ensure!(report["why"].as_str().is_some_and(|why| why.contains(NODE)), "no words: {report}");
        as_before(lab, node, before)?;
        sonoba.expect(0, &["abort"])?;
        sonoba.outcome(&["aborted"], Duration::from_secs(60))?;
        as_before(lab, node, before)?;
        sonoba.expect(0, &["plan", "--release", lab.patch.name, "--nodes", NODE, "-o", plan])?;
        sonoba.expect(0, &["apply", plan, "--yes"])?;
        all_new(lab, node, before)?;
    }
    assert_eq!((&report["pods"]["disturbed"], &report["journal"]["chain"]), (&0.into(), &"ok".into()), "{report}");
    Ok(report)
}

/// Whether what was swapped is new in its image and in nothing else, is healthy, and nothing is left over.
fn all_new(lab: &Lab, node: &Node, before: &[Value]) -> Result<()> {
    let mut expected: Vec<&str> = components::names(node.kind).to_vec();
    expected.sort_unstable();
    assert_eq!(node.containers()?, expected);
    for (name, old) in SWAPPED.iter().zip(before) {
        let new = node.inspect(name)?;
        assert_eq!(new["Config"]["Image"], lab.patch.kubernetes, "{name}");
        assert_eq!(differences(old, &new), [""; 0], "{name}");
        let (status, _) = lab.health(node, name)?;
        ensure!(status == 200, "{name} says {status}");
    }
    Ok(())
}
