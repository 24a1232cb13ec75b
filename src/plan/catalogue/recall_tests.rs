//! What release notes say is gone or locked, taken from them by hand, must be found in every version from there to the last that
//! the tables cover; and what installers give must not.

use super::tests::Case;
use super::{Kind, built_in, known};
use crate::fleet::Component;
use crate::fleet::Component::{KubeApiserver, KubeControllerManager, KubeProxy, KubeScheduler, Kubelet};
use crate::plan::{Finding, Severity};

/// The feature gates that CHANGELOG-1.X.md calls removed, under "API Change", "Feature" and "Other"; 1.30's from the pull requests
/// that it links.
const REMOVED: [(u32, &[&str]); 7] = [
    (30, &["KubeletPodResourcesGetAllocatable", "ExpandedDNSConfig", "ProxyTerminatingEndpoints", "RemoveSelfLink"]),
    (
        31,
        &[
            "APIPriorityAndFairness",
            "ServiceNodePortStaticSubrange",
            "CSINodeExpandSecret",
            "ConsistentHTTPGetHandlers",
            "ReadWriteOncePod",
            "CustomResourceValidationExpressions",
            "DefaultHostNetworkHostPortsInPodTemplates",
            "SkipReadOnlyValidationGCE",
            "JobReadyPods",
            "InTreePluginAWSUnregister",
            "InTreePluginAzureDiskUnregister",
            "InTreePluginAzureFileUnregister",
            "InTreePluginGCEUnregister",
            "InTreePluginOpenStackUnregister",
            "InTreePluginvSphereUnregister",
        ],
    ),
    (
        32,
        &[
            "CloudDualStackNodeIPs",
            "HPAContainerMetrics",
            "LegacyServiceAccountTokenCleanUp",
            "MinDomainsInPodTopologySpread",
            "NewVolumeManagerReconstruction",
            "NodeOutOfServiceVolumeDetach",
            "StableLoadBalancerNodeSet",
            "ValidatingAdmissionPolicy",
            "ZeroLimitedNominalConcurrencyShares",
            "ServerSideApply",
            "ServerSideFieldValidation",
            "KMSv2",
            "KMSv2KDF",
            "PodHostIPs",
            "DRAControlPlaneController",
        ],
    ),
    (
        33,
        &[
            "DisableCloudProviders",
            "DisableKubeletCloudCredentialProviders",
            "JobPodFailurePolicy",
            "CPUManager",
            "PersistentVolumeLastPhaseTransitionTime",
            "AppArmor",
            "AppArmorFields",
            "PDBUnhealthyPodEvictionPolicy",
            "KubeProxyDrainingTerminatingNodes",
        ],
    ),
    (34, &["DevicePluginCDIDevices", "PodDisruptionConditions", "LegacySidecarContainers"]),
    (
        35,
        &[
            "SizeMemoryBackedVolumes",
            "ComponentSLIs",
            "StrictCostEnforcementForVAP",
            "StrictCostEnforcementForWebhooks",
            "UserNamespacesPodSecurityStandards",
        ],
    ),
    (
        36,
        &[
            "CSIMigrationPortworx",
            "InTreePluginPortworxUnregister",
            "HonorPVReclaimPolicy",
            "WatchFromStorageWithoutResourceVersion",
        ],
    ),
];

/// The feature gates that the same files call locked, set to what they are not locked to. They are found until they are removed,
/// and then as removed.
const LOCKED: [(u32, &[&str]); 4] = [
    (
        33,
        &[
            "ServiceAccountTokenNodeBinding=false",
            "SidecarContainers=false",
            "WatchFromStorageWithoutResourceVersion=true",
        ],
    ),
    (
        34,
        &[
            "RelaxedEnvironmentVariableValidation=false",
            "JobPodReplacementPolicy=false",
            "AuthorizeWithSelectors=false",
            "AuthorizeNodeWithSelectors=false",
        ],
    ),
    (
        35,
        &[
            "DynamicResourceAllocation=false",
            "AllowOverwriteTerminationGracePeriodSeconds=true",
            "ExecProbeTimeout=false",
            "JobManagedBy=false",
            "SystemdWatchdog=false",
            "AggregatedDiscoveryRemoveBetaType=false",
        ],
    ),
    (
        36,
        &[
            "DisableNodeKubeProxyVersion=false",
            "VolumeAttributesClass=false",
            "MutableCSINodeAllocatableCount=false",
            "SeparateCacheWatchRPC=true",
        ],
    ),
];

