//! Every node over SSH: one connection a node, kept and shared, dialled again when it is broken.

use super::connection::{Connection, Target};
use super::contract::{Fence, TxId, TxState};
use super::docker::Engine;
use super::keys::Keys;
use super::known_hosts::KnownHosts;
use super::port::{Answer, Fleet, Inquiry, Look, NodeError, NodePort, PullProgress, Pulled, Ran};
use super::script::{self, Request, SCRIPT};
use super::{ask, containers, facts, limits};
use crate::fleet::{ContainerName, Image, Masker, NodeName, Salt, without_command};
use crate::inventory::{NodeEntry, SshProfile};
use crate::journal::Verdict;
use crate::plan::{Change, Check, CredentialFacts, ImageFacts, NodeFacts, Swap};
use async_trait::async_trait;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;

/// The nodes of a cluster over SSH. Nothing is dialled before the first call.
pub struct SshFleet {
    nodes: HashMap<NodeName, Arc<SshNode>>,
    dialer: Arc<Dialer>,
    masker: Arc<Masker>,
}

impl SshFleet {
    /// Reads the key and the known hosts. Arguments of containers leave their nodes masked, with a salt of this fleet's own.
    ///
    /// # Errors
    /// [`NodeError::Refused`] when either cannot be used, with what mends it.
    pub fn new(ssh: &SshProfile, nodes: &[NodeEntry]) -> Result<SshFleet, NodeError> {
        SshFleet::masking(ssh, nodes, Masker::new(Salt::new(rand::random()), []))
    }

    /// [`SshFleet::new`] with a masker of the caller's: with a plan's salt, masked arguments can be compared with the plan's.
    ///
    /// # Errors
    /// As [`SshFleet::new`].
    pub fn masking(ssh: &SshProfile, nodes: &[NodeEntry], masker: Masker) -> Result<SshFleet, NodeError> {
        let masker = Arc::new(masker);
        let jump = ssh.jump.as_ref().map(|jump| Target {
            name: "jump host".into(),
            host: jump.host.clone(),
            port: jump.port,
            user: jump.user.clone().unwrap_or_else(|| ssh.user.clone()),
        });
        let dialer = Arc::new(Dialer {
            hosts: Arc::new(KnownHosts::load(&ssh.known_hosts)?),
            keys: Keys::load(ssh.identity.as_deref())?,
            handshakes: Semaphore::new(ssh.max_handshakes.max(1)),
            limit: ssh.connect_timeout,
            jump,
            held_jump: Mutex::default(),
        });
        let node = |entry: &NodeEntry| {
            let target = Target {
                name: entry.name.to_string(),
                host: entry.address.clone(),
                port: entry.port,
                user: entry.user.clone().unwrap_or_else(|| ssh.user.clone()),
            };
            let node = SshNode { target, dialer: dialer.clone(), held: Mutex::default(), masker: masker.clone() };
            (entry.name.clone(), Arc::new(node))
        };
        Ok(SshFleet { nodes: nodes.iter().map(node).collect(), dialer: dialer.clone(), masker })
    }
}

impl Fleet for SshFleet {
    fn node(&self, name: &NodeName) -> Option<Arc<dyn NodePort>> {
        self.nodes.get(name).map(|node| node.clone() as Arc<dyn NodePort>)
    }

    fn credentials(&self) -> Vec<CredentialFacts> {
        self.dialer.keys.ends()
    }

    fn salt(&self) -> Option<Salt> {
        Some(self.masker.salt().clone())
    }
}

/// What all nodes share.
struct Dialer {
    hosts: Arc<KnownHosts>,
    keys: Keys,
    handshakes: Semaphore,
    /// Until a connection is logged in.
    limit: Duration,
    jump: Option<Target>,
    held_jump: Mutex<Option<Arc<Connection>>>,
}

impl Dialer {
    async fn dial(&self, target: &Target) -> Result<Arc<Connection>, NodeError> {
        let jump = match &self.jump {
            Some(jump) => Some(self.jump(jump).await?),
            None => None,
        };
        self.shake(target, jump).await
    }

    /// The one connection to the jump host.
    async fn jump(&self, target: &Target) -> Result<Arc<Connection>, NodeError> {
        let mut held = self.held_jump.lock().await;
        if let Some(connection) = held.as_ref().filter(|c| !c.closed()) {
            return Ok(connection.clone());
        }
        let connection = self.shake(target, None).await?;
        *held = Some(connection.clone());
        Ok(connection)
    }

