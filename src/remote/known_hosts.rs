//! The hosts' keys that are known: `known_hosts` as sshd(8) describes it, read once and checked strictly.
//!
//! Hashed names, `[host]:port`, wildcards, negation, `@revoked` and `@cert-authority` count as in OpenSSH.

use super::NodeError;
use crate::fleet::{clean, clean_short};
use hmac::{Hmac, KeyInit, Mac};
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::known_hosts::{Entry, HostPatterns, KnownHosts as Parser, Marker};
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey};
use sha1::Sha1;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// A parsed `known_hosts` file.
#[derive(Debug)]
pub(super) struct KnownHosts {
    path: PathBuf,
    lines: Vec<Line>,
    /// Lines of plain names, by name.
    plain: HashMap<String, Vec<usize>>,
    /// Lines that must be tried one by one: hashed names, wildcards, negations.
    others: Vec<usize>,
}

#[derive(Debug)]
struct Line {
    number: usize,
    entry: Entry,
}

/// What is known of one host.
#[derive(Debug, Default)]
pub(super) struct Known {
    keys: Vec<(usize, PublicKey)>,
    revoked: Vec<(usize, PublicKey)>,
    /// Keys whose certificates speak for it.
    authorities: Vec<(usize, PublicKey)>,
}

impl KnownHosts {
    /// Reads a file. One that does not exist knows no host.
    pub fn load(path: &Path) -> Result<KnownHosts, NodeError> {
        let refused =
            |why: String| NodeError::Refused(format!("known hosts {}: {why}", clean(&path.to_string_lossy())));
        match std::fs::read(path) {
            Ok(bytes) => KnownHosts::parse(path, &String::from_utf8_lossy(&bytes)).map_err(refused),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => KnownHosts::parse(path, "").map_err(refused),
            Err(error) => Err(refused(error.to_string())),
        }
    }

    fn parse(path: &Path, text: &str) -> Result<KnownHosts, String> {
        let mut known =
            KnownHosts { path: path.to_owned(), lines: Vec::new(), plain: HashMap::new(), others: Vec::new() };
        for (i, line) in text.lines().enumerate() {
            // The parser takes single blanks only.
            let line = line.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
            if line.starts_with('#') {
                continue;
            }
            let entry = match Parser::new(&line).next() {
                None => continue,
                Some(Ok(entry)) => entry,
                // Passing over a revocation would be trusting a key that was taken back.
                Some(Err(_)) if line.starts_with("@revoked") => {
                    return Err(format!("line {} is marked @revoked but cannot be read; fix or remove it", i + 1));
                }
                // As OpenSSH does: a type of key that is not known here is no reason to trust nobody.
                Some(Err(error)) => {
                    tracing::debug!(line = i + 1, %error, "a line of known_hosts is passed over");
                    continue;
                }
            };
            let index = known.lines.len();
            match entry.host_patterns() {
                HostPatterns::Patterns(patterns) if patterns.iter().all(|p| !p.contains(['*', '?', '!'])) => {
                    for name in patterns {
                        known.plain.entry(name.to_ascii_lowercase()).or_default().push(index);
                    }
                }
                _ => known.others.push(index),
            }
            known.lines.push(Line { number: i + 1, entry });
        }
        Ok(known)
    }

    /// What is known of a host.
    pub fn of(&self, host: &str, port: u16) -> Known {
        let name = name_of(host, port);
        let mut known = Known::default();
        for line in self.lines_of(&name) {
            let key = (line.number, line.entry.public_key().clone());
            match line.entry.marker() {
                None => known.keys.push(key),
                Some(Marker::Revoked) => known.revoked.push(key),
                Some(Marker::CertAuthority) => known.authorities.push(key),
            }
        }
        // As OpenSSH does: certificates name hosts without a port.
        let bare = host.to_ascii_lowercase();
        if bare != name {
            for line in self.lines_of(&bare).filter(|line| line.entry.marker() == Some(&Marker::CertAuthority)) {
                known.authorities.push((line.number, line.entry.public_key().clone()));
            }
        }
        known
    }

    fn lines_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Line> {
        let plain = self.plain.get(name).into_iter().flatten();
        let others = self.others.iter().filter(|i| matches(self.lines[**i].entry.host_patterns(), name));
        plain.chain(others).map(|i| &self.lines[*i])
    }