/// The flags that they call removed.
const FLAGS: [(u32, Component, &[&str]); 8] = [
    (31, Kubelet, &["--keep-terminated-pod-volumes", "--iptables-masquerade-bit", "--iptables-drop-bit"]),
    (
        31,
        KubeControllerManager,
        &[
            "--volume-host-cidr-denylist",
            "--volume-host-allow-local-loopback",
            "--horizontal-pod-autoscaler-upscale-delay",
            "--horizontal-pod-autoscaler-downscale-delay",
        ],
    ),
    (31, KubeProxy, &["--proxy-port-range"]),
    (32, Kubelet, &["--runonce"]),
    (33, KubeApiserver, &["--cloud-provider", "--cloud-config"]),
    (34, Kubelet, &["--cloud-config", "--register-schedulable"]),
    (35, Kubelet, &["--pod-infra-container-image"]),
    (30, Kubelet, &["--azure-container-registry-config"]),
];

const NODES: [(Component, &str); 5] = [
    (KubeApiserver, "rack0-m1"),
    (KubeControllerManager, "rack0-m1"),
    (KubeScheduler, "rack0-m1"),
    (KubeProxy, "rack0-cs1"),
    (Kubelet, "rack0-cs1"),
];

/// The catalogue's errors when a component with these arguments goes from one minor version to another.
fn errors(component: Component, args: &str, from: u32, to: u32) -> Vec<Finding> {
    let mut case = Case::new(&format!("1.{from}.9"), &format!("1.{to}.2"));
    let node = NODES.iter().find(|(c, _)| *c == component).unwrap().1;
    case.args(node, component, &format!("{component} {args}"));
    let of_it =
        |f: &Finding| f.severity == Severity::Error && (f.code.starts_with("gate-") || f.code.contains("flag-"));
    case.plan().findings.into_iter().filter(of_it).collect()
}

fn last() -> u32 {
    known::gates().unwrap().span().1
}

/// Which of these were not found exactly once in which version from `since` on.
fn missed(component: Component, words: &[&str], args: &str, since: u32) -> Vec<String> {
    let mut missed = Vec::new();
    for to in since..=last() {
        let found = errors(component, args, since - 1, to);
        let names = |f: &Finding, word: &str| f.text.split([' ', '=', ',', ':']).any(|w| w == word);
        for word in words {
            let times = found.iter().filter(|f| names(f, word.split('=').next().unwrap())).count();
            if times != 1 {
                missed.push(format!("{word} in 1.{to}: {times} findings"));
            }
        }
    }
    missed
}

#[test]
fn every_gate_that_release_notes_call_removed_is_found_once_in_every_version_since() {
    let mut all = Vec::new();
    for ((since, gates), (component, _)) in REMOVED.iter().zip(NODES.iter().cycle()) {
        let set: Vec<String> = gates.iter().map(|g| format!("{g}=true")).collect();
        all.extend(missed(*component, gates, &format!("--feature-gates={}", set.join(",")), *since));
    }
    assert_eq!(all, Vec::<String>::new());
}

#[test]
fn every_gate_that_release_notes_call_locked_is_found_once_in_every_version_since() {
    let mut all = Vec::new();
    for ((since, gates), (component, _)) in LOCKED.iter().zip(NODES.iter().cycle()) {
        all.extend(missed(*component, gates, &format!("--feature-gates={}", gates.join(",")), *since));
    }
    assert_eq!(all, Vec::<String>::new());
}

