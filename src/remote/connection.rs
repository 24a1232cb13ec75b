//! One SSH connection: dialled, checked and logged in; commands and streams are channels over it.

use super::keys::Keys;
use super::known_hosts::{Known, KnownHosts};
use super::limits;
use super::{NodeError, docker::Way};
use crate::fleet::clean_short;
use jiff::Timestamp;
use russh::client::{self, Handle, Msg};
use russh::keys::PublicKeyOrCertificate;
use russh::{Channel, ChannelMsg, ChannelStream, Preferred};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

/// Where and as whom to log in.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// How errors call it.
    pub name: String,
    pub host: String,
    pub port: u16,
    pub user: String,
}

impl Target {
    /// An error's text with the place in it.
    pub fn says(&self, what: impl std::fmt::Display) -> String {
        let Target { name, user, host, port } = self;
        clean_short(&format!("{name} ({user}@{host} port {port}): {what}"), limits::ERROR)
    }
}

/// What the callbacks of russh need: the host's keys.
pub(super) struct Handler {
    hosts: Arc<KnownHosts>,
    known: Known,
    target: Target,
}

/// Why a handshake ended.
#[derive(Debug)]
pub(super) enum Broken {
    HostKey(String),
    Ssh(russh::Error),
}

impl From<russh::Error> for Broken {
    fn from(error: russh::Error) -> Broken {
        Broken::Ssh(error)
    }
}

impl client::Handler for Handler {
    type Error = Broken;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Broken> {
        let Target { host, port, .. } = &self.target;
        let checked = match key {
            PublicKeyOrCertificate::PublicKey { key, .. } => self.hosts.check(&self.known, host, *port, key),
            PublicKeyOrCertificate::Certificate(shown) => {
                let now = u64::try_from(Timestamp::now().as_second()).unwrap_or(0);
                self.hosts.check_certificate(&self.known, (host, *port), shown, now)
            }
        };
        checked.map(|()| true).map_err(Broken::HostKey)
    }
}

/// A connection that is logged in. It closes when the last user lets go of it.
pub(super) struct Connection {
    handle: Handle<Handler>,
    target: Target,
    /// How Docker is reached over it, once that is known.
    pub docker: Way,
    /// The connection to the jump host lives as long as those through it.
    _jump: Option<Arc<Connection>>,
}

/// What a command printed and how it ended.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// `None` when a signal ended it or the server did not say.
    pub status: Option<u32>,
}

impl Connection {
    /// Dials, checks the host's key, logs in. The caller sets the time limit.
    pub async fn dial(
        target: &Target,
        hosts: &Arc<KnownHosts>,
        keys: &Keys,
        jump: Option<Arc<Connection>>,
    ) -> Result<Connection, NodeError> {
        let known = hosts.of(&target.host, target.port);
        let preferred = Preferred::DEFAULT;
        let wanted = known.algorithms(&preferred.key);
        let certificates = known.certificates(&preferred.key);
        let config = client::Config {
            nodelay: true,
            keepalive_interval: Some(limits::KEEPALIVE),
            keepalive_max: limits::KEEPALIVE_MAX,
            preferred: Preferred {
                key: Cow::Owned(wanted),
                host_key_certificates: Cow::Owned(certificates),
                ..preferred
            },
            ..client::Config::default()
        };
        let config = Arc::new(config);
        let handler = Handler { hosts: hosts.clone(), known, target: target.clone() };
        let connected = match &jump {
            None => client::connect(config, (target.host.as_str(), target.port), handler).await,
            Some(jump) => {
                let stream = jump.tcp(&target.host, target.port).await?;
                client::connect_stream(config, stream, handler).await
            }
        };
        let mut handle = connected.map_err(|broken| match broken {
            Broken::HostKey(why) => NodeError::Refused(target.says(why)),
            Broken::Ssh(russh::Error::NoCommonAlgo { kind, .. }) => NodeError::Refused(target.says(format!(
                "no common algorithm for {}; where it is the host key, the host no longer has a key of the kind \
                     that known_hosts has for it",
                algorithm(&kind)
            ))),
            Broken::Ssh(error) => NodeError::Unreachable(target.says(format!("cannot connect: {error}"))),
        })?;
        keys.log_in(&mut handle, &target.user).await.map_err(|error| match error {
            NodeError::Refused(why) => NodeError::Refused(target.says(why)),
            other => NodeError::Unreachable(target.says(other)),
        })?;
        Ok(Connection { handle, target: target.clone(), docker: Way::default(), _jump: jump })
    }

    /// Whether it is known to be broken.
    pub fn closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// An error's text with this node in it.
    pub fn says(&self, what: impl std::fmt::Display) -> String {
        self.target.says(what)
    }

