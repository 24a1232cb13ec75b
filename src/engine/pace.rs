//! How fast an engine takes commands: a bucket of turns that fills again with time.

use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;

/// Commands at once, after a quiet time.
const BURST: f64 = 20.0;
/// Commands a second, for ever. No person is faster.
const A_SECOND: f64 = 5.0;
/// What is answered to one too many.
pub(super) const REFUSAL: &str = "too many commands in a short time: nothing was done; try again in a second";

/// One for all peers: their number is not bounded by anything but time.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<Option<(f64, Instant)>>);

impl Pace {
    /// Takes a turn; false when there is none.
    pub(super) fn admit(&self) -> bool {
        self.admit_at(Instant::now())
    }

    fn admit_at(&self, now: Instant) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, since) = state.unwrap_or((BURST, now));
        let left = (left + now.saturating_duration_since(since).as_secs_f64() * A_SECOND).min(BURST);
        let admitted = left >= 1.0;
        *state = Some((if admitted { left - 1.0 } else { left }, now));
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_burst_is_let_in_then_so_many_a_second() {
        let (pace, start) = (Pace::default(), Instant::now());
        let admitted =
            |ms: u64, tries: u32| (0..tries).filter(|_| pace.admit_at(start + Duration::from_millis(ms))).count();
        assert_eq!(admitted(0, 100), 20);
        assert_eq!(admitted(1_000, 100), 5);
        assert_eq!(admitted(1_100, 100), 0, "refusals cost nothing, and give nothing");
        assert_eq!(admitted(60_000, 100), 20);
    }
}
