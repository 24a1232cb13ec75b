//! The containers of a node, made as CKE makes them.

use crate::images::Release;
use crate::node::{Kind, Node};
use crate::process::run;
use color_eyre::eyre::Result;

/// Runs every component of a node on a release's images.
pub fn run_all(node: &Node, masters: &[String], release: &Release) -> Result<()> {
    for image in release.images() {
        if node.master() || image != release.etcd {
            run(node.docker().args(["pull", "-q", image]))?;
        }
    }
    for name in names(node.kind) {
        run(node.docker().args(run_args(name, node, masters, release)))?;
    }
    Ok(())
}

/// The arguments for `docker` that run a component, from `run -d` on.
pub fn run_args(name: &'static str, node: &Node, masters: &[String], release: &Release) -> Vec<String> {
    Component::of(name, node, masters, release).args()
}

/// The components of a kind of node, in the order in which they start.
pub fn names(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Master => &[
            "rivers",
            "etcd-rivers",
            "etcd",
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kube-proxy",
            "kubelet",
        ],
        Kind::Worker(_) => &["rivers", "kube-proxy", "kubelet"],
    }
}

/// A component's image in a release.
pub fn image<'a>(name: &str, release: &'a Release) -> &'a str {
    match name {
        "rivers" | "etcd-rivers" => &release.rivers,
        "etcd" => &release.etcd,
        _ => &release.kubernetes,
    }
}

/// Where a component says that it is healthy, `{address}` standing for its node's.
pub fn health(name: &str) -> &'static str {
    match name {
        "rivers" => "tcp://{address}:16443",
        "etcd-rivers" => "tcp://{address}:12379",
        "etcd" => "http://{address}:2381/health",
        "kube-apiserver" => "https://{address}:6443/readyz",
        "kube-controller-manager" => "https://{address}:10257/healthz",
        "kube-scheduler" => "https://{address}:10259/healthz",
        "kubelet" => "http://{address}:10248/healthz",
        _ => "http://{address}:10256/healthz",
    }
}

/// One container to run.
struct Component {
    name: &'static str,
    image: String,
    options: Vec<String>,
    command: Vec<String>,
}

impl Component {
    fn of(name: &'static str, node: &Node, masters: &[String], release: &Release) -> Component {
        let a = &node.address;
        let upstreams = |port: u16| masters.iter().map(|m| format!("{m}:{port}")).collect::<Vec<_>>().join(",");
        let faults = format!("--volume={}:/faults:ro", node.dir.join("faults").display());
        let etc = format!("--volume={}:/etc/kubernetes:ro", node.dir.join("etc-kubernetes").display());
        let own =
            |options: &[&str]| options.iter().map(|o| (*o).to_owned()).chain([faults.clone(), etc.clone()]).collect();
        let (options, command): (Vec<String>, Vec<String>) = match name {
            "rivers" | "etcd-rivers" => {
                let (near, far) = if name == "rivers" { (16443, 6443) } else { (12379, 2379) };
                let command = vec![format!("--upstreams={}", upstreams(far)), format!("--listen={a}:{near}")];
                (own(&["--restart=always", "--ulimit=nofile=1000:2000"]), command)
            }
            "etcd" => (etcd_options(), etcd_command(node.name, a, masters)),
            "kube-apiserver" => {
                let command = vec![
                    format!("--bind-address={a}"),
                    format!("--advertise-address={a}"),
                    format!("--etcd-servers=http://{a}:12379"),
                    "--allow-privileged=true".into(),
                    // As CKE has it: whoever restarts an instance takes it out of the Endpoints before.
                    "--endpoint-reconciler-type=none".into(),
                    "--service-cluster-ip-range=10.68.0.0/16".into(),
                    "--audit-log-path=-".into(),
                ];
                (own(&["--restart=always", "--env=GOGC=80", "--oom-score-adj=100"]), command)
            }
            "kube-controller-manager" => {
                let command = vec![
                    format!("--bind-address={a}"),
                    "--leader-elect=true".into(),
                    // What a shell would act on must come through as it is.
                    r#"--cluster-name="$HOME; `id`""#.into(),
                    "--feature-gates=ContextualLogging=true".into(),
                ];
                (own(&["--restart=unless-stopped"]), command)
            }
            "kube-scheduler" => {
                let command = vec![format!("--bind-address={a}"), "--config=/etc/kubernetes/scheduler.yml".into()];
                (own(&["--restart=on-failure:5", "--log-opt=max-file=3"]), command)
            }
            "kubelet" => {
                let command = vec![format!("--healthz-bind-address={a}"), format!("--hostname-override={}", node.name)];
                let mut options = vec!["--restart=always", "--pid=host", "--tmpfs=/tmp:size=8m"];
                options.extend(privileges());
                (own(&options), command)
            }
            _ => {
                let command = vec![format!("--healthz-bind-address={a}"), "--proxy-mode=nftables".into()];
                (own(&["--restart=always", "--cap-add=NET_ADMIN"]), command)
            }
        };
        Component { name, image: image(name, release).to_owned(), options, command }
    }

