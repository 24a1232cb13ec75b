//! Something else makes containers anew under the swap, as a CKE server does within its minute: the script notices, gives up
//! soon, and of each component one container runs.

use super::node::{FAR, NAMES, Node, begin, id, ok};
use super::waits;
use sonoba::journal::Verdict;
use sonoba::remote::{TxEnd, TxState};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The script may take this long from when it can notice to its end: its interval, the hand's grace, and a slow machine.
const SOON: Duration = Duration::from_secs(25);

impl Node {
    /// Removes whatever has this name and runs another container under it; the fake of `docker rm -f; docker run`.
    fn make_anew(&self, name: &str, which: char, state: &str) {
        self.take_away(name);
        self.container(&id(name, which), name, state, &format!("{name}-{which}"));
        fs::write(self.path("fake/c").join(id(name, which)).join("image"), "r.example/foreign:1\n").unwrap();
    }

    fn take_away(&self, name: &str) {
        for [container, is, ..] in self.containers() {
            if is == name {
                let _ = fs::remove_dir_all(self.path("fake/c").join(container));
            }
        }
    }

    fn rename(&self, from: &str, to: &str) {
        for [container, is, ..] in self.containers() {
            if is == from {
                fs::write(self.path("fake/c").join(container).join("name"), format!("{to}\n")).unwrap();
            }
        }
    }

    /// The containers of a component that run.
    fn running(&self, name: &str) -> Vec<String> {
        let of = |c: &[String; 4]| c[0].ends_with(name) && c[3] == "running";
        self.containers().into_iter().filter(of).map(|c| c[0].clone()).collect()
    }

    /// It ended foreign, says so with what runs, and of `kubelet` only `which` runs.
    fn assert_foreign(&self, state: &TxState, which: char) {
        assert_eq!(state.end, Some(TxEnd::Foreign), "{state:?}\n{}", self.story());
        assert!(state.why.contains("something else made kubelet anew"), "{}", state.why);
        assert_eq!(self.running("kubelet"), [id("kubelet", which)], "{}", self.story());
        let left: Vec<_> = self.containers().into_iter().filter(|c| c[0] == id("kubelet", 'n')).collect();
        assert!(left.is_empty(), "ours is left over: {left:?}");
    }
}

/// The hand comes at this moment: while the runner is held at a call of docker.
fn held_at(node: &Node, verb: &str, text: &str, run: impl FnOnce(), hand: impl FnOnce()) {
    fs::write(node.path("fake/gate"), format!("{verb} {text}\n")).unwrap();
    run();
    node.until_file("fake/gated");
    hand();
    fs::remove_file(node.path("fake/gate")).unwrap();
}

/// At every step before the verdict is waited for: what was made anew is left alone, the other component goes back at once.
pub fn a_container_made_anew_in_the_middle_ends_it(shell: &str) {
    let moments = [
        ("rename", "kubelet.sonoba-prev", "before it is renamed"),
        ("rename", "nkubelet kubelet", "between the two renames"),
        ("stop", "okubelet", "before the stop"),
        ("start", "nkubelet", "between stop and start"),
        ("update", "okubelet", "after the start"),
    ];
    std::thread::scope(|threads| {
        for (verb, text, when) in moments {
            threads.spawn(move || {
                let Some(node) = Node::new(shell) else { return };
                let begin = || drop(node.shell(&begin("t1", FAR, &NAMES).command()).spawn().unwrap());
                held_at(&node, verb, text, begin, || node.make_anew("kubelet", 'f', "running"));
                let begun = Instant::now();
                let state = node.end();
                assert!(begun.elapsed() < SOON, "{when}: {:?}", begun.elapsed());
                node.assert_foreign(&state, 'f');
                assert!(state.why.contains("r.example/foreign:1 runs now"), "{when}: {}", state.why);
                assert_eq!(node.running("rivers"), ["orivers"], "{when}: {}", node.story());
                node.until("the runner's end", |s| !s.alive);
                ok(node.forget());
            });
        }
    });
}

/// While the verdict is waited for: found at the next look, not at the deadline.
pub fn a_container_made_anew_while_it_waits_is_noticed(shell: &str) {
    let Some(node) = Node::new(shell) else { return };
    ok(node.begin(FAR));
    node.until("waiting", waits);
    node.make_anew("kubelet", 'f', "running");
    let begun = Instant::now();
    let state = node.end();
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert_eq!(state.verdict, Some(Verdict::Rollback));
    node.assert_foreign(&state, 'f');
    // The old one is not ours to remove; it cannot come back by itself beside the other.
    let old = node.containers().into_iter().find(|c| c[0] == "okubelet").unwrap();
    assert_eq!(old[1..], ["kubelet.sonoba-prev", "no", "stopped"]);
    assert_eq!(node.running("rivers"), ["orivers"]);
}

