//! From staged bumps to an ordered plan. Pure: the same cluster, stage and settings always give the same plan.
//!
//! [`make`] asks four questions, one a file: who takes part (`select`), in what order (`order`, `waves`), does every step on
//! the way obey the version-skew policy ([`skew`], asked by `preflight`), and how long will it take (`estimate`). What stands in the way becomes a
//! [`Finding`], never an error: an operator wants to see the whole plan and all that is wrong with it at once. [`inverse`] makes
//! the plan that takes back what a run did.

mod args;
mod asked;
mod backwards;
pub mod catalogue;
mod changed_args;
mod compare;
mod doors;
mod estimate;
mod etcdctl;
mod facts;
mod findings;
mod fingerprint;
mod flags;
mod hazards;
mod inverse;
mod make;
mod moved;
mod order;
mod own_gate;
mod preflight;
mod proving;
mod ramp;
mod render;
mod seal;
mod select;
mod settings;
pub mod skew;
mod snapshot;
mod spoken;
mod spread;
mod stage;
mod types;
mod waves;
mod way;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod samples;

pub use args::{ArgEdit, arg_diff};
pub use asked::Asked;
pub use changed_args::ArgsWalk;
pub use compare::{Bandwidth, Comparison, Strategy, compare};
pub use doors::{Door, client_doors};
pub use etcdctl::{Etcdctl, etcdctl};
pub use facts::{
    ApiFacts, ContainerFacts, CredentialFacts, DeprecatedApi, EtcdFacts, Facts, ImageFacts, LongestGrace, NodeFacts,
    Pace, Share, Spread, StatefulSet,
};
pub use fingerprint::Fingerprint;
pub use flags::{FlagName, GateName, config_file};
pub use inverse::inverse;
pub use make::{make, make_with};
pub use moved::moved;
pub use own_gate::{After, Bound, GateRule, HttpUrl, OwnGate, Question, Target};
pub use preflight::node_monitor_grace_ms;
pub use ramp::{Ramp, RampError, RampStep};
pub use render::render;
pub use seal::{Broken, Edit, How, Seal, check_seal};
pub use select::unfit;
pub use settings::Settings;
pub use snapshot::{EtcdSettings, InnerPath, Program, Snapshot};
pub use spoken::{image_for, known_label, pick, pins, select};
pub use stage::{Release, Scope, Stage};
pub use types::{
    Budget, Bump, Change, Check, ComponentSettings, Estimate, FIRST_SYNC_MS, FORMAT, Finding, Gate, Limits, Phase,
    PhaseKind, Plan, Pull, Scheme, Severity, Swap, Volume, Wave, WaveKind,
};
