//! A client that keeps writing to etcd, and remembers what was acknowledged and how long it had to wait.

use crate::http;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use color_eyre::eyre::{Result, ensure, eyre};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// How long one member may take to acknowledge before the next is asked.
const ASK: Duration = Duration::from_millis(1000);
/// When a write is given up for good.
const GIVE_UP: Duration = Duration::from_secs(30);
/// Between writes.
const PAUSE: Duration = Duration::from_millis(10);

/// A writer at work.
pub struct Writer {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<Written>>,
    members: Vec<String>,
}

/// What it did.
#[derive(Debug, Default)]
pub struct Written {
    /// Every write that a member acknowledged.
    pub acknowledged: BTreeMap<String, String>,
    /// The longest wait from a write's first attempt to its acknowledgement.
    pub longest: Duration,
    /// Attempts that brought no acknowledgement.
    pub failed_attempts: usize,
}

impl Writer {
    /// Starts writing through the members at `HOST:PORT`.
    pub fn start(runtime: &Runtime, members: Vec<String>) -> Writer {
        let stop = Arc::new(AtomicBool::new(false));
        let task = runtime.spawn(write(members.clone(), stop.clone()));
        Writer { stop, task, members }
    }

    /// Stops, then reads everything back from every member, each by its own linearizable read.
    ///
    /// # Errors
    /// When a write was given up, or an acknowledged one is missing or another somewhere.
    pub fn finish(self, runtime: &Runtime) -> Result<Written> {
        self.stop.store(true, Ordering::Relaxed);
        runtime.block_on(async {
            let written = self.task.await??;
            ensure!(!written.acknowledged.is_empty(), "nothing was written at all");
            for member in &self.members {
                let found = read_all(member).await?;
                let lost: Vec<_> = written.acknowledged.iter().filter(|(k, v)| found.get(*k) != Some(*v)).collect();
                ensure!(lost.is_empty(), "{member} lost {} acknowledged writes: {:?}", lost.len(), lost.first());
            }
            Ok(written)
        })
    }
}

async fn write(members: Vec<String>, stop: Arc<AtomicBool>) -> Result<Written> {
    let mut written = Written::default();
    let mut turn = 0;
    for n in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (key, value) = (format!("/lab/{n:08}"), format!("value {n}"));
        let begun = Instant::now();
        loop {
            let body = json!({"key": BASE64.encode(&key), "value": BASE64.encode(&value)});
            match http::etcd(&members[turn % members.len()], "/v3/kv/put", body, ASK).await {
                Ok(_) => break,
                Err(why) => {
                    ensure!(begun.elapsed() < GIVE_UP, "no member took write {n} within {GIVE_UP:?}: {why:#}");
                    written.failed_attempts += 1;
                    turn += 1;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        written.longest = written.longest.max(begun.elapsed());
        written.acknowledged.insert(key, value);
        // One after the other, so that each member is written through while each is being swapped.
        turn += 1;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(written)
}

async fn read_all(member: &str) -> Result<BTreeMap<String, String>> {
    let body = json!({"key": BASE64.encode("/lab/"), "range_end": BASE64.encode("/lab0")});
    let answer = http::etcd(member, "/v3/kv/range", body, Duration::from_secs(10)).await?;
    let pairs = answer["kvs"].as_array().ok_or_else(|| eyre!("{member} has no keys: {answer}"))?;
    let text = |value: &serde_json::Value| -> Result<String> {
        Ok(String::from_utf8(BASE64.decode(value.as_str().unwrap_or_default())?)?)
    };
    pairs.iter().map(|pair| Ok((text(&pair["key"])?, text(&pair["value"])?))).collect()
}
