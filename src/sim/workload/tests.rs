use super::*;
use crate::sim::model::pods;
use crate::sim::scenario::{Fault, FaultKind};
use crate::sim::{Churn, PodManners, SimRelease};
use serde_json::json;

/// A worker's index: there are three masters.
const WORKER: usize = 3;

struct Stage {
    world: World,
    store: Store,
    workload: Workload,
    now: i64,
}

impl Stage {
    fn new(scenario: Scenario) -> Stage {
        Stage::at(scenario, Clock::new(1.0))
    }

    fn at(scenario: Scenario, clock: Clock) -> Stage {
        let mut world = World::new(&scenario).unwrap();
        let store = Store::new();
        for machine in world.machines() {
            for pod in pods(&scenario, &machine.spec, clock.at(0)) {
                // Two random names may meet.
                let _ = store.create(Kind::Pod, pod);
            }
        }
        let workload = Workload::new(store.clone(), clock, &mut world, 0);
        Stage { world, store, workload, now: 0 }
    }

    /// Lets time pass, in steps as the simulator takes them.
    fn until(&mut self, ms: i64) {
        while self.now < ms {
            self.now = (self.now + 250).min(ms);
            self.world.advance(self.now);
            self.workload.step(&mut self.world, self.now, true);
        }
    }

    /// Puts a kubelet of this image in the place of the one that runs; when it runs.
    fn kubelet(&mut self, image: &str) -> i64 {
        let now = self.now;
        let (machine, mut env) = self.world.on(WORKER, now);
        machine.add_image(image);
        let old = machine.find("kubelet").unwrap();
        machine.rename(old, &format!("kubelet.old.{now}")).unwrap();
        machine.stop(old, 0, now, &env);
        machine.create("kubelet", json!({"Image": image}), now).unwrap();
        let new = machine.find("kubelet").unwrap();
        machine.start(new, now, &mut env).unwrap().unwrap()
    }

    fn stop_kubelet(&mut self) {
        let now = self.now;
        let (machine, env) = self.world.on(WORKER, now);
        let at = machine.find("kubelet").unwrap();
        machine.stop(at, 0, now, &env);
    }

    fn image(&self, release: usize) -> String {
        self.world.scenario().releases[release].kubernetes.to_string()
    }

    fn pods(&self) -> Vec<Arc<Value>> {
        let node = &self.world.machines()[WORKER].spec.name;
        self.store.pods_of(node.as_str())
    }

    /// How often each pod's containers were restarted.
    fn restarts(&self) -> Vec<Vec<i64>> {
        let count = |pod: &Arc<Value>| {
            let all = pod["status"]["containerStatuses"].as_array().unwrap();
            all.iter().map(|s| s["restartCount"].as_i64().unwrap()).collect()
        };
        self.pods().iter().map(count).collect()
    }

    fn events(&self, reason: &str) -> Vec<Arc<Value>> {
        self.store.list(Kind::Event, None).into_iter().filter(|e| e["reason"] == reason).collect()
    }

    fn is_ready(pod: &Value) -> bool {
        let conditions = pod["status"]["conditions"].as_array().unwrap();
        conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
    }
}

fn fault(ends_s: Option<f64>) -> Fault {
    Fault {
        node: "workers".into(),
        component: Some(crate::fleet::Component::Kubelet),
        ends_s,
        ..Fault::of(FaultKind::RedefinesContainers)
    }
}

fn scenario(grace_s: u32, readiness: bool, faults: Vec<Fault>) -> Scenario {
    let pods = PodManners { grace_s, variety: false, readiness };
    Scenario { nodes: 2, racks: 2, pods_per_node: 12, pods, faults, ..Scenario::default() }
}

