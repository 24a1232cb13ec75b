//! A profile, and the ports that it leads to.

use super::args::Global;
use super::failure::Failure;
use super::places;
use crate::engine::{self, Asker, Outside, Ports};
use crate::fleet::{Cluster, Salt, clean};
use crate::inventory::Profile;
use crate::k8s::{ClusterPort, KubeCluster};
use crate::plan::{Facts, Plan, Stage};
use crate::remote::{Fleet, SshFleet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A profile that was read.
pub(super) struct Setup {
    /// Its file.
    pub path: PathBuf,
    /// What it says.
    pub profile: Profile,
}

impl Setup {
    /// Reads the profile that the options name.
    pub fn load(global: &Global) -> Result<Setup, Failure> {
        Setup::read(&places::profile(global)?)
    }

    /// Reads this profile.
    pub fn read(path: &Path) -> Result<Setup, Failure> {
        let profile = Profile::load(path).map_err(Failure::failed)?;
        Ok(Setup { path: path.to_owned(), profile })
    }

    /// Opens all ports. Connections to nodes are made when a node is first asked something.
    pub async fn ports(&self) -> Result<Ports, Failure> {
        Ok(Ports { fleet: self.fleet()?, cluster: self.cluster().await?, asker: self.asker() })
    }

    /// The same for a plan that was made: what is masked is masked as it was then, so that it can be compared.
    pub async fn ports_for(&self, plan: &Plan) -> Result<Ports, Failure> {
        let salt = plan.cluster.salt.clone();
        Ok(Ports { fleet: self.masked(salt)?, cluster: self.cluster().await?, asker: self.asker() })
    }

    /// The way to what the operator's own gates ask.
    pub fn asker(&self) -> Arc<dyn Asker> {
        Arc::new(Outside::new(Some(self.profile.kubeconfig.clone())))
    }

    /// The way to the nodes.
    pub fn fleet(&self) -> Result<Arc<dyn Fleet>, Failure> {
        self.masked(None)
    }

    fn masked(&self, salt: Option<Salt>) -> Result<Arc<dyn Fleet>, Failure> {
        let entries = self.profile.entries().map_err(Failure::failed)?;
        let masker = self.profile.masker(salt.unwrap_or_else(|| Salt::new(rand::random())));
        Ok(Arc::new(SshFleet::masking(&self.profile.ssh, &entries, masker).map_err(Failure::failed)?))
    }

    /// The way to the cluster's API.
    pub async fn cluster(&self) -> Result<Arc<dyn ClusterPort>, Failure> {
        let context = self.profile.context.as_deref();
        Ok(Arc::new(KubeCluster::connect(&self.profile.kubeconfig, context).await.map_err(Failure::failed)?))
    }

    /// Asks all that preflight wants to know before `stage` is planned.
    pub async fn facts(&self, global: &Global, ports: &Ports, cluster: &Cluster, stage: &Stage) -> Facts {
        // Without a state folder there are no past runs; that it is missing is said where one is needed.
        let (state, name) = (places::state_dir(global).ok(), self.profile.name.clone());
        let past = tokio::task::spawn_blocking(move || engine::past_pace(&state?, &name));
        let mut facts = engine::facts(&self.profile, ports, cluster, stage).await;
        facts.past = past.await.ok().flatten();
        facts
    }

    /// Looks at the cluster and every node.
    pub async fn observe(&self, ports: &Ports) -> Result<Cluster, Failure> {
        engine::observe(&self.profile, ports).await.map_err(Failure::failed)
    }
}

/// Who commands, for the journal: `USER@HOST`.
pub(super) fn operator() -> String {
    let names = ["SUDO_USER", "USER", "LOGNAME"];
    let user = names.into_iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    let user = user.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()));
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    clean(&format!("{user}@{host}"))
}
