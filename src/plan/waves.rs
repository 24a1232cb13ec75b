//! The waves of the workers: a canary that is spread over racks, roles and hardware, then rack by rack, or the waves of a
//! [`Ramp`] that grow.
//!
//! Nodes that are pinned first make up the front of the canary, and a wave of their own where they are more; those that are
//! pinned last move in a wave of their own after everybody else.
//!
//! One rule for what follows a wave, the last one too: its nodes must be Ready, the operator's own gates must hold, it is watched for
//! the whole soak time, and its pods are proved as `proving` says.

use super::findings::Findings;
use super::order::{Ids, visit};
use super::select::{Chosen, broken};
use super::spread::{Rack, canaries, in_turn};
use super::{Gate, Phase, PhaseKind, Ramp, RampStep, Settings, Severity, Stage, Swap, Wave, WaveKind};
use crate::fleet::{Cluster, Component, NodeName, RackName, natural};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

/// What one visit to a worker takes, in this order: the ways to the masters first, the kubelet, which has least time, last.
const VISIT: [Component; 4] = [Component::Rivers, Component::EtcdRivers, Component::KubeProxy, Component::Kubelet];

/// A wave before its swaps are written: what it is called, and who is in it.
struct Drawn<'a, 'c> {
    kind: WaveKind,
    title: String,
    workers: Vec<&'c Chosen<'a>>,
}

impl<'a, 'c> Drawn<'a, 'c> {
    fn spread(title: impl Into<String>, workers: impl Into<Vec<&'c Chosen<'a>>>) -> Drawn<'a, 'c> {
        Drawn { kind: WaveKind::Spread, title: title.into(), workers: workers.into() }
    }
}

