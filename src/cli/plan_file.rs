//! A plan as a file, which is read only if nobody else could have changed it, and carried out only as it was made.

use super::failure::Failure;
use super::{output, say};
use crate::fleet::{clean, clean_short, read_clean};
use crate::plan::{Broken, FORMAT, Plan, check_seal};
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// No plan is longer: 5,000 nodes with their pulls and swaps need about a tenth of it. Bytes.
const LONGEST: u64 = 256 << 20;

/// Reads a plan to carry it out.
///
/// # Errors
/// When the file is missing, may be changed by others, or is no plan of this format. Exit 3, when it does not say what the
/// planner wrote.
pub(super) fn load(path: &Path) -> Result<Plan, Failure> {
    let text = read(path)?;
    sealed(&text, &clean(&path.to_string_lossy()))
}

/// Reads a plan to make another of it: one that was edited too, since what comes of it is planned and shown anew.
///
/// # Errors
/// When the file is missing, may be changed by others, or is no plan of this format.
pub(super) fn load_as_wish(path: &Path) -> Result<Plan, Failure> {
    let (text, shown) = (read(path)?, clean(&path.to_string_lossy()));
    let plan = parse(&text).map_err(|why| Failure::failed(format!("plan {shown}: {why}")))?;
    if let Err(edited @ Broken::Changed(_)) = check_seal(&text) {
        say::err(format!("warning: plan {shown} {edited}; the new plan is made from it as it reads now"));
    }
    Ok(plan)
}

fn sealed(text: &[u8], shown: &str) -> Result<Plan, Failure> {
    let (read, seal) = (parse(text), check_seal(text));
    match (read, seal) {
        (Ok(plan), Ok(())) => Ok(plan),
        // Two fields of one name, of which JSON takes the last.
        (Err(why), Ok(())) => Err(Failure::refused(format!("plan {shown}: {why}"))),
        // Of another format, its seal may be another too.
        (Err(why), Err(broken)) if broken == Broken::Missing || (other_format(text) && !broken.names("format")) => {
            Err(Failure::failed(format!("plan {shown}: {why}")))
        }
        (read, Err(broken)) => Err(Failure::refused(refusal(shown, &broken, read.ok().as_ref()))),
    }
}

/// What is wrong, and the ways on.
fn refusal(shown: &str, broken: &Broken, plan: Option<&Plan>) -> String {
    let again = plan.map_or_else(|| "sonoba plan".into(), anew);
    let mut text = match broken {
        Broken::Missing => format!("plan {shown} has no seal: it is older than seals, or its seal was taken out"),
        Broken::Changed(_) => format!("plan {shown} {broken}"),
    };
    text += "\na plan is carried out exactly as it was made and shown";
    text += &format!("\nmake the plan anew with: {again}");
    if plan.is_some_and(|plan| plan.asked.is_some()) {
        text += &format!(
            "\nother limits, images or nodes: sonoba plan --from {shown} (with --canary, --bump, …), and look at it"
        );
    }
    text
}

/// What makes such a plan.
pub(super) fn anew(plan: &Plan) -> String {
    plan.rollback_of.as_ref().map_or_else(|| "sonoba plan".into(), |run| format!("sonoba rollback {run}"))
}

fn other_format(text: &[u8]) -> bool {
    head(text).is_ok_and(|head| head.format != FORMAT)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
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
    Ok(text)
}

/// What every format has.
#[derive(serde::Deserialize)]
struct Head {
    format: u32,
}

fn head(text: &[u8]) -> Result<Head, serde_json::Error> {
    serde_json::from_slice(text)
}

/// Reads a plan's text, whether its seal holds or not.
///
/// # Errors
/// In words, when it is no plan of this format.
pub(crate) fn parse(text: &[u8]) -> Result<Plan, String> {
    // The format first: a plan of another format may lack fields, and its error should not be about those.
    let said = |e: serde_json::Error| clean_short(&e.to_string(), 300);
    let head = head(text).map_err(|e| format!("is no plan: {}", said(e)))?;
    if head.format != FORMAT {
        return Err(format!(
            "has format {}, this sonoba reads format {FORMAT}; make it anew with: sonoba plan",
            head.format
        ));
    }
    read_clean(text).map_err(|e| format!("is no plan: {}; make it anew with: sonoba plan", said(e)))
}

/// A plan as its file holds it: sealed, for what is written here is what is shown.
pub(super) fn to_text(plan: &Plan) -> Result<String, Failure> {
    let sealed = plan.sealed().and_then(|plan| serde_json::to_string_pretty(&plan));
    let mut text = sealed.map_err(|e| Failure::failed(format!("the plan cannot be written as JSON: {e}")))?;
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
