//! What goes wrong, and when: drawn from the seed alone, at the very calls through which the engine does its work.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// What the engine asks of the world: every one of these awaits is a fault point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    Look,
    ImageId,
    Pull,
    /// A pull that was sent before comes to its end.
    Pulled,
    Prepare,
    Discard,
    Begin,
    State,
    Verdict,
    Recover,
    Forget,
    Ask,
    Exec,
    Reconnect,
    Nodes,
    Node,
    Pods,
    Events,
    Lock,
    Unlock,
    Endpoint,
    Append,
    Sync,
}

impl Op {
    /// Polls come by the hundred, deeds by the dozen: each draws its share.
    fn chance(self) -> f64 {
        match self {
            Op::Ask | Op::Nodes => 0.0015,
            Op::Events => 0.01,
            Op::State | Op::Append => 0.008,
            Op::Sync => 0.015,
            _ => 0.05,
        }
    }

    /// Whether it sends nothing that changes anything.
    pub fn is_question(self) -> bool {
        !matches!(self, Op::Pull | Op::Prepare | Op::Discard | Op::Exec | Op::Endpoint) && !self.is_fenced()
    }

    /// Whether the node looks at the run lock before it does it.
    pub fn is_fenced(self) -> bool {
        matches!(self, Op::Begin | Op::Verdict | Op::Recover)
    }

    fn of_node(self) -> bool {
        !matches!(
            self,
            Op::Nodes | Op::Node | Op::Pods | Op::Events | Op::Lock | Op::Unlock | Op::Endpoint | Op::Append | Op::Sync
        )
    }
}

/// What goes wrong at one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The connection breaks; whether the request took effect is not known.
    Cut { took_effect: bool },
    /// No answer within the call's limit.
    Hang { took_effect: bool },
    /// An answer that comes late, as with lost packets. Milliseconds.
    Slow(u64),
    /// The engine is killed.
    Kill { took_effect: bool },
    /// The engine is killed while it writes a line: so much of it is in the file, in sixteenths.
    KillTorn(u64),
    /// The node loses its power, and has it back after so many seconds; never where that is none.
    Power(Option<u64>),
    /// The node's network is gone for so many seconds; for ever where that is none.
    Network(Option<u64>),
    /// The Docker daemon is away for so many seconds.
    Docker { s: u64, live_restore: bool },
    /// The swap's runner on the node is killed.
    Runner,
    /// A pod of the node is restarted by something else.
    Pod,
    /// The registry breaks a pull off.
    PullBreaks,
    /// The cluster's API does not answer for so many seconds.
    Api(u64),
    /// The bastion's clock jumps by so many seconds.
    Clock(i64),
    /// The disk is full, or broken, until somebody mends it.
    Disk,
}

impl Fault {
    /// Its kind, for counting distinct points: without the numbers.
    fn kind(self) -> u64 {
        let mut hash = DefaultHasher::new();
        std::mem::discriminant(&self).hash(&mut hash);
        match self {
            Fault::Cut { took_effect } | Fault::Hang { took_effect } | Fault::Kill { took_effect } => {
                took_effect.hash(&mut hash);
            }
            Fault::Docker { live_restore, .. } => live_restore.hash(&mut hash),
            Fault::Power(back) | Fault::Network(back) => back.is_some().hash(&mut hash),
            _ => {}
        }
        hash.finish()
    }
}

/// How hard a seed's run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Nothing goes wrong.
    Calm,
    /// Only what a run must ride over without a single rollback.
    Mild,
    /// Anything.
    Wild,
}

/// Draws the faults of one run.
#[derive(Debug)]
pub struct Chaos {
    pub rng: StdRng,
    pub weather: Weather,
    left: u32,
    /// Distinct fault points: what, where, and in which state of the node's swap.
    pub points: HashSet<u64>,
}

impl Chaos {
    pub fn new(seed: u64) -> Chaos {
        let mut rng = StdRng::seed_from_u64(seed);
        let weather = match seed % 20 {
            0 => Weather::Calm,
            1..=6 => Weather::Mild,
            _ => Weather::Wild,
        };
        let left = match weather {
            Weather::Calm => 0,
            Weather::Mild => rng.random_range(1..=5),
            Weather::Wild => rng.random_range(1..=9),
        };
        Chaos { rng, weather, left, points: HashSet::new() }
    }

    /// What goes wrong at this call, if anything. `context` tells apart what the engine is doing.
    pub fn strike(&mut self, op: Op, context: impl Hash) -> Option<Fault> {
        if self.left == 0 || !self.rng.random_bool(op.chance()) {
            return None;
        }
        let fault = match self.weather {
            Weather::Calm => return None,
            Weather::Mild => self.mild(op),
            Weather::Wild => self.wild(op),
        };
        self.left -= 1;
        let mut hash = DefaultHasher::new();
        (op, fault.kind(), context).hash(&mut hash);
        self.points.insert(hash.finish());
        Some(fault)
    }

    fn mild(&mut self, op: Op) -> Fault {
        let took_effect = self.rng.random_bool(0.5);
        match self.rng.random_range(0..10) {
            0..=3 if op.of_node() && op != Op::Reconnect => Fault::Cut { took_effect },
            0..=5 => Fault::Slow(self.rng.random_range(100..1_500)),
            6 => Fault::Clock(self.rng.random_range(-90_000..90_000)),
            7 if op == Op::Append => Fault::KillTorn(self.rng.random_range(0..16)),
            _ => Fault::Kill { took_effect },
        }
    }

    fn wild(&mut self, op: Op) -> Fault {
        let took_effect = self.rng.random_bool(0.5);
        if op == Op::Append {
            return match self.rng.random_range(0..5) {
                0 => Fault::Kill { took_effect },
                1 | 2 => Fault::KillTorn(self.rng.random_range(0..16)),
                3 => Fault::Clock(self.rng.random_range(-90_000..90_000)),
                _ => Fault::Disk,
            };
        }
        if op == Op::Sync {
            return match self.rng.random_range(0..4) {
                0 => Fault::Disk,
                1 => Fault::Slow(self.rng.random_range(50..4_000)),
                _ => Fault::Kill { took_effect },
            };
        }
        let seconds = |rng: &mut StdRng| match rng.random_range(0..4) {
            0 => rng.random_range(1..8),
            1 | 2 => rng.random_range(8..60),
            _ => rng.random_range(60..240),
        };
        match self.rng.random_range(0..24) {
            0..=3 => Fault::Cut { took_effect },
            4 | 5 => Fault::Hang { took_effect },
            6 | 7 => Fault::Slow(self.rng.random_range(100..12_000)),
            8..=11 => Fault::Kill { took_effect },
            12 => Fault::Api(seconds(&mut self.rng)),
            13 if matches!(op, Op::Pull | Op::Pulled) => Fault::PullBreaks,
            _ if !op.of_node() => Fault::Api(seconds(&mut self.rng)),
            13 | 14 => Fault::Runner,
            15 | 16 => Fault::Docker { s: seconds(&mut self.rng), live_restore: self.rng.random_bool(0.5) },
            17 | 18 => Fault::Power(Some(seconds(&mut self.rng) + 5)),
            19 if self.rng.random_bool(0.5) => Fault::Power(None),
            20 if self.rng.random_bool(0.3) => Fault::Network(None),
            19..=21 => Fault::Network(Some(seconds(&mut self.rng))),
            22 => Fault::Pod,
            _ => Fault::Cut { took_effect },
        }
    }
}
