//! Two transactions that want the same containers: one has them, the other touches nothing.

use super::node::{FAR, NAMES, Node, begin, error, id, ok};
use super::{steps, waits};
use sonoba::journal::Verdict;
use sonoba::remote::TxEnd;
use std::fs;
use std::process::Stdio;

pub fn a_held_container_is_refused(shell: &str) {
    let Some(node) = Node::new(shell) else { return };
    ok(node.begin(FAR));
    node.until("waiting", waits);
    // The old ones lose their policy a moment later.
    node.wait_for("calm", || node.containers().iter().filter(|c| c[2] == "no").count() == NAMES.len());
    let before = node.containers();
    for names in [&["kubelet"][..], &["etcd", "rivers"]] {
        let out = node.ask(&begin("t2", FAR, names));
        assert_eq!(out.status.code(), Some(1));
        assert!(error(&out).contains("t1 is under way on this node"), "{}", error(&out));
        assert!(!node.state_of("t2").found);
    }
    assert_eq!(node.containers(), before, "{}", node.story());

    // Another container's is no business of the first.
    node.container(&id("etcd", 'o'), "etcd", "running", "etcd");
    node.successor("etcd", 'n');
    ok(node.ask(&begin("t3", FAR, &["etcd"])));
    node.until_of("t3", "waiting", waits);
    for tx in ["t1", "t3"] {
        assert_eq!(node.verdict_on(tx, Verdict::Commit), Some(Verdict::Commit));
        assert_eq!(node.until_of(tx, "the end", |s| s.end.is_some()).end, Some(TxEnd::Committed));
    }
    node.assert_only(&[("etcd", 'n'), ("kubelet", 'n'), ("rivers", 'n')]);

    // What has ended holds nothing, forgotten or not.
    node.successor("kubelet", 'm');
    ok(node.ask(&begin("t2", FAR, &["kubelet"])));
    node.until_of("t2", "waiting", waits);
    assert_eq!(node.verdict_on("t2", Verdict::Commit), Some(Verdict::Commit));
    node.until_of("t2", "the end", |s| s.end.is_some());
    node.assert_only(&[("etcd", 'n'), ("kubelet", 'm'), ("rivers", 'n')]);
}

pub fn a_lost_runner_holds_until_it_is_recovered(shell: &str) {
    let Some(node) = Node::new(shell) else { return };
    fs::write(node.path("fake/kill"), "11 after\n").unwrap();
    node.begin(FAR);
    node.until("death", |s| s.found && !s.alive);
    let out = node.ask(&begin("t2", FAR, &NAMES));
    assert!(!out.status.success());
    assert!(error(&out).contains("t1 is under way on this node"), "{}", error(&out));
    assert!(error(&out).contains("recover t1"), "{}", error(&out));
    node.recover();
    node.end();
    node.assert_all('o');
    for name in NAMES {
        node.successor(name, 'm');
    }
    ok(node.ask(&begin("t2", FAR, &NAMES)));
    node.until_of("t2", "waiting", waits);
    // A folder that somebody removed holds nothing either.
    assert!(!node.ask(&begin("t3", FAR, &["kubelet"])).status.success());
    assert_eq!(node.verdict_on("t2", Verdict::Rollback), Some(Verdict::Rollback));
    node.until_of("t2", "the end", |s| s.end.is_some());
    fs::remove_dir_all(node.path("home/.sonoba/tx/t2")).unwrap();
    node.successor("kubelet", 'p');
    ok(node.ask(&begin("t3", FAR, &["kubelet"])));
    node.until_of("t3", "waiting", waits);
    assert_eq!(node.verdict_on("t3", Verdict::Commit), Some(Verdict::Commit));
    node.until_of("t3", "the end", |s| s.end.is_some());
    node.assert_only(&[("kubelet", 'p'), ("rivers", 'o')]);
}

/// Begun at the same moment, again and again: exactly one gets the containers.
pub fn of_two_at_once_one_wins(shell: &str) {
    for round in 0..4 {
        let Some(node) = Node::new(shell) else { return };
        let start = |tx: &str, names: &[&str]| {
            let mut command = node.shell(&begin(tx, FAR, names).command());
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let (one, other) = (start("t1", &NAMES), start("t2", &["kubelet", "rivers"]));
        let (one, other) = (one.wait_with_output().unwrap(), other.wait_with_output().unwrap());
        let (winner, loser, refused) = match (one.status.success(), other.status.success()) {
            (true, false) => ("t1", "t2", other),
            (false, true) => ("t2", "t1", one),
            both => panic!("round {round}: {both:?}\n{}{}{}", error(&one), error(&other), node.story()),
        };
        assert!(error(&refused).contains(&format!("{winner} is under way on this node")), "{}", error(&refused));
        assert!(!node.state_of(loser).found);
        node.until_of(winner, "waiting", waits);
        assert_eq!(node.verdict_on(winner, Verdict::Commit), Some(Verdict::Commit));
        let state = node.until_of(winner, "the end", |s| s.end.is_some());
        node.assert_whole(&state);
        assert_eq!(state.end, Some(TxEnd::Committed), "{}", steps(&state));
    }
}

/// What a swap of another user's left, or is about to use: their folders cannot be seen, their containers can.
pub fn what_another_user_moved_is_left_alone(shell: &str) {
    let Some(node) = Node::new(shell) else { return };
    fs::write(node.path("fake/c/okubelet/name"), "kubelet.sonoba-prev\n").unwrap();
    fs::write(node.path("fake/c/nkubelet/name"), "kubelet\n").unwrap();
    let before = node.containers();
    ok(node.begin(FAR));
    let state = node.end();
    assert_eq!(state.end, Some(TxEnd::RolledBack));
    assert!(state.why.contains("kubelet.sonoba-prev"), "{}", state.why);
    assert_eq!(steps(&state), "begun");
    assert_eq!(node.containers(), before, "{}", node.story());
}