#[test]
fn every_flag_that_release_notes_call_removed_is_found_once_in_every_version_since() {
    let mut all = Vec::new();
    for (since, component, flags) in FLAGS {
        let given: Vec<String> = flags.iter().map(|f| format!("{f}=x")).collect();
        all.extend(missed(component, flags, &given.join(" "), since));
    }
    assert_eq!(all, Vec::<String>::new());
}

/// What kubeadm 1.29 to 1.36 writes (cmd/kubeadm/app/phases/controlplane/manifests.go and kubelet/flags.go).
const KUBEADM: [(Component, &str); 5] = [
    (
        KubeApiserver,
        "--advertise-address=10.0.0.1 --allow-privileged=true --authorization-mode=Node,RBAC \
         --client-ca-file=/etc/kubernetes/pki/ca.crt --enable-admission-plugins=NodeRestriction --enable-bootstrap-token-auth=true \
         --etcd-cafile=/etc/kubernetes/pki/etcd/ca.crt --etcd-certfile=/etc/kubernetes/pki/apiserver-etcd-client.crt \
         --etcd-keyfile=/etc/kubernetes/pki/apiserver-etcd-client.key --etcd-servers=https://127.0.0.1:2379 \
         --kubelet-client-certificate=/etc/kubernetes/pki/apiserver-kubelet-client.crt \
         --kubelet-client-key=/etc/kubernetes/pki/apiserver-kubelet-client.key \
         --kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname \
         --proxy-client-cert-file=/etc/kubernetes/pki/front-proxy-client.crt \
         --proxy-client-key-file=/etc/kubernetes/pki/front-proxy-client.key --requestheader-allowed-names=front-proxy-client \
         --requestheader-client-ca-file=/etc/kubernetes/pki/front-proxy-ca.crt \
         --requestheader-extra-headers-prefix=X-Remote-Extra- --requestheader-group-headers=X-Remote-Group \
         --requestheader-username-headers=X-Remote-User --secure-port=6443 \
         --service-account-issuer=https://kubernetes.default.svc.cluster.local \
         --service-account-key-file=/etc/kubernetes/pki/sa.pub --service-account-signing-key-file=/etc/kubernetes/pki/sa.key \
         --service-cluster-ip-range=10.96.0.0/12 --tls-cert-file=/etc/kubernetes/pki/apiserver.crt \
         --tls-private-key-file=/etc/kubernetes/pki/apiserver.key",
    ),
    (
        KubeControllerManager,
        "--allocate-node-cidrs=true --authentication-kubeconfig=/etc/kubernetes/controller-manager.conf \
         --authorization-kubeconfig=/etc/kubernetes/controller-manager.conf --bind-address=127.0.0.1 \
         --client-ca-file=/etc/kubernetes/pki/ca.crt --cluster-cidr=10.244.0.0/16 --cluster-name=kubernetes \
         --cluster-signing-cert-file=/etc/kubernetes/pki/ca.crt --cluster-signing-key-file=/etc/kubernetes/pki/ca.key \
         --controllers=*,bootstrapsigner,tokencleaner --enable-hostpath-provisioner=true \
         --kubeconfig=/etc/kubernetes/controller-manager.conf --leader-elect=true \
         --requestheader-client-ca-file=/etc/kubernetes/pki/front-proxy-ca.crt --root-ca-file=/etc/kubernetes/pki/ca.crt \
         --service-account-private-key-file=/etc/kubernetes/pki/sa.key --service-cluster-ip-range=10.96.0.0/12 \
         --use-service-account-credentials=true",
    ),
    (
        KubeScheduler,
        "--authentication-kubeconfig=/etc/kubernetes/scheduler.conf --authorization-kubeconfig=/etc/kubernetes/scheduler.conf \
         --bind-address=127.0.0.1 --kubeconfig=/etc/kubernetes/scheduler.conf --leader-elect=true",
    ),
    (KubeProxy, "--config=/var/lib/kube-proxy/config.conf --hostname-override=node-1"),
    (
        Kubelet,
        "--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf \
         --config=/var/lib/kubelet/config.yaml --container-runtime-endpoint=unix:///run/containerd/containerd.sock \
         --node-ip=10.0.0.2 --hostname-override=node-1 --register-with-taints=a=b:NoSchedule --node-labels=a=b",
    ),
];

