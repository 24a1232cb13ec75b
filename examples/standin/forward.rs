//! `rivers` and `etcd-rivers`: connections are forwarded to the first upstream that takes them.

use crate::Call;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// How long an upstream may take to accept before the next is tried.
const DIAL: Duration = Duration::from_secs(1);

/// Forwards from `--listen=HOST:PORT` to `--upstreams=HOST:PORT,…` until the process ends.
pub async fn serve(call: &Call) -> Result<(), Box<dyn Error>> {
    let upstreams: Arc<[String]> = call.flag("upstreams")?.split(',').map(str::to_owned).collect();
    let listen = call.flag("listen")?;
    tokio::time::sleep(call.start).await;
    let listener = TcpListener::bind(listen).await?;
    println!("standin: {} {} listens on {listen}", call.component, call.version);
    for turn in 0.. {
        let (mut near, _) = listener.accept().await?;
        let upstreams = upstreams.clone();
        tokio::spawn(async move {
            for hop in 0..upstreams.len() {
                // Each connection begins with another upstream, so that all are used.
                let upstream = &upstreams[(turn + hop) % upstreams.len()];
                if let Ok(Ok(mut far)) = tokio::time::timeout(DIAL, TcpStream::connect(upstream)).await {
                    // Whichever side ends the connection, it is over.
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    return;
                }
            }
            eprintln!("standin: no upstream takes a connection");
        });
    }
    Ok(())
}
