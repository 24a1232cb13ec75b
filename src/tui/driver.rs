//! The outer loop: the only place that owns the terminal, reads the clock and calls the backend.

use super::app::App;
use super::backend::{Backend, Nobody, Options, RunHandle};
use super::draw::draw;
use super::looks::Looks;
use super::msg::{Back, Begun, Effect, Msg};
use super::replay::Tape;
use super::stage::Draft;
use super::terminal::{Screen, clipboard, notification};
use super::update::update;
use crate::fleet::Cluster;
use crate::journal::Verb;
use crate::plan::{self, Plan, Scope};
use crossterm::event::{Event, EventStream, KeyEventKind, MouseEventKind};
use futures::StreamExt;
use jiff::Timestamp;
use ratatui::DefaultTerminal;
use ratatui::layout::Rect;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

/// The clock's step: fine enough for a countdown in tenths.
const TICK: Duration = Duration::from_millis(200);

/// Pictures are at least this far apart, however fast records come.
const FRAME: Duration = Duration::from_millis(33);

/// How long leaving waits for starts and commands on their way.
const ERRANDS: Duration = Duration::from_secs(3);

/// Between two looks for the run's engine.
const PULSE: Duration = Duration::from_secs(2);

/// An engine that needs longer than this to answer is not called dead.
const PULSE_LIMIT: Duration = Duration::from_secs(5);

/// Records folded between two looks at the keyboard.
const BATCH: usize = 512;

/// Why the cockpit could not go on. The run is not touched by it.
#[derive(Debug, thiserror::Error)]
pub enum TuiError {
    /// Standard output or input is not a terminal.
    #[error("the cockpit needs a terminal; use `sonoba plan`, `sonoba apply` and `sonoba report` without one")]
    NoTerminal,
    /// A recording without a single event.
    #[error("there is nothing on this tape; record a run that has begun: sonoba export RUN --recording FILE.sonoba")]
    EmptyTape,
    /// A film that would go on for hours.
    #[error("the film would be longer than four hours; give a higher --speed")]
    LongTape,
    /// The terminal failed.
    #[error("the terminal failed while {doing}: {source}; a run goes on, come back with `sonoba`")]
    Terminal {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A part of the cockpit panicked; the panic's own message stands above.
    #[error("the cockpit failed inside: {0}; a run goes on, come back with `sonoba`")]
    Inside(#[source] JoinError),
}

/// Opens the cockpit; returns when the operator leaves, or on SIGTERM, SIGHUP or SIGINT. The terminal is as before then.
/// Returns the cluster that the operator wants to see next, where that is why.
///
/// # Errors
/// [`TuiError`]: no terminal, or the terminal fails.
pub async fn run(backend: Arc<dyn Backend>, options: Options) -> Result<Option<String>, TuiError> {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(TuiError::NoTerminal);
    }
    let (limits, budget, _) = backend.defaults();
    let mut app = App::new(options, backend.releases(), (limits, budget), Timestamp::now());
    let farewell = {
        let mut screen = Screen::open(app.options.looks.mouse)?;
        Driver::new(backend).drive(&mut app, &mut screen).await?
    };
    match farewell {
        Farewell::Nothing => Ok(None),
        Farewell::Switch(cluster) => Ok(Some(cluster)),
        Farewell::Words(words) => {
            // The screen is gone already; nobody is left to be told when this fails.
            let _ = writeln!(std::io::stderr(), "sonoba: {words}");
            Ok(None)
        }
    }
}

/// Plays a recorded run; returns when the viewer leaves. Touches nothing.
///
/// # Errors
/// [`TuiError`]: no terminal, or the terminal fails; nothing on the tape.
pub async fn play(tape: Tape, looks: Looks) -> Result<(), TuiError> {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(TuiError::NoTerminal);
    }
    let mut app = App::for_tape(looks, tape, Timestamp::now()).ok_or(TuiError::EmptyTape)?;
    let mut screen = Screen::open(app.options.looks.mouse)?;
    Driver::new(Arc::new(Nobody)).drive(&mut app, &mut screen).await.map(drop)
}

