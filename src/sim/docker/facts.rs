//! What a daemon tells of its machine, of a container's files and of a registry.

use super::{Body, Daemon, raw, reply};
use crate::fleet::{Component, Image};
use crate::sim::model::{Refusal, digest, refuse};
use bytes::Bytes;
use hyper::Response;
use serde_json::json;

impl Daemon {
    /// What `docker info` shows, as far as somebody who upgrades wants to know it.
    pub(super) fn info(&self) -> Response<Body> {
        let running = self
            .shared
            .on(self.node, |machine, _, _| machine.containers().iter().filter(|container| container.running()).count());
        let info = json!({
            "ID": "7a6d1f0c-52ab-4f0e-9f2f-2f4c7b2a51aa",
            "Containers": running,
            "ContainersRunning": running,
            "Driver": "overlay2",
            "LoggingDriver": "journald",
            "CgroupDriver": "systemd",
            "CgroupVersion": "2",
            "KernelVersion": "6.6.95-flatcar",
            "OperatingSystem": "Flatcar Container Linux by Kinvolk 4230.2.2",
            "OSType": "linux",
            "Architecture": "x86_64",
            "NCPU": 32,
            "MemTotal": 137_438_953_472_u64,
            "DockerRootDir": "/var/lib/docker",
            "ServerVersion": "28.0.4",
        });
        reply(200, &info)
    }

    /// A file of a container, in an archive. Only the files that `--config` names are simulated.
    pub(super) fn archive(&self, key: &str, path: &str) -> Result<Response<Body>, Refusal> {
        let name = self.shared.on(self.node, |machine, _, _| {
            let container = &machine.containers()[machine.find(key)?];
            Ok((container.component(), container.body["Cmd"].to_string()))
        });
        let (component, command) = name?;
        let named = command.contains(&format!("--config={path}\""));
        let text = component.filter(|_| named).and_then(|component| self.config(component));
        let missing = || refuse(404, format!("Could not find the file {path} in container {key}"));
        let text = text.ok_or_else(missing)?;
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        let mut builder = tar::Builder::new(Vec::new());
        let file = path.rsplit('/').next().unwrap_or(path);
        let packed = builder.append_data(&mut header, file, text.as_bytes()).and_then(|()| builder.into_inner());
        let bytes = packed.map_err(|e| refuse(500, e.to_string()))?;
        Ok(raw(200, "application/x-tar", Bytes::from(bytes)))
    }

    fn config(&self, component: Component) -> Option<String> {
        let own = self.shared.world().config(self.node, component).map(str::to_owned);
        own.or_else(|| usual(component).map(str::to_owned))
    }

    /// What the registry says of an image.
    pub(super) fn distribution(&self, name: &str) -> Result<Response<Body>, Refusal> {
        let image: Image = name.parse().map_err(|_| refuse(400, "invalid reference format"))?;
        let published = self.shared.on(self.node, |machine, env, now| machine.published(&image, env, now));
        if !published {
            return Err(refuse(404, format!("manifest for {image} not found: manifest unknown: manifest unknown")));
        }
        Ok(reply(
            200,
            &json!({
                "Descriptor": {
                    "mediaType": "application/vnd.oci.image.index.v1+json",
                    "digest": format!("sha256:{}", digest(&["manifest", image.as_str()])),
                    "size": 1_610,
                },
                "Platforms": [{"architecture": "amd64", "os": "linux"}],
            }),
        ))
    }
}

/// The configuration files as CKE writes them, cut short.
fn usual(component: Component) -> Option<&'static str> {
    Some(match component {
        Component::Kubelet => {
            "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\ncgroupDriver: systemd\n\
             clusterDomain: cluster.local\nmaxPods: 250\n"
        }
        Component::KubeProxy => {
            "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: iptables\n"
        }
        Component::KubeScheduler => "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n",
        _ => return None,
    })
}
