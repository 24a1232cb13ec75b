//! Arguments of a container, made fit to leave their node. Plans, journals and recordings are passed on, and no list of words tells
//! which flag holds a secret. So values are masked unless it is known that they may be shown:
//!
//! - a value under a flag of Kubernetes' programs, of etcd or of rivers is shown ([`harmless`]), where it is a file's path if the flag
//!   takes one; so is a value under a flag that the operator named in the profile (`harmless_flags`);
//! - key material, user and query of a URL, and what is long and looks random are masked even there ([`shape`]);
//! - a word that belongs to no flag is shown if it is a known program or subcommand, or a plain path;
//! - all else is masked: `--api-key=(masked:8c4f0f9e6b1d2a37)`.
//!
//! A mask holds the beginning of an HMAC of the value. Its key, the [`Salt`], is drawn anew for each look at a cluster and kept in the
//! plan: whoever has the plan can tell whether a value is still the same, and nobody can compare values of two plans. It is no
//! protection for a value that can be guessed: whoever has the plan can try.

mod harmless;
mod shape;

use super::clean;
use harmless::{Takes, is_word, takes};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use shape::{is_key, is_random};
use std::collections::BTreeSet;
use std::fmt;

/// How a mask begins.
const MASK: &str = "(masked:";
/// Bytes of the digest that a mask shows.
const SHOWN: usize = 8;
/// Longer names of flags are none. Characters.
const NAME: usize = 64;
/// Shorter values are left in what is said about a container. Characters.
const SHORT: usize = 4;
/// Longer words are neither programs nor paths. Characters.
const WORD: usize = 255;

/// The key of a plan's masks.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Salt([u8; 32]);

impl Salt {
    /// Of bytes that were drawn at random.
    pub fn new(bytes: [u8; 32]) -> Salt {
        Salt(bytes)
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt")
    }
}

impl From<Salt> for String {
    fn from(salt: Salt) -> String {
        hex(&salt.0)
    }
}

impl TryFrom<String> for Salt {
    type Error = String;

    fn try_from(text: String) -> Result<Salt, String> {
        let digit = |at: usize| text.get(at..at + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
        let mut bytes = [0; 32];
        let whole = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = digit(i * 2).filter(|_| whole).ok_or("a salt is 64 hexadecimal digits")?;
        }
        Ok(Salt(bytes))
    }
}

/// Masks arguments.
#[derive(Debug, Clone)]
pub struct Masker {
    salt: Salt,
    /// Flags of the operator's own whose values may be shown, without their dashes.
    own: BTreeSet<String>,
}

/// What the next word may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// A word of its own.
    Word,
    /// The value of a flag before it, which takes this; `None` where that flag is not known.
    Value(Option<Takes>),
}

/// A word that begins as a flag does.
struct Flag<'a> {
    /// `-` or `--`.
    dashes: &'a str,
    name: &'a str,
    value: Option<&'a str>,
}

impl Masker {
    /// Masks with this salt; `harmless` are the operator's own flags whose values may be shown, with or without their dashes.
    pub fn new(salt: Salt, harmless: impl IntoIterator<Item = String>) -> Masker {
        let own = harmless.into_iter().map(|flag| flag.trim_start_matches('-').replace('_', "-")).collect();
        Masker { salt, own }
    }

    /// The salt of its masks.
    pub fn salt(&self) -> &Salt {
        &self.salt
    }

    /// A command line, the program first, with what may be secret masked. Each word keeps its place.
    pub fn args<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Vec<String> {
        let mut next = Next::Word;
        let mut shell = false;
        let mut masked = Vec::new();
        for (i, arg) in args.into_iter().enumerate() {
            if i == 0 {
                let name = arg.rsplit('/').next().unwrap_or(arg);
                shell = ["sh", "bash", "dash", "ash", "zsh", "busybox"].contains(&name);
            }
            let before = std::mem::replace(&mut next, Next::Word);
            masked.push(clean(&match (flag(arg), before) {
                (Some(flag), _) if i > 0 => {
                    let (text, then) = self.flag(arg, &flag, before);
                    let script = shell && flag.dashes == "-" && flag.name.ends_with('c') && flag.name.len() <= 4;
                    next = if script { Next::Word } else { then };
                    text
                }
                (_, Next::Value(of)) => self.value(of, arg),
                (_, Next::Word) => self.word(arg, i == 0),
            }));
        }
        masked
    }

