//! Health checks: asked on the node itself, through its SSH connection.

use super::connection::Connection;
use super::limits;
use super::port::{Answer, NodeError};
use crate::plan::{Check, Scheme};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::header::{CONNECTION, HOST};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use std::sync::{Arc, LazyLock, OnceLock};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Asks `check` on the node whose own address is `address`.
///
/// # Errors
/// [`NodeError::Failed`] when nothing answers there: the component is down, or is not up yet.
pub(super) async fn ask(link: &Connection, check: &Check, address: &str) -> Result<Answer, NodeError> {
    // An IPv6 address stands in brackets in the check, and without them in a channel's request.
    let host = check.host_on(address);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let talk = async {
        let stream = link.tcp(host, check.port).await?;
        let failed = |why: &dyn std::fmt::Display| NodeError::Failed(link.says(format!("{check}: {why}")));
        match check.scheme {
            // A handshake is answered by a server that serves; where it accepts alone, nobody may.
            Scheme::Tls => {
                let name = ServerName::try_from(host.to_owned()).map_err(|e| failed(&e))?;
                let tls = TLS.as_ref().map_err(|e| failed(&e))?;
                shake_hands(stream, name, tls).await.map_err(|e| failed(&e))?;
                Ok(Answer { status: 200, body: Vec::new() })
            }
            // The server opens the channel only once the connection was accepted.
            Scheme::Tcp => Ok(Answer { status: 200, body: Vec::new() }),
            Scheme::Http => get(stream, check, host).await.map_err(|e| failed(&e)),
            Scheme::Https => {
                let name = ServerName::try_from(host.to_owned()).map_err(|e| failed(&e))?;
                let tls = TLS.as_ref().map_err(|e| failed(&e))?;
                let stream = TlsConnector::from(tls.clone()).connect(name, stream).await.map_err(|e| failed(&e))?;
                get(stream, check, host).await.map_err(|e| failed(&e))
            }
        }
    };
    timeout(limits::ASK, talk)
        .await
        .unwrap_or_else(|_| Err(NodeError::TimedOut(link.says(format!("{check}: no answer in {:?}", limits::ASK)))))
}

/// A TLS handshake that the server completes, or ends with an alert: then it serves, and wants a client's certificate.
async fn shake_hands<S>(stream: S, name: ServerName<'static>, tls: &Arc<ClientConfig>) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Err(error) = TlsConnector::from(tls.clone()).connect(name, stream).await else { return Ok(()) };
    let alert = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    if matches!(alert, Some(Error::AlertReceived(_))) { Ok(()) } else { Err(error) }
}

async fn get<S>(stream: S, check: &Check, host: &str) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Dropped, and so ended, with the answer: no check leaves a task behind.
    let _driver = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(connection));
    let host = if host.contains(':') { format!("[{host}]:{}", check.port) } else { format!("{host}:{}", check.port) };
    let request =
        Request::get(check.path.as_str()).header(HOST, host).header(CONNECTION, "close").body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let mut incoming = response.into_body();
    let mut body = Vec::new();
    // A component's metrics may be longer; their beginning is what was asked for.
    while body.len() < limits::BODY
        && let Some(frame) = incoming.frame().await
    {
        if let Ok(data) = frame?.into_data() {
            let room = limits::BODY - body.len();
            body.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    Ok(Answer { status, body })
}

/// When the certificate that is shown at a port of the node runs out; `None` where nobody serves TLS there.
pub(super) async fn certificate_until(link: &Connection, host: &str, port: u16) -> Option<Timestamp> {
    let talk = async {
        let stream = link.tcp(host, port).await.ok()?;
        let name = ServerName::try_from(host.to_owned()).ok()?;
        let seen = Arc::new(Seen { any: AnyCertificate(provider()), shown: OnceLock::new() });
        // Who wants a client's certificate ends the handshake without one, and has shown its own by then.
        let _ = TlsConnector::from(Arc::new(client(seen.clone()).ok()?)).connect(name, stream).await;
        let (_, certificate) = x509_parser::parse_x509_certificate(seen.shown.get()?).ok()?;
        Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
    };
    timeout(limits::ASK, talk).await.ok().flatten()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn client(verifier: Arc<dyn ServerCertVerifier>) -> Result<ClientConfig, Error> {
    Ok(ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

static TLS: LazyLock<Result<Arc<ClientConfig>, Error>> =
    LazyLock::new(|| client(Arc::new(AnyCertificate(provider()))).map(Arc::new));

/// Takes any certificate. The way to the component is the SSH connection to its own node, whose host key was checked,
/// and the far end is the node's loopback: kubelets and schedulers have self-signed certificates there. Nothing secret
/// is sent, and an answer only tells whether a component is healthy; who can forge it is root on that node already.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Takes any certificate, and keeps it.
#[derive(Debug)]
struct Seen {
    any: AnyCertificate,
    shown: OnceLock<Vec<u8>>,
}

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.shown.get_or_init(|| end_entity.to_vec());
        self.any.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.any.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.any.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.any.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::PrivatePkcs8KeyDer;
    use rustls::server::WebPkiClientVerifier;
    use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
    use tokio_rustls::TlsAcceptor;

    /// A server that takes nobody without a certificate of its own authority, as CKE's etcd.
    fn strict(version: &'static SupportedProtocolVersion) -> TlsAcceptor {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider()).build().unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    async fn answered(serve: impl AsyncFnOnce(tokio::io::DuplexStream)) -> bool {
        let (near, far) = tokio::io::duplex(16 << 10);
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let (said, ()) = tokio::join!(shake_hands(near, name, TLS.as_ref().unwrap()), serve(far));
        said.is_ok()
    }

    #[tokio::test]
    async fn a_server_that_wants_a_certificate_serves_and_one_that_hangs_up_does_not() {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let server = strict(version);
            let refuses = async |stream| assert!(server.accept(stream).await.is_err(), "it takes anybody");
            assert!(answered(refuses).await, "{version:?}");
        }
        // A port that accepts and ends, as a proxy with nothing behind it.
        assert!(!answered(async |stream| drop(stream)).await);
    }
}
