//! What Docker says of a container and of an image.

use crate::sim::clock::Clock;
use crate::sim::model::{Container, Machine, State, digest, image_id};
use serde_json::{Map, Value, json};

/// The moment that Docker writes for "never".
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The state's word.
pub(crate) fn status(container: &Container) -> &'static str {
    match container.state {
        State::Created | State::Starting { .. } => "created",
        State::Running | State::Stopping { .. } => "running",
        State::Exited { .. } => "exited",
    }
}

/// The answer to an inspection.
pub(crate) fn container(machine: &Machine, container: &Container, clock: &Clock) -> Value {
    let body = &container.body;
    // What was posted comes back whole: in Config all but the host's and the network's part.
    let mut config: Map<String, Value> = body.as_object().cloned().unwrap_or_default();
    let mut host = config.remove("HostConfig").unwrap_or_else(|| json!({}));
    config.remove("NetworkingConfig");
    if host["RestartPolicy"].is_null() && host.is_object() {
        host["RestartPolicy"] = container.restart_policy();
    }
    let words = |key: &str| -> Vec<String> {
        let all = body[key].as_array().into_iter().flatten();
        all.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut command = words("Entrypoint");
    command.extend(words("Cmd"));
    let at = |ms: i64| clock.at(ms).strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string();
    let (exit_code, finished) = match container.state {
        State::Exited { at: ended, code } => (code, at(ended)),
        _ => (0, NEVER.to_owned()),
    };
    let mode = host["NetworkMode"].as_str().unwrap_or("default").to_owned();
    let id = container.id.as_str();
    json!({
        "Id": id,
        "Created": at(container.created),
        "Path": command.first().cloned().unwrap_or_default(),
        "Args": command.iter().skip(1).collect::<Vec<_>>(),
        "State": {
            "Status": status(container),
            "Running": container.running(),
            "Paused": false,
            "Restarting": false,
            "OOMKilled": false,
            "Dead": false,
            "Pid": if container.running() { 1_000 + i64::from(id.bytes().map(u32::from).sum::<u32>()) } else { 0 },
            "ExitCode": exit_code,
            "Error": "",
            "StartedAt": container.started.map_or(NEVER.to_owned(), at),
            "FinishedAt": finished,
        },
        "Image": image_id(container.image()),
        "ResolvConfPath": format!("/var/lib/docker/containers/{id}/resolv.conf"),
        "HostnamePath": format!("/var/lib/docker/containers/{id}/hostname"),
        "HostsPath": format!("/var/lib/docker/containers/{id}/hosts"),
        "LogPath": "",
        "Name": format!("/{}", container.name),
        "RestartCount": container.restarts,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "docker-default",
        "ExecIDs": null,
        "HostConfig": host.clone(),
        "GraphDriver": {"Name": "overlay2", "Data": {"MergedDir": format!("/var/lib/docker/overlay2/{id}/merged")}},
        "Mounts": mounts(&host),
        "Config": config,
        "NetworkSettings": {"Networks": {mode: {
            "NetworkID": digest(&["network", machine.spec.name.as_str()]),
            "EndpointID": if container.running() { digest(&["endpoint", id]) } else { String::new() },
        }}},
    })
}

fn mounts(host: &Value) -> Vec<Value> {
    let binds = host["Binds"].as_array().into_iter().flatten().filter_map(Value::as_str);
    binds
        .filter_map(|bind| {
            let mut parts = bind.splitn(3, ':');
            let (source, target, mode) = (parts.next()?, parts.next()?, parts.next().unwrap_or(""));
            let rw = !mode.split(',').any(|m| m == "ro");
            Some(match source.starts_with('/') {
                true => json!({
                    "Type": "bind", "Source": source, "Destination": target, "Mode": mode, "RW": rw,
                    "Propagation": if mode.contains("rshared") { "rshared" } else { "rprivate" },
                }),
                false => json!({
                    "Type": "volume", "Name": source, "Source": format!("/var/lib/docker/volumes/{source}/_data"),
                    "Destination": target, "Driver": "local", "Mode": mode, "RW": rw, "Propagation": "",
                }),
            })
        })
        .collect()
}

/// A container's line in a list.
pub(crate) fn summary(machine: &Machine, container: &Container, clock: &Clock, now: i64) -> Value {
    let full = self::container(machine, container, clock);
    let since = container.started.unwrap_or(container.created);
    let hours = (now - since) / 3_600_000;
    let text = match container.state {
        State::Created | State::Starting { .. } => "Created".to_owned(),
        State::Running | State::Stopping { .. } if hours >= 48 => format!("Up {} days", hours / 24),
        State::Running | State::Stopping { .. } => format!("Up {} seconds", (now - since) / 1000),
        State::Exited { code, .. } => format!("Exited ({code})"),
    };
    let command: Vec<&str> = full["Config"]["Cmd"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    json!({
        "Id": container.id,
        "Names": [full["Name"]],
        "Image": container.image(),
        "ImageID": full["Image"],
        "Command": command.join(" "),
        "Created": clock.at(container.created).as_second(),
        "Ports": [],
        "Labels": full["Config"]["Labels"],
        "State": status(container),
        "Status": text,
        "HostConfig": {"NetworkMode": full["HostConfig"]["NetworkMode"]},
        "NetworkSettings": full["NetworkSettings"],
        "Mounts": full["Mounts"],
    })
}

/// The answer to an image's inspection.
pub(crate) fn image(image: &str, id: &str) -> Value {
    let name = image.rsplit_once(':').map_or(image, |(name, _)| name);
    json!({
        "Id": id,
        "RepoTags": [image],
        "RepoDigests": [format!("{name}@sha256:{}", digest(&["manifest", image]))],
        "Created": "2026-08-20T02:11:43.000000000Z",
        "Architecture": "amd64",
        "Os": "linux",
        "Size": 236_000_000,
        "Config": {"Env": ["PATH=/usr/local/kubernetes/bin:/usr/bin:/bin"], "Cmd": null, "Entrypoint": null},
        "RootFS": {"Type": "layers", "Layers": [format!("sha256:{}", digest(&["layer", image]))]},
    })
}
