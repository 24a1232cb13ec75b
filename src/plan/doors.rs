//! Where a component's clients knock, read from the arguments that it runs with. Pure.
//!
//! A health port is not what clients use: etcd closes its client port the moment it is told to stop and drains for seconds, while
//! its metrics port goes on answering `/health`.

use super::flags::words;
use super::{Check, Scheme};
use crate::fleet::{Component, Node};

/// Where clients knock, and what counts as an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    /// What is asked, each time over a new connection.
    pub check: Check,
    /// Whether any HTTP status is an answer: an API server that refuses an anonymous question serves its clients.
    pub any_status: bool,
}

impl Door {
    /// A door at which only a healthy answer counts.
    pub fn health(check: Check) -> Door {
        Door { check, any_status: false }
    }

    /// How it is knocked at, in words that hold for every node: `new TLS connections to 127.0.0.1:2379`.
    pub fn words(&self) -> String {
        let Check { scheme, host, port, path } = &self.check;
        let place =
            if host.starts_with("127.0.0.") { format!("{host}:{port}") } else { format!("the node's port {port}") };
        match scheme {
            Scheme::Tcp => format!("new connections to {place}"),
            Scheme::Tls => format!("new TLS connections to {place}"),
            Scheme::Http => format!("new connections to {place} that ask {path}"),
            Scheme::Https => format!("new TLS connections to {place} that ask {path}"),
        }
    }
}

/// Where a component's clients knock on this node, the best first: whoever measures takes the first that the running component
/// answers. `given` is the profile's own word, which alone counts; `health` is where its health is asked.
pub fn client_doors(node: &Node, component: Component, given: Option<&Check>, health: &Check) -> Vec<Door> {
    if let Some(check) = given {
        return vec![Door { check: check.clone(), any_status: true }];
    }
    let args = |component| node.components.get(&component).map_or(&[][..], |r| &r.args[..]);
    let flag = |component, name: &str| words(args(component)).into_iter().rfind(|w| w.is(name)).and_then(|w| w.value);
    let mut doors = Vec::new();
    let own = flag(component, "listen");
    match component {
        Component::Etcd => doors.push(etcd(flag(component, "listen-client-urls"))),
        Component::KubeApiserver => {
            let host = reachable(flag(component, "bind-address").unwrap_or("0.0.0.0"));
            let port = flag(component, "secure-port").and_then(|p| p.parse().ok()).unwrap_or(6443);
            let check = Check { scheme: Scheme::Https, host, port, path: "/readyz".into() };
            doors.push(Door { check, any_status: true });
        }
        // A proxy accepts whether anything stands behind it or not: only what comes back from there is an answer.
        Component::Rivers => doors.extend(proxy(own, 16443, Scheme::Tls)),
        Component::EtcdRivers => {
            let behind = etcd(flag(Component::Etcd, "listen-client-urls")).check.scheme;
            doors.extend(proxy(own, 12379, behind));
        }
        Component::KubeControllerManager | Component::KubeScheduler | Component::Kubelet | Component::KubeProxy => {}
    }
    doors.push(Door::health(health.clone()));
    doors
}

/// etcd's first client URL that can be asked from its own node; its default without one.
/// <https://etcd.io/docs/v3.6/op-guide/configuration/#member>
fn etcd(urls: Option<&str>) -> Door {
    let urls = urls.unwrap_or("http://localhost:2379").split(',').map(str::trim);
    let checks: Vec<Check> = urls.filter_map(|url| url.parse::<Check>().ok()).collect();
    let near = |check: &&Check| check.host.starts_with("127.") || check.host == "localhost";
    let found = checks.iter().find(near).or_else(|| checks.first()).cloned();
    let mut check =
        found.unwrap_or(Check { scheme: Scheme::Http, host: "127.0.0.1".into(), port: 2379, path: "/".into() });
    check.host = reachable(&check.host);
    if check.scheme == Scheme::Https {
        // Its clients show certificates, which we do not have: a server that asks for one serves.
        (check.scheme, check.path) = (Scheme::Tls, String::new());
    } else {
        // Not a bare connection: the port is open before etcd serves it.
        (check.scheme, check.path) = (Scheme::Http, "/version".into());
    }
    Door { check, any_status: true }
}

