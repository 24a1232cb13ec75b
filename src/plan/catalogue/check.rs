//! Every change of a plan, held against the catalogue.

use super::config;
use super::detect::Subject;
use super::entry::{Detect, Entry, Numbers};
use super::known;
use super::rules::Asked;
use super::unread;
use crate::fleet::{Cluster, Component, Node, NodeName, Version};
use crate::plan::findings::{Findings, Told};
use crate::plan::flags::{FlagName, words};
use crate::plan::{ArgEdit, Change, Facts, Finding, NodeFacts, Phase, Severity};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Adds a finding for each entry that a change meets, gives the changes the edits of accepted offers, and returns what the
/// versions on the way change for everybody.
pub(in crate::plan) fn check(
    cluster: &Cluster,
    facts: &Facts,
    own: &[Entry],
    accept: &[String],
    phases: &mut [Phase],
    findings: &mut Findings,
) -> Vec<Finding> {
    let built_in = super::built_in().unwrap_or_else(|why| {
        let text = format!("what breaks in place is not known, since the catalogue is not valid: {why}");
        findings.add(Severity::Error, "catalogue", text, "report it");
        &[]
    });
    let mut entries: Vec<&Entry> = built_in.iter().collect();
    if !own.is_empty() {
        let replaced: BTreeSet<&str> = own.iter().map(|e| e.id.as_str()).collect();
        entries.retain(|e| !replaced.contains(e.id.as_str()));
        entries.extend(own);
        // What one mends, the next finds mended.
        entries.sort_by(|a, b| Entry::in_order(a, b));
    }
    let mut look = Look {
        facts,
        entries,
        own: own.iter().map(|e| e.id.as_str()).collect(),
        accept,
        crossed: HashMap::new(),
        args: HashMap::new(),
        configs: HashMap::new(),
        offered: BTreeSet::new(),
        notes: BTreeMap::new(),
    };
    for swap in phases.iter_mut().flat_map(|p| &mut p.waves).flat_map(|w| &mut w.swaps) {
        let Some(node) = cluster.nodes.get(&swap.node) else { continue };
        for change in &mut swap.changes {
            look.at(node, change, findings);
        }
    }
    look.finish(findings)
}

/// A walk over the changes, in their order.
struct Look<'a> {
    facts: &'a Facts,
    entries: Vec<&'a Entry>,
    /// What the operator has written.
    own: BTreeSet<&'a str>,
    accept: &'a [String],
    /// The entries that a change of these versions goes over.
    crossed: HashMap<(Component, Numbers, Numbers), Vec<&'a Entry>>,
    /// Arguments that an earlier change has edited.
    args: HashMap<(&'a NodeName, Component), Vec<String>>,
    /// Configuration files by their text; none for what cannot be read.
    configs: HashMap<&'a str, Option<Value>>,
    /// What offered a change of arguments.
    offered: BTreeSet<String>,
    notes: BTreeMap<(Component, Numbers, &'a str), &'a Entry>,
}

impl<'a> Look<'a> {
    fn at(&mut self, node: &'a Node, change: &mut Change, findings: &mut Findings) {
        let component = change.component;
        let (Some(from), Some(to)) = (change.from.version(), change.to.version()) else { return };
        let entries = self.crossed.entry((component, from.upstream(), to.upstream())).or_insert_with(|| {
            let met = self.entries.iter().filter(|e| e.components.contains(&component) && e.crossed(from, to));
            let (notes, entries): (Vec<&Entry>, Vec<&Entry>) = met.partition(|e| e.is_note());
            self.notes.extend(notes.into_iter().map(|e| ((component, e.since.upstream(), e.id.as_str()), e)));
            entries
        });
        let of_node = self.facts.nodes.get(&node.name);
        let text = of_node.and_then(|n| n.components.get(&component)?.config.as_deref());
        let file = text.and_then(|text| self.configs.entry(text).or_insert_with(|| config::read(text)).as_ref());
        let reads = known::is_kubernetes(component) || entries.iter().any(|e| e.detect.reads_config());
        if text.is_some() && file.is_none() && reads {
            let text = format!("the configuration file of {component} cannot be read as YAML or JSON");
            let mend = "look yourself for what the new version no longer takes";
            findings.on(&node.name, Severity::Warning, "config-unreadable", text, mend);
        }
        let place = (&node.name, component);
        let running = node.components.get(&component).map_or(&[][..], |r| r.args.as_slice());
        let now = self.args.get(&place).map_or(Cow::Borrowed(running), |args| Cow::Owned(args.clone()));
        let mut turn = Turn {
            component,
            node: &node.name,
            of_node,
            config: file,
            accept: self.accept,
            offered: &mut self.offered,
            findings,
            now,
            edits: Vec::new(),
            told: Vec::new(),
        };
        unread::tell(component, &node.name, &words(&turn.now), turn.findings);
        turn.ask(entries.iter().copied());
        match turn.unknown(to, &self.entries, &self.own) {
            Ok(unknown) => turn.ask(&unknown),
            Err(why) => {
                let text =
                    format!("what breaks in place is not known, since a table of the catalogue is not valid: {why}");
                turn.findings.add(Severity::Error, "catalogue", text, "report it");
            }
        }
        let Turn { edits, now, .. } = turn;
        change.args.extend(edits);
        if !change.args.is_empty() {
            self.args.insert(place, now.into_owned());
        }
    }

    fn finish(self, findings: &mut Findings) -> Vec<Finding> {
        for id in self.accept.iter().filter(|id| *id != "all" && !self.offered.contains(id.as_str())) {
            let text = format!("{id} is accepted, and nothing of that name offers a change of arguments here");
            findings.add(Severity::Info, "accepted-nothing", text, "");
        }
        let note = |((component, ..), entry): ((Component, _, _), &Entry)| Finding {
            code: entry.id.clone(),
            severity: entry.severity,
            text: said(&entry.text, component, &[]),
            mend: said(&entry.mend, component, &[]),
            link: entry.source.clone(),
            offer: String::new(),
            acknowledgeable: false,
            nodes: Vec::new(),
        };
        self.notes.into_iter().map(note).collect()
    }
}

/// One change, walked over.
struct Turn<'t> {
    component: Component,
    node: &'t NodeName,
    of_node: Option<&'t NodeFacts>,
    config: Option<&'t Value>,
    accept: &'t [String],
    offered: &'t mut BTreeSet<String>,
    findings: &'t mut Findings,
    /// The arguments, with what was accepted so far.
    now: Cow<'t, [String]>,
    /// What was accepted so far.
    edits: Vec<ArgEdit>,
    /// The gates and flags of the errors that were told.
    told: Vec<Detect>,
}

