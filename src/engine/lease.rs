//! The run lock in the cluster: a Lease, so that a second operator on another bastion is told who is at work.

use super::error::EngineError;
use super::fence::{RunFence, SECONDS, Standing};
use super::shared::{Shared, Wish};
use crate::fleet::RunId;
use crate::journal::{Event, Head, JournalError, Witness, holds};
use crate::k8s::{ClusterError, ClusterPort, Holder, Locked, SealedJournal};
use futures::future::{Either, select};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Between two renewals.
const RENEW: Duration = Duration::from_secs(15);
/// After one that was not answered, or refused.
const AGAIN: Duration = Duration::from_secs(3);
/// After one that failed, nobody is so impatient that it is asked for sooner.
const SOON: Duration = Duration::from_millis(500);
/// A renewal that is not answered by then is asked for anew: its time counts from when it was sent.
const LIMIT: Duration = Duration::from_secs(15);
/// Between two looks at the engine's clock.
const LOOK: Duration = Duration::from_secs(1);
/// A lock that took so long to take was watched first: how long it holds is known only after it was renewed once.
const WATCHED: Duration = Duration::from_secs(3);

/// The holder's identity for a run.
pub(super) fn holder(operator: &str, host: &str, run: &crate::fleet::RunId) -> Holder {
    Holder { identity: format!("{operator}@{host}/{run}"), seconds: SECONDS, sealed: None }
}

/// Holds the journal of a run that is taken up again against what the run lock remembers of it.
///
/// # Errors
/// When the journal is not what it was, or the API does not answer.
pub(super) async fn compare(cluster: &dyn ClusterPort, run: &RunId, journal: &Path) -> Result<(), EngineError> {
    let sealed = cluster.sealed().await?.filter(|sealed| sealed.run == *run);
    sealed.map_or(Ok(()), |sealed| holds(journal, sealed.head, Witness::RunLock)).map_err(Into::into)
}

