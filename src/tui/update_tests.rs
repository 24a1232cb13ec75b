//! What keys and messages do, without a terminal.

use super::app::{App, AskView, Over, Question, Screen};
use super::backend::Options;
use super::command::Command;
use super::fixtures::{self, Story, app, running};
use super::keymap::Mode;
use super::msg::{Begun, Effect, Msg};
use super::stage::{Row, rows};
use super::update::{run, update};
use crate::fleet::{Disturbance, DisturbanceKind};
use crate::journal::{Event, Outcome, PauseReason, Record, RunState, SwapState, Tone, Verb};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::sync::Arc;

const SIZE: (u16, u16) = (80, 24);

fn key(app: &mut App, code: KeyCode) -> Vec<Effect> {
    update(app, Msg::Key(KeyEvent::from(code)))
}

fn keys(app: &mut App, text: &str) -> Vec<Effect> {
    text.chars().flat_map(|c| key(app, KeyCode::Char(c))).collect()
}

fn plain() -> App {
    app(SIZE, Options::default())
}

fn midway(options: Options) -> App {
    running(SIZE, options, Story::midway())
}

fn record(event: Event) -> Record {
    Record { seq: 0, at: fixtures::at(200_000), prev: String::new(), event }
}

fn records(app: &mut App, events: impl IntoIterator<Item = Event>) -> Vec<Effect> {
    update(app, Msg::Records(fixtures::run_id(), events.into_iter().map(record).collect()))
}

fn planned(plan: crate::plan::Plan) -> App {
    let mut app = plain();
    update(&mut app, Msg::Planned(Arc::new(plan)));
    app
}

#[test]
fn the_way_from_the_map_to_a_run_by_keys_alone() {
    let mut app = plain();
    assert!(matches!(keys(&mut app, "s").as_slice(), [Effect::Draft(..)]));
    assert_eq!(app.screen, Screen::Stage);
    let effects = key(&mut app, KeyCode::Enter);
    let [Effect::Plan(cluster, stage)] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!((stage.release.as_deref(), stage.bumps.len()), (Some("1.36.2"), 8));
    assert_eq!(cluster.nodes.len(), 63);
    let plan = Arc::new(fixtures::plan());
    update(&mut app, Msg::Planned(plan.clone()));
    assert_eq!(app.screen, Screen::Plan);
    keys(&mut app, "a");
    assert_eq!(app.screen, Screen::Confirm);
    keys(&mut app, "tokyo0");
    let effects = key(&mut app, KeyCode::Enter);
    assert!(matches!(effects.as_slice(), [Effect::Start(_, p)] if Arc::ptr_eq(p, &plan)), "{effects:?}");
    // A second enter must not start a second engine.
    assert_eq!(key(&mut app, KeyCode::Enter), []);
    update(&mut app, Msg::Started(Ok(Begun { id: fixtures::run_id(), plan })));
    assert_eq!(app.screen, Screen::Run);
    assert!(app.plan.is_none());
}

#[test]
fn only_the_exact_name_starts_a_run() {
    for typed in ["", "tokyo", "tokyo00", "Tokyo0", " tokyo0", "tokyo1"] {
        let mut app = planned(fixtures::plan());
        keys(&mut app, "a");
        keys(&mut app, typed);
        assert_eq!(key(&mut app, KeyCode::Enter), [], "{typed:?}");
        assert!(app.confirm.wrong.is_some());
        assert_eq!(app.screen, Screen::Confirm);
    }
}

#[test]
fn keys_of_other_screens_are_letters_while_the_name_is_typed() {
    let mut app = planned(fixtures::plan());
    keys(&mut app, "a");
    keys(&mut app, "q?jkpA");
    assert_eq!((app.confirm.typed.as_str(), app.over), ("q?jkpA", None));
    key(&mut app, KeyCode::Backspace);
    assert_eq!(app.confirm.typed, "q?jkp");
    update(&mut app, Msg::Key(KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL)));
    assert_eq!(app.confirm.typed, "");
    key(&mut app, KeyCode::Esc);
    assert_eq!(app.screen, Screen::Plan);
}

