//! Asks what the operator's own gates ask: commands beside the engine, pages, Prometheus.

mod command;
mod http;
mod prometheus;
#[cfg(test)]
mod tests;

pub(super) use http::get;

use crate::fleet::clean;
use crate::plan::{OwnGate, Question};
use async_trait::async_trait;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// No reason is longer. Characters.
const LONGEST: usize = 200;

/// The way to whatever the operator's own gates ask.
#[async_trait]
pub trait Asker: Send + Sync {
    /// Asks once, within the gate's limit. `folder` is the run's. Dropping the future ends whatever it began.
    ///
    /// # Errors
    /// In words, fit to be shown: why the gate does not hold.
    async fn ask(&self, gate: &OwnGate, folder: &Path) -> Result<(), String>;
}

/// The real one.
#[derive(Debug, Clone, Default)]
pub struct Outside {
    kubeconfig: Option<PathBuf>,
}

impl Outside {
    /// `kubeconfig` is what commands find in `KUBECONFIG`.
    pub fn new(kubeconfig: Option<PathBuf>) -> Outside {
        Outside { kubeconfig }
    }
}

#[async_trait]
impl Asker for Outside {
    async fn ask(&self, gate: &OwnGate, folder: &Path) -> Result<(), String> {
        let limit = Duration::from_millis(gate.limit_ms);
        let asked = match &gate.question {
            Question::Command { argv, exit } => {
                command::ask(argv, *exit, folder, self.kubeconfig.as_deref(), limit).await
            }
            Question::Http { target, status } => http::ask(target, *status, limit).await,
            Question::Prometheus { target, query, min, max } => {
                prometheus::ask(target, query, (*min, *max), limit).await
            }
        };
        asked.map_err(|why| bounded(&why))
    }
}

/// Text from outside, fit for the journal and the screen.
fn bounded(text: &str) -> String {
    let text = clean(text.trim());
    match text.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}
