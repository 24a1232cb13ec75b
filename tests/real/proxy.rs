//! One bastion's own way to the cluster's API, which can be made bad for it alone: the Leases, or everything.

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// What becomes of a request for a Lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leases {
    /// It is answered.
    Pass,
    /// It is answered with this status.
    Status(u16),
    /// It has no answer.
    Hang,
    /// It is answered so much later.
    Late(Duration),
}

#[derive(Debug, Clone, Copy)]
struct Manner {
    leases: Leases,
    /// Every request takes up to so much longer.
    latency: Duration,
}

/// The way. It is gone when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    manner: Arc<Mutex<Manner>>,
    _runtime: Runtime,
}

impl Proxy {
    /// A way to this address (`HOST:PORT`), good at first.
    pub fn to(upstream: &str) -> Proxy {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let manner = Arc::new(Mutex::new(Manner { leases: Leases::Pass, latency: Duration::ZERO }));
        runtime.spawn(serve(listener, upstream.to_owned(), Arc::clone(&manner)));
        Proxy { address, manner, _runtime: runtime }
    }

    /// Where it begins: `HOST:PORT`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// From now on, Leases are treated so.
    pub fn leases(&self, leases: Leases) {
        self.manner.lock().unwrap().leases = leases;
    }

    /// From now on, every request takes up to so much longer.
    pub fn latency(&self, latency: Duration) {
        self.manner.lock().unwrap().latency = latency;
    }
}

async fn serve(listener: TcpListener, upstream: String, manner: Arc<Mutex<Manner>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (upstream, manner) = (upstream.clone(), Arc::clone(&manner));
        tokio::spawn(async move {
            let pass = hyper::service::service_fn(|request| forward(request, upstream.clone(), Arc::clone(&manner)));
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), pass).await;
        });
    }
}

async fn forward(
    request: Request<Incoming>,
    upstream: String,
    manner: Arc<Mutex<Manner>>,
) -> Result<Response<Body>, std::io::Error> {
    let now = *manner.lock().unwrap();
    let longest = u64::try_from(now.latency.as_millis()).unwrap();
    if longest > 0 {
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..longest))).await;
    }
    if request.uri().path().contains("/leases") {
        match now.leases {
            Leases::Pass => {}
            Leases::Status(code) => return Ok(refusal(code)),
            Leases::Hang => {
                tokio::time::sleep(Duration::from_secs(3_600)).await;
            }
            Leases::Late(by) => tokio::time::sleep(by).await,
        }
    }
    let lost = std::io::Error::other::<hyper::Error>;
    let stream = TcpStream::connect(&upstream).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(lost)?;
    // The connection lives as long as its answer's body does.
    Ok(answer.map(|body| {
        body.map_frame(move |frame| {
            let _ = &sender;
            frame
        })
        .boxed_unsync()
    }))
}

fn refusal(code: u16) -> Response<Body> {
    let status = serde_json::json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("leases answer {code}"), "reason": "Forbidden", "code": code});
    let whole = Full::new(Bytes::from(status.to_string())).map_err(|never| match never {}).boxed_unsync();
    let answer = Response::builder().status(code).header("content-type", "application/json").body(whole);
    answer.unwrap_or_else(|_| Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync()))
}
