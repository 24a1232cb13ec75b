//! The way to the new containers: stepping in, one stop and one start after the other, the wait for a verdict, the commit.

use super::super::machine::{Env, Machine, refuse};
use super::{At, Holder, LOOK_MS, REMOVE_MS, Record, Tx};
use crate::journal::{Step, Verdict};
use crate::remote::TxEnd;

impl Tx {
    /// Puts every new container into its name beside the running old one; costs no downtime.
    pub(super) fn step_in(&mut self, machine: &mut Machine) {
        for (i, name) in self.containers.clone().into_iter().enumerate() {
            let (Ok(old), Ok(new)) = (machine.find(name.as_str()), machine.find(&name.next())) else {
                let missing = if machine.find(name.as_str()).is_ok() { name.next() } else { name.to_string() };
                return self.fail(&format!("{name} cannot be swapped: no such object: {missing}"));
            };
            let all = &machine.containers;
            let policy = all[old].restart_policy();
            self.records[i] = Some(Record { old: all[old].id.clone(), new: all[new].id.clone(), policy });
        }
        for (i, name) in self.containers.clone().into_iter().enumerate() {
            let Some(record) = self.records[i].clone() else { continue };
            let renamed = machine.find(&record.old).and_then(|old| {
                machine.rename(old, &name.prev())?;
                let new = machine.find(&record.new)?;
                machine.rename(new, name.as_str())
            });
            if let Err(e) = renamed {
                return self.fail(&format!("{name} could not be renamed: {}", e.message));
            }
        }
        self.at = At::Stop(0);
    }

    pub(super) fn stop_old(&mut self, i: usize, machine: &mut Machine, env: &mut Env<'_>) {
        let now = self.due;
        if self.verdict.is_some() {
            self.at = At::Finish;
            return;
        }
        if !self.is_ours(machine, i) {
            return self.fail(&format!("{} is not what this swap put there any more", self.containers[i]));
        }
        if self.until.is_none() && !machine.admits(&self.fence, now, env) {
            return self.fail("the run lock ran out before anything was stopped");
        }
        self.step(machine.uptime_ms(now), Step::Stopping, Some(i));
        let until = *self.until.get_or_insert(now.saturating_add(self.deadline_ms));
        if now >= until {
            return self.fail("the deadline passed before all were started");
        }
        let Some(at) = self.find(machine, i, |r| &r.old) else {
            return self.fail(&format!("{} did not stop: it is gone", self.containers[i]));
        };
        self.due = machine.stop(at, self.stop_timeout_s, now, env).unwrap_or(now);
        self.at = At::Stopped(i);
    }

    pub(super) fn start_new(&mut self, i: usize, machine: &mut Machine, env: &mut Env<'_>) {
        let now = self.due;
        self.step(machine.uptime_ms(now), Step::Stopped, Some(i));
        if self.until.is_some_and(|until| now >= until) {
            return self.fail("the deadline passed before all were started");
        }
        let gone = || refuse(404, "it is gone");
        match self.find(machine, i, |r| &r.new).ok_or_else(gone).and_then(|at| machine.start(at, now, env)) {
            Ok(until) => {
                self.due = until.unwrap_or(now);
                self.at = At::Started(i);
            }
            Err(e) => self.fail(&format!("the new {} did not start: {}", self.containers[i], e.message)),
        }
    }

    pub(super) fn next_look(&self, now: i64) -> i64 {
        self.until.unwrap_or(now).min(now + LOOK_MS).max(now)
    }

    /// Nobody has decided: the deadline does, or another hand.
    pub(super) fn wait(&mut self, machine: &Machine) {
        let now = self.due;
        if self.verdict.is_none() && self.until.is_none_or(|until| now >= until) {
            self.verdict = Some(Verdict::Rollback);
            self.because("the deadline passed without a verdict");
        }
        if self.verdict.is_none()
            && machine.docker_up(now)
            && let Some(i) = self.not_ours(machine)
        {
            self.verdict = Some(Verdict::Rollback);
            self.because(&format!("{} is not what this swap put there any more", self.containers[i]));
        }
        if self.verdict.is_some() {
            self.at = At::Finish;
        } else {
            self.due = self.next_look(now);
        }
    }

    /// Carries a commit out for one container.
    pub(super) fn keep_new(&mut self, i: usize, machine: &mut Machine) {
        let uptime = machine.uptime_ms(self.due);
        let removed = self.steps.iter().any(|s| s.step == Step::Removed && s.container == self.containers[i].as_str());
        if !removed && self.records[i].is_some() {
            let new = self.find(machine, i, |r| &r.new);
            match (self.holder(machine, i), new) {
                (Holder::New, _) => {}
                // Its name alone was taken away.
                (Holder::Nobody, Some(at)) => machine.containers[at].name = self.containers[i].to_string(),
                (Holder::Foreign, _) => {
                    self.at = At::GiveWay(i);
                    return;
                }
                (Holder::Old, _) | (Holder::Nobody, None) => {
                    self.take(i);
                    self.at = At::Restore(i);
                    return;
                }
            }
        }
        if let Some(at) = self.find(machine, i, |r| &r.old) {
            machine.containers.remove(at);
            self.step(uptime, Step::Removed, Some(i));
        }
        self.due += REMOVE_MS;
        self.after_commit(i, machine);
    }

    /// The next container of a commit, or the end.
    pub(super) fn after_commit(&mut self, i: usize, machine: &Machine) {
        match i + 1 < self.containers.len() {
            true => self.at = At::Commit(i + 1),
            false => self.end_as(machine, TxEnd::Committed),
        }
    }
}
