//! What the tables have against a container's arguments, as entries: they are told, mended and accepted as written ones are.

use super::detect::Subject;
use super::entry::{Detect, Entry, Kind, Only};
use super::known::{self, Spec, Verdict};
use super::table::Table;
use crate::fleet::{Component, Version};
use crate::plan::flags::{FlagName, GateName};
use crate::plan::{ArgEdit, Severity};
use std::collections::BTreeSet;

const LIST: &str = "test/compatibility_lifecycle/reference/versioned_feature_list.yaml";
const SOURCES: &str = "pkg/features/kube_features.go";
/// The first release that publishes [`LIST`].
const LISTED: u32 = 33;

/// A change of one component, as the tables are asked about it.
pub(super) struct Asked<'a> {
    pub(super) component: Component,
    /// The version that it goes to.
    pub(super) to: &'a Version,
    /// Its command line.
    pub(super) args: &'a [String],
}

impl Asked<'_> {
    /// What the version does not know, or has locked otherwise.
    ///
    /// # Errors
    /// Never in a program that was tested: when a built-in table is not valid.
    pub(super) fn against(&self, subject: &Subject<'_>) -> Result<Vec<Entry>, &'static str> {
        let (1, minor) = self.to.minor_of() else { return Ok(Vec::new()) };
        if !known::is_kubernetes(self.component) {
            return Ok(Vec::new());
        }
        let table = known::gates()?;
        let named = subject.gates(self.component);
        let mut found: Vec<Entry> =
            named.into_iter().filter_map(|(gate, value)| self.gate(table, &gate, value, minor)).collect();
        if self.is_itself() {
            let table = known::flags()?;
            let given: BTreeSet<&str> = subject.words.iter().filter_map(|w| w.name.as_deref()).collect();
            found.extend(given.into_iter().filter_map(|flag| self.flag(table, flag, minor)));
        }
        Ok(found)
    }

    /// Whether the command line is the component's own, and no wrapper's.
    fn is_itself(&self) -> bool {
        let base = |arg: &String| arg.rsplit('/').next().is_some_and(|name| name == self.component.as_str());
        match self.args {
            [first, ..] if first.starts_with('-') => true,
            [first, second, ..] if first.ends_with("hyperkube") => base(second),
            [first, ..] => base(first),
            [] => false,
        }
    }

    fn gate(&self, table: &Table, gate: &GateName, value: Option<bool>, minor: u32) -> Option<Entry> {
        let (first, last) = table.span();
        let name = gate.as_str();
        let id = format!("gate-{}", kebab(name));
        // Nothing in these words depends on the target alone, so that all hops of a way make one finding.
        let gone = |text: String, mend: String, since: u32| {
            let detect = Detect::Gate { gate: gate.clone(), value: None };
            Some(self.entry(id.clone(), Kind::GateRemoved, detect, text, mend, gates_source(since)))
        };
        match known::gate(table, name, value, minor) {
            Verdict::Fits => None,
            Verdict::Locked { to, since } => {
                let text = format!("{{component}} does not start with {name}={}: the feature gate is locked", !to);
                let mend = format!("drop the gate: it has been locked to {to} since 1.{since}");
                let detect = Detect::Gate { gate: gate.clone(), value };
                let source = gates_source(since);
                Some(self.entry(format!("{id}-locked"), Kind::GateLocked, detect, text, mend, source))
            }
            Verdict::Gone { last, was } => gone(
                format!("{{component}} no longer knows the feature gate {name} and does not start with it"),
                farewell(last, was),
                last + 1,
            ),
            Verdict::NotYet { first } => gone(
                format!(
                    "{{component}} does not know the feature gate {name} before 1.{first} and does not start with it"
                ),
                format!("drop the gate until {{component}} runs 1.{first}"),
                first,
            ),
            Verdict::Unknown => gone(
                format!(
                    "{{component}} as released does not know the feature gate {name} and does not start with it: \
                     no release from 1.{first} to 1.{last} knows it"
                ),
                "correct its name, or drop it; acknowledge this if a build of your own knows it".into(),
                last,
            ),
        }
    }

    fn flag(&self, table: &Table, flag: &str, minor: u32) -> Option<Entry> {
        let last = known::flag_gone(table, self.component, flag, minor)?;
        let name: FlagName = format!("--{flag}").parse().ok()?;
        let id = format!("{}-flag-{}", self.component, flag.to_ascii_lowercase().replace('.', "-"));
        let text = "{component} no longer knows {flag} and does not start with it".to_owned();
        let mend = format!("drop the flag: 1.{last} was the last release that took it");
        let detect = Detect::Flag { flags: vec![name], values: Vec::new(), items: Vec::new() };
        let source = format!("https://kubernetes.io/docs/reference/command-line-tools-reference/{}/", self.component);
        Some(self.entry(id, Kind::FlagRemoved, detect, text, mend, source))
    }

    fn entry(&self, id: String, kind: Kind, detect: Detect, text: String, mend: String, source: String) -> Entry {
        let change = match &detect {
            Detect::Gate { gate, .. } => vec![ArgEdit::DropGate { gate: gate.clone() }],
            Detect::Flag { flags, .. } => flags.iter().map(|flag| ArgEdit::Drop { flag: flag.clone() }).collect(),
            _ => Vec::new(),
        };
        Entry {
            id,
            components: BTreeSet::from([self.component]),
            since: self.to.clone(),
            until: None,
            kind,
            severity: Severity::Error,
            text,
            mend,
            source,
            detect,
            only: Only::default(),
            change,
            hit: Vec::new(),
            miss: Vec::new(),
        }
    }
}

