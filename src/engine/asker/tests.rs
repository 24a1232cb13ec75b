use super::*;
use crate::plan::{Bound, HttpUrl, Target};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::net::TcpListener;

fn gate(question: Question) -> OwnGate {
    let name = "test".parse().unwrap();
    OwnGate { name, question, timeout_ms: 60_000, interval_ms: 1_000, limit_ms: 20_000 }
}

async fn run(script: &str, exit: u8, limit_ms: u64, folder: &Path) -> Result<(), String> {
    let argv = ["sh", "-c", script].map(String::from).to_vec();
    let gate = OwnGate { limit_ms, ..gate(Question::Command { argv, exit }) };
    Outside::new(Some("/k/config".into())).ask(&gate, folder).await
}

#[tokio::test]
async fn a_commands_exit_code_is_the_answer_and_its_last_line_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let run = |script: &'static str, exit| run(script, exit, 20_000, dir.path());
    assert_eq!(run("true", 0).await, Ok(()));
    assert_eq!(run("exit 3", 3).await, Ok(()));
    assert_eq!(run("true", 3).await.unwrap_err(), "exit 0");
    let said = run("echo first; printf 'HEALTH_WARN \\033[31m1 osd down\\n\\n' >&2; exit 1", 0).await.unwrap_err();
    assert_eq!(said, "exit 1: HEALTH_WARN [31m1 osd down");
    let long = run("yes x | tr -d '\\n' | head -c 200000; exit 1", 0).await.unwrap_err();
    assert!(long.starts_with("exit 1: xxx") && long.chars().count() == LONGEST + 1, "{long}");
    assert_eq!(run("kill -TERM $$", 0).await.unwrap_err(), "killed by signal 15");
    // Nothing to read, the run's folder, and little of the environment.
    let seen = run("cat; env | sed 's/=.*//' | sort | tr '\\n' ' '; exit 1", 0).await.unwrap_err();
    for name in seen.trim_start_matches("exit 1: ").split(' ') {
        assert!(["PATH", "HOME", "KUBECONFIG", "PWD", "OLDPWD", "SHLVL", "_"].contains(&name), "{seen}");
    }
    assert_eq!(run("test \"$KUBECONFIG\" = /k/config && echo here > mark", 0).await, Ok(()));
    assert!(dir.path().join("mark").exists());
    let none = gate(Question::Command { argv: vec!["sonoba-no-such-program".into()], exit: 0 });
    let error = Outside::default().ask(&none, dir.path()).await.unwrap_err();
    assert!(error.contains("sonoba-no-such-program cannot be run"), "{error}");
}

/// Whether a process with this id is there and no zombie.
fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z') && !rest.starts_with('X'))
}

async fn gone(file: &Path) {
    let until = Instant::now() + std::time::Duration::from_secs(20);
    let pids = loop {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if text.lines().count() == 2 {
            break text;
        }
        assert!(Instant::now() < until, "it never began: {text:?}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    while pids.lines().any(lives) {
        assert!(Instant::now() < until, "still there: {pids}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn what_a_command_forked_does_not_outlive_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    // It hangs, and so does its child: both are killed at the limit, which does not wait for the pipe.
    let begun = Instant::now();
    let hangs = "sleep 600 & echo $! > a; echo $$ >> a; echo waiting; wait";
    let error = run(hangs, 0, 700, dir.path()).await.unwrap_err();
    assert_eq!(error, "no answer within 700ms, so it was killed: waiting");
    assert!(begun.elapsed().as_secs() < 15);
    gone(&dir.path().join("a")).await;
    // It answers, and leaves a child behind that holds its output open.
    let leaves = "sleep 600 & echo $! > b; echo $$ >> b; exit 0";
    assert_eq!(run(leaves, 0, 30_000, dir.path()).await, Ok(()));
    assert!(begun.elapsed().as_secs() < 15);
    gone(&dir.path().join("b")).await;
    // Nobody wants to know any more.
    let forgotten = "sleep 600 & echo $! > c; echo $$ >> c; wait";
    let mark = dir.path().join("c");
    tokio::select! {
        _ = run(forgotten, 0, 60_000, dir.path()) => panic!("it cannot end"),
        () = async { while std::fs::read_to_string(&mark).unwrap_or_default().lines().count() < 2 { tokio::time::sleep(std::time::Duration::from_millis(10)).await } } => {}
    }
    gone(&mark).await;
}

/// What a server was asked: the path with its query, and the Authorization header.
type Asked = Arc<Mutex<Vec<(String, String)>>>;

/// A server on loopback that answers by the path: `/200`, `/503`, `/302`, `/hang`, or as Prometheus. With TLS, when it is
/// given a configuration.
async fn server(tls: Option<rustls::ServerConfig>) -> (u16, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Asked::default();
    let told = asked.clone();
    tokio::spawn(async move {
        let tls = tls.map(|config| tokio_rustls::TlsAcceptor::from(Arc::new(config)));
        while let Ok((stream, _)) = listener.accept().await {
            let (told, tls) = (told.clone(), tls.clone());
            tokio::spawn(async move {
                match tls {
                    None => serve(TokioIo::new(stream), told).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            serve(TokioIo::new(stream), told).await;
                        }
                    }
                }
            });
        }
    });
    (port, asked)
}

async fn serve<S>(stream: S, asked: Asked)
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let asked = asked.clone();
        async move {
            let path = request.uri().path_and_query().unwrap().to_string();
            let header = request.headers().get("authorization").map_or("", |h| h.to_str().unwrap()).to_owned();
            asked.lock().unwrap().push((path.clone(), header));
            if path == "/hang" {
                std::future::pending::<()>().await;
            }
            let body = if path.contains("/api/v1/query") {
                r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"1"]}]}}"#
            } else {
                ""
            };
            let status: u16 = path.trim_start_matches('/').parse().unwrap_or(200);
            let response = hyper::Response::builder().status(status).header("location", "/200");
            Ok::<_, Infallible>(response.body(body.to_owned()).unwrap())
        }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await;
}

