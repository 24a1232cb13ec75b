//! From staged bumps to an ordered plan. Pure: the same cluster, stage and settings always give the same plan.

mod stage;
mod types;

pub use stage::{Release, Scope, Settings, Stage};
pub use types::{
    Budget, Bump, Change, Check, ComponentSettings, Estimate, FORMAT, Finding, Gate, Limits, Phase, PhaseKind, Plan,
    Pull, Scheme, Severity, Swap, Wave, WaveKind,
};
