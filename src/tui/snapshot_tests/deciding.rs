//! Questions over a run, and the decisions about single nodes and gates.

use super::*;

#[test]
fn run_abort_question() {
    at_each_size("run-abort", |size| {
        let mut app = midway(size);
        press(&mut app, "A");
        assert_eq!(app.over, Some(Over::Ask(Question::Abort)));
        app
    });
}

#[test]
fn run_with_a_node_under_the_cursor() {
    at_each_size("run-cursor", |size| {
        let mut app = midway(size);
        keys(&mut app, &[KeyCode::Up]);
        app
    });
}

#[test]
fn run_retry_question() {
    at_each_size("run-retry", |size| {
        let mut app = fixtures::running(size, Options::default(), stands());
        press(&mut app, "r");
        assert_eq!(app.over, Some(Over::Ask(Question::Retry)));
        app
    });
}

#[test]
fn run_skip_with_its_reason() {
    at_each_size("run-skip", |size| {
        let mut app = fixtures::running(size, Options::default(), stands());
        press(&mut app, "sthe disk is broken, ticket OPS-1234; its owner was told and will mend it on Tuesday");
        assert_eq!(app.over, Some(Over::Ask(Question::Skip)));
        app
    });
}

#[test]
fn a_question_with_much_to_say_still_shows_its_answer() {
    let mut story = stands();
    let swap = story.swap(6, 4, 0);
    story.roll_back(&swap, &"the node said very much of it ".repeat(60));
    let names: Vec<_> = story.plan.swaps().map(|(_, _, s)| s.node.clone()).collect();
    let why = format!("NotReady: {}", names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
    story.tell(Event::GateWaiting { gate: "nodes ready".into(), why, ms: None, limit_ms: None });
    for keys in ["jjs", "o"] {
        let mut app = fixtures::running((80, 24), Options::default(), story.clone());
        press(&mut app, keys);
        press(&mut app, "because");
        let shown = picture(&app);
        assert!(shown.contains("Why: because") && shown.contains("enter "), "{shown}");
    }
}

#[test]
fn run_roll_back_question() {
    at_each_size("run-roll-back", |size| {
        let mut app = midway(size);
        press(&mut app, "jjb");
        assert_eq!(app.over, Some(Over::Ask(Question::RollBack)));
        app
    });
}

#[test]
fn run_override_without_a_reason() {
    at_each_size("run-override", |size| {
        let mut story = Story::new();
        story.prefetch();
        story.through(6, 1);
        let why = "NotReady: rack3-cs[4-5]".to_owned();
        story.tell(Event::GateWaiting { gate: "nodes ready".into(), why, ms: None, limit_ms: None });
        story.wait(90_000);
        let mut app = fixtures::running(size, Options::default(), story);
        press(&mut app, "o ");
        keys(&mut app, &[KeyCode::Enter]);
        assert_eq!(app.over, Some(Over::Ask(Question::Override)));
        app
    });
}
