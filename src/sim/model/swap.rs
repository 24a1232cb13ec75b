//! The swap script's transaction, as the node itself carries it out: step by step on the simulated clock, with the
//! dead-man's switch. Whatever happens, a transaction that has ended leaves its containers all new or all old.

mod back;
mod foreign;
mod forward;
mod requests;

pub use requests::Reply;

use super::container::{Container, State};
use super::machine::{Env, Machine};
use crate::fleet::ContainerName;
use crate::journal::{Step, Verdict};
use crate::remote::{Fence, TxEnd, TxStep};
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
    /// By what right it was begun.
    fence: Fence,
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

/// Who has the name of a container that is being swapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Nobody,
    Old,
    New,
    Foreign,
}

impl Machine {
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

    fn find(&self, machine: &Machine, i: usize, which: impl Fn(&Record) -> &String) -> Option<usize> {
        machine.find(which(self.records[i].as_ref()?)).ok()
    }
}

fn runs(container: &Container) -> bool {
    matches!(container.state, State::Running | State::Starting { .. } | State::Stopping { .. })
}

fn no_policy() -> Value {
    json!({"Name": "no", "MaximumRetryCount": 0})
}
