//! What `sonoba plan`'s flags stage.

use super::args::{LeaveOut, PlanArgs};
use super::failure::Failure;
use crate::fleet::{Cluster, Component, Image, Label, NodeName, RackName, RoleName, clean};
use crate::inventory::Profile;
use crate::plan::{self, Bump, Plan, Scope, Stage};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;

/// The stage that the flags ask for.
///
/// # Errors
/// Exit 2, when they name something that the profile or the cluster does not have.
pub(super) fn stage(args: &PlanArgs, profile: &Profile, cluster: &Cluster) -> Result<Stage, Failure> {
    let mut images: BTreeMap<Component, Image> = BTreeMap::new();
    if let Some(name) = &args.release {
        let release = profile.releases.iter().find(|r| r.name == *name).ok_or_else(|| {
            let known: Vec<&str> = profile.releases.iter().map(|r| r.name.as_str()).collect();
            Failure::usage(format!(
                "release {:?} is not in the profile; it has: {}",
                clean(name),
                if known.is_empty() { "none, write a [[release]] table".into() } else { known.join(", ") }
            ))
        })?;
        images = release.images.clone();
    }
    let mut bumped = BTreeSet::new();
    for text in &args.bump {
        let (component, image) = bump(text, cluster)?;
        if !bumped.insert(component) {
            return Err(Failure::usage(format!("{component} is bumped twice; give one --bump a component")));
        }
        images.insert(component, image);
    }
    let mut limits = profile.limits.clone();
    if let Some(canary) = args.canary {
        (limits.canary, limits.ramp) = (canary, None);
    }
    limits.ramp = args.waves.clone().or(limits.ramp);
    limits.max_parallel = at_least_one("--max-parallel", args.max_parallel)?.unwrap_or(limits.max_parallel);
    limits.max_unavailable = at_least_one("--max-unavailable", args.max_unavailable)?.unwrap_or(limits.max_unavailable);
    Ok(Stage {
        release: args.release.clone(),
        bumps: images.into_iter().map(|(component, to)| Bump { component, to }).collect(),
        scope: scope(args, cluster)?,
        first: pins("--first", args.first.as_deref(), cluster)?,
        last: pins("--last", args.last.as_deref(), cluster)?,
        limits,
        budget: profile.budget.clone(),
        way: profile.releases.clone(),
        accept: args.accept.clone(),
        acknowledged: args.acknowledge.clone(),
    })
}

/// With nothing allowed, nothing could ever happen.
fn at_least_one(flag: &str, n: Option<usize>) -> Result<Option<usize>, Failure> {
    match n {
        Some(0) => Err(Failure::usage(format!("{flag} must be at least 1"))),
        n => Ok(n),
    }
}

/// `COMPONENT=VERSION`: another tag of the image that the component runs now, or a whole image.
fn bump(text: &str, cluster: &Cluster) -> Result<(Component, Image), Failure> {
    let (component, to) = text.split_once('=').ok_or_else(|| {
        Failure::usage(format!("--bump {:?}: write COMPONENT=VERSION, for instance kubelet=1.36.2.1", clean(text)))
    })?;
    let component: Component = component.parse().map_err(Failure::usage)?;
    if to.contains(['/', ':', '@']) {
        return Ok((component, to.parse().map_err(|e| Failure::usage(format!("--bump {component}: {e}")))?));
    }
    let running: BTreeSet<&str> =
        cluster.nodes.values().filter_map(|n| n.components.get(&component)).map(|r| r.image.name()).collect();
    let mut running = running.into_iter();
    match (running.next(), running.next()) {
        (Some(name), None) => {
            let image =
                format!("{name}:{to}").parse().map_err(|e| Failure::usage(format!("--bump {component}: {e}")))?;
            Ok((component, image))
        }
        (None, _) => Err(Failure::usage(format!(
            "--bump {component}: it runs nowhere, so its image is not known; give a whole image: --bump {component}=REGISTRY/NAME:{}",
            clean(to)
        ))),
        (Some(a), Some(b)) => Err(Failure::usage(format!(
            "--bump {component}: it runs images of several names ({a}, {b}, …); give a whole image: --bump {component}={a}:{}",
            clean(to)
        ))),
    }
}

