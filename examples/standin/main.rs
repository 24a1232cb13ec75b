//! Stands in for the Kubernetes components that Debian does not ship, in the lab's images (`tests/lab`).
//!
//! It is no part of sonoba: `cargo install` leaves it out. One binary serves every component, told apart by the name
//! that it is called by, and answers the health and version endpoints that the real one would, on the real one's
//! ports; `rivers` and `etcd-rivers` really forward connections, and `kube-apiserver` passes on what is posted to `/v3/` to
//! etcd, with upstream's patience. At SIGTERM it does as the real one: it takes no connection any more, and ends once those
//! that it has are over, or after 60 s. Flags that it does not know are ignored, since the
//! real components are started with dozens.
//!
//! | set by | what |
//! | --- | --- |
//! | `/etc/standin/version` | the version that it states, for instance `v1.36.2`; part of the image |
//! | `STANDIN_START_MS` | from start to healthy, 300 by default; its port opens after half of that |
//! | `/faults/never-healthy` | lines `COMPONENT VERSION`: that version of it starts and is never healthy |

mod etcd;
mod forward;
mod health;

use std::collections::HashMap;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// What was asked of this process.
struct Call {
    component: String,
    flags: HashMap<String, String>,
    version: String,
    start: Duration,
}

impl Call {
    fn read() -> Result<Call, Box<dyn Error>> {
        let mut args = std::env::args();
        let path = args.next().unwrap_or_default();
        let component = path.rsplit('/').next().unwrap_or_default().to_owned();
        let flags = args
            .filter_map(|arg| {
                let (name, value) = arg.strip_prefix("--")?.split_once('=')?;
                Some((name.to_owned(), value.to_owned()))
            })
            .collect();
        let version = std::fs::read_to_string("/etc/standin/version")?.trim().to_owned();
        let start = match std::env::var("STANDIN_START_MS") {
            Ok(text) => Duration::from_millis(text.parse()?),
            Err(_) => Duration::from_millis(300),
        };
        Ok(Call { component, flags, version, start })
    }

    fn flag(&self, name: &str) -> Result<&str, String> {
        self.flags.get(name).map(String::as_str).ok_or_else(|| format!("{} needs --{name}=…", self.component))
    }

    /// Whether this version of this component is to start and never be healthy.
    fn never_healthy(&self) -> bool {
        std::fs::read_to_string("/faults/never-healthy").is_ok_and(|text| {
            text.lines().any(|line| line.split_whitespace().eq([self.component.as_str(), self.version.as_str()]))
        })
    }
}

async fn serve(call: Call) -> Result<(), Box<dyn Error>> {
    use health::Port;
    let (flag, port, tls) = match call.component.as_str() {
        "rivers" | "etcd-rivers" => return forward::serve(&call).await,
        "kube-apiserver" => ("bind-address", 6443, true),
        "kube-controller-manager" => ("bind-address", 10257, true),
        "kube-scheduler" => ("bind-address", 10259, true),
        "kubelet" => ("healthz-bind-address", 10248, false),
        "kube-proxy" => ("healthz-bind-address", 10256, false),
        other => return Err(format!("{other:?} is no component that can be stood in for").into()),
    };
    let address = (call.flag(flag)?.to_owned(), port);
    health::serve(call, Port { address, tls }).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // The first process of a container gets no default action for a signal: without a handler it would not stop.
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        eprintln!("standin: cannot listen for signals");
        return ExitCode::FAILURE;
    };
    let work = async { serve(Call::read()?).await };
    if std::env::args().next().is_some_and(|path| path.ends_with("kube-apiserver")) {
        // It has its own way to end.
        return match work.await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("standin: {error}");
                ExitCode::FAILURE
            }
        };
    }
    tokio::select! {
        ended = work => match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("standin: {error}");
                ExitCode::FAILURE
            }
        },
        _ = term.recv() => ExitCode::SUCCESS,
        _ = int.recv() => ExitCode::SUCCESS,
    }
}
