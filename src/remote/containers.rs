//! What the engine wants of containers and images, in terms of the Docker Engine API.

use super::docker::Engine;
use super::limits;
use super::port::{Look, NodeError};
use super::successor::{Successor, differences, successor};
use crate::fleet::{ContainerName, Image, Masker, Running, clean, clean_short};
use crate::plan::Change;
use futures::future::try_join_all;
use hyper::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

/// What runs under these names, and what is left over beside them.
pub(super) async fn look(engine: &Engine, masker: &Masker, names: &[ContainerName]) -> Result<Look, NodeError> {
    let list = engine.json(Method::GET, "/containers/json?all=1", None).await?.unwrap_or_default();
    let there: Vec<&str> = list
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|c| c["Names"].as_array().into_iter().flatten())
        .filter_map(|name| name.as_str()?.strip_prefix('/'))
        .collect();
    let wanted = names.iter().filter(|name| there.contains(&name.as_str()));
    let running = try_join_all(wanted.map(|name| async move {
        // Removed since the list was made: then it does not exist.
        let Some(container) = engine.container(name.as_str()).await? else { return Ok(None) };
        read(masker, name, &container).map(Some).map_err(|why| NodeError::Failed(engine.says(why)))
    }))
    .await?;
    let leftovers = names
        .iter()
        .flat_map(|name| [name.next(), name.prev()])
        .filter(|name| there.contains(&name.as_str()))
        .filter_map(|name| name.parse().ok())
        .collect();
    Ok(Look { running: running.into_iter().flatten().collect(), leftovers })
}

/// A container as its inspection tells it. Of its configuration nothing else leaves the node: environment, labels and log options
/// are nobody's business.
fn read(masker: &Masker, name: &ContainerName, container: &Value) -> Result<Running, String> {
    let text = |value: &Value| value.as_str().map(|t| clean_short(t, 100)).unwrap_or_default();
    let (most, longest) = limits::ARGS;
    let image = container["Config"]["Image"].as_str().unwrap_or("").parse();
    let image = image.map_err(|e| format!("container {name}: {e}; run it from a named image, not from an id"))?;
    // Masked whole, and cut then: what is cut off counts when two are compared.
    let args = masker.args(words(container)).into_iter().take(most).map(|arg| clean_short(&arg, longest));
    Ok(Running {
        container: name.clone(),
        id: text(&container["Id"]),
        image,
        image_id: text(&container["Image"]),
        running: container["State"]["Running"].as_bool().unwrap_or(false),
        started: started(&container["State"]["StartedAt"]),
        restarts: container["RestartCount"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or_default(),
        args: args.collect(),
    })
}

/// The words of a container's command line, as they stand on the node.
fn words(container: &Value) -> impl Iterator<Item = &str> {
    let more = container["Args"].as_array().into_iter().flatten().filter_map(Value::as_str);
    container["Path"].as_str().into_iter().chain(more)
}

/// Docker writes the year 1 for what was never started.
fn started(value: &Value) -> Option<Timestamp> {
    let at: Timestamp = value.as_str()?.parse().ok()?;
    (at > Timestamp::UNIX_EPOCH).then_some(at)
}

/// The image's id, when it is there.
pub(super) async fn image_id(engine: &Engine, image: &Image) -> Result<Option<String>, NodeError> {
    let Some(found) = engine.image(image.as_str()).await? else { return Ok(None) };
    match found["Id"].as_str() {
        Some(id) => Ok(Some(clean_short(id, 100))),
        None => Err(NodeError::Failed(engine.says(format!("docker states no id of the image {image}")))),
    }
}

/// Creates `NAME.sonoba-next` for each change. One after the other: it is not urgent, and the disk is shared with pods.
pub(super) async fn prepare(engine: &Engine, masker: &Masker, changes: &[Change]) -> Result<(), NodeError> {
    for change in changes {
        prepare_one(engine, masker, change).await?;
    }
    Ok(())
}

async fn prepare_one(engine: &Engine, masker: &Masker, change: &Change) -> Result<(), NodeError> {
    let name = &change.container;
    let failed = |why: String| NodeError::Failed(engine.says(format!("container {name}: {why}")));
    let old = engine
        .container(name.as_str())
        .await?
        .ok_or_else(|| failed("it does not exist; make a new plan of what runs there".into()))?;
    if old["Id"].as_str() != Some(change.from_id.as_str()) {
        return Err(failed("it was created anew since the plan was made; make a new plan".into()));
    }
    let image_id = old["Image"].as_str().unwrap_or("");
    if image_id.is_empty() || !image_id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b':') {
        return Err(failed("docker does not state the id of its image".into()));
    }
    let image = engine
        .image(image_id)
        .await?
        .ok_or_else(|| failed(format!("its own image {image_id} is gone; pull {} again", change.from)))?;
    let wanted = successor(&old, &image, &change.to, &change.args).map_err(&failed)?;
    remove(engine, &name.next()).await?;
    // Docker repeats what it does not like, and that may be any part of what it was asked for.
    let made = create(engine, change, &wanted).await;
    made.map_err(|error| error.map(|text| masker.redact(&text, words(&old), values(&old))))
}

