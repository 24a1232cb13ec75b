//! The port to a node, over the model.

use crate::chaos::Op;
use crate::stage::{Begun, Scene, Stage, running};
use async_trait::async_trait;
use sonoba::fleet::{Component, ContainerName, Image, NodeName, Salt};
use sonoba::journal::Verdict;
use sonoba::plan::{Change, Check, CredentialFacts, ImageFacts, NodeFacts, Swap};
use sonoba::remote::script::{FENCED, Request, read_fenced, read_verdict};
use sonoba::remote::{
    Answer, Fence, Fleet, Inquiry, Look, NodeError, NodePort, PullProgress, Pulled, Ran, TxId, TxState,
};
use sonoba::sim::model::{Health, Refusal};
use std::sync::Arc;
use std::time::Duration;

/// The limits of the real client.
const EXEC: Duration = Duration::from_secs(20);
const BEGIN: Duration = Duration::from_secs(30);
const DOCKER: Duration = Duration::from_secs(60);
const ASK: Duration = Duration::from_secs(5);

/// Every node, as one engine reaches them.
pub struct Nodes {
    pub stage: Stage,
    pub generation: u64,
}

struct Port {
    stage: Stage,
    generation: u64,
    at: usize,
}

impl Fleet for Nodes {
    fn node(&self, name: &NodeName) -> Option<Arc<dyn NodePort>> {
        let at = self.stage.scene().place(name)?;
        Some(Arc::new(Port { stage: self.stage.clone(), generation: self.generation, at }))
    }

    fn credentials(&self) -> Vec<CredentialFacts> {
        Vec::new()
    }

    fn salt(&self) -> Option<Salt> {
        None
    }
}

fn lost(timed_out: bool, why: &str) -> NodeError {
    if timed_out { NodeError::TimedOut(why.into()) } else { NodeError::Unreachable(why.into()) }
}

fn docker(refusal: Refusal) -> NodeError {
    NodeError::Failed(refusal.message)
}

impl Port {
    async fn call<T>(
        &self,
        op: Op,
        limit: Duration,
        act: impl FnOnce(&mut Scene, i64) -> Result<T, NodeError>,
    ) -> Result<T, NodeError> {
        self.stage.call(self.generation, op, Some(self.at), limit, lost, act).await
    }

    /// The same for what Docker's daemon answers.
    async fn docker<T>(
        &self,
        op: Op,
        act: impl FnOnce(&mut Scene, i64) -> Result<T, NodeError>,
    ) -> Result<T, NodeError> {
        let at = self.at;
        let up = |scene: &mut Scene, now: i64| {
            if !scene.world.machines()[at].docker_up(now) {
                return Err(NodeError::Unreachable("Docker does not answer; is dockerd running?".into()));
            }
            act(scene, now)
        };
        self.call(op, DOCKER, up).await
    }

    fn script(&self, scene: &mut Scene, now: i64, request: &Request) -> Result<String, NodeError> {
        let (machine, mut env) = scene.world.on(self.at, now);
        let reply = machine.script(request, now, &mut env);
        let at = self.at;
        scene
            .note(now, || format!("node {at}: {request:?}: {} {}{}", reply.status, reply.out.trim(), reply.err.trim()));
        let changes = matches!(request, Request::Begin { .. } | Request::Verdict(..) | Request::Recover(..));
        if reply.status == 0 && changes && scene.lease.of_rival() {
            scene.fail(now, format!("node {at} follows {request:?} while the rival holds the run lock"));
        }
        match reply.status {
            0 => Ok(reply.out),
            FENCED => Err(read_fenced(&reply.out, reply.err)),
            _ => Err(NodeError::Failed(reply.err)),
        }
    }
}

#[async_trait]
impl NodePort for Port {
    async fn look(&self, containers: &[ContainerName]) -> Result<Look, NodeError> {
        self.docker(Op::Look, |scene, now| {
            let (machine, _) = scene.world.on(self.at, now);
            let all = machine.containers();
            let left = containers.iter().flat_map(|c| [c.next(), c.prev()]);
            Ok(Look {
                running: containers
                    .iter()
                    .filter_map(|n| running(all.iter().find(|c| c.name == n.as_str())?))
                    .collect(),
                leftovers: left.filter(|n| all.iter().any(|c| c.name == *n)).filter_map(|n| n.parse().ok()).collect(),
            })
        })
        .await
    }

    async fn image_id(&self, image: &Image) -> Result<Option<String>, NodeError> {
        self.docker(Op::ImageId, |scene, now| {
            Ok(scene.world.on(self.at, now).0.image(image.as_str()).map(|(_, id)| id))
        })
        .await
    }

