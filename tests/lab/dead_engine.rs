//! The engine and the network die in the middle of a swap: the node helps itself.

use crate::cluster::Cluster;
use crate::inspect::differences;
use crate::lab::Lab;
use crate::node::Node;
use crate::process::{lives, signal, wait_for};
use crate::program::Sonoba;
use crate::{components, parts, profile};
use color_eyre::eyre::{Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use std::time::{Duration, Instant};

/// The dead-man's switch of this test's kubelets. Seconds.
const DEADLINE_S: u32 = 8;

/// What the patch swaps on a worker, in one visit.
pub const SWAPPED: [&str; 2] = ["kube-proxy", "kubelet"];

#[test]
fn a_node_rolls_itself_back_when_the_engine_and_the_network_die_in_a_swap() -> Result<()> {
    if !parts::ready() {
        return Ok(());
    }
    let lab = Lab::start()?;
    let _cluster = Cluster::start(&lab)?;
    let wishes = profile::Wishes { kubelet_deadline_s: DEADLINE_S, ..Default::default() };
    let sonoba = Sonoba::new(&lab, profile::write(&lab, wishes)?);
    let node = lab.node("lab-w1");
    let before = inspect(node)?;
    // The new one is not healthy, so that no verdict can be given before the engine is killed.
    node.never_healthy("kubelet", lab.patch.name)?;

    let plan = lab.dir.join("plan.json").display().to_string();
    sonoba.expect(0, &["plan", "--release", lab.patch.name, "--nodes", node.name, "-o", &plan])?;
    let started = sonoba.start(&plan)?;
    wait_for("the old kubelet is set aside", Duration::from_secs(60), || set_aside(node))?;
    let cut_at = Instant::now();
    // Held still for a moment, so that it is the network that cuts its sessions and not its own death.
    signal(started.engine, Signal::STOP)?;
    let cut = node.cut_ssh()?;
    ensure!(cut > 0, "the engine had no SSH session to cut");
    signal(started.engine, Signal::KILL)?;
    wait_for("the engine is dead", Duration::from_secs(5), || {
        ensure!(!lives(started.engine), "it lives");
        Ok(())
    })?;
    set_aside(node)?;

    let limit = Duration::from_secs(u64::from(DEADLINE_S) + 30);
    wait_for("the old containers are back", limit, || as_before(&lab, node, &before))?;
    println!("lab: {cut} SSH sessions cut; all was back on the old containers after {:?}", cut_at.elapsed());

    // A new engine learns from the node how it ended; the budget of one failed swap is spent, so the run pauses.
    let outcome = |wanted: &'static str| sonoba.outcome(&[wanted], Duration::from_secs(90));
    sonoba.expect(0, &["resume", "latest"])?;
    let report = outcome("paused")?;
    assert_eq!(report["swaps"]["rolled_back"], 1, "{report}");
    assert_eq!(report["journal"]["chain"], "ok", "{report}");
    assert_eq!(report["pods"]["disturbed"], 0, "{report}");
    sonoba.expect(0, &["abort", "latest"])?;
    outcome("aborted")?;
    as_before(&lab, node, &before)?;

    // The fault is mended: nothing that the dead engine left is in the way of the next plan.
    node.mend()?;
    sonoba.expect(0, &["plan", "--release", lab.patch.name, "--nodes", node.name, "-o", &plan])?;
    sonoba.expect(0, &["apply", &plan, "--yes"])?;
    assert_eq!(sonoba.report()?["outcome"], "completed");
    for name in SWAPPED {
        assert_eq!(node.inspect(name)?["Config"]["Image"], lab.patch.kubernetes);
    }
    lab.end()
}

/// What Docker says of them.
pub fn inspect(node: &Node) -> Result<Vec<Value>> {
    SWAPPED.iter().map(|name| node.inspect(name)).collect()
}

/// Whether the swap is between stop and commit.
pub fn set_aside(node: &Node) -> Result<()> {
    let names = node.containers()?;
    ensure!(names.iter().any(|name| name == "kubelet.sonoba-prev"), "no old kubelet is set aside: {names:?}");
    Ok(())
}

/// Whether the very containers of before run as they did, with nothing beside them, and are healthy.
pub fn as_before(lab: &Lab, node: &Node, before: &[Value]) -> Result<()> {
    for (old, now) in before.iter().zip(inspect(node)?) {
        ensure!(old["Id"] == now["Id"], "{} is {}, not {}", now["Name"], now["Id"], old["Id"]);
        // Its restart policy and its name too.
        let changed = differences(old, &now);
        ensure!(changed.is_empty(), "{}: {changed:?}", now["Name"]);
    }
    let mut expected: Vec<&str> = components::names(node.kind).to_vec();
    expected.sort_unstable();
    ensure!(node.containers()? == expected, "left over: {:?}", node.containers()?);
    for name in SWAPPED {
        let (status, _) = lab.health(node, name)?;
        ensure!(status == 200, "{name} says {status}");
    }
    Ok(())
}
