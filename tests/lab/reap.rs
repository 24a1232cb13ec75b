//! Takes a lab down, from its folder alone: its own at its end, or what a killed test left behind.
//!
//! Only processes, mounts and accounts that are provably the lab's are touched: one of the lab's programs whose command
//! line names the lab's folder, a process of the lab's own account, one whose control group names a container of the
//! lab's daemons; a mount below the folder.

use crate::process::{all, command, command_line, descendants, lives, run, signal, wait_for};
use color_eyre::eyre::{Result, WrapErr, bail, ensure};
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// Ends every process, undoes every mount, removes the account and the folder.
pub fn lab(dir: &Path, user: &str) -> Result<()> {
    let containers = containers(dir);
    // Containers first, while their daemons can still do it in order.
    for socket in sockets(dir) {
        let host = format!("unix://{}", socket.display());
        let docker = |args: &[&str]| run(command("timeout")?.args(["20", "docker", "-H", &host]).args(args));
        if let Ok(ids) = docker(&["ps", "-aq"])
            && !ids.is_empty()
        {
            let mut args = vec!["rm", "-f", "-v"];
            args.extend(ids.lines());
            // What it cannot remove is killed below.
            let _ = docker(&args);
        }
    }
    // containerd last: dockerd says goodbye to it.
    let containerd = |pid: &i32| command_line(*pid).contains("/containerd ");
    let (last, first): (Vec<i32>, Vec<i32>) = of(dir).into_iter().partition(containerd);
    end(&first)?;
    end(&last)?;
    // Shims and containers that outlived their daemons.
    end(&[of(dir), of_containers(&containers)].concat())?;
    unmount(dir)?;
    if run(command("id")?.args(["-u", user])).is_ok() {
        run(command("userdel")?.arg(user))?;
    }
    fs::remove_dir_all(dir).wrap_err_with(|| format!("removing {}", dir.display()))
}

/// What is left of a lab: processes and mounts, in words.
pub fn left(dir: &Path) -> Vec<String> {
    let processes = of(dir).into_iter().map(|pid| format!("process {pid}: {}", command_line(pid)));
    let mounts = mounts(dir).into_iter().map(|mount| format!("mount {mount}"));
    let folder = dir.exists().then(|| format!("folder {}", dir.display()));
    processes.chain(mounts).chain(folder).collect()
}

/// Programs of the lab: somebody who reads a log in the lab's folder is none.
const PROGRAMS: [&str; 7] =
    ["dockerd", "containerd", "containerd-shim-runc-v2", "docker-registry", "docker", "sonoba", "sshd:"];

/// The lab's processes. An sshd's sessions do not name the folder: they are its children, and then the account's.
fn of(dir: &Path) -> Vec<i32> {
    let prefix = format!("{}/", dir.display());
    let account = fs::metadata(dir.join("home")).map(|home| home.uid()).ok().filter(|uid| *uid != 0);
    let mut found: Vec<i32> = Vec::new();
    for pid in all() {
        let line = command_line(pid);
        let program = line.split(' ').next().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
        if PROGRAMS.contains(&program) && line.contains(&prefix) {
            if program == "sshd:" {
                found.extend(descendants(pid));
            }
            found.push(pid);
        } else if account.is_some() && account == fs::metadata(format!("/proc/{pid}")).map(|p| p.uid()).ok() {
            found.push(pid);
        }
    }
    found.retain(|pid| lives(*pid));
    found
}

fn sockets(dir: &Path) -> Vec<std::path::PathBuf> {
    nodes(dir).map(|node| node.join("docker.sock")).filter(|socket| socket.exists()).collect()
}

fn nodes(dir: &Path) -> impl Iterator<Item = std::path::PathBuf> {
    fs::read_dir(dir.join("nodes")).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// The full ids of the lab's containers.
fn containers(dir: &Path) -> Vec<String> {
    nodes(dir)
        .flat_map(|node| fs::read_dir(node.join("data/containers")).into_iter().flatten().flatten())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|id| id.len() == 64)
        .collect()
}

fn of_containers(ids: &[String]) -> Vec<i32> {
    let in_one = |pid: &i32| {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        ids.iter().any(|id| groups.contains(id.as_str()))
    };
    all().into_iter().filter(in_one).collect()
}

/// Asks processes to end; kills those that have not after a while.
fn end(pids: &[i32]) -> Result<()> {
    let gone = || {
        let alive: Vec<_> = pids.iter().filter(|pid| lives(**pid)).map(|pid| command_line(*pid)).collect();
        ensure!(alive.is_empty(), "these still run: {alive:?}");
        Ok(())
    };
    pids.iter().try_for_each(|pid| signal(*pid, Signal::TERM))?;
    if wait_for("processes end", Duration::from_secs(15), gone).is_ok() {
        return Ok(());
    }
    pids.iter().try_for_each(|pid| signal(*pid, Signal::KILL))?;
    wait_for("killed processes end", Duration::from_secs(10), gone)
}

fn mounts(dir: &Path) -> Vec<String> {
    let prefix = format!("{}/", dir.display());
    let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    table.lines().filter_map(|line| line.split(' ').nth(1)).filter(|m| m.starts_with(&prefix)).map(Into::into).collect()
}

fn unmount(dir: &Path) -> Result<()> {
    // One mount may lie on another, and a lazy one shows for a moment.
    for _ in 0..5 {
        let mut found = mounts(dir);
        if found.is_empty() {
            return Ok(());
        }
        found.sort();
        for mount in found.iter().rev() {
            let _ = run(command("umount")?.args(["-l", mount]));
        }
    }
    bail!("these mounts stay: {:?}", mounts(dir))
}
