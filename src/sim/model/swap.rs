//! The swap script's transaction, as the node itself carries it out: step by step on the simulated clock, with the
//! dead-man's switch. Whatever happens, a transaction that has ended leaves its containers all new or all old.

use super::container::{Container, State};
use super::machine::{Env, Machine, refuse};
use crate::fleet::ContainerName;
use crate::journal::{Step, Verdict};
use crate::remote::script::{Request, verdict_word, write_state};
use crate::remote::{TxEnd, TxId, TxState, TxStep};
use serde_json::{Value, json};

/// The runner's own pace: what it takes to rename a container, to remove one, to notice a verdict. Milliseconds.
const RENAME_MS: i64 = 60;
const REMOVE_MS: i64 = 40;
const NAP_MS: i64 = 50;
const RETRY_MS: i64 = 1_000;
/// As in the script: how often the names are looked at while the verdict is waited for, and how long another hand may take
/// to finish what it began with a name.
const LOOK_MS: i64 = 3_000;
const GRACE_MS: i64 = 10_000;

const NO_DOCKER: &str = "Cannot connect to the Docker daemon";

/// One transaction.
#[derive(Debug, Clone)]
pub(crate) struct Tx {
    containers: Vec<ContainerName>,
    /// What stood when it began, by container; none where it could not be read.
    records: Vec<Option<Record>>,
    deadline_ms: i64,
    stop_timeout_s: u32,
    /// When the dead-man's switch acts.
    until: Option<i64>,
    /// The boot that it began in: a verdict for it holds in no other.
    boot: u32,
    steps: Vec<TxStep>,
    verdict: Option<Verdict>,
    end: Option<TxEnd>,
    why: String,
    /// An old container is gone.
    broken: bool,
    /// Containers that something else made anew under the swap, by index.
    taken: Vec<usize>,
    /// Until when another hand may finish what it does to a container: its index, and the time.
    graced: Option<(usize, i64)>,
    alive: bool,
    /// When the runner acts next.
    due: i64,
    at: At,
}

/// The two containers of a swap, by id: renames can then be half done without ambiguity.
#[derive(Debug, Clone)]
struct Record {
    old: String,
    new: String,
    policy: Value,
}

/// What the runner does next; the number is the container's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    StepIn,
    Stop(usize),
    Stopped(usize),
    Started(usize),
    Waiting,
    Finish,
    Commit(usize),
    /// Stop the new one.
    Restore(usize),
    /// Start the old one.
    PutBack(usize),
    /// Clear the new one away.
    Restored(usize),
    /// Something else has the container's name: make room for it.
    GiveWay(usize),
}

/// What the script answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The exit code.
    pub status: u32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

fn ok(out: impl Into<String>) -> Reply {
    Reply { status: 0, out: out.into(), err: String::new() }
}

fn fail(status: u32, why: impl std::fmt::Display) -> Reply {
    Reply { status, out: String::new(), err: format!("sonoba swap: {why}\n") }
}

impl Machine {
    /// Answers one request to the script. `Install` is for the caller, who has its standard input.
    pub fn script(&mut self, request: &Request, now: i64, env: &mut Env<'_>) -> Reply {
        self.advance(now, env);
        if !self.installed {
            // It is the shell that says so: the script is not there to put its name before it.
            return Reply {
                status: 127,
                out: String::new(),
                err: "sh: 0: cannot open the script: No such file\n".into(),
            };
        }
        match request {
            Request::Install => ok(""),
            Request::Begin { tx, deadline_ms, stop_timeout_s, containers } => {
                self.begin(tx, *deadline_ms, *stop_timeout_s, containers, now, env)
            }
            Request::State(tx) => ok(write_state(&self.tx_state(tx, now))),
            Request::Verdict(tx, verdict) => self.verdict(tx, *verdict, now, env),
            Request::Recover(tx) => self.recover(tx, now, env),
            Request::Forget(tx) => match self.txs.get(tx) {
                Some(t) if t.end.is_none() => fail(1, format!("{tx} has not ended")),
                _ => {
                    self.txs.remove(tx);
                    ok("")
                }
            },
        }
    }