    async fn pull(&self, image: &Image, progress: &(dyn Fn(PullProgress) + Send + Sync)) -> Result<Pulled, NodeError> {
        let plan = self
            .docker(Op::Pull, |scene, now| {
                let (machine, mut env) = scene.world.on(self.at, now);
                machine.pull(image, now, &mut env).map_err(docker)
            })
            .await?;
        let already = plan.is_none();
        if let Some(plan) = plan {
            let total: u64 = plan.layers.iter().map(|(_, bytes)| bytes).sum();
            let ms = (total as f64 / plan.bytes_per_ms) as u64 / 2;
            for half in 1..=2 {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                progress(PullProgress { done: total * half / 2, total });
                if let Some(why) = &plan.fails {
                    return Err(NodeError::Failed(why.clone()));
                }
            }
        }
        self.docker(Op::Pulled, |scene, now| {
            let (machine, _) = scene.world.on(self.at, now);
            machine.add_image(image.as_str());
            let (_, id) = machine.image(image.as_str()).ok_or_else(|| NodeError::Failed("no such image".into()))?;
            Ok(Pulled { id, already })
        })
        .await
    }

    async fn prepare(&self, changes: &[Change]) -> Result<(), NodeError> {
        for change in changes {
            self.docker(Op::Prepare, |scene, now| {
                let name = scene.places[self.at].name.clone();
                if scene.books.durable.open_on(&name).is_none() {
                    scene.fail(now, format!("{name} is prepared, and no journal on disk says so"));
                }
                let (machine, _) = scene.world.on(self.at, now);
                let old = machine.find(change.container.as_str()).map_err(docker)?;
                if machine.containers()[old].id != change.from_id {
                    return Err(NodeError::Failed("it was created anew since the plan was made".into()));
                }
                let mut body = machine.containers()[old].body.clone();
                body["Image"] = change.to.as_str().into();
                if let Ok(next) = machine.find(&change.container.next()) {
                    machine.remove(next, true, now).map_err(docker)?;
                }
                machine.create(&change.container.next(), body, now).map(drop).map_err(docker)
            })
            .await?;
        }
        Ok(())
    }

    async fn discard(&self, containers: &[ContainerName]) -> Result<(), NodeError> {
        for name in containers {
            self.docker(Op::Discard, |scene, now| {
                let (machine, _) = scene.world.on(self.at, now);
                match machine.find(&name.next()) {
                    Ok(next) => machine.remove(next, true, now).map_err(docker),
                    Err(_) => Ok(()),
                }
            })
            .await?;
        }
        Ok(())
    }

    async fn begin(&self, tx: &TxId, swap: &Swap, stop_timeout_s: u32, fence: &Fence) -> Result<(), NodeError> {
        let request = Request::Begin {
            tx: tx.clone(),
            fence: fence.clone(),
            deadline_ms: swap.deadline_ms,
            stop_timeout_s,
            containers: swap.changes.iter().map(|c| c.container.clone()).collect(),
        };
        self.call(Op::Begin, BEGIN, |scene, now| {
            if scene.books.durable.of_tx(tx.as_str()).is_none_or(|s| !s.open) {
                scene.fail(now, format!("{tx} begins, and no intent is on disk"));
            }
            let moves_etcd = swap.changes.iter().any(|c| c.component == Component::Etcd);
            if moves_etcd && !scene.books.durable.snapshots.iter().any(|path| scene.has_snapshot(path)) {
                scene.fail(now, format!("{tx} moves etcd, and no snapshot that is there is on disk in the journal"));
            }
            let fresh = !scene.world.machines()[self.at].tx_state(tx, now).found;
            let earlier = scene.begun.iter().filter(|b| b.swap.id == swap.id && b.tx != *tx);
            let touched = scene.places[self.at].touched;
            if fresh && !touched && earlier.clone().any(|b| b.end == Some(sonoba::remote::TxEnd::Committed)) {
                scene.fail(now, format!("{tx} begins, and its swap is committed"));
            }
            self.script(scene, now, &request)?;
            if fresh {
                scene.begun.push(Begun {
                    node: self.at,
                    tx: tx.clone(),
                    began: now,
                    swap: swap.clone(),
                    end: None,
                    disturbing: false,
                    orphaned: false,
                });
            }
            Ok(())
        })
        .await
    }

    async fn tx_state(&self, tx: &TxId) -> Result<TxState, NodeError> {
        self.call(Op::State, EXEC, |scene, now| Ok(scene.world.on(self.at, now).0.tx_state(tx, now))).await
    }

