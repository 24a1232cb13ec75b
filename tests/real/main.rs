//! Real faults over real protocols: the real binary against its own simulated cluster, killed, locked out, watched by many,
//! and with its files taken away.

#[path = "../common/mod.rs"]
mod common;

mod cluster_lease;
mod fence;
mod files;
mod kills;
mod locks;
mod proxy;
mod turn;
mod watchers;
mod word;
