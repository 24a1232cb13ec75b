//! How a run's swaps stand, counted once for every picture between two events.

use super::app::App;
use crate::fleet::RunId;
use crate::journal::{Run, SwapState};
use std::rc::Rc;

/// Swaps by their state; indices point into the run.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Committed.
    pub committed: usize,
    /// Under way.
    pub flying: Vec<usize>,
    /// Back on the old version.
    pub back: Vec<usize>,
    /// Failed.
    pub failed: Vec<usize>,
    /// Left as they are by decision.
    pub skipped: Vec<usize>,
}

/// Of a run after so many events.
pub type Kept = ((Option<RunId>, u64), Rc<Tally>);

impl Tally {
    /// The tally of the run that the cockpit shows.
    pub fn of(app: &App, run: &Run) -> Rc<Tally> {
        let key = (run.id.clone(), run.events);
        let mut kept = app.tally.borrow_mut();
        match kept.as_ref().filter(|(of, _)| *of == key) {
            Some((_, tally)) => Rc::clone(tally),
            None => {
                let tally = Rc::new(Tally::count(run));
                *kept = Some((key, Rc::clone(&tally)));
                tally
            }
        }
    }

    /// Looks at every swap.
    pub fn count(run: &Run) -> Tally {
        let mut tally = Tally::default();
        for (i, swap) in run.swaps.iter().enumerate() {
            match swap.state {
                SwapState::Committed => tally.committed += 1,
                SwapState::RolledBack => tally.back.push(i),
                SwapState::Failed => tally.failed.push(i),
                SwapState::Skipped => tally.skipped.push(i),
                state if state.open() => tally.flying.push(i),
                _ => {}
            }
        }
        tally
    }
}
