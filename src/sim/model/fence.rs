//! The node's side of the run lock: which tokens it has seen, and when a request comes too late.

use super::machine::{Env, Machine};
use super::swap::Reply;
use crate::fleet::{FenceToken, RunId};
use crate::remote::Fence;
use crate::remote::script::{FENCED, write_fenced};
use std::collections::BTreeSet;

/// The tokens that a node has seen, with their runs; older ones are removed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fences(BTreeSet<(FenceToken, RunId)>);

impl Fences {
    /// A token that outranks this one: a higher one, or the same of another run.
    fn outranks(&self, fence: &Fence) -> Option<FenceToken> {
        let newer =
            |(token, run): &&(FenceToken, RunId)| *token > fence.token || (*token == fence.token && *run != fence.run);
        self.0.iter().rev().find(newer).map(|(token, _)| *token)
    }

    fn show(&mut self, fence: &Fence) {
        self.0.insert((fence.token, fence.run.clone()));
    }
}

impl Machine {
    /// The uptime as clients are told it and fences state it. At any speed of the simulation it goes as fast as the clients' own
    /// clocks, as a real node's does.
    pub(super) fn told_uptime_ms(&self, now: i64, env: &Env<'_>) -> u64 {
        (self.uptime_ms(now) as f64 / env.scenario.speed) as u64
    }

    /// Whether this right still stands.
    pub(super) fn admits(&self, fence: &Fence, now: i64, env: &Env<'_>) -> bool {
        self.told_uptime_ms(now, env) <= fence.until_ms && self.fences.outranks(fence).is_none()
    }

    /// Refuses what comes without the run lock, as the script does; none where it may.
    pub(super) fn refuse_fenced(&mut self, fence: &Fence, now: i64, env: &Env<'_>) -> Option<Reply> {
        self.fences.show(fence);
        let newer = self.fences.outranks(fence);
        let uptime = self.told_uptime_ms(now, env);
        if newer.is_none() && uptime <= fence.until_ms {
            self.fences.0.retain(|(token, _)| *token >= fence.token);
            return None;
        }
        let why = match newer {
            Some(token) => format!("the run lock has gone to another: {token} was here after {}", fence.token),
            None => format!("the run lock of {} was sure until uptime {} ms only", fence.run, fence.until_ms),
        };
        let err = format!("sonoba swap: {why}; nothing was changed\n");
        Some(Reply { status: FENCED, out: write_fenced(newer, uptime), err })
    }
}
