//! A clock that never jumps and never stands still: what the engine measures its hold on the run lock by.

use rustix::time::{ClockId, clock_gettime};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Tells the time since some fixed moment.
pub(super) type Steady = Arc<dyn Fn() -> Duration + Send + Sync>;

/// This machine's: it goes on while the machine is suspended. A Lease runs out then, too.
pub(super) fn of_machine() -> Steady {
    Arc::new(|| {
        let now = clock_gettime(ClockId::Boottime);
        let nanos = u32::try_from(now.tv_nsec).unwrap_or_default();
        Duration::new(u64::try_from(now.tv_sec).unwrap_or_default(), nanos)
    })
}

/// The one that tokio's timers follow: virtual where a test has paused it.
pub(super) fn of_tokio() -> Steady {
    let zero = Instant::now();
    Arc::new(move || zero.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_s_clock_goes_forward() {
        let clock = of_machine();
        let first = clock();
        std::thread::sleep(Duration::from_millis(20));
        let took = clock() - first;
        assert!(took >= Duration::from_millis(20) && took < Duration::from_secs(20), "{took:?}");
    }
}
