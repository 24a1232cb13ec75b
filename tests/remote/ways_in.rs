//! How we get in, and what we ask once there: the agent's keys, a key file's permissions, TLS.

use super::{Guard, Node, check, run, wait};
use sonoba::fleet::ContainerName;
use sonoba::inventory::SshProfile;
use sonoba::remote::{Fleet, NodeError, SshFleet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// What the second process is to expect of its login.
const EXPECT: &str = "SONOBA_TEST_EXPECT";
/// Where its node is: the known hosts, and the port.
const AT: &str = "SONOBA_TEST_AT";

/// The agent is found by the environment, which a process has only one of: each login is a process of its own.
pub(super) fn log_in(node: &Node, agent: Option<&str>, expect: &str) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "ways_in::logs_in_as_it_is_told", "--ignored", "--nocapture"]);
    command.env(EXPECT, expect).env(AT, format!("{}:{}", node.path("known_hosts").display(), node.ports[0]));
    match agent {
        Some(socket) => command.env("SSH_AUTH_SOCK", socket),
        None => command.env_remove("SSH_AUTH_SOCK"),
    };
    let out = run(&mut command);
    assert!(out.contains("1 passed"), "{out}");
}

#[tokio::test]
#[ignore = "the second process of the_agents_keys_are_tried_in_turn"]
async fn logs_in_as_it_is_told() {
    let (Ok(expect), Ok(at)) = (std::env::var(EXPECT), std::env::var(AT)) else {
        eprintln!("SKIPPED: it is no test of its own");
        return;
    };
    let (known_hosts, port) = at.rsplit_once(':').unwrap();
    let profile = SshProfile { identity: None, known_hosts: known_hosts.into(), ..super::profile() };
    let port: u16 = port.parse().unwrap();
    let node = super::port(&profile, port).unwrap();
    let result = node.ask(&check(format!("tcp://127.0.0.1:{port}"))).await;
    match expect.as_str() {
        "" => assert!(result.unwrap().ok()),
        words => assert!(matches!(&result, Err(NodeError::Refused(why)) if why.contains(words)), "{result:?}"),
    }
}

#[test]
fn the_agents_keys_are_tried_in_turn() {
    let Some(node) = Node::start(false) else { return };
    log_in(&node, None, "eval $(ssh-agent); ssh-add");
    let socket = node.path("agent").display().to_string();
    let agent = Command::new("ssh-agent").args(["-D", "-a", &socket]).stdout(Stdio::null()).spawn().unwrap();
    let _agent = Guard(agent);
    wait("ssh-agent", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
    log_in(&node, Some(&socket), "the agent has none (ssh-add)");
    let add = |key: &str| run(Command::new("ssh-add").arg(node.path(key)).env("SSH_AUTH_SOCK", &socket));
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(node.path("other")));
    add("other");
    log_in(&node, Some(&socket), "user root is not let in; tried ssh-ed25519 SHA256:");
    add("id");
    log_in(&node, Some(&socket), "");
}

#[tokio::test]
async fn a_key_that_others_can_read_is_refused_until_it_is_mended_as_told() {
    let Some(node) = Node::start(false) else { return };
    let key = node.path("id");
    fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    let Err(error) = node.port(&node.profile(), node.ports[0]) else { panic!("a key that all can read was taken") };
    let NodeError::Refused(why) = &error else { panic!("{error:?}") };
    let (_, mending) = why.split_once("fix that with: ").unwrap();
    run(Command::new("sh").args(["-c", mending]));
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let port = node.port(&node.profile(), node.ports[0]).unwrap();
    assert!(port.ask(&check(format!("tcp://127.0.0.1:{}", node.ports[1]))).await.unwrap().ok());
}

/// A server as a component has it: a certificate that it signed itself, one request a connection. The first bytes of a
/// request choose the status.
async fn server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let made = rcgen::generate_simple_self_signed(["component".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let tls = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = tls.accept(stream).await else { return };
                let mut asked = Vec::new();
                while !asked.ends_with(b"\r\n\r\n") {
                    asked.push(stream.read_u8().await.unwrap());
                }
                let (status, body) = match asked.starts_with(b"GET /readyz HTTP/1.1\r\n") {
                    true => ("200 OK", "ok"),
                    false => ("503 Service Unavailable", "not yet"),
                };
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
                let _ = stream.shutdown().await;
            });
        }
    });
    port
}

#[tokio::test]
async fn a_component_with_a_certificate_of_its_own_is_asked_over_tls() {
    let Some(node) = Node::start(false) else { return };
    let web = server().await;
    let port = node.port(&node.profile(), node.ports[0]).unwrap();
    let ask = async |text: String| port.ask(&check(text)).await;
    let answer = ask(format!("https://127.0.0.1:{web}/readyz")).await.unwrap();
    assert_eq!((answer.status, answer.body.as_slice(), answer.ok()), (200, &b"ok"[..], true));
    let answer = ask(format!("https://127.0.0.1:{web}/livez")).await.unwrap();
    assert_eq!((answer.status, answer.body.as_slice(), answer.ok()), (503, &b"not yet"[..], false));
    // Neither end takes the other's protocol for its own.
    let error = ask(format!("http://127.0.0.1:{web}/readyz")).await.unwrap_err();
    assert!(matches!(error, NodeError::Failed(_)), "{error:?}");
    let error = ask(format!("https://127.0.0.1:{}/readyz", node.ports[1])).await.unwrap_err();
    assert!(matches!(error, NodeError::Failed(_)), "{error:?}");
}

