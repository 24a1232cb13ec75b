//! One machine: its Docker daemon's containers and images.

use super::NodeSpec;
use super::container::{Container, Health, Sickness, State, reported};
use super::draw::{digest, draw, draw_ms, source};
use super::exec::Exec;
use super::fault::Faults;
use super::fence::Fences;
use super::kubelet::KubeletStart;
use super::swap::Tx;
use crate::fleet::{Component, Image};
use crate::remote::TxId;
use crate::sim::scenario::{FaultKind, Scenario};
use rand::rngs::StdRng;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The exit code of a container that went down with its machine or its Docker daemon.
const KILLED: i32 = 255;

/// One machine.
#[derive(Debug)]
pub struct Machine {
    /// Its index in the world.
    pub index: usize,
    /// What it is.
    pub spec: NodeSpec,
    /// Whether the swap script was put on it.
    pub installed: bool,
    pub(crate) containers: Vec<Container>,
    pub(crate) images: BTreeSet<String>,
    pub(crate) txs: BTreeMap<TxId, Tx>,
    /// The tokens of the run lock that it has seen.
    pub(crate) fences: Fences,
    pub(crate) execs: Vec<Exec>,
    /// Snapshots of etcd on its volume: their paths.
    pub(crate) snapshots: BTreeSet<String>,
    pub(crate) rng: StdRng,
    boot_ms: i64,
    pub(crate) boots: u32,
    serial: u64,
    mib_s: f64,
    /// Until then its Docker daemon does not answer.
    docker_back: Option<i64>,
    /// Without power.
    off: bool,
    /// Cut off the network by more than a scenario's fault.
    cut: bool,
}

/// What a machine needs of the world around it.
pub struct Env<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) faults: &'a mut Faults,
    /// Pods that a kubelet's start restarted: the node, and how many.
    pub(crate) disturbed: &'a mut Vec<(usize, usize)>,
    /// Starts of kubelets, and of what else restarts pods.
    pub(crate) kubelet_starts: &'a mut Vec<KubeletStart>,
    /// The images that the cluster began with; faults of containers spare them.
    pub(crate) old_images: &'a BTreeSet<String>,
    /// The patience of the real client, in simulated milliseconds.
    pub(crate) patience_ms: i64,
}

/// Why Docker refuses a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// Docker's own words.
    pub message: String,
}

pub(crate) fn refuse(status: u16, message: impl Into<String>) -> Refusal {
    Refusal { status, message: message.into() }
}

/// A pull that may begin.
#[derive(Debug, Clone, PartialEq)]
pub struct PullPlan {
    /// The layers: short id, bytes.
    pub layers: Vec<(String, u64)>,
    /// Bytes a simulated millisecond.
    pub bytes_per_ms: f64,
    /// Breaks off half way with this error.
    pub fails: Option<String>,
}

impl Machine {
    pub(crate) fn new(index: usize, spec: NodeSpec, scenario: &Scenario) -> Machine {
        let mut rng = source(scenario.seed, spec.name.as_str());
        let mib_s = draw(&mut rng, scenario.timings.pull_mib_s).max(0.001);
        let days = crate::sim::scenario::Span { median: 40.0, spread: 0.5 };
        let boot_ms = (draw(&mut rng, days) * 86_400_000.0) as i64;
        Machine {
            index,
            spec,
            installed: false,
            containers: Vec::new(),
            images: BTreeSet::new(),
            txs: BTreeMap::new(),
            fences: Fences::default(),
            execs: Vec::new(),
            snapshots: BTreeSet::new(),
            rng,
            boot_ms,
            boots: 1,
            serial: 0,
            mib_s,
            docker_back: None,
            off: false,
            cut: false,
        }
    }

    /// The monotonic clock. Milliseconds since it booted.
    pub fn uptime_ms(&self, now: i64) -> u64 {
        (self.boot_ms + now).max(0) as u64
    }

    /// Every container.
    pub fn containers(&self) -> &[Container] {
        &self.containers
    }

    /// The images on it.
    pub fn images(&self) -> &BTreeSet<String> {
        &self.images
    }

