//! What is no longer as planned: a plan is applied exactly as read, or not at all.

use super::{Change, Plan};
use crate::fleet::{Cluster, Component, Node, NodeName, fold_names};
use std::collections::{BTreeMap, BTreeSet};

/// What has changed in the cluster since the plan was made, in words, one line a reason; empty when the plan still holds.
///
/// Leaders may move (the engine asks again who leads before it restarts one), and nodes that the plan leaves alone may come
/// and go in health; masters may not, since every step of the control plane leans on the others.
pub fn moved(plan: &Plan, now: &Cluster) -> Vec<String> {
    if plan.cluster.name != now.name {
        return vec![format!("the plan is for the cluster {}, this is {}", plan.cluster.name, now.name)];
    }
    let mut reasons = Reasons::default();
    for name in now.nodes.keys().filter(|name| !plan.cluster.nodes.contains_key(*name)) {
        reasons.add("new in the cluster since the plan", name);
    }
    let mut changes: BTreeMap<&NodeName, Vec<&Change>> = BTreeMap::new();
    for (_, _, swap) in plan.swaps() {
        changes.entry(&swap.node).or_default().extend(&swap.changes);
    }
    for (name, then) in &plan.cluster.nodes {
        let planned = changes.get(name).map_or(&[][..], Vec::as_slice);
        let Some(node) = now.nodes.get(name) else {
            reasons.add("gone from the cluster since the plan", name);
            continue;
        };
        same_place(then, node, &mut reasons);
        if !planned.is_empty() || then.master {
            same_health(then, node, &mut reasons);
        }
        // A node that does not answer shows no containers: one reason is enough.
        if node.reachable == Some(false) {
            continue;
        }
        let mut first: BTreeSet<Component> = BTreeSet::new();
        // Of several changes of one container only the first is about what runs now.
        for change in planned.iter().filter(|c| first.insert(c.component)) {
            same_container(change, then, node, &mut reasons);
        }
        if then.master {
            same_neighbours(then, node, planned, &mut reasons);
        }
    }
    // A plan file can be edited by hand: a swap on a node that it does not list would otherwise go unnoticed.
    for name in changes.keys().filter(|name| !plan.cluster.nodes.contains_key(**name)) {
        reasons.add("to be swapped, but not in the plan's own cluster", name);
    }
    reasons.lines()
}

/// Node names by what is wrong with them.
#[derive(Default)]
struct Reasons(BTreeMap<String, BTreeSet<NodeName>>);

impl Reasons {
    fn add(&mut self, why: impl Into<String>, node: &NodeName) {
        self.0.entry(why.into()).or_default().insert(node.clone());
    }

    fn lines(self) -> Vec<String> {
        self.0.iter().map(|(why, nodes)| format!("{}: {why}", fold_names(nodes.iter().map(NodeName::as_str)))).collect()
    }
}

fn same_place(then: &Node, now: &Node, reasons: &mut Reasons) {
    if then.master != now.master {
        reasons.add(if now.master { "became a master" } else { "is no master any more" }, &now.name);
    }
    if then.rack != now.rack {
        reasons.add(format!("moved from {} to {}", then.rack, now.rack), &now.name);
    }
    if (&then.address, then.port) != (&now.address, now.port) {
        reasons.add("has another address", &now.name);
    }
}

fn same_health(then: &Node, now: &Node, reasons: &mut Reasons) {
    if then.reachable != Some(false) && now.reachable == Some(false) {
        reasons.add("does not answer over SSH any more", &now.name);
    } else if then.ready && !now.ready {
        reasons.add("is not Ready any more", &now.name);
    }
}

fn same_container(change: &Change, then: &Node, now: &Node, reasons: &mut Reasons) {
    let component = change.component;
    let was = then.components.get(&component);
    match now.components.get(&component) {
        None => reasons.add(format!("has no container of {component} any more"), &now.name),
        Some(running) if running.image == change.to => {
            reasons.add(format!("already runs {component} {}", change.to.short()), &now.name);
        }
        Some(running) if running.image != change.from => {
            let (is, was) = (running.image.short(), change.from.short());
            reasons.add(format!("runs {component} {is}, and ran {was} when the plan was made"), &now.name);
        }
        Some(running) if running.container != change.container => {
            reasons.add(format!("runs {component} in the container {}", running.container), &now.name);
        }
        Some(running) if running.id != change.from_id => {
            let other = was.is_some_and(|was| was.args != running.args);
            let how = if other { ", with other arguments" } else { "" };
            reasons.add(format!("had its container of {component} made anew{how}"), &now.name);
        }
        Some(running) if was.is_some_and(|was| was.args != running.args) => {
            reasons.add(format!("shows other arguments of {component} than when the plan was made"), &now.name);
        }
        Some(running) if !running.running => reasons.add(format!("has {component} stopped"), &now.name),
        Some(_) => {}
    }
}

