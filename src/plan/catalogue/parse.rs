//! The catalogue as it stands in its files, and what makes an entry valid.

use super::detect::numbers;
use super::entry::{Detect, Entry, Kind, Numbers, Only};
use crate::fleet::{Component, clean, clean_short, quoted};
use crate::plan::flags::{FlagName, GateName};
use crate::plan::{ArgEdit, Severity};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use toml::Spanned;

/// Parsers repeat a wrong name in full, whatever its length. Characters.
const LONGEST: usize = 600;

/// Why a catalogue is not valid: which entry, which field, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueError {
    /// Where in the text, counted in lines from 1.
    pub line: Option<usize>,
    entry: Option<String>,
    what: String,
}

impl fmt::Display for CatalogueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.entry {
            Some(entry) => write!(f, "entry {entry}: {}", self.what),
            None => write!(f, "{}", self.what),
        }
    }
}

impl std::error::Error for CatalogueError {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    entry: Vec<Spanned<toml::Table>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    id: String,
    component: Texts,
    since: String,
    until: Option<String>,
    kind: String,
    severity: String,
    text: String,
    mend: String,
    source: String,
    #[serde(default)]
    hit: Vec<String>,
    #[serde(default)]
    miss: Vec<String>,
    detect: RawDetect,
    #[serde(default)]
    change: RawChange,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDetect {
    flag: Option<Texts>,
    #[serde(default)]
    values: Vec<String>,
    item: Option<Texts>,
    absent_flag: Option<String>,
    #[serde(default)]
    same_flags: Vec<String>,
    gate: Option<String>,
    gate_value: Option<bool>,
    config_api: Option<String>,
    config_field: Option<Texts>,
    runtime_below: Option<String>,
    kernel_below: Option<String>,
    cgroup: Option<String>,
    always: Option<bool>,
    from_below: Option<String>,
    on_cgroup: Option<String>,
    on_kernel_below: Option<String>,
    unless_flag: Option<Texts>,
    unless_config: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawChange {
    drop: bool,
    drop_gate: Option<String>,
    drop_item: Option<[String; 2]>,
    rename: Option<[String; 2]>,
    rename_prefix: Option<[String; 2]>,
    set: Option<Texts>,
    to_gate: Option<[String; 2]>,
}

/// One, or a list.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
enum Texts {
    One(String),
    Many(Vec<String>),
}

impl Texts {
    fn list(self) -> Vec<String> {
        match self {
            Texts::One(one) => vec![one],
            Texts::Many(many) => many,
        }
    }
}

/// Reads a catalogue file.
///
/// # Errors
/// When it is not valid: names the entry and the field.
pub fn parse(text: &str) -> Result<Vec<Entry>, CatalogueError> {
    let line = |at: usize| text.get(..at).map(|head| head.matches('\n').count() + 1);
    let whole = |e: toml::de::Error| CatalogueError {
        line: e.span().and_then(|s| line(s.start)),
        entry: None,
        what: clean_short(e.message(), LONGEST),
    };
    let file: File = toml::from_str(text).map_err(whole)?;
    let mut ids = BTreeSet::new();
    let mut entries = Vec::new();
    for table in file.entry {
        let at = line(table.span().start);
        let table = table.into_inner();
        let id = table.get("id").and_then(toml::Value::as_str).map_or_else(|| "without an id".into(), clean);
        let err = |what: String| CatalogueError { line: at, entry: Some(id.clone()), what };
        // The message names the field below its first line.
        let one_line = |e: toml::de::Error| err(clean_short(e.to_string().trim(), LONGEST));
        let entry =
            entry(table.try_into().map_err(one_line)?).map_err(|(field, why)| err(format!("{field}: {why}")))?;
        if !ids.insert(entry.id.clone()) {
            return Err(err("id: another entry has it too".into()));
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// A field, and what is wrong with it.
type Wrong = (&'static str, String);

fn read<T: FromStr>(field: &'static str, text: &str) -> Result<T, Wrong>
where
    T::Err: fmt::Display,
{
    text.parse().map_err(|e: T::Err| (field, e.to_string()))
}

fn reads<T: FromStr>(field: &'static str, texts: Option<Texts>) -> Result<Vec<T>, Wrong>
where
    T::Err: fmt::Display,
{
    texts.map(Texts::list).unwrap_or_default().iter().map(|text| read(field, text)).collect()
}

fn entry(raw: Raw) -> Result<Entry, Wrong> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if raw.id.is_empty() || raw.id.len() > 100 || !raw.id.chars().all(good) || raw.id == "all" {
        return Err(("id", "use lower-case letters, digits and '-', at most 100".into()));
    }
    for (field, text) in [("text", &raw.text), ("mend", &raw.mend), ("source", &raw.source)] {
        if text.trim().is_empty() {
            return Err((field, "must not be empty".into()));
        }
    }
    if !raw.source.starts_with("https://") {
        return Err(("source", "must be an https address, where upstream says so".into()));
    }
    let (detect, only) = detect(raw.detect)?;
    Ok(Entry {
        components: components(raw.component.list())?,
        since: read("since", &raw.since)?,
        until: raw.until.map(|text| read("until", &text)).transpose()?,
        kind: one_of("kind", &raw.kind, &Kind::NAMES)?,
        severity: one_of("severity", &raw.severity, &SEVERITIES)?,
        text: clean(&raw.text),
        mend: clean(&raw.mend),
        source: clean(&raw.source),
        change: change(raw.change, &detect)?,
        detect,
        only,
        hit: raw.hit,
        miss: raw.miss,
        id: raw.id,
    })
}

const SEVERITIES: [(&str, Severity); 3] =
    [("error", Severity::Error), ("warning", Severity::Warning), ("info", Severity::Info)];

fn one_of<T: Copy>(field: &'static str, text: &str, known: &[(&str, T)]) -> Result<T, Wrong> {
    known.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        (field, format!("{} is not known; use one of {}", quoted(text), names.join(", ")))
    })
}

/// `kubernetes` is a profile's word for the five that share an image.
fn components(names: Vec<String>) -> Result<BTreeSet<Component>, Wrong> {
    let mut components = BTreeSet::new();
    for name in names {
        match name.as_str() {
            "kubernetes" => components.extend(Component::ALL.into_iter().filter(|c| c.as_str().starts_with("kube"))),
            name => drop(components.insert(read("component", name)?)),
        }
    }
    if components.is_empty() { Err(("component", "name at least one".into())) } else { Ok(components) }
}

fn detect(raw: RawDetect) -> Result<(Detect, Only), Wrong> {
    let cgroup = |field: &'static str, text: &str| match text {
        "v1" => Ok(1),
        "v2" => Ok(2),
        _ => Err((field, "must be v1 or v2".to_owned())),
    };
    let below = |field: &'static str, text: &str| -> Result<Numbers, Wrong> {
        numbers(text).ok_or_else(|| (field, format!("{} is no version", quoted(text))))
    };
    let path = |text: &str| -> Vec<String> { text.split('.').map(str::to_owned).collect() };
    let pair = |text: &str| text.split_once('=').map(|(a, b)| (a.to_owned(), b.to_owned()));
    let (values, items) = (raw.values, raw.item.map(Texts::list).unwrap_or_default());
    let has_values = !values.is_empty();
    let has_items = !items.is_empty();

    let mut ways: Vec<Detect> = Vec::new();
    if raw.flag.is_some() {
        ways.push(Detect::Flag { flags: reads("detect.flag", raw.flag)?, values: values.clone(), items });
    }
    if let Some(flag) = &raw.absent_flag {
        ways.push(Detect::AbsentFlag(read("detect.absent_flag", flag)?));
    }
    if !raw.same_flags.is_empty() {
        if raw.same_flags.len() < 2 {
            return Err(("detect.same_flags", "name two or more".into()));
        }
        ways.push(Detect::SameFlags(reads("detect.same_flags", Some(Texts::Many(raw.same_flags)))?));
    }
    if let Some(gate) = &raw.gate {
        ways.push(Detect::Gate { gate: read("detect.gate", gate)?, value: raw.gate_value });
    }
    if let Some(api) = raw.config_api {
        ways.push(Detect::ConfigApi(api));
    }
    if let Some(fields) = raw.config_field {
        let paths = fields.list().iter().map(|p| path(p)).collect();
        ways.push(Detect::ConfigField { paths, values });
    }
    if let Some(version) = &raw.runtime_below {
        ways.push(Detect::RuntimeBelow(below("detect.runtime_below", version)?));
    }
    if let Some(version) = &raw.kernel_below {
        ways.push(Detect::KernelBelow(below("detect.kernel_below", version)?));
    }
    if let Some(version) = &raw.cgroup {
        ways.push(Detect::Cgroup(cgroup("detect.cgroup", version)?));
    }
    if raw.always == Some(true) {
        ways.push(Detect::Always);
    }
    let mut ways = ways.into_iter();
    let (Some(way), None) = (ways.next(), ways.next()) else {
        let all = "flag, absent_flag, same_flags, gate, config_api, config_field, runtime_below, kernel_below, cgroup, always = true";
        return Err(("detect", format!("say in exactly one way how it is seen: {all}")));
    };
    if matches!(&way, Detect::Flag { flags, .. } if flags.is_empty())
        || matches!(&way, Detect::ConfigField { paths, .. } if paths.is_empty())
    {
        return Err(("detect", "the list is empty".into()));
    }
    let is_flag = matches!(way, Detect::Flag { .. });
    if has_values && !is_flag && !matches!(way, Detect::ConfigField { .. }) {
        return Err(("detect.values", "goes with flag or config_field only".into()));
    }
    if has_items && !is_flag {
        return Err(("detect.item", "goes with flag only".into()));
    }
    if raw.gate_value.is_some() && !matches!(way, Detect::Gate { .. }) {
        return Err(("detect.gate_value", "goes with gate only".into()));
    }
    let unless = raw.unless_flag.map(Texts::list).unwrap_or_default();
    let unless = unless.iter().map(|text| {
        let (flag, value) = pair(text).map_or((text.clone(), None), |(flag, value)| (flag, Some(value)));
        Ok((read("detect.unless_flag", &flag)?, value))
    });
    let config = raw.unless_config.map(|text| {
        let (field, value) = pair(&text).ok_or(("detect.unless_config", "write field=value".to_owned()))?;
        Ok((path(&field), value))
    });
    let only = Only {
        from_below: raw.from_below.map(|text| read("detect.from_below", &text)).transpose()?,
        cgroup: raw.on_cgroup.map(|text| cgroup("detect.on_cgroup", &text)).transpose()?,
        kernel_below: raw.on_kernel_below.map(|text| below("detect.on_kernel_below", &text)).transpose()?,
        unless_flag: unless.collect::<Result<_, Wrong>>()?,
        unless_config: config.transpose()?,
    };
    Ok((way, only))
}

/// The changes of arguments, in the order in which they are made.
fn change(raw: RawChange, detect: &Detect) -> Result<Vec<ArgEdit>, Wrong> {
    let found: &[FlagName] = if let Detect::Flag { flags, .. } = detect { flags } else { &[] };
    let mut edits = Vec::new();
    if raw.drop {
        if found.is_empty() {
            return Err(("change.drop", "goes with detect.flag, whose flags it drops".into()));
        }
        edits.extend(found.iter().map(|flag| ArgEdit::Drop { flag: flag.clone() }));
    }
    if let Some(gate) = raw.drop_gate {
        edits.push(ArgEdit::DropGate { gate: read("change.drop_gate", &gate)? });
    }
    if let Some([flag, item]) = raw.drop_item {
        edits.push(ArgEdit::DropItem { flag: read("change.drop_item", &flag)?, item });
    }
    if let Some([from, to]) = raw.rename {
        edits.push(ArgEdit::Rename { from: read("change.rename", &from)?, to: read("change.rename", &to)? });
    }
    if let Some([old, new]) = raw.rename_prefix {
        for flag in found {
            let rest = flag.to_string();
            let rest = rest.strip_prefix(&old).ok_or_else(|| {
                (
                    "change.rename_prefix",
                    format!("{flag}, which detect.flag names, does not begin with {}", quoted(&old)),
                )
            })?;
            let to = read("change.rename_prefix", &format!("{new}{rest}"))?;
            edits.push(ArgEdit::Rename { from: flag.clone(), to });
        }
    }
    for text in raw.set.map(Texts::list).unwrap_or_default() {
        let (flag, value) = text.split_once('=').ok_or(("change.set", "write --flag=value".to_owned()))?;
        edits.push(ArgEdit::Set { flag: read("change.set", flag)?, value: clean(value) });
    }
    if let Some([flag, gate]) = raw.to_gate {
        let gate: GateName = read("change.to_gate", &gate)?;
        edits.push(ArgEdit::ToGate { flag: read("change.to_gate", &flag)?, gate });
    }
    for edit in &edits {
        if let ArgEdit::Rename { from, to } = edit
            && from == to
        {
            return Err(("change.rename", "the two names are the same".into()));
        }
    }
    Ok(edits)
}
