use super::*;
use crate::fleet::FenceToken;
use crate::journal::{Step, Verdict};
use crate::remote::script::{Request, read_state};
use crate::remote::{Fence, TxEnd, TxId, TxState};
use crate::sim::scenario::{Fault, SimRelease};
use proptest::prelude::*;

const WORKER: usize = 3;

fn world(faults: Vec<Fault>) -> World {
    let scenario = Scenario { nodes: 6, racks: 2, faults, ..Scenario::default() };
    World::new(&scenario).unwrap()
}

fn fault(kind: FaultKind, component: Component) -> Fault {
    Fault { node: "workers".into(), component: Some(component), ..Fault::of(kind) }
}

fn newer(world: &World) -> SimRelease {
    world.scenario().releases[1].clone()
}

/// Creates `NAME.sonoba-next` as the client does; returns the ids of the old and the new container.
fn prepare(world: &mut World, node: usize, component: Component, now: i64) -> (String, String) {
    let image = newer(world).image(component).to_string();
    let (machine, _) = world.on(node, now);
    machine.installed = true;
    machine.add_image(&image);
    let old = machine.find(component.as_str()).unwrap();
    machine.containers[old].set_restart_policy(serde_json::json!({"Name": "always", "MaximumRetryCount": 0}));
    let mut body = machine.containers[old].body.clone();
    body["Image"] = image.into();
    let id = machine.create(&format!("{component}.sonoba-next"), body, now).unwrap();
    (machine.containers[old].id.clone(), id)
}

fn tx() -> TxId {
    "run1.n.s1.1".parse().unwrap()
}

fn begin(components: &[Component], deadline_ms: u64) -> Request {
    let containers = components.iter().map(|c| c.as_str().parse().unwrap()).collect();
    Request::Begin { tx: tx(), deadline_ms, stop_timeout_s: 10, containers, fence: fence(1) }
}

/// A right that does not run out.
fn fence(token: u32) -> Fence {
    Fence { token: FenceToken::new(token), run: "run1".parse().unwrap(), until_ms: u64::MAX }
}

fn ask(world: &mut World, request: &Request, now: i64) -> Reply {
    let (machine, mut env) = world.on(WORKER, now);
    machine.script(request, now, &mut env)
}

fn state(world: &mut World, now: i64) -> TxState {
    read_state(&ask(world, &Request::State(tx()), now).out).unwrap()
}

/// The id that has each component's name, and whether it runs.
fn standing(world: &mut World, components: &[Component], now: i64) -> Vec<(String, bool)> {
    let (machine, _) = world.on(WORKER, now);
    let at = |c: &Component| machine.find(c.as_str()).ok();
    components
        .iter()
        .map(|c| {
            at(c)
                .map_or((String::new(), false), |i| (machine.containers[i].id.clone(), machine.containers[i].running()))
        })
        .collect()
}

const KUBELET: [Component; 1] = [Component::Kubelet];

#[test]
fn a_committed_swap_leaves_the_new_one_alone() {
    let mut w = world(vec![]);
    let (_, new) = prepare(&mut w, WORKER, Component::Kubelet, 0);
    assert_eq!(ask(&mut w, &begin(&KUBELET, 25_000), 0).status, 0);
    assert_eq!(w.health(WORKER, Component::Kubelet, 100), Health::Refused);
    let now = 15_000;
    assert_eq!(w.health(WORKER, Component::Kubelet, now), Health::Well("1.36.2".into()));
    assert_eq!(ask(&mut w, &Request::Verdict(tx(), Verdict::Commit, fence(1)), now).out, "commit\n");
    let end = state(&mut w, now + 1_000);
    assert_eq!((end.end, end.alive), (Some(TxEnd::Committed), false));
    let words: Vec<Step> = end.steps.iter().map(|s| s.step).collect();
    assert_eq!(words, [Step::Begun, Step::Stopping, Step::Stopped, Step::Started, Step::Waiting, Step::Removed]);
    assert!(end.steps.windows(2).all(|s| s[0].uptime_ms <= s[1].uptime_ms));
    assert_eq!(standing(&mut w, &KUBELET, now + 1_000), [(new, true)]);
    assert!(!w.machines()[WORKER].containers().iter().any(|c| c.name.contains("sonoba")));
    w.advance(now + 2_000);
    assert_eq!(w.node_status(WORKER).version, "v1.36.2");
    assert!(w.node_status(WORKER).ready);
    assert_eq!(ask(&mut w, &Request::Forget(tx()), now + 2_000).status, 0);
    assert!(!state(&mut w, now + 2_000).found);
}

