//! The components' own endpoints on a node's loopback: health, version, metrics.

use super::model::Health;
use super::shared::Shared;
use crate::fleet::Component;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// What listens on a port of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// A component's endpoint for health, version and metrics; for kube-apiserver the one for clients too.
    Health(Component),
    /// etcd's port for clients, which closes before the other does.
    EtcdClients,
    /// A reverse proxy on the node, to this service of any master.
    Proxy(Component),
}

/// What listens on a port of the node, when it listens.
pub(crate) fn service(port: u16) -> Option<Service> {
    Some(match port {
        2379 => Service::EtcdClients,
        2381 => Service::Health(Component::Etcd),
        6443 => Service::Health(Component::KubeApiserver),
        10257 => Service::Health(Component::KubeControllerManager),
        10259 => Service::Health(Component::KubeScheduler),
        10248 => Service::Health(Component::Kubelet),
        10256 => Service::Health(Component::KubeProxy),
        16443 => Service::Proxy(Component::Rivers),
        12379 => Service::Proxy(Component::EtcdRivers),
        _ => return None,
    })
}

/// Whether it listens now.
pub(crate) fn listens(shared: &Shared, node: usize, service: Service) -> bool {
    match service {
        Service::Health(component) | Service::Proxy(component) => ask(shared, node, component) != Health::Refused,
        Service::EtcdClients => {
            let now = shared.clock.now();
            shared.world().takes_clients(node, Component::Etcd, now)
        }
    }
}

fn ask(shared: &Shared, node: usize, component: Component) -> Health {
    let now = shared.clock.now();
    shared.world().health(node, component, now)
}

/// The master that a proxy on this node connects a client with, and the service there: the next one that listens.
fn upstream(shared: &Shared, node: usize, proxy: Component) -> Option<(usize, Service)> {
    let service = match proxy {
        Component::EtcdRivers => Service::EtcdClients,
        _ => Service::Health(Component::KubeApiserver),
    };
    let masters = shared.world().scenario().masters;
    let mut all = (0..masters).map(|step| (node + step) % masters);
    all.find(|master| listens(shared, *master, service)).map(|master| (master, service))
}

/// Answers on a connection to the service.
pub(crate) async fn serve<S>(shared: Arc<Shared>, node: usize, service: Service, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (node, service) = match service {
        Service::Proxy(proxy) => match upstream(&shared, node, proxy) {
            Some(upstream) => upstream,
            // As the proxy does: it has taken the connection, and ends it.
            None => return,
        },
        own => (node, own),
    };
    let (component, tls) = match service {
        Service::EtcdClients => (Component::Etcd, true),
        Service::Health(component) | Service::Proxy(component) => (component, speaks_tls(component)),
    };
    if !tls {
        return http(shared, node, component, stream).await;
    }
    let runs_out = shared.world().certificate_runs_out(node, shared.clock.now());
    let acceptor = if runs_out { shared.tls_old.clone() } else { shared.tls.clone() };
    if let Ok(stream) = acceptor.accept(stream).await {
        http(shared, node, component, stream).await;
    }
}

fn speaks_tls(component: Component) -> bool {
    matches!(component, Component::KubeApiserver | Component::KubeControllerManager | Component::KubeScheduler)
}

async fn http<S>(shared: Arc<Shared>, node: usize, component: Component, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let path = request.uri().path().to_owned();
        let shared = shared.clone();
        async move {
            let answer = match ask(&shared, node, component) {
                // It went down under the connection: so does the connection.
                Health::Refused => return Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
                Health::Sick => sick(component, &path),
                Health::Well(version) if component == Component::Etcd => etcd(&shared, node, &path, &version),
                Health::Well(version) => well(component, &path, &version),
            };
            let mut response = Response::new(Full::new(Bytes::from(answer.1)));
            *response.status_mut() = answer.0;
            Ok(response)
        }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    // A client that goes away without a word is no concern of ours.
    let _ = server.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
}

type Answer = (StatusCode, String);

