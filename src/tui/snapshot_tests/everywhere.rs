//! What holds of every screen: any size, no colour, no sign but ASCII, and the README's pictures.

use super::*;

#[test]
fn in_ascii_no_screen_has_anything_else() {
    let mut run = midway((120, 36));
    run.options.looks.ascii = true;
    shows("run-ascii-120x36", picture(&run));
    for keys in ["", "\t", "e", "?", ":", "T", "A", "s", "H"] {
        press(&mut run, keys);
        let shown = picture(&run);
        assert!(shown.is_ascii(), "{keys}: {:?}", shown.chars().find(|c| !c.is_ascii()));
        assert!(!shown.contains("??"), "{keys}: a sign has no ASCII of its own:\n{shown}");
        update(&mut run, Msg::Key(KeyEvent::from(KeyCode::Esc)));
    }
    let mut replay = fixtures::replay((120, 36), Story::midway());
    replay.options.looks.ascii = true;
    assert!(picture(&replay).is_ascii());
}

#[test]
fn without_colour_no_screen_has_any() {
    for screen in [Screen::Topology, Screen::Stage, Screen::Plan, Screen::Confirm, Screen::Run, Screen::Report] {
        let mut app = paused((120, 36));
        app.theme = crate::tui::theme::Theme::plain();
        update(&mut app, Msg::Planned(Arc::new(fixtures::refused())));
        (app.screen, app.over) = (screen, Some(Over::Help(0)));
        let mut terminal = Terminal::new(TestBackend::new(120, 36)).unwrap();
        terminal.draw(|frame| draw(&app, frame)).unwrap();
        let reset = ratatui::style::Color::Reset;
        assert!(terminal.backend().buffer().content.iter().all(|c| c.fg == reset && c.bg == reset), "{screen:?}");
    }
}

#[test]
fn a_small_terminal_is_told_kindly() {
    shows("small-60x10", picture(&midway((60, 10))));
}

#[test]
fn every_size_paints_and_thousands_of_nodes_do_not_hide_their_number() {
    for size in [(1, 1), (79, 24), (80, 24), (81, 25), (133, 41), (400, 100)] {
        for screen in [Screen::Topology, Screen::Stage, Screen::Plan, Screen::Confirm, Screen::Run, Screen::Report] {
            let mut app = midway(size);
            update(&mut app, Msg::Planned(Arc::new(fixtures::plan())));
            app.screen = screen;
            picture(&app);
        }
    }
    let mut cluster = fixtures::cluster();
    let model = cluster.nodes[&fixtures::name("rack0-cs1")].clone();
    for i in 0..3_000 {
        let mut node = model.clone();
        node.name = fixtures::name(&format!("big-{i:04}"));
        node.rack = format!("hall{:02}", i / 40).parse().unwrap();
        cluster.nodes.insert(node.name.clone(), node);
    }
    let mut app = plain((80, 24));
    update(&mut app, Msg::Observed(Ok(Box::new(cluster))));
    let shown = picture(&app);
    assert!(shown.contains("3060 nodes in 81 racks") && shown.contains("below"), "{shown}");
}

#[test]
fn the_readme_shows_the_screens_as_they_are() {
    let readme = include_str!("../../../README.md");
    for name in [
        "topology-80x24",
        "topology-rack-80x24",
        "stage-80x24",
        "plan-80x24",
        "run-120x36",
        "report-80x24",
        "replay-80x24",
    ] {
        let path = format!("{}/src/tui/snapshots/sonoba__tui__snapshot_tests__{name}.snap", env!("CARGO_MANIFEST_DIR"));
        let snapshot = std::fs::read_to_string(path).unwrap();
        let picture = snapshot.splitn(3, "---\n").nth(2).unwrap().trim_end_matches('\n');
        assert!(readme.contains(picture), "README.md shows another {name}");
    }
}
