//! The configuration of a container's successor: everything that the running one has, on another image. Pure.
//!
//! What `docker inspect` shows of a container mixes what was asked for with what its image brought along. The image's
//! part is taken out again, so that the new image's defaults apply there, as a fresh `docker run` with the same
//! arguments would have it. All else is passed on as raw JSON, fields that we have never heard of included.

use crate::fleet::{Image, is_masked};
use crate::plan::ArgEdit;
use serde_json::{Map, Value, json};

/// What to ask Docker for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Successor {
    /// The body of `POST /containers/create`.
    pub body: Value,
    /// Networks to connect before the first start, each with its endpoint's configuration: one alone can be named when
    /// a container is created through APIs before 1.44.
    pub networks: Vec<(String, Value)>,
}

/// Docker's short form of a container's id, which it also makes the host name of. Characters.
const SHORT_ID: usize = 12;
/// Settings of which zero, or false, is a word of its own: where nothing is asked for, a default applies that is another.
const ZERO_COUNTS: [&str; 3] = ["StopTimeout", "MemorySwappiness", "Init"];
/// Fields of `Config` that an image may set, and that are taken out where they only repeat it.
const FROM_IMAGE: [&str; 8] =
    ["WorkingDir", "User", "StopSignal", "Healthcheck", "Shell", "OnBuild", "ArgsEscaped", "StopTimeout"];

/// The successor of `old` (its inspection) on the image `to`, with `edits` made to its arguments. `image` is the inspection of
/// the image that `old` runs.
///
/// Its restart policy is harmless while it waits: Docker does not start by itself what has never run.
///
/// # Errors
/// When the container cannot have a successor, and why.
pub(super) fn successor(old: &Value, image: &Value, to: &Image, edits: &[ArgEdit]) -> Result<Successor, String> {
    let object = |key: &str| old[key].as_object().cloned().ok_or_else(|| format!("docker does not state its {key}"));
    let mut config = object("Config")?;
    let mut host = object("HostConfig")?;
    if host.get("AutoRemove").and_then(Value::as_bool).unwrap_or(false) {
        return Err("it is removed when it stops (--rm), so there would be no way back; run it without --rm".into());
    }
    let network = host.get("NetworkMode").and_then(Value::as_str).unwrap_or("default").to_owned();

    let arguments = edited(&config, edits)?;
    without_defaults(&mut config, &image["Config"]);
    config.extend(arguments);
    config.insert("Image".into(), json!(to.as_str()));
    let id = old["Id"].as_str().unwrap_or("");
    let host_name = config.get("Hostname").and_then(Value::as_str).unwrap_or("");
    // Docker makes one from the id, and shows the node's own where that is shared; neither was asked for. A shorter name that the id
    // happens to begin with was.
    let made = host_name.len() == SHORT_ID && id.starts_with(host_name);
    let shared = host.get("UTSMode").and_then(Value::as_str) == Some("host") || network.starts_with("container:");
    if made || shared {
        config.remove("Hostname");
    }
    if shared {
        config.remove("Domainname");
    }
    config.retain(|_, value| !value.is_null());

    carry_volumes(&mut host, old)?;

    let mut networks = endpoints(old, &network, id);
    let mut body = config;
    body.insert("HostConfig".into(), Value::Object(host));
    if let Some(first) = networks.iter().position(|(name, _)| *name == network) {
        let (name, endpoint) = networks.remove(first);
        body.insert("NetworkingConfig".into(), json!({"EndpointsConfig": {name: endpoint}}));
    }
    Ok(Successor { body: Value::Object(body), networks })
}

