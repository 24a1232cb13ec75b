//! Leases: who leads a component, and the run lock `kube-system/sonoba`.

use super::patience::{Patience, Trouble, shown};
use super::{ClusterError, Holder, Locked, convert};
use jiff::Timestamp;
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

/// A lock that looks dead is watched where its duration is at most this; one that asks for more is left to its holder.
const LONGEST_WATCH: Duration = Duration::from_secs(60);

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

/// The run lock. Remembers when it first saw a holder's renewal, because expiry is measured on this machine's clock alone
/// (client-go's rule: clocks of two machines may differ).
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
    /// Takes or renews the lock. A lock whose own times say that it has expired is watched for half its duration first, so
    /// this can take that long.
    pub async fn take(&self, client: &Client, patience: &Patience, me: &Holder) -> Result<Locked, ClusterError> {
        let api: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
        let plain = PostParams::default();
        let mut conflicts = 0;
        loop {
            let found = patience.ask("read the run lock", || api.get_opt(NAME)).await?;
            let done = match found {
                None => {
                    let fresh = Lease {
                        metadata: ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
                        spec: Some(claim(&LeaseSpec::default(), me)),
                    };
                    patience.ask("create the run lock", || api.create(&plain, &fresh)).await
                }
                Some(mut lease) => {
                    let spec = lease.spec.unwrap_or_default();
                    match self.standing(&spec, me) {
                        Standing::Free => {}
                        Standing::Theirs(locked) => return Ok(locked),
                        Standing::Watch(wait) => {
                            sleep(wait).await;
                            continue;
                        }
                    }
                    lease.spec = Some(claim(&spec, me));
                    patience.ask("renew the run lock", || api.replace(NAME, &plain, &lease)).await
                }
            };
            match done {
                Ok(_) => return Ok(Locked::Ours),
                Err(Trouble::Conflict) if conflicts < TRIES => conflicts += 1,
                Err(trouble) => return Err(trouble.into()),
            }
        }
    }

    /// Whether the lock may be taken.
    fn standing(&self, spec: &LeaseSpec, me: &Holder) -> Standing {
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        if holder.is_empty() || holder == me.identity {
            return Standing::Free;
        }
        let renewed = spec.renew_time.as_ref().and_then(|t| convert::moment(&t.0));
        let lasts = Duration::from_secs(spec.lease_duration_seconds.unwrap_or(0).max(0).unsigned_abs().into());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let unseen = seen.as_ref().is_none_or(|s| s.holder != holder || s.renewed != renewed);
        if unseen {
            *seen = Some(Seen { holder: holder.to_owned(), renewed, at: Instant::now() });
        }
        let watched = seen.as_ref().map_or(Duration::ZERO, |s| s.at.elapsed());
        if watched >= lasts {
            return Standing::Free;
        }
        let looks_dead = renewed
            .is_none_or(|at| at.duration_until(Timestamp::now()).unsigned_abs() > lasts && at < Timestamp::now());
        if looks_dead && lasts <= LONGEST_WATCH {
            // A holder that lives renews several times in its duration: half of it without a renewal, and its end
            // behind us by this clock, are two signs that do not err together.
            let enough = lasts / 2;
            if watched >= enough {
                return Standing::Free;
            }
            return Standing::Watch((enough - watched).min(Duration::from_secs(1)));
        }
        let since = spec.acquire_time.as_ref().and_then(|t| convert::moment(&t.0));
        Standing::Theirs(Locked::Theirs { by: shown(holder), since })
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

/// What may be done about a lock that is found.
enum Standing {
    Free,
    Theirs(Locked),
    /// It looks dead: look again after this long.
    Watch(Duration),
}

/// The spec with which `me` holds the lock.
fn claim(old: &LeaseSpec, me: &Holder) -> LeaseSpec {
    let mine = old.holder_identity.as_deref() == Some(me.identity.as_str());
    let held_before = old.renew_time.is_some();
    let transitions = old.lease_transitions.unwrap_or(0);
    LeaseSpec {
        holder_identity: Some(me.identity.clone()),
        lease_duration_seconds: Some(i32::try_from(me.seconds).unwrap_or(i32::MAX).max(1)),
        acquire_time: if mine { old.acquire_time.clone() } else { Some(now()) },
        renew_time: Some(now()),
        lease_transitions: Some(if mine || !held_before { transitions } else { transitions.saturating_add(1) }),
        ..old.clone()
    }
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
}
