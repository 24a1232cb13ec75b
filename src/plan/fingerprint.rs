//! A short name for the state of a cluster that a plan was made from.

use crate::fleet::Cluster;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;

/// The SHA-256 of what a plan rests on: every node with its place and what runs on it. Health, leaders and labels are left out:
/// they come and go without making a plan wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// The fingerprint of this state.
    pub fn of(cluster: &Cluster) -> Fingerprint {
        let mut hash = Sha256::new();
        // Each field with its length before it, so that no two different states are the same text.
        let mut field = |text: &str| {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        };
        field(cluster.name.as_str());
        for node in cluster.nodes.values() {
            field(node.name.as_str());
            field(&node.address);
            field(&node.port.to_string());
            field(node.rack.as_str());
            field(if node.master { "master" } else { "worker" });
            field(&node.components.len().to_string());
            for (component, running) in &node.components {
                field(component.as_str());
                field(running.container.as_str());
                field(&running.id);
                field(running.image.as_str());
                field(&running.image_id);
                field(&running.args.len().to_string());
                running.args.iter().for_each(|arg| field(arg));
            }
        }
        Fingerprint(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
    }

    /// Whether there is none: the first plans had none.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }
}

/// Its first twelve digits, for people.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.get(..12).unwrap_or(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{Component, Leaders};
    use crate::plan::samples::cluster;

    #[test]
    fn it_follows_what_a_plan_rests_on_and_nothing_else() {
        let base = cluster(3, 12, 3);
        let was = Fingerprint::of(&base);
        assert_eq!(was.to_string().len(), 12);
        type Edit = fn(&mut crate::fleet::Cluster);
        fn first(c: &mut Cluster) -> &mut crate::fleet::Node {
            c.nodes.values_mut().next().unwrap()
        }
        let calm: [Edit; 4] = [
            |c| first(c).ready = false,
            |c| first(c).reachable = Some(false),
            |c| c.leaders = Leaders::default(),
            |c| first(c).labels = ["a=b".parse().unwrap()].into(),
        ];
        for edit in calm {
            let mut now = base.clone();
            edit(&mut now);
            assert_eq!(Fingerprint::of(&now), was);
        }
        fn kubelet(c: &mut Cluster) -> &mut crate::fleet::Running {
            first(c).components.get_mut(&Component::Kubelet).unwrap()
        }
        let moved: [Edit; 7] = [
            |c| drop(c.nodes.pop_first()),
            |c| first(c).rack = "rack9".parse().unwrap(),
            |c| kubelet(c).id = "other".into(),
            |c| kubelet(c).image = "a:1".parse().unwrap(),
            |c| kubelet(c).args.push("--v=2".into()),
            |c| kubelet(c).args.extend(["a".into(), "b".into()]),
            |c| kubelet(c).args.push("ab".into()),
        ];
        let mut all: Vec<Fingerprint> = vec![was];
        for edit in moved {
            let mut now = base.clone();
            edit(&mut now);
            let is = Fingerprint::of(&now);
            assert!(!all.contains(&is));
            all.push(is);
        }
    }
}
