//! Riding over an API server that is itself being restarted: which failures pass, and how long to wait for that.

use super::ClusterError;
use super::credentials::CredentialProblem;
use crate::fleet::clean;
use std::error::Error as StdError;
use std::io;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// Time limits of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For the call with all its tries.
    pub total: Duration,
    /// For one try.
    pub request: Duration,
    /// For the kubeconfig's credential plugin.
    pub plugin: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience { total: Duration::from_secs(30), request: Duration::from_secs(10), plugin: Duration::from_secs(20) }
    }
}

/// Why a call failed for good.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Somebody else changed the object since it was read, or created it first.
    Conflict,
    /// Anything else.
    Other(ClusterError),
}

impl From<Trouble> for ClusterError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Conflict => ClusterError::Refused("the object keeps changing in the cluster's API".into()),
            Trouble::Other(error) => error,
        }
    }
}

/// What one failed try means.
enum Fate {
    Again { why: String, after: Option<Duration> },
    Never(Trouble),
}

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

impl Patience {
    /// Asks until it is answered, refused for good, or the time is up. `what` completes "could not …".
    pub async fn ask<T, F, Fut>(&self, what: &str, mut op: F) -> Result<T, Trouble>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = kube::Result<T>>,
    {
        let deadline = Instant::now() + self.total;
        let mut wait = FIRST_WAIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let (why, after) = match timeout(self.request.min(left), op()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => match judge(what, &error) {
                    Fate::Never(trouble) => return Err(trouble),
                    Fate::Again { why, after } => (why, after),
                },
                Err(_) => ("no answer in time".to_owned(), None),
            };
            // Jitter keeps many swaps that wait for one API server from coming back all at once.
            let jittered = wait.mul_f64(rand::random_range(0.5..1.0));
            let next = Instant::now() + after.unwrap_or(jittered);
            if next >= deadline {
                let seconds = self.total.as_secs_f64();
                return Err(Trouble::Other(ClusterError::Away(format!(
                    "could not {what} within {seconds} s: {why}; check that the API server answers: kubectl get --raw /readyz"
                ))));
            }
            tracing::debug!(what, why, "the API is asked again");
            sleep_until(next).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }
}

fn judge(what: &str, error: &kube::Error) -> Fate {
    let never = |text: String| Fate::Never(Trouble::Other(ClusterError::Refused(text)));
    match error {
        kube::Error::Api(status) => {
            let said = shown(if status.message.is_empty() { &status.reason } else { &status.message });
            match status.code {
                409 => Fate::Never(Trouble::Conflict),
                // 410: a paged list took so long that its snapshot is gone; it starts anew.
                408 | 410 | 429 | 500.. => {
                    let after = status.details.as_ref().map(|d| d.retry_after_seconds).filter(|s| *s > 0);
                    Fate::Again {
                        why: format!("the API server answered {} {said}", status.code),
                        after: after.map(|s| Duration::from_secs(s.into())),
                    }
                }
                401 => Fate::Never(Trouble::Other(ClusterError::Credentials(format!(
                    "could not {what}: credentials refused: the API server answered 401 {said}; renew those in the kubeconfig"
                )))),
                403 => never(format!(
                    "could not {what}: {said}; grant what docs/rbac.yaml lists: kubectl apply -f rbac.yaml"
                )),
                code => never(format!("could not {what}: the API server answered {code} {said}")),
            }
        }
        kube::Error::SerdeError(e) => {
            never(format!("could not {what}: the answer is not what Kubernetes would send: {}", shown(&e.to_string())))
        }
        other => match (credentials(other), for_good(other)) {
            (Some(problem), _) => {
                Fate::Never(Trouble::Other(ClusterError::Credentials(format!("could not {what}: {problem}"))))
            }
            (None, Some(why)) => never(format!("could not {what}: {why}")),
            (None, None) => Fate::Again { why: root(other), after: None },
        },
    }
}