#[test]
fn the_dead_mans_switch_puts_the_old_one_back_before_the_grace_period_ends() {
    let mut w = world(vec![fault(FaultKind::NeverHealthy, Component::Kubelet)]);
    let (old, _) = prepare(&mut w, WORKER, Component::Kubelet, 0);
    ask(&mut w, &begin(&KUBELET, 25_000), 0);
    for second in 1..40 {
        w.advance(second * 1_000);
        assert!(w.node_status(WORKER).ready, "at {second} s");
        if (15..25).contains(&second) {
            assert_eq!(w.health(WORKER, Component::Kubelet, second * 1_000), Health::Sick);
        }
    }
    let end = state(&mut w, 40_000);
    assert_eq!((end.verdict, end.end), (Some(Verdict::Rollback), Some(TxEnd::RolledBack)));
    assert!(end.why.contains("without a verdict"), "{}", end.why);
    assert_eq!(standing(&mut w, &KUBELET, 40_000), [(old, true)]);
    assert_eq!(w.health(WORKER, Component::Kubelet, 40_000), Health::Well("1.35.6".into()));
    assert_eq!(ask(&mut w, &Request::Verdict(tx(), Verdict::Commit, fence(1)), 41_000).out, "rollback\n");
}

#[test]
fn a_start_that_fails_rolls_every_container_of_the_visit_back() {
    let both = [Component::KubeProxy, Component::Kubelet];
    let mut w = world(vec![fault(FaultKind::StartFails, Component::Kubelet)]);
    let old = both.map(|c| prepare(&mut w, WORKER, c, 0).0);
    ask(&mut w, &begin(&both, 25_000), 0);
    let end = state(&mut w, 20_000);
    assert_eq!(end.end, Some(TxEnd::RolledBack));
    assert!(end.why.contains("exec format error"), "{}", end.why);
    assert_eq!(standing(&mut w, &both, 20_000), old.map(|id| (id, true)));
}

#[test]
fn a_node_without_a_kubelet_is_not_ready_after_the_grace_period_and_ready_again_after() {
    let mut w = world(vec![]);
    let (machine, env) = w.on(WORKER, 0);
    let at = machine.find("kubelet").unwrap();
    machine.stop(at, 10, 0, &env).unwrap();
    w.advance(49_000);
    assert!(w.node_status(WORKER).ready);
    w.advance(52_000);
    assert!(!w.node_status(WORKER).ready);
    let (machine, mut env) = w.on(WORKER, 60_000);
    machine.start(at, 60_000, &mut env).unwrap();
    w.advance(80_000);
    assert!(w.node_status(WORKER).ready);
}

#[test]
fn etcd_without_quorum_takes_the_api_down_and_its_leader_moves_before_that() {
    let mut w = world(vec![]);
    let leader = w.etcd_leader().holder;
    let stop = |w: &mut World, node: usize, now: i64| {
        let (machine, env) = w.on(node, now);
        let at = machine.find("etcd").unwrap();
        machine.stop(at, 1, now, &env);
    };
    stop(&mut w, leader, 0);
    w.advance(5_000);
    w.advance(7_000);
    let next = w.etcd_leader().holder;
    assert_ne!(next, leader);
    assert!(w.api_up(7_000));
    stop(&mut w, next, 7_000);
    w.advance(10_000);
    assert!(!w.api_up(10_000));
    assert_eq!(w.health((leader + 1) % 3, Component::KubeApiserver, 10_000), Health::Sick);
}

#[test]
fn the_same_seed_gives_the_same_world_and_another_seed_another() {
    let play = |seed| {
        let scenario = Scenario { seed, nodes: 6, ..Scenario::default() };
        let mut w = World::new(&scenario).unwrap();
        prepare(&mut w, WORKER, Component::Kubelet, 0);
        ask(&mut w, &begin(&KUBELET, 25_000), 0);
        state(&mut w, 30_000)
    };
    assert_eq!(play(1), play(1));
    assert_ne!(play(1), play(2));
}

