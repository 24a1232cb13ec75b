//! How long a component was away, asked from outside all the while.

use crate::fleet::Component;
use crate::plan::Check;
use crate::remote::{NodeError, NodePort};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// Between two questions: the resolution of a measured downtime.
const EVERY: Duration = Duration::from_millis(100);

/// What one component answered so far.
#[derive(Debug, Clone, Copy, Default)]
struct Track {
    last_good: Option<Instant>,
    /// The last good answer before the first bad one.
    away_since: Option<Instant>,
    back_at: Option<Instant>,
}

impl Track {
    /// One answer. `None`: no connection to the node, so that nothing is known of the component.
    fn heard(&mut self, at: Instant, good: Option<bool>) {
        match good {
            Some(true) if self.away_since.is_some() => self.back_at = self.back_at.or(Some(at)),
            Some(true) => self.last_good = Some(at),
            Some(false) => self.away_since = self.away_since.or(self.last_good),
            None => {}
        }
    }

    fn downtime_ms(&self) -> Option<u64> {
        let away = self.back_at?.duration_since(self.away_since?);
        u64::try_from(away.as_millis()).ok()
    }
}

/// Asks components for their health until it is dropped.
#[derive(Default)]
pub(super) struct Probes {
    tracks: Arc<Mutex<BTreeMap<Component, Track>>>,
    _tasks: JoinSet<()>,
}

impl Probes {
    /// Begins to ask. Each component is asked once before this returns, so that the old one's last answer is known.
    pub(super) async fn start(port: &Arc<dyn NodePort>, checks: Vec<(Component, Check)>) -> Probes {
        let tracks: Arc<Mutex<BTreeMap<Component, Track>>> = Arc::default();
        let mut tasks = JoinSet::new();
        for (component, check) in checks {
            ask(port.as_ref(), component, &check, &tracks).await;
            let (port, tracks) = (Arc::clone(port), Arc::clone(&tracks));
            tasks.spawn(async move {
                loop {
                    sleep(EVERY).await;
                    ask(port.as_ref(), component, &check, &tracks).await;
                }
            });
        }
        Probes { tracks, _tasks: tasks }
    }

    /// From the old one's last answer to the new one's first. `None` when no gap was seen: it was shorter than the
    /// resolution, or nothing answered to begin with.
    pub(super) fn downtime_ms(&self, component: Component) -> Option<u64> {
        let tracks = self.tracks.lock().unwrap_or_else(PoisonError::into_inner);
        tracks.get(&component).and_then(Track::downtime_ms)
    }
}

async fn ask(port: &dyn NodePort, component: Component, check: &Check, tracks: &Mutex<BTreeMap<Component, Track>>) {
    let good = match port.ask(check).await {
        Ok(answer) => Some(answer.ok()),
        // Nothing listens, or it does not answer in time.
        Err(NodeError::Failed(_) | NodeError::TimedOut(_)) => Some(false),
        Err(NodeError::Unreachable(_) | NodeError::Refused(_)) => None,
    };
    let mut tracks = tracks.lock().unwrap_or_else(PoisonError::into_inner);
    tracks.entry(component).or_default().heard(Instant::now(), good);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_downtime_runs_from_the_last_old_answer_to_the_first_new_one() {
        let zero = Instant::now();
        let at = |ms| zero + Duration::from_millis(ms);
        let mut track = Track::default();
        for (ms, good) in
            [(0, Some(true)), (100, Some(true)), (200, None), (300, Some(false)), (400, Some(true)), (500, Some(false))]
        {
            track.heard(at(ms), good);
        }
        assert_eq!(track.downtime_ms(), Some(300));
    }

    #[test]
    fn no_gap_and_no_answer_are_no_downtime() {
        let mut track = Track::default();
        track.heard(Instant::now(), Some(false));
        track.heard(Instant::now(), Some(true));
        assert_eq!(track.downtime_ms(), None);
    }
}
