//! The mouse on painted screens.

use super::app::{App, Screen};
use super::backend::Options;
use super::draw::draw;
use super::fixtures::{self, Story};
use super::map::Zoom;
use super::msg::{Effect, Msg};
use super::update::update;
use crossterm::event::{KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

/// The place of a text on the picture.
fn find(app: &App, text: &str) -> (u16, u16) {
    let mut terminal = Terminal::new(TestBackend::new(app.size.0, app.size.1)).unwrap();
    terminal.draw(|frame| draw(app, frame)).unwrap();
    let buffer = terminal.backend().buffer();
    for (y, row) in buffer.content.chunks(usize::from(app.size.0)).enumerate() {
        let symbols: Vec<&str> = row.iter().map(|c| c.symbol()).collect();
        for x in 0..symbols.len() {
            if symbols[x..].concat().starts_with(text) {
                return (u16::try_from(x).unwrap(), u16::try_from(y).unwrap());
            }
        }
    }
    panic!("{text:?} is not on the screen");
}

fn event(app: &mut App, kind: MouseEventKind, (column, row): (u16, u16)) -> Vec<Effect> {
    update(app, Msg::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE }))
}

fn click(app: &mut App, text: &str) -> Vec<Effect> {
    let place = find(app, text);
    event(app, MouseEventKind::Down(MouseButton::Left), place)
}

#[test]
fn a_click_chooses_a_node_and_a_double_click_leads_nearer() {
    let mut app = fixtures::app((120, 36), Options::default());
    click(&mut app, "rack3-cs4");
    assert_eq!(app.selected.as_ref().unwrap().as_str(), "rack3-cs4");
    assert_eq!(app.map.zoom, Zoom::Fleet);
    click(&mut app, "rack3-cs4 ");
    assert_eq!(app.map.zoom, Zoom::Rack);
    click(&mut app, "rack3-ss8");
    app.wall += jiff::SignedDuration::from_secs(2);
    click(&mut app, "rack3-ss8");
    assert_eq!(app.map.zoom, Zoom::Rack, "two slow clicks are no double click");
    assert_eq!(click(&mut app, "rack3-ss8"), [Effect::Near(fixtures::name("rack3-ss8"))]);
    click(&mut app, "esc back");
    assert_eq!(app.map.zoom, Zoom::Rack, "the footer's keys can be clicked");
}

#[test]
fn the_wheel_scrolls_and_what_is_covered_cannot_be_clicked() {
    let mut app = fixtures::app((80, 24), Options::default());
    click(&mut app, "s stage");
    assert_eq!(app.screen, Screen::Stage);
    let before = app.stage.cursor;
    event(&mut app, MouseEventKind::ScrollDown, (5, 5));
    assert_eq!(app.stage.cursor, before + 3);
    click(&mut app, "kube-scheduler");
    assert_eq!(super::stage::title(super::stage::here(&app).unwrap()), "kube-scheduler");
    let help = find(&app, "? help");
    event(&mut app, MouseEventKind::Down(MouseButton::Left), help);
    find(&app, "Keys on the stage screen");
    let cursor = app.stage.cursor;
    for row in 3..20 {
        event(&mut app, MouseEventKind::Down(MouseButton::Left), (40, row));
    }
    assert_eq!(app.stage.cursor, cursor);
}

#[test]
fn the_tape_is_dragged() {
    let mut app = fixtures::replay((120, 36), Story::midway());
    let (_, row) = find(&app, "event ");
    let track = app.hits.find(&super::hits::Hit::Tape).unwrap();
    event(&mut app, MouseEventKind::Down(MouseButton::Left), (track.x, row));
    let player = |app: &App| app.player.as_ref().map(|p| (p.share_of(p.at()) * 100.0).round());
    assert_eq!(player(&app), Some(0.0));
    event(&mut app, MouseEventKind::Drag(MouseButton::Left), (track.x + track.width / 2, 3));
    assert!(player(&app).is_some_and(|share| (45.0..55.0).contains(&share)), "{:?}", player(&app));
    event(&mut app, MouseEventKind::Up(MouseButton::Left), (0, 0));
    event(&mut app, MouseEventKind::Drag(MouseButton::Left), (track.x, row));
    assert!(player(&app).is_some_and(|share| share > 40.0), "let go");
}

#[test]
fn a_line_of_the_log_leads_to_its_node() {
    let mut app = fixtures::running((120, 36), Options::default(), Story::midway());
    let place = {
        let log = find(&app, "LOG");
        (log.0 + 12, log.1 + 1)
    };
    event(&mut app, MouseEventKind::Down(MouseButton::Left), place);
    let node = app.selected.clone().unwrap();
    let effects = event(&mut app, MouseEventKind::Down(MouseButton::Left), place);
    assert_eq!(effects, [Effect::Near(node)]);
    assert_eq!((app.screen, app.map.zoom), (Screen::Topology, Zoom::Node));
}
