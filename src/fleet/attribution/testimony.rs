//! What the API's events say of one pod.

use super::SwapWindow;
use crate::fleet::PodEvent;
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;

/// The events of all pods, by UID.
pub(super) struct Witnesses<'a>(Option<HashMap<&'a str, Vec<&'a PodEvent>>>);

impl<'a> Witnesses<'a> {
    pub fn new(events: Option<&'a [PodEvent]>) -> Witnesses<'a> {
        Witnesses(events.map(|events| {
            let mut all: HashMap<&str, Vec<&PodEvent>> = HashMap::new();
            for event in events {
                all.entry(event.uid.as_str()).or_default().push(event);
            }
            // The earliest first: what began before the swap is looked for.
            all.values_mut().for_each(|of| of.sort_by_key(|e| e.at));
            all
        }))
    }

    /// What they say of one pod.
    pub fn of(&self, uid: &str) -> Testimony<'_> {
        Testimony {
            events: self.0.as_ref().and_then(|all| all.get(uid)).map(Vec::as_slice).unwrap_or_default(),
            asked: self.0.is_some(),
        }
    }
}

/// The events of one pod, the earliest first.
pub(super) struct Testimony<'a> {
    events: &'a [&'a PodEvent],
    /// Whether events could be asked for at all.
    pub asked: bool,
}

/// Why a kubelet tells a container to end.
///
/// The words are those of `computePodActions` and `killContainer` in
/// <https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/kuberuntime/kuberuntime_manager.go>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// `Container NAME definition changed, will be restarted`.
    Definition,
    /// `Container NAME failed liveness probe, will be restarted`; the startup probe alike.
    Probe,
    /// `Container NAME resize requires restart`.
    Resize,
    /// `Stopping container NAME`: its pod ends.
    Stopping,
}

/// The container's name, and why it is told to end.
fn told(event: &PodEvent) -> Option<(&str, Told)> {
    if event.reason != "Killing" {
        return None;
    }
    // `(combined from similar events): …` may stand before.
    if let Some((_, name)) = event.message.split_once("Stopping container ") {
        return Some((name.split_whitespace().next()?, Told::Stopping));
    }
    let (_, rest) = event.message.split_once("Container ")?;
    let (name, why) = rest.split_once(' ')?;
    let why = if why.contains("definition changed") {
        Told::Definition
    } else if why.contains("liveness probe") || why.contains("startup probe") {
        Told::Probe
    } else if why.contains("resize") {
        Told::Resize
    } else {
        return None;
    };
    Some((name, why))
}

/// Why a kubelet does not let a pod run any more although it did: it judges the node's pods anew when it starts.
///
/// <https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/lifecycle/predicate.go>
pub(super) fn is_rejection(reason: &str) -> bool {
    const REASONS: [&str; 14] = [
        "UnexpectedAdmissionError",
        "UnknownReason",
        "InvalidNodeInfo",
        "NodeAffinity",
        "TopologyAffinityError",
        "ResourceAllocationError",
        "Preempting",
        "UnsupportedPodSpec",
        "PodOSNotSupported",
        "PodOSSelectorNodeLabelDoesNotMatch",
        "PodFeatureUnsupported",
        "PodLevelResourcesNotAdmittedReason",
        "AppArmor",
        "SysctlForbidden",
    ];
    // `OutOfcpu`, `OutOfpods`, `OutOfnvidia.com/gpu`.
    REASONS.contains(&reason) || reason.starts_with("OutOf")
}