    /// The arguments for `docker`.
    fn args(&self) -> Vec<String> {
        let label = serde_json::json!({
            "builtin_params": {"extra_args": self.command, "extra_binds": null, "extra_env": null},
            "extra_params": {"extra_args": null, "extra_binds": null, "extra_env": null},
        });
        let mut args: Vec<String> =
            ["run", "-d", "--log-driver=json-file", "--log-opt=max-size=1m", "--read-only", "--network=host"]
                .map(Into::into)
                .into();
        args.extend(["--uts=host".into(), format!("--name={}", self.name)]);
        args.push(format!("--label=com.cybozu.cke={label}"));
        args.push("--env=STANDIN_START_MS=300".into());
        args.extend(self.options.iter().cloned());
        args.extend([self.image.clone(), self.name.into()]);
        args.extend(self.command.iter().cloned());
        args
    }
}

/// What makes the kubelet privileged. Where this machine itself is a container with fewer capabilities than the kernel
/// knows, it cannot give them all away: then the nearest that it can.
fn privileges() -> &'static [&'static str] {
    let number = |file: &str, key: &str, radix: u32| -> Option<u64> {
        let text = std::fs::read_to_string(file).ok()?;
        let value = text.lines().find_map(|line| line.strip_prefix(key))?.trim();
        u64::from_str_radix(value, radix).ok()
    };
    let bounds = number("/proc/self/status", "CapBnd:", 16);
    let last = number("/proc/sys/kernel/cap_last_cap", "", 10);
    match (bounds, last) {
        (Some(bounds), Some(last)) if u64::from(bounds.trailing_ones()) > last => &["--privileged"],
        _ => &["--cap-add=SYS_ADMIN", "--cap-add=NET_ADMIN", "--security-opt=seccomp=unconfined"],
    }
}

fn etcd_options() -> Vec<String> {
    [
        "--restart=unless-stopped",
        "--volume=etcd-cke:/var/lib/etcd",
        "--env=ETCD_ENABLE_V2=false",
        "--ulimit=nofile=2000",
    ]
    .map(Into::into)
    .into()
}

fn etcd_command(name: &str, address: &str, masters: &[String]) -> Vec<String> {
    let cluster = crate::lab::MASTERS
        .iter()
        .zip(masters)
        .map(|(name, address)| format!("{name}=http://{address}:2380"))
        .collect::<Vec<_>>()
        .join(",");
    vec![
        format!("--name={name}"),
        "--data-dir=/var/lib/etcd".into(),
        format!("--listen-client-urls=http://{address}:2379"),
        format!("--advertise-client-urls=http://{address}:2379"),
        format!("--listen-peer-urls=http://{address}:2380"),
        format!("--initial-advertise-peer-urls=http://{address}:2380"),
        format!("--initial-cluster={cluster}"),
        "--initial-cluster-state=new".into(),
        format!("--listen-metrics-urls=http://{address}:2381"),
        "--auto-compaction-retention=1".into(),
    ]
}
