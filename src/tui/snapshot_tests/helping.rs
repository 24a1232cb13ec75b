//! What lies over a screen to help: keys, palette, themes, clusters, the cockpit's own log.

use super::*;

#[test]
fn log_and_clusters() {
    at_each_size("trace", |size| {
        let mut app = plain(size);
        update(&mut app, Msg::Key(KeyEvent::from(KeyCode::F(12))));
        update(
            &mut app,
            Msg::Trace(Ok("state/cockpit.log\n2026-11-23T22:00:00Z  WARN sonoba: rack0-cs1: slow\n".into())),
        );
        app
    });
    at_each_size("clusters", |size| {
        let clusters = ["osaka0", "stage0", "tokyo0"].map(str::to_owned).to_vec();
        let mut app = fixtures::app(size, Options { clusters, title: "tokyo0".into(), ..Options::default() });
        press(&mut app, "Ck");
        app
    });
    let clusters = ["osaka0", "tokyo0"].map(str::to_owned).to_vec();
    let mut app = fixtures::app((80, 24), Options { clusters, title: "tokyo0".into(), ..Options::default() });
    press(&mut app, "Ck");
    let effects = update(&mut app, Msg::Key(KeyEvent::from(KeyCode::Enter)));
    assert_eq!(effects, [crate::tui::msg::Effect::Switch("osaka0".into())]);
}

#[test]
fn themes() {
    at_each_size("themes", |size| {
        let mut app = midway(size);
        press(&mut app, "Tj");
        app
    });
    let mut app = midway((80, 24));
    let before = app.theme;
    press(&mut app, "Tj");
    assert_ne!(app.theme, before, "shown at once");
    update(&mut app, Msg::Key(KeyEvent::from(KeyCode::Esc)));
    assert_eq!(app.theme, before);
    press(&mut app, "Tk");
    let effects = update(&mut app, Msg::Key(KeyEvent::from(KeyCode::Enter)));
    assert_eq!(effects, [crate::tui::msg::Effect::Remember("theme", "colour-blind".into())]);
    assert_ne!(app.theme, before);
}

#[test]
fn help() {
    at_each_size("help", |size| {
        let mut app = midway(size);
        press(&mut app, "?");
        app
    });
}

#[test]
fn the_palette() {
    at_each_size("palette", |size| {
        let mut app = midway(size);
        press(&mut app, ":re");
        app
    });
}