    /// Whether `key` is the host's. The error says what to do.
    pub fn check(&self, known: &Known, host: &str, port: u16, key: &PublicKey) -> Result<(), String> {
        let place = clean(&self.path.to_string_lossy());
        let shown = format!("{} {}", key.algorithm(), key.fingerprint(HashAlg::Sha256));
        let name = name_of(host, port);
        if let Some((line, _)) = known.revoked.iter().find(|(_, k)| k.key_data() == key.key_data()) {
            return Err(format!(
                "THE HOST KEY of {name} IS REVOKED ({place}:{line}): {shown}. Somebody may be in the way, or the host \
                 was not given its new key. Nothing was sent"
            ));
        }
        if known.keys.iter().any(|(_, k)| k.key_data() == key.key_data()) {
            return Ok(());
        }
        if let Some((line, old)) =
            known.keys.iter().find(|(_, k)| k.algorithm() == key.algorithm()).or(known.keys.first())
        {
            return Err(format!(
                "THE HOST KEY of {name} HAS CHANGED: it offers {shown}, but {place}:{line} has {} {}. Somebody may be \
                 in the way. If the host was installed anew, check the fingerprint on its console, then: ssh-keygen \
                 -R '{name}' -f {place}",
                old.algorithm(),
                old.fingerprint(HashAlg::Sha256),
            ));
        }
        let scan = format!("ssh-keyscan -p {port} {host} >> {place}");
        if let Some((line, _)) = known.authorities.first() {
            return Err(format!(
                "{name} is known by its certificate only (@cert-authority, {place}:{line}), and it shows none. Give it one \
                 (HostCertificate in its sshd_config). Its key is {shown}; when that is right: {scan}"
            ));
        }
        Err(format!("the host key of {name} is not known. It offers {shown}; when that is right: {scan}"))
    }
}

impl KnownHosts {
    /// Whether `shown` is a certificate that speaks for the host at `now` (seconds since 1970), by ssh(1)'s rules. One that does
    /// not is no worse than none: the key in it is the host's where it is known as such. The error says what to do.
    ///
    /// The handshake has proved that the host has the certificate's key.
    pub fn check_certificate(
        &self,
        known: &Known,
        (host, port): (&str, u16),
        shown: &Certificate,
        now: u64,
    ) -> Result<(), String> {
        let place = clean(&self.path.to_string_lossy());
        let name = name_of(host, port);
        let signer = shown.signature_key();
        if let Some((line, _)) = known.revoked.iter().find(|(_, k)| k.key_data() == signer) {
            return Err(format!(
                "THE AUTHORITY that signed the host certificate of {name} IS REVOKED ({place}:{line}): {}. Nothing was sent",
                signer.fingerprint(HashAlg::Sha256)
            ));
        }
        let key = PublicKey::from(shown.public_key().clone());
        let revoked = known.revoked.iter().any(|(_, k)| k.key_data() == key.key_data());
        let own = known.keys.iter().any(|(_, k)| k.key_data() == key.key_data());
        if revoked || own {
            return self.check(known, host, port, &key);
        }
        let Some((line, _)) = known.authorities.iter().find(|(_, k)| k.key_data() == signer) else {
            let lines: Vec<String> = known.authorities.iter().map(|(line, _)| line.to_string()).collect();
            return Err(format!(
                "the host certificate of {name} is signed by {}, which is not the @cert-authority of {place} (line {})",
                signer.fingerprint(HashAlg::Sha256),
                lines.join(", ")
            ));
        };
        match wrong(shown, host, now) {
            None => Ok(()),
            Some(why) => Err(format!(
                "the host certificate {:?} of {name} (@cert-authority, {place}:{line}) {why}; give the host a new one",
                clean_short(shown.key_id(), 80)
            )),
        }
    }
}

