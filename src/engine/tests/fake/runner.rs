//! What a node does by itself: a transaction's runner, and a kubelet that restarts containers.

use super::*;

/// What a kubelet does after its start that takes the old one's containers for changed.
async fn restart_containers(world: World, name: NodeName) {
    sleep(Duration::from_millis(500)).await;
    let graces: Vec<(String, u32)> = {
        let mut state = world.lock();
        let at = jiff::Timestamp::UNIX_EPOCH + state.zero.elapsed();
        let pods: Vec<(String, u32)> =
            state.nodes[&name].pods.iter().filter(|p| !p.ended).map(|p| (p.uid.clone(), p.grace_s)).collect();
        state.events.extend(pods.iter().map(|(uid, _)| PodEvent {
            uid: uid.clone(),
            reason: "Killing".into(),
            message: "Container c definition changed, will be restarted".into(),
            source: "kubelet".into(),
            at,
            count: 1,
        }));
        pods
    };
    for (uid, grace) in graces {
        let (world, name) = (world.clone(), name.clone());
        tokio::spawn(async move {
            sleep(Duration::from_secs(grace.into())).await;
            world.edit(name.as_str(), |n| {
                for container in n.pods.iter_mut().filter(|p| p.uid == uid).flat_map(|p| &mut p.containers) {
                    container.restarts += 1;
                    container.id += "'";
                }
            });
        });
    }
}

/// Milliseconds since the node's start.
pub(super) fn uptime() -> u64 {
    thread_local!(static ZERO: Instant = Instant::now());
    ZERO.with(|zero| zero.elapsed().as_millis() as u64) + 1_000_000
}

/// The node's own runner. `from` is false for one that takes over.
pub(super) async fn runner(world: World, name: NodeName, tx: TxId, from: bool) {
    let edit = |act: &mut dyn FnMut(&mut FakeNode, &mut Tx)| {
        let mut state = world.lock();
        let node = state.nodes.get_mut(&name).unwrap();
        let mut t = node.txs.remove(&tx).unwrap();
        act(node, &mut t);
        node.txs.insert(tx.clone(), t);
        state.measure();
    };
    let step = |t: &mut Tx, step, container: &str| {
        t.steps.push(TxStep { uptime_ms: uptime(), step, container: container.to_owned() });
    };
    let mut changes = Vec::new();
    edit(&mut |_, t| {
        t.alive = true;
        changes = t.changes.clone();
        if from {
            step(t, Step::Begun, "");
        }
    });
    let ms = |ms| sleep(Duration::from_millis(ms));
    for change in changes.iter().filter(|_| from) {
        let (now, prev, next) = (change.container.to_string(), change.container.prev(), change.container.next());
        let mut dies = false;
        let mut stops = Duration::from_millis(200);
        edit(&mut |node, t| {
            if change.component == Component::Etcd {
                stops = stops.max(node.faults.etcd_drains.min(t.stop_timeout));
            }
            let mut old = node.boxes.remove(&now).unwrap();
            old.running = false;
            node.boxes.insert(prev.clone(), old);
            t.first_stop.get_or_insert_with(Instant::now);
            step(t, Step::Stopping, &now);
            dies = node.faults.runner_dies;
            t.alive = !dies;
        });
        if dies {
            return;
        }
        sleep(stops).await;
        edit(&mut |node, t| {
            step(t, Step::Stopped, &now);
            let mut new = node.boxes.remove(&next).unwrap();
            new.running = true;
            new.started = Some(Instant::now());
            node.boxes.insert(now.clone(), new);
            step(t, Step::Started, &now);
            if node.faults.disturbs_a_pod {
                node.pods[0].ready = false;
            }
            if node.faults.restarts_containers && now == "kubelet" {
                tokio::spawn(restart_containers(world.clone(), name.clone()));
            }
        });
        ms(50).await;
    }
    edit(&mut |_, t| {
        if from {
            step(t, Step::Waiting, "")
        }
    });
    let mut verdict = None;
    while verdict.is_none() {
        ms(50).await;
        edit(&mut |node, t| {
            let late = node.faults.foreign_hand || t.first_stop.is_some_and(|at| at.elapsed() >= t.deadline);
            if t.verdict.is_none() && (late || !from) {
                t.verdict = Some(Verdict::Rollback);
                t.why = if from { "no verdict before the deadline".into() } else { "the runner was gone".into() };
            }
            verdict = t.verdict;
        });
    }
    let mut stuck = true;
    while stuck {
        ms(200).await;
        edit(&mut |node, _| stuck = node.faults.never_ends);
    }
    let mut ids = world.lock().ids;
    edit(&mut |node, t| {
        if node.faults.foreign_hand {
            for change in &changes {
                node.boxes.remove(&change.container.prev());
                ids += 1;
                let (id, image) = (format!("foreign{ids}"), change.from.clone());
                let made = Box1 { id, image, running: true, started: None, stamp: Timestamp::UNIX_EPOCH, restarts: 0 };
                node.boxes.insert(change.container.to_string(), made);
            }
            t.why = "something else made kubelet anew during the swap".into();
            t.end = Some(TxEnd::Foreign);
            return;
        }
        if node.faults.old_vanishes && verdict == Some(Verdict::Rollback) {
            changes.iter().for_each(|c| drop(node.boxes.remove(&c.container.prev())));
            t.why = "the old container of kubelet is gone, so the node cannot go back".into();
            t.end = Some(TxEnd::Broken);
            return;
        }
        for change in &changes {
            let (now, prev, next) = (change.container.to_string(), change.container.prev(), change.container.next());
            if verdict == Some(Verdict::Commit) {
                node.boxes.remove(&prev);
                step(t, Step::Removed, &now);
            } else if let Some(mut old) = node.boxes.remove(&prev) {
                node.boxes.remove(&next);
                old.running = true;
                old.started = Some(Instant::now());
                node.boxes.insert(now.clone(), old);
                step(t, Step::Restored, &now);
                if node.faults.restarts_containers && now == "kubelet" {
                    tokio::spawn(restart_containers(world.clone(), name.clone()));
                }
            } else {
                node.boxes.remove(&next);
            }
        }
        node.commits += usize::from(verdict == Some(Verdict::Commit));
        t.end = Some(if verdict == Some(Verdict::Commit) { TxEnd::Committed } else { TxEnd::RolledBack });
    });
}
