//! API servers that are out of the `default/kubernetes` Endpoints although they could serve: an engine that died right after it
//! took one out leaves the cluster without it, also when the node has rolled itself back since.

use super::patience::patiently;
use super::ports::Ports;
use super::shared::Shared;
use super::verify::healthy;
use super::visit::{PATIENCE, kept_endpoint};
use crate::fleet::{Component, NodeName};
use crate::inventory::Profile;
use crate::journal::{Event, JournalError, Run};
use crate::k8s::ClusterError;
use crate::remote::{NodePort, TxId};

/// Puts back what the engine before this one took out, before anything else of the run is settled. An API server that does not
/// answer stays out, and so does one whose swap is still under way on its node: a rollback would stop it while clients are sent to
/// it. Whoever settles that swap puts it back.
pub(super) async fn put_back_first(shared: &Shared) -> Result<(), JournalError> {
    let out = shared.log.with(|run, _| run.endpoints_out.clone());
    let Some(settings) = shared.plan.components.get(&Component::KubeApiserver) else { return Ok(()) };
    for (node, address) in out {
        if shared.fence.check().is_err() {
            // Once the run lock is held, it is the first thing again.
            shared.leave_open();
            return Ok(());
        }
        let Some(port) = shared.ports.fleet.node(&node) else { continue };
        if !is_settled(shared, &node, port.as_ref()).await {
            continue;
        }
        if let Err(why) = healthy(port.as_ref(), Component::KubeApiserver, &settings.health).await {
            tracing::info!("{node}: {address} stays out of the default/kubernetes Endpoints for now: {why}");
            continue;
        }
        match patiently(PATIENCE, || shared.ports.cluster.endpoint(&address, true)).await {
            Ok(_) => shared.log.write(Event::EndpointBack { node, address }).await?,
            Err(error) => {
                let text =
                    format!("{node}: {address} could not be put back into the default/kubernetes Endpoints: {error}");
                shared.log.write(Event::Note { text }).await?;
            }
        }
    }
    Ok(())
}

/// Whether the node says that none of its swaps is under way any more.
async fn is_settled(shared: &Shared, node: &NodeName, port: &dyn NodePort) -> bool {
    let open = |run: &Run| run.swaps_of(node).filter(|s| s.state.open()).find_map(|s| s.tx.clone());
    let Some(tx) = shared.log.with(|run, _| open(run)) else { return true };
    let Ok(tx) = tx.parse::<TxId>() else { return false };
    patiently(PATIENCE, || port.tx_state(&tx)).await.is_ok_and(|state| !state.found || state.end.is_some())
}

/// An API server that answers and that clients inside the cluster are not sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingEndpoint {
    /// Its node.
    pub node: NodeName,
    /// Its address.
    pub address: String,
}

/// Masters whose API server is healthy and not in the `default/kubernetes` Endpoints, and how many masters were compared. Only
/// those are compared that run with `--endpoint-reconciler-type=none`: the others put themselves back. A master that does not
/// answer is passed over.
///
/// # Errors
/// When the API does not tell its endpoints.
pub async fn missing_endpoints(
    profile: &Profile,
    ports: &Ports,
) -> Result<(Vec<MissingEndpoint>, usize), ClusterError> {
    let seen = ports.cluster.endpoints().await?;
    let Some(settings) = profile.settings.components.get(&Component::KubeApiserver) else {
        return Ok((Vec::new(), 0));
    };
    let masters = profile.entries().unwrap_or_default().into_iter().filter(|entry| entry.master);
    let looks = masters.map(|entry| async move {
        let port = ports.fleet.node(&entry.name)?;
        let look = port.look(std::slice::from_ref(&settings.container)).await.ok()?;
        let server = look.running.iter().find(|r| r.container == settings.container && r.running)?;
        let address = kept_endpoint(&server.args, &entry.address)?;
        let well = healthy(port.as_ref(), Component::KubeApiserver, &settings.health).await.is_ok();
        Some((MissingEndpoint { node: entry.name, address }, well))
    });
    let compared: Vec<_> = futures::future::join_all(looks).await.into_iter().flatten().collect();
    let count = compared.len();
    let missing = compared.into_iter().filter(|(server, well)| *well && !seen.serves(&server.address));
    Ok((missing.map(|(server, _)| server).collect(), count))
}
