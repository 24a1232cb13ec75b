//! The swap script under every shell that a node may have, against a docker of files (`script/docker`): whatever
//! happens, a node ends all old or all new.

mod fence;
mod hands;
mod node;
mod rivals;
mod trouble;

use fence::{
    a_person_on_the_node_needs_no_lock_to_recover, a_runner_that_comes_late_to_its_first_stop_stops_nothing,
    an_older_holder_is_refused_and_a_newer_one_is_not, of_two_at_once_the_older_never_passes_after_the_newer,
    what_comes_too_late_changes_nothing,
};
use hands::*;
use node::{FAR, NAMES, Node, begin, ok};
use rivals::*;
use sonoba::journal::{Step, Verdict};
use sonoba::remote::script::Request;
use sonoba::remote::{TxEnd, TxState};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use trouble::*;

fn waits(state: &TxState) -> bool {
    state.steps.iter().any(|s| s.step == Step::Waiting)
}

fn steps(state: &TxState) -> String {
    let words: Vec<String> = state.steps.iter().map(|s| format!("{:?} {}", s.step, s.container)).collect();
    words.join(",").replace(" ,", ",").trim().to_lowercase()
}

fn commits(shell: &str) {
    let Some(node) = Node::new(shell) else { return };
    assert!(!node.state().found);
    ok(node.begin(FAR));
    let state = node.until("waiting", waits);
    assert!(state.found && state.alive && state.verdict.is_none() && state.end.is_none());
    ok(node.begin(FAR)); // begun again: left alone
    assert!(!node.forget().status.success(), "forgot a transaction under way");
    assert_eq!(node.verdict(Verdict::Commit), Some(Verdict::Commit));
    assert_eq!(node.verdict(Verdict::Rollback), Some(Verdict::Commit), "the first verdict stands");
    let state = node.end();
    assert_eq!(state.end, Some(TxEnd::Committed));
    assert_eq!(
        steps(&state),
        "begun,stopping rivers,stopped rivers,started rivers,stopping kubelet,stopped kubelet,started kubelet,waiting,\
         removed rivers,removed kubelet"
    );
    assert!(state.steps.is_sorted_by_key(|s| s.uptime_ms) && state.uptime_ms >= state.steps[0].uptime_ms);
    node.assert_all('n');
    node.until("the runner's end", |s| !s.alive);
    ok(node.forget());
    ok(node.forget());
    assert!(!node.state().found);
}

fn rolls_back_in_reverse(shell: &str) {
    let Some(node) = Node::new(shell) else { return };
    ok(node.begin(FAR));
    node.until("waiting", waits);
    assert_eq!(node.verdict(Verdict::Rollback), Some(Verdict::Rollback));
    assert_eq!(node.verdict(Verdict::Commit), Some(Verdict::Rollback));
    let state = node.end();
    assert_eq!(state.end, Some(TxEnd::RolledBack));
    assert!(
        steps(&state).ends_with("waiting,restoring kubelet,restored kubelet,restoring rivers,restored rivers"),
        "{}",
        steps(&state)
    );
    node.assert_all('o');
}

fn a_deadline_decides(shell: &str) {
    let Some(node) = Node::new(shell) else { return };
    ok(node.begin(700));
    let state = node.end();
    assert_eq!((state.end, state.verdict), (Some(TxEnd::RolledBack), Some(Verdict::Rollback)));
    assert!(state.why.contains("deadline"), "{}", state.why);
    assert_eq!(node.verdict(Verdict::Commit), Some(Verdict::Rollback), "a commit after the deadline loses");
    let at = |step| state.steps.iter().find(|s| s.step == step).unwrap().uptime_ms;
    assert!(at(Step::Restoring) - at(Step::Stopping) >= 700);
    node.assert_all('o');
}

