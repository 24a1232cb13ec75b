//! Where profiles and run folders are.

use super::args::Global;
use super::failure::Failure;
use directories::ProjectDirs;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

fn project() -> Result<ProjectDirs, Failure> {
    ProjectDirs::from("", "", "sonoba")
        .ok_or_else(|| Failure::failed("there is no home folder; set HOME, or give --profile and --state-dir"))
}

/// The state folder, under which the run folders are. Made for its owner alone where it does not exist.
pub(super) fn state_dir(global: &Global) -> Result<PathBuf, Failure> {
    let dir = match &global.state_dir {
        Some(dir) => std::path::absolute(dir).map_err(|e| Failure::failed(format!("{}: {e}", dir.display())))?,
        None => {
            let project = project()?;
            project.state_dir().unwrap_or_else(|| project.data_local_dir()).to_owned()
        }
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&dir)
        .map_err(|e| Failure::failed(format!("state folder {}: {e}; name another with --state-dir", dir.display())))?;
    Ok(dir)
}

/// The profile that the command is about: --profile, --cluster, or the only one in the configuration folder.
pub(super) fn profile(global: &Global) -> Result<PathBuf, Failure> {
    if let Some(file) = &global.profile {
        return std::path::absolute(file).map_err(|e| Failure::failed(format!("{}: {e}", file.display())));
    }
    let clusters = project()?.config_dir().join("clusters");
    if let Some(name) = &global.cluster {
        let file = clusters.join(format!("{name}.toml"));
        return if file.is_file() {
            Ok(file)
        } else {
            let known = known(&clusters).join(", ");
            let known = if known.is_empty() { "none is there yet".to_owned() } else { format!("known: {known}") };
            Err(Failure::usage(format!("cluster {name} has no profile {} ({known})", file.display())))
        };
    }
    match known(&clusters).as_slice() {
        [one] => Ok(clusters.join(format!("{one}.toml"))),
        [] => Err(Failure::usage(format!(
            "no cluster is known: write its profile to {}, or give --profile FILE; to look around first: sonoba demo",
            clusters.join("NAME.toml").display()
        ))),
        many => Err(Failure::usage(format!("which cluster? give --cluster with one of: {}", many.join(", ")))),
    }
}

/// The configuration folder.
pub(super) fn config_dir() -> Result<PathBuf, Failure> {
    Ok(project()?.config_dir().to_owned())
}

/// The clusters that there are profiles of in the configuration folder.
pub(super) fn clusters() -> Vec<String> {
    project().map(|project| known(&project.config_dir().join("clusters"))).unwrap_or_default()
}

/// The names of the profiles in a folder, sorted.
fn known(clusters: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(clusters).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "toml"))
        .filter_map(|p| Some(p.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_found_by_their_names() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["tokyo0.toml", "osaka1.toml", "notes.txt"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(known(dir.path()), ["osaka1", "tokyo0"]);
        assert_eq!(known(&dir.path().join("none")), [""; 0]);
    }
}
