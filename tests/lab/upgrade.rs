//! A whole cluster from the old release to the new one, in place.

use crate::cluster::Cluster;
use crate::inspect::differences;
use crate::lab::Lab;
use crate::process::run;
use crate::program::Sonoba;
use crate::writer::Writer;
use crate::{components, parts, profile};
use color_eyre::eyre::{Result, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// The longest that a client may have to wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Demands that no client waited longer than 5 s. On a busy machine a member of etcd is away for longer, and clients wait longer:
/// up to four times what the report says of the longest absence is taken there.
pub fn nobody_waited_long(longest: Duration, report: &Value) -> Result<()> {
    let away = report["downtime_ms"]["etcd"]["max"].as_u64().map(Duration::from_millis);
    let limit = PATIENCE.max(away.unwrap_or_default() * 4);
    ensure!(longest < limit, "a client waited {longest:?}, an etcd member was away for {away:?} at most");
    Ok(())
}

#[test]
fn every_component_goes_from_old_to_new_while_a_client_keeps_writing() -> Result<()> {
    if !parts::ready() {
        return Ok(());
    }
    let lab = Lab::start()?;
    let cluster = Cluster::start(&lab)?;
    let api_before = cluster.api_addresses();
    let sonoba = Sonoba::new(&lab, profile::write(&lab, profile::Wishes::default())?);
    let before = inspect_all(&lab)?;
    let writer = Writer::start(&lab.runtime, lab.etcd_members());

    let plan = lab.dir.join("plan.json").display().to_string();
    sonoba.expect(0, &["plan", "--release", lab.new.name, "-o", &plan])?;
    sonoba.expect(0, &["apply", &plan, "--yes"])?;

    let written = writer.finish(&lab.runtime)?;
    println!(
        "lab: {} writes acknowledged and found on all members, {} attempts failed, longest wait {:?}",
        written.acknowledged.len(),
        written.failed_attempts,
        written.longest
    );
    let report = sonoba.report()?;
    nobody_waited_long(written.longest, &report)?;
    the_report_says_so(&lab, &report)?;
    assert_eq!(cluster.api_addresses(), api_before, "every API server is back in the Endpoints");
    lab.wait_healthy(Duration::from_secs(5))?;
    nothing_but_the_image_changed(&lab, &before)?;

    // What is done stays done: a second plan finds nothing to do, and moves nothing.
    let after = inspect_all(&lab)?;
    sonoba.expect(0, &["plan", "--release", lab.new.name, "-o", &plan])?;
    sonoba.expect(0, &["apply", &plan, "--yes"])?;
    let ids = |all: &Inspected| all.iter().map(|(k, v)| (*k, v["Id"].clone())).collect::<Vec<_>>();
    assert_eq!(ids(&inspect_all(&lab)?), ids(&after));
    lab.end()
}

/// Containers by node and component.
pub type Inspected = BTreeMap<(&'static str, &'static str), Value>;

/// What Docker says of every component of every node.
pub fn inspect_all(lab: &Lab) -> Result<Inspected> {
    let mut all = BTreeMap::new();
    for node in &lab.nodes {
        for component in components::names(node.kind) {
            all.insert((node.name, *component), node.inspect(component)?);
        }
    }
    Ok(all)
}

/// The report tells of a whole cluster that is new, and of no pod that noticed.
pub fn the_report_says_so(lab: &Lab, report: &Value) -> Result<()> {
    println!("lab: report {report}");
    assert_eq!(report["outcome"], "completed", "{report}");
    assert_eq!(report["nodes"]["total"], lab.nodes.len(), "{report}");
    assert_eq!(report["nodes"]["new"], lab.nodes.len(), "{report}");
    assert_eq!(report["swaps"]["committed"], report["swaps"]["planned"], "{report}");
    assert_eq!(report["pods"]["disturbed"], 0, "{report}");
    ensure!(report["pods"]["checked"].as_u64() > Some(0), "no pod was checked: {report}");
    assert_eq!(report["pods"]["undisturbed"], report["pods"]["checked"], "{report}");
    assert_eq!(report["journal"]["chain"], "ok", "{report}");
    Ok(())
}

/// Every container of every node is a new one, with nothing else changed and nothing left over.
pub fn nothing_but_the_image_changed(lab: &Lab, before: &Inspected) -> Result<()> {
    for node in &lab.nodes {
        let mut expected: Vec<&str> = components::names(node.kind).to_vec();
        expected.sort_unstable();
        assert_eq!(node.containers()?, expected, "{}: the old containers are gone", node.name);
        for component in components::names(node.kind) {
            let (old, new) = (&before[&(node.name, *component)], node.inspect(component)?);
            let at = format!("{component} on {}", node.name);
            assert_eq!(new["Config"]["Image"], components::image(component, &lab.new), "{at}");
            // The image itself, not only its name.
            let id = run(node
                .docker()
                .args(["image", "inspect", "--format={{.Id}}"])
                .arg(components::image(component, &lab.new)))?;
            assert_eq!(new["Image"], id, "{at}");
            assert_ne!(new["Image"], old["Image"], "{at}");
            assert_ne!(new["Id"], old["Id"], "{at}");
            assert_eq!(differences(old, &new), [""; 0], "{at}");
        }
    }
    Ok(())
}
