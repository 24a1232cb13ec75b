//! The lab: sonoba against real OpenSSH servers, real Docker daemons (one a node), a real registry and a real
//! three-member etcd in containers, all on this machine and on loopback.
//!
//! Needs root and a few Debian packages ([`parts`] knows them). Without them the tests are skipped, aloud, unless
//! `SONOBA_LAB=require`. Everything lives below `$TMPDIR/sonoba-lab` and is taken down at the end, after a panic too;
//! what a killed test leaves behind, the next one takes down first.

#[path = "../common/mod.rs"]
mod common;

mod api;
mod cluster;
mod components;
mod daemons;
mod dead_engine;
mod downtime;
mod frozen;
mod handover;
mod harness;
mod http;
mod images;
mod inspect;
mod kills;
mod lab;
mod node;
mod outage;
mod parts;
mod ports;
mod prober;
mod process;
mod profile;
mod program;
mod reap;
mod registry;
mod snapshot;
mod upgrade;
mod writer;
