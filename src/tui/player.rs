//! A recorded run played back: where on the tape we are, how fast it goes, and what is marked on it. Pure: the clock comes from
//! outside.

use crate::journal::{Event, Record};
use crate::plan::Plan;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;

/// How many times faster than it happened; 1 is where it begins.
const SPEEDS: [f64; 10] = [0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0];

/// Where on the tape something worth a jump happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MarkKind {
    /// A phase began, or a wave of workers; the masters' are too many, and each but one swap.
    Wave,
    /// The run paused.
    Pause,
    /// A swap went back or failed, or a pod was disturbed.
    Failure,
}

/// A mark on the tape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The record, from 0.
    pub record: usize,
    /// What happened.
    pub kind: MarkKind,
}

/// A tape in its player.
#[derive(Debug)]
pub struct Player {
    records: Arc<[Record]>,
    /// When each happened; never earlier than the one before, whatever the clocks did.
    times: Vec<Timestamp>,
    marks: Vec<Mark>,
    at: Timestamp,
    speed: usize,
    playing: bool,
    /// Records that the screen's run is folded from.
    pub shown: usize,
    /// When the tape was last moved on, by the real clock.
    last: Option<Timestamp>,
}

impl Player {
    /// Puts a tape in, at its beginning, playing. None when there is nothing on it.
    pub fn new(plan: &Plan, records: Vec<Record>, speed: f64) -> Option<Player> {
        let mut latest = records.first()?.at;
        let times: Vec<Timestamp> = records
            .iter()
            .map(|record| {
                latest = latest.max(record.at);
                latest
            })
            .collect();
        let marks =
            records.iter().enumerate().filter_map(|(record, r)| Some(Mark { record, kind: mark(plan, &r.event)? }));
        let near = |speed_at: f64| (speed_at.max(f64::MIN_POSITIVE).ln() - speed.max(0.01).ln()).abs();
        let speed = (0..SPEEDS.len()).min_by(|a, b| near(SPEEDS[*a]).total_cmp(&near(SPEEDS[*b]))).unwrap_or(2);
        let (marks, at) = (marks.collect(), times[0]);
        Some(Player { records: records.into(), times, marks, at, speed, playing: true, shown: 0, last: None })
    }

    /// The tape's beginning.
    pub fn begin(&self) -> Timestamp {
        self.times.first().copied().unwrap_or(self.at)
    }

    /// The tape's end.
    pub fn end(&self) -> Timestamp {
        self.times.last().copied().unwrap_or(self.at)
    }

    /// Where the tape is.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Whether it moves by itself.
    pub fn playing(&self) -> bool {
        self.playing
    }

    /// How many times faster than it happened.
    pub fn speed(&self) -> f64 {
        SPEEDS[self.speed]
    }

    /// Everything on the tape.
    pub fn records(&self) -> &Arc<[Record]> {
        &self.records
    }

    /// Records up to here.
    pub fn played(&self) -> usize {
        self.times.partition_point(|time| *time <= self.at)
    }

    /// What is marked.
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// How far along the tape a record is: 0 to 1.
    pub fn share(&self, record: usize) -> f64 {
        self.share_of(self.times.get(record).copied().unwrap_or_else(|| self.end()))
    }

    /// How far along the tape a moment is: 0 to 1.
    pub fn share_of(&self, at: Timestamp) -> f64 {
        let whole = self.end().duration_since(self.begin()).as_secs_f64();
        let part = at.duration_since(self.begin()).as_secs_f64();
        if whole <= 0.0 { 1.0 } else { (part / whole).clamp(0.0, 1.0) }
    }

    /// The real clock shows `now`: the tape moves on with it. Whether it moved.
    pub fn tick(&mut self, now: Timestamp) -> bool {
        let last = self.last.replace(now).unwrap_or(now);
        if !self.playing {
            return false;
        }
        let gone = now.duration_since(last).as_secs_f64().clamp(0.0, 5.0) * self.speed();
        self.seek_by(gone);
        // Whoever comes to the end stays there.
        self.playing = self.at < self.end();
        true
    }

    /// Plays or stops; at the end it begins anew.
    pub fn toggle(&mut self) {
        if !self.playing && self.at >= self.end() {
            self.at = self.begin();
        }
        self.playing = !self.playing;
    }

    /// Faster or slower by one step.
    pub fn shift(&mut self, by: isize) {
        self.speed = self.speed.saturating_add_signed(by).min(SPEEDS.len() - 1);
    }

    /// To a moment, within the tape.
    pub fn seek(&mut self, to: Timestamp) {
        self.at = to.clamp(self.begin(), self.end());
    }

    /// On or back by so many seconds.
    pub fn seek_by(&mut self, seconds: f64) {
        let by = SignedDuration::try_from_secs_f64(seconds).unwrap_or(SignedDuration::ZERO);
        let to = self.at.checked_add(by).unwrap_or(if seconds < 0.0 { self.begin() } else { self.end() });
        self.seek(to);
    }

    /// To a share of the tape: 0 to 1.
    pub fn seek_share(&mut self, share: f64) {
        let whole = self.end().duration_since(self.begin()).as_secs_f64();
        self.at = self.begin();
        self.seek_by(whole * share.clamp(0.0, 1.0));
    }

