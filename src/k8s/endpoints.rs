//! An API server's address in the `default/kubernetes` Endpoints and EndpointSlices.
//!
//! Where the API servers run with `--endpoint-reconciler-type=none` nobody else keeps these: whoever restarts one has to
//! take it out before and put it back after.

use super::patience::{Patience, Trouble};
use super::{ApiEndpoints, ClusterError};
use crate::fleet::clean;
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointSlice};
use kube::Client;
use kube::api::{Api, ListParams, PostParams};
use std::collections::BTreeSet;
use std::net::IpAddr;

const NAMESPACE: &str = "default";
const SERVICE: &str = "kubernetes";
const TRIES: u32 = 8;

/// Puts `address` in (`serve`) or takes it out. Returns whether anything was changed.
pub(super) async fn set(
    client: &Client,
    patience: &Patience,
    address: &str,
    serve: bool,
) -> Result<bool, ClusterError> {
    let ip: IpAddr = address.parse().map_err(|_| {
        ClusterError::Refused(format!("{:?} is no IP address; an API server's endpoint must be one", clean(address)))
    })?;
    let endpoints = set_endpoints(client, patience, ip, serve).await?;
    let slices = set_slices(client, patience, ip, serve).await?;
    Ok(endpoints || slices)
}

/// The addresses that are ready.
pub(super) async fn get(client: &Client, patience: &Patience) -> Result<ApiEndpoints, ClusterError> {
    let api: Api<Endpoints> = Api::namespaced(client.clone(), NAMESPACE);
    let found = patience.ask("read Endpoints default/kubernetes", || api.get_opt(SERVICE)).await?;
    let api: Api<EndpointSlice> = Api::namespaced(client.clone(), NAMESPACE);
    let of_service = ListParams::default().labels(&format!("kubernetes.io/service-name={SERVICE}"));
    let slices = patience.ask("list the EndpointSlices of default/kubernetes", || api.list(&of_service)).await?.items;
    Ok(ApiEndpoints { endpoints: found.map(|e| ready_in_subsets(&e)), slices: ready_in_slices(&slices) })
}

fn ready_in_subsets(endpoints: &Endpoints) -> BTreeSet<IpAddr> {
    let addresses = endpoints.subsets.iter().flatten().flat_map(|subset| subset.addresses.iter().flatten());
    addresses.filter_map(|address| address.ip.parse().ok()).collect()
}

fn ready_in_slices(slices: &[EndpointSlice]) -> Option<BTreeSet<IpAddr>> {
    let ready = slices.iter().flat_map(|s| s.endpoints.iter().flatten()).filter(|e| is_ready(e));
    let addresses = ready.flat_map(|e| &e.addresses).filter_map(|address| address.parse().ok()).collect();
    (!slices.is_empty()).then_some(addresses)
}

/// An endpoint that does not say is ready.
fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true)
}

async fn set_endpoints(client: &Client, patience: &Patience, ip: IpAddr, serve: bool) -> Result<bool, ClusterError> {
    let api: Api<Endpoints> = Api::namespaced(client.clone(), NAMESPACE);
    let plain = PostParams::default();
    for _ in 0..TRIES {
        let found = patience.ask("read Endpoints default/kubernetes", || api.get_opt(SERVICE)).await?;
        let Some(mut endpoints) = found else { return Ok(false) };
        let subsets = endpoints.subsets.get_or_insert_default();
        if !edit_subsets(subsets, ip, serve)? {
            return Ok(false);
        }
        match patience.ask("write Endpoints default/kubernetes", || api.replace(SERVICE, &plain, &endpoints)).await {
            Ok(_) => return Ok(true),
            Err(Trouble::Conflict) => {}
            Err(trouble) => return Err(trouble.into()),
        }
    }
    Err(Trouble::Conflict.into())
}

