//! The journal as the engine uses it: what is written is folded at once, and durable before the engine acts on it.

use super::budget::Ledger;
use super::proof::{Judged, Proofs};
use super::relook::Kepts;
use super::resume::{Intent, Intents};
use super::serve::Clock;
use super::steer::Steer;
use crate::fleet::{PodEvent, PodProof, SwapId};
use crate::journal::{Disk, Event, JournalError, Record, Run, Writer};
use jiff::Timestamp;
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The one place where the engine's facts go in, and come from.
pub(super) struct Log {
    facts: Mutex<Facts>,
    /// Follows the records in their order; `turn` is held from the append until it has.
    steer: Arc<Steer>,
    turn: Mutex<()>,
    file: Arc<File>,
    disk: Arc<dyn Disk>,
    /// The last record that is known to be on disk. Whoever holds this lock syncs for all that wait behind it, so that
    /// fifty swaps in flight cost one sync and not fifty.
    synced: tokio::sync::Mutex<u64>,
    clock: Clock,
    /// Set once the journal cannot be written any more.
    broken: watch::Sender<bool>,
}

struct Facts {
    writer: Writer,
    run: Run,
    ledger: Ledger,
    intents: Intents,
    proofs: Proofs,
    kepts: Kepts,
}

impl Facts {
    fn apply(&mut self, record: &Record) {
        self.run.apply(record);
        self.ledger.apply(record, &self.run);
        self.intents.apply(record);
        self.proofs.apply(record);
        self.kepts.apply(record);
    }
}

/// What came of an append.
enum Appended<T, E> {
    /// The record's number, and the run's answer.
    Record(u64, T),
    /// The run does not agree; nothing is written.
    Refused(E),
}

/// A run's end is its last record: what the helpers still had to say then is left out.
fn before_the_end(run: &Run) -> Result<(), ()> {
    if run.ended().is_some() { Err(()) } else { Ok(()) }
}

impl Log {
    pub(super) fn new(
        writer: Writer,
        run: Run,
        ledger: Ledger,
        (intents, proofs, kepts): (Intents, Proofs, Kepts),
        steer: Arc<Steer>,
        clock: Clock,
        disk: Arc<dyn Disk>,
    ) -> Result<Log, JournalError> {
        let file = Arc::new(writer.handle()?);
        let writer = writer.on(Arc::clone(&disk));
        let facts = Mutex::new(Facts { writer, run, ledger, intents, proofs, kepts });
        let (synced, broken) = (tokio::sync::Mutex::new(0), watch::Sender::new(false));
        Ok(Log { facts, steer, turn: Mutex::new(()), file, disk, synced, clock, broken })
    }

    /// What follows the records.
    pub(super) fn steer(&self) -> Arc<Steer> {
        Arc::clone(&self.steer)
    }

    /// Writes an intent, a verdict or a result: on disk when this returns (law 4). After [`Event::RunEnded`] nothing is written
    /// any more.
    ///
    /// # Errors
    /// When it may not be on disk. The engine must not act on it then.
    pub(super) async fn write(&self, event: Event) -> Result<(), JournalError> {
        match self.append(event, before_the_end)? {
            Appended::Record(seq, ()) => self.sync(seq).await,
            Appended::Refused(()) => Ok(()),
        }
    }

    /// The same, if the run agrees: nothing else is written between its answer and the event.
    ///
    /// # Errors
    /// As [`Log::write`]. What the run says against it is no error.
    pub(super) async fn write_if<T, E>(
        &self,
        event: Event,
        agrees: impl FnOnce(&Run) -> Result<T, E>,
    ) -> Result<Result<T, E>, JournalError> {
        match self.append(event, agrees)? {
            Appended::Record(seq, yes) => self.sync(seq).await.map(|()| Ok(yes)),
            Appended::Refused(no) => Ok(Err(no)),
        }
    }

    async fn sync(&self, seq: u64) -> Result<(), JournalError> {
        let mut synced = self.synced.lock().await;
        if *synced >= seq {
            return Ok(());
        }
        // The kernel reports a failed sync once: the next one may succeed over pages that were dropped.
        let (upto, last) = {
            let facts = self.lock();
            facts.writer.open_still()?;
            (facts.run.events.max(seq), facts.writer.last())
        };
        let Err(error) = self.disk.sync(Arc::clone(&self.file)).await else {
            // Sealed before anybody acts on it.
            self.lock().writer.seal(&last).inspect_err(|_| {
                self.broken.send_replace(true);
            })?;
            *synced = upto;
            return Ok(());
        };
        let mut facts = self.lock();
        facts.writer.close(&error);
        self.broken.send_replace(true);
        let path = facts.writer.path().to_owned();
        Err(JournalError::Io { path, what: "make it durable", source: error })
    }

