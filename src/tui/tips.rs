//! What a key would do before it is pressed: a line of short phrases over the keys, the most needed first.

use super::app::{App, Screen};
use super::command::Command;
use super::tally::{Tally, pick};
use crate::fleet::fold_names;
use crate::journal::{LockView, PauseReason, RunState};

/// The phrases for what stands on the screen now; none where there is nothing to be in doubt of.
pub fn phrases(app: &App) -> Vec<String> {
    if app.over.is_some() {
        return Vec::new();
    }
    if app.player.is_some() {
        return tape(app);
    }
    let mut said = Vec::new();
    if app.options.read_only {
        said.push("read-only: no key here can touch the cluster or the run".to_owned());
    }
    let acts = !app.options.read_only;
    match app.screen {
        Screen::Topology if app.live().is_some() && acts => {
            said.extend(app.key(Command::OpenRun).map(|key| format!("{key}: the run, with pause, resume and abort")));
            said.push("quit: the run stays as it is".to_owned());
        }
        Screen::Topology if acts => {
            said.push("nothing is touched before a plan is applied".to_owned());
            said.push("stage: choose a release, read its plan".to_owned());
            said.push("mark: to stage it alone".to_owned());
            said.push("layer: what cells show".to_owned());
        }
        Screen::Stage => said.push("nothing is touched by staging; the plan comes first".to_owned()),
        Screen::Plan => said.extend(plan(app)),
        Screen::Run if acts => said.extend(run(app)),
        _ => {}
    }
    said
}

fn plan(app: &App) -> Vec<String> {
    match app.hindrance(Command::OpenConfirm) {
        None => vec!["nothing is touched yet".into(), "apply: asks for the cluster's name first".into()],
        Some(_) => vec!["nothing is touched, and this plan cannot be applied as it is".into()],
    }
}

/// Of the commands that can be given now, what each does.
fn run(app: &App) -> Vec<String> {
    use Command::*;
    let Some(view) = &app.run else { return Vec::new() };
    let gate = matches!(view.run.state, RunState::Paused(PauseReason::Gate));
    let node = view.cursor.as_ref().map_or("it", |node| node.as_str());
    let said = |command: Command| match command {
        Pause => "pause: lets what is in flight finish".to_owned(),
        Resume if gate => "resume: asks the gate again".into(),
        Resume if app.orphaned() => "resume: another engine goes on".into(),
        Resume if matches!(view.run.lock, LockView::Unsure | LockView::Lost) => {
            "resume: asks for the run lock first".into()
        }
        Resume => match again(app) {
            Some(names) => format!("resume: tries {names} again"),
            None => "resume: the others go on".into(),
        },
        Retry if gate => "retry: asks it again at once".into(),
        Retry => format!("retry: {node} again"),
        Skip => "skip: leaves it old".to_owned(),
        Override => "override: passes the gate".into(),
        Abort if Tally::of(app, &view.run).flying.is_empty() => "abort: ends it here, done stays".into(),
        Abort => "abort: takes it back, ends, done stays".into(),
        Quit if app.orphaned() => "quit: it stays as it is".into(),
        Quit => match view.run.state {
            RunState::Paused(_) => "quit: stays paused".into(),
            RunState::Ended(_) => "the run is over, nothing moves any more".into(),
            _ => "quit: the run goes on".into(),
        },
        _ => String::new(),
    };
    let running = matches!(view.run.state, RunState::Running | RunState::Starting);
    let order = match running {
        true => [Pause, Abort, Quit, Retry, Skip, Resume, Override],
        false => [Resume, Abort, Retry, Skip, Override, Pause, Quit],
    };
    order.into_iter().filter(|command| app.hindrance(*command).is_none()).map(said).collect()
}

