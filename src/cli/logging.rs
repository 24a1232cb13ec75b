//! Where the log goes. Never to the screen that a cockpit draws on.

use super::failure::Failure;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;

/// The variable that says what is logged, in the words of `tracing_subscriber`'s filters, for instance `sonoba=debug`.
const VARIABLE: &str = "SONOBA_LOG";

fn filter(default: &str) -> EnvFilter {
    std::env::var(VARIABLE).ok().and_then(|f| f.parse().ok()).unwrap_or_else(|| EnvFilter::new(default))
}

/// Warnings to standard error.
pub(super) fn to_stderr() {
    // A second call would be a mistake of ours, and harmless.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter("sonoba=warn"))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .without_time()
        .try_init();
}

/// Everything of note to a file, for its owner alone. What was written when the guard is dropped is in the file.
pub(super) fn to_file(path: &Path) -> Result<WorkerGuard, Failure> {
    let nofollow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .custom_flags(nofollow)
        .open(path)
        .map_err(|e| Failure::failed(format!("log {}: {e}", path.display())))?;
    let (writer, guard) = tracing_appender::non_blocking(file);
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter("sonoba=info"))
        .with_writer(writer)
        .with_ansi(false)
        .try_init();
    Ok(guard)
}
