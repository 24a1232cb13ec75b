//! A plan as a file, which is read only if nobody else could have changed it.

use super::failure::Failure;
use super::{output, say};
use crate::fleet::{clean, clean_short, read_clean};
use crate::plan::{FORMAT, Plan};
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// No plan is longer: 5,000 nodes with their pulls and swaps need about a tenth of it. Bytes.
const LONGEST: u64 = 256 << 20;

/// Reads a plan.
///
/// # Errors
/// When the file is missing, may be changed by others, or is no plan of this format.
pub(super) fn load(path: &Path) -> Result<Plan, Failure> {
    let shown = clean(&path.to_string_lossy());
    let io = |e: std::io::Error| {
        Failure::failed(format!("plan {shown}: {e}; make one with: sonoba plan --release NAME -o {shown}"))
    };
    // A link may lead to it; a FIFO must not hold this up.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(io)?;
    let meta = file.metadata().map_err(io)?;
    if !meta.is_file() {
        return Err(Failure::failed(format!("plan {shown}: is not a file; write the plan to one with sonoba plan -o")));
    }
    // A plan commands root-like power over every node: whoever can write it can run images of his own.
    let own = rustix::process::geteuid().as_raw();
    if ![own, 0].contains(&meta.uid()) && own != 0 {
        return Err(Failure::failed(format!(
            "plan {shown}: belongs to another user (uid {}), who can change it at any time; copy it, and look at the copy",
            meta.uid()
        )));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(Failure::failed(format!(
            "plan {shown}: others may write to it, so what was previewed need not be what is in it; chmod go-w {shown}, and look at it again"
        )));
    }
    if meta.len() > LONGEST {
        return Err(Failure::failed(format!("plan {shown}: is longer than any plan ({} bytes)", meta.len())));
    }
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text).map_err(io)?;
    parse(&text).map_err(|why| Failure::failed(format!("plan {shown}: {why}")))
}

/// Reads a plan's text.
///
/// # Errors
/// In words, when it is no plan of this format.
pub(crate) fn parse(text: &[u8]) -> Result<Plan, String> {
    #[derive(serde::Deserialize)]
    struct Head {
        format: u32,
    }
    // The format first: a plan of another format may lack fields, and its error should not be about those.
    let said = |e: serde_json::Error| clean_short(&e.to_string(), 300);
    let head: Head = serde_json::from_slice(text).map_err(|e| format!("is no plan: {}", said(e)))?;
    if head.format != FORMAT {
        return Err(format!(
            "has format {}, this sonoba reads format {FORMAT}; make it anew with: sonoba plan",
            head.format
        ));
    }
    read_clean(text).map_err(|e| format!("is no plan: {}; make it anew with: sonoba plan", said(e)))
}

/// A plan as its file holds it.
pub(super) fn to_text(plan: &Plan) -> Result<String, Failure> {
    let mut text = serde_json::to_string_pretty(plan)
        .map_err(|e| Failure::failed(format!("the plan cannot be written as JSON: {e}")))?;
    text.push('\n');
    Ok(text)
}

/// Writes a plan to where the path leads ([`output`]).
///
/// # Errors
/// When nothing can be written there.
pub(super) fn save(path: &Path, plan: &Plan) -> Result<(), Failure> {
    output::write(path, to_text(plan)?.as_bytes()).map_err(|e| {
        let shown = clean(&path.to_string_lossy());
        Failure::failed(format!("plan {shown}: cannot be written: {e}"))
    })
}

/// Says where a plan was written, and how it is carried out.
pub(super) fn saved(path: &Path) {
    if output::is_standard(path) {
        say::err("the plan is printed above; keep it in a file for sonoba apply");
    } else {
        say::err(format!("written to {0}; carry it out with: sonoba apply {0}", path.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn another_format_is_named_before_anything_else() {
        let why = parse(b"{\"format\": 99}").unwrap_err();
        assert!(why.contains("format 99"), "{why}");
        assert!(parse(b"{}").unwrap_err().contains("is no plan"));
        assert!(parse(b"[").unwrap_err().contains("is no plan"));
    }

    #[test]
    fn a_file_that_others_may_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plan.json");
        output::write(&path, b"{}").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o664)).unwrap();
        let error = load(&path).unwrap_err();
        assert!(error.text.contains("chmod go-w"), "{}", error.text);
    }

    #[test]
    fn a_write_that_fails_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("plan.json");
        std::fs::create_dir(&place).unwrap();
        assert!(output::write(&place, b"x").is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
