//! What pods do by themselves on nodes that no swap touches: what a single one does on a swapped node is judged beside it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// So long a restart is remembered.
pub(super) const MEMORY: Duration = Duration::from_secs(600);

/// Calm pods of the control group that were seen to restart: their UIDs, and when.
#[derive(Debug, Default)]
pub(super) struct Elsewhere(Mutex<HashMap<String, Instant>>);

impl Elsewhere {
    /// These restarted just now.
    pub(super) fn saw(&self, uids: impl IntoIterator<Item = String>) {
        self.heard_of(uids.into_iter().map(|uid| (uid, Duration::ZERO)));
    }

    /// These restarted so long ago.
    pub(super) fn heard_of(&self, restarts: impl IntoIterator<Item = (String, Duration)>) {
        let now = Instant::now();
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, at| now.duration_since(*at) < MEMORY);
        for (uid, at) in restarts.into_iter().filter_map(|(uid, ago)| Some((uid, now.checked_sub(ago)?))) {
            let latest = seen.entry(uid).or_insert(at);
            *latest = at.max(*latest);
        }
    }

    /// Pods that restarted within the last ten minutes.
    pub(super) fn restarts(&self) -> usize {
        let now = Instant::now();
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.values().filter(|at| now.duration_since(**at) < MEMORY).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pod_counts_once_and_for_ten_minutes() {
        let elsewhere = Elsewhere::default();
        elsewhere.saw(["a".to_owned(), "b".to_owned()]);
        tokio::time::advance(Duration::from_secs(400)).await;
        elsewhere.saw(["b".to_owned()]);
        assert_eq!(elsewhere.restarts(), 2);
        tokio::time::advance(Duration::from_secs(300)).await;
        assert_eq!(elsewhere.restarts(), 1);
        elsewhere.heard_of([("b".to_owned(), Duration::from_secs(400)), ("c".to_owned(), Duration::from_secs(300))]);
        assert_eq!(elsewhere.restarts(), 2);
        tokio::time::advance(Duration::from_secs(299)).await;
        assert_eq!(elsewhere.restarts(), 2, "the later of two times counts");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(elsewhere.restarts(), 0);
    }
}
