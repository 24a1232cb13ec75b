//! A simulated fleet that answers on the real protocols, on loopback: SSH, the Docker Engine API, the components' own
//! health endpoints, the Kubernetes API. The demo, the tests and the benchmarks run the very client code that
//! production runs.
//!
//! [`model`] is the cluster itself, pure: no I/O, no clock; every call takes the simulated time. The other modules are
//! its front doors, which share one world behind a lock that is never held across an await. [`Scenario`] says how
//! large and how fast it is and what goes wrong; [`start`] opens the doors.

mod clock;
mod docker;
mod exec;
mod files;
mod health;
pub mod kube;
mod manners;
pub mod model;
pub mod scenario;
mod shared;
mod ssh;
mod workload;

pub use manners::{Churn, PodManners};
pub use scenario::{Extra, Fault, FaultKind, Rollout, Scenario, ScenarioError, SimRelease, Span, Timings};

use clock::Clock;
use model::{NodeSpec, World};
use russh::keys::{Algorithm, PrivateKey};
use russh::server::Config;
use shared::Shared;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How often another port is tried when one is taken on some node's address.
const PORT_TRIES: usize = 30;

/// Why a simulation could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The scenario does not fit together.
    #[error("the scenario cannot be simulated: {0}")]
    Scenario(String),
    /// A file could not be written.
    #[error("cannot write {path}: {why}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// An address could not be listened on.
    #[error("cannot listen on {address}: {why}{mend}")]
    Listen {
        /// Which.
        address: String,
        /// Why.
        why: std::io::Error,
        /// What mends it, where that is known.
        mend: &'static str,
    },
    /// A key or a certificate could not be made.
    #[error("cannot make a key: {0}")]
    Key(String),
    /// The profile could not be written as TOML.
    #[error("cannot write the profile: {0}")]
    Profile(String),
    /// The API's objects do not fit together.
    #[error("cannot fill the Kubernetes API: {0}")]
    Objects(#[from] kube::Problem),
}

impl StartError {
    fn file(path: &Path, why: std::io::Error) -> StartError {
        StartError::File { path: path.to_owned(), why }
    }

    fn listen(address: impl std::fmt::Display, why: std::io::Error) -> StartError {
        let mend = match why.kind() {
            std::io::ErrorKind::AddrNotAvailable => "; the simulator needs all of 127.0.0.0/8 on the loopback device",
            _ if why.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
                "; allow more open files (ulimit -n), or simulate fewer nodes"
            }
            _ => "",
        };
        StartError::Listen { address: address.to_string(), why, mend }
    }
}

/// A running simulation. It ends when this is dropped.
pub struct SimHandle {
    /// The profile through which clients find it.
    pub profile: PathBuf,
    /// Where the Kubernetes API listens.
    pub api: SocketAddr,
    /// Where each node's SSH server listens, in the order of [`World::machines`].
    pub nodes: Vec<SocketAddr>,
    /// The API's objects.
    pub store: kube::Store,
    shared: Arc<Shared>,
    stop: CancellationToken,
}

impl SimHandle {
    /// Looks at the cluster, or changes it, now; the second argument is the simulated time in milliseconds. The doors wait
    /// for it to return.
    pub fn with_world<T>(&self, act: impl FnOnce(&mut World, i64) -> T) -> T {
        let now = self.shared.clock.now();
        act(&mut self.shared.world(), now)
    }

    /// Ends it now.
    pub fn shutdown(&self) {
        self.stop.cancel();
    }
}