#[test]
fn two_transactions_never_have_one_container_and_a_begun_one_is_left_alone() {
    let mut w = world(vec![]);
    prepare(&mut w, WORKER, Component::Kubelet, 0);
    prepare(&mut w, WORKER, Component::KubeProxy, 0);
    assert_eq!(ask(&mut w, &begin(&KUBELET, 25_000), 0).status, 0);
    assert_eq!(ask(&mut w, &begin(&KUBELET, 25_000), 10).status, 0);
    let other = |components: &[Component]| match begin(components, 25_000) {
        Request::Begin { deadline_ms, stop_timeout_s, containers, fence, .. } => {
            Request::Begin { tx: "run1.n.s2.1".parse().unwrap(), deadline_ms, stop_timeout_s, containers, fence }
        }
        other => other,
    };
    let refused = ask(&mut w, &other(&[Component::KubeProxy, Component::Kubelet]), 20);
    assert_eq!(refused.status, 1);
    assert!(refused.err.contains("run1.n.s1.1 is under way on this node"), "{}", refused.err);
    assert_eq!(ask(&mut w, &Request::Forget(tx()), 20).status, 1);
    // Another container's is no business of the first.
    assert_eq!(ask(&mut w, &other(&[Component::KubeProxy]), 20).status, 0);
}

#[test]
fn an_old_one_that_is_gone_ends_it_and_the_others_go_back() {
    let both = [Component::KubeProxy, Component::Kubelet];
    for (gone, stays) in [(0, 1), (1, 0)] {
        let mut w = world(vec![]);
        let ids = both.map(|c| prepare(&mut w, WORKER, c, 0));
        ask(&mut w, &begin(&both, 25_000), 0);
        let (machine, _) = w.on(WORKER, 15_000);
        let at = machine.find(&ids[gone].0).unwrap();
        machine.containers.remove(at);
        let end = state(&mut w, 60_000);
        assert_eq!((end.end, end.alive), (Some(TxEnd::Broken), false));
        let why = format!("the old container of {} is gone", both[gone]);
        assert!(end.why.contains(&why) && end.why.contains("deadline"), "{}", end.why);
        let stand = standing(&mut w, &both, 60_000);
        assert_eq!(stand[gone], (ids[gone].1.clone(), true), "what is left stays");
        assert_eq!(stand[stays], (ids[stays].0.clone(), true));
        assert_eq!(ask(&mut w, &Request::Forget(tx()), 60_000).status, 0);
    }
}

#[test]
fn a_commit_is_taken_only_between_waiting_and_the_deadline() {
    let mut w = world(vec![]);
    let (old, _) = prepare(&mut w, WORKER, Component::Kubelet, 0);
    ask(&mut w, &begin(&KUBELET, 25_000), 0);
    assert_eq!(ask(&mut w, &Request::Verdict(tx(), Verdict::Commit, fence(1)), 1).status, 1);
    assert_eq!(state(&mut w, 1).verdict, None);
    // The runner dies while it waits: the deadline holds all the same.
    state(&mut w, 10_000);
    w.on(WORKER, 10_000).0.kill_runners();
    assert_eq!(ask(&mut w, &Request::Verdict(tx(), Verdict::Commit, fence(1)), 60_000).out, "rollback\n");
    let lost = state(&mut w, 60_000);
    assert_eq!((lost.found, lost.alive, lost.end), (true, false, None));
    assert_eq!(ask(&mut w, &Request::Recover(tx(), fence(1)), 60_000).status, 0);
    assert_eq!(state(&mut w, 70_000).end, Some(TxEnd::RolledBack));
    assert_eq!(standing(&mut w, &KUBELET, 70_000), [(old, true)]);
}

/// A program in a container of a master's etcd: how it ended.
fn etcdctl(w: &mut World, node: usize, words: &str, now: i64) -> Ran {
    let argv = std::iter::once("etcdctl").chain(words.split(' ')).map(str::to_owned).collect();
    let id = w.on(node, now).0.create_exec("etcd", argv).unwrap();
    w.start_exec(node, &id, now).unwrap()
}

