//! What CKE's `docker run` posts for each component, as a real cluster has it.

use super::NodeSpec;
use crate::fleet::{Component, Image};
use serde_json::{Value, json};

/// The whole body of the container's creation, with `extra` arguments behind CKE's own.
pub(crate) fn body(
    component: Component,
    image: &Image,
    node: &NodeSpec,
    masters: &[&NodeSpec],
    extra: &[String],
) -> Value {
    let mut command = command(component, node, masters);
    let binds = binds(component);
    let label = json!({
        "builtin_params": {"extra_args": command[1..], "extra_binds": null, "extra_env": null},
        "extra_params": {"extra_args": (!extra.is_empty()).then_some(extra), "extra_binds": null, "extra_env": null},
    });
    command.extend_from_slice(extra);
    let kubelet = component == Component::Kubelet;
    let mut host = json!({
        "Binds": binds,
        "LogConfig": {"Type": "journald", "Config": {}},
        "NetworkMode": "host",
        "UTSMode": "host",
        "PidMode": if kubelet { "host" } else { "" },
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "Privileged": kubelet || component == Component::KubeProxy,
        "ReadonlyRootfs": true,
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "ShmSize": 67_108_864,
        "Runtime": "runc",
        "Memory": 0,
        "CpuShares": 0,
        "OomScoreAdj": -1000,
        "Ulimits": [{"Name": "nofile", "Soft": 1_048_576, "Hard": 1_048_576}],
        "SecurityOpt": if kubelet { json!(["label=disable"]) } else { Value::Null },
        "CapAdd": if component == Component::Rivers { json!(["NET_BIND_SERVICE"]) } else { Value::Null },
    });
    if kubelet {
        host["Tmpfs"] = json!({"/tmp": ""});
    }
    json!({
        "Hostname": node.name.as_str(),
        "Domainname": "",
        "User": "",
        "AttachStdin": false,
        "AttachStdout": false,
        "AttachStderr": false,
        "Tty": false,
        "OpenStdin": false,
        "StdinOnce": false,
        "Env": ["PATH=/usr/local/kubernetes/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "Cmd": command,
        "Image": image.as_str(),
        "Volumes": null,
        "WorkingDir": "",
        "Entrypoint": null,
        "Labels": {"com.cybozu.cke": label.to_string()},
        "HostConfig": host,
    })
}

fn binds(component: Component) -> Vec<&'static str> {
    match component {
        Component::Rivers | Component::EtcdRivers => vec!["/var/log/rivers:/var/log/rivers:rw"],
        Component::Etcd => vec!["etcd-cke:/var/lib/etcd:rw", "/etc/etcd/pki:/etc/etcd/pki:ro"],
        Component::KubeApiserver => vec![
            "/etc/machine-id:/etc/machine-id:ro",
            "/etc/kubernetes:/etc/kubernetes:ro",
            "/var/log/kubernetes/apiserver:/var/log/kubernetes/apiserver:rw",
        ],
        Component::KubeControllerManager | Component::KubeScheduler => {
            vec!["/etc/machine-id:/etc/machine-id:ro", "/etc/kubernetes:/etc/kubernetes:ro"]
        }
        Component::Kubelet => vec![
            "/etc/machine-id:/etc/machine-id:ro",
            "/etc/kubernetes:/etc/kubernetes:rw",
            "/var/lib/kubelet:/var/lib/kubelet:rshared",
            "/var/lib/cni:/var/lib/cni:rw",
            "/opt/cni/bin:/opt/cni/bin:ro",
            "/etc/cni/net.d:/etc/cni/net.d:ro",
            "/var/log/pods:/var/log/pods:rw",
            "/var/log/containers:/var/log/containers:rw",
            "/run:/run:rw",
            "/sys:/sys:rw",
            "/dev:/dev:rw",
            "/lib/modules:/lib/modules:ro",
        ],
        Component::KubeProxy => vec![
            "/etc/machine-id:/etc/machine-id:ro",
            "/etc/kubernetes:/etc/kubernetes:ro",
            "/run:/run:rw",
            "/lib/modules:/lib/modules:ro",
        ],
    }
}