#[test]
fn a_kubelet_that_hashes_anew_replaces_each_container_after_its_grace_and_so_does_the_old_one() {
    for grace_s in [0, 30, 300] {
        let mut stage = Stage::new(scenario(grace_s, false, vec![fault(None)]));
        let before = stage.restarts();
        let (old, new) = (stage.image(0), stage.image(1));
        for (round, image) in [(1, &new), (2, &old)] {
            stage.now += 1_000;
            let earlier = stage.restarts();
            let runs = stage.kubelet(image);
            stage.until(runs + 1_000);
            let told = |e: &&Arc<Value>| {
                let text = e["message"].as_str().unwrap();
                text.starts_with("Container ") && text.ends_with(" definition changed, will be restarted")
            };
            let killing = stage.events("Killing");
            assert!(
                killing.iter().filter(told).count()
                    >= stage.pods().iter().filter(|p| p["spec"]["initContainers"].is_null()).count()
            );
            assert_eq!(stage.restarts(), earlier, "nothing has been replaced yet");
            assert!(stage.pods().iter().all(|p| Stage::is_ready(p)), "it says Ready until then");
            // One container after the other is waited for, two seconds at least.
            let wait = i64::from(grace_s.max(2)) * 1_000;
            if grace_s > 2 {
                stage.until(runs + wait);
                assert_eq!(stage.restarts(), earlier, "not before the grace is over");
            }
            stage.until(runs + wait * 5 + 3_000);
            let expected: Vec<Vec<i64>> = before.iter().map(|p| p.iter().map(|n| n + round).collect()).collect();
            assert_eq!(stage.restarts(), expected, "grace {grace_s}, round {round}");
        }
        for pod in stage.pods() {
            let status = &pod["status"]["containerStatuses"][0];
            assert_eq!(status["lastState"]["terminated"]["exitCode"], 137, "{status:#}");
            assert!(status["state"]["running"]["startedAt"].is_string());
            if let Some(sidecar) = pod["status"]["initContainerStatuses"].as_array().and_then(|all| all.last())
                && !sidecar["state"]["running"].is_null()
            {
                assert!(sidecar["restartCount"].as_i64() >= Some(2), "a sidecar is restarted too: {sidecar:#}");
            }
        }
        assert!(!stage.events("Pulled").is_empty() && !stage.events("Created").is_empty());
        assert!(!stage.events("Started").is_empty());
    }
}

#[test]
fn kubelets_of_1_31_restart_what_1_30_made_without_any_fault() {
    let release = |name: &str| SimRelease {
        name: name.into(),
        kubernetes: format!("ghcr.io/cybozu/kubernetes:{name}.1").parse().unwrap(),
        ..Scenario::default().releases[0].clone()
    };
    let releases = vec![release("1.30.14"), release("1.31.14"), release("1.32.9")];
    let mut stage = Stage::new(Scenario { releases, ..scenario(0, false, Vec::new()) });
    let before = stage.restarts();
    let image = stage.image(1);
    let runs = stage.kubelet(&image);
    stage.until(runs + 20_000);
    let once = stage.restarts();
    assert!(before.iter().flatten().zip(once.iter().flatten()).all(|(a, b)| a + 1 == *b));
    let image = stage.image(2);
    let runs = stage.kubelet(&image);
    stage.until(runs + 20_000);
    assert_eq!(stage.restarts(), once, "1.31 and 1.32 agree");
}

