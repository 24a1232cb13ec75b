//! The commands that a node's shell knows: those that the client sends, nothing else.

use super::docker;
use super::shared::Shared;
use crate::remote::script::{Request, SCRIPT};
use crate::remote::{ASK_DOCKER_HOST, disk_and_clock};
use crate::sim::model::Reply;
use russh::server::Msg;
use russh::{Channel, ChannelMsg};
use std::sync::Arc;

/// A script that is put on a node is not larger than this. Bytes.
const MAX_STDIN: usize = 1 << 20;

/// Runs one command, and tells how it ended.
pub(crate) async fn run(shared: Arc<Shared>, node: usize, command: String, mut channel: Channel<Msg>) {
    if command == "docker system dial-stdio" {
        return docker::serve(shared, node, channel.into_stream()).await;
    }
    let reply = match Request::parse(&command) {
        Some(Request::Install) => {
            let script = stdin(&mut channel).await;
            let whole = script == SCRIPT.as_bytes();
            shared.on(node, |machine, _, _| machine.installed |= whole);
            if whole { reply(0, "", "") } else { reply(4, "", "sonoba swap: the script came cut off\n") }
        }
        Some(request) => shared.on(node, |machine, env, now| machine.script(&request, now, env)),
        None => match command.as_str() {
            "true" | ":" => reply(0, "", ""),
            // DOCKER_HOST is not set here.
            ASK_DOCKER_HOST => reply(0, "sonoba:", ""),
            other if other == disk_and_clock("/var/lib/docker") => {
                let real = jiff::Timestamp::now().as_second();
                let (total, free, clock) = shared.on(node, |machine, env, now| machine.disk_and_clock(env, now, real));
                let df = format!(
                    "Filesystem     1024-blocks      Used Available Capacity Mounted on\n\
                     /dev/nvme0n1p9 {total} {} {free} {}% /\n{clock}\n",
                    total - free,
                    (total - free) * 100 / total
                );
                reply(0, &df, "")
            }
            other => {
                let word = crate::fleet::clean(other.split(' ').next().unwrap_or(""));
                reply(127, "", &format!("sh: 1: {word}: not found\n"))
            }
        },
    };
    // The client may be gone; what was done stands.
    let _ = answer(&channel, reply).await;
}

fn reply(status: u32, out: &str, err: &str) -> Reply {
    Reply { status, out: out.to_owned(), err: err.to_owned() }
}

async fn answer(channel: &Channel<Msg>, reply: Reply) -> Result<(), russh::Error> {
    if !reply.out.is_empty() {
        channel.data_bytes(reply.out.into_bytes()).await?;
    }
    if !reply.err.is_empty() {
        channel.extended_data_bytes(1, reply.err.into_bytes()).await?;
    }
    channel.exit_status(reply.status).await?;
    channel.eof().await?;
    channel.close().await
}

async fn stdin(channel: &mut Channel<Msg>) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { data } if all.len() + data.len() <= MAX_STDIN => all.extend_from_slice(&data),
            ChannelMsg::Eof | ChannelMsg::Close => break,
            _ => {}
        }
    }
    all
}
