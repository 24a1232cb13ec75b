//! What a person sees, screen by screen, at three sizes.

mod deciding;
mod ending;
mod everywhere;
mod helping;
mod replaying;
mod running;
mod staging;
mod topology;

use super::app::{App, Over, Question, Screen};
use super::backend::Options;
use super::draw::draw;
use super::fixtures::{self, Story, at};
use super::msg::Msg;
use super::update::update;
use crate::fleet::{Cause, Component, Disturbance, DisturbanceKind};
use crate::journal::{EngineSeen, Event, Outcome, PauseReason, Step, Verb};
use crate::plan::{self, Gate, OwnGate};
use crossterm::event::{KeyCode, KeyEvent};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use std::sync::Arc;

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 36), (200, 60)];

fn picture(app: &App) -> String {
    let mut terminal = Terminal::new(TestBackend::new(app.size.0, app.size.1)).unwrap();
    terminal.draw(|frame| draw(app, frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let rows = buffer.content.chunks(usize::from(app.size.0));
    rows.map(|row| row.iter().map(|c| c.symbol()).collect::<String>().trim_end().to_owned() + "\n").collect()
}

/// Compares with the snapshot of this name. All are named after this file, wherever their test stands.
fn shows(name: &str, picture: String) {
    insta::assert_snapshot!(name, picture);
}

fn at_each_size(screen: &str, make: impl Fn((u16, u16)) -> App) {
    for size in SIZES {
        shows(&format!("{screen}-{}x{}", size.0, size.1), picture(&make(size)));
    }
}

fn plain(size: (u16, u16)) -> App {
    fixtures::app(size, Options::default())
}

fn midway(size: (u16, u16)) -> App {
    fixtures::running(size, Options::default(), Story::midway())
}

fn planned(size: (u16, u16), plan: crate::plan::Plan) -> App {
    let mut app = plain(size);
    update(&mut app, Msg::Planned(Arc::new(plan)));
    app
}

fn press_all(app: &mut App, keys: &str) -> Vec<super::msg::Effect> {
    keys.chars().flat_map(|c| update(app, Msg::Key(KeyEvent::from(KeyCode::Char(c))))).collect()
}

fn press(app: &mut App, keys: &str) {
    for c in keys.chars() {
        update(app, Msg::Key(KeyEvent::from(KeyCode::Char(c))));
    }
}

fn own_gate() -> Gate {
    let argv = ["ceph-health", "--quiet", "--cluster", "rook-ceph-hdd"].map(String::from).to_vec();
    let (name, question) = ("ceph".parse().unwrap(), plan::Question::Command { argv, exit: 0 });
    Gate::Own(Box::new(OwnGate { name, question, timeout_ms: 600_000, interval_ms: 10_000, limit_ms: 30_000 }))
}

fn paused(size: (u16, u16)) -> App {
    let mut story = Story::midway();
    let swap = story.swap(6, 3, 1);
    let pods = vec![Disturbance {
        pod: "mysql/moco-main-0".into(),
        kind: DisturbanceKind::Restarted("mysqld".into()),
        ..Default::default()
    }];
    story.tell(Event::PodsDisturbed { swap: swap.id, node: swap.node.clone(), pods });
    story.tell(Event::ClusterSeen { ready: 62, total: 63, lost: vec![swap.node], api: true, refused: None });
    for i in 1..=5 {
        let swap = story.swap(6, 3, i);
        story.commit_with(&swap, usize::from(i == 1));
    }
    let why = "1 disturbed pod on rack2-cs3; the run pauses at 1".into();
    story.tell(Event::Paused { reason: PauseReason::Budget, why });
    fixtures::running(size, Options::default(), story)
}

fn keys(app: &mut App, codes: &[KeyCode]) {
    codes.iter().for_each(|code| drop(update(app, Msg::Key(KeyEvent::from(*code)))));
}

/// Paused by one node that rolled back; nothing is in flight.
fn stands() -> Story {
    let mut story = Story::midway();
    for i in 1..=5 {
        let swap = story.swap(6, 3, i);
        story.commit_with(&swap, 0);
    }
    let why = "1 swap rolled back or failed, the run pauses at 1: rack2-cs2: kubelet did not answer";
    story.tell(Event::Paused { reason: PauseReason::Budget, why: why.into() });
    story
}
