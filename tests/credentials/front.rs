//! An API server's front for tests: TLS with certificates of the test's own, tokens and client certificates that it accepts for as
//! long as the test says so; behind it stands the simulated cluster's API.

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Who signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key. PEM.
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        pem("CERTIFICATE", self.0.der())
    }

    /// Signs one for this name or address, which ends so long from now (or ended so long ago).
    pub fn sign(&self, name: &str, ends_in: Ends) -> Pair {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let now = std::time::SystemTime::now();
        params.not_before = (now - Duration::from_secs(86_400)).into();
        params.not_after = match ends_in {
            Ends::In(time) => (now + time).into(),
            Ends::Ago(time) => (now - time).into(),
        };
        let key = KeyPair::generate().unwrap();
        Pair {
            certificate: pem("CERTIFICATE", params.signed_by(&key, &self.0).unwrap().der()),
            key: pem("PRIVATE KEY", &key.serialize_der()),
        }
    }
}

pub enum Ends {
    In(Duration),
    Ago(Duration),
}

pub const DAY: Ends = Ends::In(Duration::from_secs(86_400));

fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    let lines = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = lines.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// What the front accepts; empty tokens: whoever has a certificate.
#[derive(Default)]
struct Accepts {
    tokens: Mutex<BTreeSet<String>>,
    refused: Mutex<usize>,
}

/// The front; it ends when this is dropped.
pub struct Front {
    pub address: SocketAddr,
    accepts: Arc<Accepts>,
    _runtime: tokio::runtime::Runtime,
}

impl Front {
    /// Stands before the API at `behind` (`http://HOST:PORT`, with its token). `clients` signs certificates of clients, which are
    /// accepted beside tokens.
    pub fn start(own: &Pair, clients: Option<&Authority>, behind: (String, String)) -> Front {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let accepts = Arc::new(Accepts::default());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.0.der().clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        use rustls::pki_types::pem::PemObject;
        let chain = vec![CertificateDer::from_pem_slice(own.certificate.as_bytes()).unwrap()];
        let key = PrivatePkcs8KeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
        let config = builder.with_single_cert(chain, PrivateKeyDer::Pkcs8(key)).unwrap();
        let tls = TlsAcceptor::from(Arc::new(config));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let by_certificate = clients.is_some();
        runtime.spawn(accept(listener, tls, Arc::clone(&accepts), by_certificate, behind));
        Front { address, accepts, _runtime: runtime }
    }

    /// Accepts these tokens from now on, and no other.
    pub fn accept(&self, tokens: &[&str]) {
        *self.accepts.tokens.lock().unwrap() = tokens.iter().map(|t| (*t).to_owned()).collect();
    }

    /// Requests refused so far.
    pub fn refused(&self) -> usize {
        *self.accepts.refused.lock().unwrap()
    }
}

async fn accept(
    listener: TcpListener,
    tls: TlsAcceptor,
    accepts: Arc<Accepts>,
    by_certificate: bool,
    behind: (String, String),
) {
    let client: Client<HttpConnector, Incoming> = Client::builder(TokioExecutor::new()).build_http();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let (tls, accepts, behind, client) = (tls.clone(), Arc::clone(&accepts), behind.clone(), client.clone());
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let service = hyper::service::service_fn(|request| {
                let (accepts, behind, client) = (Arc::clone(&accepts), behind.clone(), client.clone());
                async move { answer(request, &accepts, by_certificate, &behind, &client).await }
            });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    mut request: Request<Incoming>,
    accepts: &Accepts,
    by_certificate: bool,
    (behind, token): &(String, String),
    client: &Client<HttpConnector, Incoming>,
) -> Result<Response<BoxBody<Bytes, hyper::Error>>, hyper_util::client::legacy::Error> {
    let given = request.headers().get(AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let known = given.strip_prefix("Bearer ").is_some_and(|given| accepts.tokens.lock().unwrap().contains(given));
    if !known && !by_certificate {
        *accepts.refused.lock().unwrap() += 1;
        let body = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401}"#;
        let mut response = Response::new(Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed());
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        return Ok(response);
    }
    let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
    *request.uri_mut() = format!("{behind}{path}").parse().unwrap();
    request.headers_mut().remove(HOST);
    request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    Ok(client.request(request).await?.map(BodyExt::boxed))
}
