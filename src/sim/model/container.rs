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
    /// How often Docker started it again after it had ended by itself.
    pub restarts: u32,
    /// What ails it.
    pub sickness: Option<Sickness>,
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

/// A flapping component is healthy, and then not, for this long each. Milliseconds.
const FLAP_MS: i64 = 3_000;

impl Container {
    /// Lets time pass.
    pub(crate) fn settle(&mut self, now: i64) {
        match self.state {
            State::Starting { until } if now >= until => {
                self.state = State::Running;
                self.started = Some(until);
            }
            State::Stopping { until } if now >= until => self.state = State::Exited { at: until, code: 0 },
            _ => {}
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

    /// The component that it is, by its name.
    pub fn component(&self) -> Option<Component> {
        self.name.parse().ok()
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

    /// What its health endpoint does.
    pub(crate) fn health(&self, now: i64) -> Health {
        if self.state != State::Running || now < self.healthy_at {
            return Health::Refused;
        }
        match self.sickness {
            Some(Sickness::Never) => Health::Sick,
            Some(Sickness::Flaps) if (now - self.healthy_at) / FLAP_MS % 2 == 1 => Health::Sick,
            _ => Health::Well(self.reports.clone()),
        }
    }
}

/// The version that a component built into this image reports: the upstream part of the tag.
pub(crate) fn reported(image: &str) -> String {
    let version = image.parse::<crate::fleet::Image>().ok().and_then(|i| i.version().cloned());
    version.map_or_else(
        || "0.0.0".to_owned(),
        |v| {
            let (major, minor, patch) = v.upstream();
            format!("{major}.{minor}.{patch}")
        },
    )
}
