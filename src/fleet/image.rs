//! Image references.

use super::Version;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::{fmt, str::FromStr};

/// A reference to an image: `registry/repository:tag`, `…@sha256:…`, or both.
///
/// Grammar: <https://github.com/distribution/reference> (a subset: names are lower case, tags at most 128 long).
///
/// A fleet runs few images on many nodes, and a planner asks each time and again for its version: clones share one reading.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Image(Arc<Reading>);

#[derive(Debug)]
struct Reading {
    text: Box<str>,
    name_end: usize,
    digest_start: Option<usize>,
    version: Option<Version>,
}

impl PartialEq for Image {
    fn eq(&self, other: &Image) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.text == other.0.text
    }
}

impl Eq for Image {}

impl PartialOrd for Image {
    fn partial_cmp(&self, other: &Image) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Image {
    fn cmp(&self, other: &Image) -> Ordering {
        self.0.text.cmp(&other.0.text)
    }
}

impl Hash for Image {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.text.hash(state);
    }
}

/// A text that is not an image reference, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("image {text} is not valid: {why}")]
pub struct ImageError {
    text: String,
    why: &'static str,
}

impl Image {
    /// Registry and repository, without tag and digest.
    pub fn name(&self) -> &str {
        &self.0.text[..self.0.name_end]
    }

    /// The tag, where there is one.
    pub fn tag(&self) -> Option<&str> {
        let Reading { text, name_end, digest_start, .. } = &*self.0;
        let end = digest_start.map_or(text.len(), |i| i - 1);
        (*name_end < end).then(|| &text[name_end + 1..end])
    }

    /// The digest (`sha256:…`), where there is one.
    pub fn digest(&self) -> Option<&str> {
        self.0.digest_start.map(|i| &self.0.text[i..])
    }

    /// The version that the tag states, if it states one.
    pub fn version(&self) -> Option<&Version> {
        self.0.version.as_ref()
    }

    /// What to call this image where room is short: its tag, else its digest's beginning.
    pub fn short(&self) -> &str {
        self.tag().or_else(|| self.digest().map(|d| &d[..d.len().min(19)])).unwrap_or("latest")
    }

    /// The same repository with another tag.
    ///
    /// # Errors
    /// When `tag` is not a tag.
    pub fn with_tag(&self, tag: &str) -> Result<Image, ImageError> {
        format!("{}:{tag}", self.name()).parse()
    }

    /// The whole reference.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }
}

impl FromStr for Image {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        let err = |why| ImageError { text: super::quoted(text), why };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        if let Some(digest) = digest {
            let hex = digest.strip_prefix("sha256:").ok_or(err("only sha256 digests are known"))?;
            if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
                return Err(err("a sha256 digest is 64 hexadecimal digits"));
            }
        }
        // A colon before the last slash belongs to the registry's port.
        let slash = rest.rfind('/').map_or(0, |i| i + 1);
        let name_end = rest[slash..].find(':').map_or(rest.len(), |i| slash + i);
        let name = &rest[..name_end];
        if name.is_empty() || name.len() > 255 {
            return Err(err("the name must have 1 to 255 characters"));
        }
        let mut places = name.split('/');
        let first_is_host =
            name.contains('/') && name.split('/').next().is_some_and(|f| f.contains(['.', ':']) || f == "localhost");
        if first_is_host {
            let host = places.next().unwrap_or_default();
            if !host.starts_with(|c: char| c.is_ascii_alphanumeric())
                || !host.chars().all(|c| c.is_ascii_alphanumeric() || ".-:".contains(c))
            {
                return Err(err("the registry must be HOST or HOST:PORT"));
            }
        }
        for place in places {
            let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            if !place.starts_with(edge)
                || !place.ends_with(edge)
                || !place.chars().all(|c| edge(c) || "._-".contains(c))
            {
                return Err(err("each part of the name is lower-case letters, digits, '.', '_' and '-'"));
            }
        }
        if name_end < rest.len() {
            let tag = &rest[name_end + 1..];
            let good = (1..=128).contains(&tag.len())
                && tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
                && tag.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
            if !good {
                return Err(err("the tag must be 1 to 128 letters, digits, '.', '_' and '-'"));
            }
        }
        let digest_start = digest.map(|_| rest.len() + 1);
        let version = if name_end < rest.len() { rest[name_end + 1..].parse().ok() } else { None };
        Ok(Image(Arc::new(Reading { text: text.into(), name_end, digest_start, version })))
    }
}

impl TryFrom<String> for Image {
    type Error = ImageError;
    fn try_from(text: String) -> Result<Self, ImageError> {
        text.parse()
    }
}

impl From<Image> for String {
    fn from(image: Image) -> String {
        image.as_str().to_owned()
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_port_tag_and_digest() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let image: Image = format!("127.0.0.1:5000/cybozu/etcd:3.6.11.1@{digest}").parse().unwrap();
        assert_eq!(image.name(), "127.0.0.1:5000/cybozu/etcd");
        assert_eq!(image.tag(), Some("3.6.11.1"));
        assert_eq!(image.digest(), Some(digest.as_str()));
        assert_eq!(image.version().unwrap().to_string(), "3.6.11.1");
        let bare: Image = "etcd".parse().unwrap();
        assert_eq!((bare.name(), bare.tag(), bare.digest()), ("etcd", None, None));
        assert_eq!(bare.with_tag("1.2.3").unwrap().as_str(), "etcd:1.2.3");
    }

    #[test]
    fn refuses_what_is_no_reference() {
        for bad in ["", "a b", "a:", ":x", "A/b", "a@sha256:12", "a;rm -rf /", "a/../b", "a/$(x):1", "-a", "a:\u{1b}"] {
            assert!(bad.parse::<Image>().is_err(), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_parses_to_itself_or_is_refused(text in "\\PC{0,60}") {
            if let Ok(image) = text.parse::<Image>() {
                proptest::prop_assert_eq!(image.as_str(), &text);
            }
        }
    }
}
