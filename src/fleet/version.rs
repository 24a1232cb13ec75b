//! Versions of Kubernetes, etcd and images.

mod part;

use part::{Part, Pre, parts};
use serde::{Deserialize, Serialize};
use std::{cmp::Ordering, fmt, str::FromStr};

/// A version as components and image tags write it: `1.36.2`, `v1.36.2`, `1.36.2.1` (Cybozu's images: the
/// upstream version, then the image's own build number), `1.36.2-0`, `1.36.2-debian-12-r4`, `1.36.0-rc.1`.
///
/// Ordered by its numbers, then by its build. A pre-release comes before its release, and is what Kubernetes and etcd publish
/// as one: `-alpha.N`, `-beta.N`, `-rc.N`, also written `-rcN` or without a number. Every other suffix says how somebody built
/// that very release, whatever Semantic Versioning would make of it; builds are ordered by their words and, naturally, by their
/// numbers. It keeps the text that it was read from; equality is equality in that order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    /// 1 in `1.36.2.1`.
    pub major: u32,
    /// 36 in `1.36.2.1`.
    pub minor: u32,
    /// 2 in `1.36.2.1`.
    pub patch: u32,
    pre: Option<Pre>,
    build: Vec<Part>,
    text: Box<str>,
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

    /// The release in words, whatever the build: `1.36.2`, `1.36.0-rc.1`. As the program says it of itself, without the `v`.
    pub fn release(&self) -> String {
        let (numbers, pre) = (format!("{}.{}.{}", self.major, self.minor, self.patch), self.pre.as_ref());
        pre.map_or_else(|| numbers.clone(), |pre| format!("{numbers}-{pre}"))
    }

    /// Whether `other` is the same upstream release, whatever the build: an image's tag and what the program in it says of itself
    /// are compared so, since the program does not know how its image was built.
    pub fn same_upstream(&self, other: &Version) -> bool {
        self.upstream() == other.upstream() && self.pre == other.pre
    }

    /// The text that this was read from.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is older than `other` for certain: an older release, or an older build of the same kind. Builds of two kinds
    /// (`-rancher1`, `-debian-12-r4`) are in an order, but neither is older.
    pub fn precedes(&self, other: &Version) -> bool {
        let words = |v: &Version| -> Vec<Part> { v.build.iter().filter(|part| part.is_word()).cloned().collect() };
        self < other && (!self.same_upstream(other) || words(self) == words(other))
    }

    fn key(&self) -> (u32, u32, u32, bool, Option<&Pre>, &[Part]) {
        (self.major, self.minor, self.patch, self.pre.is_none(), self.pre.as_ref(), &self.build)
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
        let mut build: Vec<Part> = Vec::new();
        for field in fields {
            if field.is_empty() || !field.bytes().all(|b| b.is_ascii_digit()) {
                return Err(err("expected a build number after MAJOR.MINOR.PATCH"));
            }
            build.extend(parts(field));
        }
        let mut suffix = parts(suffix);
        let pre = body[numbers.len()..].starts_with('-').then(|| Pre::take(&mut suffix)).flatten();
        build.extend(suffix);
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
mod tests;
