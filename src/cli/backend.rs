//! The live cockpit's way to everything below.

use super::args::Global;
use super::command::tell;
use super::setup::Setup;
use super::{logging, places, runs, settings};
use crate::engine::{self, Ports, RunDir};
use crate::fleet::{Cluster, NodeName};
use crate::journal::{EngineSeen, Follower, Record, Report, Verb};
use crate::k8s::ClusterPort;
use crate::plan::{self, Budget, Facts, Limits, Plan, Release, Settings, Stage};
use crate::tui::{Backend, Near, RunHandle};
use async_trait::async_trait;
use jiff::Timestamp;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OnceCell, mpsc};

/// Records that may wait for the screen.
const AHEAD: usize = 1024;

/// The live cockpit's backend.
pub(super) struct Live {
    global: Global,
    setup: Setup,
    api: OnceCell<Arc<dyn ClusterPort>>,
    /// Engines that this cockpit started.
    engines: Mutex<Vec<u32>>,
    /// What was gathered when the cluster was last looked at, for every release that could be staged.
    facts: Mutex<Facts>,
}

impl Live {
    pub fn new(global: Global, setup: Setup) -> Live {
        Live { global, setup, api: OnceCell::new(), engines: Mutex::new(Vec::new()), facts: Mutex::default() }
    }

    /// The process ids of the engines that this cockpit started.
    pub fn engines(&self) -> Vec<u32> {
        self.engines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A stage of every release at once: what any of them may come to ask for.
    fn everything(&self) -> Stage {
        let releases = &self.setup.profile.releases;
        let (limits, budget, _) = self.defaults();
        let mut stage = releases.last().map(|last| Stage::of(last, limits, budget)).unwrap_or_default();
        stage.way.clone_from(releases);
        stage
    }

    /// The way to the cluster's API, opened once.
    async fn api(&self) -> Result<Arc<dyn ClusterPort>, String> {
        self.api.get_or_try_init(|| self.setup.cluster()).await.cloned().map_err(|f| f.text)
    }

    fn started(&self, pid: u32) {
        self.engines.lock().unwrap_or_else(PoisonError::into_inner).push(pid);
    }
}

/// Whether an engine is at work on the run; none when that cannot be told from here.
pub(super) async fn attended(run: &RunDir) -> Option<bool> {
    engine::attended(run).await.map(|seen| seen == EngineSeen::Alive)
}

/// Asks the API for a node from near.
pub(super) async fn near(api: &dyn ClusterPort, node: &NodeName) -> Result<Near, String> {
    let asked = tokio::try_join!(api.conditions(node), api.pods(node));
    asked.map(|(conditions, pods)| Near { conditions, pods }).map_err(|e| e.to_string())
}

#[async_trait]
impl Backend for Live {
    async fn observe(&self) -> Result<Cluster, String> {
        // The way to the nodes is opened for each look and closed after it: a cockpit that stands for hours must not hold a
        // connection to each of thousands of nodes.
        let fleet = self.setup.fleet().map_err(|f| f.text)?;
        let ports = Ports { fleet, cluster: self.api().await?, asker: self.setup.asker() };
        let cluster = self.setup.observe(&ports).await.map_err(|f| f.text)?;
        let facts = self.setup.facts(&self.global, &ports, &cluster, &self.everything()).await;
        *self.facts.lock().unwrap_or_else(PoisonError::into_inner) = facts;
        Ok(cluster)
    }

    async fn near(&self, node: &NodeName) -> Result<Near, String> {
        near(self.api().await?.as_ref(), node).await
    }

    async fn history(&self) -> Result<Vec<Report>, String> {
        runs::reports(&self.global, &self.setup.profile.name).await
    }

    fn remember(&self, key: &str, value: &str) -> Result<(), String> {
        settings::remember(key, value)
    }

    async fn trace(&self) -> Result<String, String> {
        logging::tail(&self.global)
    }

    fn releases(&self) -> Vec<Release> {
        self.setup.profile.releases.clone()
    }

    fn defaults(&self) -> (Limits, Budget, Settings) {
        let profile = &self.setup.profile;
        (profile.limits.clone(), profile.budget.clone(), profile.settings.clone())
    }

    fn plan(&self, cluster: &Cluster, stage: &Stage) -> Plan {
        let facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        plan::make_with(cluster, &facts, stage, &self.setup.profile.settings, Timestamp::now())
    }

    async fn start(&self, plan: Plan) -> Result<RunHandle, String> {
        let state = places::state_dir(&self.global).map_err(|f| f.text)?;
        let run = RunDir::create(&state, &plan, &self.setup.profile).map_err(|e| e.to_string())?;
        self.started(engine::begin(&run, |_| ()).await.map_err(|e| e.to_string())?);
        Ok(handle(&run, plan))
    }

    async fn attach(&self) -> Option<RunHandle> {
        let runs = runs::of_cluster(&self.global, &self.setup.profile.name).ok()?;
        let mut newest = true;
        for run in runs {
            let Ok((folded, _)) = runs::fold(&run) else { continue };
            if folded.events == 0 {
                continue;
            }
            // Without an engine, a run still matters when it left a node in between, or when nothing came after it: that has
            // to be seen, and resumed.
            let open = folded.in_flight().next().is_some();
            let newest = std::mem::take(&mut newest);
            if folded.ended().is_none() && (newest || open || attended(&run).await == Some(true)) {
                return Some(handle(&run, (*folded.plan).clone()));
            }
        }
        None
    }

    async fn command(&self, run: &RunHandle, verb: Verb) -> Result<(), String> {
        let state = places::state_dir(&self.global).map_err(|f| f.text)?;
        let run = RunDir::find(&state, run.id.as_str()).map_err(|e| e.to_string())?;
        if let Some(pid) = tell(&run, verb).await.map_err(|e| e.to_string())?.started {
            self.started(pid);
        }
        Ok(())
    }

    async fn engine(&self, run: &RunHandle) -> Option<bool> {
        let state = places::state_dir(&self.global).ok()?;
        let run = RunDir::find(&state, run.id.as_str()).ok()?;
        attended(&run).await
    }
}

/// Follows a run's journal into a channel until the cockpit lets go of it.
pub(super) fn handle(run: &RunDir, plan: Plan) -> RunHandle {
    let (records, receiver) = mpsc::channel::<Record>(AHEAD);
    let mut follower = Follower::open(&run.journal());
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = records.closed() => return,
                record = follower.next() => match record {
                    Some(record) => if records.send(record).await.is_err() { return },
                    None => return,
                },
            }
        }
    });
    RunHandle { id: run.id().clone(), plan: Arc::new(plan), records: receiver }
}
