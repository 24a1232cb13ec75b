//! Keeps the API's objects as the simulated cluster is.

use super::objects::{conditions, kubernetes_endpoints, lease, lease_spec, metrics, node, volumes};
use super::store::{Kind, Problem, Store};
use crate::sim::model::{Lead, NodeStatus, World, pods};
use crate::sim::shared::Shared;
use crate::sim::workload::Workload;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// How often the cluster is looked at, and leases are renewed. Simulated milliseconds; not oftener than [`FLOOR`].
const LOOK_MS: i64 = 500;
const RENEW_MS: i64 = 2_000;
/// A kubelet that has nothing new to say reports at this interval. Simulated milliseconds; the kubelet's default.
const REPORT_MS: i64 = 300_000;
const FLOOR: Duration = Duration::from_millis(40);

/// Fills the store with the cluster's objects.
pub(crate) fn fill(store: &Store, shared: &Shared) -> Result<(), Problem> {
    let now = shared.clock.now();
    let world = shared.world();
    let epoch = shared.clock.at(0);
    for (i, machine) in world.machines().iter().enumerate() {
        store.create(Kind::Node, node(&machine.spec, world.node_status(i), &shared.clock, now))?;
        for pod in pods(world.scenario(), &machine.spec, epoch) {
            match store.create(Kind::Pod, pod) {
                // Two of a node's random names met; one pod less is no loss.
                Ok(_) | Err(Problem::AlreadyExists(_)) => {}
                Err(problem) => return Err(problem),
            }
        }
    }
    for machine in world.machines() {
        for volume in volumes(&machine.spec) {
            store.create(Kind::PersistentVolume, volume)?;
        }
    }
    store.set_metrics(metrics(&world.scenario().deprecated_apis));
    for (name, lead) in leads(&world) {
        let spec = lease_spec(name, lead, holder(&world, lead), &shared.clock);
        store.create(Kind::Lease, lease(name, spec))?;
    }
    let masters: Vec<_> = world.machines().iter().map(|m| &m.spec).filter(|s| s.master).collect();
    let (endpoints, slice) = kubernetes_endpoints(&masters);
    store.create(Kind::Endpoints, endpoints)?;
    store.create(Kind::EndpointSlice, slice)?;
    Ok(())
}

/// Fills the store, then keeps it as the cluster is, until dropped.
pub(crate) async fn run(store: Store, shared: Arc<Shared>) {
    let mut renewed = shared.clock.now();
    let (mut written, mut workload): (Vec<NodeStatus>, Workload) = {
        let mut world = shared.world();
        let written = (0..world.machines().len()).map(|i| world.node_status(i).clone()).collect();
        (written, Workload::new(store.clone(), shared.clock.clone(), &mut world, renewed))
    };
    let look = shared.clock.real(LOOK_MS).max(FLOOR);
    // At a high speed the look may be longer than the interval of a renewal.
    let renew_ms = RENEW_MS.max(shared.clock.simulated(FLOOR * 5));
    loop {
        tokio::time::sleep(look).await;
        let now = shared.clock.now();
        let mut world = shared.world();
        world.advance(now);
        let up = world.api_up(now);
        // Who looks at the world alone asks for these; here the pods' own life has them.
        drop(world.take_disturbed());
        workload.step(&mut world, now, up);
        let mut changed = Vec::new();
        for (i, old) in written.iter_mut().enumerate() {
            let status = world.node_status(i);
            let news = status.ready != old.ready || status.version != old.version;
            if news || status.seen - old.seen >= REPORT_MS {
                *old = status.clone();
                changed.push((world.machines()[i].spec.name.clone(), status.clone()));
            }
        }
        let mut leases = Vec::new();
        if up && now - renewed >= renew_ms {
            renewed = now;
            for (name, lead) in leads(&world) {
                leases.push((name, lease_spec(name, lead, holder(&world, lead), &shared.clock)));
            }
        }
        drop(world);

        store.set_up(up);
        for (name, status) in changed {
            store.mutate(Kind::Node, "", name.as_str(), |node| {
                node["status"]["conditions"] = conditions(&status, &shared.clock, now);
                node["status"]["nodeInfo"]["kubeletVersion"] = json!(status.version);
            });
        }
        for (name, spec) in leases {
            store.mutate(Kind::Lease, "kube-system", name, |lease| lease["spec"] = spec);
        }
    }
}

fn leads(world: &World) -> [(&'static str, &Lead); 2] {
    [("kube-scheduler", world.scheduler()), ("kube-controller-manager", world.controller_manager())]
}

fn holder<'a>(world: &'a World, lead: &Lead) -> &'a str {
    world.machines().get(lead.holder).map_or("", |m| m.spec.name.as_str())
}
