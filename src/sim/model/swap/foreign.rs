//! Another hand on the containers of a swap: who has their names, and how the swap gives way.

use super::super::machine::{Env, Machine};
use super::{At, GRACE_MS, Holder, REMOVE_MS, RETRY_MS, Tx, no_policy, runs};
use crate::journal::Step;

impl Tx {
    /// Who has a container's name.
    pub(super) fn holder(&self, machine: &Machine, i: usize) -> Holder {
        let name = self.containers[i].as_str();
        let Some(found) = machine.containers.iter().find(|c| c.name == name) else { return Holder::Nobody };
        match &self.records[i] {
            Some(r) if found.id == r.new => Holder::New,
            Some(r) if found.id != r.old => Holder::Foreign,
            _ => Holder::Old,
        }
    }

    /// The first container whose name is not that of its new one any more. An old one that is gone speaks for the new one.
    pub(super) fn not_ours(&self, machine: &Machine) -> Option<usize> {
        (0..self.containers.len()).find(|&i| self.holder(machine, i) != Holder::New)
    }

    pub(super) fn is_ours(&self, machine: &Machine, i: usize) -> bool {
        self.holder(machine, i) == Holder::New && self.find(machine, i, |r| &r.old).is_some()
    }

    /// Whether another still has time to finish what it does to a container. Each has it once.
    pub(super) fn grace(&mut self, i: usize) -> bool {
        match self.graced {
            Some((of, until)) if of == i => self.due < until,
            _ => {
                self.graced = Some((i, self.due + GRACE_MS));
                true
            }
        }
    }

    pub(super) fn take(&mut self, i: usize) {
        if !self.taken.contains(&i) {
            self.taken.push(i);
        }
    }

    /// Leaves a name to what something else made under it; see the script.
    pub(super) fn give_way(&mut self, i: usize, machine: &mut Machine, env: &mut Env<'_>) {
        let (now, name) = (self.due, self.containers[i].to_string());
        self.take(i);
        if self.holder(machine, i) != Holder::Foreign {
            self.at = At::Restore(i);
            return;
        }
        let here = machine.containers.iter().find(|c| c.name == name);
        let (old, new) = (self.find(machine, i, |r| &r.old), self.find(machine, i, |r| &r.new));
        let ours = |at: Option<usize>, machine: &Machine| at.is_some_and(|at| runs(&machine.containers[at]));
        if here.is_some_and(runs) {
            if let Some(at) = old {
                machine.containers[at].set_restart_policy(no_policy());
            }
            // Both are told to stop, and the end is when they have.
            let until =
                [old, new].into_iter().flatten().filter_map(|at| machine.stop(at, self.stop_timeout_s, now, env));
            let until = until.max();
            if let Some(until) = until.filter(|until| *until > now) {
                self.due = until;
                return;
            }
            if let Some(at) = new {
                machine.containers.remove(at);
            }
            self.due = now + REMOVE_MS;
            self.after(i, machine);
            return;
        }
        if self.grace(i) {
            if ours(new, machine) {
                // Perhaps it cannot run because ours does.
                new.and_then(|at| machine.stop(at, self.stop_timeout_s, now, env));
            }
            self.due = now + RETRY_MS;
            return;
        }
        let policy = self.records[i].as_ref().map(|r| r.policy.clone());
        let (which, serves) = if old.is_some() { ("old", old) } else { ("new", new) };
        match serves {
            Some(at) => {
                if machine.start(at, now, env).is_err() {
                    self.due = now + RETRY_MS;
                    return;
                }
                machine.containers[at].set_restart_policy(policy.unwrap_or_else(no_policy));
                if which == "old" {
                    self.step(machine.uptime_ms(now), Step::Restored, Some(i));
                    if let Some(at) = self.find(machine, i, |r| &r.new) {
                        machine.containers.remove(at);
                    }
                }
                self.add_why(&format!("the {which} {name} runs beside it"));
            }
            None => self.lost(&format!("the old container of {name} is gone, so the node cannot go back")),
        }
        self.due = now + REMOVE_MS;
        self.after(i, machine);
    }
}
