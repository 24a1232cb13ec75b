//! What goes wrong on a node of the small cluster.

use super::*;

/// What goes wrong on a node.
#[derive(Clone, Default)]
pub struct Faults {
    pub never_healthy: BTreeSet<Component>,
    pub disturbs_a_pod: bool,
    /// Each kubelet that starts here restarts every container, as a real one does that computes their hashes anew: it says so at
    /// once, and replaces them after their grace period.
    pub restarts_containers: bool,
    pub unpullable: bool,
    /// From a begin on, the node does not answer for so long.
    pub cut_at_begin: Option<Duration>,
    /// The answer to `begin` is lost although it took effect.
    pub begin_unanswered: bool,
    /// The runner dies right after the old one was stopped.
    pub runner_dies: bool,
    /// And every runner that takes it over dies at once.
    pub recovery_dies: bool,
    /// Entries that its etcd member has not applied.
    pub etcd_lag: u64,
    /// Somebody removes the old containers while the node waits for its verdict.
    pub old_vanishes: bool,
    /// Something else makes the containers anew, from the old image, while the node waits for its verdict.
    pub foreign_hand: bool,
    /// The runner lives and answers, and never comes to an end.
    pub never_ends: bool,
    pub cut_until: Option<Instant>,
    /// What saving a snapshot of etcd ends with, and how long it takes.
    pub snapshot_fails: Option<&'static str>,
    pub snapshot_takes: Duration,
    /// Bytes left on etcd's volume; 0 where the image has no `df`.
    pub etcd_room: u64,
    /// etcd does not take etcdctl's certificate.
    pub etcd_refuses: bool,
    /// Its leadership cannot be moved: what etcdctl ends with, and says.
    pub leader_stays: Option<(i64, &'static str)>,
    /// A told-to-stop etcd drains so long, unless it is killed before: its health port answers meanwhile, its client port does
    /// not.
    pub etcd_drains: Duration,
}

/// What befalls the Lease alone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum LeaseFault {
    /// Refused, as by an RBAC role without it.
    Forbidden,
    /// No answer.
    Hangs,
    /// An answer so much later.
    Late(Duration),
}
