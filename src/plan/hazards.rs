//! What upstream is known to break in an in-place upgrade. Told before, so that nobody learns it from a pager.

use super::findings::{Findings, Told};
use super::{Finding, Phase, Plan, Severity};
use crate::fleet::{Component, NodeName};

/// Kubelets that compute container hashes anew, and where that was found out. Either side of such a minor takes the other's
/// containers for changed.
const NEW_HASHES: [((u32, u32), u32); 6] =
    [((1, 2), 23_104), ((1, 3), 23_104), ((1, 8), 59_906), ((1, 12), 72_296), ((1, 14), 84_443), ((1, 31), 129_385)];

/// The code of the finding that containers will be restarted.
pub(super) const RESTARTS: &str = "restarts-containers";

/// The first kubelet that keeps pods Ready over its own restart (KEP-4781).
pub(super) const KEEPS_READY: (u32, u32) = (1, 35);

impl Plan {
    /// Adds the finding that kubelets of this plan will restart containers, where the run that it takes back saw them do so: on
    /// `nodes`. It refuses the plan until it is acknowledged.
    pub fn seen_to_restart_containers(&mut self, nodes: &[NodeName]) {
        let moved = |node: &NodeName| self.swaps().any(|(_, _, s)| s.node == *node && s.restarts(Component::Kubelet));
        let nodes: Vec<NodeName> = nodes.iter().filter(|n| moved(n)).cloned().collect();
        if nodes.is_empty() || self.findings.iter().any(|f| f.code == RESTARTS) {
            return;
        }
        let finding = Finding {
            code: RESTARTS.into(),
            severity: Severity::Error,
            text: "the run saw the new kubelets restart containers; going back restarts them once more".into(),
            mend: "leave the kubelets as they are where you can (--nodes), or roll these nodes back with their owners' consent".into(),
            link: "https://github.com/kubernetes/kubernetes/issues/129385".into(),
            offer: String::new(),
            acknowledgeable: true,
            nodes,
        };
        self.findings.insert(0, finding);
    }

    /// Takes errors of these codes as they are, where that is possible: they become warnings.
    pub fn acknowledge(&mut self, codes: &[String]) {
        let taken = |f: &&mut Finding| f.acknowledgeable && f.severity == Severity::Error && codes.contains(&f.code);
        for finding in self.findings.iter_mut().filter(taken) {
            finding.severity = Severity::Warning;
            finding.text += " (acknowledged)";
        }
        self.findings.sort_by_key(|f| f.severity);
    }
}

/// Adds a finding for each known hazard that a planned change meets.
pub(super) fn hazards(phases: &[Phase], pods_known: bool, findings: &mut Findings) {
    for swap in phases.iter().flat_map(|p| &p.waves).flat_map(|w| &w.swaps) {
        for change in swap.changes.iter().filter(|c| c.component == Component::Kubelet) {
            let (Some(from), Some(to)) = (change.from.version(), change.to.version()) else { continue };
            let crossed = |at: (u32, u32)| (from.minor_of() < at) != (to.minor_of() < at);
            if let Some(((major, minor), issue)) = NEW_HASHES.into_iter().rfind(|(at, _)| crossed(*at)) {
                let text = format!(
                    "a kubelet from {major}.{minor} on restarts every container that an older kubelet started, and the other \
                     way round (kubernetes#{issue})"
                );
                let mend =
                    "expect the canary to stop the run; upgrade these nodes one by one with their owners' consent";
                let told = Told::new(Severity::Error, RESTARTS, text).mend(mend).acknowledgeable();
                let link = format!("https://github.com/kubernetes/kubernetes/issues/{issue}");
                findings.tell(told.link(link), Some(&swap.node));
            }
            // Where the pods are known, preflight counts those that it is true of.
            if !pods_known && to.minor_of() < KEEPS_READY {
                findings.on(
                    &swap.node,
                    Severity::Warning,
                    "pods-not-ready",
                    "a kubelet before 1.35 shows pods with readiness probes as NotReady for a moment after it starts \
                     (KEP-4781)",
                    "expect it to count as disturbed pods; set budget.disturbed_pods if it is acceptable",
                );
            }
        }
    }
}
