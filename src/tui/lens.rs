//! What a node or a component looks like, read from the last observation and the run's fold together.

use super::app::{App, RunView, Screen};
use super::theme::Theme;
use crate::fleet::{Cluster, Component, Image, Node, NodeName, Version};
use crate::journal::{Run, SwapState, SwapView};
use crate::plan::Release;
use ratatui::style::Style;
use std::collections::{BTreeMap, HashMap};

/// A node's or a component's state, as one glyph shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mark {
    /// Nothing is known of it.
    Unknown,
    /// All on the old version.
    Old,
    /// Partly on the new version, at rest.
    Mixed,
    /// A swap is in flight.
    Busy,
    /// All on the new version.
    New,
    /// Its swap rolled back: it serves on the old version.
    RolledBack,
    /// It is left as it is, by decision.
    Skipped,
    /// It is not Ready.
    NotReady,
    /// It does not answer over SSH.
    Unreachable,
    /// A swap failed, or a component does not run.
    Failed,
}

impl Mark {
    /// In the order of the legend.
    pub const ALL: [Mark; 10] = [
        Mark::Old,
        Mark::Busy,
        Mark::Mixed,
        Mark::New,
        Mark::RolledBack,
        Mark::Skipped,
        Mark::NotReady,
        Mark::Unreachable,
        Mark::Failed,
        Mark::Unknown,
    ];

    /// Its sign.
    pub fn glyph(self) -> char {
        match self {
            Mark::Unknown => '?',
            Mark::Old => '○',
            Mark::Mixed => '◐',
            Mark::Busy => '▶',
            Mark::New => '●',
            Mark::RolledBack => '↶',
            Mark::Skipped => '⊘',
            Mark::NotReady => '!',
            Mark::Unreachable => '×',
            Mark::Failed => '✗',
        }
    }

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Mark::Unknown => "not seen",
            Mark::Old => "old",
            Mark::Mixed => "partly new",
            Mark::Busy => "swapping",
            Mark::New => "new",
            Mark::RolledBack => "rolled back",
            Mark::Skipped => "skipped",
            Mark::NotReady => "not ready",
            Mark::Unreachable => "no SSH",
            Mark::Failed => "failed",
        }
    }

    /// Its colour.
    pub fn style(self, theme: &Theme) -> Style {
        match self {
            Mark::Unknown => theme.dim,
            Mark::Old => theme.old,
            Mark::New => theme.good,
            Mark::Busy => theme.busy,
            Mark::Mixed | Mark::RolledBack | Mark::Skipped => theme.notice,
            Mark::NotReady | Mark::Unreachable | Mark::Failed => theme.alarm,
        }
    }
}

/// What "new" means now: the images of the release that is being staged, else of the run, else of the plan, else of the profile's newest release.
#[derive(Debug, Default)]
pub struct Target<'a>(BTreeMap<Component, &'a Image>);