fn a_failed_step_goes_back(shell: &str) {
    let cases = [
        ("start", "nkubelet", "new kubelet did not start: Error response from daemon: start failed"),
        ("stop", "okubelet", "kubelet did not stop"),
        ("rename", "kubelet.sonoba-prev", "kubelet could not be renamed"),
        ("update", "orivers", "rivers kept its restart policy"),
        ("inspect", "kubelet", "kubelet cannot be swapped"),
        // On the way back: tried again until it is done.
        ("rm", "nrivers", ""),
        ("ps", "id=okubelet", ""),
    ];
    // They sleep most of the time: all at once.
    std::thread::scope(|threads| {
        for case in cases {
            threads.spawn(move || one_failed_step_goes_back(shell, case));
        }
    });
}

fn one_failed_step_goes_back(shell: &str, (verb, argument, why): (&str, &str, &str)) {
    let Some(node) = Node::new(shell) else { return };
    node.fail_once(verb, argument);
    ok(node.begin(if why.is_empty() { 500 } else { FAR }));
    let state = node.end();
    assert_eq!(state.end, Some(TxEnd::RolledBack), "{verb}");
    assert!(state.why.contains(why), "{verb}: {}", state.why);
    node.assert_all('o');
    assert!(!node.path(format!("fake/fail.{verb}")).exists(), "{verb} was never tried");
}

fn a_commit_is_finished_with_patience(shell: &str) {
    let Some(node) = Node::new(shell) else { return };
    ok(node.begin(FAR));
    node.until("waiting", waits);
    node.fail_once("rm", "okubelet");
    assert_eq!(node.verdict(Verdict::Commit), Some(Verdict::Commit));
    assert_eq!(node.end().end, Some(TxEnd::Committed));
    node.assert_all('n');
}

fn a_verdict_waits_for_its_time(shell: &str) {
    let Some(node) = Node::new(shell) else { return };
    fs::write(node.path("fake/slow.stop"), "0.5").unwrap();
    assert_eq!(node.verdict(Verdict::Commit), None, "committed what does not exist");
    ok(node.begin(FAR));
    assert_eq!(node.verdict(Verdict::Commit), None, "committed before the new ones ran");
    assert_eq!(node.verdict(Verdict::Rollback), Some(Verdict::Rollback));
    assert_eq!(node.end().end, Some(TxEnd::RolledBack));
    node.assert_all('o');
}

fn a_container_without_a_way_back_is_left_alone(shell: &str) {
    let Some(node) = Node::new(shell) else { return };
    fs::write(node.path("fake/c/okubelet/rm"), "true\n").unwrap();
    ok(node.begin(FAR));
    let state = node.end();
    assert_eq!(state.end, Some(TxEnd::RolledBack));
    assert!(state.why.contains("--rm"), "{}", state.why);
    assert!(!steps(&state).contains("stopping"));
    node.assert_all('o');
}

/// The session dies at once after `begin`: its whole process group is hung up, its streams are closed.
fn outlives_its_session(shell: &str) {
    let Some(node) = Node::new(shell) else { return };
    fs::write(node.path("fake/slow.stop"), "0.2").unwrap();
    // `(exec …)` keeps this shell alive to hang up its own group when the script has returned.
    let wrapped = format!("exec 0<&- 2>&-; ({}); kill -HUP 0", begin("t1", FAR, &NAMES).command());
    let mut shell = Command::new("setsid");
    let inner = node.shell(&wrapped);
    shell.arg(inner.get_program()).args(inner.get_args()).env_clear();
    shell.envs(inner.get_envs().filter_map(|(k, v)| v.map(|v| (k, v))));
    // `output` ends only when nothing holds the pipe any more: the runner must not.
    let begun = Instant::now();
    shell.output().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20));
    node.until("waiting", waits);
    assert_eq!(node.verdict(Verdict::Commit), Some(Verdict::Commit));
    assert_eq!(node.end().end, Some(TxEnd::Committed));
    node.assert_all('n');
}

