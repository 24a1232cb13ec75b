//! The laws: what must hold after every call, every second, and at the end.

use crate::books::Result as Came;
use crate::chaos::Weather;
use crate::paper::may_be_kept;
use crate::stage::{Begun, Scene, standing};
use sonoba::fleet::{Component, NodeName};
use sonoba::journal::Step;
use sonoba::remote::{TxEnd, TxState};
use sonoba::sim::model::{Health, Machine, Sickness, State};
use std::collections::BTreeMap;

impl Scene {
    /// What must hold after every call.
    pub fn look_around(&mut self, now: i64) {
        for (at, pods) in self.world.take_disturbed() {
            self.disturb(at, pods);
            if let Some(b) = self.begun.iter_mut().find(|b| b.node == at && b.end.is_none()) {
                // Neither touches a container of a pod: what restarts meanwhile is somebody else's doing.
                let far = |c: Component| matches!(c, Component::KubeControllerManager | Component::KubeScheduler);
                b.disturbing |= !b.swap.changes.iter().all(|change| far(change.component));
            }
        }
        let mut masters = Vec::new();
        let mut racks: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut wrong = Vec::new();
        for b in self.begun.iter_mut().filter(|b| b.end.is_none()) {
            let state = self.world.machines()[b.node].tx_state(&b.tx, now);
            b.end = state.end;
            let place = &self.places[b.node];
            if !in_between(&state) || place.harmed {
                continue;
            }
            if place.master {
                masters.push(b.node);
                let serves = b.swap.changes.iter().any(|c| c.component == Component::KubeApiserver);
                if serves && self.endpoints.contains(&place.address) {
                    wrong.push(format!("{} is swapped while it stands in the Endpoints", place.name));
                }
            } else {
                racks.entry(place.rack.clone()).or_default().push(b.node);
            }
        }
        if masters.len() > 1 {
            wrong.push(format!("masters {masters:?} are in between at once"));
        }
        for (node, tx) in self.rivals.iter().filter(|(node, _)| self.places[*node].master && !self.places[*node].harmed)
        {
            if in_between(&self.world.machines()[*node].tx_state(tx, now)) && masters.iter().any(|at| at != node) {
                wrong.push(format!("masters {masters:?} and the rival's {node} are in between at once"));
            }
        }
        let most = self.plan.as_ref().map_or(usize::MAX, |p| p.limits.max_unavailable);
        for (rack, nodes) in racks.into_iter().filter(|(_, nodes)| nodes.len() > most) {
            wrong.push(format!("in {rack} nodes {nodes:?} are in between at once, of at most {most}"));
        }
        wrong.into_iter().for_each(|why| self.fail(now, why));
    }

    /// Nothing but the engine takes down what nothing else has harmed.
    pub fn count_the_down(&mut self, now: i64) {
        let down = |at: usize| {
            let machine = &self.world.machines()[at];
            let place = &self.places[at];
            let here = Component::ALL.into_iter().filter(|c| place.master || !c.master_only());
            // One that answers healthy and not in turn was well when it was looked at.
            let flaps = |c: Component| {
                let mut all = machine.containers().iter().filter(|x| x.name == c.as_str());
                all.any(|x| x.sickness == Some(Sickness::Flaps))
            };
            !place.harmed && here.into_iter().any(|c| !matches!(machine.health(c, now), Health::Well(_)) && !flaps(c))
        };
        let all: Vec<usize> = (0..self.places.len()).filter(|&at| down(at)).collect();
        for (machine, place) in self.world.machines().iter().zip(&mut self.places).filter(|(_, p)| p.master) {
            place.ill_since = if serves(machine, now) { None } else { place.ill_since.or(Some(now)) };
        }
        let masters: Vec<usize> = all.iter().copied().filter(|&at| self.places[at].master).collect();
        if masters.len() > 1 {
            self.fail(now, format!("masters {masters:?} are down at once"));
        }
        let most = self.plan.as_ref().map_or(usize::MAX, |p| p.limits.max_unavailable);
        let mut racks: BTreeMap<&str, usize> = BTreeMap::new();
        for &at in all.iter().filter(|&&at| !self.places[at].master) {
            *racks.entry(&self.places[at].rack).or_default() += 1;
        }
        let full: Vec<String> = racks.iter().filter(|(_, n)| **n > most).map(|(r, _)| (*r).to_owned()).collect();
        for rack in full {
            self.fail(now, format!("in {rack} more than {most} nodes are down at once: {all:?}"));
        }
    }

    /// Why a swap must not start on this node now. What came up only just before may not have been seen.
    pub fn must_wait(&self, name: &NodeName, now: i64) -> Option<String> {
        const SEEN: i64 = 30_000;
        let at = self.place(name)?;
        let others = self.places.iter().enumerate().filter(|(i, _)| *i != at);
        if self.places[at].master {
            let ill = others.filter(|(i, p)| {
                let long = p.ill_since.is_some_and(|since| now - since > SEEN);
                long && !serves(&self.world.machines()[*i], now)
            });
            let ill: Vec<&str> = ill.map(|(_, p)| p.name.as_str()).collect();
            return (!ill.is_empty()).then(|| format!("masters {ill:?} are not well"));
        }
        let away = others.filter(|(i, p)| {
            let status = self.world.node_status(*i);
            let open = self.books.written.open_on(&p.name).is_some();
            !p.master && p.rack == self.places[at].rack && (open || (!status.ready && now - status.since > SEEN))
        });
        let away: Vec<&str> = away.map(|(_, p)| p.name.as_str()).collect();
        let most = self.plan.as_ref().map_or(usize::MAX, |p| p.limits.max_unavailable);
        (away.len() >= most).then(|| format!("{away:?} of its rack are away, of at most {most}"))
    }

