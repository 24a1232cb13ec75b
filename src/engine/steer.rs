//! What the engine is to do, as far as it is not in the fold: what operators commanded, and what makes it pause by itself.
//!
//! A command takes effect when it is appended to the journal, not when the task that took it goes on: that task may end at any
//! moment (its peer hangs up, or has to make room for another), and what is journaled must happen all the same.

use crate::journal::{Event, PauseReason, Verb};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// What the engine has been told to do; the conductor and the swaps in flight look at it between their steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// Go on.
    Run,
    /// Start nothing new.
    Pause,
    /// Start nothing new, and end the process once nothing is in flight (SIGTERM).
    Leave,
    /// Start nothing new, roll back what is not committed, end the run.
    Abort,
}

/// The wish, and why the engine stands still where no operator told it to.
#[derive(Debug)]
pub(super) struct Steer {
    pub(super) wish: watch::Sender<Wish>,
    causes: Mutex<Causes>,
}

#[derive(Debug, Default)]
struct Causes {
    /// Why the engine cannot go on by itself, where there is such a thing (its credentials are refused); until an operator resumes.
    trouble: Option<String>,
    /// The gate that did not hold in its time, in words; until an operator resumes.
    stalled: Option<String>,
    /// Who paused last.
    pauser: String,
}

impl Steer {
    pub(super) fn new() -> Steer {
        Steer { wish: watch::Sender::new(Wish::Run), causes: Mutex::default() }
    }

    /// Follows a record that was just appended. To be called once for each, in their order, and with no lock held that
    /// whoever waits for a wish may take.
    pub(super) fn follow(&self, event: &Event) {
        let Event::Command { verb, by } = event else { return };
        let wish = match verb {
            Verb::Pause => {
                self.causes().pauser.clone_from(by);
                Some(Wish::Pause)
            }
            Verb::Resume => {
                let mut causes = self.causes();
                (causes.trouble, causes.stalled) = (None, None);
                Some(Wish::Run)
            }
            Verb::Abort => Some(Wish::Abort),
            // The others change no wish; whoever waits looks at the run again.
            _ => None,
        };
        self.wish.send_modify(|now| match wish {
            Some(wish) if *now != Wish::Leave => *now = wish,
            _ => {}
        });
    }

    /// A gate did not hold in its time: the run pauses at its next checkpoint.
    pub(super) fn stall(&self, why: String) {
        self.causes().stalled = Some(why);
    }

    /// The gate that did not hold in its time.
    pub(super) fn stalled(&self) -> Option<(PauseReason, String)> {
        self.causes().stalled.clone().map(|why| (PauseReason::Gate, why))
    }

    /// Notes trouble that must pause the run.
    pub(super) fn trouble(&self, why: String) {
        self.causes().trouble = Some(why);
        // Wakes whoever waits, so that the pause is seen.
        self.wish.send_modify(|_| ());
    }

    /// What was noted so.
    pub(super) fn in_trouble(&self) -> Option<(PauseReason, String)> {
        self.causes().trouble.clone().map(|why| (PauseReason::Trouble, why))
    }

    /// Who paused last; empty where nobody did.
    pub(super) fn pauser(&self) -> String {
        self.causes().pauser.clone()
    }

    fn causes(&self) -> MutexGuard<'_, Causes> {
        self.causes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