#[test]
fn a_plan_with_errors_cannot_be_applied() {
    let mut app = planned(fixtures::refused());
    assert_eq!(keys(&mut app, "a"), []);
    assert_eq!(app.screen, Screen::Plan);
    assert!(app.notice.as_ref().is_some_and(|n| n.text.contains("cannot be applied")));
}

#[test]
fn an_engine_that_does_not_start_says_why_and_lets_one_try_again() {
    let mut app = planned(fixtures::plan());
    keys(&mut app, "atokyo0");
    key(&mut app, KeyCode::Enter);
    update(&mut app, Msg::Started(Err("the lock is held by satoru@bastion2".into())));
    assert!(app.confirm.wrong.as_ref().is_some_and(|w| w.contains("satoru@bastion2")));
    assert!(matches!(key(&mut app, KeyCode::Enter).as_slice(), [Effect::Start(..)]));
}

#[test]
fn a_pause_is_shown_when_the_journal_says_so_and_not_before() {
    let mut app = midway(Options::default());
    let state = |app: &App| app.run.as_ref().map(|v| v.run.state);
    assert!(matches!(keys(&mut app, "p").as_slice(), [Effect::Command(_, Verb::Pause)]));
    assert_eq!(state(&app), Some(RunState::Running));
    update(&mut app, Msg::Commanded(Verb::Pause, Ok(())));
    assert_eq!(state(&app), Some(RunState::Running));
    records(&mut app, [Event::Command { verb: Verb::Pause, by: "satoru".into() }]);
    assert_eq!(state(&app), Some(RunState::Pausing));
    assert_eq!(app.run.as_ref().and_then(|v| v.sent.clone()), None);
    let paused = Event::Paused { reason: PauseReason::Operator, why: "satoru paused it".into() };
    records(&mut app, [paused]);
    assert_eq!(state(&app), Some(RunState::Paused(PauseReason::Operator)));
    assert_eq!(keys(&mut app, "p"), []);
    assert!(matches!(keys(&mut app, "c").as_slice(), [Effect::Command(_, Verb::Resume)]));
    assert!(matches!(keys(&mut app, "R").as_slice(), [Effect::Command(_, Verb::Resume)]));
}

#[test]
fn a_command_that_is_not_delivered_is_said_aloud() {
    let mut app = midway(Options::default());
    keys(&mut app, "p");
    update(&mut app, Msg::Commanded(Verb::Pause, Err("the engine does not answer".into())));
    assert!(app.notice.as_ref().is_some_and(|n| n.tone == Tone::Alarm && n.text.contains("does not answer")));
    assert_eq!(app.run.as_ref().and_then(|v| v.sent.clone()), None);
}

#[test]
fn an_abort_asks_first_and_only_y_aborts() {
    for (code, sends) in
        [(KeyCode::Enter, false), (KeyCode::Char('n'), false), (KeyCode::Esc, false), (KeyCode::Char('y'), true)]
    {
        let mut app = midway(Options::default());
        assert_eq!(keys(&mut app, "A"), []);
        let effects = key(&mut app, code);
        assert_eq!(matches!(effects.as_slice(), [Effect::Command(_, Verb::Abort)]), sends, "{code:?}");
    }
}

#[test]
fn a_question_about_a_run_goes_away_when_the_run_ends() {
    let mut app = midway(Options::default());
    keys(&mut app, "A");
    let ended = Event::RunEnded { outcome: Outcome::Completed, why: String::new() };
    let effects = records(&mut app, [ended]);
    assert!(matches!(effects.as_slice(), [Effect::Observe, Effect::Notify(_)]), "{effects:?}");
    assert_eq!(app.over, None);
    key(&mut app, KeyCode::Enter);
    assert_eq!(app.screen, Screen::Report);
}

