//! How we log in: with a key file and the certificate beside it, or with the agent's keys and certificates.

use super::NodeError;
use super::connection::Handler;
use crate::fleet::{clean, clean_short};
use crate::plan::CredentialFacts;
use jiff::Timestamp;
use russh::client::Handle;
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{
    Certificate, Error, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey, load_openssh_certificate,
    load_secret_key,
};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What proves who we are, and what of it ends.
pub(super) struct Keys {
    proof: Proof,
    /// The certificates that let us in.
    certificates: Mutex<BTreeMap<String, CredentialFacts>>,
}

/// What proves who we are.
enum Proof {
    /// A key file, read once; a certificate beside it (`…-cert.pub`) is read at every handshake, since it is renewed.
    File(Arc<PrivateKey>, PathBuf),
    /// The agent, asked at every handshake: its keys come and go.
    Agent,
}

impl Keys {
    /// Reads the key file, when there is to be one.
    ///
    /// # Errors
    /// When others may read the file, when it is encrypted or RSA, or when it is no key.
    pub fn load(identity: Option<&Path>) -> Result<Keys, NodeError> {
        let keys = |proof| Keys { proof, certificates: Mutex::default() };
        let Some(path) = identity else { return Ok(keys(Proof::Agent)) };
        let shown = clean(&path.to_string_lossy());
        let refused = |why: String| NodeError::Refused(format!("key {shown}: {why}"));
        let meta = std::fs::metadata(path).map_err(|e| refused(e.to_string()))?;
        if meta.permissions().mode() & 0o077 != 0 {
            return Err(refused(format!("others can read it; fix that with: chmod 600 {shown}")));
        }
        match load_secret_key(path, None) {
            // The crate rsa does not hide a private key from whoever times its signatures (RUSTSEC-2023-0071): a node could.
            Ok(key) if key.algorithm().is_rsa() => Err(refused(format!(
                "it is an RSA key, with which only the agent signs; give it to the agent (ssh-add {shown}) and take ssh.identity out \
                 of the profile, or use an Ed25519 key (ssh-keygen -t ed25519)"
            ))),
            Ok(key) => Ok(keys(Proof::File(Arc::new(key), beside(path)))),
            Err(Error::KeyIsEncrypted) => Err(refused(format!(
                "it is encrypted; give it to the agent (ssh-add {shown}) and take ssh.identity out of the profile"
            ))),
            // The parser's own words could quote the file.
            Err(_) => Err(refused("it is not a private key that can be read".into())),
        }
    }

    /// Logs in.
    ///
    /// # Errors
    /// [`NodeError::Refused`] with the keys that were tried; never a secret.
    pub async fn log_in(&self, handle: &mut Handle<Handler>, user: &str) -> Result<(), NodeError> {
        let broken = |e: russh::Error| NodeError::Unreachable(format!("the connection broke while logging in: {e}"));
        let tried = match &self.proof {
            Proof::File(key, beside) => {
                let mut tried = Vec::new();
                match certificate_of(key, beside) {
                    Ok(None) => {}
                    Ok(Some(certificate)) => {
                        let asked = handle.authenticate_openssh_cert(user, key.clone(), certificate.clone());
                        if asked.await.map_err(broken)?.success() {
                            self.let_in_by(&certificate, &clean(&beside.to_string_lossy()));
                            return Ok(());
                        }
                        tried.push(shown_certificate(&certificate));
                    }
                    Err(why) => tried.push(why),
                }
                let signing = PrivateKeyWithHashAlg::new(key.clone(), None);
                if handle.authenticate_publickey(user, signing).await.map_err(broken)?.success() {
                    return Ok(());
                }
                tried.push(shown(key.public_key()));
                tried
            }
            Proof::Agent => match self.by_agent(handle, user).await? {
                None => return Ok(()),
                Some(tried) => tried,
            },
        };
        let tried =
            if tried.is_empty() { "no key, since the agent has none (ssh-add)".into() } else { tried.join(", ") };
        Err(NodeError::Refused(format!("user {user} is not let in; tried {tried}")))
    }

