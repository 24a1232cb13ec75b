//! Knocks at etcd's and the API servers' client ports every 10 ms, directly, with no help from the code under test.

use crate::http;
use crate::lab::Lab;
use color_eyre::eyre::{Result, eyre};
use sonoba::fleet::Component;
use sonoba::plan::Check;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::{JoinHandle, JoinSet};

/// Between two knocks at one port.
const EVERY: Duration = Duration::from_millis(10);
/// Knocks without an answer at one port; with more, no new one is sent.
const UNANSWERED: usize = 64;
/// How long a knock may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Every knock: when it was sent, when it was over, and whether it was answered.
type Knocks = Vec<(Instant, Instant, bool)>;

/// A component on a node.
type Place = (Component, String);

/// A prober at work.
pub struct Prober {
    stop: Arc<AtomicBool>,
    tasks: Vec<(Place, JoinHandle<Knocks>)>,
}

impl Prober {
    /// Starts to knock.
    pub fn start(lab: &Lab) -> Prober {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for node in lab.masters() {
            for (component, door) in
                [(Component::Etcd, "http://{address}:2379/version"), (Component::KubeApiserver, "tls://{address}:6443")]
            {
                let check: Check = door.parse().expect("a check");
                let task = lab.runtime.spawn(knock_on(check, node.address.clone(), stop.clone()));
                tasks.push(((component, node.name.to_owned()), task));
            }
        }
        Prober { stop, tasks }
    }

    /// Stops. The time from the first knock that was refused to the first that was answered after the last refusal, by component
    /// and node; those that never were refused are left out.
    pub fn finish(self, runtime: &Runtime) -> Result<BTreeMap<Place, Duration>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut away = BTreeMap::new();
        for (place, task) in self.tasks {
            let knocks = runtime.block_on(task)?;
            let refused: Vec<Instant> = knocks.iter().filter(|k| !k.2).map(|k| k.0).collect();
            let (Some(first), Some(last)) = (refused.iter().min(), refused.iter().max()) else { continue };
            let usual = knocks.iter().filter(|k| k.2).map(|k| k.1 - k.0).min().unwrap_or_default();
            // An answer that had to wait came when the component served, less what an answer takes anyway.
            let served = knocks.iter().filter(|k| k.2).map(|k| (k.1 - usual).max(k.0)).filter(|at| at > last).min();
            let served = served.ok_or_else(|| eyre!("{place:?} did not come back"))?;
            away.insert(place, served - *first);
        }
        Ok(away)
    }
}

/// Knocks until it is told to stop.
async fn knock_on(check: Check, address: String, stop: Arc<AtomicBool>) -> Knocks {
    let (mut knocks, mut open) = (Vec::new(), JoinSet::new());
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
        let (check, address) = (check.clone(), address.clone());
        if open.len() < UNANSWERED {
            open.spawn(async move {
                let sent = Instant::now();
                let answered = http::check(&check, &address, LIMIT).await.is_ok();
                (sent, Instant::now(), answered)
            });
        }
        while let Some(Ok(knock)) = open.try_join_next() {
            knocks.push(knock);
        }
    }
    knocks.extend(open.join_all().await);
    knocks
}