/// What k3s 1.29 to 1.36 gives its parts (pkg/daemons/control/server.go and pkg/daemons/agent/agent_linux.go).
const K3S: [(Component, &str); 5] = [
    (
        KubeApiserver,
        "--advertise-address=10.0.0.1 --advertise-port=6443 --allow-privileged=true --anonymous-auth=false \
         --api-audiences=https://kubernetes.default.svc.cluster.local,k3s --authorization-mode=Node,RBAC \
         --bind-address=127.0.0.1 --cert-dir=/var/lib/rancher/k3s/server/tls/temporary-certs --client-ca-file=/tls/client-ca.crt \
         --egress-selector-config-file=/etc/egress-selector-config.yaml --enable-admission-plugins=NodeRestriction \
         --enable-aggregator-routing=true --enable-bootstrap-token-auth=true --etcd-cafile=/tls/etcd/server-ca.crt \
         --etcd-certfile=/tls/etcd/client.crt --etcd-keyfile=/tls/etcd/client.key --etcd-servers=https://127.0.0.1:2379 \
         --kubelet-certificate-authority=/tls/server-ca.crt --kubelet-client-certificate=/tls/client-kube-apiserver.crt \
         --kubelet-client-key=/tls/client-kube-apiserver.key --kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname \
         --profiling=false --proxy-client-cert-file=/tls/client-auth-proxy.crt --proxy-client-key-file=/tls/client-auth-proxy.key \
         --requestheader-allowed-names=system:auth-proxy --requestheader-client-ca-file=/tls/request-header-ca.crt \
         --requestheader-extra-headers-prefix=X-Remote-Extra- --requestheader-group-headers=X-Remote-Group \
         --requestheader-username-headers=X-Remote-User --secure-port=6444 \
         --service-account-issuer=https://kubernetes.default.svc.cluster.local --service-account-key-file=/tls/service.key \
         --service-account-signing-key-file=/tls/service.current.key --service-cluster-ip-range=10.43.0.0/16 \
         --service-node-port-range=30000-32767 --storage-backend=etcd3 --tls-cert-file=/tls/serving-kube-apiserver.crt \
         --tls-cipher-suites=TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 --tls-min-version=VersionTLS12 \
         --tls-private-key-file=/tls/serving-kube-apiserver.key",
    ),
    (
        KubeControllerManager,
        "--allocate-node-cidrs=true --authentication-kubeconfig=/cred/controller.kubeconfig \
         --authorization-kubeconfig=/cred/controller.kubeconfig --bind-address=127.0.0.1 --cluster-cidr=10.42.0.0/16 \
         --cluster-signing-kube-apiserver-client-cert-file=/tls/client-ca.nochain.crt \
         --cluster-signing-kube-apiserver-client-key-file=/tls/client-ca.key \
         --cluster-signing-kubelet-client-cert-file=/tls/client-ca.nochain.crt \
         --cluster-signing-kubelet-client-key-file=/tls/client-ca.key \
         --cluster-signing-kubelet-serving-cert-file=/tls/server-ca.nochain.crt \
         --cluster-signing-kubelet-serving-key-file=/tls/server-ca.key \
         --cluster-signing-legacy-unknown-cert-file=/tls/server-ca.nochain.crt \
         --cluster-signing-legacy-unknown-key-file=/tls/server-ca.key --configure-cloud-routes=false \
         --controllers=*,tokencleaner --kubeconfig=/cred/controller.kubeconfig --profiling=false --root-ca-file=/tls/server-ca.crt \
         --secure-port=10257 --service-account-private-key-file=/tls/service.current.key \
         --service-cluster-ip-range=10.43.0.0/16 --tls-cert-file=/tls/kube-controller-manager/kube-controller-manager.crt \
         --tls-private-key-file=/tls/kube-controller-manager/kube-controller-manager.key --use-service-account-credentials=true",
    ),
    (
        KubeScheduler,
        "--authentication-kubeconfig=/cred/scheduler.kubeconfig --authorization-kubeconfig=/cred/scheduler.kubeconfig \
         --bind-address=127.0.0.1 --kubeconfig=/cred/scheduler.kubeconfig --profiling=false --secure-port=10259 \
         --tls-cert-file=/tls/kube-scheduler/kube-scheduler.crt --tls-private-key-file=/tls/kube-scheduler/kube-scheduler.key",
    ),
    (
        KubeProxy,
        "--cluster-cidr=10.42.0.0/16 --conntrack-max-per-core=0 --conntrack-tcp-timeout-close-wait=0s \
         --conntrack-tcp-timeout-established=0s --healthz-bind-address=127.0.0.1 --hostname-override=n1 \
         --kubeconfig=/var/lib/rancher/k3s/agent/kubeproxy.kubeconfig --proxy-mode=iptables",
    ),
    (
        Kubelet,
        "--cloud-provider=external --config-dir=/var/lib/rancher/k3s/agent/etc/kubelet.conf.d \
         --containerd=/run/k3s/containerd/containerd.sock --hostname-override=n1 \
         --kubeconfig=/var/lib/rancher/k3s/agent/kubelet.kubeconfig --node-ip=10.0.0.1 --node-labels=a=b --read-only-port=0 \
         --address=0.0.0.0 --anonymous-auth=false --authentication-token-webhook=true --authorization-mode=Webhook \
         --cgroup-driver=systemd --client-ca-file=/agent/client-ca.crt --cluster-dns=10.43.0.10 --cluster-domain=cluster.local \
         --container-runtime-endpoint=unix:///run/k3s/containerd/containerd.sock \
         --eviction-hard=imagefs.available<5%,nodefs.available<5% \
         --eviction-minimum-reclaim=imagefs.available=10%,nodefs.available=10% --fail-swap-on=false \
         --healthz-bind-address=127.0.0.1 --kubelet-cgroups=/k3s --pod-manifest-path=/agent/pod-manifests \
         --resolv-conf=/run/systemd/resolve/resolv.conf --serialize-image-pulls=false \
         --tls-cert-file=/agent/serving-kubelet.crt --tls-private-key-file=/agent/serving-kubelet.key",
    ),
];

