//! Something beside the engine that works on the nodes' containers: a hand that makes containers anew, an old image put back, a
//! stopped component, one that crashes now and then.

use crate::chaos::Weather;
use crate::stage::{Scene, standing};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sonoba::journal::Verdict;
use sonoba::remote::TxEnd;
use std::collections::BTreeMap;

/// After the last thing that it did to a node, nothing is asked of that node for so long. Milliseconds.
pub const AFTERMATH: i64 = 60_000;

/// What one run's hand will do. It has a source of its own, and comes in one of five wild runs.
#[derive(Debug)]
pub struct Hands {
    rng: StdRng,
    left: u32,
    /// What it does again and again: node, container, how often still.
    again: Option<(usize, String, Deed, u32)>,
    /// When it last touched a node.
    touched: BTreeMap<usize, i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    /// Made anew from what has the name.
    Anew,
    /// Made anew from the old image.
    OldImage,
    Stop,
    Crash,
}

impl Hands {
    pub fn new(seed: u64, weather: Weather) -> Hands {
        let mut rng = StdRng::seed_from_u64(seed ^ 0xf0_4e16);
        let comes = seed % 5 == 3 && weather == Weather::Wild;
        let left = if comes { rng.random_range(1..=3) } else { 0 };
        Hands { rng, left, again: None, touched: BTreeMap::new() }
    }

    /// How long ago it touched the node; none when it never did.
    pub fn since(&self, node: usize, now: i64) -> Option<i64> {
        self.touched.get(&node).map(|at| now - at)
    }

    /// One second of its life.
    pub fn act(&mut self, scene: &mut Scene, now: i64) {
        if let Some((node, name, deed, times)) = self.again.take() {
            if self.rng.random_bool(0.3) {
                self.do_it(scene, now, node, &name, deed);
                self.again = (times > 1).then_some((node, name, deed, times - 1));
            } else {
                self.again = Some((node, name, deed, times));
            }
            return;
        }
        if self.left == 0 {
            return;
        }
        // A swap under way tempts it more than a node at rest.
        let open = scene.begun.iter().find(|b| b.end.is_none()).cloned();
        let done: Vec<_> = scene.begun.iter().filter(|b| b.end == Some(TxEnd::Committed)).cloned().collect();
        let (begun, deed) = match open {
            Some(begun) if self.rng.random_bool(0.15) => (begun, Deed::Anew),
            _ if !done.is_empty() && self.rng.random_bool(0.06) => {
                let deeds = [Deed::Anew, Deed::OldImage, Deed::Stop, Deed::Crash];
                (done[self.rng.random_range(0..done.len())].clone(), deeds[self.rng.random_range(0..deeds.len())])
            }
            _ => return,
        };
        self.left -= 1;
        let change = &begun.swap.changes[self.rng.random_range(0..begun.swap.changes.len())];
        let times = match deed {
            Deed::Crash => self.rng.random_range(3..8),
            Deed::Stop => 1,
            _ => self.rng.random_range(1..6),
        };
        self.again = Some((begun.node, change.container.to_string(), deed, times));
    }

    fn do_it(&mut self, scene: &mut Scene, now: i64, node: usize, name: &str, deed: Deed) {
        if !scene.world.machines()[node].docker_up(now) {
            return;
        }
        let before = scene.plan.as_ref().and_then(|plan| {
            let changes = plan.swaps().flat_map(|(_, _, s)| s.changes.iter().map(move |c| (&s.node, c)));
            let mut of = changes.filter(|(n, c)| **n == scene.places[node].name && c.container.as_str() == name);
            of.next().map(|(_, c)| c.from.to_string())
        });
        let (machine, mut env) = scene.world.on(node, now);
        let stood = standing(machine);
        let done = match deed {
            // One that is made anew and does not start was made anew all the same.
            Deed::Anew => machine.make_anew(name, None, now, &mut env).is_ok() || standing(machine) != stood,
            Deed::OldImage => {
                machine.make_anew(name, before.as_deref(), now, &mut env).is_ok() || standing(machine) != stood
            }
            Deed::Crash => machine.crash(name, now, &mut env),
            Deed::Stop => match machine.containers().iter().position(|c| c.name == name) {
                Some(at) => machine.stop(at, 10, now, &env).is_some(),
                None => false,
            },
        };
        if done {
            scene.note(now, || format!("HAND {deed:?} of {name} on node {node}"));
            self.touched.insert(node, now);
            scene.touched_by_another(node);
        }
    }
}

