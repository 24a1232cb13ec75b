//! What the map's cells tell: a layer gives each node a sign, and the legend that explains the signs. Glyph and colour together
//! carry each state.

use super::app::App;
use super::index::{self, Index};
use super::lens::{self, Mark, Target};
use super::theme::Theme;
use crate::fleet::{Cluster, Component, Image, Node};
use jiff::{SignedDuration, Timestamp};
use ratatui::style::Style;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// What the map shows of each node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layer {
    /// What the run, or the staged release, makes of it.
    #[default]
    State,
    /// The kubelet's version.
    Version,
    /// Whether it is well.
    Health,
    /// Its role.
    Role,
    /// How long its kubelet has been up.
    Age,
}

impl Layer {
    /// In the order of their keys.
    pub const ALL: [Layer; 5] = [Layer::State, Layer::Version, Layer::Health, Layer::Role, Layer::Age];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Layer::State => "state",
            Layer::Version => "version",
            Layer::Health => "health",
            Layer::Role => "role",
            Layer::Age => "kubelet up",
        }
    }

    /// The one after it; after the last, the first.
    pub fn next(self) -> Layer {
        let at = Layer::ALL.iter().position(|layer| *layer == self).unwrap_or(0);
        Layer::ALL[(at + 1) % Layer::ALL.len()]
    }
}

/// A sign of the legend; signs sort as the legend lists them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    State(usize),
    /// Newest first; without a version last.
    Version(std::cmp::Reverse<Option<(u32, u32, u32)>>),
    Health(Health),
    Role(Option<String>),
    Age(Age),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Health {
    Well,
    LeftOvers,
    NotReady,
    NoSsh,
    Down,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Age {
    Hour,
    Day,
    Week,
    Month,
    Older,
    Unknown,
}

/// One line of the legend, and how its cells look.
#[derive(Debug, Clone)]
pub struct Sign {
    /// In one column.
    pub glyph: char,
    /// Its colour.
    pub style: Style,
    /// What it means.
    pub word: String,
    /// Nodes that wear it.
    pub nodes: usize,
    /// Masters among them.
    pub masters: usize,
}

/// A layer laid over the cluster as it is now.
pub struct Looks<'a> {
    app: &'a App,
    /// The cluster's nodes; a node's place here is its place everywhere.
    pub nodes: Vec<&'a Node>,
    /// What follows from cluster and plan alone.
    pub index: Rc<Index>,
    /// What "new" means now.
    pub target: Target<'a>,
    marks: Vec<Mark>,
    now: Timestamp,
    signs: BTreeMap<Key, Sign>,
}