/// What CKE gives (op/k8s).
const CKE: [(Component, &str); 5] = [
    (
        KubeApiserver,
        "--allow-privileged --etcd-servers=https://127.0.0.1:12379 --etcd-cafile=/etc/kubernetes/pki/etcd-ca.crt \
         --etcd-certfile=/etc/kubernetes/pki/apiserver-etcd-client.crt \
         --etcd-keyfile=/etc/kubernetes/pki/apiserver-etcd-client.key --etcd-compaction-interval=5m --bind-address=0.0.0.0 \
         --client-ca-file=/etc/kubernetes/pki/ca.crt --tls-cert-file=/etc/kubernetes/pki/apiserver.crt \
         --tls-private-key-file=/etc/kubernetes/pki/apiserver.key --kubelet-certificate-authority=/etc/kubernetes/pki/ca.crt \
         --kubelet-client-certificate=/etc/kubernetes/pki/apiserver.crt --kubelet-client-key=/etc/kubernetes/pki/apiserver.key \
         --enable-admission-plugins=NodeRestriction,DenyServiceExternalIPs \
         --service-account-issuer=https://kubernetes.default.svc.cluster.local \
         --service-account-key-file=/etc/kubernetes/pki/service-account.crt \
         --service-account-signing-key-file=/etc/kubernetes/pki/service-account.key --service-account-lookup \
         --requestheader-client-ca-file=/etc/kubernetes/pki/aggregation-ca.crt \
         --requestheader-allowed-names=front-proxy-client --requestheader-extra-headers-prefix=X-Remote-Extra- \
         --requestheader-group-headers=X-Remote-Group --requestheader-username-headers=X-Remote-User \
         --proxy-client-cert-file=/etc/kubernetes/pki/aggregation.crt \
         --proxy-client-key-file=/etc/kubernetes/pki/aggregation.key --authorization-mode=Node,RBAC \
         --advertise-address=10.99.0.11 --endpoint-reconciler-type=none --service-cluster-ip-range=10.68.0.0/16 \
         --encryption-provider-config=/etc/kubernetes/apiserver/encryption.yml --audit-log-path=/var/log/audit/audit.log \
         --audit-policy-file=/etc/kubernetes/apiserver/audit-policy.yaml",
    ),
    (
        KubeControllerManager,
        "--cluster-name=rk --service-cluster-ip-range=10.68.0.0/16 --kubeconfig=/etc/kubernetes/controller-manager/kubeconfig \
         --authentication-kubeconfig=/etc/kubernetes/controller-manager/kubeconfig \
         --authorization-kubeconfig=/etc/kubernetes/controller-manager/kubeconfig \
         --tls-cert-file=/etc/kubernetes/pki/apiserver.crt --tls-private-key-file=/etc/kubernetes/pki/apiserver.key \
         --root-ca-file=/etc/kubernetes/pki/ca.crt \
         --service-account-private-key-file=/etc/kubernetes/pki/service-account.key --use-service-account-credentials=true",
    ),
    (
        KubeScheduler,
        "--config=/etc/kubernetes/scheduler/config.yml --authentication-kubeconfig=/etc/kubernetes/scheduler/kubeconfig \
         --authorization-kubeconfig=/etc/kubernetes/scheduler/kubeconfig --tls-cert-file=/etc/kubernetes/pki/apiserver.crt \
         --tls-private-key-file=/etc/kubernetes/pki/apiserver.key",
    ),
    (KubeProxy, "--config=/etc/kubernetes/proxy/config.yml"),
    (
        Kubelet,
        "--config=/etc/kubernetes/kubelet/config.yml --kubeconfig=/etc/kubernetes/kubelet/kubeconfig --hostname-override=w1 \
         --container-runtime-endpoint=unix:///run/containerd/containerd.sock --seccomp-default=false",
    ),
];

