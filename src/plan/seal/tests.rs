use super::*;
use crate::plan::samples::{cluster, stage};
use crate::plan::{After, GateRule, OwnGate, Settings, make};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

/// A plan with everything in it: masters and workers, arguments, findings, a gate of the operator's own.
fn plan() -> Plan {
    let mut cluster = cluster(3, 12, 3);
    for running in cluster.nodes.values_mut().flat_map(|n| n.components.values_mut()) {
        running.args = vec!["--v=2".into()];
    }
    let mut settings = Settings::default();
    settings.gates.push(gate());
    let mut plan = make(&cluster, &stage(), &settings, Timestamp::UNIX_EPOCH);
    let swaps = plan.phases.iter_mut().flat_map(|p| &mut p.waves).flat_map(|w| &mut w.swaps);
    for change in swaps.flat_map(|s| &mut s.changes) {
        change.args = serde_json::from_value(json!([{"add": {"args": ["--v=3"]}}])).unwrap();
    }
    plan
}

fn gate() -> GateRule {
    let own: OwnGate = serde_json::from_value(json!({
        "name": "ceph", "question": {"command": {"argv": ["ceph", "health"], "exit": 0}},
        "timeout_ms": 60000, "interval_ms": 1000, "limit_ms": 10000
    }))
    .unwrap();
    GateRule { after: After::workers(), gate: own }
}

/// The plan's file, and the same as JSON to be edited.
fn file() -> (String, Value) {
    let text = serde_json::to_string_pretty(&plan().sealed().unwrap()).unwrap();
    let value = serde_json::from_str(&text).unwrap();
    (text, value)
}

fn check(value: &Value) -> String {
    check_seal(value.to_string().as_bytes()).map_or_else(|broken| broken.to_string(), |()| "holds".into())
}

/// The place of a field in JSON Pointer's form (RFC 6901).
fn pointer(field: &str) -> String {
    format!("/{}", field.replace("[\"", ".").replace("\"]", "").replace('[', ".").replace(']', "").replace('.', "/"))
}

#[test]
fn every_edit_of_one_field_is_refused_by_the_fields_name() {
    let (text, whole) = file();
    assert_eq!(check_seal(text.as_bytes()), Ok(()));
    let edits = [
        ("format", json!(2)),
        ("created", json!("2026-01-01T00:00:00Z")),
        ("release", json!("1.36.3")),
        ("bumps[0].to", json!("evil.example.com/etcd:3.6.11.1")),
        ("limits.canary", json!(500)),
        ("limits.max_parallel", json!(500)),
        ("limits.soak_ms", json!(0)),
        ("limits.gate_timeout_ms", json!(1)),
        ("budget.failed_swaps", json!(1000)),
        ("budget.not_ready_nodes", json!(1000)),
        ("budget.disturbed_pods", json!(1000)),
        ("components.kubelet.health", json!("tcp://127.0.0.1:22")),
        ("components.kubelet.deadline_ms", json!(1)),
        ("findings[0].severity", json!("info")),
        ("findings[0].text", json!("all is well")),
        ("estimate.work_ms", json!(1)),
        ("phases[0].pulls[3].images[0]", json!("evil.example.com/kubernetes:1.36.2.1")),
        ("phases[2].waves[0].max_parallel", json!(3)),
        ("phases[2].waves[1].swaps[0].node", json!("rack0-m1")),
        ("phases[2].waves[1].swaps[0].changes[0].to", json!("evil.example.com/etcd:3.6.11.1")),
        ("phases[2].waves[1].swaps[0].changes[0].component", json!("kubelet")),
        ("phases[2].waves[1].swaps[0].changes[0].from_id", json!("")),
        ("phases[2].waves[1].swaps[0].changes[0].args[0].add.args[0]", json!("--v=0")),
        ("phases[2].waves[1].swaps[0].deadline_ms", json!(3_600_000)),
        ("fingerprint", json!("00")),
        ("cluster.name", json!("osaka0")),
        ("cluster.nodes.rack0-m1.address", json!("192.0.2.1")),
        ("cluster.nodes.rack0-m1.components.kubelet.args[0]", json!("--v=9")),
        ("cluster.nodes.rack0-m1.ready", json!(false)),
        ("asked.scope", json!({"racks": ["rack0"]})),
        ("seal.fields", json!("")),
    ];
    for (field, to) in edits {
        let mut edited = whole.clone();
        let place = edited.pointer_mut(&pointer(field)).unwrap_or_else(|| panic!("no {field}"));
        assert_ne!(*place, to, "{field}");
        *place = to;
        let said = check(&edited);
        let named = said.strip_prefix("was changed after it was made: ").unwrap_or_else(|| panic!("{field}: {said}"));
        // An object that is put in a value's place, or the other way round, is named as well as what is in it.
        assert!(named == field || named.starts_with(&format!("{field}.")), "{field}: {said}");
    }
    // Any value of another type too.
    let mut edited = whole.clone();
    edited["limits"] = json!("none");
    assert_eq!(check(&edited), "was changed after it was made: limits");
}

