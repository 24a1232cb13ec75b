//! The health and version endpoints.

use crate::Call;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ServerConfig, crypto::ring, pki_types::PrivatePkcs8KeyDer};

/// Where to serve.
pub struct Port {
    /// Address and port.
    pub address: (String, u16),
    /// Whether over TLS, with a certificate made on the spot.
    pub tls: bool,
}

/// What every connection knows.
struct State {
    version: String,
    /// `None`: never.
    healthy_from: Option<Instant>,
    /// Where etcd is, for an API server.
    etcd: Option<String>,
}

/// How long an API server waits for its connections to end, as the real one does.
const DRAIN: Duration = Duration::from_secs(60);

/// Serves until the process ends.
pub async fn serve(call: Call, port: Port) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    let healthy_from = (!call.never_healthy()).then_some(begun + call.start);
    let etcd = call.flag("etcd-servers").ok().and_then(|url| url.strip_prefix("http://")).map(str::to_owned);
    let state = Arc::new(State { version: call.version, healthy_from, etcd });
    let tls = if port.tls { Some(acceptor()?) } else { None };
    tokio::time::sleep_until(begun + call.start / 2).await;
    let listener = TcpListener::bind(&port.address).await?;
    println!("standin: {} {} listens on {}", call.component, state.version, listener.local_addr()?);
    let mut term = signal(SignalKind::terminate())?;
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted?.0,
            Some(_) = connections.join_next() => continue,
            _ = term.recv() => break,
        };
        let (state, tls) = (state.clone(), tls.clone());
        connections.spawn(async move {
            match tls {
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => answer(stream, state).await,
                    Err(error) => eprintln!("standin: TLS: {error}"),
                },
                None => answer(stream, state).await,
            }
        });
    }
    // No new connection from here on. Only kube-apiserver gets here: the others end at the signal.
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(DRAIN, drained).await;
    Ok(())
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin, state: Arc<State>) {
    let service = service_fn(|request: Request<Incoming>| {
        let state = state.clone();
        async move {
            if let (Some(etcd), true) = (&state.etcd, request.uri().path().starts_with("/v3/")) {
                return Ok(crate::etcd::pass_on(etcd, request).await);
            }
            let (status, body) = state.answer(request.uri().path());
            let mut response = Response::new(Full::new(Bytes::from(body)));
            *response.status_mut() = status;
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    // A client that goes away in the middle is its own affair.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

impl State {
    fn answer(&self, path: &str) -> (StatusCode, String) {
        match path {
            "/healthz" | "/readyz" => match self.healthy_from {
                Some(from) if Instant::now() >= from => (StatusCode::OK, "ok".into()),
                _ => (StatusCode::INTERNAL_SERVER_ERROR, "[-]poststarthook/standin failed: not finished".into()),
            },
            "/livez" => (StatusCode::OK, "ok".into()),
            // kube-apiserver's own answer. The stand-in for kubelet gives it too: a real one writes its version to the
            // API, here the lab does so for it.
            "/version" => {
                let mut numbers = self.version.trim_start_matches('v').split('.');
                let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
                let version = serde_json::json!({
                    "major": major, "minor": minor, "gitVersion": self.version, "platform": "linux/amd64",
                });
                (StatusCode::OK, version.to_string())
            }
            _ => (StatusCode::NOT_FOUND, "404 page not found".into()),
        }
    }
}

fn acceptor() -> Result<TlsAcceptor, Box<dyn Error>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