async fn set_slices(client: &Client, patience: &Patience, ip: IpAddr, serve: bool) -> Result<bool, ClusterError> {
    let api: Api<EndpointSlice> = Api::namespaced(client.clone(), NAMESPACE);
    let of_service = ListParams::default().labels(&format!("kubernetes.io/service-name={SERVICE}"));
    let plain = PostParams::default();
    let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
    for _ in 0..TRIES {
        let slices = patience.ask("list the EndpointSlices of default/kubernetes", || api.list(&of_service)).await?;
        let mut slices: Vec<EndpointSlice> = slices.items.into_iter().filter(|s| s.address_type == family).collect();
        let changed = edit_slices(&mut slices, ip, serve)?;
        let mut conflict = false;
        for slice in changed.iter().filter_map(|&i| slices.get(i)) {
            let name = slice.metadata.name.as_deref().unwrap_or_default();
            match patience.ask("write an EndpointSlice", || api.replace(name, &plain, slice)).await {
                Ok(_) => {}
                Err(Trouble::Conflict) => conflict = true,
                Err(trouble) => return Err(trouble.into()),
            }
        }
        if !conflict {
            return Ok(!changed.is_empty());
        }
    }
    Err(Trouble::Conflict.into())
}

/// Whether the subsets were changed.
fn edit_subsets(subsets: &mut [EndpointSubset], ip: IpAddr, serve: bool) -> Result<bool, ClusterError> {
    let is = |a: &EndpointAddress| a.ip.parse() == Ok(ip);
    let serving = subsets.iter().any(|s| s.addresses.iter().flatten().any(is));
    if serving == serve {
        return Ok(false);
    }
    if serve {
        let first = subsets.first_mut().ok_or_else(no_ports)?;
        // It may stand among those that are not ready, with more than its address to say.
        let waiting = first.not_ready_addresses.get_or_insert_default();
        let known = waiting.iter().position(is).map(|i| waiting.remove(i));
        if waiting.is_empty() {
            first.not_ready_addresses = None;
        }
        let entry = known.unwrap_or_else(|| EndpointAddress { ip: ip.to_string(), ..EndpointAddress::default() });
        first.addresses.get_or_insert_default().push(entry);
        return Ok(true);
    }
    if subsets.iter().flat_map(|s| s.addresses.iter().flatten()).all(is) {
        return Err(last(ip));
    }
    for subset in subsets.iter_mut() {
        if let Some(addresses) = &mut subset.addresses {
            // A subset must keep an address: it is the last of its subset, not of all, that only stops to be ready.
            let (gone, kept): (Vec<_>, Vec<_>) = std::mem::take(addresses).into_iter().partition(is);
            let lone = kept.is_empty() && subset.not_ready_addresses.as_ref().is_none_or(Vec::is_empty);
            subset.addresses = (!kept.is_empty()).then_some(kept);
            if lone {
                subset.not_ready_addresses = Some(gone);
            }
        }
    }
    Ok(true)
}

/// The indices of the slices that were changed.
fn edit_slices(slices: &mut [EndpointSlice], ip: IpAddr, serve: bool) -> Result<Vec<usize>, ClusterError> {
    let is = |a: &String| a.parse() == Ok(ip);
    let serving =
        slices.iter().flat_map(|s| s.endpoints.iter().flatten()).any(|e| is_ready(e) && e.addresses.iter().any(is));
    if serving == serve || slices.is_empty() {
        return Ok(Vec::new());
    }
    let others = slices
        .iter()
        .flat_map(|s| s.endpoints.iter().flatten())
        .any(|e| is_ready(e) && e.addresses.iter().any(|a| !is(a)));
    if !serve && !others {
        return Err(last(ip));
    }
    let mut changed = Vec::new();
    for (i, slice) in slices.iter_mut().enumerate() {
        let endpoints = slice.endpoints.get_or_insert_default();
        let before = endpoints.iter().map(|e| e.addresses.len()).sum::<usize>();
        for endpoint in endpoints.iter_mut() {
            endpoint.addresses.retain(|a| !is(a));
        }
        endpoints.retain(|e| !e.addresses.is_empty());
        if endpoints.iter().map(|e| e.addresses.len()).sum::<usize>() != before {
            changed.push(i);
        }
    }
    if serve && let Some(first) = slices.first_mut() {
        first.endpoints.get_or_insert_default().push(Endpoint {
            addresses: vec![ip.to_string()],
            conditions: Some(EndpointConditions { ready: Some(true), ..EndpointConditions::default() }),
            ..Endpoint::default()
        });
        if !changed.contains(&0) {
            changed.push(0);
        }
    }
    Ok(changed)
}

fn last(ip: IpAddr) -> ClusterError {
    ClusterError::Refused(format!(
        "{ip} is the last API server in default/kubernetes; taking it out would cut every pod off from the API. Put the others back first: kubectl -n default edit endpoints kubernetes"
    ))
}