/// The phase of the workers; none when no worker moves.
pub(super) fn workers(
    cluster: &Cluster,
    chosen: &[Chosen<'_>],
    stage: &Stage,
    settings: &Settings,
    findings: &mut Findings,
    ids: &mut Ids,
) -> Option<Phase> {
    let limits = &stage.limits;
    let mut racks = with_room(cluster, chosen, stage, findings);
    let rooms: HashMap<&RackName, usize> = racks.iter().map(|r| (r.rack, r.room)).collect();
    let first = pinned(&mut racks, &stage.first);
    let last = pinned(&mut racks, &stage.last);
    let mut drawn = match &limits.ramp {
        Some(ramp) => growing(racks, first, ramp, &settings.hardware_labels),
        None => rack_by_rack(racks, first, limits.canary, &settings.hardware_labels),
    };
    if !last.is_empty() {
        drawn.push(Drawn::spread("pinned last", last));
    }
    if limits.ramp.is_some() {
        let number = drawn.len();
        for (i, wave) in drawn.iter_mut().enumerate().skip(1) {
            wave.title = format!("wave {} of {number}, {}", i + 1, wave.title);
        }
    }
    let mut waves: Vec<Wave> = Vec::new();
    for Drawn { kind, title, workers } in drawn {
        let mut in_rack: BTreeMap<&RackName, usize> = BTreeMap::new();
        for worker in &workers {
            *in_rack.entry(&worker.node.rack).or_default() += 1;
        }
        // The engine holds each rack to its own limit; more than all of them together have room for could never fly.
        let room: usize = in_rack.iter().map(|(rack, n)| rooms.get(rack).copied().unwrap_or(1).min(*n)).sum();
        let max_parallel = room.min(limits.max_parallel);
        let swaps: Vec<Swap> = workers.into_iter().filter_map(|c| visit(c, &VISIT, settings, ids)).collect();
        if !swaps.is_empty() {
            waves.push(Wave { kind, title, max_parallel, swaps, gates: Vec::new() });
        }
    }
    if waves.is_empty() {
        return None;
    }
    for wave in &mut waves {
        wave.gates.push(Gate::NodesReady);
        wave.gates.extend(settings.own_gates(wave.kind));
        if limits.soak_ms > 0 {
            wave.gates.push(Gate::Soak { ms: limits.soak_ms });
        }
    }
    Some(Phase { kind: PhaseKind::Workers, hop: None, pulls: Vec::new(), snapshot: None, etcdctl: None, waves })
}

/// The phases of masters and workers of one hop, in order. Where kubelets or kube-proxies of masters move, the workers' canary comes
/// before them, in a phase of its own: the first node on which something goes wrong must not be a master. The version-skew policy
/// allows it, since every API server is new by then.
pub(super) fn in_order(mut phases: Vec<Phase>, workers: Option<Phase>) -> Vec<Phase> {
    let masters = phases.iter().position(|p| p.kind == PhaseKind::Masters);
    let Some(mut workers) = workers else { return phases };
    let canary = workers.waves.first().is_some_and(|w| w.kind == WaveKind::Canary);
    if let Some(masters) = masters.filter(|_| canary) {
        let waves = vec![workers.waves.remove(0)];
        phases.insert(
            masters,
            Phase { kind: PhaseKind::Canary, hop: None, pulls: Vec::new(), snapshot: None, etcdctl: None, waves },
        );
    }
    phases.extend(Some(workers).filter(|w| !w.waves.is_empty()));
    phases
}

/// Takes those that are pinned out of the racks, in the order of the pins.
fn pinned<'a, 'c>(racks: &mut [Rack<'a, 'c>], pins: &[NodeName]) -> VecDeque<&'c Chosen<'a>> {
    if pins.is_empty() {
        return VecDeque::new();
    }
    let wanted: HashSet<&NodeName> = pins.iter().collect();
    let mut found: HashMap<&NodeName, &Chosen<'_>> = HashMap::new();
    for rack in racks {
        rack.workers.retain(|worker| {
            let pin = wanted.contains(&worker.node.name);
            if pin {
                found.insert(&worker.node.name, worker);
            }
            !pin
        });
    }
    pins.iter().filter_map(|name| found.remove(name)).collect()
}

/// The canary with the nodes that are pinned first at its front, a wave for those that it has no place for, then the racks.
fn rack_by_rack<'a, 'c>(
    mut racks: Vec<Rack<'a, 'c>>,
    mut first: VecDeque<&'c Chosen<'a>>,
    canary: usize,
    hardware: &[String],
) -> Vec<Drawn<'a, 'c>> {
    let mut canary_wave: Vec<&Chosen<'_>> = first.drain(..first.len().min(canary)).collect();
    let more = canaries(&mut racks, &canary_wave, canary - canary_wave.len(), hardware);
    canary_wave.extend(more);
    let mut waves = vec![Drawn { kind: WaveKind::Canary, title: "canary".into(), workers: canary_wave }];
    waves.push(Drawn::spread("pinned first", first));
    waves.extend(racks.into_iter().map(|rack| Drawn {
        kind: WaveKind::Rack,
        title: rack.rack.to_string(),
        workers: rack.workers.into(),
    }));
    waves.retain(|wave| !wave.workers.is_empty());
    waves
}

/// The waves of a ramp; the first is the canary. Nodes that are pinned first come before all others: those that the canary
/// has no place for have a wave of their own.
fn growing<'a, 'c>(
    mut racks: Vec<Rack<'a, 'c>>,
    mut first: VecDeque<&'c Chosen<'a>>,
    ramp: &Ramp,
    hardware: &[String],
) -> Vec<Drawn<'a, 'c>> {
    let total = first.len() + racks.iter().map(|r| r.workers.len()).sum::<usize>();
    let (wanted, most_of_a_rack) = match ramp.step(0) {
        RampStep::Nodes(n) => (n.min(total), usize::MAX),
        RampStep::PerRack(n) => (total, n),
        RampStep::Percent(percent) => (share(total, percent), usize::MAX),
    };
    let mut canary = front(&mut first, wanted, most_of_a_rack);
    let mut queue = VecDeque::new();
    if first.is_empty() {
        queue.extend(canaries(&mut racks, &canary, wanted - canary.len(), hardware));
        let pinned: BTreeMap<&RackName, usize> = canary.iter().fold(BTreeMap::new(), |mut here, worker| {
            *here.entry(&worker.node.rack).or_default() += 1;
            here
        });
        canary.extend(of_each_rack(&mut queue, most_of_a_rack, pinned));
    }
    // Everybody else, one of each rack in turn.
    queue.extend(in_turn(&mut racks));
    let mut moved = canary.len() + first.len();
    let mut waves = vec![Drawn { kind: WaveKind::Canary, title: "canary".into(), workers: canary }];
    waves.push(Drawn::spread("pinned first", first));
    let mut step = 0;
    while !queue.is_empty() {
        step += 1;
        let size = ramp.step(step);
        let workers = match size {
            RampStep::Nodes(n) => queue.drain(..n.min(queue.len())).collect(),
            RampStep::PerRack(n) => of_each_rack(&mut queue, n, BTreeMap::new()),
            RampStep::Percent(percent) => {
                let until = share(total, percent).saturating_sub(moved).min(queue.len());
                queue.drain(..until).collect::<Vec<_>>()
            }
        };
        moved += workers.len();
        waves.push(Drawn::spread(words(size, workers.len()), workers));
    }
    waves.retain(|wave| !wave.workers.is_empty());
    waves
}

/// What a step means, for people.
fn words(step: RampStep, nodes: usize) -> String {
    match step {
        RampStep::Percent(percent) => format!("to {percent}%"),
        RampStep::PerRack(n) => format!("{n} a rack"),
        RampStep::Nodes(_) if nodes == 1 => "1 node".into(),
        RampStep::Nodes(_) => format!("{nodes} nodes"),
    }
}

/// `percent` of `total`, rounded up: 5% of ten nodes is one.
fn share(total: usize, percent: u8) -> usize {
    total.saturating_mul(percent.into()).div_ceil(100)
}

/// Takes nodes from the front of the queue: at most `wanted`, and none from the first on that a rack has no place for.
fn front<'a, 'c>(queue: &mut VecDeque<&'c Chosen<'a>>, wanted: usize, most_of_a_rack: usize) -> Vec<&'c Chosen<'a>> {
    let mut here: BTreeMap<&RackName, usize> = BTreeMap::new();
    let fits = queue.iter().take(wanted).take_while(|worker| {
        let n = here.entry(&worker.node.rack).or_default();
        *n += 1;
        *n <= most_of_a_rack
    });
    let fits = fits.count();
    queue.drain(..fits).collect()
}

/// Takes the first `most` of each rack out of the queue, those in `taken` included.
fn of_each_rack<'a, 'c>(
    queue: &mut VecDeque<&'c Chosen<'a>>,
    most: usize,
    mut taken: BTreeMap<&'a RackName, usize>,
) -> Vec<&'c Chosen<'a>> {
    let (wave, rest): (Vec<_>, Vec<_>) = queue.drain(..).partition(|worker| {
        let here = taken.entry(&worker.node.rack).or_default();
        *here += 1;
        *here <= most
    });
    queue.extend(rest);
    wave
}

/// The racks in natural order. A rack in which as many nodes are down as may be is left out: not one more may follow.
fn with_room<'a, 'c>(
    cluster: &'a Cluster,
    chosen: &'c [Chosen<'a>],
    stage: &Stage,
    findings: &mut Findings,
) -> Vec<Rack<'a, 'c>> {
    let mut down: BTreeMap<&RackName, usize> = BTreeMap::new();
    for node in cluster.nodes.values().filter(|n| broken(n)) {
        *down.entry(&node.rack).or_default() += 1;
    }
    let mut racks: BTreeMap<&RackName, Vec<&Chosen<'_>>> = BTreeMap::new();
    for worker in chosen.iter().filter(|c| !c.node.master) {
        racks.entry(&worker.node.rack).or_default().push(worker);
    }
    let mut found = Vec::new();
    for (rack, mut workers) in racks {
        let down = down.get(rack).copied().unwrap_or(0);
        match stage.limits.max_unavailable.saturating_sub(down) {
            0 => {
                for worker in workers {
                    let text = format!("{rack} has {down} nodes down already, so its other nodes are left out");
                    let mend = "bring nodes back, or raise max_unavailable, then plan again";
                    findings.on(&worker.node.name, Severity::Warning, "rack-full", text, mend);
                }
            }
            room => {
                workers.sort_by_cached_key(|c| natural(c.node.name.as_str()));
                found.push(Rack { rack, room, workers: workers.into() });
            }
        }
    }
    found.sort_by_cached_key(|r| natural(r.rack.as_str()));
    found
}

