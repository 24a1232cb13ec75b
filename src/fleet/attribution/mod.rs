//! What changed a pod: the swap of a component on its node, or something else. Pure.
//!
//! In reading order: `reach` says what a swap of each component can do to a pod at all, `change` says what is not as it was,
//! `window` places a moment against the swap's steps, `testimony` reads the API's events, `together` looks at the node's pods as
//! a group. `judge` weighs all of that for one pod, with `deletion`, `ending`, `restart` and `readiness` for the kinds of change, and
//! `late` for what is first seen when the swap is over.
//!
//! Evidence against the swap comes first, evidence for it must be positive, and what is left open within the reach of the swap is
//! [`Cause::Unknown`](super::Cause::Unknown), which counts as the swap's.

mod change;
mod deletion;
mod ending;
mod judge;
mod late;
mod reach;
mod readiness;
mod restart;
mod testimony;
mod together;
mod window;

#[cfg(test)]
mod cases;
#[cfg(test)]
mod property_tests;

pub use change::changed_pods;
pub use judge::judge_pods;
pub use late::{lately_restarted, restarted_pods};
pub use window::SwapWindow;