impl Scene {
    /// Something else worked on the node: its swaps may fail for it, and its containers need not be ours.
    pub fn touched_by_another(&mut self, node: usize) {
        let place = &mut self.places[node];
        (place.touched, place.harmed, place.excused) = (true, true, true);
        // Others wait for a master, and a run that drifted waits for its operator.
        self.excused = true;
    }

    /// Of each component one container runs, once what a hand began has settled and no swap is under way.
    pub fn one_of_each_runs(&mut self, hands: &Hands, now: i64) {
        let mut wrong = Vec::new();
        for (at, machine) in self.world.machines().iter().enumerate() {
            let open = self.begun.iter().any(|b| b.node == at && b.end.is_none());
            let settled = hands.since(at, now).is_none_or(|since| since > AFTERMATH);
            let place = &self.places[at];
            // A machine that lost its power before the old ones lost their restart policy starts both: so something starts, and
            // the transaction, which is still open, puts it right.
            if !machine.on() || (open && place.harmed) || (place.touched && !settled) {
                continue;
            }
            let mut of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            for c in machine.containers().iter().filter(|c| c.state == sonoba::sim::model::State::Running) {
                let component = c.name.split(".sonoba-").next().unwrap_or_default();
                of.entry(component).or_default().push(&c.name);
            }
            for (component, all) in of.into_iter().filter(|(_, all)| all.len() > 1) {
                wrong.push(format!("{}: of {component} {all:?} run side by side", self.places[at].name));
            }
        }
        wrong.into_iter().for_each(|why| self.fail(now, why));
    }

    /// A transaction under another hand comes to its end as any other: it does not try for ever.
    pub fn no_swap_is_held_up_by_a_hand(&mut self, now: i64) {
        let held: Vec<String> = self
            .begun
            .iter()
            .filter(|b| b.end.is_none() && !b.orphaned && self.places[b.node].touched)
            .filter(|b| self.world.machines()[b.node].docker_up(now - 60_000))
            .filter(|b| {
                let limit = i64::try_from(b.swap.deadline_ms).unwrap_or(i64::MAX / 2);
                now - b.began > limit.saturating_add(120_000)
            })
            .map(|b| format!("{} on {}", b.tx, self.places[b.node].name))
            .collect();
        if !held.is_empty() {
            self.fail(now, format!("the node still tries: {held:?}"));
        }
    }

    /// The run is called completed: whatever it committed runs its new image, unless a hand came just now.
    pub fn completed_is_so(&mut self, hands: &Hands, now: i64) {
        let mut wrong = Vec::new();
        let said = self.books.written.clone();
        for (_, _, swap) in self.plan.clone().iter().flat_map(|p| p.swaps()) {
            let committed = said.swaps.get(&swap.id).is_some_and(|s| {
                s.result == Some(crate::books::Result::Committed) && s.verdict != Some(Verdict::Rollback)
            });
            let Some(at) = self.place(&swap.node) else { continue };
            let settled = hands.since(at, now).is_none_or(|since| since > AFTERMATH);
            let machine = &self.world.machines()[at];
            if !committed || !settled || !self.places[at].touched || said.skipped.contains(&swap.node) {
                continue;
            }
            // A later hop of the same component is the one that counts.
            let plan = self.plan.clone();
            let later: Vec<&sonoba::plan::Swap> =
                plan.iter().flat_map(|p| p.swaps()).map(|(_, _, s)| s).filter(|s| s.node == swap.node).collect();
            let last = |c: &sonoba::plan::Change| {
                later.iter().rev().find(|s| s.changes.iter().any(|x| x.component == c.component))
            };
            for change in swap.changes.iter().filter(|c| last(c).is_some_and(|s| s.id == swap.id)) {
                let here = machine.containers().iter().find(|c| c.name == change.container.as_str());
                if !here.is_some_and(|c| c.running() && c.image() == change.to.as_str()) {
                    let is = here.map(|c| (c.image().to_owned(), c.state));
                    wrong.push(format!("completed, and {} on {} is {is:?}", change.container, swap.node));
                }
            }
        }
        wrong.into_iter().for_each(|why| self.fail(now, why));
    }
}
