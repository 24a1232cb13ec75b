//! Hosts that prove themselves by a certificate of an authority in `known_hosts`, as real sshd shows it.

use super::{Guard, Node, check, free_port, run, wait};
use sonoba::inventory::SshProfile;
use sonoba::remote::NodeError;
use std::fs;
use std::process::{Command, Stdio};

/// Signs the host's key as `ssh-keygen -s` does, and starts a server that shows the certificate.
fn serve(node: &Node, authority: &str, more: &[&str]) -> (Guard, u16) {
    run(Command::new("ssh-keygen")
        .args(["-q", "-s", authority, "-I", "rack0-cs1"])
        .args(more)
        .arg("host.pub")
        .current_dir(node.path("")));
    let (port, dir) = (free_port(), node.path(""));
    let dir = dir.display();
    let config = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {dir}/host\nHostCertificate {dir}/host-cert.pub\nPidFile none\n\
         AuthorizedKeysFile {dir}/id.pub\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
         KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
    );
    let file = node.path("sshd-certified");
    fs::write(&file, config).unwrap();
    let server = Command::new("/usr/sbin/sshd").args(["-D", "-e", "-f"]).arg(file).stderr(Stdio::null()).spawn();
    let guard = Guard(server.unwrap());
    wait("sshd", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    (guard, port)
}

async fn log_in(node: &Node, port: u16, known: &str) -> Result<(), NodeError> {
    fs::write(node.path("known_hosts"), known).unwrap();
    let profile = SshProfile { port, ..node.profile() };
    node.port(&profile, port)?.ask(&check(format!("tcp://127.0.0.1:{port}"))).await.map(drop)
}

fn key(node: &Node, name: &str) -> String {
    fs::read_to_string(node.path(name)).unwrap().trim().to_owned()
}

#[tokio::test]
async fn a_host_certificate_is_taken_from_its_authority_only_while_it_is_valid_and_for_this_host() {
    let Some(node) = Node::start(false) else { return };
    for (name, kind) in [("authority", "ed25519"), ("other", "ed25519"), ("rsa", "rsa"), ("ecdsa", "ecdsa")] {
        run(Command::new("ssh-keygen").args(["-q", "-t", kind, "-N", "", "-f"]).arg(node.path(name)));
    }
    let authority = |name: &str| format!("@cert-authority 127.0.0.* {}\n", key(&node, &format!("{name}.pub")));
    let taken: [(&str, &[&str]); 5] = [
        ("authority", &["-h", "-n", "127.0.0.1"]),
        ("authority", &["-h", "-n", "rack0-cs1,127.0.0.*"]),
        ("authority", &["-h"]),
        ("rsa", &["-h", "-n", "127.0.0.1", "-V", "-1d:+1d", "-t", "rsa-sha2-512"]),
        ("ecdsa", &["-h", "-n", "127.0.0.1"]),
    ];
    for (signer, how) in taken {
        let (_server, port) = serve(&node, signer, how);
        let result = log_in(&node, port, &authority(signer)).await;
        assert!(result.is_ok(), "{signer} {how:?}: {result:?}");
        // By the name with its port, too; and not by an authority for other hosts.
        let named = authority(signer).replace("127.0.0.*", &format!("[127.0.0.1]:{port}"));
        assert!(log_in(&node, port, &named).await.is_ok(), "{signer} {how:?}");
        let error = log_in(&node, port, &authority(signer).replace("127.0.0.*", "10.*")).await.unwrap_err();
        assert!(error.to_string().contains("is not known"), "{error}");
    }
    let refused: [(&str, &[&str], &str); 6] = [
        ("authority", &["-h", "-n", "rack0-cs2"], "is for rack0-cs2, not for 127.0.0.1"),
        ("authority", &["-h", "-V", "20200101000000Z:20200102000000Z"], "ended at 2020-01-02T00:00:00Z"),
        ("authority", &["-h", "-V", "20400101000000Z:20400102000000Z"], "is not valid before 2040-01-01T00:00:00Z"),
        ("authority", &["-h", "-O", "critical:force@example.com=x"], "has critical options"),
        ("rsa", &["-h", "-t", "ssh-rsa"], ""),
        ("other", &["-h", "-n", "127.0.0.1"], "which is not the @cert-authority of"),
    ];
    for (signer, how, words) in refused {
        let (_server, port) = serve(&node, signer, how);
        let known = if signer == "other" { authority("authority") } else { authority(signer) };
        let error = log_in(&node, port, &known).await.unwrap_err();
        assert!(matches!(&error, NodeError::Refused(why) if why.contains(words)), "{signer} {how:?}: {error:?}");
        // The key in it is the host's all the same where known_hosts has it.
        let own = format!("{known}[127.0.0.1]:{port} {}\n", key(&node, "host.pub"));
        let result = log_in(&node, port, &own).await;
        assert!(result.is_ok(), "{signer} {how:?}: {result:?}");
    }
    let (_server, port) = serve(&node, "authority", &["-h", "-n", "127.0.0.1"]);
    for revoked in ["authority.pub", "host.pub"] {
        let known = format!("{}@revoked * {}\n", authority("authority"), key(&node, revoked));
        let error = log_in(&node, port, &known).await.unwrap_err();
        assert!(error.to_string().contains("REVOKED"), "{revoked}: {error}");
    }
    // A server without a certificate, of a host that is known by nothing else.
    let error = log_in(&node, node.ports[0], &authority("authority")).await.unwrap_err();
    assert!(error.to_string().contains("it shows none"), "{error}");
}
