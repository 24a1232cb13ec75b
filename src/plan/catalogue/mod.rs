//! What breaks in place: arguments, feature gates, configuration, runtimes and state that a new version no longer takes as the
//! old one did. Data, not code: `catalogue/*.toml` in the repository's root, and the operator's own files of the same form.
//!
//! An entry says since when, how it is detected on a running container ([`Detect`]), what mends it, and where upstream says
//! so. Every change of a plan is held against them; what a change of arguments mends is offered, and carried by the plan once the
//! operator has taken the offer.
//!
//! Beside them stand generated tables of what each release knows (`known`): a gate or a flag that a version does not know is
//! found without an entry. [`Coverage`] says how far they go.

mod check;
mod config;
mod coverage;
mod detect;
mod entry;
mod known;
mod parse;
mod prove;
mod rules;
mod table;
mod unread;

pub(super) use check::check;
pub(super) use coverage::coverage;
pub use coverage::{Coverage, Known};
pub use entry::{Detect, Entry, Kind, Only};
pub use parse::{CatalogueError, parse};

use std::sync::LazyLock;

/// The files that are built in.
const FILES: [(&str, &str); 8] = [
    ("shared.toml", include_str!("../../../catalogue/shared.toml")),
    ("gates.toml", include_str!("../../../catalogue/gates.toml")),
    ("etcd.toml", include_str!("../../../catalogue/etcd.toml")),
    ("kube-apiserver.toml", include_str!("../../../catalogue/kube-apiserver.toml")),
    ("kube-controller-manager.toml", include_str!("../../../catalogue/kube-controller-manager.toml")),
    ("kube-scheduler.toml", include_str!("../../../catalogue/kube-scheduler.toml")),
    ("kubelet.toml", include_str!("../../../catalogue/kubelet.toml")),
    ("kube-proxy.toml", include_str!("../../../catalogue/kube-proxy.toml")),
];

static BUILT_IN: LazyLock<Result<Vec<Entry>, String>> = LazyLock::new(|| {
    let mut all = Vec::new();
    for (file, text) in FILES {
        all.extend(parse(text).map_err(|error| format!("{file}: {error}"))?);
    }
    all.sort_by(Entry::in_order);
    Ok(all)
});

/// The entries that are built in.
///
/// # Errors
/// Never in a program that was tested: when a built-in file is not valid.
pub fn built_in() -> Result<&'static [Entry], &'static str> {
    BUILT_IN.as_deref().map_err(String::as_str)
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod recall_tests;
