//! The run lock, as the node sees it last: what comes too late, or from a holder before the present one, changes nothing.

use super::node::{FAR, NAMES, Node, begin_by, error, fence, ok};
use super::{steps, waits};
use sonoba::fleet::FenceToken;
use sonoba::journal::Verdict;
use sonoba::remote::script::{FENCED, Request, read_fenced};
use sonoba::remote::{Fence, NodeError, TxEnd, TxId};
use std::fs;
use std::process::{Output, Stdio};

fn t1() -> TxId {
    "t1".parse().unwrap()
}

fn until(uptime: u64) -> Fence {
    Fence { until_ms: uptime, ..fence(7) }
}

fn of_run(run: &str) -> Fence {
    Fence { run: run.parse().unwrap(), ..fence(7) }
}

/// What the node refused for want of the lock: a token that outranks it, or none where it came too late.
fn refused(out: &Output) -> Option<u32> {
    assert_eq!(out.status.code(), i32::try_from(FENCED).ok(), "{}", error(out));
    assert!(error(out).contains("run lock") && error(out).contains("nothing was changed"), "{}", error(out));
    match read_fenced(&String::from_utf8_lossy(&out.stdout), String::new()) {
        NodeError::Fenced { newer, .. } => newer.map(FenceToken::get),
        other => panic!("{other:?}"),
    }
}

fn seen(node: &Node) -> Vec<String> {
    let all = fs::read_dir(node.path("home/.sonoba/fence")).unwrap();
    let mut all: Vec<String> = all.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    all.sort();
    all
}

pub fn what_comes_too_late_changes_nothing(shell: &str) {
    let Some(node) = Node::new(shell) else { return };
    let before = node.containers();
    let now = node.state().uptime_ms;
    assert_eq!(refused(&node.ask(&begin_by("t1", FAR, &NAMES, until(now - 10)))), None);
    assert!(!node.state().found);
    assert_eq!(node.containers(), before);
    ok(node.ask(&begin_by("t1", FAR, &NAMES, until(now + 20_000))));
    node.until("waiting", waits);
    for verdict in [Verdict::Commit, Verdict::Rollback] {
        assert_eq!(refused(&node.ask(&Request::Verdict(t1(), verdict, until(now)))), None);
    }
    assert_eq!(refused(&node.ask(&Request::Recover(t1(), until(now)))), None);
    assert!(node.state().verdict.is_none() && node.state().alive);
    let kept = fs::read_to_string(node.tx("fence")).unwrap();
    assert_eq!(kept, format!("7 run1 {}\n", now + 20_000), "for people");
    assert_eq!(node.verdict(Verdict::Commit), None, "an older token");
    ok(node.ask(&Request::Verdict(t1(), Verdict::Commit, fence(7))));
    assert_eq!(node.end().end, Some(TxEnd::Committed));
}

pub fn an_older_holder_is_refused_and_a_newer_one_is_not(shell: &str) {
    let Some(node) = Node::new(shell) else { return };
    ok(node.ask(&begin_by("t1", FAR, &["kubelet"], fence(7))));
    node.until("waiting", waits);
    // The next holder, about something else.
    ok(node.ask(&begin_by("t2", FAR, &["rivers"], Fence { token: FenceToken::new(10), ..of_run("run2") })));
    assert_eq!(seen(&node), ["10.run2"], "the older one is removed");
    let commit = |fence| node.ask(&Request::Verdict(t1(), Verdict::Commit, fence));
    assert_eq!(refused(&commit(fence(7))), Some(10));
    assert_eq!(refused(&commit(fence(9))), Some(10), "nine is less than ten, also as text");
    assert_eq!(refused(&node.ask(&begin_by("t3", FAR, &["kubelet"], fence(9)))), Some(10));
    assert!(!node.state_of("t3").found && node.state().verdict.is_none());
    // The same number twice: whose it is only the cluster knows, so neither passes before it has a higher one.
    assert_eq!(refused(&commit(Fence { token: FenceToken::new(10), ..of_run("run3") })), Some(10));
    assert_eq!(refused(&commit(Fence { token: FenceToken::new(10), ..of_run("run2") })), Some(10));
    ok(commit(Fence { token: FenceToken::new(11), ..of_run("run2") }));
    assert_eq!(node.end().end, Some(TxEnd::Committed));
    assert_eq!(seen(&node), ["11.run2"]);
    // What has ended may always be forgotten, and looked at.
    ok(node.forget());
}

pub fn a_runner_that_comes_late_to_its_first_stop_stops_nothing(shell: &str) {
    let Some(node) = Node::new(shell) else { return };
    // Docker is slow before anything is stopped.
    let held_up = |meanwhile: &dyn Fn()| {
        node.until_file("fake/gated");
        meanwhile();
        fs::remove_file(node.path("fake/gate")).unwrap();
        fs::remove_file(node.path("fake/gated")).unwrap();
    };
    fs::write(node.path("fake/gate"), "rename kubelet\n").unwrap();
    let now = node.state().uptime_ms;
    ok(node.ask(&begin_by("t1", FAR, &NAMES, until(now + 900))));
    held_up(&|| node.wait_for("the lock to run out", || node.state().uptime_ms > now + 900));
    let state = node.end();
    assert_eq!(state.end, Some(TxEnd::RolledBack));
    assert!(state.why.contains("the run lock ran out before anything was stopped"), "{}", state.why);
    assert!(!steps(&state).contains("stopping"), "{}", steps(&state));
    node.until_containers('o');

    // The same where another has come meanwhile.
    for name in NAMES {
        node.successor(name, 'm');
    }
    fs::write(node.path("fake/gate"), "rename kubelet\n").unwrap();
    ok(node.ask(&begin_by("t2", FAR, &NAMES, of_run("run1"))));
    held_up(&|| fs::write(node.path("home/.sonoba/fence/8.run2"), "").unwrap());
    let state = node.until_of("t2", "the end", |s| s.end.is_some());
    assert_eq!(state.end, Some(TxEnd::RolledBack));
    assert!(state.why.contains("the run lock"), "{}", state.why);
}

pub fn a_person_on_the_node_needs_no_lock_to_recover(shell: &str) {
    let Some(node) = Node::new(shell) else { return };
    fs::write(node.path("fake/kill"), "11 after\n").unwrap();
    node.begin(FAR);
    node.until("death", |s| s.found && !s.alive);
    let by_hand = Request::Recover(t1(), fence(1)).command().replace(" 1 run1 99999999999999", "");
    assert_ne!(by_hand, Request::Recover(t1(), fence(1)).command());
    ok(node.shell(&by_hand).output().unwrap());
    assert_eq!(node.end().end, Some(TxEnd::RolledBack));
    node.assert_all('o');
}

/// Of an older and a newer one that come at the same moment, never does the older one alone get its way after the newer.
pub fn of_two_at_once_the_older_never_passes_after_the_newer(shell: &str) {
    for round in 0..4 {
        let Some(node) = Node::new(shell) else { return };
        let start = |request: &Request| {
            node.shell(&request.command()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let newer = Fence { token: FenceToken::new(8), ..of_run("run2") };
        let (old, new) =
            (start(&begin_by("t1", FAR, &["kubelet"], fence(7))), start(&begin_by("t2", FAR, &["rivers"], newer)));
        let (old, new) = (old.wait_with_output().unwrap(), new.wait_with_output().unwrap());
        assert!(new.status.success(), "round {round}: {}", error(&new));
        if !old.status.success() {
            assert_eq!(refused(&old), Some(8));
            assert!(!node.state().found);
        }
        assert_eq!(node.verdict(Verdict::Commit), None, "round {round}");
    }
}
