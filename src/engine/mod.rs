//! Carries a plan out, through its ports, and writes down what it does.
//!
//! [`serve`] is the body of the engine's own process; [`start`] makes that process, [`command`] speaks to it. Inside, the
//! `conductor` walks the plan's phases, waves and gates; one `swap` takes one node from old to new; what either knows is
//! folded from the journal that they write (`log`), so that an engine that takes a run up again knows the same.

mod asker;
mod attended;
mod begun;
mod budget;
mod churn;
mod conductor;
mod control;
mod elsewhere;
mod endpoints;
mod error;
mod facts;
mod fence;
mod finish;
mod follow;
mod gates;
mod given_up;
mod guard;
mod lease;
mod leave;
mod lock;
mod log;
mod members;
mod observe;
mod order;
mod pace;
mod past;
mod patience;
mod ports;
mod prefetch;
mod probe;
mod process;
mod proof;
mod proving;
mod relook;
mod resume;
mod run_dir;
mod serve;
mod shared;
mod snapshot;
mod sound;
mod spawn;
mod steady;
mod steer;
mod swap;
#[cfg(test)]
mod tests;
mod turn;
mod undo;
mod verify;
mod visit;
mod waiting;
mod world;
mod writable;

pub use asker::{Asker, Outside};
pub use attended::attended;
pub(crate) use control::check_request;
pub use control::{command, ping, waits};
pub use endpoints::{MissingEndpoint, missing_endpoints};
pub use error::{EngineError, ObserveError};
pub use facts::facts;
pub use observe::{glance, observe};
pub use past::pace as past_pace;
pub use ports::Ports;
pub use process::detach;
pub use run_dir::{About, Refused, RunDir};
pub use serve::{Clock, Start, carry_out, carry_out_on, serve};
pub use spawn::{begin, start};
