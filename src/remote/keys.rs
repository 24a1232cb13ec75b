//! How we log in: with a key file, or with the agent's keys.

use super::NodeError;
use super::connection::Handler;
use crate::fleet::clean;
use russh::client::Handle;
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{Error, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey, load_secret_key};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

/// What proves who we are.
pub(super) enum Keys {
    /// A key file, read once.
    File(Arc<PrivateKey>),
    /// The agent, asked at every handshake: its keys come and go.
    Agent,
}

impl Keys {
    /// Reads the key file, when there is to be one.
    ///
    /// # Errors
    /// When others may read the file, when it is encrypted, or when it is no key.
    pub fn load(identity: Option<&Path>) -> Result<Keys, NodeError> {
        let Some(path) = identity else { return Ok(Keys::Agent) };
        let shown = clean(&path.to_string_lossy());
        let refused = |why: String| NodeError::Refused(format!("key {shown}: {why}"));
        let meta = std::fs::metadata(path).map_err(|e| refused(e.to_string()))?;
        if meta.permissions().mode() & 0o077 != 0 {
            return Err(refused(format!("others can read it; mend that with: chmod 600 {shown}")));
        }
        match load_secret_key(path, None) {
            Ok(key) => Ok(Keys::File(Arc::new(key))),
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
        let tried = match self {
            Keys::File(key) => {
                let hash = rsa_hash(handle, key.public_key()).await.map_err(broken)?;
                let signing = PrivateKeyWithHashAlg::new(key.clone(), hash);
                if handle.authenticate_publickey(user, signing).await.map_err(broken)?.success() {
                    return Ok(());
                }
                vec![shown(key.public_key())]
            }
            Keys::Agent => match self.by_agent(handle, user).await? {
                None => return Ok(()),
                Some(tried) => tried,
            },
        };
        let tried =
            if tried.is_empty() { "no key, since the agent has none (ssh-add)".into() } else { tried.join(", ") };
        Err(NodeError::Refused(format!("user {user} is not let in; tried {tried}")))
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
            let AgentIdentity::PublicKey { key, .. } = identity else { continue };
            let hash = rsa_hash(handle, &key)
                .await
                .map_err(|e| NodeError::Unreachable(format!("the connection broke while logging in: {e}")))?;
            match handle.authenticate_publickey_with(user, key.clone(), hash, &mut agent).await {
                Ok(result) if result.success() => return Ok(None),
                Ok(_) => tried.push(shown(&key)),
                // The agent may decline one key and sign with the next; a server that has had enough hangs up.
                Err(error) => tried.push(format!("{} ({})", shown(&key), clean(&error.to_string()))),
            }
            if handle.is_closed() {
                tried.push("then the server hung up; keep fewer keys in the agent, or set ssh.identity".into());
                break;
            }
        }
        Ok(Some(tried))
    }
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
        assert!(matches!(Keys::load(None), Ok(Keys::Agent)));
    }
}