    /// A container by id, by a beginning of its id, or by name with or without a slash.
    ///
    /// # Errors
    /// 404 when there is none.
    pub fn find(&self, key: &str) -> Result<usize, Refusal> {
        let name = key.strip_prefix('/').unwrap_or(key);
        let by_name = |c: &Container| c.name == name;
        let by_id = |c: &Container| !key.is_empty() && c.id.starts_with(key);
        let all = &self.containers;
        let at = all.iter().position(by_name).or_else(|| all.iter().position(by_id));
        at.ok_or_else(|| refuse(404, format!("No such container: {key}")))
    }

    /// Creates a container from all that was posted.
    ///
    /// # Errors
    /// 404 without the image, 409 when the name is taken, 400 when it is not a name.
    pub fn create(&mut self, name: &str, body: Value, now: i64) -> Result<String, Refusal> {
        self.check_name(name)?;
        let image = body["Image"].as_str().unwrap_or_default();
        if self.image(image).is_none() {
            return Err(refuse(404, format!("No such image: {image}")));
        }
        self.serial += 1;
        let id = digest(&[self.spec.name.as_str(), name, &self.serial.to_string(), &now.to_string()]);
        let reports = reported(image);
        self.containers.push(Container {
            id: id.clone(),
            name: name.to_owned(),
            body,
            created: now,
            state: State::Created,
            started: None,
            healthy_at: 0,
            sickness: None,
            killed: false,
            restarts: 0,
            crash_after: None,
            takes_to_health: 0,
            reports,
        });
        Ok(id)
    }

    fn check_name(&self, name: &str) -> Result<(), Refusal> {
        let good = name.len() > 1
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
        if !good {
            let rule = "only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed";
            return Err(refuse(400, format!("Invalid container name ({name}), {rule}")));
        }
        match self.containers.iter().find(|c| c.name == name) {
            None => Ok(()),
            Some(other) => Err(refuse(
                409,
                format!(
                    "Conflict. The container name \"/{name}\" is already in use by container \"{}\". You have to \
                     remove (or rename) that container to be able to reuse that name.",
                    other.id
                ),
            )),
        }
    }

    /// Starts a container; returns when it will run. `None`: it runs already.
    ///
    /// # Errors
    /// 500 when a fault strikes.
    pub fn start(&mut self, at: usize, now: i64, env: &mut Env<'_>) -> Result<Option<i64>, Refusal> {
        self.containers[at].settle(now);
        match self.containers[at].state {
            State::Running => return Ok(None),
            State::Starting { until } => return Ok(Some(until)),
            State::Stopping { .. } | State::Created | State::Exited { .. } => {}
        }
        let component = self.containers[at].component();
        let new = !env.old_images.contains(self.containers[at].image());
        let mut sickness = None;
        let mut disturbs = 0;
        let mut crash_after = None;
        if new && component.is_some() {
            if env.faults.strike(FaultKind::StartFails, self.index, component, now).is_some() {
                self.containers[at].state = State::Exited { at: now, code: 127 };
                return Err(refuse(
                    500,
                    "failed to create task for container: failed to create shim task: OCI runtime create failed: \
                     runc create failed: unable to start container process: exec format error: unknown",
                ));
            }
            if env.faults.strike(FaultKind::NeverHealthy, self.index, component, now).is_some() {
                sickness = Some(Sickness::Never);
            } else if env.faults.strike(FaultKind::Flaps, self.index, component, now).is_some() {
                sickness = Some(Sickness::Flaps);
            }
            if let Some(fault) = env.faults.strike(FaultKind::DisturbsPods, self.index, component, now) {
                env.disturbed.push((self.index, fault.pods));
                disturbs = fault.pods;
            }
            if let Some(fault) = env.faults.strike(FaultKind::Crashes, self.index, component, now) {
                crash_after = Some((fault.after_s * 1000.0) as i64);
            }
        }
        let until = now + draw_ms(&mut self.rng, env.scenario.timings.start_ms);
        let healthy = component.map_or(0, |c| draw_ms(&mut self.rng, env.scenario.timings.healthy(c)));
        let container = &mut self.containers[at];
        container.state = State::Starting { until };
        container.healthy_at = until + healthy;
        container.sickness = sickness;
        container.killed = false;
        // Docker counts anew when a container is started by hand.
        container.restarts = 0;
        container.crash_after = crash_after;
        container.takes_to_health = healthy;
        if component == Some(Component::Kubelet) || disturbs > 0 {
            env.kubelet_starts.push(KubeletStart { node: self.index, component, at: until, disturbs });
        }
        Ok(Some(until))
    }

