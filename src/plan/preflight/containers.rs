//! What a container's own settings do to its swap.

use super::changes;
use crate::fleet::{Cluster, Component, NodeName, Running};
use crate::plan::findings::{Findings, Told};
use crate::plan::flags::words;
use crate::plan::{ContainerFacts, Facts, Phase, Settings, Severity, Share};
use jiff::SignedDuration;
use std::collections::BTreeSet;

/// kube-controller-manager's flag for how long a node may be silent.
const GRACE: &str = "node-monitor-grace-period";
/// The first kube-controller-manager whose grace period is [`GRACE_SINCE_MS`].
const LONGER_SINCE: (u32, u32) = (1, 32);
const GRACE_SINCE_MS: u64 = 50_000;
/// Docker's short form of an id. Characters.
const SHORT_ID: usize = 12;
/// What is shared by name and stays as it is when its container is replaced.
const VOLUMES: &str = "volumes";
/// A kubelet that is started again reports within this time. Milliseconds.
const REPORTS_MS: u64 = 5_000;

pub(super) fn check(cluster: &Cluster, facts: &Facts, settings: &Settings, phases: &[Phase], findings: &mut Findings) {
    let mut told = BTreeSet::new();
    for (node, change) in changes(phases) {
        let component = change.component;
        if !told.insert((node, component)) {
            continue;
        }
        let Some(container) = facts.nodes.get(node).and_then(|n| n.components.get(&component)) else { continue };
        if container.auto_remove {
            let text = format!("{component} runs with --rm: Docker removes it when it stops, so there is no way back");
            findings.on(node, Severity::Error, "auto-remove", text, "run it without --rm");
        }
        shared(cluster, phases, (node, component), container, findings);
        if container.restart_policy.as_deref() == Some("always") {
            let text = format!(
                "{component} has the restart policy always: a dockerd that is restarted within the few seconds of a swap \
                 starts the old container beside the new one"
            );
            let mend = "unless-stopped does the same but for that: docker update --restart unless-stopped NAME";
            findings.on(node, Severity::Warning, "restart-policy", text, mend);
        }
    }
    deadline(cluster, settings, phases, findings);
}

/// What is shared is bound to one container, and a swap puts another in its place.
fn shared(
    cluster: &Cluster,
    phases: &[Phase],
    (node, component): (&NodeName, Component),
    container: &ContainerFacts,
    findings: &mut Findings,
) {
    let runs = cluster.nodes.get(node).map(|n| &n.components);
    let moves = |of: Component| changes(phases).any(|(n, c)| n == node && c.component == of);
    let is = |running: &Running, of: &str| {
        running.container.as_str() == of || (of.len() >= SHORT_ID && running.id.starts_with(of))
    };
    for share in &container.shares {
        let Share { what, of } = share;
        let owner = runs.and_then(|all| all.iter().find(|(_, running)| is(running, of)).map(|(owner, _)| *owner));
        let whose = owner.map_or_else(|| of.clone(), |owner| owner.to_string());
        if what != VOLUMES && owner.is_some_and(moves) {
            let text = format!(
                "{component} uses the {what} of {whose}, which the plan replaces too: it would be left without"
            );
            let mend = "run it with its own, then plan again";
            findings.on(node, Severity::Error, "shares-replaced", text, mend);
        } else {
            let text = format!("{component} uses the {what} of the container {whose}, and its successor will too");
            findings.on(node, Severity::Warning, "shares", text, "see that the other container stays, and as it is");
        }
    }
    if !container.guests.is_empty() {
        let guests = container.guests.join(", ");
        let text =
            format!("the network of {component} is used by other containers, which lose it with the swap: {guests}");
        let told = Told::new(Severity::Error, "network-guests", text);
        let mend = "run them with a network of their own; or acknowledge this, and restart them after the swap";
        findings.tell(told.mend(mend).acknowledgeable(), Some(node));
    }
}

/// A failed kubelet must be back before its node counts as NotReady and its pods are evicted.
fn deadline(cluster: &Cluster, settings: &Settings, phases: &[Phase], findings: &mut Findings) {
    if !changes(phases).any(|(_, c)| c.component == Component::Kubelet) {
        return;
    }
    let kubelet = settings.of(Component::Kubelet);
    let needed = kubelet.deadline_ms + 1_000 * u64::from(kubelet.stop_timeout(false)) + REPORTS_MS;
    for node in cluster.masters() {
        let Some(manager) = node.components.get(&Component::KubeControllerManager) else { continue };
        let grace = grace_ms(manager);
        if needed > grace {
            let text = format!(
                "a kubelet that fails its swap is back after up to {} s (deadline, stop_timeout and {} s to report), and \
                 kube-controller-manager here takes a silent node for dead after {} s: its pods would be evicted",
                needed / 1_000,
                REPORTS_MS / 1_000,
                grace / 1_000
            );
            let mend = "shorten deadline and stop_timeout of [component.kubelet], or raise --node-monitor-grace-period";
            findings.on(&node.name, Severity::Error, "deadline-over-grace", text, mend);
        }
    }
}

/// How long the cluster lets a node be silent before it counts as NotReady: the shortest of its controller-managers', since any
/// of them may lead. Milliseconds.
pub fn node_monitor_grace_ms(cluster: &Cluster) -> u64 {
    let managers = cluster.masters().filter_map(|node| node.components.get(&Component::KubeControllerManager));
    managers.map(grace_ms).min().unwrap_or(Settings::NODE_MONITOR_GRACE_MS)
}

/// How long this controller-manager lets a node be silent. Milliseconds.
fn grace_ms(manager: &Running) -> u64 {
    let given = words(&manager.args).iter().rev().find(|w| w.is(GRACE)).and_then(|w| w.text().parse().ok());
    let given = given.and_then(|d: SignedDuration| u64::try_from(d.as_millis()).ok());
    given.unwrap_or_else(|| match manager.image.version() {
        Some(version) if version.minor_of() >= LONGER_SINCE => GRACE_SINCE_MS,
        _ => Settings::NODE_MONITOR_GRACE_MS,
    })
}
