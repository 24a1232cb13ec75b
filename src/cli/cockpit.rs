//! The cockpit, live and as a watcher.

use super::args::{Global, RunArg};
use super::backend::Live;
use super::failure::Failure;
use super::follow::{Manner, follow};
use super::setup::Setup;
use super::watching::watching;
use super::{logging, places, runs, settings};
use crate::tui::{self, Options};
use std::io::IsTerminal;
use std::sync::Arc;

/// Opens the cockpit. Adds the process ids of the engines that it started to `engines`, also when it fails.
pub(super) async fn open(global: &Global, demo: bool, engines: &mut Vec<u32>) -> Result<(), Failure> {
    if !on_terminal() {
        return Err(Failure::usage("the cockpit needs a terminal; without one use: sonoba plan, sonoba apply"));
    }
    let mut global = global.clone();
    let mut looks = settings::looks(&global)?;
    let _guard = logging::to_file(&logging::file(&global)?)?;
    // A simulated cluster is alone.
    let clusters = if demo { Vec::new() } else { places::clusters() };
    loop {
        let setup = Setup::load(&global)?;
        let title = setup.profile.name.to_string();
        let backend = Arc::new(Live::new(global.clone(), setup));
        let options = Options { read_only: false, title, demo, clusters: clusters.clone(), looks: looks.clone() };
        let shown = tui::run(Arc::clone(&backend) as Arc<dyn tui::Backend>, options).await;
        engines.extend(backend.engines());
        match shown.map_err(Failure::failed)? {
            Some(next) => {
                // A theme may have been chosen and kept since.
                looks = settings::looks(&global)?;
                (global.profile, global.cluster) = (None, Some(next.parse().map_err(Failure::usage)?));
            }
            None => return Ok(()),
        }
    }
}

/// `sonoba watch`. Without a terminal it prints lines.
pub(super) async fn watch(global: &Global, arg: &RunArg) -> Result<(), Failure> {
    if !on_terminal() {
        logging::to_stderr();
        return follow(&runs::find(global, &arg.run)?, Manner { json: false, commands: false }).await;
    }
    let backend = watching(global, &arg.run)?;
    let _guard = logging::to_file(&logging::file(global)?)?;
    let title = backend.cluster().to_string();
    let options = Options { read_only: true, title, looks: settings::looks(global)?, ..Options::default() };
    tui::run(Arc::new(backend), options).await.map(drop).map_err(Failure::failed)
}

fn on_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}