    /// Stops a container; returns when it will be gone. `None`: it does not run.
    pub fn stop(&mut self, at: usize, timeout_s: u32, now: i64, env: &Env<'_>) -> Option<i64> {
        self.containers[at].settle(now);
        match self.containers[at].state {
            State::Created | State::Exited { .. } => None,
            State::Stopping { until } => Some(until),
            State::Running | State::Starting { .. } => {
                let component = self.containers[at].component();
                let wish = draw_ms(&mut self.rng, env.scenario.timings.stop(component));
                let patience = i64::from(timeout_s) * 1000;
                let until = now + wish.min(patience);
                self.containers[at].killed = wish > patience;
                self.containers[at].state = State::Stopping { until };
                Some(until)
            }
        }
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// 409 when the name is taken, 400 when it is not a name.
    pub fn rename(&mut self, at: usize, name: &str) -> Result<(), Refusal> {
        let name = name.strip_prefix('/').unwrap_or(name);
        self.check_name(name)?;
        self.containers[at].name = name.to_owned();
        Ok(())
    }

    /// Gives a container another restart policy; null changes nothing.
    pub fn update(&mut self, at: usize, policy: &Value) {
        if !policy.is_null() {
            self.containers[at].set_restart_policy(policy.clone());
        }
    }

    /// Removes a container.
    ///
    /// # Errors
    /// 409 when it runs and `force` is not given.
    pub fn remove(&mut self, at: usize, force: bool, now: i64) -> Result<(), Refusal> {
        let container = &mut self.containers[at];
        container.settle(now);
        if !force && !matches!(container.state, State::Created | State::Exited { .. }) {
            return Err(refuse(
                409,
                format!(
                    "cannot remove container \"/{}\": container is running: stop the container before removing or \
                     force remove",
                    container.name
                ),
            ));
        }
        self.containers.remove(at);
        Ok(())
    }

    /// An image on the machine by reference or id: its reference and its id.
    pub fn image(&self, key: &str) -> Option<(&str, String)> {
        let found = self.images.iter().find(|i| i.as_str() == key || image_id(i) == key)?;
        Some((found, image_id(found)))
    }

    /// How a pull will go; `None` when the image is there.
    ///
    /// # Errors
    /// 404 when the registry does not have it.
    pub fn pull(&mut self, image: &Image, now: i64, env: &mut Env<'_>) -> Result<Option<PullPlan>, Refusal> {
        if self.images.contains(image.as_str()) {
            return Ok(None);
        }
        if !self.published(image, env, now) {
            return Err(refuse(404, format!("manifest for {image} not found: manifest unknown: manifest unknown")));
        }
        // A layer is as large on every node: its size comes from the image, not from the node.
        let mut sizes = source(env.scenario.seed, image.as_str());
        let layers = (0..env.scenario.timings.layers)
            .map(|n| {
                let bytes = draw(&mut sizes, env.scenario.timings.layer_mib) * 1_048_576.0;
                (digest(&[image.as_str(), &n.to_string()])[..12].to_owned(), (bytes as u64).max(1))
            })
            .collect();
        let slow = env.faults.strike(FaultKind::SlowPull, self.index, None, now).map_or(1.0, |f| f.factor);
        let fails = env.faults.strike(FaultKind::PullFails, self.index, None, now).map(|_| {
            format!("failed to copy: httpReadSeeker: failed open: unexpected status code for {image}: 503 Service Unavailable")
        });
        let bytes_per_ms = self.mib_s * 1_048_576.0 / 1000.0 / slow;
        Ok(Some(PullPlan { layers, bytes_per_ms, fails }))
    }

    /// Whether the registry has an image.
    pub(crate) fn published(&self, image: &Image, env: &Env<'_>, now: i64) -> bool {
        let releases = env.scenario.releases.iter();
        let known = releases.flat_map(|r| [&r.kubernetes, &r.etcd, &r.rivers]).any(|i| i.name() == image.name());
        let held_back = || env.faults.on(FaultKind::NoImage, self.index, None, now).is_some();
        known && image.version().is_some() && (env.old_images.contains(image.as_str()) || !held_back())
    }

    /// What `df` and `date` say: 1024-byte blocks in all and free, and seconds since 1970.
    pub(crate) fn disk_and_clock(&self, env: &Env<'_>, now: i64, real: i64) -> (u64, u64, i64) {
        let total = 960 << 20;
        let full = env.faults.on(FaultKind::LowDisk, self.index, None, now).is_some();
        let free = if full { total / 5_000 } else { total / 10 * 7 };
        let off = env.faults.on(FaultKind::ClockOff, self.index, None, now).map_or(0.0, |f| f.factor);
        (total, free, real + off as i64)
    }

    /// Puts an image on the machine.
    pub fn add_image(&mut self, image: &str) {
        self.images.insert(image.to_owned());
    }

    /// What a component's health endpoint does, as far as the machine alone decides.
    pub fn health(&self, component: Component, now: i64) -> Health {
        self.instance(component).map_or(Health::Refused, |c| c.health(now))
    }

    /// The container of a component that counts: the one that runs, or is about to end or to start, whatever a swap calls it
    /// by then; the one of that name where none does.
    pub(crate) fn instance(&self, component: Component) -> Option<&Container> {
        let rank = |c: &&Container| match c.state {
            State::Running => 3,
            State::Stopping { .. } => 2,
            State::Starting { .. } => 1,
            State::Created | State::Exited { .. } => 0,
        };
        let live = self.containers.iter().filter(|c| c.component() == Some(component)).max_by_key(rank);
        live.filter(|c| rank(c) > 0).or_else(|| self.containers.iter().find(|c| c.name == component.as_str()))
    }

    /// Whether its Docker daemon answers.
    pub fn docker_up(&self, now: i64) -> bool {
        !self.off && self.docker_back.is_none_or(|back| now >= back)
    }

    /// Whether it has power.
    pub fn on(&self) -> bool {
        !self.off
    }

    /// Cuts it off the network, or connects it again.
    pub fn cut(&mut self, cut: bool) {
        self.cut = cut;
    }

    /// Whether neither its power nor its network is gone.
    pub fn connected(&self) -> bool {
        !self.off && !self.cut
    }

    /// Restarts the machine at once.
    pub fn reboot(&mut self, now: i64, env: &mut Env<'_>) {
        self.power_off(now, env);
        self.power_on(now, env);
    }

    /// Takes its power away: containers and the script's runners are gone.
    pub fn power_off(&mut self, now: i64, env: &mut Env<'_>) {
        self.advance(now, env);
        self.kill_runners();
        self.kill_containers(now);
        (self.off, self.docker_back) = (true, None);
    }

    /// Gives it power again: Docker starts the containers whose restart policy says so.
    pub fn power_on(&mut self, now: i64, env: &mut Env<'_>) {
        self.off = false;
        self.boot_ms = -now;
        self.boots += 1;
        self.start_by_policy(now, env);
    }

    /// Takes the Docker daemon away until `back`. Without live restore its containers go with it, and those whose restart
    /// policy says so come back with it.
    pub fn restart_docker(&mut self, now: i64, back: i64, live_restore: bool, env: &mut Env<'_>) {
        self.advance(now, env);
        self.docker_back = Some(back);
        self.txs.values_mut().for_each(|tx| tx.docker_went_away(now));
        if !live_restore {
            self.kill_containers(now);
            self.start_by_policy(back, env);
        }
    }

    fn kill_containers(&mut self, now: i64) {
        for container in &mut self.containers {
            if !matches!(container.state, State::Created | State::Exited { .. }) {
                container.state = State::Exited { at: now, code: KILLED };
            }
        }
    }

    /// What Docker does when it comes up: `always` also starts what had been stopped by hand, nothing starts what never ran.
    fn start_by_policy(&mut self, now: i64, env: &mut Env<'_>) {
        for at in 0..self.containers.len() {
            let State::Exited { code, .. } = self.containers[at].state else { continue };
            let policy = self.containers[at].restart_policy();
            if policy["Name"] == "always" || (policy["Name"] != "no" && code == KILLED) {
                // A start that a fault forbids leaves it down, as on a real machine.
                let _ = self.start(at, now, env);
            }
        }
    }

    /// Lets time pass: containers come and go, transactions take their steps.
    pub fn advance(&mut self, now: i64, env: &mut Env<'_>) {
        self.run_transactions(now, env);
        for container in &mut self.containers {
            container.settle(now);
        }
    }
}

/// The id of an image.
pub fn image_id(image: &str) -> String {
    format!("sha256:{}", digest(&["image", image]))
}