fn command(component: Component, node: &NodeSpec, masters: &[&NodeSpec]) -> Vec<String> {
    let upstreams = |port: u16| -> String {
        let all: Vec<String> = masters.iter().map(|m| format!("{}:{port}", m.address)).collect();
        all.join(",")
    };
    let address = node.address;
    let mut args: Vec<String> = match component {
        Component::Rivers => {
            vec!["rivers".into(), format!("--upstreams={}", upstreams(6443)), "--listen=127.0.0.1:16443".into()]
        }
        Component::EtcdRivers => {
            vec!["rivers".into(), format!("--upstreams={}", upstreams(2379)), "--listen=127.0.0.1:12379".into()]
        }
        Component::Etcd => {
            let peers: Vec<String> =
                masters.iter().map(|m| format!("{}=https://{}:2380", m.address, m.address)).collect();
            vec![
                "etcd".into(),
                format!("--name={address}"),
                format!("--listen-peer-urls=https://{address}:2380"),
                format!("--listen-client-urls=https://{address}:2379,https://127.0.0.1:2379"),
                format!("--advertise-client-urls=https://{address}:2379"),
                format!("--initial-advertise-peer-urls=https://{address}:2380"),
                "--listen-metrics-urls=http://0.0.0.0:2381".into(),
                "--cert-file=/etc/etcd/pki/server.crt".into(),
                "--key-file=/etc/etcd/pki/server.key".into(),
                "--client-cert-auth=true".into(),
                "--trusted-ca-file=/etc/etcd/pki/ca-client.crt".into(),
                format!("--initial-cluster={}", peers.join(",")),
                "--initial-cluster-token=cke".into(),
                "--initial-cluster-state=new".into(),
                "--auto-compaction-retention=24".into(),
            ]
        }
        Component::KubeApiserver => vec![
            "kube-apiserver".into(),
            "--allow-privileged".into(),
            format!("--advertise-address={address}"),
            "--endpoint-reconciler-type=none".into(),
            "--etcd-servers=https://127.0.0.1:12379".into(),
            "--etcd-cafile=/etc/kubernetes/apiserver/pki/etcd-ca.crt".into(),
            "--bind-address=0.0.0.0".into(),
            "--client-ca-file=/etc/kubernetes/apiserver/pki/ca.crt".into(),
            "--tls-cert-file=/etc/kubernetes/apiserver/pki/apiserver.crt".into(),
            "--tls-private-key-file=/etc/kubernetes/apiserver/pki/apiserver.key".into(),
            "--authorization-mode=Node,RBAC".into(),
            "--service-cluster-ip-range=10.68.0.0/16".into(),
            "--audit-log-path=-".into(),
        ],
        Component::KubeControllerManager => vec![
            "kube-controller-manager".into(),
            "--cluster-name=demo".into(),
            "--service-cluster-ip-range=10.68.0.0/16".into(),
            "--kubeconfig=/etc/kubernetes/controller-manager/kubeconfig".into(),
            "--root-ca-file=/etc/kubernetes/controller-manager/pki/ca.crt".into(),
            "--use-service-account-credentials=true".into(),
        ],
        Component::KubeScheduler => {
            vec!["kube-scheduler".into(), "--config=/etc/kubernetes/scheduler/config.yml".into()]
        }
        Component::Kubelet => vec![
            "kubelet".into(),
            "--config=/etc/kubernetes/kubelet/config.yml".into(),
            "--kubeconfig=/etc/kubernetes/kubelet/kubeconfig".into(),
            format!("--hostname-override={}", node.name),
            "--container-runtime-endpoint=unix:///run/containerd/containerd.sock".into(),
        ],
        Component::KubeProxy => vec![
            "kube-proxy".into(),
            "--config=/etc/kubernetes/proxy/config.yml".into(),
            format!("--hostname-override={}", node.name),
        ],
    };
    args.shrink_to_fit();
    args
}