/// What a master runs besides its planned changes: the plan's skew rules were checked against it.
fn same_neighbours(then: &Node, now: &Node, planned: &[&Change], reasons: &mut Reasons) {
    for component in Component::ALL {
        if planned.iter().any(|c| c.component == component) {
            continue;
        }
        match (then.components.get(&component), now.components.get(&component)) {
            (Some(was), Some(is)) if was.image != is.image => {
                let (is, was) = (is.image.short(), was.image.short());
                reasons.add(format!("runs {component} {is}, and ran {was} when the plan was made"), &now.name);
            }
            (Some(was), Some(is)) if was.running && !is.running => {
                reasons.add(format!("has {component} stopped"), &now.name);
            }
            (Some(_), None) => reasons.add(format!("has no container of {component} any more"), &now.name),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::samples::{cluster, stage};
    use crate::plan::{Settings, make};
    use jiff::Timestamp;

    fn after(change: impl FnOnce(&mut Cluster)) -> Vec<String> {
        let mut cluster = cluster(3, 4, 2);
        let plan = make(&cluster, &stage(), &Settings::default(), Timestamp::UNIX_EPOCH);
        assert_eq!(moved(&plan, &cluster), Vec::<String>::new());
        change(&mut cluster);
        moved(&plan, &cluster)
    }

    fn node<'a>(cluster: &'a mut Cluster, name: &str) -> &'a mut Node {
        cluster.nodes.get_mut(&name.parse::<NodeName>().unwrap()).unwrap()
    }

    #[test]
    fn tells_what_moved_one_line_a_reason() {
        let lines = after(|c| {
            for name in ["rack0-cs1", "rack0-cs2"] {
                node(c, name).components.get_mut(&Component::Kubelet).unwrap().id = "other".into();
            }
            node(c, "rack1-cs1").ready = false;
            c.nodes.remove(&"rack1-cs2".parse::<NodeName>().unwrap());
        });
        assert_eq!(
            lines,
            [
                "rack1-cs2: gone from the cluster since the plan",
                "rack0-cs[1-2]: had its container of kubelet made anew",
                "rack1-cs1: is not Ready any more",
            ]
        );
    }

    #[test]
    fn an_image_that_moved_and_a_step_already_done_are_told_apart() {
        let lines = after(|c| {
            let set = |n: &mut Node, image: &str| {
                n.components.get_mut(&Component::Etcd).unwrap().image = image.parse().unwrap();
            };
            set(node(c, "rack0-m1"), "ghcr.io/cybozu/etcd:3.6.11.1");
            set(node(c, "rack1-m1"), "ghcr.io/cybozu/etcd:3.6.9.1");
        });
        assert_eq!(
            lines,
            [
                "rack0-m1: already runs etcd 3.6.11.1",
                "rack1-m1: runs etcd 3.6.9.1, and ran 3.6.8.1 when the plan was made",
            ]
        );
    }

    #[test]
    fn arguments_that_changed_are_told_masked_ones_too() {
        let lines = after(|c| {
            let args = |n: &mut Node, args: &[&str]| {
                let kubelet = n.components.get_mut(&Component::Kubelet).unwrap();
                kubelet.args = args.iter().map(|a| (*a).to_owned()).collect();
            };
            args(node(c, "rack0-cs1"), &["kubelet", "--token=(masked:0123456789abcdef)"]);
            args(node(c, "rack0-cs2"), &["kubelet", "--v=3"]);
            node(c, "rack0-cs2").components.get_mut(&Component::Kubelet).unwrap().id = "other".into();
        });
        assert_eq!(
            lines,
            [
                "rack0-cs2: had its container of kubelet made anew, with other arguments",
                "rack0-cs1: shows other arguments of kubelet than when the plan was made",
            ]
        );
    }

    #[test]
    fn a_leader_that_moved_and_another_cluster_are_told_apart_too() {
        let none = after(|c| c.leaders.etcd = Some("rack1-m1".parse().unwrap()));
        assert_eq!(none, Vec::<String>::new());
        let lines = after(|c| c.name = "osaka1".parse().unwrap());
        assert_eq!(lines, ["the plan is for the cluster tokyo0, this is osaka1"]);
    }
}
