//! How sure this engine is that its run holds the run lock, by its own clock alone, and what it may do by that.
//!
//! A renewal that was sent at S is in the Lease at S or later. Whoever else wants the Lease must see it unchanged for its whole
//! duration, so nobody can have it before S and that duration. Until then the engine may act; what it sends to a node carries
//! the end of that time, as the node's own clock will show it, and the node looks at it last.

use super::steady::Steady;
use crate::fleet::{FenceToken, RunId};
use crate::remote::{Fence, NodeError};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{interval, timeout};

/// The Lease is free this long after its last renewal. Seconds: long enough to ride over an API server's restart.
pub(super) const SECONDS: u32 = 60;
/// What of that is not counted on: clocks that differ in their speed, and a moment between the last look and the deed.
const MARGIN: Duration = Duration::from_secs(1);
/// Without a renewal for so long, nothing new is started: what is in flight has the rest of the time to come to its end.
pub(super) const UNSURE: Duration = Duration::from_secs(30);
/// An engine that did not look at its clock for so long was stopped, or its machine suspended. The world may have moved on.
const STOPPED: Duration = Duration::from_secs(5);
/// A higher token than this no Lease ever had: they count minutes from 1970 on. A node that tells of one is not believed, or it
/// alone could use up all the numbers that there are.
const BELIEVED: u32 = 100_000_000;
/// Between two wishes for the lock of somebody who waits for it.
const ASK_ANEW: Duration = Duration::from_secs(1);
/// An operator who asks for the lock waits for the answer at most so long.
const ANSWER: Duration = Duration::from_secs(12);

/// How the run lock stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is held.
    Held(FenceToken),
    /// It was not renewed for a while; why.
    Unsure(String),
    /// Somebody else may take it at any moment; why it was not renewed.
    Lapsed(String),
    /// Somebody else has it, or had it; in words. Only an operator's word makes the run go on.
    Lost(String),
}

impl Standing {
    /// Why nothing new may start; none where it may.
    pub(super) fn cause(&self) -> Option<String> {
        let since = |limit: Duration, why: &str| {
            format!("the run lock (Lease kube-system/sonoba) was not renewed for {} s: {why}", limit.as_secs())
        };
        match self {
            Standing::Held(_) => None,
            Standing::Unsure(why) => Some(format!("{}; nothing new starts until it is", since(UNSURE, why))),
            Standing::Lapsed(why) => Some(format!(
                "{}; nothing is sent to a node until it is held again, and nodes in between go back by themselves",
                since(Duration::from_secs(SECONDS.into()), why)
            )),
            Standing::Lost(words) => Some(format!("the run lock was lost: {words}")),
        }
    }
}

/// The engine's hold on the run lock.
pub(super) struct RunFence {
    steady: Steady,
    run: RunId,
    hold: Mutex<Hold>,
    /// Counts answers of the API to the wish for the lock, errors included.
    answers: watch::Sender<u64>,
    /// Wakes whoever asks for the lock.
    pub(super) wanted: Notify,
}

#[derive(Debug, Default)]
struct Hold {
    token: Option<FenceToken>,
    /// When the renewal was sent that was answered last.
    renewed: Option<Duration>,
    /// When the engine last looked at its clock; and when it found that it had been stopped, until a later renewal.
    looked: Duration,
    stopped: Option<Duration>,
    /// Why the last wish for the lock was not answered.
    trouble: String,
    lost: Option<String>,
    /// It is ours now, whatever was before: it is renewed, also where an operator has to look first.
    ours: bool,
    /// An operator wants the lock back, although it was lost.
    wanted_back: bool,
    /// A node has seen this token, and it outranks ours.
    outranked: Option<FenceToken>,
}

/// A right that stands now: the token, and until when by the engine's clock.
#[derive(Debug, Clone, Copy)]
struct Permit {
    token: FenceToken,
    until: Duration,
}

impl RunFence {
    pub(super) fn new(steady: Steady, run: RunId) -> RunFence {
        let hold = Hold { looked: steady(), trouble: "it was not asked for yet".into(), ..Hold::default() };
        RunFence { steady, run, hold: Mutex::new(hold), answers: watch::Sender::new(0), wanted: Notify::new() }
    }

    /// The time by the engine's own clock.
    pub(super) fn now(&self) -> Duration {
        (self.steady)()
    }

