//! Every time limit and size limit of this floor, in one place. A node that does not answer must never hold up a run.

use std::time::Duration;

/// A command on the node that only looks.
pub(super) const EXEC: Duration = Duration::from_secs(20);
/// `begin` and `recover`: the script itself waits up to 10 s (200 times 50 ms) for its runner.
pub(super) const BEGIN: Duration = Duration::from_secs(30);
/// A program inside a container: saving a snapshot of etcd's largest (8 GiB) on a slow disk.
pub(super) const PROGRAM: Duration = Duration::from_secs(600);
/// How long a program that is late is waited for, so that it can be said whether it is left behind.
pub(super) const PROGRAM_ENDS: Duration = Duration::from_secs(10);
/// Bytes of each of such a program's outputs that are kept.
pub(super) const PROGRAM_OUTPUT: usize = 16 << 10;
/// Opening a channel over a connection that stands.
pub(super) const CHANNEL: Duration = Duration::from_secs(10);
/// One request to the Docker Engine API, its answer read whole. Creating a container on a busy disk takes seconds.
pub(super) const DOCKER: Duration = Duration::from_secs(60);
/// A pull may take hours, but not without a sign of life: the longest silence in its stream. Unpacking a layer is silent.
pub(super) const PULL_SILENCE: Duration = Duration::from_secs(300);
/// Attempts at a pull.
pub(super) const PULL_ATTEMPTS: u32 = 3;
/// Before the second attempt at a pull; doubles for each further one.
pub(super) const PULL_BACKOFF: Duration = Duration::from_secs(1);
/// A health check, the connection included.
pub(super) const ASK: Duration = Duration::from_secs(5);
/// A keepalive is sent after this much silence; after [`KEEPALIVE_MAX`] unanswered ones the connection counts as dead.
pub(super) const KEEPALIVE: Duration = Duration::from_secs(5);
/// Unanswered keepalives.
pub(super) const KEEPALIVE_MAX: usize = 3;
/// Bytes of a command's output that are read. The longest answer, a transaction's state, has a few kilobytes.
pub(super) const OUTPUT: usize = 256 << 10;
/// Characters of an error's text. What a node says of itself may be megabytes, and every error is kept in the journal.
pub(super) const ERROR: usize = 1_000;
/// Arguments of a container that are kept, and characters of each.
pub(super) const ARGS: (usize, usize) = (500, 2_000);
/// Steps that a transaction can have: a few for each of its containers, and again for each runner that took it up.
pub(super) const STEPS: usize = 1_000;
/// Bytes of a health check's body that are read.
pub(super) const BODY: usize = 1 << 20;
/// Bytes of a configuration file that are read, its archive included.
pub(super) const FILE: usize = 1 << 20;
/// Bytes of an answer of the Docker Engine API that are read.
pub(super) const DOCKER_BODY: usize = 8 << 20;
