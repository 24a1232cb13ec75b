//! All that the cockpit knows; every screen is painted from this alone.

use super::acknowledge;
use super::backend::Options;
use super::command::Command;
use super::decide;
use super::events::{self, EventsView};
use super::history::{self, HistoryView};
use super::hits::Hits;
use super::index::Index;
use super::kept::Kept;
use super::keymap::{Keymap, Mode};
use super::looks::Looks;
use super::map::{MapView, Zoom};
use super::mouse::Clicks;
use super::msg::{Authority, Effect};
use super::outline;
use super::palette::PaletteView;
use super::player::Player;
use super::replay::{self, Tape};
use super::stage::{self, Row, StageView};
use super::tally::Tally;
use super::theme::Theme;
use crate::fleet::{Cluster, NodeName, RunId};
use crate::journal::{Run, RunState, Tone, Verb};
use crate::plan::{Budget, Limits, Plan, Release};
use jiff::{SignedDuration, Timestamp};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

/// How long a notice stays.
const NOTICE: SignedDuration = SignedDuration::from_secs(6);

/// Where the operator is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screen {
    /// The cluster's map; home.
    Topology,
    /// Choosing a release and limits.
    Stage,
    /// Reading the plan.
    Plan,
    /// Typing the cluster's name.
    Confirm,
    /// Watching the run.
    Run,
    /// Reading what became of it.
    Report,
    /// Reading every line of its story.
    Events,
    /// Choosing among past runs.
    History,
}

/// What lies over the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// The keys, scrolled down by so many lines.
    Help(usize),
    /// A question.
    Ask(Question),
    /// The palette.
    Palette,
    /// What the cockpit logged, scrolled up by so many lines.
    Trace(usize),
    /// The clusters that there are, and the line under the cursor.
    Clusters(usize),
    /// The themes that there are, and the line under the cursor, which is shown already.
    Themes(usize),
}

/// A question that a key must answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Leave a run that goes on?
    Detach,
    /// End the demo, its simulated cluster and its run?
    EndDemo,
    /// Abort the run?
    Abort,
    /// Try again what failed?
    Retry,
    /// Leave the node as it is? Takes a reason.
    Skip,
    /// Take the node back to the old version?
    RollBack,
    /// Pass the gate although it does not hold? Takes a reason.
    Override,
}

impl Question {
    /// Whether it is answered by typing a reason.
    pub fn takes_a_reason(self) -> bool {
        matches!(self, Question::Skip | Question::Override)
    }
}

/// What the question over the screen is about, and the reason being typed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct AskView {
    /// The nodes; none means every one that failed, or that it is about none.
    pub nodes: Vec<NodeName>,
    /// The gate.
    pub gate: String,
    /// What was typed so far.
    pub typed: String,
    /// What was wrong with it.
    pub wrong: Option<String>,
}

/// The whole state.
#[derive(Debug)]
pub struct App {
    /// How the cockpit was opened.
    pub options: Options,
    /// Which key does what.
    pub keymap: Keymap,
    /// How roles look.
    pub theme: Theme,
    /// The terminal's columns and rows.
    pub size: (u16, u16),
    /// The clock, as the last tick gave it; in a replay the tape's.
    pub now: Timestamp,
    /// The real clock, as the last tick gave it.
    pub wall: Timestamp,
    /// Where the operator is.
    pub screen: Screen,
    /// What lies over it.
    pub over: Option<Over>,
    /// The cluster as last observed.
    pub sight: Sight,
    /// The releases of the profile.
    pub releases: Vec<Release>,
    /// The profile's budget.
    pub budget: Budget,
    /// The map: how near, which layer, what is filtered and marked.
    pub map: MapView,
    /// What follows from cluster and plan alone.
    pub index: RefCell<Option<Rc<Index>>>,
    /// The nodes that the run's cursor can stand on.
    pub stops: Kept<Vec<NodeName>>,
    /// How the run's swaps stand.
    pub tally: Kept<Tally>,
    /// What stands where on the last picture.
    pub hits: Hits,
    /// The node under the cursor.
    pub selected: Option<NodeName>,
    /// What is being staged.
    pub stage: StageView,
    /// The plan on the table.
    pub plan: Option<PlanView>,
    /// The confirmation being typed.
    pub confirm: ConfirmView,
    /// What the question over the screen is about.
    pub ask: AskView,
    /// What is typed and chosen in the palette.
    pub palette: PaletteView,
    /// The run that the cockpit is attached to.
    pub run: Option<RunView>,
    /// The tape that is played, in a replay.
    pub player: Option<Player>,
    /// Lines that the report is scrolled down by.
    pub report_top: usize,
    /// The run's story on a screen of its own.
    pub events: EventsView,
    /// Past runs.
    pub history: HistoryView,
    /// What the cockpit logged; none while it is read.
    pub trace: Option<Result<String, String>>,
    /// What was clicked last.
    pub clicks: Clicks,
    /// Something to say for a moment.
    pub notice: Option<Notice>,
    authority: Option<Authority>,
    dirty: bool,
}