    async fn shake(&self, target: &Target, jump: Option<Arc<Connection>>) -> Result<Arc<Connection>, NodeError> {
        // Waiting for a turn is not the node's fault, so its time limit begins after it.
        let Ok(_turn) = self.handshakes.acquire().await else {
            return Err(NodeError::Unreachable(target.says("the program is ending")));
        };
        match timeout(self.limit, Connection::dial(target, &self.hosts, &self.keys, jump)).await {
            Ok(connection) => connection.map(Arc::new),
            Err(_) => Err(NodeError::TimedOut(target.says(format!("no connection within {:?}", self.limit)))),
        }
    }
}

/// One node over SSH.
struct SshNode {
    target: Target,
    dialer: Arc<Dialer>,
    held: Mutex<Option<Arc<Connection>>>,
    masker: Arc<Masker>,
}

impl SshNode {
    /// The held connection, or a new one; says whether it is new. Only one is dialled at a time.
    async fn connection(&self) -> Result<(Arc<Connection>, bool), NodeError> {
        let mut held = self.held.lock().await;
        if let Some(connection) = held.as_ref().filter(|c| !c.closed()) {
            return Ok((connection.clone(), false));
        }
        let connection = self.dialer.dial(&self.target).await?;
        *held = Some(connection.clone());
        Ok((connection, true))
    }

    /// Does something over the held connection. When that turns out to be broken, it is done once more over a new one:
    /// every request of this port may be repeated.
    async fn with<T, F>(&self, act: impl Fn(Arc<Connection>) -> F) -> Result<T, NodeError>
    where
        F: Future<Output = Result<T, NodeError>>,
    {
        let (connection, fresh) = self.connection().await?;
        let result = act(connection.clone()).await;
        if fresh || !connection.closed() || !matches!(&result, Err(NodeError::Unreachable(_))) {
            return result;
        }
        act(self.connection().await?.0).await
    }

    /// Asks the swap script; puts it on the node first where it is missing. Returns its output.
    async fn script(&self, request: &Request, limit: Duration) -> Result<String, NodeError> {
        self.with(async |link| {
            let command = request.command();
            let what = "the swap script";
            let mut out = link.exec(what, &command, &[], limit).await?;
            // A shell's way to say that there is no such script; the script's own errors say who speaks.
            if matches!(out.status, Some(2 | 126 | 127)) && !out.stderr.starts_with(b"sonoba swap:") {
                let put = link
                    .exec("installing the swap script", &Request::Install.command(), SCRIPT.as_bytes(), limits::EXEC)
                    .await?;
                if put.status != Some(0) {
                    let why = String::from_utf8_lossy(&put.stderr).into_owned();
                    return Err(NodeError::Failed(link.says(format!("the swap script cannot be written: {why}"))));
                }
                out = link.exec(what, &command, &[], limit).await?;
            }
            if out.status != Some(0) {
                let why: String = without_command(&String::from_utf8_lossy(&out.stderr)).chars().take(400).collect();
                if out.status == Some(script::FENCED) {
                    let out = String::from_utf8_lossy(&out.stdout).into_owned();
                    let why = why.trim().trim_start_matches("sonoba swap: ").to_owned();
                    return Err(script::read_fenced(&out, link.says(why)));
                }
                let status = out.status.map_or_else(|| "a signal".into(), |s| format!("status {s}"));
                return Err(NodeError::Failed(link.says(format!("the swap script ended with {status}: {why}"))));
            }
            Ok(String::from_utf8_lossy(&out.stdout).into_owned())
        })
        .await
    }
}

#[async_trait]
impl NodePort for SshNode {
    async fn look(&self, names: &[ContainerName]) -> Result<Look, NodeError> {
        self.with(async |link| containers::look(&Engine::over(&link).await?, &self.masker, names).await).await
    }

    async fn image_id(&self, image: &Image) -> Result<Option<String>, NodeError> {
        self.with(async |link| containers::image_id(&Engine::over(&link).await?, image).await).await
    }