impl<'a> Target<'a> {
    /// The target that the cockpit measures nodes against.
    pub fn of(app: &'a App) -> Target<'a> {
        if app.screen == Screen::Stage {
            return Target(app.stage.staged.bumps.iter().map(|(c, i)| (*c, i)).collect());
        }
        let live = app.live().map(|r| &r.run.plan);
        let last = app.run.as_ref().map(|r| &r.run.plan);
        if let Some(plan) = live.or(app.plan.as_ref().map(|p| &p.plan)).or(last) {
            return Target(plan.bumps.iter().map(|b| (b.component, &b.to)).collect());
        }
        newest(&app.releases).map(Target::of_release).unwrap_or_default()
    }

    /// The images of one release.
    pub fn of_release(release: &'a Release) -> Target<'a> {
        Target(release.images.iter().map(|(c, i)| (*c, i)).collect())
    }

    /// Whether `component` should run `image`; `None` where the target does not name the component.
    pub fn met(&self, component: Component, image: &Image) -> Option<bool> {
        self.0.get(&component).map(|to| *to == image)
    }
}

/// The release with the newest kubelet, or the last one where none states a version.
pub fn newest(releases: &[Release]) -> Option<&Release> {
    fn version(release: &Release) -> Option<&Version> {
        release.images.get(&Component::Kubelet).or(release.images.values().next()).and_then(Image::version)
    }
    releases.iter().max_by_key(|r| version(r))
}

/// The state of a node.
pub fn node_mark(node: &Node, view: Option<&RunView>, target: &Target<'_>) -> Mark {
    let seen = seen_mark(node, target);
    match view {
        // What was seen after a run stands; only its exceptions are remembered, until they are mended.
        Some(view) if view.past => match run_mark(node, &view.run) {
            Some(mark @ (Mark::Failed | Mark::RolledBack | Mark::Skipped))
                if seen == Mark::Old || seen == Mark::Mixed =>
            {
                mark
            }
            _ => seen,
        },
        Some(view) => run_mark(node, &view.run).unwrap_or(seen),
        None => seen,
    }
}

/// What the run has done to a node so far, if anything.
fn run_mark(node: &Node, run: &Run) -> Option<Mark> {
    let states: Vec<SwapState> = run.swaps_of(&node.name).map(|s| s.state).collect();
    let any = |state| states.contains(&state);
    if any(SwapState::Failed) {
        Some(Mark::Failed)
    } else if any(SwapState::RolledBack) {
        Some(Mark::RolledBack)
    } else if states.iter().any(|s| s.open()) {
        Some(Mark::Busy)
    } else if any(SwapState::Skipped) {
        Some(Mark::Skipped)
    } else if run.ready.as_ref().is_some_and(|r| r.lost.contains(&node.name)) {
        Some(Mark::NotReady)
    } else if any(SwapState::Committed) {
        Some(if any(SwapState::Waiting) { Mark::Mixed } else { Mark::New })
    } else {
        None
    }
}

/// What the last observation says of a node.
fn seen_mark(node: &Node, target: &Target<'_>) -> Mark {
    if node.reachable == Some(false) {
        return Mark::Unreachable;
    }
    if !node.ready {
        return Mark::NotReady;
    }
    if node.components.values().any(|r| !r.running) {
        return Mark::Failed;
    }
    let met: Vec<bool> = node.components.iter().filter_map(|(c, r)| target.met(*c, &r.image)).collect();
    match (met.iter().any(|m| *m), met.iter().all(|m| *m)) {
        _ if met.is_empty() => Mark::Unknown,
        (_, true) => Mark::New,
        (true, false) => Mark::Mixed,
        (false, false) => Mark::Old,
    }
}

/// A component on a node: its state, and the image that it runs.
pub fn component_mark<'a>(
    node: &'a Node,
    component: Component,
    view: Option<&'a RunView>,
    target: &Target<'_>,
) -> Option<(Mark, &'a Image)> {
    let running = node.components.get(&component)?;
    let run = view.filter(|v| !v.past).map(|v| &v.run);
    if let Some((swap, to)) = run.and_then(|run| swap_of(run, &node.name, component)) {
        match swap.state {
            SwapState::Committed => return Some((Mark::New, to)),
            SwapState::Failed => return Some((Mark::Failed, &running.image)),
            SwapState::RolledBack => return Some((Mark::RolledBack, &running.image)),
            SwapState::Skipped => return Some((Mark::Skipped, &running.image)),
            state if state.open() => return Some((Mark::Busy, &running.image)),
            _ => {}
        }
    }
    let mark = match target.met(component, &running.image) {
        _ if !running.running => Mark::Failed,
        Some(true) => Mark::New,
        Some(false) => Mark::Old,
        None => Mark::Unknown,
    };
    Some((mark, &running.image))
}

/// The last swap of the run that concerns `component` on `node`, and the image that it brings.
fn swap_of<'a>(run: &'a Run, node: &NodeName, component: Component) -> Option<(&'a SwapView, &'a Image)> {
    let found = run.swaps_of(node).filter_map(|view| {
        let change = run.planned(view).changes.iter().find(|c| c.component == component)?;
        Some((view, &change.to))
    });
    // Of several hops the last one that was begun speaks for the component.
    found.fold(None, |best, next| match best {
        Some((view, _)) if next.0.state == SwapState::Waiting && view.state != SwapState::Waiting => best,
        _ => Some(next),
    })
}

/// Whether the node leads what `component` elects a leader for.
pub fn leads(cluster: &Cluster, component: Component, node: &NodeName) -> bool {
    let leader = match component {
        Component::Etcd => &cluster.leaders.etcd,
        Component::KubeControllerManager => &cluster.leaders.controller_manager,
        Component::KubeScheduler => &cluster.leaders.scheduler,
        _ => return false,
    };
    leader.as_ref() == Some(node)
}

/// A version without its image's build number where room is short: `1.35.6` for `1.35.6.1`.
pub fn short_version(image: &Image, width: usize) -> String {
    let long = image.short();
    match image.version() {
        Some(v) if long.len() > width => format!("{}.{}.{}", v.major, v.minor, v.patch),
        _ => long.to_owned(),
    }
}

/// The images of a component over the cluster, each with the number of nodes that run it, newest first.
pub fn census(cluster: &Cluster, component: Component) -> Vec<(&Image, usize)> {
    let mut seen: BTreeMap<&Image, usize> = BTreeMap::new();
    for running in cluster.nodes.values().filter_map(|n| n.components.get(&component)) {
        *seen.entry(&running.image).or_default() += 1;
    }
    let mut seen: Vec<_> = seen.into_iter().collect();
    seen.sort_by_key(|(image, _)| std::cmp::Reverse(image.version()));
    seen
}

/// The kubelets' versions, each with its number of nodes, newest first: as observed, and as the run has moved them since.
pub fn kubelets(cluster: &Cluster, view: Option<&RunView>) -> Vec<(String, usize)> {
    let mut moved: HashMap<&NodeName, &Version> = HashMap::new();
    let run = view.filter(|v| !v.past).map(|v| &v.run);
    for (run, swap) in run.into_iter().flat_map(|run| run.swaps.iter().map(move |swap| (run, swap))) {
        let change = run.planned(swap).changes.iter().find(|c| c.component == Component::Kubelet);
        if let Some(to) = change.and_then(|c| c.to.version()).filter(|_| swap.state == SwapState::Committed) {
            moved.insert(&swap.node, to);
        }
    }
    let mut seen: BTreeMap<&Version, usize> = BTreeMap::new();
    for node in cluster.nodes.values() {
        let running = node.components.get(&Component::Kubelet).and_then(|r| r.image.version());
        let now = moved.get(&node.name).copied().or(running).or(node.kubelet_version.as_ref());
        if let Some(version) = now {
            *seen.entry(version).or_default() += 1;
        }
    }
    let mut words: Vec<(String, usize)> = Vec::new();
    for (version, n) in seen.into_iter().rev() {
        let word = format!("{}.{}.{}", version.major, version.minor, version.patch);
        match words.last_mut() {
            Some((last, sum)) if *last == word => *sum += n,
            _ => words.push((word, n)),
        }
    }
    words
}
