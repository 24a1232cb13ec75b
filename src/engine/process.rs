//! The engine as a process: its own session, its signals, its panics.

use super::shared::{Shared, Wish};
use crate::journal::{Event, JournalError};
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// Puts this process into a session of its own, away from the terminal that it was started from (law 2). To be called
/// by the engine's process before anything else; does nothing in a process that leads a group already.
pub fn detach() {
    if let Err(error) = rustix::process::setsid() {
        tracing::debug!("already a leader: {error}");
    }
}

/// Whoever starts an engine holds the other end of its standard input until the run has begun. Returns when that is let go of:
/// a start that nobody waits for any more must not come true later, unattended.
pub(super) async fn let_go() {
    use std::os::fd::AsFd;
    use tokio::io::AsyncReadExt;
    let input = std::io::stdin().as_fd().try_clone_to_owned();
    let Ok(mut leash) = input.and_then(tokio::net::unix::pipe::Receiver::from_owned_fd) else {
        return std::future::pending().await;
    };
    let mut byte = [0];
    // Nothing is ever written.
    while matches!(leash.read(&mut byte).await, Ok(n) if n > 0) {}
}

/// Panics go to the log, where an operator finds them; the hook before is called as well.
pub(super) fn log_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        tracing::error!("panic: {info}");
        before(info);
    }));
}

/// Follows signals for as long as it is polled: SIGTERM ends the process once nothing is in flight; a hang-up and a
/// terminal's interrupt mean nothing to an engine.
pub(super) async fn signals(shared: Arc<Shared>) -> Result<(), JournalError> {
    let streams = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()].map(signal);
    let [Ok(mut terminate), Ok(mut hangup), Ok(mut interrupt)] = streams else {
        tracing::warn!("signals cannot be followed; SIGTERM ends this engine at once");
        return std::future::pending().await;
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => {
                shared.log.write(Event::Note { text: "SIGTERM: the engine ends once nothing is in flight".into() }).await?;
                // An abort that is under way ends the process soon enough by itself.
                shared.wish.send_if_modified(|wish| {
                    let leave = *wish != Wish::Abort;
                    if leave {
                        *wish = Wish::Leave;
                    }
                    leave
                });
            }
            _ = hangup.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}
