//! The watch on events.

use super::index::Index;
use super::note::note;
use crate::fleet::{PodEvent, PodProof};
use crate::k8s::ClusterError;
use crate::k8s::patience::{refusal, shown};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::runtime::utils::Backoff;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// What stands in every pod's life, left out at the server. `!=` and these fields are what events can be selected by
/// (`involvedObject.*`, `reason`, `reportingComponent`, `source`, `type`):
/// <https://github.com/kubernetes/kubernetes/blob/master/pkg/registry/core/event/strategy.go>
const ABOUT_PODS: &str = "involvedObject.kind=Pod,reason!=Scheduled,reason!=FailedScheduling,reason!=Pulling,reason!=Pulled,\
    reason!=Created,reason!=Started,reason!=SuccessfulAttachVolume,reason!=SuccessfulMountVolume,reason!=AddedInterface,\
    reason!=NotTriggerScaleUp,reason!=TriggeredScaleUp";
/// What controllers say of the pods that they deleted.
const DELETIONS: &str = "reason=SuccessfulDelete";

/// The server ends a watch after this time, and the client takes one for dead that was silent for a little longer. Seconds.
const WATCH_S: u32 = 30;
/// After this time of nothing but errors the copy is not believed any more.
const BROKEN: Duration = Duration::from_secs(30);
/// So long after the last error, a watch has been resumed: the next try is made within a second.
const RESUMED: Duration = Duration::from_secs(10);
/// Who was refused is not let in within seconds.
const REFUSED: Duration = Duration::from_secs(60);

const WHAT: &str = "watch what the API records about pods (events: list, watch)";

/// What the watch on the pods' events has come to.
#[derive(Debug, Clone, Default)]
enum Health {
    /// The first list is not complete.
    #[default]
    Begun,
    Whole,
    /// It was whole; since the first of these moments it has had errors, the last at the second.
    Broken {
        since: Instant,
        last: Instant,
        why: String,
    },
    Refused(ClusterError),
}

/// Background tasks that keep a copy of the events about pods; they end when this is dropped.
pub(in crate::k8s) struct EventWatch {
    index: Arc<Mutex<Index>>,
    health: watch::Receiver<Health>,
    tasks: [JoinHandle<()>; 2],
}

impl EventWatch {
    /// Starts to watch.
    pub fn start(client: Client) -> EventWatch {
        let index = Arc::new(Mutex::new(Index::default()));
        let (tell, health) = watch::channel(Health::default());
        // Deletions are told on top: without them the rest holds.
        let (unheard, _) = watch::channel(Health::default());
        let follow = |selector, tell| tokio::spawn(follow(client.clone(), selector, Arc::clone(&index), tell));
        EventWatch { tasks: [follow(ABOUT_PODS, tell), follow(DELETIONS, unheard)], index, health }
    }

    /// What is known of these pods. Waits at most `patience` for the first list to be complete.
    ///
    /// # Errors
    /// When the API refuses, has not answered yet, or the watch has been broken for half a minute.
    pub async fn of(&self, uids: &[&str], patience: Duration) -> Result<Vec<PodEvent>, ClusterError> {
        let mut health = self.health.clone();
        let waited = timeout(patience, health.wait_for(|h| !matches!(h, Health::Begun))).await;
        let health = match waited {
            Ok(Ok(health)) => health.clone(),
            Ok(Err(_)) | Err(_) => {
                let why = "no answer in time; check that the API server answers: kubectl get --raw /readyz";
                return Err(ClusterError::Away(format!("could not {WHAT}: {why}")));
            }
        };
        match health {
            Health::Refused(error) => return Err(error),
            Health::Broken { since, last, why } if last - since > BROKEN && last.elapsed() < RESUMED => {
                return Err(ClusterError::Away(format!("could not {WHAT}: {why}")));
            }
            _ => {}
        }
        let now = Timestamp::now();
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(uids.iter().flat_map(|uid| index.of(uid, now)).collect())
    }

    /// Remembers where these pods are: what is said of them elsewhere does not count.
    pub fn place(&self, pods: &[PodProof]) {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        pods.iter().for_each(|p| index.place(&p.uid, &p.pod));
    }
}

impl Drop for EventWatch {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn follow(client: Client, selector: &'static str, index: Arc<Mutex<Index>>, tell: watch::Sender<Health>) {
    let config = watcher::Config::default().fields(selector).timeout(WATCH_S);
    let events = watcher(Api::<Event>::all(client), config).backoff(Soon);
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Apply(event) | watcher::Event::InitApply(event)) => {
                let now = Timestamp::now();
                if let Some(note) = note(&event, now) {
                    index.lock().unwrap_or_else(PoisonError::into_inner).add(note, now);
                }
                // The first list is not complete with its first event.
                tell.send_if_modified(|health| std::mem::take(&mut *health).heard(health));
            }
            Ok(watcher::Event::InitDone) => drop(tell.send_replace(Health::Whole)),
            // What the API server forgets by age is forgotten here by age.
            Ok(watcher::Event::Delete(_) | watcher::Event::Init) => {}
            Err(error) => {
                tracing::debug!(%error, selector, "the watch on events broke and begins anew");
                let refused = refusal_of(&error);
                let wait = refused.is_some();
                tell.send_modify(|health| *health = std::mem::take(health).after(refused, &error));
                if wait {
                    sleep(REFUSED).await;
                }
            }
        }
    }
}

fn refusal_of(error: &watcher::Error) -> Option<ClusterError> {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => refusal(WHAT, error),
        watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => None,
    }
}

impl Health {
    /// An event came. Returns whether that is news.
    fn heard(self, now: &mut Health) -> bool {
        let news = matches!(self, Health::Broken { .. });
        *now = if news { Health::Whole } else { self };
        news
    }

    /// An error came.
    fn after(self, refused: Option<ClusterError>, error: &watcher::Error) -> Health {
        let (now, why) = (Instant::now(), shown(&error.to_string()));
        match (self, refused) {
            (_, Some(refused)) => Health::Refused(refused),
            (Health::Begun, None) => Health::Begun,
            (Health::Broken { since, last, .. }, None) if now - last < RESUMED => {
                Health::Broken { since, last: now, why }
            }
            (_, None) => Health::Broken { since: now, last: now, why },
        }
    }
}

/// Tries again within a second: early signs do not wait. One client that does so is no burden.
struct Soon;

impl Iterator for Soon {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(rand::random_range(300..900)))
    }
}

impl Backoff for Soon {
    fn reset(&mut self) {}
}
