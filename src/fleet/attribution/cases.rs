//! Seeded cases with their verdicts: what a swap did, and beside each the near miss that something else did. Add a row for
//! whatever is seen on a real cluster. The table: `cargo test --lib attribution -- --nocapture`.

use super::{SwapWindow, judge_pods};
use crate::fleet::{
    Cause, Component, ContainerExit, ContainerProof, ContainerRole, Disturbance, PodEvent, PodOwner, PodProof,
};
use jiff::{SignedDuration, Timestamp};
use std::fmt::Write;

use Component::{EtcdRivers, KubeApiserver, KubeControllerManager, KubeProxy, KubeScheduler, Kubelet, Rivers};

/// So many seconds after the swap's first stop.
pub(super) fn at(seconds: i64) -> Timestamp {
    let stop: Timestamp = "2026-11-29T12:03:00Z".parse().unwrap();
    stop + SignedDuration::from_secs(seconds)
}

/// A node with three calm pods, and a swap on it.
pub(super) struct Scene {
    pub before: Vec<PodProof>,
    pub after: Vec<PodProof>,
    pub events: Option<Vec<PodEvent>>,
    pub window: SwapWindow,
}

pub(super) const WEB: usize = 0;
pub(super) const DB: usize = 1;
pub(super) const AGENT: usize = 2;
const HOUR: i64 = 3_600;

fn calm(name: &str, kind: &str, owner: &str, containers: &[(&str, ContainerRole)]) -> PodProof {
    let container = |(name, role): &(&str, ContainerRole)| ContainerProof {
        name: (*name).into(),
        id: format!("containerd://{name}-0"),
        started_at: Some(at(-10 * HOUR)),
        role: *role,
        ..ContainerProof::default()
    };
    PodProof {
        pod: format!("app/{name}"),
        uid: format!("uid-{name}"),
        ready: true,
        ready_since: Some(at(-10 * HOUR + 20)),
        containers: containers.iter().map(container).collect(),
        owner: Some(PodOwner { kind: kind.into(), name: owner.into() }),
        ..PodProof::default()
    }
}

impl Scene {
    pub fn of(components: &[Component]) -> Scene {
        use ContainerRole::{Ephemeral, Main, Sidecar};
        let before = vec![
            calm("web-1", "ReplicaSet", "web-55c4", &[("web", Main), ("debug", Ephemeral)]),
            calm("db-0", "StatefulSet", "db", &[("db", Main), ("side", Sidecar)]),
            calm("agent-x", "DaemonSet", "agent", &[("agent", Main)]),
        ];
        let window = SwapWindow {
            components: components.iter().copied().collect(),
            before: at(-5),
            stopping: Some(at(0)),
            started: Some(at(2)),
            after: at(60),
            node_lost: false,
            over: false,
            restarts_elsewhere: 0,
        };
        Scene { after: before.clone(), before, events: Some(Vec::new()), window }
    }

    /// A pod was like this before, and is so still.
    fn was(&mut self, pod: usize, edit: impl Fn(&mut PodProof)) {
        edit(&mut self.before[pod]);
        self.after[pod] = self.before[pod].clone();
    }

    fn is(&mut self, pod: usize) -> &mut PodProof {
        &mut self.after[pod]
    }

    fn gone(&mut self, pod: usize) {
        let uid = self.before[pod].uid.clone();
        self.after.retain(|p| p.uid != uid);
    }

    /// The first container of a pod, or the given one, ends and is started again a second later.
    pub fn restart(&mut self, pod: usize, container: usize, code: i32, reason: &str, end: i64) {
        let is = &mut self.after[pod].containers[container];
        let exit = ContainerExit { code, reason: reason.into(), started_at: is.started_at, finished_at: Some(at(end)) };
        is.restarts += 1;
        is.id = format!("containerd://{}-{}", is.name, is.restarts);
        (is.last_exit, is.started_at) = (Some(exit), Some(at(end + 1)));
    }

    /// It ended with this code, and stays so.
    fn ends(&mut self, pod: usize, code: i32, end: i64) {
        let is = &mut self.after[pod];
        (is.ended, is.ready, is.ready_since) = (true, false, Some(at(end)));
        for container in &mut is.containers {
            let reason = if code == 0 { "Completed" } else { "Error" };
            let (started_at, finished_at) = (container.started_at.take(), Some(at(end)));
            container.last_exit = Some(ContainerExit { code, reason: reason.into(), started_at, finished_at });
        }
    }

