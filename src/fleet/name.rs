//! Validated names. Every name that reaches a shell, a path or the screen is one of these types.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A text from outside that is not a name of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} {text} is not valid: use 1 to {max} of letters, digits, '-', '_' and '.', beginning with a letter or digit"
)]
pub struct NameError {
    what: &'static str,
    text: String,
    max: usize,
}

fn check(what: &'static str, text: &str, max: usize) -> Result<(), NameError> {
    let good = text.len() <= max
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if good {
        Ok(())
    } else {
        let text = super::quoted(text);
        Err(NameError { what, text, max })
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Box<str>);

        impl $type {
            /// The name as text: safe in a path and in a single shell word.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                check($what, text, $max)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0.into()
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name!(
    /// A cluster's name, as its profile states it.
    ClusterName, "cluster name", 63
);
name!(
    /// A node's name, as the Kubernetes API knows it (a DNS subdomain name).
    NodeName, "node name", 253
);
name!(
    /// A rack: the failure domain.
    RackName, "rack name", 63
);
name!(
    /// A worker's role label, for instance `cs` (compute) or `ss` (storage).
    RoleName, "role name", 63
);
name!(
    /// A container's name. Docker's own rule is `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
    ContainerName, "container name", 128
);
name!(
    /// A run's id: the name of its folder.
    RunId, "run id", 63
);
name!(
    /// A swap's id within its plan, for instance `s0001`.
    SwapId, "swap id", 32
);
name!(
    /// The name of a gate of the operator's own.
    GateName, "gate name", 40
);

impl ContainerName {
    /// The name under which the prepared new container waits.
    pub fn next(&self) -> String {
        format!("{self}.sonoba-next")
    }

    /// The name under which the old container waits for the verdict.
    pub fn prev(&self) -> String {
        format!("{self}.sonoba-prev")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_a_shell_a_path_or_a_terminal_would_act_on() {
        for bad in ["", "-rf", "..", "a/b", "a b", "a;b", "a\n", "a\u{1b}[2J", "$(x)", "é"] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad:?}");
        }
        assert!("n".repeat(254).parse::<NodeName>().is_err());
        for good in ["rack0-cs1", "10.69.0.4", "a_b", "Node.example.com"] {
            assert_eq!(good.parse::<NodeName>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn an_error_never_carries_an_escape_sequence() {
        let error = "a\u{1b}[2J".parse::<NodeName>().unwrap_err().to_string();
        assert!(!error.contains('\u{1b}'), "{error}");
    }
}