/// The cluster as last observed.
#[derive(Debug, Default)]
pub struct Sight {
    /// What was seen.
    pub cluster: Option<Arc<Cluster>>,
    /// When.
    pub at: Option<Timestamp>,
    /// Whether an observation is under way.
    pub looking: bool,
    /// Why the last one failed.
    pub error: Option<String>,
}

/// The plan on the table.
#[derive(Debug)]
pub struct PlanView {
    /// The plan, as it would be applied.
    pub plan: Arc<Plan>,
    /// The same as the planner made it, and what of its findings is acknowledged here, by code: for a rollback.
    pub made: Arc<Plan>,
    pub acknowledged: BTreeSet<String>,
    /// Phases and waves that are unfolded.
    pub open: BTreeSet<(usize, Option<usize>)>,
    /// The cursor's line.
    pub cursor: usize,
}

/// The confirmation being typed.
#[derive(Debug, Default)]
pub struct ConfirmView {
    /// What was typed so far.
    pub typed: String,
    /// What was wrong with it.
    pub wrong: Option<String>,
    /// Whether the engine is being started.
    pub starting: bool,
}

/// The run that the cockpit is attached to.
#[derive(Debug)]
pub struct RunView {
    /// Its id.
    pub id: RunId,
    /// What its journal told so far.
    pub run: Run,
    /// A command on its way: not yet in the journal.
    pub sent: Option<Verb>,
    /// The journal cannot be followed any further although the run has not ended.
    pub lost: bool,
    /// No engine has the run although it has not ended.
    pub orphaned: bool,
    /// Log lines that the tail is scrolled up by.
    pub back: usize,
    /// The node under the cursor, of those in flight and in trouble.
    pub cursor: Option<NodeName>,
    /// How long a silent node stays Ready in this cluster. Milliseconds.
    pub grace_ms: u64,
    /// The cluster was observed after the run had ended: what was seen then is truer than what was done.
    pub past: bool,
}

/// Something to say for a moment.
#[derive(Debug, PartialEq, Eq)]
pub struct Notice {
    /// In words.
    pub text: String,
    /// How loud.
    pub tone: Tone,
    /// Until when, by the real clock.
    pub until: Timestamp,
}

impl App {
    /// A cockpit that has seen nothing yet.
    pub fn new(options: Options, releases: Vec<Release>, (limits, budget): (Limits, Budget), now: Timestamp) -> App {
        // What cannot be read was refused before the cockpit was opened.
        let keymap = options.looks.the_keymap().unwrap_or_default();
        let keymap = if options.read_only { keymap.read_only() } else { keymap };
        App {
            keymap: keymap.without_tape(),
            authority: Authority::unless(options.read_only),
            theme: options.looks.the_theme().unwrap_or_else(|_| Theme::plain()),
            options,
            size: (80, 24),
            now,
            wall: now,
            player: None,
            screen: Screen::Topology,
            over: None,
            sight: Sight::default(),
            budget,
            map: MapView::default(),
            index: RefCell::new(None),
            stops: Kept::default(),
            tally: Kept::default(),
            hits: Hits::default(),
            selected: None,
            stage: StageView::new(&releases, limits),
            releases,
            plan: None,
            confirm: ConfirmView::default(),
            ask: AskView::default(),
            palette: PaletteView::default(),
            run: None,
            report_top: 0,
            events: EventsView::default(),
            history: HistoryView::default(),
            trace: None,
            clicks: Clicks::default(),
            notice: None,
            dirty: true,
        }
    }

    /// A cockpit that plays a tape; none when nothing is on it.
    pub fn for_tape(looks: Looks, tape: Tape, now: Timestamp) -> Option<App> {
        let title = tape.recording.about.cluster.to_string();
        let options = Options { read_only: true, title, looks, ..Options::default() };
        let defaults = (Limits::default(), tape.recording.plan.budget.clone());
        let mut app = App::new(options, Vec::new(), defaults, now);
        app.keymap = app.options.looks.the_keymap().unwrap_or_default().read_only();
        replay::insert(&mut app, tape).then_some(app)
    }