    /// What let us in and ends by itself.
    pub fn ends(&self) -> Vec<CredentialFacts> {
        self.certificates.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn let_in_by(&self, certificate: &Certificate, place: &str) {
        let Some(until) = ends(certificate) else { return };
        let what = format!("the SSH certificate {:?} in {place}", clean_short(certificate.key_id(), 80));
        let mend = "renew it there before then: it is read again for each new connection".to_owned();
        let facts = CredentialFacts { what: what.clone(), until, mend };
        self.certificates.lock().unwrap_or_else(PoisonError::into_inner).insert(what, facts);
    }

    /// Tries all keys of the agent; returns those that were refused, or `None` when one was taken.
    async fn by_agent(&self, handle: &mut Handle<Handler>, user: &str) -> Result<Option<Vec<String>>, NodeError> {
        let refused = |why: String| NodeError::Refused(format!("the SSH agent: {why}"));
        let mut agent = AgentClient::connect_env().await.map_err(|e| {
            refused(format!("{e}; start one (eval $(ssh-agent); ssh-add), or set ssh.identity in the profile"))
        })?;
        let identities = agent.request_identities().await.map_err(|e| refused(e.to_string()))?;
        let mut tried = Vec::new();
        for identity in identities {
            let (key, certificate) = match identity {
                AgentIdentity::PublicKey { key, .. } => (key, None),
                AgentIdentity::Certificate { certificate, .. } => {
                    (PublicKey::from(certificate.public_key().clone()), Some(certificate))
                }
            };
            let hash = rsa_hash(handle, &key)
                .await
                .map_err(|e| NodeError::Unreachable(format!("the connection broke while logging in: {e}")))?;
            let asked = match &certificate {
                None => handle.authenticate_publickey_with(user, key.clone(), hash, &mut agent).await,
                Some(own) => handle.authenticate_certificate_with(user, own.clone(), hash, &mut agent).await,
            };
            let name = certificate.as_ref().map_or_else(|| shown(&key), shown_certificate);
            match asked {
                Ok(result) if result.success() => {
                    if let Some(certificate) = &certificate {
                        self.let_in_by(certificate, "the SSH agent");
                    }
                    return Ok(None);
                }
                Ok(_) => tried.push(name),
                // The agent may decline one key and sign with the next; a server that has had enough hangs up.
                Err(error) => tried.push(format!("{name} ({})", clean(&error.to_string()))),
            }
            if handle.is_closed() {
                tried.push("then the server hung up; keep fewer keys in the agent, or set ssh.identity".into());
                break;
            }
        }
        Ok(Some(tried))
    }
}

/// Where ssh looks for a key's certificate.
fn beside(key: &Path) -> PathBuf {
    let mut name = key.as_os_str().to_owned();
    name.push("-cert.pub");
    name.into()
}

/// The key's certificate, where there is one.
///
/// # Errors
/// In words, when there is one that cannot be used.
fn certificate_of(key: &PrivateKey, path: &Path) -> Result<Option<Certificate>, String> {
    let name = clean(&path.to_string_lossy());
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("no certificate, since {name} cannot be read: {error}")),
        Ok(found) if !found.is_file() => return Err(format!("no certificate, since {name} is no file")),
        Ok(_) => {}
    }
    let found = load_openssh_certificate(path).map_err(|_| format!("no certificate, since {name} holds none"))?;
    if found.public_key() != key.public_key().key_data() {
        return Err(format!("no certificate, since {name} is for another key"));
    }
    Ok(Some(found))
}

/// When a certificate ends; none where it is for ever.
fn ends(certificate: &Certificate) -> Option<Timestamp> {
    i64::try_from(certificate.valid_before()).ok().and_then(|seconds| Timestamp::from_second(seconds).ok())
}

/// A certificate as errors call it: whether it has ended is what one asks first.
fn shown_certificate(certificate: &Certificate) -> String {
    let id = clean_short(certificate.key_id(), 80);
    let until = match ends(certificate) {
        Some(until) if until <= Timestamp::now() => format!("has ended at {until:.0}: renew it"),
        Some(until) => format!("good until {until:.0}"),
        None => "without an end".into(),
    };
    format!("the SSH certificate {id:?} ({until})")
}

/// The hash for a signature with an RSA key. Servers that do not say get SHA-512, which all since OpenSSH 7.2 know.
async fn rsa_hash(handle: &Handle<Handler>, key: &PublicKey) -> Result<Option<HashAlg>, russh::Error> {
    if !key.algorithm().is_rsa() {
        return Ok(None);
    }
    Ok(Some(handle.best_supported_rsa_hash().await?.flatten().unwrap_or(HashAlg::Sha512)))
}

fn shown(key: &PublicKey) -> String {
    format!("{} {}", key.algorithm(), key.fingerprint(HashAlg::Sha256))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_others_read_is_refused_with_its_mending() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("id");
        std::fs::write(&path, "secret words").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let error = Keys::load(Some(&path)).err().unwrap().to_string();
        assert!(error.contains(&format!("chmod 600 {}", path.display())), "{error}");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        let error = Keys::load(Some(&path)).err().unwrap().to_string();
        assert!(!error.contains("secret words"), "{error}");
        assert!(matches!(Keys::load(None), Ok(Keys { proof: Proof::Agent, .. })));
    }
}
