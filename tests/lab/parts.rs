//! What the lab is made of, and whether this machine has it.

use std::io::Write;
use std::path::Path;
use std::sync::Once;

/// Programs, with the Debian package that brings each.
const PROGRAMS: [(&str, &str); 12] = [
    ("sshd", "openssh-server"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("dockerd", "docker.io"),
    ("docker", "docker.io"),
    ("containerd", "containerd"),
    ("docker-registry", "docker-registry"),
    ("etcd", "etcd-server"),
    ("etcdctl", "etcd-client"),
    ("useradd", "passwd"),
    ("dash", "dash"),
    ("ldd", "libc-bin"),
];

/// What is missing, in words; empty when the lab can be set up here.
fn missing() -> Vec<String> {
    let mut missing: Vec<String> = PROGRAMS
        .iter()
        .filter(|(program, _)| find(program).is_none())
        .map(|(program, package)| format!("{program} (apt-get install {package})"))
        .collect();
    if !rustix::process::geteuid().is_root() {
        missing.push("root (dockerd and sshd of the lab need it; nothing on a node does)".into());
    }
    missing
}

/// The path of a program; `sbin` is looked into too, since an ordinary user's `PATH` leaves it out.
pub fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(Into::into))
        .map(|dir| dir.join(program))
        .find(|file| Path::is_file(file))
}

/// Whether the lab can be set up. `false` was said aloud, as a skip.
///
/// # Panics
/// When a part is missing and `SONOBA_LAB=require` says that none may be.
pub fn ready() -> bool {
    let missing = missing();
    if missing.is_empty() {
        return true;
    }
    let list = missing.join(", ");
    assert!(std::env::var_os("SONOBA_LAB").is_none_or(|v| v != "require"), "the lab lacks {list}");
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        let line = format!("\nSKIPPED: the lab lacks {list}; SONOBA_LAB=require makes this a failure\n");
        // Not `eprintln!`: a passing test's output is captured, and a skip must be seen.
        let _ = std::io::stderr().write_all(line.as_bytes());
    });
    false
}
