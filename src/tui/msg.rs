//! What comes into the core, and what it asks for.

use super::backend::Near;
use super::stage::Draft;
use crate::fleet::{Cluster, NodeName, RunId, SwapId};
use crate::journal::{Record, Report, Verb};
use crate::plan::{Plan, Stage};
use crossterm::event::{KeyEvent, MouseEvent};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Something that happened outside the core.
#[derive(Debug)]
pub enum Msg {
    /// A key was pressed.
    Key(KeyEvent),
    /// The mouse did something.
    Mouse(MouseEvent),
    /// The terminal has this many columns and rows now.
    Resize(u16, u16),
    /// It is this late.
    Tick(Timestamp),
    /// An observation came back.
    Observed(Result<Box<Cluster>, String>),
    /// The planner is through with a draft of this stage.
    Drafted(Box<Stage>, Draft),
    /// The planner is through.
    Planned(Arc<Plan>),
    /// The way back of a run is planned, or the cluster could not be looked at.
    WayBack(Result<Arc<Plan>, String>),
    /// The search for a run that is under way is over.
    Attached(Option<Begun>),
    /// The engine was started, or not.
    Started(Result<Begun, String>),
    /// The journal of this run grew.
    Records(RunId, Vec<Record>),
    /// The journal of this run cannot be followed any further.
    RecordsEnded(RunId),
    /// The run's engine was looked for: whether it lives.
    Engine(RunId, bool),
    /// A node from near, or why it is not known.
    Near(NodeName, Result<Near, String>),
    /// Past runs were read, or not.
    Past(Result<Vec<Report>, String>),
    /// The cockpit's own log was read, or not.
    Trace(Result<String, String>),
    /// A setting was kept, or not.
    Remembered(Result<(), String>),
    /// A command was delivered, or not.
    Commanded(Verb, Result<(), String>),
}

/// A run that the cockpit is attached to from now on.
#[derive(Debug, Clone)]
pub struct Begun {
    /// The run.
    pub id: RunId,
    /// Its plan.
    pub plan: Arc<Plan>,
}

/// Something that the core wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Look at the cluster.
    Observe,
    /// Look for a run that is under way.
    Attach,
    /// Ask for a node from near.
    Near(NodeName),
    /// Say what the planner makes of this stage.
    Draft(Arc<Cluster>, Box<Stage>),
    /// Plan this stage.
    Plan(Arc<Cluster>, Box<Stage>),
    /// Start an engine on this plan.
    Start(Authority, Arc<Plan>),
    /// Look at the cluster and plan the way back of a run.
    Rollback(Authority, Box<Back>),
    /// Tell the run's engine.
    Command(Authority, Verb),
    /// Read past runs.
    History,
    /// Read the cockpit's own log.
    Trace,
    /// Put a text on the operator's clipboard.
    Copy(String),
    /// Call the operator, who may look elsewhere.
    Notify(String),
    /// Stop like any program at Ctrl-Z, until the shell goes on with it.
    Suspend,
    /// Keep a setting of the cockpit.
    Remember(&'static str, String),
    /// Leave, and open this cluster.
    Switch(String),
    /// Paint everything anew.
    Repaint,
    /// Leave; print this afterwards.
    Leave(Option<String>),
}

/// What is to be taken back.
#[derive(Debug, Clone, PartialEq)]
pub struct Back {
    /// The run that did it.
    pub run: RunId,
    /// Its plan.
    pub plan: Arc<Plan>,
    /// The swaps that it did.
    pub done: BTreeSet<SwapId>,
    /// The nodes whose kubelet it saw restart containers: going back does so once more, and has to be acknowledged.
    pub redefined: Vec<NodeName>,
    /// Whether nodes that are down are left out.
    pub leave_out: bool,
}

/// The right to change something. A read-only cockpit never gets one, so the effects that need it cannot be built there.
#[derive(Debug, Clone, PartialEq)]
pub struct Authority(());

impl Authority {
    /// Granted unless the cockpit is `read_only`.
    pub fn unless(read_only: bool) -> Option<Authority> {
        (!read_only).then_some(Authority(()))
    }
}
