//! What must hold of every verdict, whatever else happens on the node.

use super::cases::{AGENT, DB, Scene, WEB, at};
use crate::fleet::{Cause, Component, DisturbanceKind};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn components() -> impl Strategy<Value = BTreeSet<Component>> {
    proptest::collection::btree_set(proptest::sample::select(Component::ALL.to_vec()), 1..4)
}

/// Something that may happen to a pod beside what is looked for: of all kinds, at any time.
#[derive(Debug, Clone)]
enum Noise {
    Event { reason: usize, message: usize, seconds: i64 },
    Restart { code: i32, reason: usize, seconds: i64 },
    Flap { seconds: i64 },
    Deleting { seconds: i64 },
    Ended,
    NodeLost,
    CrashedBefore,
}

const REASONS: [&str; 8] = [
    "Killing",
    "Unhealthy",
    "Evicted",
    "Preempted",
    "SuccessfulDelete",
    "TaintManagerEviction",
    "SandboxChanged",
    "BackOff",
];
const MESSAGES: [&str; 7] = [
    "Stopping container web",
    "Container web failed liveness probe, will be restarted",
    "Container web resize requires restart",
    "Liveness probe failed: timeout",
    "Readiness probe failed: timeout",
    "Deleted pod: web-1",
    "\u{1b}[2J Container  definition",
];
const ENDS: [&str; 4] = ["Error", "OOMKilled", "Completed", ""];

fn noise() -> impl Strategy<Value = Noise> {
    let seconds = || -600..600_i64;
    prop_oneof![
        (0..REASONS.len(), 0..MESSAGES.len(), seconds()).prop_map(|(reason, message, seconds)| Noise::Event {
            reason,
            message,
            seconds
        }),
        (0..256, 0..ENDS.len(), seconds()).prop_map(|(code, reason, seconds)| Noise::Restart { code, reason, seconds }),
        seconds().prop_map(|seconds| Noise::Flap { seconds }),
        seconds().prop_map(|seconds| Noise::Deleting { seconds }),
        Just(Noise::Ended),
        Just(Noise::NodeLost),
        Just(Noise::CrashedBefore),
    ]
}

