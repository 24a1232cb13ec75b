//! What all the front doors share: the world, its clock, the certificate.

use super::clock::Clock;
use super::model::{Env, Machine, World};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio_rustls::TlsAcceptor;

/// The world behind the doors.
pub(crate) struct Shared {
    world: Mutex<World>,
    pub(crate) clock: Clock,
    pub(crate) tls: TlsAcceptor,
    /// The same with a certificate that runs out soon.
    pub(crate) tls_old: TlsAcceptor,
    /// Where each node's SSH server listens, for jumps from one to another.
    pub(crate) doors: HashMap<IpAddr, SocketAddr>,
}

impl Shared {
    pub(crate) fn new(
        world: World,
        clock: Clock,
        (tls, tls_old): (TlsAcceptor, TlsAcceptor),
        doors: &[SocketAddr],
    ) -> Shared {
        Shared { world: Mutex::new(world), clock, tls, tls_old, doors: doors.iter().map(|d| (d.ip(), *d)).collect() }
    }

    /// The world, as it was when it was last looked at. The lock is never held across an await.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something on a node, now.
    pub(crate) fn on<T>(&self, node: usize, act: impl FnOnce(&mut Machine, &mut Env<'_>, i64) -> T) -> T {
        let now = self.clock.now();
        let mut world = self.world();
        let (machine, mut env) = world.on(node, now);
        act(machine, &mut env, now)
    }
}