struct Driver {
    backend: Arc<dyn Backend>,
    run: Option<Arc<RunHandle>>,
    tasks: JoinSet<()>,
    /// Starts, commands and what is to be kept: these are not cut off when the operator leaves right after the key.
    errands: JoinSet<()>,
    sender: mpsc::Sender<Told>,
    inbox: mpsc::Receiver<Told>,
    leaving: Option<Farewell>,
    repaint: bool,
    suspend: bool,
    /// What the terminal itself is asked: a clipboard, a bell.
    asides: Vec<u8>,
}

/// How the cockpit is left.
enum Farewell {
    Nothing,
    /// With something to print.
    Words(String),
    /// For another cluster.
    Switch(String),
}

/// What tasks tell the loop.
enum Told {
    Msg(Msg),
    /// A run to attach to, and what to tell the core of it.
    Run(RunHandle, fn(Begun) -> Msg),
}

impl Driver {
    fn new(backend: Arc<dyn Backend>) -> Driver {
        let (sender, inbox) = mpsc::channel(64);
        Driver {
            backend,
            run: None,
            tasks: JoinSet::new(),
            errands: JoinSet::new(),
            sender,
            inbox,
            leaving: None,
            repaint: false,
            suspend: false,
            asides: Vec::new(),
        }
    }

