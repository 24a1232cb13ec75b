//! What may differ between `docker inspect` of a component before and after its swap.

use serde_json::Value;
use std::collections::BTreeMap;

/// Image, ids, times, and what Docker itself derives from the id: paths, process and network sandbox.
const MAY_DIFFER: [&str; 14] = [
    "/Id",
    "/Created",
    "/Image",
    "/Config/Image",
    "/State/StartedAt",
    "/State/FinishedAt",
    "/State/Pid",
    "/ResolvConfPath",
    "/HostnamePath",
    "/HostsPath",
    "/LogPath",
    "/GraphDriver/Data/",
    "/NetworkSettings/SandboxID",
    "/NetworkSettings/Networks/host/EndpointID",
];

/// All other differences, one a line: `PATH: before -> after`.
pub fn differences(before: &Value, after: &Value) -> Vec<String> {
    let (before, after) = (flat(before), flat(after));
    let mut paths: Vec<&String> = before.keys().chain(after.keys()).collect();
    paths.sort();
    paths.dedup();
    let may = |path: &str| MAY_DIFFER.iter().any(|m| path == *m || (m.ends_with('/') && path.starts_with(m)));
    let show = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
    paths
        .into_iter()
        .filter(|path| before.get(*path) != after.get(*path) && !may(path))
        .map(|path| format!("{path}: {} -> {}", show(before.get(path)), show(after.get(path))))
        .collect()
}

/// Every leaf by its path. Docker writes "none" as `null`, `[]` or `{}` depending on who asked: all of them are left out.
fn flat(value: &Value) -> BTreeMap<String, Value> {
    fn walk(path: &str, value: &Value, leaves: &mut BTreeMap<String, Value>) {
        match value {
            Value::Null => {}
            Value::Object(fields) => fields.iter().for_each(|(name, v)| walk(&format!("{path}/{name}"), v, leaves)),
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(i, v)| walk(&format!("{path}/{i}"), v, leaves));
            }
            leaf => {
                leaves.insert(path.to_owned(), leaf.clone());
            }
        }
    }
    let mut leaves = BTreeMap::new();
    let mut value = value.clone();
    // Docker gives mounts in no order.
    if let Some(mounts) = value["Mounts"].as_array_mut() {
        mounts.sort_by_key(|mount| mount["Destination"].to_string());
    }
    walk("", &value, &mut leaves);
    leaves
}

#[test]
fn what_must_be_kept_is_told_from_what_may_change() {
    let before = serde_json::json!({
        "Id": "a", "Image": "sha256:1", "State": {"Pid": 1, "Running": true},
        "Config": {"Image": "x:1", "Env": ["A=1"], "Labels": null},
        "HostConfig": {"Binds": ["/a:/a:ro"], "Ulimits": [{"Name": "nofile", "Soft": 1}], "CapAdd": []},
        "Mounts": [{"Destination": "/b"}, {"Destination": "/a"}],
    });
    let mut after = before.clone();
    after["Id"] = "b".into();
    after["Image"] = "sha256:2".into();
    after["State"]["Pid"] = 2.into();
    after["Config"]["Image"] = "x:2".into();
    after["Config"]["Labels"] = serde_json::json!({});
    after["HostConfig"]["CapAdd"] = Value::Null;
    after["Mounts"] = serde_json::json!([{"Destination": "/a"}, {"Destination": "/b"}]);
    assert_eq!(differences(&before, &after), [""; 0]);
    after["State"]["Running"] = false.into();
    after["Config"]["Env"] = serde_json::json!(["A=1", "B=2"]);
    after["HostConfig"]["Ulimits"] = serde_json::json!([]);
    assert_eq!(
        differences(&before, &after),
        [
            "/Config/Env/1: nothing -> \"B=2\"",
            "/HostConfig/Ulimits/0/Name: \"nofile\" -> nothing",
            "/HostConfig/Ulimits/0/Soft: 1 -> nothing",
            "/State/Running: true -> false",
        ]
    );
}