#[test]
fn leaving_a_run_asks_and_says_how_to_come_back() {
    let mut app = midway(Options::default());
    assert_eq!(keys(&mut app, "q"), []);
    assert_eq!(app.over, Some(Over::Ask(Question::Detach)));
    let effects = keys(&mut app, "y");
    let [Effect::Leave(Some(words))] = effects.as_slice() else { panic!("{effects:?}") };
    assert!(words.contains("sonoba watch 20261123-220000-tokyo0"), "{words}");
    // Without a run there is nothing to ask; a demo always asks.
    assert_eq!(keys(&mut plain(), "q"), [Effect::Leave(None)]);
    let mut demo = app_with(Options { demo: true, ..Options::default() });
    assert_eq!(keys(&mut demo, "q"), []);
    assert_eq!(keys(&mut demo, "n"), []);
    assert_eq!(keys(&mut demo, "qy"), [Effect::Leave(None)]);
}

fn app_with(options: Options) -> App {
    app(SIZE, options)
}

/// A question that could be answered at once.
fn ask() -> AskView {
    AskView { nodes: vec![fixtures::name("rack2-cs2")], typed: "because".into(), ..AskView::default() }
}

#[test]
fn arrows_choose_a_node_and_pages_go_through_the_log() {
    let mut app = midway(Options::default());
    let at = |app: &App| app.run.as_ref().and_then(|v| v.cursor.as_ref().map(ToString::to_string)).unwrap_or_default();
    let back = |app: &App| app.run.as_ref().map_or(0, |v| v.back);
    assert_eq!(at(&app), "");
    key(&mut app, KeyCode::Up);
    assert_eq!((at(&app).as_str(), back(&app)), ("rack2-cs2", 0), "the last is the one in trouble");
    keys(&mut app, "k");
    assert_ne!(at(&app), "rack2-cs2");
    keys(&mut app, "jjjj");
    assert_eq!(at(&app), "rack2-cs2");
    key(&mut app, KeyCode::PageUp);
    assert_eq!((at(&app).as_str(), back(&app)), ("rack2-cs2", 10));
    key(&mut app, KeyCode::End);
    assert_eq!(back(&app), 0);
    // Where there is no node to choose, the arrows go through the log.
    let mut app = running(SIZE, Options::default(), Story::new());
    key(&mut app, KeyCode::Up);
    assert_eq!((at(&app).as_str(), back(&app)), ("", 1));
}

#[test]
fn decisions_are_asked_about_the_chosen_node_and_sent_with_a_reason() {
    let mut app = midway(Options::default());
    // Several could be meant.
    assert_eq!(keys(&mut app, "s"), []);
    assert!(app.over.is_none() && app.notice.as_ref().is_some_and(|n| n.text.contains("choose a node")));
    key(&mut app, KeyCode::Up);
    keys(&mut app, "s");
    assert_eq!((app.over, app.mode()), (Some(Over::Ask(Question::Skip)), Mode::Reason));
    assert_eq!(key(&mut app, KeyCode::Enter), []);
    assert!(app.ask.wrong.as_ref().is_some_and(|w| w.contains("reason")) && app.over.is_some());
    assert_eq!(keys(&mut app, "yqn?xx"), [], "letters are letters");
    key(&mut app, KeyCode::Backspace);
    let nodes = vec![fixtures::name("rack2-cs2")];
    let skip = Verb::Skip { nodes: nodes.clone(), why: "yqn?x".into() };
    assert!(matches!(key(&mut app, KeyCode::Enter).as_slice(), [Effect::Command(_, verb)] if *verb == skip));
    assert_eq!(app.over, None);
    assert!(app.run.as_ref().is_some_and(|v| v.sent.as_ref() == Some(&skip)));
    records(&mut app, [Event::Command { verb: skip, by: "satoru".into() }]);
    assert!(app.run.as_ref().is_some_and(|v| v.sent.is_none()), "it is in the journal now");
    // Skipped, it can be taken in again, and has nothing to take back.
    assert_eq!(keys(&mut app, "b"), []);
    assert!(app.over.is_none());
    let effects = keys(&mut app, "ry");
    let retry = Verb::Retry { nodes };
    assert!(matches!(effects.as_slice(), [Effect::Command(_, verb)] if *verb == retry), "{effects:?}");
}

