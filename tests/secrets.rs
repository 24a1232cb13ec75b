//! Secrets in containers' arguments, with the real binary on a simulated cluster: no file that sonoba writes has one, and what is
//! harmless can be read.

mod common;
// What may be shown is held against the table beside it.
#[allow(dead_code)]
#[path = "../src/fleet/secret/shapes.rs"]
mod shapes;

use common::Lab;
use serde_json::Value;
use shapes::{CHOSEN, MADE, with_secrets};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Workers of the cluster; the shapes are dealt out to them.
const WORKERS: usize = 12;

/// A cluster whose kubelets have all shapes of secrets in their arguments, a few each.
fn lab() -> Lab {
    let mut scenario = format!("nodes = {WORKERS}\nracks = 3\nspeed = 50\n[rollout]\ncanary = 2\nsoak_s = 1\n");
    let quoted = |text: &str| serde_json::to_string(text).unwrap();
    let shapes = with_secrets();
    for (i, chunk) in shapes.chunks(shapes.len().div_ceil(WORKERS)).enumerate() {
        let args: Vec<String> = chunk.iter().flatten().map(|arg| quoted(arg)).collect();
        let worker = format!("worker:{}%", (100 * i).div_ceil(WORKERS));
        scenario +=
            &format!("[[container]]\nnode = {worker:?}\ncomponent = \"kubelet\"\nargs = [{}]\n", args.join(", "));
    }
    // One goes back, so that there is something to tell.
    scenario += "[[fault]]\nnode = \"worker:50%\"\ncomponent = \"kubelet\"\nkind = \"never-healthy\"\n";
    Lab::of_scenario(&scenario)
}

fn leaks(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    text.contains(CHOSEN) || text.contains(MADE)
}

/// Every file under a folder.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path()),
            Ok(kind) if kind.is_file() => vec![entry.path()],
            _ => Vec::new(),
        })
        .collect()
}

/// The masked arguments of a plan's kubelets.
fn masked(plan: &Value) -> Vec<String> {
    let nodes = plan["cluster"]["nodes"].as_object().unwrap().values();
    let args = nodes.flat_map(|node| node["components"]["kubelet"]["args"].as_array().unwrap());
    args.filter_map(|arg| arg.as_str().filter(|arg| arg.contains("(masked:")).map(str::to_owned)).collect()
}

#[test]
fn no_file_has_a_secret_of_an_argument_and_what_is_harmless_can_be_read() {
    let lab = lab();
    // Two plans mask with two salts: nothing can be looked up in another plan.
    lab.done(&["plan", "--release", "1.36.2", "-o", "other.json"]);
    let mut printed = lab.done(&["plan", "--release", "1.36.2", "-o", "plan.json"]);
    printed += &lab.done(&["plan", "--release", "1.36.2", "--json"]);
    let output = lab.sonoba(&["apply", "plan.json", "--yes"]);
    printed += &String::from_utf8_lossy(&output.stdout);
    printed += &String::from_utf8_lossy(&output.stderr);
    for format in [&[][..], &["--format", "json"], &["--format", "md"]] {
        let output = lab.sonoba(&[&["report"], format].concat());
        printed += &String::from_utf8_lossy(&output.stdout);
        std::fs::write(lab.path(&format!("report{}", format.len())), &output.stdout).unwrap();
    }
    lab.done(&["export", "--recording", "run.sonoba", "--cast", "run.cast"]);
    assert!(!leaks(printed.as_bytes()), "something printed has a secret");
    let mut looked_at = 0;
    // The profile's folder has the simulated cluster's own files, too; those are not sonoba's.
    for path in files(&lab.path("state")).into_iter().chain(["plan.json", "run.cast", "report2"].map(|f| lab.path(f))) {
        assert!(!leaks(&std::fs::read(&path).unwrap()), "{} has a secret", path.display());
        looked_at += 1;
    }
    let mut unpacked = Vec::new();
    let file = std::fs::File::open(lab.path("run.sonoba")).unwrap();
    flate2::read::GzDecoder::new(file).read_to_end(&mut unpacked).unwrap();
    assert!(!leaks(&unpacked), "the recording has a secret");
    assert!(looked_at >= 8, "{looked_at}");
    // Masked values were compared with the plan's own salt, and nothing had moved: the run began, and ended with one node as it was.
    let report = lab.report();
    assert_eq!((&report["outcome"], &report["swaps"]["rolled_back"]), (&"failed".into(), &1.into()), "{report:#}");

    let plan: Value = serde_json::from_slice(&std::fs::read(lab.path("plan.json")).unwrap()).unwrap();
    let other: Value = serde_json::from_slice(&std::fs::read(lab.path("other.json")).unwrap()).unwrap();
    let (one, two) = (masked(&plan), masked(&other));
    assert_eq!(one.len(), two.len());
    assert!(one.len() > 150 && one.iter().zip(&two).all(|(a, b)| a != b), "{one:#?}");
    assert_eq!(plan["cluster"]["salt"].as_str().unwrap().len(), 64);
    let nodes = plan["cluster"]["nodes"].as_object().unwrap();
    let args = |node: &Value, component: &str| node["components"][component]["args"].as_array().unwrap().clone();
    let master = nodes.values().find(|n| n["master"] == true).unwrap();
    for readable in
        ["--endpoint-reconciler-type=none", "--tls-private-key-file=/etc/kubernetes/apiserver/pki/apiserver.key"]
    {
        assert!(args(master, "kube-apiserver").contains(&readable.into()), "{readable}");
    }
}