/// Takes out of `config` what only repeats the image's own configuration.
fn without_defaults(config: &mut Map<String, Value>, image: &Value) {
    for key in FROM_IMAGE {
        if as_asked(key, config.get(key).unwrap_or(&Value::Null), &image[key]) {
            config.remove(key);
        }
    }
    if let Some(env) = config.get_mut("Env").and_then(Value::as_array_mut) {
        let default = image["Env"].as_array();
        env.retain(|entry| !default.is_some_and(|d| d.contains(entry)));
    }
    for key in ["Labels", "Volumes", "ExposedPorts"] {
        if let Some(map) = config.get_mut(key).and_then(Value::as_object_mut) {
            map.retain(|name, value| image[key].get(name) != Some(value));
        }
    }
    let value = |key: &str| config.get(key).cloned().unwrap_or_default();
    let (entry, command) = (value("Entrypoint"), value("Cmd"));
    if same(&entry, &image["Entrypoint"]) {
        config.remove("Entrypoint");
        if same(&command, &image["Cmd"]) {
            config.remove("Cmd");
        }
    } else if empty(&entry) {
        // The image's entry point was taken away by hand; Docker writes that so.
        config.insert("Entrypoint".into(), json!([""]));
    }
    // With an entry point of the container's own, the image's Cmd never applied: what stands there was asked for.
}

/// Entry point and command after these edits, as far as they differ from what the old container has. What is edited is asked
/// for in words, even where the image brought it along: it is what the operator has seen.
fn edited(config: &Map<String, Value>, edits: &[ArgEdit]) -> Result<Map<String, Value>, String> {
    let words = |key: &str| -> Result<Vec<String>, String> {
        let all = config.get(key).and_then(Value::as_array).into_iter().flatten();
        let word = |v: &Value| v.as_str().map(str::to_owned).ok_or(format!("docker states a {key} that is no text"));
        all.map(word).collect()
    };
    let mut changed = Map::new();
    if edits.is_empty() {
        return Ok(changed);
    }
    // The plan's own picture of the arguments is masked; the node's are changed, and no mask may come among them.
    if edits.iter().any(|edit| edit.brings().iter().any(|arg| is_masked(arg))) {
        return Err("the plan would set an argument to a masked value; make a new plan".into());
    }
    let (entry, command) = (words("Entrypoint")?, words("Cmd")?);
    let before = [entry.as_slice(), command.as_slice()].concat();
    let after = ArgEdit::apply_all(edits, &before);
    if after == before {
        return Ok(changed);
    }
    // An empty command would be taken for one that was not asked for: the new image's own would come in.
    match after.strip_prefix(entry.as_slice()).filter(|rest| !rest.is_empty()) {
        Some(rest) => {
            changed.insert("Cmd".into(), json!(rest));
        }
        None => {
            changed.insert("Entrypoint".into(), json!(after));
            changed.insert("Cmd".into(), Value::Array(Vec::new()));
        }
    }
    Ok(changed)
}

/// Mounts the very same volumes, those without a name too: Docker would make new, empty ones of them.
fn carry_volumes(host: &mut Map<String, Value>, old: &Value) -> Result<(), String> {
    let mut added = Vec::new();
    for mount in old["Mounts"].as_array().into_iter().flatten() {
        let (Some("volume"), Some(name), Some(place)) =
            (mount["Type"].as_str(), mount["Name"].as_str(), mount["Destination"].as_str())
        else {
            continue;
        };
        let bound = host.get("Binds").and_then(Value::as_array).into_iter().flatten().any(|bind| {
            let mut parts = bind.as_str().unwrap_or("").split(':');
            parts.next();
            parts.next().is_some_and(|p| p.trim_end_matches('/') == place.trim_end_matches('/'))
        });
        if bound {
            continue;
        }
        let asked = host.get_mut("Mounts").and_then(Value::as_array_mut).into_iter().flatten();
        if let Some(asked) = asked.into_iter().find(|m| m["Target"].as_str() == Some(place)) {
            if asked["Source"].as_str().is_none_or(str::is_empty) {
                asked["Source"] = json!(name);
            }
            continue;
        }
        if place.contains(':') || name.contains(':') {
            return Err(format!("its volume at {place:?} has a colon in its name and cannot be carried over"));
        }
        let mode = if mount["RW"].as_bool() == Some(false) { ":ro" } else { "" };
        added.push(json!(format!("{name}:{place}{mode}")));
    }
    if !added.is_empty() {
        match host.get_mut("Binds").and_then(Value::as_array_mut) {
            Some(binds) => binds.extend(added),
            None => drop(host.insert("Binds".into(), Value::Array(added))),
        }
    }
    Ok(())
}

