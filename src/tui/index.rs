//! What follows from the cluster and the plan alone: worked out once, not for each picture of thousands of nodes.

use super::app::App;
use super::lens::{self, Flags, Mark, Target};
use crate::fleet::{Cluster, Image, Node, RackName};
use crate::plan::Plan;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// The index of the cluster that is shown, and of the run's plan.
#[derive(Debug)]
pub struct Index {
    cluster: Arc<Cluster>,
    plan: Option<Arc<Plan>>,
    /// The masters, by their places among the cluster's nodes.
    pub masters: Vec<usize>,
    /// The racks in natural order.
    pub racks: Vec<Rack>,
    /// Columns of the longest worker's name.
    pub longest_name: usize,
    /// Nodes that were Ready.
    pub ready: usize,
    /// Nodes that did not answer over SSH.
    pub deaf: usize,
    /// Of each swap of the run, its node's place.
    pub of_swap: Vec<Option<usize>>,
    seen: RefCell<Option<Seen>>,
}

/// What was seen of each node, measured against these images.
#[derive(Debug)]
struct Seen {
    target: Vec<Option<Image>>,
    marks: Rc<Vec<Mark>>,
}

/// A rack's workers.
#[derive(Debug)]
pub struct Rack {
    /// The rack.
    pub name: RackName,
    /// Their places among the cluster's nodes, by role and then as people count.
    pub nodes: Vec<usize>,
    /// How often the role changes from one to the next.
    pub gaps: usize,
}

/// The cluster's nodes in the order of their places.
pub fn nodes(cluster: &Cluster) -> Vec<&Node> {
    cluster.nodes.values().collect()
}

impl Index {
    /// The index of what `app` shows; made anew when that is another cluster, or another plan.
    pub fn of(app: &App, cluster: &Arc<Cluster>) -> Rc<Index> {
        let plan = app.run.as_ref().map(|view| &view.run.plan);
        let mut kept = app.index.borrow_mut();
        let same = |index: &Rc<Index>| {
            Arc::ptr_eq(&index.cluster, cluster)
                && match (&index.plan, plan) {
                    (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                    (None, None) => true,
                    _ => false,
                }
        };
        match kept.as_ref().filter(|index| same(index)) {
            Some(index) => Rc::clone(index),
            None => {
                let index = Rc::new(Index::new(app, cluster.clone()));
                *kept = Some(Rc::clone(&index));
                index
            }
        }
    }

    fn new(app: &App, cluster: Arc<Cluster>) -> Index {
        let nodes = nodes(&cluster);
        let place = |node: &Node| nodes.binary_search_by(|n| n.name.cmp(&node.name)).ok();
        let racks = super::atlas::racks(&cluster).into_iter().map(|(name, nodes)| Rack {
            name: name.clone(),
            gaps: nodes.windows(2).filter(|pair| pair[0].role != pair[1].role).count(),
            nodes: nodes.into_iter().filter_map(place).collect(),
        });
        let racks: Vec<Rack> = racks.collect();
        let run = app.run.as_ref().map(|view| &view.run);
        let of_swap = run.into_iter().flat_map(|run| &run.swaps);
        let of_swap = of_swap.map(|s| nodes.binary_search_by(|n| n.name.cmp(&s.node)).ok()).collect();
        Index {
            masters: (0..nodes.len()).filter(|i| nodes[*i].master).collect(),
            racks,
            longest_name: cluster.workers().map(|n| n.name.as_str().len()).max().unwrap_or(0),
            ready: nodes.iter().filter(|n| n.ready).count(),
            deaf: nodes.iter().filter(|n| n.reachable == Some(false)).count(),
            of_swap,
            seen: RefCell::new(None),
            plan: run.map(|run| run.plan.clone()),
            cluster,
        }
    }

    /// What was seen of each node, measured against a target; worked out anew when that is another.
    fn seen(&self, nodes: &[&Node], target: &Target<'_>) -> Rc<Vec<Mark>> {
        let images = target.images();
        let mut kept = self.seen.borrow_mut();
        if let Some(seen) = kept.as_ref().filter(|seen| seen.target.iter().map(Option::as_ref).eq(images)) {
            return Rc::clone(&seen.marks);
        }
        let marks: Rc<Vec<Mark>> = Rc::new(nodes.iter().map(|node| lens::seen_mark(node, target)).collect());
        let target = images.into_iter().map(Option::<&Image>::cloned).collect();
        *kept = Some(Seen { target, marks: Rc::clone(&marks) });
        marks
    }

    /// The state of each node, in the order of their places.
    pub fn marks(&self, app: &App, nodes: &[&Node], target: &Target<'_>) -> Vec<Mark> {
        let seen = self.seen(nodes, target);
        let Some(view) = &app.run else { return seen.to_vec() };
        let mut flags = vec![Flags::default(); nodes.len()];
        for (swap, at) in view.run.swaps.iter().zip(&self.of_swap) {
            if let Some(flags) = at.and_then(|at| flags.get_mut(at)) {
                flags.add(swap.state);
            }
        }
        for lost in view.run.ready.iter().flat_map(|ready| &ready.lost) {
            if let Ok(at) = nodes.binary_search_by(|n| n.name.cmp(lost)) {
                flags[at].lost();
            }
        }
        flags.into_iter().zip(seen.iter()).map(|(flags, seen)| lens::both(flags.mark(), *seen, view.past)).collect()
    }
}
