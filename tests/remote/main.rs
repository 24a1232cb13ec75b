//! One node for real: OpenSSH's server and a Docker daemon on loopback. Needs root, `sshd`, `dockerd` and a static
//! busybox; a missing part is a failure with `SONOBA_LAB=require` and a visible skip otherwise.

mod host_certificates;
mod hostile;
mod security_keys;
mod ways_in;

use serde_json::Value;
use sonoba::fleet::{Component, ContainerName, FenceToken, Image};
use sonoba::inventory::{Jump, NodeEntry, SshProfile};
use sonoba::journal::Verdict;
use sonoba::plan::{Change, Check, Swap};
use sonoba::remote::{Fence, Fleet, NodeError, NodePort, SshFleet, TxEnd, TxState};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// A child that does not outlive the test.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let pid = self.0.id().to_string();
        // Asked first: dockerd has mounts and shims to put away.
        let _ = Command::new("kill").arg(&pid).status();
        let begun = Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) && begun.elapsed() < Duration::from_secs(15) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Node {
    // Dropped in this order: the daemons before their folder.
    containers: Vec<String>,
    _servers: Vec<Guard>,
    dockerd: Option<Guard>,
    /// Of the server that forwards sockets, and of the one that does not.
    ports: [u16; 2],
    dir: tempfile::TempDir,
}

