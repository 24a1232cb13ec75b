//! What `sonoba plan`'s flags stage.

use super::args::{LeaveOut, PlanArgs};
use super::failure::Failure;
use super::plan_file;
use crate::fleet::{Cluster, ClusterName, Component, Image, Label, NodeName, RackName, RoleName, clean};
use crate::inventory::Profile;
use crate::plan::{self, Bump, Plan, Scope, Stage};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

/// The stage that another plan was made from.
///
/// # Errors
/// When the file cannot be read, is the plan of a rollback, or of another cluster.
pub(super) fn from_plan(path: &Path, cluster: &ClusterName) -> Result<Stage, Failure> {
    let shown = clean(&path.to_string_lossy());
    let plan = plan_file::load_as_wish(path)?;
    if plan.cluster.name != *cluster {
        return Err(Failure::refused(format!(
            "plan {shown} is for cluster {}, the profile is of {cluster}; give --profile or --cluster",
            plan.cluster.name
        )));
    }
    plan.stage().ok_or_else(|| {
        let why = match &plan.rollback_of {
            Some(run) => format!("takes back run {run}; plan that again with: sonoba rollback {run} -o PLAN.json"),
            None => "does not say its scope, as older plans do not; plan with --release or --bump".into(),
        };
        Failure::usage(format!("--from: plan {shown} {why}"))
    })
}

