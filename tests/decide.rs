//! Decisions about single nodes from outside, without a screen: the real binary against its own simulated cluster.

mod common;

use common::Lab;

/// Twenty workers in four racks, and a plan; `fault` goes wrong, and spends the budget at once.
fn start(fault: &str) -> Lab {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    let scenario = format!("[rollout]\nfailed_swaps = 1\nsoak_s = 20.0\n[[fault]]\n{fault}\n");
    std::fs::write(file.path(), scenario).unwrap();
    let size = ["--nodes", "20", "--racks", "4", "--speed", "20"];
    let lab = Lab::start(&[&size[..], &["--scenario", file.path().to_str().unwrap()]].concat());
    lab.done(&["plan", "--release", "1.36.2", "-o", "plan.json"]);
    lab
}

const BAD: &str = "node = \"rack2-cs1\"\ncomponent = \"kubelet\"\nkind = \"never-healthy\"";

#[test]
fn a_bad_node_is_skipped_with_a_reason_and_the_run_completes_without_it() {
    let lab = start(BAD);
    let told = lab.fails(4, &["apply", "plan.json", "--yes"]);
    assert!(told.contains("sonoba skip") && told.contains("sonoba retry"), "{told}");

    // What is not meant so, or cannot be, is refused before anything changes.
    assert!(lab.fails(2, &["skip", "--nodes", "rack2-cs1"]).contains("--reason"));
    assert!(lab.fails(2, &["skip", "--nodes", "rack9-*", "--reason", "x"]).contains("rack9-*"));
    assert!(lab.fails(1, &["skip", "--nodes", "rack2-cs1", "--reason", " "]).contains("reason"));
    assert!(lab.fails(1, &["override", "--gate", "soak", "--reason", "x"]).contains("does not wait"));
    assert_eq!(lab.report()["decisions"], serde_json::json!([]));

    let told = lab.done(&["skip", "latest", "--nodes", "rack2-cs[1]", "--reason", "broken disk, OPS-1"]);
    assert!(told.contains("rack2-cs1 stays as it is") && told.contains("sonoba resume"), "{told}");
    assert_eq!(lab.report()["outcome"], "paused");
    lab.done(&["resume"]);
    let report = lab.wait("completed", |r| r["outcome"] == "completed");
    assert!(report["why"].as_str().unwrap().contains("rack2-cs1"), "{report:#}");
    assert_eq!(report["swaps"]["skipped"], 1);
    assert_eq!(report["nodes"]["new"], 22);
    assert_eq!(report["pods"]["disturbed"], 0);
    let decision = &report["decisions"][0];
    assert_eq!((&decision["what"], &decision["of"]), (&"skip".into(), &"rack2-cs1".into()));
    assert_eq!(decision["why"], "broken disk, OPS-1");
    assert!(decision["by"].as_str().unwrap().contains("tester"), "{decision}");
    assert!(lab.done(&["report", "--format", "md"]).contains("## Decisions"));
    assert!(lab.done(&["report"]).contains("1 skipped"));
    assert!(lab.fails(1, &["retry"]).contains("has ended"));
}

#[test]
fn a_fault_that_heals_is_retried_and_the_run_completes() {
    let lab = start(&format!("{BAD}\ntimes = 1"));
    lab.fails(4, &["apply", "plan.json", "--yes"]);
    assert!(lab.fails(2, &["retry", "--nodes", "nobody"]).contains("nobody"));
    let told = lab.done(&["retry", "--nodes", "rack2-*"]);
    assert!(told.contains("rack2-cs1") && told.contains("sonoba resume"), "{told}");
    lab.done(&["resume"]);
    let report = lab.wait("completed", |r| r["outcome"] == "completed");
    assert_eq!(report["nodes"]["new"], 23, "{report:#}");
    assert_eq!(report["pauses"].as_array().unwrap().len(), 1);
    assert_eq!(report["pods"]["disturbed"], 0);
}

/// A plan's file with one edit, and what was said of it.
fn edited(lab: &Lab, edit: impl FnOnce(&mut serde_json::Value)) -> String {
    let mut plan = serde_json::from_slice(&std::fs::read(lab.path("plan.json")).unwrap()).unwrap();
    edit(&mut plan);
    std::fs::write(lab.path("edited.json"), plan.to_string()).unwrap();
    lab.fails(3, &["apply", "edited.json", "--yes"])
}

