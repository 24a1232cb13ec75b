//! How the nodes are reached.

use super::entry::{check_address, check_user};
use crate::fleet::quoted;
use serde::Deserialize;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// How the nodes are reached over SSH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshProfile {
    /// Whom to log in as, unless a node says otherwise.
    pub user: String,
    /// SSH's port, unless a node says otherwise.
    pub port: u16,
    /// The private key's file; the agent is asked when there is none.
    pub identity: Option<PathBuf>,
    /// The file with the hosts' keys, which are checked strictly.
    pub known_hosts: PathBuf,
    /// A host to go through.
    pub jump: Option<Jump>,
    /// How long a connection may take until it is authenticated.
    pub connect_timeout: Duration,
    /// Handshakes under way at once.
    pub max_handshakes: usize,
}

/// A host to go through, written `[user@]host[:port]`; an IPv6 address stands in brackets.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Jump {
    /// Whom to log in as there; the profile's user when not given.
    pub user: Option<String>,
    /// Its address.
    pub host: String,
    /// Its SSH port.
    pub port: u16,
}

impl FromStr for Jump {
    type Err = String;

    fn from_str(text: &str) -> Result<Jump, String> {
        let shown = quoted(text);
        let err = |why: &str| format!("{shown} is not a jump host: {why}; write [user@]host[:port]");
        let (user, place) = match text.rsplit_once('@') {
            Some((user, place)) => (Some(user.to_owned()), place),
            None => (None, text),
        };
        if let Some(user) = &user {
            check_user(user).map_err(|why| err(&why))?;
        }
        let (host, port) = match place.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or_else(|| err("the bracket is not closed"))?;
                if host.parse::<std::net::Ipv6Addr>().is_err() {
                    return Err(err("in brackets stands an IPv6 address"));
                }
                (host, (!port.is_empty()).then(|| port.strip_prefix(':').unwrap_or("")))
            }
            None => match place.split_once(':') {
                Some((_, port)) if port.contains(':') => return Err(err("an IPv6 address stands in brackets")),
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        check_address(host).map_err(|why| err(&why))?;
        let port = match port {
            None => 22,
            Some(port) => port.parse().ok().filter(|p| *p > 0).ok_or_else(|| err("the port is not from 1 to 65535"))?,
        };
        Ok(Jump { user, host: host.to_owned(), port })
    }
}

impl TryFrom<String> for Jump {
    type Error = String;

    fn try_from(text: String) -> Result<Jump, String> {
        text.parse()
    }
}

impl fmt::Display for Jump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_host_reads_in_all_its_forms() {
        let read = |text: &str| text.parse::<Jump>().map(|j| j.to_string());
        assert_eq!(read("bastion2").unwrap(), "bastion2:22");
        assert_eq!(read("me@10.0.0.1:2222").unwrap(), "me@10.0.0.1:2222");
        assert_eq!(read("me@[fd00::1]:2222").unwrap(), "me@[fd00::1]:2222");
        assert_eq!(read("[fd00::1]").unwrap(), "[fd00::1]:22");
        for bad in
            ["", "@h", "h:", "h:0", "h:70000", "fd00::1", "[fd00::1", "[x]", "-oProxyCommand=x", "a b", "h\u{1b}"]
        {
            let error = bad.parse::<Jump>().unwrap_err();
            assert!(error.contains("[user@]host[:port]") && !error.contains('\u{1b}'), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_jump_host_or_refused(text in "\\PC{0,40}|[a-z@:\\[\\]0-9.]{0,20}") {
            if let Ok(jump) = text.parse::<Jump>() {
                proptest::prop_assert_eq!(jump.to_string().parse::<Jump>(), Ok(jump));
            }
        }
    }
}