fn no_ports() -> ClusterError {
    ClusterError::Refused(
        "Endpoints default/kubernetes has no subset to take the ports from; restore it: kubectl -n default edit endpoints kubernetes"
            .into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn subsets() -> Vec<EndpointSubset> {
        from_value(json!([{"addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2", "nodeName": "m2"}], "ports": [{"name": "https", "port": 6443}]}])).unwrap()
    }

    fn ips(subsets: &[EndpointSubset]) -> Vec<String> {
        subsets.iter().flat_map(|s| s.addresses.iter().flatten()).map(|a| a.ip.clone()).collect()
    }

    #[test]
    fn an_address_goes_out_and_comes_back_and_ports_stay() {
        let mut all = subsets();
        let ports = all[0].ports.clone();
        assert_eq!(edit_subsets(&mut all, ip("10.0.0.2"), false), Ok(true));
        assert_eq!(edit_subsets(&mut all, ip("10.0.0.2"), false), Ok(false), "twice does no harm");
        assert_eq!(ips(&all), ["10.0.0.1"]);
        assert_eq!(edit_subsets(&mut all, ip("10.0.0.2"), true), Ok(true));
        assert_eq!(edit_subsets(&mut all, ip("10.0.0.2"), true), Ok(false));
        assert_eq!(ips(&all), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(all[0].ports, ports);
    }

    #[test]
    fn an_address_serves_when_it_is_ready_in_all_that_exists() {
        let endpoints: Endpoints = from_value(json!({"metadata": {}, "subsets": [{"addresses": [{"ip": "10.0.0.1"},
            {"ip": "10.0.0.2"}, {"ip": "no address"}], "notReadyAddresses": [{"ip": "10.0.0.3"}]}]}))
        .unwrap();
        let slices: Vec<EndpointSlice> = from_value(json!([{"addressType": "IPv4", "metadata": {}, "endpoints": [
            {"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
            {"addresses": ["10.0.0.3"]}]}]))
        .unwrap();
        let seen = ApiEndpoints { endpoints: Some(ready_in_subsets(&endpoints)), slices: ready_in_slices(&slices) };
        let serving = |address: &str| seen.serves(address);
        assert!(serving("10.0.0.1"));
        assert!(!serving("10.0.0.2") && !serving("10.0.0.3") && !serving("10.0.0.4") && !serving("m1.example"));
        assert_eq!(ready_in_slices(&[]), None);
        let old = ApiEndpoints { slices: None, ..seen };
        assert!(old.serves("10.0.0.2") && !old.serves("10.0.0.3"), "without slices the Endpoints alone say it");
    }

    #[test]
    fn the_last_address_is_never_taken_out() {
        let mut all = subsets();
        edit_subsets(&mut all, ip("10.0.0.1"), false).unwrap();
        let error = edit_subsets(&mut all, ip("10.0.0.2"), false).unwrap_err().to_string();
        assert!(error.contains("last API server"), "{error}");
        assert_eq!(ips(&all), ["10.0.0.2"]);
        let mut slices: Vec<EndpointSlice> =
            from_value(json!([{"addressType": "IPv4", "metadata": {}, "endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"], "conditions": {"ready": false}}]}])).unwrap();
        assert!(edit_slices(&mut slices, ip("10.0.0.1"), false).is_err());
    }

    #[test]
    fn a_slice_with_many_addresses_in_one_endpoint_loses_only_one() {
        let mut slices: Vec<EndpointSlice> = from_value(
            json!([{"addressType": "IPv4", "metadata": {}, "endpoints": [{"addresses": ["10.0.0.1", "10.0.0.2"]}]}]),
        )
        .unwrap();
        assert_eq!(edit_slices(&mut slices, ip("10.0.0.2"), false), Ok(vec![0]));
        assert_eq!(edit_slices(&mut slices, ip("10.0.0.2"), false), Ok(vec![]));
        assert_eq!(edit_slices(&mut slices, ip("10.0.0.2"), true), Ok(vec![0]));
        let left: Vec<_> = slices[0].endpoints.iter().flatten().flat_map(|e| e.addresses.clone()).collect();
        assert_eq!(left, ["10.0.0.1", "10.0.0.2"]);
    }
}