    /// To be called at least once a second for as long as the engine runs: a gap shows that it did not.
    pub(super) fn look_at_the_clock(&self) {
        let now = self.now();
        let mut hold = self.lock();
        if now.saturating_sub(hold.looked) > STOPPED {
            hold.stopped = Some(now);
        }
        hold.looked = now;
    }

    /// The lock is ours: a wish that was sent at `sent` was answered. Whether the token is another than the last one.
    pub(super) fn held(&self, token: FenceToken, sent: Duration) -> bool {
        let now = self.now();
        let mut hold = self.lock();
        let lapsed = hold.renewed.is_some_and(|at| now.saturating_sub(at) >= lasts());
        let changed = hold.token.is_some_and(|before| before != token);
        if changed && lapsed && hold.lost.is_none() {
            hold.lost = Some("somebody else had it meanwhile and gave it back; look at what was done".into());
        }
        if std::mem::take(&mut hold.wanted_back) {
            hold.lost = None;
        }
        hold.ours = true;
        hold.token = Some(token);
        hold.renewed = Some(sent);
        hold.outranked = hold.outranked.filter(|seen| *seen >= token);
        // An answer to a wish from before it was stopped says nothing about the time after.
        hold.stopped = hold.stopped.filter(|found| sent < *found);
        hold.trouble.clear();
        drop(hold);
        self.answered();
        changed
    }

    /// A wish for the lock was not answered, or was refused.
    pub(super) fn failed(&self, why: &str) {
        let mut hold = self.lock();
        why.clone_into(&mut hold.trouble);
        drop(hold);
        self.answered();
    }

    /// Somebody else has the lock.
    pub(super) fn lost(&self, words: String) {
        let mut hold = self.lock();
        hold.lost = Some(words);
        (hold.ours, hold.wanted_back) = (false, false);
        drop(hold);
        self.answered();
    }

    fn answered(&self) {
        self.answers.send_modify(|n| *n += 1);
    }

    pub(super) fn standing(&self) -> Standing {
        let now = self.now();
        let hold = self.lock();
        if let Some(words) = &hold.lost {
            return Standing::Lost(words.clone());
        }
        let why = || if hold.trouble.is_empty() { "no answer yet".to_owned() } else { hold.trouble.clone() };
        match (hold.token, hold.renewed.map(|at| now.saturating_sub(at))) {
            (Some(token), Some(age)) if age < UNSURE => Standing::Held(token),
            (Some(_), Some(age)) if age < lasts() => Standing::Unsure(why()),
            _ => Standing::Lapsed(why()),
        }
    }

    /// How long ago the renewal was sent that was answered last; none before the first, or once the lock is another's.
    pub(super) fn age(&self) -> Option<Duration> {
        let hold = self.lock();
        hold.renewed.filter(|_| hold.ours).map(|at| self.now().saturating_sub(at))
    }

    /// Whether the keeper is to ask for the lock by itself: not one that somebody else has.
    pub(super) fn asks(&self) -> bool {
        let hold = self.lock();
        hold.lost.is_none() || hold.wanted_back || hold.ours
    }

    /// The token that ours must be above, where a node has seen a higher one.
    pub(super) fn outranked(&self) -> Option<FenceToken> {
        self.lock().outranked
    }

    /// A node refused what was sent to it: the lock is asked for at once, with a token above the one it has seen.
    pub(super) fn refused(&self, error: &NodeError) {
        let NodeError::Fenced { newer, .. } = error else { return };
        let mut hold = self.lock();
        hold.outranked = hold.outranked.max(newer.filter(|token| token.get() <= BELIEVED));
        drop(hold);
        self.wanted.notify_one();
    }

    fn permit(&self) -> Result<Permit, String> {
        let now = self.now();
        let mut hold = self.lock();
        if let Some(words) = &hold.lost {
            return Err(format!("the run lock was lost: {words}"));
        }
        let (Some(token), Some(renewed)) = (hold.token, hold.renewed) else {
            return Err("the run lock is not held yet".into());
        };
        if now.saturating_sub(hold.looked) > STOPPED {
            (hold.looked, hold.stopped) = (now, Some(now));
        }
        if hold.stopped.is_some() {
            drop(hold);
            self.wanted.notify_one();
            return Err("the engine was stopped for a while, and asks for the run lock first".into());
        }
        let until = renewed + lasts();
        if now >= until {
            return Err("the run lock was not renewed, and somebody else may have it".into());
        }
        Ok(Permit { token, until })
    }

