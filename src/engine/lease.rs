//! The run lock in the cluster: a Lease, so that a second operator on another bastion is told who is at work.

use super::error::EngineError;
use super::shared::Shared;
use crate::journal::{Event, JournalError};
use crate::k8s::{ClusterError, ClusterPort, Holder, Locked};
use std::sync::Arc;
use std::time::Duration;

/// The lock is free this long after the last renewal. Seconds: long enough to ride over an API server's restart.
const SECONDS: u32 = 60;
/// Between two renewals.
const RENEW: Duration = Duration::from_secs(15);

/// The holder's identity for a run.
pub(super) fn holder(operator: &str, host: &str, run: &crate::fleet::RunId) -> Holder {
    Holder { identity: format!("{operator}@{host}/{run}"), seconds: SECONDS }
}

/// Takes the lock. An engine that takes a run up again (`patient`) goes on without it while the API is away, since nodes
/// wait for their verdicts; [`keep`] takes it later.
///
/// # Errors
/// When somebody else has it, or the API does not answer.
pub(super) async fn take(cluster: &dyn ClusterPort, holder: &Holder, patient: bool) -> Result<(), EngineError> {
    match cluster.lock(holder).await {
        Ok(Locked::Ours) => Ok(()),
        Ok(theirs @ Locked::Theirs { .. }) => Err(EngineError::Locked(told(&theirs))),
        Err(ClusterError::Away(why)) if patient => {
            tracing::warn!("the run lock is not taken yet: {why}");
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

fn told(locked: &Locked) -> String {
    match locked {
        Locked::Ours => String::new(),
        Locked::Theirs { by, since } => {
            let by = crate::fleet::clean(by);
            let since = since.map(|s| format!(" since {s:.0}")).unwrap_or_default();
            // Another tool, or another version of this one, may call itself as it likes.
            let there = match by.rsplit_once('/').and_then(|(at, run)| Some((at.rsplit_once('@')?.1, run))) {
                Some((host, run)) => format!("watch it with `sonoba watch {run}` on {host}"),
                None => "watch it there with `sonoba watch`".into(),
            };
            format!(
                "the cluster is being worked on by {by}{since} (Lease kube-system/sonoba); {there}, or wait until it ends \
                 (an engine that died lets go of it after {SECONDS} s)"
            )
        }
    }
}

/// Renews the lock for as long as it is polled. A lock that was lost pauses the run.
pub(super) async fn keep(shared: Arc<Shared>, holder: Holder) -> Result<(), JournalError> {
    loop {
        tokio::time::sleep(RENEW).await;
        match shared.ports.cluster.lock(&holder).await {
            Ok(Locked::Ours) => {}
            Ok(theirs) => {
                let why = format!("the run lock was lost: {}", told(&theirs));
                shared.log.tell(Event::Note { text: why.clone() })?;
                shared.trouble(Some(why));
            }
            Err(error) => tracing::warn!("the run lock could not be renewed: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_second_is_told_who_since_when_and_how_to_watch() {
        let theirs = |by: &str| Locked::Theirs { by: by.into(), since: Some(jiff::Timestamp::UNIX_EPOCH) };
        let run = "20261125-120000-0001".parse().unwrap();
        let text = told(&theirs(&holder("ann@corp", "bastion2", &run).identity));
        assert!(text.contains("by ann@corp@bastion2/20261125-120000-0001 since 1970-01-01T00:00:00Z"), "{text}");
        assert!(text.contains("`sonoba watch 20261125-120000-0001` on bastion2"), "{text}");
        assert!(told(&theirs("something else")).contains("with `sonoba watch`"));
    }
}
