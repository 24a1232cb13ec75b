//! Which flags have values that may be shown.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// True or false; the next word is not its value.
    Truth,
    /// Something that may be shown.
    Plain,
    /// The path of a file: only a path may be shown.
    File,
}

/// The flags of Kubernetes' programs, of etcd and of rivers.
static KNOWN: LazyLock<HashMap<&'static str, Takes>> = LazyLock::new(|| {
    let entry = |line: &'static str| {
        let (takes, name) = line.split_once(' ')?;
        let takes = match takes {
            "switch" => Takes::Truth,
            "plain" => Takes::Plain,
            "file" => Takes::File,
            _ => return None,
        };
        Some((name, takes))
    };
    include_str!("flags.txt").lines().filter_map(entry).collect()
});

/// What a flag takes, where its values may be shown; `own` are the operator's own. The name has no dashes before it.
pub(super) fn takes(name: &str, own: &BTreeSet<String>) -> Option<Takes> {
    let name = name.replace('_', "-");
    let own = || own.contains(&name).then_some(Takes::Plain);
    KNOWN.get(name.as_str()).copied().or_else(own)
}

/// Words that are no secret where no flag stands before them: the programs of Kubernetes, and what they and their wrappers are told
/// to do.
const WORDS: [&str; 34] = [
    "agent",
    "apiserver",
    "controller-manager",
    "daemon",
    "etcd",
    "etcd-rivers",
    "gateway",
    "grpc-proxy",
    "hyperkube",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubelet",
    "master",
    "node",
    "proxy",
    "rivers",
    "run",
    "scheduler",
    "serve",
    "server",
    "start",
    "up",
    "worker",
    "exec",
    "nice",
    "tini",
    "env",
    "sh",
    "bash",
    "-",
    "--",
    "version",
];

/// Whether this word is a program or a subcommand that is known.
pub(super) fn is_word(text: &str) -> bool {
    WORDS.contains(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_read_and_none_twice() {
        let lines: Vec<&str> =
            include_str!("flags.txt").lines().filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
        assert_eq!(lines.len(), KNOWN.len());
        assert!(lines.len() > 600, "{}", lines.len());
        let good = |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        assert_eq!(KNOWN.keys().find(|name| !good(name)), None);
    }

    #[test]
    fn what_takes_a_secret_is_not_in_the_table() {
        for secret in ["token", "password", "manifest-url-header", "discovery-token", "discovery-password", "user"] {
            assert_eq!(takes(secret, &BTreeSet::new()), None, "{secret}");
        }
        assert_eq!(takes("log_dir", &BTreeSet::new()), Some(Takes::Plain));
        assert_eq!(takes("house", &["house".to_owned()].into()), Some(Takes::Plain));
    }
}