    /// Whether something may be sent to a node, or to the API for it, right now.
    ///
    /// # Errors
    /// In words, why not.
    pub(super) fn check(&self) -> Result<(), String> {
        self.permit().map(drop)
    }

    /// Does something that changes a node, or the API for one, for as long as that may be done: before each of its steps it is looked
    /// whether it still may. What was sent already is not called back; nothing more is sent.
    ///
    /// # Errors
    /// That of the deed; or what `lost` makes of the reason why it may not go on.
    pub(super) async fn within<T, E>(
        &self,
        lost: impl Fn(String) -> E,
        deed: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let mut deed = pin!(deed);
        // A deed that waits is not looked at by itself once the right has run out.
        let mut looks = interval(ASK_ANEW);
        poll_fn(|cx| {
            match self.check() {
                Ok(()) => {
                    if let Poll::Ready(done) = deed.as_mut().poll(cx) {
                        return Poll::Ready(done);
                    }
                }
                // It was stopped for a moment: the lock is asked for, and the deed stands still meanwhile.
                Err(_) if matches!(self.standing(), Standing::Held(_) | Standing::Unsure(_)) => {}
                Err(why) => return Poll::Ready(Err(lost(why))),
            }
            while looks.poll_tick(cx).is_ready() {}
            Poll::Pending
        })
        .await
    }

    /// The right that goes with a request to a node whose uptime was `uptime_ms` when that was heard, at `heard` by the
    /// engine's clock. The node said it earlier than that, so its clock is at least as far when ours runs out.
    ///
    /// # Errors
    /// Where there is no such right.
    pub(super) fn right(&self, uptime_ms: u64, heard: Duration) -> Result<Fence, NodeError> {
        let permit = self.permit().map_err(|why| NodeError::Fenced { newer: None, why })?;
        let left = u64::try_from(permit.until.saturating_sub(heard).as_millis()).unwrap_or(u64::MAX);
        Ok(Fence { token: permit.token, run: self.run.clone(), until_ms: uptime_ms.saturating_add(left) })
    }

    /// Asks for the lock at once, and waits for what comes of it, but not for long.
    pub(super) async fn next_answer(&self, limit: Duration) {
        let mut answers = self.answers.subscribe();
        answers.borrow_and_update();
        self.wanted.notify_one();
        // The sender lives as long as this does.
        let _ = timeout(limit, answers.changed()).await;
    }

    /// An operator's word that the lock is to be had again, although it was lost.
    pub(super) fn want_back(&self) {
        self.lock().wanted_back = true;
    }

    /// Waits until something may be sent to a node, but not for longer than `limit`.
    pub(super) async fn awaited(&self, limit: Duration) {
        let until = self.now() + limit;
        while self.check().is_err() && self.now() < until {
            self.next_answer(ASK_ANEW).await;
            tokio::time::sleep(ASK_ANEW).await;
        }
    }