    async fn open<F>(&self, what: &str, opening: F) -> Result<Channel<Msg>, NodeError>
    where
        F: Future<Output = Result<Channel<Msg>, russh::Error>>,
    {
        match timeout(limits::CHANNEL, opening).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(russh::Error::ChannelOpenFailure(why))) => {
                Err(NodeError::Failed(self.says(format!("{what}: {}", refusal(why)))))
            }
            Ok(Err(error)) => Err(NodeError::Unreachable(self.says(format!("{what}: {error}")))),
            Err(_) => Err(NodeError::TimedOut(self.says(format!("{what}: no answer in {:?}", limits::CHANNEL)))),
        }
    }

    /// A TCP connection from the node.
    ///
    /// # Errors
    /// [`NodeError::Failed`] when the node cannot open it.
    pub async fn tcp(&self, host: &str, port: u16) -> Result<ChannelStream<Msg>, NodeError> {
        let opening = self.handle.channel_open_direct_tcpip(host, u32::from(port), "127.0.0.1", 0);
        Ok(self.open(&format!("{host} port {port} from the node"), opening).await?.into_stream())
    }

    /// A connection to a Unix socket of the node.
    pub async fn socket(&self, path: &str) -> Result<ChannelStream<Msg>, NodeError> {
        let opening = self.handle.channel_open_direct_streamlocal(path);
        Ok(self.open(&format!("{path} on the node"), opening).await?.into_stream())
    }

    /// A command's standard input and output.
    pub async fn pipe(&self, command: &str) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static, NodeError> {
        let channel = self.open("a session", self.handle.channel_open_session()).await?;
        channel.exec(true, command).await.map_err(|e| NodeError::Unreachable(self.says(e)))?;
        Ok(channel.into_stream())
    }

    /// Runs a command to its end, for at most `limit`. `what` is how errors call it: a command may be long.
    pub async fn exec(&self, what: &str, command: &str, input: &[u8], limit: Duration) -> Result<Output, NodeError> {
        let mut channel = self.open("a session", self.handle.channel_open_session()).await?;
        let unreachable =
            |e: russh::Error| NodeError::Unreachable(self.says(format!("the connection broke during {what}: {e}")));
        let talk = async {
            channel.exec(true, command).await?;
            if !input.is_empty() {
                channel.data_bytes(input.to_vec()).await?;
            }
            channel.eof().await?;
            let mut out = Output::default();
            let mut answered = false;
            // The exit status may come before or after the end of the output: read until the channel is closed.
            while let Some(message) = channel.wait().await {
                match message {
                    ChannelMsg::Data { data } => take(&mut out.stdout, &data),
                    ChannelMsg::ExtendedData { data, .. } => take(&mut out.stderr, &data),
                    ChannelMsg::ExitStatus { exit_status } => {
                        answered = true;
                        out.status = Some(exit_status);
                    }
                    ChannelMsg::ExitSignal { .. } => answered = true,
                    ChannelMsg::Failure => return Ok((out, false)),
                    ChannelMsg::Close => break,
                    _ => {}
                }
            }
            Ok((out, answered))
        };
        let result = timeout(limit, talk).await;
        // Not closed by its drop; a server keeps only so many sessions a connection.
        let _ = channel.close().await;
        match result {
            Ok(Ok((out, true))) => Ok(out),
            Ok(Ok((_, false))) => Err(unreachable(russh::Error::Disconnect)),
            Ok(Err(error)) => Err(unreachable(error)),
            Err(_) => Err(NodeError::TimedOut(self.says(format!("{what} took longer than {limit:?}")))),
        }
    }
}

/// Keeps the output's beginning: a node that talks without end must not fill our memory.
fn take(kept: &mut Vec<u8>, data: &[u8]) {
    let room = limits::OUTPUT.saturating_sub(kept.len());
    kept.extend_from_slice(&data[..data.len().min(room)]);
}

/// What two sides of SSH could not agree on, in words.
fn algorithm(kind: &russh::AlgorithmKind) -> &'static str {
    match kind {
        russh::AlgorithmKind::Kex => "the key exchange",
        russh::AlgorithmKind::Key => "the host key",
        russh::AlgorithmKind::Cipher => "the cipher",
        russh::AlgorithmKind::Compression => "the compression",
        russh::AlgorithmKind::Mac => "the message authentication code",
    }
}

/// Why a node's sshd opens no channel (RFC 4254, 5.1), in words.
fn refusal(why: russh::ChannelOpenFailure) -> String {
    use russh::ChannelOpenFailure as Why;
    match why {
        Why::AdministrativelyProhibited => "its sshd forbids it".to_owned(),
        Why::ConnectFailed => "nothing answers there".to_owned(),
        Why::UnknownChannelType => "its sshd does not know this kind of channel".to_owned(),
        Why::ResourceShortage => "its sshd has no room for one more channel".to_owned(),
        Why::Other { code, reason } => format!("its sshd refuses it with code {code}: {}", clean_short(&reason, 200)),
    }
}
