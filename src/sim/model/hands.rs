//! What something else does to a machine's containers: a person, a CKE server within its minute, a process that crashes.

use super::container::State;
use super::machine::{Env, Machine, Refusal, refuse};
use serde_json::json;

impl Machine {
    /// Removes the container of this name and runs another in its place, as `docker rm -f` and `docker run` do: from the same
    /// configuration, with another image where one is given. The new id.
    ///
    /// # Errors
    /// 404 when there is no such container or image; whatever starting it says.
    pub fn make_anew(
        &mut self,
        name: &str,
        image: Option<&str>,
        now: i64,
        env: &mut Env<'_>,
    ) -> Result<String, Refusal> {
        let at = self.find(name)?;
        if self.containers[at].name != name {
            return Err(refuse(404, format!("No such container: {name}")));
        }
        let mut body = self.containers[at].body.clone();
        if let Some(image) = image {
            body["Image"] = image.into();
        }
        body["HostConfig"]["RestartPolicy"] = json!({"Name": "always", "MaximumRetryCount": 0});
        self.remove(at, true, now)?;
        let id = self.create(name, body, now)?;
        let at = self.find(&id)?;
        self.start(at, now, env)?;
        Ok(id)
    }

    /// A container's process ends by itself, and Docker starts it again. False where nothing of this name runs.
    pub fn crash(&mut self, name: &str, now: i64, env: &mut Env<'_>) -> bool {
        let Some(at) = self.containers.iter().position(|c| c.name == name && c.state == State::Running) else {
            return false;
        };
        self.containers[at].state = State::Exited { at: now, code: 1 };
        self.containers[at].restarts += 1;
        // A start that a fault forbids leaves it down, as on a real machine.
        let _ = self.start(at, now, env);
        true
    }
}
