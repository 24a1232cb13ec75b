//! Leases: who leads a component, and the run lock `kube-system/sonoba`.

use super::patience::{Patience, Trouble, shown};
use super::{ClusterError, Holder, Locked, SealedJournal, convert};
use crate::fleet::FenceToken;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const NAMESPACE: &str = "kube-system";
const NAME: &str = "sonoba";
const TRIES: u32 = 8;
/// The annotation that says how far the run's journal was on disk.
const SEALED: &str = "sonoba/sealed-journal";

/// A holder's clock may be so much ahead of ours, and its renewal still counts as one of a moment ago.
const AHEAD: Duration = Duration::from_secs(5);
/// A lock that may have run out is waited for where its duration is at most this; one that asks for more is left to its holder.
const LONGEST_WATCH: Duration = Duration::from_secs(120);
/// Between two looks at a lock that is watched.
const LOOK: Duration = Duration::from_secs(1);

/// The holder of a component's Lease: client-go's identity is the host's name, `_`, and a random UUID.
pub(super) async fn leader(client: &Client, patience: &Patience, name: &str) -> Result<Option<String>, ClusterError> {
    let api: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let lease = patience.ask(&format!("read the Lease {NAMESPACE}/{name}"), || api.get_opt(name)).await?;
    let holder = lease.and_then(|l| l.spec).and_then(|s| s.holder_identity);
    Ok(holder.map(|h| shown(without_uuid(&h))).filter(|h| !h.is_empty()))
}

fn without_uuid(identity: &str) -> &str {
    let is_uuid = |s: &str| s.len() == 36 && s.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    match identity.rsplit_once('_') {
        Some((host, uuid)) if is_uuid(uuid) => host,
        _ => identity,
    }
}

/// The run lock. Remembers since when it has seen a holder's renewal unchanged, because expiry is measured on this machine's
/// clock alone, as client-go's leader election does: what the Lease's own times say depends on two machines' clocks.
#[derive(Default)]
pub(super) struct RunLock {
    seen: Mutex<Option<Seen>>,
}

/// A renewal of somebody else's, as first seen.
struct Seen {
    holder: String,
    renewed: Option<Timestamp>,
    at: Instant,
}

impl RunLock {
    /// Takes the lock. A lock of somebody else's that its own times call fresh is refused at once. Any other is watched: a
    /// renewal shows that its holder lives, and a whole duration without one that it may be taken.
    pub async fn take(&self, client: &Client, patience: &Patience, me: &Holder) -> Result<Locked, ClusterError> {
        let mut first = None;
        loop {
            let theirs = match self.attempt(client, patience, me, None).await? {
                Attempt::Ours(token) => return Ok(Locked::Ours(token)),
                Attempt::Theirs(theirs) => theirs,
            };
            let renewal = (theirs.holder.clone(), theirs.renewed);
            let lives = first.get_or_insert_with(|| renewal.clone()) != &renewal;
            if theirs.fresh || lives || theirs.lasts > LONGEST_WATCH {
                return Ok(theirs.told());
            }
            sleep(theirs.left.min(LOOK)).await;
        }
    }

    /// Renews the lock, or takes it where nobody has it, or nobody was seen to renew it for its whole duration. Never waits.
    pub async fn renew(
        &self,
        client: &Client,
        patience: &Patience,
        me: &Holder,
        above: Option<FenceToken>,
    ) -> Result<Locked, ClusterError> {
        Ok(match self.attempt(client, patience, me, above).await? {
            Attempt::Ours(token) => Locked::Ours(token),
            Attempt::Theirs(theirs) => theirs.told(),
        })
    }

    async fn attempt(
        &self,
        client: &Client,
        patience: &Patience,
        me: &Holder,
        above: Option<FenceToken>,
    ) -> Result<Attempt, ClusterError> {
        let api: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
        let plain = PostParams::default();
        let mut conflicts = 0;
        loop {
            let found = patience.ask("read the run lock", || api.get_opt(NAME)).await?;
            let (done, token) = match found {
                None => {
                    let (spec, token) = claim(None, me, above);
                    let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
                    let mut fresh = Lease { metadata, spec: Some(spec) };
                    seal(&mut fresh, me);
                    (patience.ask("create the run lock", || api.create(&plain, &fresh)).await, token)
                }
                Some(mut lease) => {
                    let spec = lease.spec.unwrap_or_default();
                    if let Some(theirs) = self.others(&spec, me) {
                        return Ok(Attempt::Theirs(theirs));
                    }
                    let (spec, token) = claim(Some(&spec), me, above);
                    lease.spec = Some(spec);
                    seal(&mut lease, me);
                    (patience.ask("renew the run lock", || api.replace(NAME, &plain, &lease)).await, token)
                }
            };
            match done {
                Ok(_) => return Ok(Attempt::Ours(token)),
                Err(Trouble::Conflict) if conflicts < TRIES => conflicts += 1,
                Err(trouble) => return Err(trouble.into()),
            }
        }
    }

