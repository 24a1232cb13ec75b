//! Clients of the Kubernetes API, as pods are: they dial the service's address, which leads to one of the API servers that the
//! Endpoints named when the service proxies last looked.

use crate::cluster::Cluster;
use crate::http;
use crate::lab::Lab;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use color_eyre::eyre::Result;
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// How far a service proxy is behind the Endpoints: as seen on a real cluster.
const BEHIND: Duration = Duration::from_secs(1);
/// Between two requests of one client.
const PAUSE: Duration = Duration::from_millis(50);
/// When a request is given up: beyond what an API server itself waits for etcd.
const GIVE_UP: Duration = Duration::from_secs(20);

/// Clients at work.
pub struct Api {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Asked>>,
    proxy: JoinHandle<()>,
}

/// What they met with.
#[derive(Debug, Default)]
pub struct Asked {
    /// Requests.
    pub requests: usize,
    /// Requests that brought no success.
    pub failed: usize,
    /// The longest request.
    pub longest: Duration,
    /// The failures: when, how long the request took, and why.
    pub failures: Vec<String>,
}

impl Asked {
    /// In words.
    pub fn words(&self) -> String {
        let Asked { requests, failed, longest, failures } = self;
        let why: String = failures.iter().map(|why| format!("; {why}")).collect();
        format!("{failed} of {requests} requests failed, the longest took {longest:?}{why}")
    }
}

impl Api {
    /// Starts them.
    pub fn start(lab: &Lab, cluster: &Cluster, writers: usize, readers: usize) -> Api {
        let stop = Arc::new(AtomicBool::new(false));
        let store = cluster.store.clone();
        let serving = Arc::new(RwLock::new(crate::cluster::api_addresses(&store).1));
        let proxy = {
            let serving = serving.clone();
            lab.runtime.spawn(async move {
                loop {
                    let seen = crate::cluster::api_addresses(&store).1;
                    tokio::time::sleep(BEHIND).await;
                    *serving.write().expect("nobody panics with it") = seen;
                }
            })
        };
        let client = |n: usize| {
            let (stop, serving) = (stop.clone(), serving.clone());
            lab.runtime.spawn(ask(n, n < writers, serving, stop))
        };
        let clients = (0..writers + readers).map(client).collect();
        Api { stop, clients, proxy }
    }

    /// Stops them.
    pub fn finish(self, runtime: &Runtime) -> Result<Asked> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Asked::default();
        for client in self.clients {
            let one = runtime.block_on(client)?;
            all.requests += one.requests;
            all.failed += one.failed;
            all.longest = all.longest.max(one.longest);
            all.failures.extend(one.failures);
        }
        self.proxy.abort();
        Ok(all)
    }
}

async fn ask(client: usize, writes: bool, serving: Arc<RwLock<Vec<String>>>, stop: Arc<AtomicBool>) -> Asked {
    let mut asked = Asked::default();
    let key = BASE64.encode(format!("/registry/configmaps/{client}"));
    for turn in client.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let address = {
            let serving = serving.read().expect("nobody panics with it");
            serving[turn % serving.len().max(1)].clone()
        };
        let (path, body) = if writes {
            ("/v3/kv/put", json!({"key": key, "value": BASE64.encode(turn.to_string())}))
        } else {
            ("/v3/kv/range", json!({"key": key}))
        };
        let begun = Instant::now();
        let answer = http::api(&address, path, body, GIVE_UP).await;
        asked.requests += 1;
        asked.longest = asked.longest.max(begun.elapsed());
        if let Err(why) = answer {
            asked.failed += 1;
            let (at, took) = (jiff::Timestamp::now(), begun.elapsed());
            asked.failures.push(format!("{at:.1}: {path} through {address} after {took:?}: {why:#}"));
        }
        tokio::time::sleep(PAUSE).await;
    }
    asked
}
