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
    left: u32,
}

impl Whims {
    pub fn new(seed: u64) -> Whims {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x0b5e_55ed);
        let left = if matches!(seed % 7, 0 | 6) { rng.random_range(1..=8) } else { 0 };
        Whims { rng, left }
    }

    /// What comes to the operator's mind now, if anything.
    pub fn next(&mut self, stage: &Stage) -> Option<Verb> {
        let scene = stage.scene();
        let paused = scene.books.written.paused;
        if self.left == 0 || !self.rng.random_bool(if paused { 0.6 } else { 0.25 }) {
            return None;
        }
        self.left -= 1;
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
        drop(scene);
        let why = "a whim".to_owned();
        Some(match self.rng.random_range(0..10) {
            0 | 1 => Verb::Retry { nodes: Vec::new() },
            2 => Verb::Retry { nodes: self.one(&undone, &all) },
            3 => Verb::Skip { nodes: self.one(&undone, &all), why },
            4 => Verb::Skip { nodes: self.one(&[], &all), why },
            5 | 6 if wild => Verb::RollBack { nodes: self.one(&open, &undone) },
            7 if wild => Verb::RollBack { nodes: self.one(&undone, &open) },
            _ => {
                let gates = ["nodes ready", "etcd healthy", "API servers ready", "soak", "room for a swap"];
                Verb::Override { gate: gates[self.rng.random_range(0..gates.len())].into(), why }
            }
        })
    }

    fn one(&mut self, first: &[NodeName], else_of: &[NodeName]) -> Vec<NodeName> {
        let from = if first.is_empty() { else_of } else { first };
        if from.is_empty() { Vec::new() } else { vec![from[self.rng.random_range(0..from.len())].clone()] }
    }
}
