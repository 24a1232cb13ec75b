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
use tokio::time::{Instant, sleep};

/// How long a node that is away for a moment is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries.
const AGAIN: Duration = Duration::from_secs(2);
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
        let taken = tokio::select! {
            biased;
            // It is begun anew if the run goes on.
            _ = wishes.wait_for(|wish| matches!(wish, Wish::Abort | Wish::Leave)) => return Ok(()),
            taken = take_once(shared, snapshot, &path) => taken,
        };
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
            "no snapshot of etcd could be taken on {node}, so no member moves: {why}; mend it and resume, or plan again \
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
    has_room(shared, snapshot, port).await?;
    let saved = port.exec(&snapshot.container, &snapshot.save(path)).await?;
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
    patiently(PATIENCE, || port.exec(&snapshot.container, argv)).await.map_err(|error| error.to_string())
}

fn complaint(doing: &str, ran: &Ran) -> String {
    // The last line says what went wrong; what comes before is etcd's log.
    let last = |text: &str| text.lines().rev().find(|l| !l.trim().is_empty()).map(str::to_owned);
    let said = last(&ran.err).or_else(|| last(&ran.out)).unwrap_or_default();
    format!("{doing} ended with {}: {}", ran.code, clean_short(&said, COMPLAINT))
}

/// A volume that is full stops etcd itself: there must be room for the snapshot twice. Where the image has no `df`, or etcd
/// does not state its size, nothing can be said.
async fn has_room(shared: &Shared, snapshot: &Snapshot, port: &dyn NodePort) -> Result<(), String> {
    let check = shared.plan.components.get(&Component::Etcd).and_then(|s| s.version.as_ref());
    let Some(check) = check else { return Ok(()) };
    let Ok(answer) = patiently(PATIENCE, || port.ask(check)).await else { return Ok(()) };
    let Some(size) = answer.gauge("etcd_mvcc_db_total_size_in_bytes") else { return Ok(()) };
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
    fn room_is_read_where_df_says_it() {
        let head = "Filesystem 1024-blocks Used Available Capacity Mounted on\n";
        assert_eq!(free(&ran(&format!("{head}/dev/sda1 100 60 40 60% /var/lib/etcd\n"))), Some(40 * 1024));
        assert_eq!(free(&ran(head)), None);
        assert_eq!(free(&Ran { code: 127, ..ran("a b c 4") }), None);
    }
}
