//! One entry of the catalogue.

use crate::fleet::{Component, Masker, Version};
use crate::plan::flags::{FlagName, GateName};
use crate::plan::{ArgEdit, Severity};
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// Something that breaks, or behaves differently, once a component has gone over a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Unique; the code of its finding.
    pub id: String,
    /// The components that it concerns.
    pub components: BTreeSet<Component>,
    /// The first version that breaks.
    pub since: Version,
    /// The first version in which it does not apply any more.
    pub until: Option<Version>,
    /// What kind of break.
    pub kind: Kind,
    /// An error: the component will not start, or data are at risk.
    pub severity: Severity,
    /// What happens; `{component}` and `{flag}` stand for what was found.
    pub text: String,
    /// What mends it.
    pub mend: String,
    /// Where upstream says so.
    pub source: String,
    /// How it is seen.
    pub detect: Detect,
    /// When it is seen only.
    pub only: Only,
    /// The changes of arguments that mend it.
    pub change: Vec<ArgEdit>,
    /// What must be detected: an argument list; or texts, each by itself.
    pub hit: Vec<String>,
    /// What looks like it, and must not be.
    pub miss: Vec<String>,
}

/// The kinds of breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A flag is gone.
    FlagRemoved,
    /// A flag, its values or its default mean something else.
    FlagChanged,
    /// A feature gate is gone.
    GateRemoved,
    /// A feature gate can no longer be changed.
    GateLocked,
    /// A version of a configuration file's API is gone.
    ConfigApiRemoved,
    /// A configuration file's field, or a value of it, is gone.
    ConfigFieldRemoved,
    /// The container runtime must be newer.
    RuntimeMinimum,
    /// Something about cgroups.
    Cgroup,
    /// Something about files or data that the old version left.
    State,
    /// It does something else than before.
    Behaviour,
}

impl Kind {
    /// All of them, with their names.
    pub(super) const NAMES: [(&str, Kind); 10] = [
        ("flag-removed", Kind::FlagRemoved),
        ("flag-changed", Kind::FlagChanged),
        ("gate-removed", Kind::GateRemoved),
        ("gate-locked", Kind::GateLocked),
        ("config-api-removed", Kind::ConfigApiRemoved),
        ("config-field-removed", Kind::ConfigFieldRemoved),
        ("runtime-minimum", Kind::RuntimeMinimum),
        ("cgroup", Kind::Cgroup),
        ("state", Kind::State),
        ("behaviour", Kind::Behaviour),
    ];
}

/// Three numbers of a version, as runtimes and kernels state them.
pub(super) type Numbers = (u32, u32, u32);

/// How an entry is seen: in exactly one of these ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detect {
    /// One of these flags is given; where `values` or `items` has something, with one of these.
    Flag {
        /// The flags.
        flags: Vec<FlagName>,
        /// Whole values.
        values: Vec<String>,
        /// Items of a list.
        items: Vec<String>,
    },
    /// A flag is not given.
    AbsentFlag(FlagName),
    /// All of these flags are given, with one and the same value.
    SameFlags(Vec<FlagName>),
    /// A gate is named in the arguments or the configuration file, with this value where one is stated.
    Gate {
        /// The gate.
        gate: GateName,
        /// The value that breaks; none means either.
        value: Option<bool>,
    },
    /// The configuration file is of this API version.
    ConfigApi(String),
    /// The configuration file has one of these fields, with one of these values where some are stated.
    ConfigField {
        /// Paths; lists on the way are walked through.
        paths: Vec<Vec<String>>,
        /// Values as text.
        values: Vec<String>,
    },
    /// containerd is older.
    RuntimeBelow(Numbers),
    /// The kernel is older.
    KernelBelow(Numbers),
    /// The node's cgroups are of this version.
    Cgroup(u8),
    /// Every change over the version meets it.
    Always,
}

impl Detect {
    /// Whether it names a gate or a flag that `other` does.
    pub(super) fn names(&self, other: &Detect) -> bool {
        match (self, other) {
            (Detect::Gate { gate, .. }, Detect::Gate { gate: other, .. }) => gate == other,
            (Detect::Flag { flags, .. }, Detect::Flag { flags: others, .. }) => {
                others.iter().any(|f| flags.contains(f))
            }
            _ => false,
        }
    }

    /// Whether it looks into the configuration file.
    pub(super) fn reads_config(&self) -> bool {
        matches!(self, Detect::Gate { .. } | Detect::ConfigApi(_) | Detect::ConfigField { .. })
    }
}

/// What must hold besides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Only {
    /// Coming from a version below this.
    pub from_below: Option<Version>,
    /// The node's cgroups are of this version.
    pub cgroup: Option<u8>,
    /// The node's kernel is older.
    pub kernel_below: Option<(u32, u32, u32)>,
    /// None of these flags is given, with this value where one is stated.
    pub unless_flag: Vec<(FlagName, Option<String>)>,
    /// The configuration file does not have this value at this path.
    pub unless_config: Option<(Vec<String>, String)>,
}

impl Entry {
    /// Whether it says what a version changes for everybody: it is told, and is no finding about this cluster.
    pub fn is_note(&self) -> bool {
        self.kind == Kind::Behaviour && self.detect == Detect::Always && self.only == Only::default()
    }

    /// The flag that its change would give a value which may be a secret: a plan that carries the change would have it.
    pub fn sets_masked(&self, masker: &Masker) -> Option<String> {
        let brought = self.change.iter().map(ArgEdit::brings);
        brought.into_iter().find_map(|args| {
            // The program stands first.
            let shown = masker.args(["program"].into_iter().chain(args.iter().map(String::as_str)));
            let flag = args.first()?.split('=').next()?.to_owned();
            (shown[1..] != args[..]).then_some(flag)
        })
    }

    /// In the order in which a component goes over them.
    pub(super) fn in_order(a: &Entry, b: &Entry) -> Ordering {
        (a.since.upstream(), &a.id).cmp(&(b.since.upstream(), &b.id))
    }

    /// Whether a change from one version to the other goes over it.
    pub(super) fn crossed(&self, from: &Version, to: &Version) -> bool {
        let since = self.since.upstream();
        from.upstream() < since
            && since <= to.upstream()
            && self.until.as_ref().is_none_or(|until| to.upstream() < until.upstream())
            && self.only.from_below.as_ref().is_none_or(|below| from.upstream() < below.upstream())
    }
}
