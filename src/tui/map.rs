//! The map's own state: how near we are, which layer lies on it, what is filtered and what is marked.

use super::app::{App, Screen};
use super::atlas::Atlas;
use super::backend::Near;
use super::command::Command;
use super::filter::{Filter, LONGEST};
use super::index::{self, Index};
use super::layer::{Layer, Looks};
use super::msg::Effect;
use super::screens::topology;
use crate::fleet::{Cluster, Node, NodeName, natural};
use crate::journal::Tone;
use std::collections::BTreeSet;

/// How near the map is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Zoom {
    /// Every rack, a cell a node.
    #[default]
    Fleet,
    /// One rack, a line a node.
    Rack,
    /// One node, all of it.
    Node,
}

/// The map's state.
#[derive(Debug, Default)]
pub struct MapView {
    /// How near it is.
    pub zoom: Zoom,
    /// What its cells show.
    pub layer: Layer,
    /// What is typed as filter.
    pub typed: String,
    /// Whether it is being typed.
    pub typing: bool,
    /// The filter, as far as it could be read.
    pub filter: Filter,
    /// Why what is typed is none.
    pub wrong: Option<String>,
    /// Nodes that are marked: the scope of what is staged next. A node that the cluster has lost stays marked.
    pub marked: BTreeSet<NodeName>,
    /// Where a range begins: what was marked last.
    pub anchor: Option<NodeName>,
    /// Lines that the node is scrolled down by.
    pub top: usize,
    /// The screen that a node was opened from, where that was not the map.
    pub from: Option<Screen>,
    /// What the API tells of a node, asked for when it was zoomed in on.
    pub near: Option<NearView>,
}

/// One node from near.
#[derive(Debug)]
pub struct NearView {
    /// Of which node.
    pub node: NodeName,
    /// What the API said; none while it is asked.
    pub near: Option<Result<Near, String>>,
}

impl MapView {
    /// Whether there is something to go back from: a zoom, or a filter.
    pub fn has_way_back(&self) -> bool {
        self.zoom != Zoom::Fleet || !self.typed.is_empty()
    }
}

/// Does a command of the map's; none when it is none.
pub fn command(app: &mut App, command: Command) -> Option<Vec<Effect>> {
    match command {
        Command::ZoomIn => return Some(zoom_in(app)),
        Command::ZoomOut => zoom_out(app),
        Command::NextLayer => app.map.layer = app.map.layer.next(),
        Command::LayerState => app.map.layer = Layer::State,
        Command::LayerVersion => app.map.layer = Layer::Version,
        Command::LayerHealth => app.map.layer = Layer::Health,
        Command::LayerRole => app.map.layer = Layer::Role,
        Command::LayerAge => app.map.layer = Layer::Age,
        Command::Filter => {
            app.map.typing = true;
            app.screen = Screen::Topology;
            if app.map.zoom == Zoom::Node {
                app.map.zoom = Zoom::Rack;
            }
        }
        Command::KeepFilter => keep_filter(app),
        Command::ClearFilter => clear_filter(app),
        Command::NextMatch => to_match(app, true),
        Command::LastMatch => to_match(app, false),
        Command::Mark => mark(app),
        Command::MarkRack => mark_rack(app),
        Command::MarkRange => mark_range(app),
        Command::MarkMatches => mark_matches(app),
        Command::UnmarkAll => {
            app.map.marked.clear();
            app.map.anchor = None;
        }
        _ => return None,
    }
    Some(Vec::new())
}

fn zoom_in(app: &mut App) -> Vec<Effect> {
    app.map.zoom = match app.map.zoom {
        Zoom::Fleet => Zoom::Rack,
        Zoom::Rack | Zoom::Node => Zoom::Node,
    };
    app.map.top = 0;
    ask_near(app)
}

/// Asks for the node that is shown from near, unless it is here.
pub fn ask_near(app: &mut App) -> Vec<Effect> {
    let Some(node) = app.selected.clone().filter(|_| app.map.zoom == Zoom::Node && app.player.is_none()) else {
        return Vec::new();
    };
    if app.map.near.as_ref().is_some_and(|view| view.node == node) {
        return Vec::new();
    }
    app.map.near = Some(NearView { node: node.clone(), near: None });
    vec![Effect::Near(node)]
}

/// Shows a node from near; a step back leads to where it was opened from.
pub fn open_node(app: &mut App, node: NodeName) -> Vec<Effect> {
    app.map.from = Some(app.screen).filter(|screen| *screen != Screen::Topology);
    app.selected = Some(node);
    (app.screen, app.map.zoom, app.map.top) = (Screen::Topology, Zoom::Node, 0);
    ask_near(app)
}