/// `kill -9` of the runner before and after each of its docker commands, whatever the verdict was to be.
fn killed_anywhere_it_is_whole(shell: &str, verdict: Verdict) {
    // Every moment under one shell; under the others, which differ in little, every third, and not the same ones.
    let (first, stride) = match shell {
        "dash" => (1, 1),
        "busybox" => (2, 3),
        _ => (3, 3),
    };
    // Most of the time they wait: several at once, round by round until the runner has no such call any more.
    let mut moments = (first..).step_by(stride);
    let mut deepest = 0;
    loop {
        let round: Vec<usize> = moments.by_ref().take(3).collect();
        let killed = std::thread::scope(|threads| {
            let tried: Vec<_> = round
                .iter()
                .flat_map(|at| ["before", "after"].map(|when| (*at, when)))
                .map(|(at, when)| threads.spawn(move || Some((at, killed_at(shell, at, when, verdict)?))))
                .collect();
            tried.into_iter().map(|t| t.join().unwrap()).collect::<Option<Vec<(usize, bool)>>>()
        });
        let Some(killed) = killed else { return };
        deepest = killed.iter().filter(|(_, killed)| *killed).map(|(at, _)| *at).max().unwrap_or(deepest);
        if killed.iter().any(|(_, killed)| !killed) {
            assert!(deepest > 12, "only {deepest} calls were tried");
            return;
        }
    }
}

/// Whether the runner got to that call at all.
fn killed_at(shell: &str, at: usize, when: &str, verdict: Verdict) -> Option<bool> {
    let node = Node::new(shell)?;
    fs::write(node.path("fake/kill"), format!("{at} {when}\n")).unwrap();
    node.begin(FAR); // fails where the runner was killed before it could answer
    node.until("waiting or death", |s| waits(s) || !s.alive);
    node.verdict(verdict);
    let state = node.until("end or death", |s| s.end.is_some() || !s.alive);
    let killed = node.path("fake/killed").exists();
    if state.end.is_none() {
        assert!(killed);
        node.recover();
        node.recover();
    }
    let state = node.end();
    node.assert_whole(&state);
    if verdict == Verdict::Rollback {
        assert_eq!(state.end, Some(TxEnd::RolledBack));
    }
    Some(killed)
}

/// What a power cut may leave: names changed, records lost, an owner of another boot.
fn recovers_from_names_alone(shell: &str) {
    std::thread::scope(|threads| {
        for at in [5, 7, 10, 14] {
            threads.spawn(move || recovers_from_names_at(shell, at));
        }
    });
}

fn recovers_from_names_at(shell: &str, at: usize) {
    let Some(node) = Node::new(shell) else { return };
    fs::write(node.path("fake/kill"), format!("{at} after\n")).unwrap();
    ok(node.begin(FAR));
    node.until("death", |s| !s.alive);
    for name in NAMES {
        fs::write(node.tx(&format!("c.{name}")), "").unwrap();
    }
    let owner = fs::read_to_string(node.tx("owner.1")).unwrap();
    let mut words: Vec<&str> = owner.split_whitespace().collect();
    words[2] = "00000000-0000-0000-0000-000000000000";
    fs::write(node.tx("owner.1"), words.join(" ") + "\n").unwrap();
    fs::write(node.tx("steps"), fs::read_to_string(node.tx("steps")).unwrap() + "12 stop").unwrap();
    assert!(!node.state().alive);
    node.recover();
    assert_eq!(node.end().end, Some(TxEnd::RolledBack));
    node.assert_all('o');
}