fn scope(args: &PlanArgs, cluster: &Cluster) -> Result<Scope, Failure> {
    let nodes: BTreeSet<&NodeName> = cluster.nodes.keys().collect();
    let racks: BTreeSet<&RackName> = cluster.nodes.values().map(|n| &n.rack).collect();
    let roles: BTreeSet<&RoleName> = cluster.nodes.values().filter_map(|n| n.role.as_ref()).collect();
    let scope = Scope {
        nodes: select("--nodes", "node", args.nodes.as_deref(), &nodes)?,
        racks: select("--racks", "rack", args.racks.as_deref(), &racks)?,
        roles: select("--role", "role", args.role.as_deref(), &roles)?,
        labels: labels(&args.label, cluster)?,
        exclude: Vec::new(),
    };
    leave_out(scope, &args.leave_out, cluster)
}

/// The workers that a pin means. Masters have an order of their own, so a pattern passes over them.
fn pins(flag: &str, text: Option<&str>, cluster: &Cluster) -> Result<Vec<NodeName>, Failure> {
    let workers: BTreeSet<&NodeName> = cluster.workers().map(|n| &n.name).collect();
    let Some(text) = text else { return Ok(Vec::new()) };
    pick(flag, text, &workers, |pattern| {
        format!("{flag}: no worker {pattern:?} in the cluster; only workers can be pinned")
    })
}

fn labels(labels: &[Label], cluster: &Cluster) -> Result<BTreeSet<Label>, Failure> {
    for label in labels {
        let (all, key) = (cluster.nodes.values(), label.key());
        if all.clone().any(|n| n.labels.contains(label)) {
            continue;
        }
        let values: BTreeSet<&str> = all.filter_map(|n| n.label(key)).collect();
        let known = match values.len() {
            0 => format!("no node has a label {key}"),
            _ => format!("{key} is one of: {}", values.into_iter().take(10).collect::<Vec<_>>().join(", ")),
        };
        return Err(Failure::usage(format!("--label {label}: no node has it; {known}")));
    }
    Ok(labels.iter().cloned().collect())
}

/// The scope of these nodes alone; of every node where none are named.
pub(super) fn scope_of(nodes: Option<&str>, leave: &LeaveOut, cluster: &Cluster) -> Result<Scope, Failure> {
    let known: BTreeSet<&NodeName> = cluster.nodes.keys().collect();
    let scope = Scope { nodes: select("--nodes", "node", nodes, &known)?, ..Scope::default() };
    leave_out(scope, leave, cluster)
}

fn leave_out(mut scope: Scope, leave: &LeaveOut, cluster: &Cluster) -> Result<Scope, Failure> {
    let known: BTreeSet<&NodeName> = cluster.nodes.keys().collect();
    let mut out: BTreeSet<NodeName> =
        if leave.exclude_unreachable { plan::unfit(cluster, &scope).into_iter().collect() } else { BTreeSet::new() };
    out.extend(select("--exclude", "node", leave.exclude.as_deref(), &known)?);
    scope.exclude = out.into_iter().collect();
    Ok(scope)
}

/// The nodes that a selection means among those that a run's plan touches.
///
/// # Errors
/// Exit 2, when it selects none, or names one that the plan does not touch.
pub(super) fn nodes_of(plan: &Plan, text: &str) -> Result<Vec<NodeName>, Failure> {
    let touched: BTreeSet<&NodeName> = plan.swaps().map(|(_, _, s)| &s.node).collect();
    pick("--nodes", text, &touched, |pattern| format!("--nodes: the run's plan touches no node {pattern:?}"))
}

fn select<N>(flag: &str, what: &str, text: Option<&str>, known: &BTreeSet<&N>) -> Result<Vec<N>, Failure>
where
    N: FromStr + Ord + Clone + AsRef<str> + Display,
{
    let Some(text) = text else { return Ok(Vec::new()) };
    pick(flag, text, known, |pattern| {
        format!("{flag}: no {what} {pattern:?} in the cluster; see what there is with: sonoba plan without {flag}")
    })
}

/// Reads `a,b[1-3],c*` against what exists. A pattern that selects nothing is an error: a typing mistake must not
/// quietly shrink, or widen, what is upgraded.
fn pick<N>(flag: &str, text: &str, known: &BTreeSet<&N>, none: impl Fn(&str) -> String) -> Result<Vec<N>, Failure>
where
    N: FromStr + Ord + Clone + AsRef<str> + Display,
{
    let mut picked: BTreeSet<N> = BTreeSet::new();
    for word in words(text) {
        for pattern in expand(&word).map_err(|why| Failure::usage(format!("{flag} {:?}: {why}", clean(&word))))? {
            let before = picked.len();
            picked.extend(known.iter().filter(|k| matches(&pattern, k.as_ref())).map(|k| (*k).clone()));
            if picked.len() == before && !picked.iter().any(|p| matches(&pattern, p.as_ref())) {
                return Err(Failure::usage(none(&clean(&pattern))));
            }
        }
    }
    if picked.is_empty() {
        return Err(Failure::usage(format!("{flag}: selects nothing")));
    }
    Ok(picked.into_iter().collect())
}

