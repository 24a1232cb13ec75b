//! An operator who decides about single nodes and gates, now and then, sensibly or not.

use crate::books::Result as Came;
use crate::chaos::Weather;
use crate::stage::Stage;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sonoba::fleet::NodeName;
use sonoba::journal::Verb;

/// The decisions of one run. They have a source of their own, and come in two of seven runs: the others play as they did
/// when they found something.
pub struct Whims {
    rng: StdRng,
    /// Decisions that will still be taken, and tries that will be made.
    left: u32,
    tries: u32,
}

/// Whether this seed's operator decides.
pub fn decides(seed: u64) -> bool {
    matches!(seed % 7, 0 | 6)
}

impl Whims {
    pub fn new(seed: u64) -> Whims {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x0b5e_55ed);
        let left = if decides(seed) { rng.random_range(1..=8) } else { 0 };
        Whims { rng, left, tries: 60 }
    }

    /// The engine took it.
    pub fn taken(&mut self) {
        self.left -= 1;
    }

    /// What comes to the operator's mind now, if anything.
    pub fn next(&mut self, stage: &Stage) -> Option<Verb> {
        let scene = stage.scene();
        let paused = scene.books.written.paused;
        if self.left == 0 || self.tries == 0 || !self.rng.random_bool(if paused { 0.6 } else { 0.25 }) {
            return None;
        }
        let (mut open, mut undone) = (Vec::new(), Vec::new());
        for swap in scene.books.written.swaps.values() {
            let Some(node) = &swap.node else { continue };
            match swap.result {
                _ if swap.open => open.push(node.clone()),
                Some(Came::Committed) | None => {}
                Some(_) => undone.push(node.clone()),
            }
        }
        // The order of a hash map is not the seed's.
        open.sort();
        undone.sort();
        let all: Vec<NodeName> = scene.places.iter().map(|p| p.name.clone()).collect();
        let wild = scene.chaos.weather == Weather::Wild;
        let gate = scene.books.written.gate.clone();
        drop(scene);
        let why = || "a whim".to_owned();
        let mut minds = Vec::new();
        if let Some(node) = self.one(&undone) {
            minds.push(Verb::Retry { nodes: Vec::new() });
            minds.push(Verb::Retry { nodes: node.clone() });
            minds.push(Verb::Skip { nodes: node.clone(), why: why() });
            minds.extend(wild.then_some(Verb::RollBack { nodes: node }));
        }
        if let Some(node) = self.one(&open).filter(|_| wild) {
            minds.push(Verb::RollBack { nodes: node });
        }
        if let Some(gate) = gate {
            minds.push(Verb::Retry { nodes: Vec::new() });
            minds.push(Verb::Override { gate, why: why() });
        }
        if let Some(node) = self.one(&all) {
            minds.push(Verb::Skip { nodes: node.clone(), why: why() });
            minds.push(Verb::Retry { nodes: node });
        }
        minds.push(Verb::Override { gate: "nodes ready".into(), why: why() });
        self.tries -= 1;
        Some(minds.swap_remove(self.rng.random_range(0..minds.len())))
    }

    fn one(&mut self, of: &[NodeName]) -> Option<Vec<NodeName>> {
        if of.is_empty() { None } else { Some(vec![of[self.rng.random_range(0..of.len())].clone()]) }
    }
}
