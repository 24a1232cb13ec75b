//! The simulated cluster itself, without I/O and without a clock: every call takes the simulated time in milliseconds
//! since the simulation began. The same scenario and the same calls give the same answers.

mod body;
mod container;
mod control;
mod draw;
mod etcd;
mod exec;
mod extras;
mod fault;
mod fence;
mod hands;
mod kubelet;
mod machine;
mod nodes;
mod pods;
mod swap;

pub use container::{Container, Health, Sickness, State};
pub use control::{Lead, NodeStatus};
pub(crate) use draw::{digest, source as seeded, uuid};
pub(crate) use exec::SIZE;
pub use exec::{Exec, Ran};
pub use kubelet::{KubeletStart, LiveKubelet};
pub(crate) use machine::refuse;
pub use machine::{Env, Machine, PullPlan, Refusal, image_id};
pub use nodes::NodeSpec;
pub(crate) use pods::{pods, random_letters};
pub use swap::Reply;

use super::scenario::{FaultKind, Scenario};
use crate::fleet::Component;
use control::Control;
use extras::Extras;
use fault::Faults;
use std::collections::BTreeSet;

/// The whole cluster.
#[derive(Debug)]
pub struct World {
    scenario: Scenario,
    machines: Vec<Machine>,
    faults: Faults,
    extras: Extras,
    old_images: BTreeSet<String>,
    disturbed: Vec<(usize, usize)>,
    kubelet_starts: Vec<KubeletStart>,
    control: Control,
}

impl World {
    /// A cluster that has been running for a while: every component healthy, on the first release.
    ///
    /// # Errors
    /// When the scenario does not fit together; says what to fix.
    pub fn new(scenario: &Scenario) -> Result<World, String> {
        scenario.check()?;
        let release = scenario.current().ok_or("at least one [[release]] is needed")?;
        let specs = nodes::specs(scenario)?;
        let faults = Faults::place(scenario, &specs)?;
        let masters: Vec<&NodeSpec> = specs.iter().filter(|s| s.master).collect();
        let extras = extras::place(scenario, &specs)?;
        let mut machines = Vec::with_capacity(specs.len());
        for (index, spec) in specs.iter().enumerate() {
            let mut machine = Machine::new(index, spec.clone(), scenario);
            for component in Component::ALL {
                if component.master_only() && !spec.master {
                    continue;
                }
                let image = release.image(component);
                machine.add_image(image.as_str());
                let mut body = body::body(component, image, spec, &masters, &extras.args(index, component));
                if let Some(restart) = extras.restart(index, component) {
                    body["HostConfig"]["RestartPolicy"]["Name"] = restart.into();
                }
                machine.furnish(component, body).map_err(|e| e.message)?;
            }
            machines.push(machine);
        }
        let old_images = Component::ALL.into_iter().map(|c| release.image(c).to_string()).collect();
        let control = Control::new(scenario, &machines);
        let disturbed = Vec::new();
        let kubelet_starts = Vec::new();
        let scenario = scenario.clone();
        Ok(World { scenario, machines, faults, extras, old_images, disturbed, kubelet_starts, control })
    }

    /// The scenario that it plays.
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// Every machine, masters first.
    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }

    /// The text of the configuration file that a component has on a node, where the scenario states one.
    pub fn config(&self, node: usize, component: Component) -> Option<&str> {
        self.extras.config(node, component)
    }

    /// One machine with what it needs of the world, after time has passed for it.
    ///
    /// # Panics
    /// When `node` is not an index of [`World::machines`].
    pub fn on(&mut self, node: usize, now: i64) -> (&mut Machine, Env<'_>) {
        let patience_ms = self.patience_ms();
        let mut env = Env {
            scenario: &self.scenario,
            faults: &mut self.faults,
            disturbed: &mut self.disturbed,
            kubelet_starts: &mut self.kubelet_starts,
            old_images: &self.old_images,
            patience_ms,
        };
        let machine = &mut self.machines[node];
        machine.advance(now, &mut env);
        (machine, env)
    }

    /// Lets time pass everywhere.
    pub fn advance(&mut self, now: i64) {
        for node in 0..self.machines.len() {
            self.on(node, now);
        }
        self.watch_nodes(now);
    }

    /// The client's patience (see the scenario's timings), in simulated milliseconds.
    fn patience_ms(&self) -> i64 {
        (self.scenario.timings.patience_s * 1000.0 * self.scenario.speed) as i64
    }

    /// Whether the node can be reached over the network.
    pub fn reachable(&self, node: usize, now: i64) -> bool {
        self.machines[node].connected() && self.faults.on(FaultKind::Unreachable, node, None, now).is_none()
    }

    /// Whether the certificate that its components serve with is soon to run out.
    pub(crate) fn certificate_runs_out(&self, node: usize, now: i64) -> bool {
        self.faults.on(FaultKind::CertificateExpires, node, None, now).is_some()
    }

    /// Whether a fault may ever take it off the network.
    pub fn may_vanish(&self, node: usize) -> bool {
        self.faults.may_vanish(node)
    }

    /// What a component's health endpoint does. etcd needs its quorum, kube-apiserver needs etcd.
    pub fn health(&mut self, node: usize, component: Component, now: i64) -> Health {
        self.on(node, now);
        let health = self.machines[node].health(component, now);
        let needs_etcd = matches!(component, Component::Etcd | Component::KubeApiserver);
        if needs_etcd && matches!(health, Health::Well(_)) && !self.quorum(now) {
            return Health::Sick;
        }
        health
    }

    /// Whether a component takes clients: at SIGTERM it closes their port at once, whatever its health endpoint says.
    pub fn takes_clients(&mut self, node: usize, component: Component, now: i64) -> bool {
        self.on(node, now);
        self.machines[node].instance(component).is_some_and(|c| c.takes_clients(now))
    }

    /// Whether a majority of the etcd members is healthy.
    pub fn quorum(&mut self, now: i64) -> bool {
        let masters = self.scenario.masters;
        let well = (0..masters).filter(|&m| {
            self.on(m, now);
            matches!(self.machines[m].health(Component::Etcd, now), Health::Well(_))
        });
        well.count() > masters / 2
    }

    /// Whether some kube-apiserver answers.
    pub fn api_up(&mut self, now: i64) -> bool {
        (0..self.scenario.masters).any(|m| matches!(self.health(m, Component::KubeApiserver, now), Health::Well(_)))
    }

    /// Pods that were restarted since this was asked last: the node, and how many.
    pub fn take_disturbed(&mut self) -> Vec<(usize, usize)> {
        std::mem::take(&mut self.disturbed)
    }
}

impl Machine {
    /// Puts a component's container in place, running since before the simulation began.
    fn furnish(&mut self, component: Component, body: serde_json::Value) -> Result<(), Refusal> {
        // A while ago, but each at its own moment.
        let since = -86_400_000 * 30 - 60_000 * self.index as i64;
        let id = self.create(component.as_str(), body, since)?;
        let at = self.find(&id)?;
        let container = &mut self.containers[at];
        container.state = State::Running;
        container.started = Some(since + 400);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