    /// Writes progress, which may be lost in a crash.
    ///
    /// # Errors
    /// When the disk is full or broken.
    pub(super) fn tell(&self, event: Event) -> Result<(), JournalError> {
        self.append(event, before_the_end).map(drop)
    }

    /// Returns once the journal cannot be written any more: whoever failed to write may not be the one who can end the engine.
    pub(super) async fn broke(&self) -> Result<(), JournalError> {
        // The sender lives as long as this log does.
        let _ = self.broken.subscribe().wait_for(|broken| *broken).await;
        self.lock().writer.open_still()
    }

    /// Looks at what is folded so far.
    pub(super) fn with<T>(&self, look: impl FnOnce(&Run, &Ledger) -> T) -> T {
        let facts = self.lock();
        look(&facts.run, &facts.ledger)
    }

    /// The intent of a swap that has no result yet, or whose node was lost.
    pub(super) fn intent(&self, swap: &SwapId) -> Option<Intent> {
        self.lock().intents.of(swap).cloned()
    }

    /// The time as records tell it.
    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Judges the pods of a swap's node, and writes down what is new in the same breath: two looks at once tell nothing twice.
    ///
    /// # Errors
    /// As [`Log::write`].
    pub(super) async fn judge(
        &self,
        swap: &SwapId,
        pods: &[PodProof],
        events: Option<&[PodEvent]>,
        restarts_elsewhere: usize,
    ) -> Result<Judged, JournalError> {
        let looked = self.append_all(|facts| {
            before_the_end(&facts.run)?;
            let proof = facts.proofs.of(swap).ok_or(())?;
            let judged = proof.judge(pods, events, (self.now(), restarts_elsewhere), &facts.proofs.told_since(swap));
            Ok::<_, ()>((judged.events(swap, &proof.node), judged))
        })?;
        match looked {
            Ok((Some(seq), judged)) => self.sync(seq).await.map(|()| judged),
            Ok((None, judged)) => Ok(judged),
            Err(()) => Ok(Judged::default()),
        }
    }

    /// Looks at the proofs of the run's swaps.
    pub(super) fn proofs<T>(&self, look: impl FnOnce(&Proofs) -> T) -> T {
        look(&self.lock().proofs)
    }

    /// Looks at what this run put on its nodes.
    pub(super) fn kepts<T>(&self, look: impl FnOnce(&Kepts) -> T) -> T {
        look(&self.lock().kepts)
    }

    fn append<T, E>(
        &self,
        event: Event,
        agrees: impl FnOnce(&Run) -> Result<T, E>,
    ) -> Result<Appended<T, E>, JournalError> {
        Ok(match self.append_all(|facts| agrees(&facts.run).map(|yes| (vec![event], yes)))? {
            Ok((seq, yes)) => Appended::Record(seq.unwrap_or_default(), yes),
            Err(no) => Appended::Refused(no),
        })
    }

    /// Appends what the facts lead to, folds and follows it, with no await in between: whoever asked for it may be gone at the next
    /// one. The number of the last record, and the answer.
    fn append_all<T, E>(
        &self,
        events: impl FnOnce(&Facts) -> Result<(Vec<Event>, T), E>,
    ) -> Result<Result<(Option<u64>, T), E>, JournalError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (records, answer) = {
            let mut facts = self.lock();
            let (events, answer) = match events(&facts) {
                Ok(found) => found,
                Err(no) => return Ok(Err(no)),
            };
            let mut records: Vec<Record> = Vec::with_capacity(events.len());
            for event in events {
                let written = facts.writer.append((self.clock)(), event, false);
                let record = written.inspect_err(|_| {
                    self.broken.send_replace(true);
                })?;
                facts.apply(&record);
                records.push(record);
            }
            (records, answer)
        };
        // Whoever waits for a wish looks at the facts: they are free again.
        records.iter().for_each(|record| self.steer.follow(&record.event));
        Ok(Ok((records.last().map(|record| record.seq), answer)))
    }

    /// A panic elsewhere cannot leave the facts half changed: each step of an append stands on its own.
    fn lock(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
