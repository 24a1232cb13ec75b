//! What the control plane makes of its nodes: who is Ready, and who leads.

use super::container::{Health, State};
use super::machine::Machine;
use super::{World, draw};
use crate::fleet::Component;
use crate::sim::scenario::{FaultKind, Scenario};

/// A Lease is taken over when its holder was away for this long. Milliseconds; client-go's default.
const LEASE_MS: i64 = 15_000;
/// A Lease that was given up is taken at the next try. Milliseconds; client-go's default.
const RETRY_MS: i64 = 2_000;
/// etcd elects a new leader when the old one was away for this long. Milliseconds; etcd's default election timeout.
const ELECTION_MS: i64 = 1_000;

/// Entries in etcd's log when the simulation begins.
const WRITTEN: i64 = 4_000_000;

/// A node as the API server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStatus {
    /// Whether it is Ready.
    pub ready: bool,
    /// When that last changed. Simulated milliseconds.
    pub since: i64,
    /// The kubelet's version, with its `v`.
    pub version: String,
    /// When the kubelet was last seen well. Simulated milliseconds.
    pub seen: i64,
}

/// A leadership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lead {
    /// The master that has it.
    pub holder: usize,
    /// Since when. Simulated milliseconds.
    pub since: i64,
    /// When it was last renewed. Simulated milliseconds.
    pub renewed: i64,
    /// How often it changed hands.
    pub transitions: u32,
    /// Whether its holder has given it up: nobody has it.
    pub released: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Control {
    nodes: Vec<NodeStatus>,
    etcd: Lead,
    scheduler: Lead,
    controller_manager: Lead,
    grace_ms: i64,
}

impl Control {
    pub(crate) fn new(scenario: &Scenario, machines: &[Machine]) -> Control {
        use rand::RngExt;
        let version = scenario.current().map_or(String::new(), |r| version_of(r.kubernetes.as_str()));
        let long_ago = -86_400_000 * 30;
        let status = NodeStatus { ready: true, since: long_ago, version, seen: 0 };
        let mut rng = draw::source(scenario.seed, "leaders");
        let mut lead = || Lead {
            holder: rng.random_range(0..scenario.masters),
            since: long_ago,
            renewed: 0,
            transitions: 4,
            released: false,
        };
        // The grace period gives way to the client's patience as the deadline does, and leaves room for the way back.
        let patient = scenario.timings.patience_s * scenario.speed * 2.0;
        Control {
            nodes: vec![status; machines.len()],
            etcd: lead(),
            scheduler: lead(),
            controller_manager: lead(),
            grace_ms: (scenario.timings.grace_s.max(patient) * 1000.0) as i64,
        }
    }
}

fn version_of(image: &str) -> String {
    format!("v{}", super::container::reported(image))
}

impl World {
    /// A node as the API server has it.
    pub fn node_status(&self, node: usize) -> &NodeStatus {
        &self.control.nodes[node]
    }

    /// etcd's leader.
    pub fn etcd_leader(&self) -> &Lead {
        &self.control.etcd
    }

    /// etcd's log as a member has it: entries that are committed, and of these applied.
    pub fn etcd_log(&self, node: usize, now: i64) -> (i64, i64) {
        // Kubernetes never stops writing.
        let committed = WRITTEN + now / 100;
        let lags = self.faults.on(FaultKind::Lags, node, Some(Component::Etcd), now).is_some();
        (committed, if lags { committed - WRITTEN / 2 } else { committed })
    }

    /// Whether an etcd member has raised an alarm.
    pub fn etcd_alarm(&self, now: i64) -> bool {
        let masters = 0..self.scenario.masters;
        masters.into_iter().any(|m| self.faults.on(FaultKind::NoSpace, m, Some(Component::Etcd), now).is_some())
    }

    /// The holder of the Lease `kube-scheduler`.
    pub fn scheduler(&self) -> &Lead {
        &self.control.scheduler
    }

    /// The holder of the Lease `kube-controller-manager`.
    pub fn controller_manager(&self) -> &Lead {
        &self.control.controller_manager
    }