/// Somebody removed an old container: its new one is all that is left, and stays; the other goes back.
fn an_old_one_that_is_gone_ends_it(shell: &str) {
    for gone in NAMES {
        let Some(node) = Node::new(shell) else { return };
        ok(node.begin(FAR));
        node.until("waiting", waits);
        fs::remove_dir_all(node.path(format!("fake/c/o{gone}"))).unwrap();
        fs::write(node.tx("why"), "a first reason\n").unwrap();
        assert_eq!(node.verdict(Verdict::Rollback), Some(Verdict::Rollback));
        let state = node.end();
        assert_eq!(state.end, Some(TxEnd::Broken));
        assert!(state.why.contains("a first reason; the old container"), "{}", state.why);
        assert!(state.why.contains(&format!("container of {gone} is gone")), "{}", state.why);
        node.assert_only(&NAMES.map(|n| (n, if n == gone { 'n' } else { 'o' })));
        node.until("the runner's end", |s| !s.alive);
        ok(node.forget());
    }
}

fn refuses_what_is_no_name(shell: &str) {
    let Some(node) = Node::new(shell) else { return };
    for bad in [
        "begin t1 5 5 'a;b'",
        "begin ../x 5 5 a",
        "begin t1 5x 5 a",
        "begin t1 5 5",
        "state '$(x)'",
        "forget .",
        "nonsense t1",
    ] {
        let state = Request::State("t1".parse().unwrap()).command();
        let out = node.shell(&state.replace("state t1", bad)).output().unwrap();
        assert_eq!(out.status.code(), Some(2), "{bad}");
    }
    assert!(!node.path("home/.sonoba/tx/t1").exists());
}

