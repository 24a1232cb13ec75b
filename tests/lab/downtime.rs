//! How long a component is away: a prepared swap, beside a plain `docker restart` and beside what CKE does.
//!
//! `cargo test --test lab -- --ignored --nocapture downtime`. All three go over the same held SSH connection, one SSH
//! command a step, in turn within each round, so that the load of the machine meets them alike.

use crate::http;
use crate::lab::Lab;
use crate::node::Node;
use crate::process::{run, wait_for};
use crate::{components, parts};
use color_eyre::eyre::{Result, ensure, eyre};
use serde_json::Value;
use sonoba::journal::{Step, Verdict};
use sonoba::plan::Check;
use sonoba::remote::TxEnd;
use sonoba::remote::script::{self, Request};
use std::io::Write;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Rounds; medians are of these.
const ROUNDS: usize = 10;

#[test]
#[ignore = "measures, for minutes; run it alone"]
fn downtime_beside_docker_restart_and_cke() -> Result<()> {
    if !parts::ready() {
        return Ok(());
    }
    let lab = Lab::start()?;
    // A follower: a leader's absence would measure an election.
    let follower = lab.nodes.iter().find(|n| n.master() && !leads(&lab, n)).ok_or_else(|| eyre!("no follower"))?;
    let mut slow = Vec::new();
    for (node, component) in [(lab.node("lab-w1"), "kubelet"), (follower, "etcd")] {
        let [restart, cke, ours] = measure(&lab, node, component)?;
        println!(
            "lab: {component}: median of {ROUNDS}: docker restart {} ms, CKE's sequence {} ms, sonoba's swap {} ms ({:.2} of restart, {:.2} of CKE's)",
            restart.as_millis(),
            cke.as_millis(),
            ours.as_millis(),
            ours.as_secs_f64() / restart.as_secs_f64(),
            ours.as_secs_f64() / cke.as_secs_f64(),
        );
        if ours > restart.mul_f64(1.1) || ours >= cke {
            slow.push(component);
        }
    }
    ensure!(slow.is_empty(), "a swap of {slow:?} takes more than 1.1 times a restart, or as long as CKE's sequence");
    lab.end()
}

fn leads(lab: &Lab, node: &Node) -> bool {
    let metrics: Result<Check, _> = "http://{address}:2381/metrics".parse();
    let Ok(metrics) = metrics else { return false };
    let answer = lab.runtime.block_on(http::check(&metrics, &node.address, Duration::from_secs(2)));
    answer.is_ok_and(|(_, body)| String::from_utf8_lossy(&body).contains("\netcd_server_is_leader 1"))
}

/// The medians: restart, CKE's sequence, ours.
fn measure(lab: &Lab, node: &Node, component: &'static str) -> Result<[Duration; 3]> {
    let held = Held::open(lab, node)?;
    held.exec(&Request::Install.command(), Some(script::SCRIPT))?;
    let images = if component == "etcd" { [&lab.old, &lab.new] } else { [&lab.old, &lab.patch] };
    for release in images {
        run(node.docker().args(["pull", "-q", components::image(component, release)]))?;
    }
    let masters: Vec<String> = lab.masters().map(|n| n.address.clone()).collect();
    let mut times = [const { Vec::new() }; 3];
    for round in 0..ROUNDS {
        // Away from the old image by CKE's sequence, back to it by a swap.
        let [from, to] = images;
        let create = |verb: &str, name: &str, release| {
            let mut words = components::run_args(component, node, &masters, release);
            // `run -d --name=X` becomes what is wanted.
            let verb: Vec<String> = verb.split(' ').map(Into::into).collect();
            words.splice(0..2, verb);
            words
                .iter_mut()
                .filter(|w| **w == format!("--name={component}"))
                .for_each(|w| *w = format!("--name={name}"));
            words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
        };
        times[0].push(gap(lab, node, component, || held.exec(&format!("docker restart {component}"), None).map(drop))?);
        times[1].push(gap(lab, node, component, || {
            held.exec(&format!("docker stop {component}"), None)?;
            held.exec(&format!("docker ps -a --filter name=^/{component}$ --format '{{{{.ID}}}}'"), None)?;
            held.exec(&format!("docker rm {component}"), None)?;
            held.exec(&format!("docker {}", create("run -d", component, to)), None).map(drop)
        })?);
        held.exec(&format!("docker {}", create("create", &format!("{component}.sonoba-next"), from)), None)?;
        let tx = format!("downtime.{component}.{round}").parse()?;
        let (containers, fence) = (vec![component.parse()?], crate::ports::fence()?);
        let begin = Request::Begin { tx, deadline_ms: 60_000, stop_timeout_s: 10, containers, fence: fence.clone() };
        times[2].push(gap(lab, node, component, || held.exec(&begin.command(), None).map(drop))?);
        let Request::Begin { tx, .. } = begin else { unreachable!("made three lines above") };
        let state =
            || script::read_state(&held.exec(&Request::State(tx.clone()).command(), None)?).map_err(|e| eyre!(e));
        wait_for("the node waits for a verdict", Duration::from_secs(30), || {
            let state = state()?;
            ensure!(state.steps.iter().any(|s| s.step == Step::Waiting), "{state:?}");
            Ok(())
        })?;
        held.exec(&Request::Verdict(tx.clone(), Verdict::Commit, fence).command(), None)?;
        wait_for("the swap ends", Duration::from_secs(30), || {
            let state = state()?;
            ensure!(state.end == Some(TxEnd::Committed), "{state:?}");
            Ok(())
        })?;
        held.exec(&Request::Forget(tx).command(), None)?;
    }
    for (name, times) in ["docker restart", "CKE's sequence", "sonoba's swap"].iter().zip(&times) {
        let list: Vec<u128> = times.iter().map(Duration::as_millis).collect();
        println!("lab: {component}: {name}: {list:?} ms");
    }
    Ok(times.map(median))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    let middle = times.len() / 2;
    (times[middle - 1] + times[middle]) / 2
}

