//! How a member of etcd is asked by the etcdctl in its own container, with what its own arguments say. Pure.

use super::flags::words;
use super::{Check, EtcdSettings, InnerPath, Program, Scheme};
use crate::fleet::{Component, ContainerName, Node};

/// A member of etcd, as the etcdctl in its own container reaches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Etcdctl {
    /// The member's container.
    pub container: ContainerName,
    /// How etcdctl is called there.
    pub program: Program,
    /// Where the member takes clients.
    pub endpoint: Check,
    /// Who signed the server's certificate.
    pub cacert: Option<InnerPath>,
    /// A client's certificate.
    pub cert: Option<InnerPath>,
    /// Its key.
    pub key: Option<InnerPath>,
}

impl Etcdctl {
    /// The command line of one call, which ends by itself after `limit_s` seconds. Without that limit etcdctl tries again for
    /// ever where etcd does not take its certificate, and a program inside a container cannot be ended from outside.
    pub fn argv(&self, limit_s: u32, words: &[&str]) -> Vec<String> {
        let Check { scheme, host, port, .. } = &self.endpoint;
        let secure = *scheme == Scheme::Https;
        let mut argv: Vec<String> = self.program.clone().into();
        argv.push(format!("--endpoints={}://{host}:{port}", if secure { "https" } else { "http" }));
        if secure {
            let files = [("cacert", &self.cacert), ("cert", &self.cert), ("key", &self.key)];
            argv.extend(files.iter().filter_map(|(flag, file)| Some(format!("--{flag}={}", file.as_ref()?.as_str()))));
        }
        argv.push(format!("--dial-timeout={}s", limit_s.clamp(1, 5)));
        argv.push(format!("--command-timeout={limit_s}s"));
        argv.extend(words.iter().map(|w| (*w).to_owned()));
        argv
    }

    /// Whom it connects to, and with which certificate, in words.
    pub fn words(&self) -> String {
        let Check { host, port, .. } = &self.endpoint;
        match (self.endpoint.scheme, &self.cert) {
            (Scheme::Https, Some(cert)) => format!("etcd at {host}:{port} with the certificate {}", cert.as_str()),
            (Scheme::Https, None) => format!("etcd at {host}:{port} without a client's certificate"),
            _ => format!("etcd at {host}:{port}"),
        }
    }
}

/// The member of this node; none where no etcd is known there.
pub fn etcdctl(node: &Node, settings: &EtcdSettings) -> Option<Etcdctl> {
    let etcd = node.components.get(&Component::Etcd)?;
    let flag = |name: &str| words(&etcd.args).into_iter().rfind(|w| w.is(name)).and_then(|w| w.value);
    let file = |given: &Option<InnerPath>, name| given.clone().or_else(|| flag(name)?.to_owned().try_into().ok());
    Some(Etcdctl {
        container: etcd.container.clone(),
        program: settings.etcdctl.clone(),
        endpoint: endpoint(flag("advertise-client-urls"), flag("listen-client-urls")),
        cacert: file(&settings.cacert, "trusted-ca-file"),
        cert: file(&settings.cert, "cert-file"),
        key: file(&settings.key, "key-file"),
    })
}

/// Where clients are told to go: its certificate is for that name. What etcd listens on may be every address.
fn endpoint(advertised: Option<&str>, listened: Option<&str>) -> Check {
    let mut urls = [advertised, listened].into_iter().flatten().flat_map(|list| list.split(','));
    let good = |check: &Check| matches!(check.scheme, Scheme::Http | Scheme::Https) && check.path == "/";
    let found = urls.find_map(|url| url.trim().parse::<Check>().ok().filter(good));
    let mut check =
        found.unwrap_or(Check { scheme: Scheme::Http, host: "127.0.0.1".into(), port: 2379, path: "/".into() });
    if matches!(check.host.as_str(), "0.0.0.0" | "[::]") {
        check.host = "127.0.0.1".into();
    }
    check
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::samples::cluster;

    #[test]
    fn every_call_has_a_limit_of_its_own() {
        let mut node = cluster(1, 0, 1).nodes.into_values().next().unwrap();
        let args = "etcd --listen-client-urls=https://0.0.0.0:2379 --cert-file=/pki/a.crt --key-file=/pki/a.key";
        let etcd = node.components.get_mut(&Component::Etcd).unwrap();
        etcd.args = args.split(' ').map(str::to_owned).collect();
        let made = etcdctl(&node, &EtcdSettings::default()).unwrap();
        assert_eq!(
            made.argv(7, &["move-leader", "8e9e05c52164694d"]).join(" "),
            "etcdctl --endpoints=https://127.0.0.1:2379 --cert=/pki/a.crt --key=/pki/a.key --dial-timeout=5s \
             --command-timeout=7s move-leader 8e9e05c52164694d"
        );
        assert_eq!(made.words(), "etcd at 127.0.0.1:2379 with the certificate /pki/a.crt");
        node.components.clear();
        assert_eq!(etcdctl(&node, &EtcdSettings::default()), None);
    }
}