/// Why a certificate of a known authority does not speak for `host`.
fn wrong(shown: &Certificate, host: &str, now: u64) -> Option<String> {
    let host = host.to_ascii_lowercase();
    let names = shown.valid_principals();
    let named = |n: &String| glob(n.to_ascii_lowercase().as_bytes(), host.as_bytes());
    let at = |seconds: u64| {
        let seconds = i64::try_from(seconds).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
        seconds.map_or_else(|| "an unknown time".into(), |at| at.to_string())
    };
    if shown.cert_type() != CertType::Host {
        return Some("is a user's, not a host's".into());
    }
    if matches!(shown.signature().algorithm(), Algorithm::Rsa { hash: None }) {
        return Some("is signed with SHA-1, which proves nothing any more".into());
    }
    if now < shown.valid_after() {
        return Some(format!("is not valid before {}", at(shown.valid_after())));
    }
    if now >= shown.valid_before() {
        return Some(format!("ended at {}", at(shown.valid_before())));
    }
    if !names.is_empty() && !names.iter().any(named) {
        return Some(format!("is for {}, not for {host}", clean_short(&names.join(", "), 200)));
    }
    if !shown.critical_options().is_empty() {
        return Some("has critical options, which no host certificate may have".into());
    }
    let authority = shown.signature_key().fingerprint(HashAlg::Sha256);
    shown.validate_at(now, [&authority]).err().map(|_| "has a signature that does not hold".into())
}

/// What is wrong with a `known_hosts` file, if something is; for fuzzers. A key that is not in it is never good.
pub(crate) fn check_file(text: &str) -> Result<(), String> {
    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
    let known = KnownHosts::parse(Path::new("known_hosts"), text)?;
    let key = PublicKey::from_openssh(KEY).map_err(|e| e.to_string())?;
    known.check(&known.of("node1", 2222), "node1", 2222, &key)
}

impl Known {
    /// The algorithms to ask the host for, so that it shows a key that can be compared. All, where none is known: then
    /// the key is asked for only to be named in the error.
    pub fn algorithms(&self, all: &[Algorithm]) -> Vec<Algorithm> {
        let mut wanted: Vec<Algorithm> = all.to_vec();
        // SHA-1 signatures prove nothing any more.
        wanted.retain(|a| *a != Algorithm::Rsa { hash: None });
        if self.keys.is_empty() {
            return wanted;
        }
        wanted.retain(|a| {
            self.keys.iter().any(|(_, key)| {
                let known = key.algorithm();
                *a == known || (a.clone().is_rsa() && known.is_rsa())
            })
        });
        wanted
    }

    /// The kinds of certificates to ask the host for: none where no authority speaks for it.
    pub fn certificates(&self, all: &[Algorithm]) -> Vec<Algorithm> {
        let mut wanted: Vec<Algorithm> = all.to_vec();
        wanted.retain(|a| *a != Algorithm::Rsa { hash: None } && !self.authorities.is_empty());
        wanted
    }
}

/// The name under which a host stands in the file.
fn name_of(host: &str, port: u16) -> String {
    let host = host.to_ascii_lowercase();
    if port == 22 { host } else { format!("[{host}]:{port}") }
}

fn matches(patterns: &HostPatterns, name: &str) -> bool {
    match patterns {
        HostPatterns::HashedName { salt, hash } => {
            let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(salt) else { return false };
            mac.update(name.as_bytes());
            mac.verify_slice(hash).is_ok()
        }
        HostPatterns::Patterns(patterns) => {
            let mut found = false;
            for pattern in patterns {
                let pattern = pattern.to_ascii_lowercase();
                match pattern.strip_prefix('!') {
                    // A negation that matches takes the whole line away.
                    Some(not) if glob(not.as_bytes(), name.as_bytes()) => return false,
                    Some(_) => {}
                    None => found |= glob(pattern.as_bytes(), name.as_bytes()),
                }
            }
            found
        }
    }
}