    fn begin(
        &mut self,
        id: &TxId,
        deadline_ms: u64,
        stop_timeout_s: u32,
        containers: &[ContainerName],
        now: i64,
        env: &mut Env<'_>,
    ) -> Reply {
        if self.txs.contains_key(id) {
            return ok("");
        }
        let held = |t: &Tx| t.end.is_none() && t.containers.iter().any(|c| containers.contains(c));
        if let Some((other, _)) = self.txs.iter().find(|(_, t)| held(t)) {
            return fail(1, format!("{other} is under way on this node"));
        }
        if containers.is_empty() {
            return fail(2, "begin needs containers");
        }
        let patient = i64::try_from(deadline_ms).unwrap_or(i64::MAX / 4).max(env.patience_ms);
        let mut tx = Tx {
            records: vec![None; containers.len()],
            containers: containers.to_vec(),
            deadline_ms: patient,
            stop_timeout_s,
            until: None,
            boot: self.boots,
            steps: Vec::new(),
            verdict: None,
            end: None,
            why: String::new(),
            broken: false,
            taken: Vec::new(),
            graced: None,
            alive: true,
            due: now + RENAME_MS,
            at: At::StepIn,
        };
        tx.step(self.uptime_ms(now), Step::Begun, None);
        self.txs.insert(id.clone(), tx);
        self.advance(now, env);
        ok("")
    }

    /// What is known of a transaction.
    pub fn tx_state(&self, id: &TxId, now: i64) -> TxState {
        let uptime_ms = self.uptime_ms(now);
        match self.txs.get(id) {
            None => TxState { uptime_ms, ..TxState::default() },
            Some(tx) => TxState {
                found: true,
                alive: tx.alive,
                uptime_ms,
                steps: tx.steps.clone(),
                verdict: tx.verdict,
                end: tx.end,
                why: tx.why.clone(),
            },
        }
    }

    fn verdict(&mut self, id: &TxId, verdict: Verdict, now: i64, env: &mut Env<'_>) -> Reply {
        let boots = self.boots;
        let Some(tx) = self.txs.get_mut(id) else {
            return fail(1, format!("there is no transaction {id}"));
        };
        if tx.verdict.is_none() {
            let mut wins = verdict;
            if verdict == Verdict::Commit {
                if !tx.steps.iter().any(|s| s.step == Step::Waiting) {
                    return fail(1, format!("transaction {id} does not wait for a verdict yet"));
                }
                // The deadline holds even where its runner is late, or dead.
                if tx.until.is_some_and(|until| now >= until) || tx.boot != boots {
                    wins = Verdict::Rollback;
                }
            }
            tx.verdict = Some(wins);
        }
        let stands = tx.verdict.unwrap_or(verdict);
        if tx.at == At::Waiting {
            tx.due = tx.due.min(now + NAP_MS);
        }
        self.advance(now, env);
        ok(format!("{}\n", verdict_word(stands)))
    }

    fn recover(&mut self, id: &TxId, now: i64, env: &mut Env<'_>) -> Reply {
        let uptime = self.uptime_ms(now);
        let Some(tx) = self.txs.get_mut(id) else {
            return fail(1, format!("there is no transaction {id}"));
        };
        if tx.end.is_none() && !tx.alive {
            tx.alive = true;
            tx.due = now;
            tx.at = At::Finish;
            tx.step(uptime, Step::Begun, None);
            // Loses against a commit that stands.
            if *tx.verdict.get_or_insert(Verdict::Rollback) == Verdict::Rollback {
                tx.because("its runner was gone and the node took it up again");
            }
        }
        self.advance(now, env);
        ok("")
    }

    /// Ends every runner at once, as a kill or a reboot does.
    pub fn kill_runners(&mut self) {
        self.txs.values_mut().for_each(|tx| tx.alive = false);
    }

    pub(crate) fn run_transactions(&mut self, now: i64, env: &mut Env<'_>) {
        let due = |tx: &Tx| tx.alive && tx.end.is_none() && tx.due <= now;
        while let Some(id) = self.txs.iter().find(|(_, tx)| due(tx)).map(|(id, _)| id.clone()) {
            // Taken out while it acts on the machine that holds it.
            if let Some(mut tx) = self.txs.remove(&id) {
                tx.act(self, env);
                self.txs.insert(id, tx);
            }
        }
    }
}