    /// What to do first.
    pub fn begin(&mut self) -> Vec<Effect> {
        if self.player.is_some() {
            return Vec::new();
        }
        self.sight.looking = true;
        if self.options.read_only {
            self.say(Tone::Calm, "watching: a run is shown here as soon as one begins");
        }
        vec![Effect::Attach, Effect::Observe]
    }

    /// The right to change something, unless the cockpit is read-only.
    pub fn authority(&self) -> Option<Authority> {
        self.authority.clone()
    }

    /// The mode that keys are looked up in.
    pub fn mode(&self) -> Mode {
        match (self.over, self.screen) {
            (Some(Over::Help(_) | Over::Trace(_)), _) => Mode::Help,
            (Some(Over::Clusters(_) | Over::Themes(_)), _) => Mode::List,
            (Some(Over::Ask(question)), _) if question.takes_a_reason() => Mode::Reason,
            (Some(Over::Ask(_)), _) => Mode::Ask,
            (Some(Over::Palette), _) => Mode::Palette,
            (None, Screen::Topology) if self.map.typing => Mode::Filter,
            (None, Screen::Events) if self.events.typing => Mode::Find,
            (None, Screen::Stage) if self.stage.edit.is_some() => Mode::Edit,
            (None, screen) => screen.mode(),
        }
    }

    /// The state must be painted.
    pub fn touch(&mut self) {
        self.dirty = true;
    }

    /// Whether the state must be painted.
    pub fn dirty(&self) -> bool {
        self.dirty
    }

    /// The state was painted.
    pub fn painted(&mut self) {
        self.dirty = false;
    }

    /// Says something for a moment.
    pub fn say(&mut self, tone: Tone, text: impl Into<String>) {
        let until = self.wall.checked_add(NOTICE).unwrap_or(Timestamp::MAX);
        self.notice = Some(Notice { text: text.into(), tone, until });
        self.touch();
    }

    /// The run, while it has not ended.
    pub fn live(&self) -> Option<&RunView> {
        self.run.as_ref().filter(|r| r.run.ended().is_none())
    }

    /// Whether the run has not ended, and no engine has it.
    pub fn orphaned(&self) -> bool {
        self.live().is_some_and(|r| r.orphaned)
    }

    /// Whether something on the screen moves by itself with the clock.
    pub fn moving(&self) -> bool {
        self.sight.looking || self.live().is_some_and(|r| !r.lost)
    }

    /// The run's clock: the present, unless the run is over or its journal is ahead of us.
    pub fn run_now(&self) -> Timestamp {
        match &self.run {
            Some(view) if view.run.ended().is_some() || view.lost => view.run.now.unwrap_or(self.now),
            Some(view) => view.run.now.map_or(self.now, |at| at.max(self.now)),
            None => self.now,
        }
    }

    /// The main key of a command on this screen, where it has one.
    pub fn key(&self, command: Command) -> Option<String> {
        let mode = self.screen.mode();
        let bound = self.keymap.lines(mode).filter(|b| b.command == command);
        bound.flat_map(|b| self.keymap.keys_of(mode, b)).next().map(ToString::to_string)
    }