    /// It had crashed before: `restarts` times, the last after `run` seconds, `ago` seconds before the swap.
    fn crashed(&mut self, pod: usize, code: i32, reason: &str, restarts: i32, run: i64, ago: i64) {
        self.was(pod, |p| {
            let c = &mut p.containers[0];
            let (started_at, finished_at) = (Some(at(-ago - run)), Some(at(-ago)));
            c.last_exit = Some(ContainerExit { code, reason: reason.into(), started_at, finished_at });
            (c.restarts, c.started_at) = (restarts, Some(at(-ago + 10)));
        });
    }

    fn job(&mut self, pod: usize) {
        self.was(pod, |p| p.owner = Some(PodOwner { kind: "Job".into(), name: "backup-29".into() }));
    }

    pub fn event(&mut self, pod: usize, reason: &str, message: &str, seconds: i64) {
        let source = match reason {
            "TaintManagerEviction" => "taint-eviction-controller",
            "SuccessfulDelete" => "replicaset-controller",
            "Preempted" => "default-scheduler",
            _ => "kubelet",
        };
        let uid = self.before[pod].uid.clone();
        let (reason, message, source) = (reason.into(), message.into(), source.into());
        let event = PodEvent { uid, reason, message, source, at: at(seconds), count: 1 };
        self.events.get_or_insert_default().push(event);
    }

    fn flap(&mut self, pod: usize, seconds: i64) {
        self.after[pod].ready_since = Some(at(seconds));
    }

    fn not_ready(&mut self, pod: usize, seconds: i64) {
        (self.after[pod].ready, self.after[pod].ready_since) = (false, Some(at(seconds)));
    }

    pub fn judge(&self) -> Vec<Disturbance> {
        judge_pods(&self.before, &self.after, self.events.as_deref(), &self.window)
    }
}

/// What really happened, and what must be said of it.
pub(super) struct Row {
    pub swap: &'static [Component],
    pub what: &'static str,
    pub scene: fn(&mut Scene),
    /// The verdict on every changed pod; none where nothing is to be said.
    pub verdict: Option<Cause>,
    /// So many pods.
    pub pods: usize,
    /// Stands in the evidence.
    pub words: &'static str,
}

const fn row(
    swap: &'static [Component],
    what: &'static str,
    verdict: Option<Cause>,
    pods: usize,
    words: &'static str,
    scene: fn(&mut Scene),
) -> Row {
    Row { swap, what, scene, verdict, pods, words }
}

const OURS: Option<Cause> = Some(Cause::Swap);
const OTHERS: Option<Cause> = Some(Cause::Others);
const OPEN: Option<Cause> = Some(Cause::Unknown);

const DEFINITION: &str = "Container web definition changed, will be restarted";
const LIVENESS: &str = "Container web failed liveness probe, will be restarted";

