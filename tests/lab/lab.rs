//! A whole lab: three masters and two workers on this machine, and its end.

use crate::components;
use crate::http;
use crate::images::{self, Release};
use crate::node::{Kind, Node, SSH_PORT, Shared};
use crate::process::{command, daemon, run, wait_for};
use crate::{reap, registry};
use color_eyre::eyre::{Result, WrapErr, ensure, eyre};
use sonoba::plan::Check;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// The masters' names.
pub const MASTERS: [&str; 3] = ["lab-m1", "lab-m2", "lab-m3"];

/// Labs of one test binary come one after the other: each has 30 containers, on what may be two cores.
static TURN: Mutex<()> = Mutex::new(());

/// Grounds that labs of this process have asked for.
static GROUNDS: AtomicU32 = AtomicU32::new(0);

/// A running lab. Dropping it ends every process, undoes every mount and removes the folder and the account.
pub struct Lab {
    /// Its folder.
    pub dir: PathBuf,
    /// Its nodes, masters first.
    pub nodes: Vec<Node>,
    /// What the nodes ran at first.
    pub old: Release,
    /// What they can be upgraded to.
    pub new: Release,
    /// What a node alone can be upgraded to.
    pub patch: Release,
    /// The account to log in with.
    pub user: String,
    /// Runs what the test itself serves and asks.
    pub runtime: Runtime,
    daemons: Vec<Child>,
    registry: Option<Child>,
    registry_at: String,
    // Held while the lab lives, so that nobody takes it for a stale one.
    _owner: File,
    _turn: MutexGuard<'static, ()>,
}

