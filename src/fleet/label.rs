//! Labels of nodes.

use super::quoted;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A label with its value, as `KEY=VALUE`.
///
/// Grammar: <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set>.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label {
    key: Box<str>,
    value: Box<str>,
}

/// A text that is not a label, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("label {text} is not valid: {why}")]
pub struct LabelError {
    text: String,
    why: &'static str,
}

impl Label {
    /// A label of these two.
    ///
    /// # Errors
    /// When one of them is not what Kubernetes allows.
    pub fn new(key: &str, value: &str) -> Result<Label, LabelError> {
        let err = |why| LabelError { text: quoted(&format!("{key}={value}")), why };
        check_key(key).map_err(err)?;
        if !(value.is_empty() || word(value)) {
            return Err(err(
                "a value has at most 63 letters, digits, '-', '_' and '.', and none of the last three at its ends",
            ));
        }
        Ok(Label { key: key.into(), value: value.into() })
    }

    /// What it tells of.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What it tells; may be empty.
    pub fn value(&self) -> &str {
        &self.value
    }
}

/// Whether this can be a label's key: an optional DNS name with a slash, then a word.
///
/// # Errors
/// Why it cannot.
pub fn check_key(key: &str) -> Result<(), &'static str> {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let dns = |text: &str| {
        let part = |part: &str| word(part) && !part.contains(['_', '.']) && part == part.to_ascii_lowercase();
        text.len() <= 253 && text.split('.').all(part)
    };
    if word(name) && prefix.is_none_or(dns) { Ok(()) } else { Err("a key is NAME or DOMAIN/NAME") }
}

fn word(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    (1..=63).contains(&text.len())
        && text.starts_with(edge)
        && text.ends_with(edge)
        && text.chars().all(|c| edge(c) || "-_.".contains(c))
}

impl FromStr for Label {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Label, LabelError> {
        let err = |why| LabelError { text: quoted(text), why };
        let (key, value) = text.split_once('=').ok_or(err("write KEY=VALUE"))?;
        Label::new(key, value)
    }
}

impl TryFrom<String> for Label {
    type Error = LabelError;
    fn try_from(text: String) -> Result<Label, LabelError> {
        text.parse()
    }
}

impl From<Label> for String {
    fn from(label: Label) -> String {
        label.to_string()
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_or_refuses() {
        for good in ["a=b", "node.kubernetes.io/instance-type=ss-2", "cke.cybozu.com/role=", "A_b.c=1"] {
            assert_eq!(good.parse::<Label>().unwrap().to_string(), good);
        }
        let long = format!("a={}", "x".repeat(64));
        for bad in
            ["", "a", "=b", "a b=c", "a=b c", "a=b=c", "/a=b", "a/=b", "A.b/c=d", "a/b/c=d", "a=-b", "a=\u{1b}", &long]
        {
            assert!(bad.parse::<Label>().is_err(), "{bad:?}");
        }
    }
}
