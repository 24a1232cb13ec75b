//! A node as the engine reaches it.

use super::runner::{runner, uptime};
use super::*;

impl Fleet for World {
    fn node(&self, name: &NodeName) -> Option<Arc<dyn NodePort>> {
        self.lock().nodes.contains_key(name).then(|| Arc::new(Port { world: self.clone(), name: name.clone() }) as _)
    }

    fn credentials(&self) -> Vec<CredentialFacts> {
        Vec::new()
    }

    fn salt(&self) -> Option<Salt> {
        None
    }
}

struct Port {
    world: World,
    name: NodeName,
}

impl Port {
    fn move_leader(&self, to: &str, argv: &[String]) -> Result<Ran, NodeError> {
        let mut state = self.world.lock();
        let leads = state.etcd_leader.as_ref() == Some(&self.name);
        let target = state.nodes.keys().find(|n| member_id(n) == to).cloned();
        let node = state.nodes.get_mut(&self.name).unwrap();
        node.programs.push(argv.join(" "));
        let ran = |code, err: &str| Ok(Ran { code, out: String::new(), err: err.to_owned() });
        match (node.faults.leader_stays, target) {
            (Some((code, err)), _) => ran(code, err),
            (None, Some(target)) if leads => {
                state.etcd_leader = Some(target);
                ran(0, "")
            }
            _ => ran(1, "Error: no leader endpoint found at [http://127.0.0.1:2379]"),
        }
    }

    async fn with<T>(
        &self,
        act: impl FnOnce(&mut FakeNode, &mut usize) -> Result<T, NodeError>,
    ) -> Result<T, NodeError> {
        sleep(Duration::from_millis(5)).await;
        let mut state = self.world.lock();
        let mut ids = state.ids;
        let node = state.nodes.get_mut(&self.name).unwrap();
        let result = match node.faults.cut_until {
            Some(until) if Instant::now() < until => Err(NodeError::Unreachable(format!("{}: no route", self.name))),
            _ => act(node, &mut ids),
        };
        state.ids = ids;
        result
    }
}

/// Hexadecimal, as etcd states it.
fn member_id(node: &NodeName) -> String {
    crate::journal::sha256_hex(node.as_str().as_bytes())[..16].to_owned()
}

#[async_trait]
impl NodePort for Port {
    async fn look(&self, containers: &[ContainerName]) -> Result<Look, NodeError> {
        self.with(|node, _| {
            let left = node.boxes.keys().filter(|k| k.contains(".sonoba-")).map(|k| k.parse().unwrap());
            Ok(Look {
                running: containers.iter().filter_map(|c| running(c.as_str(), node)).collect(),
                leftovers: left.collect(),
            })
        })
        .await
    }

    async fn image_id(&self, image: &Image) -> Result<Option<String>, NodeError> {
        self.with(|node, _| Ok(node.images.contains(image).then(|| image_id(image)))).await
    }

    async fn pull(&self, image: &Image, progress: &(dyn Fn(PullProgress) + Send + Sync)) -> Result<Pulled, NodeError> {
        for done in 1..=3 {
            sleep(Duration::from_secs(1)).await;
            progress(PullProgress { done, total: 3 });
        }
        self.with(|node, _| {
            if node.faults.unpullable {
                return Err(NodeError::Failed("manifest unknown".into()));
            }
            let already = !node.images.insert(image.clone());
            Ok(Pulled { id: image_id(image), already })
        })
        .await
    }

    async fn prepare(&self, changes: &[Change]) -> Result<(), NodeError> {
        self.with(|node, ids| {
            for change in changes {
                *ids += 1;
                let next = Box1 {
                    id: format!("id{ids}"),
                    image: change.to.clone(),
                    running: false,
                    started: None,
                    stamp: Timestamp::UNIX_EPOCH,
                    restarts: 0,
                };
                node.boxes.insert(change.container.next(), next);
            }
            Ok(())
        })
        .await
    }

    async fn discard(&self, containers: &[ContainerName]) -> Result<(), NodeError> {
        self.with(|node, _| {
            containers.iter().for_each(|c| drop(node.boxes.remove(&c.next())));
            Ok(())
        })
        .await
    }

    async fn begin(&self, tx: &TxId, swap: &Swap, stop_timeout_s: u32, fence: &Fence) -> Result<(), NodeError> {
        let (fresh, unanswered) = self
            .with(|node, _| {
                node.admit(fence)?;
                let fresh = !node.txs.contains_key(tx);
                if fresh {
                    node.begun.push(tx.clone());
                    let deadline = Duration::from_millis(swap.deadline_ms);
                    let stop_timeout = Duration::from_secs(stop_timeout_s.into());
                    node.stops.push((stop_timeout_s, Instant::now()));
                    let new =
                        Tx { alive: true, changes: swap.changes.clone(), deadline, stop_timeout, ..Tx::default() };
                    node.txs.insert(tx.clone(), new);
                    node.faults.cut_until = node.faults.cut_at_begin.map(|cut| Instant::now() + cut);
                }
                Ok((fresh, node.faults.begin_unanswered))
            })
            .await?;
        if fresh {
            tokio::spawn(runner(self.world.clone(), self.name.clone(), tx.clone(), true));
        }
        if unanswered { Err(NodeError::TimedOut("no answer".into())) } else { Ok(()) }
    }

    async fn tx_state(&self, tx: &TxId) -> Result<TxState, NodeError> {
        self.with(|node, _| {
            let Some(t) = node.txs.get(tx) else { return Ok(TxState { uptime_ms: uptime(), ..TxState::default() }) };
            Ok(TxState {
                found: true,
                alive: t.alive,
                uptime_ms: uptime(),
                steps: t.steps.clone(),
                verdict: t.verdict,
                end: t.end,
                why: t.why.clone(),
            })
        })
        .await
    }