#[test]
fn a_node_in_flight_is_rolled_back_only_after_a_yes() {
    for (answer, sends) in [(KeyCode::Esc, false), (KeyCode::Enter, false), (KeyCode::Char('y'), true)] {
        let mut app = midway(Options::default());
        key(&mut app, KeyCode::Down);
        let node = app.run.as_ref().and_then(|v| v.cursor.clone()).unwrap();
        assert_eq!(keys(&mut app, "s"), []);
        assert!(app.notice.as_ref().is_some_and(|n| n.text.contains("being swapped")), "{:?}", app.notice);
        assert_eq!(keys(&mut app, "b"), []);
        let effects = key(&mut app, answer);
        let back = Verb::RollBack { nodes: vec![node] };
        assert_eq!(matches!(effects.as_slice(), [Effect::Command(_, verb)] if *verb == back), sends, "{answer:?}");
    }
}

#[test]
fn a_gate_is_overridden_only_while_it_is_waited_for_and_not_what_guards_a_swap() {
    let mut app = midway(Options::default());
    assert_eq!(keys(&mut app, "o"), []);
    assert!(app.over.is_none());
    let waits = |gate: &str| Event::GateWaiting { gate: gate.into(), why: "w9".into(), ms: None, limit_ms: None };
    records(&mut app, [waits(crate::journal::ROOM)]);
    assert_eq!(keys(&mut app, "o"), []);
    assert!(app.over.is_none() && app.notice.as_ref().is_some_and(|n| n.text.contains("quorum")));
    records(&mut app, [waits("nodes ready")]);
    keys(&mut app, "oknown");
    let verb = Verb::Override { gate: "nodes ready".into(), why: "known".into() };
    assert!(matches!(key(&mut app, KeyCode::Enter).as_slice(), [Effect::Command(_, sent)] if *sent == verb));
}

#[test]
fn a_read_only_cockpit_yields_no_effect_that_acts_whatever_is_pressed_or_run() {
    let acts = |e: &Effect| matches!(e, Effect::Start(..) | Effect::Command(..) | Effect::Rollback(..));
    let options = || Options { read_only: true, ..Options::default() };
    let mut codes: Vec<KeyCode> = (' '..='~').map(KeyCode::Char).collect();
    codes.extend([KeyCode::Enter, KeyCode::Esc, KeyCode::Tab, KeyCode::Backspace]);
    let screens = [Screen::Topology, Screen::Stage, Screen::Plan, Screen::Confirm, Screen::Run, Screen::Report];
    let asks =
        [Question::Abort, Question::Detach, Question::Retry, Question::Skip, Question::RollBack, Question::Override];
    let overs: Vec<Option<Over>> =
        [None, Some(Over::Help(0))].into_iter().chain(asks.map(|q| Some(Over::Ask(q)))).collect();
    let states = [
        Event::Note { text: "as it was".into() },
        Event::Paused { reason: PauseReason::Operator, why: "x".into() },
        Event::RunEnded { outcome: Outcome::Aborted, why: "x".into() },
    ];
    for state in states {
        for screen in screens {
            for over in overs.iter().copied() {
                let mut app = midway(options());
                records(&mut app, [state.clone()]);
                update(&mut app, Msg::Planned(Arc::new(fixtures::plan())));
                app.confirm.typed = "tokyo0".into();
                for code in &codes {
                    app.ask = ask();
                    (app.screen, app.over) = (screen, over);
                    assert!(!key(&mut app, *code).iter().any(acts), "{screen:?} {over:?} {code:?}");
                }
                // Even a keymap that named such commands could not make the effect.
                for command in Command::ALL {
                    (app.screen, app.over) = (screen, over);
                    app.confirm.typed = "tokyo0".into();
                    app.ask = ask();
                    assert!(!run(&mut app, *command).iter().any(acts), "{screen:?} {over:?} {command:?}");
                }
            }
        }
    }
}

