//! How long a component was away for its clients: their door is knocked at all the while, each time over a new connection.

use super::shared::Shared;
use crate::fleet::Component;
use crate::plan::Door;
use crate::remote::{NodeError, NodePort};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;

/// Between two knocks at one door.
const EVERY: Duration = Duration::from_millis(20);
/// Where many doors are knocked at at once, each has its turn: so long at least passes between two knocks of one engine.
const SHARE: Duration = Duration::from_millis(5);
/// Unanswered knocks at one door; with more, no new one is sent.
const UNANSWERED: usize = 32;
/// How long the old component may take to answer before the next door is tried.
const FIRST: Duration = Duration::from_secs(1);

/// What was heard at one door so far.
#[derive(Debug, Clone, Copy, Default)]
struct Track {
    /// The quickest answer of the old component: what a knock itself takes.
    takes: Option<Duration>,
    /// When the first knock that was refused was sent, after others had been answered.
    refused: Option<Instant>,
    /// When the last one was.
    refused_last: Option<Instant>,
    /// From when on every knock was answered again.
    back: Option<Instant>,
    /// The longest time between two knocks that were sent.
    every: Duration,
}

impl Track {
    /// One knock, sent and answered at these times. `None`: no connection to the node, so that nothing is known of the component.
    fn heard(&mut self, sent: Instant, heard: Instant, answered: Option<bool>) {
        let took = heard.duration_since(sent);
        match answered {
            None => {}
            Some(true) if self.refused.is_none() => self.takes = Some(self.takes.map_or(took, |t| t.min(took))),
            Some(true) => {
                // A knock may wait until the new one serves; less what a knock takes anyway, its answer tells when that was.
                let served = heard.checked_sub(self.takes.unwrap_or_default()).map_or(sent, |at| at.max(sent));
                if self.refused_last.is_none_or(|bad| served > bad) {
                    self.back = Some(self.back.map_or(served, |back| back.min(served)));
                }
            }
            // It was never there, as far as is known.
            Some(false) if self.takes.is_none() => {}
            Some(false) => {
                self.refused = Some(self.refused.map_or(sent, |first| first.min(sent)));
                self.refused_last = Some(self.refused_last.map_or(sent, |last| last.max(sent)));
                self.back = self.back.filter(|back| *back > sent);
            }
        }
    }

    fn felt(&self) -> Felt {
        match (self.refused, self.back) {
            (None, _) => Felt::NoGap,
            (Some(_), None) => Felt::Away,
            (Some(from), Some(to)) => {
                Felt::Gap(u64::try_from(to.saturating_duration_since(from).as_millis()).unwrap_or(u64::MAX))
            }
        }
    }
}

/// What clients felt of one component's swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Felt {
    /// No knock was refused.
    NoGap,
    /// The last knocks were refused.
    Away,
    /// So long, from the first knock that was refused to the first that was answered again. Milliseconds.
    Gap(u64),
}

/// Knocks at the doors of components until it is dropped.
#[derive(Default)]
pub(super) struct Probes(BTreeMap<Component, Knocking>);

struct Knocking {
    door: Door,
    track: Arc<Mutex<Track>>,
    _task: AbortOnDropHandle<()>,
}

/// Counts the doors that an engine knocks at, for as long as it lives.
struct Turn(Arc<AtomicUsize>);

impl Turn {
    fn take(all: &Arc<AtomicUsize>) -> Turn {
        all.fetch_add(1, Ordering::Relaxed);
        Turn(Arc::clone(all))
    }

