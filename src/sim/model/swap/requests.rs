//! What the script is asked: to begin, to tell, to take a verdict, to recover, to forget.

use super::super::machine::{Env, Machine};
use super::{At, NAP_MS, RENAME_MS, Tx};
use crate::fleet::ContainerName;
use crate::journal::{Step, Verdict};
use crate::remote::script::{Request, verdict_word, write_state};
use crate::remote::{Fence, TxId, TxState};

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
        if let Request::Begin { fence, .. } | Request::Verdict(.., fence) | Request::Recover(_, fence) = request
            && let Some(refusal) = self.refuse_fenced(fence, now, env)
        {
            return refusal;
        }
        match request {
            Request::Install => ok(""),
            Request::Begin { tx, deadline_ms, stop_timeout_s, containers, fence } => {
                self.begin(tx, *deadline_ms, *stop_timeout_s, (containers, fence), now, env)
            }
            Request::State(tx) => {
                let uptime_ms = self.told_uptime_ms(now, env);
                ok(write_state(&TxState { uptime_ms, ..self.tx_state(tx, now) }))
            }
            Request::Verdict(tx, verdict, _) => self.verdict(tx, *verdict, now, env),
            Request::Recover(tx, _) => self.recover(tx, now, env),
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
        (containers, fence): (&[ContainerName], &Fence),
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
            fence: fence.clone(),
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
}
