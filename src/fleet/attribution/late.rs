//! Pods over time: a change that is first seen after the swap is over and its pods were proved, and restarts elsewhere.

use super::change::changed_containers;
use super::judge::{Case, Weighed};
use crate::fleet::{Cause, PodProof};
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;

/// Within this time before the swap a pod must have stood still: a change after the swap then counts against the swap.
const RESTLESS: SignedDuration = SignedDuration::from_hours(1);

impl Case<'_> {
    /// Long after a swap pods come and go by themselves, and those that did so before it go on. Such a change is not the swap's
    /// unless there is evidence that it is. Any other pod keeps its verdict, and so does every pod of a node that was NotReady.
    pub(super) fn late(&self, new: Option<&PodProof>, weighed: Weighed) -> Weighed {
        if !self.window.over || self.window.node_lost || weighed.cause != Cause::Unknown {
            return weighed;
        }
        let by_itself = match new.filter(|new| !new.ended) {
            None => "the pod came to its end",
            Some(_) if !self.old.ready => "the pod was not Ready before the swap",
            Some(_) if is_restless(self.old, self.window.before) => {
                "the pod had restarted or lost Ready within the hour before the swap"
            }
            Some(_) => return weighed,
        };
        Weighed::others(format!("after the swap was over, and {by_itself}: {}", weighed.because))
    }
}

/// The pods that had stood still for an hour at `since`, and of which a container was restarted between the two looks: their UIDs.
pub fn restarted_pods(before: &[PodProof], after: &[PodProof], since: Timestamp) -> Vec<String> {
    let after: HashMap<&str, &PodProof> = after.iter().map(|p| (p.uid.as_str(), p)).collect();
    let calm = before.iter().filter(|old| old.ready && !old.ended && !is_restless(old, since));
    let restarted = calm.filter(|old| {
        let new = after.get(old.uid.as_str()).filter(|new| new.deleting.is_none() && !new.ended);
        new.is_some_and(|new| changed_containers(old, new).next().is_some())
    });
    restarted.map(|old| old.uid.clone()).collect()
}

/// The pods of one look of which a container was restarted since `since` after it had run for an hour or more, as the record of its
/// last end says: their UIDs, and when it ended.
pub fn lately_restarted(pods: &[PodProof], since: Timestamp) -> Vec<(String, Timestamp)> {
    let calm_until = |pod: &PodProof| {
        let ends = pod.containers.iter().filter_map(|c| c.last_exit.as_ref());
        let calm = ends.filter_map(|exit| {
            let (started, finished) = (exit.started_at?, exit.finished_at?);
            (finished >= since && finished.duration_since(started) >= RESTLESS).then_some(finished)
        });
        calm.max()
    };
    let run = pods.iter().filter(|pod| !pod.ended && pod.deleting.is_none());
    run.filter_map(|pod| Some((pod.uid.clone(), calm_until(pod)?))).collect()
}

/// Whether a pod had restarted or lost Ready by itself within the hour before `at`.
fn is_restless(pod: &PodProof, at: Timestamp) -> bool {
    let lately = |time: Option<Timestamp>| time.is_some_and(|time| at.duration_since(time) < RESTLESS);
    let started = pod.containers.iter().any(|c| lately(c.started_at));
    let restarted = pod.containers.iter().any(|c| c.restarts > 0 && lately(c.started_at));
    // A young pod became Ready lately because it was started lately.
    restarted || (lately(pod.ready_since) && !started)
}

#[cfg(test)]
mod tests {
    use super::super::cases::{AGENT, DB, Scene, WEB, at};
    use super::*;
    use crate::fleet::{Component, DisturbanceKind};

    const MINUTE: i64 = 60;

    /// A kubelet's swap, looked at again half an hour later: what nothing explains is in question.
    fn scene() -> Scene {
        let mut scene = Scene::of(&[Component::Kubelet]);
        (scene.window.after, scene.window.over) = (at(30 * MINUTE), true);
        scene
    }

    /// The pod's container was started so many minutes before the swap, the pod was Ready since then, after so many restarts.
    fn old(scene: &mut Scene, started: i64, ready: i64, restarts: i32) {
        let pod = &mut scene.before[WEB];
        let ago = |minutes: i64| Some(scene.window.before - SignedDuration::from_mins(minutes));
        (pod.ready_since, pod.containers[0].started_at, pod.containers[0].restarts) =
            (ago(ready), ago(started), restarts);
        scene.after[WEB] = pod.clone();
    }

    fn restart(scene: &mut Scene) {
        // As late as a new kubelet may still have done it.
        scene.restart(WEB, 0, 1, "Error", MINUTE);
    }

    fn flap(scene: &mut Scene) {
        scene.after[WEB].ready_since = Some(at(20 * MINUTE));
    }

