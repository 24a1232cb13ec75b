//! The fewest restarts that the policies allow, found by trying every way.
//!
//! Every rule but those among the API servers binds one node's components to the oldest and newest API server. So all
//! orders in which the API servers can go up are walked through, and for each the cheapest schedule of every other component
//! is found by trying, at each moment, every version that it could be taken to.

use crate::random::Case;
use sonoba::fleet::{Component, NodeName};
use sonoba::plan::Plan;
use std::collections::{BTreeMap, BTreeSet};

fn minor(image: &sonoba::fleet::Image) -> i64 {
    image.version().map_or(0, |v| i64::from(v.minor))
}

/// Compares the plan's restarts with the fewest, component by component.
pub fn compare(case: &Case, plan: &Plan) -> Result<(), String> {
    let mut planned: BTreeMap<Component, usize> = BTreeMap::new();
    for change in plan.swaps().flat_map(|(_, _, s)| &s.changes) {
        *planned.entry(change.component).or_default() += 1;
    }
    let fewest = fewest(case).ok_or("the search finds no way, the planner did")?;
    for component in Component::ALL {
        let (is, best) = (planned.get(&component).copied().unwrap_or(0), fewest.get(&component).copied().unwrap_or(0));
        if is != best {
            return Err(format!("{component} is restarted {is} times, {best} are enough"));
        }
    }
    Ok(())
}

/// One component of one node: where it is, where it must go.
struct Part {
    from: i64,
    to: i64,
    /// Whether the images differ.
    moves: bool,
}

fn part(case: &Case, node: &NodeName, component: Component) -> Option<Part> {
    let running = case.cluster.nodes[node].components.get(&component)?;
    let to = &case.stage.bumps.iter().find(|b| b.component == component)?.to;
    Some(Part { from: minor(&running.image), to: minor(to), moves: running.image != *to })
}

fn fewest(case: &Case) -> Option<BTreeMap<Component, usize>> {
    let masters: Vec<&NodeName> = case.cluster.masters().map(|n| &n.name).collect();
    let api: Vec<Part> = masters.iter().filter_map(|n| part(case, n, Component::KubeApiserver)).collect();
    // (oldest, newest) at each moment, for every order in which the API servers can go up, one minor at a time.
    let mut ways: BTreeSet<Vec<(i64, i64)>> = BTreeSet::new();
    let start: Vec<i64> = api.iter().map(|p| p.from).collect();
    let goal: Vec<i64> = api.iter().map(|p| p.to).collect();
    climb(&start, &goal, &mut vec![], &mut ways);
    let mut best: Option<BTreeMap<Component, usize>> = None;
    for way in ways {
        if let Some(cost) = cost_of(case, &way) {
            let total = |c: &BTreeMap<Component, usize>| c.values().sum::<usize>();
            if best.as_ref().is_none_or(|b| total(&cost) < total(b)) {
                best = Some(cost);
            }
        }
    }
    let mut best = best?;
    for part in &api {
        // A change of patch alone is one restart, else one a minor.
        let restarts = if part.moves { usize::try_from(part.to - part.from).ok()?.max(1) } else { 0 };
        *best.entry(Component::KubeApiserver).or_default() += restarts;
    }
    for component in [Component::Etcd, Component::Rivers, Component::EtcdRivers] {
        for node in case.cluster.nodes.keys() {
            let Some(part) = part(case, node, component).filter(|p| p.moves) else { continue };
            let steps =
                if component == Component::Etcd { usize::try_from(part.to - part.from).ok()?.max(1) } else { 1 };
            *best.entry(component).or_default() += steps;
        }
    }
    Some(best)
}

fn climb(now: &[i64], goal: &[i64], path: &mut Vec<(i64, i64)>, ways: &mut BTreeSet<Vec<(i64, i64)>>) {
    let (Some(old), Some(new)) = (now.iter().min(), now.iter().max()) else { return };
    if new - old > 1 {
        return;
    }
    path.push((*old, *new));
    if now == goal {
        ways.insert(path.clone());
    }
    for i in 0..now.len() {
        if now[i] < goal[i] {
            let mut next = now.to_vec();
            next[i] += 1;
            climb(&next, goal, path, ways);
        }
    }
    path.pop();
}