    /// What was said about a container, without the arguments of its that are masked, and without `others` (values of its environment
    /// and the like).
    pub fn redact<'a>(
        &self,
        text: &str,
        args: impl IntoIterator<Item = &'a str>,
        others: impl IntoIterator<Item = &'a str>,
    ) -> String {
        let args: Vec<&str> = args.into_iter().collect();
        let shown = self.args(args.iter().copied());
        let values = args.iter().zip(&shown).filter(|(arg, shown)| **arg != shown.as_str()).flat_map(|(arg, _)| {
            let value = arg.split_once('=').map(|(_, value)| value);
            std::iter::once(*arg).chain(value)
        });
        // What is very short says nothing, and stands in every text.
        let mut secret: Vec<&str> = values.chain(others).filter(|value| value.len() >= SHORT).collect();
        secret.sort_unstable_by_key(|value| std::cmp::Reverse(value.len()));
        secret.iter().fold(text.to_owned(), |text, value| text.replace(value, "(masked)"))
    }

    /// A flag, and what its next word may be.
    fn flag(&self, arg: &str, flag: &Flag<'_>, before: Next) -> (String, Next) {
        let Flag { dashes, name, value } = *flag;
        let known = takes(name, &self.own);
        let named = known.is_some() || self.may_be_a_name(flag);
        // `--password -Secret`: what stands there may be the value.
        let doubtful = known.is_none() && before == Next::Value(None) && dashes == "-" && name.len() > 1;
        match value {
            _ if !named || doubtful => (self.mask(arg), Next::Word),
            Some(value) => (format!("{dashes}{name}={}", self.value(known, value)), Next::Word),
            None if known == Some(Takes::Truth) => (arg.to_owned(), Next::Word),
            None => (arg.to_owned(), Next::Value(known)),
        }
    }

    /// Whether a flag that is not known has a name that can be one. After a single dash a value may follow the letter at once
    /// (`-pSecret`): then it is none.
    fn may_be_a_name(&self, flag: &Flag<'_>) -> bool {
        let Flag { dashes, name, value } = *flag;
        let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.len() > NAME || !name.chars().all(good) || is_random(name) {
            return false;
        }
        let small = name.chars().all(|c| !c.is_ascii_uppercase());
        match (dashes, value) {
            ("--", _) => true,
            (_, Some(value)) => !value.is_empty() && (small || name.starts_with('D')),
            (_, None) => name.len() == 1 || (name.len() <= 4 && name.ends_with('c')),
        }
    }

    /// A flag's value.
    fn value(&self, of: Option<Takes>, value: &str) -> String {
        let truth = matches!(value, "" | "true" | "false");
        match of {
            Some(Takes::Plain) => self.scrub(value),
            Some(Takes::File) if is_path(value) => self.scrub(value),
            _ if truth => value.to_owned(),
            _ => self.mask(value),
        }
    }

    /// A word that belongs to no flag.
    fn word(&self, word: &str, program: bool) -> String {
        if word.is_empty() || is_word(word) {
            return word.to_owned();
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "._/+-".contains(c);
        let place = program || word.starts_with('/') || word.starts_with("./");
        if place && word.len() <= WORD && word.chars().all(plain) && !is_random(word) && !is_key(word) {
            return word.to_owned();
        }
        // `NAME=value`, as for env(1).
        let variable = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        if let Some((name, value)) = word.split_once('=')
            && (1..=NAME).contains(&name.len())
            && name.chars().all(variable)
            && !is_random(name)
        {
            return format!("{name}={}", self.value(None, value));
        }
        self.mask(word)
    }

    /// A value that may be shown, without what is secret in it all the same.
    fn scrub(&self, value: &str) -> String {
        if is_key(value) {
            return self.mask(value);
        }
        let mut out = String::with_capacity(value.len());
        let mut rest = value;
        let mut url = false;
        loop {
            let end = rest.find("://");
            let part = &rest[..end.unwrap_or(rest.len())];
            match user(part) {
                // `USER:PASSWORD@HOST`: the host is none of the secret.
                Some(at) if url => {
                    out.push_str(&self.mask(&part[..at]));
                    out.push_str(&self.items(&part[at..]));
                }
                Some(_) => out.push_str(&self.mask(part)),
                None => out.push_str(&self.items(part)),
            }
            let Some(end) = end else { return out };
            out.push_str("://");
            rest = &rest[end + 3..];
            url = true;
        }
    }

    /// The items of a list.
    fn items(&self, list: &str) -> String {
        list.split_inclusive([',', ';', ' ', '\n', '\t']).map(|item| self.item(item)).collect()
    }

    /// An item, with the separator behind it.
    fn item(&self, item: &str) -> String {
        let bare = item.trim_end_matches([',', ';', ' ', '\n', '\t']);
        let end = &item[bare.len()..];
        // What a URL asks for may be a signature or a token.
        let query = bare.find(['?', '#']).filter(|at| bare[*at..].contains('=') || bare[*at..].starts_with('#'));
        let (head, query) = bare.split_at(query.unwrap_or(bare.len()));
        let head = match head.split_once('=') {
            _ if !is_random(head) => head.to_owned(),
            Some((key, value)) if !is_random(key) && !value.is_empty() => format!("{key}={}", self.mask(value)),
            _ => self.mask(head),
        };
        match query.get(1..) {
            Some(asked) if !asked.is_empty() => format!("{head}{}{}{end}", &query[..1], self.mask(asked)),
            _ => format!("{head}{query}{end}"),
        }
    }

    /// What stands in a value's place.
    fn mask(&self, value: &str) -> String {
        // A key of any length will do.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.salt.0) else { return format!("{MASK})") };
        mac.update(value.as_bytes());
        format!("{MASK}{})", hex(&mac.finalize().into_bytes()[..SHOWN]))
    }
}

