//! What befalls the run lock: a Lease that fails alone, an engine that stands still for a while, and a second bastion that takes
//! the lock over and works on the same nodes, by a clock of its own.

use crate::chaos::Weather;
use crate::stage::Scene;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sonoba::fleet::{Component, FenceToken};
use sonoba::journal::{Step, Verdict};
use sonoba::k8s::SealedJournal;
use sonoba::remote::script::Request;
use sonoba::remote::{Fence, TxId};
use sonoba::sim::model::Health;

/// The Lease's duration, and what an engine does not count on. Milliseconds.
const LASTS: i64 = 60_000;
const MARGIN: i64 = 1_000;
/// Between two renewals of the rival's.
const RENEW: i64 = 15_000;
const RIVAL: &str = "rival@bastion2/rival";

/// The Lease as the cluster has it.
#[derive(Debug, Clone, Default)]
pub struct Lease {
    pub holder: Option<String>,
    /// By its holder's clock. Milliseconds.
    pub renewed: i64,
    /// Counts the changes: a renewal shows by it whatever the clocks say.
    pub version: u64,
    pub token: u32,
    /// How far the journal was of whoever renewed it last.
    pub sealed: Option<SealedJournal>,
}

/// Somebody else's renewal as first seen, and when.
#[derive(Debug, Clone, Default)]
pub struct Seen(Option<(u64, i64)>);

impl Lease {
    /// Whether this holder may have it now. One of somebody else's must have been seen unchanged for its whole duration.
    pub fn free(&self, me: &str, seen: &mut Seen, now: i64) -> bool {
        if self.holder.as_deref().is_none_or(|by| by == me) {
            return true;
        }
        let since = match seen.0 {
            Some((version, since)) if version == self.version => since,
            _ => seen.0.insert((self.version, now)).1,
        };
        now - since >= LASTS
    }

    /// It is this holder's from now on, which `clock` states; its token, above another where that is asked for.
    pub fn take(&mut self, me: &str, clock: i64, above: Option<u32>) -> FenceToken {
        let mine = self.holder.as_deref() == Some(me);
        self.token += u32::from(!mine);
        self.token = self.token.max(above.map_or(0, |above| above + 1));
        (self.holder, self.renewed) = (Some(me.to_owned()), clock);
        self.version += 1;
        FenceToken::new(self.token)
    }

    pub fn of_rival(&self) -> bool {
        self.holder.as_deref() == Some(RIVAL)
    }
}

/// How requests for the Lease alone fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseFault {
    Error,
    Hangs,
    Late(u64),
}

#[derive(Debug, Clone, Copy)]
enum Whim {
    Lease(LeaseFault, i64),
    Freeze(i64),
    /// The rival wants the lock, and works for so long once it has it; whether it dies then, and the lock is left to run out.
    Rival(i64, bool),
}

/// What will happen in one run. It has a source of its own, and comes in two of five runs: the others play as they did when they
/// found something.
#[derive(Debug)]
pub struct Whims {
    rng: StdRng,
    left: Vec<(i64, Whim)>,
    rival: Rival,
}

/// Whether this seed has such a thing.
pub fn comes(seed: u64) -> bool {
    matches!(seed % 5, 1 | 4)
}

impl Whims {
    pub fn new(seed: u64, weather: Weather) -> Whims {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x1ea5e);
        let mut left = Vec::new();
        let count = if comes(seed) && weather != Weather::Calm { rng.random_range(1..=4) } else { 0 };
        let mut at = 0;
        for _ in 0..count {
            at += rng.random_range(1_000..60_000);
            let fault = match rng.random_range(0..3) {
                0 => LeaseFault::Error,
                1 => LeaseFault::Hangs,
                _ => LeaseFault::Late(rng.random_range(500..6_000)),
            };
            let whim = match (weather, rng.random_range(0..5)) {
                // A run must ride over what is shorter than the Lease lasts.
                (Weather::Mild, _) => Whim::Lease(fault, rng.random_range(1_000..25_000)),
                (_, 0) => Whim::Lease(fault, rng.random_range(1_000..200_000)),
                (_, 1) => Whim::Freeze(rng.random_range(1_000..150_000)),
                _ => {
                    // Something keeps the first from its lock, or the rival never has it.
                    let why = if rng.random_bool(0.5) {
                        Whim::Freeze(rng.random_range(70_000..200_000))
                    } else {
                        Whim::Lease(fault, 200_000)
                    };
                    left.push((at, why));
                    Whim::Rival(rng.random_range(5_000..120_000), rng.random_bool(0.4))
                }
            };
            left.push((at, whim));
        }
        let off = rng.random_range(-400_000..400_000);
        Whims { rng, left, rival: Rival { off, ..Rival::default() } }
    }

    /// One second of its life.
    pub fn act(&mut self, scene: &mut Scene, now: i64) {
        for (_, whim) in self.left.extract_if(.., |(at, _)| now >= *at) {
            scene.note(now, || format!("WHIM {whim:?}"));
            match whim {
                Whim::Lease(fault, ms) => scene.lease_fails = Some((fault, now + ms)),
                Whim::Freeze(ms) => {
                    scene.frozen_until = now + ms;
                    scene.excused = true;
                }
                Whim::Rival(ms, dies) => {
                    scene.excused = true;
                    self.rival.wants.get_or_insert((ms, dies));
                }
            }
            if scene.chaos.weather == Weather::Wild {
                scene.excused = true;
            }
        }
        self.rival.act(scene, &mut self.rng, now);
    }
}