#[test]
fn the_cursor_walks_masters_and_racks_and_stays_on_the_map() {
    let mut app = plain();
    let at = |app: &App| app.selected.as_ref().map(ToString::to_string).unwrap_or_default();
    assert_eq!(at(&app), "rack0-boot");
    keys(&mut app, "jjj");
    assert_eq!(at(&app), "rack0-cs1");
    keys(&mut app, "llj");
    assert_eq!(at(&app), "rack1-cs3");
    keys(&mut app, "G");
    assert_eq!(at(&app), "rack5-cs3");
    keys(&mut app, "jjllllllllllll");
    assert_eq!(at(&app), "rack5-ss10");
    keys(&mut app, "gkkhh");
    assert_eq!(at(&app), "rack0-boot");
}

#[test]
fn limits_move_within_their_bounds() {
    let mut app = plain();
    let to = |app: &mut App, row| app.stage.cursor = rows(app).iter().position(|r| *r == row).unwrap();
    keys(&mut app, "s+");
    assert_eq!(app.stage.staged.limits, fixtures::limits());
    to(&mut app, Row::Waves);
    keys(&mut app, "-------");
    assert_eq!(app.stage.staged.limits.canary, 1);
    to(&mut app, Row::Soak);
    let soak = |app: &App| app.stage.staged.limits.soak_ms;
    keys(&mut app, "+");
    assert_eq!(soak(&app), 90_000);
    keys(&mut app, "--");
    assert_eq!(soak(&app), 55_000);
    keys(&mut app, &"-".repeat(20));
    assert_eq!(soak(&app), 0);
}

#[test]
fn an_ended_run_is_taken_back_by_a_plan_that_is_read_and_confirmed_like_any_other() {
    let mut app = midway(Options::default());
    assert_eq!(keys(&mut app, "U"), []);
    assert!(app.notice.as_ref().is_some_and(|n| n.text.contains("has not ended")), "{:?}", app.notice);
    records(&mut app, [Event::RunEnded { outcome: Outcome::Aborted, why: "satoru aborted it".into() }]);
    let effects = keys(&mut app, "U");
    let [Effect::Rollback(_, back)] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!((&back.run, back.leave_out), (&fixtures::run_id(), false));
    assert!(back.done.len() > 20 && back.done.len() < back.plan.swaps().count());
    assert_eq!(app.screen, Screen::Run, "nothing is shown before the cluster was looked at");
    assert_eq!(keys(&mut app, "U"), [], "once is enough");
    update(&mut app, Msg::WayBack(Err("the API does not answer".into())));
    assert!(app.notice.as_ref().is_some_and(|n| n.tone == Tone::Alarm && n.text.contains("API does not answer")));
    assert_eq!(keys(&mut app, "U").len(), 1);
    let plan = Arc::new(fixtures::way_back(&app.run.as_ref().unwrap().run));
    update(&mut app, Msg::WayBack(Ok(plan.clone())));
    assert_eq!(app.screen, Screen::Plan);
    assert_eq!(app.sight.cluster.as_deref(), Some(&plan.cluster), "what was looked at is shown too");
    key(&mut app, KeyCode::Esc);
    assert_eq!(app.screen, Screen::Run);
    update(&mut app, Msg::WayBack(Ok(plan.clone())));
    keys(&mut app, "atokyo0");
    let effects = key(&mut app, KeyCode::Enter);
    assert!(matches!(effects.as_slice(), [Effect::Start(_, p)] if Arc::ptr_eq(p, &plan)), "{effects:?}");
}