/// What to do about a gate that left, by what it was last.
fn farewell(last: u32, was: Spec) -> String {
    match was {
        Spec { stage: "ga", on: true, .. } => "drop the gate: the feature is always on".to_owned(),
        Spec { stage, on, .. } => {
            let default = if on { "on" } else { "off" };
            format!("drop the gate: 1.{last} was the last release that knew it, {stage} and {default} by default")
        }
    }
}

fn gates_source(minor: u32) -> String {
    let path = if minor >= LISTED { LIST } else { SOURCES };
    format!("https://github.com/kubernetes/kubernetes/blob/release-1.{minor}/{path}")
}

/// A gate's name as it stands in a finding's code: `IPv6DualStack` is `i-pv6-dual-stack`, as in the written entries.
fn kebab(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (i, c) in chars.iter().enumerate() {
        let before = i.checked_sub(1).map(|at| chars[at]);
        let next = chars.get(i + 1);
        let begins = c.is_ascii_uppercase()
            && before.is_some_and(|b| !b.is_ascii_uppercase() || next.is_some_and(char::is_ascii_lowercase));
        if begins {
            out.push('-');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_written_entries() {
        for entry in super::super::built_in().unwrap() {
            let Detect::Gate { gate, value } = &entry.detect else { continue };
            if ![Kind::GateRemoved, Kind::GateLocked].contains(&entry.kind) {
                continue;
            }
            let locked = if entry.kind == Kind::GateLocked { "-locked" } else { "" };
            assert_eq!(entry.id, format!("gate-{}{locked}", kebab(gate.as_str())), "{value:?}");
        }
    }

    #[test]
    fn a_wrappers_flags_are_not_the_components() {
        let is = |args: &str| {
            let args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
            let to = "1.36.2".parse().unwrap();
            Asked { component: Component::Kubelet, to: &to, args: &args }.is_itself()
        };
        for own in ["kubelet --a", "/usr/bin/kubelet", "--a", "/hyperkube kubelet --a"] {
            assert!(is(own), "{own}");
        }
        for other in ["", "/go-runner --log-file=x -- kubelet --a", "hyperkube proxy", "kubelets"] {
            assert!(!is(other), "{other}");
        }
    }
}