    /// The loop. Returns what to print after the screen is gone.
    async fn drive(mut self, app: &mut App, screen: &mut Screen) -> Result<Farewell, TuiError> {
        let failed = |doing| move |source| TuiError::Terminal { doing, source };
        let mut signals = Signals::new().map_err(failed("signal handlers were set"))?;
        let mut events = EventStream::new();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let size = screen.terminal.size().map_err(failed("its size was asked"))?;
        // Not every terminal hands out an empty screen.
        wipe(&mut screen.terminal).map_err(failed("the screen was cleared"))?;
        update(app, Msg::Resize(size.width, size.height));
        for effect in app.begin() {
            self.carry_out(effect);
        }
        let mut next_frame = Instant::now();
        loop {
            if let Some(words) = self.leaving.take() {
                self.finish_errands().await;
                return Ok(words);
            }
            let effects = tokio::select! {
                biased;
                () = signals.any() => {
                    self.finish_errands().await;
                    return Ok(Farewell::Nothing);
                }
                event = events.next() => match event {
                    // The terminal is gone: the run goes on without us.
                    None => {
                        self.finish_errands().await;
                        return Ok(Farewell::Nothing);
                    }
                    Some(event) => match message(event.map_err(failed("a key was read"))?) {
                        Some(msg) => update(app, msg),
                        None => Vec::new(),
                    },
                },
                Some(ended) = self.errands.join_next() => {
                    ended.map_err(TuiError::Inside)?;
                    Vec::new()
                }
                Some(ended) = self.tasks.join_next() => {
                    ended.map_err(TuiError::Inside)?;
                    Vec::new()
                }
                () = tokio::time::sleep_until(next_frame), if app.dirty() || self.repaint => {
                    if std::mem::take(&mut self.repaint) {
                        wipe(&mut screen.terminal).map_err(failed("the screen was cleared"))?;
                    }
                    screen.terminal.draw(|frame| draw(app, frame)).map_err(failed("the screen was painted"))?;
                    app.painted();
                    next_frame = Instant::now() + FRAME;
                    Vec::new()
                }
                Some(told) = self.inbox.recv() => match told {
                    Told::Msg(msg) => update(app, msg),
                    Told::Run(handle, tell) => {
                        let begun = self.follow(handle);
                        update(app, tell(begun))
                    }
                },
                _ = ticks.tick() => update(app, Msg::Tick(Timestamp::now())),
            };
            for effect in effects {
                self.carry_out(effect);
            }
            if !self.asides.is_empty() {
                screen.say(&std::mem::take(&mut self.asides)).map_err(failed("it was asked something"))?;
            }
            if std::mem::take(&mut self.suspend) {
                screen.suspend().map_err(failed("the shell was given it"))?;
                let size = screen.terminal.size().map_err(failed("its size was asked"))?;
                update(app, Msg::Resize(size.width, size.height));
                self.repaint = true;
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        let (backend, sender) = (self.backend.clone(), self.sender.clone());
        match effect {
            Effect::Observe => self.spawn(async move {
                let seen = backend.observe().await.map(Box::new);
                tell(&sender, Msg::Observed(seen)).await;
            }),
            Effect::Draft(cluster, stage) => {
                self.tasks.spawn_blocking(move || {
                    let draft = Draft::of(&backend.plan(&cluster, &stage));
                    // Nobody is left to be told once the loop has ended.
                    let _ = sender.blocking_send(Told::Msg(Msg::Drafted(stage, draft)));
                });
            }
            Effect::Plan(cluster, stage) => {
                // A plan for thousands of nodes takes long enough to be felt at the keyboard.
                self.tasks.spawn_blocking(move || {
                    let plan = backend.plan(&cluster, &stage);
                    // Nobody is left to be told once the loop has ended.
                    let _ = sender.blocking_send(Told::Msg(Msg::Planned(Arc::new(plan))));
                });
            }
            Effect::Attach => self.spawn(async move {
                match backend.attach().await {
                    Some(handle) => give(&sender, handle, |begun| Msg::Attached(Some(begun))).await,
                    None => tell(&sender, Msg::Attached(None)).await,
                }
            }),
            Effect::Near(node) => self.spawn(async move {
                let near = backend.near(&node).await;
                tell(&sender, Msg::Near(node, near)).await;
            }),
            Effect::Start(_, plan) => {
                self.errands.spawn(async move {
                    match backend.start(plan.as_ref().clone()).await {
                        Ok(handle) => give(&sender, handle, |begun| Msg::Started(Ok(begun))).await,
                        Err(why) => tell(&sender, Msg::Started(Err(why))).await,
                    }
                });
            }
            Effect::Rollback(_, back) => self.spawn(async move {
                let plan = match backend.observe().await {
                    Ok(now) => way_back(*back, now).await,
                    Err(why) => Err(why),
                };
                tell(&sender, Msg::WayBack(plan)).await;
            }),
            Effect::Command(_, verb) => {
                let run = self.run.clone();
                self.errands.spawn(async move {
                    let result = deliver(backend.as_ref(), run, verb.clone()).await;
                    tell(&sender, Msg::Commanded(verb, result)).await;
                });
            }
            Effect::Repaint => self.repaint = true,
            Effect::Leave(words) => self.leaving = Some(words.map_or(Farewell::Nothing, Farewell::Words)),
            Effect::Switch(cluster) => self.leaving = Some(Farewell::Switch(cluster)),
            Effect::Suspend => self.suspend = true,
            Effect::Copy(text) => self.asides.extend(clipboard(&text)),
            Effect::Notify(text) => self.asides.extend(notification(&text)),
            Effect::History => self.spawn(async move {
                let runs = backend.history().await;
                tell(&sender, Msg::Past(runs)).await;
            }),
            Effect::Remember(key, value) => {
                // Whoever chooses and leaves at once has chosen.
                self.errands.spawn_blocking(move || {
                    let kept = backend.remember(key, &value);
                    // Nobody is left to be told once the loop has ended.
                    let _ = sender.blocking_send(Told::Msg(Msg::Remembered(kept)));
                });
            }
            Effect::Trace => self.spawn(async move {
                let log = backend.trace().await;
                tell(&sender, Msg::Trace(log)).await;
            }),
        }
    }

    /// Waits for starts and commands that are on their way, for a moment: a hanging engine must not hold the terminal.
    async fn finish_errands(&mut self) {
        self.inbox.close();
        let all = async { while self.errands.join_next().await.is_some() {} };
        if tokio::time::timeout(ERRANDS, all).await.is_err() {
            tracing::warn!("left the cockpit while a command was still on its way to the engine");
        }
    }

    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Keeps the handle for commands and sends its records on.
    fn follow(&mut self, mut handle: RunHandle) -> Begun {
        let mut records = std::mem::replace(&mut handle.records, mpsc::channel(1).1);
        let (id, sender) = (handle.id.clone(), self.sender.clone());
        let begun = Begun { id: handle.id.clone(), plan: handle.plan.clone() };
        let run = Arc::new(handle);
        let pulse = feel(self.backend.clone(), run.clone(), sender.clone());
        self.spawn(async move {
            let forward = async {
                let mut batch = Vec::with_capacity(BATCH);
                while records.recv_many(&mut batch, BATCH).await > 0 {
                    tell(&sender, Msg::Records(id.clone(), std::mem::take(&mut batch))).await;
                }
                tell(&sender, Msg::RecordsEnded(id)).await;
            };
            tokio::select! {
                () = forward => {}
                () = pulse => {}
            }
        });
        self.run = Some(run);
        begun
    }
}

/// Clears the screen, so that the next picture is painted in full. `Terminal::clear` would ask the terminal for its cursor,
/// and the answer would be lost among the keys.
fn wipe(terminal: &mut DefaultTerminal) -> std::io::Result<()> {
    let size = terminal.size()?;
    terminal.resize(Rect::new(0, 0, size.width, size.height))
}

/// Looks for the run's engine for as long as it is polled. Tells of a death only when two looks in a row find it: between an
/// engine and the next there is a moment without one.
async fn feel(backend: Arc<dyn Backend>, run: Arc<RunHandle>, sender: mpsc::Sender<Told>) {
    let (mut told, mut before) = (true, true);
    loop {
        tokio::time::sleep(PULSE).await;
        let Ok(Some(lives)) = tokio::time::timeout(PULSE_LIMIT, backend.engine(&run)).await else { continue };
        if lives != told && (lives || !before) {
            told = lives;
            tell(&sender, Msg::Engine(run.id.clone(), lives)).await;
        }
        before = lives;
    }
}

/// The plan that takes a run back, of the cluster as it is now.
async fn way_back(back: Back, now: Cluster) -> Result<Arc<Plan>, String> {
    let make = move || {
        let mut scope = Scope::default();
        if back.leave_out {
            scope.exclude = plan::unfit(&now, &scope);
        }
        let mut plan = plan::inverse(&back.run, &back.plan, &back.done, &scope, &now, Timestamp::now());
        plan.seen_to_restart_containers(&back.redefined);
        plan
    };
    // As every plan, for thousands of nodes it takes long enough to be felt at the keyboard.
    tokio::task::spawn_blocking(make).await.map(Arc::new).map_err(|e| format!("the planner failed inside: {e}"))
}

async fn deliver(backend: &dyn Backend, run: Option<Arc<RunHandle>>, verb: Verb) -> Result<(), String> {
    match run {
        Some(run) => backend.command(&run, verb).await,
        None => Err("there is no run".into()),
    }
}

// A closed inbox means that the loop has ended: nobody is left to be told.
async fn tell(sender: &mpsc::Sender<Told>, msg: Msg) {
    let _ = sender.send(Told::Msg(msg)).await;
}

async fn give(sender: &mpsc::Sender<Told>, handle: RunHandle, tell: fn(Begun) -> Msg) {
    let _ = sender.send(Told::Run(handle, tell)).await;
}

/// The core's message for a terminal event, if it is one that counts.
fn message(event: Event) -> Option<Msg> {
    match event {
        Event::Mouse(event) if event.kind != MouseEventKind::Moved => Some(Msg::Mouse(event)),
        Event::Key(key) if key.kind != KeyEventKind::Release => Some(Msg::Key(key)),
        Event::Resize(columns, rows) => Some(Msg::Resize(columns, rows)),
        _ => None,
    }
}

/// The signals that end the cockpit.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> std::io::Result<Signals> {
        let on = |kind| signal(kind);
        Ok(Signals([on(SignalKind::terminate())?, on(SignalKind::hangup())?, on(SignalKind::interrupt())?]))
    }

    async fn any(&mut self) {
        let [terminate, hangup, interrupt] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::backend::Options;
    use super::super::fixtures::{self, Story};
    use super::*;

    #[tokio::test]
    async fn a_way_back_over_kubelets_that_were_seen_to_restart_containers_asks_first() {
        let app = fixtures::running((80, 24), Options::default(), Story::midway());
        let run = app.run.unwrap().run;
        let now = fixtures::way_back(&run).cluster;
        let back = |redefined| Back {
            run: fixtures::run_id(),
            plan: run.plan.clone(),
            done: run.done(),
            redefined,
            leave_out: false,
        };
        let plan = way_back(back(Vec::new()), now.clone()).await.unwrap();
        assert!(!plan.refused());
        let plan = way_back(back(vec![fixtures::name("rack0-cs2")]), now).await.unwrap();
        let found = plan.findings.iter().find(|f| f.code == "restarts-containers").unwrap();
        assert!(plan.refused() && found.acknowledgeable && found.nodes == [fixtures::name("rack0-cs2")]);
    }
}
