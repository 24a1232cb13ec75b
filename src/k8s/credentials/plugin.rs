//! A credential plugin (`exec` in a kubeconfig), within a time limit.

use super::problem::CredentialProblem;
use crate::k8s::patience::shown;
use jiff::Timestamp;
use kube::config::{ExecConfig, ExecInteractiveMode};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use serde_json::json;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;

/// A certificate chain with its key has a hundredth of it.
const LONGEST: u64 = 1 << 20;
/// How long to read on once a plugin has ended, and to wait once it was killed.
const REST: Duration = Duration::from_millis(500);

/// What a plugin issued.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Issued {
    pub(super) token: Option<String>,
    /// PEM.
    pub(super) client_certificate_data: Option<String>,
    /// PEM.
    pub(super) client_key_data: Option<String>,
    expiration_timestamp: Option<String>,
}

impl Issued {
    /// When the plugin is to be asked again.
    ///
    /// # Errors
    /// When it is no time.
    pub(super) fn expires(&self) -> Result<Option<Timestamp>, CredentialProblem> {
        self.expiration_timestamp.as_deref().filter(|t| !t.is_empty()).map_or(Ok(None), |text| {
            let bad = |_| {
                CredentialProblem::Missing(
                    "the credential plugin's expirationTimestamp is not a time as RFC 3339 has it".into(),
                )
            };
            text.trim().parse().map(Some).map_err(bad)
        })
    }
}

#[derive(Deserialize)]
struct Answer {
    status: Option<Issued>,
}

/// Runs the plugin as `kubectl` would where there is no terminal: nothing on its standard input, in a process group of its own that
/// does not outlive the answer, so that one that hangs holds nobody up.
///
/// # Errors
/// In words, never with its output, when it cannot be started, fails, does not end within `limit`, or answers something else.
pub(super) async fn ask(exec: &ExecConfig, limit: Duration) -> Result<Issued, CredentialProblem> {
    let command = exec.command.as_deref().filter(|c| !c.is_empty()).ok_or_else(|| {
        CredentialProblem::Missing("the kubeconfig's credential plugin has no `command`; name one".into())
    })?;
    let failed = |why: String| CredentialProblem::Missing(format!("the credential plugin {} {why}", shown(command)));
    if exec.interactive_mode == Some(ExecInteractiveMode::Always) {
        return Err(failed(
            "wants to talk with a person (interactiveMode: Always), and runs go on unattended; use a service account's token, or a \
             plugin that asks nobody"
                .into(),
        ));
    }
    let version = exec.api_version.as_deref().unwrap_or("client.authentication.k8s.io/v1");
    let mut spec = json!({"interactive": false});
    if exec.provide_cluster_info {
        spec["cluster"] = serde_json::to_value(&exec.cluster).map_err(|e| failed(format!("cannot be asked: {e}")))?;
    }
    let question = json!({"kind": "ExecCredential", "apiVersion": version, "spec": spec}).to_string();
    let own = exec.env.iter().flatten().filter_map(|entry| Some((entry.get("name")?, entry.get("value")?)));
    let mut child = Command::new(command)
        .args(exec.args.iter().flatten())
        .envs(own)
        .env("KUBERNETES_EXEC_INFO", question)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // What it says there may hold a token, and would be written over the screen.
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| failed(format!("did not start: {e}; install it, or put it on the PATH{}", hint(exec))))?;
    let group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let mut said = Vec::new();
    let mut pipe = child.stdout.take().map(|pipe| pipe.take(LONGEST + 1));
    let ended = timeout(limit, async {
        let mut reading = std::pin::pin!(async {
            match &mut pipe {
                Some(pipe) => pipe.read_to_end(&mut said).await,
                None => Ok(0),
            }
        });
        tokio::select! {
            read = &mut reading => if read? as u64 > LONGEST { Ok(None) } else { child.wait().await.map(Some) },
            status = child.wait() => {
                // What it leaves behind may hold the pipe open, and has nothing to say.
                let _ = timeout(REST, reading).await;
                status.map(Some)
            }
        }
    })
    .await;
    if matches!(&ended, Ok(Ok(Some(status))) if status.success()) {
        // An agent that it left to remember a login is no fault.
        group.spare();
    } else {
        drop(group);
        // So that no zombie is left; what was killed ends at once.
        let _ = timeout(REST, child.wait()).await;
    }
    let by_hand = "see why by running it by hand, or with: kubectl get nodes";
    match ended {
        Err(_) => {
            let seconds = limit.as_secs_f64();
            return Err(failed(format!("did not end within {seconds} s and was killed; {by_hand}")));
        }
        Ok(Err(error)) => return Err(failed(format!("could not be waited for: {error}"))),
        Ok(Ok(None)) => return Err(failed(format!("does not end to talk; {by_hand}"))),
        Ok(Ok(Some(status))) if !status.success() => return Err(failed(format!("failed ({status}); {by_hand}"))),
        Ok(Ok(Some(_))) => {}
    }
    // Some write YAML, and client-go takes it.
    let answer: Result<Answer, _> = serde_saphyr::from_slice(&said);
    let answer = answer.map_err(|_| failed(format!("answered no ExecCredential; {by_hand}")))?;
    answer.status.ok_or_else(|| failed(format!("answered an ExecCredential without a status; {by_hand}")))
}

/// Where the kubeconfig says how to install it.
fn hint(exec: &ExecConfig) -> String {
    let hint = exec.install_hint.as_deref().map(|hint| shown(hint.trim())).filter(|hint| !hint.is_empty());
    hint.map(|hint| format!(" (the kubeconfig says: {hint})")).unwrap_or_default()
}

/// A process group that is killed when this is dropped, its leader gone or not.
struct Group(Option<Pid>);

impl Group {
    /// Lets it live.
    fn spare(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Mostly there is nobody left.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