#[test]
fn only_the_leaders_own_endpoint_moves_the_leader_and_only_to_a_member_that_is_in_sync() {
    let mut lagging = world(vec![Fault { node: "masters".into(), ..fault(FaultKind::Lags, Component::Etcd) }]);
    let leader = lagging.etcd_leader().holder;
    let target = format!("{:x}", lagging.etcd_member_id((leader + 1) % 3));
    let late = etcdctl(&mut lagging, leader, &format!("move-leader {target}"), 0);
    assert_eq!((late.code, late.err.as_str()), (1, "Error: etcdserver: request timed out\n"));

    let mut w = world(vec![]);
    let leader = w.etcd_leader().holder;
    let (next, third) = ((leader + 1) % 3, (leader + 2) % 3);
    let target = format!("{:x}", w.etcd_member_id(next));
    let refused = etcdctl(&mut w, next, &format!("move-leader {target}"), 0);
    assert_eq!((refused.code, refused.err.as_str()), (128, "Error: no leader endpoint given at [127.0.0.1:2379]\n"));
    assert_eq!(w.etcd_leader().holder, leader);
    assert_eq!(etcdctl(&mut w, leader, "move-leader nonsense", 0).code, 128);
    let stranger = etcdctl(&mut w, leader, "move-leader abc", 0);
    assert_eq!((stranger.code, stranger.err.as_str()), (1, "Error: etcdserver: bad leader transferee\n"));

    let list: serde_json::Value = serde_json::from_str(&etcdctl(&mut w, leader, "member list -w json", 0).out).unwrap();
    assert_eq!(list["members"].as_array().unwrap().len(), 3);
    assert_eq!(list["members"][next]["ID"], w.etcd_member_id(next));
    let words = "endpoint status --cluster --write-out=json";
    let all: serde_json::Value = serde_json::from_str(&etcdctl(&mut w, next, words, 0).out).unwrap();
    for (m, member) in all.as_array().unwrap().iter().enumerate() {
        assert_eq!(member["Status"]["header"]["member_id"], w.etcd_member_id(m));
        assert_eq!(member["Status"]["leader"], w.etcd_member_id(leader));
        assert_eq!(member["Status"]["version"], "3.6.8");
    }

    let moved = etcdctl(&mut w, leader, &format!("move-leader {target} --command-timeout=5s"), 0);
    let words = format!("Leadership transferred from {:x} to {target}\n", w.etcd_member_id(leader));
    assert_eq!((moved.code, moved.out), (0, words));
    assert_eq!(w.etcd_leader().holder, next);
    w.advance(5_000);
    assert_eq!(w.etcd_leader().holder, next);

    // Its container is gone: it cannot lead.
    let (machine, env) = w.on(third, 5_000);
    let at = machine.find("etcd").unwrap();
    machine.stop(at, 0, 5_000, &env);
    let target = format!("{:x}", w.etcd_member_id(third));
    let late = etcdctl(&mut w, next, &format!("move-leader {target}"), 6_000);
    assert_eq!((late.code, late.takes_ms), (1, 5_000));
    assert_eq!(w.etcd_leader().holder, next);
}

#[test]
fn an_etcd_that_does_not_take_the_certificate_is_tried_for_ever_unless_a_timeout_ends_it() {
    let mut w = world(vec![Fault { node: "masters".into(), ..fault(FaultKind::RefusesClients, Component::Etcd) }]);
    let save = "snapshot save /var/lib/etcd/x.db";
    assert!(etcdctl(&mut w, 0, save, 0).takes_ms > 86_400_000);
    let bound = etcdctl(&mut w, 0, &format!("--command-timeout=7s {save}"), 0);
    assert_eq!((bound.code, bound.takes_ms), (1, 7_000));
    assert!(bound.err.ends_with("Error: context deadline exceeded\n") && bound.err.contains("tls: bad certificate"));
    assert_eq!(etcdctl(&mut w, 0, "member list -w json", 0).takes_ms, 5_000);
}