#[test]
fn a_rollback_that_restarts_containers_waits_until_the_operator_acknowledges_it() {
    let mut app = midway(Options::default());
    let run = &app.run.as_ref().unwrap().run;
    let done = run.swaps.iter().find(|s| s.state == SwapState::Committed && !s.node.as_str().contains("boot")).unwrap();
    let (swap, node) = (done.id.clone(), done.node.clone());
    let kind = DisturbanceKind::Redefined("web".into());
    let pods = vec![Disturbance { pod: "app/web-1".into(), kind, ..Disturbance::default() }];
    records(
        &mut app,
        [
            Event::PodsDisturbed { swap, node: node.clone(), pods },
            Event::RunEnded { outcome: Outcome::Aborted, why: "satoru aborted it".into() },
        ],
    );
    let effects = keys(&mut app, "U");
    let [Effect::Rollback(_, back)] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!(back.redefined, [node], "the planner is told what the run saw");
    let plan = Arc::new(fixtures::way_back(&app.run.as_ref().unwrap().run));
    update(&mut app, Msg::WayBack(Ok(plan)));
    let wanted = |app: &App| app.plan.as_ref().map(|v| v.plan.refused());
    assert_eq!(wanted(&app), Some(true));
    keys(&mut app, "a");
    assert_eq!(app.screen, Screen::Plan, "not before it is acknowledged");
    assert!(app.notice.as_ref().is_some_and(|n| n.text.contains("acknowledge")), "{:?}", app.notice);
    // The cursor is on it; what was taken can be given back.
    assert_eq!(keys(&mut app, "t"), [], "nothing is planned anew");
    assert_eq!(
        (wanted(&app), super::outline::finding(&app).unwrap().code.as_str()),
        (Some(false), "restarts-containers")
    );
    assert!(super::outline::finding(&app).unwrap().text.ends_with("(acknowledged)"));
    let line = super::copy::command_line(&app).unwrap();
    assert_eq!(line, format!("sonoba rollback {} --acknowledge restarts-containers", fixtures::run_id()));
    keys(&mut app, "t");
    assert_eq!(wanted(&app), Some(true));
    keys(&mut app, "ta");
    assert_eq!(app.screen, Screen::Confirm);
    keys(&mut app, "tokyo0");
    let effects = key(&mut app, KeyCode::Enter);
    let [Effect::Start(_, plan)] = effects.as_slice() else { panic!("{effects:?}") };
    assert!(!plan.refused() && plan.findings.iter().any(|f| f.code == "restarts-containers"));
}

#[test]
fn what_is_down_is_left_out_when_the_operator_says_so_and_not_before() {
    let mut app = plain();
    let mut cluster = fixtures::cluster();
    let down = fixtures::name("rack3-cs4");
    cluster.nodes.get_mut(&down).unwrap().ready = false;
    update(&mut app, Msg::Observed(Ok(Box::new(cluster))));
    let excluded = |app: &mut App| match key(app, KeyCode::Enter).as_slice() {
        [Effect::Plan(_, stage)] => stage.scope.exclude.clone(),
        other => panic!("{other:?}"),
    };
    keys(&mut app, "s");
    assert_eq!(excluded(&mut app), []);
    app.stage.planning = false;
    app.stage.cursor = rows(&app).iter().position(|r| *r == Row::LeaveOut).unwrap();
    keys(&mut app, "+");
    assert_eq!(excluded(&mut app), [down]);
    app.stage.planning = false;
    keys(&mut app, "-");
    assert_eq!(excluded(&mut app), []);
}

#[test]
fn a_plan_folds_and_unfolds_under_its_cursor() {
    let mut app = planned(fixtures::plan());
    let rows = |app: &App| app.plan.as_ref().map_or(0, |v| super::outline::rows(v).len());
    if !app.plan.as_ref().unwrap().open.is_empty() {
        keys(&mut app, "f");
    }
    let folded = rows(&app);
    assert_eq!(folded, 2 + 7);
    keys(&mut app, "G");
    key(&mut app, KeyCode::Enter);
    assert_eq!(rows(&app), folded + 7);
    keys(&mut app, "jl");
    assert_eq!(rows(&app), folded + 7 + 3);
    // From a swap inside, folding goes back to its wave.
    keys(&mut app, "jjh");
    assert_eq!((rows(&app), app.plan.as_ref().map(|v| v.cursor)), (folded + 7, Some(folded)));
}

#[test]
fn nothing_is_painted_anew_when_nothing_changed() {
    let mut app = plain();
    app.painted();
    update(&mut app, Msg::Tick(fixtures::at(500)));
    assert!(!app.dirty());
    key(&mut app, KeyCode::F(9));
    assert!(!app.dirty());
    let mut app = midway(Options::default());
    app.painted();
    update(&mut app, Msg::Tick(fixtures::at(500)));
    assert!(app.dirty(), "a run's clocks move");
}

