//! Two engines of two bastions and one cluster: whatever befalls the first one's lock, it does nothing once the second holds it.

use crate::common::Lab;
use crate::common::process::{lives, signal, until};
use crate::proxy::{Leases, Proxy};
use jiff::Timestamp;
use rustix::process::Signal;
use serde_json::Value;
use sonoba::inventory::Profile;
use sonoba::journal::{Chain, Event, Record, read};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A run that lasts for minutes: one node after the other, on a clock that is hardly faster than ours.
const LONG: &str = "nodes = 24\nracks = 3\nspeed = 3\npods_per_node = 4\n[timings]\npatience_s = 20\nlayers = 2\n\
                    [rollout]\nmax_parallel = 2\nmax_unavailable = 2\nsoak_s = 5\n";
/// What the second plans: the same, but quicker.
const REST: [&str; 11] =
    ["plan", "--release", "1.36.2", "--max-parallel", "8", "--max-unavailable", "8", "--soak", "1s", "-o", "rest.json"];
/// A Lease of a minute that is watched for a minute, and what a slow machine makes of it.
const TAKE_OVER: Duration = Duration::from_secs(240);

/// A cluster, and the run of a first bastion that reaches its API by a way of its own.
struct Stage {
    lab: Lab,
    way: Proxy,
    run: PathBuf,
    engine: u32,
}