    /// Somebody else who has the lock; none where it may be taken.
    fn others(&self, spec: &LeaseSpec, me: &Holder) -> Option<Theirs> {
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        if holder.is_empty() || holder == me.identity {
            return None;
        }
        let renewed = spec.renew_time.as_ref().and_then(|t| convert::moment(&t.0));
        let lasts = Duration::from_secs(spec.lease_duration_seconds.unwrap_or(0).max(0).unsigned_abs().into());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let unseen = seen.as_ref().is_none_or(|s| s.holder != holder || s.renewed != renewed);
        if unseen {
            *seen = Some(Seen { holder: holder.to_owned(), renewed, at: Instant::now() });
        }
        let watched = seen.as_ref().map_or(Duration::ZERO, |s| s.at.elapsed());
        let left = lasts.checked_sub(watched).filter(|left| !left.is_zero())?;
        let since = spec.acquire_time.as_ref().and_then(|t| convert::moment(&t.0));
        let fresh = renewed.is_some_and(|at| fresh(at, Timestamp::now(), lasts));
        Some(Theirs { holder: holder.to_owned(), since, renewed, lasts, left, fresh })
    }

    /// Gives the lock back if it is `me`'s. The Lease stays, without a holder: nothing here may delete.
    pub async fn give_back(&self, client: &Client, patience: &Patience, me: &Holder) -> Result<(), ClusterError> {
        let api: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
        let plain = PostParams::default();
        let mut conflicts = 0;
        loop {
            let found = patience.ask("read the run lock", || api.get_opt(NAME)).await?;
            let Some(mut lease) = found else { return Ok(()) };
            let mut spec = lease.spec.unwrap_or_default();
            if spec.holder_identity.as_deref() != Some(me.identity.as_str()) {
                return Ok(());
            }
            spec.holder_identity = None;
            spec.renew_time = Some(now());
            lease.spec = Some(spec);
            match patience.ask("give the run lock back", || api.replace(NAME, &plain, &lease)).await {
                Ok(_) => return Ok(()),
                Err(Trouble::Conflict) if conflicts < TRIES => conflicts += 1,
                Err(trouble) => return Err(trouble.into()),
            }
        }
    }
}

/// How far the journal was of the run that renewed the lock last.
pub(super) async fn sealed(client: &Client, patience: &Patience) -> Result<Option<SealedJournal>, ClusterError> {
    let api: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let lease = patience.ask("read the run lock", || api.get_opt(NAME)).await?;
    Ok(lease.and_then(|lease| lease.metadata.annotations?.remove(SEALED)?.parse().ok()))
}

fn seal(lease: &mut Lease, me: &Holder) {
    if let Some(sealed) = &me.sealed {
        lease.metadata.annotations.get_or_insert_default().insert(SEALED.to_owned(), sealed.to_string());
    }
}

/// What came of reaching for the lock.
enum Attempt {
    Ours(FenceToken),
    Theirs(Theirs),
}

/// A lock that somebody else has.
struct Theirs {
    holder: String,
    since: Option<Timestamp>,
    renewed: Option<Timestamp>,
    lasts: Duration,
    /// It may be taken when it has stayed as it is for so much longer.
    left: Duration,
    /// Its own times say that it was renewed within its duration.
    fresh: bool,
}

impl Theirs {
    fn told(&self) -> Locked {
        Locked::Theirs { by: shown(&self.holder), since: self.since }
    }
}

/// Whether a renewal at `at` is one of the last `lasts`. One from the future says that two clocks are apart, and nothing else.
fn fresh(at: Timestamp, now: Timestamp, lasts: Duration) -> bool {
    let age = now.duration_since(at);
    let ahead = SignedDuration::try_from(AHEAD).unwrap_or(SignedDuration::ZERO);
    let lasts = SignedDuration::try_from(lasts).unwrap_or(SignedDuration::MAX);
    -ahead <= age && age <= lasts
}