#[test]
fn an_event_has_the_shape_that_a_real_kubelets_has() {
    let mut stage = Stage::new(scenario(30, false, vec![fault(None)]));
    let image = stage.image(1);
    let runs = stage.kubelet(&image);
    stage.until(runs + 1_000);
    let event =
        stage.events("Killing").into_iter().find(|e| e["message"].as_str().unwrap().starts_with("Con")).unwrap();
    let node = stage.world.machines()[WORKER].spec.name.to_string();
    let pod = stage.pods().into_iter().find(|p| p["metadata"]["uid"] == event["involvedObject"]["uid"]).unwrap();
    let container = event["involvedObject"]["fieldPath"].as_str().unwrap();
    let container = container.strip_prefix("spec.containers{").unwrap().strip_suffix('}').unwrap();
    assert_eq!(event["message"], format!("Container {container} definition changed, will be restarted"));
    assert_eq!(event["source"], json!({"component": "kubelet", "host": node}));
    assert_eq!((&event["reportingComponent"], &event["reportingInstance"]), (&json!("kubelet"), &json!(node)));
    assert_eq!((&event["type"], &event["count"], &event["eventTime"]), (&json!("Normal"), &json!(1), &Value::Null));
    assert_eq!(event["firstTimestamp"], event["lastTimestamp"]);
    for field in ["name", "namespace", "uid"] {
        assert_eq!(event["involvedObject"][field], pod["metadata"][field]);
    }
    let name = event["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with(&format!("{}.", pod["metadata"]["name"].as_str().unwrap())), "{name}");
}

#[test]
fn a_decision_dies_with_its_kubelet() {
    // Stopped before it looked at its pods.
    let mut stage = Stage::new(scenario(30, false, vec![fault(None)]));
    let (before, image) = (stage.restarts(), stage.image(1));
    let runs = stage.kubelet(&image);
    stage.now = runs + 50;
    stage.stop_kubelet();
    stage.until(runs + 120_000);
    assert!(stage.events("Killing").is_empty());
    assert_eq!(stage.restarts(), before);

    // Stopped while it waits: what ignores SIGTERM lives on, and the old kubelet takes it for its own.
    let mut stage = Stage::new(scenario(30, false, vec![fault(None)]));
    let runs = stage.kubelet(&image);
    stage.until(runs + 5_000);
    let killing = stage.events("Killing").len();
    assert!(killing > 0);
    let old = stage.image(0);
    let runs = stage.kubelet(&old);
    stage.until(runs + 120_000);
    assert_eq!(stage.restarts(), before);
    assert_eq!(stage.events("Killing").len(), killing);

    // What ends at SIGTERM has ended, and the old kubelet starts it.
    let mut stage = Stage::new(scenario(30, false, vec![fault(Some(10.0))]));
    let runs = stage.kubelet(&image);
    stage.until(runs + 5_000);
    stage.stop_kubelet();
    stage.until(runs + 20_000);
    assert_eq!(stage.restarts(), before, "nobody has looked yet");
    let runs = stage.kubelet(&old);
    stage.until(runs + 60_000);
    let (now, was): (i64, i64) = (stage.restarts().iter().flatten().sum(), before.iter().flatten().sum());
    assert!(now > was, "{now} {was}");
}

#[test]
fn containers_that_end_quickly_are_replaced_quickly_and_what_serves_is_not_ready_meanwhile() {
    let mut stage = Stage::new(scenario(30, true, vec![fault(Some(0.5))]));
    let (before, image) = (stage.restarts(), stage.image(1));
    let runs = stage.kubelet(&image);
    let mut seen_not_ready = false;
    for ms in (0..8_000).step_by(250) {
        stage.until(runs + ms);
        seen_not_ready |= stage.pods().iter().any(|p| !Stage::is_ready(p));
    }
    assert!(seen_not_ready);
    stage.until(runs + 20_000);
    assert!(before.iter().flatten().zip(stage.restarts().iter().flatten()).all(|(a, b)| a + 1 == *b));
    assert!(stage.pods().iter().all(|p| Stage::is_ready(p)));
    assert_eq!(stage.pods()[0]["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 143);
}

#[test]
fn only_kubelets_before_1_35_call_what_serves_not_ready_when_they_start() {
    for (name, flaps) in [("1.34.3", true), ("1.36.2", false)] {
        let kubernetes = format!("ghcr.io/cybozu/kubernetes:{name}.1").parse().unwrap();
        let release = SimRelease { name: name.into(), kubernetes, ..Scenario::default().releases[0].clone() };
        let mut stage = Stage::new(Scenario { releases: vec![release], ..scenario(30, true, Vec::new()) });
        let before = stage.restarts();
        let image = stage.image(0);
        let runs = stage.kubelet(&image);
        let mut seen = Vec::new();
        for ms in (0..6_000).step_by(100) {
            stage.until(runs + ms);
            let unready =
                stage.pods().iter().filter(|p| !Stage::is_ready(p)).map(|p| p["spec"].clone()).collect::<Vec<_>>();
            seen.extend(unready);
        }
        assert_eq!(!seen.is_empty(), flaps, "{name}");
        assert!(seen.iter().all(|spec| spec["containers"].to_string().contains("httpGet")));
        assert!(stage.pods().iter().all(|p| Stage::is_ready(p)));
        assert_eq!(stage.restarts(), before);
    }
}

fn churning(seed: u64, nodes: usize) -> Scenario {
    let churn = Churn { percent_per_minute: 2.0, crash_loops_percent: 0.2 };
    Scenario { seed, nodes, racks: 4, pods_per_node: 30, churn, ..Scenario::default() }
}

#[test]
fn churn_touches_as_many_pods_a_minute_as_the_scenario_says_and_their_number_stays() {
    let mut stage = Stage::new(churning(5, 97));
    let pods = stage.store.count(Kind::Pod);
    stage.until(10 * 60_000);
    let expected = pods as f64 * 0.02 * 10.0;
    let touched = stage.workload.touched() as f64;
    // Five standard deviations of a Poisson process.
    assert!((touched - expected).abs() < 5.0 * expected.sqrt(), "{touched} of {expected}");
    let now = stage.store.count(Kind::Pod);
    assert!(now.abs_diff(pods) < pods / 10, "{pods} {now}");
    for reason in [
        "Scheduled",
        "Pulled",
        "Created",
        "Started",
        "Killing",
        "SuccessfulCreate",
        "SuccessfulDelete",
        "ScalingReplicaSet",
        "BackOff",
        "Unhealthy",
        "Preempted",
        "Completed",
    ] {
        assert!(!stage.events(reason).is_empty(), "no {reason}");
    }
    let all = stage.store.list(Kind::Pod, None);
    assert!(all.iter().any(|p| p["status"]["phase"] == "Succeeded"));
    let text: Vec<String> = all.iter().map(|p| p["status"].to_string()).collect();
    assert!(text.iter().any(|t| t.contains("CrashLoopBackOff") && t.contains("back-off")));
    assert!(text.iter().any(|t| t.contains("OOMKilled")));
    let killing = stage.events("Killing");
    let says = |words: &str| killing.iter().any(|e| e["message"].as_str().unwrap().contains(words));
    assert!(says("Stopping container ") && says(" failed liveness probe, will be restarted"));
    assert!(!says("definition changed"), "no kubelet was touched");
}

#[test]
fn the_same_seed_gives_the_same_pods_and_another_seed_others() {
    let clock = Clock::new(1.0);
    let play = |seed, step: i64| {
        let mut stage = Stage::at(churning(seed, 17), clock.clone());
        let image = stage.image(1);
        stage.until(60_000);
        stage.kubelet(&image);
        for at in (60_000..240_000).step_by(step as usize) {
            stage.until(at);
        }
        stage.until(240_000);
        let of = |kind| {
            stage
                .store
                .list(kind, None)
                .iter()
                .map(|o| {
                    let mut o = (**o).clone();
                    // It counts writes, in whatever order.
                    o["metadata"]["resourceVersion"] = Value::Null;
                    o["involvedObject"]["resourceVersion"] = Value::Null;
                    o.to_string()
                })
                .collect::<Vec<_>>()
        };
        (of(Kind::Pod), of(Kind::Event))
    };
    assert!(play(1, 1_000) == play(1, 1_000));
    assert!(play(1, 1_000).0 != play(2, 1_000).0);
}

#[test]
fn a_crash_loop_is_backed_off_twice_as_long_each_time_up_to_five_minutes() {
    let mut stage = Stage::new(scenario(30, false, Vec::new()));
    let pod = stage.pods()[0].clone();
    let id = stage.workload.id(&pod, WORKER);
    let container = pod["spec"]["containers"][0]["name"].as_str().unwrap().to_owned();
    let act = life::LifeAct::Crash { pod: id, container: container.clone(), exit: edits::FAILED, count: 0, again: 9 };
    stage.workload.plan(1_000, Act::Life(act));
    let (mut waits, mut last) = (Vec::new(), String::new());
    while stage.now < 40 * 60_000 {
        stage.until(stage.now + 250);
        let status = stage.pods()[0]["status"]["containerStatuses"][0].clone();
        let message = status["state"]["waiting"]["message"].as_str().unwrap_or_default().to_owned();
        if !message.is_empty() && message != last {
            let wait = message.split(' ').nth(1).unwrap().to_owned();
            waits.push(wait);
        }
        last = message;
    }
    assert_eq!(waits, ["10s", "20s", "40s", "1m20s", "2m40s", "5m0s", "5m0s", "5m0s", "5m0s"]);
    let status = stage.pods()[0]["status"]["containerStatuses"][0].clone();
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 1);
    let back_off = stage.events("BackOff");
    assert_eq!(back_off.len(), 1, "the same happening is counted");
    assert_eq!(back_off[0]["count"], 9);
    assert_eq!(back_off[0]["type"], "Warning");
}

#[test]
fn what_is_to_happen_on_a_node_without_a_kubelet_waits_for_it() {
    let mut stage = Stage::new(scenario(30, false, Vec::new()));
    let pod = stage.pods()[0].clone();
    let id = stage.workload.id(&pod, WORKER);
    stage.stop_kubelet();
    stage.workload.plan(1_000, Act::Churn(churn::ChurnAct::Delete { pod: id.clone(), by: churn::Deleter::Eviction }));
    stage.until(60_000);
    let there = stage.workload.pod(&id).unwrap();
    assert!(there["metadata"]["deletionTimestamp"].is_string());
    assert!(there["status"]["conditions"].to_string().contains("EvictionByEvictionAPI"));
    let image = stage.image(0);
    stage.kubelet(&image);
    stage.until(120_000);
    assert!(stage.workload.pod(&id).is_none());
}

#[test]
fn events_are_gone_after_an_hour() {
    let mut stage = Stage::new(scenario(30, false, Vec::new()));
    let pods = stage.pods();
    let say = |stage: &mut Stage, pod: &Value, at: i64| {
        stage.workload.record(About::Pod(pod), "Killing", "x", ("kubelet", "n"), at);
    };
    say(&mut stage, &pods[0], 0);
    say(&mut stage, &pods[1], 1_000);
    say(&mut stage, &pods[1], 1_800_000);
    assert_eq!(stage.events("Killing").len(), 2);
    say(&mut stage, &pods[2], 3_700_000);
    let left = stage.events("Killing");
    assert_eq!(left.len(), 2, "seen again within the hour, it stays");
    assert!(left.iter().any(|e| e["count"] == 2));
}

#[test]
fn a_pods_owner_is_as_real_ones_are() {
    let stage = Stage::new(Scenario { nodes: 40, racks: 4, ..Scenario::default() });
    let all = stage.store.list(Kind::Pod, None);
    let of =
        |kind: &str| all.iter().filter(|p| p["metadata"]["ownerReferences"][0]["kind"] == kind).collect::<Vec<_>>();
    for kind in ["ReplicaSet", "StatefulSet", "DaemonSet", "Job", "Node"] {
        assert!(!of(kind).is_empty(), "{kind}");
    }
    for pod in of("ReplicaSet") {
        let set = pod["metadata"]["ownerReferences"][0]["name"].as_str().unwrap();
        assert!(set.ends_with(pod["metadata"]["labels"]["pod-template-hash"].as_str().unwrap()));
        assert!(pod["metadata"]["name"].as_str().unwrap().starts_with(set));
    }
    assert!(of("Node").iter().all(|p| p["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_string()));
    assert!(of("Node").iter().all(|p| p["spec"]["nodeName"].as_str().unwrap().contains("-m")));
    assert!(all.iter().any(|p| !p["spec"]["ephemeralContainers"].is_null()));
    let sidecar = |p: &&Arc<Value>| p["spec"]["initContainers"].to_string().contains("\"restartPolicy\":\"Always\"");
    assert!(all.iter().any(|p| sidecar(&p)));
    let graces: BTreeSet<u64> =
        all.iter().filter_map(|p| p["spec"]["terminationGracePeriodSeconds"].as_u64()).collect();
    assert!(graces.contains(&30) && graces.len() > 2, "{graces:?}");
}
