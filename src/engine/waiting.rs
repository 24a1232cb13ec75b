//! What the run waits for, as the journal tells it, and when it has waited long enough.

use super::shared::Shared;
use crate::journal::{Event, JournalError};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// Writes down what the run waits for, once for every change of the text, and pauses the run when a gate's time is over.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    told: Option<Told>,
    /// Since when a gate is closed.
    closed: HashMap<String, Instant>,
    /// The pauses that the run had: after one more, every gate has its whole time again.
    pauses: usize,
}

#[derive(Debug)]
struct Told {
    gate: String,
    why: String,
    limit_ms: Option<u64>,
    since: Instant,
}

impl Waiting {
    /// The run waits, for as long as it takes; `ms` is how long that will be, where that is known.
    pub(super) fn on(&mut self, shared: &Shared, gate: &str, why: &str, ms: Option<u64>) -> Result<(), JournalError> {
        self.look_for_pauses(shared);
        self.tell(shared, gate, why, ms, None)
    }

    /// A gate does not hold. Once it has not for `limit`, the run pauses at its next checkpoint.
    pub(super) fn closed(
        &mut self,
        shared: &Shared,
        gate: &str,
        why: &str,
        limit: Duration,
    ) -> Result<(), JournalError> {
        self.look_for_pauses(shared);
        let now = Instant::now();
        let since = *self.closed.entry(gate.to_owned()).or_insert(now);
        let left = limit.saturating_sub(now - since);
        self.tell(shared, gate, why, None, Some(left))?;
        if left.is_zero() {
            shared.stall(format!("gate {gate} did not hold within {}: {why}", words(limit)));
        }
        Ok(())
    }

    /// Whether the journal says now that the run waits for this gate.
    pub(super) fn tells_of(&self, gate: &str) -> bool {
        self.told.as_ref().is_some_and(|told| told.gate == gate)
    }

    /// A gate holds (again).
    pub(super) fn held(&mut self, gate: &str) {
        self.closed.remove(gate);
    }

    /// The wait is over, if there was one.
    pub(super) fn over(&mut self, shared: &Shared) -> Result<(), JournalError> {
        self.closed.clear();
        match self.told.take() {
            Some(told) => shared.log.tell(Event::GatePassed { gate: told.gate }),
            None => Ok(()),
        }
    }

    fn look_for_pauses(&mut self, shared: &Shared) {
        let pauses = shared.log.with(|run, _| run.pauses.len());
        if pauses != self.pauses {
            *self = Waiting { pauses, ..Waiting::default() };
        }
    }

    fn tell(
        &mut self,
        shared: &Shared,
        gate: &str,
        why: &str,
        ms: Option<u64>,
        left: Option<Duration>,
    ) -> Result<(), JournalError> {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let mut limit_ms = left.map(millis);
        let mut since = Instant::now();
        if let Some(told) = self.told.as_ref().filter(|told| told.gate == gate) {
            if told.why == why {
                return Ok(());
            }
            // Counted from when the gate's wait began, as the fold does.
            since = told.since;
            limit_ms = told.limit_ms.or(left.map(|left| millis(since.elapsed() + left)));
        }
        self.told = Some(Told { gate: gate.to_owned(), why: why.to_owned(), limit_ms, since });
        shared.log.tell(Event::GateWaiting { gate: gate.to_owned(), why: why.to_owned(), ms, limit_ms })
    }
}

/// A limit as it was written: `30m`, `90s`, `1500ms`.
fn words(limit: Duration) -> String {
    let ms = limit.as_millis();
    match ms {
        ms if !ms.is_multiple_of(1_000) => format!("{ms}ms"),
        ms if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        ms if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        ms => format!("{}s", ms / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_said_as_people_write_them() {
        assert_eq!(
            [1_500, 90_000, 1_800_000, 7_200_000].map(|ms| words(Duration::from_millis(ms))).join(" "),
            "1500ms 90s 30m 2h"
        );
    }
}
