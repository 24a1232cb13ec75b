//! A recorded run: replayed, and as a film.

use super::*;

/// A run with a failure and a pause, to its end.
fn told() -> Story {
    let mut story = Story::midway();
    let swap = story.swap(6, 3, 6);
    story.roll_back(&swap, "the kubelet never became healthy");
    story.wait(20_000);
    story.tell(Event::Paused { reason: PauseReason::Operator, why: "satoru paused it".into() });
    story.wait(60_000);
    story.tell(Event::RunEnded { outcome: Outcome::Aborted, why: "satoru aborted it".into() });
    story
}

#[test]
fn a_replay_stopped_at_its_failure() {
    at_each_size("replay", |size| {
        let mut app = fixtures::replay(size, told());
        press(&mut app, "x");
        app
    });
}

#[test]
fn a_replay_goes_on_and_back_and_shows_what_was_so() {
    let mut app = fixtures::replay((120, 36), told());
    let shown = |app: &App| {
        let view = app.run.as_ref().unwrap();
        (app.player.as_ref().unwrap().played(), view.run.swaps.iter().filter(|s| s.state.open()).count())
    };
    let begin = shown(&app);
    assert_eq!((app.screen, begin.1), (Screen::Run, 0));
    press(&mut app, "$");
    let end = app.run.as_ref().unwrap().run.ended();
    assert_eq!(end, Some(Outcome::Aborted));
    let picture_at_end = picture(&app);
    // To the beginning and again to the end by single events: the same picture.
    press(&mut app, "0");
    assert_eq!(shown(&app), begin);
    let mut steps = 0;
    while app.run.as_ref().unwrap().run.ended().is_none() {
        press(&mut app, ".");
        steps += 1;
        assert!(steps < 10_000);
    }
    press(&mut app, "$");
    assert_eq!(picture(&app), picture_at_end);
    // It plays by the real clock, and what is asked of it acts on nothing.
    press(&mut app, "0 ");
    let begun = fixtures::at(0);
    for s in 0..5 {
        let effects = update(&mut app, Msg::Tick(begun + jiff::SignedDuration::from_secs(1_000 + s)));
        assert!(effects.is_empty());
    }
    assert_eq!(app.now, begun + jiff::SignedDuration::from_secs(4));
    for key in "pAcRrsboUaSr".chars() {
        assert!(update(&mut app, Msg::Key(KeyEvent::from(KeyCode::Char(key)))).is_empty(), "{key} asks for something");
    }
}

#[test]
fn a_film_holds_every_picture_and_ends() {
    let story = told();
    let about = crate::journal::RecordingHead::new(fixtures::run_id(), fixtures::cluster().name, "x".into(), at(0));
    let recording = crate::journal::Recording {
        about,
        plan: story.plan.as_ref().clone(),
        records: story.records,
        chain: crate::journal::Chain::Ok,
    };
    let from = crate::tui::TapeFrom::Offset(jiff::SignedDuration::ZERO);
    let film = crate::tui::cast(crate::tui::Tape { recording, speed: 100.0, from }, (80, 24)).unwrap();
    let mut lines = film.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let head = lines.next().unwrap();
    assert_eq!((&head["version"], &head["width"], &head["height"]), (&2.into(), &80.into(), &24.into()));
    let mut before = 0.0;
    let mut all = String::new();
    for event in lines {
        let at = event[0].as_f64().unwrap();
        assert!(at >= before && event[1] == "o");
        before = at;
        all += event[2].as_str().unwrap();
    }
    assert!(all.contains("REPLAY") && all.contains("ABORTED"), "{}", all.len());
}