/// What kOps gives (nodeup/pkg/model), without its wrapper.
const KOPS: [(Component, &str); 5] = [
    (
        KubeApiserver,
        "--allow-privileged=true --anonymous-auth=false --api-audiences=kubernetes.svc.default --authorization-mode=Node,RBAC \
         --bind-address=0.0.0.0 --client-ca-file=/kubernetes/ca.crt --enable-admission-plugins=NodeRestriction,ResourceQuota \
         --encryption-provider-config=/kubernetes/encryptionconfig.yaml --etcd-cafile=/etcd/ca.crt --etcd-certfile=/etcd/client.crt \
         --etcd-keyfile=/etcd/client.key --etcd-servers-overrides=/events#https://127.0.0.1:4002 \
         --etcd-servers=https://127.0.0.1:4001 --kubelet-client-certificate=/api.crt --kubelet-client-key=/api.key \
         --kubelet-preferred-address-types=InternalIP,Hostname,ExternalIP --proxy-client-cert-file=/agg.crt \
         --proxy-client-key-file=/agg.key --requestheader-allowed-names=aggregator --requestheader-client-ca-file=/agg-ca.crt \
         --requestheader-extra-headers-prefix=X-Remote-Extra- --requestheader-group-headers=X-Remote-Group \
         --requestheader-username-headers=X-Remote-User --secure-port=443 --service-account-issuer=https://api.example.com \
         --service-account-jwks-uri=https://api.example.com/openid/v1/jwks --service-account-key-file=/sa.pub \
         --service-account-signing-key-file=/sa.key --service-cluster-ip-range=100.64.0.0/13 --storage-backend=etcd3 \
         --tls-cert-file=/server.crt --tls-private-key-file=/server.key --v=2",
    ),
    (
        KubeControllerManager,
        "--allocate-node-cidrs=true --attach-detach-reconcile-sync-period=1m0s --authentication-kubeconfig=/kcm.conf \
         --authorization-kubeconfig=/kcm.conf --cloud-provider=external --cluster-cidr=100.96.0.0/11 --cluster-name=k.example.com \
         --cluster-signing-cert-file=/ca.crt --cluster-signing-key-file=/ca.key --configure-cloud-routes=false \
         --kubeconfig=/kcm.conf --leader-elect=true --root-ca-file=/ca.crt --service-account-private-key-file=/sa.key \
         --tls-cert-file=/server.crt --tls-private-key-file=/server.key --use-service-account-credentials=true --v=2",
    ),
    (
        KubeScheduler,
        "--authentication-kubeconfig=/s.conf --authorization-kubeconfig=/s.conf --config=/s.yaml --leader-elect=true \
         --tls-cert-file=/server.crt --tls-private-key-file=/server.key --v=2",
    ),
    (
        KubeProxy,
        "--cluster-cidr=100.96.0.0/11 --conntrack-max-per-core=131072 --hostname-override=i-1 --kubeconfig=/p.conf \
         --master=https://127.0.0.1 --oom-score-adj=-998 --v=2",
    ),
    (
        Kubelet,
        "--authentication-token-webhook=true --authorization-mode=Webhook --cgroup-driver=systemd --cgroup-root=/ \
         --client-ca-file=/ca.crt --cloud-provider=external --cluster-dns=100.64.0.10 --cluster-domain=cluster.local \
         --enable-debugging-handlers=true --eviction-hard=memory.available<100Mi --hostname-override=i-1 --kubeconfig=/k.conf \
         --pod-manifest-path=/etc/kubernetes/manifests --protect-kernel-defaults=true --register-with-taints=a=b:NoSchedule \
         --tls-cert-file=/server.crt --tls-private-key-file=/server.key --v=2 --volume-plugin-dir=/plugins \
         --runtime-request-timeout=15m --container-runtime-endpoint=unix:///run/containerd/containerd.sock",
    ),
];

