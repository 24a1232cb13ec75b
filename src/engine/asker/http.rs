//! A page's status.

use crate::plan::Target;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::header::{AUTHORIZATION, CONNECTION, HOST, HeaderValue, USER_AGENT};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Of an answer, no more is read. Bytes.
const BODY: usize = 1 << 20;
/// No Authorization header is longer. Bytes.
const HEADER: u64 = 8 << 10;

/// What a server answered.
pub(in crate::engine) struct Reply {
    pub(in crate::engine) status: u16,
    pub(in crate::engine) body: Vec<u8>,
}

/// Asks for a page. A redirect is an answer as any other.
///
/// # Errors
/// When the answer is not `status`, or there is none within `limit`.
pub(super) async fn ask(target: &Target, status: u16, limit: Duration) -> Result<(), String> {
    let path = target.url.uri().path_and_query().map_or("/", |p| p.as_str());
    let reply = get(target, path, limit).await?;
    if reply.status == status { Ok(()) } else { Err(format!("it answers {}, not {status}", reply.status)) }
}

/// Asks for `path` at a target's server.
///
/// # Errors
/// When there is no answer within `limit`.
pub(in crate::engine) async fn get(target: &Target, path: &str, limit: Duration) -> Result<Reply, String> {
    timeout(limit, talk(target, path)).await.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
}

async fn talk(target: &Target, path: &str) -> Result<Reply, String> {
    let uri = target.url.uri();
    let (Some(host), Some(authority)) = (uri.host(), uri.authority()) else { return Err("there is no host".into()) };
    // An IPv6 address stands in brackets in the URL, and without them elsewhere.
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let secure = target.url.secure();
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let mut request = Request::get(path)
        .header(HOST, authority.as_str())
        .header(USER_AGENT, concat!("sonoba/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close");
    // Only over TLS: see `OwnGate::check`.
    if let Some(file) = target.header_file.clone().filter(|_| secure) {
        request = request.header(AUTHORIZATION, blocking(move || authorization(&file)).await?);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|e| e.to_string())?;
    let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|e| format!("no connection: {e}"))?;
    if !secure {
        return send(stream, request).await;
    }
    let ca = target.ca.clone();
    let tls = blocking(move || trusting(ca.as_deref())).await?;
    let name = ServerName::try_from(host).map_err(|e| e.to_string())?;
    let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await.map_err(|e| format!("TLS: {e}"))?;
    send(stream, request).await
}

async fn send<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<Reply, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let failed = |e: hyper::Error| format!("no answer: {e}");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    // Dropped, and so ended, with the answer.
    let _driver = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(connection));
    let response = sender.send_request(request).await.map_err(failed)?;
    let status = response.status().as_u16();
    let mut incoming = response.into_body();
    let mut body = Vec::new();
    while body.len() < BODY
        && let Some(frame) = incoming.frame().await
    {
        if let Ok(data) = frame.map_err(failed)?.into_data() {
            let room = BODY - body.len();
            body.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    Ok(Reply { status, body })
}

/// Files are read anew each time: certificates and tokens are exchanged while a run goes on.
async fn blocking<T: Send + 'static>(read: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|e| Err(e.to_string()))
}

/// Trusts what the system trusts, or the certificates in a file.
fn trusting(ca: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(file) => {
            let failed = |e: &dyn std::fmt::Display| format!("ca {}: {e}", file.display());
            for certificate in CertificateDer::pem_file_iter(file).map_err(|e| failed(&e))? {
                roots.add(certificate.map_err(|e| failed(&e))?).map_err(|e| failed(&e))?;
            }
            if roots.is_empty() {
                return Err(failed(&"no certificate is in it"));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err("this system has no certificates to trust; give the gate a ca".into());
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(builder.map_err(|e| e.to_string())?.with_root_certificates(roots).with_no_client_auth())
}

/// The value of the Authorization header. No error says anything of what is in the file.
fn authorization(path: &PathBuf) -> Result<HeaderValue, String> {
    let refused = |why: &str| format!("header_file {}: {why}", path.display());
    let file = File::open(path).map_err(|e| refused(&e.to_string()))?;
    let meta = file.metadata().map_err(|e| refused(&e.to_string()))?;
    if !meta.is_file() {
        return Err(refused("it is not a file"));
    }
    if meta.permissions().mode() & 0o077 != 0 {
        return Err(refused(&format!("others can read it; fix that with: chmod 600 {}", path.display())));
    }
    let mut text = String::new();
    file.take(HEADER).read_to_string(&mut text).map_err(|_| refused("it is not text"))?;
    let mut value = HeaderValue::from_str(text.trim()).map_err(|_| refused("it is not one line of a header"))?;
    if value.is_empty() {
        return Err(refused("it is empty"));
    }
    value.set_sensitive(true);
    Ok(value)
}