impl<'a> Testimony<'a> {
    /// The events that `wanted` wants and that are not surely before the swap's first stop.
    fn within(&self, window: &SwapWindow, wanted: impl Fn(&PodEvent) -> bool) -> Option<&'a PodEvent> {
        self.events.iter().copied().find(|e| wanted(e) && !window.is_before(e.at))
    }

    /// The first container that is told to end within the swap because its definition changed, and when.
    pub fn redefined(&self, window: &SwapWindow) -> Option<(&'a str, Timestamp)> {
        self.events.iter().find_map(|e| match told(e) {
            Some((name, Told::Definition)) if !window.is_before(e.at) => Some((name, e.at)),
            _ => None,
        })
    }

    /// When a container was told to end for this reason, within the swap.
    pub fn told_within(&self, window: &SwapWindow, container: &str, why: Told) -> Option<Timestamp> {
        self.within(window, |e| told(e) == Some((container, why))).map(|e| e.at)
    }

    /// When a container was told to end shortly before the swap, for whatever reason: it takes its grace period.
    pub fn told_before(&self, window: &SwapWindow, container: &str, grace_s: u32) -> Option<Timestamp> {
        let most = SignedDuration::from_secs(i64::from(grace_s) + 60);
        let of = |e: &&&PodEvent| told(e).is_some_and(|(name, _)| name == container);
        self.events.iter().find(|e| of(e) && window.shortly_before(e.at, most)).map(|e| e.at)
    }

    /// When a probe of this kind (`Liveness`, `Readiness`, `Startup`) failed within the swap.
    pub fn failed_within(&self, window: &SwapWindow, kinds: &[&str]) -> Option<Timestamp> {
        self.within(window, |e| is_failed_probe(e, kinds)).map(|e| e.at)
    }

    /// When a probe of this kind failed before the swap, by no more than `most`, and later than `since`.
    pub fn failed_before(
        &self,
        window: &SwapWindow,
        kinds: &[&str],
        most: SignedDuration,
        since: Option<Timestamp>,
    ) -> Option<Timestamp> {
        let counts = |e: &&&PodEvent| is_failed_probe(e, kinds) && since.is_none_or(|since| e.at > since);
        self.events.iter().find(|e| counts(e) && window.shortly_before(e.at, most)).map(|e| e.at)
    }

    /// The kubelet's refusal to let the pod run, within the swap: its reason, and when.
    pub fn rejected(&self, window: &SwapWindow) -> Option<(&'a str, Timestamp)> {
        self.within(window, |e| is_rejection(&e.reason)).map(|e| (e.reason.as_str(), e.at))
    }

    /// When an event with this reason was seen, within the swap or before.
    pub fn at(&self, reason: &str) -> Option<Timestamp> {
        self.events.iter().rev().find(|e| e.reason == reason).map(|e| e.at)
    }

    /// When the taint-eviction controller began to delete it. What it gave up is no deletion.
    pub fn tainted(&self) -> Option<Timestamp> {
        let last = self.events.iter().rev().find(|e| e.reason == "TaintManagerEviction")?;
        (!last.message.contains("Cancelling")).then_some(last.at)
    }

    /// What its controller said when it deleted it, and when.
    pub fn deleted(&self) -> Option<&'a PodEvent> {
        self.events.iter().rev().copied().find(|e| e.reason == "SuccessfulDelete")
    }
}

fn is_failed_probe(event: &PodEvent, kinds: &[&str]) -> bool {
    event.reason == "Unhealthy" && kinds.iter().any(|kind| event.message.contains(&format!("{kind} probe")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(reason: &str, message: &str) -> PodEvent {
        PodEvent {
            uid: "u".into(),
            reason: reason.into(),
            message: message.into(),
            source: "kubelet".into(),
            at: Timestamp::UNIX_EPOCH,
            count: 1,
        }
    }

    #[test]
    fn the_kubelets_words_are_understood() {
        let of = |message: &str| told(&said("Killing", message)).map(|(name, why)| (name.to_owned(), why));
        let is = |name: &str, why| Some((name.to_owned(), why));
        assert_eq!(of("Container web definition changed, will be restarted"), is("web", Told::Definition));
        assert_eq!(of("Container web failed liveness probe, will be restarted"), is("web", Told::Probe));
        assert_eq!(of("Container web failed startup probe, will be restarted"), is("web", Told::Probe));
        assert_eq!(of("Container web resize requires restart"), is("web", Told::Resize));
        assert_eq!(of("Stopping container web"), is("web", Told::Stopping));
        let combined = "(combined from similar events): Container web definition changed, will be restarted";
        assert_eq!(of(combined), is("web", Told::Definition));
        for odd in ["", "Container", "Container web", "Stopping container ", "Need to kill Pod"] {
            assert_eq!(of(odd), None, "{odd:?}");
        }
        assert_eq!(told(&said("Started", "Container web definition changed")), None);
    }
}