#[cfg(test)]
mod tests {
    use crate::plan::samples::{cluster, stage};
    use crate::plan::{PhaseKind, Plan, Settings, Stage, WaveKind, make};
    use jiff::Timestamp;

    /// `title: nodes` of each wave of the workers: three racks of four.
    fn waves(stage: &Stage) -> Vec<String> {
        let plan: Plan = make(&cluster(3, 12, 3), stage, &Settings::default(), Timestamp::UNIX_EPOCH);
        assert!(!plan.refused(), "{:?}", plan.findings);
        let of_workers: Vec<_> = plan.phases.iter().filter(|p| p.kind.of_workers()).flat_map(|p| &p.waves).collect();
        let canaries = of_workers.iter().filter(|w| w.kind == WaveKind::Canary).count();
        assert_eq!((canaries, of_workers[0].kind), (1, WaveKind::Canary));
        let wave = |w: &crate::plan::Wave| {
            let nodes: Vec<&str> = w.swaps.iter().map(|s| s.node.as_str()).collect();
            format!("{}: {}", w.title, nodes.join(" "))
        };
        of_workers.into_iter().map(wave).collect()
    }

    fn names(names: &[&str]) -> Vec<crate::fleet::NodeName> {
        names.iter().map(|n| n.parse().unwrap()).collect()
    }

