//! How the old containers of a phase are stopped, and what their clients notice, in one line.

use crate::fleet::Component;
use crate::plan::{Phase, PhaseKind, Plan};
use std::collections::BTreeSet;

/// The line; none for a phase that stops nothing.
pub(super) fn line(phase: &Phase, plan: &Plan) -> Option<String> {
    let moved: BTreeSet<Component> =
        phase.waves.iter().flat_map(|w| &w.swaps).flat_map(|s| &s.changes).map(|c| c.component).collect();
    let seconds = |led_away: bool| {
        let own = moved.iter().filter_map(|c| plan.components.get(c));
        own.map(|s| s.stop_timeout(led_away)).max().unwrap_or_default()
    };
    let (short, long) = (seconds(true), seconds(false));
    let proxies = moved.contains(&Component::Rivers) || moved.contains(&Component::EtcdRivers);
    let cut = "rivers cuts the node's own connections through it; their clients dial again at once";
    Some(match phase.kind {
        PhaseKind::Prefetch => return None,
        PhaseKind::Etcd => {
            let members = plan.cluster.masters().filter(|n| n.components.contains_key(&Component::Etcd)).count();
            let moves = phase.etcdctl.as_ref().is_some_and(|e| e.move_leader) && members > 1;
            if moves {
                format!("a leader hands over to a follower first, then {short} s to stop; if it cannot, {long} s")
            } else {
                format!("a leader does not hand over: it has {long} s to stop, and writes wait for an election")
            }
        }
        PhaseKind::KubeApiserver => {
            let leave = plan.components.get(&Component::KubeApiserver).map_or(0, |s| s.leave_ms);
            let outside = phase.waves.iter().flat_map(|w| &w.swaps).all(|swap| {
                let runs = plan.cluster.nodes.get(&swap.node).and_then(|n| n.components.get(&Component::KubeApiserver));
                runs.is_some_and(|r| r.args.iter().any(|a| a == "--endpoint-reconciler-type=none"))
            });
            if outside {
                let leave = leave as f64 / 1_000.0;
                format!("each leaves the Endpoints, proxies have {leave} s to follow, then {short} s to stop")
            } else {
                format!("each leaves the Endpoints by itself, once it stops; it has {long} s to stop")
            }
        }
        PhaseKind::Controllers => format!(
            "each has {short} s to stop; a scheduler gives its lease back, a controller-manager's runs out (15 s by default)"
        ),
        PhaseKind::Rivers => format!("each has {short} s to stop; {cut}"),
        PhaseKind::Masters | PhaseKind::Canary | PhaseKind::Workers if proxies => {
            format!("each has {short} s to stop; {cut}")
        }
        PhaseKind::Masters | PhaseKind::Canary | PhaseKind::Workers => format!("each has {short} s to stop"),
    })
}