/// Splits at commas that are outside brackets.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut depth = 0usize;
    for c in text.chars() {
        match c {
            ',' if depth == 0 => {
                words.push(String::new());
                continue;
            }
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if let Some(word) = words.last_mut() {
            word.push(c);
        }
    }
    words.retain(|w| !w.trim().is_empty());
    words.iter().map(|w| w.trim().to_owned()).collect()
}

/// `w-[0003-0005,0042]`, as sonoba itself writes many names, to each of them. One bracket a word.
fn expand(word: &str) -> Result<Vec<String>, String> {
    const MANY: usize = 100_000;
    let Some((before, rest)) = word.split_once('[') else { return Ok(vec![word.to_owned()]) };
    let (inside, after) = rest.split_once(']').ok_or("the bracket is not closed")?;
    let number = |s: &str| s.parse::<usize>().map_err(|_| format!("{:?} in the brackets is no number", clean(s)));
    let mut all = Vec::new();
    for part in inside.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let width = if from.starts_with('0') || from.len() == to.len() { from.len() } else { 0 };
        let (from, to) = (number(from)?, number(to)?);
        if to < from || to - from >= MANY {
            return Err(format!("{from}-{to} is no range"));
        }
        all.extend((from..=to).map(|n| format!("{before}{n:0width$}{after}")));
    }
    Ok(all)
}

/// Whether a name fits a pattern in which `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| {
            // Patterns are short and typed by hand: trying every place is enough.
            (0..=rest.len()).filter(|i| rest.is_char_boundary(*i)).any(|i| matches(tail, &rest[i..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(names: &[&str]) -> Vec<NodeName> {
        names.iter().map(|n| n.parse().unwrap()).collect()
    }

    fn picked(text: &str) -> Result<Vec<String>, String> {
        let all = nodes(&["r0-cs1", "r0-cs2", "r0-cs10", "r0-ss1", "w-0003", "w-0004"]);
        let known = all.iter().collect();
        let picked: Vec<NodeName> = select("--nodes", "node", Some(text), &known).map_err(|f| f.text)?;
        Ok(picked.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_bump_keeps_the_name_of_the_image_that_runs() {
        let cluster = crate::cli::samples::cluster();
        let image = |text: &str| bump(text, &cluster).map(|(c, i)| format!("{c} {i}")).map_err(|f| f.text);
        assert_eq!(image("kubelet=1.36.2.1").unwrap(), "kubelet ghcr.io/cybozu/kubernetes:1.36.2.1");
        assert_eq!(image("etcd=quay.io/x/etcd:3.6").unwrap(), "etcd quay.io/x/etcd:3.6");
        assert!(image("etcd=3.6.11.1").unwrap_err().contains("runs nowhere"));
        assert!(image("kubelet").unwrap_err().contains("COMPONENT=VERSION"));
        assert!(image("kublet=1").unwrap_err().contains("kube-apiserver"));
        assert!(image("kubelet=1 2").unwrap_err().contains("tag"));
    }

    #[test]
    fn selects_what_sonoba_itself_writes() {
        assert_eq!(picked("w-[0003-0004]").unwrap(), ["w-0003", "w-0004"]);
        assert_eq!(picked("r0-cs[1-2,10], r0-ss1").unwrap(), ["r0-cs1", "r0-cs10", "r0-cs2", "r0-ss1"]);
        assert_eq!(picked("r0-*1").unwrap(), ["r0-cs1", "r0-ss1"]);
        assert_eq!(picked("r0-cs1,r0-cs1").unwrap(), ["r0-cs1"]);
    }

    #[test]
    fn what_selects_nothing_is_an_error() {
        for bad in ["r9-cs1", "r0-cs[1-99]", "r0-cs[2-1]", "r0-cs[", "r0-cs[x]", ",", "r0-cs[1-99999999999]"] {
            assert!(picked(bad).is_err(), "{bad}");
        }
        assert!(picked("r0-cs[1-3]").unwrap_err().contains("r0-cs3"));
    }
}
