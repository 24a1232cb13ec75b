//! What pods do by themselves on nodes that no swap touches: what a single one does on a swapped node is judged beside it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// So long a restart is remembered.
const MEMORY: Duration = Duration::from_secs(600);

/// Calm pods of the control group that were seen to restart: their UIDs, and when.
#[derive(Debug, Default)]
pub(super) struct Elsewhere(Mutex<HashMap<String, Instant>>);

impl Elsewhere {
    /// These restarted just now.
    pub(super) fn saw(&self, uids: impl IntoIterator<Item = String>) {
        let now = Instant::now();
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, at| now.duration_since(*at) < MEMORY);
        seen.extend(uids.into_iter().map(|uid| (uid, now)));
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
    }
}
