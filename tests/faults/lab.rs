//! One run from its seed to its end: the engine, killed and started again, and the operator beside it.

use crate::api::Api;
use crate::chaos::{Chaos, Weather};
use crate::hands::Hands;
use crate::node::Nodes;
use crate::paper::Paper;
use crate::rival;
use crate::stage::Stage;
use crate::whims::{Whims, decides};
use crate::workload::Workload;
use jiff::Timestamp;
use rand::RngExt;
use rand::rngs::StdRng;
use sonoba::engine::{About, Clock, EngineError, Outside, Ports, RunDir, carry_out_on, command};
use sonoba::fleet::Component;
use sonoba::journal::{Chain, Outcome, Run, SwapState, Verb, read_for, report};
use sonoba::plan::{Budget, Bump, Limits, Plan, Settings, Stage as Staged, make};
use sonoba::sim::{Fault as SimFault, FaultKind, Scenario, SimRelease, Span, Timings};
use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// No run takes longer, whatever happens to it. Virtual.
const LONGEST: Duration = Duration::from_secs(12 * 3600);
/// An abort ends sooner, whatever happens, unless its engine is killed meanwhile. Milliseconds.
const ABORT_MS: i64 = 1_800_000;
/// An operator who had to resume this often gives up,
const PATIENCE: u32 = 8;
/// or when for so long no swap moved on. Milliseconds.
const STANDSTILL: i64 = 600_000;

/// What one seed came to.
pub struct Came {
    pub seed: u64,
    pub wrong: Vec<String>,
    pub points: HashSet<u64>,
    pub hash: u64,
    pub trace: Vec<String>,
    pub kills: u32,
    pub completed: bool,
}

/// Plays one seed, in a runtime of its own whose clock stands still while anything is left to do.
pub fn play(seed: u64, folder: &Path, traced: bool) -> Came {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let folder = folder.join(format!("{seed}{}", if traced { "t" } else { "" }));
    let came = runtime.expect("a runtime").block_on(run(seed, &folder, traced));
    let _ = std::fs::remove_dir_all(&folder);
    came
}

async fn run(seed: u64, folder: &Path, traced: bool) -> Came {
    let mut chaos = Chaos::new(seed);
    let (scenario, sick) = scenario(seed, &mut chaos);
    let mut staged = staged(&scenario, &mut chaos.rng);
    if decides(seed) {
        // Long enough for somebody to lose his patience.
        staged.limits.soak_ms *= 10;
    }
    let stage = Stage::new(seed, &scenario, chaos, traced);
    let plan = make(&stage.scene().cluster(), &staged, &Settings::default(), Timestamp::UNIX_EPOCH);
    assert!(!plan.refused(), "seed {seed}: {:?}", plan.findings);
    let dir = run_dir(folder, &plan, seed);
    {
        let mut scene = stage.scene();
        scene.plan = Some(Arc::new(plan));
        scene.excused |= sick;
        let (nodes, swaps) = (scene.places.len(), scene.plan.iter().flat_map(|p| p.swaps()).count());
        let weather = scene.chaos.weather;
        scene.note(0, || format!("seed {seed}: {weather:?}, {nodes} nodes, {swaps} swaps, {:?}", scenario.faults));
    }
    if timeout(LONGEST, direct(&stage, &dir, seed)).await.is_err() {
        let now = stage.now();
        stage.scene().fail(now, "the run does not come to an end".into());
    }
    // Every switch, every cut and every outage has its time.
    for _ in 0..50 {
        sleep(Duration::from_secs(10)).await;
        stage.scene().tick(stage.now());
    }
    let now = stage.now();
    stage.scene().check_the_end(now);
    let completed = read_back(&stage, &dir);
    let mut scene = stage.scene();
    if scene.chaos.weather != Weather::Wild && !completed && scene.wrong.is_empty() {
        scene.fail(now, "it did not complete, and only small things went wrong".into());
    }
    let trace = scene.trace.take().unwrap_or_default();
    let wrong = std::mem::take(&mut scene.wrong);
    let points = std::mem::take(&mut scene.chaos.points);
    Came { seed, wrong, points, hash: scene.hash, trace, kills: scene.kills, completed }
}