/// The table. The comments head the kinds; each true case stands before its near misses.
#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    // The hash change.
    row(&[Kubelet], "definition changed, still within its grace period", OURS, 1, "definition changed: Killing event", |s| s.event(WEB, "Killing", DEFINITION, 3)),
    row(&[Kubelet], "definition changed, 30 s later replaced", OURS, 1, "1 s after the new kubelet started", |s| { s.event(WEB, "Killing", DEFINITION, 3); s.restart(WEB, 0, 137, "Error", 33); }),
    row(&[Kubelet], "definition changed, of a pod in a crash loop", OURS, 1, "definition changed", |s| { s.crashed(WEB, 1, "Error", 7, 20, 100); s.event(WEB, "Killing", DEFINITION, 3); s.restart(WEB, 0, 1, "Error", 4); }),
    row(&[Kubelet], "definition changed, and the pod deleted meanwhile", OURS, 1, "definition changed", |s| { s.event(WEB, "Killing", DEFINITION, 3); s.is(WEB).deleting = Some(at(20)); }),
    row(&[Kubelet], "no events: every pod restarts as the kubelet starts", OURS, 3, "containers of 3 pods restarted", |s| { s.events = None; for pod in [WEB, DB, AGENT] { s.restart(pod, 0, 137, "Error", 4); } }),
    row(&[Kubelet], "no events: two pods of two owners restart, one exits 0 at SIGTERM", OURS, 2, "containers of 2 pods restarted", |s| { s.events = None; s.restart(WEB, 0, 0, "Completed", 4); s.restart(DB, 0, 143, "Error", 30); }),
    row(&[Kubelet], "no events: a crash loop restarts amid the others", OPEN, 1, "but containers of 2 pods restarted", |s| { s.events = None; s.crashed(WEB, 1, "Error", 7, 20, 100); s.restart(WEB, 0, 1, "Error", 4); s.restart(DB, 0, 143, "Error", 5); s.restart(AGENT, 0, 143, "Error", 5); }),
    row(&[Kubelet], "no events: one container ends by SIGTERM", OPEN, 1, "exit code 143", |s| { s.events = None; s.restart(WEB, 0, 143, "Error", 5); }),
    row(&[Kubelet], "a container ends by SIGKILL, its event was dropped", OPEN, 1, "exit code 137", |s| s.restart(WEB, 0, 137, "Error", 34)),
    row(&[Kubelet], "the kubelet lost a container", OPEN, 1, "ContainerStatusUnknown", |s| { s.restart(WEB, 0, 137, "ContainerStatusUnknown", 3); s.is(WEB).containers[0].last_exit.as_mut().unwrap().finished_at = None; }),
    row(&[Kubelet], "the new kubelet makes a sandbox anew", OURS, 1, "sandbox", |s| { s.event(WEB, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.", 4); s.restart(WEB, 0, 137, "Error", 5); }),
    row(&[Kubelet], "the kubelet makes a sandbox anew twenty minutes after", OTHERS, 1, "sandbox", |s| { s.window.after = at(1_800); s.event(WEB, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.", 1_200); s.restart(WEB, 0, 137, "Error", 1_201); }),
    row(&[Kubelet], "the kubelet stops a container twenty minutes after", OTHERS, 1, "told it to end", |s| { s.window.after = at(1_800); s.event(WEB, "Killing", "Stopping container web", 1_200); s.restart(WEB, 0, 137, "Error", 1_230); }),
    row(&[KubeProxy], "a sandbox died while kube-proxy was swapped", OTHERS, 1, "sandbox", |s| { s.event(WEB, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.", 4); s.restart(WEB, 0, 137, "Error", 5); }),
    row(&[KubeProxy], "an operator edits a pod's image while kube-proxy is swapped", OTHERS, 1, "definition was changed through the API", |s| { s.event(WEB, "Killing", DEFINITION, 3); s.restart(WEB, 0, 143, "Error", 5); }),
    row(&[Kubelet], "an operator edited a pod's image 20 s before the first stop", OTHERS, 1, "before the swap's first stop", |s| { s.event(WEB, "Killing", DEFINITION, -20); s.restart(WEB, 0, 137, "Error", 10); }),
    row(&[Kubelet], "an operator resizes a container in place", OTHERS, 1, "resized in place", |s| { s.event(WEB, "Killing", "Container web resize requires restart", 20); s.restart(WEB, 0, 143, "Error", 21); }),
    // A container's own record.
    row(&[Kubelet], "calm for hours, then it ends by itself within the swap", OPEN, 1, "exit code 1", |s| s.restart(WEB, 0, 1, "Error", 5)),
    row(&[Kubelet], "crash loop at its own pace", OTHERS, 1, "crash loop: exit code 1, 7 restarts before the swap", |s| { s.crashed(WEB, 1, "Error", 7, 20, 100); s.restart(WEB, 0, 1, "Error", 10); }),
    row(&[Kubelet], "crash loop, started again from CrashLoopBackOff", OTHERS, 1, "CrashLoopBackOff, exit code 1, 7 restarts", |s| { s.crashed(WEB, 1, "Error", 7, 20, 100); s.was(WEB, |p| (p.containers[0].started_at, p.containers[0].waiting, p.ready) = (None, "CrashLoopBackOff".into(), false)); let is = &mut s.is(WEB).containers[0]; (is.started_at, is.restarts, is.id) = (Some(at(9)), 8, "containerd://web-8".into()); is.waiting.clear(); }),
    row(&[Kubelet], "no events: crash loop at its own pace", OTHERS, 1, "crash loop", |s| { s.events = None; s.crashed(WEB, 2, "Error", 31, 200, 250); s.restart(WEB, 0, 2, "Error", 30); }),
    row(&[Kubelet], "a crash loop ends by SIGTERM this time", OPEN, 1, "exit code 143", |s| { s.crashed(WEB, 1, "Error", 7, 20, 100); s.restart(WEB, 0, 143, "Error", 4); }),
    row(&[Kubelet], "crashed once hours ago, ends within the swap", OPEN, 1, "exit code 1", |s| { s.crashed(WEB, 1, "Error", 1, 20, 4 * HOUR); s.restart(WEB, 0, 1, "Error", 5); }),
    row(&[KubeApiserver], "crash loop while an API server is swapped", OTHERS, 1, "crash loop", |s| { s.crashed(WEB, 1, "Error", 7, 20, 100); s.restart(WEB, 0, 1, "Error", 10); }),
    row(&[KubeApiserver], "an operator loses its leader election while an API server is swapped", OPEN, 1, "exit code 1", |s| s.restart(WEB, 0, 1, "Error", 12)),
    row(&[KubeScheduler], "a container crashes while the scheduler is swapped", OTHERS, 1, "a swap of kube-scheduler ends no container", |s| s.restart(WEB, 0, 1, "Error", 5)),
    row(&[KubeProxy], "a container crashes while kube-proxy is swapped", OTHERS, 1, "a swap of kube-proxy ends no container", |s| s.restart(WEB, 0, 139, "Error", 5)),
    row(&[Kubelet], "a container exits 10 s before the first stop", OTHERS, 1, "before the swap's first stop", |s| s.restart(WEB, 0, 1, "Error", -10)),
    row(&[Kubelet], "a container exits 1 s before the first stop, by its node's clock", OPEN, 1, "exit code 143", |s| s.restart(WEB, 0, 143, "Error", -1)),
    row(&[Kubelet], "memory runs out for one container", OTHERS, 1, "OOMKilled", |s| s.restart(WEB, 0, 137, "OOMKilled", 20)),
    row(&[Kubelet], "memory runs out in three pods at once", OPEN, 3, "memory ran out in other pods", |s| for pod in [WEB, DB, AGENT] { s.restart(pod, 0, 137, "OOMKilled", 6); }),
    row(&[Kubelet], "memory runs out in three pods, minutes apart and long after", OTHERS, 3, "OOMKilled", |s| { s.window.after = at(1_800); for (pod, end) in [(WEB, 350), (DB, 770), (AGENT, 900)] { s.restart(pod, 0, 137, "OOMKilled", end); } }),
    row(&[Kubelet], "memory runs out in two pods at once, and in one long after", OTHERS, 3, "OOMKilled", |s| { s.window.after = at(1_800); for (pod, end) in [(WEB, 6), (DB, 8), (AGENT, 900)] { s.restart(pod, 0, 137, "OOMKilled", end); } }),
    row(&[Kubelet], "a sidecar restarts as the kubelet starts", OPEN, 1, "exit code 137", |s| s.restart(DB, 1, 137, "Error", 4)),
    row(&[Kubelet], "a sidecar had its memory run out", OTHERS, 1, "OOMKilled", |s| s.restart(DB, 1, 137, "OOMKilled", 4)),
    row(&[Kubelet], "an operator's debugging ends (ephemeral container)", None, 0, "", |s| { s.is(WEB).containers[1].started_at = None; s.is(WEB).containers[1].last_exit = Some(ContainerExit { code: 0, reason: "Completed".into(), started_at: None, finished_at: Some(at(5)) }); }),
    row(&[Kubelet], "an operator begins to debug (a new ephemeral container)", None, 0, "", |s| { let debug = ContainerProof { name: "debug2".into(), id: "containerd://d2".into(), role: ContainerRole::Ephemeral, ..ContainerProof::default() }; s.is(DB).containers.push(debug); }),
    // Probes.
    row(&[Kubelet], "liveness fails after the new kubelet's start", OURS, 1, "liveness probe failed", |s| { s.event(WEB, "Unhealthy", "Liveness probe failed: HTTP probe failed with statuscode: 503", 10); s.event(WEB, "Killing", LIVENESS, 30); s.restart(WEB, 0, 137, "Error", 50); }),
    row(&[KubeProxy], "liveness fails after kube-proxy's swap", OURS, 1, "liveness probe failed", |s| { s.event(WEB, "Unhealthy", "Liveness probe failed: dial tcp 10.1.2.3:80: i/o timeout", 10); s.event(WEB, "Killing", LIVENESS, 30); s.restart(WEB, 0, 143, "Error", 31); }),
    row(&[KubeApiserver], "liveness fails while an API server is swapped", OPEN, 1, "liveness probe failed", |s| { s.event(WEB, "Unhealthy", "Liveness probe failed: command timed out", 10); s.event(WEB, "Killing", LIVENESS, 30); s.restart(WEB, 0, 143, "Error", 31); }),
    row(&[Kubelet], "liveness fails since before the swap", OTHERS, 1, "liveness probe failed at 12:02:35, before the swap's first stop", |s| { s.event(WEB, "Unhealthy", "Liveness probe failed: connection refused", -25); s.event(WEB, "Unhealthy", "Liveness probe failed: connection refused", 5); s.event(WEB, "Killing", LIVENESS, 5); s.restart(WEB, 0, 137, "Error", 35); }),
    row(&[Kubelet], "liveness failed before, but the node's other pods restart too", OPEN, 1, "but containers of 3 pods restarted", |s| { s.event(WEB, "Unhealthy", "Liveness probe failed: timeout", -300); s.restart(WEB, 0, 137, "Error", 5); s.restart(DB, 0, 137, "Error", 5); s.restart(AGENT, 0, 137, "Error", 5); }),
    // Restarts elsewhere.
    row(&[Kubelet], "liveness fails alone, and pods restart everywhere", OTHERS, 1, "2 pods on untouched nodes restarted within 10 min too", |s| { s.window.restarts_elsewhere = 2; s.event(WEB, "Unhealthy", "Liveness probe failed: timeout", 10); s.event(WEB, "Killing", LIVENESS, 30); s.restart(WEB, 0, 137, "Error", 40); }),
    row(&[Kubelet], "liveness fails in three pods, and pods restart everywhere", OURS, 3, "liveness probe failed", |s| { s.window.restarts_elsewhere = 9; for pod in [WEB, DB, AGENT] { s.event(pod, "Unhealthy", "Liveness probe failed: timeout", 10); s.restart(pod, 0, 137, "Error", 40); } }),
    row(&[Kubelet], "two pods of two owners exit by themselves, and pods restart everywhere", OTHERS, 2, "2 pods on untouched nodes", |s| { s.window.restarts_elsewhere = 2; s.restart(WEB, 0, 1, "Error", 5); s.restart(DB, 0, 1, "Error", 9); }),
    row(&[Kubelet], "two pods of two owners exit by themselves on a calm cluster", OURS, 2, "containers of 2 pods restarted", |s| { s.restart(WEB, 0, 1, "Error", 5); s.restart(DB, 0, 1, "Error", 9); }),
    row(&[Kubelet], "two pods of two owners end by SIGKILL, and pods restart everywhere", OPEN, 2, "exit code 137", |s| { s.window.restarts_elsewhere = 9; s.restart(WEB, 0, 137, "Error", 5); s.restart(DB, 0, 137, "Error", 9); }),
    row(&[Kubelet], "one container exits by itself, and pods restart everywhere", OTHERS, 1, "exit code 1 at 12:03:05", |s| { s.window.restarts_elsewhere = 2; s.restart(WEB, 0, 1, "Error", 5); }),
    row(&[Kubelet], "one container exits by itself, and one pod restarted elsewhere", OPEN, 1, "exit code 1", |s| { s.window.restarts_elsewhere = 1; s.restart(WEB, 0, 1, "Error", 5); }),
    row(&[Kubelet], "no events: one container exits by itself, and pods restart everywhere", OPEN, 1, "exit code 1", |s| { s.events = None; s.window.restarts_elsewhere = 9; s.restart(WEB, 0, 1, "Error", 5); }),
    row(&[Kubelet], "one container ends by SIGTERM, and pods restart everywhere", OPEN, 1, "exit code 143", |s| { s.window.restarts_elsewhere = 9; s.restart(WEB, 0, 143, "Error", 5); }),
    row(&[Kubelet], "definition changed in one pod, and pods restart everywhere", OURS, 1, "definition changed", |s| { s.window.restarts_elsewhere = 9; s.event(WEB, "Killing", DEFINITION, 3); s.restart(WEB, 0, 1, "Error", 5); }),
    row(&[KubeApiserver], "an operator loses its leader election, and pods restart everywhere", OPEN, 1, "exit code 1", |s| { s.window.restarts_elsewhere = 9; s.restart(WEB, 0, 1, "Error", 12); }),
    // Too late for a kubelet that has just started.
    row(&[Kubelet], "a container exits twenty minutes after the swap", OTHERS, 1, "exit code 1", |s| { s.window.after = at(1_800); s.restart(WEB, 0, 1, "Error", 1_200); }),
    row(&[Kubelet], "liveness begins to fail twenty minutes after the swap", OTHERS, 1, "liveness probe failed", |s| { s.window.after = at(1_800); s.event(WEB, "Unhealthy", "Liveness probe failed: timeout", 1_200); s.event(WEB, "Killing", LIVENESS, 1_220); s.restart(WEB, 0, 137, "Error", 1_230); }),
    row(&[Kubelet], "a container ends by SIGKILL within the first sync and its grace period", OPEN, 1, "exit code 137", |s| { s.window.after = at(1_800); s.restart(WEB, 0, 137, "Error", 110); }),
    row(&[Kubelet], "no Ready for a moment as the kubelet starts (KEP-4781)", OURS, 1, "KEP-4781", |s| s.flap(WEB, 4)),
    row(&[Kubelet], "no events: not Ready as the kubelet starts", OURS, 1, "KEP-4781", |s| { s.events = None; s.not_ready(WEB, 3); }),
    row(&[Kubelet], "no Ready for a moment 40 s before the first stop", OTHERS, 1, "before the swap's first stop", |s| s.flap(WEB, -40)),
    row(&[KubeProxy], "readiness fails after kube-proxy's swap", OURS, 1, "readiness probe failed", |s| { s.event(WEB, "Unhealthy", "Readiness probe failed: i/o timeout", 10); s.not_ready(WEB, 12); }),
    row(&[KubeProxy], "readiness begins to fail twenty minutes after kube-proxy's swap", OTHERS, 1, "readiness probe failed", |s| { s.window.after = at(1_800); s.event(WEB, "Unhealthy", "Readiness probe failed: i/o timeout", 1_200); s.not_ready(WEB, 1_202); }),
    row(&[Rivers], "not Ready after rivers' swap, and no event tells why", OPEN, 1, "its Ready condition changed", |s| s.not_ready(WEB, 12)),
    row(&[KubeProxy], "flaps since long before kube-proxy's swap", OTHERS, 1, "readiness probe failed before", |s| { s.event(WEB, "Unhealthy", "Readiness probe failed: i/o timeout", -200); s.event(WEB, "Unhealthy", "Readiness probe failed: i/o timeout", 10); s.flap(WEB, 20); }),
    row(&[KubeProxy], "no events: it had become Ready again shortly before", OTHERS, 1, "flapped before", |s| { s.events = None; s.was(WEB, |p| p.ready_since = Some(at(-300))); s.flap(WEB, 20); }),
    row(&[Kubelet], "all three flip, one of which flapped before", OURS, 3, "KEP-4781", |s| { s.event(WEB, "Unhealthy", "Readiness probe failed: i/o timeout", -200); for pod in [WEB, DB, AGENT] { s.flap(pod, 4); } }),
    row(&[Kubelet], "not Ready: liveness fails since before the swap, its container is about to be replaced", OTHERS, 1, "liveness probe failed at 12:02:35, before the swap's first stop", |s| { s.event(WEB, "Unhealthy", "Liveness probe failed: timeout", -25); s.event(WEB, "Killing", LIVENESS, 5); s.not_ready(WEB, 6); }),
    row(&[Kubelet], "not Ready: liveness fails alone, and pods restart everywhere", OTHERS, 1, "2 pods on untouched nodes restarted within 10 min too", |s| { s.window.restarts_elsewhere = 2; s.event(WEB, "Unhealthy", "Liveness probe failed: timeout", 10); s.event(WEB, "Killing", LIVENESS, 18); s.not_ready(WEB, 19); }),
    row(&[Kubelet], "not Ready: liveness begins to fail after the new kubelet's start", OURS, 1, "liveness probe failed", |s| { s.event(WEB, "Unhealthy", "Liveness probe failed: timeout", 10); s.event(WEB, "Killing", LIVENESS, 18); s.not_ready(WEB, 19); }),
    row(&[Kubelet], "all three flip, the container of one of which was told to end before", OURS, 3, "KEP-4781", |s| { s.event(WEB, "Unhealthy", "Liveness probe failed: timeout", -25); s.event(WEB, "Killing", LIVENESS, -5); for pod in [WEB, DB, AGENT] { s.flap(pod, 4); } }),
    row(&[KubeScheduler], "not Ready while the scheduler is swapped, no probe failed", OTHERS, 1, "no probe failed", |s| s.not_ready(WEB, 12)),
    row(&[KubeControllerManager], "readiness fails within the controller-manager's swap", OPEN, 1, "readiness probe failed", |s| { s.event(WEB, "Unhealthy", "Readiness probe failed: HTTP 500", 10); s.not_ready(WEB, 12); }),
    row(&[EtcdRivers], "not Ready within etcd-rivers' swap", OPEN, 1, "its Ready condition changed", |s| s.not_ready(WEB, 12)),
    row(&[Rivers], "the node was NotReady: all its pods are", OURS, 3, "its node was NotReady", |s| { s.window.node_lost = true; for pod in [WEB, DB, AGENT] { s.not_ready(pod, 50); } }),
    row(&[Kubelet], "not Ready before and after", None, 0, "", |s| { s.was(WEB, |p| p.ready = false); s.is(WEB).ready_since = Some(at(5)); }),
    // Deletions.
    row(&[Kubelet], "a rollout deletes it", OTHERS, 1, "rollout or scale-down: ReplicaSet web-55c4 deleted it at 12:03:07", |s| { s.event(WEB, "SuccessfulDelete", "Deleted pod: web-1", 7); s.event(WEB, "Killing", "Stopping container web", 7); s.gone(WEB); }),
    row(&[Kubelet], "a rollout: it is terminating, its container has ended", OTHERS, 1, "deleted through the API at 12:03:07", |s| { s.event(WEB, "Killing", "Stopping container web", 7); s.restart(WEB, 0, 143, "Error", 8); s.not_ready(WEB, 8); s.is(WEB).deleting = Some(at(7)); }),
    row(&[Kubelet], "no events: a scale-down", OTHERS, 1, "ReplicaSet web-55c4", |s| { s.events = None; s.gone(WEB); }),
    row(&[Kubelet], "it was terminating before; it is gone", OTHERS, 1, "being deleted since 12:02:40", |s| { s.was(WEB, |p| p.deleting = Some(at(-20))); s.gone(WEB); }),
    row(&[Kubelet], "it was terminating before; its container ends", OTHERS, 1, "being deleted since", |s| { s.was(WEB, |p| p.deleting = Some(at(-20))); s.restart(WEB, 0, 137, "Error", 10); }),
    row(&[Kubelet], "it was terminating before, and still is", None, 0, "", |s| s.was(WEB, |p| p.deleting = Some(at(-20)))),
    row(&[Kubelet], "a person evicts it (drain)", OTHERS, 1, "evicted through the API", |s| { s.is(WEB).deleting = Some(at(9)); s.is(WEB).disruption = "EvictionByEvictionAPI".into(); }),
    row(&[Kubelet], "the scheduler preempts it", OTHERS, 1, "preempted by kube-scheduler", |s| { s.event(WEB, "Preempted", "Preempted by pod 1 on node a", 9); s.gone(WEB); }),
    row(&[Kubelet], "the taint-eviction controller evicts it: the node was NotReady", OURS, 1, "its node was NotReady", |s| { s.window.node_lost = true; s.event(WEB, "TaintManagerEviction", "Marking for deletion Pod app/web-1", 50); s.gone(WEB); }),
    row(&[Kubelet], "the taint-eviction controller evicts it, the node never seen NotReady", OPEN, 1, "taint-eviction controller", |s| { s.event(WEB, "TaintManagerEviction", "Marking for deletion Pod app/web-1", 50); s.gone(WEB); }),
    row(&[Kubelet], "an operator tainted the node before the swap", OTHERS, 1, "before the swap's first stop", |s| { s.event(WEB, "TaintManagerEviction", "Marking for deletion Pod app/web-1", -8); s.gone(WEB); }),
    row(&[KubeScheduler], "an operator taints the node while the scheduler is swapped", OTHERS, 1, "cannot make a node NotReady", |s| { s.is(WEB).deleting = Some(at(9)); s.is(WEB).disruption = "DeletionByTaintManager".into(); }),
    row(&[Kubelet], "the new kubelet rejects a DaemonSet's pod, its controller deletes it", OURS, 1, "rejected by its kubelet: UnexpectedAdmissionError", |s| { s.event(AGENT, "UnexpectedAdmissionError", "Allocate failed due to no healthy devices present", 4); s.event(AGENT, "SuccessfulDelete", "Deleted pod: agent-x", 6); s.gone(AGENT); }),
    row(&[Kubelet], "a StatefulSet's pod is gone; half an hour ago its controller deleted another of that name", OTHERS, 1, "deleted through the API", |s| { s.event(DB, "SuccessfulDelete", "delete Pod db-0 in StatefulSet db successful", -1_800); s.gone(DB); }),
    row(&[Kubelet], "no events: a DaemonSet's pod is gone", OPEN, 1, "deletes pods that a kubelet rejects", |s| { s.events = None; s.gone(AGENT); }),
    row(&[Kubelet], "a DaemonSet's rollout", OTHERS, 1, "DaemonSet agent deleted it", |s| { s.event(AGENT, "SuccessfulDelete", "Deleted pod: agent-x", 6); s.gone(AGENT); }),
    row(&[KubeProxy], "no events: a DaemonSet's rollout while kube-proxy is swapped", OTHERS, 1, "DaemonSet agent", |s| { s.events = None; s.gone(AGENT); }),
    row(&[Kubelet], "the mirror of a static pod is another", OPEN, 1, "static pod", |s| { s.was(AGENT, |p| p.owner = Some(PodOwner { kind: "Node".into(), name: "a".into() })); s.gone(AGENT); }),
    row(&[KubeProxy], "a static pod's file was edited while kube-proxy was swapped", OTHERS, 1, "static pod", |s| { s.was(AGENT, |p| p.owner = Some(PodOwner { kind: "Node".into(), name: "a".into() })); s.gone(AGENT); }),
    // Endings.
    row(&[Kubelet], "the new kubelet rejects it at its start", OURS, 1, "UnexpectedAdmissionError", |s| { s.ends(WEB, 137, 5); s.is(WEB).reason = "UnexpectedAdmissionError".into(); }),
    row(&[Kubelet], "the new kubelet makes room for a critical pod", OURS, 1, "Preempting", |s| { s.event(WEB, "Preempting", "Preempted in order to admit critical pod", 4); s.ends(WEB, 137, 5); s.is(WEB).reason = "Preempting".into(); }),
    row(&[KubeProxy], "an operator restarts the kubelet while kube-proxy is swapped: it rejects a pod", OTHERS, 1, "does not restart the kubelet", |s| { s.ends(WEB, 137, 5); s.is(WEB).reason = "OutOfcpu".into(); }),
    row(&[Kubelet], "the new kubelet evicts it", OPEN, 1, "evicted by its kubelet", |s| { s.event(WEB, "Evicted", "The node was low on resource: memory.", 20); s.ends(WEB, 137, 21); s.is(WEB).reason = "Evicted".into(); }),
    row(&[Kubelet], "the old kubelet had evicted it 10 s before", OTHERS, 1, "before the swap's first stop", |s| { s.event(WEB, "Evicted", "The node was low on resource: memory.", -10); s.ends(WEB, 137, 5); s.is(WEB).reason = "Evicted".into(); }),
    row(&[Kubelet], "a Job completes", OTHERS, 1, "its Job backup-29 completed", |s| { s.job(WEB); s.ends(WEB, 0, 20); }),
    row(&[Kubelet], "a Job fails by itself", OTHERS, 1, "it ended by itself", |s| { s.job(WEB); s.ends(WEB, 1, 20); }),
    row(&[Kubelet], "a Job's pod ends by SIGTERM", OPEN, 1, "exit code 143", |s| { s.job(WEB); s.ends(WEB, 143, 5); }),
    row(&[KubeApiserver], "a Job that needs the API fails while an API server is swapped", OPEN, 1, "exit code 1", |s| { s.job(WEB); s.ends(WEB, 1, 20); }),
    row(&[Kubelet], "a Job's pod ends by SIGTERM before the first stop", OTHERS, 1, "before the swap's first stop", |s| { s.job(WEB); s.ends(WEB, 143, -20); }),
    row(&[Kubelet], "a Job's deadline is exceeded", OTHERS, 1, "deadline", |s| { s.job(WEB); s.ends(WEB, 137, 5); s.is(WEB).reason = "DeadlineExceeded".into(); }),
    row(&[Kubelet], "a finished Job's pod is cleaned up", None, 0, "", |s| { s.was(WEB, |p| p.ended = true); s.gone(WEB); }),
    // Nothing.
    row(&[Kubelet], "nothing happens", None, 0, "", |_| ()),
    row(&[Kubelet], "new pods come", None, 0, "", |s| { let new = PodProof { uid: "uid-new".into(), ..s.before[WEB].clone() }; s.after.push(new); }),
    row(&[Kubelet], "a pod restarts before anything was stopped", OTHERS, 1, "nothing was stopped yet", |s| { (s.window.stopping, s.window.started) = (None, None); s.restart(WEB, 0, 137, "Error", -1); }),
    row(&[Kubelet], "an old event of another swap", None, 0, "", |s| s.event(WEB, "Killing", DEFINITION, -900)),
];

#[test]
fn attribution_table() {
    let mut table = String::from("verdict  swap                     case: evidence\n");
    let mut wrong = Vec::new();
    for row in ROWS {
        let mut scene = Scene::of(row.swap);
        (row.scene)(&mut scene);
        let all = scene.judge();
        // A pod that is no near miss in a crowd is judged with the crowd.
        let of_row: Vec<&Disturbance> = all.iter().filter(|d| Some(d.cause) == row.verdict).collect();
        let told = of_row.iter().find(|d| d.to_string().contains(row.words));
        let crowd = row.words.starts_with("but containers of") && all.len() == 3;
        let right = of_row.len() == row.pods && (of_row.len() == all.len() || crowd);
        let worded = row.pods == 0 || told.is_some();
        if !(right && worded) {
            wrong.push(format!("{}: wanted {:?} {} {:?}, got {all:#?}", row.what, row.verdict, row.pods, row.words));
        }
        let verdict = match row.verdict {
            OURS => "swap",
            OPEN => "unknown",
            OTHERS => "others",
            None => "-",
        };
        let swap: Vec<&str> = row.swap.iter().map(|c| c.as_str()).collect();
        let evidence = told.map(|d| d.because.as_str()).unwrap_or("nothing to say");
        let _ = writeln!(table, "{verdict:<8} {:<24} {}: {evidence}", swap.join(","), row.what);
    }
    println!("{table}{} cases", ROWS.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_has_true_cases_and_near_misses() {
    let of = |verdict| ROWS.iter().filter(|row| row.verdict == verdict).count();
    assert!(ROWS.len() >= 40 && of(OURS) + of(OPEN) >= 15 && of(OTHERS) >= 15, "{} rows", ROWS.len());
}
