//! A watcher's way to what it shows: journals, for reading, and the cluster's API. There is none from here to a node, and none that
//! commands an engine: a control socket is only looked at for a process that listens on it.

use super::args::Global;
use super::backend::{attended, handle};
use super::setup::Setup;
use super::{logging, places, runs, settings};
use crate::engine::{self, RunDir};
use crate::fleet::{Cluster, ClusterName, NodeName};
use crate::journal::{Report, Verb};
use crate::k8s::ClusterPort;
use crate::plan::{self, Budget, Limits, Plan, Release, Settings, Stage};
use crate::tui::{Backend, Near, RunHandle};
use async_trait::async_trait;
use jiff::Timestamp;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;

/// Between two looks for a run that has begun.
const LOOK: Duration = Duration::from_secs(1);

/// A watcher's backend.
pub(super) struct Watching {
    global: Global,
    /// The cluster whose runs are watched.
    cluster: ClusterName,
    /// The cluster's profile, where there is one: then its API can be asked.
    setup: Option<Setup>,
    api: OnceCell<Arc<dyn ClusterPort>>,
    /// The one run that was asked for; none when whatever begins is watched.
    only: Option<RunDir>,
    /// The run that is watched, with its cluster as it was planned.
    now: Mutex<Option<(RunDir, Cluster)>>,
}

impl Watching {
    /// Watches one run.
    pub fn one(global: Global, run: RunDir, setup: Option<Setup>) -> Watching {
        let cluster = run.about().cluster.clone();
        let setup = setup.filter(|setup| setup.profile.name == cluster);
        let (api, now) = (OnceCell::new(), Mutex::default());
        Watching { global, cluster, setup, api, only: Some(run), now }
    }

    /// Watches whatever run is, or comes to be, the cluster's latest.
    pub fn latest(global: Global, cluster: ClusterName, setup: Option<Setup>) -> Watching {
        let setup = setup.filter(|setup| setup.profile.name == cluster);
        let (api, now) = (OnceCell::new(), Mutex::default());
        Watching { global, cluster, setup, api, only: None, now }
    }

    /// Whose runs are watched.
    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    fn watched(&self) -> Option<(RunDir, Cluster)> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The run to attach to next, if it is there: never the one that is watched already.
    fn next(&self) -> Option<RunDir> {
        let seen = self.watched().map(|(run, _)| run.id().clone());
        let newest = match &self.only {
            Some(run) => Some(run.clone()),
            None => runs::of_cluster(&self.global, &self.cluster).ok()?.into_iter().find(RunDir::begun),
        };
        newest.filter(|run| Some(run.id()) != seen.as_ref())
    }

    /// What the API says, where it can be asked.
    async fn glance(&self) -> Option<Result<Cluster, String>> {
        let setup = self.setup.as_ref()?;
        let api = match self.api.get_or_try_init(|| setup.cluster()).await {
            Ok(api) => api,
            Err(failure) => return Some(Err(failure.text)),
        };
        Some(engine::glance(&setup.profile, api.as_ref()).await.map_err(|e| e.to_string()))
    }
}

#[async_trait]
impl Backend for Watching {
    async fn observe(&self) -> Result<Cluster, String> {
        let seen = self.glance().await;
        match (self.watched(), seen) {
            // The plan knows what ran where; the API, how the nodes are now.
            (Some((_, mut planned)), Some(Ok(now))) => {
                for (name, node) in &mut planned.nodes {
                    if let Some(seen) = now.nodes.get(name) {
                        node.ready = seen.ready;
                        node.kubelet_version.clone_from(&seen.kubelet_version);
                    }
                }
                Ok(planned)
            }
            (Some((_, planned)), _) => Ok(planned),
            (None, Some(seen)) => seen,
            (None, None) => Err("no run has begun yet, and without a profile the cluster's API is not known".into()),
        }
    }

    async fn near(&self, node: &NodeName) -> Result<Near, String> {
        let setup = self.setup.as_ref().ok_or("without a profile the cluster's API is not known")?;
        let api = self.api.get_or_try_init(|| setup.cluster()).await.map_err(|f| f.text)?;
        super::backend::near(api.as_ref(), node).await
    }

    async fn history(&self) -> Result<Vec<Report>, String> {
        runs::reports(&self.global, &self.cluster).await
    }

    fn remember(&self, key: &str, value: &str) -> Result<(), String> {
        settings::remember(key, value)
    }

    async fn trace(&self) -> Result<String, String> {
        logging::tail(&self.global)
    }

    fn releases(&self) -> Vec<Release> {
        Vec::new()
    }

    fn defaults(&self) -> (Limits, Budget, Settings) {
        (Limits::default(), Budget::default(), Settings::default())
    }

    fn plan(&self, cluster: &Cluster, stage: &Stage) -> Plan {
        plan::make(cluster, stage, &Settings::default(), Timestamp::now())
    }

    async fn start(&self, _: Plan) -> Result<RunHandle, String> {
        Err("this is a watcher: it starts nothing".into())
    }

    /// Waits until there is a run that is not watched yet.
    async fn attach(&self) -> Option<RunHandle> {
        loop {
            let found = self.next().and_then(|run| Some((run.plan().ok()?.0, run)));
            if let Some((plan, run)) = found {
                *self.now.lock().unwrap_or_else(PoisonError::into_inner) = Some((run.clone(), plan.cluster.clone()));
                return Some(handle(&run, plan));
            }
            if self.only.is_some() {
                return None;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn command(&self, _: &RunHandle, _: Verb) -> Result<(), String> {
        Err("this is a watcher: it commands nothing".into())
    }

    async fn engine(&self, run: &RunHandle) -> Option<bool> {
        let (dir, _) = self.watched().filter(|(dir, _)| *dir.id() == run.id)?;
        attended(&dir).await
    }
}

/// What `sonoba watch` watches.
///
/// # Errors
/// When the run that was asked for is not there or cannot be read, or nothing says which cluster is meant.
pub(super) fn watching(global: &Global, word: &str) -> Result<Watching, super::failure::Failure> {
    places::state_dir(global)?;
    let setup = Setup::load(global);
    if word != "latest" {
        let run = runs::find(global, word)?;
        // What cannot be read is said here: on the screen nothing would ever come.
        runs::fold(&run)?;
        return Ok(Watching::one(global.clone(), run, setup.ok()));
    }
    let latest = runs::find(global, word);
    if let Ok(run) = &latest {
        runs::fold(run)?;
    }
    let cluster = match (&setup, latest) {
        (Ok(setup), _) => setup.profile.name.clone(),
        (Err(_), Ok(run)) => run.about().cluster.clone(),
        (Err(_), Err(failure)) => return Err(setup.err().unwrap_or(failure)),
    };
    Ok(Watching::latest(global.clone(), cluster, setup.ok()))
}