macro_rules! under {
    ($($shell:ident),*) => { $(mod $shell {
        use sonoba::journal::Verdict;
        const SHELL: &str = stringify!($shell);
        #[test] fn commits() { super::commits(SHELL) }
        #[test] fn rolls_back_in_reverse() { super::rolls_back_in_reverse(SHELL) }
        #[test] fn a_deadline_decides() { super::a_deadline_decides(SHELL) }
        #[test] fn a_failed_step_goes_back() { super::a_failed_step_goes_back(SHELL) }
        #[test] fn a_commit_is_finished_with_patience() { super::a_commit_is_finished_with_patience(SHELL) }
        #[test] fn a_verdict_waits_for_its_time() { super::a_verdict_waits_for_its_time(SHELL) }
        #[test] fn a_container_without_a_way_back_is_left_alone() {
            super::a_container_without_a_way_back_is_left_alone(SHELL)
        }
        #[test] fn outlives_its_session() { super::outlives_its_session(SHELL) }
        #[test] fn killed_anywhere_it_is_whole_when_committed() {
            super::killed_anywhere_it_is_whole(SHELL, Verdict::Commit)
        }
        #[test] fn killed_anywhere_it_is_whole_when_rolled_back() {
            super::killed_anywhere_it_is_whole(SHELL, Verdict::Rollback)
        }
        #[test] fn recovers_from_names_alone() { super::recovers_from_names_alone(SHELL) }
        #[test] fn a_held_container_is_refused() { super::a_held_container_is_refused(SHELL) }
        #[test] fn a_lost_runner_holds_until_it_is_recovered() {
            super::a_lost_runner_holds_until_it_is_recovered(SHELL)
        }
        #[test] fn of_two_at_once_one_wins() { super::of_two_at_once_one_wins(SHELL) }
        #[test] fn what_another_user_moved_is_left_alone() { super::what_another_user_moved_is_left_alone(SHELL) }
        #[test] fn an_old_one_that_is_gone_ends_it() { super::an_old_one_that_is_gone_ends_it(SHELL) }
        #[test] fn a_full_disk_begins_nothing() { super::a_full_disk_begins_nothing(SHELL) }
        #[test] fn a_disk_that_fills_up_keeps_nobody_from_the_end() {
            super::a_disk_that_fills_up_keeps_nobody_from_the_end(SHELL)
        }
        #[test] fn a_disk_that_fills_up_early_stops_nothing() { super::a_disk_that_fills_up_early_stops_nothing(SHELL) }
        #[test] fn a_folder_that_is_removed_ends_it() { super::a_folder_that_is_removed_ends_it(SHELL) }
        #[test] fn a_folder_that_is_removed_in_the_middle_goes_back() {
            super::a_folder_that_is_removed_in_the_middle_goes_back(SHELL)
        }
        #[test] fn a_daemon_that_is_away_is_waited_for() { super::a_daemon_that_is_away_is_waited_for(SHELL) }
        #[test] fn a_slow_daemon_is_only_slow() { super::a_slow_daemon_is_only_slow(SHELL) }
        #[test] fn a_daemon_that_hangs_does_not_hold_up_the_deadline() {
            super::a_daemon_that_hangs_does_not_hold_up_the_deadline(SHELL)
        }
        #[test] fn the_wall_clock_is_never_asked() { super::the_wall_clock_is_never_asked(SHELL) }
        #[test] fn a_full_tmp_is_none_of_its_business() { super::a_full_tmp_is_none_of_its_business(SHELL) }
        #[test] fn a_folder_of_somebody_elses_is_refused() { super::a_folder_of_somebody_elses_is_refused(SHELL) }
        #[test] fn a_home_is_needed() { super::a_home_is_needed(SHELL) }
        #[test] fn only_a_whole_script_runs() { super::only_a_whole_script_runs(SHELL) }
        #[test] fn a_container_made_anew_in_the_middle_ends_it() {
            super::a_container_made_anew_in_the_middle_ends_it(SHELL)
        }
        #[test] fn a_container_made_anew_while_it_waits_is_noticed() {
            super::a_container_made_anew_while_it_waits_is_noticed(SHELL)
        }
        #[test] fn a_commit_finds_another_hand() {
            super::a_commit_finds_another_hand(SHELL)
        }
        #[test] fn a_renamed_container_is_brought_home() {
            super::a_renamed_container_is_brought_home(SHELL)
        }
        #[test] fn a_foreign_container_that_does_not_run_keeps_nobody_from_serving() {
            super::a_foreign_container_that_does_not_run_keeps_nobody_from_serving(SHELL)
        }
        #[test] fn a_hand_that_comes_again_and_again_is_given_up() {
            super::a_hand_that_comes_again_and_again_is_given_up(SHELL)
        }
        #[test] fn a_component_that_was_removed_altogether_ends_it() {
            super::a_component_that_was_removed_altogether_ends_it(SHELL)
        }
        #[test] fn an_old_one_that_is_gone_does_not_hold_up_a_commit() {
            super::an_old_one_that_is_gone_does_not_hold_up_a_commit(SHELL)
        }
        #[test] fn what_comes_too_late_changes_nothing() { super::what_comes_too_late_changes_nothing(SHELL) }
        #[test] fn an_older_holder_is_refused_and_a_newer_one_is_not() {
            super::an_older_holder_is_refused_and_a_newer_one_is_not(SHELL)
        }
        #[test] fn a_runner_that_comes_late_to_its_first_stop_stops_nothing() {
            super::a_runner_that_comes_late_to_its_first_stop_stops_nothing(SHELL)
        }
        #[test] fn a_person_on_the_node_needs_no_lock_to_recover() {
            super::a_person_on_the_node_needs_no_lock_to_recover(SHELL)
        }
        #[test] fn of_two_at_once_the_older_never_passes_after_the_newer() {
            super::of_two_at_once_the_older_never_passes_after_the_newer(SHELL)
        }
        #[test] fn refuses_what_is_no_name() { super::refuses_what_is_no_name(SHELL) }
    })* };
}

under!(dash, busybox, bash);

#[test]
fn shellcheck_is_content() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    match Command::new("shellcheck").args(["-s", "sh"]).arg(folder.join("src/remote/swap.sh")).output() {
        Ok(out) => assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout)),
        Err(error) => {
            assert!(std::env::var("SONOBA_LAB").as_deref() != Ok("require"), "shellcheck: {error}");
            eprintln!("SKIPPED: shellcheck is not installed");
        }
    }
}
