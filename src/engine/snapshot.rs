//! Before etcd's first member moves: a snapshot of it, saved on one member and checked.

use super::conductor::Halt;
use super::patience::patiently;
use super::resume::to_do;
use super::shared::{Shared, Wish};
use crate::fleet::{Component, clean_short};
use crate::journal::{EtcdSnapshot, Event};
use crate::plan::{Phase, Snapshot};
use crate::remote::{NodeError, NodePort, Ran};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How long a node that is away for a moment is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries.
const AGAIN: Duration = Duration::from_secs(2);
/// etcdctl may take so long to get through to etcd. Seconds.
const REACH_S: u32 = 10;
/// And so long to save, by the size of the database: at least, and at most. Seconds.
const SAVE_LEAST_S: u32 = 60;
const SAVE_MOST_S: u32 = 540;
/// A program that has a limit of its own is waited for so much longer: until then it has ended.
const GRACE: Duration = Duration::from_secs(10);
/// Checking a snapshot reads it whole.
const CHECK: Duration = Duration::from_secs(300);
/// An abort waits so long for a program that is about to end: it cannot be ended from outside.
const LEFT: Duration = Duration::from_secs(12);
/// Characters of a program's complaint that are kept.
const COMPLAINT: usize = 300;

/// The snapshot that must be taken before anything of this phase moves, if it has not been.
pub(super) fn missing<'a>(shared: &Shared, phase: &'a Phase) -> Option<&'a Snapshot> {
    let snapshot = phase.snapshot.as_ref()?;
    let needed = |run: &crate::journal::Run| {
        run.snapshot.taken().is_none() && phase.waves.iter().flat_map(|w| &w.swaps).any(|s| to_do(run, s))
    };
    shared.log.with(|run, _| needed(run)).then_some(snapshot)
}

/// Takes it. A failure pauses the run at its next checkpoint, and a resume tries again; an abort does not wait.
pub(super) async fn take(shared: &Arc<Shared>, snapshot: &Snapshot) -> Result<(), Halt> {
    let node = snapshot.node.clone();
    let until = Instant::now() + PATIENCE;
    let mut wishes = shared.wish.subscribe();
    loop {
        let attempt = shared.log.with(|run, _| run.snapshot_tries).saturating_add(1);
        let path = snapshot.path(&shared.run, attempt);
        shared.log.write(Event::SnapshotBegun { node: node.clone(), path: path.clone() }).await?;
        let mut taking = Box::pin(take_once(shared, snapshot, &path));
        let taken = tokio::select! {
            biased;
            // It is begun anew if the run goes on.
            () = async { drop(wishes.wait_for(|wish| matches!(wish, Wish::Abort | Wish::Leave)).await) } => {
                // Nobody can end a program inside a container from outside, but each ends by itself.
                if timeout(LEFT, &mut taking).await.is_err() {
                    let limit = bound(SAVE_MOST_S).as_secs();
                    let text = format!(
                        "{node}: etcdctl may still be saving {path} inside {}; it ends by itself within {limit} s",
                        snapshot.container
                    );
                    shared.log.write(Event::Note { text }).await?;
                }
                return Ok(());
            }
            taken = &mut taking => taken,
        };
        drop(taking);
        let why = match taken {
            Ok(taken) => return Ok(shared.log.write(Event::SnapshotTaken(taken)).await?),
            Err(Trouble::Away(why)) if Instant::now() < until && shared.wish() == Wish::Run => {
                tracing::info!("{why}; trying again");
                sleep(AGAIN).await;
                continue;
            }
            // Commanded to pause meanwhile: it is begun anew after that.
            Err(Trouble::Away(_)) if shared.wish() != Wish::Run => return Ok(()),
            Err(Trouble::Away(why) | Trouble::Failed(why)) => why,
        };
        shared.log.write(Event::SnapshotFailed { node: node.clone(), why: why.clone() }).await?;
        shared.stall(format!(
            "no snapshot of etcd could be taken on {node}, so no member moves: {why}; fix it and resume, or plan again \
             with snapshot = false in [etcd]"
        ));
        return Ok(());
    }
}

