//! One Docker container: what it was created from, and how it stands.

use crate::fleet::Component;
use serde_json::{Value, json};

/// A container.
#[derive(Debug, Clone)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name, without the leading slash.
    pub name: String,
    /// All that was posted when it was created; updates are written into it.
    pub body: Value,
    /// When it was created. Simulated milliseconds.
    pub created: i64,
    /// How it stands.
    pub state: State,
    /// When it last ran from, if ever.
    pub started: Option<i64>,
    /// When its process answers healthy.
    pub healthy_at: i64,
    /// What ails it.
    pub sickness: Option<Sickness>,
    /// Whether the stop that is under way, or was the last, ends by SIGKILL.
    pub(crate) killed: bool,
    /// How often Docker restarted it by its restart policy since it was last started by hand.
    pub restarts: u32,
    /// It ends with an error when it has run for this long. Milliseconds.
    pub(crate) crash_after: Option<i64>,
    /// From its process's start until it answers healthy. Milliseconds.
    pub(crate) takes_to_health: i64,
    /// The version that its image reports, read once.
    pub(crate) reports: String,
}

/// How a container stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Never started.
    Created,
    /// Runs from then on.
    Starting {
        /// Simulated milliseconds.
        until: i64,
    },
    /// Runs.
    Running,
    /// Is gone from then on.
    Stopping {
        /// Simulated milliseconds.
        until: i64,
    },
    /// Has ended.
    Exited {
        /// Simulated milliseconds.
        at: i64,
        /// Its exit code.
        code: i32,
    },
}

/// What ails a container that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sickness {
    /// It never answers healthy.
    Never,
    /// It answers healthy and unhealthy in turn.
    Flaps,
}

/// What a component's health endpoint does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Nobody listens.
    Refused,
    /// It answers that it is not healthy.
    Sick,
    /// It answers healthy; the version that it reports of itself.
    Well(String),
}

/// The exit code after SIGKILL.
const SIGKILLED: i32 = 137;
/// Docker waits this long before it restarts a container the first time. Milliseconds.
const RESTART_MS: i64 = 100;
/// A flapping component is healthy, and then not, for this long each. Milliseconds.
const FLAP_MS: i64 = 3_000;

impl Container {
    /// Lets time pass.
    pub(crate) fn settle(&mut self, now: i64) {
        loop {
            match self.state {
                State::Starting { until } if now >= until => {
                    self.state = State::Running;
                    self.started = Some(until);
                }
                State::Stopping { until } if now >= until => {
                    self.state = State::Exited { at: until, code: if self.killed { SIGKILLED } else { 0 } };
                }
                State::Running => match self.crashes_at().filter(|at| now >= *at) {
                    Some(at) => self.crash(at),
                    None => return,
                },
                _ => return,
            }
        }
    }

    fn crashes_at(&self) -> Option<i64> {
        Some(self.started? + self.crash_after?)
    }

    /// It ends with an error, and Docker restarts it where its policy says so: at once, then after twice as long each time
    /// while it does not run for ten seconds.
    ///
    /// <https://docs.docker.com/engine/containers/start-containers-automatically/>
    fn crash(&mut self, at: i64) {
        self.state = State::Exited { at, code: 1 };
        let policy = self.restart_policy();
        let most = policy["MaximumRetryCount"].as_u64().filter(|most| *most > 0);
        let restarts = match policy["Name"].as_str() {
            Some("always" | "unless-stopped") => true,
            Some("on-failure") => most.is_none_or(|most| u64::from(self.restarts) < most),
            _ => false,
        };
        if restarts {
            let again = if self.crash_after >= Some(10_000) { 0 } else { self.restarts.min(9) };
            let until = at + (RESTART_MS << again);
            self.restarts += 1;
            self.state = State::Starting { until };
            self.healthy_at = until + self.takes_to_health;
        }
    }

    /// The image reference that it was created from.
    pub fn image(&self) -> &str {
        self.body["Image"].as_str().unwrap_or_default()
    }

    /// Whether Docker calls it running.
    pub fn running(&self) -> bool {
        matches!(self.state, State::Running | State::Stopping { .. })
    }

    /// The component that it is, by its name; before and behind a swap too, when another one has the name itself.
    pub fn component(&self) -> Option<Component> {
        self.name.split(".sonoba-").next()?.parse().ok()
    }

    /// Its restart policy.
    pub fn restart_policy(&self) -> Value {
        match &self.body["HostConfig"]["RestartPolicy"] {
            Value::Null => json!({"Name": "no", "MaximumRetryCount": 0}),
            policy => policy.clone(),
        }
    }

    /// Gives it another restart policy.
    pub(crate) fn set_restart_policy(&mut self, policy: Value) {
        if let Some(body) = self.body.as_object_mut() {
            let host = body.entry("HostConfig").or_insert_with(|| json!({}));
            if !host.is_object() {
                *host = json!({});
            }
            host["RestartPolicy"] = policy;
        }
    }

    /// Whether clients get in: at SIGTERM every component closes its port for clients at once.
    pub(crate) fn takes_clients(&self, now: i64) -> bool {
        self.state == State::Running && now >= self.healthy_at
    }

    /// What its health endpoint does. etcd's stands on a port of its own, which answers until the process has ended.
    pub(crate) fn health(&self, now: i64) -> Health {
        let drains = matches!(self.state, State::Stopping { .. }) && self.component() == Some(Component::Etcd);
        if !(self.state == State::Running || drains) || now < self.healthy_at {
            return Health::Refused;
        }
        match self.sickness {
            Some(Sickness::Never) => Health::Sick,
            Some(Sickness::Flaps) if (now - self.healthy_at) / FLAP_MS % 2 == 1 => Health::Sick,
            _ => Health::Well(self.reports.clone()),
        }
    }
}

/// The version that a component built into this image reports: the release that the tag names, whatever the build.
pub(crate) fn reported(image: &str) -> String {
    let version = image.parse::<crate::fleet::Image>().ok().and_then(|i| i.version().cloned());
    version.map_or_else(|| "0.0.0".to_owned(), |v| v.release())
}
