//! The simulated fleet's doors, knocked on by real clients.

mod client;
mod kubernetes;

use bollard::models::{ContainerCreateBody, ContainerUpdateBody, RestartPolicy, RestartPolicyNameEnum};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, ListContainersOptionsBuilder,
    RemoveContainerOptionsBuilder, RenameContainerOptionsBuilder, StopContainerOptionsBuilder,
};
use client::{Ran, Strict, WORKER, ask, docker, endpoint, exec, sim, until};
use futures::TryStreamExt;
use russh::client::Handle;
use sonoba::fleet::{Component, FenceToken};
use sonoba::inventory::Profile;
use sonoba::journal::{Step, Verdict};
use sonoba::remote::script::{Request, SCRIPT, read_state};
use sonoba::remote::{Fence, TxEnd, TxId, TxState};
use sonoba::sim::{Fault, FaultKind};
use std::os::unix::fs::PermissionsExt;

const NEW: &str = "ghcr.io/cybozu/kubernetes:1.36.2.1";

#[tokio::test]
async fn the_profile_is_one_that_production_reads() {
    let sim = sim(|s| s.speed = 20.0).await;
    let profile = Profile::load(&sim.handle.profile).unwrap();
    assert_eq!(profile.name.as_str(), "demo");
    assert_eq!(profile.releases.len(), 2);
    assert_eq!((profile.limits.canary, profile.limits.soak_ms), (3, 3_000));
    let entries = profile.entries().unwrap();
    let names: Vec<&str> = entries.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(names, ["rack0-m1", "rack1-m1", "rack0-m2", "rack0-cs1", "rack1-cs1"]);
    assert!(entries.iter().zip(&sim.handle.nodes).all(|(e, n)| e.address == n.ip().to_string() && e.port == n.port()));
    let mode = std::fs::metadata(sim.dir.path().join("id_ed25519")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn only_the_one_key_opens_a_node_and_its_shell_knows_few_words() {
    let sim = sim(|_| ()).await;
    let stranger = russh::keys::PrivateKey::random(&mut rand::rng(), russh::keys::Algorithm::Ed25519).unwrap();
    assert!(!sim.ssh_with(0, stranger).await.unwrap().1.success());
    for node in 0..sim.handle.nodes.len() {
        let ssh = sim.ssh(node).await;
        assert_eq!(exec(&ssh, "true", b"").await.status, 0);
    }
    let ssh = sim.ssh(WORKER).await;
    let Ran { status, out, err } = exec(&ssh, "exec sh -c 'printf \"sonoba:%s\" \"${DOCKER_HOST-}\"'", b"").await;
    assert_eq!((status, out.as_str(), err.as_str()), (0, "sonoba:", ""));
    let Ran { status, err, .. } = exec(&ssh, "rm -rf /", b"").await;
    assert_eq!(status, 127);
    assert!(err.contains("rm: not found"), "{err}");
}

#[tokio::test]
async fn one_node_is_a_jump_host_to_another() {
    let sim = sim(|_| ()).await;
    let ssh = sim.ssh(0).await;
    let there = sim.handle.nodes[WORKER];
    let channel =
        ssh.channel_open_direct_tcpip(there.ip().to_string(), u32::from(there.port()), "127.0.0.1", 0).await.unwrap();
    let mut banner = [0; 8];
    tokio::io::AsyncReadExt::read_exact(&mut channel.into_stream(), &mut banner).await.unwrap();
    assert_eq!(&banner, b"SSH-2.0-");
}

#[tokio::test]
async fn every_component_answers_for_its_health_and_version() {
    let sim = sim(|_| ()).await;
    let master = sim.ssh(0).await;
    for component in Component::ALL {
        let (port, path) = endpoint(component);
        if path.is_empty() {
            assert!(master.channel_open_direct_tcpip("127.0.0.1", u32::from(port), "127.0.0.1", 0).await.is_ok());
            continue;
        }
        let (status, body) = ask(&master, port, path).await.unwrap();
        assert_eq!(status, 200, "{component}: {body}");
    }
    assert!(ask(&master, 6443, "/version").await.unwrap().1.contains("\"gitVersion\":\"v1.35.6\""));
    let mut leaders = 0;
    for node in 0..3 {
        let (_, metrics) = ask(&*sim.ssh(node).await, 2381, "/metrics").await.unwrap();
        assert!(metrics.contains("etcd_server_version{server_version=\"3.6.8\"} 1"), "{metrics}");
        assert!(metrics.contains("etcd_server_has_leader 1"));
        leaders += usize::from(metrics.contains("etcd_server_is_leader 1"));
    }
    assert_eq!(leaders, 1);
    let worker = sim.ssh(WORKER).await;
    assert_eq!(ask(&worker, 6443, "/readyz").await, None, "no apiserver on a worker");
    assert_eq!(ask(&worker, 22, "/").await, None);
}

#[tokio::test]
async fn an_etcd_member_that_lags_or_has_no_space_says_so() {
    let all = |kind| Fault { node: "masters".into(), ..Fault::of(kind) };
    let sim = sim(|s| s.faults = vec![all(FaultKind::Lags), all(FaultKind::NoSpace)]).await;
    let master = sim.ssh(1).await;
    let (status, body) = ask(&master, 2381, "/health").await.unwrap();
    assert_eq!((status, body.as_str()), (503, r#"{"health":"false","reason":"ALARM NOSPACE"}"#));
    let (_, metrics) = ask(&master, 2381, "/metrics").await.unwrap();
    let number = |name: &str| -> f64 {
        let line = metrics.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')).unwrap();
        line.parse().unwrap()
    };
    let committed = number("etcd_server_proposals_committed_total");
    assert!(committed - number("etcd_server_proposals_applied_total") > 1_000.0, "{metrics}");
    assert_eq!(number("etcd_server_is_learner"), 0.0);
}

#[tokio::test]
async fn dial_stdio_is_a_way_to_docker_too() {
    let sim = sim(|_| ()).await;
    let ssh = sim.ssh(WORKER).await;
    let ran = exec(
        &ssh,
        "docker system dial-stdio",
        b"GET /v1.41/_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(ran.out.starts_with("HTTP/1.1 200 OK") && ran.out.ends_with("OK"), "{}", ran.out);
    assert!(ran.out.to_lowercase().contains("api-version:"));
}

fn is(error: bollard::errors::Error, status: u16, words: &str) {
    match error {
        bollard::errors::Error::DockerResponseServerError { status_code, message } => {
            assert_eq!(status_code, status, "{message}");
            assert!(message.contains(words), "{message}");
        }
        other => panic!("{other}"),
    }
}

async fn pull(docker: &bollard::Docker) -> Result<Vec<bollard::models::CreateImageInfo>, bollard::errors::Error> {
    let (name, tag) = NEW.rsplit_once(':').unwrap();
    let options = CreateImageOptionsBuilder::default().from_image(name).tag(tag).build();
    docker.create_image(Some(options), None, None).try_collect().await
}

/// Creates `NAME.sonoba-next` from the running container's whole configuration; returns its id.
async fn prepare(docker: &bollard::Docker, name: &str) -> String {
    let old = docker.inspect_container(name, None).await.unwrap();
    let mut config = serde_json::to_value(old.config.unwrap()).unwrap();
    config["HostConfig"] = serde_json::to_value(old.host_config.unwrap()).unwrap();
    config["Image"] = NEW.into();
    let body: ContainerCreateBody = serde_json::from_value(config).unwrap();
    let options = CreateContainerOptionsBuilder::default().name(&format!("{name}.sonoba-next")).build();
    docker.create_container(Some(options), body).await.unwrap().id
}

#[tokio::test]
async fn docker_creates_keeps_and_refuses_as_docker_does() {
    let sim = sim(|_| ()).await;
    let docker = docker(sim.ssh(WORKER).await);
    assert_eq!(docker.ping().await.unwrap(), "OK");
    assert!(docker.version().await.unwrap().api_version.is_some());

    let missing = docker.inspect_image(NEW).await.unwrap_err();
    is(missing, 404, "No such image");
    let progress = pull(&docker).await.unwrap();
    let layers: std::collections::BTreeSet<_> = progress
        .iter()
        .filter(|p| p.progress_detail.as_ref().is_some_and(|d| d.total.is_some()))
        .map(|p| p.id.clone())
        .collect();
    assert_eq!(layers.len(), 5, "{progress:?}");
    assert!(docker.inspect_image(NEW).await.unwrap().id.unwrap().starts_with("sha256:"));
    let again = pull(&docker).await.unwrap();
    assert!(again.last().unwrap().status.as_ref().unwrap().contains("up to date"));

    let old = docker.inspect_container("kubelet", None).await.unwrap();
    let host = old.host_config.clone().unwrap();
    assert_eq!((host.network_mode.as_deref(), host.pid_mode.as_deref()), (Some("host"), Some("host")));
    assert_eq!((host.privileged, host.readonly_rootfs), (Some(true), Some(true)));
    let id = prepare(&docker, "kubelet").await;
    let new = docker.inspect_container(&id, None).await.unwrap();
    assert_eq!(new.host_config, old.host_config);
    let (mut new_config, mut old_config) = (new.config.unwrap(), old.config.unwrap());
    assert_eq!((new_config.image.take().as_deref(), old_config.image.take().is_some()), (Some(NEW), true));
    assert_eq!(new_config, old_config);

    let taken = RenameContainerOptionsBuilder::default().name("rivers").build();
    is(docker.rename_container("kubelet", taken).await.unwrap_err(), 409, "already in use");
    is(docker.remove_container("kubelet", None).await.unwrap_err(), 409, "is running");
    is(docker.inspect_container("nobody", None).await.unwrap_err(), 404, "No such container");
    let policy = RestartPolicy { name: Some(RestartPolicyNameEnum::ALWAYS), maximum_retry_count: Some(0) };
    let update = ContainerUpdateBody { restart_policy: Some(policy.clone()), ..Default::default() };
    docker.update_container("kubelet", update).await.unwrap();
    assert_eq!(
        docker.inspect_container("kubelet", None).await.unwrap().host_config.unwrap().restart_policy,
        Some(policy)
    );

    let stop = StopContainerOptionsBuilder::default().t(10).build();
    docker.stop_container("kubelet", Some(stop.clone())).await.unwrap();
    docker.stop_container("kubelet", Some(stop)).await.unwrap();
    let filters = std::collections::HashMap::from([("name", vec!["^/kubelet$"])]);
    let listed = |all| ListContainersOptionsBuilder::default().all(all).filters(&filters).build();
    assert_eq!(docker.list_containers(Some(listed(false))).await.unwrap(), []);
    assert_eq!(docker.list_containers(Some(listed(true))).await.unwrap().len(), 1);
    docker.start_container("kubelet", None).await.unwrap();
    docker.start_container("kubelet", None).await.unwrap();
    let force = RemoveContainerOptionsBuilder::default().force(true).build();
    docker.remove_container("kubelet.sonoba-next", Some(force)).await.unwrap();
}

fn tx() -> TxId {
    "run1.node.s1.1".parse().unwrap()
}

fn fence() -> Fence {
    Fence { token: FenceToken::new(1), run: "run1".parse().unwrap(), until_ms: 99_999_999_999_999 }
}

async fn begin(ssh: &Handle<Strict>) {
    let begin = Request::Begin {
        tx: tx(),
        deadline_ms: 25_000,
        stop_timeout_s: 10,
        containers: vec!["kubelet".parse().unwrap()],
        fence: fence(),
    };
    assert_eq!(exec(ssh, &begin.command(), b"").await.status, 127, "the script is not there yet");
    assert_eq!(exec(ssh, &Request::Install.command(), SCRIPT.as_bytes()).await.status, 0);
    let ran = exec(ssh, &begin.command(), b"").await;
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
}

async fn state(ssh: &Handle<Strict>) -> TxState {
    read_state(&exec(ssh, &Request::State(tx()).command(), b"").await.out).unwrap()
}

#[tokio::test]
async fn a_swap_goes_from_old_to_new_over_real_ssh() {
    let sim = sim(|_| ()).await;
    let ssh = sim.ssh(WORKER).await;
    let docker = docker(ssh.clone());
    pull(&docker).await.unwrap();
    let new = prepare(&docker, "kubelet").await;
    begin(&ssh).await;
    // The transaction does not need the connection that began it.
    drop((ssh, docker));
    let ssh = sim.ssh(WORKER).await;
    until("the new kubelet is healthy", async || {
        state(&ssh).await.steps.iter().any(|s| s.step == Step::Waiting)
            && ask(&ssh, 10248, "/healthz").await.is_some_and(|a| a.0 == 200)
    })
    .await;
    let verdict = exec(&ssh, &Request::Verdict(tx(), Verdict::Commit, fence()).command(), b"").await;
    assert_eq!(verdict.out, "commit\n");
    until("it is committed", async || state(&ssh).await.end == Some(TxEnd::Committed)).await;
    let docker = client::docker(ssh.clone());
    assert_eq!(docker.inspect_container("kubelet", None).await.unwrap().id, Some(new));
    is(docker.inspect_container("kubelet.sonoba-prev", None).await.unwrap_err(), 404, "No such container");
    assert_eq!(exec(&ssh, &Request::Forget(tx()).command(), b"").await.status, 0);
}

#[tokio::test]
async fn a_kubelet_that_never_gets_well_is_taken_back_by_the_node_alone() {
    let fault =
        Fault { node: "workers".into(), component: Some(Component::Kubelet), ..Fault::of(FaultKind::NeverHealthy) };
    let sim = sim(|s| {
        s.faults = vec![fault];
        s.timings.patience_s = 1.0;
    })
    .await;
    let ssh = sim.ssh(WORKER).await;
    let docker = docker(ssh.clone());
    let old = docker.inspect_container("kubelet", None).await.unwrap().id;
    pull(&docker).await.unwrap();
    prepare(&docker, "kubelet").await;
    begin(&ssh).await;
    until("it says that it is sick", async || ask(&ssh, 10248, "/healthz").await.is_some_and(|a| a.0 == 500)).await;
    until("the node has rolled back", async || state(&ssh).await.end == Some(TxEnd::RolledBack)).await;
    assert!(state(&ssh).await.why.contains("deadline"));
    assert_eq!(docker.inspect_container("kubelet", None).await.unwrap().id, old);
    until("the old one is healthy", async || ask(&ssh, 10248, "/healthz").await.is_some_and(|a| a.0 == 200)).await;
    let ready = sim.handle.with_world(|w, _| w.node_status(WORKER).since < 0);
    assert!(ready, "the node was Ready all the time");
}

#[tokio::test]
async fn faults_of_the_network_and_of_the_registry_strike_where_they_are_told() {
    let fault = |kind, node: &str, from_s, for_s| Fault { node: node.into(), from_s, for_s, ..Fault::of(kind) };
    let sim = sim(|s| {
        s.faults = vec![
            fault(FaultKind::Unreachable, "rack1-cs1", 60.0, Some(60.0)),
            fault(FaultKind::PullFails, "rack0-cs1", 0.0, None),
        ];
    })
    .await;
    let error = pull(&docker(sim.ssh(WORKER).await)).await.unwrap_err();
    assert!(error.to_string().contains("503"), "{error}");
    let ssh = sim.ssh(WORKER + 1).await;
    until("the connection is cut", async || ssh.is_closed()).await;
    assert!(sim.ssh_with(WORKER + 1, sim.key()).await.is_err());
    until("the node is back", async || sim.ssh_with(WORKER + 1, sim.key()).await.is_ok()).await;
}

#[tokio::test]
async fn a_snapshot_of_etcd_is_saved_by_the_client_that_production_runs() {
    use sonoba::remote::{Fleet, NodeError, SshFleet};
    let sim = sim(|_| ()).await;
    let profile = Profile::load(&sim.handle.profile).unwrap();
    let entries = profile.entries().unwrap();
    let fleet = SshFleet::new(&profile.ssh, &entries).unwrap();
    let run = async |node: usize, container: &str, argv: &[&str]| {
        let argv: Vec<String> = argv.iter().map(|a| (*a).to_owned()).collect();
        fleet.node(&entries[node].name).unwrap().exec(&container.parse().unwrap(), &argv).await
    };
    let path = "/var/lib/etcd/sonoba-1.db";
    let check = ["etcdutl", "snapshot", "status", path, "--write-out=json"];
    let missing = run(0, "etcd", &check).await.unwrap();
    assert_eq!((missing.code, missing.out.as_str()), (1, ""));
    assert!(missing.err.contains("no such file"), "{missing:?}");
    let saved = run(0, "etcd", &["etcdctl", "--endpoints=https://127.0.0.1:2379", "snapshot", "save", path]).await;
    assert_eq!(saved.unwrap().code, 0);
    let told = run(0, "etcd", &check).await.unwrap();
    let status: serde_json::Value = serde_json::from_str(&told.out).unwrap();
    assert!(told.code == 0 && status["totalKey"].as_u64() > Some(0), "{told:?}");
    assert_eq!(run(1, "etcd", &check).await.unwrap().code, 1, "another member's volume is another");
    assert_eq!(run(0, "kubelet", &["etcdctl", "snapshot", "save", path]).await.unwrap().code, 127);
    assert!(
        matches!(run(WORKER, "etcd", &check).await, Err(NodeError::Failed(why)) if why.contains("No such container"))
    );
}
