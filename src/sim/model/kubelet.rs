//! What a node's kubelet is to the pods of the node.

use super::World;
use super::container::State;
use crate::fleet::Component;
use crate::sim::scenario::FaultKind;

/// A start of a component that the pods of its node may feel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KubeletStart {
    /// The node.
    pub node: usize,
    /// The component: a kubelet, or what a fault lets restart pods.
    pub component: Option<Component>,
    /// When its process runs. Simulated milliseconds.
    pub at: i64,
    /// How many pods a fault lets it restart.
    pub disturbs: usize,
}

/// A kubelet that runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LiveKubelet {
    /// Since when. Simulated milliseconds.
    pub started: i64,
    /// Of which way of hashing containers it is; one of another way restarts every container.
    pub family: u8,
    /// Whether it shows pods with readiness probes as not ready when it has just started.
    ///
    /// KEP-4781: not from 1.35 on.
    pub flaps: bool,
    /// How long a container takes to end once it is told to, where the scenario says so. Milliseconds.
    pub ends_ms: Option<i64>,
}

impl World {
    /// The kubelet of a node, where it runs now.
    pub fn kubelet(&mut self, node: usize, now: i64) -> Option<LiveKubelet> {
        self.on(node, now);
        let container = self.machines[node].instance(Component::Kubelet)?;
        if container.state != State::Running {
            return None;
        }
        let mut numbers = container.reports.split('.').map(|n| n.parse::<u32>().unwrap_or_default());
        let release = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
        let fault = self.faults.on(FaultKind::RedefinesContainers, node, Some(Component::Kubelet), now);
        let new = !self.old_images.contains(container.image());
        let mut family = u8::from(release >= (1, 31));
        if fault.is_some() && new {
            family ^= 2;
        }
        let ends_ms = fault.and_then(|f| f.ends_s).map(|s| (s * 1000.0) as i64);
        Some(LiveKubelet { started: container.started?, family, flaps: release < (1, 35), ends_ms })
    }

    /// The starts that pods may feel, since this was asked last.
    pub fn take_kubelet_starts(&mut self) -> Vec<KubeletStart> {
        std::mem::take(&mut self.kubelet_starts)
    }
}