    async fn pull(&self, image: &Image, progress: &(dyn Fn(PullProgress) + Send + Sync)) -> Result<Pulled, NodeError> {
        if let Some(id) = self.image_id(image).await? {
            return Ok(Pulled { id, already: true });
        }
        let mut wait = limits::PULL_BACKOFF;
        for attempt in 1.. {
            let pulled = self.with(async |link| Engine::over(&link).await?.pull(image, progress).await).await;
            match pulled {
                Ok(()) => break,
                // Docker keeps the layers that are whole, so a further attempt goes on from there.
                Err(NodeError::Refused(why)) => return Err(NodeError::Refused(why)),
                Err(error) if attempt == limits::PULL_ATTEMPTS => return Err(error),
                Err(error) => tracing::debug!(%error, attempt, "pulling again"),
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        let id = self.image_id(image).await?.ok_or_else(|| {
            NodeError::Failed(self.target.says(format!("docker says that it pulled {image}, but does not have it")))
        })?;
        Ok(Pulled { id, already: false })
    }

    async fn prepare(&self, changes: &[Change]) -> Result<(), NodeError> {
        self.with(async |link| containers::prepare(&Engine::over(&link).await?, &self.masker, changes).await).await
    }

    async fn discard(&self, names: &[ContainerName]) -> Result<(), NodeError> {
        self.with(async |link| containers::discard(&Engine::over(&link).await?, names).await).await
    }

    async fn begin(&self, tx: &TxId, swap: &Swap, stop_timeout_s: u32, fence: &Fence) -> Result<(), NodeError> {
        let request = Request::Begin {
            tx: tx.clone(),
            fence: fence.clone(),
            deadline_ms: swap.deadline_ms,
            stop_timeout_s,
            containers: swap.changes.iter().map(|c| c.container.clone()).collect(),
        };
        self.script(&request, limits::BEGIN).await.map(drop)
    }

    async fn tx_state(&self, tx: &TxId) -> Result<TxState, NodeError> {
        let answer = self.script(&Request::State(tx.clone()), limits::EXEC).await?;
        script::read_state(&answer).map_err(|why| NodeError::Failed(self.target.says(why)))
    }

    async fn give_verdict(&self, tx: &TxId, verdict: Verdict, fence: &Fence) -> Result<Verdict, NodeError> {
        let answer = self.script(&Request::Verdict(tx.clone(), verdict, fence.clone()), limits::EXEC).await?;
        script::read_verdict(&answer)
            .ok_or_else(|| NodeError::Failed(self.target.says(format!("answered {answer:?} instead of a verdict"))))
    }

    async fn recover(&self, tx: &TxId, fence: &Fence) -> Result<(), NodeError> {
        self.script(&Request::Recover(tx.clone(), fence.clone()), limits::BEGIN).await.map(drop)
    }

    async fn forget(&self, tx: &TxId) -> Result<(), NodeError> {
        self.script(&Request::Forget(tx.clone()), limits::EXEC).await.map(drop)
    }

    async fn ask(&self, check: &Check) -> Result<Answer, NodeError> {
        self.with(async |link| ask::ask(&link, check, &self.target.host).await).await
    }

    async fn exec(&self, container: &ContainerName, argv: &[String]) -> Result<Ran, NodeError> {
        let id = self.with(async |link| Engine::over(&link).await?.create_exec(container, argv).await).await?;
        // Not repeated over a new connection, as all else is: it must not run twice at once.
        Engine::over(&self.connection().await?.0).await?.start_exec(&id, container, argv).await
    }

    async fn exec_within(&self, container: &ContainerName, argv: &[String], limit: Duration) -> Result<Ran, NodeError> {
        let id = self.with(async |link| Engine::over(&link).await?.create_exec(container, argv).await).await?;
        let engine = Engine::over(&self.connection().await?.0).await?;
        match timeout(limit, engine.start_exec(&id, container, argv)).await {
            Ok(ran) => ran,
            Err(_) => engine.end_of_exec(&id, container, argv, limit).await,
        }
    }

    async fn knock(&self, check: &Check) -> Result<Answer, NodeError> {
        let away = || NodeError::Unreachable(self.target.says("no connection stands"));
        // Whoever dials holds it; a knock is not worth waiting for that.
        let held = self.held.try_lock().ok().and_then(|held| held.clone()).filter(|link| !link.closed());
        let link = held.ok_or_else(away)?;
        ask::ask(&link, check, &self.target.host).await
    }

    async fn facts(&self, inquiry: &Inquiry) -> Result<NodeFacts, NodeError> {
        self.with(async |link| facts::facts(&link, &self.target.host, inquiry).await).await
    }

    async fn registry(&self, image: &Image) -> Result<Option<ImageFacts>, NodeError> {
        self.with(async |link| facts::registry(&link, image).await).await
    }

    async fn reconnect(&self) {
        // Requests under way keep theirs until they are done.
        self.held.lock().await.take();
    }
}