    async fn give_verdict(&self, tx: &TxId, verdict: Verdict, fence: &Fence) -> Result<Verdict, NodeError> {
        self.call(Op::Verdict, EXEC, |scene, now| {
            let said = scene.books.durable.of_tx(tx.as_str()).and_then(|s| s.verdict);
            // A rollback may be given when the journal cannot be written any more.
            let unwritable = scene.disk_broken || scene.dropped_from.is_some();
            if said != Some(verdict) && !(verdict == Verdict::Rollback && unwritable) {
                scene.fail(now, format!("{verdict:?} is given to {tx}, and the journal on disk says {said:?}"));
            }
            let answer = self.script(scene, now, &Request::Verdict(tx.clone(), verdict, fence.clone()))?;
            read_verdict(&answer).ok_or_else(|| NodeError::Failed(format!("{answer:?} is no verdict")))
        })
        .await
    }

    async fn recover(&self, tx: &TxId, fence: &Fence) -> Result<(), NodeError> {
        self.call(Op::Recover, BEGIN, |scene, now| {
            self.script(scene, now, &Request::Recover(tx.clone(), fence.clone()))?;
            let taken_up = |b: &mut Begun| (b.began, b.orphaned) = (if b.orphaned { now } else { b.began }, false);
            scene.begun.iter_mut().filter(|b| b.tx == *tx).for_each(taken_up);
            Ok(())
        })
        .await
    }

    async fn forget(&self, tx: &TxId) -> Result<(), NodeError> {
        self.call(Op::Forget, EXEC, |scene, now| {
            if scene.books.durable.of_tx(tx.as_str()).is_some_and(|s| s.open) {
                scene.fail(now, format!("{tx} is forgotten, and its result is not on disk"));
            }
            scene.look_around(now);
            self.script(scene, now, &Request::Forget(tx.clone())).map(drop)
        })
        .await
    }

    async fn ask(&self, check: &Check) -> Result<Answer, NodeError> {
        self.call(Op::Ask, ASK, |scene, now| {
            let plan = scene.plan.clone();
            let of_port = |c: &Component| {
                let settings = plan.as_ref().and_then(|p| p.components.get(c));
                settings.is_some_and(|s| s.health.port == check.port)
            };
            let refused = || NodeError::Failed("connection refused".into());
            let component = Component::ALL.into_iter().find(of_port).ok_or_else(refused)?;
            let leads = u8::from(scene.world.etcd_leader().holder == self.at);
            let answer = |status: u16, body: String| Ok(Answer { status, body: body.into_bytes() });
            match (scene.world.health(self.at, component, now), check.path.as_str()) {
                (Health::Refused, _) => Err(refused()),
                (Health::Sick, "/metrics") => answer(200, "etcd_server_has_leader 0\n".into()),
                (Health::Sick, _) => answer(503, "not healthy".into()),
                (Health::Well(version), "/metrics") => answer(
                    200,
                    format!(
                        "etcd_server_has_leader 1\netcd_server_is_leader {leads}\n\
                         etcd_server_proposals_committed_total 7\netcd_server_proposals_applied_total 7\n\
                         etcd_server_version{{server_version=\"{version}\"}} 1\n"
                    ),
                ),
                (Health::Well(version), "/version") => answer(200, format!("{{\"gitVersion\":\"v{version}\"}}")),
                (Health::Well(_), _) => answer(200, "ok".into()),
            }
        })
        .await
    }

    /// No plan is made here: there is nothing to tell.
    async fn facts(&self, _: &Inquiry) -> Result<NodeFacts, NodeError> {
        Ok(NodeFacts::default())
    }

    async fn registry(&self, _: &Image) -> Result<Option<ImageFacts>, NodeError> {
        Ok(None)
    }

    async fn exec_within(&self, container: &ContainerName, argv: &[String], limit: Duration) -> Result<Ran, NodeError> {
        let late = || NodeError::TimedOut(format!("a program in {container} took longer than {limit:?}"));
        tokio::time::timeout(limit, self.exec(container, argv)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn knock(&self, check: &Check) -> Result<Answer, NodeError> {
        self.ask(check).await
    }

    async fn exec(&self, container: &ContainerName, argv: &[String]) -> Result<Ran, NodeError> {
        self.docker(Op::Exec, |scene, now| {
            let (machine, _) = scene.world.on(self.at, now);
            let id = machine.create_exec(container.as_str(), argv.to_vec()).map_err(docker)?;
            let ran = machine.start_exec(&id, now).map_err(docker)?;
            let at = self.at;
            scene.note(now, || format!("node {at}: {}: {} {}", argv.join(" "), ran.code, ran.err));
            Ok(Ran { code: ran.code, out: ran.out, err: ran.err })
        })
        .await
    }

    async fn reconnect(&self) {
        let _ = self.call(Op::Reconnect, ASK, |_, _| Ok(())).await;
    }
}
