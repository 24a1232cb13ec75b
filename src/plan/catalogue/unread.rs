//! Files that hold flags or gates too and that are not looked into: what they say is not known, and that is said.

use crate::fleet::{Component, NodeName};
use crate::plan::Severity;
use crate::plan::findings::{Findings, Told};
use crate::plan::flags::{FlagName, Word};

/// Flags that name such files, each with what is in them.
const FILES: [(Component, &str, &str, &str); 3] = [
    (
        Component::Kubelet,
        "--config-dir",
        "files in {flag} change its configuration",
        "https://kubernetes.io/docs/tasks/administer-cluster/kubelet-config-file/",
    ),
    (
        Component::Kubelet,
        "--image-credential-provider-config",
        "{flag} names files of an API version that may be gone",
        "https://kubernetes.io/docs/tasks/administer-cluster/kubelet-credential-provider/",
    ),
    (
        Component::Etcd,
        "--config-file",
        "files of {flag} stand in for its other flags",
        "https://etcd.io/docs/v3.6/op-guide/configuration/",
    ),
];

/// Tells of a component's files that were not looked into.
pub(super) fn tell(component: Component, node: &NodeName, words: &[Word<'_>], findings: &mut Findings) {
    for (_, flag, what, link) in FILES.into_iter().filter(|(of, ..)| *of == component) {
        let named = flag.parse().is_ok_and(|name: FlagName| words.iter().any(|w| w.is(name.bare())));
        if named {
            let text = format!("{component}: {}, and they were not looked into", what.replace("{flag}", flag));
            let told = Told::new(Severity::Info, "catalogue-unread", text);
            findings.tell(told.mend("look yourself for what the new version no longer takes").link(link), Some(node));
        }
    }
}
