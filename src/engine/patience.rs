//! Asking again while a node or the API is away for a moment.

use crate::k8s::ClusterError;
use crate::remote::NodeError;
use std::future::Future;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Between two tries.
const BETWEEN: Duration = Duration::from_millis(500);

/// An error that may be over when asked again.
pub(super) trait MayPass {
    /// Whether asking again may help.
    fn may_pass(&self) -> bool;
}

impl MayPass for NodeError {
    fn may_pass(&self) -> bool {
        self.transient()
    }
}

impl MayPass for ClusterError {
    fn may_pass(&self) -> bool {
        matches!(self, ClusterError::Away(_) | ClusterError::Credentials(_))
    }
}

/// Tries until it works, fails for good, or `limit` is over; the last error then.
pub(super) async fn patiently<T, E, F>(limit: Duration, mut ask: impl FnMut() -> F) -> Result<T, E>
where
    E: MayPass,
    F: Future<Output = Result<T, E>>,
{
    let until = Instant::now() + limit;
    loop {
        match ask().await {
            Err(error) if error.may_pass() && Instant::now() < until => sleep(BETWEEN).await,
            answer => return answer,
        }
    }
}
