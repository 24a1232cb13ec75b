//! Every request goes through here: with the credentials that hold now.

use super::load::{Loaded, Source, Stamp, reason};
use super::problem::CredentialProblem;
use crate::k8s::ClusterError;
use crate::k8s::patience::{self, for_good};
use crate::plan::CredentialFacts;
use http_body_util::Limited;
use hyper::{Request, Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::client::{Body, ClientBuilder, DynBody};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::time::Instant;
use tower::BoxError;
use tower::util::MapResponseLayer;

/// Bytes of one answer: a page of large nodes has a twentieth of it. A watch that had so much to tell begins anew.
const LONGEST: usize = 256 << 20;
/// Between two looks at whether the files changed.
const LOOK: Duration = Duration::from_secs(1);
/// Between two readings that the API server's refusal asks for: a plugin may log in somewhere.
const AGAIN: Duration = Duration::from_secs(5);
/// What a plugin issued is renewed so long before it ends.
const AHEAD: SignedDuration = SignedDuration::from_secs(60);
/// Requests wait for that only when it is so close.
const URGENT: SignedDuration = SignedDuration::from_secs(5);

/// Keeps credentials that hold: reads them anew when their files changed, when a plugin's are about to end, when the API server
/// refuses them, and when it is told to. Until new ones could be read the old ones stay, as with kubectl.
pub(in crate::k8s) struct Renewer {
    current: RwLock<Arc<Current>>,
    reading: tokio::sync::Mutex<Reading>,
    /// Whether the last answer refused them. A watch that was begun before goes on all the same.
    refused: AtomicBool,
    connect: Duration,
}

struct Reading {
    source: Source,
    /// When it was last read, and why that failed.
    last: (Instant, Result<(), ClusterError>),
}

/// Credentials as they were read once.
struct Current {
    generation: u64,
    client: Client,
    files: Vec<(PathBuf, Option<Stamp>)>,
    issued_until: Option<Timestamp>,
    ends: Vec<CredentialFacts>,
    looked: Mutex<Instant>,
}

/// The client that everything else asks with.
pub(in crate::k8s) fn client(renewer: &Arc<Renewer>) -> Client {
    let renewer = Arc::clone(renewer);
    let service = tower::service_fn(move |request: Request<Body>| {
        let renewer = Arc::clone(&renewer);
        async move { renewer.send(request).await }
    });
    Client::new(service, "default")
}

impl Renewer {
    /// Reads the credentials for the first time. A connection may take `connect`.
    ///
    /// # Errors
    /// See [`Source::load`].
    pub(in crate::k8s) async fn start(mut source: Source, connect: Duration) -> Result<Arc<Renewer>, ClusterError> {
        let loaded = source.load().await?;
        let current = Current::new(1, loaded, &source, connect)?;
        let last = (Instant::now(), Ok(()));
        let reading = tokio::sync::Mutex::new(Reading { source, last });
        Ok(Arc::new(Renewer {
            current: RwLock::new(Arc::new(current)),
            reading,
            refused: AtomicBool::new(false),
            connect,
        }))
    }

    /// Reads everything anew now, and asks the plugin.
    ///
    /// # Errors
    /// See [`Source::load`]; the credentials that were there stay then.
    pub(in crate::k8s) async fn renew(self: &Arc<Self>) -> Result<(), ClusterError> {
        self.read_anew(self.current().generation, true).await.map(drop)
    }

    /// What ends by itself, and is not renewed by asking a plugin.
    pub(in crate::k8s) fn ends(&self) -> Vec<CredentialFacts> {
        self.current().ends.clone()
    }

    /// Whether the API server refused them last.
    pub(in crate::k8s) fn refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends a request; one that is refused for its credentials once more, with those that there are by then.
    async fn send(self: Arc<Self>, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let answer = Arc::clone(&self).ask(request).await;
        match &answer {
            Ok(_) => self.refused.store(false, Ordering::Relaxed),
            Err(error) if error.is::<CredentialProblem>() => self.refused.store(true, Ordering::Relaxed),
            // Nobody answered: what was known before still holds.
            Err(_) => {}
        }
        answer
    }

    async fn ask(self: Arc<Self>, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let current = self.fresh().await;
        let again = copy(&request);
        let answer = current.client.send(request).await;
        let (Some(why), Some(again)) = (refusal(&answer), again) else { return Ok(answer?) };
        tracing::debug!(why, "the credentials are read anew");
        let next = match self.read_anew(current.generation, false).await {
            Ok(next) => next,
            Err(error) => {
                let problem = CredentialProblem::Refused(format!("{why}, and they could not be read anew: {error}"));
                return Err(problem.into());
            }
        };
        let why = if next.generation == current.generation {
            why
        } else {
            let answer = next.client.send(again).await;
            let Some(why) = refusal(&answer) else { return Ok(answer?) };
            why
        };
        let source = self.reading.lock().await.source.shown();
        Err(CredentialProblem::Refused(format!(
            "{why}; renew what {source} holds (it works when kubectl get nodes does): it is read again when it changes, and on \
             `sonoba resume`"
        ))
        .into())
    }

    /// The credentials to use now.
    async fn fresh(self: &Arc<Self>) -> Arc<Current> {
        let current = self.current();
        let left = current.issued_until.map(|until| Timestamp::now().duration_until(until));
        if current.changed() || left.is_some_and(|left| left <= URGENT) {
            let force = current.changed_since_read();
            return match self.read_anew(current.generation, force).await {
                Ok(next) => next,
                Err(error) => {
                    tracing::warn!("the credentials could not be read anew, so the old ones are used: {error}");
                    current
                }
            };
        }
        if left.is_some_and(|left| left <= AHEAD) && self.reading.try_lock().is_ok() {
            let (this, generation) = (Arc::clone(self), current.generation);
            tokio::spawn(async move { this.read_anew(generation, false).await.map(drop) });
        }
        current
    }

    /// Reads everything anew, unless somebody did since `generation`, or (but for `force`) a moment ago. Goes on to its end when
    /// the request that wants it is given up: a plugin may need longer than a request has.
    async fn read_anew(self: &Arc<Self>, generation: u64, force: bool) -> Result<Arc<Current>, ClusterError> {
        let this = Arc::clone(self);
        let task = tokio::spawn(async move {
            let mut reading = this.reading.lock().await;
            let current = this.current();
            if current.generation != generation {
                return Ok(current);
            }
            let (at, outcome) = &reading.last;
            if !force && at.elapsed() < AGAIN {
                return outcome.clone().map(|()| current);
            }
            let loaded = reading.source.load().await;
            let next = loaded.and_then(|loaded| Current::new(generation + 1, loaded, &reading.source, this.connect));
            reading.last = (Instant::now(), next.as_ref().map(drop).map_err(Clone::clone));
            let next = Arc::new(next?);
            *this.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&next);
            Ok(next)
        });
        task.await.unwrap_or_else(|error| Err(ClusterError::Refused(format!("sonoba itself broke down: {error}"))))
    }
}