/// Through a proxy to what stands behind it; then the proxy's own port alone.
fn proxy(listen: Option<&str>, default: u16, behind: Scheme) -> [Door; 2] {
    let (host, port) = listen.and_then(|l| l.rsplit_once(':')).unwrap_or(("", ""));
    let (host, port) = (reachable(host), port.parse().unwrap_or(default));
    let path = if behind == Scheme::Http { "/version" } else { "" };
    let through = Check { scheme: behind, host: host.clone(), port, path: path.into() };
    let bare = Check { scheme: Scheme::Tcp, host, port, path: String::new() };
    [Door { check: through, any_status: true }, Door { check: bare, any_status: true }]
}

/// An address to connect to, from one to listen on.
fn reachable(host: &str) -> String {
    let plain = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-.:[]".contains(c));
    match host {
        "0.0.0.0" | "[::]" | "::" | "localhost" => "127.0.0.1".into(),
        bare if plain && bare.contains(':') && !bare.starts_with('[') => format!("[{bare}]"),
        named if plain => named.into(),
        _ => "127.0.0.1".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::samples::{cluster, image, running};

    fn doors(components: &[(Component, &str)]) -> Vec<String> {
        let mut node = cluster(1, 0, 1).nodes.into_values().next().unwrap();
        node.components.clear();
        for (component, args) in components {
            let mut one = running(&node, *component, &image(*component, 0));
            one.args = args.split(' ').map(str::to_owned).collect();
            node.components.insert(*component, one);
        }
        let health = "http://127.0.0.1:1/health".parse().unwrap();
        let doors = client_doors(&node, components[0].0, None, &health);
        assert_eq!(doors.last(), Some(&Door::health(health)));
        doors[..doors.len() - 1].iter().map(|d| d.check.to_string()).collect()
    }

    #[test]
    fn they_are_where_the_arguments_say() {
        use Component::{Etcd, EtcdRivers, KubeApiserver, KubeScheduler, Kubelet, Rivers};
        for (component, args, wanted) in [
            (Etcd, "etcd", "http://127.0.0.1:2379/version"),
            (Etcd, "etcd --listen-client-urls=https://0.0.0.0:2379", "tls://127.0.0.1:2379"),
            (Etcd, "etcd --listen-client-urls https://10.0.0.1:4001,https://127.0.0.1:2379", "tls://127.0.0.1:2379"),
            (Etcd, "etcd --listen-client-urls=http://10.0.0.1:2379", "http://10.0.0.1:2379/version"),
            (Etcd, "etcd --listen-client-urls=unix:///x", "http://127.0.0.1:2379/version"),
            (KubeApiserver, "kube-apiserver", "https://127.0.0.1:6443/readyz"),
            (KubeApiserver, "kube-apiserver --bind-address=::1 --secure-port 8443", "https://[::1]:8443/readyz"),
            (KubeApiserver, "x --bind-address=\u{1b}[2J", "https://127.0.0.1:6443/readyz"),
            (Rivers, "rivers --upstreams=a:1 --listen=:16444", "tls://127.0.0.1:16444 tcp://127.0.0.1:16444"),
            (Rivers, "rivers", "tls://127.0.0.1:16443 tcp://127.0.0.1:16443"),
            (KubeScheduler, "kube-scheduler", ""),
            (Kubelet, "kubelet", ""),
        ] {
            assert_eq!(doors(&[(component, args)]).join(" "), wanted, "{args}");
        }
        let etcd = (Etcd, "etcd --listen-client-urls=https://0.0.0.0:2379");
        assert_eq!(
            doors(&[(EtcdRivers, "rivers --listen=127.0.0.1:12379"), etcd])[0],
            "tls://127.0.0.1:12379",
            "what stands behind has TLS"
        );
        assert_eq!(doors(&[(EtcdRivers, "rivers --listen=127.0.0.1:12379")])[0], "http://127.0.0.1:12379/version");
    }

    #[test]
    fn the_profile_has_the_only_word() {
        let node = cluster(1, 0, 1).nodes.into_values().next().unwrap();
        let [given, health] = ["tls://127.0.0.1:9", "http://127.0.0.1:1/health"].map(|c| c.parse().unwrap());
        let doors = client_doors(&node, Component::Etcd, Some(&given), &health);
        assert_eq!(doors, [Door { check: given, any_status: true }]);
        assert_eq!(doors[0].words(), "new TLS connections to 127.0.0.1:9");
        let there = Door::health("http://{address}:10248/healthz".parse().unwrap());
        assert_eq!(there.words(), "new connections to the node's port 10248 that ask /healthz");
    }
}
