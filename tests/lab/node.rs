//! One machine: a Docker daemon and an SSH server of its own.

use crate::process::{command, command_line, daemon, descendants, run, signal, wait_for};
use color_eyre::eyre::{Result, WrapErr, bail, eyre};
use rustix::process::Signal;
use std::ffi::OsString;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

/// SSH's port on every node; each has an address of its own.
pub const SSH_PORT: u16 = 2222;

/// What kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Carries the control plane.
    Master,
    /// Carries pods, with a role.
    Worker(&'static str),
}

/// A machine of the lab.
#[derive(Debug)]
pub struct Node {
    /// Its name in Kubernetes.
    pub name: &'static str,
    /// Its rack.
    pub rack: &'static str,
    /// What kind.
    pub kind: Kind,
    /// Its loopback address.
    pub address: String,
    /// Its folder.
    pub dir: PathBuf,
    /// The Docker daemon, and the SSH server.
    daemons: Vec<Child>,
    /// How the Docker daemon is started.
    dockerd: Vec<OsString>,
}

/// SSH servers that stand still; they go on when it is dropped.
pub struct Frozen(Vec<i32>);

impl Drop for Frozen {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = signal(*pid, Signal::CONT);
        }
    }
}

/// What all nodes of a lab share.
pub struct Shared<'a> {
    /// The lab's folder.
    pub dir: &'a Path,
    /// The account that operators log in with: no root, but allowed to talk to Docker.
    pub user: &'a str,
    /// The shared containerd's socket.
    pub containerd: &'a Path,
}

impl Node {
    /// Lays a node out: its folders and its host key. Starts nothing.
    pub fn new(shared: &Shared, name: &'static str, rack: &'static str, kind: Kind, address: String) -> Result<Node> {
        let dir = shared.dir.join("nodes").join(name);
        for place in ["home", "faults", "etc-kubernetes"] {
            fs::create_dir_all(dir.join(place))?;
        }
        run(command("chown")?.arg(format!("{0}:{0}", shared.user)).arg(dir.join("home")))?;
        run(command("ssh-keygen")?.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(dir.join("hostkey")))?;
        Ok(Node { name, rack, kind, address, dir, daemons: Vec::new(), dockerd: Vec::new() })
    }

    /// Whether it carries the control plane.
    pub fn master(&self) -> bool {
        self.kind == Kind::Master
    }

    /// Its line for a known_hosts file.
    pub fn known_host(&self) -> Result<String> {
        let key = fs::read_to_string(self.dir.join("hostkey.pub"))?;
        let key: Vec<&str> = key.split_whitespace().take(2).collect();
        Ok(format!("[{}]:{SSH_PORT} {}\n", self.address, key.join(" ")))
    }

    /// Docker's command line on this node.
    pub fn docker(&self) -> Command {
        // A daemon that hangs must fail the test, not hold it up for good.
        let mut docker = Command::new("timeout");
        docker.args(["120", "docker", "-H", &self.docker_host()]);
        docker
    }

    /// `DOCKER_HOST` on this node.
    fn docker_host(&self) -> String {
        format!("unix://{}", self.dir.join("docker.sock").display())
    }

    /// Starts the Docker daemon and the SSH server, and waits until both answer.
    pub fn start(&mut self, shared: &Shared) -> Result<()> {
        self.start_docker(shared)?;
        self.start_sshd(shared)?;
        self.wait_for_docker()?;
        let place = (self.address.as_str(), SSH_PORT);
        wait_for("sshd listens", Duration::from_secs(20), || Ok(TcpStream::connect(place).map(drop)?))
            .wrap_err_with(|| self.log("sshd.log"))
    }

    fn start_docker(&mut self, shared: &Shared) -> Result<()> {
        let at = |file: &str| self.dir.join(file);
        let mut dockerd = command("dockerd")?;
        dockerd
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"])
            .args(["--userland-proxy=false", "--group", shared.user, "--host", &self.docker_host()])
            .arg("--data-root")
            .arg(at("data"))
            .arg("--exec-root")
            .arg(at("exec"))
            .arg("--pidfile")
            .arg(at("docker.pid"))
            .arg("--containerd")
            .arg(shared.containerd)
            .args(["--containerd-namespace", self.name])
            .args(["--containerd-plugins-namespace", &format!("{}-plugins", self.name)]);
        let child = daemon(&mut dockerd, &at("dockerd.log"))?;
        self.daemons.push(child);
        self.dockerd = dockerd.get_args().map(Into::into).collect();
        Ok(())
    }

    fn wait_for_docker(&self) -> Result<()> {
        wait_for("dockerd answers", Duration::from_secs(60), || run(self.docker().arg("version")).map(drop))
            .wrap_err_with(|| self.log("dockerd.log"))
    }