    /// To the next or the last event of another moment; stops.
    pub fn step(&mut self, on: bool) {
        self.playing = false;
        let played = self.played();
        let to = match on {
            true => self.times.get(played),
            // The last one played is where we are, or behind us; the one of the moment before it is wanted.
            false => {
                let here = played.checked_sub(1).and_then(|i| self.times.get(i)).filter(|time| **time >= self.at);
                let before = here.map_or(played, |here| self.times.partition_point(|time| time < here));
                before.checked_sub(1).and_then(|i| self.times.get(i))
            }
        };
        let edge = if on { self.end() } else { self.begin() };
        self.at = to.copied().unwrap_or(edge);
    }

    /// To the next or the last mark of a kind, and stops there. Whether there was one.
    pub fn jump(&mut self, kind: MarkKind, on: bool) -> bool {
        let time = |mark: &Mark| self.times.get(mark.record).copied();
        let mut times = self.marks.iter().filter(|mark| mark.kind == kind).filter_map(time);
        let to = if on { times.find(|t| *t > self.at) } else { times.rfind(|t| *t < self.at) };
        if let Some(to) = to {
            (self.at, self.playing) = (to, false);
        }
        to.is_some()
    }
}

fn mark(plan: &Plan, event: &Event) -> Option<MarkKind> {
    match event {
        Event::PhaseBegun { .. } => Some(MarkKind::Wave),
        Event::WaveBegun { phase, .. } => {
            let workers = plan.phases.get(*phase).is_some_and(|p| p.kind.of_workers());
            workers.then_some(MarkKind::Wave)
        }
        Event::Paused { .. } => Some(MarkKind::Pause),
        Event::SwapRolledBack { .. }
        | Event::SwapFailed { .. }
        | Event::PullFailed { .. }
        | Event::PodsDisturbed { .. } => Some(MarkKind::Failure),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn plan() -> Plan {
        crate::tui::fixtures::plan()
    }

    /// Events at 0, 10, 10, 30 and, by a clock that was put back, at 30 again; the third is a failure.
    fn tape() -> Player {
        let calm = || Event::EngineStarted { pid: 1, host: "h".into(), resumed: false };
        let failed = Event::PullFailed { node: "n1".parse().unwrap(), image: "a:1".parse().unwrap(), why: "x".into() };
        let events = [(0, calm()), (10, calm()), (10, failed), (30, calm()), (20, calm())];
        let record = |(i, (s, event))| Record { seq: i as u64, at: at(s), prev: String::new(), event };
        Player::new(&plan(), events.into_iter().enumerate().map(record).collect(), 1.0).unwrap()
    }

    #[test]
    fn it_plays_at_its_speed_and_stops_at_the_end() {
        let mut tape = tape();
        assert!(tape.tick(at(1_000)) && tape.at() == at(0), "the first tick only starts the clock");
        tape.tick(at(1_004));
        assert_eq!((tape.at(), tape.played()), (at(4), 1));
        tape.shift(1);
        tape.tick(at(1_007));
        assert_eq!((tape.speed(), tape.at(), tape.played()), (2.0, at(10), 3));
        tape.toggle();
        assert!(!tape.tick(at(1_009)) && tape.at() == at(10), "stopped");
        tape.toggle();
        for s in 1_010..1_030 {
            tape.tick(at(s));
        }
        assert_eq!((tape.at(), tape.played(), tape.playing()), (at(30), 5, false));
        tape.toggle();
        assert_eq!((tape.at(), tape.playing()), (at(0), true), "and anew");
    }

    #[test]
    fn it_steps_from_moment_to_moment_and_jumps_to_failures() {
        let mut tape = tape();
        let mut places = Vec::new();
        for on in [true, true, true, false, false, false] {
            tape.step(on);
            places.push((tape.at(), tape.played()));
        }
        let of = |s: i64, n: usize| (at(s), n);
        assert_eq!(places, [of(10, 3), of(30, 5), of(30, 5), of(10, 3), of(0, 1), of(0, 1)]);
        assert!(tape.jump(MarkKind::Failure, true) && tape.at() == at(10));
        assert!(!tape.jump(MarkKind::Failure, true) && !tape.jump(MarkKind::Pause, false));
        tape.seek_share(0.5);
        assert_eq!(tape.at(), at(15));
        tape.step(false);
        assert_eq!(tape.at(), at(10), "between two moments, back is to the one before");
        tape.seek(at(99));
        assert_eq!((tape.at(), tape.share_of(tape.at())), (at(30), 1.0));
    }

    #[test]
    fn the_nearest_speed_is_taken_and_an_empty_tape_is_none() {
        assert!(Player::new(&plan(), Vec::new(), 1.0).is_none());
        for (wanted, speed) in [(0.0, 0.25), (1.0, 1.0), (16.0, 20.0), (1e9, 200.0), (f64::NAN, 0.25)] {
            let records = tape().records().to_vec();
            assert_eq!(Player::new(&plan(), records, wanted).unwrap().speed(), speed, "{wanted}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_tape_never_leaves_its_ends(moves in proptest::collection::vec((0_u8..8, -1e12_f64..1e12), 0..40)) {
            let mut tape = tape();
            let mut clock = 0_i64;
            for (kind, by) in moves {
                match kind {
                    0 => { clock += 1; tape.tick(at(clock)); }
                    1 => tape.toggle(),
                    2 => tape.shift(if by < 0.0 { -1 } else { 1 }),
                    3 => tape.seek_by(by),
                    4 => tape.seek_share(by),
                    5 => tape.step(by < 0.0),
                    6 => { tape.jump(MarkKind::Failure, by < 0.0); }
                    _ => tape.seek(at((by / 1e6) as i64)),
                }
                proptest::prop_assert!(tape.at() >= tape.begin() && tape.at() <= tape.end());
                proptest::prop_assert!((1..=5).contains(&tape.played()));
            }
        }
    }
}