/// Takes the lock. An engine that takes a run up again (`patient`) goes on without it while the API is away, to look at the
/// nodes and to tell of them; [`keep`] takes it later, and nothing is sent to a node before.
///
/// # Errors
/// When somebody else has it, or the API does not answer.
pub(super) async fn take(
    cluster: &dyn ClusterPort,
    fence: &RunFence,
    holder: &Holder,
    patient: bool,
) -> Result<(), EngineError> {
    let sent = fence.now();
    let mut taken = cluster.lock(holder).await.map(|locked| (locked, sent));
    if fence.now().saturating_sub(sent) > WATCHED && matches!(taken, Ok((Locked::Ours(_), _))) {
        fence.look_at_the_clock();
        let sent = fence.now();
        taken = cluster.renew(holder, None).await.map(|locked| (locked, sent));
    }
    fence.look_at_the_clock();
    match taken {
        Ok((Locked::Ours(token), sent)) => {
            fence.held(token, sent);
            Ok(())
        }
        Ok((theirs @ Locked::Theirs { .. }, _)) => Err(EngineError::Locked(told(&theirs))),
        Err(ClusterError::Away(why)) if patient => {
            tracing::warn!("the run lock is not taken yet: {why}");
            fence.failed(&why);
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

fn told(locked: &Locked) -> String {
    match locked {
        Locked::Ours(_) => String::new(),
        Locked::Theirs { by, since } => {
            let by = crate::fleet::clean(by);
            let since = since.map(|s| format!(" since {s:.0}")).unwrap_or_default();
            // Another tool, or another version of this one, may call itself as it likes.
            let there = match by.rsplit_once('/').and_then(|(at, run)| Some((at.rsplit_once('@')?.1, run))) {
                Some((host, run)) => format!("watch it with `sonoba watch {run}` on {host}"),
                None => "watch it there with `sonoba watch`".into(),
            };
            format!(
                "{by} works on the cluster{since} (Lease kube-system/sonoba); {there}, or wait until it ends \
                 (an engine that died lets go of it after {SECONDS} s)"
            )
        }
    }
}

/// Renews the lock for as long as it is polled, and writes down how it stands when that changes. What the lock remembers of the journal
/// is not written over before the two were `compared`.
pub(super) async fn keep(
    shared: Arc<Shared>,
    mut holder: Holder,
    journal: PathBuf,
    mut compared: bool,
) -> Result<(), JournalError> {
    let fence = &shared.fence;
    let mut teller = Teller::default();
    // Counted from the renewal that was sent, or from the answer that was none.
    let mut failed: Option<Instant> = None;
    loop {
        teller.tell(&shared)?;
        let mut asked = false;
        while !asked {
            let due = match (fence.age(), failed) {
                _ if !fence.asks() => false,
                (_, Some(at)) => at.elapsed() >= AGAIN,
                (age, None) => age.is_none_or(|age| age >= RENEW),
            };
            asked = due;
            if !asked {
                tokio::select! {
                    biased;
                    // What somebody else has is not asked for without an operator's word. Whoever waits for an answer does not
                    // make the API be asked without end.
                    () = wanted(fence, failed) => asked = fence.asks(),
                    () = sleep(LOOK) => {}
                }
                fence.look_at_the_clock();
                if shared.wish() == Wish::Abort {
                    // That is an operator's word: what is open is to be cleared away, if the lock can be had.
                    fence.want_back();
                }
                teller.tell(&shared)?;
            }
        }
        let sent = fence.now();
        let cluster = shared.ports.cluster.as_ref();
        let ask = async {
            if !compared {
                // A question of its own: an API that is slow to answer has the whole limit for each.
                return match compare(cluster, &shared.run, &journal).await {
                    Ok(()) => Ok(None),
                    Err(EngineError::Cluster(error)) => Ok(Some(Err(error))),
                    Err(EngineError::Journal(error)) => Err(error),
                    Err(error) => Ok(Some(Err(ClusterError::Refused(error.to_string())))),
                };
            }
            let head = Head::of(&journal)?;
            holder.sealed = head.map(|head| SealedJournal { run: shared.run.clone(), head });
            Ok(Some(cluster.renew(&holder, fence.outranked()).await))
        };
        let answer = {
            let mut renewal = pin!(timeout(LIMIT, ask));
            // The clock is looked at meanwhile, and what it shows is said.
            loop {
                match select(renewal.as_mut(), pin!(sleep(LOOK))).await {
                    Either::Left((Ok(answer), _)) => break Ok(answer?),
                    Either::Left((Err(late), _)) => break Err(late),
                    Either::Right(_) => {
                        fence.look_at_the_clock();
                        teller.tell(&shared)?;
                    }
                }
            }
        };
        fence.look_at_the_clock();
        failed = Some(Instant::now());
        match answer {
            Ok(None) => {
                (compared, failed) = (true, None);
            }
            Ok(Some(Ok(Locked::Ours(token)))) => {
                failed = None;
                if fence.held(token, sent) {
                    tracing::info!("the run lock has the token {token} now");
                }
            }
            Ok(Some(Ok(theirs))) => fence.lost(told(&theirs)),
            Ok(Some(Err(error))) => {
                tracing::warn!("the run lock could not be renewed: {error}");
                fence.failed(&error.to_string());
            }
            Err(_) => {
                tracing::warn!("the run lock could not be renewed: no answer within {LIMIT:?}");
                fence.failed(&format!("the cluster's API does not answer within {} s", LIMIT.as_secs()));
            }
        }
    }
}

/// Returns when somebody wants an answer, but not right after one that was none.
async fn wanted(fence: &RunFence, failed: Option<Instant>) {
    fence.wanted.notified().await;
    let left = failed.map_or(Duration::ZERO, |at| SOON.saturating_sub(at.elapsed()));
    sleep(left).await;
}

/// Writes down how the lock stands, once for every change.
#[derive(Default)]
struct Teller(Option<Standing>);

impl Teller {
    fn tell(&mut self, shared: &Shared) -> Result<(), JournalError> {
        let now = shared.fence.standing();
        let same = |was: &Standing| match (was, &now) {
            // What else goes wrong meanwhile is in the log.
            (Standing::Unsure(_), Standing::Unsure(_)) | (Standing::Lapsed(_), Standing::Lapsed(_)) => true,
            (was, now) => was == now,
        };
        if self.0.as_ref().is_some_and(same) {
            return Ok(());
        }
        shared.log.tell(match &now {
            Standing::Held(token) => Event::LockHeld { token: *token },
            Standing::Unsure(_) => Event::LockUnsure { why: now.cause().unwrap_or_default(), lapsed: false },
            Standing::Lapsed(_) => Event::LockUnsure { why: now.cause().unwrap_or_default(), lapsed: true },
            Standing::Lost(_) => Event::LockLost { why: now.cause().unwrap_or_default() },
        })?;
        self.0 = Some(now);
        shared.wake();
        Ok(())
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
        assert!(
            text.contains("ann@corp@bastion2/20261125-120000-0001 works on the cluster since 1970-01-01T00:00:00Z"),
            "{text}"
        );
        assert!(text.contains("`sonoba watch 20261125-120000-0001` on bastion2"), "{text}");
        assert!(told(&theirs("something else")).contains("with `sonoba watch`"));
    }
}
