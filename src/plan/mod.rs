//! From staged bumps to an ordered plan. Pure: the same cluster, stage and settings always give the same plan.

mod types;

pub use types::{
    Budget, Bump, Change, Check, ComponentSettings, Estimate, FORMAT, Finding, Gate, Limits, Phase, PhaseKind, Plan,
    Pull, Scheme, Severity, Swap, Wave, WaveKind,
};
