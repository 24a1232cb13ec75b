//! The first port against real OpenSSH and Docker: one worker's components swapped without an engine.

use crate::inspect::differences;
use crate::lab::Lab;
use crate::node::Node;
use crate::{components, parts, profile};
use color_eyre::eyre::{Result, ensure, eyre};
use serde_json::Value;
use sonoba::fleet::{Component, ContainerName, FenceToken, Image};
use sonoba::inventory::Profile;
use sonoba::journal::{Step, Verdict};
use sonoba::plan::{ArgEdit, Change, Check, Swap};
use sonoba::remote::{AskedContainer, Fence, Fleet, Inquiry, NodePort, SshFleet, TxEnd, TxId, TxState};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[test]
fn a_node_is_swapped_over_real_ssh_and_docker_and_rolls_back_without_a_verdict() -> Result<()> {
    if !parts::ready() {
        return Ok(());
    }
    let lab = Lab::start()?;
    let profile = Profile::load(&profile::write(&lab, profile::Wishes::default())?)?;
    let fleet = SshFleet::new(&profile.ssh, &profile.entries()?)?;
    // The master carries one of each, the most peculiar ones too.
    let node = lab.node("lab-m3");
    let port = fleet.node(&node.name.parse()?).ok_or_else(|| eyre!("the fleet does not know {}", node.name))?;
    lab.runtime.block_on(tells(&lab, node, &port))?;
    lab.runtime.block_on(commits(&lab, node, &port))?;
    lab.runtime.block_on(rolls_back(&lab, node, &port))?;
    lab.wait_healthy(Duration::from_secs(20))?;
    drop((port, fleet));
    lab.end()
}

/// What the node says of itself, and its registry of images.
async fn tells(lab: &Lab, node: &Node, port: &Arc<dyn NodePort>) -> Result<()> {
    let health: Check = "http://127.0.0.1:1/health".parse().map_err(|why: String| eyre!(why))?;
    let asked = |component: Component, config: &str| -> Result<AskedContainer> {
        Ok(AskedContainer {
            component,
            container: component.as_str().parse()?,
            config: Some(config.to_owned()),
            tls: None,
            health: health.clone(),
            metrics: None,
        })
    };
    // Any file will do: the lab's components have none.
    let there = "/etc/hostname";
    let containers = vec![asked(Component::Kubelet, there)?, asked(Component::KubeProxy, "/no/such/file")?];
    let old: Image = components::image("kubelet", &lab.old).parse()?;
    let new: Image = components::image("kubelet", &lab.new).parse()?;
    let inquiry = Inquiry { containers, images: vec![old.clone(), new.clone()] };
    let told = port.facts(&inquiry).await?;
    let arch = told.arch.clone().unwrap_or_default();
    ensure!(["amd64", "arm64"].contains(&arch.as_str()), "{told:?}");
    ensure!(matches!(told.cgroup, Some(1 | 2)) || told.cgroup.is_none(), "{told:?}");
    ensure!(told.kernel.is_some() && told.disk_free > Some(0) && told.disk_total > told.disk_free, "{told:?}");
    // One machine: one clock.
    ensure!(told.clock_off_ms.is_some_and(|off| off.abs() < 2_000), "{told:?}");
    ensure!(told.images.contains(&old) && !told.images.contains(&new), "{told:?}");
    ensure!(told.image_bytes[&old] > 0, "{told:?}");
    let policy = node.inspect("kubelet")?["HostConfig"]["RestartPolicy"]["Name"].as_str().map(str::to_owned);
    let kubelet = &told.components[&Component::Kubelet];
    ensure!(kubelet.restart_policy == policy && !kubelet.auto_remove, "{kubelet:?}, not {policy:?}");
    ensure!(kubelet.config.as_deref().is_some_and(|text| !text.trim().is_empty()), "{kubelet:?}");
    ensure!(told.components[&Component::KubeProxy].config.is_none(), "{told:?}");

    let known = port.registry(&new).await?.ok_or_else(|| eyre!("the registry does not tell of {new}"))?;
    ensure!(!known.missing && known.archs.iter().all(|a| *a == arch), "{known:?} on {arch}");
    let none = new.with_tag("9.9.9")?;
    let unknown = port.registry(&none).await?.ok_or_else(|| eyre!("the registry does not tell of {none}"))?;
    ensure!(unknown.missing, "{unknown:?}");
    Ok(())
}