impl Tx {
    fn step(&mut self, uptime_ms: u64, step: Step, container: Option<usize>) {
        let container = container.map_or(String::new(), |i| self.containers[i].to_string());
        self.steps.push(TxStep { uptime_ms, step, container });
    }

    fn finish(&mut self, end: TxEnd) {
        self.end = Some(end);
        self.alive = false;
    }

    /// Docker goes down under the runner: a command that waits for an answer fails.
    pub(crate) fn docker_went_away(&mut self, now: i64) {
        if !self.alive || self.end.is_some() {
            return;
        }
        match self.at {
            At::Stopped(_) | At::Started(_) => {
                self.fail(NO_DOCKER);
                self.due = now;
            }
            At::PutBack(i) | At::Restored(i) => {
                self.at = At::Restore(i);
                self.due = now + RETRY_MS;
            }
            _ => {}
        }
    }

    /// Remembers why. The first reason stands.
    fn because(&mut self, why: &str) {
        if self.why.is_empty() {
            self.why = why.to_owned();
        }
    }

    /// Remembers what a person must look at, after the reason that may stand already.
    fn lost(&mut self, what: &str) {
        self.broken = true;
        self.add_why(what);
    }

    fn add_why(&mut self, what: &str) {
        if self.why.contains(what) {
            return;
        }
        self.why = if self.why.is_empty() { what.to_owned() } else { format!("{}; {what}", self.why) };
    }

    /// The next container to put back, or the end.
    fn after_restore(&mut self, i: usize, machine: &Machine) {
        match i {
            0 => self.end_as(machine, TxEnd::RolledBack),
            _ => self.at = At::Restore(i - 1),
        }
    }

    /// The next container of a commit, or the end.
    fn after_commit(&mut self, i: usize, machine: &Machine) {
        match i + 1 < self.containers.len() {
            true => self.at = At::Commit(i + 1),
            false => self.end_as(machine, TxEnd::Committed),
        }
    }

    /// One container's part is over.
    fn after(&mut self, i: usize, machine: &Machine) {
        match self.verdict {
            Some(Verdict::Commit) => self.after_commit(i, machine),
            _ => self.after_restore(i, machine),
        }
    }

    /// Ends as `well`, or as what another hand has made of it.
    fn end_as(&mut self, machine: &Machine, well: TxEnd) {
        for i in self.taken.clone() {
            let name = self.containers[i].as_str();
            let seen = match machine.containers.iter().find(|c| c.name == name) {
                None => "nothing has its name now".to_owned(),
                Some(c) if runs(c) => format!("{} runs now, container {}", c.image(), &c.id[..12]),
                Some(c) => format!("container {} has its name now and does not run", &c.id[..12]),
            };
            self.add_why(&format!("something else made {name} anew during the swap: {seen}"));
        }
        self.finish(match (self.taken.is_empty(), self.broken) {
            (false, _) => TxEnd::Foreign,
            (true, true) => TxEnd::Broken,
            (true, false) => well,
        });
    }

    /// Whether another still has time to finish what it does to a container. Each has it once.
    fn grace(&mut self, i: usize) -> bool {
        match self.graced {
            Some((of, until)) if of == i => self.due < until,
            _ => {
                self.graced = Some((i, self.due + GRACE_MS));
                true
            }
        }
    }

    fn take(&mut self, i: usize) {
        if !self.taken.contains(&i) {
            self.taken.push(i);
        }
    }

    /// Who has a container's name.
    fn holder(&self, machine: &Machine, i: usize) -> Holder {
        let name = self.containers[i].as_str();
        let Some(found) = machine.containers.iter().find(|c| c.name == name) else { return Holder::Nobody };
        match &self.records[i] {
            Some(r) if found.id == r.new => Holder::New,
            Some(r) if found.id != r.old => Holder::Foreign,
            _ => Holder::Old,
        }
    }

    /// The first container whose name is not that of its new one any more. An old one that is gone speaks for the new one.
    fn not_ours(&self, machine: &Machine) -> Option<usize> {
        (0..self.containers.len()).find(|&i| self.holder(machine, i) != Holder::New)
    }

    fn is_ours(&self, machine: &Machine, i: usize) -> bool {
        self.holder(machine, i) == Holder::New && self.find(machine, i, |r| &r.old).is_some()
    }

    fn fail(&mut self, why: &str) {
        self.because(why);
        self.verdict.get_or_insert(Verdict::Rollback);
        self.at = At::Finish;
    }