impl Lab {
    /// Sets a lab up with everything on the old release and healthy.
    pub fn start() -> Result<Lab> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let (ground, owner) = Ground::claim()?;
        let registry = format!("{}.250:5000", ground.net);
        let mut lab = Lab {
            old: Release::old(&registry),
            new: Release::new_one(&registry),
            patch: Release::patch(&registry),
            dir: ground.dir,
            nodes: Vec::new(),
            user: ground.user,
            runtime,
            daemons: Vec::new(),
            registry: None,
            registry_at: registry.clone(),
            _owner: owner,
            _turn: turn,
        };
        // From here on an error drops, and so takes down, what was set up.
        lab.set_up(&ground.net).wrap_err("setting the lab up")?;
        Ok(lab)
    }

    fn set_up(&mut self, net: &str) -> Result<()> {
        let begun = Instant::now();
        let done = |what: &str| println!("lab: {what} after {:.1} s", begun.elapsed().as_secs_f32());
        run(command("ssh-keygen")?.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(self.dir.join("id")))?;
        self.start_registry()?;
        let containerd = self.start_containerd()?;
        let shared = Shared { dir: &self.dir, user: &self.user, containerd: &containerd };
        let layout = [
            ("lab-m1", "rack0", Kind::Master),
            ("lab-m2", "rack1", Kind::Master),
            ("lab-m3", "rack2", Kind::Master),
            ("lab-w1", "rack0", Kind::Worker("cs")),
            ("lab-w2", "rack1", Kind::Worker("ss")),
        ];
        for (i, (name, rack, kind)) in layout.into_iter().enumerate() {
            self.nodes.push(Node::new(&shared, name, rack, kind, format!("{net}.{}", i + 1))?);
        }
        let known: String = self.nodes.iter().map(Node::known_host).collect::<Result<_>>()?;
        fs::write(self.dir.join("known_hosts"), known)?;
        together(self.nodes.iter_mut(), |node| node.start(&shared))?;
        done("daemons answer");
        let builder = self.nodes.first().ok_or_else(|| eyre!("a lab without nodes"))?;
        for release in [&self.old, &self.new] {
            images::publish(&self.dir, builder, release)?;
        }
        images::publish_kubernetes(&self.dir, builder, &self.patch)?;
        done("images are published");
        let masters: Vec<String> = self.masters().map(|node| node.address.clone()).collect();
        together(self.nodes.iter(), |node| components::run_all(node, &masters, &self.old))?;
        done("containers run");
        self.wait_healthy(Duration::from_secs(60))?;
        done("all is healthy");
        Ok(())
    }

    /// Starts the registry that nodes pull from.
    pub fn start_registry(&mut self) -> Result<()> {
        self.registry = Some(registry::start(&self.dir, &self.registry_at)?);
        Ok(())
    }

    /// Ends it: nobody listens there any more.
    pub fn stop_registry(&mut self) -> Result<()> {
        if let Some(mut registry) = self.registry.take() {
            registry.kill()?;
            registry.wait()?;
        }
        Ok(())
    }

    fn start_containerd(&mut self) -> Result<PathBuf> {
        let at = |file: &str| self.dir.join(file);
        let socket = at("containerd.sock");
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = {socket:?}\n[ttrpc]\naddress = {:?}\n",
            at("containerd"),
            at("containerd-state"),
            at("containerd.ttrpc"),
        );
        fs::write(at("containerd.toml"), config)?;
        let child = daemon(command("containerd")?.arg("--config").arg(at("containerd.toml")), &at("containerd.log"))?;
        self.daemons.push(child);
        wait_for("containerd listens", Duration::from_secs(30), || {
            Ok(std::os::unix::net::UnixStream::connect(&socket).map(drop)?)
        })?;
        Ok(socket)
    }

    /// Takes down the labs that killed tests left behind.
    pub fn sweep() -> Result<()> {
        let (all, _gate) = Ground::gate()?;
        Ground::sweep(&all)
    }

    /// The masters.
    pub fn masters(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.master())
    }

    /// Where etcd's members take clients.
    pub fn etcd_members(&self) -> Vec<String> {
        self.masters().map(|node| format!("{}:2379", node.address)).collect()
    }

    /// A node by name.
    ///
    /// # Panics
    /// When there is none: a mistake in the test.
    pub fn node(&self, name: &str) -> &Node {
        self.nodes.iter().find(|node| node.name == name).expect("a node of the lab")
    }

    /// Status and body of a component's health endpoint.
    pub fn health(&self, node: &Node, component: &str) -> Result<(u16, bytes::Bytes)> {
        let check: Check = components::health(component).parse().map_err(|why: String| eyre!(why))?;
        self.runtime.block_on(http::check(&check, &node.address, Duration::from_secs(2)))
    }

    /// Waits until every component of every node says that it is healthy.
    pub fn wait_healthy(&self, limit: Duration) -> Result<()> {
        for node in &self.nodes {
            for component in components::names(node.kind) {
                wait_for(&format!("{component} on {} is healthy", node.name), limit, || {
                    let (status, body) = self.health(node, component)?;
                    ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(&body));
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    /// OpenSSH's own client, to a node.
    pub fn ssh(&self, node: &Node) -> Result<std::process::Command> {
        self.ssh_with(node, &[])
    }

    /// The same with more options.
    pub fn ssh_with(&self, node: &Node, options: &[&str]) -> Result<std::process::Command> {
        let mut ssh = command("ssh")?;
        ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes"])
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", self.dir.join("known_hosts").display()))
            .arg("-i")
            .arg(self.dir.join("id"))
            .args(options)
            .args(["-p", &SSH_PORT.to_string(), &format!("{}@{}", self.user, node.address)]);
        Ok(ssh)
    }

    /// Takes the lab down; says what went wrong, which dropping it cannot.
    pub fn end(mut self) -> Result<()> {
        self.tear_down()
    }

    fn tear_down(&mut self) -> Result<()> {
        if !self.dir.exists() {
            return Ok(());
        }
        // Ended children count as gone only once they are collected.
        let daemons: Vec<Child> = self
            .daemons
            .drain(..)
            .chain(self.registry.take())
            .chain(self.nodes.iter_mut().flat_map(Node::daemons))
            .collect();
        let collectors: Vec<_> =
            daemons.into_iter().map(|mut child| std::thread::spawn(move || child.wait())).collect();
        let reaped = reap::lab(&self.dir, &self.user);
        if reaped.is_ok() {
            for collector in collectors {
                let _ = collector.join();
            }
        }
        reaped
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = self.tear_down() {
            eprintln!("the lab in {} could not be taken down: {error:#}", self.dir.display());
        }
    }
}

/// Does the same for all at once; the first error.
fn together<T: Send>(items: impl Iterator<Item = T>, work: impl Fn(T) -> Result<()> + Sync) -> Result<()> {
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = items.map(|item| scope.spawn(move || work(item))).collect();
        threads.into_iter().try_for_each(|t| t.join().map_err(|_| eyre!("a thread of the lab panicked"))?)
    })
}

/// What a lab stands on: a folder, a loopback network and an account that nobody else has.
struct Ground {
    dir: PathBuf,
    net: String,
    user: String,
}

impl Ground {
    /// The folder of all labs, and the right to add or remove one while the file is held.
    fn gate() -> Result<(PathBuf, File)> {
        // Short: a socket's path may have 107 characters.
        let all = std::env::temp_dir().join("sonoba-lab");
        fs::create_dir_all(&all)?;
        let gate = File::create(all.join("gate"))?;
        gate.lock()?;
        Ok((all, gate))
    }

    fn sweep(all: &Path) -> Result<()> {
        for entry in fs::read_dir(all)?.flatten() {
            let dir = entry.path();
            if dir.is_dir() && !owned(&dir) {
                let user = account(&entry.file_name().to_string_lossy());
                reap::lab(&dir, &user).wrap_err_with(|| format!("taking the stale lab {} down", dir.display()))?;
            }
        }
        Ok(())
    }

    /// Takes down what killed tests left behind, then claims free ground. The file is the lock on it.
    fn claim() -> Result<(Ground, File)> {
        let (all, _gate) = Ground::gate()?;
        Ground::sweep(&all)?;
        for _ in 0..200 {
            // Each lab of a process on new ground, so that what one left behind is not taken for the next one's.
            let turn = GROUNDS.fetch_add(1, Ordering::Relaxed);
            let place = (std::process::id().wrapping_mul(31).wrapping_add(turn * 7)) % (120 * 256);
            let net = format!("127.{}.{}", 130 + place / 256, place % 256);
            let dir = all.join(net.trim_start_matches("127."));
            let free = (1..=5).all(|i| TcpListener::bind((format!("{net}.{i}"), SSH_PORT)).is_ok());
            if !free || dir.exists() {
                continue;
            }
            let user = account(net.trim_start_matches("127."));
            fs::create_dir_all(&dir)?;
            let owner = File::create(dir.join("owner"))?;
            owner.lock()?;
            let mut useradd = command("useradd")?;
            // `*` is a password that nothing matches; without one the account would be locked for sshd too.
            useradd.args(["-M", "-U", "-s", "/bin/dash", "-p", "*", "-d"]).arg(&dir).arg(&user);
            run(&mut useradd)?;
            fs::create_dir(dir.join("home"))?;
            run(command("chown")?.arg(format!("{user}:{user}")).arg(dir.join("home")))?;
            return Ok((Ground { dir, net, user }, owner));
        }
        Err(eyre!("found no free loopback network for a lab"))
    }
}

/// The account of the lab in a folder of that name.
fn account(folder: &str) -> String {
    format!("sonoba-lab-{}", folder.replace('.', "-"))
}

/// Whether a living test holds the lab.
fn owned(dir: &Path) -> bool {
    File::open(dir.join("owner")).is_ok_and(|owner| owner.try_lock().is_err())
}