impl Stage {
    fn new() -> Stage {
        let lab = Lab::of_scenario(LONG);
        let its = Profile::load(&lab.path("profile.toml")).unwrap().kubeconfig;
        let kubeconfig = std::fs::read_to_string(&its).unwrap();
        let api = kubeconfig.split("http://").nth(1).unwrap().split('"').next().unwrap().to_owned();
        let way = Proxy::to(&api);
        let write = |name: &str, text: String| {
            use std::os::unix::fs::PermissionsExt;
            std::fs::write(lab.path(name), text).unwrap();
            std::fs::set_permissions(lab.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
        };
        write("first.kubeconfig", kubeconfig.replace(&api, &way.address()));
        let profile = std::fs::read_to_string(lab.path("profile.toml")).unwrap();
        let first = profile.replace(its.to_str().unwrap(), lab.path("first.kubeconfig").to_str().unwrap());
        assert_ne!(first, profile);
        write("first.toml", first);
        lab.done(&["plan", "--release", "1.36.2", "-o", "plan.json"]);
        let told = lab.by("first.toml", "state", &["apply", "plan.json", "--yes", "--detach", "--json"]);
        assert!(told.status.success(), "{told:?}");
        let told: Value = serde_json::from_slice(&told.stdout).unwrap();
        let run = PathBuf::from(told["dir"].as_str().unwrap());
        let engine = told["engine"].as_u64().unwrap().try_into().unwrap();
        Stage { lab, way, run, engine }
    }

    fn records(&self) -> Vec<Record> {
        let journal = read(&self.run.join("journal.jsonl")).unwrap();
        assert_eq!(journal.chain, Chain::Ok);
        journal.records
    }

    /// Waits until the first has brought so many swaps to their result.
    fn until_committed(&self, swaps: usize) {
        let done = |r: &&Record| matches!(r.event, Event::SwapCommitted { .. });
        until("the first commits", Duration::from_secs(240), || self.records().iter().filter(done).count() >= swaps);
    }

    /// The second tries, again and again, to begin what is left. Its run's folder.
    fn second_begins(&self) -> PathBuf {
        let end = Instant::now() + TAKE_OVER;
        loop {
            let planned = self.lab.sonoba_in("elsewhere", &REST);
            if planned.status.success() {
                let told = self.lab.sonoba_in("elsewhere", &["apply", "rest.json", "--yes", "--detach", "--json"]);
                if told.status.success() {
                    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
                    return told["dir"].as_str().unwrap().into();
                }
            }
            assert!(Instant::now() < end, "the second never begins: {}", self.last_words());
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Since when the second holds the lock: nobody writes its first record before.
    fn second_holds(&self, second: &Path) -> Timestamp {
        read(&second.join("journal.jsonl")).unwrap().records.first().unwrap().at
    }

    /// What the first did after the second held the lock.
    fn deeds_after(&self, second: &Path) -> Vec<Record> {
        let since = self.second_holds(second);
        self.records().into_iter().filter(|r| r.at > since && deed(&r.event)).collect()
    }

    /// Lets the second run to its end; then every node is whole and new, and each swap of either was committed once.
    fn second_ends_well(&self, second: &Path) {
        let ended = |report: &Value| report["outcome"] == "completed";
        let end = Instant::now() + Duration::from_secs(400);
        loop {
            let output = self.lab.sonoba_in("elsewhere", &["report", "--format", "json"]);
            let report: Value = serde_json::from_slice(&output.stdout).unwrap();
            if ended(&report) {
                break;
            }
            let paused = report["outcome"] == "paused";
            assert!(!paused && Instant::now() < end, "the second does not complete: {report:#}{}", self.last_words());
            std::thread::sleep(Duration::from_millis(300));
        }
        let now = self.lab.sonoba_in("elsewhere", &["plan", "--release", "1.36.2", "--json"]);
        let now: Value = serde_json::from_slice(&now.stdout).unwrap();
        for (name, node) in now["cluster"]["nodes"].as_object().unwrap() {
            assert!(node["leftovers"].as_array().is_none_or(Vec::is_empty), "{name}: {node:#}");
            for (component, running) in node["components"].as_object().unwrap() {
                let image = running["image"].as_str().unwrap();
                let new = [":1.36.2.1", ":3.6.11.1", ":1.36.0"].iter().any(|tag| image.ends_with(tag));
                assert!(new && running["running"] == true, "{name}: {component}: {running}");
            }
        }
        let mut commits: BTreeMap<String, usize> = BTreeMap::new();
        let theirs = read(&second.join("journal.jsonl")).unwrap().records;
        for record in self.records().iter().chain(&theirs) {
            if let Event::ComponentsKept { node, kept, .. } = &record.event {
                for component in kept.keys() {
                    *commits.entry(format!("{component} of {node}")).or_default() += 1;
                }
            }
        }
        let twice: Vec<_> = commits.iter().filter(|(_, n)| **n > 1).collect();
        assert!(twice.is_empty(), "committed by both: {twice:?}");
    }

    fn last_words(&self) -> String {
        let tail = |file: &str| {
            let text = std::fs::read_to_string(self.run.join(file)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(12)..].iter().map(|l| format!("{l:.300}\n")).collect::<String>()
        };
        format!("\nthe first's journal:\n{}its log:\n{}", tail("journal.jsonl"), tail("engine.log"))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        signal(self.engine, Signal::KILL);
    }
}

/// What an engine does to a node, or is about to.
fn deed(event: &Event) -> bool {
    matches!(event, Event::SwapPreparing { .. } | Event::SwapIntended { .. } | Event::SwapVerdict { .. })
}

fn pauses(records: &[Record]) -> Vec<(Timestamp, &str)> {
    records
        .iter()
        .filter_map(|r| if let Event::Paused { why, .. } = &r.event { Some((r.at, why.as_str())) } else { None })
        .collect()
}

/// All at once: each waits for minutes, and does little.
fn each<T: Copy + Send + Sync + std::fmt::Debug>(of: &[T], play: impl Fn(T) + Sync) {
    std::thread::scope(|scope| {
        let tasks: Vec<_> = of.iter().map(|one| (one, scope.spawn(|| play(*one)))).collect();
        let failed: Vec<_> = tasks.into_iter().filter_map(|(one, task)| task.join().err().map(|_| one)).collect();
        assert!(failed.is_empty(), "failed: {failed:?}");
    });
}

#[test]
fn an_engine_that_cannot_renew_stands_still_before_another_takes_the_lock() {
    each(&[Leases::Status(403), Leases::Status(500), Leases::Hang], |bad| {
        let stage = Stage::new();
        stage.until_committed(3);
        stage.way.leases(bad);
        let second = stage.second_begins();
        std::thread::sleep(Duration::from_secs(15));
        let (since, records) = (stage.second_holds(&second), stage.records());
        let deeds = stage.deeds_after(&second);
        assert!(deeds.is_empty(), "{bad:?}: {} deeds of the first, the first of them {:?}", deeds.len(), deeds[0]);
        let told = pauses(&records);
        assert!(told.iter().any(|(at, why)| *at < since && why.contains("run lock")), "{bad:?}: {told:?}");
        assert!(lives(stage.engine));

        // Once it is answered again, it says who has the lock, and goes on only when somebody says so.
        stage.way.leases(Leases::Pass);
        let name = second.file_name().unwrap().to_str().unwrap().to_owned();
        until("the first names the second", Duration::from_secs(60), || {
            pauses(&stage.records()).iter().any(|(_, why)| why.contains(&name))
        });
        let refused = stage.lab.by("first.toml", "state", &["resume"]);
        let words = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && words.contains(&name), "{words}");
        stage.second_ends_well(&second);
        assert!(stage.deeds_after(&second).is_empty());
    });
}

#[test]
fn leases_that_answer_late_are_renewed_all_the_same() {
    let stage = Stage::new();
    stage.until_committed(2);
    stage.way.leases(Leases::Late(Duration::from_secs(5)));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(80) {
        let told = stage.lab.sonoba_in("elsewhere", &["apply", "plan.json", "--yes", "--detach"]);
        assert!(!told.status.success(), "the second begins{}", stage.last_words());
        std::thread::sleep(Duration::from_secs(2));
    }
    assert!(pauses(&stage.records()).is_empty(), "{:?}", pauses(&stage.records()));
}

/// Stops the first at a moment, lets the second take over, and wakes the first.
fn frozen(after_ms: u64, latency: Duration) {
    let stage = Stage::new();
    stage.way.latency(latency);
    stage.until_committed(1);
    std::thread::sleep(Duration::from_millis(after_ms));
    signal(stage.engine, Signal::STOP);
    let second = stage.second_begins();
    signal(stage.engine, Signal::CONT);
    let name = second.file_name().unwrap().to_str().unwrap().to_owned();
    until("the woken engine names the second", Duration::from_secs(120), || {
        assert!(lives(stage.engine), "{}", stage.last_words());
        pauses(&stage.records()).iter().any(|(_, why)| why.contains(&name))
    });
    stage.second_ends_well(&second);
    let deeds = stage.deeds_after(&second);
    assert!(deeds.is_empty(), "{after_ms} ms: {} deeds, the first of them {:?}", deeds.len(), deeds[0]);
}

#[test]
fn a_frozen_engine_that_wakes_up_touches_no_node() {
    each(&[0, 700, 1_900, 3_100, 4_700, 6_400], |ms| frozen(ms, Duration::from_millis(400)));
}

#[test]
#[ignore = "an hour: for measurements"]
fn a_hundred_frozen_engines_that_wake_up_touch_no_node() {
    let seed = crate::common::kills::seed();
    let mut dice = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(seed);
    let moments: Vec<(u64, u64)> = (0..100)
        .map(|_| (rand::RngExt::random_range(&mut dice, 0..30_000), rand::RngExt::random_range(&mut dice, 0..1_000)))
        .collect();
    for some in moments.chunks(10) {
        each(some, |(ms, latency)| frozen(ms, Duration::from_millis(latency)));
        println!("{} more", some.len());
    }
}