/// An etcd member that is well, or all but for an alarm.
fn etcd(shared: &Shared, node: usize, path: &str, version: &str) -> Answer {
    let now = shared.clock.now();
    let world = shared.world();
    match path {
        "/health" | "/readyz" if world.etcd_alarm(now) => {
            (StatusCode::SERVICE_UNAVAILABLE, r#"{"health":"false","reason":"ALARM NOSPACE"}"#.into())
        }
        "/health" | "/readyz" | "/livez" => (StatusCode::OK, r#"{"health":"true","reason":""}"#.into()),
        "/metrics" => {
            let leads = world.etcd_leader().holder == node;
            (StatusCode::OK, metrics(version, leads, true, world.etcd_log(node, now)))
        }
        _ => not_found(),
    }
}

fn well(component: Component, path: &str, version: &str) -> Answer {
    let ok = |body: String| (StatusCode::OK, body);
    match (component, path) {
        (Component::KubeApiserver, "/readyz" | "/livez" | "/healthz") => ok("ok".into()),
        (_, "/version") => ok(kubernetes_version(version)),
        (Component::KubeProxy, "/healthz" | "/livez") => {
            let now = jiff::Timestamp::now();
            ok(serde_json::json!({"lastUpdated": now.to_string(), "currentTime": now.to_string()}).to_string())
        }
        (Component::Kubelet | Component::KubeControllerManager | Component::KubeScheduler, "/healthz") => {
            ok("ok".into())
        }
        _ => not_found(),
    }
}

fn not_found() -> Answer {
    (StatusCode::NOT_FOUND, "404 page not found\n".into())
}

fn sick(component: Component, path: &str) -> Answer {
    match (component, path) {
        (Component::Etcd, "/health") => {
            (StatusCode::SERVICE_UNAVAILABLE, r#"{"health":"false","reason":"RAFT NO LEADER"}"#.into())
        }
        (Component::Etcd, "/metrics") => (StatusCode::OK, metrics("0.0.0", false, false, (0, 0))),
        (Component::KubeApiserver, _) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed\n".into(),
        ),
        (Component::Kubelet, _) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "[+]ping ok\n[-]syncloop failed: reason withheld\nhealthz check failed\n".into(),
        ),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "not healthy\n".into()),
    }
}

fn metrics(version: &str, leads: bool, has_leader: bool, (committed, applied): (i64, i64)) -> String {
    let number = u8::from;
    format!(
        "# HELP etcd_mvcc_db_total_size_in_bytes Total size of the underlying database physically allocated in bytes.\n\
         # TYPE etcd_mvcc_db_total_size_in_bytes gauge\n\
         etcd_mvcc_db_total_size_in_bytes {}\n\
         # HELP etcd_server_has_leader Whether or not a leader exists. 1 is existence, 0 is not.\n\
         # TYPE etcd_server_has_leader gauge\n\
         etcd_server_has_leader {}\n\
         # HELP etcd_server_is_leader Whether or not this member is a leader. 1 if is, 0 otherwise.\n\
         # TYPE etcd_server_is_leader gauge\n\
         etcd_server_is_leader {}\n\
         # HELP etcd_server_is_learner Whether or not this member is a learner. 1 if is, 0 otherwise.\n\
         # TYPE etcd_server_is_learner gauge\n\
         etcd_server_is_learner 0\n\
         # HELP etcd_server_proposals_applied_total The total number of consensus proposals applied.\n\
         # TYPE etcd_server_proposals_applied_total gauge\n\
         etcd_server_proposals_applied_total {applied}\n\
         # HELP etcd_server_proposals_committed_total The total number of consensus proposals committed.\n\
         # TYPE etcd_server_proposals_committed_total gauge\n\
         etcd_server_proposals_committed_total {committed}\n\
         # HELP etcd_server_version Which version is running. 1 for 'server_version' label with current version.\n\
         # TYPE etcd_server_version gauge\n\
         etcd_server_version{{server_version=\"{version}\"}} 1\n",
        crate::sim::model::SIZE.0,
        number(has_leader),
        number(leads),
    )
}

fn kubernetes_version(version: &str) -> String {
    let mut parts = version.split('.');
    serde_json::json!({
        "major": parts.next().unwrap_or(""),
        "minor": parts.next().unwrap_or(""),
        "gitVersion": format!("v{version}"),
        "gitTreeState": "clean",
        "compiler": "gc",
        "platform": "linux/amd64",
    })
    .to_string()
}
