//! The engine of a whole upgrade killed again and again: real nodes, each moved once, and a client that keeps writing.

use crate::cluster::Cluster;
use crate::common::kills::{each_swap_once, kill_at_random_moments, seed};
use crate::lab::Lab;
use crate::program::Sonoba;
use crate::upgrade::{inspect_all, nobody_waited_long, nothing_but_the_image_changed, the_report_says_so};
use crate::writer::Writer;
use crate::{parts, profile};
use color_eyre::eyre::{Result, ensure};
use std::time::Duration;

const KILLS: usize = 10;

#[test]
fn an_engine_killed_ten_times_is_taken_up_each_time_and_each_node_moves_once() -> Result<()> {
    if !parts::ready() {
        return Ok(());
    }
    let seed = seed();
    let lab = Lab::start()?;
    let _cluster = Cluster::start(&lab)?;
    let sonoba = Sonoba::new(&lab, profile::write(&lab, profile::Wishes::default())?);
    let before = inspect_all(&lab)?;
    let writer = Writer::start(&lab.runtime, lab.etcd_members());

    let plan = lab.dir.join("plan.json").display().to_string();
    sonoba.expect(0, &["plan", "--release", lab.new.name, "-o", &plan])?;
    let run = sonoba.start(&plan)?;
    let told = kill_at_random_moments(&run.dir, KILLS, seed, || {
        sonoba.expect(0, &["resume"]).expect("the run is taken up");
    });
    println!("lab: {told:?}");
    // Else the dice were never thrown at what matters.
    ensure!(told.amid_swaps >= 2, "{told:?}");

    let written = writer.finish(&lab.runtime)?;
    println!("lab: {} writes acknowledged, longest wait {:?}", written.acknowledged.len(), written.longest);
    let report = sonoba.report()?;
    nobody_waited_long(written.longest, &report)?;
    the_report_says_so(&lab, &report)?;
    each_swap_once(&run.dir);
    nothing_but_the_image_changed(&lab, &before)?;
    lab.wait_healthy(Duration::from_secs(5))?;
    lab.end()
}
