//! The verdict: whether what runs on the node now is the new, and well.

use super::probe::Felt;
use super::visit::{Visit, containers};
use crate::fleet::{Component, Version, clean};
use crate::journal::{Event, JournalError, Step};
use crate::plan::{Change, Check};
use crate::remote::{Answer, NodePort, TxState};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Between the two looks that must both find everything well: a container that dies right after its start is caught.
const SETTLE: Duration = Duration::from_secs(1);

/// How a downtime is known that was not felt from outside.
const BY_NODE: &str = "by the node's clock, from the stop of the old container to the start of the new one";

/// What one look came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    /// Well, twice in a row.
    Healthy,
    /// Not yet; what is missing.
    NotYet(String),
    /// It will not get well by waiting.
    Broken(String),
}

/// Looks at one swap's components until a verdict can be given.
#[derive(Debug, Default)]
pub(super) struct Verifier {
    /// When the last look found everything well, and the containers' ids then.
    well: Option<(Instant, BTreeMap<Component, String>)>,
    fresh: bool,
}

impl Verifier {
    /// Looks once. Only to be called when the node has started everything.
    pub(super) async fn look(&mut self, visit: &mut Visit, state: &TxState) -> Result<Finding, JournalError> {
        if self.well.as_ref().is_some_and(|(at, _)| at.elapsed() < SETTLE) {
            return Ok(Finding::NotYet("it is well, and watched for a moment".into()));
        }
        if !self.fresh && visit.swap.changes.iter().any(|c| c.component.carries_the_way_in()) {
            // What was changed may be what we came in through: only a new connection proves that it works.
            visit.port.reconnect().await;
            self.fresh = true;
        }
        let ids = match self.containers(visit).await {
            Ok(ids) => ids,
            Err(finding) => return Ok(self.unwell(finding)),
        };
        for change in visit.swap.changes.clone() {
            if let Err(why) = component_is_well(visit, &change).await {
                return Ok(self.unwell(Finding::NotYet(why)));
            }
            if let Err(why) = announce(visit, &change, state)? {
                return Ok(self.unwell(Finding::NotYet(why)));
            }
        }
        let pods = match visit.shared.ports.cluster.pods(&visit.node.name).await {
            Ok(pods) => pods,
            Err(error) => return Ok(self.unwell(Finding::NotYet(format!("its pods cannot be compared: {error}")))),
        };
        let disturbed = visit.judge_pods(&pods).await?.disturbed;
        let harm = (disturbed.first()).map(|first| {
            let what = first.cleaned();
            match disturbed.len() {
                1 => format!("1 pod disturbed: {what}"),
                n => format!("{n} pods disturbed, the first: {what}"),
            }
        });
        if let Some(harm) = harm {
            if visit.change_to(Component::Kubelet).is_some() {
                // It is well, so that going back would only do the harm once more.
                visit.kept = format!(
                    "{harm}; the swap is kept: rolling a kubelet back would restart these containers once more"
                );
            } else {
                return Ok(self.unwell(Finding::Broken(harm)));
            }
        }
        match self.well.replace((Instant::now(), ids.clone())) {
            Some((_, before)) if before == ids => Ok(Finding::Healthy),
            Some(_) => Ok(Finding::NotYet("a container was made anew meanwhile".into())),
            None => Ok(Finding::NotYet("it is well, and watched for a moment".into())),
        }
    }

    fn unwell(&mut self, finding: Finding) -> Finding {
        self.well = None;
        finding
    }