#[test]
fn records_of_another_run_are_passed_over_and_a_lost_journal_is_said() {
    let mut app = midway(Options::default());
    let events = app.run.as_ref().map(|v| v.run.events);
    let other = "another".parse().unwrap();
    update(&mut app, Msg::Records(other, vec![record(Event::Resumed)]));
    assert_eq!(app.run.as_ref().map(|v| v.run.events), events);
    update(&mut app, Msg::RecordsEnded("another".parse().unwrap()));
    assert!(app.run.as_ref().is_some_and(|v| !v.lost));
    update(&mut app, Msg::RecordsEnded(fixtures::run_id()));
    assert!(app.run.as_ref().is_some_and(|v| v.lost));
}

#[test]
fn a_run_without_an_engine_says_so_and_can_be_resumed() {
    let mut app = midway(Options::default());
    assert!(app.hindrance(Command::Resume).is_some(), "it runs");
    update(&mut app, Msg::Engine("another".parse().unwrap(), false));
    assert!(!app.orphaned());
    update(&mut app, Msg::Engine(fixtures::run_id(), false));
    assert!(app.orphaned());
    assert!(app.hindrance(Command::Pause).is_some_and(|why| why.contains("resume it first")));
    assert!(app.hindrance(Command::Abort).is_some());
    assert!(matches!(keys(&mut app, "c").as_slice(), [Effect::Command(_, Verb::Resume)]));
    records(&mut app, [Event::EngineStarted { pid: 8, host: "vm".into(), resumed: true }]);
    assert!(!app.orphaned(), "another engine has it");
}

#[test]
fn the_help_shows_every_key_of_every_screen() {
    for screen in [Screen::Topology, Screen::Stage, Screen::Plan, Screen::Confirm, Screen::Run, Screen::Report] {
        let mut app = midway(Options::default());
        app.screen = screen;
        app.over = Some(Over::Help(0));
        assert_eq!(app.mode(), Mode::Help);
        let shown = super::screens::help::words(&app);
        for binding in app.keymap.lines(screen.mode()) {
            assert!(shown.contains(binding.command.name()), "{screen:?} {}", binding.command.name());
        }
    }
}

#[test]
fn what_is_marked_on_the_map_is_the_scope_of_the_next_plan() {
    let mut app = plain();
    let marked = |app: &App| app.map.marked.iter().map(ToString::to_string).collect::<Vec<_>>();
    keys(&mut app, "jjj lv");
    assert_eq!(marked(&app), ["rack0-cs1", "rack0-cs2"], "a range");
    keys(&mut app, "m");
    assert_eq!(marked(&app).len(), 10, "the rack");
    keys(&mut app, "m");
    assert_eq!(marked(&app).len(), 0, "and back");
    keys(&mut app, "/rack=5 role=ss");
    key(&mut app, KeyCode::Enter);
    assert_eq!(app.selected.as_ref().unwrap().as_str(), "rack5-ss8", "the cursor goes to a match");
    keys(&mut app, "*");
    assert_eq!(marked(&app), ["rack5-ss10", "rack5-ss8", "rack5-ss9"]);
    // One that the cluster loses stays marked: the plan says that it is not there.
    let mut cluster = fixtures::cluster();
    cluster.nodes.remove(&fixtures::name("rack5-ss9"));
    update(&mut app, Msg::Observed(Ok(Box::new(cluster))));
    keys(&mut app, "s");
    let effects = key(&mut app, KeyCode::Enter);
    let [Effect::Plan(_, stage)] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!(stage.scope.nodes.iter().map(ToString::to_string).collect::<Vec<_>>(), marked(&app));
    update(&mut app, Msg::Key(KeyEvent::from(KeyCode::Esc)));
    keys(&mut app, "u");
    assert_eq!(marked(&app).len(), 0);
}