    /// Does what is due; always either moves `due` on or gets to another place.
    fn act(&mut self, machine: &mut Machine, env: &mut Env<'_>) {
        let now = self.due;
        for container in &mut machine.containers {
            container.settle(now);
        }
        let uptime = machine.uptime_ms(now);
        if !machine.docker_up(now) {
            match self.at {
                At::Waiting | At::Finish => {}
                At::StepIn | At::Stop(_) | At::Stopped(_) | At::Started(_) => return self.fail(NO_DOCKER),
                // The way to an end is tried until it works.
                _ => {
                    self.due = now + RETRY_MS;
                    return;
                }
            }
        }
        match self.at {
            At::StepIn => self.step_in(machine),
            At::Stop(i) => self.stop_old(i, machine, env),
            At::Stopped(i) => self.start_new(i, machine, env),
            At::Started(i) => {
                self.step(uptime, Step::Started, Some(i));
                // Only now: were the node rebooted before, Docker would start the old one again, and not the new one,
                // which never ran.
                if let Some(old) = self.find(machine, i, |r| &r.old) {
                    machine.containers[old].set_restart_policy(no_policy());
                }
                if i + 1 < self.containers.len() {
                    self.at = At::Stop(i + 1);
                } else if self.verdict.is_some() {
                    self.at = At::Finish;
                } else {
                    self.step(uptime, Step::Waiting, None);
                    self.at = At::Waiting;
                    self.due = self.next_look(now);
                }
            }
            At::Waiting => self.wait(machine),
            At::Finish => {
                self.at = match self.verdict {
                    Some(Verdict::Commit) => At::Commit(0),
                    _ => At::Restore(self.containers.len() - 1),
                }
            }
            At::Commit(i) => self.keep_new(i, machine),
            At::GiveWay(i) => self.give_way(i, machine, env),
            At::Restore(i) => self.stop_new(i, machine, env),
            At::PutBack(i) => self.start_old(i, machine, env),
            At::Restored(i) => {
                self.step(uptime, Step::Restored, Some(i));
                if self.holder(machine, i) == Holder::Foreign {
                    self.at = At::GiveWay(i);
                    return;
                }
                self.clear_new(i, machine);
                self.due = now + REMOVE_MS;
                self.after(i, machine);
            }
        }
    }

    /// Puts every new container into its name beside the running old one; costs no downtime.
    fn step_in(&mut self, machine: &mut Machine) {
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

    fn stop_old(&mut self, i: usize, machine: &mut Machine, env: &mut Env<'_>) {
        let now = self.due;
        if self.verdict.is_some() {
            self.at = At::Finish;
            return;
        }
        if !self.is_ours(machine, i) {
            return self.fail(&format!("{} is not what this swap put there any more", self.containers[i]));
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

    fn start_new(&mut self, i: usize, machine: &mut Machine, env: &mut Env<'_>) {
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

    fn stop_new(&mut self, i: usize, machine: &mut Machine, env: &mut Env<'_>) {
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

    fn start_old(&mut self, i: usize, machine: &mut Machine, env: &mut Env<'_>) {
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

    fn next_look(&self, now: i64) -> i64 {
        self.until.unwrap_or(now).min(now + LOOK_MS).max(now)
    }

    /// Nobody has decided: the deadline does, or another hand.
    fn wait(&mut self, machine: &Machine) {
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
    fn keep_new(&mut self, i: usize, machine: &mut Machine) {
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

    /// Leaves a name to what something else made under it; see the script.
    fn give_way(&mut self, i: usize, machine: &mut Machine, env: &mut Env<'_>) {
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

    fn clear_new(&mut self, i: usize, machine: &mut Machine) {
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

    fn find(&self, machine: &Machine, i: usize, which: impl Fn(&Record) -> &String) -> Option<usize> {
        machine.find(which(self.records[i].as_ref()?)).ok()
    }
}

/// Who has the name of a container that is being swapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Nobody,
    Old,
    New,
    Foreign,
}

fn runs(container: &Container) -> bool {
    matches!(container.state, State::Running | State::Starting { .. } | State::Stopping { .. })
}

fn no_policy() -> Value {
    json!({"Name": "no", "MaximumRetryCount": 0})
}