fn zoom_out(app: &mut App) {
    app.map.zoom = match app.map.zoom {
        Zoom::Node => Zoom::Rack,
        Zoom::Rack | Zoom::Fleet => Zoom::Fleet,
    };
    app.map.near = None;
}

/// A step back on the map: out of a zoom, else the filter is cleared. False when there is nothing to go back from.
pub fn back(app: &mut App) -> bool {
    if let Some(screen) = app.map.from.take().filter(|_| app.map.zoom == Zoom::Node) {
        (app.screen, app.map.zoom, app.map.near) = (screen, Zoom::Fleet, None);
        return true;
    }
    if app.map.zoom != Zoom::Fleet {
        zoom_out(app);
        return true;
    }
    let filtered = app.map.has_way_back();
    if filtered {
        clear_filter(app);
    }
    filtered
}

/// Types a character of the filter.
pub fn type_in(app: &mut App, c: char) {
    if app.map.typed.chars().count() < LONGEST {
        app.map.typed.push(c);
        read(app);
    }
}

/// Takes characters of the filter away: the last one, or all.
pub fn erase(app: &mut App, all: bool) {
    if all {
        app.map.typed.clear();
    }
    app.map.typed.pop();
    read(app);
}

/// Ends the typing, unless there is something wrong with it; the cursor goes to a node that matches.
fn keep_filter(app: &mut App) {
    app.map.typing = app.map.wrong.is_some();
    let Some(cluster) = app.sight.cluster.clone().filter(|_| !app.map.typing) else { return };
    let here = app.selected.as_ref().and_then(|n| cluster.nodes.get(n));
    if !here.is_some_and(|node| {
        let looks = Looks::without_legend(app, &cluster);
        looks.takes(looks.place(node))
    }) {
        to_match(app, true);
    }
}

fn clear_filter(app: &mut App) {
    app.map.typed.clear();
    app.map.typing = false;
    read(app);
}

/// Reads what is typed; while it cannot be read, the filter before it stays.
fn read(app: &mut App) {
    match Filter::parse(&app.map.typed) {
        Ok(filter) => (app.map.filter, app.map.wrong) = (filter, None),
        Err(why) => app.map.wrong = Some(why),
    }
}

/// Every node in the map's order: masters, then rack by rack.
pub fn order(cluster: &Cluster) -> Vec<&Node> {
    let workers = super::atlas::racks(cluster).into_iter().flat_map(|(_, nodes)| nodes);
    cluster.masters().chain(workers).collect()
}

/// The nodes of a rack: its masters, then its workers by role and as people count.
pub fn rack_of<'a>(cluster: &'a Cluster, node: &Node) -> Vec<&'a Node> {
    let mut nodes: Vec<&Node> = cluster.nodes.values().filter(|n| n.rack == node.rack).collect();
    nodes.sort_by_cached_key(|n| (!n.master, n.role.as_ref().map(ToString::to_string), natural(n.name.as_str())));
    nodes
}

fn selected<'a>(app: &App, cluster: &'a Cluster) -> Option<&'a Node> {
    app.selected.as_ref().and_then(|name| cluster.nodes.get(name))
}

/// Moves the cursor by lines.
pub fn walk(app: &mut App, by: isize) -> Vec<Effect> {
    let Some(cluster) = app.sight.cluster.clone() else { return Vec::new() };
    match app.map.zoom {
        Zoom::Node => app.map.top = app.map.top.saturating_add_signed(by).min(topology::node_scroll(app)),
        Zoom::Rack => {
            let Some(node) = selected(app, &cluster) else { return Vec::new() };
            let nodes = rack_of(&cluster, node);
            let at = nodes.iter().position(|n| n.name == node.name).unwrap_or(0);
            let to = at.saturating_add_signed(by).min(nodes.len().saturating_sub(1));
            app.selected = nodes.get(to).map(|n| n.name.clone());
        }
        Zoom::Fleet => {
            let masters: Vec<&NodeName> = cluster.masters().map(|n| &n.name).collect();
            let (width, room) = topology::map_room(app, &cluster);
            let (index, nodes) = (Index::of(app, &cluster), index::nodes(&cluster));
            let atlas = Atlas::fit(&index, &nodes, width, room);
            let mut rows: Vec<Vec<(usize, &NodeName)>> = masters.into_iter().map(|name| vec![(0, name)]).collect();
            let first = rows.len();
            for (at, x, y) in atlas.places() {
                let Some(name) = nodes.get(at).map(|node| &node.name) else { continue };
                rows.resize_with(rows.len().max(first + y + 1), Vec::new);
                rows[first + y].push((x, name));
            }
            rows.retain(|row| !row.is_empty());
            let place = rows.iter().enumerate().find_map(|(y, row)| {
                row.iter().find(|(_, name)| Some(*name) == app.selected.as_ref()).map(|(x, _)| (*x, y))
            });
            let (x, y) = match place {
                Some((x, y)) => (x, y.saturating_add_signed(by).min(rows.len().saturating_sub(1))),
                None => (0, 0),
            };
            let nearest = rows.get(y).and_then(|row| row.iter().min_by_key(|(at, _)| at.abs_diff(x)));
            app.selected = nearest.map(|(_, name)| (*name).clone()).or(app.selected.take());
        }
    }
    Vec::new()
}

