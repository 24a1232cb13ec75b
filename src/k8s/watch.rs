//! The watched copy of the nodes, and how far it can be trusted.

use futures::StreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// A watch can hang without an error (a master that froze, a proxy that kept the connection). After this much silence
/// the copy is not believed any more and the API is asked itself.
const SILENCE: Duration = Duration::from_secs(15);

/// A background task that keeps a copy of all nodes; it ends when this is dropped.
pub(super) struct NodeWatch {
    store: reflector::Store<Node>,
    heard: watch::Receiver<Heard>,
    task: JoinHandle<()>,
}

/// When the watch last spoke, and whether what it said was an error.
#[derive(Debug, Clone, Copy, Default)]
struct Heard {
    at: Option<Instant>,
    broken: bool,
}

impl NodeWatch {
    /// Starts to watch.
    pub fn start(client: Client) -> NodeWatch {
        let (store, writer) = reflector::store();
        let (note, heard) = watch::channel(Heard::default());
        let task = tokio::spawn(async move {
            let events = watcher(Api::<Node>::all(client), watcher::Config::default()).default_backoff();
            // Most of a node's bytes are its images and field managers, which nobody asks for.
            let events = events.modify(|node| {
                node.metadata.managed_fields = None;
                if let Some(status) = &mut node.status {
                    status.images = None;
                    status.volumes_attached = None;
                    status.volumes_in_use = None;
                }
            });
            let mut events = std::pin::pin!(reflector(writer, events));
            while let Some(event) = events.next().await {
                let broken = event.is_err();
                if let Err(error) = event {
                    tracing::debug!(%error, "the watch on nodes broke and begins anew");
                }
                note.send_replace(Heard { at: Some(Instant::now()), broken });
            }
        });
        NodeWatch { store, heard, task }
    }

    /// The copy, when the watch is whole and has spoken lately, waiting at most `patience` for it to be complete at first, and no
    /// longer than until it breaks. Also says when it last spoke.
    pub async fn fresh(&self, patience: Duration) -> Option<(Instant, Vec<Arc<Node>>)> {
        let mut heard = self.heard.clone();
        let complete = async {
            tokio::select! {
                biased;
                _ = heard.wait_for(|heard| heard.broken) => false,
                ready = self.store.wait_until_ready() => ready.is_ok(),
            }
        };
        if !timeout(patience, complete).await.ok()? {
            return None;
        }
        let heard = self.heard();
        let at = heard.at.filter(|at| !heard.broken && at.elapsed() < SILENCE)?;
        Some((at, self.store.state()))
    }

    /// When the watch last spoke, unless it is broken.
    pub fn spoke(&self) -> Option<Instant> {
        let heard = self.heard();
        heard.at.filter(|_| !heard.broken)
    }

    fn heard(&self) -> Heard {
        *self.heard.borrow()
    }
}

impl Drop for NodeWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
