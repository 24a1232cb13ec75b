//! An engine that is killed again and again: the run goes on, and each node moves once.

use crate::common::Lab;
use crate::common::kills::{each_swap_once, kill_at_random_moments, seed};
use serde_json::Value;

/// A cluster of 200 workers whose run is not for ever: whole racks at once, few pods, short soaks. The nodes' dead-man's switch
/// is far off: on a slow machine, fifty engines in turn are not to be too late for it.
const MANY: &str = "nodes = 200\nracks = 10\nspeed = 40\npods_per_node = 4\n[timings]\npatience_s = 180\nlayers = 2\n\
                    [rollout]\nmax_unavailable = 20\nsoak_s = 10\n";

#[test]
fn an_engine_killed_at_fifty_moments_of_a_run_over_200_nodes_is_taken_up_each_time() {
    let seed = seed();
    let lab = Lab::of_scenario(MANY);
    let (run_dir, _) = lab.begin();
    let told = kill_at_random_moments(&run_dir, 50, seed, || drop(lab.done(&["resume"])));
    println!("{told:?}");
    // Else the dice were never thrown at what matters.
    assert!(told.amid_swaps >= 15 && told.critical >= 20, "{told:?}");
    let report = lab.report();
    assert_eq!(report["outcome"], "completed", "{report:#}");
    assert_eq!(report["nodes"]["new"], 203, "{report:#}");
    assert_eq!(report["swaps"]["committed"], report["swaps"]["planned"], "{report:#}");
    assert_eq!(report["pods"]["disturbed"], 0, "{report:#}");
    assert_eq!(report["pods"]["undisturbed"], report["pods"]["checked"], "{report:#}");
    assert_eq!(report["journal"]["chain"], "ok");
    each_swap_once(&run_dir);
    all_is_new(&lab);
}

/// Every commit's effect is on its node, as the nodes themselves say: all run the new image, and nothing is left over.
fn all_is_new(lab: &Lab) {
    let now: Value = serde_json::from_str(&lab.done(&["plan", "--release", "1.36.2", "--json"])).unwrap();
    let nodes = now["cluster"]["nodes"].as_object().unwrap();
    assert_eq!(nodes.len(), 203);
    for (name, node) in nodes {
        assert_eq!((&node["ready"], &node["reachable"]), (&true.into(), &true.into()), "{name}: {node:#}");
        assert!(node["leftovers"].as_array().is_none_or(Vec::is_empty), "{name}: {node:#}");
        for (component, running) in node["components"].as_object().unwrap() {
            let image = running["image"].as_str().unwrap();
            let new = [":1.36.2.1", ":3.6.11.1", ":1.36.0"].iter().any(|tag| image.ends_with(tag));
            assert!(new && running["running"] == true, "{name}: {component}: {running}");
        }
    }
}
