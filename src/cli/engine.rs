//! `sonoba engine`: the engine's own process.

use super::args::EngineArgs;
use super::failure::Failure;
use super::logging;
use super::setup::Setup;
use crate::engine::{self, RunDir, Start};

/// Carries the run out. Everything it needs is in the run's folder.
pub(super) async fn run(args: &EngineArgs) -> Result<(), Failure> {
    // Before anything that takes time: a Ctrl-C at the terminal must not reach it.
    engine::detach();
    let run = RunDir::open(&args.run).map_err(Failure::failed)?;
    let _guard = logging::to_file(&run.log())?;
    let served = serve(run, args.leashed).await;
    if let Err(failure) = &served {
        tracing::error!("{}", failure.text);
    }
    served
}

async fn serve(run: RunDir, leashed: bool) -> Result<(), Failure> {
    let setup = Setup::read(&run.profile())?;
    let ports = setup.ports().await?;
    let start = Start { profile: Some(setup.profile), leashed };
    let outcome = engine::serve(run, ports, start).await.map_err(Failure::failed)?;
    tracing::info!("the engine ends: {}", outcome.word());
    Ok(())
}
