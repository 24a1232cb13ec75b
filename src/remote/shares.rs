//! What containers have in common: namespaces and volumes that one takes from another. Docker keeps the other by its id, so that
//! whoever shares with a container that is replaced is left without, or cannot be started again.

use crate::fleet::clean_short;
use crate::plan::Share;
use serde_json::Value;

/// The settings of `HostConfig` that name another container as `container:ID`.
const NAMESPACES: [(&str, &str); 5] = [
    ("NetworkMode", "network"),
    ("PidMode", "process namespace"),
    ("IpcMode", "IPC namespace"),
    ("UTSMode", "host name"),
    ("UsernsMode", "user namespace"),
];
/// So many are named.
const MOST: usize = 10;

/// What this container (its inspection) takes from others.
pub(super) fn taken(container: &Value) -> Vec<Share> {
    let host = &container["HostConfig"];
    let share = |what: &str, of: &str| Share { what: what.into(), of: clean_short(of, 100) };
    let spaces = NAMESPACES.iter().filter_map(|(key, what)| {
        let of = host[*key].as_str()?.strip_prefix("container:")?;
        Some(share(what, of))
    });
    let volumes = host["VolumesFrom"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let volumes = volumes.map(|from| {
        let name = from.strip_suffix(":ro").or_else(|| from.strip_suffix(":rw")).unwrap_or(from);
        share("volumes", name)
    });
    spaces.chain(volumes).take(MOST).collect()
}

/// The names of the containers in a list of Docker's that use the network of the container with this id.
pub(super) fn guests(list: &Value, id: &str) -> Vec<String> {
    let uses = |c: &&Value| {
        c["HostConfig"]["NetworkMode"].as_str().and_then(|mode| mode.strip_prefix("container:")) == Some(id)
    };
    let name = |c: &Value| Some(clean_short(c["Names"][0].as_str()?.trim_start_matches('/'), 100));
    let all = list.as_array().into_iter().flatten().filter(uses).filter_map(name);
    if id.is_empty() { Vec::new() } else { all.take(MOST).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn namespaces_and_volumes_of_others_are_found() {
        let own = json!({"HostConfig": {
            "NetworkMode": "host", "PidMode": "", "IpcMode": "private", "UTSMode": "host", "VolumesFrom": null
        }});
        assert_eq!(taken(&own), []);
        let others = json!({"HostConfig": {
            "NetworkMode": "container:c0ffee", "PidMode": "container:c0ffee", "IpcMode": "container:beef",
            "VolumesFrom": ["data:ro", "more", 1]
        }});
        let found = taken(&others).into_iter().map(|s| format!("{} of {}", s.what, s.of)).collect::<Vec<_>>();
        assert_eq!(
            found,
            [
                "network of c0ffee",
                "process namespace of c0ffee",
                "IPC namespace of beef",
                "volumes of data",
                "volumes of more"
            ]
        );
        assert_eq!(taken(&json!({})), []);
    }

    #[test]
    fn whoever_uses_a_containers_network_is_named() {
        let list = json!([
            {"Names": ["/probe"], "HostConfig": {"NetworkMode": "container:c0ffee"}},
            {"Names": ["/other"], "HostConfig": {"NetworkMode": "container:beef"}},
            {"Names": ["/kubelet"], "HostConfig": {"NetworkMode": "host"}},
            {"Names": null}
        ]);
        assert_eq!(guests(&list, "c0ffee"), ["probe"]);
        assert!(guests(&list, "").is_empty() && guests(&json!(null), "c0ffee").is_empty());
    }
}
