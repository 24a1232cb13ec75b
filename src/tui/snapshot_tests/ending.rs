//! What is left of a run: its report, the way back, and the list of past runs.

use super::*;

#[test]
fn report_with_a_decision() {
    at_each_size("report-skipped", |size| {
        let mut story = stands();
        let nodes = vec![fixtures::name("rack2-cs2")];
        let verb = Verb::Skip { nodes, why: "the disk is broken, ticket OPS-1234".into() };
        story.tell(Event::Command { verb, by: "satoru@bastion1".into() });
        story.tell(Event::Resumed);
        let why = "1 of 75 swaps skipped by decision: rack2-cs2".to_owned();
        story.tell(Event::RunEnded { outcome: Outcome::Completed, why });
        let mut app = fixtures::running(size, Options::default(), story);
        keys(&mut app, &[KeyCode::Enter]);
        app
    });
}

#[test]
fn report_of_an_aborted_run() {
    at_each_size("report", |size| {
        let mut app = paused(size);
        let ms = Story::midway().ms + 60_000;
        let record = |event| crate::journal::Record { seq: 0, at: at(ms), prev: String::new(), event };
        let command = Event::Command { verb: Verb::Abort, by: "satoru".into() };
        let ended = Event::RunEnded { outcome: Outcome::Aborted, why: "satoru aborted it".into() };
        update(&mut app, Msg::Records(fixtures::run_id(), vec![record(command), record(ended)]));
        update(&mut app, Msg::Key(KeyEvent::from(KeyCode::Enter)));
        app
    });
}

fn aborted(size: (u16, u16)) -> App {
    let mut app = midway(size);
    let record = |event| crate::journal::Record { seq: 0, at: at(200_000), prev: String::new(), event };
    let command = Event::Command { verb: Verb::Abort, by: "satoru".into() };
    let why =
        "as seen at 22:03:18: the new version runs on rack[0-1]-cs[1-7]; the old version runs on rack2-cs[2-7]".into();
    let ended = Event::RunEnded { outcome: Outcome::Aborted, why };
    let mut events = vec![command];
    let flying: Vec<_> = app.run.as_ref().unwrap().run.in_flight().map(|s| (s.id.clone(), s.node.clone())).collect();
    events.extend(flying.into_iter().map(|(swap, node)| {
        let why = "the run was aborted".to_owned();
        Event::SwapRolledBack { swap, node, why, pods_checked: 30, pods_undisturbed: 30, ms: 9_000 }
    }));
    events.push(ended);
    update(&mut app, Msg::Records(fixtures::run_id(), events.into_iter().map(record).collect()));
    app.notice = None;
    app
}

#[test]
fn an_aborted_run_offers_the_way_back() {
    at_each_size("run-aborted", aborted);
}

#[test]
fn the_way_back_is_read_like_any_plan() {
    at_each_size("plan-rollback", |size| {
        let mut app = aborted(size);
        let plan = fixtures::way_back(&app.run.as_ref().unwrap().run);
        update(&mut app, Msg::WayBack(Ok(Arc::new(plan))));
        app
    });
}

/// The way back of a run that saw a kubelet restart containers.
fn back_to_acknowledge(size: (u16, u16)) -> App {
    let mut app = midway(size);
    let run = &app.run.as_ref().unwrap().run;
    let done = run.swaps.iter().find(|s| s.node == fixtures::name("rack0-cs2")).unwrap();
    let (swap, node) = (done.id.clone(), done.node.clone());
    let kind = DisturbanceKind::Redefined("web".into());
    let pods = vec![Disturbance { pod: "app/web-1".into(), kind, ..Disturbance::default() }];
    let ended = Event::RunEnded { outcome: Outcome::Aborted, why: "satoru aborted it".into() };
    let record = |event| crate::journal::Record { seq: 0, at: at(200_000), prev: String::new(), event };
    let records = [Event::PodsDisturbed { swap, node, pods }, ended].map(record).to_vec();
    update(&mut app, Msg::Records(fixtures::run_id(), records));
    let plan = fixtures::way_back(&app.run.as_ref().unwrap().run);
    update(&mut app, Msg::WayBack(Ok(Arc::new(plan))));
    app.notice = None;
    app
}

#[test]
fn a_way_back_that_restarts_containers_is_acknowledged_then_confirmed() {
    at_each_size("plan-rollback-restarts", back_to_acknowledge);
    at_each_size("plan-rollback-acknowledged", |size| {
        let mut app = back_to_acknowledge(size);
        press(&mut app, "t");
        app
    });
    at_each_size("confirm-rollback-acknowledged", |size| {
        let mut app = back_to_acknowledge(size);
        press(&mut app, "tatokyo");
        app
    });
}

#[test]
fn the_report_of_a_rollback_says_of_what() {
    at_each_size("report-rollback", |size| {
        let plan = Arc::new(fixtures::way_back(&aborted(size).run.as_ref().unwrap().run));
        let mut story = Story::of(plan);
        story.prefetch();
        story.through(usize::MAX, 0);
        story.tell(Event::RunEnded { outcome: Outcome::RolledBack, why: String::new() });
        let mut app = fixtures::running(size, Options::default(), story);
        update(&mut app, Msg::Key(KeyEvent::from(KeyCode::Enter)));
        app
    });
}

#[test]
fn history() {
    let reports = || {
        let ended = fixtures::running((80, 24), Options::default(), Story::midway());
        let mut report = crate::journal::report(&ended.run.unwrap().run, crate::journal::Chain::Ok);
        report.outcome = "aborted".into();
        report.why = "satoru aborted it".into();
        let mut done = report.clone();
        (done.outcome, done.why) = ("completed".into(), String::new());
        vec![report, done]
    };
    at_each_size("history", |size| {
        let mut app = plain(size);
        assert_eq!(press_all(&mut app, "H"), [crate::tui::msg::Effect::History]);
        update(&mut app, Msg::Past(Ok(reports())));
        press(&mut app, "j");
        app
    });
    at_each_size("history-no-engine", |size| {
        let mut app = plain(size);
        press(&mut app, "H");
        let mut runs = reports();
        let mut left = runs[1].clone();
        (left.outcome, left.engine) = ("running".into(), Some(EngineSeen::Gone));
        let mut paused = left.clone();
        (paused.outcome, paused.why) = ("paused".into(), "the operator paused it".into());
        let mut out = left.clone();
        out.endpoints_out.insert(fixtures::name("rack1-boot"), "10.69.0.131".into());
        let mut ended = runs[0].clone();
        ended.endpoints_out = out.endpoints_out.clone();
        runs.splice(0..0, [out, left, paused, ended]);
        update(&mut app, Msg::Past(Ok(runs)));
        app
    });
    at_each_size("history-report", |size| {
        let mut app = plain(size);
        press(&mut app, "H");
        update(&mut app, Msg::Past(Ok(reports())));
        update(&mut app, Msg::Key(KeyEvent::from(KeyCode::Enter)));
        app
    });
}
