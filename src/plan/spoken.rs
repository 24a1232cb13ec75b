//! What an operator types: selections of nodes and racks, bumps, labels. Read against the cluster, for a typing mistake must not
//! quietly shrink, or widen, what is upgraded.

use crate::fleet::{Cluster, Component, Image, Label, NodeName, clean};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;

/// `1.36.2.1`: another tag of the image that the component runs now; or a whole image.
///
/// # Errors
/// What it is not, or why a tag alone is not enough.
pub fn image_for(component: Component, to: &str, cluster: &Cluster) -> Result<Image, String> {
    let read = |text: &str| text.parse().map_err(|e| format!("{e}"));
    if to.contains(['/', ':', '@']) {
        return read(to);
    }
    let running: BTreeSet<&str> =
        cluster.nodes.values().filter_map(|n| n.components.get(&component)).map(|r| r.image.name()).collect();
    let mut running = running.into_iter();
    match (running.next(), running.next()) {
        (Some(name), None) => read(&format!("{name}:{to}")),
        (None, _) => Err(format!(
            "it runs nowhere, so its image is not known; give a whole image: {component}=REGISTRY/NAME:{}",
            clean(to)
        )),
        (Some(a), Some(b)) => Err(format!(
            "it runs images of several names ({a}, {b}, …); give a whole image: {component}={a}:{}",
            clean(to)
        )),
    }
}

/// Names of a kind, in the cluster.
///
/// # Errors
/// What cannot be read, or is not there.
pub fn select<N>(what: &str, text: &str, known: &BTreeSet<&N>) -> Result<Vec<N>, String>
where
    N: FromStr + Ord + Clone + AsRef<str> + Display,
{
    // A node that Kubernetes knows and the inventory does not is none of ours.
    let place = if what == "node" { "in the cluster's inventory" } else { "in the cluster" };
    pick(text, known, |pattern| format!("no {what} {pattern:?} {place}"))
}

/// The workers that a pin means. Masters have an order of their own, so a pattern passes over them.
///
/// # Errors
/// What cannot be read, or is no worker.
pub fn pins(text: &str, cluster: &Cluster) -> Result<Vec<NodeName>, String> {
    let workers: BTreeSet<&NodeName> = cluster.workers().map(|n| &n.name).collect();
    pick(text, &workers, |pattern| {
        format!("no worker {pattern:?} in the cluster's inventory; only workers can be pinned")
    })
}

/// Whether a node has the label.
///
/// # Errors
/// None has it; with the values that there are.
pub fn known_label(label: &Label, cluster: &Cluster) -> Result<(), String> {
    let (all, key) = (cluster.nodes.values(), label.key());
    if all.clone().any(|n| n.labels.contains(label)) {
        return Ok(());
    }
    let values: BTreeSet<&str> = all.filter_map(|n| n.label(key)).collect();
    let known = match values.len() {
        0 => format!("no node has a label {key}"),
        _ => format!("{key} is one of: {}", values.into_iter().take(10).collect::<Vec<_>>().join(", ")),
    };
    Err(format!("no node has it; {known}"))
}

/// Reads `a,b[1-3],c*` against what exists. A pattern that selects nothing is an error: a typing mistake must not
/// quietly shrink, or widen, what is upgraded.
///
/// # Errors
/// A word that cannot be read; what `none` says of a pattern that fits nothing.
pub fn pick<N>(text: &str, known: &BTreeSet<&N>, none: impl Fn(&str) -> String) -> Result<Vec<N>, String>
where
    N: FromStr + Ord + Clone + AsRef<str> + Display,
{
    let mut picked: BTreeSet<N> = BTreeSet::new();
    for word in words(text) {
        for pattern in expand(&word).map_err(|why| format!("{:?}: {why}", clean(&word)))? {
            let before = picked.len();
            picked.extend(known.iter().filter(|k| matches(&pattern, k.as_ref())).map(|k| (*k).clone()));
            if picked.len() == before && !picked.iter().any(|p| matches(&pattern, p.as_ref())) {
                return Err(none(&clean(&pattern)));
            }
        }
    }
    if picked.is_empty() {
        return Err("selects nothing".into());
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

    fn picked(text: &str) -> Result<Vec<String>, String> {
        let names = ["r0-cs1", "r0-cs2", "r0-cs10", "r0-ss1", "w-0003", "w-0004"];
        let all: Vec<NodeName> = names.iter().map(|n| n.parse().unwrap()).collect();
        let known = all.iter().collect();
        let picked: Vec<NodeName> = select("node", text, &known)?;
        Ok(picked.iter().map(ToString::to_string).collect())
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