#[test]
fn gates_and_arguments_are_sealed_too() {
    let (_, whole) = file();
    let phases = whole["phases"].as_array().unwrap();
    let (at, gate) = phases
        .iter()
        .enumerate()
        .find_map(|(p, phase)| {
            let gates = phase["waves"][0]["gates"].as_array()?;
            Some((p, gates.iter().position(|gate| gate.get("own").is_some())?))
        })
        .expect("a gate of the operator's own");
    let mut edited = whole.clone();
    edited["phases"][at]["waves"][0]["gates"][gate]["own"]["question"]["command"]["argv"][1] = json!("status");
    let said = check(&edited);
    assert!(said.ends_with(&format!(": phases[{at}].waves[0].gates[{gate}].own.question.command.argv[1]")), "{said}");
    let mut edited = whole.clone();
    edited["phases"][at]["waves"][0]["gates"].as_array_mut().unwrap().remove(gate);
    let said = check(&edited);
    assert!(said.ends_with(&format!(": phases[{at}].waves[0].gates[{gate}] (removed)")), "{said}");
}

#[test]
fn what_is_added_or_removed_is_named() {
    let (_, whole) = file();
    let said = |edit: fn(&mut Value)| {
        let mut edited = whole.clone();
        edit(&mut edited);
        check(&edited)
    };
    let removed = said(|plan| drop(plan["limits"].as_object_mut().unwrap().remove("gate_timeout_ms")));
    assert_eq!(removed, "was changed after it was made: limits.gate_timeout_ms (removed)");
    let added = said(|plan| plan["limits"]["ramp"] = json!(["100%"]));
    assert_eq!(added, "was changed after it was made: limits.ramp (added)");
    let unknown = said(|plan| plan["extra"] = Value::Null);
    assert_eq!(unknown, "was changed after it was made: extra (added)");
    // What follows in the list has moved, and is as it was.
    let out = said(|plan| drop(plan["phases"][7]["waves"][0]["swaps"].as_array_mut().unwrap().remove(1)));
    assert_eq!(out, "was changed after it was made: phases[7].waves[0].swaps[1] (removed)");
    let twice = said(|plan| {
        let findings = plan["findings"].as_array_mut().unwrap();
        findings.insert(0, json!({"code": "x"}));
    });
    assert_eq!(twice, "was changed after it was made: findings[0] (added)");
    let node = said(|plan| drop(plan["cluster"]["nodes"].as_object_mut().unwrap().remove("rack1-cs1")));
    assert_eq!(node, "was changed after it was made: cluster.nodes.rack1-cs1 (removed)");
    let gone = said(|plan| plan["findings"] = json!([]));
    assert!(gone.starts_with("was changed after it was made: findings[0] (removed)"), "{gone}");
    // A name that is no plain word stands in quotation marks, and cleaned.
    let odd = said(|plan| plan["cluster"]["nodes"]["a.b\u{1b}"] = json!(1));
    assert_eq!(odd, "was changed after it was made: cluster.nodes[\"a.b\"] (added)");
    let many = said(|plan| {
        for n in 0..8 {
            plan["cluster"]["nodes"]["rack0-m1"][format!("x{n}")] = json!(n);
        }
    });
    assert!(many.ends_with(" and 3 more fields"), "{many}");
}