impl<'a> Looks<'a> {
    /// Looks at every node once, for the legend's counts.
    pub fn of(app: &'a App, cluster: &'a Arc<Cluster>) -> Looks<'a> {
        let mut looks = Looks::without_legend(app, cluster);
        let mut seen: BTreeMap<Key, usize> = BTreeMap::new();
        match app.map.layer {
            Layer::State => {
                let mut counts = [0; Mark::ALL.len()];
                looks.marks.iter().for_each(|mark| counts[mark.place()] += 1);
                let worn = counts.into_iter().enumerate().filter(|(_, n)| *n > 0);
                seen.extend(worn.map(|(mark, n)| (Key::State(mark), n)));
            }
            _ => (0..looks.nodes.len()).for_each(|at| *seen.entry(looks.key(at)).or_default() += 1),
        }
        looks.signs = signs(&app.theme, seen);
        for at in &looks.index.masters {
            if let Some(sign) = looks.signs.get_mut(&looks.key(*at)) {
                sign.masters += 1;
            }
        }
        looks
    }

    /// Without a legend, which a filter does not need.
    pub fn without_legend(app: &'a App, cluster: &'a Arc<Cluster>) -> Looks<'a> {
        let (nodes, index, target) = (index::nodes(cluster), Index::of(app, cluster), Target::of(app));
        let marks = index.marks(app, &nodes, &target);
        Looks { app, nodes, index, target, marks, now: app.run_now(), signs: BTreeMap::new() }
    }

    /// How a node's cell looks.
    pub fn sign(&self, at: usize) -> (char, Style) {
        self.signs.get(&self.key(at)).map_or(('?', self.app.theme.dim), |sign| (sign.glyph, sign.style))
    }

    /// The node's state, whatever the layer.
    pub fn mark(&self, at: usize) -> Mark {
        self.marks.get(at).copied().unwrap_or(Mark::Unknown)
    }

    /// The place of a node.
    pub fn place(&self, node: &Node) -> usize {
        self.nodes.binary_search_by(|n| n.name.cmp(&node.name)).unwrap_or(usize::MAX)
    }

    /// Whether the filter takes the node.
    pub fn takes(&self, at: usize) -> bool {
        self.nodes.get(at).is_some_and(|node| self.app.map.filter.takes(node, || self.mark(at)))
    }

    /// How many nodes the filter takes.
    pub fn taken(&self) -> usize {
        (0..self.nodes.len()).filter(|at| self.takes(*at)).count()
    }

    /// The signs that are on the map.
    pub fn legend(&self) -> impl Iterator<Item = &Sign> {
        self.signs.values()
    }

    fn key(&self, at: usize) -> Key {
        let Some(node) = self.nodes.get(at) else { return Key::State(Mark::Unknown.place()) };
        match self.app.map.layer {
            Layer::State => Key::State(self.mark(at).place()),
            Layer::Version => {
                let running = lens::component_mark(node, Component::Kubelet, self.app.run.as_ref(), &self.target);
                let image = running.and_then(|(_, image)| Image::version(image));
                let version = image.or(node.kubelet_version.as_ref());
                Key::Version(std::cmp::Reverse(version.map(|v| (v.major, v.minor, v.patch))))
            }
            Layer::Health => {
                let lost = self.app.run.as_ref().filter(|v| !v.past).and_then(|v| v.run.ready.as_ref());
                let ready = node.ready && !lost.is_some_and(|r| r.lost.contains(&node.name));
                Key::Health(match node.reachable {
                    Some(false) => Health::NoSsh,
                    _ if !ready => Health::NotReady,
                    _ if node.components.values().any(|r| !r.running) => Health::Down,
                    _ if !node.leftovers.is_empty() => Health::LeftOvers,
                    _ => Health::Well,
                })
            }
            Layer::Role => {
                Key::Role(if node.master { Some("master".into()) } else { node.role.as_ref().map(ToString::to_string) })
            }
            Layer::Age => Key::Age(match node.components.get(&Component::Kubelet).and_then(|r| r.started) {
                Some(at) => Age::of(self.now.duration_since(at)),
                None => Age::Unknown,
            }),
        }
    }
}

impl Age {
    fn of(age: SignedDuration) -> Age {
        match age.as_hours() {
            ..1 => Age::Hour,
            1..24 => Age::Day,
            24..168 => Age::Week,
            168..720 => Age::Month,
            _ => Age::Older,
        }
    }
}

