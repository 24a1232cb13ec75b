//! What the cluster's API, and CKE, say.

use super::changes;
use crate::fleet::{Cluster, Component, Version, clean_short};
use crate::plan::findings::{Findings, Told};
use crate::plan::{DeprecatedApi, Facts, Phase, Severity};

pub(super) fn check(cluster: &Cluster, facts: &Facts, phases: &[Phase], findings: &mut Findings) {
    let Some(api) = &facts.api else { return };
    let apiserver = Component::KubeApiserver;
    let versions = changes(phases).filter(|(_, c)| c.component == apiserver).filter_map(|(_, c)| c.to.version());
    let now = cluster.masters().filter_map(|n| n.components.get(&apiserver)?.image.version()).min();
    if let (Some(now), Some(to)) = (now, versions.max()) {
        for used in &api.deprecated {
            deprecated(used, now, to, findings);
        }
    }
    if let Some(why) = &api.cke {
        let text = format!("a CKE server is at work and would undo this plan: {}", clean_short(why, 200));
        findings.add(
            Severity::Warning,
            "cke-at-work",
            text,
            "stop it for as long as the run takes: systemctl stop cke",
        );
    }
}

fn deprecated(used: &DeprecatedApi, now: &Version, to: &Version, findings: &mut Findings) {
    let DeprecatedApi { group, version, resource, removed_in } = used;
    if *removed_in <= now.minor_of() || *removed_in > to.minor_of() {
        return;
    }
    let api = if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
    let text = format!(
        "somebody has asked for {resource} of {api} since kube-apiserver started; {}.{} has it no more",
        removed_in.0, removed_in.1
    );
    let told = Told::new(Severity::Error, "deprecated-api", text)
        .mend("move its users to the newer version of that API; audit logs (annotation k8s.io/deprecated) tell who they are")
        .link("https://kubernetes.io/docs/reference/using-api/deprecation-guide/")
        .acknowledgeable();
    findings.tell(told, None);
}