/// The error, where asking again is in vain. `what` completes "could not …".
pub(super) fn refusal(what: &str, error: &kube::Error) -> Option<ClusterError> {
    match judge(what, error) {
        Fate::Never(Trouble::Other(refused)) => Some(refused),
        Fate::Never(Trouble::Conflict) | Fate::Again { .. } => None,
    }
}

/// What an error is about that came through kube from the credentials.
fn credentials(error: &kube::Error) -> Option<&CredentialProblem> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// An error and what caused it, down to the first.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    fn cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
        // `io::Error::source` passes over the error that it wraps.
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        }
    }
    std::iter::successors(Some(error), |error| cause(*error))
}

/// What went wrong in TLS, where something did.
fn tls(error: &kube::Error) -> Option<&rustls::Error> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// Whether the failure lies in the configuration, so that asking again is in vain.
pub(super) fn for_good(error: &kube::Error) -> Option<String> {
    match tls(error)? {
        rustls::Error::InvalidCertificate(why) => Some(format!(
            "the API server's certificate is not trusted ({}); {}",
            shown(&distrust(why)),
            trust_again(why)
        )),
        rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => Some(
            "what answers there does not speak TLS; look at `server` in the kubeconfig: its port, and https:// or http://".into(),
        ),
        _ => None,
    }
}

/// Whether the API server ended the handshake over what the client is, and how.
pub(super) fn client_refused(error: &kube::Error) -> Option<String> {
    use rustls::AlertDescription as Alert;
    let rustls::Error::AlertReceived(alert) = tls(error)? else { return None };
    let why = match alert {
        Alert::CertificateExpired => "it has expired",
        Alert::CertificateRevoked => "it is revoked",
        Alert::UnknownCA => "who signed it is not known there",
        Alert::CertificateRequired | Alert::NoCertificate => "there is none",
        Alert::BadCertificate | Alert::CertificateUnknown | Alert::UnsupportedCertificate | Alert::AccessDenied => {
            "it is not accepted"
        }
        _ => return None,
    };
    Some(format!("the API server ends the handshake over the client's certificate ({why})"))
}

/// The innermost cause: what the layers above repeat in longer words.
fn root(error: &kube::Error) -> String {
    let mut cause: &dyn StdError = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    shown(&cause.to_string())
}

/// Text from outside, cleaned and cut to a length that a line bears.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 300;
    let text = clean(text);
    match text.char_indices().nth(LONGEST) {
        Some((i, _)) => format!("{}…", &text[..i]),
        None => text,
    }
}

/// Why a certificate is not trusted, in words.
fn distrust(why: &rustls::CertificateError) -> String {
    use rustls::CertificateError as Why;
    match why {
        Why::Expired | Why::ExpiredContext { .. } => "it has expired".to_owned(),
        Why::NotValidYet | Why::NotValidYetContext { .. } => "it is not valid yet".to_owned(),
        Why::UnknownIssuer => "its issuer is unknown".to_owned(),
        Why::NotValidForName | Why::NotValidForNameContext { .. } => "it is for another name".to_owned(),
        Why::Revoked => "it is revoked".to_owned(),
        Why::BadSignature => "its signature is wrong".to_owned(),
        // The library's own sentence.
        other => other.to_string(),
    }
}

/// What to do about a certificate that is not trusted.
fn trust_again(why: &rustls::CertificateError) -> &'static str {
    use rustls::CertificateError as Why;
    match why {
        Why::Expired | Why::ExpiredContext { .. } => {
            "renew it on the API server (kubeadm certs renew apiserver, or as your installer does), or correct this machine's clock"
        }
        Why::NotValidYet | Why::NotValidYetContext { .. } => "compare this machine's clock with the API server's",
        Why::NotValidForName | Why::NotValidForNameContext { .. } => {
            "use a name or address in `server` that the certificate has, or set tls-server-name in the kubeconfig"
        }
        _ => "correct certificate-authority in the kubeconfig",
    }
}