#[test]
fn etcd_shuts_its_clients_out_at_once_and_answers_on_its_health_port_until_it_has_drained() {
    for (timeout_s, gone_by) in [(10, 9_200), (1, 1_050)] {
        let mut w = world(vec![]);
        let leader = w.etcd_leader().holder;
        assert!(w.takes_clients(leader, Component::Etcd, 0));
        let (machine, env) = w.on(leader, 0);
        let at = machine.find("etcd").unwrap();
        let until = machine.stop(at, timeout_s, 0, &env).unwrap();
        assert!(until <= gone_by && until >= gone_by - 1_200, "{until}");
        assert!(!w.takes_clients(leader, Component::Etcd, 10));
        w.advance(until - 10);
        assert!(matches!(w.health(leader, Component::Etcd, until - 10), Health::Well(_)));
        assert_eq!(w.etcd_leader().holder, leader);
        // In peace it hands over at its end; killed, it is missed first.
        w.advance(until + 500);
        assert_eq!(w.health(leader, Component::Etcd, until + 500), Health::Refused);
        assert_eq!(w.etcd_leader().holder == leader, timeout_s == 1);
        w.advance(until + 1_500);
        assert_ne!(w.etcd_leader().holder, leader);
    }
    let mut w = world(vec![]);
    let (machine, env) = w.on(0, 0);
    let at = machine.find("kube-apiserver").unwrap();
    assert_eq!(machine.stop(at, 10, 0, &env), Some(10_000), "watches keep it for a minute");
    assert_eq!(w.health(0, Component::KubeApiserver, 10), Health::Refused);
    w.advance(10_000);
    assert_eq!(w.machines()[0].containers()[at].state, State::Exited { at: 10_000, code: 137 });
}

#[test]
fn a_scheduler_gives_its_lease_up_and_a_controller_manager_lets_it_run_out() {
    let mut w = world(vec![]);
    w.advance(0);
    let leads = |w: &World| (w.scheduler().holder, w.controller_manager().holder);
    let (scheduler, manager) = leads(&w);
    for (node, name) in [(scheduler, "kube-scheduler"), (manager, "kube-controller-manager")] {
        let (machine, env) = w.on(node, 100);
        let at = machine.find(name).unwrap();
        machine.stop(at, 10, 100, &env);
    }
    w.advance(600);
    assert!(w.scheduler().released && !w.controller_manager().released);
    assert_eq!(leads(&w), (scheduler, manager));
    w.advance(3_000);
    assert!(w.scheduler().holder != scheduler && !w.scheduler().released);
    assert_eq!(w.controller_manager().holder, manager);
    w.advance(14_000);
    assert_eq!(w.controller_manager().holder, manager);
    w.advance(16_000);
    assert_ne!(w.controller_manager().holder, manager);
}

#[test]
fn a_component_that_crashes_is_restarted_by_its_policy_and_counted() {
    let mut w = world(vec![fault(FaultKind::Crashes, Component::KubeProxy)]);
    for (policy, restarts) in [("always", 3), ("no", 0)] {
        let image = newer(&w).kubernetes.to_string();
        let (machine, mut env) = w.on(WORKER, 0);
        machine.add_image(&image);
        let old = machine.find("kube-proxy").unwrap();
        machine.remove(old, true, 0).unwrap();
        let body = serde_json::json!({"Image": image, "HostConfig": {"RestartPolicy": {"Name": policy}}});
        machine.create("kube-proxy", body, 0).unwrap();
        let at = machine.find("kube-proxy").unwrap();
        let runs = machine.start(at, 0, &mut env).unwrap().unwrap();
        // It runs for five seconds each time, and is restarted after 100, 200 and 400 ms.
        w.advance(runs + 15_000 + 700);
        let container = &w.machines()[WORKER].containers()[w.machines()[WORKER].find("kube-proxy").unwrap()];
        assert_eq!((container.restarts, container.running()), (restarts, policy == "always"));
        if policy == "no" {
            assert_eq!(container.state, State::Exited { at: runs + 5_000, code: 1 });
        }
    }
}

#[derive(Debug, Clone)]
enum Act {
    Ask(Request),
    Kill,
    Reboot,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        Just(Act::Ask(Request::Verdict(tx(), Verdict::Commit, fence(1)))),
        Just(Act::Ask(Request::Verdict(tx(), Verdict::Rollback, fence(1)))),
        Just(Act::Ask(Request::Recover(tx(), fence(1)))),
        Just(Act::Ask(Request::State(tx()))),
        Just(Act::Ask(Request::Forget(tx()))),
        Just(Act::Kill),
        Just(Act::Reboot),
    ]
}