impl Turn<'_> {
    /// Tells which entries the change meets; what an accepted one mends, the next finds mended.
    fn ask<'e>(&mut self, entries: impl IntoIterator<Item = &'e Entry>) {
        let mut left = entries.into_iter();
        // Until an accepted change makes other arguments of them, they are read once.
        while let Some((edits, after)) = {
            let read = words(&self.now);
            let subject = Subject { words: &read, config: self.config, node: self.of_node };
            left.find_map(|entry| {
                let flags = entry.concerns(&subject)?;
                let edits: Vec<ArgEdit> =
                    entry.change.iter().filter(|e| e.apply(&self.now) != *self.now).cloned().collect();
                let after = ArgEdit::apply_all(&edits, &self.now);
                let mended = Subject { words: &words(&after), config: self.config, node: self.of_node };
                let mends = !edits.is_empty() && entry.concerns(&mended).is_none();
                if mends {
                    self.offered.insert(entry.id.clone());
                }
                let taken = mends && self.accept.iter().any(|id| *id == entry.id || id == "all");
                if entry.severity == Severity::Error {
                    self.told.push(entry.detect.clone());
                }
                self.findings.tell(told(entry, self.component, &flags, &edits, mends, taken), Some(self.node));
                taken.then_some((edits, after))
            })
        } {
            self.edits.extend(edits);
            self.now = Cow::Owned(after);
        }
    }

    /// What the tables have against it beyond the entries that were told. An entry that is written about the same, and was
    /// not met since its version lies behind, lends its words; the operator's own says all that is to be said.
    fn unknown(&self, to: &Version, written: &[&Entry], own: &BTreeSet<&str>) -> Result<Vec<Entry>, &'static str> {
        let read = words(&self.now);
        let subject = Subject { words: &read, config: self.config, node: self.of_node };
        let found = Asked { component: self.component, to, args: &self.now }.against(&subject)?;
        let fresh =
            found.into_iter().filter(|e| !own.contains(e.id.as_str()) && !self.told.iter().any(|t| t.names(&e.detect)));
        Ok(fresh
            .map(|e| match written.iter().find(|w| w.id == e.id) {
                Some(w) => Entry { text: w.text.clone(), mend: w.mend.clone(), source: w.source.clone(), ..e },
                None => e,
            })
            .collect())
    }
}

fn told(entry: &Entry, component: Component, flags: &[FlagName], edits: &[ArgEdit], mends: bool, taken: bool) -> Told {
    let text = said(&entry.text, component, flags);
    let how: Vec<String> = edits.iter().map(ToString::to_string).collect();
    let told = |severity, text| Told::new(severity, entry.id.clone(), text).link(&entry.source);
    if taken {
        return told(Severity::Info, format!("{text}; fixed by: {}", how.join(", ")));
    }
    let told = told(entry.severity, text).mend(said(&entry.mend, component, flags));
    let told = if mends { told.offer(how.join(", ")) } else { told };
    if entry.severity == Severity::Error { told.acknowledgeable() } else { told }
}

/// An entry's words about what was found.
fn said(words: &str, component: Component, flags: &[FlagName]) -> String {
    let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
    words.replace("{component}", component.as_str()).replace("{flag}", &flags.join(", "))
}
