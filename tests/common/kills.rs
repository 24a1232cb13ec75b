//! An engine killed at random moments of one run and resumed each time, and what must be true of the journal afterwards.

use super::process::{kill, lives};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sonoba::fleet::{Component, SwapId};
use sonoba::journal::{Chain, Event, Follower, Record, Run, RunState, Step, SwapState, read};
use sonoba::plan::Plan;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Without a record for this long, the run hangs.
const SILENCE: Duration = Duration::from_secs(300);
/// How long after each look at the journal the next one comes.
const GLANCE: Duration = Duration::from_millis(3);
/// A node that was alone for too long rolls itself back, and the run asks whether to go on. More than this is no chance.
const PAUSES: usize = 5;
/// How far a run is, in points: a swap through all its steps is worth so many, and of pulls it takes as many.
const POINTS: u64 = 8;

/// What the kills hit.
#[derive(Debug, Default)]
pub struct Told {
    /// Engines that were killed.
    pub kills: usize,
    /// Of these, so many while a node had been told to swap and had no result yet.
    pub amid_swaps: usize,
    /// Nodes that were on their own then, in all.
    pub swaps_hit: usize,
    /// Of these, so many between the stop of the old and the commit.
    pub critical: usize,
    /// Pauses that a spent budget brought, after a node had helped itself; resumed each time.
    pub pauses: usize,
    /// How long it all took.
    pub took: Duration,
}

/// The seed of this test's dice: `SONOBA_SEED`, else another each time. Said aloud, so that it can be replayed.
pub fn seed() -> u64 {
    let seed = match std::env::var("SONOBA_SEED") {
        Ok(text) => text.parse().expect("SONOBA_SEED is a number"),
        Err(_) => rand::random_range(0..1_000_000),
    };
    println!("SONOBA_SEED={seed} throws the same dice again");
    seed
}

/// A run that is followed from its folder.
struct Followed<'a> {
    dir: &'a Path,
    resume: &'a dyn Fn(),
    pauses: usize,
    follower: Follower,
    run: Run,
    /// Engines in turn.
    engines: Vec<u32>,
    heard: Instant,
}

