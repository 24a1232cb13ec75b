//! Which feature gates and flags a release of Kubernetes knows: the generated tables, read once.

use super::table::{Row, Table};
use crate::fleet::Component;
use std::sync::LazyLock;

static GATES: LazyLock<Result<Table, String>> =
    LazyLock::new(|| Table::read(include_str!("../../../catalogue/generated/gates.tsv")));
static FLAGS: LazyLock<Result<Table, String>> =
    LazyLock::new(|| Table::read(include_str!("../../../catalogue/generated/flags.tsv")));

/// The feature gates. All five components share one registry of them.
///
/// # Errors
/// Never in a program that was tested: when the built-in file is not valid.
pub(super) fn gates() -> Result<&'static Table, &'static str> {
    GATES.as_ref().map_err(String::as_str)
}

/// The flags of each component.
///
/// # Errors
/// As [`gates`].
pub(super) fn flags() -> Result<&'static Table, &'static str> {
    FLAGS.as_ref().map_err(String::as_str)
}

/// Whether it is one of the five that are Kubernetes' own.
pub(super) fn is_kubernetes(component: Component) -> bool {
    component.as_str().starts_with("kube")
}

/// Gates of every release that stand for many: `AllAlpha=true`.
const ALWAYS: [&str; 2] = ["AllAlpha", "AllBeta"];

/// A gate in a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spec {
    /// `alpha`, `beta`, `ga` or `deprecated`.
    pub(super) stage: &'static str,
    /// Its default.
    pub(super) on: bool,
    /// Whether it takes its default only.
    pub(super) locked: bool,
}

impl Spec {
    /// Reads a cell: `beta-`, `ga+!`.
    pub(super) fn read(cell: &'static str) -> Option<Spec> {
        let unlocked = cell.trim_end_matches('!');
        let stage = unlocked.trim_end_matches(['+', '-']);
        let known = ["alpha", "beta", "ga", "deprecated"].contains(&stage);
        known.then_some(Spec { stage, on: unlocked.ends_with('+'), locked: unlocked.len() < cell.len() })
    }
}

/// What a release says to a gate that is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It takes it, or the table does not cover the release.
    Fits,
    /// It takes this value only, since this release as far as the table goes.
    Locked { to: bool, since: u32 },
    /// It does not know it any more; the last release that did, and what it was there.
    Gone { last: u32, was: Spec },
    /// It does not know it yet; the first release that does.
    NotYet { first: u32 },
    /// No release of the table knows it.
    Unknown,
}

/// What `1.minor` says to `gate=value`; no value is one that cannot be read.
pub(super) fn gate(table: &Table, gate: &str, value: Option<bool>, minor: u32) -> Verdict {
    if ALWAYS.contains(&gate) || !table.covers(minor) {
        return Verdict::Fits;
    }
    let Some(row) = table.row("", gate) else { return Verdict::Unknown };
    if let Some(spec) = row.at(minor).and_then(Spec::read) {
        let other = spec.locked && value.is_some_and(|value| value != spec.on);
        return if other {
            Verdict::Locked { to: spec.on, since: locked_since(row, minor, spec) }
        } else {
            Verdict::Fits
        };
    }
    if let Some((last, was)) = row.before(minor).and_then(|(last, cell)| Some((last, Spec::read(cell)?))) {
        return Verdict::Gone { last, was };
    }
    row.known().next().map_or(Verdict::Unknown, |(first, _)| Verdict::NotYet { first })
}

/// The first of the releases up to `1.minor` that all have it locked alike.
fn locked_since(row: Row<'_>, minor: u32, spec: Spec) -> u32 {
    let alike = |(_, cell): &(u32, &'static str)| Spec::read(cell).is_some_and(|s| s.locked && s.on == spec.on);
    let up_to = row.known().rev().skip_while(|(release, _)| *release > minor);
    up_to.take_while(alike).last().map_or(minor, |(release, _)| release)
}

/// The last release that took a flag which `1.minor` does not take any more; none where that is not known.
pub(super) fn flag_gone(table: &Table, component: Component, flag: &str, minor: u32) -> Option<u32> {
    let row = table.row(component.as_str(), flag).filter(|_| table.covers(minor))?;
    if row.at(minor).is_some() { None } else { row.before(minor).map(|(last, _)| last) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_tables_are_valid() {
        let gates = gates().unwrap();
        assert!(gates.names().count() > 300);
        for (_, name) in gates.names() {
            name.parse::<crate::plan::GateName>().unwrap();
            for (release, cell) in gates.row("", name).unwrap().known() {
                assert!(Spec::read(cell).is_some(), "{name} 1.{release}: {cell}");
            }
        }
        let flags = flags().unwrap();
        for (component, flag) in flags.names() {
            component.parse::<Component>().unwrap();
            format!("--{flag}").parse::<crate::plan::FlagName>().unwrap();
        }
        assert_eq!(gates.span(), flags.span());
    }

    #[test]
    fn a_gate_is_judged_by_what_the_release_knows() {
        let table =
            Table::read("gate\t1.29\t1.30\t1.31\nA\tbeta+\tga+!\t.\nB\t.\t.\talpha-\nC\tdeprecated-!\tga-!\tga-\n")
                .unwrap();
        let was = Spec { stage: "ga", on: true, locked: true };
        for (name, value, minor, wanted) in [
            ("A", Some(false), 29, Verdict::Fits),
            ("A", Some(true), 30, Verdict::Fits),
            ("A", None, 30, Verdict::Fits),
            ("A", Some(false), 30, Verdict::Locked { to: true, since: 30 }),
            ("A", Some(true), 31, Verdict::Gone { last: 30, was }),
            ("A", Some(true), 32, Verdict::Fits),
            ("B", Some(true), 30, Verdict::NotYet { first: 31 }),
            ("B", Some(true), 31, Verdict::Fits),
            ("C", Some(true), 30, Verdict::Locked { to: false, since: 29 }),
            ("C", Some(true), 31, Verdict::Fits),
            ("D", Some(true), 31, Verdict::Unknown),
            ("D", Some(true), 28, Verdict::Fits),
            ("AllAlpha", Some(true), 31, Verdict::Fits),
            ("AllBeta", Some(false), 31, Verdict::Fits),
        ] {
            assert_eq!(gate(&table, name, value, minor), wanted, "{name} {value:?} 1.{minor}");
        }
    }

    #[test]
    fn a_flag_is_gone_only_where_a_release_before_took_it() {
        let table = Table::read("component\tflag\t1.29\t1.30\nkubelet\told\t~\t.\nkubelet\tnew\t.\t+\n").unwrap();
        let gone = |flag, minor| flag_gone(&table, Component::Kubelet, flag, minor);
        assert_eq!((gone("old", 30), gone("old", 29), gone("old", 31)), (Some(29), None, None));
        assert_eq!((gone("new", 29), gone("never", 30)), (None, None));
        assert_eq!(flag_gone(&table, Component::KubeProxy, "old", 30), None);
    }
}
