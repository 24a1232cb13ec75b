//! A kubeconfig, read with all that it refers to.

use super::ending;
use super::plugin;
use super::problem::{self, CredentialProblem, name, token};
use crate::k8s::ClusterError;
use crate::k8s::patience::shown;
use crate::plan::CredentialFacts;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;
use jiff::Timestamp;
use kube::config::{AuthInfo, Cluster, Config, KubeConfigOptions, Kubeconfig, KubeconfigError};
use secrecy::{ExposeSecret, SecretString};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where credentials come from: a context of a kubeconfig.
#[derive(Debug, Clone)]
pub(in crate::k8s) struct Source {
    file: PathBuf,
    /// Which context: the profile's; else the one that was current when the file was first read. Somebody who changes to another
    /// cluster in the middle of a run does not take the run with him.
    context: Option<String>,
    /// The API server that was named when the file was first read. A run never goes on with another one.
    server: Option<Uri>,
    /// How long a credential plugin may take.
    plugin: Duration,
}

/// What was read.
pub(super) struct Loaded {
    /// For kube: opens no file, and runs no command.
    pub(super) config: Config,
    /// The files that it came from, as they were.
    pub(super) files: Vec<(PathBuf, Option<Stamp>)>,
    /// When what a plugin issued ends.
    pub(super) issued_until: Option<Timestamp>,
    /// What ends and is not renewed by asking a plugin.
    pub(super) ends: Vec<CredentialFacts>,
}

/// What changes about a file when it is written or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    place: (u64, u64),
    size: u64,
    written: (i64, i64),
}

impl Stamp {
    /// None where there is no such file.
    pub(super) fn of(path: &Path) -> Option<Stamp> {
        let found = std::fs::metadata(path).ok()?;
        Some(Stamp {
            place: (found.dev(), found.ino()),
            size: found.len(),
            written: (found.mtime(), found.mtime_nsec()),
        })
    }
}

impl Source {
    /// A kubeconfig's context, or the one that is current in it.
    pub(in crate::k8s) fn new(file: &Path, context: Option<&str>, plugin: Duration) -> Source {
        Source { file: file.to_owned(), context: context.map(str::to_owned), server: None, plugin }
    }

    /// How errors call it.
    pub(super) fn shown(&self) -> String {
        format!("kubeconfig {}", problem::shown(&self.file))
    }

    /// An error about the file as such.
    pub(super) fn refused(&self, why: &str) -> ClusterError {
        ClusterError::Refused(format!("{}: {}", self.shown(), shown(why)))
    }

    fn missing(&self, problem: CredentialProblem) -> ClusterError {
        let told = match problem {
            CredentialProblem::Missing(why) => CredentialProblem::Missing(format!("{}: {why}", self.shown())),
            refused @ CredentialProblem::Refused(_) => refused,
        };
        ClusterError::Credentials(told.to_string())
    }

    /// Reads everything, and asks the plugin where there is one. The first time it notes the context and the server, which stay.
    ///
    /// # Errors
    /// [`ClusterError::Refused`] where the kubeconfig is not as it must be, [`ClusterError::Credentials`] where what it refers to
    /// cannot be had.
    pub(super) async fn load(&mut self) -> Result<Loaded, ClusterError> {
        // Before anything is read: what is written meanwhile is read once more.
        let mut files = vec![(self.file.clone(), Stamp::of(&self.file))];
        problem::read("the file", &self.file).map_err(|problem| match problem {
            CredentialProblem::Missing(why) | CredentialProblem::Refused(why) => {
                ClusterError::Refused(format!("kubeconfig: {why}"))
            }
        })?;
        let mut parsed = Kubeconfig::read_from(&self.file).map_err(|e| self.refused(&unreadable(&e)))?;
        if let Some(wanted) = &self.context
            && !parsed.contexts.iter().any(|c| c.name == *wanted)
        {
            let known: Vec<&str> = parsed.contexts.iter().map(|c| c.name.as_str()).collect();
            return Err(self.refused(&format!(
                "has no context {wanted:?}, only: {}; fix `context` in the profile",
                known.join(", ")
            )));
        }
        let current = self.context.clone().or_else(|| parsed.current_context.clone());
        let context =
            parsed.contexts.iter().find(|c| Some(&c.name) == current.as_ref()).and_then(|c| c.context.clone());
        let (cluster, user) = context.map(|c| (c.cluster, c.user.unwrap_or_default())).unwrap_or_default();
        let cluster = parsed.clusters.iter_mut().find(|c| c.name == cluster).and_then(|c| c.cluster.as_mut());
        if let Some(cluster) = cluster {
            authority(cluster, &mut files).map_err(|problem| self.missing(problem))?;
        }
        let options = KubeConfigOptions { context: current.clone(), ..KubeConfigOptions::default() };
        let mut config =
            Config::from_custom_kubeconfig(parsed, &options).await.map_err(|e| self.refused(&reason(&e)))?;
        self.check_server(&config.cluster_url)?;
        let mut loaded =
            Loaded { files, issued_until: None, ends: Vec::new(), config: Config::new(config.cluster_url.clone()) };
        let auth = std::mem::take(&mut config.auth_info);
        config.auth_info = self.resolve(auth, &user, &mut loaded).await.map_err(|problem| self.missing(problem))?;
        loaded.config = config;
        self.context = current;
        self.server = Some(loaded.config.cluster_url.clone());
        Ok(loaded)
    }

