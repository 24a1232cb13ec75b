//! How far a pull is: the sum over its layers of what Docker says of each.

use super::port::PullProgress;
use bollard::models::ProgressDetail;
use std::collections::HashMap;

/// Layers that are counted; no image has more than 127, and a daemon gone wild must not fill our memory.
const LAYERS: usize = 512;

/// What is known of each layer: bytes fetched, bytes to fetch.
#[derive(Default)]
pub(super) struct Tally {
    layers: HashMap<String, (u64, u64)>,
}

impl Tally {
    /// Takes one line of the pull's stream; returns the sum when it has changed.
    pub fn add(
        &mut self,
        layer: Option<&str>,
        status: Option<&str>,
        detail: Option<&ProgressDetail>,
    ) -> Option<PullProgress> {
        let layer = layer?;
        match status? {
            "Downloading" => {
                let bytes = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok());
                let done = bytes(detail?.current)?;
                let total = bytes(detail?.total).unwrap_or(0).max(done);
                if self.layers.len() < LAYERS || self.layers.contains_key(layer) {
                    self.layers.insert(layer.to_owned(), (done, total));
                }
            }
            // What follows, extracting, counts the same bytes again.
            "Download complete" | "Pull complete" => {
                let (done, total) = self.layers.get_mut(layer)?;
                if done == total {
                    return None;
                }
                *done = *total;
            }
            _ => return None,
        }
        let sum = |of: fn(&(u64, u64)) -> u64| self.layers.values().map(of).fold(0, u64::saturating_add);
        Some(PullProgress { done: sum(|l| l.0), total: sum(|l| l.1) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_add_up_and_extracting_does_not_count() {
        let mut tally = Tally::default();
        let at = |current, total| ProgressDetail { current: Some(current), total: Some(total) };
        assert_eq!(tally.add(Some("3.6.11"), Some("Pulling from etcd"), None), None);
        let sum = tally.add(Some("a"), Some("Downloading"), Some(&at(10, 100)));
        assert_eq!(sum, Some(PullProgress { done: 10, total: 100 }));
        let sum = tally.add(Some("b"), Some("Downloading"), Some(&at(5, 50)));
        assert_eq!(sum, Some(PullProgress { done: 15, total: 150 }));
        assert_eq!(tally.add(Some("a"), Some("Extracting"), Some(&at(1, 100))), None);
        let sum = tally.add(Some("a"), Some("Download complete"), None);
        assert_eq!(sum, Some(PullProgress { done: 105, total: 150 }));
        assert_eq!(tally.add(Some("a"), Some("Pull complete"), None), None);
        assert_eq!(tally.add(Some("c"), Some("Downloading"), Some(&at(-1, i64::MAX))), None);
    }
}