/// The engine and its operator, until the run has ended.
async fn direct(stage: &Stage, dir: &RunDir, seed: u64) {
    let hands = Arc::new(Mutex::new(Hands::new(seed, stage.scene().chaos.weather)));
    let world = tokio::spawn({
        let (stage, hands) = (stage.clone(), Arc::clone(&hands));
        let mut workload = Workload::new(seed);
        let mut rival = rival::Whims::new(seed, stage.scene().chaos.weather);
        async move {
            loop {
                sleep(Duration::from_secs(1)).await;
                let (mut scene, now) = (stage.scene(), stage.now());
                scene.tick(now);
                let mut hands = hands.lock().expect("no panic");
                hands.act(&mut scene, now);
                workload.act(&mut scene, now);
                rival.act(&mut scene, now);
                scene.one_of_each_runs(&hands, now);
            }
        }
    });
    let operator = tokio::spawn(operate(stage.clone(), dir.clone(), seed));
    loop {
        let generation = stage.scene().generation;
        let ports = Ports {
            fleet: Arc::new(Nodes { stage: stage.clone(), generation }),
            cluster: Arc::new(Api { stage: stage.clone(), generation, seen: Mutex::default() }),
            asker: Arc::new(Outside::default()),
        };
        let clock: Clock = {
            let stage = stage.clone();
            Arc::new(move || {
                let now = stage.now();
                stage.scene().clock(now)
            })
        };
        let disk = Arc::new(Paper { stage: stage.clone(), generation });
        let mut engine = tokio::spawn(carry_out_on(dir.clone(), ports, clock, disk));
        let ended = tokio::select! {
            biased;
            () = stage.killed.notified() => {
                engine.abort();
                let _ = (&mut engine).await;
                None
            }
            ended = &mut engine => Some(ended),
        };
        let now = stage.now();
        match ended {
            None => {}
            Some(Ok(Ok(outcome))) => {
                let mut scene = stage.scene();
                scene.note(now, || format!("the engine ended: {outcome:?}"));
                if outcome == Outcome::Completed {
                    scene.completed_is_so(&hands.lock().expect("no panic"), now);
                }
                if let Some(late) = scene.aborted.filter(|(at, kills)| *kills == scene.kills && now - at > ABORT_MS) {
                    scene.fail(now, format!("an abort took {} s", (now - late.0) / 1000));
                }
                break;
            }
            Some(Ok(Err(EngineError::Ended(_)))) => break,
            Some(Ok(Err(error @ (EngineError::Journal(_) | EngineError::Cluster(_))))) => {
                stage.scene().note(now, || format!("the engine ended: {error}"));
            }
            // It never began, and was given up while it waited.
            Some(Ok(Err(EngineError::GivenUp { why, .. }))) if rival::comes(seed) => {
                let mut scene = stage.scene();
                scene.note(now, || format!("given up: {why}"));
                scene.given_up = true;
                break;
            }
            Some(Ok(Err(EngineError::Locked(why)))) if rival::comes(seed) => {
                stage.scene().note(now, || format!("the engine ended: {why}"));
            }
            Some(other) => {
                stage.scene().fail(now, format!("the engine ended: {other:?}"));
                break;
            }
        }
        between(stage, dir).await;
    }
    let now = stage.now();
    stage.scene().the_run_ends(now);
    world.abort();
    operator.abort();
}

/// From an engine's death to the next one's birth.
async fn between(stage: &Stage, dir: &RunDir) {
    let (wait, cut) = {
        let mut scene = stage.scene();
        // Nothing that still runs belongs to a living engine.
        scene.generation += 1;
        scene.disk_broken = false;
        scene.frozen_until = 0;
        let dropped = scene.dropped_from.take();
        let synced = scene.books.synced;
        let file = std::fs::metadata(dir.journal()).map_or(0, |m| m.len());
        // Half of the bastions lost their power with the engine, and with it what was not on disk yet.
        let power = scene.chaos.rng.random_bool(0.5);
        let cut = match dropped {
            Some(from) => Some(scene.chaos.rng.random_range(from.min(file)..=file)),
            None if power && file > synced => Some(scene.chaos.rng.random_range(synced..=file)),
            None => None,
        };
        let mild = scene.chaos.weather != Weather::Wild;
        let rng = &mut scene.chaos.rng;
        let wait = match rng.random_range(0..4) {
            _ if mild => rng.random_range(0..800),
            0 | 1 => rng.random_range(0..2_000),
            2 => rng.random_range(2_000..60_000),
            _ => rng.random_range(200_000..400_000),
        };
        (wait, cut)
    };
    if let Some(len) = cut {
        let file = std::fs::OpenOptions::new().write(true).open(dir.journal());
        file.and_then(|f| f.set_len(len)).expect("the journal is cut");
    }
    sleep(Duration::from_millis(wait)).await;
    let now = stage.now();
    let mut scene = stage.scene();
    if wait > 2_000 {
        scene.excused = true;
    }
    if wait >= 200_000 {
        scene.all_switches_have_acted(now);
    }
    let len = std::fs::metadata(dir.journal()).map_or(0, |m| m.len());
    scene.books.restart(len);
    scene.note(now, || format!("the next engine, {wait} ms later, finds {len} bytes (cut: {cut:?})"));
}