    /// Why `command` cannot be done now, in words; `None` when it can.
    pub fn hindrance(&self, command: Command) -> Option<Cow<'static, str>> {
        match decide::question(command) {
            Some(question) => decide::hindrance(self, question).map(Cow::Owned),
            None => self.plain_hindrance(command).map(Cow::Borrowed),
        }
    }

    fn plain_hindrance(&self, command: Command) -> Option<&'static str> {
        let state = self.run.as_ref().map(|r| r.run.state);
        let yes = |ok: bool, why| (!ok).then_some(why);
        match command {
            Command::Pause | Command::Abort if self.orphaned() => {
                Some("no engine has this run: resume it first, the new engine can be told")
            }
            Command::Pause => yes(
                matches!(state, Some(RunState::Running | RunState::Starting)),
                "there is nothing to pause: the run is not running",
            ),
            Command::Resume => yes(
                matches!(state, Some(RunState::Paused(_) | RunState::Pausing)) || self.orphaned(),
                "there is nothing to resume: the run is not paused",
            ),
            Command::Abort => yes(
                state.is_some_and(|s| !matches!(s, RunState::Ended(_) | RunState::Aborting)),
                "there is nothing to abort: the run is aborting already, or over",
            ),
            Command::Rollback => match &self.run {
                _ if self.stage.planning => Some("the planner is at work"),
                Some(view) if view.run.ended().is_none() => {
                    Some("the run has not ended: abort it first, then take back what it did")
                }
                Some(view) => yes(view.run.has_done(), "this run left nothing that could be taken back"),
                None => Some("there is no run"),
            },
            Command::OpenReport => {
                yes(state.is_some_and(|s| matches!(s, RunState::Ended(_))), "the report comes when the run has ended")
            }
            Command::OpenRun => yes(self.run.is_some(), "there is no run yet: stage a release with s"),
            Command::OpenEvents => yes(self.run.is_some(), "there is no run yet: stage a release with s"),
            Command::OpenNode => yes(
                match self.screen {
                    Screen::Events => events::here(self).is_some_and(|line| line.node.is_some()),
                    _ => self.run.as_ref().is_some_and(|view| view.cursor.is_some()),
                },
                "choose a line that is about a node first",
            ),
            Command::OpenHistory => yes(self.player.is_none(), "a replay knows one run only"),
            Command::ReadReport => yes(
                self.history.open.is_none() && history::here(self).is_some(),
                "there is no run to read the report of",
            ),
            Command::ChooseTheme => {
                yes(self.options.looks.theme.is_some(), "NO_COLOR is set: there is no colour to choose")
            }
            Command::Clusters => yes(self.options.clusters.len() > 1, "there is a profile of one cluster only"),
            Command::OpenStage => match (self.releases.is_empty(), &self.sight.cluster) {
                (true, _) => Some("the profile has no [[release]]: add one, then come back"),
                (_, None) => Some("the cluster has not been seen yet: wait, or observe again with r"),
                _ => None,
            },
            Command::ZoomOut => yes(self.map.zoom != Zoom::Fleet, "this is all of it"),
            Command::NextMatch | Command::LastMatch | Command::MarkMatches => {
                yes(!self.map.filter.is_empty(), "there is no filter: type one after /")
            }
            Command::ClearFilter => yes(!self.map.typed.is_empty(), "there is no filter"),
            Command::UnmarkAll => yes(!self.map.marked.is_empty(), "nothing is marked"),
            Command::Observe if self.player.is_some() => Some("a replay looks at no cluster"),
            Command::Observe => yes(!self.sight.looking, "an observation is under way"),
            Command::Edit => yes(
                !matches!(stage::here(self), Some(Row::Release(_) | Row::LeaveOut) | None),
                "space chooses here; there is nothing to type",
            ),
            Command::Accept => match outline::finding(self) {
                Some(f) if f.offer.is_empty() && !f.acknowledgeable => {
                    Some("this finding has no offer, and must be fixed")
                }
                Some(f) if !f.acknowledgeable && acknowledge::applies(self) => {
                    Some("a rollback is planned without offers: fix what this finding says")
                }
                Some(_) => yes(!self.stage.planning, "the planner is at work"),
                None => Some("choose a finding with the arrows first"),
            },
            Command::MakePlan => yes(!self.stage.planning, "the planner is at work"),
            Command::OpenConfirm => match &self.plan {
                _ if self.live().is_some() => Some("a run is under way: only one at a time"),
                Some(view) if acknowledge::is_enough(&view.plan) => Some(
                    "this plan has errors to acknowledge first: choose each with the arrows, and accept it or fix it",
                ),
                Some(view) if view.plan.refused() => {
                    Some("this plan cannot be applied: fix its errors, observe again, plan again")
                }
                Some(view) if view.plan.swaps().next().is_none() => Some("this plan has nothing to do"),
                Some(_) => None,
                None => Some("there is no plan"),
            },
            Command::Apply => yes(!self.confirm.starting, "the engine is being started"),
            _ => None,
        }
    }
}

impl Screen {
    /// The mode that its keys are looked up in.
    pub fn mode(self) -> Mode {
        match self {
            Screen::Topology => Mode::Topology,
            Screen::Stage => Mode::Stage,
            Screen::Plan => Mode::Plan,
            Screen::Confirm => Mode::Confirm,
            Screen::Run => Mode::Run,
            Screen::Report => Mode::Report,
            Screen::Events => Mode::Events,
            Screen::History => Mode::History,
        }
    }
}
