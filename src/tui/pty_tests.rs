//! The cockpit in a real (pseudo) terminal: keys in, screens out, and the terminal given back whatever happens.

use super::backend::{Backend, Near, Options, RunHandle};
use super::fixtures::{self, Story};
use crate::fleet::{Cluster, NodeName};
use crate::journal::{Event, Outcome, PauseReason, Record, Verb};
use crate::plan::{Budget, Limits, Plan, Release, Settings, Stage};
use jiff::Timestamp;
use portable_pty::{CommandBuilder, PtySize, native_pty_system};
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Tells the child which backend to play.
const PART: &str = "SONOBA_TEST_PART";

/// A backend whose run stands midway and obeys at once.
struct Fake {
    part: String,
    journal: Mutex<Option<mpsc::Sender<Record>>>,
}

impl Fake {
    fn handle(&self, plan: Arc<Plan>) -> RunHandle {
        let story = Story::midway();
        let (sender, records) = mpsc::channel(4096);
        // The story happened just now.
        let shift = Timestamp::now().duration_since(fixtures::at(story.ms));
        for mut record in story.records {
            record.at += shift;
            sender.try_send(record).unwrap();
        }
        *self.journal.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        RunHandle { id: fixtures::run_id(), plan, records }
    }

    fn tell(&self, event: Event) {
        let journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        let record = Record { seq: 0, at: Timestamp::now(), prev: String::new(), event };
        journal.as_ref().unwrap().try_send(record).unwrap();
    }
}

#[async_trait::async_trait]
impl Backend for Fake {
    async fn observe(&self) -> Result<Cluster, String> {
        assert!(self.part != "panic", "the backend panics");
        Ok(fixtures::cluster())
    }

    async fn near(&self, _: &NodeName) -> Result<Near, String> {
        Ok(Near::default())
    }

    fn releases(&self) -> Vec<Release> {
        fixtures::releases()
    }

    fn defaults(&self) -> (Limits, Budget, Settings) {
        (fixtures::limits(), fixtures::budget(), Settings { components: Default::default(), ..Settings::default() })
    }

    fn plan(&self, _: &Cluster, _: &Stage) -> Plan {
        fixtures::plan()
    }

    async fn start(&self, plan: Plan) -> Result<RunHandle, String> {
        Ok(self.handle(Arc::new(plan)))
    }

    async fn attach(&self) -> Option<RunHandle> {
        ["attach", "slow"].contains(&self.part.as_str()).then(|| self.handle(Arc::new(fixtures::plan())))
    }

    async fn command(&self, _: &RunHandle, verb: Verb) -> Result<(), String> {
        if self.part == "slow" {
            tokio::time::sleep(Duration::from_millis(300)).await;
            eprintln!("{verb:?} was delivered");
        }
        self.tell(Event::Command { verb: verb.clone(), by: "satoru".into() });
        self.tell(match verb {
            Verb::Pause => Event::Paused { reason: PauseReason::Operator, why: "satoru paused it".into() },
            Verb::Resume => Event::Resumed,
            Verb::Abort => Event::RunEnded { outcome: Outcome::Aborted, why: "satoru aborted it".into() },
            other => Event::Note { text: format!("{} was taken", other.word()) },
        });
        Ok(())
    }

    async fn engine(&self, _: &RunHandle) -> Option<bool> {
        Some(true)
    }
}

/// Not a test of its own: the other tests run it in a terminal. Without [`PART`] it has nothing to do.
#[test]
fn child() {
    let Ok(part) = std::env::var(PART) else { return };
    let demo = part == "demo";
    let backend = Arc::new(Fake { part, journal: Mutex::new(None) });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let result = runtime.block_on(super::run(backend, Options { demo, title: "tokyo0".into(), ..Options::default() }));
    if let Err(error) = result {
        eprintln!("cockpit error: {error}");
        std::process::exit(7);
    }
}

/// The child in a terminal of 80 by 24.
struct Screen {
    parser: Arc<Mutex<vt100::Parser>>,
    raw: Arc<Mutex<Vec<u8>>>,
    keys: Box<dyn Write + Send>,
    child: Box<dyn portable_pty::Child + Send + Sync>,
    _master: Box<dyn portable_pty::MasterPty + Send>,
}

