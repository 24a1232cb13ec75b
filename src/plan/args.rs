//! Changes of a container's arguments, that mend what a new version no longer takes. Each leaves every other argument as it is
//! and where it is, and does nothing the second time.

use super::flags::{FlagName, GATES, GateName, Word, end, items, truth, words};
use crate::fleet::is_masked;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// One change of the arguments.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ArgEdit {
    /// Takes a flag away, with its value, wherever it stands.
    Drop {
        /// Which.
        flag: FlagName,
    },
    /// Gives a flag this value: where it stands, else at the end.
    Set {
        /// Which.
        flag: FlagName,
        /// Its value.
        value: String,
    },
    /// Gives a flag another name; its value stays.
    Rename {
        /// The old name.
        from: FlagName,
        /// The new one.
        to: FlagName,
    },
    /// Takes a gate out of `--feature-gates`.
    DropGate {
        /// Which.
        gate: GateName,
    },
    /// Turns a flag that is true or false into a feature gate of the same value.
    ToGate {
        /// The flag that goes.
        flag: FlagName,
        /// The gate that comes.
        gate: GateName,
    },
    /// Takes an item out of a flag that is a list.
    DropItem {
        /// The list.
        flag: FlagName,
        /// The item; what it is set to (`item=true`) goes with it.
        item: String,
    },
    /// Adds arguments at the end, unless they stand somewhere already.
    Add {
        /// A flag, with its value where that is an argument of its own.
        args: Vec<String>,
    },
}

/// What becomes of a word.
enum Fate {
    Keep,
    Drop,
    /// Another value.
    Value(String),
    /// Another name.
    Name(String),
}

impl ArgEdit {
    /// The arguments after this change.
    pub fn apply(&self, args: &[String]) -> Vec<String> {
        match self {
            ArgEdit::Drop { flag } => each(args, |w| if w.is(flag.bare()) { Fate::Drop } else { Fate::Keep }),
            ArgEdit::Set { flag, value } => set(args, flag, value),
            ArgEdit::Rename { from, to } => {
                each(args, |w| if w.is(from.bare()) { Fate::Name(to.bare().to_owned()) } else { Fate::Keep })
            }
            ArgEdit::DropGate { gate } => drop_items(args, GATES, |key| key == gate.as_str()),
            ArgEdit::ToGate { flag, gate } => to_gate(args, flag, gate),
            ArgEdit::DropItem { flag, item } => drop_items(args, flag.bare(), |key| item_is(key, item)),
            ArgEdit::Add { args: new } => {
                let mut after = args.to_vec();
                if !new.is_empty() && !words(args).iter().any(|w| w.of(args) == new.as_slice()) {
                    let at = end(args);
                    after.splice(at..at, new.iter().cloned());
                }
                after
            }
        }
    }

    /// The arguments after these changes, one after the other.
    pub fn apply_all(edits: &[ArgEdit], args: &[String]) -> Vec<String> {
        edits.iter().fold(args.to_vec(), |args, edit| edit.apply(&args))
    }

    /// What takes `apply_all(edits, before)` back to what `before` says; the order of the flags may differ. A masked value moves with
    /// its flag where the flag got another name; one that is gone cannot come back, see [`ArgEdit::lost`].
    pub fn undo(edits: &[ArgEdit], before: &[String]) -> Vec<ArgEdit> {
        let (mut back, changed) = changed(edits, before);
        for Changed { name, was, is } in changed {
            if let (false, Ok(flag)) = (is.is_empty(), format!("--{name}").parse()) {
                back.push(ArgEdit::Drop { flag });
            }
            let known = was.into_iter().filter(|args| !args.iter().any(|arg| is_masked(arg)));
            back.extend(known.map(|args| ArgEdit::Add { args }));
        }
        back
    }

    /// Flags of `before` that `edits` change and [`ArgEdit::undo`] cannot bring back: their values were masked.
    pub fn lost(edits: &[ArgEdit], before: &[String]) -> Vec<String> {
        let masked = |c: &Changed| c.was.iter().flatten().any(|arg| is_masked(arg));
        changed(edits, before).1.into_iter().filter(masked).map(|c| format!("--{}", c.name)).collect()
    }

    /// What it puts into the arguments that did not stand there before.
    pub fn brings(&self) -> Vec<String> {
        match self {
            ArgEdit::Set { flag, value } => vec![format!("{flag}={value}")],
            ArgEdit::Add { args } => args.clone(),
            ArgEdit::Drop { .. }
            | ArgEdit::Rename { .. }
            | ArgEdit::DropGate { .. }
            | ArgEdit::ToGate { .. }
            | ArgEdit::DropItem { .. } => Vec::new(),
        }
    }
}

/// A flag that edits change: all that was said of it, and all that is.
struct Changed {
    name: String,
    was: Vec<Vec<String>>,
    is: Vec<Vec<String>>,
}

/// What these edits change, flag by flag; flags that only got another name, and a masked value, come first, as edits that give the
/// old name back.
fn changed(edits: &[ArgEdit], before: &[String]) -> (Vec<ArgEdit>, Vec<Changed>) {
    let after = ArgEdit::apply_all(edits, before);
    let (old, new) = (words(before), words(&after));
    let texts = |words: &[Word<'_>], args: &[String], name: &str| -> Vec<Vec<String>> {
        words.iter().filter(|w| w.is(name)).map(|w| w.of(args).to_vec()).collect()
    };
    let mut names: BTreeSet<String> =
        old.iter().chain(&new).filter_map(|w| w.name.as_deref()).map(str::to_owned).collect();
    let mut renamed = Vec::new();
    for edit in edits {
        let ArgEdit::Rename { from, to } = edit else { continue };
        let values = |words: &[Word<'_>], name: &FlagName| -> Vec<Option<String>> {
            words.iter().filter(|w| w.is(name.bare())).map(|w| w.value.map(str::to_owned)).collect()
        };
        let masked = values(&old, from).iter().flatten().any(|value| is_masked(value));
        let moved =
            values(&old, from) == values(&new, to) && values(&old, to).is_empty() && values(&new, from).is_empty();
        if masked && moved {
            renamed.push(ArgEdit::Rename { from: to.clone(), to: from.clone() });
            names.remove(from.bare());
            names.remove(to.bare());
        }
    }
    let changed = names.into_iter().map(|name| {
        let (was, is) = (texts(&old, before, &name), texts(&new, &after, &name));
        Changed { name, was, is }
    });
    (renamed, changed.filter(|c| c.was != c.is).collect())
}