#[test]
fn the_map_is_zoomed_into_and_out_of_and_escape_leads_home() {
    use super::map::Zoom;
    let mut app = plain();
    keys(&mut app, "jjj");
    key(&mut app, KeyCode::Enter);
    assert_eq!(app.map.zoom, Zoom::Rack);
    keys(&mut app, "k");
    assert_eq!(app.selected.as_ref().unwrap().as_str(), "rack0-boot", "its master is on the rack");
    keys(&mut app, "jjl");
    assert_eq!(app.selected.as_ref().unwrap().as_str(), "rack1-cs1", "the next rack's first worker");
    let effects = key(&mut app, KeyCode::Enter);
    assert_eq!((app.map.zoom, effects), (Zoom::Node, vec![Effect::Near(fixtures::name("rack1-cs1"))]));
    keys(&mut app, "l");
    assert_eq!(app.map.near.as_ref().unwrap().node.as_str(), "rack1-cs2", "the pods of the one that is shown");
    update(&mut app, Msg::Near(fixtures::name("rack1-cs1"), Ok(Default::default())));
    assert!(app.map.near.as_ref().unwrap().near.is_none(), "an answer about another node is passed over");
    keys(&mut app, "/cs9");
    assert_eq!(app.map.zoom, Zoom::Rack);
    for zoom in [Zoom::Rack, Zoom::Fleet, Zoom::Fleet] {
        key(&mut app, KeyCode::Esc);
        assert_eq!((app.map.zoom, app.screen, app.map.typed.as_str()), (zoom, Screen::Topology, ""));
    }
}

#[test]
fn a_pause_calls_the_operator_once_and_not_for_what_is_long_past() {
    let mut app = midway(Options::default());
    let paused = || Event::Paused { reason: PauseReason::Budget, why: "3 failed swaps (budget 3)".into() };
    let effects = records(&mut app, [paused()]);
    let [Effect::Notify(words)] = effects.as_slice() else { panic!("{effects:?}") };
    assert!(words.contains("paused: 3 failed swaps"), "{words}");
    assert_eq!(records(&mut app, [paused()]), []);
    let mut app = midway(Options::default());
    app.now += jiff::SignedDuration::from_secs(300);
    assert_eq!(records(&mut app, [paused()]), []);
}

#[test]
fn the_story_is_filtered_and_its_lines_lead_to_their_nodes_and_back() {
    let mut app = midway(Options::default());
    keys(&mut app, "e/CS2 rolled");
    let lines = super::events::lines(&app);
    assert!(!lines.is_empty() && lines.iter().all(|l| l.node.as_ref().is_some_and(|n| n.as_str().contains("cs2"))));
    key(&mut app, KeyCode::Enter);
    let effects = key(&mut app, KeyCode::Enter);
    assert_eq!(effects, [Effect::Near(fixtures::name("rack2-cs2"))]);
    assert_eq!((app.screen, app.map.zoom), (Screen::Topology, super::map::Zoom::Node));
    key(&mut app, KeyCode::Esc);
    assert_eq!(app.screen, Screen::Events, "back to where it came from");
    key(&mut app, KeyCode::Esc);
    assert_eq!((app.screen, app.events.typed.as_str()), (Screen::Events, ""), "the filter first");
    let all = super::events::lines(&app).len();
    keys(&mut app, "!");
    assert!(super::events::lines(&app).len() < all);
    key(&mut app, KeyCode::Esc);
    key(&mut app, KeyCode::Esc);
    assert_eq!(app.screen, Screen::Run);
}

#[test]
fn what_the_cursor_is_on_is_copied_and_a_command_that_does_the_same() {
    let copied = |app: &mut App, k: &str| match keys(app, k).as_slice() {
        [Effect::Copy(text)] => text.clone(),
        other => panic!("{other:?}"),
    };
    let mut app = plain();
    assert_eq!(copied(&mut app, "y"), "rack0-boot");
    keys(&mut app, "jjj m");
    assert_eq!(copied(&mut app, "y"), "rack0-cs[1-7] rack0-ss[8-10]");
    keys(&mut app, "s");
    let line = copied(&mut app, "Y");
    let wanted = "sonoba plan --release 1.36.2 --nodes 'rack0-cs[1-7],rack0-ss[8-10]' --canary 3 --max-parallel 50 \
                  --max-unavailable 5 --soak 60s -o plan.json";
    assert_eq!(line, wanted);
    let mut app = midway(Options::default());
    assert!(copied(&mut app, "Y").starts_with("sonoba watch 2026"));
}