    /// The control plane looks at its nodes. Without an API server nothing changes hands.
    pub(crate) fn watch_nodes(&mut self, now: i64) {
        self.elect_etcd(now);
        if !self.api_up(now) {
            // Nobody is declared lost by an API server that was away itself.
            let away = &mut self.control.nodes;
            away.iter_mut().for_each(|n| n.seen = n.seen.max(now - self.control.grace_ms / 2));
            return;
        }
        for node in 0..self.machines.len() {
            let cut = !self.reachable(node, now);
            let broken = self.faults.on(FaultKind::NotReady, node, None, now).is_some();
            let health = self.machines[node].health(Component::Kubelet, now);
            let status = &mut self.control.nodes[node];
            let ready = match health {
                Health::Well(version) if !cut => {
                    status.seen = now;
                    status.version = format!("v{version}");
                    !broken
                }
                _ => status.ready && now - status.seen < self.control.grace_ms,
            };
            if ready != status.ready {
                status.ready = ready;
                status.since = now;
            }
        }
        let well = |component| -> Vec<bool> {
            let machines = self.machines.iter().take(self.scenario.masters);
            machines.map(|m| matches!(m.health(component, now), Health::Well(_))).collect()
        };
        let (schedulers, managers) = (well(Component::KubeScheduler), well(Component::KubeControllerManager));
        // kube-scheduler gives its Lease up at SIGTERM (ReleaseOnCancel in cmd/kube-scheduler/app/options/options.go).
        // kube-controller-manager does not: ControllerManagerReleaseLeaderElectionLockOnExit is off up to 1.36.
        let lead = &mut self.control.scheduler;
        if !lead.released && told_to_end(&self.machines[lead.holder], Component::KubeScheduler) {
            (lead.released, lead.renewed) = (true, now);
        }
        let after = if lead.released { RETRY_MS } else { LEASE_MS };
        pass_on(&mut self.control.scheduler, &schedulers, after, now);
        pass_on(&mut self.control.controller_manager, &managers, LEASE_MS, now);
    }

    fn elect_etcd(&mut self, now: i64) {
        let machines = self.machines.iter().take(self.scenario.masters);
        let members: Vec<bool> = machines.map(|m| matches!(m.health(Component::Etcd, now), Health::Well(_))).collect();
        // A leader that ends in peace hands over; one that is killed is missed first.
        let peace = told_to_end(&self.machines[self.control.etcd.holder], Component::Etcd);
        pass_on(&mut self.control.etcd, &members, if peace { 0 } else { ELECTION_MS }, now);
    }

    /// Another member leads etcd.
    pub(super) fn lead_etcd(&mut self, member: usize, now: i64) {
        let lead = &mut self.control.etcd;
        if lead.holder != member {
            let transitions = lead.transitions + 1;
            *lead = Lead { holder: member, since: now, renewed: now, transitions, released: false };
        }
    }
}

/// Whether the component was told to end and was, or will be, left the time that it needs.
fn told_to_end(machine: &Machine, component: Component) -> bool {
    let all = || machine.containers().iter().filter(|c| c.component() == Some(component));
    if let Some(live) =
        all().find(|c| matches!(c.state, State::Stopping { .. } | State::Running | State::Starting { .. }))
    {
        return matches!(live.state, State::Stopping { .. }) && !live.killed;
    }
    let ends = all().filter_map(|c| match c.state {
        State::Exited { at, code } => Some((at, code)),
        _ => None,
    });
    ends.max().is_some_and(|(_, code)| code == 0)
}

fn pass_on(lead: &mut Lead, well: &[bool], after_ms: i64, now: i64) {
    if well.get(lead.holder) == Some(&true) && !lead.released {
        lead.renewed = now;
    } else if now - lead.renewed >= after_ms {
        let count = well.len();
        if let Some(next) = (1..=count).map(|step| (lead.holder + step) % count).find(|&m| well[m]) {
            *lead = Lead { holder: next, since: now, renewed: now, transitions: lead.transitions + 1, released: false };
        }
    }
}