impl Drop for SimHandle {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Starts a simulation and writes into `dir` what clients need: `profile.toml`, `known_hosts`, `id_ed25519` and
/// `kubeconfig`, which only their owner may read. Every door is open when it returns.
///
/// # Errors
/// When the scenario does not fit together, a file cannot be written or an address cannot be listened on.
pub async fn start(scenario: Scenario, dir: &Path) -> Result<SimHandle, StartError> {
    raise_file_limit();
    let world = World::new(&scenario).map_err(StartError::Scenario)?;
    let specs: Vec<NodeSpec> = world.machines().iter().map(|m| m.spec.clone()).collect();
    let listeners = listen(&specs).await?;
    let doors: Vec<SocketAddr> = listeners.iter().map(|(address, _)| *address).collect();
    let api_listener = TcpListener::bind("127.0.0.1:0").await.map_err(|e| StartError::listen("127.0.0.1", e))?;
    let api = api_listener.local_addr().map_err(|e| StartError::listen("127.0.0.1", e))?;

    let client_key = new_key()?;
    let host_keys: Vec<PrivateKey> = specs.iter().map(|_| new_key()).collect::<Result<_, _>>()?;
    let public_keys: Vec<_> = host_keys.iter().map(|k| k.public_key().clone()).collect();
    let token = model::digest(&[&format!("{:?}", rand::random::<[u64; 4]>())]);

    let shared = Arc::new(Shared::new(world, Clock::new(scenario.speed), (tls(None)?, tls(Some(10))?), &doors));
    let store = kube::Store::new();
    store.set_token(Some(token.clone()));
    kube::fill(&store, &shared)?;
    let told = files::Told {
        scenario: &scenario,
        specs: &specs,
        doors: &doors,
        host_keys: &public_keys,
        client_key: &client_key,
        api,
        token: &token,
    };
    let profile = files::write(dir, &told)?;

    let stop = CancellationToken::new();
    let client_key = Arc::new(client_key.public_key().clone());
    for (node, ((_, listener), key)) in listeners.into_iter().zip(host_keys).enumerate() {
        let door = ssh::Door { shared: shared.clone(), node, client_key: client_key.clone(), stop: stop.clone() };
        tokio::spawn(ssh::serve(door, listener, Arc::new(ssh_config(key))));
    }
    tokio::spawn(stop.clone().run_until_cancelled_owned(kube::serve(store.clone(), api_listener)));
    tokio::spawn(stop.clone().run_until_cancelled_owned(kube::sync(store.clone(), shared.clone())));
    Ok(SimHandle { profile, api, nodes: doors, store, shared, stop })
}

/// Opens one port on every node's address; another one where somebody has it.
async fn listen(specs: &[NodeSpec]) -> Result<Vec<(SocketAddr, TcpListener)>, StartError> {
    let mut tries = 0;
    'port: loop {
        let mut open: Vec<(SocketAddr, TcpListener)> = Vec::with_capacity(specs.len());
        // The first node's address gets a free port, the others the same one.
        let mut port = 0;
        for spec in specs {
            let wish = SocketAddr::from((spec.address, port));
            let bound = TcpListener::bind(wish).await.and_then(|l| Ok((l.local_addr()?, l)));
            match bound {
                Ok(bound) => {
                    port = bound.0.port();
                    open.push(bound);
                }
                Err(e) if e.kind() == std::io::ErrorKind::AddrInUse && tries < PORT_TRIES => {
                    tries += 1;
                    continue 'port;
                }
                Err(e) => return Err(StartError::listen(wish, e)),
            }
        }
        return Ok(open);
    }
}

fn new_key() -> Result<PrivateKey, StartError> {
    PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).map_err(|e| StartError::Key(e.to_string()))
}

fn ssh_config(key: PrivateKey) -> Config {
    Config {
        keys: vec![key],
        nodelay: true,
        auth_rejection_time: Duration::from_millis(50),
        // OpenSSH's client asks with "none" first, and would wait for this.
        auth_rejection_time_initial: Some(Duration::ZERO),
        inactivity_timeout: None,
        ..Config::default()
    }
}

/// One certificate for all components, which may run out in some days: what checks them trusts the SSH connection, not the certificate.
fn tls(days: Option<i64>) -> Result<tokio_rustls::TlsAcceptor, StartError> {
    let err = |e: &dyn std::fmt::Display| StartError::Key(e.to_string());
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).map_err(|e| err(&e))?;
    if let Some(days) = days {
        let until = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days)).to_string();
        let field =
            |at: std::ops::Range<usize>| until.get(at).and_then(|digits| digits.parse::<u8>().ok()).unwrap_or(1);
        let year = until.get(..4).and_then(|digits| digits.parse().ok()).unwrap_or(1970);
        params.not_after = rcgen::date_time_ymd(year, field(5..7), field(8..10));
    }
    let signing_key = rcgen::KeyPair::generate().map_err(|e| err(&e))?;
    let made = params.self_signed(&signing_key).map_err(|e| err(&e))?;
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| err(&e))?
        .with_no_client_auth()
        .with_single_cert(vec![made.der().clone()], key.into())
        .map_err(|e| err(&e))?;
    Ok(tokio_rustls::TlsAcceptor::from(Arc::new(config)))
}

/// Each node listens, and each session is a socket: the usual soft limit of 1024 is soon reached. Where it cannot be
/// raised, listening says so.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