    async fn give_verdict(&self, tx: &TxId, verdict: Verdict, fence: &Fence) -> Result<Verdict, NodeError> {
        self.with(|node, _| {
            node.admit(fence)?;
            let t = node.txs.get_mut(tx).ok_or_else(|| NodeError::Failed("no such transaction".into()))?;
            Ok(*t.verdict.get_or_insert(verdict))
        })
        .await
    }

    async fn recover(&self, tx: &TxId, fence: &Fence) -> Result<(), NodeError> {
        let dead = self
            .with(|node, _| {
                node.admit(fence)?;
                if node.faults.recovery_dies {
                    return Ok(false);
                }
                Ok(node.txs.get_mut(tx).is_some_and(|t| !std::mem::replace(&mut t.alive, true) && t.end.is_none()))
            })
            .await?;
        if dead {
            tokio::spawn(runner(self.world.clone(), self.name.clone(), tx.clone(), false));
        }
        Ok(())
    }

    async fn forget(&self, tx: &TxId) -> Result<(), NodeError> {
        self.with(|node, _| {
            assert!(node.txs.get(tx).is_none_or(|t| t.end.is_some()), "{tx} is forgotten before its end");
            node.txs.remove(tx);
            Ok(())
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
        timeout(limit, self.exec(container, argv)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn knock(&self, check: &Check) -> Result<Answer, NodeError> {
        self.ask(check).await
    }

    async fn exec(&self, container: &ContainerName, argv: &[String]) -> Result<Ran, NodeError> {
        let takes = self.with(|node, _| Ok(node.faults.snapshot_takes)).await?;
        if argv.contains(&"save".into()) {
            sleep(takes).await;
        }
        if let Some(to) = argv.iter().position(|a| a == "move-leader").and_then(|at| argv.get(at + 1)) {
            return self.move_leader(to, argv);
        }
        let ran = |code, out: &str, err: &str| Ok(Ran { code, out: out.to_owned(), err: err.to_owned() });
        self.with(|node, _| {
            node.programs.push(argv.join(" "));
            let running = node.boxes.get(container.as_str()).is_some_and(|b| b.running);
            if !running {
                return Err(NodeError::Failed(format!("container {container} is not running")));
            }
            let path = argv.get(argv.len().saturating_sub(1)).cloned().unwrap_or_default();
            match argv[0].as_str() {
                "etcdctl" if node.faults.etcd_refuses => ran(1, "", "Error: context deadline exceeded"),
                "etcdctl" if argv.contains(&"endpoint".into()) => ran(0, "[]", ""),
                "df" if node.faults.etcd_room > 0 => {
                    ran(0, &format!("head\n/dev/a 9 9 {} 9% {path}\n", node.faults.etcd_room / 1024), "")
                }
                "etcdctl" if argv.contains(&"save".into()) => match node.faults.snapshot_fails {
                    Some(why) => ran(1, "", why),
                    None => {
                        node.snapshots.insert(path);
                        ran(0, "saved", "")
                    }
                },
                // etcdutl is not there: an etcd before 3.5.
                "etcdctl" if node.snapshots.contains(&argv[argv.len() - 2]) => {
                    ran(0, r#"{"hash":3512983,"revision":12,"totalKey":15,"totalSize":20480}"#, "")
                }
                program => ran(127, "", &format!("{program}: not found")),
            }
        })
        .await
    }

    async fn ask(&self, check: &Check) -> Result<Answer, NodeError> {
        let leads = self.world.lock().etcd_leader.as_ref() == Some(&self.name);
        let id = member_id(&self.name);
        // Kubernetes never stops writing.
        let committed = uptime() / 100;
        self.with(|node, _| {
            let component = match check.port {
                2379 | 2381 => Component::Etcd,
                6443 => Component::KubeApiserver,
                10257 => Component::KubeControllerManager,
                10259 => Component::KubeScheduler,
                10248 => Component::Kubelet,
                10256 => Component::KubeProxy,
                16443 => Component::Rivers,
                _ => Component::EtcdRivers,
            };
            let refused = || NodeError::Failed("connection refused".into());
            let draining = component == Component::Etcd && check.port == 2381 && node.faults.etcd_drains > Duration::ZERO;
            let prev = node.boxes.get("etcd.sonoba-prev").filter(|_| draining && !node.boxes.contains_key("etcd"));
            let b = node.boxes.get(component.as_str()).filter(|b| b.running).or(prev).ok_or_else(refused)?;
            if b.started.is_some_and(|at| at.elapsed() < Duration::from_millis(700)) {
                return Err(refused());
            }
            let new = [NEW, ETCD_NEW].contains(&b.image.as_str());
            if new && node.faults.never_healthy.contains(&component) {
                return Ok(Answer { status: 500, body: b"unhealthy".to_vec() });
            }
            let tag = b.image.short();
            let upstream = tag.rsplit_once('.').map_or(tag, |(u, _)| u);
            let body = match check.path.as_str() {
                "/version" => format!("{{\"gitVersion\":\"v{upstream}\"}}"),
                "/metrics" => format!(
                    "etcd_server_id{{server_id=\"{id}\"}} 1\netcd_mvcc_db_total_size_in_bytes 1000000\netcd_server_has_leader 1\netcd_server_is_leader {}\netcd_server_version{{server_version=\"{upstream}\"}} 1\n\
                     etcd_server_proposals_committed_total {}\netcd_server_proposals_applied_total {}\n",
                    u8::from(leads),
                    committed,
                    committed - node.faults.etcd_lag
                ),
                _ => "ok".into(),
            };
            Ok(Answer { status: 200, body: body.into_bytes() })
        })
        .await
    }

    async fn reconnect(&self) {}
}