    fn every(&self) -> Duration {
        let doors = u32::try_from(self.0.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        EVERY.max(SHARE.saturating_mul(doors))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Probes {
    /// Begins to knock. Of each component's doors the first is taken that the old one answers, so that its last answer is known;
    /// where it answers at none, nothing is measured.
    pub(super) async fn start(shared: &Shared, port: &Arc<dyn NodePort>, doors: Vec<(Component, Vec<Door>)>) -> Probes {
        let mut all = BTreeMap::new();
        for (component, doors) in doors {
            for door in doors {
                let track: Arc<Mutex<Track>> = Arc::default();
                let _ = timeout(FIRST, knock(port.as_ref(), &door, &track)).await;
                if lock(&track).takes.is_none() {
                    continue;
                }
                let turn = Turn::take(&shared.doors);
                let task = tokio::spawn(knock_on(Arc::clone(port), door.clone(), Arc::clone(&track), turn));
                all.insert(component, Knocking { door, track, _task: AbortOnDropHandle::new(task) });
                break;
            }
        }
        Probes(all)
    }

    /// What clients felt so far, and how that is known, in words; none where nothing is measured.
    pub(super) fn felt(&self, component: Component) -> Option<(Felt, String)> {
        let knocking = self.0.get(&component)?;
        let track = *lock(&knocking.track);
        let every = track.every.max(EVERY).as_millis();
        Some((track.felt(), format!("{} every {every} ms", knocking.door.words())))
    }

    /// The component is well again, and what clients felt is known: nobody knocks any more.
    pub(super) fn stop(&mut self, component: Component) {
        self.0.remove(&component);
    }
}

/// Knocks again and again, whether the last knock was answered already or not.
async fn knock_on(port: Arc<dyn NodePort>, door: Door, track: Arc<Mutex<Track>>, turn: Turn) {
    let mut unanswered = FuturesUnordered::new();
    let mut next = Instant::now();
    let mut sent: Option<Instant> = None;
    loop {
        tokio::select! {
            Some(()) = unanswered.next() => {}
            () = sleep_until(next), if unanswered.len() < UNANSWERED => {
                let now = Instant::now();
                if let Some(before) = sent.replace(now) {
                    let mut track = lock(&track);
                    // Whole milliseconds of a machine that is not busy: what is said of the resolution is what it was meant to be.
                    track.every = track.every.max(turn.every().min(now - before));
                }
                next = now + turn.every();
                unanswered.push(knock(port.as_ref(), &door, &track));
            }
        }
    }
}

async fn knock(port: &dyn NodePort, door: &Door, track: &Mutex<Track>) {
    let sent = Instant::now();
    let answered = match port.knock(&door.check).await {
        Ok(answer) => Some(door.any_status || answer.ok()),
        // Nothing listens, or it does not answer in time.
        Err(NodeError::Failed(_) | NodeError::TimedOut(_)) => Some(false),
        Err(NodeError::Unreachable(_) | NodeError::Refused(_) | NodeError::Fenced { .. }) => None,
    };
    lock(track).heard(sent, Instant::now(), answered);
}

fn lock(track: &Mutex<Track>) -> std::sync::MutexGuard<'_, Track> {
    track.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Knocks as (sent, heard, answered), in milliseconds.
    fn felt(knocks: &[(u64, u64, Option<bool>)]) -> Felt {
        let zero = Instant::now();
        let at = |ms| zero + Duration::from_millis(ms);
        let mut track = Track::default();
        for (sent, heard, answered) in knocks {
            track.heard(at(*sent), at(*heard), *answered);
        }
        track.felt()
    }

    const UP: Option<bool> = Some(true);
    const DOWN: Option<bool> = Some(false);

    #[test]
    fn a_downtime_runs_from_the_first_refusal_to_the_first_answer() {
        let knocks = [(0, 1, UP), (20, 21, UP), (40, 41, None), (60, 61, DOWN), (80, 81, DOWN), (100, 101, UP)];
        assert_eq!(felt(&knocks), Felt::Gap(40));
        assert_eq!(felt(&knocks[..5]), Felt::Away);
        assert_eq!(felt(&knocks[..3]), Felt::NoGap);
    }

    #[test]
    fn a_slow_network_does_not_make_it_longer() {
        // 200 ms there and back; it is away from 30 to 130.
        let knocks = [(0, 200, UP), (20, 220, UP), (40, 240, DOWN), (80, 280, DOWN), (120, 320, DOWN), (140, 340, UP)];
        assert_eq!(felt(&knocks), Felt::Gap(100));
    }

    #[test]
    fn a_knock_that_waits_for_the_new_one_to_serve_tells_when_it_did() {
        // The port is open from 60 on and served from 500 on: every knock since then waits.
        let knocks = [(0, 5, UP), (20, 21, DOWN), (40, 41, DOWN), (60, 505, UP), (80, 505, UP), (480, 506, UP)];
        assert_eq!(felt(&knocks), Felt::Gap(480));
    }

    #[test]
    fn a_door_that_closes_again_is_away_until_it_stays_open() {
        let knocks = [(0, 1, UP), (20, 21, DOWN), (40, 41, UP), (60, 61, DOWN), (80, 81, UP), (100, 101, UP)];
        assert_eq!(felt(&knocks[..4]), Felt::Away);
        assert_eq!(felt(&knocks), Felt::Gap(60));
    }

    #[test]
    fn answers_that_come_out_of_order_are_put_in_order() {
        let knocks = [(0, 1, UP), (40, 41, DOWN), (20, 45, DOWN), (60, 61, UP), (50, 70, DOWN)];
        assert_eq!(felt(&knocks), Felt::Gap(40));
    }

    #[test]
    fn no_gap_and_no_answer_are_no_downtime() {
        assert_eq!(felt(&[(0, 1, DOWN), (20, 21, UP)]), Felt::NoGap);
    }
}
