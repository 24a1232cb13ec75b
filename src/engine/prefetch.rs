//! Images are brought to the nodes before anything restarts.

use super::conductor::{Halt, checkpoint};
use super::shared::{Shared, Wish};
use crate::fleet::{Image, NodeName};
use crate::journal::{Event, JournalError, PullState};
use crate::plan::Pull;
use crate::remote::NodePort;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// Progress of one pull is written down this often.
const PROGRESS: Duration = Duration::from_millis(500);
/// A pull whose connection broke is tried this often.
const TRIES: u32 = 3;

/// Pulls everything, `max_pulls` at once. A pull that fails is tried again when its node's turn comes.
pub(super) async fn prefetch(shared: &Arc<Shared>, pulls: &[Pull]) -> Result<(), Halt> {
    let mut queue: VecDeque<(NodeName, Image)> = shared.log.with(|run, _| {
        let all = pulls.iter().flat_map(|p| p.images.iter().map(|i| (p.node.clone(), i.clone())));
        all.filter(|key| run.pulls.get(key) != Some(&PullState::Done)).collect()
    });
    let mut tasks = JoinSet::new();
    let mut wishes = shared.wish.subscribe();
    loop {
        let go = *wishes.borrow_and_update() == Wish::Run && !shared.must_pause();
        if !go {
            if shared.wish() == Wish::Abort {
                // A pull is harmless at any point: there is nothing to wait for.
                tasks.abort_all();
            }
            if tasks.is_empty() {
                checkpoint(shared).await?;
                continue;
            }
        }
        while go && tasks.len() < shared.plan.limits.max_pulls {
            let Some((node, image)) = queue.pop_front() else { break };
            tasks.spawn(pull_one(Arc::clone(shared), node, image));
        }
        if tasks.is_empty() {
            return Ok(());
        }
        tokio::select! {
            biased;
            Some(joined) = tasks.join_next() => match joined {
                Ok(result) => result?,
                Err(error) if error.is_cancelled() => {}
                Err(error) => return Err(Halt::broke_down(&error)),
            },
            _ = wishes.changed() => {}
        }
    }
}

async fn pull_one(shared: Arc<Shared>, node: NodeName, image: Image) -> Result<(), JournalError> {
    let Some(port) = shared.ports.fleet.node(&node) else {
        let why = "the inventory does not know this node".into();
        return shared.log.tell(Event::PullFailed { node, image, why });
    };
    pull(&shared, &node, port.as_ref(), &image).await.map(drop)
}

/// Pulls one image and writes down how far it is. The image's id, or why not.
pub(super) async fn pull(
    shared: &Shared,
    node: &NodeName,
    port: &dyn NodePort,
    image: &Image,
) -> Result<Result<String, String>, JournalError> {
    let key = || (node.clone(), image.clone());
    let begun = Instant::now();
    let told = Mutex::new((begun, 0));
    let progress = |p: crate::remote::PullProgress| {
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.0.elapsed() < PROGRESS || told.1 == p.done {
            return;
        }
        *told = (Instant::now(), p.done);
        let (node, image) = key();
        // A journal that cannot be written shows at the next record that matters.
        let _ = shared.log.tell(Event::PullProgress { node, image, done: p.done, total: p.total });
    };
    let (name, what) = key();
    shared.log.tell(Event::PullBegun { node: name, image: what })?;
    let mut tries = 1;
    let pulled = loop {
        match port.pull(image, &progress).await {
            Err(error) if error.transient() && tries < TRIES => {
                tracing::info!("{node}: {error}; trying again");
                sleep(Duration::from_secs(1 << tries)).await;
                tries += 1;
            }
            result => break result,
        }
    };
    let (node, image) = key();
    match pulled {
        Ok(pulled) => {
            let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            let id = pulled.id.clone();
            shared.log.tell(Event::Pulled { node, image, id: pulled.id, already: pulled.already, ms })?;
            Ok(Ok(id))
        }
        Err(error) => {
            let why = error.to_string();
            shared.log.write(Event::PullFailed { node, image, why: why.clone() }).await?;
            Ok(Err(why))
        }
    }
}