/// The operator: resumes what paused by itself, and now and then pauses or aborts.
async fn operate(stage: Stage, dir: RunDir, seed: u64) {
    let mut whims = Whims::new(seed);
    let mut moved = (0, 0);
    let (mut resumed, mut whim) = (0, {
        let mut scene = stage.scene();
        let wild = scene.chaos.weather == Weather::Wild;
        let rng = &mut scene.chaos.rng;
        let verb = match rng.random_range(0..10) {
            0 if wild => Some(Verb::Abort),
            1 | 2 => Some(Verb::Pause),
            _ => None,
        };
        verb.map(|verb| (rng.random_range(1_000..90_000), verb))
    });
    loop {
        let nap = stage.scene().chaos.rng.random_range(1_000..9_000);
        sleep(Duration::from_millis(nap)).await;
        let now = stage.now();
        let (paused, ended, deeds) = {
            let scene = stage.scene();
            (scene.books.written.paused, scene.books.written.ended, scene.books.deeds())
        };
        if ended {
            return;
        }
        if moved.1 != deeds {
            moved = (now, deeds);
        }
        if let Some(verb) = whims.next(&stage) {
            let answer = command(&dir, verb.clone(), "operator").await;
            let mut scene = stage.scene();
            scene.note(now, || format!("operator: {verb:?}: {answer:?}"));
            if answer.is_ok() {
                whims.taken();
                scene.decided(&verb);
            }
            continue;
        }
        let verb = match &whim {
            Some((at, verb)) if now >= *at => {
                let verb = verb.clone();
                whim = None;
                Some(verb)
            }
            _ if (paused && resumed >= PATIENCE) || now - moved.0 > STANDSTILL => Some(Verb::Abort),
            _ if paused => Some(Verb::Resume),
            _ => None,
        };
        if let Some(verb) = verb {
            let answer = command(&dir, verb.clone(), "operator").await;
            let mut scene = stage.scene();
            scene.note(now, || format!("operator: {verb:?}: {answer:?}"));
            // What is refused for want of the run lock costs no patience: it is asked again until it is held.
            resumed += u32::from(verb == Verb::Resume && answer.is_ok());
            if verb == Verb::Abort && answer.is_ok() {
                let kills = scene.kills;
                scene.aborted.get_or_insert((now, kills));
            }
        }
    }
}

/// Reads the journal as a stranger would. Whether the run completed.
fn read_back(stage: &Stage, dir: &RunDir) -> bool {
    let now = stage.now();
    let (plan, hash) = dir.plan().expect("the plan is there");
    let mut run = Run::new(Arc::new(plan));
    let journal = match read_for(&dir.journal(), &hash) {
        Ok(journal) => journal,
        Err(error) => {
            stage.scene().fail(now, format!("{error}"));
            return false;
        }
    };
    if journal.chain != Chain::Ok || journal.torn {
        stage.scene().fail(now, format!("the chain is {:?}, torn: {}", journal.chain, journal.torn));
    }
    // Every prefix folds, and can be looked at.
    for (i, record) in journal.records.iter().enumerate() {
        run.apply(record);
        if i % 16 == 0 {
            run.in_flight().for_each(|s| drop(run.planned(s).clone()));
            let _ = (run.pull_progress(), run.wave_progress(0, 0));
        }
    }
    let report = report(&run, journal.chain);
    let mut scene = stage.scene();
    let s = report.swaps;
    if s.committed + s.rolled_back + s.failed + s.drifted + s.skipped + s.not_started != s.planned {
        scene.fail(now, format!("the report's swaps do not add up: {s:?}"));
    }
    let completed = report.outcome == "completed";
    // A node that could not be looked at in the end is not known to be new.
    let blind = run.why.contains("could not be looked at again at the end");
    let decided = run.swaps.iter().filter(|s| matches!(s.state, SwapState::Committed | SwapState::Skipped)).count();
    let whole = decided == s.planned && !blind;
    if run.ended().is_some_and(|o| o != Outcome::Aborted) && completed != whole {
        scene.fail(now, format!("the run is {}, and its swaps are {s:?}", report.outcome));
    }
    if s.skipped > 0 && report.decisions.is_empty() {
        scene.fail(now, "nodes are skipped, and nobody decided so".into());
    }
    completed
}