impl fmt::Display for ArgEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ArgEdit::Drop { flag } => write!(f, "drop {flag}"),
            ArgEdit::Set { flag, value } => write!(f, "set {flag}={value}"),
            ArgEdit::Rename { from, to } => write!(f, "rename {from} to {to}"),
            ArgEdit::DropGate { gate } => write!(f, "drop the gate {gate}"),
            ArgEdit::ToGate { flag, gate } => write!(f, "turn {flag} into the gate {gate}"),
            ArgEdit::DropItem { flag, item } => write!(f, "take {item} out of {flag}"),
            ArgEdit::Add { args } => write!(f, "add {}", args.join(" ")),
        }
    }
}

/// What changes between two argument lists: `- --old=1`, then `+ --new=1`.
pub fn arg_diff(before: &[String], after: &[String]) -> Vec<String> {
    let texts = |args: &[String]| -> Vec<String> { words(args).iter().map(|w| w.of(args).join(" ")).collect() };
    let (old, new) = (texts(before), texts(after));
    let gone = old.iter().filter(|t| !new.contains(t)).map(|t| format!("- {t}"));
    let come = new.iter().filter(|t| !old.contains(t)).map(|t| format!("+ {t}"));
    gone.chain(come).collect()
}

/// Whether the item `key` of a list is `item`, or lies in it as `group/version/resource` lies in `group/version`.
pub(super) fn item_is(key: &str, item: &str) -> bool {
    key.strip_prefix(item).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn each(args: &[String], mut fate: impl FnMut(&Word<'_>) -> Fate) -> Vec<String> {
    let mut after = Vec::with_capacity(args.len());
    for word in words(args) {
        let text = word.of(args);
        match fate(&word) {
            Fate::Keep => after.extend_from_slice(text),
            Fate::Drop => {}
            // What looks like a flag cannot stand by itself.
            Fate::Value(value) if word.len == 2 && !value.starts_with('-') => after.extend([text[0].clone(), value]),
            Fate::Value(value) => {
                let head = text[0].split_once('=').map_or(text[0].as_str(), |(head, _)| head);
                after.push(format!("{head}={value}"));
            }
            Fate::Name(name) => {
                let tail = text[0].split_once('=').map_or(String::new(), |(_, value)| format!("={value}"));
                after.push(format!("--{name}{tail}"));
                after.extend_from_slice(&text[1..]);
            }
        }
    }
    after
}

fn set(args: &[String], flag: &FlagName, value: &str) -> Vec<String> {
    let mut seen = false;
    let mut after = each(args, |word| match (word.is(flag.bare()), seen) {
        (false, _) => Fate::Keep,
        (true, true) => Fate::Drop,
        (true, false) => {
            seen = true;
            Fate::Value(value.to_owned())
        }
    });
    if !seen {
        let at = end(&after);
        after.insert(at, format!("{flag}={value}"));
    }
    after
}

/// Takes items out of a list; a list that is left empty goes.
fn drop_items(args: &[String], flag: &str, gone: impl Fn(&str) -> bool) -> Vec<String> {
    each(args, |word| {
        let Some(list) = word.value.filter(|list| word.is(flag) && items(list).any(|(key, _)| gone(key))) else {
            return Fate::Keep;
        };
        let left: Vec<&str> = items(list).filter(|(key, _)| !gone(key)).map(|(_, item)| item).collect();
        if left.is_empty() { Fate::Drop } else { Fate::Value(left.join(",")) }
    })
}

/// Only one `--feature-gates` counts for etcd, the last: the gate joins it.
fn to_gate(args: &[String], flag: &FlagName, gate: &GateName) -> Vec<String> {
    let all = words(args);
    let Some(value) = all.iter().rfind(|w| w.is(flag.bare())).map(|w| w.text().to_owned()) else {
        return args.to_vec();
    };
    let value = truth(&value).map_or(value, |truth| truth.to_string());
    let gates = all.iter().rfind(|w| w.is(GATES) && w.value.is_some()).map(|w| w.at);
    let last = all.iter().rfind(|w| w.is(flag.bare())).map(|w| w.at);
    let mut alone = None;
    let mut after = each(args, |word| match word {
        w if w.is(flag.bare()) => {
            if gates.is_none() && last == Some(w.at) {
                alone = Some(format!("--{GATES}={gate}={value}"));
            }
            Fate::Drop
        }
        w if gates == Some(w.at) => {
            let list = w.text();
            // Who names the gate already has said what it is to be.
            if items(list).any(|(key, _)| key == gate.as_str()) {
                return Fate::Keep;
            }
            let parts: Vec<&str> = items(list).map(|(_, item)| item).collect();
            Fate::Value([parts.join(","), format!("{gate}={value}")].join(",").trim_start_matches(',').to_owned())
        }
        _ => Fate::Keep,
    });
    if let Some(new) = alone {
        let at = end(&after);
        after.insert(at, new);
    }
    after
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
