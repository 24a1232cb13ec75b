//! Whether an entry concerns a container.

use super::config::{at, text};
use super::entry::{Detect, Entry, Numbers, Only};
use crate::fleet::Component;
use crate::plan::NodeFacts;
use crate::plan::args::item_is;
use crate::plan::flags::{FlagName, GATES, GateName, Word, items, truth};
use serde_json::Value;
use std::collections::BTreeMap;

/// A container as far as it is known.
pub(super) struct Subject<'a> {
    /// Its arguments; none when they are not known.
    pub(super) words: &'a [Word<'a>],
    /// Its configuration file.
    pub(super) config: Option<&'a Value>,
    /// Its node.
    pub(super) node: Option<&'a NodeFacts>,
}

impl Entry {
    /// Whether it concerns `subject`; says which of its flags were found. What is not known concerns nobody.
    pub(super) fn concerns(&self, subject: &Subject<'_>) -> Option<Vec<FlagName>> {
        if !subject.fits(&self.only) {
            return None;
        }
        let mut flags = Vec::new();
        let found = match &self.detect {
            Detect::Flag { flags: wanted, values, items } => {
                let given = wanted.iter().filter(|flag| subject.gives(flag, values, items));
                flags.extend(given.cloned());
                !flags.is_empty()
            }
            Detect::AbsentFlag(flag) => !subject.words.is_empty() && !subject.words.iter().any(|w| w.is(flag.bare())),
            Detect::SameFlags(wanted) => {
                let mut values = wanted.iter().map(|flag| subject.last(flag));
                let first = values.next().flatten();
                let same = first.is_some() && values.all(|value| value == first);
                flags.extend(wanted.iter().filter(|_| same).cloned());
                same
            }
            Detect::Gate { gate, value } => subject.gate(gate, *value),
            Detect::ConfigApi(api) => subject.config.and_then(|c| c.get("apiVersion")?.as_str()) == Some(api),
            Detect::ConfigField { paths, values } => subject.config.is_some_and(|config| {
                let found = paths.iter().flat_map(|path| at(config, path));
                let mut found = found.filter(|v| values.is_empty() || text(v).is_some_and(|v| values.contains(&v)));
                found.next().is_some()
            }),
            Detect::RuntimeBelow(least) => {
                let runtime = subject.node.and_then(|n| n.runtime.as_deref()?.strip_prefix("containerd://"));
                runtime.and_then(numbers).is_some_and(|own| own < *least)
            }
            Detect::KernelBelow(least) => subject.kernel().is_some_and(|own| own < *least),
            Detect::Cgroup(version) => subject.node.and_then(|n| n.cgroup) == Some(*version),
            Detect::Always => true,
        };
        found.then_some(flags)
    }
}

impl Subject<'_> {
    fn kernel(&self) -> Option<Numbers> {
        self.node.and_then(|n| n.kernel.as_deref()).and_then(numbers)
    }

    fn fits(&self, only: &Only) -> bool {
        let given = |(flag, value): &(FlagName, Option<String>)| {
            self.words.iter().any(|w| w.is(flag.bare()) && value.as_deref().is_none_or(|value| same(w.text(), value)))
        };
        let config = |(path, value): &(Vec<String>, String)| {
            let found = self.config.map(|config| at(config, path)).unwrap_or_default();
            found.into_iter().filter_map(text).any(|found| same(&found, value))
        };
        only.cgroup.is_none_or(|version| self.node.and_then(|n| n.cgroup) == Some(version))
            && only.kernel_below.is_none_or(|least| self.kernel().is_some_and(|own| own < least))
            && !only.unless_flag.iter().any(given)
            && !only.unless_config.iter().any(config)
    }

    /// A flag's value; the last one counts.
    fn last(&self, flag: &FlagName) -> Option<&str> {
        self.words.iter().rev().find(|w| w.is(flag.bare())).map(Word::text)
    }

    fn gives(&self, flag: &FlagName, values: &[String], wanted: &[String]) -> bool {
        let fits = |w: &&Word<'_>| {
            (values.is_empty() || values.iter().any(|value| same(w.text(), value)))
                && (wanted.is_empty()
                    || items(w.text()).any(|(key, _)| wanted.iter().any(|wanted| item_is(key, wanted))))
        };
        self.words.iter().filter(|w| w.is(flag.bare())).any(|w| fits(&w))
    }

    /// The gates that are set, with their values where these can be read. The arguments' word goes before the file's; kube-proxy
    /// takes none of the arguments' once it is given a file.
    pub(super) fn gates(&self, component: Component) -> BTreeMap<GateName, Option<bool>> {
        let mut set = BTreeMap::new();
        let file = self.config.and_then(|c| c.get("featureGates")?.as_object());
        for (key, value) in file.into_iter().flatten() {
            set.extend(key.parse().map(|gate: GateName| (gate, value.as_bool())));
        }
        if component != Component::KubeProxy || !self.words.iter().any(|w| w.is("config")) {
            for (key, item) in self.words.iter().filter(|w| w.is(GATES)).filter_map(|w| w.value).flat_map(items) {
                let value = item.split_once('=').and_then(|(_, value)| truth(value));
                set.extend(key.parse().map(|gate: GateName| (gate, value)));
            }
        }
        set
    }

    /// Whether a gate is named, with the value that breaks. The arguments' word goes before the file's.
    fn gate(&self, gate: &GateName, wanted: Option<bool>) -> bool {
        let mut said: Option<Option<bool>> = None;
        for (key, item) in self.words.iter().filter(|w| w.is(GATES)).filter_map(|w| w.value).flat_map(items) {
            if key == gate.as_str() {
                said = Some(item.split_once('=').and_then(|(_, value)| truth(value)));
            }
        }
        let file = || Some(self.config?.get("featureGates")?.get(gate.as_str())?.as_bool());
        match (said.or_else(file), wanted) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(said), wanted) => said == wanted,
        }
    }
}

/// Whether two values are the same; `1` and `true` are.
fn same(a: &str, b: &str) -> bool {
    a == b || matches!((truth(a), truth(b)), (Some(a), Some(b)) if a == b)
}

/// The numbers that a version of a runtime or a kernel begins with: `v2.0.1`, `1.7.22~ds1`, `6.1.0-18-amd64`, `5.8`.
pub(super) fn numbers(text: &str) -> Option<Numbers> {
    let text = text.trim().trim_start_matches('v');
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let mut fields = text[..end].split('.').filter(|f| !f.is_empty()).map(|f| f.parse::<u32>().ok());
    let (major, minor) = (fields.next()??, fields.next()??);
    Some((major, minor, fields.next().flatten().unwrap_or(0)))
}
