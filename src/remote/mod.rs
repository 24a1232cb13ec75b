//! The first port: one node. [`NodePort`] says what the engine may ask of a node; the rest of this room is the
//! implementation that production runs, over SSH and the Docker Engine API.
//!
//! In reading order: `contract` and `script` (what is said to the node), `swap.sh` (what the node does), `known_hosts`,
//! `keys`, `connection` and `fleet` (SSH), `docker`, `exec`, `successor` and `containers` (Docker), `ask` (health), `facts` and `etcd` (what preflight wants to know).

mod ask;
mod connection;
mod containers;
mod contract;
mod docker;
mod etcd;
mod exec;
mod facts;
mod fleet;
mod keys;
mod known_hosts;
mod limits;
mod port;
pub mod script;
mod shares;
mod successor;
mod tally;

pub use contract::{Fence, TxEnd, TxId, TxIdError, TxState, TxStep};
pub(crate) use docker::ASK_DOCKER_HOST;
pub(crate) use facts::disk_and_clock;
pub use fleet::SshFleet;
pub(crate) use known_hosts::check_file as check_known_hosts;
pub use port::{Answer, AskedContainer, Fleet, Inquiry, Look, NodeError, NodePort, PullProgress, Pulled, Ran};
