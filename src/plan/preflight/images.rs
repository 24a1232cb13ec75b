//! Whether the images can be had, run on the nodes' processors, and fit on their disks.

use super::changes;
use crate::fleet::{Cluster, Image, NodeName};
use crate::plan::findings::Findings;
use crate::plan::{Facts, Phase, Severity};
use std::collections::{BTreeMap, BTreeSet};

/// A kubelet with default settings evicts pods when their images' file system has less than this left, in hundredths
/// (`imagefs.available<15%`). <https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/>
const PRESSURE: u64 = 15;
/// What Docker needs beside the images' own bytes: the layers of one image as they come, before they are unpacked.
const SPARE: u64 = 512 << 20;

pub(super) fn check(cluster: &Cluster, facts: &Facts, phases: &[Phase], findings: &mut Findings) {
    let mut wanted: BTreeMap<&NodeName, BTreeSet<&Image>> = BTreeMap::new();
    for (node, change) in changes(phases) {
        wanted.entry(node).or_default().insert(&change.to);
    }
    for (node, images) in wanted {
        let known = facts.nodes.get(node);
        let runs = |image: &Image| {
            cluster.nodes.get(node).is_some_and(|n| n.components.values().any(|running| running.image == *image))
        };
        let here = |image: &Image| known.is_some_and(|n| n.images.contains(image)) || runs(image);
        let mut bytes = Some(0u64);
        for image in images.into_iter().filter(|image| !here(image)) {
            let Some(fact) = facts.images.get(image) else {
                bytes = None;
                continue;
            };
            if fact.missing {
                let text = format!("the registry has no image {image}");
                let mend = "push it, or stage another version; docker pull on a node shows the registry's own words";
                findings.on(node, Severity::Error, "image-missing", text, mend);
            }
            if let Some(arch) = known.and_then(|n| n.arch.as_deref())
                && !fact.archs.is_empty()
                && !fact.archs.contains(arch)
            {
                let made: Vec<&str> = fact.archs.iter().map(String::as_str).collect();
                let text = format!("{image} is made for {}, and these nodes are {arch}", made.join(", "));
                findings.on(node, Severity::Error, "image-arch", text, "push an image for this architecture too");
            }
            bytes = bytes.zip(fact.size).map(|(all, size)| all.saturating_add(size));
        }
        let Some((bytes, free)) = bytes.zip(known.and_then(|n| n.disk_free)).filter(|(bytes, _)| *bytes > 0) else {
            continue;
        };
        let needed = bytes.saturating_add(SPARE);
        let mend = "free some space (docker image prune), or leave these nodes out";
        if free < needed {
            let text = format!(
                "the images to pull need about {} with room to unpack them, and Docker's disk has less left",
                size(needed)
            );
            findings.on(node, Severity::Error, "disk-space", text, mend);
        } else if let Some(total) = known.and_then(|n| n.disk_total)
            && (free - needed) / 100 * 100 < total / 100 * PRESSURE
        {
            let text = format!(
                "with the images pulled, Docker's disk has less than {PRESSURE} % left: where pods' images share it, the \
                 kubelet begins to evict pods"
            );
            findings.on(node, Severity::Warning, "disk-pressure", text, mend);
        }
    }
}

/// Bytes as people read them.
fn size(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}
