//! Asks the lab's endpoints, with no help from the code under test.

use bytes::Bytes;
use color_eyre::eyre::{Result, WrapErr};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::{CertificateDer, IpAddr, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use sonoba::plan::{Check, Scheme};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Status and body of what a check asks for on a node; 200 for a TCP connection that was accepted.
pub async fn check(check: &Check, address: &str, limit: Duration) -> Result<(u16, Bytes)> {
    let ask = async {
        let host = check.host_on(address);
        let stream = TcpStream::connect((host.as_str(), check.port)).await?;
        match check.scheme {
            Scheme::Tcp => Ok((200, Bytes::new())),
            Scheme::Tls => {
                let name = ServerName::IpAddress(IpAddr::from(host.parse::<std::net::IpAddr>()?));
                TlsConnector::from(Arc::new(tls()?)).connect(name, stream).await?;
                Ok((200, Bytes::new()))
            }
            Scheme::Http => send(stream, "GET", &host, &check.path, Bytes::new()).await,
            Scheme::Https => {
                let name = ServerName::IpAddress(IpAddr::from(host.parse::<std::net::IpAddr>()?));
                let stream = TlsConnector::from(Arc::new(tls()?)).connect(name, stream).await?;
                send(stream, "GET", &host, &check.path, Bytes::new()).await
            }
        }
    };
    tokio::time::timeout(limit, ask).await.wrap_err_with(|| format!("{check} on {address}"))?
}

/// Posts JSON to an etcd member's gateway.
pub async fn etcd(place: &str, path: &str, body: serde_json::Value, limit: Duration) -> Result<serde_json::Value> {
    let ask = async {
        let stream = TcpStream::connect(place).await?;
        let (status, answer) = send(stream, "POST", place, path, body.to_string().into()).await?;
        color_eyre::eyre::ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(&answer));
        Ok(serde_json::from_slice(&answer)?)
    };
    tokio::time::timeout(limit, ask).await.wrap_err_with(|| format!("etcd at {place}"))?
}

/// Posts JSON to an API server of the lab, over a new TLS connection: it passes it on to etcd.
pub async fn api(address: &str, path: &str, body: serde_json::Value, limit: Duration) -> Result<serde_json::Value> {
    let ask = async {
        let stream = TcpStream::connect((address, 6443)).await.wrap_err("connecting")?;
        let name = ServerName::IpAddress(IpAddr::from(address.parse::<std::net::IpAddr>()?));
        let stream = TlsConnector::from(Arc::new(tls()?)).connect(name, stream).await.wrap_err("TLS")?;
        let (status, answer) = send(stream, "POST", address, path, body.to_string().into()).await?;
        color_eyre::eyre::ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(&answer));
        Ok(serde_json::from_slice(&answer)?)
    };
    tokio::time::timeout(limit, ask).await.wrap_err("no answer")?
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    method: &str,
    host: &str,
    path: &str,
    body: Bytes,
) -> Result<(u16, Bytes)> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", host).body(Full::new(body))?;
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    connection.abort();
    Ok((status, body))
}

fn tls() -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let any = Arc::new(AnyCertificate(provider.signature_verification_algorithms));
    Ok(with_versions(provider)?.dangerous().with_custom_certificate_verifier(any).with_no_client_auth())
}

fn with_versions(
    provider: Arc<CryptoProvider>,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, rustls::Error> {
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
}

/// The stand-ins make their certificates on the spot: there is nothing to check them against.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer,
        _: &[CertificateDer],
        _: &ServerName,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
