//! What the cockpit needs from below; the command line implements it.

use super::looks::Looks;
use crate::fleet::{Cluster, Condition, NodeName, PodProof, RunId};
use crate::journal::{Record, Report, Verb};
use crate::plan::{Budget, Limits, Plan, Release, Settings, Stage};
use async_trait::async_trait;
use std::sync::Arc;
use tokio::sync::mpsc;

/// A node from near.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Near {
    /// What it says of itself.
    pub conditions: Vec<Condition>,
    /// The pods that are bound to it.
    pub pods: Vec<PodProof>,
}

/// The cockpit's way to the cluster, the planner and the engine. Errors are texts for people: what, where, what to do.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Looks at the cluster and every node.
    ///
    /// # Errors
    /// When the cluster cannot be observed.
    async fn observe(&self) -> Result<Cluster, String>;

    /// What the API tells of a node that is looked at from near.
    ///
    /// # Errors
    /// When the API cannot be asked.
    async fn near(&self, node: &NodeName) -> Result<Near, String>;

    /// What ran here before, newest first.
    ///
    /// # Errors
    /// When the state folder cannot be read.
    async fn history(&self) -> Result<Vec<Report>, String> {
        Err("past runs are not known here".into())
    }

    /// Keeps a setting of the cockpit for the next time.
    ///
    /// # Errors
    /// When it cannot be written.
    fn remember(&self, _key: &str, _value: &str) -> Result<(), String> {
        Ok(())
    }

    /// The end of what the cockpit itself logged.
    ///
    /// # Errors
    /// When the log cannot be read.
    async fn trace(&self) -> Result<String, String> {
        Err("this cockpit keeps no log".into())
    }

    /// The releases that the profile knows.
    fn releases(&self) -> Vec<Release>;

    /// The profile's limits, budget and component settings.
    fn defaults(&self) -> (Limits, Budget, Settings);

    /// Plans a stage; pure and without I/O. Problems become the plan's findings.
    fn plan(&self, cluster: &Cluster, stage: &Stage) -> Plan;

    /// Starts an engine on `plan`, exactly as shown, and attaches to it.
    ///
    /// # Errors
    /// When the engine could not be started; nothing has been touched then.
    async fn start(&self, plan: Plan) -> Result<RunHandle, String>;

    /// Attaches to the run that is under way, if there is one.
    async fn attach(&self) -> Option<RunHandle>;

    /// Sends a command to the run's engine. Whether it took effect is for the journal to say.
    ///
    /// # Errors
    /// When the engine could not be told.
    async fn command(&self, run: &RunHandle, verb: Verb) -> Result<(), String>;

    /// Whether the run's engine lives; `None` when that cannot be told from here.
    async fn engine(&self, run: &RunHandle) -> Option<bool>;
}

/// A run that the cockpit is attached to.
#[derive(Debug)]
pub struct RunHandle {
    /// The run.
    pub id: RunId,
    /// Its plan.
    pub plan: Arc<Plan>,
    /// Its journal from the first record on. Closed when there is nothing more to follow.
    pub records: mpsc::Receiver<Record>,
}

/// How the cockpit is opened.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Watch only: no key commands anything.
    pub read_only: bool,
    /// What the header calls the cluster before it was observed.
    pub title: String,
    /// The cluster is simulated and ends with the cockpit.
    pub demo: bool,
    /// The clusters that there are profiles of, to switch to.
    pub clusters: Vec<String>,
    /// How it looks, and its keys.
    pub looks: Looks,
}

/// Behind a replay there is nothing: no cluster, no engine, and no way to either.
pub struct Nobody;

#[async_trait]
impl Backend for Nobody {
    async fn observe(&self) -> Result<Cluster, String> {
        Err("a replay looks at no cluster".into())
    }

    async fn near(&self, _: &NodeName) -> Result<Near, String> {
        Err("a replay looks at no cluster".into())
    }

    fn releases(&self) -> Vec<Release> {
        Vec::new()
    }

    fn defaults(&self) -> (Limits, Budget, Settings) {
        (Limits::default(), Budget::default(), Settings::default())
    }

    fn plan(&self, cluster: &Cluster, stage: &Stage) -> Plan {
        crate::plan::make(cluster, stage, &Settings::default(), jiff::Timestamp::UNIX_EPOCH)
    }

    async fn start(&self, _: Plan) -> Result<RunHandle, String> {
        Err("a replay starts nothing".into())
    }

    async fn attach(&self) -> Option<RunHandle> {
        None
    }

    async fn command(&self, _: &RunHandle, _: Verb) -> Result<(), String> {
        Err("a replay commands nothing".into())
    }

    async fn engine(&self, _: &RunHandle) -> Option<bool> {
        None
    }
}