    /// The server must be named in a way that kube can ask, and be the one that it was.
    fn check_server(&self, server: &Uri) -> Result<(), ClusterError> {
        let scheme = server.scheme_str().is_some_and(|s| s == "https" || s == "http");
        if !scheme || server.authority().is_none() {
            return Err(
                self.refused(&format!("{server} is not where an API server is; write server: https://HOST:PORT"))
            );
        }
        match &self.server {
            Some(was) if was != server => Err(ClusterError::Credentials(format!(
                "credentials refused: {} names another API server now ({server}, it was {was}), and a run goes on with the one \
                 that it began with only; put the credentials for {was} back",
                self.shown()
            ))),
            _ => Ok(()),
        }
    }

    /// What kube is to show, as values that it can send.
    async fn resolve(&self, auth: AuthInfo, user: &str, loaded: &mut Loaded) -> Result<AuthInfo, CredentialProblem> {
        let user = shown(user);
        let what = |what: &str| format!("the {what} of user {user:?}");
        let mut auth = auth;
        if let Some(provider) = auth.auth_provider.take() {
            // Kubernetes' own clients know none since 1.26.
            let issued = provider.config.get("id-token").map(|token| SecretString::from(token.clone()));
            if issued.is_none() {
                return Err(CredentialProblem::Missing(format!(
                    "user {user:?} has the auth-provider {:?}, which no client has known since Kubernetes 1.26; use an exec plugin",
                    shown(&provider.name)
                )));
            }
            (auth.token, auth.exec) = (issued, None);
        }
        let basic = auth.username.is_some() && auth.password.is_some();
        if !basic && let Some(inline) = auth.token.take().filter(|t| !t.expose_secret().is_empty()) {
            let inline = token(&what("token"), inline.expose_secret())?;
            loaded.ends.extend(ending::of_token(&inline).map(|until| self.facts(what("token"), until, None)));
            auth.token = Some(inline.into());
            (auth.token_file, auth.exec) = (None, None);
        } else if !basic && let Some(file) = auth.token_file.take().filter(|f| !f.is_empty()) {
            let file = PathBuf::from(file);
            loaded.files.push((file.clone(), Stamp::of(&file)));
            let text = problem::read("token file", &file)?;
            let text = String::from_utf8_lossy(&text);
            let inside = token(&format!("token file {}", problem::shown(&file)), &text)?;
            loaded.ends.extend(ending::of_token(&inside).map(|until| self.facts(what("token"), until, Some(&file))));
            auth.token = Some(inside.into());
            auth.exec = None;
        } else if !basic && let Some(exec) = auth.exec.take() {
            let issued = plugin::ask(&exec, self.plugin).await?;
            let command = shown(exec.command.as_deref().unwrap_or_default());
            loaded.issued_until = issued.expires()?;
            if let Some(issued) = issued.token.as_deref().filter(|t| !t.trim().is_empty()) {
                auth.token = Some(token(&format!("the token of the credential plugin {command}"), issued)?.into());
            }
            match (issued.client_certificate_data, issued.client_key_data) {
                (Some(certificate), Some(key)) if !certificate.is_empty() => {
                    // Within the plugin's own time it is asked again before that; a plugin that names none is not.
                    let until = ending::of_certificate(certificate.as_bytes());
                    loaded.issued_until = loaded.issued_until.into_iter().chain(until).min();
                    auth.client_certificate_data = Some(STANDARD.encode(certificate));
                    auth.client_key_data = Some(STANDARD.encode(key).into());
                }
                (Some(certificate), None) if !certificate.is_empty() => {
                    return Err(CredentialProblem::Missing(format!(
                        "the credential plugin {command} issued a certificate without its key"
                    )));
                }
                _ if auth.token.is_none() => {
                    return Err(CredentialProblem::Missing(format!(
                        "the credential plugin {command} issued neither a token nor a certificate"
                    )));
                }
                _ => {}
            }
            return self.named(auth, &what);
        }
        self.certificate(&mut auth, &what, loaded)?;
        self.named(auth, &what)
    }