impl Drop for Node {
    fn drop(&mut self) {
        for container in std::mem::take(&mut self.containers) {
            let _ = self.docker(&["rm", "-f", &container]).output();
        }
        if self.dockerd.take().is_some() {
            // The one mount that dockerd leaves behind; the folder could not be removed with it.
            let _ = Command::new("umount").arg(self.path("exec/netns/default")).output();
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn missing() -> Option<&'static str> {
    let root = fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
    if !root {
        return Some("root");
    }
    ["/usr/sbin/sshd", "/usr/sbin/dockerd", "/usr/bin/containerd", "/usr/bin/busybox"]
        .into_iter()
        .find(|path| !Path::new(path).exists())
}

fn run(command: &mut Command) -> String {
    let out = command.output().unwrap();
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

impl Node {
    fn start(with_docker: bool) -> Option<Node> {
        if let Some(part) = missing() {
            assert!(std::env::var("SONOBA_LAB").as_deref() != Ok("require"), "{part} is missing");
            eprintln!("SKIPPED: {part} is missing");
            return None;
        }
        let dir = tempfile::Builder::new().prefix("sonoba").tempdir().unwrap();
        let mut node =
            Node { dir, ports: [free_port(), free_port()], _servers: vec![], dockerd: None, containers: vec![] };
        for key in ["id", "host"] {
            run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(node.path(key)));
        }
        fs::create_dir_all("/run/sshd").unwrap();
        fs::create_dir(node.path("home")).unwrap();
        let host_key = fs::read_to_string(node.path("host.pub")).unwrap();
        let mut known = String::new();
        for (port, sockets) in node.ports.into_iter().zip(["yes", "no"]) {
            known += &format!("[127.0.0.1]:{port} {host_key}");
            let d = node.dir.path().display();
            let config = format!(
                "Port {port}\nListenAddress 127.0.0.1\nHostKey {d}/host\nPidFile none\nAuthorizedKeysFile {d}/id.pub\n\
                 StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
                 PermitRootLogin prohibit-password\nSetEnv DOCKER_HOST=unix://{d}/docker.sock HOME={d}/home\n\
                 AllowStreamLocalForwarding {sockets}\n"
            );
            let file = node.path(&format!("sshd{port}"));
            fs::write(&file, config).unwrap();
            let server =
                Command::new("/usr/sbin/sshd").args(["-D", "-e", "-f"]).arg(file).stderr(Stdio::null()).spawn();
            node._servers.push(Guard(server.unwrap()));
        }
        fs::write(node.path("known_hosts"), known).unwrap();
        for port in node.ports {
            wait("sshd", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        }
        if with_docker {
            let log = fs::File::create(node.path("dockerd.log")).unwrap();
            let dockerd = Command::new("/usr/sbin/dockerd")
                .args(["--bridge=none", "--iptables=false", "--ip6tables=false"])
                .arg(format!("--data-root={}", node.path("data").display()))
                .arg(format!("--exec-root={}", node.path("exec").display()))
                .arg(format!("--pidfile={}", node.path("docker.pid").display()))
                .arg(format!("--host=unix://{}", node.path("docker.sock").display()))
                .stdout(Stdio::null())
                .stderr(log)
                .spawn();
            node.dockerd = Some(Guard(dockerd.unwrap()));
            wait("dockerd", || node.docker(&["version"]).output().unwrap().status.success());
            node.images();
        }
        Some(node)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn docker(&self, args: &[&str]) -> Command {
        let mut docker = Command::new("docker");
        docker.args(args).env("DOCKER_HOST", format!("unix://{}", self.path("docker.sock").display()));
        docker
    }

    /// Two tags of a server that answers with its version.
    fn images(&self) {
        for version in ["1.0.0", "2.0.0"] {
            let root = self.path(&format!("image{version}"));
            fs::create_dir_all(root.join("www")).unwrap();
            fs::create_dir_all(root.join("tmp")).unwrap();
            fs::copy("/usr/bin/busybox", root.join("busybox")).unwrap();
            fs::write(root.join("www/version"), version).unwrap();
            let tar = root.with_extension("tar");
            run(Command::new("tar").arg("-cf").arg(&tar).arg("-C").arg(&root).arg("."));
            let name = format!("sonoba.test/web:{version}");
            let (label, env) = (format!("LABEL made={version}"), format!("ENV BUILT={version}"));
            let mut import = self.docker(&["import", "-c", "WORKDIR /tmp", "-c", &label, "-c", &env]);
            run(import.arg(tar).arg(name));
        }
    }

    fn inspect(&self, name: &str) -> Value {
        let text = run(&mut self.docker(&["inspect", name]));
        serde_json::from_str::<Value>(&text).unwrap()[0].clone()
    }

    fn profile(&self) -> SshProfile {
        SshProfile { identity: Some(self.path("id")), known_hosts: self.path("known_hosts"), ..profile() }
    }

    fn port(&self, profile: &SshProfile, port: u16) -> Result<Arc<dyn NodePort>, NodeError> {
        self::port(profile, port)
    }
}

fn profile() -> SshProfile {
    SshProfile {
        user: "root".into(),
        port: 22,
        identity: None,
        known_hosts: "/nowhere".into(),
        jump: None,
        connect_timeout: Duration::from_secs(20),
        max_handshakes: 4,
    }
}

fn entry(port: u16) -> NodeEntry {
    NodeEntry {
        name: "n1".parse().unwrap(),
        address: "127.0.0.1".into(),
        port,
        user: None,
        rack: None,
        role: None,
        labels: Default::default(),
        master: false,
    }
}

fn port(profile: &SshProfile, port: u16) -> Result<Arc<dyn NodePort>, NodeError> {
    let entry = entry(port);
    let fleet = SshFleet::new(profile, std::slice::from_ref(&entry))?;
    Ok(fleet.node(&entry.name).unwrap())
}

fn wait(what: &str, test: impl Fn() -> bool) {
    let begun = Instant::now();
    while !test() {
        assert!(begun.elapsed() < PATIENCE, "{what} never came");
        std::thread::sleep(Duration::from_millis(20));
    }
}

async fn until(node: &dyn NodePort, tx: &str, test: impl Fn(&TxState) -> bool) -> TxState {
    let begun = Instant::now();
    loop {
        let state = node.tx_state(&tx.parse().unwrap()).await.unwrap();
        if test(&state) {
            return state;
        }
        assert!(begun.elapsed() < PATIENCE, "{state:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn check(text: String) -> Check {
    text.parse().unwrap()
}

fn waits(state: &TxState) -> bool {
    state.steps.iter().any(|s| s.step == sonoba::journal::Step::Waiting)
}

#[tokio::test]
async fn a_connection_is_strict_and_goes_through_a_jump_host() {
    let Some(node) = Node::start(false) else { return };
    let profile = node.profile();
    let [first, second] = node.ports;
    let tcp = check(format!("tcp://127.0.0.1:{second}"));
    let port = node.port(&profile, first).unwrap();
    assert!(port.ask(&tcp).await.unwrap().ok());
    let nothing = check(format!("tcp://127.0.0.1:{}", free_port()));
    assert!(matches!(port.ask(&nothing).await, Err(NodeError::Failed(_))));
    port.reconnect().await;
    assert!(port.ask(&tcp).await.unwrap().ok());

    let jump = Jump { user: None, host: "127.0.0.1".into(), port: first };
    let through = node.port(&SshProfile { jump: Some(jump), ..node.profile() }, second).unwrap();
    assert!(through.ask(&tcp).await.unwrap().ok());

    // Unknown, then changed.
    fs::write(node.path("known_hosts"), "").unwrap();
    let error = node.port(&profile, first).unwrap().ask(&tcp).await.unwrap_err();
    assert!(matches!(&error, NodeError::Refused(why) if why.contains(&format!("ssh-keyscan -p {first}"))), "{error}");
    let other = fs::read_to_string(node.path("id.pub")).unwrap();
    fs::write(node.path("known_hosts"), format!("[127.0.0.1]:{first} {other}")).unwrap();
    let error = node.port(&profile, first).unwrap().ask(&tcp).await.unwrap_err();
    assert!(matches!(&error, NodeError::Refused(why) if why.contains("HAS CHANGED")), "{error}");

    // A key that is not let in.
    fs::copy(node.path("host"), node.path("id")).unwrap();
    let known = format!("[127.0.0.1]:{first} {}", fs::read_to_string(node.path("host.pub")).unwrap());
    fs::write(node.path("known_hosts"), known).unwrap();
    let error = node.port(&profile, first).unwrap().ask(&tcp).await.unwrap_err();
    assert!(matches!(&error, NodeError::Refused(why) if why.contains("not let in")), "{error}");
}

#[tokio::test]
async fn a_container_is_swapped_and_nothing_of_it_is_lost() {
    let Some(mut node) = Node::start(true) else { return };
    let web = free_port();
    let name: ContainerName = "web".parse().unwrap();
    node.containers = vec![name.to_string(), name.next(), name.prev()];
    let listen = format!("127.0.0.1:{web}");
    run(&mut node.docker(&[
        "run",
        "-d",
        "--name=web",
        "--network=host",
        "--uts=host",
        "--pid=host",
        "--cap-drop=NET_RAW",
        "--read-only",
        "--tmpfs=/tmp",
        "--restart=always",
        "--log-driver=json-file",
        "--log-opt=max-size=1m",
        "--ulimit=nofile=999:999",
        "--label=com.cybozu.cke={\"a\":\"b c\"}",
        "--env=MINE=x y",
        "-v",
        "/data",
        "-v",
        "named:/named",
        "sonoba.test/web:1.0.0",
        "/busybox",
        "httpd",
        "-f",
        "-p",
        &listen,
        "-h",
        "/www",
    ]));
    let old = node.inspect("web");
    let (one, two): (Image, Image) =
        ("sonoba.test/web:1.0.0".parse().unwrap(), "sonoba.test/web:2.0.0".parse().unwrap());
    let version = check(format!("http://127.0.0.1:{web}/version"));

    // Both ways to Docker: the socket, and docker's own client where the server forwards none.
    for port in node.ports {
        let port = node.port(&node.profile(), port).unwrap();
        let look = port.look(std::slice::from_ref(&name)).await.unwrap();
        assert_eq!((look.running.len(), look.leftovers.len()), (1, 0));
        let web = &look.running[0];
        assert_eq!((Some(web.id.as_str()), &web.image, web.running), (old["Id"].as_str(), &one, true));
        // A word that no table knows might be a secret.
        assert!(web.args[0] == "/busybox" && web.args[1].starts_with("(masked:"), "{:?}", web.args);
        assert_eq!(port.image_id(&"sonoba.test/web:3".parse().unwrap()).await.unwrap(), None);
        assert!(port.pull(&two, &|_| {}).await.unwrap().already);
    }
    let port = node.port(&node.profile(), node.ports[0]).unwrap();
    let nowhere = format!("127.0.0.1:{}/none:1", free_port()).parse().unwrap();
    let error = port.pull(&nowhere, &|_| {}).await.unwrap_err();
    assert!(matches!(&error, NodeError::Failed(why) if why.contains("pulling")), "{error}");

    let change = Change {
        component: Component::Rivers,
        container: name.clone(),
        from: one.clone(),
        from_id: old["Id"].as_str().unwrap().into(),
        to: two.clone(),
        args: Vec::new(),
    };
    let swap = |deadline_ms| Swap {
        id: "s1".parse().unwrap(),
        node: "n1".parse().unwrap(),
        changes: vec![change.clone()],
        deadline_ms,
        no_return: None,
    };
    assert_eq!(port.ask(&version).await.unwrap().body, b"1.0.0");

    // Without a verdict the node goes back by itself.
    port.prepare(&swap(0).changes).await.unwrap();
    port.prepare(&swap(0).changes).await.unwrap();
    port.begin(&"t1".parse().unwrap(), &swap(1500), 1, &fence()).await.unwrap();
    until(&*port, "t1", waits).await;
    let state = until(&*port, "t1", |s| s.end.is_some()).await;
    assert_eq!(state.end, Some(TxEnd::RolledBack));
    assert!(state.why.contains("deadline"), "{}", state.why);
    let back = node.inspect("web");
    assert_eq!((&back["Id"], &back["State"]["Running"]), (&old["Id"], &Value::Bool(true)));
    assert_eq!(back["HostConfig"], old["HostConfig"]);

    // With one it is new, and all else is as it was.
    port.prepare(&swap(0).changes).await.unwrap();
    port.begin(&"t2".parse().unwrap(), &swap(60_000), 1, &fence()).await.unwrap();
    until(&*port, "t2", waits).await;
    port.reconnect().await;
    wait_for(&*port, &version, b"2.0.0").await;
    assert_eq!(port.give_verdict(&"t2".parse().unwrap(), Verdict::Commit, &fence()).await.unwrap(), Verdict::Commit);
    let state = until(&*port, "t2", |s| s.end.is_some()).await;
    assert_eq!(state.end, Some(TxEnd::Committed));
    let new = node.inspect("web");
    let mut host = new["HostConfig"].clone();
    // The volume without a name is carried over by its name.
    let volume =
        old["Mounts"].as_array().unwrap().iter().find(|m| m["Destination"] == "/data").unwrap()["Name"].clone();
    let binds = host["Binds"].as_array_mut().unwrap();
    assert!(binds.contains(&Value::from(format!("{}:/data", volume.as_str().unwrap()))), "{binds:?}");
    binds.retain(|b| b == "named:/named");
    assert_eq!(host, old["HostConfig"]);
    let mut expected = old["Config"].clone();
    expected["Image"] = Value::from(two.as_str());
    expected["Labels"]["made"] = "2.0.0".into();
    let text = serde_json::to_string(&expected["Env"]).unwrap().replace("BUILT=1.0.0", "BUILT=2.0.0");
    expected["Env"] = serde_json::from_str(&text).unwrap();
    assert_eq!(new["Config"], expected);
    assert!(port.look(&[name]).await.unwrap().leftovers.is_empty());
    port.forget(&"t2".parse().unwrap()).await.unwrap();
    assert!(!port.tx_state(&"t2".parse().unwrap()).await.unwrap().found);
}

async fn wait_for(node: &dyn NodePort, check: &Check, body: &[u8]) {
    let begun = Instant::now();
    loop {
        let answer = node.ask(check).await;
        if answer.as_ref().is_ok_and(|a| a.ok() && a.body == body) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A right that does not run out.
fn fence() -> Fence {
    Fence { token: FenceToken::new(1), run: "run1".parse().unwrap(), until_ms: 99_999_999_999_999 }
}