proptest! {
    #[test]
    fn whatever_is_asked_and_killed_a_node_ends_all_new_or_all_old(
        acts in proptest::collection::vec((act(), 0_i64..9_000), 0..12),
        fails in proptest::option::of(prop_oneof![Just(FaultKind::StartFails), Just(FaultKind::NeverHealthy)]),
        seed in 0_u64..50,
    ) {
        let trio = [Component::Rivers, Component::KubeProxy, Component::Kubelet];
        let faults = fails.map(|kind| fault(kind, Component::KubeProxy)).into_iter().collect();
        let scenario = Scenario { seed, nodes: 4, racks: 2, faults, ..Scenario::default() };
        let mut w = World::new(&scenario).unwrap();
        let ids: Vec<(String, String)> = trio.iter().map(|c| prepare(&mut w, WORKER, *c, 0)).collect();
        let policy = |w: &World, c: &str| {
            w.machines()[WORKER].containers().iter().find(|x| x.name == c).map(Container::restart_policy)
        };
        let policies: Vec<_> = trio.iter().map(|c| policy(&w, c.as_str())).collect();
        ask(&mut w, &begin(&trio, 25_000), 0);
        let mut now = 0;
        let mut first = None;
        for (act, later) in acts {
            now += later;
            match act {
                Act::Ask(request) => {
                    let known = w.machines()[WORKER].txs.contains_key(&tx());
                    let reply = ask(&mut w, &request, now);
                    // A commit before the node waits for one is refused, and decides nothing.
                    if let (Request::Verdict(..), true, 0) = (&request, known, reply.status) {
                        let stands = first.get_or_insert(reply.out.clone());
                        prop_assert_eq!(&*stands, &reply.out, "the first verdict stands");
                    }
                }
                Act::Kill => {
                    let (machine, _) = w.on(WORKER, now);
                    machine.kill_runners();
                }
                Act::Reboot => {
                    let (machine, mut env) = w.on(WORKER, now);
                    machine.reboot(now, &mut env);
                }
            }
        }
        // Whoever was killed is recovered; then every deadline has long passed.
        ask(&mut w, &Request::Recover(tx(), fence(1)), now);
        now += 200_000;
        let end = state(&mut w, now);
        prop_assert!(end.end.is_some() || !end.found, "{:?}", end);
        let stand = standing(&mut w, &trio, now);
        let new = stand.iter().zip(&ids).all(|((id, _), (_, new))| id == new);
        let old = stand.iter().zip(&ids).all(|((id, _), (old, _))| id == old);
        prop_assert!(new || old, "{:?}", stand);
        if let Some(end) = end.end {
            prop_assert_eq!(new, end == TxEnd::Committed);
        }
        let left = w.machines()[WORKER].containers().iter().filter(|c| c.name.contains("sonoba")).count();
        prop_assert_eq!(left, 0);
        let kept: Vec<_> = trio.iter().map(|c| policy(&w, c.as_str())).collect();
        prop_assert_eq!(kept, policies);
    }
}