/// At a spent budget, what the keys would not tell by themselves.
pub fn at_a_spent_budget(app: &App) -> String {
    let decisions = match [Command::Retry, Command::Skip].map(|command| app.hindrance(command).is_none()) {
        [true, true] => "; retry and skip only decide, the run stays paused",
        [true, false] => "; retry only decides, the run stays paused",
        [false, true] => "; skip only decides, the run stays paused",
        [false, false] => "",
    };
    match again(app) {
        Some(names) => format!("resume tries {names} again: what comes later rests upon it{decisions}"),
        None => format!("resume goes on without the node, and the next failure pauses again{decisions}"),
    }
}

/// The nodes whose swap must be through before anything else: a resume tries it again.
fn again(app: &App) -> Option<String> {
    let run = &app.run.as_ref()?.run;
    let tally = Tally::of(app, run);
    let stuck = pick(run, &tally.failed).into_iter().chain(pick(run, &tally.back));
    let names: Vec<&str> = stuck.filter(|s| run.planned(s).bears_others()).map(|s| s.node.as_str()).collect();
    (!names.is_empty()).then(|| fold_names(names))
}

/// What is on a tape, and how to move on it.
fn tape(app: &App) -> Vec<String> {
    let key = |command| app.key(command).unwrap_or_default();
    let pair = |back, on| format!("{} {}", key(back), key(on));
    use Command::*;
    vec![
        "a recording: nothing real is touched".into(),
        "marks: │ wave, ‖ pause, ✗ failure".into(),
        format!("keys: {} seek, {} event, {} failure", pair(SeekBack, SeekOn), pair(EventBack, EventOn), {
            pair(LastFailure, NextFailure)
        }),
        format!("{} speed", pair(Slower, Faster)),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{self, Story};
    use super::*;
    use crate::journal::Event;
    use crate::tui::backend::Options;

    #[test]
    fn a_resume_tries_again_what_others_rest_upon_and_leaves_a_worker() {
        let paused = |phase: usize| {
            let mut story = Story::new();
            let swap = story.swap(phase, 0, 0);
            story.roll_back(&swap, "it did not answer");
            story.tell(Event::Paused { reason: PauseReason::Budget, why: "1 swap rolled back".into() });
            let app = fixtures::running((120, 36), Options::default(), story);
            (swap.node, phrases(&app).join("|"), at_a_spent_budget(&app))
        };
        let (node, tips, words) = paused(3);
        assert!(tips.contains(&format!("resume: tries {node} again")), "{tips}");
        assert!(words.starts_with(&format!("resume tries {node} again")), "{words}");
        let (_, tips, words) = paused(6);
        assert!(
            tips.contains("resume: the others go on") && words.starts_with("resume goes on without"),
            "{tips} {words}"
        );
    }

    #[test]
    fn the_first_tip_has_room_on_the_smallest_screen() {
        let size = (80, 24);
        let mut apps = vec![fixtures::app(size, Options::default()), fixtures::replay(size, Story::midway())];
        for screen in [Screen::Topology, Screen::Run] {
            let mut app = fixtures::running(size, Options::default(), Story::midway());
            app.screen = screen;
            apps.push(app);
        }
        apps.push(fixtures::running(size, Options { read_only: true, ..Options::default() }, Story::midway()));
        for app in apps {
            let said = phrases(&app);
            // A rule before it, and blanks around it.
            assert!(crate::tui::text::width(&said[0]) + 3 <= 80, "{said:?}");
        }
    }

    #[test]
    fn a_tip_names_only_what_can_be_done() {
        let app = fixtures::running((120, 36), Options::default(), Story::midway());
        let said = phrases(&app).join("|");
        assert!(
            said.contains("pause: ") && said.contains("abort: takes it back") && !said.contains("resume: "),
            "{said}"
        );
        let options = Options { read_only: true, ..Options::default() };
        let watched = fixtures::running((120, 36), options, Story::midway());
        assert_eq!(phrases(&watched), ["read-only: no key here can touch the cluster or the run"]);
        let fresh = fixtures::app((120, 36), Options::default());
        assert!(phrases(&fresh).join("|").contains("nothing is touched"));
    }
}