fn signs(t: &Theme, seen: BTreeMap<Key, usize>) -> BTreeMap<Key, Sign> {
    let minors: std::collections::BTreeSet<_> = seen.keys().filter_map(minor).collect();
    let versions = seen.keys().filter(|key| matches!(key, Key::Version(_))).count();
    let colours = [t.good, t.head, t.notice, t.old, t.key, t.dim];
    let mut letters = String::new();
    let one = |(i, (key, nodes)): (usize, (Key, usize))| {
        let (glyph, style, word) = match &key {
            Key::State(mark) => {
                let mark = Mark::ALL[*mark];
                (mark.glyph(), mark.style(t), mark.word().to_owned())
            }
            Key::Version(std::cmp::Reverse(None)) => ('?', t.dim, "no version".into()),
            Key::Version(std::cmp::Reverse(Some((major, minor, patch)))) => {
                // The minor's last digit says more than a letter, where no two minors share it.
                let digit = char::from_digit(minor % 10, 10).unwrap_or('?');
                let glyph = if minors.len() == versions { digit } else { letter(i) };
                (glyph, colours[i.min(colours.len() - 1)], format!("{major}.{minor}.{patch}"))
            }
            Key::Health(health) => match health {
                Health::Well => ('●', t.good, "well".into()),
                Health::LeftOvers => ('◐', t.notice, "left over".into()),
                Health::NotReady => ('!', t.alarm, "NotReady".into()),
                Health::NoSsh => ('×', t.alarm, "no SSH".into()),
                Health::Down => ('✗', t.alarm, "component down".into()),
            },
            Key::Role(None) => ('·', t.dim, "no role".into()),
            Key::Role(Some(role)) => {
                let taken = |c: &char| !letters.contains(*c) && c.is_ascii_alphanumeric();
                let glyph = role.chars().find(taken).unwrap_or_else(|| letter(i));
                letters.push(glyph);
                (glyph, colours[i.min(colours.len() - 1)], role.clone())
            }
            Key::Age(age) => match age {
                Age::Hour => ('h', t.good, "under an hour".into()),
                Age::Day => ('d', t.head, "under a day".into()),
                Age::Week => ('w', t.old, "under a week".into()),
                Age::Month => ('m', t.notice, "under 30 days".into()),
                Age::Older => ('o', t.key, "longer".into()),
                Age::Unknown => ('?', t.dim, "not known".into()),
            },
        };
        (key, Sign { glyph, style, word, nodes, masters: 0 })
    };
    seen.into_iter().enumerate().map(one).collect()
}

fn minor(key: &Key) -> Option<u32> {
    match key {
        Key::Version(std::cmp::Reverse(version)) => version.map_or(Some(u32::MAX), |(_, minor, _)| Some(minor % 10)),
        _ => None,
    }
}

fn letter(i: usize) -> char {
    u32::try_from(i).ok().and_then(|i| char::from_digit(10 + i.min(25 - 1), 36)).unwrap_or('z')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixtures;

    fn legend(app: &App, layer: Layer, cluster: &Cluster) -> Vec<(char, String, usize)> {
        let mut app = fixtures::app(app.size, app.options.clone());
        app.map.layer = layer;
        let cluster = Arc::new(cluster.clone());
        let looks = Looks::of(&app, &cluster);
        looks.legend().map(|s| (s.glyph, s.word.clone(), s.nodes)).collect()
    }

    #[test]
    fn each_layer_counts_every_node_once_and_no_sign_means_two_things() {
        let app = fixtures::app((80, 24), Default::default());
        let mut cluster = fixtures::cluster();
        let image = |tag: &str| format!("ghcr.io/cybozu/kubernetes:{tag}").parse().unwrap();
        for (i, node) in cluster.nodes.values_mut().enumerate() {
            let kubelet = node.components.get_mut(&Component::Kubelet).unwrap();
            kubelet.image = image(["1.36.2.1", "1.36.3.1", "1.26.1.1"][i % 3]);
            node.reachable = Some(i != 7);
            node.role = ["ss", "cs", "cs2"].get(i % 4).map(|r| r.parse().unwrap());
        }
        for layer in Layer::ALL {
            let legend = legend(&app, layer, &cluster);
            assert_eq!(legend.iter().map(|l| l.2).sum::<usize>(), 63, "{legend:?}");
            let glyphs: std::collections::HashSet<char> = legend.iter().map(|l| l.0).collect();
            assert_eq!(glyphs.len(), legend.len(), "{legend:?}");
        }
        let words =
            |layer| legend(&app, layer, &cluster).into_iter().map(|l| format!("{} {}", l.0, l.1)).collect::<Vec<_>>();
        assert_eq!(words(Layer::Version), ["a 1.36.3", "b 1.36.2", "c 1.26.1"]);
        assert_eq!(words(Layer::Health), ["● well", "× no SSH"]);
        assert_eq!(words(Layer::Role), ["· no role", "c cs", "s cs2", "m master", "e ss"]);
        assert_eq!(words(Layer::Age), ["m under 30 days"]);
    }
}
