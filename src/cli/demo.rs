//! `sonoba demo`: the cockpit on a simulated cluster that lives as long as it does.

use super::args::{Global, SimArgs};
use super::failure::Failure;
use super::{cockpit, settings, sim};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// How fast the simulated clock runs where neither the flags nor the scenario say: a whole upgrade in a few minutes.
const SPEED: f64 = 5.0;

/// How long thousands of host keys may take.
const READY: Duration = Duration::from_secs(120);

/// How long an engine may take to end before it is killed. Nothing but the simulation is lost then.
const LEAVE: Duration = Duration::from_secs(1);

/// How long the simulated cluster may take to end. It removes its folder then, so it is given time.
const END: Duration = Duration::from_secs(5);

pub(super) async fn run(global: &Global, args: &SimArgs) -> Result<(), Failure> {
    // Before thousands of host keys are made.
    settings::looks(global)?;
    let scenario = sim::scenario(args)?;
    let mut args = args.clone();
    if args.speed.is_none() && scenario.speed == 1.0 {
        args.speed = Some(SPEED);
    }
    let dir = tempfile::Builder::new()
        .prefix("sonoba-demo-")
        .tempdir()
        .map_err(|e| Failure::failed(format!("no folder for the demo: {e}")))?;
    let mut child = start(&args, &dir).await?;
    let global = Global {
        profile: Some(dir.path().join("profile.toml")),
        cluster: None,
        state_dir: Some(dir.path().join("state")),
        ..global.clone()
    };
    let mut engines = Vec::new();
    let shown = cockpit::open(&global, true, &mut engines).await;
    end_engines(&engines).await;
    end(&mut child).await;
    shown
}

/// Starts the simulated cluster in a process of its own and waits until it serves. It ends when this process does: its
/// standard input closes.
async fn start(args: &SimArgs, dir: &TempDir) -> Result<Child, Failure> {
    let failed = |what: &str| Failure::failed(format!("the simulated cluster did not start: {what}"));
    let log = dir.path().join("sim.log");
    let errors = std::fs::File::create(&log).map_err(|e| failed(&e.to_string()))?;
    let program = std::env::current_exe().map_err(|e| failed(&e.to_string()))?;
    let mut command = Command::new(program);
    command.arg("sim").arg("--until-stdin-closes").arg("--scenario").arg(&args.scenario);
    command.arg("--profile-out").arg(dir.path().join("profile.toml"));
    let numbers = [
        ("--nodes", args.nodes.map(|n| n.to_string())),
        ("--racks", args.racks.map(|n| n.to_string())),
        ("--masters", args.masters.map(|n| n.to_string())),
        ("--seed", args.seed.map(|n| n.to_string())),
        ("--speed", args.speed.map(|n| n.to_string())),
    ];
    for (flag, value) in numbers {
        if let Some(value) = value {
            command.arg(flag).arg(value);
        }
    }
    // A group of its own: Ctrl-C at the terminal is for the cockpit.
    let command =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors).process_group(0).kill_on_drop(true);
    let mut child = command.spawn().map_err(|e| failed(&e.to_string()))?;
    let out = child.stdout.take().ok_or_else(|| failed("it has no output"))?;
    let mut lines = BufReader::new(out).lines();
    match timeout(READY, lines.next_line()).await {
        Ok(Ok(Some(line))) if line.starts_with("ready:") => Ok(child),
        Err(_) => Err(failed(&format!("it is not ready after {} s", READY.as_secs()))),
        _ => {
            end(&mut child).await;
            Err(failed(&tail(&log)))
        }
    }
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().last().unwrap_or("it ended without a word").to_owned()
}

/// Ends the simulated cluster: its standard input closes, and it is waited for, so that its folder is gone with it.
async fn end(child: &mut Child) {
    drop(child.stdin.take());
    if timeout(END, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

/// Ends the engines that the demo's cockpit started, by their ids: they would outlive it, as they should anywhere else.
async fn end_engines(engines: &[u32]) {
    let pids: Vec<Pid> = engines.iter().filter_map(|pid| Pid::from_raw(i32::try_from(*pid).ok()?)).collect();
    // A killed process is waited for as well: its folder cannot be removed while it still writes there.
    for signal in [Signal::TERM, Signal::KILL] {
        for pid in &pids {
            // Gone already is fine.
            let _ = kill_process(*pid, signal);
        }
        let gone = async {
            while pids.iter().any(|pid| test_kill_process(*pid).is_ok()) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        if timeout(LEAVE, gone).await.is_ok() {
            return;
        }
    }
}
