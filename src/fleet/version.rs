//! Versions of Kubernetes, etcd and images.

use serde::{Deserialize, Serialize};
use std::{cmp::Ordering, fmt, str::FromStr};

/// A version as components and image tags write it: `1.36.2`, `v1.36.2`, `1.36.2.1` (Cybozu's images: the
/// upstream version, then the image's own build number), `1.36.2-0`, `1.36.0-rc.1`.
///
/// Ordered by its numbers, then by its build; a pre-release (a suffix that begins with a letter) comes before its
/// release, as in Semantic Versioning. It keeps the text that it was read from; equality is equality in that order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    /// 1 in `1.36.2.1`.
    pub major: u32,
    /// 36 in `1.36.2.1`.
    pub minor: u32,
    /// 2 in `1.36.2.1`.
    pub patch: u32,
    pre: Vec<Part>,
    build: Vec<Part>,
    text: Box<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Number(u64),
    Word(Box<str>),
}

/// A text that is not a version, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("version {text} is not valid: {why}")]
pub struct VersionError {
    text: String,
    why: &'static str,
}

impl Version {
    /// `(major, minor)`: what the version-skew policy counts in.
    pub fn minor_of(&self) -> (u32, u32) {
        (self.major, self.minor)
    }

    /// `major.minor.patch` without prefix, build number or suffix: what a component reports of itself.
    pub fn upstream(&self) -> (u32, u32, u32) {
        (self.major, self.minor, self.patch)
    }

    /// Whether `other` is the same upstream release, whatever the image's own build number.
    pub fn same_upstream(&self, other: &Version) -> bool {
        self.upstream() == other.upstream() && self.pre == other.pre
    }

    /// The text that this was read from.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn key(&self) -> (u32, u32, u32, bool, &[Part], &[Part]) {
        (self.major, self.minor, self.patch, self.pre.is_empty(), &self.pre, &self.build)
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let err = |why| VersionError { text: super::quoted(text), why };
        if text.len() > 128 {
            return Err(err("longer than an image tag may be (128)"));
        }
        if !text.chars().all(|c| c.is_ascii_alphanumeric() || ".-+_".contains(c)) {
            return Err(err("only letters, digits, '.', '-', '_' and '+' may stand in it"));
        }
        let body = text.strip_prefix('v').unwrap_or(text);
        let (numbers, suffix) = match body.find(['-', '+', '_']) {
            Some(i) => (&body[..i], &body[i + 1..]),
            None => (body, ""),
        };
        let mut fields = numbers.split('.');
        let mut number = || {
            let field = fields.next().ok_or(err("expected MAJOR.MINOR.PATCH"))?;
            if field.is_empty() || !field.bytes().all(|b| b.is_ascii_digit()) {
                return Err(err("expected numbers: MAJOR.MINOR.PATCH"));
            }
            field.parse::<u32>().map_err(|_| err("a number in it is too large"))
        };
        let (major, minor, patch) = (number()?, number()?, number()?);
        let part = |s: &str| match s.parse() {
            Ok(n) => Part::Number(n),
            Err(_) => Part::Word(s.into()),
        };
        let mut build: Vec<Part> = Vec::new();
        for field in fields {
            if field.is_empty() || !field.bytes().all(|b| b.is_ascii_digit()) {
                return Err(err("expected a build number after MAJOR.MINOR.PATCH"));
            }
            build.push(part(field));
        }
        let parts: Vec<Part> = suffix.split(['.', '-', '+', '_']).filter(|s| !s.is_empty()).map(part).collect();
        let mut pre = Vec::new();
        match parts.first() {
            Some(Part::Word(_)) if body[numbers.len()..].starts_with('-') => pre = parts,
            _ => build.extend(parts),
        }
        Ok(Version { major, minor, patch, pre, build, text: text.into() })
    }
}

impl TryFrom<String> for Version {
    type Error = VersionError;
    fn try_from(text: String) -> Result<Self, VersionError> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> String {
        version.text.into()
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn orders_builds_and_pre_releases() {
        let sorted = ["1.9.0", "1.36.0-rc.1", "1.36.0-rc.2", "1.36.0", "1.36.2", "1.36.2-0", "1.36.2.1", "1.36.2.10"];
        for pair in sorted.windows(2) {
            assert!(v(pair[0]) < v(pair[1]), "{pair:?}");
        }
        assert_eq!(v("v1.36.2"), v("1.36.2"));
        assert_eq!(v("v1.36.2").as_str(), "v1.36.2");
        assert!(v("1.36.2.1").same_upstream(&v("v1.36.2")));
    }

    #[test]
    fn refuses_nonsense_with_a_reason() {
        for bad in ["", "latest", "1", "1.2", "1..2", "1.2.x", "1.2.3.x", "1.2.99999999999", "1.2.3 ", "1.2.3\u{1b}"] {
            assert!(bad.parse::<Version>().is_err(), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_parses_or_is_refused_but_never_panics(text in "\\PC*") {
            let _ = text.parse::<Version>();
        }

        #[test]
        fn what_parses_keeps_its_text(text in "v?[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}(\\.[0-9]{1,2})?(-[a-z0-9.]{1,8})?") {
            let version = v(&text);
            proptest::prop_assert_eq!(version.as_str(), &text);
        }
    }
}
