//! A run waits for its turn: for the run lock, and for a last look at the cluster where that took time. Until then it can be
//! given up, and it never begins on a cluster that is not as its plan says.

use super::control::{Door, answer_while_it_waits};
use super::error::EngineError;
use super::fence::RunFence;
use super::lease;
use super::observe::observe;
use super::ports::Ports;
use super::process;
use super::run_dir::RunDir;
use crate::fleet::clean;
use crate::inventory::Profile;
use crate::k8s::Holder;
use crate::plan::{Plan, moved};
use std::time::Duration;

/// A plan was found fresh just before its engine was started. After so long it is looked at again.
const FRESH: Duration = Duration::from_secs(5);

/// How an engine was started.
#[derive(Debug, Default)]
pub struct Start {
    /// The cluster's profile: by it the cluster is looked at once more where a new run had to wait. None: it is not looked at.
    pub profile: Option<Profile>,
    /// Whoever started it holds the other end of its standard input, and gives the run up by letting go of it before it began.
    pub leashed: bool,
}

/// What a run needs for its turn.
pub(super) struct Turn<'a> {
    pub(super) run: &'a RunDir,
    pub(super) plan: &'a Plan,
    pub(super) ports: &'a Ports,
    pub(super) fence: &'a RunFence,
    pub(super) holder: &'a Holder,
    /// Another engine had the run before.
    pub(super) resumed: bool,
}

impl Turn<'_> {
    /// Returns when the run may begin, or go on: whether its journal was held against what the run lock remembers, which a new run's
    /// need not be.
    ///
    /// # Errors
    /// When it may not: another has the lock, or it was given up, or the cluster is no longer as planned.
    pub(super) async fn wait(&self, door: &Door, start: &Start) -> Result<bool, EngineError> {
        let why =
            "waits for the run lock (Lease kube-system/sonoba): it is watched until it is sure that nobody has it";
        let let_go = async {
            match start.leashed {
                true => process::let_go().await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            ready = self.ready(start.profile.as_ref()) => ready,
            who = answer_while_it_waits(door, self.run.id(), why, !self.resumed) => self.give_up(format!("{who} gave it up")),
            () = let_go => self.give_up("whoever started it is gone".into()),
        }
    }

    async fn ready(&self, profile: Option<&Profile>) -> Result<bool, EngineError> {
        let begun = self.fence.now();
        lease::take(self.ports.cluster.as_ref(), self.fence, self.holder, self.resumed).await?;
        let locked = self.fence.check().is_ok();
        if self.resumed && locked {
            lease::compare(self.ports.cluster.as_ref(), self.run.id(), &self.run.journal()).await?;
        }
        let waited = self.fence.now().saturating_sub(begun);
        // A start may be slow before it gets here, too.
        let old = jiff::Timestamp::now().duration_since(self.run.about().created).unsigned_abs() > FRESH;
        if let Some(profile) = profile.filter(|_| !self.resumed && (waited > FRESH || old)) {
            self.still_as_planned(profile).await?;
        }
        if !self.resumed {
            self.run.may_begin()?;
        }
        Ok(!self.resumed || locked)
    }

    /// The same rule as when a plan is applied.
    async fn still_as_planned(&self, profile: &Profile) -> Result<(), EngineError> {
        let refuse = |why: String| match self.run.give_up(&why) {
            Ok(()) => Err(EngineError::GivenUp { run: self.run.id().to_string(), why }),
            Err(error) => Err(error),
        };
        match observe(profile, self.ports).await {
            Ok(now) => match moved(self.plan, &now).as_slice() {
                [] => Ok(()),
                lines => {
                    let lines: Vec<String> = lines.iter().map(|line| clean(line)).collect();
                    refuse(format!(
                        "it had to wait, and the cluster is no longer as its plan has it: {}; make the plan anew",
                        lines.join("; ")
                    ))
                }
            },
            Err(error) => refuse(format!("it had to wait, and the cluster cannot be looked at again: {error}")),
        }
    }

    fn give_up(&self, why: String) -> Result<bool, EngineError> {
        if !self.resumed {
            self.run.give_up(&why)?;
        }
        Err(EngineError::GivenUp { run: self.run.id().to_string(), why })
    }
}