/// What a container runtime says of a program that it cannot start, without the program's arguments: where a whole command line was
/// given as one word, it repeats that.
pub fn without_command(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("exec: \"") {
        let (head, tail) = rest.split_at(at + 7);
        let (command, tail) = tail.split_at(tail.find('"').unwrap_or(tail.len()));
        out.push_str(head);
        out.push_str(if command.contains([' ', '=']) { "(masked)" } else { command });
        rest = tail;
    }
    out + rest
}

/// Whether something in this text was masked: it can be shown and compared, and is no argument to run anything with.
pub fn is_masked(text: &str) -> bool {
    text.match_indices(MASK).any(|(at, _)| {
        let rest = &text[at + MASK.len()..];
        rest.find(')').is_some_and(|end| end == SHOWN * 2 && rest[..end].bytes().all(|b| b.is_ascii_hexdigit()))
    })
}

fn flag(arg: &str) -> Option<Flag<'_>> {
    let dashes = if arg.starts_with("--") { &arg[..2] } else { arg.get(..1).filter(|dash| *dash == "-")? };
    let rest = &arg[dashes.len()..];
    let (name, value) = rest.split_once('=').map_or((rest, None), |(name, value)| (name, Some(value)));
    name.starts_with(|c: char| c.is_ascii_alphabetic()).then_some(Flag { dashes, name, value })
}

/// Where the user of a URL ends, in what stands behind its `://`. The last `@`: a password may hold one. The hash of an image
/// has one before it, too.
fn user(text: &str) -> Option<usize> {
    text.rmatch_indices('@').map(|(at, _)| at).find(|at| {
        let rest = &text[at + 1..];
        !rest.starts_with("sha256:") && !rest.starts_with("sha512:")
    })
}

/// Whether these are paths: whole ones, or names with an ending that files have. Behind a path may stand the names that a
/// certificate is for (`--tls-sni-cert-key=CERT,KEY:NAME`).
fn is_path(value: &str) -> bool {
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "._/+-@~*".contains(c));
    let ends = [".pem", ".crt", ".cert", ".key", ".conf", ".yaml", ".yml", ".json", ".kubeconfig", ".csv", ".toml"];
    let path = |text: &str| {
        let whole = ["/", "./", "../", "~/"].iter().any(|begin| text.starts_with(begin));
        plain(text) && (whole || text.is_empty() || text == "-" || ends.iter().any(|end| text.ends_with(end)))
    };
    value.split(',').all(|item| {
        let mut parts = item.split(':');
        parts.next().is_some_and(path) && parts.all(|name| plain(name) && name.contains(['.', '*']))
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod shapes;
#[cfg(test)]
mod tests;