/// The commit arrives, and the name is not ours any more: what was committed is not claimed.
pub fn a_commit_finds_another_hand(shell: &str) {
    let Some(node) = Node::new(shell) else { return };
    ok(node.begin(FAR));
    node.until("waiting", waits);
    // The commit takes rivers first.
    let commit = || assert_eq!(node.verdict(Verdict::Commit), Some(Verdict::Commit));
    held_at(&node, "rm", "orivers", commit, || node.make_anew("kubelet", 'f', "running"));
    let state = node.end();
    node.assert_foreign(&state, 'f');
    assert_eq!(node.running("rivers"), ["nrivers"], "{}", node.story());
}

/// The name was only given away: ours is brought home, or the old one is.
pub fn a_renamed_container_is_brought_home(shell: &str) {
    for verdict in [Verdict::Commit, Verdict::Rollback] {
        let Some(node) = Node::new(shell) else { return };
        ok(node.begin(FAR));
        node.until("waiting", waits);
        node.rename("kubelet", "kubelet-backup");
        assert_eq!(node.verdict(verdict), Some(verdict));
        let state = node.end();
        node.assert_whole(&state);
    }
    // The old one under its name again, as a person may do it who loses patience.
    let Some(node) = Node::new(shell) else { return };
    ok(node.begin(FAR));
    node.until("waiting", waits);
    node.rename("kubelet", "kubelet-bad");
    node.rename("kubelet.sonoba-prev", "kubelet");
    assert_eq!(node.verdict(Verdict::Commit), Some(Verdict::Commit));
    let state = node.end();
    node.assert_foreign(&state, 'o');
}

/// What was made anew does not run: the old one serves rather than nothing.
pub fn a_foreign_container_that_does_not_run_keeps_nobody_from_serving(shell: &str) {
    let Some(node) = Node::new(shell) else { return };
    ok(node.begin(FAR));
    node.until("waiting", waits);
    node.make_anew("kubelet", 'f', "created");
    assert_eq!(node.verdict(Verdict::Rollback), Some(Verdict::Rollback));
    let state = node.end();
    node.assert_foreign(&state, 'o');
    assert!(state.why.contains("the old kubelet runs beside it"), "{}", state.why);
}

/// A hand that comes again and again, faster than the script looks: it is given up all the same, and each component runs.
pub fn a_hand_that_comes_again_and_again_is_given_up(shell: &str) {
    for verdict in [None, Some(Verdict::Rollback), Some(Verdict::Commit)] {
        let Some(node) = Node::new(shell) else { return };
        ok(node.begin(FAR));
        node.until("waiting", waits);
        let (over, made) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|threads| {
            threads.spawn(|| {
                // Each is another container: the last one's name and id are gone with it.
                for which in ('a'..='m').cycle() {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    node.make_anew("kubelet", which, "running");
                    made.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(300));
                }
            });
            node.wait_for("the hand", || made.load(Ordering::Relaxed) > 0);
            if let Some(verdict) = verdict {
                assert_eq!(node.verdict(verdict), Some(verdict));
            }
            let begun = Instant::now();
            let state = node.end();
            over.store(true, Ordering::Relaxed);
            assert!(begun.elapsed() < SOON, "{verdict:?}: {:?}", begun.elapsed());
            assert_eq!(state.end, Some(TxEnd::Foreign), "{verdict:?}: {state:?}");
        });
        assert_eq!(node.running("kubelet").len(), 1, "{verdict:?}: {}", node.story());
        let rivers = if verdict == Some(Verdict::Commit) { "nrivers" } else { "orivers" };
        assert_eq!(node.running("rivers"), [rivers], "{verdict:?}: {}", node.story());
    }
}

/// Everything of the component was removed, and nothing is made in its place: broken, after a moment, not for ever.
pub fn a_component_that_was_removed_altogether_ends_it(shell: &str) {
    let Some(node) = Node::new(shell) else { return };
    ok(node.begin(FAR));
    node.until("waiting", waits);
    for which in ['o', 'n'] {
        let _ = fs::remove_dir_all(node.path("fake/c").join(id("kubelet", which)));
    }
    let begun = Instant::now();
    let state = node.end();
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert_eq!(state.end, Some(TxEnd::Broken), "{state:?}");
    assert_eq!(node.running("rivers"), ["orivers"], "{}", node.story());
    assert!(Path::exists(&node.tx("end")));
}

/// Somebody removed the old container while its verdict was waited for: the new one has its name and may be committed.
pub fn an_old_one_that_is_gone_does_not_hold_up_a_commit(shell: &str) {
    let Some(node) = Node::new(shell) else { return };
    ok(node.begin(FAR));
    node.until("waiting", waits);
    // The old ones lose their policy a moment later.
    node.wait_for("calm", || node.containers().iter().filter(|c| c[2] == "no").count() == NAMES.len());
    fs::remove_dir_all(node.path("fake/c/okubelet")).unwrap();
    // Each name is asked after at least twice: two whole looks.
    let asked = || fs::read_to_string(node.path("fake/calls")).unwrap().matches("name=^/kubelet$").count();
    let before = asked();
    node.wait_for("two looks", || asked() >= before + 2);
    assert_eq!(node.verdict(Verdict::Commit), Some(Verdict::Commit));
    assert_eq!(node.end().end, Some(TxEnd::Committed));
    node.assert_all('n');
}