fn make(scene: &mut Scene, pod: usize, noise: &Noise) {
    match noise {
        Noise::Event { reason, message, seconds } => scene.event(pod, REASONS[*reason], MESSAGES[*message], *seconds),
        Noise::Restart { code, reason, seconds } => scene.restart(pod, 0, *code, ENDS[*reason], *seconds),
        Noise::Flap { seconds } => scene.after[pod].ready_since = Some(at(*seconds)),
        Noise::Deleting { seconds } => scene.after[pod].deleting = Some(at(*seconds)),
        Noise::Ended => scene.after[pod].ended = true,
        Noise::NodeLost => scene.window.node_lost = true,
        Noise::CrashedBefore => {
            let container = &mut scene.before[pod].containers[0];
            container.restarts = 9;
            container.last_exit = Some(crate::fleet::ContainerExit {
                code: 1,
                reason: "Error".into(),
                started_at: Some(at(-90)),
                finished_at: Some(at(-70)),
            });
            container.started_at = Some(at(-60));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// The kubelet says that it restarts a container because its definition changed: no noise makes that the doing of others.
    #[test]
    fn a_hash_restart_with_its_event_is_never_of_others(
        noises in proptest::collection::vec((0..3_usize, noise()), 0..12),
        second in 0..90_i64, shown in any::<bool>(),
    ) {
        let mut scene = Scene::of(&[Component::Kubelet]);
        if shown {
            scene.restart(WEB, 0, 137, "Error", second + 30);
        }
        for (pod, noise) in &noises {
            make(&mut scene, *pod, noise);
        }
        scene.event(WEB, "Killing", "Container web definition changed, will be restarted", second);
        let all = scene.judge();
        let web = all.iter().find(|d| d.pod == "app/web-1");
        prop_assert!(web.is_some_and(|d| d.cause == Cause::Swap && matches!(d.kind, DisturbanceKind::Redefined(_))), "{:?}", all);
    }

    /// Without events: every calm pod of the node is restarted as the kubelet starts. The noise is on a pod beside them.
    #[test]
    fn a_hash_restart_without_events_is_never_of_others(
        noises in proptest::collection::vec(noise(), 0..6),
        codes in proptest::array::uniform2(0..256_i32), seconds in proptest::array::uniform2(3..90_i64),
    ) {
        let mut scene = Scene::of(&[Component::Kubelet]);
        for (pod, i) in [(DB, 0), (AGENT, 1)] {
            scene.restart(pod, 0, codes[i], "Error", seconds[i]);
        }
        for noise in &noises {
            make(&mut scene, WEB, noise);
        }
        scene.events = None;
        let all = scene.judge();
        for pod in ["app/db-0", "app/agent-x"] {
            let found = all.iter().find(|d| d.pod == pod);
            prop_assert!(found.is_some_and(|d| d.cause == Cause::Swap), "{pod}: {:?}", all);
        }
    }

    /// A scheduler touches no pod: only a probe that is on record as failed makes one wonder.
    #[test]
    fn what_a_swap_cannot_do_is_never_blamed_on_it(noises in proptest::collection::vec((0..3_usize, noise()), 0..12)) {
        let mut scene = Scene::of(&[Component::KubeScheduler]);
        for (pod, noise) in &noises {
            make(&mut scene, *pod, noise);
        }
        for found in scene.judge() {
            prop_assert!(found.cause != Cause::Swap, "{:?}", found);
            prop_assert!(found.cause == Cause::Others || found.because.contains("probe failed"), "{:?}", found);
        }
    }

    /// Whatever is swapped: what was over before its first stop is not its doing.
    #[test]
    fn what_was_over_before_is_of_others(
        components in components(), code in 0..256_i32, seconds in 10..3_600_i64, pod in 0..3_usize, events in any::<bool>(),
    ) {
        let components: Vec<Component> = components.into_iter().collect();
        let mut scene = Scene::of(&components);
        scene.restart(pod, 0, code, "Error", -seconds);
        scene.after[pod].ready_since = Some(at(-seconds + 2));
        if !events {
            scene.events = None;
        }
        let all = scene.judge();
        prop_assert!(all.len() == 1 && all[0].cause == Cause::Others, "{:?}", all);
    }

    /// That a swap is over acquits it only where nothing shows what it was, and never of a calm pod that is still there.
    #[test]
    fn being_over_only_settles_what_was_unknown(
        components in components(), noises in proptest::collection::vec((0..3_usize, noise()), 0..12), asked in any::<bool>(),
    ) {
        let components: Vec<Component> = components.into_iter().collect();
        let mut scene = Scene::of(&components);
        for (pod, noise) in &noises {
            make(&mut scene, *pod, noise);
        }
        if !asked {
            scene.events = None;
        }
        let open = scene.judge();
        scene.window.over = true;
        let over = scene.judge();
        prop_assert_eq!(open.len(), over.len());
        for (open, over) in open.iter().zip(&over) {
            prop_assert_eq!((&open.pod, &open.kind), (&over.pod, &over.kind));
            let old = scene.before.iter().find(|p| p.pod == open.pod);
            let restarted_before = old.is_some_and(|p| p.containers[0].restarts > 0);
            let there = scene.after.iter().any(|p| p.pod == open.pod && !p.ended);
            let settled = open.cause == Cause::Unknown && over.cause == Cause::Others && (restarted_before || !there);
            prop_assert!(open.cause == over.cause || settled, "{:?} {:?}", open, over);
        }
    }

    #[test]
    fn what_did_not_change_is_not_told(
        components in components(), events in proptest::collection::vec((0..3_usize, 0..REASONS.len(), 0..MESSAGES.len(), -600..600_i64), 0..20),
        lost in any::<bool>(), quiet in any::<bool>(),
    ) {
        let components: Vec<Component> = components.into_iter().collect();
        let mut scene = Scene::of(&components);
        for (pod, reason, message, seconds) in events {
            scene.event(pod, REASONS[reason], MESSAGES[message], seconds);
        }
        scene.window.node_lost = lost;
        if quiet {
            scene.events = None;
        }
        prop_assert_eq!(scene.judge(), vec![]);
    }

    /// Times at the ends of what there is, and text from hostile hands.
    #[test]
    fn no_time_and_no_text_makes_it_panic_or_speak_uncleanly(
        times in proptest::collection::vec(proptest::sample::select(vec![jiff::Timestamp::MIN, jiff::Timestamp::MAX, jiff::Timestamp::UNIX_EPOCH, at(5)]), 12),
        grace in any::<u32>(), text in any::<String>(), components in components(),
    ) {
        let components: Vec<Component> = components.into_iter().collect();
        let mut scene = Scene::of(&components);
        for pod in &mut scene.after {
            (pod.ready_since, pod.reason) = (Some(times[0]), text.clone());
            for container in &mut pod.containers {
                (container.started_at, container.waiting, container.restarts) = (Some(times[1]), text.clone(), i32::MIN);
                container.last_exit = Some(crate::fleet::ContainerExit {
                    code: i32::MIN, reason: text.clone(), started_at: Some(times[2]), finished_at: Some(times[3]) });
            }
        }
        for pod in &mut scene.before {
            (pod.grace_s, pod.ready_since) = (grace, Some(times[4]));
            pod.containers[0].started_at = Some(times[5]);
            pod.containers[0].restarts = i32::MAX;
            pod.containers[0].last_exit = Some(crate::fleet::ContainerExit {
                code: 1, reason: text.clone(), started_at: Some(times[6]), finished_at: Some(times[7]) });
        }
        scene.event(WEB, "Killing", &format!("Container {text} definition changed"), 3);
        if let Some(events) = &mut scene.events {
            events[0].at = times[8];
        }
        (scene.window.before, scene.window.stopping, scene.window.started) = (times[9], Some(times[10]), Some(times[11]));
        for found in scene.judge() {
            prop_assert!(!found.to_string().contains(crate::fleet::is_unclean), "{:?}", found);
        }
    }
}
