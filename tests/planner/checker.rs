//! Replays a plan step by step and asks the rules after each. Written from the policies' own text:
//!
//! - <https://kubernetes.io/releases/version-skew-policy/>
//! - <https://etcd.io/docs/v3.6/upgrades/upgrading-etcd/>: one minor at a time, no member left behind
//! - DESIGN.md, 6: order and safety.

use crate::random::Case;
use crate::waves;
use sonoba::fleet::{Component, Node, NodeName};
use sonoba::plan::{Gate, PhaseKind, Plan, Severity, Wave, WaveKind};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// `(major, minor)` out of a tag, read by hand.
fn minor_of(image: &str) -> i64 {
    let tag = image.rsplit(':').next().unwrap_or_default();
    let mut parts = tag.split('.');
    let mut part = || parts.next().and_then(|p| p.parse::<i64>().ok()).unwrap_or_default();
    let (major, minor) = (part(), part());
    major * 100 + minor
}

/// What runs where: minors, by node and component.
struct State {
    nodes: Vec<NodeName>,
    index: HashMap<NodeName, usize>,
    minors: Vec<[Option<i64>; 8]>,
}

/// A rule that is broken on a node, and by how much.
type Broken = (&'static str, usize, i64);

fn place(component: Component) -> usize {
    Component::ALL.iter().position(|c| *c == component).unwrap_or_default()
}

impl State {
    fn of(&self, node: usize, component: Component) -> Option<i64> {
        self.minors[node][place(component)]
    }

    fn all(&self, component: Component) -> impl Iterator<Item = i64> {
        let at = place(component);
        self.minors.iter().filter_map(move |m| m[at])
    }

    /// Every rule that is broken on a node.
    fn broken_on(&self, node: usize, found: &mut Vec<Broken>) {
        let mut api = self.all(Component::KubeApiserver);
        let Some(first) = api.next() else { return };
        let (oldest, newest) = api.fold((first, first), |(old, new), v| (old.min(v), new.max(v)));
        let mut say = |rule, far| {
            if far > 0 {
                found.push((rule, node, far));
            }
        };
        // "In highly-available (HA) clusters, the newest and oldest kube-apiserver instances must be within one minor version."
        if let Some(v) = self.of(node, Component::KubeApiserver) {
            say("apiservers together", newest - v - 1);
        }
        // "kubelet must not be newer than kube-apiserver. kubelet may be up to three minor versions older than kube-apiserver
        // (kubelet < 1.25 may only be up to two minor versions older than kube-apiserver)." The same for kube-proxy.
        let kubelet = self.of(node, Component::Kubelet);
        let proxy = self.of(node, Component::KubeProxy);
        let lag = |v: i64| if v < 125 { 2 } else { 3 };
        if let Some(v) = kubelet {
            say("kubelet not newer", v - oldest);
            say("kubelet not too old", newest - v - lag(v));
        }
        if let Some(v) = proxy {
            say("kube-proxy not newer", v - oldest);
            say("kube-proxy not too old", newest - v - lag(v));
        }
        // "kube-proxy may be up to three minor versions older or newer than the kubelet instance it runs alongside (kube-proxy <
        // 1.25 may only be up to two minor versions older or newer than the kubelet instance it runs alongside)."
        if let (Some(kubelet), Some(proxy)) = (kubelet, proxy) {
            say("kube-proxy beside kubelet", (proxy - kubelet).abs() - lag(proxy));
        }
        // "kube-controller-manager, kube-scheduler, and cloud-controller-manager must not be newer than the kube-apiserver
        // instances they communicate with. They are expected to match the kube-apiserver minor version, but may be up to one
        // minor version older."
        if let Some(v) = self.of(node, Component::KubeControllerManager) {
            say("controller-manager not newer", v - oldest);
            say("controller-manager not too old", newest - v - 1);
        }
        if let Some(v) = self.of(node, Component::KubeScheduler) {
            say("scheduler not newer", v - oldest);
            say("scheduler not too old", newest - v - 1);
        }
    }

    /// Every rule that is broken.
    fn broken(&self) -> Vec<Broken> {
        let mut found = Vec::new();
        (0..self.nodes.len()).for_each(|node| self.broken_on(node, &mut found));
        found
    }
}

fn state_of(case: &Case) -> State {
    let nodes: Vec<NodeName> = case.cluster.nodes.keys().cloned().collect();
    let index = nodes.iter().cloned().enumerate().map(|(i, n)| (n, i)).collect();
    let minors = case.cluster.nodes.values().map(|node| {
        let of = |c: &Component| Some(minor_of(node.components.get(c)?.image.as_str()));
        std::array::from_fn(|i| of(&Component::ALL[i]))
    });
    State { minors: minors.collect(), nodes, index }
}

/// Whether the cluster keeps to every rule before anything moves.
pub fn in_line(case: &Case) -> bool {
    state_of(case).broken().is_empty()
}

fn sick(node: &Node) -> bool {
    !node.ready || node.reachable == Some(false)
}

/// The first rule that the plan breaks, in words.
pub fn check(case: &Case, plan: &Plan) -> Result<(), String> {
    order(case, plan)?;
    proofs(case, plan)?;
    workers(case, plan)?;
    waves::check(case, plan)?;
    if plan.refused() {
        // A refusal gives its reason.
        let reasoned = plan.findings.iter().any(|f| f.severity == Severity::Error && !f.text.is_empty());
        return if reasoned { Ok(()) } else { Err("refused without a reason".into()) };
    }
    let mut state = state_of(case);
    let mut images: HashMap<(&NodeName, Component), &str> = HashMap::new();
    for node in case.cluster.nodes.values() {
        images.extend(node.components.iter().map(|(c, running)| ((&node.name, *c), running.image.as_str())));
    }
    let before: HashMap<(&str, usize), i64> = state.broken().into_iter().map(|(r, n, far)| ((r, n), far)).collect();
    let mut found = Vec::new();
    for (_, _, swap) in plan.swaps() {
        for change in &swap.changes {
            let at = (&swap.node, change.component);
            let (from, to) = (images.get(&at), change.to.as_str());
            if from != Some(&change.from.as_str()) {
                return Err(format!(
                    "{}: {} starts from {}, but runs {from:?}",
                    swap.id, change.component, change.from
                ));
            }
            let (was, is) = (minor_of(change.from.as_str()), minor_of(to));
            if is < was {
                return Err(format!("{}: {} goes down", swap.id, change.component));
            }
            // "kube-apiserver must not skip minor versions when upgrading, even in single-instance clusters."
            if matches!(change.component, Component::KubeApiserver | Component::Etcd) && is - was > 1 {
                return Err(format!("{}: {} skips a minor", swap.id, change.component));
            }
            let node = state.index[&swap.node];
            state.minors[node][place(change.component)] = Some(is);
            images.insert(at, to);
            // An API server's move touches everybody, any other's its own node.
            found.clear();
            match change.component {
                Component::KubeApiserver => found = state.broken(),
                _ => state.broken_on(node, &mut found),
            }
            if let Some((rule, node, far)) =
                found.iter().find(|(r, n, far)| before.get(&(*r, *n)).is_none_or(|was| far > was))
            {
                let node = &state.nodes[*node];
                return Err(format!("{}: {rule} on {node} is broken by {far} after {change:?}", swap.id));
            }
            // etcd's members within one minor of each other.
            if change.component == Component::Etcd
                && let (Some(old), Some(new)) = (state.all(Component::Etcd).min(), state.all(Component::Etcd).max())
                && new - old > 1
            {
                return Err(format!("{}: etcd's members are {} minors apart", swap.id, new - old));
            }
        }
    }
    arrived(case, plan, &images)
}

/// Whoever is fit runs what is staged at the end, or a finding names it.
fn arrived(case: &Case, plan: &Plan, images: &HashMap<(&NodeName, Component), &str>) -> Result<(), String> {
    let named: BTreeSet<&NodeName> = plan.findings.iter().flat_map(|f| &f.nodes).collect();
    for bump in &case.stage.bumps {
        for ((node, _), image) in images.iter().filter(|((_, c), _)| *c == bump.component) {
            let (labels, it) = (&case.stage.scope.labels, &case.cluster.nodes[*node]);
            let selected = labels.is_empty() || (!it.master && labels.is_subset(&it.labels));
            if *image != bump.to.as_str() && selected && !named.contains(node) {
                return Err(format!("{node} ends with {} {image}, and nothing says why", bump.component));
            }
        }
    }
    Ok(())
}

/// Masters one at a time, in the order of the phases, leaders last.
fn order(case: &Case, plan: &Plan) -> Result<(), String> {
    let cluster = &case.cluster;
    let mut ids = BTreeSet::new();
    for (p, w, swap) in plan.swaps() {
        let (phase, wave) = (&plan.phases[p], &plan.phases[p].waves[w]);
        if !ids.insert(&swap.id) {
            return Err(format!("{} twice", swap.id));
        }
        let master = cluster.nodes[&swap.node].master;
        if master != (wave.kind == WaveKind::ControlPlane) || master == phase.kind.of_workers() {
            return Err(format!("{} on {} stands in the wrong phase", swap.id, swap.node));
        }
        if master && (wave.swaps.len(), wave.max_parallel) != (1, 1) {
            return Err(format!("masters {:?} go together", wave.swaps));
        }
    }
    if plan.phases.iter().skip(1).any(|p| p.kind == PhaseKind::Prefetch) {
        return Err("images are pulled in the middle".into());
    }
    for pair in plan.phases.windows(2) {
        if pair[0].hop == pair[1].hop && pair[0].kind >= pair[1].kind {
            return Err(format!("{:?} comes before {:?}", pair[0].kind, pair[1].kind));
        }
    }
    for phase in &plan.phases {
        let order: Vec<&NodeName> = phase.waves.iter().flat_map(|w| &w.swaps).map(|s| &s.node).collect();
        let leaders: Vec<&NodeName> = match phase.kind {
            PhaseKind::Etcd => cluster.leaders.etcd.iter().collect(),
            PhaseKind::Controllers => {
                cluster.leaders.controller_manager.iter().chain(&cluster.leaders.scheduler).collect()
            }
            _ => continue,
        };
        let first = order.iter().position(|n| leaders.contains(n)).unwrap_or(order.len());
        if order[first..].iter().any(|n| !leaders.contains(n)) {
            return Err(format!("{:?}: a leader is not last in {order:?}", phase.kind));
        }
    }
    let moved = plan.phases.iter().any(|p| !(p.kind == PhaseKind::Prefetch || p.kind.of_workers()));
    if !plan.refused() && moved && cluster.masters().any(sick) {
        return Err("a master restarts while another is down".into());
    }
    Ok(())
}

/// What restarts a kubelet may restart containers: the first is a worker, is proved before anything follows, and after it at most one
/// wave is ahead of its proof. Each hop ends with all of them proved.
fn proofs(case: &Case, plan: &Plan) -> Result<(), String> {
    for hop in plan.phases.chunk_by(|a, b| a.hop == b.hop) {
        let waves: Vec<&Wave> = hop.iter().flat_map(|p| &p.waves).collect();
        let kubelets = |w: &&&Wave| w.swaps.iter().flat_map(|s| &s.changes).any(|c| c.component == Component::Kubelet);
        let waves: Vec<&Wave> = waves.iter().filter(kubelets).copied().collect();
        let master = |w: &Wave| case.cluster.nodes[&w.swaps[0].node].master;
        if waves.first().is_some_and(|w| master(w)) && waves.iter().any(|w| w.kind == WaveKind::Canary) {
            return Err(format!("the first kubelet is a master's, {}", waves[0].title));
        }
        for (i, wave) in waves.iter().enumerate() {
            let own: Vec<bool> = wave
                .gates
                .iter()
                .filter_map(|g| if let Gate::PodsProved { own, .. } = g { Some(*own) } else { None })
                .collect();
            if own != [i == 0 || i + 1 == waves.len()] {
                return Err(format!("wave {} of {} waits for proofs as {own:?}", i + 1, waves.len()));
            }
        }
    }
    Ok(())
}

/// Never more of a rack than may be; the sick are left alone.
fn workers(case: &Case, plan: &Plan) -> Result<(), String> {
    let (cluster, limits) = (&case.cluster, &case.stage.limits);
    for phase in plan.phases.iter().filter(|p| p.kind.of_workers()) {
        for wave in &phase.waves {
            if wave.max_parallel == 0 || wave.max_parallel > limits.max_parallel {
                return Err(format!("wave {} runs {} at once", wave.title, wave.max_parallel));
            }
            let mut racks: BTreeMap<_, usize> = BTreeMap::new();
            let mut room = 0;
            for swap in &wave.swaps {
                let node = &cluster.nodes[&swap.node];
                if sick(node) {
                    return Err(format!("{} is sick, and swapped", node.name));
                }
                *racks.entry(&node.rack).or_default() += 1;
            }
            for (rack, here) in racks {
                let down = cluster.nodes.values().filter(|n| n.rack == *rack && sick(n)).count();
                if down >= limits.max_unavailable {
                    return Err(format!("wave {}: {rack} has no room for one more", wave.title));
                }
                room += here.min(limits.max_unavailable - down);
                if wave.kind == WaveKind::Rack && here.min(wave.max_parallel) + down > limits.max_unavailable {
                    return Err(format!("wave {}: too many of {rack} at once", wave.title));
                }
            }
            // The engine holds each rack to its limit; a plan that promises more at once than all racks allow is wrong.
            if wave.max_parallel > room {
                return Err(format!("wave {}: {} at once, and the racks allow {room}", wave.title, wave.max_parallel));
            }
        }
    }
    Ok(())
}
