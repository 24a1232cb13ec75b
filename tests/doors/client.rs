//! Real clients, as plain as they come: russh, bollard and kube against the simulated fleet.

use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use russh::client::{AuthResult, Handle, connect};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate, load_secret_key};
use russh::{ChannelMsg, client};
use sonoba::fleet::Component;
use sonoba::sim::{Scenario, SimHandle};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A simulation of five nodes and its folder.
pub struct Sim {
    pub handle: SimHandle,
    pub dir: tempfile::TempDir,
}

pub async fn sim(change: impl FnOnce(&mut Scenario)) -> Sim {
    let mut scenario = Scenario { nodes: 2, racks: 2, speed: 40.0, ..Scenario::default() };
    change(&mut scenario);
    let dir = tempfile::tempdir().unwrap();
    let handle = sonoba::sim::start(scenario, dir.path()).await.unwrap();
    Sim { handle, dir }
}

/// The first worker's index.
pub const WORKER: usize = 3;

/// Accepts the one host key that known_hosts has for the address.
pub struct Strict(String);

impl client::Handler for Strict {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(match key {
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                let text = key.to_openssh().unwrap();
                text.split(' ').take(2).collect::<Vec<_>>().join(" ") == self.0
            }
            PublicKeyOrCertificate::Certificate(_) => false,
        })
    }
}

impl Sim {
    pub fn key(&self) -> PrivateKey {
        load_secret_key(self.dir.path().join("id_ed25519"), None).unwrap()
    }

    pub async fn ssh(&self, node: usize) -> Arc<Handle<Strict>> {
        let (handle, auth) = self.ssh_with(node, self.key()).await.unwrap();
        assert!(auth.success());
        Arc::new(handle)
    }

    pub async fn ssh_with(&self, node: usize, key: PrivateKey) -> Result<(Handle<Strict>, AuthResult), russh::Error> {
        let address = self.handle.nodes[node];
        let known = std::fs::read_to_string(self.dir.path().join("known_hosts")).unwrap();
        let mark = format!("[{}]:{} ", address.ip(), address.port());
        let host_key = known.lines().find_map(|l| l.strip_prefix(&mark)).unwrap().to_owned();
        let config = Arc::new(client::Config { nodelay: true, ..Default::default() });
        let mut handle = connect(config, address, Strict(host_key)).await?;
        let auth = handle.authenticate_publickey("cke", PrivateKeyWithHashAlg::new(Arc::new(key), None)).await?;
        Ok((handle, auth))
    }

    pub async fn kube(&self) -> kube::Client {
        let kubeconfig = kube::config::Kubeconfig::read_from(self.dir.path().join("kubeconfig")).unwrap();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
        kube::Client::try_from(config).unwrap()
    }
}

pub struct Ran {
    pub status: u32,
    pub out: String,
    pub err: String,
}

pub async fn exec(ssh: &Handle<Strict>, command: &str, stdin: &[u8]) -> Ran {
    let mut channel = ssh.channel_open_session().await.unwrap();
    channel.exec(true, command).await.unwrap();
    if !stdin.is_empty() {
        channel.data(stdin).await.unwrap();
        channel.eof().await.unwrap();
    }
    let mut ran = Ran { status: 999, out: String::new(), err: String::new() };
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { data } => ran.out.push_str(&String::from_utf8_lossy(&data)),
            ChannelMsg::ExtendedData { data, ext: 1 } => ran.err.push_str(&String::from_utf8_lossy(&data)),
            ChannelMsg::ExitStatus { exit_status } => ran.status = exit_status,
            _ => {}
        }
    }
    ran
}

/// bollard over `direct-streamlocal`.
pub fn docker(ssh: Arc<Handle<Strict>>) -> Docker {
    let transport = move |request: BollardRequest| {
        let ssh = ssh.clone();
        async move {
            let channel = ssh.channel_open_direct_streamlocal("/var/run/docker.sock").await.unwrap();
            let (mut sender, connection) = http1::handshake(TokioIo::new(channel.into_stream())).await.unwrap();
            tokio::spawn(connection);
            Ok(sender.send_request(request).await.unwrap())
        }
    };
    Docker::connect_with_custom_transport(transport, Some("http://node"), 60, API_DEFAULT_VERSION).unwrap()
}

/// What answers at a port of the node's loopback: status and body; none when nobody listens.
pub async fn ask(ssh: &Handle<Strict>, port: u16, path: &str) -> Option<(u16, String)> {
    let channel = ssh.channel_open_direct_tcpip("127.0.0.1", u32::from(port), "127.0.0.1", 0).await.ok()?;
    let stream = channel.into_stream();
    match port {
        6443 | 10257 | 10259 => {
            let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
            get(trusting().connect(name, stream).await.unwrap(), path).await
        }
        _ => get(stream, path).await,
    }
}

async fn get(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> Option<(u16, String)> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    // A peer that closes without TLS's goodbye is no error here: the answer's length is known.
    let _ = stream.read_to_string(&mut answer).await;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// TLS to a certificate that nobody has signed, as production's checks do it.
fn trusting() -> tokio_rustls::TlsConnector {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    #[derive(Debug)]
    struct Any(Arc<rustls::crypto::CryptoProvider>);
    impl ServerCertVerifier for Any {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            Ok(ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            m: &[u8],
            c: &CertificateDer<'_>,
            d: &rustls::DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            rustls::crypto::verify_tls12_signature(m, c, d, &self.0.signature_verification_algorithms)
        }
        fn verify_tls13_signature(
            &self,
            m: &[u8],
            c: &CertificateDer<'_>,
            d: &rustls::DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            rustls::crypto::verify_tls13_signature(m, c, d, &self.0.signature_verification_algorithms)
        }
        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Any(provider)))
        .with_no_client_auth();
    tokio_rustls::TlsConnector::from(Arc::new(config))
}

/// Asks until it holds; fails after a while.
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let ask = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ask).await.unwrap_or_else(|_| panic!("never came true: {what}"));
}

/// The ports of a component's health endpoint, and what to ask there.
pub fn endpoint(component: Component) -> (u16, &'static str) {
    match component {
        Component::Etcd => (2381, "/health"),
        Component::KubeApiserver => (6443, "/readyz"),
        Component::KubeControllerManager => (10257, "/healthz"),
        Component::KubeScheduler => (10259, "/healthz"),
        Component::Kubelet => (10248, "/healthz"),
        Component::KubeProxy => (10256, "/healthz"),
        Component::Rivers => (16443, ""),
        Component::EtcdRivers => (12379, ""),
    }
}
