//! What a node or a component looks like, read from the last observation and the run's fold together.

use super::app::{App, RunView, Screen};
use super::index::Index;
use super::theme::Theme;
use crate::fleet::{Cluster, Component, Image, Node, NodeName, Version};
use crate::journal::{Run, SwapState, SwapView};
use crate::plan::Release;
use ratatui::style::Style;
use std::collections::BTreeMap;

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

    /// Its place in the legend.
    pub fn place(self) -> usize {
        Mark::ALL.iter().position(|mark| *mark == self).unwrap_or(Mark::ALL.len() - 1)
    }

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
            Mark::NotReady => "NotReady",
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
pub struct Target<'a>([Option<&'a Image>; Component::ALL.len()]);

impl<'a> Target<'a> {
    /// The target that the cockpit measures nodes against.
    pub fn of(app: &'a App) -> Target<'a> {
        if app.screen == Screen::Stage {
            return Target::from(app.stage.staged.bumps.iter().map(|(c, i)| (*c, i)));
        }
        let live = app.live().map(|r| &r.run.plan);
        let last = app.run.as_ref().map(|r| &r.run.plan);
        if let Some(plan) = live.or(app.plan.as_ref().map(|p| &p.plan)).or(last) {
            return Target::from(plan.bumps.iter().map(|b| (b.component, &b.to)));
        }
        newest(&app.releases).map(Target::of_release).unwrap_or_default()
    }

    /// What people call it; none where single components are bumped, or there is none.
    pub fn name(app: &'a App) -> Option<&'a str> {
        if app.screen == Screen::Stage {
            return None;
        }
        let run = app.run.as_ref().map(|r| &r.run.plan);
        match app.live().map(|r| &r.run.plan).or(app.plan.as_ref().map(|p| &p.plan)).or(run) {
            Some(plan) => plan.release.as_deref(),
            None => newest(&app.releases).map(|release| release.name.as_str()),
        }
    }

    /// The images of one release.
    pub fn of_release(release: &'a Release) -> Target<'a> {
        Target::from(release.images.iter().map(|(c, i)| (*c, i)))
    }

    fn from(images: impl Iterator<Item = (Component, &'a Image)>) -> Target<'a> {
        let mut target = Target::default();
        images.for_each(|(component, image)| target.0[component as usize] = Some(image));
        target
    }

    /// The image of each component, in the order of their declaration.
    pub fn images(&self) -> [Option<&'a Image>; Component::ALL.len()] {
        self.0
    }

    /// Whether `component` should run `image`; `None` where the target does not name the component.
    pub fn met(&self, component: Component, image: &Image) -> Option<bool> {
        self.0[component as usize].map(|to| to == image)
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
    let Some(view) = view else { return seen };
    let mut flags = Flags::default();
    view.run.swaps_of(&node.name).for_each(|swap| flags.add(view.run.standing(swap)));
    if view.run.ready.as_ref().is_some_and(|r| r.lost.contains(&node.name)) {
        flags.lost();
    }
    both(flags.mark(), seen, view.past)
}

/// What a run has done to a node, and what was seen of it, together.
pub fn both(run: Option<Mark>, seen: Mark, past: bool) -> Mark {
    match (run, past) {
        (None, _) => seen,
        (Some(mark), false) => mark,
        // What was seen after a run stands; only its exceptions are remembered, until they are fixed.
        (Some(mark @ (Mark::Failed | Mark::RolledBack | Mark::Skipped)), true)
            if seen == Mark::Old || seen == Mark::Mixed =>
        {
            mark
        }
        (Some(_), true) => seen,
    }
}

/// The states of a node's swaps, as far as they matter for its mark.
#[derive(Debug, Clone, Copy, Default)]
pub struct Flags(u8);

impl Flags {
    const FAILED: u8 = 1;
    const BACK: u8 = 2;
    const OPEN: u8 = 4;
    const SKIPPED: u8 = 8;
    const LOST: u8 = 16;
    const DONE: u8 = 32;
    const WAITING: u8 = 64;

    /// One of its swaps is in this state.
    pub fn add(&mut self, state: SwapState) {
        self.0 |= match state {
            SwapState::Failed | SwapState::Drifted => Flags::FAILED,
            SwapState::RolledBack => Flags::BACK,
            SwapState::Skipped => Flags::SKIPPED,
            SwapState::Committed => Flags::DONE,
            SwapState::Waiting => Flags::WAITING,
            state if state.open() => Flags::OPEN,
            _ => 0,
        };
    }

    /// It was Ready and is not any more.
    pub fn lost(&mut self) {
        self.0 |= Flags::LOST;
    }

    /// What the run has done to the node so far, if anything.
    pub fn mark(self) -> Option<Mark> {
        let any = |flag| self.0 & flag != 0;
        let order = [
            (Flags::FAILED, Mark::Failed),
            (Flags::BACK, Mark::RolledBack),
            (Flags::OPEN, Mark::Busy),
            (Flags::SKIPPED, Mark::Skipped),
            (Flags::LOST, Mark::NotReady),
        ];
        let worst = order.into_iter().find(|(flag, _)| any(*flag)).map(|(_, mark)| mark);
        let done = any(Flags::DONE).then(|| if any(Flags::WAITING) { Mark::Mixed } else { Mark::New });
        worst.or(done)
    }
}

/// What the last observation says of a node.
pub fn seen_mark(node: &Node, target: &Target<'_>) -> Mark {
    if node.reachable == Some(false) {
        return Mark::Unreachable;
    }
    if !node.ready {
        return Mark::NotReady;
    }
    if node.components.values().any(|r| !r.running) {
        return Mark::Failed;
    }
    let met = || node.components.iter().filter_map(|(c, r)| target.met(*c, &r.image));
    let (any, all) = met().fold((false, true), |(any, all), met| (any || met, all && met));
    match (any, all) {
        (true, true) => Mark::New,
        (true, false) => Mark::Mixed,
        (false, false) => Mark::Old,
        (false, true) => Mark::Unknown,
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
    if let Some((state, to)) =
        run.and_then(|run| swap_of(run, &node.name, component).map(|(swap, to)| (run.standing(swap), to)))
    {
        match state {
            SwapState::Committed => return Some((Mark::New, to)),
            SwapState::Failed | SwapState::Drifted => return Some((Mark::Failed, &running.image)),
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
pub fn kubelets(cluster: &Cluster, index: &Index, view: Option<&RunView>) -> Vec<(String, usize)> {
    let mut moved: Vec<Option<&Version>> = vec![None; cluster.nodes.len()];
    let run = view.filter(|v| !v.past).map(|v| &v.run);
    let swaps = run.into_iter().flat_map(|run| run.swaps.iter().map(move |swap| (run, swap)));
    for ((run, swap), at) in swaps.zip(&index.of_swap).filter(|((_, s), _)| s.state == SwapState::Committed) {
        let change = run.planned(swap).changes.iter().find(|c| c.component == Component::Kubelet);
        if let (Some(to), Some(place)) = (change.and_then(|c| c.to.version()), at.and_then(|at| moved.get_mut(at))) {
            *place = Some(to);
        }
    }
    // There are few versions, and many nodes.
    let mut seen: Vec<((u32, u32, u32), usize)> = Vec::new();
    for (node, moved) in cluster.nodes.values().zip(moved) {
        let running = || node.components.get(&Component::Kubelet).and_then(|r| r.image.version());
        let Some(version) = moved.or_else(running).or(node.kubelet_version.as_ref()) else { continue };
        let key = version.upstream();
        match seen.iter_mut().find(|(of, _)| *of == key) {
            Some((_, n)) => *n += 1,
            None => seen.push((key, 1)),
        }
    }
    seen.sort_unstable_by(|a, b| b.cmp(a));
    seen.into_iter().map(|((major, minor, patch), n)| (format!("{major}.{minor}.{patch}"), n)).collect()
}
