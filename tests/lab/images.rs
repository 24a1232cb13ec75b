//! The images that the lab's nodes run, an old and a new tag of each.

use crate::node::Node;
use crate::process::{command, run};
use color_eyre::eyre::{Result, WrapErr, ensure};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// A release: an image for each of the three kinds of component.
#[derive(Debug, Clone)]
pub struct Release {
    /// As the profile names it.
    pub name: &'static str,
    /// kube-apiserver, kube-controller-manager, kube-scheduler, kubelet and kube-proxy.
    pub kubernetes: String,
    /// etcd.
    pub etcd: String,
    /// rivers and etcd-rivers.
    pub rivers: String,
}

impl Release {
    fn new(registry: &str, name: &'static str, tags: [&str; 3]) -> Release {
        let [kubernetes, etcd, rivers] = tags;
        Release {
            name,
            kubernetes: format!("{registry}/kubernetes:{kubernetes}"),
            etcd: format!("{registry}/etcd:{etcd}"),
            rivers: format!("{registry}/cke-tools:{rivers}"),
        }
    }

    /// What the lab's nodes run at first.
    pub fn old(registry: &str) -> Release {
        Release::new(registry, "1.35.6", ["1.35.6.1", "3.4.23.1", "1.35.0"])
    }

    /// What they are upgraded to.
    pub fn new_one(registry: &str) -> Release {
        Release::new(registry, "1.36.2", ["1.36.2.1", "3.4.23.2", "1.36.0"])
    }

    /// A patch of the old release's Kubernetes, with all else as it was: for a node alone, since a kubelet of a newer
    /// minor release than its API servers' may not be.
    pub fn patch(registry: &str) -> Release {
        Release::new(registry, "1.35.7", ["1.35.7.1", "3.4.23.1", "1.35.0"])
    }

    /// Its images.
    pub fn images(&self) -> [&str; 3] {
        [&self.kubernetes, &self.etcd, &self.rivers]
    }
}

/// Builds a release's images with a node's daemon, pushes them, and leaves none behind on the node.
pub fn publish(dir: &Path, builder: &Node, release: &Release) -> Result<()> {
    publish_kubernetes(dir, builder, release)?;
    let version = format!("v{}", release.name);
    build(dir, builder, &release.rivers, &[(&standin()?, &["rivers", "etcd-rivers"])], &version)?;
    // The same etcd under both tags: Debian has one. What the tag changes is the image, its id and the container.
    let etcd = crate::parts::find("etcd").unwrap_or_default();
    let etcdctl = crate::parts::find("etcdctl").unwrap_or_default();
    build(dir, builder, &release.etcd, &[(&etcd, &["etcd"]), (&etcdctl, &["etcdctl"])], &version)
}

/// The same for its Kubernetes alone.
pub fn publish_kubernetes(dir: &Path, builder: &Node, release: &Release) -> Result<()> {
    let components = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"];
    build(dir, builder, &release.kubernetes, &[(&standin()?, &components)], &format!("v{}", release.name))
}

/// One image: programs, each under its names, the libraries that they need, and a version.
fn build(dir: &Path, builder: &Node, image: &str, programs: &[(&Path, &[&str])], version: &str) -> Result<()> {
    let root = tempfile::tempdir_in(dir)?;
    let root = root.path();
    fs::set_permissions(root, fs::Permissions::from_mode(0o755))?;
    for place in ["usr/local/bin", "etc/standin", "tmp", "var/lib/etcd", "faults"] {
        fs::create_dir_all(root.join(place))?;
    }
    let bin = root.join("usr/local/bin");
    fs::write(root.join("etc/standin/version"), format!("{version}\n"))?;
    for (program, names) in programs {
        let first = bin.join(names[0]);
        fs::copy(program, &first).wrap_err_with(|| format!("copying {}", program.display()))?;
        // Without its symbols the program is a third of the size; where `strip` is missing, the whole one does.
        let _ = Command::new("strip").arg(&first).status();
        for name in &names[1..] {
            fs::hard_link(&first, bin.join(name))?;
        }
        for library in libraries(program)? {
            let place = root.join(library.strip_prefix("/")?);
            fs::create_dir_all(place.parent().unwrap_or(root))?;
            fs::copy(&library, &place).wrap_err_with(|| format!("copying {}", library.display()))?;
        }
    }
    let mut tar = Command::new("tar").arg("-C").arg(root).args(["-c", "."]).stdout(Stdio::piped()).spawn()?;
    let layer = tar.stdout.take().map_or(Stdio::null(), Stdio::from);
    let import = builder.docker().args(["import", "-", image]).stdin(layer).output()?;
    ensure!(tar.wait()?.success(), "tar could not pack {}", root.display());
    ensure!(import.status.success(), "docker import: {}", String::from_utf8_lossy(&import.stderr));
    run(builder.docker().args(["push", "-q", image]))?;
    run(builder.docker().args(["rmi", image]))?;
    Ok(())
}

/// The shared libraries of a program, its loader included.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let text = run(command("ldd")?.arg(program))?;
    Ok(text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}

/// The stand-in for what Debian does not ship. It is an example of the crate, which `cargo test --test lab` does not
/// build: cargo is asked to, and has nothing to do when it is there.
fn standin() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let build = || -> Result<PathBuf> {
        let profile = Path::new(env!("CARGO_BIN_EXE_sonoba")).parent().unwrap_or(Path::new("."));
        let target = profile.parent().unwrap_or(Path::new("."));
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        cargo.args(["build", "--quiet", "--locked", "--example", "standin", "--target-dir"]).arg(target);
        // What cargo told this test of its own package: dependencies that look at it would be built anew, twice.
        for (name, _) in std::env::vars_os() {
            if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_", "CARGO_PRIMARY_"]
                .iter()
                .any(|prefix| name.to_string_lossy().starts_with(prefix))
            {
                cargo.env_remove(name);
            }
        }
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        run(&mut cargo)?;
        let file = profile.join("examples/standin");
        ensure!(file.is_file(), "cargo built no {}", file.display());
        Ok(file)
    };
    let built = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    built.clone().map_err(|error| color_eyre::eyre::eyre!(error))
}
