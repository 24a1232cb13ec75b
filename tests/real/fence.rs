//! Two engines of two bastions and one cluster: whatever befalls the first one's lock, it does nothing once the second holds it.

use crate::common::Lab;
use crate::common::process::{kill, lives, signal, until};
use crate::proxy::{Leases, Proxy};
use jiff::Timestamp;
use rustix::process::Signal;
use serde_json::Value;
use sonoba::inventory::Profile;
use sonoba::journal::{Chain, Event, Record, read};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A run that lasts for minutes: two nodes at a time, on a clock that is hardly faster than ours.
const LONG: &str = "racks = 3\nspeed = 3\npods_per_node = 4\n[timings]\npatience_s = 20\nlayers = 2\n\
                    [rollout]\nmax_parallel = 2\nmax_unavailable = 2\nsoak_s = 5\n";
/// What the second plans: the same, but quicker.
const QUICKER: [&str; 6] = ["--max-parallel", "8", "--max-unavailable", "8", "--soak", "1s"];
/// A Lease of a minute that is watched for a minute, and what a slow machine makes of it.
const TAKE_OVER: Duration = Duration::from_secs(600);

/// Each waits for minutes, and does little. What runs at once must not be late for want of processors.
const AT_ONCE: usize = 2;
/// The same where nothing else runs beside it.
const ALONE_AT_ONCE: usize = 5;

/// A cluster, and the run of a first bastion that reaches its API by a way of its own.
struct Stage {
    lab: Lab,
    way: Proxy,
    /// The run of the first, and its engine.
    run: PathBuf,
    engine: u32,
    /// Runs that were the first's before, of bastions whose engine is dead.
    past: Vec<PathBuf>,
}

impl Stage {
    fn new(nodes: usize) -> Stage {
        let lab = Lab::of_scenario(&format!("nodes = {nodes}\n{LONG}"));
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
        let (run, engine) = begun(&told.stdout);
        Stage { lab, way, run, engine, past: Vec::new() }
    }

    fn records(&self) -> Vec<Record> {
        records(&self.run)
    }

    /// Waits until the first has brought so many swaps to their result.
    fn until_committed(&self, swaps: usize) {
        let done = |r: &&Record| matches!(r.event, Event::SwapCommitted { .. });
        until("the first commits", Duration::from_secs(600), || self.records().iter().filter(done).count() >= swaps);
    }

    /// The second tries, again and again, to begin what is left.
    fn second_begins(&self) -> Second {
        self.next_begins("profile.toml", &QUICKER)
    }

