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