    fn not_ready(scene: &mut Scene) {
        (scene.after[WEB].ready, scene.after[WEB].ready_since) = (false, Some(at(20 * MINUTE)));
    }

    #[test]
    fn a_pod_that_stood_still_before_keeps_its_verdict() {
        // Calm since long, one that was restarted when its node was last booted, and a young one.
        for (started, ready, restarts) in [(9_000, 9_000, 0), (9_000, 9_000, 4), (5, 4, 0)] {
            for (edit, kind) in [
                (restart as fn(&mut Scene), DisturbanceKind::Restarted("web".into())),
                (flap, DisturbanceKind::ReadyFlapped),
                (not_ready, DisturbanceKind::NotReady),
            ] {
                let mut scene = scene();
                old(&mut scene, started, ready, restarts);
                assert_eq!(scene.judge(), []);
                edit(&mut scene);
                let judged: Vec<_> = scene.judge().into_iter().map(|d| (d.kind, d.cause)).collect();
                assert_eq!(judged, [(kind, Cause::Unknown)], "started {started} min before, {restarts} restarts");
            }
        }
    }

    #[test]
    fn a_restless_pod_is_not_blamed_on_a_swap_that_is_over() {
        // One that crashes every few minutes, one whose probe fails now and then, and one that was not Ready.
        for (started, ready, restarts, was_ready) in
            [(10, 10, 31, true), (9_000, 20, 0, true), (9_000, 9_000, 0, false)]
        {
            let edits: &[fn(&mut Scene)] = if was_ready { &[restart, flap, not_ready] } else { &[restart] };
            let mut settled = 0;
            for edit in edits {
                let mut scene = scene();
                old(&mut scene, started, ready, restarts);
                (scene.before[WEB].ready, scene.after[WEB].ready) = (was_ready, was_ready);
                edit(&mut scene);
                let late = scene.judge();
                assert!(late.len() == 1 && late[0].cause == Cause::Others, "{late:?}");
                // As long as the swap could still do something, it stays in question; and where its node was NotReady.
                scene.window.over = false;
                let open = scene.judge();
                if open[0].cause == Cause::Others {
                    assert_eq!(open, late, "it explains itself");
                    continue;
                }
                settled += 1;
                assert_eq!(open[0].cause, Cause::Unknown);
                assert!(late[0].because.starts_with("after the swap was over, and the pod "), "{late:?}");
                (scene.window.over, scene.window.node_lost) = (true, true);
                assert_ne!(scene.judge()[0].cause, Cause::Others, "its node was NotReady");
            }
            assert!(settled > 0, "{started} {ready} {restarts}");
        }
    }

    #[test]
    fn one_look_tells_which_calm_pods_restarted_lately() {
        let mut scene = scene();
        for pod in [WEB, DB, AGENT] {
            scene.after[pod].containers[0].started_at = Some(at(-90 * MINUTE));
        }
        // One just now, one long ago; and one that had run for a minute only.
        scene.restart(WEB, 0, 1, "Error", -2 * MINUTE);
        scene.restart(DB, 0, 1, "Error", -20 * MINUTE);
        scene.after[AGENT].containers[0].started_at = Some(at(-3 * MINUTE));
        scene.restart(AGENT, 0, 1, "Error", -2 * MINUTE);
        let lately = lately_restarted(&scene.after, at(-10 * MINUTE));
        assert_eq!(lately, [(scene.after[WEB].uid.clone(), at(-2 * MINUTE))]);
        scene.after[WEB].deleting = Some(at(0));
        assert_eq!(lately_restarted(&scene.after, at(-10 * MINUTE)), []);
    }

    #[test]
    fn a_pod_that_came_to_its_end_is_not_blamed_on_a_swap_that_is_over() {
        let gone = |scene: &mut Scene| {
            scene.events = None;
            scene.after.remove(AGENT);
        };
        let ended = |scene: &mut Scene| scene.after[AGENT].ended = true;
        for edit in [gone as fn(&mut Scene), ended] {
            let mut scene = scene();
            edit(&mut scene);
            let late = scene.judge();
            assert!(late.len() == 1 && late[0].cause == Cause::Others, "{late:?}");
            assert!(late[0].because.contains("came to its end: "), "{late:?}");
            scene.window.over = false;
            assert_eq!(scene.judge()[0].cause, Cause::Unknown);
        }
    }

    #[test]
    fn evidence_against_the_swap_holds_however_late_it_is_seen() {
        let mut scene = scene();
        old(&mut scene, 10, 10, 31);
        restart(&mut scene);
        scene.event(WEB, "Killing", "Container web definition changed, will be restarted", 3);
        assert_eq!(scene.judge()[0].cause, Cause::Swap);
    }
}