fn run_dir(folder: &Path, plan: &Plan, seed: u64) -> RunDir {
    let path = folder.join("runs").join("run");
    let made = std::fs::create_dir_all(&path).and_then(|()| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700))
    });
    made.expect("a folder");
    let about = About {
        id: format!("run{seed}").parse().expect("an id"),
        cluster: plan.cluster.name.clone(),
        operator: "operator".into(),
        host: "bastion".into(),
        created: Timestamp::UNIX_EPOCH,
        state_dir: folder.to_owned(),
    };
    let sealed = plan.sealed().and_then(|plan| serde_json::to_vec(&plan)).expect("JSON");
    std::fs::write(path.join("plan.json"), sealed).expect("written");
    std::fs::write(path.join("run.json"), serde_json::to_vec(&about).expect("JSON")).expect("written");
    RunDir::open(&path).expect("a run")
}

/// A small cluster; and whether something about it is sick from the start.
fn scenario(seed: u64, chaos: &mut Chaos) -> (Scenario, bool) {
    let wild = chaos.weather == Weather::Wild;
    let rng = &mut chaos.rng;
    let racks = rng.random_range(1..=3);
    let nodes = rng.random_range(1..=5);
    let masters = if rng.random_bool(0.1) { 5 } else { 3 };
    let mut faults = Vec::new();
    if wild && rng.random_bool(0.3) {
        let kinds = [FaultKind::NeverHealthy, FaultKind::StartFails, FaultKind::DisturbsPods, FaultKind::Flaps];
        let places = ["masters", "workers", "random:1", "all"];
        let components = Component::ALL.map(Some).into_iter().chain([None]).collect::<Vec<_>>();
        faults.push(SimFault {
            node: places[rng.random_range(0..places.len())].into(),
            component: components[rng.random_range(0..components.len())],
            kind: kinds[rng.random_range(0..kinds.len())],
            times: if rng.random_bool(0.7) { Some(rng.random_range(1..=2)) } else { None },
            from_s: 0.0,
            for_s: None,
            factor: 10.0,
            pods: 2,
            ends_s: None,
            after_s: 5.0,
        });
    }
    let sick = !faults.is_empty();
    let defaults = Timings::default();
    let layers = 2;
    let timings =
        Timings { layers, pull_mib_s: Span { median: 80.0, spread: 0.3 }, grace_s: 40.0, patience_s: 0.0, ..defaults };
    let minor = if rng.random_bool(0.5) { "1.36.2.1" } else { "1.35.9.1" };
    let releases = vec![release("1.35.6.1", "3.6.8.1", "1.35.0"), release(minor, "3.6.11.1", "1.36.0")];
    let base = Scenario::default();
    (Scenario { seed, masters, racks, nodes, pods_per_node: 0, releases, timings, faults, ..base }, sick)
}

fn release(kubernetes: &str, etcd: &str, rivers: &str) -> SimRelease {
    let image = |name: &str, tag: &str| format!("r.example/{name}:{tag}").parse().expect("an image");
    SimRelease {
        name: kubernetes.into(),
        kubernetes: image("kubernetes", kubernetes),
        etcd: image("etcd", etcd),
        rivers: image("cke-tools", rivers),
    }
}

fn staged(scenario: &Scenario, rng: &mut StdRng) -> Staged {
    use Component::{
        Etcd, EtcdRivers, KubeApiserver, KubeControllerManager, KubeProxy, KubeScheduler, Kubelet, Rivers,
    };
    let new = &scenario.releases[1];
    let patch = new.name.starts_with("1.35");
    let sets: [&[Component]; 6] = [
        &[Etcd],
        &[KubeApiserver],
        &[Rivers, EtcdRivers],
        &[KubeApiserver, KubeControllerManager, KubeScheduler],
        &[Kubelet, KubeProxy],
        &Component::ALL,
    ];
    // Within one minor release the nodes may go alone.
    let may = if patch { 0..sets.len() } else { 0..4 };
    let set = sets[rng.random_range(may)];
    Staged {
        release: None,
        bumps: set.iter().map(|c| Bump { component: *c, to: new.image(*c).clone() }).collect(),
        scope: Default::default(),
        limits: Limits {
            canary: rng.random_range(0..=2),
            max_parallel: rng.random_range(1..=4),
            max_unavailable: rng.random_range(1..=2),
            soak_ms: rng.random_range(0..4_000),
            max_pulls: rng.random_range(1..=4),
            ..Limits::default()
        },
        budget: Budget { failed_swaps: rng.random_range(1..=3), not_ready_nodes: 1, disturbed_pods: 0 },
        way: Vec::new(),
        ..Staged::default()
    }
}