/// `*` stands for any characters, `?` for one. Takes at most pattern times text steps.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use russh::keys::PrivateKey;
    use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};

    fn key(seed: u8) -> PublicKey {
        let pair = KeypairData::from(Ed25519Keypair::from_seed(&[seed; 32]));
        PrivateKey::new(pair, "").unwrap().public_key().clone()
    }

    fn text(key: &PublicKey) -> String {
        key.to_openssh().unwrap().trim().to_owned()
    }

    fn check(file: &str, host: &str, port: u16, key: &PublicKey) -> Result<(), String> {
        let known = KnownHosts::parse(Path::new("/k"), file)?;
        known.check(&known.of(host, port), host, port, key)
    }

    #[test]
    fn names_ports_and_patterns_match_as_in_openssh() {
        let a = key(1);
        let k = text(&a);
        for (hosts, host, port, good) in [
            ("node1", "node1", 22, true),
            ("node1", "NODE1", 22, true),
            ("node1", "node1", 2222, false),
            ("[node1]:2222", "node1", 2222, true),
            ("[node1]:2222", "node1", 22, false),
            ("10.0.0.1,node1", "node1", 22, true),
            ("node*", "node17", 22, true),
            ("node?", "node17", 22, false),
            ("node*,!node17", "node17", 22, false),
            ("[10.0.0.*]:2222", "10.0.0.9", 2222, true),
            ("fd00::1", "fd00::1", 22, true),
        ] {
            assert_eq!(
                check(&format!("# c\n\n{hosts}\t {k} comment\n"), host, port, &a).is_ok(),
                good,
                "{hosts} {host}"
            );
        }
    }

    #[test]
    fn hashed_names_match() {
        let a = key(1);
        let mut mac = Hmac::<Sha1>::new_from_slice(b"01234567890123456789").unwrap();
        mac.update(b"[node1]:2222");
        let hash: [u8; 20] = mac.finalize().into_bytes().into();
        let name = HostPatterns::HashedName { salt: b"01234567890123456789".to_vec(), hash }.to_string();
        let file = format!("{name} {}", text(&a));
        assert!(check(&file, "node1", 2222, &a).is_ok());
        assert!(check(&file, "node2", 2222, &a).unwrap_err().contains("not known"));
    }

    #[test]
    fn unknown_changed_and_revoked_keys_are_told_apart() {
        let (a, b) = (key(1), key(2));
        let error = check("", "n", 2222, &a).unwrap_err();
        assert!(error.contains("ssh-keyscan -p 2222 n >> /k") && error.contains("SHA256:"), "{error}");
        let error = check(&format!("\n# x\nn {}", text(&b)), "n", 22, &a).unwrap_err();
        assert!(error.contains("HAS CHANGED") && error.contains("/k:3"), "{error}");
        // Two keys of one kind are in order while a host is given a new one.
        assert!(check(&format!("n {}\nn {}", text(&b), text(&a)), "n", 22, &a).is_ok());
        let error = check(&format!("n {}\n@revoked * {}", text(&a), text(&a)), "n", 22, &a).unwrap_err();
        assert!(error.contains("REVOKED") && error.contains("/k:2"), "{error}");
        let error = check(&format!("@cert-authority * {}", text(&a)), "n", 22, &a).unwrap_err();
        assert!(error.contains("by its certificate only") && error.contains("shows none"), "{error}");
        assert!(check("@revoked * nonsense", "n", 22, &a).unwrap_err().contains("line 1"));
    }

    #[test]
    fn only_known_algorithms_are_asked_for() {
        let all = [Algorithm::Ed25519, Algorithm::Rsa { hash: Some(HashAlg::Sha512) }, Algorithm::Rsa { hash: None }];
        let known = KnownHosts::parse(Path::new("/k"), &format!("n {}", text(&key(1)))).unwrap();
        assert_eq!(known.of("n", 22).algorithms(&all), [Algorithm::Ed25519]);
        assert_eq!(known.of("m", 22).algorithms(&all), all[..2]);
    }

    proptest::proptest! {
        #[test]
        fn any_file_is_read_or_refused(file in "(\\PC|\n|\t){0,200}", line in "[@|!*?,\\[\\]: a-z0-9=+/-]{0,80}") {
            let a = key(1);
            let _ = check(&file, "n", 22, &a);
            // Whatever stands in the file, a key that is not in it is never good.
            let lines = format!("{line}\n{line} {}", text(&key(2)));
            proptest::prop_assert!(check(&lines, "n", 22, &a).is_err());
        }

        #[test]
        fn glob_ends_and_a_text_matches_itself(pattern in "[a*?]{0,30}", text in "[ab]{0,40}") {
            glob(pattern.as_bytes(), text.as_bytes());
            proptest::prop_assert!(glob(text.as_bytes(), text.as_bytes()));
            let (around, inside) = (format!("*{text}*"), format!("a{text}b"));
            proptest::prop_assert!(glob(around.as_bytes(), inside.as_bytes()));
        }
    }
}
