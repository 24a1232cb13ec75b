//! The first port: one node. [`NodePort`] says what the engine may ask of a node; the rest of this room is the
//! implementation that production runs, over SSH and the Docker Engine API.

mod contract;
mod port;
pub mod script;

pub use contract::{TxEnd, TxId, TxIdError, TxState, TxStep};
pub use port::{Answer, Fleet, Look, NodeError, NodePort, PullProgress, Pulled};