    #[test]
    fn a_ramp_grows_over_racks_in_turn() {
        let mut stage = stage();
        stage.limits.ramp = Some("1,1/rack,50%,100%".parse().unwrap());
        assert_eq!(
            waves(&stage),
            [
                // The rarer role first.
                "canary: rack0-ss3",
                "wave 2 of 4, 1 a rack: rack0-cs1 rack1-cs1 rack2-cs1",
                "wave 3 of 4, to 50%: rack0-cs2 rack1-cs2",
                "wave 4 of 4, to 100%: rack2-cs2 rack0-cs4 rack1-cs4 rack2-cs4 rack1-ss3 rack2-ss3",
            ]
        );
        stage.limits.ramp = Some("2,8".parse().unwrap());
        let sizes: Vec<usize> = waves(&stage).iter().map(|w| w.matches("rack").count()).collect();
        assert_eq!(sizes, [2, 8, 2]);
    }

    #[test]
    fn the_workers_canary_comes_before_the_kubelets_of_masters() {
        let mut stage = stage();
        let kinds = |stage: &Stage| -> Vec<PhaseKind> {
            let plan = make(&cluster(3, 12, 3), stage, &Settings::default(), Timestamp::UNIX_EPOCH);
            plan.phases.iter().map(|p| p.kind).collect()
        };
        use PhaseKind::{Canary, Masters, Workers};
        assert_eq!(kinds(&stage)[5..], [Canary, Masters, Workers]);
        // Nothing of the workers comes before a master's when there is no worker.
        stage.scope.nodes = names(&["rack0-m1", "rack1-m2", "rack2-m3"]);
        assert_eq!(kinds(&stage).last(), Some(&Masters));
        // Where no master's kubelet moves, the canary is the workers' first wave.
        stage.scope.nodes = names(&["rack0-cs1", "rack1-cs1", "rack2-cs1", "rack0-cs2"]);
        assert_eq!(kinds(&stage)[1..], [Workers]);
    }

    #[test]
    fn pins_come_before_and_after_all_others() {
        let mut stage = stage();
        stage.limits.canary = 2;
        stage.first = names(&["rack2-ss3", "rack1-cs2", "rack0-cs4"]);
        stage.last = names(&["rack0-cs1"]);
        let found = waves(&stage);
        assert_eq!(found[..2], ["canary: rack2-ss3 rack1-cs2", "pinned first: rack0-cs4"]);
        assert_eq!(found.last().unwrap(), "pinned last: rack0-cs1");
        assert_eq!(found.len(), 6);
        stage.limits.ramp = Some("1/rack,100%".parse().unwrap());
        stage.first.push("rack0-cs2".parse().unwrap());
        let found = waves(&stage);
        assert_eq!(found[..2], ["canary: rack2-ss3 rack1-cs2 rack0-cs4", "wave 2 of 4, pinned first: rack0-cs2"]);
        assert!(
            found[2].starts_with("wave 3 of 4, to 100%: ") && found[3] == "wave 4 of 4, pinned last: rack0-cs1",
            "{found:?}"
        );
    }

    #[test]
    fn pins_that_make_no_sense_refuse_the_plan() {
        let mut stage = stage();
        stage.first = names(&["rack9-cs9", "rack0-m1", "rack0-cs1"]);
        stage.last = names(&["rack0-cs1"]);
        let mut cluster = cluster(3, 12, 3);
        let master = cluster.masters().next().unwrap().name.clone();
        stage.first[1] = master;
        cluster.leaders = Default::default();
        let plan = make(&cluster, &stage, &Settings::default(), Timestamp::UNIX_EPOCH);
        let codes: Vec<&str> =
            plan.findings.iter().map(|f| f.code.as_str()).filter(|c| c.starts_with("pin-")).collect();
        assert_eq!(codes, ["pin-master", "pin-twice", "pin-unknown"]);
        assert!(plan.refused());
    }

    #[test]
    fn a_canary_meets_roles_and_hardware_before_it_meets_a_rack_twice() {
        let mut stage = stage();
        stage.limits.canary = 3;
        let mut cluster = cluster(3, 12, 3);
        for node in cluster.nodes.values_mut() {
            let rare = ["rack0-cs3", "rack0-cs4"].contains(&node.name.as_str());
            let kind = if rare { "a=old" } else { "a=new" };
            node.labels.insert(kind.parse().unwrap());
            node.role = Some(if node.name.as_str() == "rack0-cs4" { "ss" } else { "cs" }.parse().unwrap());
        }
        let settings = Settings { hardware_labels: vec!["a".into()], ..Settings::default() };
        let plan = make(&cluster, &stage, &settings, Timestamp::UNIX_EPOCH);
        let phase = plan.phases.iter().find(|p| p.kind == PhaseKind::Canary).unwrap();
        let canaries: Vec<&str> = phase.waves[0].swaps.iter().map(|s| s.node.as_str()).collect();
        // The only one of its role and of the rare hardware, then what is most common, then the third rack.
        assert_eq!(canaries, ["rack0-cs4", "rack1-cs1", "rack2-cs1"]);
        assert!(plan.cluster.nodes.values().all(|n| n.label("a").is_some()), "the plan keeps what it asked for");
    }
}