/// Moves the cursor sideways: node by node, and from near rack by rack.
pub fn sideways(app: &mut App, by: isize) -> Vec<Effect> {
    let Some(cluster) = app.sight.cluster.clone() else { return Vec::new() };
    let order = order(&cluster);
    let at = order.iter().position(|n| Some(&n.name) == app.selected.as_ref());
    let step = |at: usize| at.saturating_add_signed(by.signum()).min(order.len().saturating_sub(1));
    let to = match (at, app.map.zoom) {
        (None, _) => 0,
        (Some(at), Zoom::Rack) => {
            let here = &order[at].rack;
            let mut to = at;
            while order[to].rack == *here && step(to) != to {
                to = step(to);
            }
            // From the left end of a rack, its first node is meant.
            let rack = &order[to].rack;
            order.iter().position(|n| n.rack == *rack && n.master == order[to].master).unwrap_or(to)
        }
        (Some(at), _) => at.saturating_add_signed(by).min(order.len().saturating_sub(1)),
    };
    app.selected = order.get(to).map(|n| n.name.clone());
    app.map.top = 0;
    ask_near(app)
}

fn to_match(app: &mut App, on: bool) {
    let Some(cluster) = app.sight.cluster.clone() else { return };
    let order = order(&cluster);
    let at = order.iter().position(|n| Some(&n.name) == app.selected.as_ref()).unwrap_or(0);
    let total = order.len();
    let found = {
        let looks = Looks::without_legend(app, &cluster);
        let mut steps = (1..=total).map(|i| if on { (at + i) % total } else { (at + total - i) % total });
        steps.find(|i| looks.takes(looks.place(order[*i]))).map(|i| order[i].name.clone())
    };
    match found {
        Some(name) => app.selected = Some(name),
        None => app.say(Tone::Notice, "no node matches the filter"),
    }
}

fn mark(app: &mut App) {
    let Some(node) = app.selected.clone() else { return };
    if !app.map.marked.remove(&node) {
        app.map.marked.insert(node.clone());
    }
    app.map.anchor = Some(node);
}

fn mark_rack(app: &mut App) {
    let Some(cluster) = app.sight.cluster.clone() else { return };
    let Some(node) = selected(app, &cluster) else { return };
    let rack = cluster.nodes.values().filter(|n| n.rack == node.rack && n.master == node.master);
    toggle(app, rack.map(|n| n.name.clone()).collect());
}

fn mark_range(app: &mut App) {
    let Some(cluster) = app.sight.cluster.clone() else { return };
    let order = order(&cluster);
    let place = |name: &Option<NodeName>| order.iter().position(|n| Some(&n.name) == name.as_ref());
    match (place(&app.map.anchor), place(&app.selected)) {
        (Some(a), Some(b)) => {
            let range = &order[a.min(b)..=a.max(b)];
            app.map.marked.extend(range.iter().map(|n| n.name.clone()));
        }
        _ => app.say(Tone::Notice, "mark the first node of the range, then come here again"),
    }
}

fn mark_matches(app: &mut App) {
    let Some(cluster) = app.sight.cluster.clone() else { return };
    if app.map.filter.is_empty() {
        return app.say(Tone::Notice, "there is no filter: type one after /");
    }
    let found: Vec<NodeName> = {
        let looks = Looks::without_legend(app, &cluster);
        (0..looks.nodes.len()).filter(|at| looks.takes(*at)).map(|at| looks.nodes[at].name.clone()).collect()
    };
    toggle(app, found);
}

/// Marks these nodes; where all of them are marked, unmarks them.
fn toggle(app: &mut App, nodes: Vec<NodeName>) {
    if nodes.iter().all(|n| app.map.marked.contains(n)) {
        nodes.iter().for_each(|n| {
            app.map.marked.remove(n);
        });
    } else {
        app.map.anchor = nodes.last().cloned();
        app.map.marked.extend(nodes);
    }
}
