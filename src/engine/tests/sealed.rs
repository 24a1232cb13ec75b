//! A run begins only with the plan that was agreed to; one that has begun goes on with the plan that its journal names.

use super::*;
use std::fs;

fn plan_file(lab: &Lab) -> (std::path::PathBuf, serde_json::Value) {
    let path = lab.run.path().join("plan.json");
    let value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    (path, value)
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_plan_was_edited_before_it_began_never_begins() {
    let lab = Lab::of_nodes();
    let (path, whole) = plan_file(&lab);
    let mut edited = whole.clone();
    edited["phases"][1]["waves"][0]["max_parallel"] = 99.into();
    let mut unsealed = whole.clone();
    unsealed.as_object_mut().unwrap().remove("seal");
    for (plan, says) in [(edited, "phases[1].waves[0].max_parallel"), (unsealed, "has no seal")] {
        fs::write(&path, plan.to_string()).unwrap();
        let Err(EngineError::Plan(why)) = lab.engine().await.unwrap() else { panic!("it began") };
        assert!(why.contains(says) && why.contains("nothing was done"), "{why}");
        assert!(!lab.run.begun());
    }
    assert!(lab.begun().values().all(|begun| *begun == 0));
    // The order of its keys and its white space are no edit.
    fs::write(&path, whole.to_string()).unwrap();
    assert_eq!(ended(lab.engine()).await, Outcome::Completed);
}

/// Runs of before there were seals: the journal's first line holds the hash of their plan.
#[tokio::test(start_paused = true)]
async fn an_old_run_without_a_seal_goes_on() {
    let lab = Lab::of_nodes();
    let (path, mut plan) = plan_file(&lab);
    for newer in ["seal", "asked"] {
        plan.as_object_mut().unwrap().remove(newer);
    }
    fs::write(&path, plan.to_string()).unwrap();
    let (plan, hash) = lab.run.plan().unwrap();
    assert_eq!((plan.seal, plan.asked), (None, None));
    let mut writer = Writer::create(&lab.run.journal(), &hash).unwrap();
    let begun = Event::RunStarted {
        run: lab.run.id().clone(),
        cluster: plan.cluster.name.clone(),
        operator: "ann".into(),
        host: "bastion".into(),
        version: "0.0.1".into(),
    };
    writer.append(Timestamp::UNIX_EPOCH, begun, true).unwrap();
    drop(writer);
    assert_eq!(ended(lab.engine()).await, Outcome::Completed);
}
