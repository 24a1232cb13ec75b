//! `sonoba sim`: the simulated cluster alone.

use super::args::{SimArgs, SimServeArgs};
use super::failure::Failure;
use super::{output, say};
use crate::inventory::Profile;
use crate::sim::{self, Scenario};
use std::path::Path;
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};

/// The scenario that the flags ask for.
///
/// # Errors
/// Exit 2, when it is not known or cannot be simulated.
pub(super) fn scenario(args: &SimArgs) -> Result<Scenario, Failure> {
    let file = Path::new(&args.scenario);
    // A path says so by a slash or its ending; a bare word is a name.
    let scenario = if args.scenario.contains('/') || file.extension().is_some_and(|e| e == "toml") {
        Scenario::load(file)
    } else {
        Scenario::named(&args.scenario)
    };
    let mut scenario = scenario.map_err(Failure::usage)?;
    scenario.nodes = args.nodes.unwrap_or(scenario.nodes);
    scenario.racks = args.racks.unwrap_or(scenario.racks);
    scenario.masters = args.masters.unwrap_or(scenario.masters);
    scenario.seed = args.seed.unwrap_or(scenario.seed);
    scenario.speed = args.speed.unwrap_or(scenario.speed);
    scenario.check().map_err(Failure::usage)?;
    Ok(scenario)
}

/// Serves the simulated cluster until it is told to end.
pub(super) async fn run(args: &SimServeArgs) -> Result<(), Failure> {
    let scenario = scenario(&args.sim)?;
    let hears = |e| Failure::failed(format!("signals cannot be heard: {e}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(hears)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(hears)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(hears)?;
    let dir = tempfile::Builder::new()
        .prefix("sonoba-sim-")
        .tempdir()
        .map_err(|e| Failure::failed(format!("no folder for the simulated cluster: {e}")))?;
    let machines = scenario.masters + scenario.nodes;
    let handle = sim::start(scenario, dir.path()).await.map_err(Failure::failed)?;
    let profile = Profile::load(&handle.profile).map_err(Failure::failed)?.to_toml();
    let out = match output::is_standard(&args.profile_out) {
        true => args.profile_out.clone(),
        false => std::path::absolute(&args.profile_out).unwrap_or_else(|_| args.profile_out.clone()),
    };
    output::write(&out, profile.as_bytes())
        .map_err(|e| Failure::failed(format!("{}: cannot be written: {e}", out.display())))?;
    say::out(format!("ready: {machines} nodes, profile {}", out.display()));
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
        () = stdin_closes(), if args.until_stdin_closes => {}
    }
    drop(handle);
    Ok(())
}

async fn stdin_closes() {
    let mut stdin = tokio::io::stdin();
    let mut nothing = [0; 64];
    while stdin.read(&mut nothing).await.is_ok_and(|n| n > 0) {}
}
