//! The registry that nodes pull from.

use crate::process::{command, daemon, wait_for};
use color_eyre::eyre::Result;
use std::net::TcpStream;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

/// Starts a registry on a loopback address: daemons may pull from there without TLS.
pub fn start(dir: &Path, address: &str) -> Result<Child> {
    let config = dir.join("registry.yml");
    let storage = dir.join("registry");
    let text = format!(
        "version: 0.1\nlog: {{level: warn, accesslog: {{disabled: true}}}}\n\
         storage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: {address:?}}}\n",
        storage.display()
    );
    std::fs::write(&config, text)?;
    let child = daemon(command("docker-registry")?.arg("serve").arg(&config), &dir.join("registry.log"))?;
    wait_for("the registry listens", Duration::from_secs(20), || Ok(TcpStream::connect(address).map(drop)?))?;
    Ok(child)
}