#[tokio::test]
async fn a_forced_command_is_named_as_that() {
    let Some(node) = Node::start(false) else { return };
    let key = fs::read_to_string(node.path("id.pub")).unwrap();
    let names: [ContainerName; 1] = ["kubelet".parse().unwrap()];
    // On the server that forwards sockets and on the one that does not; `restrict` forbids forwarding, too.
    for port in node.ports {
        for (options, said) in [
            (r#"command="echo welcome to the backup""#, "welcome to the backup"),
            (r#"restrict,command="/bin/false""#, "nothing"),
            (r#"command="echo only sftp here >&2; exit 1""#, "only sftp here"),
        ] {
            fs::write(node.path("id.pub"), format!("{options} {key}")).unwrap();
            let error = node.port(&node.profile(), port).unwrap().look(&names).await.unwrap_err();
            let NodeError::Refused(why) = &error else { panic!("{error:?}") };
            assert!(why.contains("a forced command") && why.contains("authorized_keys") && why.contains(said), "{why}");
        }
    }
    // One that looks at what was asked and lets it through is none.
    fs::write(node.path("id.pub"), format!(r#"command="echo hello; eval \"$SSH_ORIGINAL_COMMAND\"" {key}"#)).unwrap();
    let error = node.port(&node.profile(), node.ports[0]).unwrap().look(&names).await.unwrap_err();
    assert!(!error.to_string().contains("forced command"), "{error}");
}

#[tokio::test]
async fn a_certificate_lets_us_in_beside_its_key_and_tells_when_it_ends() {
    let Some(node) = Node::start(false) else { return };
    let keygen = |args: &[&str]| run(Command::new("ssh-keygen").arg("-q").args(args).current_dir(node.path("")));
    keygen(&["-t", "ed25519", "-N", "", "-f", "authority"]);
    let authority = fs::read_to_string(node.path("authority.pub")).unwrap();
    // The key itself is not let in any more: only what the authority signed.
    fs::write(node.path("id.pub.own"), fs::read_to_string(node.path("id.pub")).unwrap()).unwrap();
    fs::write(node.path("id.pub"), format!("cert-authority {authority}")).unwrap();
    let at = node.ports[0];
    let look = async || {
        let entry = super::entry(at);
        let fleet = SshFleet::new(&node.profile(), std::slice::from_ref(&entry)).unwrap();
        let answer = fleet.node(&entry.name).unwrap().ask(&check(format!("tcp://127.0.0.1:{at}"))).await;
        (answer, fleet.credentials())
    };
    let sign = |validity: &str| {
        let own = node.path("id.pub.own").display().to_string();
        let copy = node.path("signing.pub").display().to_string();
        fs::copy(own, &copy).unwrap();
        keygen(&["-s", "authority", "-I", "ann's morning", "-n", "root", "-V", validity, "signing.pub"]);
        fs::rename(node.path("signing-cert.pub"), node.path("id-cert.pub")).unwrap();
    };
    assert!(matches!(look().await.0, Err(NodeError::Refused(why)) if why.contains("is not let in; tried ssh-ed25519")));
    sign("20200101000000Z:20200102000000Z");
    let (refused, _) = look().await;
    let Err(NodeError::Refused(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains("ann's morning") && why.contains("has ended at 2020-01-02T00:00:00Z: renew it"), "{why}");
    sign("20200101000000Z:20410203000000Z");
    let (answer, ends) = look().await;
    assert!(answer.unwrap().ok());
    let [end] = &ends[..] else { panic!("{ends:?}") };
    assert!(end.what.contains("ann's morning") && end.what.contains("id-cert.pub"), "{end:?}");
    assert_eq!(end.until.to_string(), "2041-02-03T00:00:00Z");
    // One that is for another key is not shown, and named.
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(node.path("other")));
    fs::copy(node.path("other.pub"), node.path("id.pub.own")).unwrap();
    sign("20200101000000Z:20410203000000Z");
    assert!(matches!(look().await.0, Err(NodeError::Refused(why)) if why.contains("is for another key")));
}

/// The crate that would sign with it gives its key away to whoever measures how long it takes.
#[tokio::test]
async fn an_rsa_key_signs_in_the_agent_only() {
    let Some(node) = Node::start(false) else { return };
    fs::remove_file(node.path("id")).unwrap();
    run(Command::new("ssh-keygen").args(["-q", "-t", "rsa", "-N", "", "-f"]).arg(node.path("id")));
    let Err(error) = node.port(&node.profile(), node.ports[0]) else { panic!("an RSA key was loaded") };
    let words = format!("ssh-add {}", node.path("id").display());
    assert!(matches!(&error, NodeError::Refused(why) if why.contains(&words) && why.contains("RSA")), "{error}");
    let socket = node.path("agent").display().to_string();
    let agent = Command::new("ssh-agent").args(["-D", "-a", &socket]).stdout(Stdio::null()).spawn().unwrap();
    let _agent = Guard(agent);
    wait("ssh-agent", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
    run(Command::new("ssh-add").arg(node.path("id")).env("SSH_AUTH_SOCK", &socket));
    log_in(&node, Some(&socket), "");
}