/// Every component of the node at once, to the new images, by a verdict.
async fn commits(lab: &Lab, node: &Node, port: &Arc<dyn NodePort>) -> Result<()> {
    let names = names(node)?;
    let before: Vec<Value> = names.iter().map(|name| node.inspect(name.as_str())).collect::<Result<_>>()?;
    for image in lab.new.images() {
        let image: Image = image.parse()?;
        assert_eq!(port.image_id(&image).await?, None, "{image}");
        let pulled = port.pull(&image, &|_| ()).await?;
        ensure!(!pulled.already, "{image} was there already");
        assert_eq!(port.image_id(&image).await?, Some(pulled.id), "{image}");
    }
    let mut swap = swap(port, node, &names, &lab.new, 60_000).await?;
    // One argument goes on the way.
    let drop = ArgEdit::Drop { flag: "--proxy-mode".parse().map_err(|why: String| eyre!(why))? };
    swap.changes.iter_mut().filter(|c| c.component == Component::KubeProxy).for_each(|c| c.args = vec![drop.clone()]);
    port.prepare(&swap.changes).await?;
    let tx: TxId = "ports.lab-m3.s0001.1".parse()?;
    port.begin(&tx, &swap, 10, &fence()?).await?;
    // Idempotent: a second one finds the first.
    port.begin(&tx, &swap, 10, &fence()?).await?;
    until(port, &tx, |state| state.steps.iter().any(|s| s.step == Step::Waiting)).await?;
    assert_eq!(port.give_verdict(&tx, Verdict::Commit, &fence()?).await?, Verdict::Commit);
    assert_eq!(
        port.give_verdict(&tx, Verdict::Rollback, &fence()?).await?,
        Verdict::Commit,
        "the first verdict stands"
    );
    assert_eq!(until(port, &tx, |state| state.end.is_some()).await?.end, Some(TxEnd::Committed));
    port.forget(&tx).await?;
    for (name, old) in names.iter().zip(&before) {
        let new = node.inspect(name.as_str())?;
        assert_eq!(new["Config"]["Image"], components::image(name.as_str(), &lab.new), "{name}");
        assert_ne!(new["Id"], old["Id"], "{name}");
        let gone: &[&str] = match name.as_str() {
            "kube-proxy" => &[
                "/Args/1: \"--proxy-mode=nftables\" -> nothing",
                "/Config/Cmd/2: \"--proxy-mode=nftables\" -> nothing",
            ],
            _ => &[],
        };
        assert_eq!(differences(old, &new), gone, "{name}");
    }
    only_these_remain(node)
}

/// A right that does not run out.
pub fn fence() -> Result<Fence> {
    Ok(Fence { token: FenceToken::new(1), run: "ports".parse()?, until_ms: 99_999_999_999_999 })
}

/// Back to the old images, but nobody gives a verdict.
async fn rolls_back(lab: &Lab, node: &Node, port: &Arc<dyn NodePort>) -> Result<()> {
    let names: Vec<ContainerName> = ["kube-proxy", "kubelet"].iter().map(|n| n.parse()).collect::<Result<_, _>>()?;
    let before: Vec<Value> = names.iter().map(|name| node.inspect(name.as_str())).collect::<Result<_>>()?;
    let swap = swap(port, node, &names, &lab.old, 3_000).await?;
    port.prepare(&swap.changes).await?;
    let tx: TxId = "ports.lab-m3.s0002.1".parse()?;
    port.begin(&tx, &swap, 10, &fence()?).await?;
    until(port, &tx, |state| state.steps.iter().any(|s| s.step == Step::Stopped)).await?;
    // The network dies; the node is on its own.
    node.cut_ssh()?;
    let state = until(port, &tx, |state| state.end.is_some()).await?;
    assert_eq!((state.verdict, state.end), (Some(Verdict::Rollback), Some(TxEnd::RolledBack)), "{state:?}");
    port.forget(&tx).await?;
    for (name, old) in names.iter().zip(&before) {
        let now = node.inspect(name.as_str())?;
        assert_eq!(now["Id"], old["Id"], "{name} is the very container of before");
        assert_eq!(differences(old, &now), [""; 0], "{name}");
    }
    only_these_remain(node)
}

fn names(node: &Node) -> Result<Vec<ContainerName>> {
    Ok(components::names(node.kind).iter().map(|name| name.parse()).collect::<Result<_, _>>()?)
}

fn only_these_remain(node: &Node) -> Result<()> {
    let mut expected: Vec<&str> = components::names(node.kind).to_vec();
    expected.sort_unstable();
    assert_eq!(node.containers()?, expected);
    Ok(())
}

async fn swap(
    port: &Arc<dyn NodePort>,
    node: &Node,
    names: &[ContainerName],
    to: &crate::images::Release,
    deadline_ms: u64,
) -> Result<Swap> {
    let look = port.look(names).await?;
    ensure!(look.leftovers.is_empty(), "{look:?}");
    ensure!(look.running.len() == names.len() && look.running.iter().all(|r| r.running), "{look:?}");
    let changes = look.running.into_iter().map(|running| {
        let component: Component = running.container.as_str().parse().map_err(|why: String| eyre!(why))?;
        let to: Image = components::image(component.as_str(), to).parse()?;
        let (container, from) = (running.container, running.image);
        Ok(Change { component, container, from, from_id: running.id, to, args: Vec::new() })
    });
    Ok(Swap {
        id: "s0001".parse()?,
        node: node.name.parse()?,
        changes: changes.collect::<Result<_>>()?,
        deadline_ms,
        no_return: None,
    })
}

/// Asks until it is so; a broken connection is asked again over the next.
async fn until(port: &Arc<dyn NodePort>, tx: &TxId, holds: impl Fn(&TxState) -> bool) -> Result<TxState> {
    let begun = Instant::now();
    loop {
        match port.tx_state(tx).await {
            Ok(state) if holds(&state) => return Ok(state),
            Err(error) if !error.transient() => return Err(error.into()),
            other => ensure!(begun.elapsed() < Duration::from_secs(60), "still {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
