//! `[[gate]]`: the operator's own gates.

use super::error::ProfileError;
use super::profile::Err;
use super::raw::RawGate;
use crate::plan::{After, GateRule, HttpUrl, OwnGate, Question, Target};
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;

/// How long a gate may not hold before the run pauses, unless it says otherwise. Milliseconds.
const TIMEOUT_MS: u64 = 600_000;
/// Likewise, from one question to the next.
const INTERVAL_MS: u64 = 10_000;
/// Likewise, how long an answer may take.
const LIMIT_MS: u64 = 30_000;

/// The gates, in the order in which they stand. `path` makes a path absolute, `resolve` does so with a program's.
///
/// # Errors
/// When a gate cannot be asked, or two have one name; the error names the line.
pub(super) fn read(
    raw: Vec<Spanned<RawGate>>,
    path: &dyn Fn(&Spanned<String>) -> Result<PathBuf, ProfileError>,
    resolve: &dyn Fn(&str) -> Result<PathBuf, String>,
    err: &Err<'_>,
) -> Result<Vec<GateRule>, ProfileError> {
    let mut rules: Vec<GateRule> = Vec::new();
    for gate in raw {
        let span = gate.span();
        let mut raw = gate.into_inner();
        let name = raw.name.clone();
        let at = |span: Option<Range<usize>>, what: &str| err(span, &format!("gate {name}: {what}"));
        if rules.iter().any(|r| r.gate.name == name) {
            return Err(at(Some(span), "it is listed twice; each gate needs a name of its own"));
        }
        let after = match raw.after.take() {
            None => After::workers(),
            Some(after) if after.get_ref().is_empty() => {
                return Err(at(Some(after.span()), "after names no wave, so that it would never be asked"));
            }
            Some(after) => after.into_inner().into_iter().collect::<BTreeSet<After>>(),
        };
        let timeout_ms = raw.timeout.map_or(TIMEOUT_MS, |t| t.ms);
        let gate = OwnGate {
            name: name.clone(),
            timeout_ms,
            interval_ms: raw.interval.map_or(INTERVAL_MS, |t| t.ms),
            // A short timeout alone is clear enough.
            limit_ms: raw.limit.map_or(LIMIT_MS.min(timeout_ms), |t| t.ms),
            question: question(raw, &span, path, resolve, &at)?,
        };
        gate.check().map_err(|why| at(Some(span), &why))?;
        rules.push(GateRule { after, gate });
    }
    Ok(rules)
}

fn question(
    mut raw: RawGate,
    span: &Range<usize>,
    path: &dyn Fn(&Spanned<String>) -> Result<PathBuf, ProfileError>,
    resolve: &dyn Fn(&str) -> Result<PathBuf, String>,
    err: &Err<'_>,
) -> Result<Question, ProfileError> {
    let (command, http, prometheus) = (raw.command.take(), raw.http.take(), raw.prometheus.take());
    // A field of another kind of gate would be passed over in silence.
    let only = |others: &[(&str, Option<Range<usize>>)], kind: &str| {
        let found = others.iter().find_map(|(field, span)| Some((field, span.clone()?)));
        found.map_or(Ok(()), |(field, span)| Err(err(Some(span), &format!("{field} does not go with {kind}"))))
    };
    let (exit, status) = (("exit", span_of(&raw.exit)), ("status", span_of(&raw.status)));
    let query = [("query", span_of(&raw.query)), ("min", span_of(&raw.min)), ("max", span_of(&raw.max))];
    let tls = [("ca", span_of(&raw.ca)), ("header_file", span_of(&raw.header_file))];
    let target = |url: Spanned<HttpUrl>, raw: &RawGate| {
        let file = |written: &Option<Spanned<String>>| written.as_ref().map(path).transpose();
        Ok(Target { url: url.into_inner(), ca: file(&raw.ca)?, header_file: file(&raw.header_file)? })
    };
    match (command, http, prometheus) {
        (Some(command), None, None) => {
            only(&[&[status][..], &query, &tls].concat(), "command")?;
            let span = command.span();
            let mut argv = command.into_inner();
            // A bare name is looked for in PATH, when it is run.
            if let Some(program) = argv.first_mut().filter(|p| p.starts_with('~') || p.contains('/')) {
                let resolved = resolve(program).map_err(|why| err(Some(span.clone()), &why))?;
                // Without the dots that it may have been written with.
                let resolved: PathBuf = resolved.components().collect();
                let text = resolved.to_str().ok_or_else(|| err(Some(span), "the program's path is not text"))?;
                *program = text.to_owned();
            }
            Ok(Question::Command { argv, exit: raw.exit.map_or(0, Spanned::into_inner) })
        }
        (None, Some(url), None) => {
            only(&[&[exit][..], &query].concat(), "http")?;
            let target = target(url, &raw)?;
            Ok(Question::Http { target, status: raw.status.map_or(200, Spanned::into_inner) })
        }
        (None, None, Some(url)) => {
            only(&[exit, status], "prometheus")?;
            let target = target(url, &raw)?;
            let Some(query) = raw.query else { return Err(err(Some(span.clone()), "prometheus needs a query")) };
            let bound = |b: Option<Spanned<_>>| b.map(Spanned::into_inner);
            Ok(Question::Prometheus { target, query: query.into_inner(), min: bound(raw.min), max: bound(raw.max) })
        }
        (None, None, None) => Err(err(Some(span.clone()), "give one of command, http and prometheus")),
        (command, http, prometheus) => {
            let second = span_of(&prometheus).or(span_of(&http)).or(span_of(&command));
            Err(err(second, "give only one of command, http and prometheus"))
        }
    }
}

fn span_of<T>(field: &Option<Spanned<T>>) -> Option<Range<usize>> {
    field.as_ref().map(Spanned::span)
}

/// Puts the absolute paths of `rules` into the tables that they were read from.
pub(super) fn make_absolute(tables: &mut [toml::Value], rules: &[GateRule]) {
    for (table, rule) in tables.iter_mut().filter_map(toml::Value::as_table_mut).zip(rules) {
        let mut put = |field: &str, path: Option<&Path>| {
            if let Some(path) = path {
                table.insert(field.into(), toml::Value::String(path.to_string_lossy().into_owned()));
            }
        };
        match &rule.gate.question {
            Question::Command { argv, .. } => {
                let argv = argv.iter().cloned().map(toml::Value::String).collect();
                table.insert("command".into(), toml::Value::Array(argv));
            }
            Question::Http { target, .. } | Question::Prometheus { target, .. } => {
                put("ca", target.ca.as_deref());
                put("header_file", target.header_file.as_deref());
            }
        }
    }
}
