//! The facts of a run. Everything that a screen or a report says of a run is folded from its events (law 1).

mod chain;
mod disk;
mod error;
mod event;
mod file;
mod fold;
mod follower;
mod grip;
mod head;
mod orders;
#[cfg(test)]
mod orders_tests;
mod pace;
mod reader;
mod recording;
mod report;
mod run;
mod snapshot;
#[cfg(test)]
mod tests;
mod verb;
mod writer;

pub use chain::{Chain, sha256_hex};
pub use disk::{Disk, FileSystem};
pub use error::{JournalError, Witness};
pub use event::{Event, Kept, Outcome, PauseReason, Record, Step, Verdict};
pub use file::open_file;
pub use follower::Follower;
pub use head::Head;
pub use orders::{API, ROOM};
pub use pace::Paces;
pub(crate) use reader::fold_lines;
pub use reader::{Journal, holds, read, read_for};
pub(crate) use recording::unpack;
pub use recording::{Recording, RecordingError, RecordingHead, read_recording, record};
pub use report::{
    ControlGroup, Downtime, Drifted, EngineSeen, Exception, JournalFacts, NodeCounts, NodeLists, Pause, PodCounts,
    Report, SwapCounts, report,
};
pub use run::{
    Churn, ClusterView, Decision, Drift, FailedSwap, GateView, LockView, LogLine, MANY_RESTARTED, PendingProof, Pods,
    PullState, ROLLBACK_MS, Run, RunState, SwapState, SwapView, Tone, Watched,
};
pub use snapshot::{EtcdSnapshot, SnapshotState};
pub use verb::{LONGEST_REASON, Verb};
pub use writer::{Opened, Writer};
