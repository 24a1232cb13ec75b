//! The cockpit, live and as a watcher.

use super::args::{Global, RunArg};
use super::backend::Live;
use super::failure::Failure;
use super::follow::{Manner, follow};
use super::setup::Setup;
use super::watching::watching;
use super::{logging, places, runs};
use crate::tui::{self, Options};
use std::io::IsTerminal;
use std::sync::Arc;

/// Opens the cockpit. Adds the process ids of the engines that it started to `engines`, also when it fails.
pub(super) async fn open(global: &Global, demo: bool, engines: &mut Vec<u32>) -> Result<(), Failure> {
    if !on_terminal() {
        return Err(Failure::usage("the cockpit needs a terminal; without one use: sonoba plan, sonoba apply"));
    }
    let setup = Setup::load(global)?;
    let _guard = logging::to_file(&places::state_dir(global)?.join("cockpit.log"))?;
    let title = setup.profile.name.to_string();
    let backend = Arc::new(Live::new(global.clone(), setup));
    let shown =
        tui::run(Arc::clone(&backend) as Arc<dyn tui::Backend>, Options { read_only: false, title, demo }).await;
    engines.extend(backend.engines());
    shown.map_err(Failure::failed)
}

/// `sonoba watch`. Without a terminal it prints lines.
pub(super) async fn watch(global: &Global, arg: &RunArg) -> Result<(), Failure> {
    if !on_terminal() {
        logging::to_stderr();
        return follow(&runs::find(global, &arg.run)?, Manner { json: false, commands: false }).await;
    }
    let backend = watching(global, &arg.run)?;
    let _guard = logging::to_file(&places::state_dir(global)?.join("cockpit.log"))?;
    let title = backend.cluster().to_string();
    tui::run(Arc::new(backend), Options { read_only: true, title, demo: false }).await.map_err(Failure::failed)
}

fn on_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}