    /// No engine was there for long: whatever runner was left alone has come to an end by itself.
    pub fn all_switches_have_acted(&mut self, now: i64) {
        self.look_around(now);
        let open: Vec<String> = self
            .begun
            .iter()
            .filter(|b| b.end.is_none() && !b.orphaned && now - b.began > 200_000)
            // Without Docker nothing can be put back.
            .filter(|b| self.world.machines()[b.node].docker_up(now - 60_000))
            .map(|b| format!("{} on {}", b.tx, self.places[b.node].name))
            .collect();
        if !open.is_empty() {
            self.fail(now, format!("the dead-man's switch did not act: {open:?}"));
        }
    }

    /// The run is over: from here on nobody looks after a node.
    pub fn the_run_ends(&mut self, now: i64) {
        for (machine, place) in self.world.machines().iter().zip(&mut self.places) {
            // An abort that could not have the run lock cleared nothing away, and said so.
            place.away_at_the_end = !machine.connected() || !machine.docker_up(now) || self.books.written.lock_lost;
        }
    }

    /// What must hold once everything is over and every switch has had its time.
    pub fn check_the_end(&mut self, now: i64) {
        self.tick(now);
        let mut wrong = Vec::new();
        let said = self.books.written.clone();
        for (at, place) in self.places.iter().enumerate() {
            let open = self.begun.iter().any(|b| b.node == at && b.end.is_none());
            let failed = said
                .swaps
                .values()
                .any(|s| s.node.as_ref() == Some(&place.name) && s.result == Some(Came::NeedsAPerson));
            if place.gone || (failed && place.excused) {
                continue;
            }
            if place.touched {
                // What another made anew is not ours to judge; that no two run side by side is looked at every second.
                if open {
                    wrong.push(format!("{} is in between for ever", place.name));
                }
                continue;
            }
            let name = &place.name;
            if failed {
                wrong.push(format!("{name} needs a person, and nothing happened to it"));
            }
            if open {
                wrong.push(format!("{name} is in between for ever"));
            }
            let machine = &self.world.machines()[at];
            let now_here = standing(machine);
            for c in machine.containers() {
                if c.name.ends_with(".sonoba-next") && place.away_at_the_end {
                    continue;
                }
                if c.name.contains(".sonoba-") {
                    wrong.push(format!("{name}: {} is left over", c.name));
                } else if c.state != State::Running {
                    wrong.push(format!("{name}: {} does not run: {:?}", c.name, c.state));
                }
            }
            for (container, id, policy) in &place.before {
                let Some((_, is, kept)) = now_here.iter().find(|(n, ..)| n == container) else {
                    wrong.push(format!("{name}: {container} is gone"));
                    continue;
                };
                if kept != policy {
                    wrong.push(format!("{name}: {container} lost its restart policy"));
                }
                let swap = self.swap_of(name, container);
                let came = swap.as_ref().and_then(|id| said.swaps.get(id)).and_then(|s| s.result);
                let new = is != id;
                // What drifted without a hand (it flaps) is the new one still.
                if new != matches!(came, Some(Came::Committed | Came::Drifted)) {
                    wrong.push(format!("{name}: {container} is new: {new}, and the journal says {came:?}"));
                }
            }
            if place.master && !said.lock_lost && !self.endpoints.contains(&place.address) {
                wrong.push(format!("{name} is not in the Endpoints any more"));
            }
        }
        for b in &self.begun {
            let committed = |x: &&Begun| x.swap.id == b.swap.id && x.end == Some(TxEnd::Committed);
            // What drifted may be done again.
            if self.begun.iter().filter(committed).count() > 1 && !self.places[b.node].touched {
                wrong.push(format!("{} was committed twice", b.swap.id));
            }
            let on_record = said.swaps.get(&b.swap.id).is_some_and(|s| s.disturbed);
            if b.disturbing && b.end == Some(TxEnd::Committed) && !may_be_kept(b, on_record) {
                wrong.push(format!("{} was committed although it disturbed pods", b.tx));
            }
        }
        if !said.ended && !self.given_up {
            wrong.push("the run did not end".into());
        }
        let excused = self.excused || said.aborting || self.given_up;
        let plan = self.plan.clone();
        for (_, _, swap) in plan.iter().flat_map(|p| p.swaps()) {
            let came = said.swaps.get(&swap.id).and_then(|s| s.result);
            let at = self.place(&swap.node);
            let place_excused = at.is_some_and(|at| self.places[at].excused);
            if came != Some(Came::Committed) && !excused && !place_excused {
                wrong.push(format!("{} on {} is {came:?}, and nothing stood in its way", swap.id, swap.node));
            }
        }
        if self.chaos.weather != Weather::Wild && said.aborting {
            wrong.push("it had to be aborted".into());
        }
        wrong.into_iter().for_each(|why| self.fail(now, why));
    }

    fn swap_of(&self, node: &NodeName, container: &str) -> Option<sonoba::fleet::SwapId> {
        let plan = self.plan.as_ref()?;
        let mut swaps = plan.swaps().filter(|(_, _, s)| s.node == *node);
        let found = swaps.find(|(_, _, s)| s.changes.iter().any(|c| c.container.as_str() == container));
        found.map(|(_, _, s)| s.id.clone())
    }
}

/// Whether a master answers for etcd and the API.
fn serves(machine: &Machine, now: i64) -> bool {
    let well = |c| matches!(machine.health(c, now), Health::Well(_));
    machine.connected() && well(Component::Etcd) && well(Component::KubeApiserver)
}

/// Whether the node's containers are being exchanged.
fn in_between(state: &TxState) -> bool {
    state.found && state.end.is_none() && state.steps.iter().any(|s| s.step == Step::Stopping)
}