/// Why there is no snapshot.
enum Trouble {
    /// The node does not answer.
    Away(String),
    /// It answered, and could not.
    Failed(String),
}

impl From<String> for Trouble {
    fn from(why: String) -> Trouble {
        Trouble::Failed(why)
    }
}

impl From<NodeError> for Trouble {
    fn from(error: NodeError) -> Trouble {
        if error.transient() { Trouble::Away(error.to_string()) } else { Trouble::Failed(error.to_string()) }
    }
}

async fn take_once(shared: &Shared, snapshot: &Snapshot, path: &str) -> Result<EtcdSnapshot, Trouble> {
    let node = &snapshot.node;
    let port = shared.ports.fleet.node(node).ok_or_else(|| format!("{node}: the inventory does not know it"))?;
    let port = port.as_ref();
    let size = size(shared, port).await;
    has_room(snapshot, port, size).await?;
    reached(snapshot, port).await?;
    let limit_s = save_limit_s(size);
    let saved = port.exec_within(&snapshot.container, &snapshot.save(path, limit_s), bound(limit_s)).await?;
    if saved.code != 0 {
        return Err(complaint("saving it", &saved).into());
    }
    let mut complaints = Vec::new();
    for argv in snapshot.check(path) {
        let told = match exec(port, snapshot, &argv).await {
            Ok(told) if told.code == 0 => told,
            Ok(other) => {
                complaints.push(complaint("checking it", &other));
                continue;
            }
            Err(why) => {
                complaints.push(why);
                continue;
            }
        };
        let status = Status::read(&told.out)?;
        return Ok(EtcdSnapshot {
            node: node.clone(),
            container: snapshot.container.to_string(),
            path: path.to_owned(),
            bytes: status.total_size,
            hash: format!("{:08x}", status.hash),
            revision: status.revision,
            keys: status.total_key,
        });
    }
    Err(complaints.join("; ").into())
}

async fn exec(port: &dyn NodePort, snapshot: &Snapshot, argv: &[String]) -> Result<Ran, String> {
    let run = || port.exec_within(&snapshot.container, argv, CHECK);
    patiently(PATIENCE, run).await.map_err(|error| error.to_string())
}

/// A call of etcdctl ends by itself; so much longer it is waited for.
fn bound(limit_s: u32) -> Duration {
    Duration::from_secs(u64::from(limit_s)) + GRACE
}

/// Whether etcd takes the connection and the certificate: a snapshot that it does not take must not keep anybody waiting.
async fn reached(snapshot: &Snapshot, port: &dyn NodePort) -> Result<(), Trouble> {
    let ran = port.exec_within(&snapshot.container, &snapshot.reach(REACH_S), bound(REACH_S)).await?;
    // An etcdctl that cannot be asked this way, or is not there, says more when it is to save.
    if ran.code == 0 || matches!(ran.code, 126 | 127) || ran.err.contains("unknown command") {
        return Ok(());
    }
    let (who, said) = (snapshot.etcdctl().words(), complaint("asking it", &ran));
    Err(Trouble::Failed(format!("etcdctl did not get through to {who} within {REACH_S} s: {said}")))
}

/// How long saving may take: a minute, and a second for each 10 MB of the database. Seconds.
fn save_limit_s(size: Option<f64>) -> u32 {
    let of_size = size.map_or(SAVE_MOST_S, |bytes| SAVE_LEAST_S + (bytes / 10e6).clamp(0.0, 10_000.0) as u32);
    of_size.min(SAVE_MOST_S)
}

fn complaint(doing: &str, ran: &Ran) -> String {
    // The last line says what went wrong; what comes before is etcd's log.
    let last = |text: &str| text.lines().rev().find(|l| !l.trim().is_empty()).map(str::to_owned);
    let said = last(&ran.err).or_else(|| last(&ran.out)).unwrap_or_default();
    format!("{doing} ended with {}: {}", ran.code, clean_short(&said, COMPLAINT))
}