    /// Somebody on a bastion with this profile tries, again and again, to begin what is left.
    fn next_begins(&self, profile: &str, how: &[&str]) -> Second {
        let end = Instant::now() + TAKE_OVER;
        let state = format!("elsewhere{}", self.past.len());
        let plan: Vec<&str> =
            ["plan", "--release", "1.36.2", "-o", "rest.json"].into_iter().chain(how.iter().copied()).collect();
        loop {
            if self.lab.by(profile, &state, &plan).status.success() {
                let told = self.lab.by(profile, &state, &["apply", "rest.json", "--yes", "--detach", "--json"]);
                if told.status.success() {
                    let (run, engine) = begun(&told.stdout);
                    return Second { state, run, engine };
                }
            }
            assert!(Instant::now() < end, "the second never begins: {}", self.last_words());
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// The first's engine is dead now, and the second is the first one of whoever comes next.
    fn goes_over_to(&mut self, second: Second) {
        kill(self.engine);
        self.past.push(std::mem::replace(&mut self.run, second.run));
        self.engine = second.engine;
    }

    /// Since when the second holds the lock: nobody writes its first record before.
    fn second_holds(&self, second: &Second) -> Timestamp {
        records(&second.run).first().unwrap().at
    }

    /// What the first did after the second held the lock.
    fn deeds_after(&self, second: &Second) -> Vec<Record> {
        let since = self.second_holds(second);
        self.records().into_iter().filter(|r| r.at > since && deed(&r.event)).collect()
    }

    /// Lets the second run to its end; then every node is whole and new, and each swap of either was committed once.
    fn second_ends_well(&self, second: &Second) {
        let end = Instant::now() + Duration::from_secs(600);
        loop {
            let output = self.lab.sonoba_in(&second.state, &["report", "--format", "json"]);
            let report: Value = serde_json::from_slice(&output.stdout).unwrap();
            if report["outcome"] == "completed" {
                break;
            }
            // What it stands still for, or ended with, is told.
            let stands = ["paused", "failed", "aborted"].iter().any(|outcome| report["outcome"] == *outcome);
            assert!(!stands && Instant::now() < end, "the second does not complete: {report:#}{}", self.last_words());
            std::thread::sleep(Duration::from_millis(300));
        }
        let now = self.lab.sonoba_in(&second.state, &["plan", "--release", "1.36.2", "--json"]);
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
        let all = self.past.iter().chain([&self.run, &second.run]).flat_map(|run| records(run));
        for record in all {
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

/// The run of another bastion.
struct Second {
    state: String,
    run: PathBuf,
    engine: u32,
}

impl Second {
    fn name(&self) -> String {
        self.run.file_name().unwrap().to_str().unwrap().to_owned()
    }
}

/// A run's folder and its engine, as `apply --detach --json` tells them.
fn begun(told: &[u8]) -> (PathBuf, u32) {
    let told: Value = serde_json::from_slice(told).unwrap();
    (told["dir"].as_str().unwrap().into(), told["engine"].as_u64().unwrap().try_into().unwrap())
}

fn records(run: &Path) -> Vec<Record> {
    let journal = read(&run.join("journal.jsonl")).unwrap();
    assert_eq!(journal.chain, Chain::Ok);
    journal.records
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

/// So many at once: each waits for minutes, and does little.
fn each<T: Clone + Send + Sync + std::fmt::Debug>(of: &[T], at_once: usize, play: impl Fn(T) + Sync) {
    for some in of.chunks(at_once) {
        std::thread::scope(|scope| {
            let play = &play;
            let tasks: Vec<_> = some.iter().map(|one| (one, scope.spawn(move || play(one.clone())))).collect();
            let failed: Vec<_> = tasks.into_iter().filter_map(|(one, task)| task.join().err().map(|_| one)).collect();
            assert!(failed.is_empty(), "failed: {failed:?}");
        });
    }
}

#[test]
fn an_engine_that_cannot_renew_stands_still_before_another_takes_the_lock() {
    each(&[Leases::Status(403), Leases::Status(500), Leases::Hang], AT_ONCE, |bad| {
        let stage = Stage::new(24);
        stage.until_committed(3);
        stage.way.leases(bad);
        let second = stage.second_begins();
        second_works(&second);
        let (since, records) = (stage.second_holds(&second), stage.records());
        let deeds = stage.deeds_after(&second);
        assert!(deeds.is_empty(), "{bad:?}: {} deeds of the first, the first of them {:?}", deeds.len(), deeds[0]);
        let told = pauses(&records);
        assert!(told.iter().any(|(at, why)| *at < since && why.contains("run lock")), "{bad:?}: {told:?}");
        assert!(lives(stage.engine));

        // Once it is answered again, it says who has the lock, and goes on only when somebody says so.
        stage.way.leases(Leases::Pass);
        let name = second.name();
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
    let stage = Stage::new(24);
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

/// Waits until the second has brought a few swaps to their result: the first had time to do something beside it.
fn second_works(second: &Second) {
    let done = |r: &&Record| matches!(r.event, Event::SwapCommitted { .. });
    until("the second commits", Duration::from_secs(600), || records(&second.run).iter().filter(done).count() >= 2);
}

/// When an engine is stopped, counted from its first commit, and how long the API takes for an answer at most. Milliseconds.
#[derive(Debug, Clone, Copy)]
struct Moment {
    after: u64,
    latency: u64,
}

/// One after the other, at each of these moments: stops an engine, lets another take over, and wakes the first. Then the other is
/// the one that is stopped. Of each, what the nodes' journals say that it did after the other held the lock.
fn frozen(moments: &[Moment]) {
    let mut stage = Stage::new(18 + 6 * moments.len());
    for (n, moment) in moments.iter().enumerate() {
        stage.way.latency(Duration::from_millis(moment.latency));
        stage.until_committed(1);
        std::thread::sleep(Duration::from_millis(moment.after));
        signal(stage.engine, Signal::STOP);
        let last = n + 1 == moments.len();
        let second = if last { stage.second_begins() } else { stage.next_begins("first.toml", &[]) };
        signal(stage.engine, Signal::CONT);
        let name = second.name();
        until("the woken engine names the second", Duration::from_secs(600), || {
            assert!(lives(stage.engine), "{}", stage.last_words());
            pauses(&stage.records()).iter().any(|(_, why)| why.contains(&name))
        });
        second_works(&second);
        let look = || {
            let deeds = stage.deeds_after(&second);
            assert!(deeds.is_empty(), "{moment:?}: {} deeds, the first of them {:?}", deeds.len(), deeds[0]);
        };
        look();
        let (held, all) = (stage.second_holds(&second), stage.records());
        let later = all.iter().filter(|r| r.at > held).count();
        println!(
            "{moment:?}: the second holds the lock from {held:.3} on; {later} records of the first later, no deed"
        );
        if last {
            stage.second_ends_well(&second);
            look();
        } else {
            stage.goes_over_to(second);
        }
    }
}

#[test]
fn a_frozen_engine_that_wakes_up_touches_no_node() {
    each(&[0, 1_900, 4_700], AT_ONCE, |after| frozen(&[Moment { after, latency: 400 }]));
}

#[test]
#[ignore = "half an hour: for measurements"]
fn a_hundred_frozen_engines_that_wake_up_touch_no_node() {
    let mut dice = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(crate::common::kills::seed());
    let mut draw = |range| rand::RngExt::random_range(&mut dice, range);
    let moments: Vec<Moment> = (0..100).map(|_| Moment { after: draw(0..8_000), latency: draw(1..1_000) }).collect();
    let labs: Vec<Vec<Moment>> = moments.chunks(10).map(<[Moment]>::to_vec).collect();
    each(&labs, ALONE_AT_ONCE, |moments| frozen(&moments));
}