#[test]
fn an_edited_plan_is_refused_by_the_name_of_the_field_and_made_anew_with_other_limits() {
    let lab = start(BAD);
    let evil = "evil.example.com/kubernetes:1.36.2.1";
    type Edit = fn(&mut serde_json::Value);
    let edits: [(&str, Edit); 9] = [
        ("limits.canary", |p| p["limits"]["canary"] = 500.into()),
        ("limits.soak_ms", |p| p["limits"]["soak_ms"] = 0.into()),
        ("budget.failed_swaps", |p| p["budget"]["failed_swaps"] = 99.into()),
        ("phases[2].waves[1].swaps[0].changes[0].to", |p| {
            p["phases"][2]["waves"][1]["swaps"][0]["changes"][0]["to"] = "evil.example.com/etcd:3.6.11.1".into();
        }),
        ("phases[2].waves[0].gates[0] (removed)", |p| {
            drop(p["phases"][2]["waves"][0]["gates"].as_array_mut().unwrap().remove(0));
        }),
        ("components.kubelet.health", |p| p["components"]["kubelet"]["health"] = "nonsense".into()),
        ("findings[0] (added)", |p| p["findings"].as_array_mut().unwrap().insert(0, "x".into())),
        ("format", |p| p["format"] = 2.into()),
        ("limits.max_pulls (removed)", |p| drop(p["limits"].as_object_mut().unwrap().remove("max_pulls"))),
    ];
    for (field, edit) in edits {
        let said = edited(&lab, edit);
        assert!(said.contains(&format!("was changed after it was made: {field}\n")), "{field}: {said}");
        assert!(said.contains("make the plan anew with: sonoba plan"), "{field}: {said}");
    }
    let said = edited(&lab, |p| p["phases"][0]["pulls"][0]["images"][0] = evil.into());
    assert!(said.contains(": phases[0].pulls[0].images[0]\n"), "{said}");
    assert!(said.contains("sonoba plan --from edited.json"), "{said}");
    assert!(edited(&lab, |p| drop(p.as_object_mut().unwrap().remove("seal"))).contains("has no seal"));
    // Nothing of that became a run.
    assert!(!lab.path("state/runs").exists());

    // The same with other limits, which is planned and shown anew.
    // A suffix with letters is a build: the kubelet in it says 1.35.7, and that is newer than 1.35.6.1.
    let scope = ["--racks", "rack1", "--exclude", "rack1-cs1"];
    lab.done(&[&["plan", "--bump", "kubelet=1.35.7-debian-12-r4"], &scope[..], &["-o", "plan.json"]].concat());
    let shown = lab.done(&["plan", "--from", "plan.json", "--canary", "1", "--soak", "1s", "-o", "other.json"]);
    assert!(shown.contains("canary"), "{shown}");
    let read =
        |name: &str| -> sonoba::plan::Plan { serde_json::from_slice(&std::fs::read(lab.path(name)).unwrap()).unwrap() };
    let (plan, other) = (read("plan.json"), read("other.json"));
    assert_eq!((other.limits.canary, other.limits.soak_ms), (1, 1_000));
    assert_eq!((&other.bumps, &other.budget, &other.excluded), (&plan.bumps, &plan.budget, &plan.excluded));
    assert_eq!(other.swaps().count(), plan.swaps().count());
    let said = lab.fails(2, &["plan", "--from", "plan.json", "--racks", "rack9"]);
    assert!(said.contains("rack9"), "{said}");

    // White space and the order of keys mean nothing; and what was made so is carried out.
    let other: serde_json::Value = serde_json::to_value(&other).unwrap();
    std::fs::write(lab.path("other.json"), other.to_string()).unwrap();
    lab.done(&["apply", "other.json", "--yes"]);
    let back = lab.done(&["rollback", "latest", "-o", "back.json"]);
    assert!(back.contains("rack1"), "{back}");
    assert!(lab.fails(2, &["plan", "--from", "back.json"]).contains("sonoba rollback"));
    let mut back: serde_json::Value = serde_json::from_slice(&std::fs::read(lab.path("back.json")).unwrap()).unwrap();
    back["limits"]["soak_ms"] = 0.into();
    std::fs::write(lab.path("back.json"), back.to_string()).unwrap();
    let said = lab.fails(3, &["apply", "back.json", "--yes"]);
    assert!(said.contains(": limits.soak_ms\n") && said.contains("make the plan anew with: sonoba rollback"), "{said}");
}