    /// Every container runs the new image; their ids.
    async fn containers(&self, visit: &Visit) -> Result<BTreeMap<Component, String>, Finding> {
        let seen = visit.port.look(&containers(&visit.swap)).await.map_err(|e| Finding::NotYet(e.to_string()))?;
        let mut ids = BTreeMap::new();
        for change in &visit.swap.changes {
            let name = &change.container;
            let Some(running) = seen.running.iter().find(|r| r.container == *name) else {
                return Err(Finding::NotYet(format!("container {name} is not there")));
            };
            if !running.running {
                return Err(Finding::Broken(format!("the new {name} was started and does not run (any more)")));
            }
            let right = match visit.images.get(&change.component) {
                Some(id) => running.image_id == *id,
                None => running.image == change.to,
            };
            if !right {
                return Err(Finding::NotYet(format!("container {name} runs {}, not {}", running.image, change.to)));
            }
            ids.insert(change.component, running.id.clone());
        }
        Ok(ids)
    }
}

/// Writes down that a component is well, once, and how long it was away for its clients.
///
/// # Errors
/// Within the result, in words: its clients are still refused.
fn announce(visit: &mut Visit, change: &Change, state: &TxState) -> Result<Result<(), String>, JournalError> {
    let component = change.component;
    if visit.announced.contains(&component) {
        return Ok(Ok(()));
    }
    let uptime = |step| {
        let mut steps = state.steps.iter();
        steps.find(|s| s.step == step && s.container == change.container.as_str()).map(|s| s.uptime_ms)
    };
    // The node's own clock stands in where no gap was seen from outside.
    let by_node = || Some(uptime(Step::Started)?.saturating_sub(uptime(Step::Stopping)?));
    let (downtime_ms, how) = match visit.probes.felt(component) {
        Some((Felt::Gap(ms), how)) => (ms, how),
        // Its arguments change too: its clients' door may be another now.
        Some((Felt::Away, _)) if !change.args.is_empty() => (by_node().unwrap_or_default(), BY_NODE.to_owned()),
        Some((Felt::Away, how)) => {
            return Ok(Err(format!("{component} says that it is well, and its clients are refused ({how})")));
        }
        Some((Felt::NoGap, how)) => {
            (by_node().unwrap_or_default(), format!("{BY_NODE}; none of the {how} was refused"))
        }
        None => (by_node().unwrap_or_default(), BY_NODE.to_owned()),
    };
    visit.announced.insert(component);
    visit.probes.stop(component);
    let (swap, node) = visit.ids();
    visit.shared.log.tell(Event::SwapHealthy { swap, node, component, downtime_ms, how })?;
    Ok(Ok(()))
}

/// Health, version and (for kubelet) what Kubernetes says of the node.
async fn component_is_well(visit: &Visit, change: &Change) -> Result<(), String> {
    let component = change.component;
    let Some(settings) = visit.settings(component) else {
        return Err(format!("the plan does not say how {component} is checked"));
    };
    healthy(visit.port.as_ref(), component, &settings.health).await?;
    let Some(wanted) = change.to.version() else {
        // A reference by digest alone states no version: the image's id, checked before, is the proof.
        return if component == Component::Kubelet { node_is_ready(visit, None).await } else { Ok(()) };
    };
    if let Some(check) = &settings.version {
        let answer = visit.port.ask(check).await.map_err(|e| format!("{component}: {e}"))?;
        let found = version_in(&answer).ok_or_else(|| format!("{component}: {check} states no version"))?;
        if !found.same_upstream(wanted) {
            return Err(format!("{component} says that it is {found}, not {wanted}"));
        }
    }
    if component == Component::Kubelet {
        node_is_ready(visit, Some(wanted)).await?;
    }
    Ok(())
}

/// Asks a component's health endpoint.
///
/// # Errors
/// In words, when it does not answer that it is well.
pub(super) async fn healthy(port: &dyn NodePort, component: Component, check: &Check) -> Result<(), String> {
    match port.ask(check).await {
        Ok(answer) => {
            // etcd says so in the body too, and older ones with a status of 200.
            let complaint = Some(&answer).filter(|_| component == Component::Etcd).and_then(complaint);
            match (answer.ok(), complaint) {
                (true, None) => Ok(()),
                (true, Some(why)) => Err(format!("{component}: {check} answers that it is not healthy{why}")),
                (false, why) => {
                    Err(format!("{component}: {check} answers {}{}", answer.status, why.unwrap_or_default()))
                }
            }
        }
        Err(error) => Err(format!("{component}: {check} does not answer: {error}")),
    }
}