impl Followed<'_> {
    fn drain(&mut self) {
        while let Some(record) = self.follower.try_next() {
            self.run.apply(&record);
            self.heard = Instant::now();
            if let Event::EngineStarted { pid, .. } = record.event {
                self.engines.push(pid);
            }
        }
    }

    fn wait(&mut self, what: &str, holds: impl Fn(&Followed<'_>) -> bool) {
        loop {
            self.drain();
            if holds(self) {
                return;
            }
            let silent = self.heard.elapsed();
            let state = (self.run.state, &self.run.why, self.run.events);
            assert!(silent < SILENCE, "never {what}: nothing happened for {silent:?}; {state:?}{}", self.last_words());
            if matches!(self.run.state, RunState::Paused(_)) {
                self.pauses += 1;
                assert!(self.pauses <= PAUSES, "never {what}: {state:?}");
                (self.resume)();
                let paused = self.run.events;
                while self.run.events == paused && self.heard.elapsed() < SILENCE {
                    std::thread::sleep(GLANCE);
                    self.drain();
                }
            }
            std::thread::sleep(GLANCE);
        }
    }

    /// The ends of the journal and of the engine's log, for a test that failed.
    fn last_words(&self) -> String {
        let tail = |file: &str| {
            let text = std::fs::read_to_string(self.dir.join(file)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let from = lines.len().saturating_sub(25);
            lines[from..].iter().map(|l| l.chars().take(300).collect::<String>() + "\n").collect::<String>()
        };
        format!("\njournal:\n{}engine.log:\n{}", tail("journal.jsonl"), tail("engine.log"))
    }

    /// How far it is. Grows with every step of a node, so that a moment is a moment on a slow machine too.
    fn points(&self) -> u64 {
        let swaps: u64 = self
            .run
            .swaps
            .iter()
            .map(|s| match (s.state, s.step) {
                (SwapState::Waiting, _) => 0,
                (SwapState::Preparing, _) => 1,
                (SwapState::InFlight, None) => 2,
                (SwapState::InFlight, Some((Step::Begun | Step::Stopping, _))) => 3,
                (SwapState::InFlight, Some((Step::Stopped, _))) => 4,
                (SwapState::InFlight, Some((Step::Started, _))) => 5,
                (SwapState::InFlight, Some(_)) => 6,
                (SwapState::Ending(_), _) => 7,
                _ => POINTS,
            })
            .sum();
        swaps + self.run.pulls.len() as u64 / POINTS
    }
}

/// Kills the engines of a run that has begun at `kills` moments spread over it by the seed, resumes it each time, and follows
/// it to its end.
pub fn kill_at_random_moments(run_dir: &Path, kills: usize, seed: u64, resume: impl Fn()) -> Told {
    let mut dice = StdRng::seed_from_u64(seed);
    let plan: Plan = serde_json::from_slice(&std::fs::read(run_dir.join("plan.json")).unwrap()).unwrap();
    let pulls: usize = plan.phases.iter().flat_map(|p| &p.pulls).map(|p| p.images.len()).sum();
    let all = plan.swaps().count() as u64 * POINTS + pulls as u64 / POINTS;
    // Not the very last: the run must not end between the moment and the kill.
    let mut moments: Vec<u64> = (0..kills).map(|_| dice.random_range(1..all - 2 * POINTS)).collect();
    moments.sort_unstable();
    let begun = Instant::now();
    let mut told = Told::default();
    let mut followed = Followed {
        dir: run_dir,
        resume: &resume,
        pauses: 0,
        follower: Follower::open(&run_dir.join("journal.jsonl")),
        run: Run::new(Arc::new(plan)),
        engines: Vec::new(),
        heard: begun,
    };
    for moment in moments {
        let engines = told.kills + 1;
        followed.wait("an engine at the next moment", |f| f.engines.len() == engines && f.points() >= moment);
        std::thread::sleep(Duration::from_micros(dice.random_range(0..120_000)));
        let engine = followed.engines[told.kills];
        assert!(lives(engine), "engine {engine} died by itself");
        kill(engine);
        followed.drain();
        assert!(followed.run.ended().is_none(), "the run ended before its last kill");
        let open: Vec<_> = followed.run.swaps.iter().filter(|s| s.state.open() && s.tx.is_some()).collect();
        told.kills += 1;
        told.amid_swaps += usize::from(!open.is_empty());
        told.swaps_hit += open.len();
        told.critical += open.iter().filter(|s| s.stopping_at.is_some()).count();
        resume();
    }
    followed.wait("an end", |f| f.run.ended().is_some());
    told.pauses = followed.pauses;
    told.took = begun.elapsed();
    told
}

/// The journal's side of "exactly once": its chain is whole, every swap of the plan has one commit, and no component was
/// stopped more often than its tries.
pub fn each_swap_once(run_dir: &Path) {
    let journal = read(&run_dir.join("journal.jsonl")).unwrap();
    assert_eq!((journal.chain, journal.torn), (Chain::Ok, false));
    let plan: Plan = serde_json::from_slice(&std::fs::read(run_dir.join("plan.json")).unwrap()).unwrap();
    let count = |wanted: &dyn Fn(&Event) -> Option<SwapId>| {
        let mut by_swap: BTreeMap<SwapId, usize> = BTreeMap::new();
        for id in journal.records.iter().filter_map(|Record { event, .. }| wanted(event)) {
            *by_swap.entry(id).or_default() += 1;
        }
        by_swap
    };
    let commits = count(&|e| if let Event::SwapCommitted { swap, .. } = e { Some(swap.clone()) } else { None });
    let backs = count(&|e| if let Event::SwapRolledBack { swap, .. } = e { Some(swap.clone()) } else { None });
    let mut stops: BTreeMap<(SwapId, Option<Component>), usize> = BTreeMap::new();
    for Record { event, .. } in &journal.records {
        if let Event::SwapStep { swap, component, step: Step::Stopping, .. } = event {
            *stops.entry((swap.clone(), *component)).or_default() += 1;
        }
    }
    for (_, _, swap) in plan.swaps() {
        assert_eq!(commits.get(&swap.id), Some(&1), "{} on {} is committed once", swap.id, swap.node);
        let tries = 1 + backs.get(&swap.id).copied().unwrap_or(0);
        for change in &swap.changes {
            let stopped = stops.get(&(swap.id.clone(), Some(change.component))).copied();
            assert!(
                stopped.is_some_and(|n| (1..=tries).contains(&n)),
                "{} of {} on {} was stopped {stopped:?} times in {tries} tries",
                change.component,
                swap.id,
                swap.node
            );
        }
    }
    assert_eq!(commits.len(), plan.swaps().count(), "nothing is committed that was not planned");
}