    /// An operator wants the run to go on: the lock comes first.
    ///
    /// # Errors
    /// In words, when it is not held.
    pub(super) async fn ask(&self) -> Result<(), String> {
        if self.check().is_ok() && self.standing().cause().is_none() {
            return Ok(());
        }
        self.want_back();
        self.next_answer(ANSWER).await;
        self.lock().wanted_back = false;
        match self.standing().cause() {
            None => Ok(()),
            Some(why) => Err(format!("the run stays as it is: {why}")),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Hold> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a renewal holds for sure.
fn lasts() -> Duration {
    Duration::from_secs(SECONDS.into()).saturating_sub(MARGIN)
}

#[cfg(test)]
mod tests {
    use super::super::steady::of_tokio;
    use super::*;
    use tokio::time::sleep;

    fn token(n: u32) -> FenceToken {
        FenceToken::new(n)
    }

    fn fence() -> RunFence {
        RunFence::new(of_tokio(), "r1".parse().unwrap())
    }

    /// Lets time pass for an engine that runs.
    async fn pass(fence: &RunFence, seconds: u64) {
        for _ in 0..seconds {
            sleep(Duration::from_secs(1)).await;
            fence.look_at_the_clock();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_holds_from_when_it_was_sent_and_less_than_the_lease() {
        let fence = fence();
        assert!(fence.check().is_err(), "not held yet");
        pass(&fence, 5).await;
        let sent = fence.now();
        pass(&fence, 4).await;
        fence.held(token(7), sent);
        let right = fence.right(1_000_000, fence.now()).unwrap();
        assert_eq!((right.token, right.until_ms), (token(7), 1_000_000 + 55_000));
        pass(&fence, 25).await;
        assert!(matches!(fence.standing(), Standing::Held(_)));
        pass(&fence, 2).await;
        assert!(matches!(fence.standing(), Standing::Unsure(_)) && fence.check().is_ok());
        pass(&fence, 28).await;
        assert!(matches!(fence.standing(), Standing::Lapsed(_)) && fence.check().is_err());
        assert!(fence.right(0, fence.now()).is_err());
        // With nobody between it is as if nothing had been.
        fence.held(token(7), fence.now());
        assert_eq!(fence.standing(), Standing::Held(token(7)));
        assert!(fence.check().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_engine_that_was_stopped_may_do_nothing_before_it_has_asked() {
        let fence = fence();
        fence.held(token(7), fence.now());
        pass(&fence, 3).await;
        let before = fence.now();
        sleep(Duration::from_secs(9)).await;
        assert!(fence.check().is_err(), "it finds out by itself, before anybody looked at the clock");
        fence.look_at_the_clock();
        assert!(fence.check().is_err());
        fence.held(token(7), before);
        assert!(fence.check().is_err(), "that was sent before it was stopped");
        fence.held(token(7), fence.now());
        assert!(fence.check().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_lost_comes_back_at_an_operators_word_alone() {
        let fence = fence();
        fence.held(token(7), fence.now());
        fence.lost("ben has it".into());
        assert!(fence.check().is_err() && !fence.asks());
        assert!(fence.ask().await.unwrap_err().contains("ben has it"));
        // Somebody had it between two answers.
        let fence = self::fence();
        fence.held(token(7), fence.now());
        pass(&fence, 70).await;
        assert!(fence.held(token(9), fence.now()));
        assert!(matches!(fence.standing(), Standing::Lost(_)) && fence.asks());
        let (asked, ()) = tokio::join!(fence.ask(), async {
            sleep(Duration::from_secs(1)).await;
            fence.look_at_the_clock();
            fence.held(token(9), fence.now());
        });
        assert_eq!((asked, fence.standing()), (Ok(()), Standing::Held(token(9))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deed_of_several_steps_stops_where_the_right_ends() {
        let fence = fence();
        fence.held(token(7), fence.now());
        let (steps, lost) = (std::cell::Cell::new(0), |why: String| why);
        let deed = async {
            for _ in 0..100 {
                steps.set(steps.get() + 1);
                sleep(Duration::from_secs(2)).await;
            }
            Ok::<_, String>(())
        };
        let clock = async {
            loop {
                sleep(Duration::from_secs(1)).await;
                fence.look_at_the_clock();
            }
        };
        let why = tokio::select! {
            done = fence.within(lost, deed) => done.unwrap_err(),
            () = clock => unreachable!(),
        };
        assert!(why.contains("not renewed") && steps.get() == 30, "{why}: {}", steps.get());
        // One that waits for an answer is let go of, too; and one that is done meanwhile is done.
        fence.held(token(7), fence.now());
        let never = std::future::pending::<Result<(), String>>();
        assert!(tokio::join!(fence.within(lost, never), pass(&fence, 60)).0.is_err());
        fence.held(token(7), fence.now());
        assert_eq!(fence.within(lost, async { Ok(1) }).await, Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_higher_token_that_a_node_has_seen_is_what_is_asked_for() {
        let fence = fence();
        fence.held(token(7), fence.now());
        fence.refused(&NodeError::Fenced { newer: Some(token(9)), why: String::new() });
        assert_eq!(fence.outranked(), Some(token(9)));
        fence.held(token(10), fence.now());
        assert_eq!(fence.outranked(), None);
        fence.refused(&NodeError::Fenced { newer: Some(FenceToken::MAX), why: String::new() });
        assert_eq!(fence.outranked(), None, "a node that says such a thing is not believed");
    }
}