/// Another hand makes the kubelet anew at any moment of the swap, again and again, whatever the verdict is: the runner gives up
/// soon, one container of each component runs in the end, and what is foreign is said to be.
#[test]
fn a_container_made_anew_under_a_swap_is_left_alone_and_the_end_is_soon() {
    let both = [Component::KubeProxy, Component::Kubelet];
    for verdict in [None, Some(Verdict::Commit), Some(Verdict::Rollback)] {
        for from in (0..16_000).step_by(130) {
            let mut w = world(vec![]);
            let olds = both.map(|c| prepare(&mut w, WORKER, c, 0));
            ask(&mut w, &begin(&both, 25_000), 0);
            let (mut hands, mut at, mut ended) = (0, from, None);
            while at < 60_000 {
                if hands < 4 {
                    let (machine, mut env) = w.on(WORKER, at);
                    hands += i32::from(machine.make_anew("kubelet", None, at, &mut env).is_ok());
                }
                if let Some(verdict) = verdict.filter(|_| at > 8_000) {
                    ask(&mut w, &Request::Verdict(tx(), verdict, fence(1)), at);
                }
                ended = ended.or(state(&mut w, at).end.map(|end| (end, at)));
                at += 1_000;
            }
            let (end, at) = ended.unwrap_or_else(|| panic!("{verdict:?} from {from}: no end"));
            assert!(at < 25_000 + 15_000, "{verdict:?} from {from}: ended at {at}");
            let machine = &w.machines()[WORKER];
            for component in both {
                let of = |c: &&Container| c.name.starts_with(component.as_str()) && c.running();
                let running: Vec<&str> = machine.containers().iter().filter(of).map(|c| c.name.as_str()).collect();
                assert_eq!(running, [component.as_str()], "{verdict:?} from {from}: {end:?}");
            }
            let kubelet = &machine.containers()[machine.find("kubelet").unwrap()].id;
            let foreign = ![&olds[1].0, &olds[1].1].contains(&kubelet);
            // What comes after the end is no business of the swap's.
            if end != TxEnd::Foreign {
                assert!(!foreign || at <= from + 4_000, "{verdict:?} from {from}: {end:?} at {at}");
            }
            let proxy = &machine.containers()[machine.find("kube-proxy").unwrap()].id;
            assert!([&olds[0].0, &olds[0].1].contains(&proxy), "{verdict:?} from {from}");
        }
    }
}

#[test]
fn a_right_that_ran_out_or_was_outranked_changes_nothing() {
    let mut w = world(vec![]);
    prepare(&mut w, WORKER, Component::Kubelet, 0);
    let uptime = state(&mut w, 0).uptime_ms;
    let right = |token, run: &str, left| Fence {
        token: FenceToken::new(token),
        run: run.parse().unwrap(),
        until_ms: uptime + left,
    };
    let begun = |fence: Fence| match begin(&KUBELET, 25_000) {
        Request::Begin { tx, deadline_ms, stop_timeout_s, containers, .. } => {
            Request::Begin { tx, deadline_ms, stop_timeout_s, containers, fence }
        }
        other => other,
    };
    let late = ask(&mut w, &begun(right(7, "run1", 1_000)), 2_000);
    assert_eq!((late.status, late.out.split(' ').nth(1)), (5, Some("late")), "{}", late.err);
    assert!(!state(&mut w, 2_000).found);
    assert_eq!(ask(&mut w, &begun(right(7, "run1", 60_000)), 3_000).status, 0);
    let commit = |fence| Request::Verdict(tx(), Verdict::Commit, fence);
    // Another holder was here; then a stranger with the same number, whom only the cluster can tell from it.
    assert_eq!(ask(&mut w, &Request::Recover(tx(), right(9, "run2", 60_000)), 4_000).status, 0);
    let older = ask(&mut w, &commit(right(7, "run1", 60_000)), 20_000);
    assert_eq!((older.status, older.out.as_str()), (5, "fenced newer 9\n"));
    assert_eq!(ask(&mut w, &commit(right(9, "run3", 60_000)), 20_000).out, "fenced newer 9\n");
    assert_eq!(ask(&mut w, &commit(right(10, "run1", 60_000)), 20_000).out, "commit\n");
}

#[test]
fn a_runner_that_comes_too_late_to_its_first_stop_stops_nothing() {
    let mut w = world(vec![]);
    let (old, _) = prepare(&mut w, WORKER, Component::Kubelet, 0);
    let uptime = state(&mut w, 0).uptime_ms;
    let fence = Fence { token: FenceToken::new(7), run: "run1".parse().unwrap(), until_ms: uptime + 20 };
    let containers = vec!["kubelet".parse().unwrap()];
    let begin = Request::Begin { tx: tx(), deadline_ms: 25_000, stop_timeout_s: 10, containers, fence };
    assert_eq!(ask(&mut w, &begin, 0).status, 0);
    let end = state(&mut w, 30_000);
    assert_eq!(end.end, Some(TxEnd::RolledBack));
    assert!(end.why.contains("run lock") && !end.steps.iter().any(|s| s.step == Step::Stopping), "{end:?}");
    assert_eq!(standing(&mut w, &KUBELET, 30_000), [(old, true)]);
}
