//! A node's SSH server: its own host key, one accepted client key, exec and forwarding.

use super::docker;
use super::exec;
use super::health;
use super::shared::Shared;
use russh::keys::PublicKey;
use russh::server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Session, VerifiedPublicKey, run_stream};
use russh::{Channel, ChannelId, ChannelOpenFailure, Disconnect};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// The docker socket's usual places.
const SOCKETS: [&str; 2] = ["/var/run/docker.sock", "/run/docker.sock"];
/// How often a node that a fault can cut off looks whether it is.
const VANISH: Duration = Duration::from_millis(50);

/// What a node's server needs to know.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) shared: Arc<Shared>,
    pub(crate) node: usize,
    pub(crate) client_key: Arc<PublicKey>,
    pub(crate) stop: CancellationToken,
}

/// Serves a node until it is told to stop.
pub(crate) async fn serve(door: Door, listener: TcpListener, config: Arc<Config>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = door.stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(session(door.clone(), stream, config.clone()));
            }
            // Out of file descriptors, most likely: the next connection may fare better.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn session(door: Door, stream: TcpStream, config: Arc<Config>) {
    if !reachable(&door) {
        return;
    }
    let stop = door.stop.clone();
    let handler = Connection { door: door.clone(), channels: HashMap::new() };
    let running = tokio::select! {
        running = run_stream(config, stream, handler) => running,
        () = stop.cancelled() => return,
    };
    let Ok(running) = running else { return };
    let handle = running.handle();
    tokio::select! {
        _ = running => {}
        () = cut(&door) => {
            let _ = handle.disconnect(Disconnect::ByApplication, String::new(), String::new()).await;
        }
    }
}

fn reachable(door: &Door) -> bool {
    let now = door.shared.clock.now();
    door.shared.world().reachable(door.node, now)
}

/// Returns when the node drops off the network or the simulation stops.
async fn cut(door: &Door) {
    if !door.shared.world().may_vanish(door.node) {
        return door.stop.cancelled().await;
    }
    while reachable(door) {
        tokio::select! {
            () = tokio::time::sleep(VANISH) => {}
            () = door.stop.cancelled() => return,
        }
    }
}

struct Connection {
    door: Door,
    /// Channels that wait for their request.
    channels: HashMap<ChannelId, Channel<Msg>>,
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, _user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        Ok(match key.public_key.key_data() == self.door.client_key.key_data() {
            true => Auth::Accept,
            false => Auth::reject(),
        })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(&mut self, id: ChannelId, data: &[u8], session: &mut Session) -> Result<(), russh::Error> {
        let Some(channel) = self.channels.remove(&id) else {
            return session.channel_failure(id);
        };
        session.channel_success(id)?;
        let command = String::from_utf8_lossy(data).into_owned();
        tokio::spawn(exec::run(self.door.shared.clone(), self.door.node, command, channel));
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _session: &mut Session) -> Result<(), russh::Error> {
        self.channels.remove(&id);
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        if !SOCKETS.contains(&path) {
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
            return Ok(());
        }
        reply.accept().await;
        tokio::spawn(docker::serve(self.door.shared.clone(), self.door.node, channel.into_stream()));
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        let shared = self.door.shared.clone();
        let port = u16::try_from(port).unwrap_or(0);
        let address = host.trim_matches(['[', ']']).parse().ok();
        // Another node's SSH server: this one is a jump host.
        if let Some(other) = address.and_then(|a| shared.doors.get(&a)).filter(|d| d.port() == port) {
            match TcpStream::connect(*other).await {
                Ok(mut stream) => {
                    reply.accept().await;
                    tokio::spawn(async move {
                        let _ = tokio::io::copy_bidirectional(&mut channel.into_stream(), &mut stream).await;
                    });
                }
                Err(_) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
            }
            return Ok(());
        }
        let own = shared.world().machines()[self.door.node].spec.address;
        let here = host == "localhost" || address.is_some_and(|a| a == own || is_lo(a));
        let service = here.then(|| health::service(port)).flatten();
        match service.filter(|s| health::listens(&shared, self.door.node, *s)) {
            Some(service) => {
                reply.accept().await;
                tokio::spawn(health::serve(shared, self.door.node, service, channel.into_stream()));
            }
            None => reply.reject(ChannelOpenFailure::ConnectFailed).await,
        }
        Ok(())
    }
}

/// Whether it is the address that every machine calls itself.
fn is_lo(address: std::net::IpAddr) -> bool {
    address == std::net::IpAddr::from([127, 0, 0, 1]) || address == std::net::IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)
}
