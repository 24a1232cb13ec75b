//! Why an engine could not do its work.

use crate::journal::JournalError;
use crate::k8s::ClusterError;
use std::{io, path::PathBuf};

/// An engine, or the way to it, that failed. The text says what, where and what to do.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A file of the run could not be read or written.
    #[error("{}: cannot {what}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A file of the run does not hold what it should.
    #[error("{}: {why}", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Another engine has the run, or another run has the cluster.
    #[error("{0}")]
    Locked(String),
    /// The plan must not be carried out.
    #[error("the plan is refused: {0}")]
    Plan(String),
    /// The cluster's API.
    #[error("the cluster's API: {0}")]
    Cluster(#[from] ClusterError),
    /// No such run.
    #[error("{0}")]
    NoRun(String),
    /// The run has ended; nothing can be commanded or resumed.
    #[error("run {0} has ended; `sonoba report {0}` says how")]
    Ended(String),
    /// No engine answers.
    #[error("no engine answers for run {run} ({why}); if the run has not ended, `sonoba resume {run}` starts one")]
    NoEngine {
        /// The run.
        run: String,
        /// Why not.
        why: String,
    },
    /// The engine answered that it would not.
    #[error("{0}")]
    Refused(String),
    /// The run was given up before it began.
    #[error("run {run} is given up before it began: {why}; nothing was done")]
    GivenUp {
        /// The run.
        run: String,
        /// Why.
        why: String,
    },
    /// The engine's process ended before it answered.
    #[error("the engine of run {run} did not start: {why}")]
    Died {
        /// The run.
        run: String,
        /// What it said.
        why: String,
        /// Whether it has ended for certain, and said why itself.
        ended: bool,
    },
}

impl EngineError {
    pub(super) fn io(path: impl Into<PathBuf>, what: &'static str) -> impl FnOnce(io::Error) -> EngineError {
        let path = path.into();
        move |source| EngineError::Io { path, what, source }
    }
}

/// A cluster that could not be observed as a whole. A node that does not answer is no such error.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The inventory could not be read.
    #[error(transparent)]
    Profile(#[from] crate::inventory::ProfileError),
    /// The cluster's API.
    #[error("the cluster's API: {0}")]
    Cluster(#[from] ClusterError),
    /// The inventory names no node.
    #[error("the inventory of {0} names no node; add [[inventory.node]] tables or `inventory.cke` to the profile")]
    Empty(String),
}