/// The restarts of everything else along one way of the API servers; none when something cannot keep to the rules.
fn cost_of(case: &Case, way: &[(i64, i64)]) -> Option<BTreeMap<Component, usize>> {
    let mut cost: BTreeMap<Component, usize> = BTreeMap::new();
    for node in case.cluster.nodes.keys() {
        for component in [Component::KubeControllerManager, Component::KubeScheduler] {
            let Some(part) = part(case, node, component) else { continue };
            *cost.entry(component).or_default() += alone(&part, way, |v, (old, new)| v <= old && new - v <= 1)?;
        }
        let (kubelet, proxy) = (part(case, node, Component::Kubelet)?, part(case, node, Component::KubeProxy)?);
        let (k, p) = pair(&kubelet, &proxy, way)?;
        *cost.entry(Component::Kubelet).or_default() += k;
        *cost.entry(Component::KubeProxy).or_default() += p;
    }
    Some(cost)
}

fn lag_allowed(v: i64) -> i64 {
    if v < 25 { 2 } else { 3 }
}

fn node_rule(v: i64, (old, new): (i64, i64)) -> bool {
    v <= old && new - v <= lag_allowed(v)
}

/// The states that a part can be in: its minor, and whether it has arrived at the very image that is staged.
fn states(part: &Part) -> Vec<(i64, bool)> {
    let mut all: Vec<(i64, bool)> = (part.from..=part.to).map(|v| (v, false)).collect();
    all.push((part.to, true));
    if !part.moves {
        all = vec![(part.to, true)];
    }
    all
}

/// The fewest restarts of one part along a way, by trying every state at every moment.
fn alone(part: &Part, way: &[(i64, i64)], holds: impl Fn(i64, (i64, i64)) -> bool) -> Option<usize> {
    let start = (part.from, !part.moves);
    let mut costs: BTreeMap<(i64, bool), usize> = BTreeMap::from([(start, 0)]);
    for api in way {
        // It must hold as it comes in, and may move before the API servers do.
        let kept: BTreeMap<_, _> = costs.iter().filter(|((v, _), _)| holds(*v, *api)).map(|(k, c)| (*k, *c)).collect();
        let mut merged: BTreeMap<(i64, bool), usize> = kept.clone();
        for ((v, done), cost) in &kept {
            for (to, arrived) in states(part) {
                if to < *v || (*done && !arrived) || !holds(to, *api) {
                    continue;
                }
                let step = usize::from((to, arrived) != (*v, *done));
                let at = merged.entry((to, arrived)).or_insert(usize::MAX);
                *at = (*at).min(cost + step);
            }
        }
        costs = merged;
        if costs.is_empty() {
            return None;
        }
    }
    costs.iter().filter(|((_, done), _)| *done).map(|(_, c)| *c).min()
}

/// The fewest restarts of a node's kubelet and kube-proxy together.
fn pair(kubelet: &Part, proxy: &Part, way: &[(i64, i64)]) -> Option<(usize, usize)> {
    type At = ((i64, bool), (i64, bool));
    let well = |((k, _), (p, _)): At, api| {
        node_rule(k, api) && node_rule(p, api) && (k - p).abs() <= if p < 25 { 2 } else { 3 }
    };
    let start: At = ((kubelet.from, !kubelet.moves), (proxy.from, !proxy.moves));
    let mut costs: BTreeMap<At, (usize, usize)> = BTreeMap::from([(start, (0, 0))]);
    for api in way {
        costs.retain(|at, _| well(*at, *api));
        // Moves at this moment, one after the other, until no more come.
        let mut open: Vec<At> = costs.keys().copied().collect();
        while let Some(at) = open.pop() {
            let (k, p) = costs[&at];
            let steps = states(kubelet)
                .into_iter()
                .map(|to| ((to, at.1), (k + 1, p)))
                .chain(states(proxy).into_iter().map(|to| ((at.0, to), (k, p + 1))));
            for (to, cost) in steps.collect::<Vec<_>>() {
                let up = |a: (i64, bool), b: (i64, bool)| b.0 >= a.0 && (b.1 || !a.1);
                if to == at || !up(at.0, to.0) || !up(at.1, to.1) || !well(to, *api) {
                    continue;
                }
                let better = costs.get(&to).is_none_or(|c| cost.0 + cost.1 < c.0 + c.1);
                if better {
                    costs.insert(to, cost);
                    open.push(to);
                }
            }
        }
        if costs.is_empty() {
            return None;
        }
    }
    costs.iter().filter(|((k, p), _)| k.1 && p.1).map(|(_, c)| *c).min_by_key(|c| c.0 + c.1)
}