/// What an etcd that is not healthy says: nothing before 3.5, then for instance `ALARM NOSPACE` or `RAFT NO LEADER`.
/// Every member says so when one raised an alarm.
fn complaint(answer: &Answer) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    let health = body.get("health")?;
    if *health != "false" && *health != false {
        return None;
    }
    let reason = body.get("reason").and_then(|r| r.as_str()).map(clean).unwrap_or_default();
    let reason: String = reason.chars().take(120).collect();
    Some(if reason.is_empty() { reason } else { format!(": {reason}") })
}

/// The node as Kubernetes states it: Ready, and its kubelet of this version.
pub(super) async fn node_is_ready(visit: &Visit, version: Option<&Version>) -> Result<(), String> {
    let name = &visit.node.name;
    let view = visit.shared.ports.cluster.node(name).await.map_err(|e| e.to_string())?;
    let view = view.ok_or_else(|| format!("Kubernetes does not know node {name}"))?;
    if let Some(wanted) = version {
        match &view.kubelet_version {
            Some(found) if found.same_upstream(wanted) => {}
            Some(found) => return Err(format!("Kubernetes still sees kubelet {found}, not {wanted}")),
            None => return Err("Kubernetes does not see the kubelet's version".into()),
        }
    }
    if view.ready { Ok(()) } else { Err(format!("Kubernetes calls node {name} NotReady")) }
}

/// The version in an answer: `gitVersion` of Kubernetes' `/version`, `server_version` of etcd's `/metrics`, or
/// `etcdserver` of etcd's `/version`.
fn version_in(answer: &Answer) -> Option<Version> {
    if !answer.ok() {
        return None;
    }
    if let Ok(body) = serde_json::from_slice::<serde_json::Value>(&answer.body) {
        let text = body.get("gitVersion").or_else(|| body.get("etcdserver"))?;
        return text.as_str()?.parse().ok();
    }
    let text = String::from_utf8_lossy(&answer.body);
    let line = text.lines().find(|l| l.starts_with("etcd_server_version{"))?;
    let (_, rest) = line.split_once("server_version=\"")?;
    rest.split_once('"')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> Answer {
        Answer { status: 200, body: body.as_bytes().to_vec() }
    }

    #[test]
    fn versions_are_found_where_components_state_them() {
        let found = |body: &str| version_in(&answer(body)).map(|v| v.to_string());
        assert_eq!(found(r#"{"major":"1","gitVersion":"v1.36.2"}"#).as_deref(), Some("v1.36.2"));
        let metrics = "# HELP x\netcd_server_version{server_version=\"3.6.11\"} 1\n";
        assert_eq!(found(metrics).as_deref(), Some("3.6.11"));
        assert_eq!(found(r#"{"gitVersion":"latest"}"#), None);
        assert_eq!(found("ok"), None);
    }

    #[test]
    fn gauges_are_read_by_their_whole_name() {
        let body = answer("etcd_server_has_leader_x 0\netcd_server_has_leader 1\n");
        assert_eq!(body.gauge("etcd_server_has_leader"), Some(1.0));
        assert_eq!(body.gauge("etcd_server"), None);
    }

    #[test]
    fn an_etcd_that_says_false_is_not_healthy() {
        let said = |body| complaint(&answer(body));
        assert_eq!(said(r#"{"health":"false"}"#).as_deref(), Some(""));
        assert_eq!(said(r#"{"health":"false","reason":"ALARM NOSPACE"}"#).as_deref(), Some(": ALARM NOSPACE"));
        assert_eq!(said("{\"health\":false,\"reason\":\"\\u001b[2J\"}").as_deref(), Some(": [2J"));
        assert_eq!(said(r#"{"health":"true","reason":""}"#), None);
        assert_eq!(said("ok"), None);
    }
}