/// The endpoints of networks that take a configuration, as it was asked for.
fn endpoints(old: &Value, mode: &str, id: &str) -> Vec<(String, Value)> {
    if ["host", "none", "default", "bridge", ""].contains(&mode) || mode.starts_with("container:") {
        return Vec::new();
    }
    let networks = old["NetworkSettings"]["Networks"].as_object();
    let asked = |endpoint: &Value| {
        let mut asked = Map::new();
        for key in ["IPAMConfig", "Links", "DriverOpts", "GwPriority"] {
            if let Some(value) = endpoint.get(key).filter(|v| !empty(v)) {
                asked.insert(key.into(), value.clone());
            }
        }
        let aliases: Vec<&Value> = endpoint["Aliases"].as_array().into_iter().flatten().collect();
        // Docker adds the container's short id by itself.
        let aliases: Vec<&Value> =
            aliases.into_iter().filter(|a| !a.as_str().is_some_and(|a| a.len() >= 12 && id.starts_with(a))).collect();
        if !aliases.is_empty() {
            asked.insert("Aliases".into(), json!(aliases));
        }
        Value::Object(asked)
    };
    networks.into_iter().flatten().map(|(name, endpoint)| (name.clone(), asked(endpoint))).collect()
}

/// What of the asked `body` the created container `new` (its inspection) does not have; empty when it has all.
pub(super) fn differences(body: &Value, new: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let none = Map::new();
    let (asked, got) =
        (body["HostConfig"].as_object().unwrap_or(&none), new["HostConfig"].as_object().unwrap_or(&none));
    for key in asked.keys().chain(got.keys().filter(|k| !asked.contains_key(*k))) {
        let (a, b) = (asked.get(key).unwrap_or(&Value::Null), got.get(key).unwrap_or(&Value::Null));
        if !as_asked(key, a, b) {
            found.push(format!("HostConfig.{key}{}", became(a, b)));
        }
    }
    for (key, a) in body.as_object().unwrap_or(&none) {
        let b = &new["Config"][key];
        let kept = match key.as_str() {
            "HostConfig" | "NetworkingConfig" => true,
            "Entrypoint" if *a == json!([""]) => empty(b),
            // The new image adds its own.
            "Env" => a.as_array().into_iter().flatten().all(|e| b.as_array().is_some_and(|b| b.contains(e))),
            "Labels" | "Volumes" | "ExposedPorts" => {
                a.as_object().into_iter().flatten().all(|(name, value)| b.get(name) == Some(value))
            }
            _ => as_asked(key, a, b),
        };
        if !kept {
            // Not the values: an environment may hold what is nobody's business.
            found.push(format!("Config.{key}"));
        }
    }
    found
}

/// What a setting was and is, where that is a number or the like. Texts are left out: a log driver's options may hold a token.
fn became(a: &Value, b: &Value) -> String {
    let plain = |v: &Value| matches!(v, Value::Null | Value::Bool(_) | Value::Number(_));
    if plain(a) && plain(b) { format!(": {a} became {b}") } else { String::new() }
}

/// Docker writes "nothing" as null, as an empty list, text or object, as false or as zero, and not always the same way.
fn empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.values().all(empty),
    }
}

/// Whether a setting that was asked for as `a` is there as `b`.
fn as_asked(key: &str, a: &Value, b: &Value) -> bool {
    if ZERO_COUNTS.contains(&key) && !a.is_null() { a == b } else { same(a, b) }
}

fn same(a: &Value, b: &Value) -> bool {
    a == b || (empty(a) && empty(b))
}

#[cfg(test)]
#[path = "successor_tests.rs"]
mod tests;
