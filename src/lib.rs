//! sonoba upgrades the Kubernetes components of a running bare-metal cluster *in place*.
//!
//! The rooms of this house, from the ground floor up. A module imports only from floors below its own,
//! so reading in this order never needs a forward reference:
//!
//! 1. [`fleet`]: what a cluster is: nodes in racks, components, versions, images. Pure.
//! 2. [`plan`]: from a staged bump to an ordered plan of phases, waves and swaps. Pure.
//! 3. [`journal`]: the facts of a run: events, their fold into a [`journal::Run`], the file that holds them.
//! 4. [`inventory`]: where a fleet comes from: the profile, CKE's `cluster.yml`, node labels.
//! 5. [`remote`]: the first port: one node, over SSH and the Docker Engine API, and the swap script.
//! 6. [`k8s`]: the second port: the cluster's own API.
//! 7. [`engine`]: carries a plan out through the two ports and writes the journal.
//! 8. [`tui`]: the cockpit: screens drawn from the fold, commands sent to the engine.
//! 9. [`sim`]: a simulated fleet that answers on real SSH, Docker and Kubernetes protocols.
//! 10. [`cli`]: the command line, which alone knows all the others.

pub mod cli;
pub mod engine;
pub mod fleet;
#[doc(hidden)]
pub mod fuzzing;
pub mod inventory;
pub mod journal;
pub mod k8s;
pub mod plan;
pub mod remote;
pub mod sim;
pub mod tui;