/// The stage that the flags ask for, beginning with one that was staged before, or with nothing staged and the profile's limits.
///
/// # Errors
/// Exit 2, when they name something that the profile or the cluster does not have.
pub(super) fn stage(
    args: &PlanArgs,
    from: Option<Stage>,
    profile: &Profile,
    cluster: &Cluster,
) -> Result<Stage, Failure> {
    let was = from.unwrap_or_else(|| Stage {
        limits: profile.limits.clone(),
        budget: profile.budget.clone(),
        ..Stage::default()
    });
    let mut images: BTreeMap<Component, Image> = was.bumps.iter().map(|b| (b.component, b.to.clone())).collect();
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
    let mut limits = was.limits.clone();
    if let Some(canary) = at_least_one("--canary", args.canary)? {
        (limits.canary, limits.ramp) = (canary, None);
    }
    limits.ramp = args.waves.clone().or(limits.ramp);
    if let Some(soak) = args.soak {
        limits.soak_ms = u64::try_from(soak.as_millis()).map_err(|_| Failure::usage("--soak cannot be negative"))?;
    }
    if let Some(limit) = args.proof_limit {
        let ms = u64::try_from(limit.as_millis());
        limits.proof_limit_ms = ms.map_err(|_| Failure::usage("--proof-limit cannot be negative"))?;
    }
    limits.max_parallel = at_least_one("--max-parallel", args.max_parallel)?.unwrap_or(limits.max_parallel);
    limits.max_unavailable = at_least_one("--max-unavailable", args.max_unavailable)?.unwrap_or(limits.max_unavailable);
    let given = |new: &[String], was: Vec<String>| if new.is_empty() { was } else { new.to_vec() };
    Ok(Stage {
        release: args.release.clone().or(was.release),
        bumps: images.into_iter().map(|(component, to)| Bump { component, to }).collect(),
        scope: scope(args, was.scope, cluster)?,
        first: pins("--first", args.first.as_deref(), cluster)?.unwrap_or(was.first),
        last: pins("--last", args.last.as_deref(), cluster)?.unwrap_or(was.last),
        limits,
        budget: was.budget,
        way: profile.releases.clone(),
        accept: given(&args.accept, was.accept),
        acknowledged: given(&args.acknowledge, was.acknowledged),
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
    let image = plan::image_for(component, to, cluster);
    Ok((component, image.map_err(|why| Failure::usage(format!("--bump {component}: {why}")))?))
}

/// Each list that is given takes the place of the one that was.
fn scope(args: &PlanArgs, was: Scope, cluster: &Cluster) -> Result<Scope, Failure> {
    let nodes: BTreeSet<&NodeName> = cluster.nodes.keys().collect();
    let racks: BTreeSet<&RackName> = cluster.nodes.values().map(|n| &n.rack).collect();
    let roles: BTreeSet<&RoleName> = cluster.nodes.values().filter_map(|n| n.role.as_ref()).collect();
    let scope = Scope {
        nodes: select("--nodes", "node", args.nodes.as_deref(), &nodes)?.unwrap_or(was.nodes),
        racks: select("--racks", "rack", args.racks.as_deref(), &racks)?.unwrap_or(was.racks),
        roles: select("--role", "role", args.role.as_deref(), &roles)?.unwrap_or(was.roles),
        labels: if args.label.is_empty() { was.labels } else { labels(&args.label, cluster)? },
        exclude: was.exclude,
    };
    leave_out(scope, &args.leave_out, cluster)
}

fn pins(flag: &str, text: Option<&str>, cluster: &Cluster) -> Result<Option<Vec<NodeName>>, Failure> {
    let Some(text) = text else { return Ok(None) };
    plan::pins(text, cluster).map(Some).map_err(|why| Failure::usage(format!("{flag}: {why}")))
}

fn labels(labels: &[Label], cluster: &Cluster) -> Result<BTreeSet<Label>, Failure> {
    for label in labels {
        plan::known_label(label, cluster).map_err(|why| Failure::usage(format!("--label {label}: {why}")))?;
    }
    Ok(labels.iter().cloned().collect())
}

/// The scope of these nodes alone; of every node where none are named.
pub(super) fn scope_of(nodes: Option<&str>, leave: &LeaveOut, cluster: &Cluster) -> Result<Scope, Failure> {
    let known: BTreeSet<&NodeName> = cluster.nodes.keys().collect();
    let scope = Scope { nodes: select("--nodes", "node", nodes, &known)?.unwrap_or_default(), ..Scope::default() };
    leave_out(scope, leave, cluster)
}

fn leave_out(mut scope: Scope, leave: &LeaveOut, cluster: &Cluster) -> Result<Scope, Failure> {
    if leave.exclude.is_none() && !leave.exclude_unreachable {
        return Ok(scope);
    }
    scope.exclude.clear();
    let known: BTreeSet<&NodeName> = cluster.nodes.keys().collect();
    let mut out: BTreeSet<NodeName> =
        if leave.exclude_unreachable { plan::unfit(cluster, &scope).into_iter().collect() } else { BTreeSet::new() };
    out.extend(select("--exclude", "node", leave.exclude.as_deref(), &known)?.unwrap_or_default());
    scope.exclude = out.into_iter().collect();
    Ok(scope)
}

/// The nodes that a selection means among those that a run's plan touches.
///
/// # Errors
/// Exit 2, when it selects none, or names one that the plan does not touch.
pub(super) fn nodes_of(plan: &Plan, text: &str) -> Result<Vec<NodeName>, Failure> {
    let touched: BTreeSet<&NodeName> = plan.swaps().map(|(_, _, s)| &s.node).collect();
    plan::pick(text, &touched, |pattern| format!("the run's plan touches no node {pattern:?}"))
        .map_err(|why| Failure::usage(format!("--nodes: {why}")))
}

/// What is selected, where something is given.
fn select<N>(flag: &str, what: &str, text: Option<&str>, known: &BTreeSet<&N>) -> Result<Option<Vec<N>>, Failure>
where
    N: FromStr + Ord + Clone + AsRef<str> + Display,
{
    let Some(text) = text else { return Ok(None) };
    plan::select(what, text, known).map(Some).map_err(|why| {
        let hint = if why.contains("in the cluster") {
            format!("; see what there is with: sonoba plan without {flag}")
        } else {
            String::new()
        };
        Failure::usage(format!("{flag}: {why}{hint}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