/// A second bastion with a run of its own. It follows the rule of the lock, and works through the same script.
#[derive(Debug, Default)]
struct Rival {
    /// Its clock is so far off. Milliseconds.
    off: i64,
    wants: Option<(i64, bool)>,
    seen: Seen,
    /// Since when it has the lock, when it renewed it last, and the token.
    held: Option<(i64, i64, FenceToken)>,
    deeds: u32,
}

impl Rival {
    fn act(&mut self, scene: &mut Scene, rng: &mut StdRng, now: i64) {
        let Some((ms, dies)) = self.wants else { return };
        let up = now >= scene.api_away && scene.world.api_up(now);
        let Some((since, renewed, token)) = self.held else {
            if up && scene.lease.free(RIVAL, &mut self.seen, now) {
                let token = scene.lease.take(RIVAL, now + self.off, None);
                scene.note(now, || format!("RIVAL holds the lock, token {token}"));
                self.held = Some((now, now, token));
            }
            return;
        };
        if now - since > ms {
            scene.note(now, || format!("RIVAL {}", if dies { "dies" } else { "gives the lock back" }));
            if !dies && scene.lease.of_rival() {
                scene.lease.holder = None;
                scene.lease.version += 1;
            }
            // One that died does not come back.
            (self.wants, self.held, self.seen) = (None, None, Seen::default());
            return;
        }
        if now - renewed >= RENEW && up {
            if !scene.lease.of_rival() {
                self.held = None;
                return;
            }
            let token = scene.lease.take(RIVAL, now + self.off, None);
            self.held = Some((since, now, token));
        }
        let left = renewed + LASTS - MARGIN - now;
        if left > 0 && rng.random_bool(0.3) {
            self.swap(scene, rng, (token, left), now);
        }
    }

    /// Takes a component over to a container of its own, or gives its verdict on one that waits: always back.
    fn swap(&mut self, scene: &mut Scene, rng: &mut StdRng, (token, left): (FenceToken, i64), now: i64) {
        let waits = scene.rivals.iter().find(|(node, tx)| {
            let state = scene.world.machines()[*node].tx_state(tx, now);
            state.end.is_none() && state.steps.iter().any(|s| s.step == Step::Waiting)
        });
        if let Some((node, tx)) = waits.cloned() {
            let fence = right(scene, node, (token, left), now);
            ask(scene, node, &Request::Verdict(tx, Verdict::Rollback, fence), now);
            return;
        }
        let masters: Vec<usize> = (0..scene.places.len()).filter(|at| scene.places[*at].master).collect();
        let node = if rng.random_bool(0.7) {
            masters[rng.random_range(0..masters.len())]
        } else {
            rng.random_range(0..scene.places.len())
        };
        let master = scene.places[node].master;
        let component = match (master, rng.random_bool(0.5)) {
            (true, true) => Component::Etcd,
            (true, false) => Component::KubeScheduler,
            (false, _) => Component::KubeProxy,
        };
        // As an engine does: no other master is in the middle of a swap, and all are well.
        let aside = |at: &usize| {
            let machine = &scene.world.machines()[*at];
            machine.containers().iter().any(|c| c.name.ends_with(".sonoba-prev"))
                || !machine.connected()
                || !machine.docker_up(now)
        };
        let ill = |at: &usize| {
            let well = |c| matches!(scene.world.machines()[*at].health(c, now), Health::Well(_));
            scene.places[*at].ill_since.is_some() || !Component::ALL.into_iter().all(well)
        };
        if aside(&node) || (master && masters.iter().any(|at| aside(at) || ill(at))) || scene.places[node].gone {
            return;
        }
        let (machine, _) = scene.world.on(node, now);
        let next = format!("{component}.sonoba-next");
        let (Ok(old), Err(_)) = (machine.find(component.as_str()), machine.find(&next)) else { return };
        let body = machine.containers()[old].body.clone();
        if machine.create(&next, body, now).is_err() {
            return;
        }
        self.deeds += 1;
        let place = &mut scene.places[node];
        (place.touched, place.excused) = (true, true);
        if !master {
            scene.touched_by_another(node);
        }
        let tx: TxId = format!("rival.{}.{}", scene.places[node].name, self.deeds).parse().expect("an id");
        let fence = right(scene, node, (token, left), now);
        let containers = vec![component.as_str().parse().expect("a name")];
        let request = Request::Begin { tx: tx.clone(), deadline_ms: 20_000, stop_timeout_s: 5, containers, fence };
        if ask(scene, node, &request, now) {
            scene.rivals.push((node, tx));
        } else {
            let (machine, _) = scene.world.on(node, now);
            if let Ok(at) = machine.find(&next) {
                let _ = machine.remove(at, true, now);
            }
        }
    }
}

fn right(scene: &Scene, node: usize, (token, left): (FenceToken, i64), now: i64) -> Fence {
    let until_ms = scene.world.machines()[node].uptime_ms(now) + left.unsigned_abs();
    Fence { token, run: "rival".parse().expect("a name"), until_ms }
}

fn ask(scene: &mut Scene, node: usize, request: &Request, now: i64) -> bool {
    let (machine, mut env) = scene.world.on(node, now);
    let reply = machine.script(request, now, &mut env);
    scene.note(now, || format!("RIVAL on node {node}: {request:?}: {} {}", reply.status, reply.err.trim()));
    reply.status == 0
}