/// The spec with which `me` holds the lock, and its token. `old` is what is there; none where there is no Lease.
fn claim(old: Option<&LeaseSpec>, me: &Holder, above: Option<FenceToken>) -> (LeaseSpec, FenceToken) {
    let number = |spec: &LeaseSpec| u32::try_from(spec.lease_transitions.unwrap_or(0)).unwrap_or(0);
    let mine = old.is_some_and(|spec| spec.holder_identity.as_deref() == Some(me.identity.as_str()));
    let token = match old {
        None => first_token(Timestamp::now()),
        Some(spec) if mine => FenceToken::new(number(spec)),
        Some(spec) => FenceToken::new(number(spec)).next(),
    };
    let token = above.map_or(token, |above| token.max(above.next()));
    let old = old.cloned().unwrap_or_default();
    let spec = LeaseSpec {
        holder_identity: Some(me.identity.clone()),
        lease_duration_seconds: Some(i32::try_from(me.seconds).unwrap_or(i32::MAX).max(1)),
        acquire_time: if mine { old.acquire_time.clone() } else { Some(now()) },
        renew_time: Some(now()),
        lease_transitions: Some(i32::try_from(token.get()).unwrap_or(i32::MAX)),
        ..old
    };
    (spec, token)
}

/// The token of a Lease that is made: the minutes since 1970. Nodes remember the tokens of a Lease that somebody deleted, and a
/// new one that began at 0 would be older than all of them. Holders change less often than once a minute, so this is above the
/// old ones; where it is not (a clock that is behind), nodes say so, and the holder asks for a higher one.
fn first_token(now: Timestamp) -> FenceToken {
    FenceToken::new(u32::try_from(now.as_second() / 60).unwrap_or(0))
}

fn now() -> MicroTime {
    // Not k8s-openapi's own clock reading: with its default features off it has none.
    let now = Timestamp::now().as_nanosecond();
    MicroTime(k8s_openapi::jiff::Timestamp::from_nanosecond(now).unwrap_or(k8s_openapi::jiff::Timestamp::UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_uuid_is_taken_off() {
        assert_eq!(without_uuid("rack0-m1_8f9c2b1e-0000-4000-8000-00000000000a"), "rack0-m1");
        assert_eq!(without_uuid("node_with_words"), "node_with_words");
        assert_eq!(without_uuid("plain"), "plain");
    }

    #[test]
    fn only_a_renewal_of_the_last_minute_is_fresh_by_any_clock() {
        let now: Timestamp = "2026-11-30T12:00:00Z".parse().unwrap();
        let ago = |s: i64| fresh(now - SignedDuration::from_secs(s), now, Duration::from_secs(60));
        assert!(ago(0) && ago(59) && ago(-4));
        // Our clock is behind, or ahead: either way nothing is known of the holder.
        assert!(!ago(-6) && !ago(-300) && !ago(61) && !ago(300));
    }

    #[test]
    fn a_token_grows_with_each_holder_and_never_falls_behind_a_lease_that_was_deleted() {
        let me = Holder { identity: "ann@b/r1".into(), seconds: 60, sealed: None };
        let held = |by: &str, transitions| LeaseSpec {
            holder_identity: Some(by.into()).filter(|by: &String| !by.is_empty()),
            lease_transitions: Some(transitions),
            renew_time: Some(now()),
            ..LeaseSpec::default()
        };
        let token = |old: Option<&LeaseSpec>, above| {
            let (spec, token) = claim(old, &me, above);
            assert_eq!(spec.lease_transitions, i32::try_from(token.get()).ok());
            token.get()
        };
        assert_eq!(token(Some(&held("ben@b/r2", 7)), None), 8);
        assert_eq!(token(Some(&held("", 7)), None), 8);
        assert_eq!(token(Some(&held("ann@b/r1", 7)), None), 7, "renewed, with nobody between");
        assert_eq!(token(Some(&held("ann@b/r1", 7)), Some(FenceToken::new(41))), 42);
        assert_eq!(token(Some(&held("ann@b/r1", 7)), Some(FenceToken::new(3))), 7);
        assert!(token(None, None) > 29_000_000, "made anew: above whatever nodes remember");
        assert_eq!(token(Some(&held("x", i32::MAX)), None), FenceToken::MAX.get());
    }
}
