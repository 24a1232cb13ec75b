//! Whatever stands in a plan and a journal, no cell of any screen holds what a terminal would act on. Read without the
//! cleaning that files get, so that this is the last wall and not the only one.

use super::app::{App, Over, Question, Screen};
use super::backend::Options;
use super::draw::draw;
use super::fixtures::{self, Story};
use super::msg::Msg;
use super::update::update;
use crate::fleet::poison::{Sample, hostile, poisoned};
use crate::fleet::{Disturbance, DisturbanceKind, is_unclean};
use crate::journal::{Event, Outcome, PauseReason, Verb};
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use std::sync::{Arc, LazyLock};

static PLAN: LazyLock<Sample> = LazyLock::new(|| Sample::of(&fixtures::plan()));
static CLUSTER: LazyLock<Sample> = LazyLock::new(|| Sample::of(&fixtures::cluster()));

/// Every kind of event that carries text, in a run that stands in the middle of things.
fn story(text: &str) -> Story {
    let mut story = Story::midway();
    let (swap, node) = (story.swap(6, 3, 6).id, story.swap(6, 3, 6).node);
    let image = story.plan.phases[0].pulls[0].images[0].clone();
    let pods = [DisturbanceKind::Gone, DisturbanceKind::Restarted("c".into())].map(|kind| Disturbance {
        pod: "default/p".into(),
        kind,
        ..Default::default()
    });
    story.tell(Event::PullFailed { node: node.clone(), image, why: "x".into() });
    story.tell(Event::PodsDisturbed { swap: swap.clone(), node: node.clone(), pods: pods.into() });
    story.tell(Event::SwapFailed { swap, node, why: "x".into(), untouched: false });
    story.tell(Event::Note { text: "x".into() });
    story.tell(Event::Command { verb: Verb::Pause, by: "x".into() });
    story.tell(Event::GateWaiting { gate: "x".into(), why: "x".into(), ms: None, limit_ms: None });
    // The beginning and the end hold every kind of event; to poison all would take a minute.
    let (head, tail) = (5, story.records.len() - 40);
    for (i, record) in story.records.iter_mut().enumerate().filter(|(i, _)| *i < head || *i >= tail) {
        *record = poisoned(record, text);
        record.seq = i as u64 + 1;
    }
    story.plan = Arc::new(PLAN.with(text));
    story
}

fn assert_clean(app: &App, what: &str) -> Result<(), TestCaseError> {
    let mut terminal = Terminal::new(TestBackend::new(app.size.0, app.size.1)).unwrap();
    terminal.draw(|frame| draw(app, frame)).unwrap();
    for cell in &terminal.backend().buffer().content {
        let bad = cell.symbol().chars().find(|c| is_unclean(*c) || c.is_control());
        prop_assert!(bad.is_none(), "{what}: {bad:?} in {:?}", cell.symbol());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    #[test]
    fn no_screen_shows_what_a_terminal_would_act_on(text in hostile(), more in "\\PC{0,12}", wide in any::<bool>()) {
        let text = text + &more;
        let size = if wide { (200, 60) } else { (80, 24) };
        let options = Options { title: text.clone(), ..Options::default() };
        let mut app = fixtures::running(size, options, story(&text));
        let plan = app.run.as_ref().map(|view| view.run.plan.clone()).unwrap();
        update(&mut app, Msg::Planned(plan));
        update(&mut app, Msg::Observed(Ok(Box::new(CLUSTER.with(&text)))));
        app.confirm.typed.clone_from(&text);
        let ends = [
            None,
            Some(Event::Paused { reason: PauseReason::Trouble, why: text.clone() }),
            Some(Event::RunEnded { outcome: Outcome::Failed, why: text.clone() }),
        ];
        for end in ends {
            if let Some(event) = end {
                let mut story = Story::new();
                story.records.clear();
                story.tell(event);
                update(&mut app, Msg::Records(fixtures::run_id(), story.records));
            }
            for screen in [Screen::Topology, Screen::Stage, Screen::Plan, Screen::Confirm, Screen::Run, Screen::Report] {
                app.screen = screen;
                for over in [None, Some(Over::Help(0)), Some(Over::Ask(Question::Abort))] {
                    app.over = over;
                    assert_clean(&app, &format!("{screen:?}"))?;
                }
            }
        }
        update(&mut app, Msg::Observed(Err(text.clone())));
        update(&mut app, Msg::Started(Err(text.clone())));
        update(&mut app, Msg::Commanded(Verb::Pause, Err(text)));
        app.over = None;
        for screen in [Screen::Topology, Screen::Stage] {
            app.screen = screen;
            assert_clean(&app, "an error")?;
        }
    }
}