/// From the last healthy answer before to the first after what `work` does, the component having been away in between.
fn gap(lab: &Lab, node: &Node, component: &str, work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    // All of the round before must be over.
    lab.wait_healthy(Duration::from_secs(30))?;
    let check: Check = components::health(component).parse().map_err(|why: String| eyre!(why))?;
    let (stop, address) = (Arc::new(AtomicBool::new(false)), node.address.clone());
    let stopped = stop.clone();
    let prober = lab.runtime.spawn(async move {
        let (mut longest, mut last, mut refused) = (Duration::ZERO, Instant::now(), 0);
        loop {
            let ending = stopped.load(Ordering::Relaxed);
            let answer = http::check(&check, &address, Duration::from_secs(1)).await;
            let healthy = matches!(&answer, Ok((200, body)) if !body.windows(5).any(|w| w == b"false"));
            // Not before its own probe saw the component back: another's may have been quicker.
            if healthy {
                longest = longest.max(last.elapsed());
                last = Instant::now();
                if ending {
                    return (longest, refused);
                }
            } else {
                refused += 1;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let id_and_start = || -> Result<(Value, Value)> {
        let now = node.inspect(component)?;
        ensure!(now["State"]["Running"] == true, "it does not run: {}", now["State"]);
        Ok((now["Id"].clone(), now["State"]["StartedAt"].clone()))
    };
    let before = id_and_start()?;
    work()?;
    wait_for("it is healthy again", Duration::from_secs(60), || {
        ensure!(id_and_start()? != before, "it was not started anew");
        let (status, _) = lab.health(node, component)?;
        ensure!(status == 200, "{status}");
        Ok(())
    })?;
    stop.store(true, Ordering::Relaxed);
    let (longest, refused) = lab.runtime.block_on(prober)?;
    ensure!(refused > 0, "{component} was started anew, and no probe saw it away");
    Ok(longest)
}

/// A word for the remote shell.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A held SSH connection.
struct Held<'a> {
    lab: &'a Lab,
    node: &'a Node,
    socket: std::path::PathBuf,
    master: Child,
}

impl Held<'_> {
    fn open<'a>(lab: &'a Lab, node: &'a Node) -> Result<Held<'a>> {
        let socket = lab.dir.join(format!("{}.ssh", node.name));
        let mut ssh = lab.ssh_with(node, &["-M", "-N", "-S", &socket.display().to_string()])?;
        let master = ssh.stdin(Stdio::null()).spawn()?;
        let held = Held { lab, node, socket, master };
        wait_for("the SSH connection is held", Duration::from_secs(10), || held.exec("true", None).map(drop))?;
        Ok(held)
    }

    fn exec(&self, command: &str, input: Option<&str>) -> Result<String> {
        ensure!(self.socket.exists(), "the connection is not there yet");
        let mut ssh = self.lab.ssh_with(self.node, &["-S", &self.socket.display().to_string()])?;
        let mut child = ssh.arg(command).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.unwrap_or_default().as_bytes())?;
        }
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let _ = self.master.kill();
        let _ = self.master.wait();
    }
}
