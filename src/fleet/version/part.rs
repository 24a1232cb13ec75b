//! What stands behind the numbers of a version: how its parts are read and ordered.

use std::cmp::Ordering;
use std::fmt;

/// A run of digits, or a run of other characters, of a version's suffix.
///
/// In natural order: numbers by their value however long they are, so that `rancher10` comes after `rancher9` and `r10` after
/// `r9`; words as text; numbers before words. What separates the parts means nothing: an image's tag can have no `+` and writes
/// `-` or `_` instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// Its digits, without zeros in front.
    Number(Box<str>),
    /// Its text.
    Word(Box<str>),
}

impl Part {
    /// Whether it is no number.
    pub(super) fn is_word(&self) -> bool {
        matches!(self, Part::Word(_))
    }

    fn key(&self) -> (bool, usize, &str) {
        match self {
            // Of two numbers without zeros in front the longer one is greater.
            Part::Number(digits) => (false, digits.len(), digits),
            Part::Word(text) => (true, 0, text),
        }
    }
}

impl PartialOrd for Part {
    fn partial_cmp(&self, other: &Part) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Part {
    fn cmp(&self, other: &Part) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// The parts of a suffix: split at separators, and between letters and digits.
pub(super) fn parts(suffix: &str) -> Vec<Part> {
    suffix.split(['.', '-', '+', '_']).flat_map(runs).collect()
}

fn runs(field: &str) -> impl Iterator<Item = Part> {
    field.as_bytes().chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit()).map(|run| {
        // A version is ASCII.
        let text = String::from_utf8_lossy(run);
        if run.iter().all(u8::is_ascii_digit) {
            let digits = text.trim_start_matches('0');
            Part::Number(if digits.is_empty() { "0" } else { digits }.into())
        } else {
            Part::Word(text.into())
        }
    })
}

/// What makes a version a pre-release of its numbers, as Kubernetes and etcd publish them. In order: all alphas, all betas, all
/// release candidates, each by its number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pre {
    stage: Stage,
    number: Option<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Alpha,
    Beta,
    Candidate,
}

/// As Kubernetes and etcd write it.
impl fmt::Display for Pre {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.stage {
            Stage::Alpha => "alpha",
            Stage::Beta => "beta",
            Stage::Candidate => "rc",
        })?;
        match &self.number {
            Some(Part::Number(text) | Part::Word(text)) => write!(f, ".{text}"),
            None => Ok(()),
        }
    }
}

impl Pre {
    /// Takes one from the front of a suffix, if it begins with one. What follows tells builds of that pre-release apart.
    pub(super) fn take(suffix: &mut Vec<Part>) -> Option<Pre> {
        let stage = match suffix.first()? {
            Part::Word(word) if word.eq_ignore_ascii_case("alpha") => Stage::Alpha,
            Part::Word(word) if word.eq_ignore_ascii_case("beta") => Stage::Beta,
            Part::Word(word) if word.eq_ignore_ascii_case("rc") => Stage::Candidate,
            _ => return None,
        };
        let number = suffix.get(1).filter(|part| !part.is_word()).cloned();
        suffix.drain(..1 + usize::from(number.is_some()));
        Some(Pre { stage, number })
    }
}
