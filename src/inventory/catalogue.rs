//! The operator's own files of what breaks in place.

use super::error::ProfileError;
use super::profile::read_file;
use crate::fleet::Masker;
use crate::plan::catalogue::{Entry, parse};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The entries of these files, each held against its own samples. A change of arguments goes into plans: one that holds what would
/// be masked in a container's arguments is refused.
///
/// # Errors
/// When a file cannot be read or an entry is not valid; names file, entry and field.
pub(super) fn read(files: &[PathBuf], masker: &Masker) -> Result<Vec<Entry>, ProfileError> {
    let mut all: Vec<Entry> = Vec::new();
    let mut seen: BTreeMap<String, &Path> = BTreeMap::new();
    for file in files {
        let entries = parse(&read_file(file)?).map_err(|e| ProfileError::new(file, e.line, e.to_string()))?;
        for entry in entries {
            let err = |what: String| ProfileError::new(file, None, format!("entry {}: {what}", entry.id));
            entry.prove().map_err(&err)?;
            if let Some(flag) = entry.sets_masked(masker) {
                return Err(err(format!(
                    "change: the value of {flag} may be a secret, and plans are no place for one; if it is harmless, put \
                     {flag} into harmless_flags of the profile"
                )));
            }
            if let Some(other) = seen.insert(entry.id.clone(), file) {
                return Err(err(format!("id: {} has it too", other.display())));
            }
            all.push(entry);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use crate::inventory::Profile;

    const ENTRY: &str = "[[entry]]\nid = \"house\"\ncomponent = \"kubelet\"\nsince = \"1.36.0\"\nkind = \"flag-removed\"\n\
        severity = \"error\"\ntext = \"t\"\nmend = \"m\"\nsource = \"https://example.com\"\nhit = [\"--house=1\"]\n\
        miss = [\"--houses\"]\n[entry.detect]\nflag = \"--house\"\n";

    fn load(files: &[(&str, &str)], catalogue: &str) -> Result<Profile, String> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let profile = dir.path().join("tokyo0.toml");
        let text = format!(
            "kubeconfig = \"k\"\ncatalogue = {catalogue}\n[ssh]\nuser = \"cke\"\nknown_hosts = \"h\"\n[[inventory.node]]\n\
             name = \"n1\"\n"
        );
        std::fs::write(&profile, text).unwrap();
        Profile::load(&profile).map_err(|e| e.to_string().replace(dir.path().to_str().unwrap(), "DIR"))
    }

    #[test]
    fn files_beside_the_profile_are_read_into_the_settings() {
        let profile = load(&[("mine.toml", ENTRY)], "[\"mine.toml\"]").unwrap();
        let ids: Vec<&str> = profile.settings.catalogue.iter().map(|e| e.id.as_str()).collect();
        assert_eq!(ids, ["house"]);
        assert!(!profile.to_toml().contains("mine.toml"), "a run goes on without it: {}", profile.to_toml());
    }

    #[test]
    fn an_error_names_file_entry_and_field() {
        let wrong =
            |from: &str, to: &str| load(&[("a.toml", &ENTRY.replacen(from, to, 1))], "[\"a.toml\"]").unwrap_err();
        assert_eq!(
            wrong("\"error\"", "\"bad\""),
            "DIR/a.toml:1: entry house: severity: \"bad\" is not known; use one of error, warning, info"
        );
        assert_eq!(wrong("--house=1", "--mouse=1"), "DIR/a.toml: entry house: hit: \"--mouse=1\" is not detected");
        assert!(wrong("--houses", "--house").contains("miss: \"--house\" is detected"));
        let set = ENTRY.replacen("[entry.detect]", "change = { set = \"--house-token=hunter2\" }\n[entry.detect]", 1);
        let secret = load(&[("a.toml", &set)], "[\"a.toml\"]").unwrap_err();
        assert!(secret.contains("--house-token") && secret.contains("harmless_flags"), "{secret}");
        assert!(!secret.contains("hunter2"), "{secret}");
        let harmless = "[\"a.toml\"]\nharmless_flags = [\"--house-token\"]";
        load(&[("a.toml", &set)], harmless).unwrap();
        let twice = load(&[("a.toml", ENTRY), ("b.toml", ENTRY)], "[\"a.toml\", \"b.toml\"]").unwrap_err();
        assert_eq!(twice, "DIR/b.toml: entry house: id: DIR/a.toml has it too");
        assert!(load(&[], "[\"none.toml\"]").unwrap_err().starts_with("DIR/none.toml: cannot be read"));
    }
}