    /// Restarts the Docker daemon as an update of it would: its containers end with it, and those with a restart policy come
    /// back with it.
    pub fn restart_docker(&mut self) -> Result<()> {
        let dockerd = self.daemons.first_mut().ok_or_else(|| eyre!("{} has no dockerd", self.name))?;
        signal(i32::try_from(dockerd.id())?, Signal::TERM)?;
        dockerd.wait()?;
        *dockerd = daemon(command("dockerd")?.args(&self.dockerd), &self.dir.join("dockerd-2.log"))?;
        self.wait_for_docker()
    }

    /// The steps of the one transaction that it has, as its swap script wrote them, and how it ended.
    pub fn transaction(&self) -> Result<(String, Option<String>)> {
        let all: Vec<_> = fs::read_dir(self.dir.join("home/.sonoba/tx"))?.flatten().map(|entry| entry.path()).collect();
        let [tx] = all.as_slice() else { bail!("{} has {} transactions", self.name, all.len()) };
        Ok((fs::read_to_string(tx.join("steps"))?, fs::read_to_string(tx.join("end")).ok()))
    }

    /// Stops the SSH server and all its sessions with SIGSTOP: nothing answers, and no connection ends.
    pub fn freeze_ssh(&self) -> Result<Frozen> {
        let pid: i32 = fs::read_to_string(self.dir.join("sshd.pid"))?.trim().parse()?;
        let mut all = vec![pid];
        all.extend(descendants(pid).into_iter().filter(|p| command_line(*p).starts_with("sshd: ")));
        let frozen = Frozen(all);
        frozen.0.iter().try_for_each(|p| signal(*p, Signal::STOP))?;
        Ok(frozen)
    }

    fn start_sshd(&mut self, shared: &Shared) -> Result<()> {
        let at = |file: &str| self.dir.join(file);
        let config = format!(
            "Port {SSH_PORT}\nListenAddress {}\nHostKey {}\nPidFile {}\nAuthorizedKeysFile {}\nAllowUsers {}\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nUseDNS no\n\
             PrintMotd no\nMaxSessions 100\nMaxStartups 100:30:200\nAllowStreamLocalForwarding yes\n\
             SetEnv DOCKER_HOST={} HOME={}\n",
            self.address,
            at("hostkey").display(),
            at("sshd.pid").display(),
            shared.dir.join("id.pub").display(),
            shared.user,
            self.docker_host(),
            at("home").display(),
        );
        fs::write(at("sshd_config"), config)?;
        // OpenSSH's own folder for the unprivileged half of a session; Debian makes it when the service starts.
        fs::create_dir_all("/run/sshd")?;
        let mut sshd = command("sshd")?;
        sshd.arg("-D").arg("-e").arg("-f").arg(at("sshd_config"));
        let child = daemon(&mut sshd, &at("sshd.log"))?;
        self.daemons.push(child);
        Ok(())
    }

    /// Makes a component of that version start and never be healthy on this node; see `examples/standin`.
    pub fn never_healthy(&self, component: &str, version: &str) -> Result<()> {
        Ok(fs::write(self.dir.join("faults/never-healthy"), format!("{component} v{version}\n"))?)
    }

    /// Takes the fault away again.
    pub fn mend(&self) -> Result<()> {
        Ok(fs::remove_file(self.dir.join("faults/never-healthy"))?)
    }

    /// Ends every SSH session of the node at once, as a broken network would; the server itself stays.
    pub fn cut_ssh(&self) -> Result<usize> {
        let pid: i32 = fs::read_to_string(self.dir.join("sshd.pid"))?.trim().parse()?;
        let sessions: Vec<i32> =
            descendants(pid).into_iter().filter(|p| command_line(*p).starts_with("sshd: ")).collect();
        sessions.iter().try_for_each(|p| signal(*p, Signal::KILL))?;
        Ok(sessions.len())
    }

    /// What `docker inspect` says of a container.
    pub fn inspect(&self, container: &str) -> Result<serde_json::Value> {
        let text = run(self.docker().args(["inspect", "--type", "container", container]))?;
        let mut list: Vec<serde_json::Value> = serde_json::from_str(&text)?;
        list.pop().ok_or_else(|| eyre!("{}: docker inspect says nothing of {container}", self.name))
    }

    /// The names of its containers, the stopped ones too.
    pub fn containers(&self) -> Result<Vec<String>> {
        let text = run(self.docker().args(["ps", "-a", "--format", "{{.Names}}"]))?;
        let mut names: Vec<String> = text.lines().map(Into::into).collect();
        names.sort();
        Ok(names)
    }

    /// Hands its daemons over, to be collected once they have ended.
    pub fn daemons(&mut self) -> Vec<Child> {
        std::mem::take(&mut self.daemons)
    }

    fn log(&self, file: &str) -> String {
        let text = fs::read_to_string(self.dir.join(file)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        format!("{}'s {file} ends:\n{}", self.name, lines[lines.len().saturating_sub(12)..].join("\n"))
    }
}
