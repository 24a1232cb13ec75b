//! How a run's swaps stand.

use super::app::App;
use crate::journal::{Run, SwapState, SwapView};
use std::rc::Rc;

/// Swaps by their state; indices point into the run.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// In all.
    pub all: Counts,
    /// Under way.
    pub flying: Vec<usize>,
    /// Back on the old version.
    pub back: Vec<usize>,
    /// Failed.
    pub failed: Vec<usize>,
    /// Committed, and not what was committed any more.
    pub drifted: Vec<usize>,
    /// Left as they are by decision.
    pub skipped: Vec<usize>,
    /// Of each wave of each phase.
    waves: Vec<Vec<Counts>>,
}

/// How many swaps stand how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Committed.
    pub done: usize,
    /// Back on the old version.
    pub back: usize,
    /// Failed, or drifted.
    pub failed: usize,
    /// In all.
    pub total: usize,
}

impl Counts {
    fn add(&mut self, state: SwapState) {
        self.done += usize::from(state == SwapState::Committed);
        self.back += usize::from(state == SwapState::RolledBack);
        self.failed += usize::from(matches!(state, SwapState::Failed | SwapState::Drifted));
        self.total += 1;
    }
}

impl Tally {
    /// The tally of the run that the cockpit shows.
    pub fn of(app: &App, run: &Run) -> Rc<Tally> {
        app.tally.of(run, || Tally::count(run))
    }

    /// Looks at every swap.
    pub fn count(run: &Run) -> Tally {
        let waves = run.plan.phases.iter().map(|phase| vec![Counts::default(); phase.waves.len()]);
        let mut tally = Tally { waves: waves.collect(), ..Tally::default() };
        for (i, swap) in run.swaps.iter().enumerate() {
            let state = run.standing(swap);
            tally.all.add(state);
            if let Some(counts) = tally.waves.get_mut(swap.phase).and_then(|p| p.get_mut(swap.wave)) {
                counts.add(state);
            }
            match state {
                SwapState::RolledBack => tally.back.push(i),
                SwapState::Failed => tally.failed.push(i),
                SwapState::Drifted => tally.drifted.push(i),
                SwapState::Skipped => tally.skipped.push(i),
                state if state.open() => tally.flying.push(i),
                _ => {}
            }
        }
        tally
    }

    /// Of one wave.
    pub fn wave(&self, phase: usize, wave: usize) -> Counts {
        self.waves.get(phase).and_then(|waves| waves.get(wave)).copied().unwrap_or_default()
    }

    /// Of one phase.
    pub fn phase(&self, phase: usize) -> Counts {
        let waves = self.waves.get(phase).into_iter().flatten();
        waves.fold(Counts::default(), |a, b| Counts {
            done: a.done + b.done,
            back: a.back + b.back,
            failed: a.failed + b.failed,
            total: a.total + b.total,
        })
    }
}

/// The swaps that these indices point to.
pub fn pick<'a>(run: &'a Run, swaps: &[usize]) -> Vec<&'a SwapView> {
    swaps.iter().filter_map(|i| run.swaps.get(*i)).collect()
}