/// What etcd's database takes. Bytes.
async fn size(shared: &Shared, port: &dyn NodePort) -> Option<f64> {
    let check = shared.plan.components.get(&Component::Etcd)?.version.as_ref()?;
    patiently(PATIENCE, || port.ask(check)).await.ok()?.gauge("etcd_mvcc_db_total_size_in_bytes")
}

/// A volume that is full stops etcd itself: there must be room for the snapshot twice. Where the image has no `df`, or etcd
/// does not state its size, nothing can be said.
async fn has_room(snapshot: &Snapshot, port: &dyn NodePort, size: Option<f64>) -> Result<(), String> {
    let Some(size) = size else { return Ok(()) };
    let Ok(told) = exec(port, snapshot, &snapshot.room()).await else { return Ok(()) };
    match free(&told) {
        Some(free) if (free as f64) < 2.0 * size => Err(format!(
            "{}: {} has {free} bytes left, and etcd's database has {size}: too little",
            snapshot.node,
            snapshot.dir.as_str()
        )),
        _ => Ok(()),
    }
}

/// Bytes left, as `df -P -k` says it.
fn free(told: &Ran) -> Option<u64> {
    let line = told.out.lines().last().filter(|_| told.code == 0)?;
    line.split_whitespace().nth(3)?.parse::<u64>().ok()?.checked_mul(1024)
}

/// What `snapshot status` says, the same in etcdctl and etcdutl.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Status {
    hash: u32,
    revision: u64,
    total_key: u64,
    total_size: u64,
}

impl Status {
    fn read(text: &str) -> Result<Status, String> {
        let status: Status = serde_json::from_str(text.trim())
            .map_err(|_| format!("the check of the snapshot said {:?}, which is no status", clean_short(text, 80)))?;
        if status.revision == 0 || status.total_key == 0 || status.total_size == 0 {
            return Err(format!("the snapshot is empty: {}", clean_short(text, 120)));
        }
        Ok(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(out: &str) -> Ran {
        Ran { out: out.into(), ..Ran::default() }
    }

    #[test]
    fn a_status_is_read_as_etcd_writes_it() {
        // etcdctl 3.4.23 and etcdutl 3.6.
        let old = "{\"hash\":3512983,\"revision\":12,\"totalKey\":15,\"totalSize\":20480}\n";
        let new = "{\"hash\":3512983,\"revision\":12,\"totalKey\":15,\"totalSize\":20480,\"version\":\"3.6.0\"}";
        let wanted = Status { hash: 3_512_983, revision: 12, total_key: 15, total_size: 20_480 };
        assert_eq!(Status::read(old).as_ref(), Ok(&wanted));
        assert_eq!(Status::read(new), Ok(wanted));
        assert!(Status::read(&old.replace("15", "0")).unwrap_err().contains("empty"));
        for bad in ["", "Deprecated: use etcdutl", "{\"hash\":-1}"] {
            assert!(Status::read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_large_database_has_more_time_and_none_is_without_a_limit() {
        assert_eq!(save_limit_s(Some(1e6)), 60);
        assert_eq!(save_limit_s(Some(2e9)), 260);
        for most in [Some(8e9), Some(f64::NAN).filter(|n| n.is_finite()), Some(f64::INFINITY), None] {
            assert_eq!(save_limit_s(most), SAVE_MOST_S);
        }
    }

    #[test]
    fn room_is_read_where_df_says_it() {
        let head = "Filesystem 1024-blocks Used Available Capacity Mounted on\n";
        assert_eq!(free(&ran(&format!("{head}/dev/sda1 100 60 40 60% /var/lib/etcd\n"))), Some(40 * 1024));
        assert_eq!(free(&ran(head)), None);
        assert_eq!(free(&Ran { code: 127, ..ran("a b c 4") }), None);
    }
}
