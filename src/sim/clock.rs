//! The simulated clock: milliseconds since the simulation began, running `speed` times as fast as the real one.

use jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use tokio::time::Instant;

/// The clock.
#[derive(Debug, Clone)]
pub struct Clock {
    start: Instant,
    epoch: Timestamp,
    speed: f64,
}

impl Clock {
    /// A clock that begins now.
    pub fn new(speed: f64) -> Clock {
        Clock { start: Instant::now(), epoch: Timestamp::now(), speed }
    }

    /// Now, in simulated milliseconds.
    pub fn now(&self) -> i64 {
        self.simulated(self.start.elapsed())
    }

    /// How many simulated milliseconds pass in a real duration.
    pub fn simulated(&self, real: Duration) -> i64 {
        (real.as_secs_f64() * 1000.0 * self.speed) as i64
    }

    /// How long a number of simulated milliseconds really takes.
    pub fn real(&self, ms: i64) -> Duration {
        Duration::try_from_secs_f64(ms.max(0) as f64 / 1000.0 / self.speed).unwrap_or(Duration::MAX)
    }

    /// The date of a simulated moment, as the client's own clock has it: what happened since the simulation began is dated by
    /// the real time, so that a client can compare it with what it did itself, at any speed.
    pub fn at(&self, ms: i64) -> Timestamp {
        let real = if ms > 0 { (ms as f64 / self.speed) as i64 } else { ms };
        self.epoch.checked_add(SignedDuration::from_millis(real)).unwrap_or(self.epoch)
    }

    /// How much faster than the real one it runs.
    pub fn speed(&self) -> f64 {
        self.speed
    }

    /// Sleeps until a simulated moment.
    pub async fn sleep_until(&self, ms: i64) {
        // One millisecond more: the moment must have passed, not been rounded to.
        let left = ms + 1 - self.now();
        if left > 0 {
            tokio::time::sleep(self.real(left)).await;
        }
    }
}
