//! The facts of a run. Everything that a screen or a report says of a run is folded from its events (law 1).

mod event;
mod fold;

pub use event::{Event, Outcome, PauseReason, Record, Step, Verb, Verdict};
pub use fold::{ClusterView, LogLine, Pods, PullState, Run, RunState, SwapState, SwapView, Tone};
