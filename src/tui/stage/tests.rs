//! The form by its keys.

use super::*;
use crate::tui::app::Screen;
use crate::tui::fixtures;
use crate::tui::msg::Msg;
use crate::tui::update::update;
use crossterm::event::{KeyCode, KeyEvent};

fn opened() -> App {
    let mut app = fixtures::app((80, 24), Default::default());
    keys(&mut app, "s");
    app
}

fn keys(app: &mut App, text: &str) -> Vec<Effect> {
    text.chars().flat_map(|c| key(app, KeyCode::Char(c))).collect()
}

fn key(app: &mut App, code: KeyCode) -> Vec<Effect> {
    update(app, Msg::Key(KeyEvent::from(code)))
}

fn to(app: &mut App, row: Row) {
    app.stage.cursor = rows(app).iter().position(|r| *r == row).unwrap();
}

fn staged(app: &App) -> Result<plan::Stage, String> {
    build(app, app.sight.cluster.as_ref().unwrap())
}

#[test]
fn several_bumps_are_staged_and_unstaged() {
    let mut app = opened();
    assert_eq!(staged(&app).unwrap().bumps.len(), 8);
    keys(&mut app, "x");
    assert!(staged(&app).unwrap_err().contains("nothing is staged"));
    assert!(key(&mut app, KeyCode::Char('\u{1}')).is_empty());
    to(&mut app, Row::Bump(Component::Kubelet));
    keys(&mut app, "e1.36.3.1");
    assert_eq!(app.stage.edit.as_ref().unwrap().wrong, None);
    key(&mut app, KeyCode::Enter);
    to(&mut app, Row::Bump(Component::Etcd));
    keys(&mut app, "equay.io/x/etcd:3.6.12");
    key(&mut app, KeyCode::Enter);
    let stage = staged(&app).unwrap();
    let bumps: Vec<String> = stage.bumps.iter().map(|b| format!("{} {}", b.component, b.to)).collect();
    assert_eq!(bumps, ["etcd quay.io/x/etcd:3.6.12", "kubelet ghcr.io/cybozu/kubernetes:1.36.3.1"]);
    assert_eq!(stage.release, None);
    keys(&mut app, " ");
    assert_eq!(staged(&app).unwrap().bumps.len(), 1, "space takes it out again");
}

#[test]
fn a_field_is_checked_as_it_is_typed_and_escape_takes_it_back() {
    let mut app = opened();
    let wrong = |app: &App| app.stage.edit.as_ref().unwrap().wrong.clone().unwrap_or_default();
    to(&mut app, Row::Racks);
    keys(&mut app, "erack9");
    assert!(wrong(&app).contains("no rack \"rack9\""), "{}", wrong(&app));
    key(&mut app, KeyCode::Enter);
    assert!(app.stage.edit.is_some(), "what is wrong cannot be kept");
    key(&mut app, KeyCode::Backspace);
    keys(&mut app, "[1-2]");
    assert_eq!(wrong(&app), "");
    assert_eq!(staged(&app).unwrap().scope.racks.len(), 2, "it counts at once");
    key(&mut app, KeyCode::Esc);
    assert!(staged(&app).unwrap().scope.racks.is_empty());
    assert_eq!(app.screen, Screen::Stage);
    to(&mut app, Row::Waves);
    key(&mut app, KeyCode::Char('e'));
    update(&mut app, Msg::Key(KeyEvent::new(KeyCode::Char('u'), crossterm::event::KeyModifiers::CONTROL)));
    keys(&mut app, "1,1/rack,100%");
    key(&mut app, KeyCode::Enter);
    assert_eq!(staged(&app).unwrap().limits.ramp.unwrap().to_string(), "1,1/rack,100%");
    keys(&mut app, "x");
    assert_eq!(staged(&app).unwrap().limits.ramp, None, "the profile's");
    for (row, typed, why) in [
        (Row::Soak, "soon", "is no time"),
        (Row::MaxParallel, "0", "nothing could ever happen"),
        (Row::Labels, "disk=ssd", "no node has a label disk"),
        (Row::First, "rack0-boot", "only workers can be pinned"),
        (Row::Bump(Component::Kubelet), "1 2", "tag"),
    ] {
        to(&mut app, row);
        begin(&mut app);
        erase(&mut app, true);
        typed.chars().for_each(|c| type_in(&mut app, c));
        assert!(wrong(&app).contains(why), "{typed}: {}", wrong(&app));
        key(&mut app, KeyCode::Esc);
    }
}

#[test]
fn the_planner_is_asked_once_for_each_change_and_its_answer_shown() {
    let mut app = fixtures::app((80, 24), Default::default());
    let effects = keys(&mut app, "s");
    assert!(matches!(effects.as_slice(), [Effect::Draft(..)]), "{effects:?}");
    assert!(keys(&mut app, "jjk").is_empty(), "one at a time, and none without a change");
    let stage = staged(&app).unwrap();
    let plan = fixtures::plan();
    let effects = update(&mut app, Msg::Drafted(Box::new(stage), Draft::of(&plan)));
    assert!(effects.is_empty());
    let draft = &app.stage.draft.as_ref().unwrap().1;
    assert_eq!((draft.nodes, draft.restarts[&Component::Kubelet]), (63, 63));
    to(&mut app, Row::MaxParallel);
    assert!(matches!(keys(&mut app, "+").as_slice(), [Effect::Draft(..)]));
}
