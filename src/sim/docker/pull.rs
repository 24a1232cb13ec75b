//! A pull: progress over several layers at the node's bandwidth, as a stream of JSON lines.

use super::Body;
use crate::fleet::Image;
use crate::sim::model::{PullPlan, digest};
use crate::sim::shared::Shared;
use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::Response;
use hyper::body::Frame;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{Sender, channel};

/// Layers that are fetched at once; Docker's default.
const AT_ONCE: usize = 3;
/// Progress is told this often, in real time; a fast pull is told at least ten times.
const TICK: Duration = Duration::from_millis(200);
const LEAST_TICK: Duration = Duration::from_millis(10);

struct Gone;

/// Answers a pull; `None` when the image is there. The pull ends when the client goes away, as Docker's does.
pub(crate) fn stream(shared: Arc<Shared>, node: usize, image: Image, plan: Option<PullPlan>) -> Response<Body> {
    let (sender, receiver) = channel::<Value>(64);
    tokio::spawn(async move {
        let _ = tell(&shared, node, &image, plan, &sender).await;
    });
    let lines = futures::stream::unfold(receiver, |mut receiver| async move {
        let line = format!("{}\r\n", receiver.recv().await?);
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(line))), receiver))
    });
    let mut response = Response::new(StreamBody::new(lines).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

async fn tell(
    shared: &Shared,
    node: usize,
    image: &Image,
    plan: Option<PullPlan>,
    to: &Sender<Value>,
) -> Result<(), Gone> {
    let say = async |line: Value| to.send(line).await.map_err(|_| Gone);
    let repository = image.name().split_once('/').map_or(image.name(), |(_, rest)| rest);
    say(json!({"status": format!("Pulling from {repository}"), "id": image.short()})).await?;
    let fetched = plan.is_some();
    if let Some(plan) = plan {
        for (id, _) in &plan.layers {
            say(json!({"status": "Pulling fs layer", "progressDetail": {}, "id": id})).await?;
        }
        fetch(shared, &plan, to).await?;
        if let Some(why) = plan.fails {
            return say(json!({"errorDetail": {"message": why}, "error": why})).await;
        }
        shared.on(node, |machine, _, _| machine.add_image(image.as_str()));
    }
    say(json!({"status": format!("Digest: sha256:{}", digest(&["manifest", image.as_str()]))})).await?;
    let what = if fetched { "Downloaded newer image" } else { "Image is up to date" };
    say(json!({"status": format!("Status: {what} for {image}")})).await
}

async fn fetch(shared: &Shared, plan: &PullPlan, to: &Sender<Value>) -> Result<(), Gone> {
    let say = async |line: Value| to.send(line).await.map_err(|_| Gone);
    let total: u64 = plan.layers.iter().map(|(_, size)| size).sum();
    let whole = shared.clock.real((total as f64 / plan.bytes_per_ms) as i64);
    let tick = (whole / 10).clamp(LEAST_TICK, TICK);
    // A pull that fails does so half way.
    let goal = if plan.fails.is_some() { total / 2 } else { total };
    let start = shared.clock.now();
    let mut done = vec![0_u64; plan.layers.len()];
    let mut fetched = 0;
    while fetched < goal {
        tokio::time::sleep(tick).await;
        let by_now = ((shared.clock.now() - start) as f64 * plan.bytes_per_ms) as u64;
        let mut fresh = by_now.min(goal).saturating_sub(fetched);
        fetched += fresh;
        let mut active: Vec<usize> = Vec::new();
        while fresh > 0 {
            let open: Vec<usize> = (0..done.len()).filter(|&i| done[i] < plan.layers[i].1).take(AT_ONCE).collect();
            if open.is_empty() {
                break;
            }
            let share = (fresh / open.len() as u64).max(1);
            for i in open {
                let step = share.min(plan.layers[i].1 - done[i]).min(fresh);
                done[i] += step;
                fresh -= step;
                if !active.contains(&i) {
                    active.push(i);
                }
            }
        }
        for i in active {
            let (id, size) = &plan.layers[i];
            let detail = json!({"current": done[i], "total": size});
            say(json!({"status": "Downloading", "progressDetail": detail, "id": id})).await?;
            if done[i] == *size {
                say(json!({"status": "Download complete", "progressDetail": {}, "id": id})).await?;
                say(json!({"status": "Extracting", "progressDetail": detail, "id": id})).await?;
                say(json!({"status": "Pull complete", "progressDetail": {}, "id": id})).await?;
            }
        }
    }
    Ok(())
}
