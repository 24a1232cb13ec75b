//! Themes and keymaps as texts: those built in, and the operator's own beside or over them; each may inherit another.

use crate::fleet::clean_short;
use std::collections::BTreeMap;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// Characters of what is wrong with a file: a name in it may be a page long.
const LONGEST_WHY: usize = 300;

/// Characters of a name that is not known.
const LONGEST_NAME: usize = 60;

/// A text, and where it is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// A path, or that it is built in; for errors.
    pub place: String,
    /// TOML.
    pub text: String,
}

impl Source {
    /// An error with its place: the file and its line.
    pub fn at(&self, span: &Range<usize>, why: &str) -> String {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        format!("{}, line {line}: {}", self.place, clean_short(why, LONGEST_WHY))
    }
}

/// Every text of a kind, by name.
#[derive(Debug, Clone)]
pub struct Sources {
    what: &'static str,
    built_in: &'static [(&'static str, &'static str)],
    own: BTreeMap<String, Source>,
}

/// What a file's value is written as.
pub type Value<'a> = Spanned<DeValue<'a>>;

impl Sources {
    /// What is built in, with the operator's own.
    pub fn new(
        what: &'static str,
        built_in: &'static [(&'static str, &'static str)],
        own: BTreeMap<String, Source>,
    ) -> Sources {
        Sources { what, built_in, own }
    }

    /// Every name that there is: those built in first, in their order.
    pub fn names(&self) -> Vec<String> {
        let built_in = self.built_in.iter().map(|(name, _)| (*name).to_owned());
        let own = self.own.keys().filter(|name| !self.built_in.iter().any(|(n, _)| n == name)).cloned();
        built_in.chain(own).collect()
    }

    /// The text of a name with all that it inherits, the eldest first. A file of the operator's may inherit what is built in
    /// under its own name.
    ///
    /// # Errors
    /// An unknown name, a circle, or a text that is no TOML: what, where, and what there is.
    pub fn chain(&self, name: &str) -> Result<Vec<Source>, String> {
        let mut chain: Vec<Source> = Vec::new();
        let mut next = Some((name.to_owned(), None));
        while let Some((name, heir)) = next {
            let source = self.find(&name, heir.as_ref()).ok_or_else(|| {
                let place = heir.as_ref().map_or(String::new(), |heir: &Source| format!("{}: ", heir.place));
                let name = clean_short(&name, LONGEST_NAME);
                format!("{place}there is no {} {name:?}; there are: {}", self.what, self.names().join(", "))
            })?;
            if chain.contains(&source) {
                return Err(format!("{}: {name} inherits itself in a circle", source.place));
            }
            let table = parse(&source)?;
            let parent = match table.get("inherits") {
                None => None,
                Some(value) => Some(word(&source, value, "inherits")?.to_owned()),
            };
            next = parent.map(|parent| (parent, Some(source.clone())));
            chain.push(source);
        }
        chain.reverse();
        Ok(chain)
    }

    fn find(&self, name: &str, heir: Option<&Source>) -> Option<Source> {
        let own = self.own.get(name).filter(|own| heir != Some(*own)).cloned();
        own.or_else(|| {
            let (_, text) = self.built_in.iter().find(|(n, _)| *n == name)?;
            Some(Source { place: format!("{} {name} (built in)", self.what), text: (*text).to_owned() })
        })
    }
}

/// Reads a text.
///
/// # Errors
/// Where it is no TOML.
pub fn parse(source: &Source) -> Result<DeTable<'_>, String> {
    match DeTable::parse(&source.text) {
        Ok(table) => Ok(table.into_inner()),
        Err(error) => Err(source.at(&error.span().unwrap_or(0..0), error.message())),
    }
}

/// The entries of a table in the order of the file.
pub fn in_order<'a, 'i>(table: &'a DeTable<'i>) -> Vec<(&'a Spanned<DeString<'i>>, &'a Value<'i>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// A value that must be a text.
///
/// # Errors
/// When it is none.
pub fn word<'a>(source: &Source, value: &'a Value<'_>, of: &str) -> Result<&'a str, String> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text),
        _ => Err(source.at(&value.span(), &format!("{of} must be a text in quotes"))),
    }
}

/// A value that must be a table.
///
/// # Errors
/// When it is none.
pub fn table<'a, 'i>(source: &Source, value: &'a Value<'i>, of: &str) -> Result<&'a DeTable<'i>, String> {
    match value.get_ref() {
        DeValue::Table(table) => Ok(table),
        _ => Err(source.at(&value.span(), &format!("{of} must be a table: [{of}]"))),
    }
}

/// The known word that is nearest to what was written, as a hint.
pub fn did_you_mean<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let near = |word: &&str| (strsim::jaro_winkler(written, word) * 1000.0) as u32;
    match known.into_iter().max_by_key(near) {
        Some(word) if near(&word) > 700 => format!("; did you mean {word}?"),
        _ => String::new(),
    }
}