/// Creates the successor, and proves it. Nothing is left when that fails.
async fn create(engine: &Engine, change: &Change, wanted: &Successor) -> Result<(), NodeError> {
    let name = &change.container;
    let failed = |why: String| NodeError::Failed(engine.says(format!("container {name}: {why}")));
    let path = format!("/containers/create?name={}", name.next());
    let created = engine.json(Method::POST, &path, Some(&wanted.body)).await?.ok_or_else(|| {
        failed(format!("the image {} is not on the node; pull it first (sonoba prefetch)", change.to))
    })?;
    let finished = finish(engine, &wanted.body, &wanted.networks, &created).await;
    if finished.is_err() {
        // The reason for giving up is what counts.
        if let Err(error) = remove(engine, &name.next()).await {
            tracing::debug!(%error, "a container that was not as asked is still there");
        }
    }
    finished.map_err(|error| match error {
        NodeError::Failed(why) if why.starts_with("differs") => failed(format!("its successor {why}")),
        other => other,
    })
}

/// What is nobody's business besides the arguments: the values of environment, labels and log options.
fn values(container: &Value) -> impl Iterator<Item = &str> {
    let entries = container["Config"]["Env"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let env = entries.filter_map(|entry| entry.split_once('=')).map(|(_, value)| value);
    let maps = [&container["Config"]["Labels"], &container["HostConfig"]["LogConfig"]["Config"]];
    let others = maps.into_iter().filter_map(Value::as_object).flat_map(|map| map.values()).filter_map(Value::as_str);
    env.chain(others)
}

/// Connects the networks, and proves that the container is what was asked for.
async fn finish(engine: &Engine, body: &Value, networks: &[(String, Value)], created: &Value) -> Result<(), NodeError> {
    let gone = || NodeError::Failed(engine.says("docker created a container that it does not know"));
    let id = created["Id"].as_str().filter(|id| id.bytes().all(|b| b.is_ascii_alphanumeric())).ok_or_else(gone)?;
    for (network, endpoint) in networks {
        let connect = json!({"Container": id, "EndpointConfig": endpoint});
        let network: ContainerName = network.parse().map_err(|_| {
            NodeError::Failed(engine.says(format!("the network {:?} has a name that is not supported", clean(network))))
        })?;
        engine.json(Method::POST, &format!("/networks/{network}/connect"), Some(&connect)).await?;
    }
    let new = engine.container(id).await?.ok_or_else(gone)?;
    let found = differences(body, &new);
    if found.is_empty() {
        return Ok(());
    }
    Err(NodeError::Failed(format!("differs from what was asked for, so it was removed: {}", clean(&found.join("; ")))))
}

/// Removes prepared containers.
pub(super) async fn discard(engine: &Engine, names: &[ContainerName]) -> Result<(), NodeError> {
    for name in names {
        remove(engine, &name.next()).await?;
    }
    Ok(())
}

/// Removes a prepared container, with the volumes that Docker made for it alone: those with a name, which the old
/// container has too, stay.
async fn remove(engine: &Engine, name: &str) -> Result<(), NodeError> {
    engine.json(Method::DELETE, &format!("/containers/{name}?force=true&v=true"), None).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Salt;

    /// A kubelet's inspection with a secret in every corner.
    fn inspection() -> Value {
        json!({
            "Id": "c1", "Image": "sha256:1", "Path": "kubelet", "Args": ["--v=2", "--token=hunter2", "--api-key", "hunter2"],
            "State": {"Running": true, "StartedAt": "2026-11-01T00:00:00Z"},
            "Config": {
                "Image": "ghcr.io/cybozu/kubernetes:1.35.6.1",
                "Cmd": ["--v=2", "--token=hunter2"],
                "Env": ["TOKEN=hunter2", "PATH=/bin"],
                "Labels": {"com.cybozu.cke": "{\"extra_env\":{\"TOKEN\":\"hunter2\"}}", "pass": "hunter2"},
            },
            "HostConfig": {"LogConfig": {"Type": "splunk", "Config": {"splunk-token": "hunter2"}}},
        })
    }

    fn masker() -> Masker {
        Masker::new(Salt::new([1; 32]), [])
    }

    #[test]
    fn of_a_container_nothing_secret_is_kept() {
        let running = read(&masker(), &"kubelet".parse().unwrap(), &inspection()).unwrap();
        let kept = serde_json::to_string(&running).unwrap() + &format!("{running:?}");
        assert!(!kept.contains("hunter2"), "{kept}");
        assert_eq!(running.args[..2], ["kubelet", "--v=2"]);
        assert!(running.args[2].starts_with("--token=(masked:"), "{:?}", running.args);
    }

    #[test]
    fn what_docker_says_of_it_is_said_without_its_secrets() {
        let old = inspection();
        let said = masker().redact("invalid TOKEN=hunter2, --token=hunter2", words(&old), values(&old));
        assert_eq!(said, "invalid TOKEN=(masked), (masked)");
    }
}