    /// The client's certificate and key, from their files or as they stand there.
    fn certificate(
        &self,
        auth: &mut AuthInfo,
        what: &dyn Fn(&str) -> String,
        loaded: &mut Loaded,
    ) -> Result<(), CredentialProblem> {
        let mut from = None;
        if auth.client_certificate_data.is_none()
            && let Some(file) = auth.client_certificate.take().map(PathBuf::from)
        {
            loaded.files.push((file.clone(), Stamp::of(&file)));
            auth.client_certificate_data = Some(STANDARD.encode(problem::read(&what("client-certificate"), &file)?));
            from = Some(file);
        }
        if auth.client_key_data.is_none()
            && let Some(file) = auth.client_key.take().map(PathBuf::from)
        {
            loaded.files.push((file.clone(), Stamp::of(&file)));
            auth.client_key_data = Some(STANDARD.encode(problem::read(&what("client-key"), &file)?).into());
        }
        if let Some(data) = &auth.client_certificate_data {
            let until = STANDARD.decode(data.trim()).ok().and_then(|pem| ending::of_certificate(&pem));
            loaded.ends.extend(until.map(|until| self.facts(what("client certificate"), until, from.as_deref())));
        }
        Ok(())
    }

    /// Whom to act as.
    fn named(&self, mut auth: AuthInfo, what: &dyn Fn(&str) -> String) -> Result<AuthInfo, CredentialProblem> {
        let one = |field: &mut Option<String>, key: &str| -> Result<(), CredentialProblem> {
            if let Some(value) = field {
                *value = name(&what(key), value)?;
            }
            Ok(())
        };
        one(&mut auth.impersonate, "`as`")?;
        one(&mut auth.impersonate_uid, "`as-uid`")?;
        for group in auth.impersonate_groups.iter_mut().flatten() {
            *group = name(&what("`as-groups`"), group)?;
        }
        for value in auth.impersonate_user_extra.iter_mut().flatten().flat_map(|(_, values)| values) {
            *value = name(&what("`as-user-extra`"), value)?;
        }
        Ok(auth)
    }

    fn facts(&self, what: String, until: Timestamp, file: Option<&Path>) -> CredentialFacts {
        match file {
            None => CredentialFacts {
                what: format!("{what} in {}", self.shown()),
                until,
                mend: format!(
                    "write a new one into {} before then; it is read again when it changes, also while the run goes on",
                    problem::shown(&self.file)
                ),
            },
            Some(file) => CredentialFacts {
                what: format!("{what} in {}", problem::shown(file)),
                until,
                mend: "see to it that the file is renewed before then; it is read again when it changes, also while the run goes on"
                    .into(),
            },
        }
    }
}

/// The authority that signed the server's certificate, read here: kube would wait for a pipe.
fn authority(cluster: &mut Cluster, files: &mut Vec<(PathBuf, Option<Stamp>)>) -> Result<(), CredentialProblem> {
    if cluster.certificate_authority_data.is_none()
        && let Some(file) = cluster.certificate_authority.take().map(PathBuf::from)
    {
        files.push((file.clone(), Stamp::of(&file)));
        let read = problem::read("certificate-authority", &file)?;
        cluster.certificate_authority_data = Some(STANDARD.encode(read));
    }
    Ok(())
}

/// Why a kubeconfig cannot be read. The parser quotes the lines around a mistake, and a token may stand in one of them.
fn unreadable(error: &KubeconfigError) -> String {
    let KubeconfigError::Parse(error) = error else { return reason(error) };
    let line = error.location().map_or(String::new(), |at| format!(" at line {}", at.line()));
    format!("it is not what a kubeconfig should be{line}; see what is wrong with: kubectl config view")
}

/// An error with its causes, each once.
pub(super) fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