impl Current {
    fn new(generation: u64, loaded: Loaded, source: &Source, connect: Duration) -> Result<Current, ClusterError> {
        let Loaded { mut config, files, issued_until, ends } = loaded;
        config.connect_timeout = Some(connect);
        // `Patience` tries again, and says so; two of them would multiply.
        config.default_retry = false;
        let builder =
            ClientBuilder::try_from(config).map_err(|e| source.refused(&for_good(&e).unwrap_or_else(|| reason(&e))))?;
        let limit =
            MapResponseLayer::new(|answer: Response<Box<DynBody>>| answer.map(|body| Limited::new(body, LONGEST)));
        let client = builder.with_layer(&limit).build();
        let now = Instant::now();
        Ok(Current { generation, client, files, issued_until, ends, looked: Mutex::new(now) })
    }

    /// Whether a file changed since, looked at now and then.
    fn changed(&self) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.elapsed() < LOOK {
            return false;
        }
        *looked = Instant::now();
        self.changed_since_read()
    }

    fn changed_since_read(&self) -> bool {
        self.files.iter().any(|(path, stamp)| Stamp::of(path) != *stamp)
    }
}

/// The same request once more; none where its body can be read only once.
fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(request.body().try_clone()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    copy.headers_mut().clone_from(request.headers());
    copy.extensions_mut().clone_from(request.extensions());
    Some(copy)
}

/// Whether the credentials were refused, and how.
fn refusal(answer: &kube::Result<Response<Body>>) -> Option<String> {
    match answer {
        Ok(answer) if answer.status() == StatusCode::UNAUTHORIZED => {
            Some("the API server answers 401 Unauthorized".into())
        }
        Ok(_) => None,
        Err(error) => patience::client_refused(error),
    }
}
