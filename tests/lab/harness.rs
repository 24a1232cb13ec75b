//! The lab itself: it comes up whole, and goes without a trace.

use crate::lab::Lab;
use crate::process::run;
use crate::{components, parts, reap};
use color_eyre::eyre::{Result, ensure};

#[test]
fn the_lab_comes_up_whole_and_goes_without_a_trace() -> Result<()> {
    if !parts::ready() {
        return Ok(());
    }
    let lab = Lab::start()?;
    for node in &lab.nodes {
        let mut expected: Vec<&str> = components::names(node.kind).to_vec();
        expected.sort_unstable();
        assert_eq!(node.containers()?, expected, "{}", node.name);
        // An operator's session: no root, a home of the node's own, and Docker through the environment.
        let seen = run(lab.ssh(node)?.arg("id -un; cd && pwd; docker ps -q | wc -l"))?;
        let home = node.dir.join("home");
        assert_eq!(seen, format!("{}\n{}\n{}", lab.user, home.display(), expected.len()), "{}", node.name);
    }
    let m1 = lab.node("lab-m1");
    let members = run(m1.docker().args(["exec", "etcd", "/usr/local/bin/etcd", "--version"]))?;
    ensure!(members.contains("etcd Version"), "{members}");
    let (dir, user) = (lab.dir.clone(), lab.user.clone());
    lab.end()?;
    assert_eq!(reap::left(&dir), [""; 0]);
    ensure!(run(std::process::Command::new("id").arg(&user)).is_err(), "the account {user} is still there");
    Ok(())
}