#[test]
fn what_installers_give_is_not_found_in_any_version() {
    let (first, last) = known::gates().unwrap().span();
    let mut found = Vec::new();
    for (component, args) in [KUBEADM, K3S, CKE, KOPS].concat() {
        for to in first..=last {
            for from in [to - 1, to] {
                found.extend(errors(component, args, from, to).into_iter().map(|f| format!("{} in 1.{to}", f.code)));
            }
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn every_gate_of_a_release_is_taken_by_it_at_its_default() {
    let table = known::gates().unwrap();
    let (first, last) = table.span();
    for to in first..=last {
        let set: Vec<String> = table
            .names()
            .filter_map(|(_, name)| {
                let spec = known::Spec::read(table.row("", name)?.at(to)?)?;
                Some(format!("{name}={}", spec.on))
            })
            .collect();
        let found = errors(Kubelet, &format!("--feature-gates=AllBeta=true,{}", set.join(",")), to, to);
        assert_eq!(found, [], "1.{to}");
    }
}

#[test]
fn the_written_entries_and_the_tables_say_the_same() {
    let table = known::gates().unwrap();
    let (first, last) = table.span();
    for entry in built_in().unwrap() {
        let super::Detect::Gate { gate, value } = &entry.detect else { continue };
        if ![Kind::GateRemoved, Kind::GateLocked].contains(&entry.kind) {
            continue;
        }
        let until = entry.until.as_ref().map_or(last + 1, |v| v.minor);
        for minor in entry.since.minor.max(first)..until.min(last + 1) {
            let verdict = known::gate(table, gate.as_str(), *value, minor);
            assert!(verdict != known::Verdict::Fits, "{} in 1.{minor}", entry.id);
        }
        if (first + 1..=last).contains(&entry.since.minor) {
            let before = known::gate(table, gate.as_str(), *value, entry.since.minor - 1);
            let locked = matches!(before, known::Verdict::Locked { .. });
            let removed = entry.kind == Kind::GateRemoved;
            assert!(before == known::Verdict::Fits || (removed && locked), "{} comes too late: {before:?}", entry.id);
        }
    }
}
