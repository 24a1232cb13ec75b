//! The disk under the journal: slow, full, broken, and without power at the worst moment.

use crate::books::Fact;
use crate::chaos::{Fault, Op};
use crate::stage::{Begun, Scene, Stage};
use async_trait::async_trait;
use rand::RngExt;
use sonoba::fleet::Component;
use sonoba::journal::{Disk, Verdict};
use sonoba::sim::model::{Health, Sickness, State};
use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

/// The disk, as one engine writes on it.
#[derive(Debug)]
pub struct Paper {
    pub stage: Stage,
    pub generation: u64,
}

fn full() -> io::Error {
    io::Error::from(io::ErrorKind::StorageFull)
}

#[async_trait]
impl Disk for Paper {
    fn append(&self, mut file: &File, line: &[u8]) -> io::Result<()> {
        let now = self.stage.now();
        let mut scene = self.stage.scene();
        if scene.generation != self.generation {
            // A dead process writes nothing; it only does not know yet that it is dead.
            return Ok(());
        }
        if scene.disk_broken {
            file.write_all(&line[..line.len() / 3])?;
            return Err(full());
        }
        let fact = Fact::of(line);
        scene.hash(std::mem::discriminant(&fact));
        scene.note(now, || format!("journal: {}", shown(line)));
        check(&mut scene, now, &fact);
        let fault = scene.chaos.strike(Op::Append, std::mem::discriminant(&fact));
        if let Some(fault) = fault {
            scene.note(now, || format!("FAULT {fault:?} at Append"));
        }
        match fault {
            Some(Fault::Kill { took_effect: false }) => {
                self.stage.kill(&mut scene, "before a line");
                return Ok(());
            }
            Some(Fault::KillTorn(sixteenths)) => {
                file.write_all(&line[..line.len() * sixteenths as usize / 16])?;
                self.stage.kill(&mut scene, "within a line");
                return Ok(());
            }
            Some(Fault::Disk) => {
                (scene.disk_broken, scene.excused) = (true, true);
                file.write_all(&line[..line.len() / 2])?;
                return Err(full());
            }
            Some(Fault::Clock(s)) => scene.clock_off += s * 1000,
            _ => {}
        }
        file.write_all(line)?;
        scene.books.append(line.len() as u64, fact);
        if fault.is_some_and(|f| matches!(f, Fault::Kill { .. })) {
            self.stage.kill(&mut scene, "after a line");
        }
        Ok(())
    }

    async fn sync(&self, _file: Arc<File>) -> io::Result<()> {
        self.stage.living(self.generation).await;
        let now = self.stage.now();
        let (upto, ms, fault) = {
            let mut scene = self.stage.scene();
            let fault = scene.chaos.strike(Op::Sync, 0);
            if let Some(fault) = fault {
                scene.note(now, || format!("FAULT {fault:?} at Sync"));
            }
            // Now and then it is slow, so that others come to wait behind one sync.
            let most = if scene.chaos.rng.random_bool(0.2) { 200 } else { 9 };
            let ms = scene.chaos.rng.random_range(0..most);
            (scene.books.len, ms, fault)
        };
        match fault {
            Some(Fault::Kill { took_effect: false }) => self.stage.kill(&mut self.stage.scene(), "before a sync"),
            Some(Fault::Slow(more)) => tokio::time::sleep(Duration::from_millis(more)).await,
            _ => tokio::time::sleep(Duration::from_millis(ms)).await,
        }
        self.stage.living(self.generation).await;
        {
            let mut scene = self.stage.scene();
            if matches!(fault, Some(Fault::Disk)) {
                // The kernel says so once, and drops what it could not write.
                scene.excused = true;
                scene.dropped_from = Some(scene.books.synced);
                return Err(io::Error::other("input/output error"));
            }
            if scene.dropped_from.is_none() {
                scene.books.sync(upto);
            }
            let killed = matches!(fault, Some(Fault::Kill { .. }));
            if killed {
                self.stage.kill(&mut scene, "after a sync");
            }
        }
        self.stage.living(self.generation).await;
        Ok(())
    }
}

fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let event = text.split_once("\"event\":").map_or(text.trim_end(), |(_, rest)| rest.trim_end());
    event.chars().take(230).collect()
}

/// What must hold when a line is written.
fn check(scene: &mut Scene, now: i64, fact: &Fact) {
    match fact {
        Fact::Preparing(swap, node) => {
            if scene.books.written.skipped.contains(node) {
                scene.fail(now, format!("{swap} starts on {node}, which is skipped by decision"));
            }
            if scene.books.written.swaps.get(swap).is_some_and(|s| s.undo) {
                scene.fail(now, format!("{swap} starts anew, and was commanded back"));
            }
            if scene.books.written.paused {
                scene.fail(now, format!("{swap} starts in a pause"));
            }
            // A process that stands still writes nothing; here its lines are in the file a moment too early.
            let frozen = now < scene.frozen_until;
            if let Some(why) = scene.must_wait(node, now).filter(|_| !frozen) {
                scene.fail(now, format!("{swap} starts on {node}, and {why}"));
            }
            let master = |scene: &Scene, name| scene.place(name).is_some_and(|at| scene.places[at].master);
            if master(scene, node) {
                let others: Vec<String> = scene
                    .books
                    .written
                    .swaps
                    .iter()
                    .filter(|(id, s)| s.open && *id != swap && s.node.as_ref().is_some_and(|n| master(scene, n)))
                    .map(|(id, _)| id.to_string())
                    .collect();
                if !others.is_empty() {
                    scene.fail(now, format!("{swap} starts while {others:?} of the control plane are open"));
                }
            }
        }
        Fact::Verdict(swap, Verdict::Commit) => {
            if scene.books.written.swaps.get(swap).is_some_and(|s| s.undo) {
                scene.fail(now, format!("{swap} is to be committed, and was commanded back"));
            }
            let found = scene.begun.iter().rev().find(|b| b.swap.id == *swap).cloned();
            let Some(begun) = found else {
                return scene.fail(now, format!("{swap} is to be committed, and never began"));
            };
            if let Some(ill) = ill(scene, now, &begun) {
                scene.fail(now, format!("{swap} is to be committed, and {ill}"));
            }
        }
        Fact::Disturbed(swap, node) => {
            let Some(at) = scene.place(node) else { return };
            let place = &scene.places[at];
            // Without a right clock, what happened when is not known.
            let lost = scene.excused || place.excused || place.harmed || scene.clock_off != 0;
            if !place.struck && !lost {
                scene.fail(now, format!("a false alarm: pods of {node} are called disturbed by {swap}"));
            }
        }
        _ => {}
    }
}

/// Whether a swap that disturbed pods may be committed: only where a rollback would restart them once more, for it has a kubelet,
/// and only if the journal says so.
pub fn may_be_kept(begun: &Begun, on_record: bool) -> bool {
    on_record && begun.swap.changes.iter().any(|c| c.component == Component::Kubelet)
}

/// What speaks against a commit; the engine's last look was a moment ago, so only what cannot have changed since counts.
fn ill(scene: &Scene, now: i64, begun: &Begun) -> Option<String> {
    let machine = &scene.world.machines()[begun.node];
    let on_record = scene.books.written.swaps.get(&begun.swap.id).is_some_and(|s| s.disturbed);
    if begun.disturbing && !may_be_kept(begun, on_record) {
        return Some("it disturbed pods".into());
    }
    let place = &scene.places[begun.node];
    for change in &begun.swap.changes {
        let name = &change.container;
        let Some(c) = machine.containers().iter().find(|c| c.name == name.as_str()) else {
            return (!place.harmed).then(|| format!("{name} is not there"));
        };
        if place.harmed {
            continue;
        }
        let well = c.image() == change.to.as_str() && c.state == State::Running && now >= c.healthy_at;
        if !well || c.sickness == Some(Sickness::Never) {
            return Some(format!("{name} is not well: {:?}", machine.health(change.component, now)));
        }
        if change.component == Component::Kubelet && matches!(machine.health(change.component, now), Health::Refused) {
            return Some("its kubelet is away".into());
        }
    }
    None
}