#[test]
fn a_seal_that_was_taken_out_or_edited_is_no_seal() {
    let (_, whole) = file();
    let mut without = whole.clone();
    without.as_object_mut().unwrap().remove("seal");
    assert_eq!(check(&without), "has no seal");
    for (field, to) in [("sha256", json!("00")), ("fields", json!("%")), ("more", json!(1))] {
        let mut edited = whole.clone();
        edited["seal"][field] = to;
        assert!(check(&edited).starts_with("was changed after it was made: seal"), "{field}: {}", check(&edited));
    }
    let mut other = whole.clone();
    other["seal"] = json!(null);
    assert!(check(&other).contains("seal"));
    // The seal of another plan does not fit.
    let mut plan = plan();
    plan.limits.canary += 1;
    other["seal"] = serde_json::to_value(plan.sealed().unwrap().seal).unwrap();
    assert_eq!(check(&other), "was changed after it was made: limits.canary");
    assert_eq!(check_seal(b"["), Err(Broken::Missing));
    assert_eq!(check_seal(b"[]"), Err(Broken::Missing));
}

#[test]
fn white_space_and_the_order_of_keys_may_be_others() {
    let (text, whole) = file();
    assert_eq!(check_seal(whole.to_string().as_bytes()), Ok(()));
    assert_eq!(check_seal(text.replace('\n', "\r\n\t ").as_bytes()), Ok(()));
    // Field by field in the inverse order.
    let fields = whole.as_object().unwrap().iter().rev();
    let turned: Vec<String> = fields.map(|(key, value)| format!("{}:{value}", json!(key))).collect();
    assert_eq!(check_seal(format!("{{{}}}", turned.join(",")).as_bytes()), Ok(()));
}

#[test]
fn a_plan_that_was_read_can_be_sealed_again_with_the_same_seal() {
    let sealed = plan().sealed().unwrap();
    assert_eq!(sealed.sealed().unwrap(), sealed);
    // Also one with a text that is cleaned when it is read.
    let mut odd = plan();
    odd.release = Some("\u{1b}[2J\u{202e}x".into());
    let sealed = odd.sealed().unwrap();
    let text = serde_json::to_vec(&sealed).unwrap();
    assert_eq!(check_seal(&text), Ok(()));
    let read: Plan = read_clean(&text).unwrap();
    assert_eq!(read.sealed().unwrap().seal, sealed.seal);
}

#[test]
fn the_seal_of_a_large_plan_is_small() {
    let plan = make(&cluster(5, 1_000, 20), &stage(), &Settings::default(), Timestamp::UNIX_EPOCH);
    let bare = serde_json::to_string_pretty(&plan).unwrap().len();
    let sealed = serde_json::to_string_pretty(&plan.sealed().unwrap()).unwrap().len();
    assert!(sealed < bare + bare / 10, "{bare} bytes became {sealed}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whichever value it is.
    #[test]
    fn an_edit_anywhere_is_found(at in any::<prop::sample::Index>(), to in any::<u64>()) {
        let (_, mut edited) = file();
        edited.as_object_mut().unwrap().remove("seal");
        let seal = serde_json::to_value(Seal::of(&mut edited.clone())).unwrap();
        let mut leaves = Vec::new();
        collect(&edited, String::new(), &mut leaves);
        let place = at.get(&leaves).clone();
        *edited.pointer_mut(&place).unwrap() = json!(format!("edited {to}"));
        edited["seal"] = seal;
        let said = check(&edited);
        let field = said.strip_prefix("was changed after it was made: ").unwrap();
        prop_assert_eq!(pointer(field), place);
    }

    #[test]
    fn any_text_is_checked_without_a_panic(text in "\\PC{0,60}", fields in "[A-Za-z0-9+/]{0,60}") {
        let _ = check_seal(text.as_bytes());
        let plan = json!({"a": [1, {"b": text}], "seal": {"sha256": "", "fields": fields}});
        prop_assert!(check_seal(plan.to_string().as_bytes()).is_err());
    }
}

fn collect(value: &Value, place: String, leaves: &mut Vec<String>) {
    match value {
        Value::Array(all) => all.iter().enumerate().for_each(|(i, v)| collect(v, format!("{place}/{i}"), leaves)),
        Value::Object(all) => all.iter().for_each(|(k, v)| collect(v, format!("{place}/{k}"), leaves)),
        _ => leaves.push(place),
    }
}