impl Screen {
    fn open(part: &str) -> Screen {
        let size = PtySize { rows: 24, cols: 80, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(std::env::current_exe().unwrap());
        command.args(["--exact", "tui::pty_tests::child", "--nocapture", "--test-threads=1"]);
        command.env(PART, part);
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let n = |n| std::num::NonZero::new(n).unwrap();
        let parser = Arc::new(Mutex::new(vt100::Parser::new(n(24), n(80), 0)));
        let raw = Arc::new(Mutex::new(Vec::new()));
        let mut reader = pair.master.try_clone_reader().unwrap();
        let (to, copy) = (parser.clone(), raw.clone());
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut bytes) {
                to.lock().unwrap().process(&bytes[..n]);
                copy.lock().unwrap().extend_from_slice(&bytes[..n]);
            }
        });
        let keys = pair.master.take_writer().unwrap();
        Screen { parser, raw, keys, child, _master: pair.master }
    }

    fn text(&self) -> String {
        self.parser.lock().unwrap().screen().contents()
    }

    #[track_caller]
    fn until(&self, words: &str) {
        let patience = Instant::now() + Duration::from_secs(20);
        while !self.text().contains(words) {
            assert!(Instant::now() < patience, "{words:?} never came:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.process_id().unwrap()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Waits for the end; what was printed at any time must have `words` in it.
    #[track_caller]
    fn ended_saying(self, words: &str) {
        let raw = self.raw.clone();
        self.ended();
        let raw = String::from_utf8_lossy(&raw.lock().unwrap()).into_owned();
        assert!(raw.contains(words), "{words:?} is not in: {raw}");
    }

    /// Waits for the end; returns the exit code. The terminal must be as before: main screen, cursor visible.
    #[track_caller]
    fn ended(mut self) -> (u32, String) {
        let patience = Instant::now() + Duration::from_secs(20);
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < patience, "it never ended:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(10));
        };
        let given_back = || {
            let parser = self.parser.lock().unwrap();
            !parser.screen().alternate_screen() && !parser.screen().hide_cursor()
        };
        let patience = Instant::now() + Duration::from_secs(5);
        while !given_back() {
            assert!(Instant::now() < patience, "the terminal was not given back:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(10));
        }
        let raw = String::from_utf8_lossy(&self.raw.lock().unwrap()).into_owned();
        assert!(raw.contains("\u{1b}[?1049h"), "it was never opened: {raw}");
        (status.exit_code(), self.text())
    }
}

#[test]
fn from_the_map_to_the_report_by_keys() {
    let mut screen = Screen::open("plain");
    screen.until("63/63 Ready");
    screen.press("s");
    screen.until("204 restarts");
    screen.press("\r");
    screen.until("7. workers");
    screen.press("a");
    screen.until("Type the cluster's name");
    screen.press("tokyo0\r");
    screen.until("IN FLIGHT 5");
    // A repaint asks the terminal for nothing that would be taken for keys, or the other way round.
    screen.press("\u{c}p");
    screen.until("‖ PAUSED");
    screen.press("c");
    screen.until("▶ RUNNING");
    screen.press("\t");
    screen.until("5 in flight; tab: the run");
    screen.press("\tA");
    screen.until("Abort the run?");
    screen.press("y");
    screen.until("■ ABORTED");
    screen.press("\r");
    screen.until("DOWNTIME");
    screen.press("q");
    assert_eq!(screen.ended().0, 0);
}

#[test]
fn detaching_from_a_run_gives_the_terminal_back_and_says_how_to_return() {
    let mut screen = Screen::open("attach");
    screen.until("IN FLIGHT 5");
    screen.press("q");
    screen.until("Detach from the run?");
    screen.press("y");
    let (code, text) = screen.ended();
    assert_eq!(code, 0);
    assert!(text.contains("goes on without the cockpit"), "{text}");
}

#[test]
fn a_command_is_delivered_although_the_operator_leaves_at_once() {
    let mut screen = Screen::open("slow");
    screen.until("IN FLIGHT 5");
    screen.press("pqy");
    screen.ended_saying("Pause was delivered");
}

#[test]
fn signals_give_the_terminal_back() {
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::HUP] {
        let screen = Screen::open("attach");
        screen.until("IN FLIGHT 5");
        screen.signal(signal);
        assert_eq!(screen.ended().0, 0, "{signal:?}");
    }
}

#[test]
fn a_panic_gives_the_terminal_back_and_its_message_can_be_read() {
    let screen = Screen::open("panic");
    let (code, text) = screen.ended();
    assert_eq!(code, 7);
    assert!(text.contains("the backend panics") && text.contains("a run goes on"), "{text}");
}
