//! A container's arguments as its program reads them: `--flag`, `--flag=value`, `--flag value`.
//!
//! Kubernetes' programs take `_` for `-` in a flag's name (component-base's `WordSepNormalizeFunc`), etcd takes one dash for
//! two (Go's own `flag`). Neither starts with what only the other knows, so that both spellings can be read everywhere.

use crate::fleet::quoted;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

macro_rules! word {
    ($(#[$doc:meta])* $type:ident, $read:expr, $show:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Box<str>);

        impl FromStr for $type {
            type Err = String;

            fn from_str(text: &str) -> Result<$type, String> {
                $read(text).map($type)
            }
        }

        impl TryFrom<String> for $type {
            type Error = String;

            fn try_from(text: String) -> Result<$type, String> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(word: $type) -> String {
                word.to_string()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $show, self.0)
            }
        }
    };
}

word!(
    /// A flag's name; written `--with-dashes`.
    FlagName,
    read_flag,
    "--{}"
);
word!(
    /// A feature gate's name, for instance `SidecarContainers`.
    GateName,
    read_gate,
    "{}"
);

impl FlagName {
    /// The name without its dashes.
    pub(super) fn bare(&self) -> &str {
        &self.0
    }
}

impl GateName {
    /// The name.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

fn read_flag(text: &str) -> Result<Box<str>, String> {
    let bare = text.strip_prefix("--").unwrap_or("");
    let good = bare.starts_with(|c: char| c.is_ascii_alphabetic())
        && bare.len() <= 100
        && bare.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if good { Ok(bare.replace('_', "-").into()) } else { Err(format!("{} is not a flag; write --name", quoted(text))) }
}

fn read_gate(text: &str) -> Result<Box<str>, String> {
    let good = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.len() <= 100
        && text.chars().all(|c| c.is_ascii_alphanumeric());
    if good { Ok(text.into()) } else { Err(format!("{} is not a feature gate's name", quoted(text))) }
}

/// The flag that takes feature gates.
pub(super) const GATES: &str = "feature-gates";

/// One or two arguments that belong together.
#[derive(Debug, Clone)]
pub(super) struct Word<'a> {
    /// Where it begins.
    pub(super) at: usize,
    /// How many arguments it is: two where a value stands by itself.
    pub(super) len: usize,
    /// The flag's name without dashes; none for what is no flag.
    pub(super) name: Option<Cow<'a, str>>,
    /// The flag's value.
    pub(super) value: Option<&'a str>,
}

impl Word<'_> {
    /// Its text in the arguments that it was read from.
    pub(super) fn of<'b>(&self, args: &'b [String]) -> &'b [String] {
        &args[self.at..self.at + self.len]
    }

    pub(super) fn is(&self, flag: &str) -> bool {
        self.name.as_deref() == Some(flag)
    }

    /// The value as text; a flag that stands alone says true.
    pub(super) fn text(&self) -> &str {
        self.value.unwrap_or("true")
    }
}

/// The file that `--config` names, where it is a whole path.
pub fn config_file(args: &[String]) -> Option<&str> {
    words(args).iter().rev().find(|w| w.is("config")).and_then(|w| w.value).filter(|path| path.starts_with('/'))
}

/// All arguments, as words. What comes after a bare `--` is no flag.
pub(super) fn words(args: &[String]) -> Vec<Word<'_>> {
    let mut words = Vec::with_capacity(args.len());
    let mut at = 0;
    let end = end(args);
    while at < args.len() {
        let mut word = Word { at, len: 1, name: None, value: None };
        if let Some(rest) = bare(&args[at]).filter(|_| at < end) {
            let (name, value) = rest.split_once('=').map_or((rest, None), |(name, value)| (name, Some(value)));
            word.name = Some(if name.contains('_') { Cow::Owned(name.replace('_', "-")) } else { Cow::Borrowed(name) });
            word.value = value;
            if let (None, Some(next)) = (value, args[..end].get(at + 1).filter(|next| bare(next).is_none())) {
                word.value = Some(next);
                word.len = 2;
            }
        }
        at += word.len;
        words.push(word);
    }
    words
}

/// Where the flags end.
pub(super) fn end(args: &[String]) -> usize {
    args.iter().position(|a| a == "--").unwrap_or(args.len())
}

/// A flag without its dashes. A negative number is none.
fn bare(arg: &str) -> Option<&str> {
    let rest = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-'))?;
    rest.starts_with(|c: char| c.is_ascii_alphabetic()).then_some(rest)
}

/// The items of a list such as `A=true,B`, each with what stands before its `=`.
pub(super) fn items(list: &str) -> impl Iterator<Item = (&str, &str)> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty()).map(|item| {
        let key = item.split_once('=').map_or(item, |(key, _)| key.trim());
        (key, item)
    })
}

/// A truth value as Go reads it.
pub(super) fn truth(text: &str) -> Option<bool> {
    match text.trim() {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_as_the_programs_read_them() {
        let args: Vec<String> = "kubelet --a --b=1 --c 2 --oom_score_adj -999 -v=2 --list a,b= -- --d x"
            .split(' ')
            .map(str::to_owned)
            .collect();
        let read: Vec<(Option<String>, Option<&str>)> =
            words(&args).into_iter().map(|w| (w.name.map(|n| n.into_owned()), w.value)).collect();
        let flag = |name: &str, value| (Some(name.to_owned()), value);
        let plain = (None, None);
        assert_eq!(
            read,
            [
                plain.clone(),
                flag("a", None),
                flag("b", Some("1")),
                flag("c", Some("2")),
                flag("oom-score-adj", Some("-999")),
                flag("v", Some("2")),
                flag("list", Some("a,b=")),
                plain.clone(),
                plain.clone(),
                plain
            ]
        );
        assert_eq!(items("A=true, B,,C = x").collect::<Vec<_>>(), [("A", "A=true"), ("B", "B"), ("C", "C = x")]);
    }

    #[test]
    fn names_are_validated() {
        assert_eq!("--log_dir".parse::<FlagName>().unwrap().to_string(), "--log-dir");
        for bad in ["", "--", "-a", "a", "--a=b", "--a b", "--\u{1b}", "---a"] {
            assert!(bad.parse::<FlagName>().is_err(), "{bad:?}");
        }
        for bad in ["", "A=true", "A,B", "1A", "A\u{1b}"] {
            assert!(bad.parse::<GateName>().is_err(), "{bad:?}");
        }
    }
}