fn target(url: String) -> Target {
    Target { url: url.parse::<HttpUrl>().unwrap(), ca: None, header_file: None }
}

async fn outside(question: Question) -> Result<(), String> {
    Outside::default().ask(&OwnGate { limit_ms: 3_000, ..gate(question) }, Path::new("/")).await
}

#[tokio::test]
async fn a_pages_status_is_the_answer_and_no_redirect_is_followed() {
    let (port, asked) = server(None).await;
    let page = |path: &str, status| {
        outside(Question::Http { target: target(format!("http://127.0.0.1:{port}{path}")), status })
    };
    assert_eq!(page("/200?x=y", 200).await, Ok(()));
    assert_eq!(page("/503", 503).await, Ok(()));
    assert_eq!(page("/503", 200).await.unwrap_err(), "it answers 503, not 200");
    assert_eq!(page("/302", 200).await.unwrap_err(), "it answers 302, not 200");
    assert_eq!(page("/hang", 200).await.unwrap_err(), "no answer within 3s");
    let paths: Vec<String> = asked.lock().unwrap().iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(paths, ["/200?x=y", "/503", "/503", "/302", "/hang"]);
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = outside(Question::Http { target: target(format!("http://{nobody}/")), status: 200 }).await.unwrap_err();
    assert!(error.starts_with("no connection: "), "{error}");
}

#[tokio::test]
async fn prometheus_is_asked_as_it_wants_to_be() {
    let (port, asked) = server(None).await;
    let query = |max: f64| {
        let max = Some(Bound::try_from(max).unwrap());
        let target = target(format!("http://127.0.0.1:{port}/prom/"));
        outside(Question::Prometheus { target, query: "a{b=\"c d\"} + 1".into(), min: None, max })
    };
    assert_eq!(query(1.0).await, Ok(()));
    assert_eq!(query(0.5).await.unwrap_err(), "it is 1, more than 0.5");
    let paths: Vec<String> = asked.lock().unwrap().iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(paths[0], "/prom/api/v1/query?query=a%7Bb%3D%22c+d%22%7D+%2B+1");
}

fn pem(made: &rcgen::CertifiedKey<rcgen::KeyPair>) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(made.cert.der());
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

#[tokio::test]
async fn a_server_is_trusted_by_its_certificate_and_the_secret_goes_only_there() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let (port, asked) = server(Some(config)).await;
    let write = |name: &str, text: &str, mode| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        Some(path)
    };
    let page = |ca: Option<PathBuf>, header_file: Option<PathBuf>| {
        let target = Target { ca, header_file, ..target(format!("https://127.0.0.1:{port}/200")) };
        outside(Question::Http { target, status: 200 })
    };
    let ca = write("ca.pem", &pem(&made), 0o644);
    assert_eq!(page(ca.clone(), write("token", "Bearer geheim\n", 0o600)).await, Ok(()));
    assert_eq!(asked.lock().unwrap()[0].1, "Bearer geheim");

    let before = asked.lock().unwrap().len();
    let stranger = page(write("other.pem", &pem(&other), 0o644), None).await.unwrap_err();
    assert!(stranger.contains("TLS") && stranger.contains("certificate"), "{stranger}");
    let system = page(None, None).await.unwrap_err();
    assert!(system.contains("certificate"), "{system}");
    let empty = page(write("empty.pem", "", 0o644), None).await.unwrap_err();
    assert!(empty.contains("no certificate"), "{empty}");
    let open = page(ca.clone(), write("open", "Bearer geheim", 0o640)).await.unwrap_err();
    assert!(open.contains("chmod 600") && !open.contains("geheim"), "{open}");
    let lines = page(ca.clone(), write("lines", "Bearer geheim\nX: y", 0o600)).await.unwrap_err();
    assert!(lines.contains("one line") && !lines.contains("geheim"), "{lines}");
    let none = page(ca, Some(dir.path().join("none"))).await.unwrap_err();
    assert!(none.contains("header_file"), "{none}");
    assert_eq!(asked.lock().unwrap().len(), before, "nothing was asked");
}
