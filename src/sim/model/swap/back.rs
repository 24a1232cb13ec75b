//! The way back to the old containers: the new one is stopped, the old one started, and the new one cleared away.

use super::super::container::State;
use super::super::machine::{Env, Machine};
use super::{At, Holder, RETRY_MS, Tx};
use crate::journal::Step;
use crate::remote::TxEnd;

impl Tx {
    pub(super) fn stop_new(&mut self, i: usize, machine: &mut Machine, env: &mut Env<'_>) {
        let now = self.due;
        self.step(machine.uptime_ms(now), Step::Restoring, Some(i));
        let holder = self.holder(machine, i);
        if holder == Holder::Foreign {
            self.at = At::GiveWay(i);
            return;
        }
        if self.records[i].is_some() && self.find(machine, i, |r| &r.old).is_none() {
            // Whoever removed it may be about to make another.
            if holder == Holder::Nobody && self.grace(i) {
                self.due = now + RETRY_MS;
                return;
            }
            // What is left is all there is: it is not taken away too, and nobody is told that this were the old state.
            self.lost(&format!("the old container of {} is gone, so the node cannot go back", self.containers[i]));
            self.after(i, machine);
            return;
        }
        if let Some(at) = self.find(machine, i, |r| &r.new) {
            self.due = machine.stop(at, self.stop_timeout_s, now, env).unwrap_or(now);
        }
        self.at = At::PutBack(i);
    }

    pub(super) fn start_old(&mut self, i: usize, machine: &mut Machine, env: &mut Env<'_>) {
        let now = self.due;
        if let Some(at) = self.find(machine, i, |r| &r.old) {
            if let State::Stopping { until } = machine.containers[at].state {
                // Its stop is still under way: it comes to its end first.
                self.due = until.max(now + 1);
                return;
            }
            if let Ok(Some(until)) = machine.start(at, now, env) {
                self.due = until;
            }
        }
        self.at = At::Restored(i);
    }

    pub(super) fn clear_new(&mut self, i: usize, machine: &mut Machine) {
        let name = self.containers[i].clone();
        let new = self.find(machine, i, |r| &r.new).or_else(|| machine.find(&name.next()).ok());
        if let Some(at) = new {
            machine.containers.remove(at);
        }
        if let (Some(at), Some(record)) = (self.find(machine, i, |r| &r.old), &self.records[i]) {
            let old = &mut machine.containers[at];
            old.name = name.to_string();
            old.set_restart_policy(record.policy.clone());
        }
    }

    /// The next container to put back, or the end.
    pub(super) fn after_restore(&mut self, i: usize, machine: &Machine) {
        match i {
            0 => self.end_as(machine, TxEnd::RolledBack),
            _ => self.at = At::Restore(i - 1),
        }
    }
}
