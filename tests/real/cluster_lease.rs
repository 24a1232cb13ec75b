//! The run lock in the simulated cluster, looked at and shortened through its API as `kubectl` would.

use crate::common::Lab;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use sonoba::inventory::Profile;

async fn leases(lab: &Lab) -> Api<Lease> {
    let profile = Profile::load(&lab.path("profile.toml")).unwrap();
    let kubeconfig = Kubeconfig::read_from(profile.kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Api::namespaced(Client::try_from(config).unwrap(), "kube-system")
}

/// Lets a holder that does not renew any more lose the lock after this many seconds, instead of a minute. Returns when that is.
pub fn shorten(lab: &Lab, seconds: i32) -> Timestamp {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let leases = leases(lab).await;
        let mut lease = leases.get("sonoba").await.unwrap();
        let spec = lease.spec.as_mut().expect("a lock that somebody holds");
        assert!(spec.holder_identity.is_some(), "{spec:?}");
        spec.lease_duration_seconds = Some(seconds);
        let renewed = spec.renew_time.clone().expect("a lock that was renewed").0;
        leases.replace("sonoba", &PostParams::default(), &lease).await.unwrap();
        let renewed: Timestamp = renewed.to_string().parse().unwrap();
        renewed + SignedDuration::from_secs(seconds.into())
    })
}

/// Leaves the lock as a holder does that died long ago, and that is free once it was watched for so long.
pub fn put_dead(lab: &Lab, seconds: i32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let lease = serde_json::json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "sonoba", "namespace": "kube-system"},
            "spec": {"holderIdentity": "dead@elsewhere/r0", "leaseDurationSeconds": seconds,
                "renewTime": "2020-01-01T00:00:00.000000Z", "leaseTransitions": 3}});
        let lease: Lease = serde_json::from_value(lease).unwrap();
        leases(lab).await.create(&PostParams::default(), &lease).await.unwrap();
    });
}
