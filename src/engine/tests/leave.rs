//! Clients are led away from a component before it stops, and what they felt of it is what is reported.

use super::*;
use crate::journal::Record;

fn records(lab: &Lab) -> Vec<Record> {
    read(&lab.run.journal()).unwrap().records
}

/// What was said of leading clients away, by component.
fn led_away(lab: &Lab, of: Component) -> Vec<(NodeName, bool, String)> {
    let told = |r: Record| match r.event {
        Event::ClientsLedAway { node, component, text, done, .. } if component == of => Some((node, done, text)),
        _ => None,
    };
    records(lab).into_iter().filter_map(told).collect()
}

/// How long each master's old container was given to stop. Seconds.
fn stops(lab: &Lab) -> Vec<u32> {
    lab.world.lock().nodes.values().filter(|n| n.node.master).flat_map(|n| n.stops.iter().map(|s| s.0)).collect()
}

fn etcd_only() -> Lab {
    let world = world();
    let plan = plan(&world, &[Component::Etcd]);
    Lab::new(world, &plan)
}

#[tokio::test(start_paused = true)]
async fn an_etcd_leader_hands_over_before_it_is_stopped() {
    let lab = etcd_only();
    assert_eq!(ended(lab.engine()).await, Outcome::Completed);
    let [(node, true, text)] = &led_away(&lab, Component::Etcd)[..] else {
        panic!("{:?}", led_away(&lab, Component::Etcd))
    };
    assert_eq!(node.as_str(), "m1");
    let leader = lab.world.lock().etcd_leader.clone().unwrap();
    assert_eq!(*text, format!("leadership handed over to {leader}"));
    assert_ne!(leader.as_str(), "m1");
    assert_eq!(stops(&lab), [1, 1, 1]);
    let programs = lab.world.lock().nodes[node].programs.clone();
    let moved: Vec<&String> = programs.iter().filter(|p| p.contains("move-leader")).collect();
    let limits = "etcdctl --endpoints=http://127.0.0.1:2379 --dial-timeout=5s --command-timeout=5s move-leader ";
    assert!(moved.len() == 1 && moved[0].starts_with(limits), "{moved:?}");
    // On disk before the first step of that swap.
    let all = records(&lab);
    let at = |pick: &dyn Fn(&Event) -> bool| all.iter().position(|r| pick(&r.event)).unwrap();
    let told = at(&|e| matches!(e, Event::ClientsLedAway { .. }));
    assert!(told < at(&|e| matches!(e, Event::SwapStep { node, .. } if node.as_str() == "m1")));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_stays_has_longer_to_stop_and_it_is_said_why() {
    for (fault, why) in [
        ((127, "sh: etcdctl: not found"), "its image has no etcdctl"),
        ((1, "Error: context deadline exceeded"), "etcdctl ended with 1: Error: context deadline exceeded"),
    ] {
        let lab = etcd_only();
        lab.world.edit("m1", |n| n.faults.leader_stays = Some(fault));
        assert_eq!(ended(lab.engine()).await, Outcome::Completed);
        let [(_, false, text)] = &led_away(&lab, Component::Etcd)[..] else { panic!("it was moved") };
        assert!(text.contains("more time to stop") && text.ends_with(why), "{text}");
        assert_eq!(stops(&lab).iter().max(), Some(&10));
        assert_eq!(stops(&lab).iter().filter(|s| **s == 1).count(), 2, "followers need no more");
    }
}

#[tokio::test(start_paused = true)]
async fn downtime_is_what_clients_feel_not_what_a_health_port_says() {
    let lab = etcd_only();
    for node in ["m0", "m1", "m2"] {
        lab.world.edit(node, |n| {
            // Its health port answers for nine seconds after its client port has closed.
            n.faults.etcd_drains = Duration::from_secs(9);
            n.faults.leader_stays = Some((1, "Error: etcdserver: not leader"));
        });
    }
    assert_eq!(ended(lab.engine()).await, Outcome::Completed);
    let run = lab.fold();
    let mut felt = run.downtimes[&Component::Etcd].clone();
    felt.sort_unstable();
    // Stopped after 1 s (followers) and 9 s (the leader, which has 10 s); 0.7 s until the new one serves.
    assert_eq!(felt.len(), 3);
    for (felt, wanted) in felt.iter().zip([1_700, 1_700, 9_700]) {
        assert!(felt.abs_diff(wanted) <= 100, "{felt} ms, not {wanted} ms");
    }
    assert_eq!(run.measured_by[&Component::Etcd], "new connections to 127.0.0.1:2379 that ask /version every 20 ms");
}

fn api_server_only() -> Lab {
    let world = world();
    let plan = plan(&world, &[Component::KubeApiserver]);
    Lab::new(world, &plan)
}

#[tokio::test(start_paused = true)]
async fn an_api_server_leaves_the_endpoints_and_the_proxies_follow_before_it_stops() {
    let lab = api_server_only();
    let engine = lab.engine();
    lab.until("an address that leaves", |r| !r.endpoints_out.is_empty()).await;
    assert_eq!(stops(&lab), [0; 0], "it was stopped before the proxies could follow");
    assert_eq!(ended(engine).await, Outcome::Completed);
    assert_eq!(stops(&lab), [1, 1, 1]);
    assert!(lab.fold().endpoints_out.is_empty());
    let mut left = None;
    let mut order = Vec::new();
    for record in records(&lab) {
        match record.event {
            Event::EndpointLeaving { .. } => {
                left = Some(record.at);
                order.push("leaving");
            }
            Event::SwapStep { step: Step::Stopping, .. } => {
                let waited = record.at.duration_since(left.take().expect("it left before"));
                assert!(waited >= jiff::SignedDuration::from_secs(2), "{waited:?}");
                order.push("stop");
            }
            Event::EndpointBack { .. } => order.push("back"),
            Event::SwapCommitted { .. } => order.push("committed"),
            _ => {}
        }
    }
    assert_eq!(order, ["leaving", "stop", "back", "committed"].repeat(3));
}

#[tokio::test(start_paused = true)]
async fn an_abort_while_an_api_server_is_drained_puts_it_back_untouched() {
    let lab = api_server_only();
    let engine = lab.engine();
    lab.until("an address that leaves", |r| !r.endpoints_out.is_empty()).await;
    lab.command(Verb::Abort).await;
    assert_eq!(ended(engine).await, Outcome::Aborted);
    assert_eq!(stops(&lab), [0; 0], "no container was stopped");
    let run = lab.fold();
    assert!(run.endpoints_out.is_empty());
    let endpoints = lab.world.lock().endpoints.clone();
    let [(out, false), (back, true)] = &endpoints[..] else { panic!("{endpoints:?}") };
    assert_eq!(out, back);
    assert!(run.swaps.iter().all(|s| s.state != SwapState::Committed));
}

#[tokio::test(start_paused = true)]
async fn a_new_engine_puts_back_what_a_dead_one_took_out() {
    let lab = api_server_only();
    let first = lab.engine();
    lab.until("an address that leaves", |r| !r.endpoints_out.is_empty()).await;
    first.abort();
    let _ = first.await;
    assert!(!lab.fold().endpoints_out.is_empty(), "the journal knows");
    assert_eq!(ended(lab.engine()).await, Outcome::Completed);
    assert!(lab.fold().endpoints_out.is_empty());
    assert_eq!(lab.world.lock().endpoints.last().map(|e| e.1), Some(true));
}
